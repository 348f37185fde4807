/* /live without a network: wishes, what clients share, what they learn of what they did not get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/live.h"
#include "serve/live_feed.h"
#include "shm/topic.h"
#include "tests/fixture/instance.h"

#define SIZE   (1u << 20)
#define EVENTS 20u /* a second */

static const struct test_topic topics[] = {{"metric", SIZE, 1, {"m.0"}, NULL},
                                           {"track", SIZE, 1, {"t.0"}, NULL}};

struct fixture {
	struct sandbox sandbox;
	struct instance instance;
	struct topic_writer writer;
	struct live *live;
	struct live_settings settings;
	struct shm_error error;
	uint64_t now_ns;
	unsigned ticks;
};

static void note_wake(void *owner)
{
	(*(unsigned *)owner)++;
}

static char *make_tick(void *argument, size_t *bytes)
{
	struct fixture *f = argument;
	char *text = strdup("{\"type\":\"tick\"}");
	f->ticks++;
	*bytes = strlen(text);
	return text;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	*state = f;
	/* Ahead of what is looked at in between; messages are made an eighth of a second later. */
	f->now_ns = (clock_monotonic_ns() / NS_PER_SEC + 100) * NS_PER_SEC;
	f->settings = (struct live_settings){.clients = 5,
	                                     .subscriptions = 3,
	                                     .events = EVENTS,
	                                     .message = 16384,
	                                     .memory = 1u << 20,
	                                     .wake = note_wake,
	                                     .tick = make_tick,
	                                     .argument = f};
	if (sandbox_make(&f->sandbox) != 0 ||
	    instance_make(f->sandbox.directory, topics, 2, &f->error) != 0 ||
	    instance_attach(&f->instance, "test", SEGMENT_READ, &f->error) != 0 ||
	    topic_writer_attach(&f->writer, &f->instance, "metric", "m.0", &f->error) != 0)
		return -1;
	f->live = live_new(&f->settings);
	return f->live != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	live_free(f->live);
	topic_writer_detach(&f->writer);
	instance_detach(&f->instance);
	sandbox_remove(&f->sandbox);
	free(f);
	return 0;
}

/* ---- events and clients ---- */

static void put(struct fixture *f, const char *metric, int64_t count)
{
	struct event_metric event = {.arrival_ns = 1, .username_bytes = 1, .count = count};
	event.metric_bytes = (uint16_t)strlen(metric);
	uint32_t length = (uint32_t)sizeof event + 1 + event.metric_bytes;
	char *at = stream_reserve(&f->writer.stream, record_bytes(length));
	assert_non_null(at);
	at = mempcpy(record_put(at, EVENT_METRIC, length), &event, sizeof event);
	*at++ = 'u';
	memcpy(at, metric, event.metric_bytes);
	stream_commit(&f->writer.stream, record_bytes(length), 1);
}

static struct live_client *join(struct fixture *f, const char *filter, bool ticks, bool stream)
{
	struct live_wish wish;
	struct filters_why why;
	unsigned status;
	assert_int_equal(live_wish_init(&wish, "metric", EVENT_METRIC, filter, NULL, 0, ticks, &why), 0);
	struct live_client *client =
	        live_join(f->live, &f->instance, &wish, stream, f->now_ns, &status, &f->error);
	live_wish_fini(&wish);
	return client;
}

/* Its message, piece by piece of so many bytes; "" none. */
static const char *taken(struct live_client *client, size_t size)
{
	static char text[65536];
	struct live_piece piece = {.last = true};
	size_t n = 0;
	while (live_take(client, text + n, size, &piece)) {
		assert_int_equal(piece.first, n == 0);
		n += piece.bytes;
		assert_true(piece.bytes > 0 && piece.bytes <= size);
	}
	assert_true(piece.last);
	text[n] = '\0';
	return text;
}

static struct live_client *join_quietly(struct fixture *f, const char *filter)
{
	struct live_client *client = join(f, filter, false, false);
	assert_non_null(client);
	assert_non_null(strstr(taken(client, 4096), "\"hello\""));
	return client;
}

static void pass_time(struct fixture *f, uint64_t ns)
{
	f->now_ns += ns;
	while (live_poll(f->live, &f->instance, f->now_ns))
		;
}

static json_t *message(struct live_client *client)
{
	json_t *json = json_loads(taken(client, 4096), 0, NULL);
	assert_non_null(json);
	assert_string_equal(json_string_value(json_object_get(json, "type")), "events");
	return json;
}

static void expect(struct live_client *client, int seen, int passed, int skipped, int first, int n)
{
	json_t *json = message(client), *events = json_object_get(json, "events");
	assert_int_equal(json_integer_value(json_object_get(json, "seen")), seen);
	assert_int_equal(json_integer_value(json_object_get(json, "passed")), passed);
	assert_int_equal(json_integer_value(json_object_get(json, "skipped")), skipped);
	assert_int_equal(json_integer_value(json_object_get(json, "missed")), 0);
	assert_int_equal(json_array_size(events), n);
	for (int i = 0; i < n; i++)
		assert_int_equal(
		        json_integer_value(json_object_get(json_array_get(events, (size_t)i), "count")),
		        first + i);
	json_decref(json);
}

static struct live_counts look(struct fixture *f)
{
	struct live_counts counts;
	live_look(f->live, &counts);
	return counts;
}

/* ---- wishes ---- */

static int wish(struct live_wish *made, const char *topic, uint16_t type, const char *filter,
                const char *where)
{
	struct filters_why why = {""};
	int result = live_wish_init(made, topic, type, filter, &where, where != NULL, true, &why);
	assert_int_equal(result == -EINVAL, why.text[0] != '\0');
	return result;
}

static void a_wish_names_the_fields_that_are_compared(void **state)
{
	static const struct {
		const char *topic;
		uint16_t type;
		const char *filter, *where, *key;
	} good[] = {
	        {"track", EVENT_TRACK, "app_open", "color=red", "track\ntype=app_open\nparams.color=red"},
	        {"track", EVENT_TRACK, NULL, "country=DE", "track\ncountry=DE"},
	        {"track", EVENT_TRACK, NULL, "params.a.b=c=d", "track\nparams.a.b=c=d"},
	        {"track", EVENT_TRACK, NULL, "a.b=c", "track\nparams.a.b=c"},
	        {"track.raw", EVENT_TRACK_RAW, "x", NULL, "track.raw\ntype=x"},
	        {"metric", EVENT_METRIC, "kites", NULL, "metric\nmetric=kites"},
	        {"log", EVENT_LOG, "17", NULL, "log\nclient_id=17"},
	        {"delivery", EVENT_DELIVERY, "dead", "status=503", "delivery\noutcome=dead\nstatus=503"},
	        {"ip", EVENT_IP, NULL, "ip=10.0.0.1", "ip\nip=10.0.0.1"},
	        {"mine", EVENT_NONE, NULL, NULL, "mine"},
	        {NULL, EVENT_NONE, NULL, NULL, ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		struct live_wish made;
		assert_int_equal(wish(&made, good[i].topic, good[i].type, good[i].filter, good[i].where), 0);
		assert_string_equal(made.key, good[i].key);
		assert_non_null(strstr(made.hello, "\"type\":\"hello\""));
		live_wish_fini(&made);
	}
}

static void a_wish_that_no_event_can_fulfil_is_refused(void **state)
{
	static const struct {
		const char *topic;
		uint16_t type;
		const char *filter, *where;
	} bad[] = {
	        {NULL, EVENT_NONE, "x", NULL},
	        {NULL, EVENT_NONE, NULL, "a=b"},
	        {"ip", EVENT_IP, "x", NULL},
	        {"mine", EVENT_NONE, "x", NULL},
	        {"metric", EVENT_METRIC, NULL, "color=red"},
	        {"track", EVENT_TRACK, NULL, "color"},
	        {"track", EVENT_TRACK, NULL, "=red"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct live_wish made;
		assert_int_equal(wish(&made, bad[i].topic, bad[i].type, bad[i].filter, bad[i].where),
		                 -EINVAL);
		live_wish_fini(&made);
	}
}

/* ---- pieces ---- */

static void a_rate_lets_a_second_of_events_pass_at_once_and_then_one_after_another(void **state)
{
	struct live_rate rate;
	(void)state;
	live_rate_init(&rate, 10, 5 * NS_PER_SEC);
	for (unsigned i = 0; i < 10; i++)
		assert_true(live_rate_take(&rate, 5 * NS_PER_SEC));
	assert_false(live_rate_take(&rate, 5 * NS_PER_SEC));
	assert_false(live_rate_take(&rate, 5 * NS_PER_SEC + 99 * NS_PER_MS));
	assert_true(live_rate_take(&rate, 5 * NS_PER_SEC + 100 * NS_PER_MS));
	assert_false(live_rate_take(&rate, 4 * NS_PER_SEC)); /* a clock that goes back earns nothing */
	for (unsigned i = 0; i < 10; i++)
		assert_true(live_rate_take(&rate, 100 * NS_PER_SEC));
	assert_false(live_rate_take(&rate, 100 * NS_PER_SEC));
}

static void a_message_lives_as_long_as_somebody_holds_it_and_all_have_a_bound(void **state)
{
	struct live_budget budget = {.max = 100};
	(void)state;
	struct live_message *first = live_message_new(&budget, 60);
	assert_non_null(first);
	assert_null(live_message_new(&budget, 41));
	assert_null(live_message_new(&budget, SIZE_MAX));
	assert_ptr_equal(live_message_hold(first), first);
	live_message_release(first);
	assert_int_equal(budget.held, 60);
	struct live_message *second = live_message_new(&budget, 40);
	assert_non_null(second);
	live_message_release(first);
	live_message_release(second);
	live_message_release(NULL);
	assert_int_equal(budget.held, 0);
}

/* ---- clients ---- */

static void clients_that_want_the_same_share_one_subscription_and_one_message(void **state)
{
	struct fixture *f = *state;
	struct live_client *a = join_quietly(f, "kites"), *b = join_quietly(f, "kites"),
	                   *c = join_quietly(f, NULL);
	assert_int_equal(look(f).subscriptions, 2);
	for (int i = 0; i < 5; i++)
		put(f, i % 2 == 0 ? "kites" : "other", 10 + i / 2);
	pass_time(f, LIVE_WINDOW_NS);
	uint64_t held = look(f).held_bytes;
	live_leave(b);
	assert_int_equal(look(f).held_bytes, held);
	expect(a, 5, 3, 0, 10, 3);
	json_t *all = message(c);
	assert_int_equal(json_array_size(json_object_get(all, "events")), 5);
	json_decref(all);
	assert_int_equal(look(f).held_bytes, 0);
	assert_int_equal(look(f).events_sent, 3 + 3 + 5);
	pass_time(f, LIVE_WINDOW_NS); /* nothing came */
	assert_string_equal(taken(a, 10), "");
	live_leave(a);
	live_leave(c);
	assert_int_equal(look(f).subscriptions + look(f).clients, 0);
}

static void a_client_that_does_not_take_is_skipped_and_told_so(void **state)
{
	struct fixture *f = *state;
	struct live_client *slow = join_quietly(f, NULL), *quick = join_quietly(f, NULL);
	put(f, "m", 0);
	pass_time(f, LIVE_WINDOW_NS);
	expect(quick, 1, 1, 0, 0, 1);
	for (int i = 1; i <= 3; i++) {
		put(f, "m", i);
		pass_time(f, LIVE_WINDOW_NS);
		expect(quick, 1 + i, 1 + i, 0, i, 1);
	}
	assert_int_equal(look(f).events_skipped, 3);
	expect(slow, 1, 1, 0, 0, 1);
	put(f, "m", 4);
	pass_time(f, LIVE_WINDOW_NS);
	expect(slow, 5, 5, 3, 4, 1);
	expect(quick, 5, 5, 0, 4, 1);
}

static void what_is_over_the_rate_is_counted(void **state)
{
	struct fixture *f = *state;
	struct live_client *client = join_quietly(f, NULL);
	for (int i = 0; i < 50; i++)
		put(f, "m", i);
	pass_time(f, LIVE_WINDOW_NS);
	expect(client, 50, 50, 50 - EVENTS, 0, EVENTS);
	assert_int_equal(look(f).events_skipped, 50 - EVENTS);
}

static void a_client_that_comes_later_gets_what_comes_later(void **state)
{
	struct fixture *f = *state;
	struct live_client *first = join_quietly(f, NULL);
	pass_time(f, LIVE_WINDOW_NS);
	put(f, "m", 1);
	put(f, "m", 2);
	pass_time(f, LIVE_LOOK_NS); /* read, and no message yet */
	struct live_client *second = join_quietly(f, NULL), *third = join_quietly(f, NULL);
	put(f, "m", 3);
	pass_time(f, LIVE_WINDOW_NS);
	expect(first, 3, 3, 0, 1, 3);
	expect(second, 1, 1, 0, 3, 1);
	expect(third, 1, 1, 0, 3, 1);
	pass_time(f, LIVE_WINDOW_NS);
	assert_string_equal(taken(second, 100), "");
}

static void figures_are_made_once_for_all(void **state)
{
	struct fixture *f = *state;
	unsigned woken[3] = {0};
	struct live_client *client[3];
	for (unsigned i = 0; i < 3; i++) {
		client[i] = join(f, NULL, i < 2, i == 1);
		live_own(client[i], &woken[i]);
		assert_int_equal(woken[i], 1);
		(void)taken(client[i], 7);
	}
	pass_time(f, LIVE_TICK_NS);
	assert_int_equal(f->ticks, 1);
	assert_int_equal(woken[0] + 10 * woken[1] + 100 * woken[2], 122);
	assert_string_equal(taken(client[0], 5), "{\"type\":\"tick\"}");
	assert_string_equal(taken(client[2], 5), "");
	pass_time(f, LIVE_TICK_NS); /* client[1] has not taken its first one */
	assert_int_equal(look(f).ticks_skipped, 1);
	assert_string_equal(taken(client[1], 5), "event: tick\ndata: {\"type\":\"tick\"}\n\n");
	assert_true(live_wait(f->live, f->now_ns) <= LIVE_WINDOW_NS);
	pass_time(f, LIVE_SILENCE_NS);
	live_leave(client[0]);
	live_leave(client[1]);
	unsigned ticks = f->ticks;
	pass_time(f, LIVE_TICK_NS);
	assert_int_equal(f->ticks, ticks); /* nobody wants any */
	live_leave(client[2]);
	assert_int_equal(live_wait(f->live, f->now_ns), UINT64_MAX);
}

static void a_stream_is_never_silent_for_long(void **state)
{
	struct fixture *f = *state;
	struct live_client *client = join(f, NULL, false, true);
	assert_memory_equal(taken(client, 64), "retry: 2000\nevent: hello\ndata: {", 32);
	pass_time(f, LIVE_SILENCE_NS - LIVE_WINDOW_NS);
	assert_string_equal(taken(client, 64), "");
	pass_time(f, 2 * LIVE_WINDOW_NS);
	assert_string_equal(taken(client, 64), ":\n\n");
	put(f, "m", 1);
	pass_time(f, LIVE_WINDOW_NS);
	const char *text = taken(client, 64);
	assert_memory_equal(text, "event: events\ndata: {", 21);
	assert_string_equal(text + strlen(text) - 4, "]}\n\n");
}

static void there_are_bounds(void **state)
{
	struct fixture *f = *state;
	struct live_client *client[5];
	const char *const filters[] = {"a", "b", "c", "a", "b"};
	for (unsigned i = 0; i < 5; i++) {
		if (i == 3)
			assert_null(join(f, "d", true, false)); /* a fourth subscription */
		client[i] = join_quietly(f, filters[i]);
	}
	assert_null(join(f, "a", true, false)); /* a sixth client */
	assert_int_equal(look(f).refused, 2);
	live_leave(client[4]);
	assert_non_null(join(f, "c", true, false));
}

static void when_memory_is_used_up_clients_are_skipped(void **state)
{
	struct fixture *f = *state;
	live_free(f->live);
	f->settings.memory = 1000;
	f->live = live_new(&f->settings);
	struct live_client *slow = join_quietly(f, "a"), *other = join_quietly(f, NULL);
	for (int i = 0; i < 6; i++)
		put(f, i < 5 ? "a" : "b", i);
	pass_time(f, LIVE_WINDOW_NS); /* a message each; both do not fit */
	unsigned got = taken(slow, 4096)[0] != '\0';
	got += taken(other, 4096)[0] != '\0';
	assert_int_equal(got, 1);
	assert_int_equal(look(f).held_bytes, 0);
	put(f, "a", 6);
	pass_time(f, LIVE_WINDOW_NS);
	json_t *late = message(slow), *late_too = message(other);
	assert_int_equal(json_integer_value(json_object_get(late, "skipped")) +
	                                 json_integer_value(json_object_get(late_too, "skipped")) >
	                         0,
	                 1);
	json_decref(late);
	json_decref(late_too);
}

static void events_longer_than_a_message_are_left_out(void **state)
{
	struct fixture *f = *state;
	struct live_client *client = join_quietly(f, NULL);
	char *name = malloc(20001);
	memset(name, 'm', 20000);
	name[20000] = '\0';
	put(f, name, 1);
	put(f, "m", 2);
	pass_time(f, LIVE_WINDOW_NS);
	expect(client, 2, 2, 1, 2, 1);
	free(name);
}

static void a_topic_that_is_not_there_is_told(void **state)
{
	struct fixture *f = *state;
	struct live_wish made;
	struct filters_why why;
	unsigned status = 0;
	assert_int_equal(live_wish_init(&made, "nothing", EVENT_NONE, NULL, NULL, 0, true, &why), 0);
	assert_null(live_join(f->live, &f->instance, &made, false, f->now_ns, &status, &f->error));
	assert_int_equal(status, 404);
	live_wish_fini(&made);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_wish_names_the_fields_that_are_compared),
	        cmocka_unit_test(a_wish_that_no_event_can_fulfil_is_refused),
	        cmocka_unit_test(a_rate_lets_a_second_of_events_pass_at_once_and_then_one_after_another),
	        cmocka_unit_test(a_message_lives_as_long_as_somebody_holds_it_and_all_have_a_bound),
	        TEST(clients_that_want_the_same_share_one_subscription_and_one_message),
	        TEST(a_client_that_does_not_take_is_skipped_and_told_so),
	        TEST(what_is_over_the_rate_is_counted),
	        TEST(a_client_that_comes_later_gets_what_comes_later),
	        TEST(figures_are_made_once_for_all),
	        TEST(a_stream_is_never_silent_for_long),
	        TEST(there_are_bounds),
	        TEST(when_memory_is_used_up_clients_are_skipped),
	        TEST(events_longer_than_a_message_are_left_out),
	        TEST(a_topic_that_is_not_there_is_told),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
