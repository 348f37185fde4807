/* bench-parse: the parsers alone, in memory, beside the libraries that their tests ask.
 *
 *     IpEvent        ipevent_parse       beside protobuf-c: unpack and free; its hexadecimal digits stay undecoded
 *     metric event   json_event_parse    beside jansson: load and free; its members stay unread
 *
 * A turn goes round a set of inputs that differ, as large as one receive buffer of 64 datagrams, so that no branch can be learnt
 * from a single input and all lies in the first cache, as it does behind the kernel's copy. */
#include <getopt.h>
#include <ipevent.pb-c.h> /* generated from tests/fuzz/ipevent.proto */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/turns.h"
#include "ingest/json/json_event.h"
#include "ingest/udp/ipevent.h"
#include "stage/clock.h"

#define INPUTS      64u
#define INPUT_BYTES 128u
#define TURNS       31u
#define TURN_NS     (10 * NS_PER_MS)

struct input {
	uint8_t data[INPUT_BYTES];
	size_t bytes;
};

/* One way of parsing: true when the input was valid. */
typedef bool parse_fn(const struct input *input);

static uint64_t payload[1024];

static bool parse_ipevent(const struct input *input)
{
	return ipevent_parse(input->data, input->bytes, (struct event_ip *)(void *)payload) == LEDGER_VALID;
}

static bool parse_protobuf_c(const struct input *input)
{
	IpEvent *message = ip_event__unpack(NULL, input->bytes, input->data);
	if (!message)
		return false;
	ip_event__free_unpacked(message, NULL);
	return true;
}

static bool parse_json_event(const struct input *input)
{
	uint16_t type;
	uint32_t length;
	return json_event_parse((const char *)input->data, input->bytes, payload, &type, &length) ==
	       LEDGER_VALID;
}

static bool parse_jansson(const struct input *input)
{
	json_t *root = json_loadb((const char *)input->data, input->bytes, 0, NULL);
	if (!root)
		return false;
	json_decref(root);
	return true;
}

/* Inputs a second. */
static double rate(parse_fn *parse, const struct input inputs[INPUTS])
{
	uint64_t begin = clock_monotonic_ns(), now, n = 0;
	do {
		for (unsigned round = 0; round < 64; round++) {
			for (unsigned i = 0; i < INPUTS; i++) {
				if (!parse(&inputs[i])) {
					fprintf(stderr, "bench-parse: input %u is not valid\n", i);
					exit(1);
				}
			}
			n += INPUTS;
		}
		now = clock_monotonic_ns();
	} while (now - begin < TURN_NS);
	return (double)n * NS_PER_SEC / (double)(now - begin);
}

static struct turns take_turns(parse_fn *ours, parse_fn *reference, const struct input inputs[INPUTS])
{
	struct turns turns = {.n = 0};
	for (unsigned i = 0; i < TURNS; i++)
		turns_add(&turns, rate(ours, inputs), rate(reference, inputs));
	return turns;
}

static void make_ipevents(struct input inputs[INPUTS])
{
	for (unsigned i = 0; i < INPUTS; i++) {
		char sha[65];
		for (unsigned c = 0; c < 64; c++)
			sha[c] = "0123456789abcdef"[random() & 15];
		sha[64] = 0;
		IpEvent message = IP_EVENT__INIT;
		message.app_sha256 = sha;
		message.ip = random() & 0xff ? 0x0a000000 + (random() & 0xffffff) : random() & 0xffff;
		inputs[i].bytes = ip_event__pack(&message, inputs[i].data);
	}
}

static void make_metrics(struct input inputs[INPUTS])
{
	static const char *const metrics[] = {"kite_call", "page_view", "login", "compile_error"};
	for (unsigned i = 0; i < INPUTS; i++)
		inputs[i].bytes = (size_t)snprintf(
		        (char *)inputs[i].data, INPUT_BYTES,
		        "{\"username\": \"kodingbot%ld\", \"count\": %ld, \"metric\": \"%s\"}",
		        random() % 1000, random(), metrics[random() % 4]);
}

static double median_ns(const double *rates, unsigned n)
{
	return 1e9 / turns_median(rates, n);
}

/* The least disturbed turn. */
static double best_ns(const double *rates, unsigned n)
{
	double most = 0;
	for (unsigned i = 0; i < n; i++)
		most = rates[i] > most ? rates[i] : most;
	return 1e9 / most;
}

static void print_json(const char *name, const struct turns *turns, bool last)
{
	printf("  \"%s\": {\"ns\": %.2f, \"best_ns\": %.2f, \"reference_ns\": %.2f, \"ratio\": %.2f}%s\n",
	       name, median_ns(turns->ours, turns->n), best_ns(turns->ours, turns->n),
	       median_ns(turns->reference, turns->n), turns_ratio(turns), last ? "" : ",");
}

static void print_text(const char *what, const struct turns *turns, const char *ours, const char *reference)
{
	turns_print(turns, what, ours, reference);
	printf("  %s %.1f ns each (best turn %.1f), %s %.1f ns\n", ours, median_ns(turns->ours, turns->n),
	       best_ns(turns->ours, turns->n), reference, median_ns(turns->reference, turns->n));
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	static struct input ipevents[INPUTS], metrics[INPUTS];
	bool json = false;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c != 'j') {
			fprintf(c == 'h' ? stdout : stderr, "usage: bench-parse [--json]\n");
			return c == 'h' ? 0 : 2;
		}
		json = true;
	}
	make_ipevents(ipevents);
	make_metrics(metrics);
	struct turns ipevent = take_turns(parse_ipevent, parse_protobuf_c, ipevents);
	struct turns metric = take_turns(parse_json_event, parse_jansson, metrics);
	if (json) {
		printf("{\n");
		print_json("ipevent", &ipevent, false);
		print_json("json_metric", &metric, true);
		printf("}\n");
	} else {
		print_text("IpEvent, typical datagram", &ipevent, "ipevent_parse", "protobuf-c");
		print_text("JSON, metric event", &metric, "json_event_parse", "jansson");
	}
	return 0;
}
