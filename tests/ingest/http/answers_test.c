/* Whatever is asked, an answer stays in its memory. A client asks at random, with fields up to
 * their limits, in pipelines, while other connections hold half a request each: an answer that ran
 * over would be found in their bodies, and under ASan at once. MILLRACE_SEED gives the seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fixture/http.h"

#define ROUNDS    1500u
#define HOLDERS   7u  /* slots 1 .. 7 */
#define REQUESTS  40u /* at most, in one piece */
#define BODY_MOST 12000u
#define TOKEN     "correct-horse-battery"

static struct http_fixture fixture;
static char token_file[] = "/tmp/millrace-answers-XXXXXX";

/* Origins as long as they may be, and one byte longer. */
static char longest_origin[ANSWER_ORIGIN_MAX + 1], longer_origin[ANSWER_ORIGIN_MAX + 2];

static void fill_origin(char *origin, size_t bytes)
{
	memset(origin, 'o', bytes);
	memcpy(origin, "https://", 8);
	origin[bytes] = 0;
}

static int open_fixture(void **state)
{
	struct shm_error error;
	fill_origin(longest_origin, ANSWER_ORIGIN_MAX);
	fill_origin(longer_origin, ANSWER_ORIGIN_MAX + 1);
	http_fixture_init(&fixture);
	fixture.server.settings.limits = (struct request_limits){8192, 16384, 100};
	fixture.server.settings.max_connections_per_address = 100;
	fixture.server.shared.settings.max_inflated = 16384;
	fixture.server.shared.settings.batch_errors = 100;
	fixture.server.shared.settings.agent_longest = 1024;
	if (*state != NULL) { /* the bare settings: fixed origins, tokens */
		fixture.server.shared.settings.origin[0] = "https://a.example";
		fixture.server.shared.settings.origin[1] = longest_origin;
		fixture.server.shared.settings.origin[2] = longer_origin;
		fixture.server.shared.settings.n_origins = 3;
		if (tokens_load(&fixture.server.shared.tokens, token_file, route_token_names, ROUTE_COUNT,
		                &error) != 0)
			return -1;
	}
	return http_fixture_open(&fixture);
}

static int close_fixture(void **state)
{
	(void)state;
	http_fixture_close(&fixture);
	return 0;
}

/* ---- held requests ---- */

static struct holder {
	char body[BODY_MOST + 1];
	size_t bytes, sent; /* sent 0: holds nothing */
} holders[HOLDERS + 1];

static void say_from(uint32_t slot, const char *data, size_t bytes)
{
	char *copy = malloc(bytes);
	memcpy(copy, data, bytes);
	fixture.server.transport.events->received(&fixture.server, slot, copy, bytes);
	free(copy);
	http_fixture_read(&fixture);
}

static void hold(uint32_t slot)
{
	struct holder *holder = &holders[slot];
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000 + slot)};
	struct sockaddr_storage address = {0};
	size_t pad = draw_below(BODY_MOST - 200);
	char head[200];
	memcpy(&address, &peer, sizeof peer);
	int n = snprintf(holder->body, sizeof holder->body, "{\"metric\":\"m\",\"count\":%u,\"username\":\"",
	                 slot);
	for (size_t i = 0; i <= pad; i++)
		holder->body[n++] = (char)('a' + (i + slot) % 26);
	memcpy(holder->body + n, "\"}", 3);
	holder->bytes = (size_t)n + 2;
	holder->sent = 1 + draw_below((unsigned)holder->bytes - 1);
	n = snprintf(head, sizeof head,
	             "POST /event HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " TOKEN
	             "\r\nContent-Length: %zu\r\n\r\n",
	             holder->bytes);
	fixture.server.transport.events->opened(&fixture.server, slot, 0, &address);
	say_from(slot, head, (size_t)n);
	say_from(slot, holder->body, holder->sent);
	assert_non_null(fixture.server.connection[slot].input);
}

/* What was held is as it was sent, and is answered. */
static void finish(uint32_t slot)
{
	struct holder *holder = &holders[slot];
	const struct connection *connection = &fixture.server.connection[slot];
	size_t head = connection->input_bytes - holder->sent;
	assert_memory_equal(connection->input + head, holder->body, holder->sent);
	http_fixture_forget(&fixture);
	say_from(slot, holder->body + holder->sent, holder->bytes - holder->sent);
	if (strncmp(fixture.answers, "HTTP/1.1 200 OK\r\n", 17) != 0)
		fail_msg("a held request was answered: %.300s", fixture.answers);
	http_fixture_end(&fixture.server.transport, slot, false);
	http_fixture_settle(&fixture);
	holder->sent = 0;
}

static void hold_and_finish(void)
{
	for (unsigned n = draw_below(3); n > 0; n--) {
		uint32_t slot = 1 + draw_below(HOLDERS);
		if (holders[slot].sent == 0)
			hold(slot);
		else
			finish(slot);
	}
}

/* ---- requests at random ---- */

static struct {
	size_t bytes, room; /* room: what the head may still have */
	char text[REQUESTS * (16384 + 256)];
} said;

static void put(const char *text, size_t bytes)
{
	assert_true(said.bytes + bytes <= sizeof said.text);
	memcpy(said.text + said.bytes, text, bytes);
	said.bytes += bytes;
}

/* A field of any length that the head still has room for; often one of the lengths where something
 * changes. */
static void put_field(const char *name, const char *begin)
{
	static const unsigned edges[] = {0,
	                                 1,
	                                 ANSWER_ORIGIN_MAX - 1,
	                                 ANSWER_ORIGIN_MAX,
	                                 ANSWER_ORIGIN_MAX + 1,
	                                 ANSWER_HEADERS_MAX,
	                                 ANSWER_HEADERS_MAX + 1,
	                                 7800,
	                                 8000};
	static char value[16384];
	size_t most = said.room - strlen(name) - strlen(begin) - 4;
	size_t bytes =
	        draw_one_in(2) ? edges[draw_below(sizeof edges / sizeof *edges)] : draw_below((unsigned)most);
	if (said.room < 100)
		return;
	if (bytes > most)
		bytes = most;
	memset(value, 'o', sizeof value);
	memcpy(value, begin, strlen(begin) < bytes ? strlen(begin) : bytes);
	put(name, strlen(name));
	put(": ", 2);
	put(value, bytes);
	put("\r\n", 2);
	said.room -= strlen(name) + 4 + bytes;
}

static const char *put_request(void)
{
	static const char *const methods[] = {"GET",     "GET",  "OPTIONS", "OPTIONS",
	                                      "OPTIONS", "HEAD", "POST",    "DELETE"};
	static const char *const paths[] = {"/t/x",    "/t/x.gif",    "/batch",  "/event", "/log",
	                                    "/ingest", "/debug/vars", "/readyz", "/x",     "*"};
	static const char *const bodies[] = {"",       "{}", "[]", "[1,2,{}]", "{\"type\":\"a\"}\nx\ny\nz\n",
	                                     "no JSON"};
	const char *method = methods[draw_below(8)], *path = paths[draw_below(sizeof paths / sizeof *paths)];
	const char *body = strcmp(method, "POST") == 0 ? bodies[draw_below(6)] : "";
	char line[200];
	if (*path == '*' && strcmp(method, "OPTIONS") != 0)
		path = "/t/y";
	int n = snprintf(line, sizeof line, "%s %s HTTP/1.%d\r\nHost: a\r\nContent-Length: %zu\r\n", method,
	                 path, !draw_one_in(10), strlen(body));
	put(line, (size_t)n);
	said.room = 16384 - (size_t)n - 100;
	if (!draw_one_in(4))
		put_field("Origin", draw_one_in(3) ? "https://a.example" : "https://");
	if (!draw_one_in(3))
		put_field("Access-Control-Request-Method", "POST");
	if (!draw_one_in(3))
		put_field("Access-Control-Request-Headers", "x-a, ");
	if (draw_one_in(4))
		put_field("Authorization", draw_one_in(2) ? "Bearer " TOKEN : "Basic ");
	if (draw_one_in(4))
		put_field("Content-Type", draw_one_in(2) ? "application/json;" : "text/xml");
	if (draw_one_in(6))
		put_field("User-Agent", "");
	if (draw_one_in(10))
		put("Expect: 100-continue\r\n", 22);
	put("\r\n", 2);
	put(body, strlen(body));
	return method;
}

/* ---- answers ---- */

static size_t number_of(const char *head, const char *end, const char *name)
{
	const char *at = memmem(head, (size_t)(end - head), name, strlen(name));
	return at == NULL ? 0 : strtoul(at + strlen(name), NULL, 10);
}

/* One answer after the other, each as long as it says. Returns how many there are; a 100 is
 * none. */
static unsigned check_answers(const char *const *methods)
{
	const char *at = fixture.answers, *last = fixture.answers + fixture.used;
	unsigned n = 0;
	while (at < last) {
		const char *end = memmem(at, (size_t)(last - at), "\r\n\r\n", 4);
		if (strncmp(at, "HTTP/1.1 ", 9) != 0 || end == NULL)
			fail_msg("answer %u is none: %.200s", n, at);
		assert_true(end - at <=
		            (long)ANSWER_HEAD_MAX + (long)ANSWER_ORIGIN_MAX + (long)ANSWER_HEADERS_MAX);
		if (strncmp(at, "HTTP/1.1 100 ", 13) == 0) {
			at = end + 4;
			continue;
		}
		size_t body = strcmp(methods[n++], "HEAD") == 0
		                      ? 0
		                      : number_of(at, end + 2, "\r\nContent-Length: ");
		at = end + 4 + body;
	}
	assert_ptr_equal(at, last);
	return n;
}

static void ask_at_random(void)
{
	const char *methods[REQUESTS];
	unsigned n = draw_one_in(2) ? 1 : 1 + draw_below(REQUESTS);
	said.bytes = 0;
	for (unsigned i = 0; i < n; i++)
		methods[i] = put_request();
	http_fixture_forget(&fixture);
	if (!fixture.open)
		http_fixture_connect(&fixture);
	fixture.hold = draw_one_in(3);
	http_fixture_say_pieces(&fixture, said.text, said.bytes,
	                        draw_one_in(2) ? 65536 : 1 + draw_below(9000));
	fixture.hold = false;
	http_fixture_read(&fixture);
	unsigned answers = check_answers(methods);
	assert_true(answers == n || !fixture.open);
	assert_true(answers > 0);
}

static void answers_stay_in_their_memory(void **state)
{
	(void)state;
	memset(holders, 0, sizeof holders);
	for (unsigned round = 0; round < ROUNDS; round++) {
		hold_and_finish();
		ask_at_random();
		for (unsigned i = 0; i < fixture.outlet.n_topics; i++)
			lane_reset(&fixture.outlet.lane[i]);
	}
	for (uint32_t slot = 1; slot <= HOLDERS; slot++)
		if (holders[slot].sent != 0)
			finish(slot);
	assert_int_equal(fixture.server.pool.used_bytes, 0);
	assert_int_equal(fixture.server.answers.used_bytes, 0);
}

/* ---- the caps ---- */

static const char *preflight(const char *origin, size_t headers)
{
	static char text[20000], names[ANSWER_HEADERS_MAX + 2];
	memset(names, 'h', headers);
	names[headers] = 0;
	snprintf(text, sizeof text,
	         "OPTIONS /t/x HTTP/1.1\r\nHost: a\r\nOrigin: %s\r\nAccess-Control-Request-Method: POST\r\n"
	         "Access-Control-Request-Headers: %s\r\n\r\n",
	         origin, names);
	http_fixture_forget(&fixture);
	if (!fixture.open)
		http_fixture_connect(&fixture);
	return http_fixture_say(&fixture, text);
}

static void fields_of_cors_are_answered_up_to_their_caps_and_none_beyond(void **state)
{
	(void)state;
	const char *answer = preflight(longest_origin, ANSWER_HEADERS_MAX);
	assert_non_null(strstr(answer, "204 "));
	assert_non_null(strstr(answer, longest_origin));
	assert_non_null(strstr(answer, "hhh\r\nAccess-Control-Max-Age"));
	answer = preflight(longer_origin, 10);
	assert_non_null(strstr(answer, "204 "));
	assert_null(strstr(answer, "Access-Control"));
	answer = preflight("https://a.example", ANSWER_HEADERS_MAX + 1);
	assert_non_null(strstr(answer, "204 "));
	assert_null(strstr(answer, "Access-Control"));
}

static void a_401_tells_its_page_and_keeps_to_the_caps(void **state)
{
	(void)state;
	char text[1000];
	for (unsigned i = 0; i < 2; i++) {
		snprintf(text, sizeof text, "GET /t/x HTTP/1.1\r\nHost: a\r\nOrigin: %s\r\n\r\n",
		         i == 0 ? longest_origin : longer_origin);
		http_fixture_forget(&fixture);
		if (!fixture.open)
			http_fixture_connect(&fixture);
		const char *answer = http_fixture_say(&fixture, text);
		assert_non_null(strstr(answer, "401 "));
		assert_int_equal(strstr(answer, "Access-Control-Allow-Origin") != NULL, i == 0);
	}
}

/* ---- an answer that finds no room ---- */

static void an_answer_without_room_is_not_written(void **state)
{
	(void)state;
	char body[9000] = "";
	struct pool *pool = &fixture.server.answers;
	struct output output = {.pool = pool};
	struct answer answer = {.status = 200, .type = ANSWER_TEXT, .body = body, .body_bytes = sizeof body};
	size_t size;
	output.base = pool_take(pool, 8192, &output.room);
	assert_true(answer_write(&answer, &output)); /* it grew */
	size_t used = output.used;
	assert_true(used > sizeof body && used <= output.room);
	while (pool_take(pool, 4096, &size) != NULL)
		;
	unsigned written = 0;
	while (answer_write(&answer, &output))
		written++;
	assert_true(written <= 1);
	assert_int_equal(output.used % used, 0);
	while (answer_continue(&output))
		;
	assert_true(output.room - output.used < 32);
	fixture.server.answers.used_bytes = 0; /* the pool ends with the place */
}

static int make_token_file(void **state)
{
	(void)state;
	int fd = mkstemp(token_file);
	ssize_t n = write(fd, TOKEN "\n", sizeof TOKEN);
	return fd < 0 || n != sizeof TOKEN || close(fd) != 0;
}

static int remove_token_file(void **state)
{
	(void)state;
	return unlink(token_file);
}

int main(void)
{
	static char closed;
#define TEST(name, settings) \
	cmocka_unit_test_prestate_setup_teardown(name, open_fixture, close_fixture, settings)
	const struct CMUnitTest tests[] = {
	        TEST(answers_stay_in_their_memory, NULL),
	        TEST(answers_stay_in_their_memory, &closed),
	        TEST(fields_of_cors_are_answered_up_to_their_caps_and_none_beyond, NULL),
	        TEST(a_401_tells_its_page_and_keeps_to_the_caps, &closed),
	        TEST(an_answer_without_room_is_not_written, NULL),
	};
	draw_init((uint64_t)getpid() * 2654435761u);
	alarm(120);
	return cmocka_run_group_tests(tests, make_token_file, remove_token_file);
}
