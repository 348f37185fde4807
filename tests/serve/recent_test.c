/* The last attempts: what is held of those that came, found and filtered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/recent.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/instance.h"

#define SIZE     (1u << 20)
#define LANES    2u
#define CAPACITY 50u

static const struct test_topic topics[] = {{"delivery", SIZE, LANES, {"d.0", "d.1"}, NULL}};

struct fixture {
	struct sandbox sandbox;
	struct instance instance;
	struct topic_writer writer[LANES];
	struct recent *recent;
	struct shm_error error;
	uint64_t now_ns;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	f->now_ns = NS_PER_SEC;
	if (sandbox_make(&f->sandbox) != 0 ||
	    instance_make(f->sandbox.directory, topics, 1, &f->error) != 0 ||
	    instance_attach(&f->instance, "test", SEGMENT_READ, &f->error) != 0)
		return -1;
	for (unsigned i = 0; i < LANES; i++)
		if (topic_writer_attach(&f->writer[i], &f->instance, "delivery", topics[0].lane_role[i],
		                        &f->error) != 0)
			return -1;
	f->recent = recent_new(CAPACITY, RECENT_BYTES_MIN);
	return f->recent != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	recent_free(f->recent);
	for (unsigned i = 0; i < LANES; i++)
		topic_writer_detach(&f->writer[i]);
	instance_detach(&f->instance);
	sandbox_remove(&f->sandbox);
	free(f);
	return 0;
}

/* ---- attempts ---- */

struct attempt {
	uint64_t id, at_ns;
	unsigned outcome, status;
	const char *endpoint, *body;
	uint32_t url_bytes; /* of 'u' */
};

static void put_record(struct topic_writer *writer, uint16_t type, const void *payload, uint32_t length)
{
	char *at = stream_reserve(&writer->stream, record_bytes(length));
	assert_non_null(at);
	memcpy(record_put(at, type, length), payload, length);
	stream_commit(&writer->stream, record_bytes(length), 1);
	topic_ring(writer);
}

static void put(struct fixture *f, unsigned lane, const struct attempt *attempt)
{
	const char *endpoint = attempt->endpoint != NULL ? attempt->endpoint : "http://h/p";
	const char *body = attempt->body != NULL ? attempt->body : "";
	struct event_delivery event = {
	        .arrival_ns = attempt->at_ns,
	        .id = {7, attempt->id},
	        .outcome = (uint8_t)attempt->outcome,
	        .status = (uint16_t)attempt->status,
	        .attempt = 1,
	        .method = POSTBACK_POST,
	        .endpoint_bytes = (uint16_t)strlen(endpoint),
	        .url_bytes = attempt->url_bytes,
	        .body_bytes = (uint32_t)strlen(body),
	};
	uint32_t length = (uint32_t)sizeof event + event.endpoint_bytes + event.url_bytes + event.body_bytes;
	char *payload = malloc(length), *at = payload;
	assert_non_null(payload);
	at = mempcpy(at, &event, sizeof event);
	at = mempcpy(at, endpoint, event.endpoint_bytes);
	memset(at, 'u', event.url_bytes);
	memcpy(at + event.url_bytes, body, event.body_bytes);
	put_record(&f->writer[lane], EVENT_DELIVERY, payload, length);
	free(payload);
}

static void poll_all(struct fixture *f)
{
	while (recent_poll(f->recent, &f->instance, f->now_ns))
		;
}

static struct recent_state look(struct fixture *f)
{
	struct recent_state state;
	recent_look(f->recent, &state);
	return state;
}

/* ---- what is found ---- */

struct found {
	uint64_t id[CAPACITY * 4], number[CAPACITY * 4];
	unsigned n, most;
};

static int note(void *argument, struct recent *recent, const struct recent_attempt *attempt)
{
	struct found *found = argument;
	const struct event_delivery *event = (const void *)attempt->record->payload;
	(void)recent;
	assert_true(event_check(attempt->record));
	assert_true(found->n < CAPACITY * 4);
	found->number[found->n] = attempt->number;
	found->id[found->n++] = event->id[1];
	return found->most != 0 && found->n == found->most;
}

static const struct recent_filter any = {.outcome = RECENT_ANY, .status = RECENT_ANY};

static struct found list(struct fixture *f, const struct recent_filter *filter)
{
	struct found found = {0};
	uint64_t next;
	uint64_t n = recent_list(f->recent, filter, CAPACITY * 4, note, &found, &next);
	assert_int_equal(n, found.n);
	assert_int_equal(next, 0);
	return found;
}

static void the_newest_come_first_and_numbers_rise(void **state)
{
	struct fixture *f = *state;
	for (uint64_t i = 1; i <= 5; i++)
		put(f, 0, &(struct attempt){.id = i});
	poll_all(f);
	struct found found = list(f, &any);
	assert_int_equal(found.n, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(found.id[i], 5 - i);
	for (unsigned i = 1; i < 5; i++)
		assert_true(found.number[i] < found.number[i - 1]);
	assert_int_equal(look(f).held, 5);
}

static void what_lies_in_the_lanes_at_the_start_is_read_too(void **state)
{
	struct fixture *f = *state;
	for (uint64_t i = 0; i < 200; i++)
		put(f, i % LANES, &(struct attempt){.id = i});
	poll_all(f);
	assert_int_equal(look(f).held, CAPACITY);
	assert_int_equal(look(f).read, LANES * CAPACITY);
	assert_int_equal(look(f).missed, 0);
	assert_true(look(f).attached);
}

/* Against a list of all that came: sizes, numbers and lanes at random, and both bounds are hit. */
static void what_is_held_is_what_came_last_whatever_its_size(void **state)
{
	struct fixture *f = *state;
	uint64_t came[4000], bytes[4000];
	unsigned n = 0, by_bytes = 0, by_number = 0;
	poll_all(f);
	for (unsigned round = 0; round < 300; round++) {
		unsigned more = 1 + draw_below(10);
		for (unsigned i = 0; i < more; i++) {
			uint32_t url = draw_one_in(2)    ? draw_below(100)
			               : draw_one_in(20) ? 20000 + draw_below(12000)
			                                 : draw_below(3000);
			put(f, 0, &(struct attempt){.id = n, .url_bytes = url});
			bytes[n] = record_bytes(sizeof(struct event_delivery) + 10 + url);
			came[n] = n;
			n++;
		}
		poll_all(f);
		struct found found = list(f, &any);
		uint64_t held = 0;
		for (unsigned i = 0; i < found.n; i++) {
			assert_int_equal(found.id[i], came[n - 1 - i]);
			held += bytes[n - 1 - i];
		}
		assert_true(found.n >= 1 && found.n <= CAPACITY && held <= RECENT_BYTES_MIN);
		assert_int_equal(look(f).held_bytes, held);
		by_number += found.n == CAPACITY;
		by_bytes += found.n < CAPACITY && found.n < n;
		/* Not much less than there is room for: a record's length at the end, and what the
		 * next one needed. */
		if (found.n < CAPACITY && found.n < n)
			assert_true(held + 2ull * RECENT_RECORD_MAX + bytes[n - 1 - found.n] >
			            RECENT_BYTES_MIN);
	}
	assert_true(by_bytes > 10 && by_number > 10);
}

static void filters_count_together(void **state)
{
	struct fixture *f = *state;
	static const struct attempt attempts[] = {
	        {.id = 1,
	         .at_ns = 1000,
	         .outcome = OUTCOME_DELIVERED,
	         .status = 200,
	         .endpoint = "https://a.example/x"},
	        {.id = 2,
	         .at_ns = 2000,
	         .outcome = OUTCOME_AGAIN,
	         .status = 503,
	         .endpoint = "https://a.example/x"},
	        {.id = 3,
	         .at_ns = 3000,
	         .outcome = OUTCOME_AGAIN,
	         .status = 0,
	         .endpoint = "http://a.example:8080/"},
	        {.id = 4,
	         .at_ns = 4000,
	         .outcome = OUTCOME_DEAD,
	         .status = 400,
	         .endpoint = "http://[::1]:90/p:1"},
	        {.id = 5, .at_ns = 5000, .outcome = OUTCOME_DEAD, .status = 503, .endpoint = "http://b"},
	        {.id = 6, .at_ns = 6000, .outcome = OUTCOME_DEAD, .status = 0, .endpoint = ""},
	};
	const struct {
		struct recent_filter filter;
		uint64_t ids; /* digits, the newest first */
	} cases[] = {
	        {any, 654321},
	        {{OUTCOME_AGAIN, RECENT_ANY, NULL, 0, 0}, 32},
	        {{OUTCOME_GONE, RECENT_ANY, NULL, 0, 0}, 0},
	        {{RECENT_ANY, 503, NULL, 0, 0}, 52},
	        {{RECENT_ANY, 0, NULL, 0, 0}, 63},
	        {{OUTCOME_AGAIN, 503, NULL, 0, 0}, 2},
	        {{RECENT_ANY, RECENT_ANY, NULL, 3000, 0}, 6543},
	        {{RECENT_ANY, RECENT_ANY, "a.example", 0, 0}, 321},
	        {{RECENT_ANY, RECENT_ANY, "A.Example", 0, 0}, 321},
	        {{RECENT_ANY, RECENT_ANY, "a.example:443", 0, 0}, 21},
	        {{RECENT_ANY, RECENT_ANY, "a.example:8080", 0, 0}, 3},
	        {{RECENT_ANY, RECENT_ANY, "a.example:80", 0, 0}, 0},
	        {{RECENT_ANY, RECENT_ANY, "a.exampl", 0, 0}, 0},
	        {{RECENT_ANY, RECENT_ANY, "b:80", 0, 0}, 5},
	        {{RECENT_ANY, RECENT_ANY, "::1", 0, 0}, 4},
	        {{RECENT_ANY, RECENT_ANY, "[::1]", 0, 0}, 4},
	        {{RECENT_ANY, RECENT_ANY, "[::1]:90", 0, 0}, 4},
	        {{RECENT_ANY, RECENT_ANY, "[::1]:9", 0, 0}, 0},
	        {{RECENT_ANY, RECENT_ANY, "", 0, 0}, 0},
	        {{OUTCOME_DEAD, 503, "b", 5000, 0}, 5},
	};
	for (unsigned i = 0; i < sizeof attempts / sizeof *attempts; i++)
		put(f, 0, &attempts[i]);
	poll_all(f);
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct found found = list(f, &cases[i].filter);
		uint64_t ids = 0;
		for (unsigned k = 0; k < found.n; k++)
			ids = 10 * ids + found.id[k];
		if (ids != cases[i].ids)
			fail_msg("case %u: %llu", i, (unsigned long long)ids);
	}
}

static void pages_fit_together(void **state)
{
	struct fixture *f = *state;
	struct recent_filter filter = {.outcome = OUTCOME_AGAIN, .status = RECENT_ANY};
	for (uint64_t i = 0; i < 40; i++)
		put(f, 0, &(struct attempt){.id = i, .outcome = i % 2 == 0 ? OUTCOME_AGAIN : OUTCOME_DEAD});
	poll_all(f);
	uint64_t wanted = 38;
	for (unsigned page = 0; page < 3; page++) {
		struct found found = {0};
		uint64_t next;
		assert_int_equal(recent_list(f->recent, &filter, 7, note, &found, &next), page < 2 ? 7 : 6);
		for (unsigned i = 0; i < found.n; i++, wanted -= 2)
			assert_int_equal(found.id[i], wanted);
		assert_true((next == 0) == (page == 2));
		filter.before = next;
		/* What comes meanwhile is of no page. */
		put(f, 0, &(struct attempt){.id = 1000 + page, .outcome = OUTCOME_AGAIN});
		poll_all(f);
	}
	struct found stopped = {.most = 2};
	uint64_t next;
	assert_int_equal(recent_list(f->recent, &any, 10, note, &stopped, &next), 2);
}

static int note_three(void *argument, struct recent *recent, const struct recent_attempt *attempt)
{
	struct found *found = argument;
	return found->n == 3 ? RECENT_NEXT_PAGE : note(argument, recent, attempt);
}

static void a_page_may_end_before_an_attempt_and_the_next_begins_with_it(void **state)
{
	struct fixture *f = *state;
	struct recent_filter filter = any;
	for (uint64_t i = 0; i < 7; i++)
		put(f, 0, &(struct attempt){.id = i});
	poll_all(f);
	for (uint64_t wanted = 6, pages = 0; pages < 3; pages++) {
		struct found found = {0};
		uint64_t next;
		assert_int_equal(recent_list(f->recent, &filter, 100, note_three, &found, &next),
		                 pages < 2 ? 3 : 1);
		for (unsigned i = 0; i < found.n; i++, wanted--)
			assert_int_equal(found.id[i], wanted);
		assert_true((next == 0) == (pages == 2));
		filter.before = next;
	}
}

static void all_attempts_of_a_postback_are_found_the_oldest_first(void **state)
{
	struct fixture *f = *state;
	const uint64_t id[2] = {7, 3}, other[2] = {8, 3};
	for (uint64_t i = 0; i < 20; i++)
		put(f, 0, &(struct attempt){.id = i % 5, .status = (unsigned)i});
	poll_all(f);
	struct found found = {0};
	assert_int_equal(recent_find(f->recent, id, note, &found), 4);
	for (unsigned i = 0; i < 4; i++)
		assert_true(found.id[i] == 3 && (i == 0 || found.number[i] > found.number[i - 1]));
	assert_int_equal(recent_find(f->recent, other, note, &found), 0);
}

static void what_is_no_attempt_is_left_out_and_counted(void **state)
{
	struct fixture *f = *state;
	static char large[RECENT_RECORD_MAX + 8];
	struct event_delivery event = {.url_bytes = 5};
	put(f, 0, &(struct attempt){.id = 1});
	put_record(&f->writer[0], EVENT_DELIVERY, &event, sizeof event);
	put_record(&f->writer[0], EVENT_LOG, &event, sizeof event);
	put_record(&f->writer[0], EVENT_DELIVERY, &event, 16);
	((struct event_delivery *)(void *)large)->url_bytes = sizeof large - sizeof event;
	put_record(&f->writer[0], EVENT_DELIVERY, large, sizeof large);
	put(f, 0, &(struct attempt){.id = 2});
	poll_all(f);
	assert_int_equal(list(f, &any).n, 2);
	assert_int_equal(look(f).left_out, 4);
}

static void a_writer_is_never_held_up_and_what_was_missed_is_counted(void **state)
{
	struct fixture *f = *state;
	put(f, 0, &(struct attempt){.id = 0});
	poll_all(f);
	for (uint64_t i = 1; i <= 3000; i++)
		put(f, 0, &(struct attempt){.id = i, .url_bytes = 1000});
	poll_all(f);
	struct recent_state now = look(f);
	assert_true(now.missed > 1000);
	assert_int_equal(now.read + now.missed, 3001);
	assert_int_equal(list(f, &any).id[0], 3000);
}

/* A reload that changes how many processes deliver: another page, and the reader attaches anew. */
static void another_page_loses_nothing_and_repeats_nothing(void **state)
{
	struct fixture *f = *state;
	struct instance second;
	for (uint64_t i = 0; i < 10; i++)
		put(f, i % LANES, &(struct attempt){.id = i});
	poll_all(f);
	for (uint64_t i = 10; i < 20; i++)
		put(f, i % LANES, &(struct attempt){.id = i});
	assert_int_equal(instance_attach(&second, "test", SEGMENT_READ, &f->error), 0);
	assert_ptr_not_equal(second.page, f->instance.page);
	f->now_ns += NS_PER_SEC; /* the next try to attach */
	while (recent_poll(f->recent, &second, f->now_ns))
		;
	assert_int_equal(look(f).held, 20);
	assert_int_equal(look(f).read, 20);
	recent_free(f->recent);
	f->recent = NULL;
	instance_detach(&second);
}

static void an_instance_that_delivers_nothing_has_none(void **state)
{
	static const struct test_topic other[] = {{"ip", SIZE, 1, {"w.0"}, NULL}};
	(void)state;
	struct sandbox sandbox;
	struct instance instance;
	struct shm_error error;
	assert_int_equal(sandbox_make(&sandbox), 0);
	assert_int_equal(instance_make(sandbox.directory, other, 1, &error), 0);
	assert_int_equal(instance_attach(&instance, "test", SEGMENT_READ, &error), 0);
	struct recent *recent = recent_new(10, RECENT_BYTES_MIN);
	struct recent_state now;
	assert_false(recent_poll(recent, &instance, NS_PER_SEC));
	recent_look(recent, &now);
	assert_true(!now.attached && now.held == 0 && now.reason[0] == '\0');
	recent_free(recent);
	instance_detach(&instance);
	sandbox_remove(&sandbox);
}

static int show(void *argument, struct recent *recent, const struct recent_attempt *attempt)
{
	json_t **json = argument;
	json[0] = recent_json(recent, attempt, true);
	json[1] = recent_json(recent, attempt, false);
	return 1;
}

static void an_attempt_is_shown_as_tap_shows_it(void **state)
{
	struct fixture *f = *state;
	json_t *json[2] = {NULL, NULL};
	uint64_t next;
	put(f, 1,
	    &(struct attempt){.id = 0xab,
	                      .at_ns = 5000000,
	                      .status = 503,
	                      .outcome = OUTCOME_AGAIN,
	                      .endpoint = "http://h/\"x\"",
	                      .body = "try \"later\"",
	                      .url_bytes = 2});
	poll_all(f);
	assert_int_equal(recent_list(f->recent, &any, 1, show, json, &next), 1);
	assert_string_equal(json_string_value(json_object_get(json[0], "id")),
	                    "0000000000000007-delivery-1-0");
	assert_string_equal(json_string_value(json_object_get(json[0], "postback")),
	                    "000000000000000700000000000000ab");
	assert_string_equal(json_string_value(json_object_get(json[0], "endpoint")), "http://h/\"x\"");
	assert_string_equal(json_string_value(json_object_get(json[0], "body")), "try \"later\"");
	assert_null(json_object_get(json[1], "body"));
	assert_int_equal(json_integer_value(json_object_get(json[1], "status")), 503);
	json_decref(json[0]);
	json_decref(json[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(the_newest_come_first_and_numbers_rise),
	        TEST(what_lies_in_the_lanes_at_the_start_is_read_too),
	        TEST(what_is_held_is_what_came_last_whatever_its_size),
	        TEST(filters_count_together),
	        TEST(pages_fit_together),
	        TEST(a_page_may_end_before_an_attempt_and_the_next_begins_with_it),
	        TEST(all_attempts_of_a_postback_are_found_the_oldest_first),
	        TEST(what_is_no_attempt_is_left_out_and_counted),
	        TEST(a_writer_is_never_held_up_and_what_was_missed_is_counted),
	        TEST(another_page_loses_nothing_and_repeats_nothing),
	        cmocka_unit_test(an_instance_that_delivers_nothing_has_none),
	        TEST(an_attempt_is_shown_as_tap_shows_it),
	};
	alarm(60);
	draw_init(31);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
