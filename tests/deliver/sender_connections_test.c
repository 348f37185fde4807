/* The sender: which connections it keeps, which addresses it goes to, whose answer it works on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/deliver/talk.h"

/* ---- connections ---- */

static void a_connection_is_kept_and_its_times_are_zero(void **state)
{
	struct talk *f = *state;
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(i % 2 ? talk_get(f, "/") : talk_post(f, "/", "x=y"), 0);
		assert_int_equal(f->request.reused, i > 0);
		assert_true((f->request.connect_us > 0) == (i == 0));
		assert_memory_equal(f->request.address, f->place.address[0], 16);
	}
	assert_int_equal(little_connections(f->server), 1);
	assert_int_equal(f->vetted, 21); /* once before it connects, then before each request */
}

static void without_idle_connections_each_request_has_its_own(void **state)
{
	struct talk *f = *state;
	struct sender_options options = talk_usual;
	options.connections_kept = 0;
	talk_open(f, options);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(talk_get(f, "/"), 0);
	assert_int_equal(little_connections(f->server), 3);
}

static void a_connection_is_not_used_beyond_its_lifetime(void **state)
{
	struct talk *f = *state;
	struct sender_options options = talk_usual;
	options.lifetime_ns = NS_PER_SEC;
	talk_open(f, options);
	assert_int_equal(talk_get(f, "/"), 0);
	usleep(2100000); /* libcurl counts whole seconds */
	assert_int_equal(talk_get(f, "/"), 0);
	assert_false(f->request.reused);
}

static void handles_and_connections_are_used_again(void **state)
{
	struct talk *f = *state;
	struct sender_request request[4];
	for (unsigned turn = 0; turn < 50; turn++) {
		for (unsigned i = 0; i < 4; i++) {
			talk_prepare(f, &request[i], i % 2 ? "GET" : "POST", "/");
			assert_int_equal(f->sender->ops->start(f->sender, &request[i], clock_monotonic_ns()),
			                 0);
		}
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(talk_await(f->sender)->result, 0);
	}
	assert_true(little_connections(f->server) <= 4);
	assert_int_equal(little_requests(f->server), 200);
}

/* Whoever sleeps on the descriptor would never sleep again. */
static void an_idle_connection_that_is_closed_wakes_nobody_for_long(void **state)
{
	struct talk *f = *state;
	struct pollfd look = {.fd = f->sender->ops->fd(f->sender), .events = POLLIN};
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(talk_get(f, "/leave"), 0);
		assert_true(poll(&look, 1, 100) <= 1);
		assert_null(f->sender->ops->next(f->sender, clock_monotonic_ns()));
		assert_int_equal(poll(&look, 1, 0), 0);
		int r = talk_get(f, "/");
		assert_true(r == 0 || (r == -EPIPE && f->request.reused));
	}
}

static void what_is_cancelled_never_comes_back(void **state)
{
	struct talk *f = *state;
	struct sender_request other;
	talk_prepare(f, &f->request, "GET", "/hang");
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(f->sender->ops->start(f->sender, &f->request, clock_monotonic_ns()), 0);
		for (unsigned k = 0; k < i; k++) {
			assert_null(f->sender->ops->next(f->sender, clock_monotonic_ns()));
			talk_wait(f->sender, NS_PER_MS);
		}
		f->sender->ops->cancel(f->sender, &f->request);
	}
	/* one that has ended and was not fetched */
	talk_prepare(f, &f->request, "BAD METHOD", "/");
	assert_int_equal(f->sender->ops->start(f->sender, &f->request, clock_monotonic_ns()), 0);
	f->sender->ops->cancel(f->sender, &f->request);
	talk_prepare(f, &other, "GET", "/");
	assert_int_equal(talk_send(f, &other), 0);
	assert_null(f->sender->ops->next(f->sender, clock_monotonic_ns()));
	/* closed with one under way */
	talk_prepare(f, &f->request, "GET", "/hang");
	assert_int_equal(f->sender->ops->start(f->sender, &f->request, clock_monotonic_ns()), 0);
	f->sender->ops->next(f->sender, clock_monotonic_ns());
}

/* ---- addresses ---- */

static void a_forbidden_address_is_not_connected_to(void **state)
{
	struct talk *f = *state;
	f->forbidden = true;
	assert_int_equal(talk_get(f, "/"), -EACCES);
	assert_false(f->request.sent);
	assert_int_equal(f->vetted, 1);
	assert_string_equal(f->request.reason, "the address is forbidden");
	assert_memory_equal(f->request.address, f->place.address[0], 16);
	assert_int_equal(little_connections(f->server), 0);
}

static void an_address_is_vetted_before_each_request_of_a_kept_connection(void **state)
{
	struct talk *f = *state;
	assert_int_equal(talk_get(f, "/"), 0);
	f->forbidden = true;
	assert_int_equal(talk_get(f, "/"), -EACCES);
	assert_false(f->request.sent);
	assert_int_equal(little_requests(f->server), 1);
	f->forbidden = false;
	assert_int_equal(talk_get(f, "/"), 0);
	assert_int_equal(little_requests(f->server), 2);
}

static void a_name_goes_where_its_place_says_and_nobody_looks_it_up(void **state)
{
	struct talk *f = *state;
	static const char *const host[] = {"hooks.example.com",
	                                   "HOOKS.example.com",
	                                   "localhost",
	                                   "127.0.0.1",
	                                   "10.1.2.3",
	                                   "2130706433",
	                                   "0x7f.1",
	                                   "0177.0.0.1",
	                                   "trailing.example.com.",
	                                   "xn--bcher-kva.example"};
	for (unsigned i = 0; i < sizeof host / sizeof host[0]; i++) {
		talk_place(&f->place, host[i], f->place.port, "127.0.0.1", 1);
		if (talk_get(f, "/") != 0)
			fail_msg("%s: %s", host[i], f->request.reason);
		assert_memory_equal(f->request.address, f->place.address[0], 16);
	}
}

static void a_url_with_another_host_than_its_place_goes_nowhere(void **state)
{
	struct talk *f = *state;
	talk_prepare(f, &f->request, "GET", "/");
	snprintf(f->url, sizeof f->url, "http://elsewhere.example.com:%u/", f->place.port);
	assert_int_equal(talk_send(f, &f->request), -EINVAL);
	assert_int_equal(little_connections(f->server), 0);
}

/* libcurl's list of addresses would take it for the order to forget hooks.example.com. */
static void a_host_that_begins_with_a_hyphen_takes_no_other_out(void **state)
{
	struct talk *f = *state;
	struct sender_place place = f->place;
	struct sender_options options = talk_usual;
	options.connections_kept = 0;
	talk_open(f, options);
	assert_int_equal(talk_get(f, "/"), 0);
	talk_place(&f->place, "-hooks.example.com", place.port, "127.0.0.1", 2);
	assert_int_equal(talk_get(f, "/"), -EINVAL);
	f->place = place;
	assert_int_equal(talk_get(f, "/"), 0);
}

static void new_addresses_count_from_the_next_connection_on(void **state)
{
	struct talk *f = *state;
	struct sender_options options = talk_usual;
	options.connections_kept = 0;
	f->anywhere = f->forbidden = true;
	talk_open(f, options);
	for (uint8_t i = 1; i < 10; i++) {
		f->place.serial = i;
		f->place.address[0][15] = i;
		for (unsigned k = 0; k < 2; k++) {
			assert_int_equal(talk_get(f, "/"), -EACCES);
			assert_int_equal(f->request.address[15], i);
		}
		if (i % 3 == 0)
			f->sender->ops->forget(f->sender, &f->place);
		if (i % 6 == 0)
			f->sender->ops->forget(f->sender, &f->place);
	}
}

/* Nobody listens at the first address. */
static void every_address_of_a_place_is_tried(void **state)
{
	struct talk *f = *state;
	f->anywhere = true;
	f->place.n = 3;
	memcpy(f->place.address[2], f->place.address[0], 16);
	memcpy(f->place.address[1], f->place.address[0], 16);
	f->place.address[1][14] = 9;
	memset(f->place.address[0], 0, 16);
	f->place.address[0][15] = 1; /* ::1 */
	assert_int_equal(talk_get(f, "/"), 0);
	assert_memory_equal(f->request.address, f->place.address[2], 16);
	assert_true(f->vetted >= 3);
}

static void what_is_forgotten_leaves_libcurl(void **state)
{
	struct talk *f = *state;
	struct sender_place place[60];
	for (unsigned turn = 0; turn < 3; turn++)
		for (unsigned i = 0; i < 60; i++) {
			char host[32];
			snprintf(host, sizeof host, "h%u.example.com", i);
			talk_place(&f->place, host, (uint16_t)little_port(f->server), "127.0.0.1", turn + 1);
			assert_int_equal(talk_get(f, "/"), 0);
			place[i] = f->place;
			if (i >= 10)
				f->sender->ops->forget(f->sender, &place[i - 10]);
		}
	/* it does not know the name any more, and so the request with this URL goes nowhere */
	talk_prepare(f, &f->request, "GET", "/");
	snprintf(f->url, sizeof f->url, "http://h20.example.com:%u/", f->place.port);
	assert_int_equal(talk_send(f, &f->request), -EINVAL);
}

static void an_ipv6_address_in_the_url_is_taken_as_it_is(void **state)
{
	struct talk *f = *state;
	talk_prepare(f, &f->request, "GET", "/");
	snprintf(f->place.host, sizeof f->place.host, "::ffff:127.0.0.1");
	snprintf(f->url, sizeof f->url, "http://[::ffff:127.0.0.1]:%u/", f->place.port);
	for (unsigned i = 0; i < 2; i++) {
		if (talk_send(f, &f->request) != 0)
			fail_msg("%s", f->request.reason);
		assert_int_equal(f->request.reused, i > 0);
	}
	assert_true(f->vetted >= 3);
	f->sender->ops->forget(f->sender, &f->place);
}

/* ---- whose answer it is ---- */

static void what_libcurl_reads_is_laid_to_its_request(void **state)
{
	struct talk *f = *state;
	struct sender_options options = talk_usual;
	char url[4][sizeof f->url];
	options.working = talk_note_work;
	talk_open(f, options);
	memset(&talk_work, 0, sizeof talk_work);
	talk_work.thread = pthread_self();
	for (unsigned round = 1; round <= 3; round++) { /* the later ones over kept connections */
		for (unsigned i = 0; i < 4; i++) {
			char path[] = {'/', 'm', 'a', 'r', 'k', '-', (char)('0' + i), '\0'};
			talk_prepare(f, &talk_work.request[i], "GET", path);
			snprintf(url[i], sizeof url[i], "%s", f->url);
			talk_work.request[i].url = url[i];
			talk_work.request[i].owner = &talk_work.request[i];
			assert_int_equal(
			        f->sender->ops->start(f->sender, &talk_work.request[i], clock_monotonic_ns()),
			        0);
			talk_work.owner = NULL; /* what comes in later is laid to nobody by chance */
		}
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(talk_await(f->sender)->status, 200);
			assert_null(talk_work.owner);
		}
		assert_int_equal(talk_work.right, 4 * round);
	}
	assert_int_equal(talk_work.wrong, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, talk_set_up, talk_tear_down)

int main(void)
{
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	const struct CMUnitTest tests[] = {
	        TEST(what_libcurl_reads_is_laid_to_its_request),
	        TEST(a_connection_is_kept_and_its_times_are_zero),
	        TEST(without_idle_connections_each_request_has_its_own),
	        TEST(a_connection_is_not_used_beyond_its_lifetime),
	        TEST(handles_and_connections_are_used_again),
	        TEST(an_idle_connection_that_is_closed_wakes_nobody_for_long),
	        TEST(what_is_cancelled_never_comes_back),
	        TEST(a_forbidden_address_is_not_connected_to),
	        TEST(an_address_is_vetted_before_each_request_of_a_kept_connection),
	        TEST(a_name_goes_where_its_place_says_and_nobody_looks_it_up),
	        TEST(a_url_with_another_host_than_its_place_goes_nowhere),
	        TEST(a_host_that_begins_with_a_hyphen_takes_no_other_out),
	        TEST(new_addresses_count_from_the_next_connection_on),
	        TEST(every_address_of_a_place_is_tried),
	        TEST(what_is_forgotten_leaves_libcurl),
	        TEST(an_ipv6_address_in_the_url_is_taken_as_it_is),
	};
	talk_ops = &sender_curl;
	int failed = cmocka_run_group_tests_name("libcurl", tests, NULL, NULL);
	talk_ops = &sender_auto;
	return failed + cmocka_run_group_tests_name("plain where it can", tests, NULL, NULL);
}
