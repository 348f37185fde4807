/* The stage alone: one connection that is a file. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/http/http.h"
#include "base/clock.h"
#include "base/log.h"

#define LANE_BYTES  (16u * 1024 * 1024)
#define PIECE_BYTES 4096u

struct alone {
	struct server server;
	struct outlet outlet;
	FILE *input, *output;
	bool pending, ended, closing;
	const char *data; /* being sent */
	size_t bytes;
};

/* ---- a transport of files ---- */

static struct alone *alone_of(struct transport *transport)
{
	return transport->own;
}

static void let_go(struct transport *transport)
{
	struct alone *alone = alone_of(transport);
	while (alone->pending) {
		alone->pending = false;
		fwrite(alone->data, 1, alone->bytes, stderr);
		transport->events->sent(transport->user, 0);
	}
}

static bool file_poll(struct transport *transport)
{
	struct alone *alone = alone_of(transport);
	char piece[PIECE_BYTES];
	size_t n = alone->ended ? 0 : fread(piece, 1, sizeof piece, alone->input);
	if (n != 0) {
		transport->events->received(transport->user, 0, piece, n);
	} else if (!alone->ended) {
		alone->ended = true;
		transport->events->ended(transport->user, 0, false);
	}
	return n != 0;
}

static void file_send(struct transport *transport, uint32_t slot, const char *data, size_t bytes)
{
	struct alone *alone = alone_of(transport);
	(void)slot;
	alone->pending = true;
	alone->data = data;
	alone->bytes = bytes;
}

static void file_close(struct transport *transport, uint32_t slot, bool linger)
{
	(void)linger;
	(void)slot;
	alone_of(transport)->ended = alone_of(transport)->closing = true;
}

static void nothing(struct transport *transport)
{
	(void)transport;
}

static void nothing_slot(struct transport *transport, uint32_t slot)
{
	(void)transport;
	(void)slot;
}

static const struct transport_ops files = {
        .name = "files",
        .poll = file_poll,
        .flush = let_go,
        .send = file_send,
        .pause = nothing_slot,
        .resume = nothing_slot,
        .close = file_close,
        .refuse = nothing,
        .shut = nothing,
};

/* ---- one run ---- */

/* As outlet_commit, but to the file. */
static bool write_records(struct alone *alone)
{
	for (unsigned i = 0; i < alone->outlet.n_topics; i++) {
		struct lane *lane = &alone->outlet.lane[i];
		if (fwrite(lane->base, 1, lane->used, alone->output) != lane->used)
			return false;
		lane_reset(lane);
	}
	return true;
}

static bool write_message(struct alone *alone, uint16_t type, const struct queue_slot *slot)
{
	static const char padding[RECORD_ALIGN];
	struct record head;
	record_put(&head, type, slot->length);
	size_t rest = record_bytes(slot->length) - sizeof head - slot->length;
	return fwrite(&head, sizeof head, 1, alone->output) == 1 &&
	       fwrite(slot->data, 1, slot->length, alone->output) == slot->length &&
	       fwrite(padding, 1, rest, alone->output) == rest;
}

/* The messages come after the records of their piece, each as a record. */
static bool write_messages(struct alone *alone)
{
	struct outlet *outlet = &alone->outlet;
	struct queue_slot slot;
	for (unsigned i = outlet->n_topics; i < outlet->n_places; i++) {
		struct queue *queue = &outlet->queue[i - outlet->n_topics];
		while (queue_take(queue, &slot)) {
			if (!write_message(alone, outlet->place[i].type, &slot))
				return false;
			(void)queue_done(queue, &slot);
		}
	}
	return true;
}

static int serve(struct alone *alone)
{
	struct server *server = &alone->server;
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_storage address = {0};
	memcpy(&address, &peer, sizeof peer);
	server->transport.events->opened(server, 0, 0, &address);
	while (!alone->closing) {
		server->now_ns = clock_monotonic_ns();
		alone->outlet.arrival_ns = clock_real_ns();
		answer_set_time(alone->outlet.arrival_ns / NS_PER_SEC);
		(void)transport_poll(&server->transport);
		if (!write_records(alone) || !write_messages(alone)) {
			log_error("cannot write the output", NULL);
			return 1;
		}
		transport_flush(&server->transport);
	}
	server->transport.events->closed(server, 0);
	return fflush(alone->output) == 0 ? 0 : 1;
}

int http_alone(const struct config *config, FILE *input, FILE *output)
{
	struct alone *alone = calloc(1, sizeof *alone);
	struct shm_error error = {""};
	int status = 1;
	if (alone == NULL || outlet_open_alone(&alone->outlet, LANE_BYTES) != 0) {
		log_error("no memory", NULL);
		free(alone);
		return 1;
	}
	alone->input = input;
	alone->output = output;
	alone->server.shared.outlet = &alone->outlet;
	alone->server.transport.own = alone;
	if (http_read_settings(&alone->server, config, 0, &error) == 0 &&
	    http_read_tokens(&alone->server, config, 0, &error) == 0) {
		alone->server.settings.transport.max_connections = 1;
		if (server_open_with(&alone->server, &files, &error) == 0) {
			status = serve(alone);
			server_close(&alone->server);
		}
	}
	if (error.text[0] != 0)
		log_error("cannot start", "reason=\"%s\"", error.text);
	outlet_close(&alone->outlet);
	free(alone);
	return status;
}
