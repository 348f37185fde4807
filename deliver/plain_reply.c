#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "deliver/reply_values.h"
#include "deliver/plain.h"

/* ---- its body ---- */

static void keep(struct plain_slot *slot, struct reply_span span)
{
	struct sender_request *request = slot->request;
	size_t room = SENDER_BODY_KEPT - request->answer_bytes;
	if (room > span.bytes)
		room = span.bytes;
	if (room == 0)
		return;
	memcpy(request->answer + request->answer_bytes, span.text, room);
	request->answer_bytes += (uint32_t)room;
}

static void keep_unpacked(struct plain_slot *slot, struct reply_span packed)
{
	struct reply_span span;
	size_t used;
	if (slot->unpack == NULL)
		slot->unpack = unpack_open(slot->answer.coding == REPLY_GZIP);
	while (slot->unpack != NULL && slot->unpacked_bytes <= SENDER_BODY_READ) {
		bool more = unpack(slot->unpack, packed.text, packed.bytes, &used, &span);
		keep(slot, span);
		slot->unpacked_bytes += span.bytes;
		packed.text += used;
		packed.bytes -= used;
		if (!more) { /* what comes after it is nothing that could be read */
			slot->answer.coding = REPLY_UNKNOWN;
			return;
		}
		if (packed.bytes == 0 && span.bytes < UNPACK_BYTES)
			return;
	}
}

/* An answer in a coding that nobody has asked for is nothing to read. */
static void take_part(struct plain_slot *slot, struct reply_span part)
{
	slot->body_bytes += part.bytes;
	if (part.bytes == 0)
		return;
	if (slot->answer.coding == REPLY_IDENTITY)
		keep(slot, part);
	else if (slot->answer.coding != REPLY_UNKNOWN)
		keep_unpacked(slot, part);
}

static void end(struct plain_slot *slot, bool keep_connection)
{
	if (slot->redirects)
		reply_resolve_location(slot->request);
	plain_finish(slot, 0, "", keep_connection);
}

/* Returns false when the request has ended. */
static bool take_body(struct plain_slot *slot, const char *text, size_t bytes)
{
	for (;;) {
		struct reply_span part;
		size_t used;
		enum reply_step step = reply_body(&slot->answer, text, bytes, &used, &part);
		take_part(slot, part);
		text += used;
		bytes -= used;
		if (step == REPLY_DONE) {
			/* more has come than was asked for, or less was sent */
			end(slot, slot->answer.keep && bytes == 0 && !slot->sending && !slot->ended);
			return false;
		}
		if (step == REPLY_BROKEN || slot->body_bytes > SENDER_BODY_READ ||
		    slot->unpacked_bytes > SENDER_BODY_READ) {
			end(slot, false);
			return false;
		}
		if (bytes == 0)
			return true;
	}
}

/* ---- its head ---- */

static void take_values(struct plain_slot *slot)
{
	struct sender_request *request = slot->request;
	const struct reply *answer = &slot->answer;
	slot->head_whole = true;
	request->status = answer->status;
	if (answer->retry_after.text != NULL)
		request->retry_after_s =
		        reply_retry_after(answer->retry_after.text, answer->retry_after.bytes);
	if (answer->location.text != NULL)
		slot->redirects = reply_keep_location(request, answer->location.text, answer->location.bytes);
}

static bool fail(struct plain_slot *slot, int result, const char *why)
{
	plain_finish(slot, result, why, false);
	return false;
}

/* Bytes of a head that is not whole stay until more have come. */
static bool hold(struct plain_slot *slot, const char *text, size_t bytes)
{
	slot->seen = bytes;
	if (slot->held == NULL && bytes > 0) {
		slot->held_room = bytes + PLAIN_READ_BYTES;
		slot->held = malloc(slot->held_room);
		if (slot->held == NULL)
			return fail(slot, -ENOMEM, strerror(ENOMEM));
	}
	if (bytes > 0)
		memmove(slot->held, text, bytes);
	slot->held_bytes = bytes;
	return true;
}

/* No head is held any more. Of the body there is no more in it than one read gave. */
static char *let_go(struct plain_slot *slot, char *text, size_t bytes)
{
	if (slot->held_bytes > 0)
		text = memcpy(slot->sender->read, text, bytes);
	free(slot->held);
	slot->held = NULL;
	slot->held_bytes = slot->held_room = 0;
	return text;
}

/* What has come of the answer and is not taken yet. Returns false when the request has ended. */
static bool take(struct plain_slot *slot, char *text, size_t bytes)
{
	struct sender_request *request = slot->request;
	bool to_head = strcmp(request->method, "HEAD") == 0;
	if (request->first_byte_us == 0)
		request->first_byte_us = plain_since(slot);
	if (slot->state == SENDER_WAITING && memchr(text, '\n', bytes) != NULL) {
		slot->state = SENDER_ANSWERING;
		plain_due(slot, request->timeout_ns);
	}
	while (!slot->head_whole) {
		ssize_t head =
		        bytes > 0 ? reply_head(&slot->answer, text, bytes, slot->seen, to_head) : -EAGAIN;
		size_t so_far = slot->heads_bytes + (head > 0 ? (size_t)head : bytes);
		if (head == -EBADMSG)
			return fail(slot, -EBADMSG, "the answer is none of HTTP/1");
		if (so_far > SENDER_HEAD_MAX)
			return fail(slot, -EMSGSIZE, SENDER_TOO_LONG);
		if (head == -EAGAIN)
			return hold(slot, text, bytes);
		slot->seen = 0;
		slot->heads_bytes += (size_t)head;
		text += head;
		bytes -= (size_t)head;
		if (slot->answer.status >= 200)
			take_values(slot);
	}
	return take_body(slot, let_go(slot, text, bytes), bytes);
}

/* ---- reading ---- */

/* The connection has ended; errno of it, or 0. */
static void lost(struct plain_slot *slot, int error)
{
	struct sender_request *request = slot->request;
	char why[128];
	if (slot->head_whole) {
		end(slot, false);
		return;
	}
	if (slot->error != 0)
		error = -slot->error;
	if (request->first_byte_us != 0)
		snprintf(why, sizeof why, SENDER_CUT);
	else if (request->reused)
		snprintf(why, sizeof why, SENDER_DEAD);
	else if (error == 0)
		snprintf(why, sizeof why, "Empty reply from server");
	else
		snprintf(why, sizeof why, "the connection was lost: %s", strerror(error));
	/* its kin have likely gone with it, and the next try shall meet none of them */
	if (request->reused && request->first_byte_us == 0)
		kept_close_like(slot->sender->kept, slot->connection);
	plain_finish(slot, -EPIPE, why, false);
}

/* Where the next bytes go: after those that are held, or where all requests read. NULL: no
 * memory. */
static char *room_for(struct plain_slot *slot)
{
	if (slot->held_bytes == 0)
		return slot->sender->read;
	if (slot->held_room - slot->held_bytes < PLAIN_READ_BYTES) {
		size_t room = slot->held_bytes + PLAIN_READ_BYTES;
		char *larger = realloc(slot->held, room);
		if (larger == NULL)
			return NULL;
		slot->held = larger;
		slot->held_room = room;
	}
	return slot->held + slot->held_bytes;
}

void plain_hear(struct plain_slot *slot)
{
	ssize_t n = 0;
	do {
		char *to = room_for(slot);
		if (to == NULL) {
			(void)fail(slot, -ENOMEM, strerror(ENOMEM));
			return;
		}
		n = recv(slot->connection->fd, to, PLAIN_READ_BYTES, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && slot->error == 0)
			return;
		if (n <= 0) {
			lost(slot, n == 0 ? 0 : errno);
			return;
		}
		char *text = slot->held_bytes > 0 ? slot->held : to;
		if (!take(slot, text, slot->held_bytes + (size_t)n))
			return;
		/* Less than there was room for: the rest is still to come, and epoll will say so.
		 * But of an end it has spoken already. */
	} while (n < 0 || n == PLAIN_READ_BYTES || slot->ended);
}
