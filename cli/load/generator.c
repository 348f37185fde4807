#include "cli/load/generator.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cli/load/generator_message.h"

#define POOL_MIN     16384u
#define POOL_MAX     (1u << 22)
#define POOL_PER_APP 4u
#define POOL_BYTES   (1u << 26) /* with large raw datagrams the pool has fewer */

#define NETWORK_BITS     4u /* a /28, as the report groups addresses */
#define NETWORKS_PER_APP 4u

static uint32_t pool_size(const struct generator_settings *settings)
{
	uint32_t n = POOL_MIN, wanted = settings->apps * POOL_PER_APP;
	while (n < POOL_MAX && n < wanted)
		n *= 2;
	if (settings->format == GENERATOR_RAW)
		while (n > 2 * GENERATOR_RUN_MAX && (uint64_t)n * settings->raw_bytes > POOL_BYTES)
			n /= 2;
	return n;
}

/* Half of the addresses are in a few networks of their application, so that reports have good and
 * bad ones. Most are in 10.0.0.0/8, as in the typical datagram. The ends of the range occur too. */
static uint32_t draw_ip(struct generator_random *random, uint32_t app)
{
	static const uint32_t edges[] = {0, 1, 127, 128, 16383, 16384, (1u << 28) - 1, 1u << 28, UINT32_MAX};
	uint32_t kind = generator_below(random, 64);
	uint32_t low = generator_below(random, 1u << NETWORK_BITS);
	if (kind < 32) {
		struct generator_random network = {app * NETWORKS_PER_APP + kind % NETWORKS_PER_APP};
		return 0x0a000000u | (generator_below(&network, 1u << 20) << NETWORK_BITS) | low;
	}
	if (kind < 62)
		return 0x0a000000u | (generator_below(random, 1u << 20) << NETWORK_BITS) | low;
	if (kind < 63)
		return (uint32_t)generator_draw(random);
	return edges[generator_below(random, sizeof edges / sizeof edges[0])];
}

static bool draw_corrupt(struct generator_random *random, const struct generator_settings *settings)
{
	return (double)(generator_draw(random) >> 11) * 0x1p-53 * 100 < settings->corrupt_percent;
}

/* Makes one datagram at out. */
static void make(const struct generator *generator, struct generator_random *random, uint8_t *out,
                 struct generator_datagram *datagram)
{
	const struct generator_settings *settings = &generator->settings;
	*datagram = (struct generator_datagram){.reason = LEDGER_VALID};
	bool corrupt = draw_corrupt(random, settings);
	if (settings->format == GENERATOR_RAW) {
		datagram->type = EVENT_RAW;
		datagram->length = (uint16_t)settings->raw_bytes;
		for (uint32_t i = 0; i < settings->raw_bytes; i++)
			out[i] = (uint8_t)generator_draw(random);
		return;
	}
	datagram->app = generator_below(random, settings->apps);
	uint32_t length;
	if (settings->format == GENERATOR_IPEVENT) {
		datagram->type = EVENT_IP;
		datagram->ip = draw_ip(random, datagram->app);
		const uint8_t *sha = generator->sha[datagram->app];
		length = corrupt ? generator_bad_ipevent(random, out, sha, datagram->ip, &datagram->reason)
		                 : generator_ipevent(random, out, sha, datagram->ip);
	} else {
		length = corrupt ? generator_bad_json(random, out, datagram->app, &datagram->reason)
		                 : generator_json(random, out, datagram->app, &datagram->type);
	}
	datagram->length = (uint16_t)length;
}

/* Datagrams that wait until a run of their length is full. */
struct waiting {
	uint32_t n;
	struct generator_datagram datagram[GENERATOR_RUN_MAX];
	uint8_t bytes[GENERATOR_RUN_MAX][GENERATOR_MESSAGE_MAX];
};

struct filling {
	uint32_t n;      /* datagrams in the pool so far */
	uint32_t offset; /* bytes */
};

static void flush_run(struct generator *generator, struct filling *filling, struct waiting *waiting)
{
	for (uint32_t i = 0; i < waiting->n; i++) {
		struct generator_datagram *datagram = &generator->datagram[filling->n + i];
		*datagram = waiting->datagram[i];
		datagram->offset = filling->offset;
		datagram->run_end = filling->n + waiting->n;
		memcpy(generator->bytes + filling->offset, waiting->bytes[i], datagram->length);
		filling->offset += datagram->length;
	}
	filling->n += waiting->n;
	waiting->n = 0;
}

/* The pool has its runs in the order in which they fill up. The set of datagrams does not depend on
 * that order. */
static int fill_by_length(struct generator *generator, struct generator_random *random)
{
	struct waiting *waiting = calloc(GENERATOR_MESSAGE_MAX + 1, sizeof *waiting);
	if (waiting == NULL)
		return -ENOMEM;
	struct filling filling = {0};
	for (uint32_t i = 0; i < generator->n; i++) {
		uint8_t bytes[GENERATOR_MESSAGE_MAX];
		struct generator_datagram datagram;
		make(generator, random, bytes, &datagram);
		struct waiting *same = &waiting[datagram.length];
		same->datagram[same->n] = datagram;
		memcpy(same->bytes[same->n++], bytes, datagram.length);
		if (same->n == generator->settings.run)
			flush_run(generator, &filling, same);
	}
	for (uint32_t length = 0; length <= GENERATOR_MESSAGE_MAX; length++)
		flush_run(generator, &filling, &waiting[length]);
	free(waiting);
	/* Datagrams are far shorter than the longest possible one. */
	uint8_t *shrunk = realloc(generator->bytes, filling.offset);
	if (shrunk != NULL)
		generator->bytes = shrunk;
	return 0;
}

/* Raw datagrams all have one length, so runs need no sorting. */
static void fill_raw(struct generator *generator, struct generator_random *random)
{
	uint32_t run = generator->settings.run;
	for (uint32_t i = 0; i < generator->n; i++) {
		uint32_t offset = i * generator->settings.raw_bytes;
		uint32_t end = i - i % run + run;
		make(generator, random, generator->bytes + offset, &generator->datagram[i]);
		generator->datagram[i].offset = offset;
		generator->datagram[i].run_end = end < generator->n ? end : generator->n;
	}
}

static bool settings_valid(const struct generator_settings *settings)
{
	return settings->apps >= 1 && settings->apps <= GENERATOR_APPS_MAX && settings->run >= 1 &&
	       settings->run <= GENERATOR_RUN_MAX && settings->raw_bytes <= GENERATOR_DATAGRAM_MAX &&
	       settings->corrupt_percent >= 0 && settings->corrupt_percent <= 100;
}

int generator_init(struct generator *generator, const struct generator_settings *settings)
{
	if (!settings_valid(settings))
		return -EINVAL;
	*generator = (struct generator){.settings = *settings, .n = pool_size(settings)};
	bool raw = settings->format == GENERATOR_RAW;
	generator->bytes =
	        malloc((size_t)generator->n * (raw ? settings->raw_bytes : GENERATOR_MESSAGE_MAX) + 1);
	generator->datagram = calloc(generator->n, sizeof *generator->datagram);
	generator->sha = malloc(settings->apps * sizeof *generator->sha);
	if (generator->bytes == NULL || generator->datagram == NULL || generator->sha == NULL) {
		generator_fini(generator);
		return -ENOMEM;
	}
	struct generator_random random = {settings->seed};
	for (uint32_t app = 0; app < settings->apps; app++)
		for (uint32_t i = 0; i < 32; i++)
			generator->sha[app][i] = (uint8_t)generator_draw(&random);
	int error = 0;
	if (raw)
		fill_raw(generator, &random);
	else
		error = fill_by_length(generator, &random);
	if (error != 0)
		generator_fini(generator);
	return error;
}

void generator_fini(struct generator *generator)
{
	free(generator->bytes);
	free(generator->datagram);
	free(generator->sha);
	*generator = (struct generator){0};
}

uint32_t generator_longest(const struct generator *generator)
{
	uint32_t longest = 0;
	for (uint32_t i = 0; i < generator->n; i++)
		if (generator->datagram[i].length > longest)
			longest = generator->datagram[i].length;
	return longest;
}

void generator_count(const struct generator *generator, uint64_t position, struct generator_account *account)
{
	*account = (struct generator_account){.sent = position};
	for (uint32_t i = 0; i < generator->n; i++) {
		const struct generator_datagram *datagram = &generator->datagram[i];
		uint64_t times = generator_times(generator, position, i);
		account->bytes += times * datagram->length;
		if (datagram->reason == LEDGER_VALID)
			account->valid += times;
		else
			account->rejected[datagram->reason] += times;
	}
}

/* ---- the account ---- */

/* One valid IpEvent of the pool and how often it was sent. Sorted by application, then address. */
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
