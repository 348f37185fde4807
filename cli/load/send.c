/* millrace send udp|http|postback: the test clients. This is udp; the others are
 * send_http_command.c and send_postback_command.c. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/load/generator.h"
#include "cli/load/send_http.h"
#include "cli/load/send_udp.h"
#include "cli/load/send_xdp.h"
#include "cli/load/send_xdp_options.h"
#include "base/clock.h"

#define DEFAULT_ADDRESS "127.0.0.1:4002"
#define DEFAULT_COUNT   1000000u

struct options {
	const char *address;
	const char *format;
	const char *output;
	const char *expect;
	const char *backend;
	bool json;
	uint64_t apps, size, gso, sources;
	double corrupt;
	uint64_t seed;
	struct send_udp_settings udp;
	struct send_xdp_options xdp_options;
	struct send_xdp_settings xdp;
	const char *mode; /* of xdp (send_xdp_mode) */
};

static const volatile bool *stopped;

static bool by_xdp(const struct options *options)
{
	return strcmp(options->backend, "xdp") == 0;
}

static struct generator_settings generator_settings(const struct options *options)
{
	enum generator_format format = GENERATOR_IPEVENT;
	if (strcmp(options->format, "raw") == 0)
		format = GENERATOR_RAW;
	else if (strcmp(options->format, "json") == 0)
		format = GENERATOR_JSON;
	return (struct generator_settings){.format = format,
	                                   .apps = (uint32_t)options->apps,
	                                   .run = options->udp.gso,
	                                   .raw_bytes = (uint32_t)options->size,
	                                   .corrupt_percent = options->corrupt,
	                                   .seed = options->seed};
}

/* Writes a capture: each datagram as its length in four bytes, little-endian, then its bytes. */
static int write_capture(const struct generator *generator, const struct options *options,
                         struct send_udp_result *result)
{
	bool standard = strcmp(options->output, "-") == 0;
	FILE *out = standard ? stdout : fopen(options->output, "wbe");
	if (out == NULL)
		return -errno;
	uint64_t begun = clock_monotonic_ns();
	int error = 0;
	while (result->sent < options->udp.count && !*stopped && error == 0) {
		const uint8_t *data;
		uint16_t length;
		generator_run(generator, result->sent, 1, &data, &length);
		uint8_t head[4] = {(uint8_t)length, (uint8_t)(length >> 8)};
		if (fwrite(head, 1, sizeof head, out) < sizeof head || fwrite(data, 1, length, out) < length)
			error = -errno;
		else
			result->sent++;
	}
	if ((standard ? fflush(out) : fclose(out)) != 0 && error == 0)
		error = -errno;
	result->elapsed_ns = clock_monotonic_ns() - begun;
	return error;
}

static int write_expect(const struct generator *generator, const char *path, uint64_t sent)
{
	FILE *out = fopen(path, "we");
	if (out == NULL)
		return -errno;
	int error = generator_expect(generator, sent, out);
	if (fclose(out) != 0 && error == 0)
		error = -errno;
	return error;
}

static double per_second(uint64_t n, uint64_t ns)
{
	return ns == 0 ? 0 : (double)n * 1e9 / (double)ns;
}

static int print_account_json(const struct options *options, const struct generator_account *account,
                              const struct send_udp_result *result)
{
	json_t *corrupted = json_object();
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		if (account->rejected[i] > 0)
			json_object_set_new(corrupted, ledger_reason_name(i),
			                    json_integer((json_int_t)account->rejected[i]));
	json_t *root = json_pack("{s:s, s:s, s:I, s:I, s:o, s:I, s:f, s:I, s:I, s:I}", "to",
	                         options->output != NULL ? options->output : options->address, "format",
	                         options->format, "sent", (json_int_t)account->sent, "valid",
	                         (json_int_t)account->valid, "corrupted", corrupted, "bytes",
	                         (json_int_t)account->bytes, "seconds", (double)result->elapsed_ns / 1e9,
	                         "rate", (json_int_t)per_second(account->sent, result->elapsed_ns), "refused",
	                         (json_int_t)result->refused, "busy", (json_int_t)result->busy);
	if (root == NULL)
		return command_fail("send", "%s", strerror(ENOMEM));
	if (options->mode != NULL) {
		json_object_set_new(root, "interface", json_string(options->xdp.interface));
		json_object_set_new(root, "mode", json_string(options->mode));
	}
	int error = command_print_json(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6), stdout);
	json_decref(root);
	return error == 0 ? 0 : command_fail("send", "%s", strerror(-error));
}

static void print_text(FILE *out, const struct options *options, const struct generator_account *account,
                       const struct send_udp_result *result)
{
	fprintf(out, "sent %llu datagrams, %.1f MB, to %s in %.2f s: %.0f datagrams/s\n",
	        (unsigned long long)account->sent, (double)account->bytes / 1e6,
	        options->output != NULL ? options->output : options->address,
	        (double)result->elapsed_ns / 1e9, per_second(account->sent, result->elapsed_ns));
	if (options->mode != NULL)
		fprintf(out, "  from %s by XDP (%s), %llu sources\n", options->xdp.interface, options->mode,
		        (unsigned long long)options->sources);
	fprintf(out, "  %-18s %12llu\n", "valid", (unsigned long long)account->valid);
	fprintf(out, "  %-18s %12llu\n", "corrupted", (unsigned long long)(account->sent - account->valid));
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		if (account->rejected[i] > 0)
			fprintf(out, "    %-16s %12llu\n", ledger_reason_name(i),
			        (unsigned long long)account->rejected[i]);
}

static int send_frames(struct options *options, const struct generator *generator,
                       const struct sockaddr_storage *address, struct send_udp_result *result)
{
	static struct send_xdp xdp;
	char why[SEND_XDP_WHY_MAX];
	if (send_xdp_open(&xdp, &options->xdp, generator, address, why) != 0)
		return command_fail("send", "%s", why);
	options->mode = send_xdp_mode(&xdp);
	if (xdp.fallback[0] != '\0')
		fprintf(stderr, "millrace send: %s: sends by a socket: %s\n", options->xdp.interface,
		        xdp.fallback);
	*result = send_xdp_run(&xdp, generator, &options->udp, stopped);
	send_xdp_close(&xdp);
	if (result->error == -ETIMEDOUT)
		return command_fail("send",
		                    "%s takes no frames any more, after %llu; is it up, and its other end?",
		                    options->xdp.interface, (unsigned long long)result->sent);
	if (result->error != 0)
		return command_fail("send", "%s: %s", options->xdp.interface, strerror(-result->error));
	return 0;
}

static int send_datagrams(struct options *options, const struct generator *generator,
                          struct send_udp_result *result)
{
	if (options->output != NULL) {
		int error = write_capture(generator, options, result);
		return error == 0 || error == -EPIPE
		               ? 0
		               : command_fail("send", "%s: %s", options->output, strerror(-error));
	}
	struct sockaddr_storage address;
	socklen_t bytes;
	const char *why;
	if (send_udp_address(options->address, &address, &bytes, &why) < 0)
		return command_fail("send", "%s: %s; an address looks like %s", options->address, why,
		                    DEFAULT_ADDRESS);
	if (by_xdp(options))
		return send_frames(options, generator, &address, result);
	*result = send_udp_run(generator, &address, bytes, &options->udp, stopped);
	if (result->error == -EMSGSIZE || (result->error == -EINVAL && options->udp.gso > 1))
		return command_fail(
		        "send",
		        "%s: datagrams of this length do not fit (%s); try a smaller --size or no --gso",
		        options->address, strerror(-result->error));
	if (result->error != 0)
		return command_fail("send", "%s: %s", options->address, strerror(-result->error));
	return 0;
}

static int report(const struct options *options, const struct generator *generator,
                  const struct send_udp_result *result)
{
	int status = 0;
	struct generator_account account;
	generator_count(generator, result->sent, &account);
	if (options->json)
		status = print_account_json(options, &account, result);
	else
		print_text(options->output != NULL && strcmp(options->output, "-") == 0 ? stderr : stdout,
		           options, &account, result);
	if (options->expect != NULL) {
		int error = write_expect(generator, options->expect, result->sent);
		if (error != 0)
			status = command_fail("send", "%s: %s", options->expect, strerror(-error));
	}
	if (result->refused > 0)
		status = command_fail(
		        "send", "nobody listens on %s (refused %llu times); start it with: millrace run",
		        options->address, (unsigned long long)result->refused);
	return status;
}

static struct options given = {
        .address = DEFAULT_ADDRESS,
        .format = "ipevent",
        .backend = "socket",
        .apps = 1000,
        .size = 71,
        .gso = 1,
        .sources = 1,
        .xdp_options = {.transmit = "auto"},
        .seed = 1,
        .udp = {.count = UINT64_MAX, .duration_ns = UINT64_MAX, .gso = 1, .sources = 1},
};

static const struct argument table[] = {
        {"rate", 'r', ARGUMENT_COUNT, "N", "datagrams per second; 0: as fast as it goes (default 0)",
         &given.udp.rate, 0, UINT64_MAX, NULL},
        {"count", 'n', ARGUMENT_COUNT, "N", "stop after N datagrams (default 1M when no --duration is given)",
         &given.udp.count, 1, UINT64_MAX, NULL},
        {"duration", 'd', ARGUMENT_DURATION, "T", "stop after this time", &given.udp.duration_ns, 1,
         UINT64_MAX, NULL},
        {"apps", 0, ARGUMENT_COUNT, "N", "different app_sha256, or usernames (default 1000)", &given.apps, 1,
         GENERATOR_APPS_MAX, NULL},
        {"corrupt", 0, ARGUMENT_PERCENT, "PERCENT",
         "share of datagrams made wrong, each in one way (default 0)", &given.corrupt, 0, 0, NULL},
        {"gso", 0, ARGUMENT_COUNT, "N",
         "datagrams of equal length per system call message, 1 to 64 (default 1)", &given.gso, 1,
         GENERATOR_RUN_MAX, NULL},
        {"sources", 0, ARGUMENT_COUNT, "N",
         "sockets to send from, in turn; on loopback each has an\naddress of its own (default 1); with --backend xdp up to 1M,\neach with its own address and port",
         &given.sources, 1, SEND_FRAME_SOURCES_MAX, NULL},
        {"backend", 0, ARGUMENT_CHOICE, "BACKEND",
         "socket, or xdp: whole frames by AF_XDP, as root (default socket)", &given.backend, 0, 0,
         "socket xdp"},
        {"interface", 'i', ARGUMENT_STRING, "NAME", "xdp: where the frames leave",
         &given.xdp_options.interface, 0, 0, NULL},
        {"queue", 0, ARGUMENT_COUNT, "N", "xdp: its queue (default 0)", &given.xdp_options.queue, 0,
         UINT32_MAX, NULL},
        {"transmit", 0, ARGUMENT_CHOICE, "WAY",
         "xdp: live frames, by an AF_XDP socket, or auto: live frames\nwhere they can be had, for 100,000/s and more (default auto)",
         &given.xdp_options.transmit, 0, 0, "auto live socket"},
        {"mac", 0, ARGUMENT_STRING, "MAC", "xdp: where they go; asked for on the network by default",
         &given.xdp_options.mac, 0, 0, NULL},
        {"from", 0, ARGUMENT_STRING, "NETWORK", "xdp: addresses of the sources (default the interface's own)",
         &given.xdp_options.from, 0, 0, NULL},
        {"ports", 0, ARGUMENT_STRING, "FIRST-LAST", "xdp: ports of the sources (default 1024-65535)",
         &given.xdp_options.ports, 0, 0, NULL},
        {"format", 0, ARGUMENT_CHOICE, "FORMAT", "ipevent, raw or json (default ipevent)", &given.format, 0,
         0, "ipevent raw json"},
        {"size", 0, ARGUMENT_COUNT, "BYTES", "length of raw datagrams (default 71)", &given.size, 0,
         GENERATOR_DATAGRAM_MAX, NULL},
        {"seed", 0, ARGUMENT_COUNT, "N", "the same seed makes the same datagrams (default 1)", &given.seed, 0,
         UINT64_MAX, NULL},
        {"output", 'o', ARGUMENT_STRING, "FILE",
         "write a capture instead of sending: per datagram its length\n(4 bytes, little-endian) and its bytes; - is standard output",
         &given.output, 0, 0, NULL},
        {"expect", 0, ARGUMENT_STRING, "FILE", "write what a receiver must have counted, as JSON",
         &given.expect, 0, 0, NULL},
        {"json", 0, ARGUMENT_FLAG, NULL, "print the account as JSON", &given.json, 0, 0, NULL},
};

static const struct arguments arguments = {
        .command = "send",
        .usage = "udp|http|postback [ADDRESS] [OPTION]...",
        .purpose =
                "udp sends test events to ADDRESS (default " DEFAULT_ADDRESS
                ") and prints what it sent: how many were valid,\n"
                "and how many must be rejected for which reason. The account is exact. These are its options;\n"
                "millrace send http --help and millrace send postback --help tell the others.",
        .example = "  millrace send udp --count 1M --corrupt 30 --gso 64",
        .table = table,
        .n = sizeof table / sizeof table[0],
        .operands_min = 1,
        .operands_max = 2,
};

/* What belongs to one back-end only, and what it needs. */
static int complete_backend(size_t operands)
{
	const struct send_xdp_options *xdp = &given.xdp_options;
	if (!by_xdp(&given)) {
		if (xdp->interface != NULL || xdp->mac != NULL || xdp->from != NULL || xdp->ports != NULL ||
		    xdp->queue != 0 || strcmp(xdp->transmit, "auto") != 0)
			return arguments_error(
			        &arguments,
			        "--interface, --queue, --transmit, --mac, --from and --ports are for --backend xdp");
		if (given.sources > SEND_UDP_SOURCES_MAX)
			return arguments_error(
			        &arguments, "--sources %llu: at most %u are sockets; --backend xdp has more",
			        (unsigned long long)given.sources, SEND_UDP_SOURCES_MAX);
		return ARGUMENTS_GO_ON;
	}
	if (operands < 2)
		return arguments_error(&arguments, "--backend xdp takes an ADDRESS on another machine");
	if (given.output != NULL)
		return arguments_error(&arguments, "--output takes no --backend");
	if (given.gso > 1)
		return arguments_error(&arguments,
		                       "--gso is for sockets; with --backend xdp each datagram is a frame");
	int status = send_xdp_complete(&arguments, xdp, &given.xdp);
	given.xdp.sources = (uint32_t)given.sources;
	if (given.xdp.way == SEND_XDP_AUTO && given.udp.rate > 0 && given.udp.rate < SEND_XDP_LIVE_RATE)
		given.xdp.way = SEND_XDP_SOCKET;
	return status;
}

static int parse(int argc, char **argv)
{
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	if (strcmp(operands.item[0], "http") == 0 || strcmp(operands.item[0], "postback") == 0)
		return arguments_error(&arguments,
		                       "%s comes first: millrace send %s [URL|ADDRESS] [OPTION]...",
		                       operands.item[0], operands.item[0]);
	if (strcmp(operands.item[0], "udp") != 0)
		return arguments_error(&arguments, "cannot send over \"%s\"; there are: udp, http, postback",
		                       operands.item[0]);
	if (given.corrupt > 0 && strcmp(given.format, "raw") == 0)
		return arguments_error(&arguments,
		                       "--corrupt: a raw listener takes any datagram, none is wrong");
	if (given.output != NULL && given.udp.duration_ns != UINT64_MAX)
		return arguments_error(&arguments, "--output takes --count, not --duration");
	if (operands.n > 1)
		given.address = operands.item[1];
	given.udp.gso = (uint32_t)given.gso;
	given.udp.sources = (uint32_t)given.sources;
	if (given.udp.count == UINT64_MAX && given.udp.duration_ns == UINT64_MAX)
		given.udp.count = DEFAULT_COUNT;
	return complete_backend(operands.n);
}

int command_send(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "http") == 0)
		return send_http_command(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "postback") == 0)
		return send_postback_command(argc - 1, argv + 1);
	int status = parse(argc, argv);
	if (status != ARGUMENTS_GO_ON)
		return status;
	struct generator generator;
	struct generator_settings settings = generator_settings(&given);
	int error = generator_init(&generator, &settings);
	if (error != 0)
		return command_fail("send", "%s", strerror(-error));
	stopped = command_stop_on_signals();
	struct send_udp_result result = {0};
	status = send_datagrams(&given, &generator, &result);
	if (status == 0)
		status = report(&given, &generator, &result);
	generator_fini(&generator);
	return status;
}
