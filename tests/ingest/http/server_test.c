/* The server between bytes and events: pieces, pipelines, limits, time-outs, without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>

#include "tests/fixture/http.h"

#define EVENT_BODY "{\"username\":\"kodingbot\",\"count\":12412414,\"metric\":\"kite_call\"}"
#define EVENT_HEAD \
	"POST /event HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 62\r\n\r\n"
#define EVENT EVENT_HEAD EVENT_BODY
_Static_assert(sizeof EVENT_BODY - 1 == 62, "the length in EVENT_HEAD");

static struct http_fixture fixture;

static unsigned count_of(const char *text, const char *needle)
{
	unsigned n = 0;
	while ((text = strstr(text, needle)) != NULL) {
		n++;
		text += strlen(needle);
	}
	return n;
}

static uint64_t records(const char *topic)
{
	return http_fixture_lane(&fixture, topic)->records;
}

static void assert_status(const char *answers, const char *status)
{
	char line[32];
	snprintf(line, sizeof line, "HTTP/1.1 %s", status);
	if (strncmp(answers, line, strlen(line)) != 0)
		fail_msg("wanted %s, got: %.200s", status, answers);
}

/* ---- pieces and pipelines ---- */

static void a_request_is_answered_whatever_pieces_it_comes_in(void **state)
{
	(void)state;
	for (size_t piece = 1; piece <= sizeof EVENT; piece++) {
		http_fixture_forget(&fixture);
		uint64_t before = records("metric");
		const char *answers = http_fixture_say_pieces(&fixture, EVENT, sizeof EVENT - 1, piece);
		assert_status(answers, "200 OK");
		assert_int_equal(count_of(answers, "HTTP/1.1"), 1);
		assert_int_equal(records("metric"), before + 1);
		assert_true(fixture.open);
		assert_int_equal(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes, 0);
	}
}

static void a_pipeline_is_answered_in_order_whatever_pieces_it_comes_in(void **state)
{
	(void)state;
	static const char pipeline[] = EVENT
	        "GET /t/a?x=1 HTTP/1.1\r\nHost: a\r\n\r\n" EVENT
	        "POST /event HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	        "5\r\n{\"use\r\n39\r\nrname\":\"kodingbot\",\"count\":12412414,\"metric\":\"kite_call\"}\r\n0\r\n\r\n"
	        "GET /log HTTP/1.1\r\nHost: a\r\n\r\n";
	for (size_t piece = 1; piece <= sizeof pipeline; piece++) {
		http_fixture_forget(&fixture);
		uint64_t before = records("metric"), tracked = records("track.raw");
		const char *answers = http_fixture_say_pieces(&fixture, pipeline, sizeof pipeline - 1, piece);
		if (count_of(answers, "HTTP/1.1 200 OK") != 5)
			fail_msg("pieces of %zu: %s", piece, answers);
		assert_non_null(strstr(answers, "\r\n\r\nOK"));
		assert_int_equal(records("metric"), before + 3);
		assert_int_equal(records("track.raw"), tracked + 1);
		assert_int_equal(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes, 0);
	}
}

static void a_client_that_does_not_read_its_answers_is_paused_and_loses_nothing(void **state)
{
	(void)state;
	enum { N = 2000 };
	fixture.hold = true;
	for (unsigned i = 0; i < N && !fixture.paused; i++)
		http_fixture_say(&fixture, EVENT);
	assert_true(fixture.paused);
	uint64_t taken = fixture.server.metrics.route[ROUTE_event][ROUTE_METRIC_requests];
	assert_true(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes <
	            8 * SERVER_BACKLOG_BYTES);
	fixture.hold = false;
	http_fixture_read(&fixture);
	assert_false(fixture.paused);
	uint64_t all = records("metric");
	assert_true(taken > 0 && all > taken);
	assert_int_equal(count_of(fixture.answers, "HTTP/1.1 200 OK"), all);
	assert_int_equal(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes, 0);
}

static void expect_continue_is_told_once_and_only_when_the_body_is_awaited(void **state)
{
	(void)state;
	static const char head[] = "POST /event HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
	                           "Content-Type: application/json\r\nContent-Length: 62\r\n\r\n";
	const char *answers = http_fixture_say(&fixture, head);
	assert_string_equal(answers, "HTTP/1.1 100 Continue\r\n\r\n");
	http_fixture_say_pieces(&fixture, EVENT_BODY, 62, 20);
	assert_int_equal(count_of(answers, "100 Continue"), 1);
	assert_int_equal(count_of(answers, "200 OK"), 1);
	http_fixture_forget(&fixture);
	char whole[400];
	snprintf(whole, sizeof whole, "%s%s", head, EVENT_BODY);
	assert_status(http_fixture_say(&fixture, whole), "200 OK");
	http_fixture_forget(&fixture);
	/* Refused at once: the body is not asked for. */
	assert_status(http_fixture_say(&fixture, "POST /event HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
	                                         "Content-Length: 99999999\r\n\r\n"),
	              "413");
	assert_false(fixture.open);
}

static void a_request_line_over_its_limit_is_answered_at_once(void **state)
{
	(void)state;
	static const char *const before[] = {"", "\r\n", "\r\n\r\n"};
	for (unsigned i = 0; i < 3; i++) {
		for (size_t piece = 1; piece < 3000; piece = piece * 3 + 1) {
			char text[4000];
			size_t begin = (size_t)snprintf(text, sizeof text, "%sGET /t/", before[i]);
			size_t most = strlen(before[i]) + fixture.server.settings.limits.line_bytes;
			memset(text + begin, 'x', sizeof text - begin);
			http_fixture_forget(&fixture);
			if (!fixture.open)
				http_fixture_connect(&fixture);
			assert_string_equal(http_fixture_say_pieces(&fixture, text, most, piece), "");
			assert_status(http_fixture_say_pieces(&fixture, text + most, 1, 1), "414");
		}
	}
}

static void a_long_head_with_a_short_line_is_taken_in_any_pieces(void **state)
{
	(void)state;
	char text[4000];
	int n = snprintf(text, sizeof text, "\r\nGET /t/x HTTP/1.1\r\nHost: a\r\nX: %03000d\r\n\r\n", 1);
	for (size_t piece = 1; piece < 4000; piece = piece * 3 + 1) {
		http_fixture_forget(&fixture);
		assert_status(http_fixture_say_pieces(&fixture, text, (size_t)n, piece), "200");
	}
}

/* ---- ends ---- */

static void connections_end_as_versions_and_fields_say(void **state)
{
	(void)state;
	static const struct {
		const char *request;
		bool open, linger;
	} cases[] = {
	        {"GET /log HTTP/1.1\r\nHost: a\r\n\r\n", true, false},
	        {"GET /log HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false, false},
	        {"GET /log HTTP/1.0\r\n\r\n", false, false},
	        {"GET /log HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, false},
	        {"GET /log HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", false, true},
	        {"GET /log HTTP/1.1\nHost: a\n\n", false, true},
	        {"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", true, false},
	        {"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", true, false},
	        {"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", false, true},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		if (!fixture.open)
			http_fixture_connect(&fixture);
		http_fixture_forget(&fixture);
		const char *answers = http_fixture_say(&fixture, cases[i].request);
		if (fixture.open != cases[i].open || count_of(answers, "HTTP/1.1 ") != 1)
			fail_msg("case %zu: open %d: %s", i, fixture.open, answers);
		assert_int_equal(strstr(answers, "Connection: close") == NULL, cases[i].open);
		if (!cases[i].open)
			assert_int_equal(fixture.lingered, cases[i].linger);
		assert_int_equal(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes, 0);
	}
}

static void nothing_is_read_behind_a_request_that_ends_the_connection(void **state)
{
	(void)state;
	const char *answers = http_fixture_say(
	        &fixture,
	        "POST /event HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
	        "0\r\n\r\n" EVENT);
	assert_status(answers, "400");
	assert_int_equal(count_of(answers, "HTTP/1.1"), 1);
	assert_int_equal(records("metric"), 0);
	assert_false(fixture.open);
}

static void a_half_closed_client_gets_all_its_answers(void **state)
{
	(void)state;
	fixture.hold = true;
	http_fixture_say(&fixture, EVENT EVENT);
	http_fixture_say(&fixture, EVENT);
	fixture.server.transport.events->ended(&fixture.server, 0, false);
	http_fixture_settle(&fixture);
	assert_true(fixture.open);
	http_fixture_read(&fixture);
	assert_int_equal(count_of(fixture.answers, "200 OK"), 3);
	assert_false(fixture.open);
	assert_int_equal(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes, 0);
}

static void a_drain_ends_connections_with_their_next_answer_and_then_the_idle_ones(void **state)
{
	(void)state;
	server_drain(&fixture.server);
	assert_status(http_fixture_say(&fixture, EVENT), "200 OK");
	assert_non_null(strstr(fixture.answers, "Connection: close"));
	assert_false(fixture.open);
	http_fixture_settle(&fixture);
	http_fixture_close(&fixture);
	http_fixture_init(&fixture);
	assert_int_equal(http_fixture_open(&fixture), 0);
	http_fixture_connect(&fixture);
	server_drain(&fixture.server);
	assert_true(fixture.open);
	server_end_idle(&fixture.server, false);
	assert_false(fixture.open);
	http_fixture_settle(&fixture);
	http_fixture_close(&fixture);
	http_fixture_init(&fixture);
	assert_int_equal(http_fixture_open(&fixture), 0);
	http_fixture_connect(&fixture);
	http_fixture_say(&fixture, EVENT_HEAD);
	server_drain(&fixture.server);
	server_end_idle(&fixture.server, false);
	assert_true(fixture.open);
	assert_status(http_fixture_say(&fixture, EVENT_BODY), "200 OK");
	assert_non_null(strstr(fixture.answers, "Connection: close"));
	assert_false(fixture.open);
}

/* ---- limits ---- */

static void what_is_too_long_is_refused(void **state)
{
	(void)state;
	char text[8192];
	const struct {
		const char *status;
		const char *format;
		int n;
	} cases[] = {
	        {"414", "GET /%0*d HTTP/1.1\r\nHost: a\r\n\r\n", 3000},
	        {"431", "GET / HTTP/1.1\r\nHost: a\r\nX: %0*d\r\n\r\n", 5000},
	        {"413", "POST /log HTTP/1.1\r\nHost: a\r\nContent-Length: %0*d70000\r\n\r\n", 1},
	        {"413", "POST /log HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1%0*d0\r\n", 4},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (size_t piece = 1; piece < 5000; piece *= 3) {
			http_fixture_forget(&fixture);
			http_fixture_connect(&fixture);
			int n = snprintf(text, sizeof text, cases[i].format, cases[i].n, i == 2 ? 1 : 0);
			const char *answers = http_fixture_say_pieces(&fixture, text, (size_t)n, piece);
			for (unsigned k = 0; i == 3 && k < 20 && fixture.open; k++) {
				memset(text, 'x', sizeof text);
				http_fixture_say_pieces(&fixture, text, 4096, 4096);
			}
			assert_status(answers, cases[i].status);
			assert_false(fixture.open);
			assert_int_equal(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes,
			                 0);
		}
	}
}

static void memory_that_is_used_up_ends_a_request_and_not_the_server(void **state)
{
	(void)state;
	http_fixture_close(&fixture);
	http_fixture_init(&fixture);
	fixture.server.settings.request_memory = 32768;
	assert_int_equal(http_fixture_open(&fixture), 0);
	http_fixture_connect(&fixture);
	static char body[60000];
	memset(body, ' ', sizeof body);
	http_fixture_say(&fixture, "POST /log HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
	http_fixture_say_pieces(&fixture, body, sizeof body, 4096);
	assert_false(fixture.open);
	assert_status(fixture.answers, "503");
	assert_non_null(strstr(fixture.answers, "\r\nRetry-After: 1\r\n"));
	assert_non_null(strstr(fixture.answers, "\r\nConnection: close\r\n"));
	assert_true(fixture.server.metrics.own[HTTP_memory_short] > 0);
	assert_int_equal(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes, 0);
	http_fixture_connect(&fixture);
	http_fixture_forget(&fixture);
	assert_status(http_fixture_say(&fixture, EVENT), "200 OK");
}

static void receive_at(uint32_t slot, const char *address, const char *text)
{
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_storage peer = {0};
	char copy[4096];
	size_t bytes = strlen(text);
	assert_true(bytes <= sizeof copy);
	inet_pton(AF_INET, address, &four.sin_addr);
	memcpy(&peer, &four, sizeof four);
	memcpy(copy, text, bytes);
	if (fixture.server.connection[slot].state == CONNECTION_FREE)
		fixture.server.transport.events->opened(&fixture.server, slot, 0, &peer);
	fixture.server.transport.events->received(&fixture.server, slot, copy, bytes);
	http_fixture_read(&fixture);
}

static void use_fixture_with(uint64_t request_memory, uint64_t answer_memory, uint32_t share)
{
	http_fixture_close(&fixture);
	http_fixture_init(&fixture);
	fixture.server.settings.request_memory = request_memory;
	fixture.server.settings.answer_memory = answer_memory;
	fixture.server.settings.request_memory_share = share;
	assert_int_equal(http_fixture_open(&fixture), 0);
	http_fixture_connect(&fixture);
}

#define HALF_A_POST "POST /log HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n{"

static void bodies_that_hold_all_memory_take_nothing_from_answers(void **state)
{
	(void)state;
	use_fixture_with(4 * POOL_BLOCK_MIN, 1024 * 1024, 100);
	for (uint32_t slot = 1; slot <= 4; slot++)
		receive_at(slot, "10.0.0.1", HALF_A_POST);
	assert_int_equal(fixture.server.pool.used_bytes, 4 * POOL_BLOCK_MIN);
	for (unsigned i = 0; i < 50; i++) {
		http_fixture_forget(&fixture);
		assert_status(http_fixture_say(&fixture, EVENT), "200 OK");
	}
	/* One that would have to be kept is told so, and behind an answer under way, too. */
	http_fixture_forget(&fixture);
	fixture.hold = true;
	http_fixture_say(&fixture, EVENT);
	http_fixture_say(&fixture, HALF_A_POST);
	fixture.hold = false;
	http_fixture_read(&fixture);
	assert_status(fixture.answers, "200 OK");
	assert_non_null(strstr(fixture.answers, "HTTP/1.1 503 "));
	assert_int_equal(count_of(fixture.answers, "HTTP/1.1"), 2);
	assert_false(fixture.open);
}

static void the_requests_of_an_address_hold_their_share_and_no_more(void **state)
{
	(void)state;
	use_fixture_with(1024 * 1024, 1024 * 1024, 1); /* one request, for 1 % is less */
	uint64_t share = fixture.server.share_bytes;
	assert_int_equal(share, 131072);
	char body[3001];
	memset(body, ' ', 3000);
	body[3000] = 0;
	/* Of three requests of one address only as much is held as a share has room for; another
	 * address, and one that is trusted, are not limited by it. */
	for (uint32_t slot = 1; slot <= 3; slot++)
		receive_at(slot, "10.0.0.1", HALF_A_POST);
	for (unsigned i = 0; i < 16; i++)
		for (uint32_t slot = 1; slot <= 3; slot++)
			if (fixture.server.connection[slot].state != CONNECTION_FREE)
				receive_at(slot, "10.0.0.1", body), http_fixture_settle(&fixture);
	assert_true(fixture.server.metrics.own[HTTP_memory_over_share] > 0);
	assert_non_null(strstr(fixture.answers, "HTTP/1.1 503 "));
	assert_true(fixture.server.pool.used_bytes <= share && fixture.server.pool.used_bytes > share / 4);
	receive_at(4, "10.0.0.2", HALF_A_POST);
	for (unsigned i = 0; i < 16; i++)
		receive_at(4, "10.0.0.2", body);
	assert_true(fixture.server.connection[4].input_bytes > 48000);
	for (uint32_t slot = 5; slot <= 7; slot++)
		receive_at(slot, "127.0.0.1", HALF_A_POST);
	for (unsigned i = 0; i < 16; i++)
		for (uint32_t slot = 5; slot <= 7; slot++)
			receive_at(slot, "127.0.0.1", body);
	assert_true(fixture.server.connection[5].input_bytes > 48000 &&
	            fixture.server.connection[7].input_bytes > 48000);
	for (uint32_t slot = 1; slot <= 7; slot++)
		if (fixture.server.connection[slot].state != CONNECTION_FREE)
			transport_close(&fixture.server.transport, slot, false);
	http_fixture_settle(&fixture);
	assert_int_equal(fixture.server.pool.used_bytes, 0);
}

static void without_memory_for_answers_there_is_one_all_the_same(void **state)
{
	(void)state;
	use_fixture_with(1024 * 1024, POOL_BLOCK_MIN, 100); /* less than an output */
	assert_status(http_fixture_say(&fixture, EVENT), "503");
	assert_non_null(strstr(fixture.answers, "\r\nConnection: close\r\n"));
	assert_false(fixture.open);
	assert_int_equal(records("metric"), 0);
	assert_int_equal(fixture.server.metrics.own[HTTP_answer_memory_short], 1);
	http_fixture_connect(&fixture);
	http_fixture_forget(&fixture);
	http_fixture_say(&fixture, HALF_A_POST);
	assert_status(fixture.answers, "503");
}

static void an_address_has_so_many_connections_and_no_more(void **state)
{
	(void)state;
	const struct transport_events *events = fixture.server.transport.events;
	struct sockaddr_storage peer = {0};
	struct sockaddr_in *four = (void *)&peer;
	four->sin_family = AF_INET;
	inet_pton(AF_INET, "10.9.8.7", &four->sin_addr); /* one is open already */
	for (uint32_t slot = 1; slot <= 3; slot++)
		events->opened(&fixture.server, slot, 0, &peer);
	assert_int_equal(fixture.server.metrics.own[HTTP_connections_over_cap], 0);
	events->opened(&fixture.server, 4, 0, &peer);
	http_fixture_settle(&fixture);
	assert_int_equal(fixture.server.metrics.own[HTTP_connections_over_cap], 1);
	assert_int_equal(fixture.server.connection[4].state, CONNECTION_FREE);
	transport_close(&fixture.server.transport, 1, false);
	http_fixture_settle(&fixture);
	events->opened(&fixture.server, 4, 0, &peer);
	assert_int_equal(fixture.server.connection[4].state, CONNECTION_HEAD);
	/* A trusted proxy brings many clients. */
	inet_pton(AF_INET, "127.0.0.1", &four->sin_addr);
	for (uint32_t slot = 5; slot < 8; slot++)
		events->opened(&fixture.server, slot, 0, &peer);
	events->opened(&fixture.server, 1, 0, &peer);
	assert_int_equal(fixture.server.connection[1].state, CONNECTION_HEAD);
	assert_int_equal(fixture.server.metrics.own[HTTP_connections_over_cap], 1);
}

/* ---- time ---- */

static void a_slow_head_is_answered_408_in_time_however_it_drips(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 9; i++) {
		http_fixture_say(&fixture, i == 0 ? "GET / HTTP/1.1\r\n" : "X: y\r\n");
		http_fixture_pass(&fixture, NS_PER_SEC);
	}
	assert_true(fixture.open);
	http_fixture_pass(&fixture, 2 * NS_PER_SEC);
	assert_status(fixture.answers, "408");
	assert_false(fixture.open);
	assert_int_equal(fixture.server.metrics.own[HTTP_connections_late], 1);
	assert_int_equal(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes, 0);
}

static void a_slow_body_is_answered_408(void **state)
{
	(void)state;
	http_fixture_say(&fixture, EVENT_HEAD);
	for (unsigned i = 0; i < 19; i++) {
		http_fixture_say(&fixture, " ");
		http_fixture_pass(&fixture, NS_PER_SEC);
	}
	assert_true(fixture.open);
	http_fixture_pass(&fixture, 2 * NS_PER_SEC);
	assert_status(fixture.answers, "408");
	assert_false(fixture.open);
	assert_int_equal(records("metric"), 0);
}

static void an_idle_connection_ends_silently_after_its_last_answer(void **state)
{
	(void)state;
	assert_status(http_fixture_say(&fixture, EVENT), "200 OK");
	http_fixture_pass(&fixture, 50 * NS_PER_SEC);
	assert_status(http_fixture_say(&fixture, EVENT), "200 OK");
	http_fixture_forget(&fixture);
	http_fixture_pass(&fixture, 59 * NS_PER_SEC);
	assert_true(fixture.open);
	http_fixture_pass(&fixture, 2 * NS_PER_SEC);
	assert_false(fixture.open);
	assert_int_equal(fixture.used, 0);
	assert_int_equal(fixture.server.metrics.own[HTTP_connections_idle_ended], 1);
}

static void a_connection_that_says_nothing_ends_after_the_time_of_a_head(void **state)
{
	(void)state;
	http_fixture_pass(&fixture, 9 * NS_PER_SEC);
	assert_true(fixture.open);
	http_fixture_pass(&fixture, 2 * NS_PER_SEC);
	assert_false(fixture.open);
	assert_int_equal(fixture.used, 0);
}

static void a_client_that_never_reads_is_ended(void **state)
{
	(void)state;
	fixture.hold = true;
	http_fixture_say(&fixture, EVENT);
	http_fixture_pass(&fixture, 29 * NS_PER_SEC);
	assert_true(fixture.open);
	http_fixture_pass(&fixture, 2 * NS_PER_SEC);
	assert_false(fixture.open);
	assert_int_equal(fixture.server.metrics.own[HTTP_connections_write_late], 1);
	assert_int_equal(fixture.server.pool.used_bytes + fixture.server.answers.used_bytes, 0);
}

/* ---- who asks ---- */

static void assert_source(const char *text)
{
	const struct lane *lane = http_fixture_lane(&fixture, "metric");
	const struct event_head *head = NULL;
	for (size_t at = 0; at < lane->used;) {
		const struct record *record = (const void *)(lane->base + at);
		head = (const void *)(record + 1);
		at += record_bytes(record->length);
	}
	char shown[INET6_ADDRSTRLEN];
	assert_non_null(head);
	assert_non_null(inet_ntop(AF_INET6, head->source, shown, sizeof shown));
	assert_string_equal(shown, text);
}

static void forwarding_headers_count_from_trusted_peers_only(void **state)
{
	(void)state;
	static const char forwarded[] =
	        "POST /event HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n"
	        "Content-Length: 62\r\n\r\n" EVENT_BODY;
	http_fixture_say(&fixture, forwarded);
	assert_source("::ffff:10.9.8.7");
	transport_close(&fixture.server.transport, 0, false);
	http_fixture_connect_from(&fixture, "127.0.0.1");
	http_fixture_say(&fixture, forwarded);
	assert_source("::ffff:192.0.2.1");
}

static void a_proxy_header_names_the_client_and_is_demanded(void **state)
{
	(void)state;
	fixture.server.settings.proxy_protocol = true;
	transport_close(&fixture.server.transport, 0, false);
	static const char proxied[] = "PROXY TCP4 192.0.2.9 192.0.2.10 1000 80\r\n" EVENT;
	for (size_t piece = 1; piece < sizeof proxied; piece++) {
		http_fixture_connect_from(&fixture, "127.0.0.1");
		http_fixture_forget(&fixture);
		assert_status(http_fixture_say_pieces(&fixture, proxied, sizeof proxied - 1, piece),
		              "200 OK");
		assert_source("::ffff:192.0.2.9");
		transport_close(&fixture.server.transport, 0, false);
	}
	http_fixture_connect_from(&fixture, "127.0.0.1");
	http_fixture_forget(&fixture);
	http_fixture_say(&fixture, EVENT);
	assert_false(fixture.open);
	assert_int_equal(fixture.used, 0);
	assert_int_equal(fixture.server.metrics.own[HTTP_proxy_headers_bad], 1);
}

#define TEST(name) \
	cmocka_unit_test_prestate_setup_teardown(name, http_fixture_set_up, http_fixture_tear_down, &fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_request_is_answered_whatever_pieces_it_comes_in),
	        TEST(a_pipeline_is_answered_in_order_whatever_pieces_it_comes_in),
	        TEST(a_client_that_does_not_read_its_answers_is_paused_and_loses_nothing),
	        TEST(expect_continue_is_told_once_and_only_when_the_body_is_awaited),
	        TEST(a_request_line_over_its_limit_is_answered_at_once),
	        TEST(a_long_head_with_a_short_line_is_taken_in_any_pieces),
	        TEST(connections_end_as_versions_and_fields_say),
	        TEST(nothing_is_read_behind_a_request_that_ends_the_connection),
	        TEST(a_half_closed_client_gets_all_its_answers),
	        TEST(a_drain_ends_connections_with_their_next_answer_and_then_the_idle_ones),
	        TEST(what_is_too_long_is_refused),
	        TEST(memory_that_is_used_up_ends_a_request_and_not_the_server),
	        TEST(bodies_that_hold_all_memory_take_nothing_from_answers),
	        TEST(the_requests_of_an_address_hold_their_share_and_no_more),
	        TEST(without_memory_for_answers_there_is_one_all_the_same),
	        TEST(an_address_has_so_many_connections_and_no_more),
	        TEST(a_slow_head_is_answered_408_in_time_however_it_drips),
	        TEST(a_slow_body_is_answered_408),
	        TEST(an_idle_connection_ends_silently_after_its_last_answer),
	        TEST(a_connection_that_says_nothing_ends_after_the_time_of_a_head),
	        TEST(a_client_that_never_reads_is_ended),
	        TEST(forwarding_headers_count_from_trusted_peers_only),
	        TEST(a_proxy_header_names_the_client_and_is_demanded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
