/* The generator's account against the parsers: what it says a receiver will make of a datagram is
 * what the parser makes. */
#include "cli/load/generator.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/load/generator_message.h"
#include "ingest/json/event.h"
#include "ingest/udp/ipevent.h"

static uint64_t seed;

static struct generator_settings ipevents(uint32_t apps, double corrupt, uint32_t run)
{
	return (struct generator_settings){.format = GENERATOR_IPEVENT,
	                                   .apps = apps,
	                                   .run = run,
	                                   .corrupt_percent = corrupt,
	                                   .seed = seed};
}

static void the_ipevent_parser_agrees_with_the_account_of_every_datagram(void **state)
{
	(void)state;
	struct generator generator;
	struct generator_settings settings = ipevents(50, 60, 1);
	assert_int_equal(generator_init(&generator, &settings), 0);
	uint64_t by_reason[256] = {0};
	uint32_t longest = 0;
	for (uint32_t i = 0; i < generator.n; i++) {
		const struct generator_datagram *datagram = &generator.datagram[i];
		struct event_ip event;
		longest = datagram->length > longest ? datagram->length : longest;
		/* a copy of exact size, so that a sanitizer sees a read past the end */
		uint8_t *copy = malloc(datagram->length);
		memcpy(copy, generator.bytes + datagram->offset, datagram->length);
		assert_int_equal(ipevent_parse(copy, datagram->length, &event), datagram->reason);
		free(copy);
		by_reason[datagram->reason]++;
		if (datagram->reason == LEDGER_VALID) {
			assert_int_equal(event.ip, datagram->ip);
			assert_memory_equal(event.sha, generator.sha[datagram->app], 32);
		}
	}
	static const enum ledger_reason made[] = {LEDGER_VALID,     LEDGER_TRUNCATED,
	                                          LEDGER_MALFORMED, LEDGER_MISSING_FIELD,
	                                          LEDGER_BAD_SHA,   LEDGER_IP_OUT_OF_RANGE};
	for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
		assert_true(by_reason[made[i]] > generator.n / 100);
	assert_int_equal(generator_longest(&generator), longest);
	generator_fini(&generator);
}

static void the_json_parser_agrees_with_the_account_of_every_datagram(void **state)
{
	(void)state;
	struct generator generator;
	struct generator_settings settings = ipevents(50, 60, 1);
	settings.format = GENERATOR_JSON;
	assert_int_equal(generator_init(&generator, &settings), 0);
	uint64_t by_reason[256] = {0}, by_type[8] = {0};
	for (uint32_t i = 0; i < generator.n; i++) {
		const struct generator_datagram *datagram = &generator.datagram[i];
		void *payload = malloc(json_room(datagram->length));
		char *copy = malloc(datagram->length);
		memcpy(copy, generator.bytes + datagram->offset, datagram->length);
		uint16_t type;
		uint32_t length;
		enum ledger_reason reason = json_event_parse(copy, datagram->length, payload, &type, &length);
		if (reason != datagram->reason)
			fail_msg("%.*s: %d, not %d", datagram->length, copy, reason, datagram->reason);
		if (reason == LEDGER_VALID) {
			assert_int_equal(type, datagram->type);
			by_type[type]++;
		}
		by_reason[reason]++;
		free(copy);
		free(payload);
	}
	assert_true(by_type[EVENT_METRIC] > 0 && by_type[EVENT_TRACK_RAW] > 0);
	static const enum ledger_reason made[] = {LEDGER_TRUNCATED, LEDGER_MALFORMED, LEDGER_MISSING_FIELD,
	                                          LEDGER_WRONG_TYPE, LEDGER_UNKNOWN_EVENT};
	for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
		assert_true(by_reason[made[i]] > 0);
	generator_fini(&generator);
}

static void typical_datagrams_have_71_bytes(void **state)
{
	(void)state;
	struct generator generator;
	struct generator_settings settings = ipevents(50, 0, 1);
	assert_int_equal(generator_init(&generator, &settings), 0);
	uint32_t typical = 0;
	for (uint32_t i = 0; i < generator.n; i++)
		typical += generator.datagram[i].length == 71;
	assert_true(typical > generator.n * 9 / 10);
	generator_fini(&generator);
}

static void the_share_of_corrupted_ones_is_what_was_asked_for(void **state)
{
	(void)state;
	static const double percents[] = {0, 30, 100};
	for (size_t i = 0; i < 3; i++) {
		struct generator generator;
		struct generator_settings settings = ipevents(50, percents[i], 1);
		assert_int_equal(generator_init(&generator, &settings), 0);
		struct generator_account account;
		generator_count(&generator, generator.n, &account);
		double bad = 100 - 100.0 * (double)account.valid / (double)account.sent;
		assert_true(bad > percents[i] - 2 && bad < percents[i] + 2);
		if (percents[i] == 0)
			assert_int_equal(account.valid, account.sent);
		if (percents[i] == 100)
			assert_int_equal(account.valid, 0);
		generator_fini(&generator);
	}
}

/* Runs are contiguous, of equal length, at most as long as asked for, and cover every datagram
 * once. */
static void runs_cover_the_pool(void **state)
{
	(void)state;
	static const uint32_t runs[] = {1, 7, 64};
	for (size_t r = 0; r < 3; r++) {
		struct generator generator;
		struct generator_settings settings = ipevents(100, 30, runs[r]);
		assert_int_equal(generator_init(&generator, &settings), 0);
		uint64_t position = 0, calls = 0;
		while (position < generator.n) {
			const uint8_t *data;
			uint16_t length;
			uint32_t n = generator_run(&generator, position, 64, &data, &length);
			assert_true(n >= 1 && n <= runs[r]);
			for (uint32_t i = 0; i < n; i++) {
				const struct generator_datagram *datagram = &generator.datagram[position + i];
				assert_int_equal(datagram->length, length);
				assert_ptr_equal(generator.bytes + datagram->offset, data + i * length);
			}
			position += n;
			calls++;
		}
		assert_int_equal(position, generator.n);
		assert_true(calls < 2 * generator.n / runs[r] + 512);
		/* most limits the run, and the next lap begins where the first did */
		const uint8_t *data, *again;
		uint16_t length;
		assert_int_equal(generator_run(&generator, 0, 1, &data, &length), 1);
		generator_run(&generator, generator.n, 1, &again, &length);
		assert_ptr_equal(data, again);
		generator_fini(&generator);
	}
}

static void the_order_of_runs_does_not_change_what_there_is(void **state)
{
	(void)state;
	struct generator single, grouped;
	struct generator_settings settings = ipevents(100, 30, 1);
	assert_int_equal(generator_init(&single, &settings), 0);
	settings.run = 64;
	assert_int_equal(generator_init(&grouped, &settings), 0);
	struct generator_account a, b;
	generator_count(&single, 3 * single.n, &a);
	generator_count(&grouped, 3 * grouped.n, &b);
	assert_memory_equal(&a, &b, sizeof a);
	generator_fini(&single);
	generator_fini(&grouped);
}

static void the_account_adds_up_at_every_position(void **state)
{
	(void)state;
	struct generator generator;
	struct generator_settings settings = ipevents(10, 30, 16);
	assert_int_equal(generator_init(&generator, &settings), 0);
	const uint64_t positions[] = {
	        0, 1, 17, generator.n - 1, generator.n, generator.n + 5, 10 * (uint64_t)generator.n + 99};
	for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
		struct generator_account account;
		generator_count(&generator, positions[i], &account);
		uint64_t sum = account.valid, bytes = 0;
		for (unsigned reason = 0; reason < LEDGER_REASON_COUNT; reason++)
			sum += account.rejected[reason];
		assert_int_equal(sum, positions[i]);
		for (uint64_t at = 0; at < positions[i]; at++)
			bytes += generator.datagram[at % generator.n].length;
		assert_int_equal(account.bytes, bytes);
	}
	generator_fini(&generator);
}

/* The expectation is checked against a count made by parsing what was sent. */
static void the_expectation_is_what_a_receiver_counts(void **state)
{
	(void)state;
	struct generator generator;
	struct generator_settings settings = ipevents(5, 30, 16);
	assert_int_equal(generator_init(&generator, &settings), 0);
	uint64_t position = generator.n + 1000;
	char *text;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	assert_int_equal(generator_expect(&generator, position, out), 0);
	fclose(out);
	json_error_t error;
	json_t *expected = json_loadb(text, bytes, 0, &error);
	free(text);
	assert_non_null(expected);
	json_t *apps = json_object_get(expected, "apps");
	uint64_t valid = 0, rejected = 0;
	for (uint64_t at = 0; at < position; at++) {
		struct event_ip event;
		const struct generator_datagram *datagram = &generator.datagram[at % generator.n];
		if (ipevent_parse(generator.bytes + datagram->offset, datagram->length, &event) !=
		    LEDGER_VALID) {
			rejected++;
			continue;
		}
		valid++;
		char sha[65], ip[16];
		for (unsigned i = 0; i < 32; i++)
			snprintf(sha + 2 * i, 3, "%02x", event.sha[i]);
		snprintf(ip, sizeof ip, "%u.%u.%u.%u", event.ip >> 24, event.ip >> 16 & 255,
		         event.ip >> 8 & 255, event.ip & 255);
		json_t *app = json_object_get(apps, sha);
		assert_non_null(app);
		/* count down; what is left must be nothing */
		json_t *count = json_object_get(app, "count");
		json_integer_set(count, json_integer_value(count) - 1);
		json_t *seen = json_object_get(app, "seen");
		if (seen == NULL) {
			seen = json_object();
			json_object_set_new(app, "seen", seen);
		}
		json_object_set_new(seen, ip, json_true());
	}
	assert_int_equal(json_integer_value(json_object_get(expected, "sent")), position);
	assert_int_equal(json_integer_value(json_object_get(expected, "valid")), valid);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(expected, "topics"), "ip")),
	                 valid);
	const char *key;
	json_t *value;
	uint64_t sum = 0;
	json_object_foreach(json_object_get(expected, "rejected"), key, value) sum +=
	        (uint64_t)json_integer_value(value);
	assert_int_equal(sum, rejected);
	assert_int_equal(json_object_size(apps), 5);
	json_object_foreach(apps, key, value)
	{
		assert_int_equal(json_integer_value(json_object_get(value, "count")), 0);
		json_t *ips = json_object_get(value, "ips");
		assert_int_equal(json_array_size(ips), json_object_size(json_object_get(value, "seen")));
		for (size_t i = 0; i < json_array_size(ips); i++)
			assert_non_null(json_object_get(json_object_get(value, "seen"),
			                                json_string_value(json_array_get(ips, i))));
	}
	json_decref(expected);
	generator_fini(&generator);
}

static void the_same_seed_makes_the_same_datagrams(void **state)
{
	(void)state;
	struct generator a, b, c;
	struct generator_settings settings = ipevents(20, 30, 8);
	assert_int_equal(generator_init(&a, &settings), 0);
	assert_int_equal(generator_init(&b, &settings), 0);
	settings.seed++;
	assert_int_equal(generator_init(&c, &settings), 0);
	size_t bytes = a.datagram[a.n - 1].offset;
	assert_memory_equal(a.bytes, b.bytes, bytes);
	assert_memory_not_equal(a.bytes, c.bytes, 1000);
	generator_fini(&a);
	generator_fini(&b);
	generator_fini(&c);
}

static void raw_datagrams_have_the_length_that_was_asked_for(void **state)
{
	(void)state;
	static const uint32_t lengths[] = {0, 1, 1400, 65507};
	for (size_t i = 0; i < 4; i++) {
		struct generator generator;
		struct generator_settings settings = ipevents(1, 0, 64);
		settings.format = GENERATOR_RAW;
		settings.raw_bytes = lengths[i];
		assert_int_equal(generator_init(&generator, &settings), 0);
		const uint8_t *data;
		uint16_t length;
		assert_true(generator_run(&generator, 3, 64, &data, &length) > 1);
		assert_int_equal(length, lengths[i]);
		generator_fini(&generator);
	}
}

static void settings_out_of_range_are_refused(void **state)
{
	(void)state;
	struct generator generator;
	struct generator_settings settings = ipevents(0, 0, 1);
	assert_int_equal(generator_init(&generator, &settings), -EINVAL);
	settings = ipevents(GENERATOR_APPS_MAX + 1, 0, 1);
	assert_int_equal(generator_init(&generator, &settings), -EINVAL);
	settings = ipevents(1, 101, 1);
	assert_int_equal(generator_init(&generator, &settings), -EINVAL);
	settings = ipevents(1, 0, 65);
	assert_int_equal(generator_init(&generator, &settings), -EINVAL);
	settings = ipevents(1, 0, 1);
	settings.raw_bytes = 65508;
	assert_int_equal(generator_init(&generator, &settings), -EINVAL);
}

int main(void)
{
	alarm(60);
	const char *given = getenv("MILLRACE_SEED");
	seed = given != NULL ? strtoull(given, NULL, 0) : 20261121u;
	print_message("seed %llu\n", (unsigned long long)seed);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_ipevent_parser_agrees_with_the_account_of_every_datagram),
	        cmocka_unit_test(the_json_parser_agrees_with_the_account_of_every_datagram),
	        cmocka_unit_test(typical_datagrams_have_71_bytes),
	        cmocka_unit_test(the_share_of_corrupted_ones_is_what_was_asked_for),
	        cmocka_unit_test(runs_cover_the_pool),
	        cmocka_unit_test(the_order_of_runs_does_not_change_what_there_is),
	        cmocka_unit_test(the_account_adds_up_at_every_position),
	        cmocka_unit_test(the_expectation_is_what_a_receiver_counts),
	        cmocka_unit_test(the_same_seed_makes_the_same_datagrams),
	        cmocka_unit_test(raw_datagrams_have_the_length_that_was_asked_for),
	        cmocka_unit_test(settings_out_of_range_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
