/* bench-parse: the parsers alone, in memory, against the libraries that their tests ask.
 *
 *     IpEvent        ipevent_parse       against protobuf-c: unpack and free; its hexadecimal digits stay undecoded
 *     metric event   json_event_parse    against jansson: load and free; its members stay unread
 *     POST /event    json_metric         the same text, as an HTTP body
 *     POST /log      json_log            against jansson
 *     POST /batch    json_track          one element, against jansson
 *     POST /ingest   json_postback_...   one element of data, checked and made a payload, against jansson
 *     HTTP heads     request_parse       against http-parser without callbacks: it keeps no slices
 *
 * A turn goes round a set of inputs that differ, as large as one receive buffer of 64 datagrams, so
 * that no branch can be learnt from a single input and all lies in the first cache, as it does
 * after the kernel's copy. */
#include <http_parser.h>
#include <ipevent.pb-c.h> /* generated from tests/fuzz/ipevent.proto */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/options.h"
#include "bench/turns.h"
#include "ingest/http/request.h"
#include "ingest/json/postback.h"
#include "ingest/udp/ipevent.h"
#include "base/clock.h"

#define INPUTS      64u
#define INPUT_BYTES 768u
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

static bool parse_metric(const struct input *input)
{
	uint32_t length;
	struct json_fault fault;
	return json_metric((const char *)input->data, input->bytes, payload, &length, &fault);
}

static bool parse_log(const struct input *input)
{
	uint32_t length;
	struct json_fault fault;
	return json_log((const char *)input->data, input->bytes, payload, &length, &fault);
}

static bool parse_track(const struct input *input)
{
	uint32_t length;
	struct json_fault fault;
	return json_track((const char *)input->data, input->bytes, payload, &length, &fault);
}

static bool parse_postback(const struct input *input)
{
	uint32_t length;
	struct json_fault fault;
	struct json_postback postback;
	return json_postback_open(&postback, (const char *)input->data, input->bytes, &fault) &&
	       json_postback_room(&postback) <= sizeof payload &&
	       json_postback_next(&postback, payload, &length) && postback.number == 1;
}

static bool parse_jansson(const struct input *input)
{
	json_t *root = json_loadb((const char *)input->data, input->bytes, 0, NULL);
	if (!root)
		return false;
	json_decref(root);
	return true;
}

static bool parse_request(const struct input *input)
{
	static const struct request_limits limits = {8192, 32768, 100};
	static struct request request;
	return request_parse(&request, (const char *)input->data, input->bytes, &limits) == REQUEST_WHOLE;
}

static bool parse_http_parser(const struct input *input)
{
	static const http_parser_settings settings;
	http_parser parser;
	http_parser_init(&parser, HTTP_REQUEST);
	return http_parser_execute(&parser, &settings, (const char *)input->data, input->bytes) ==
	       input->bytes;
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

static void make_logs(struct input inputs[INPUTS])
{
	for (unsigned i = 0; i < INPUTS; i++)
		inputs[i].bytes = (size_t)snprintf(
		        (char *)inputs[i].data, INPUT_BYTES,
		        "{\"text\": \"hello world %ld\", \"content_id\": %ld, \"client_id\": %ld, \"timestamp\": %ld}",
		        random() % 100000, 1 + random() % 1000, 1 + random() % 1000,
		        1586846680064 + random() % 1000000);
}

static void make_tracks(struct input inputs[INPUTS])
{
	for (unsigned i = 0; i < INPUTS; i++)
		inputs[i].bytes = (size_t)snprintf(
		        (char *)inputs[i].data, INPUT_BYTES,
		        "{\"type\":\"app_open\",\"ts\":%ld,\"params\":{\"deviceid\":\"abc def %ld\",\"referrer\":\"website\",\"klag\":%ld}}",
		        1510826008003 + random() % 1000000, random() % 100000, random() % 1000);
}

static void make_postbacks(struct input inputs[INPUTS])
{
	for (unsigned i = 0; i < INPUTS; i++)
		inputs[i].bytes = (size_t)snprintf(
		        (char *)inputs[i].data, INPUT_BYTES,
		        "{\"endpoint\": {\"method\": \"GET\", \"url\": \"http://host/data?title={mascot}&image={location}&foo={bar}\"}, \"data\": [{\"mascot\": "
		        "\"Gopher%ld\", \"location\": \"https://blog.golang.org/gopher/gopher.png\"}]}",
		        random() % 100000);
}

/* As wrk sends it, with its body: about 110 bytes of head. */
static void make_posts(struct input inputs[INPUTS])
{
	for (unsigned i = 0; i < INPUTS; i++) {
		char body[128];
		int bytes =
		        snprintf(body, sizeof body,
		                 "{\"username\": \"kodingbot%ld\", \"count\": %ld, \"metric\": \"login\"}",
		                 random() % 1000, random());
		inputs[i].bytes = (size_t)snprintf((char *)inputs[i].data, INPUT_BYTES,
		                                   "POST /event HTTP/1.1\r\nHost: 127.0.0.1:%ld\r\n"
		                                   "Content-Type: application/json\r\n"
		                                   "Content-Length: %d\r\n\r\n%s",
		                                   1024 + random() % 60000, bytes, body);
	}
}

/* Ten fields, as Firefox sends them. */
static void make_browsers(struct input inputs[INPUTS])
{
	for (unsigned i = 0; i < INPUTS; i++)
		inputs[i].bytes = (size_t)snprintf(
		        (char *)inputs[i].data, INPUT_BYTES,
		        "GET /t/app_open?deviceid=%lx&ts=%ld&referrer=website HTTP/1.1\r\n"
		        "Host: collector.example.com\r\n"
		        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:%ld.0) Gecko/20100101 Firefox/115.0\r\n"
		        "Accept: image/avif,image/webp,*/*\r\nAccept-Language: en-US,en;q=0.5\r\n"
		        "Accept-Encoding: gzip, deflate, br\r\nOrigin: https://www.example.com\r\n"
		        "Connection: keep-alive\r\nReferer: https://www.example.com/articles/%ld\r\n"
		        "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-site\r\n\r\n",
		        random(), 1510826008003 + random() % 1000000, 90 + random() % 30, random() % 10000);
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

/* What is measured, in this order. */
static const struct measured {
	const char *what, *key;
	const char *name, *reference_name;
	parse_fn *ours, *reference;
	void (*make)(struct input inputs[INPUTS]);
} measured[] = {
        {"IpEvent, typical datagram", "ipevent", "ipevent_parse", "protobuf-c", parse_ipevent,
         parse_protobuf_c, make_ipevents},
        {"JSON, metric event", "json_event", "json_event_parse", "jansson", parse_json_event, parse_jansson,
         make_metrics},
        {"POST /event", "json_metric", "json_metric", "jansson", parse_metric, parse_jansson, make_metrics},
        {"POST /log", "json_log", "json_log", "jansson", parse_log, parse_jansson, make_logs},
        {"POST /batch, one element", "json_track", "json_track", "jansson", parse_track, parse_jansson,
         make_tracks},
        {"POST /ingest, one element", "json_postback", "json_postback", "jansson", parse_postback,
         parse_jansson, make_postbacks},
        {"HTTP head of a POST by wrk", "request_post", "request_parse", "http-parser", parse_request,
         parse_http_parser, make_posts},
        {"HTTP head of a browser, 10 fields", "request_browser", "request_parse", "http-parser",
         parse_request, parse_http_parser, make_browsers},
};

#define MEASURED (sizeof measured / sizeof measured[0])

static void help(void)
{
	puts("usage: bench-parse [--json]");
}

int main(int argc, char **argv)
{
	static struct input inputs[INPUTS];
	bool json = false;
	const struct option_row rows[] = {{"json", OPTION_ON, &json, 0, 0}};
	int done = options_read(argc, argv, "bench-parse", rows, 1, help);
	if (done >= 0)
		return done;
	if (json)
		printf("{\n");
	for (size_t i = 0; i < MEASURED; i++) {
		const struct measured *m = &measured[i];
		m->make(inputs);
		struct turns turns = take_turns(m->ours, m->reference, inputs);
		if (json)
			print_json(m->key, &turns, i + 1 == MEASURED);
		else
			print_text(m->what, &turns, m->name, m->reference_name);
	}
	if (json)
		printf("}\n");
	return 0;
}
