#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cli/load/generator.h"

/* One valid IpEvent of the pool and how often it was sent; sorted by application, then address. */
struct seen {
	uint32_t app;
	uint32_t ip;
	uint64_t times;
};

static int by_app_and_ip(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;
	if (x->app != y->app)
		return x->app < y->app ? -1 : 1;
	return (x->ip > y->ip) - (x->ip < y->ip);
}

static size_t collect(const struct generator *generator, uint64_t position, struct seen *seen)
{
	size_t n = 0;
	for (uint32_t i = 0; i < generator->n; i++) {
		const struct generator_datagram *datagram = &generator->datagram[i];
		uint64_t times = generator_times(generator, position, i);
		if (datagram->reason == LEDGER_VALID && times > 0)
			seen[n++] = (struct seen){datagram->app, datagram->ip, times};
	}
	qsort(seen, n, sizeof *seen, by_app_and_ip);
	return n;
}

static void print_app(const struct generator *generator, const struct seen *seen, size_t n, FILE *out)
{
	uint64_t count = 0;
	fputc('"', out);
	for (size_t i = 0; i < 32; i++)
		fprintf(out, "%02x", generator->sha[seen->app][i]);
	fputs("\": {\"ips\": [", out);
	for (size_t i = 0; i < n; i++) {
		count += seen[i].times;
		if (i > 0 && seen[i].ip == seen[i - 1].ip)
			continue;
		fprintf(out, "%s\"%u.%u.%u.%u\"", i > 0 ? ", " : "", seen[i].ip >> 24, seen[i].ip >> 16 & 255,
		        seen[i].ip >> 8 & 255, seen[i].ip & 255);
	}
	fprintf(out, "], \"count\": %" PRIu64 "}", count);
}

static int print_apps(const struct generator *generator, uint64_t position, FILE *out)
{
	struct seen *seen = malloc(generator->n * sizeof *seen);
	if (seen == NULL)
		return -ENOMEM;
	size_t n = collect(generator, position, seen);
	fputs(",\n \"apps\": {", out);
	for (size_t first = 0, end; first < n; first = end) {
		for (end = first + 1; end < n && seen[end].app == seen[first].app;)
			end++;
		fputs(first > 0 ? ",\n  " : "\n  ", out);
		print_app(generator, seen + first, end - first, out);
	}
	fputs("}", out);
	free(seen);
	return 0;
}

static void print_topics(const struct generator *generator, uint64_t position, FILE *out)
{
	static const struct {
		uint16_t type;
		const char *topic;
	} topics[] = {{EVENT_IP, "ip"},
	              {EVENT_RAW, "raw"},
	              {EVENT_METRIC, "metric"},
	              {EVENT_TRACK_RAW, "track.raw"}};
	const char *comma = "";
	fputs(",\n \"topics\": {", out);
	for (size_t t = 0; t < sizeof topics / sizeof topics[0]; t++) {
		uint64_t n = 0;
		for (uint32_t i = 0; i < generator->n; i++)
			if (generator->datagram[i].reason == LEDGER_VALID &&
			    generator->datagram[i].type == topics[t].type)
				n += generator_times(generator, position, i);
		if (n == 0)
			continue;
		fprintf(out, "%s\"%s\": %" PRIu64, comma, topics[t].topic, n);
		comma = ", ";
	}
	fputs("}", out);
}

int generator_expect(const struct generator *generator, uint64_t position, FILE *out)
{
	struct generator_account account;
	generator_count(generator, position, &account);
	fprintf(out, "{\"sent\": %" PRIu64 ", \"valid\": %" PRIu64 ", \"rejected\": {", account.sent,
	        account.valid);
	const char *comma = "";
	for (unsigned reason = 0; reason < LEDGER_REASON_COUNT; reason++)
		if (account.rejected[reason] > 0) {
			fprintf(out, "%s\"%s\": %" PRIu64, comma, ledger_reason_name(reason),
			        account.rejected[reason]);
			comma = ", ";
		}
	fputs("}", out);
	print_topics(generator, position, out);
	if (generator->settings.format == GENERATOR_IPEVENT) {
		int error = print_apps(generator, position, out);
		if (error != 0)
			return error;
	}
	fputs("}\n", out);
	return ferror(out) ? -EIO : 0;
}
