/* What each route takes, writes and answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <zlib.h>

#include "tests/fixture/http.h"

static struct http_fixture fixture;

/* The answer to one request, on a new connection when the last one has ended. */
static const char *ask(const char *text, size_t bytes)
{
	if (!fixture.open)
		http_fixture_connect(&fixture);
	http_fixture_forget(&fixture);
	return http_fixture_say_pieces(&fixture, text, bytes, 4096);
}

static const char *ask_text(const char *text)
{
	return ask(text, strlen(text));
}

static const char *post(const char *path, const char *type, const char *body)
{
	char text[4096];
	int n = snprintf(
	        text, sizeof text,
	        "POST %s HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1\r\n%s%s%sContent-Length: %zu\r\n\r\n%s",
	        path, type == NULL ? "" : "Content-Type: ", type == NULL ? "" : type,
	        type == NULL ? "" : "\r\n", strlen(body), body);
	return ask(text, (size_t)n);
}

static const char *get(const char *path)
{
	char text[4096];
	int n = snprintf(text, sizeof text,
	                 "GET %s HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1\r\n\r\n", path);
	return ask(text, (size_t)n);
}

static const char *body_of(const char *answer)
{
	const char *at = strstr(answer, "\r\n\r\n");
	return at == NULL ? "" : at + 4;
}

static void assert_answer(const char *answer, const char *status, const char *body)
{
	char line[64];
	snprintf(line, sizeof line, "HTTP/1.1 %s", status);
	if (strncmp(answer, line, strlen(line)) != 0 || strcmp(body_of(answer), body) != 0)
		fail_msg("wanted %s %s, got: %s", status, body, answer);
}

/* The last record of a topic as JSON, but for its id and ts. */
static const char *last(const char *topic, char text[4096])
{
	const struct lane *lane = http_fixture_lane(&fixture, topic);
	const struct record *record = NULL;
	for (size_t at = 0; at < lane->used; at += record_bytes(record->length))
		record = (const void *)(lane->base + at);
	if (record == NULL)
		return "";
	int n = event_json(text, 4095, record, "g-t-0", 7);
	assert_true(n > 0);
	text[n] = 0;
	const char *at = strstr(text, "\"ip\"");
	return at == NULL ? text : at;
}

/* ---- /event ---- */

static void an_event_needs_its_three_fields_and_says_which_is_wrong(void **state)
{
	(void)state;
	char text[4096];
	const char *json = "application/json; charset=utf-8";
	assert_answer(post("/event", json, "{\"username\":\"a\",\"count\":1,\"metric\":\"m\"}"), "200 OK",
	              "{\"status\":\"ok\"}");
	assert_string_equal(last("metric", text),
	                    "\"ip\":\"10.9.8.7\",\"username\":\"a\",\"count\":1,\"metric\":\"m\"}");
	static const struct {
		const char *body, *where;
	} wrong[] = {
	        {"{\"username\":\"a\",\"count\":1}", "metric"},
	        {"{\"username\":\"\",\"count\":1,\"metric\":\"m\"}", "username"},
	        {"{\"username\":\"a\",\"count\":1.5,\"metric\":\"m\"}", "count"},
	        {"{\"username\":\"a\",\"count\":\"1\",\"metric\":\"m\"}", "count"},
	        {"{\"username\":\"a\",\"count\":9223372036854775808,\"metric\":\"m\"}", "count"},
	        {"{\"username\":\"a\",\"count\":1,\"metric\":null}", "metric"},
	        {"{\"username\":\"a\",\"count\":1,\"metric\":\"m\"", "body"},
	        {"[]", "body"},
	        {"", "body"},
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		const char *answer = post("/event", json, wrong[i].body);
		char where[64];
		snprintf(where, sizeof where, "\"where\": \"%s\"}", wrong[i].where);
		if (strncmp(answer, "HTTP/1.1 400", 12) != 0 || strstr(answer, where) == NULL ||
		    strstr(answer, "{\"error\": \"") == NULL ||
		    strstr(answer, "Content-Type: application/json\r\n") == NULL)
			fail_msg("%s: %s", wrong[i].body, answer);
		assert_true(fixture.open);
	}
	const struct lane *lane = http_fixture_lane(&fixture, "metric");
	assert_int_equal(lane->records, 1);
	assert_int_equal(lane->received, 1 + sizeof wrong / sizeof *wrong);
}

static void methods_and_types_are_refused_with_what_is_allowed(void **state)
{
	(void)state;
	const char *answer = get("/event");
	assert_non_null(strstr(answer, "405 Method Not Allowed"));
	assert_non_null(strstr(answer, "\r\nAllow: POST\r\n"));
	assert_non_null(strstr(post("/event", "text/xml", "{}"), "400 "));
	assert_non_null(strstr(post("/event", "application/jsonx", "{}"), "\"where\": \"Content-Type\""));
	assert_non_null(
	        strstr(post("/event", "application/json ; charset=utf-8", "{}"), "\"where\": \"username\""));
	assert_non_null(strstr(post("/batch", "text/xml", "[]"), "415 "));
	assert_non_null(strstr(post("/t/a", "multipart/form-data; boundary=x", "x"), "415 "));
	assert_non_null(strstr(ask_text("DELETE /log HTTP/1.1\r\nHost: a\r\n\r\n"),
	                       "\r\nAllow: GET, HEAD, POST\r\n"));
	assert_non_null(strstr(ask_text("OPTIONS /log HTTP/1.1\r\nHost: a\r\n\r\n"), "405 "));
	assert_non_null(strstr(ask_text("HEAD /log HTTP/1.1\r\nHost: a\r\n\r\n"), "200 OK"));
	assert_non_null(strstr(ask_text("PUT /t/x HTTP/1.1\r\nHost: a\r\n\r\n"), "405 "));
	assert_non_null(strstr(post("/elsewhere", NULL, "x"), "404 "));
	assert_non_null(strstr(
	        ask_text(
	                "POST /event HTTP/1.1\r\nHost: a\r\nContent-Encoding: br\r\nContent-Length: 0\r\n\r\n"),
	        "415 "));
	assert_non_null(strstr(ask_text("OPTIONS /event HTTP/1.1\r\nHost: a\r\n\r\n"), "405 "));
	answer = ask_text("OPTIONS /batch HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_non_null(strstr(answer, "204 No Content"));
	assert_null(strstr(answer, "Content-Length"));
	assert_non_null(strstr(ask_text("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), "204 "));
}

static void probes_and_reads_are_no_tracking_calls(void **state)
{
	(void)state;
	static const char *const reads[] = {
	        "/events",
	        "/events/6d1c170cf5c1183c860763b281385e96737a74e5f8908fafafcc5252147fbc5b",
	        "/metrics",
	        "/metrics/hourly_logs/total",
	        "/metrics/hourly_logs/per_user?x=1",
	        "/metrics/distinct/daily/2020-01-01",
	        "/metrics/distinct/monthly/2020-01",
	        "/accounts/kodingbot",
	        "/consumers",
	        "/consumers/geo",
	        "/deliveries?status=500",
	        "/deliveries/1",
	        "/dead",
	        "/sinks",
	        "/api/stat",
	        "/openapi.json"};
	static const char *const probes[] = {"/readyz/",     "/healthz/", "/health",         "/health/",
	                                     "/health/live", "/ready",    "/live",           "/livez",
	                                     "/ping",        "/ping/",    "/status",         "/-/ready",
	                                     "/up",          "/healthz?", "/actuator/health"};
	static const char *const calls[] = {"/eventsx",  "/metric",  "/livestream", "/t/metrics",
	                                    "/t/health", "/pings/a", "/upper"};
	for (unsigned i = 0; i < sizeof reads / sizeof *reads; i++) {
		const char *answer = get(reads[i]);
		if (strstr(answer, " 404 ") == NULL ||
		    strstr(answer, "this port only takes events in; the API shows them") == NULL)
			fail_msg("%s: %s", reads[i], answer);
	}
	for (unsigned i = 0; i < sizeof probes / sizeof *probes; i++) {
		const char *answer = get(probes[i]);
		bool answered = strcmp(probes[i], "/healthz?") == 0;
		if (strstr(answer, answered ? " 200 " : "answered at /healthz and /readyz") == NULL)
			fail_msg("%s: %s", probes[i], answer);
	}
	assert_non_null(strstr(ask_text("DELETE /events HTTP/1.1\r\nHost: a\r\n\r\n"), "404 "));
	assert_non_null(strstr(get("/debug/vars/"), "404 "));
	assert_int_equal(http_fixture_lane(&fixture, "track.raw")->records, 0);
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
		assert_answer(get(calls[i]), "200 OK", "{\"status\":\"ok\"}");
	assert_int_equal(http_fixture_lane(&fixture, "track.raw")->records, sizeof calls / sizeof *calls);
}

/* ---- /log ---- */

static void a_log_message_is_kept_as_sent_and_answered_ok(void **state)
{
	(void)state;
	char text[4096];
	const char *body =
	        "{\"text\": \"hello \\u00e9\", \"content_id\": 1, \"client_id\": 2, \"timestamp\": 1586846680064}";
	const char *answer = post("/log", NULL, body);
	assert_answer(answer, "200 OK", "OK");
	assert_non_null(strstr(answer, "\r\nContent-Type: text/plain"));
	assert_string_equal(
	        last("log", text),
	        "\"ip\":\"10.9.8.7\",\"client_id\":2,\"content_id\":1,\"timestamp\":1586846680064,\"text\":\"hello \\u00e9\"}");
	assert_answer(get("/log"), "200 OK", "OK");
	assert_non_null(strstr(
	        post("/log", NULL, "{\"text\":\"x\",\"content_id\":0,\"client_id\":2,\"timestamp\":1}"),
	        "content_id"));
	assert_non_null(
	        strstr(post("/log", NULL,
	                    "{\"text\":\"x\",\"content_id\":1,\"client_id\":2,\"timestamp\":10000000000000}"),
	               "400 "));
	answer = ask_text("HEAD /log HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_answer(answer, "200 OK", "");
	assert_non_null(strstr(answer, "Content-Length: 2\r\n"));
	assert_int_equal(http_fixture_lane(&fixture, "log")->records, 1);
}

/* ---- tracking ---- */

static void any_get_path_is_a_tracking_call(void **state)
{
	(void)state;
	char text[4096];
	static const struct {
		const char *path, *record;
	} cases[] = {
	        {"/t/app_open?deviceid=abcdf&ts=123456",
	         "\"type\":\"app_open\",\"query\":\"deviceid=abcdf&ts=123456\""},
	        {"/", "\"type\":\"/\",\"query\":\"\""},
	        {"/t/", "\"type\":\"/\",\"query\":\"\""},
	        {"/a/b/c?%20=%zz", "\"type\":\"c\",\"query\":\"%20=%zz\""},
	        {"/t/a%2Fb%20c?", "\"type\":\"a/b c\",\"query\":\"\""},
	        {"/event/x", "\"type\":\"x\",\"query\":\"\""},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *answer = get(cases[i].path);
		assert_answer(answer, "200 OK", "{\"status\":\"ok\"}");
		assert_non_null(strstr(answer, "Cache-Control: no-store"));
		char wanted[256];
		snprintf(wanted, sizeof wanted,
		         "\"ip\":\"10.9.8.7\",%s,\"user_agent\":\"test/1\",\"host\":\"example.com\"}",
		         cases[i].record);
		assert_string_equal(last("track.raw", text), wanted);
	}
	assert_int_equal(http_fixture_lane(&fixture, "track.raw")->records, sizeof cases / sizeof *cases);
	assert_non_null(strstr(get("/t/%z1"), "400 "));
	/* HEAD asks what GET would say, and nothing happens. */
	assert_answer(ask_text("HEAD /t/x HTTP/1.1\r\nHost: a\r\n\r\n"), "200 OK", "");
	assert_int_equal(http_fixture_lane(&fixture, "track.raw")->records, sizeof cases / sizeof *cases);
}

static void a_gif_path_gets_a_picture(void **state)
{
	(void)state;
	const char *answer = get("/t/open.gif?a=b");
	const char *body = body_of(answer);
	assert_non_null(strstr(answer, "Content-Type: image/gif\r\n"));
	assert_memory_equal(body, "GIF89a\1\0\1\0", 10);
	size_t length = fixture.used - (size_t)(body - answer);
	assert_int_equal(body[length - 1], 0x3b);
	char text[64];
	snprintf(text, sizeof text, "Content-Length: %zu\r\n", length);
	assert_non_null(strstr(answer, text));
}

static void a_posted_call_has_its_body_as_parameters(void **state)
{
	(void)state;
	char text[4096];
	static const struct {
		const char *path, *type, *body, *query;
	} cases[] = {
	        {"/t/a", "application/x-www-form-urlencoded", "x=1&y=%20", "x=1&y=%20"},
	        {"/t/a?q=0", "application/x-www-form-urlencoded", "x=1", "q=0&x=1"},
	        {"/t/a?q=0", "application/json", "{\"x\": [1, \"b c\"], \"y\": true}",
	         "q=0&x=1&x=b%20c&y=true"},
	        {"/t/a", "text/plain;charset=UTF-8", " {\"x\": 1}", "x=1"},
	        {"/t/a", NULL, "x=1", "x=1"},
	        {"/t/a?q", NULL, "", "q"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_answer(post(cases[i].path, cases[i].type, cases[i].body), "200 OK",
		              "{\"status\":\"ok\"}");
		char wanted[256];
		snprintf(
		        wanted, sizeof wanted,
		        "\"ip\":\"10.9.8.7\",\"type\":\"a\",\"query\":\"%s\",\"user_agent\":\"test/1\",\"host\":\"example.com\"}",
		        cases[i].query);
		assert_string_equal(last("track.raw", text), wanted);
	}
	/* Nothing that could break a line gets into a query. */
	assert_non_null(strstr(post("/t/a", "application/x-www-form-urlencoded", "x=1 2"), "400 "));
	assert_non_null(strstr(post("/t/a", "application/x-www-form-urlencoded", "x=1\n"), "400 "));
	assert_non_null(strstr(post("/t/a", "application/json", "{\"x\": {}}"), "400 "));
	assert_int_equal(http_fixture_lane(&fixture, "track.raw")->records, sizeof cases / sizeof *cases);
}

static void a_client_that_does_not_want_to_be_tracked_is_marked(void **state)
{
	(void)state;
	char text[4096];
	ask_text("GET /t/x HTTP/1.1\r\nHost: a\r\nDNT: 1\r\n\r\n");
	assert_non_null(strstr(last("track.raw", text), "\"dnt\":true"));
}

/* ---- /batch ---- */

static void a_batch_takes_what_is_right_and_numbers_what_is_wrong(void **state)
{
	(void)state;
	char text[4096];
	const char *lines =
	        "{\"type\":\"a\",\"ts\":5,\"params\":{\"x\":1}}\n\n{\"typ\":1}\r\nnonsense\n{\"type\":\"b\"}";
	const char *answer = post("/batch", "application/x-ndjson", lines);
	assert_non_null(strstr(answer, "200 OK"));
	assert_non_null(strstr(
	        answer, "{\"accepted\": 2, \"rejected\": 2, \"errors\": [{\"line\": 3, \"error\": \""));
	assert_non_null(strstr(answer, "}, {\"line\": 4, \"error\": \""));
	assert_string_equal(
	        last("track.raw", text),
	        "\"ip\":\"10.9.8.7\",\"type\":\"b\",\"query\":\"\",\"user_agent\":\"test/1\",\"host\":\"example.com\"}");
	answer = post("/batch", "application/json", " [{\"type\":\"a\"}, 5, {\"type\":\"c\"}]");
	assert_non_null(strstr(answer, "{\"accepted\": 2, \"rejected\": 1, \"errors\": [{\"line\": 2, "));
	answer = post("/batch", "application/json", "[1, 2, 3, 4, 5]");
	assert_non_null(strstr(answer, "400 "));
	assert_non_null(strstr(answer, "\"rejected\": 5"));
	assert_null(strstr(answer, "\"line\": 4")); /* three are listed */
	assert_non_null(strstr(post("/batch", NULL, "[{\"type\":\"a\"}"), "400 "));
	assert_non_null(strstr(post("/batch", NULL, "[]"), "400 "));
	assert_non_null(strstr(post("/batch", NULL, "\n\n"), "400 "));
	const struct lane *lane = http_fixture_lane(&fixture, "track.raw");
	uint64_t rejected = 0;
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		rejected += lane->rejected[i];
	assert_int_equal(lane->records, 4);
	assert_int_equal(lane->received, lane->records + rejected);
	assert_int_equal(fixture.server.pool.used_bytes, 0);
}

static void a_topic_that_is_full_refuses_whole_requests(void **state)
{
	(void)state;
	struct lane *lane = http_fixture_lane(&fixture, "track.raw");
	size_t most = lane->most;
	/* A lane of memory has no reader to wait for: what it ever holds is what it has now, so
	 * "full" is made by asking for no more than a part. */
	lane->most = lane->room;
	const char *lines = "{\"type\":\"a\"}\n{\"type\":\"b\"}\n{\"type\":\"c\"}";
	lane->used = lane->room - 104;
	size_t used = lane->used;
	const char *answer = post("/batch", NULL, lines);
	assert_non_null(strstr(answer, "503 "));
	assert_non_null(strstr(answer, "\r\nRetry-After: "));
	assert_int_equal(lane->used, used);
	assert_int_equal(lane->records, 0);
	assert_int_equal(lane->refused, 3);
	assert_int_equal(lane->received, 3);
	lane->used = lane->room - 16;
	assert_non_null(strstr(get("/t/some_event"), "503 "));
	assert_int_equal(lane->refused, 4);
	lane->used = 0;
	lane->most = most;
}

/* ---- /ingest ---- */

static void postbacks_become_one_item_each(void **state)
{
	(void)state;
	const char *body =
	        "{\"endpoint\":{\"method\":\"GET\",\"url\":\"http://host/data?title={mascot}\"},\"data\":[{\"mascot\":\"Gopher\"},{\"mascot\": \"B\"}]}";
	assert_answer(post("/ingest", NULL, body), "202 Accepted", "{\"accepted\": 2}");
	assert_answer(post("/ingest.php", "application/json", body), "202 Accepted", "{\"accepted\": 2}");
	struct queue_slot slot;
	uint64_t seen[4];
	for (unsigned i = 0; i < 4; i++) {
		assert_true(queue_take(http_fixture_queue(&fixture), &slot));
		const struct event_postback *event = slot.data;
		assert_int_equal(event->arrival_ns, fixture.outlet.arrival_ns);
		assert_int_equal(event->source[15], 7);
		seen[i] = event->id[1];
		for (unsigned k = 0; k < i; k++)
			assert_true(seen[k] != seen[i]);
		assert_int_equal(queue_done(http_fixture_queue(&fixture), &slot), 0);
	}
	assert_false(queue_take(http_fixture_queue(&fixture), &slot));
	assert_non_null(strstr(post("/ingest", NULL,
	                            "{\"endpoint\":{\"method\":\"GET\",\"url\":\"ftp://x\"},\"data\":[{}]}"),
	                       "endpoint.url"));
	assert_non_null(strstr(
	        post("/ingest", NULL, "{\"endpoint\":{\"method\":\"GET\",\"url\":\"http://x\"},\"data\":[]}"),
	        "400 "));
}

static void postbacks_are_taken_all_or_none(void **state)
{
	(void)state;
	struct queue_slot slot;
	struct queue_counts counts;
	uint64_t filled = 0;
	while (queue_reserve(http_fixture_queue(&fixture), &slot) &&
	       ++filled < http_fixture_queue(&fixture)->slots - 1)
		;
	const char *body =
	        "{\"endpoint\":{\"method\":\"GET\",\"url\":\"http://h\"},\"data\":[{\"a\":1},{\"a\":2}]}";
	const char *answer = post("/ingest", NULL, body);
	assert_non_null(strstr(answer, "503 "));
	assert_non_null(strstr(answer, "Retry-After"));
	queue_count(http_fixture_queue(&fixture), &counts);
	assert_int_equal(counts.ready, 0);
	assert_int_equal(counts.filling, filled);
	assert_int_equal(counts.free, 1);
}

/* ---- bodies ---- */

static size_t pack(const char *text, int window, unsigned char *out, size_t room)
{
	z_stream stream = {0};
	assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
	stream.next_in = (unsigned char *)text;
	stream.avail_in = (uInt)strlen(text);
	stream.next_out = out;
	stream.avail_out = (uInt)room;
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	deflateEnd(&stream);
	return room - stream.avail_out;
}

static const char *post_packed(const char *coding, const unsigned char *data, size_t bytes)
{
	static char text[400000];
	int n = snprintf(
	        text, sizeof text,
	        "POST /event HTTP/1.1\r\nHost: a\r\nContent-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
	        coding, bytes);
	memcpy(text + n, data, bytes);
	return ask(text, (size_t)n + bytes);
}

static void compressed_bodies_are_inflated_within_bounds(void **state)
{
	(void)state;
	static unsigned char packed[100000];
	const char *body = "{\"username\":\"a\",\"count\":1,\"metric\":\"m\"}";
	size_t n = pack(body, 15 + 16, packed, sizeof packed);
	assert_non_null(strstr(post_packed("gzip", packed, n), "200 OK"));
	packed[n - 5] ^= 1;
	assert_non_null(strstr(post_packed("gzip", packed, n), "400 "));
	n = pack(body, 15, packed, sizeof packed);
	assert_non_null(strstr(post_packed("deflate", packed, n), "200 OK"));
	static char bomb[1000001];
	memset(bomb, ' ', sizeof bomb - 1);
	n = pack(bomb, 15 + 16, packed, sizeof packed);
	assert_non_null(strstr(post_packed("gzip", packed, n), "413 "));
	bomb[200000] = 0;
	memcpy(bomb + 150000, body, strlen(body));
	n = pack(bomb, 15 + 16, packed, sizeof packed);
	assert_non_null(strstr(post_packed("gzip", packed, n), "200 OK"));
	assert_int_equal(http_fixture_lane(&fixture, "metric")->records, 3);
	assert_int_equal(fixture.server.pool.used_bytes, 0);
}

/* ---- CORS, tokens, health ---- */

static void browsers_may_track_from_the_origins_that_are_allowed(void **state)
{
	(void)state;
	const char *answer = ask_text("GET /t/x HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\n\r\n");
	assert_non_null(strstr(answer, "\r\nAccess-Control-Allow-Origin: https://shop.example\r\n"));
	assert_non_null(strstr(answer, "\r\nVary: Origin\r\n"));
	answer = ask_text(
	        "OPTIONS /batch HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\n"
	        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n");
	assert_non_null(strstr(answer, "204 "));
	assert_non_null(strstr(answer, "\r\nAccess-Control-Allow-Methods: POST, OPTIONS\r\n"));
	assert_non_null(strstr(answer, "\r\nAccess-Control-Allow-Headers: content-type\r\n"));
	fixture.server.shared.settings.origin[0] = "https://other.example";
	answer = ask_text("GET /t/x HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.example\r\n\r\n");
	assert_null(strstr(answer, "Access-Control"));
	assert_null(strstr(ask_text("GET /log HTTP/1.1\r\nHost: a\r\nOrigin: https://other.example\r\n\r\n"),
	                   "Access-Control"));
}

static void a_closed_route_needs_its_token(void **state)
{
	(void)state;
	char path[] = "/tmp/millrace-tokens-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_true(dprintf(fd, "# one\n0123456789abcdef log\n") > 0);
	close(fd);
	struct shm_error error;
	int result = tokens_load(&fixture.server.shared.tokens, path, route_token_names, ROUTE_COUNT, &error);
	unlink(path);
	assert_int_equal(result, 0);
	assert_non_null(strstr(get("/log"), "\r\nWWW-Authenticate: Bearer\r\n"));
	assert_non_null(strstr(
	        ask_text("GET /log HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer 0123456789abcdeX\r\n\r\n"),
	        "invalid_token"));
	assert_answer(
	        ask_text("GET /log HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n"),
	        "200 OK", "OK");
	assert_answer(get("/t/x"), "200 OK", "{\"status\":\"ok\"}");
}

static void the_process_says_how_it_is(void **state)
{
	(void)state;
	assert_answer(get("/healthz"), "200 OK", "{\"status\":\"ok\"}");
	assert_answer(get("/readyz"), "200 OK", "{\"status\":\"ready\"}");
	assert_non_null(strstr(get("/debug/vars"), "\"response_time\": {\"minimum\": "));
	assert_non_null(strstr(post("/healthz", NULL, ""), "405 "));
}

#define TEST(name) \
	cmocka_unit_test_prestate_setup_teardown(name, http_fixture_set_up, http_fixture_tear_down, &fixture)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(an_event_needs_its_three_fields_and_says_which_is_wrong),
	        TEST(probes_and_reads_are_no_tracking_calls),
	        TEST(methods_and_types_are_refused_with_what_is_allowed),
	        TEST(a_log_message_is_kept_as_sent_and_answered_ok),
	        TEST(any_get_path_is_a_tracking_call),
	        TEST(a_gif_path_gets_a_picture),
	        TEST(a_posted_call_has_its_body_as_parameters),
	        TEST(a_client_that_does_not_want_to_be_tracked_is_marked),
	        TEST(a_batch_takes_what_is_right_and_numbers_what_is_wrong),
	        TEST(a_topic_that_is_full_refuses_whole_requests),
	        TEST(postbacks_become_one_item_each),
	        TEST(postbacks_are_taken_all_or_none),
	        TEST(compressed_bodies_are_inflated_within_bounds),
	        TEST(browsers_may_track_from_the_origins_that_are_allowed),
	        TEST(a_closed_route_needs_its_token),
	        TEST(the_process_says_how_it_is),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
