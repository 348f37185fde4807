/* Records of attempts: what is kept of each, and that secrets are not. */
#include "deliver/record.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "tests/fixture/config.h"
#include "tests/fixture/event_slot.h"

static struct redact *redact;

static int set_up(void **state)
{
	(void)state;
	struct config *config = load(NULL, "");
	redact = redact_new(config);
	config_free(config);
	return redact != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	redact_free(redact);
	return 0;
}

static void assert_redacted(const char *url, const char *expected)
{
	/* In memory of its own, which ends where the URL does: nothing is read beyond. */
	size_t bytes = strlen(url);
	char out[512], *own = malloc(bytes > 0 ? bytes : 1);
	assert_non_null(own);
	memcpy(own, url, bytes);
	assert_int_equal(redact_url(redact, own, bytes, out, sizeof out), strlen(expected));
	assert_string_equal(out, expected);
	free(own);
}

static void secrets_in_urls_are_not_shown(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	        {"https://h/p?a=1&token=xyz&b=2", "https://h/p?a=1&token=***&b=2"},
	        {"https://h/p?api_key=x", "https://h/p?api_key=***"},
	        {"https://h/p?X-Token=x&x.token=y", "https://h/p?X-Token=***&x.token=***"},
	        {"https://h/p?user[token]=x&token[]=y&user%5Bpassword%5D=z",
	         "https://h/p?user[token]=***&token[]=***&user%5Bpassword%5D=***"},
	        {"https://h/p?accessToken=x&PASSWORD=y", "https://h/p?accessToken=***&PASSWORD=***"},
	        {"https://h/p?%74oken=x&to%6Ben=y&%zztoken=1&toke%6=1",
	         "https://h/p?%74oken=***&to%6Ben=***&%zztoken=1&toke%6=1"},
	        {"https://h/p?a;token=x;b", "https://h/p?a;token=***;b"},
	        {"https://h/p?token=a=b=c", "https://h/p?token=***"},
	        {"https://h/p#token=x&a=1", "https://h/p#token=***&a=1"},
	        {"https://h/p?a=1#/x?token=y", "https://h/p?a=1#/x?token=***"},
	        {"https://user:word@h:1/p", "https://user:***@h:1/p"},
	        {"https://user:a:b@c@h/p?x@y", "https://user:***@h/p?x@y"},
	        {"https://sk_live_123@h/p", "https://***@h/p"},
	        {"https://u:p@h", "https://u:***@h"},
	        {"https://u:p@h?token=x", "https://u:***@h?token=***"},
	        {"//u:p@h/", "//u:***@h/"},
	        {"u:p@h/", "u:***@h/"},
	        {"https://h/{token}?token={token}", "https://h/{token}?token=***"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_redacted(cases[i][0], cases[i][1]);
}

static void what_is_no_secret_stays(void **state)
{
	(void)state;
	static const char *const cases[] = {"",
	                                    "https://h",
	                                    "https://h/p?monkey=1&tokens=2&keyed=3&author=4",
	                                    "https://h/p?token=&token&a=token",
	                                    "https://h/a@b:c?d",
	                                    "https://h/p?",
	                                    "https://h/p?&&;#",
	                                    "https://h/token=x",
	                                    "no url at all",
	                                    "%",
	                                    "?=",
	                                    "?%"};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_redacted(cases[i], cases[i]);
}

static void a_long_url_is_cut_and_no_secret_is_in_what_is_left(void **state)
{
	(void)state;
	static const char url[] = "https://user:secret@host/path?token=secret&end",
	                  all[] = "https://user:***@host/path?token=***&end";
	for (size_t size = 1; size <= sizeof all + 1; size++) {
		char *out = malloc(size);
		assert_non_null(out);
		size_t expected = size - 1 < sizeof all - 1 ? size - 1 : sizeof all - 1;
		assert_int_equal(redact_url(redact, url, sizeof url - 1, out, size), expected);
		assert_memory_equal(out, all, expected);
		assert_int_equal(out[expected], '\0');
		free(out);
	}
	/* Of a name that never ends its end counts. */
	size_t long_bytes = 100000;
	char *name = malloc(long_bytes), out[64];
	assert_non_null(name);
	memset(name, 'a', long_bytes);
	memcpy(name, "?", 1);
	memcpy(name + long_bytes - 9, "_token=xy", 9);
	assert_int_equal(redact_url(redact, name, long_bytes, out, sizeof out), sizeof out - 1);
	free(name);
}

static void the_words_are_those_of_the_configuration(void **state)
{
	(void)state;
	struct config *config = load(NULL, "deliver.redact=[Colour]");
	struct redact *own = redact_new(config);
	char out[64];
	static const char url[] = "?my_colour=red&token=x";
	assert_non_null(own);
	(void)redact_url(own, url, sizeof url - 1, out, sizeof out);
	assert_string_equal(out, "?my_colour=***&token=x");
	redact_free(own);
	config_free(config);
	config = load(NULL, "deliver.redact=[]");
	own = redact_new(config);
	assert_non_null(own);
	(void)redact_url(own, url, sizeof url - 1, out, sizeof out);
	assert_string_equal(out, url);
	redact_free(own);
	config_free(config);
}

/* ---- records ---- */

static union {
	struct event_postback head;
	char bytes[256];
} postback;

static struct {
	struct target target;
	struct delivery delivery;
	struct attempt attempt;
	char url[64];
	_Alignas(8) char memory[32768];
	struct lane lane;
} scene;

static const struct event_delivery *kept(size_t *bytes)
{
	const struct record *record = (const void *)scene.memory;
	assert_int_equal(scene.lane.records, 1);
	assert_int_equal(scene.lane.received, 1);
	assert_int_equal(record->type, EVENT_DELIVERY);
	assert_true(event_check(record));
	*bytes = record->length;
	return (const void *)record->payload;
}

static void make_scene(void)
{
	static const char url[] = "https://h/{a}?token={t}";
	memset(&scene, 0, sizeof scene);
	memset(&postback, 0, sizeof postback);
	postback.head = (struct event_postback){.arrival_ns = 77,
	                                        .method = POSTBACK_PATCH,
	                                        .url_bytes = sizeof url - 1,
	                                        .data_bytes = 2,
	                                        .id = {1, 2}};
	memcpy(postback.bytes + sizeof postback.head, url, sizeof url - 1);
	memcpy(postback.bytes + sizeof postback.head + sizeof url - 1, "{}", 2);
	strcpy(scene.target.endpoint, "https://h/{a}");
	strcpy(scene.url, "https://h/x?token=y");
	scene.delivery = (struct delivery){.postback = &postback.head,
	                                   .attempts = 4,
	                                   .target = &scene.target,
	                                   .begun_real_ns = 99,
	                                   .dns_us = 5,
	                                   .id = {1, 2},
	                                   .attempt = &scene.attempt};
	scene.attempt.url = scene.url;
	scene.attempt.request = (struct sender_request){.status = 500,
	                                                .connect_us = 6,
	                                                .tls_us = 7,
	                                                .first_byte_us = 8,
	                                                .total_us = 9,
	                                                .address = {[15] = 1},
	                                                .port = 443,
	                                                .answer_bytes = 4};
	memcpy(scene.attempt.request.answer, "oops", 4);
	lane_memory(&scene.lane, scene.memory, sizeof scene.memory);
}

static bool keep(enum retry_outcome outcome, const char *error, int64_t next_ms)
{
	return record_keep(
	        &scene.lane, redact,
	        &(struct record_attempt){
	                .delivery = &scene.delivery, .outcome = outcome, .error = error, .next_ms = next_ms});
}

static void a_record_says_everything_of_its_attempt(void **state)
{
	(void)state;
	make_scene();
	assert_true(keep(RETRY_AGAIN, "later", 123));
	size_t bytes;
	const struct event_delivery *event = kept(&bytes);
	assert_true(event->arrival_ns == 99 && event->source[15] == 1 && event->source_port == 443);
	assert_true(event->status == 500 && event->attempt == 5 && event->id[0] == 1 && event->id[1] == 2);
	assert_true(event->postback_ns == 77 && event->next_ms == 123 && event->dns_us == 5);
	assert_true(event->connect_us == 6 && event->tls_us == 7 && event->first_byte_us == 8 &&
	            event->total_us == 9);
	assert_true(event->method == POSTBACK_PATCH && event->outcome == OUTCOME_AGAIN);
	static const char text[] = "https://h/{a}https://h/x?token=***lateroops";
	assert_int_equal(bytes, sizeof *event + sizeof text - 1);
	assert_memory_equal(event->text, text, sizeof text - 1);
}

static void every_outcome_has_its_name(void **state)
{
	(void)state;
	static const struct {
		enum retry_outcome outcome;
		const char *name;
	} cases[] = {{RETRY_DELIVERED, "delivered"},
	             {RETRY_AGAIN, "again"},
	             {RETRY_DEAD, "dead"},
	             {RETRY_GONE, "gone"}};
	for (size_t i = 0; i < 4; i++) {
		make_scene();
		size_t bytes;
		assert_true(keep(cases[i].outcome, "", 0));
		assert_string_equal(delivery_outcome_name(kept(&bytes)->outcome), cases[i].name);
	}
}

static void a_postback_that_never_got_a_url_shows_its_template(void **state)
{
	(void)state;
	make_scene();
	scene.attempt.url = NULL;
	scene.delivery.target = NULL;
	assert_true(keep(RETRY_DEAD, "bad", 0));
	size_t bytes;
	const struct event_delivery *event = kept(&bytes);
	static const char text[] = "https://h/{a}?token=***bad";
	assert_int_equal(event->endpoint_bytes, 0);
	assert_memory_equal(event->text, text, sizeof text - 1);
}

static void texts_are_cut_where_they_grow_too_long(void **state)
{
	(void)state;
	make_scene();
	size_t many = 100000;
	char *url = malloc(many + 1), *error = malloc(many + 1);
	assert_true(url != NULL && error != NULL);
	memset(url, 'u', many);
	memset(error, 'e', many);
	url[many] = error[many] = '\0';
	scene.attempt.url = url;
	assert_true(keep(RETRY_DEAD, error, 0));
	size_t bytes;
	const struct event_delivery *event = kept(&bytes);
	assert_int_equal(event->url_bytes, RECORD_URL_MAX);
	assert_int_equal(event->error_bytes, RECORD_ERROR_MAX);
	free(url);
	free(error);
}

/* A body whose last bytes, of which there are SENDER_BODY_KEPT, are these. */
static uint32_t body_kept(const char *end)
{
	make_scene();
	struct sender_request *request = &scene.attempt.request;
	memset(request->answer, 'x', sizeof request->answer);
	memcpy(request->answer + sizeof request->answer - strlen(end), end, strlen(end));
	request->answer_bytes = SENDER_BODY_KEPT;
	assert_true(keep(RETRY_AGAIN, "", 0));
	size_t bytes;
	return SENDER_BODY_KEPT - kept(&bytes)->body_bytes;
}

static void a_character_that_was_cut_in_two_is_left_out(void **state)
{
	(void)state;
	static const struct {
		const char *end;
		uint32_t less;
	} cases[] = {{"x", 0},
	             {"\xc3\xa9", 0},
	             {"\xc3", 1},
	             {"\xe2", 1},
	             {"\xe2\x82", 2},
	             {"\xe2\x82\xac", 0},
	             {"\xf0\x9f\x98", 3},
	             {"\xf0\x9f\x98\x80", 0},
	             {"\xf0", 1},
	             {"\xf0\x9f", 2},
	             {"\x80\x80\x80\x80", 0}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(body_kept(cases[i].end), cases[i].less);
	/* One that came whole is as it came. */
	make_scene();
	memcpy(scene.attempt.request.answer, "abc\xc3", 4);
	assert_true(keep(RETRY_AGAIN, "", 0));
	size_t bytes;
	assert_int_equal(kept(&bytes)->body_bytes, 4);
}

static void a_lane_without_room_counts_what_it_drops(void **state)
{
	(void)state;
	make_scene();
	lane_memory(&scene.lane, scene.memory, 128);
	assert_false(keep(RETRY_AGAIN, "", 0));
	assert_int_equal(scene.lane.dropped, 1);
	assert_int_equal(scene.lane.received, 1);
	assert_int_equal(scene.lane.records, 0);
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(secrets_in_urls_are_not_shown),
	        cmocka_unit_test(what_is_no_secret_stays),
	        cmocka_unit_test(a_long_url_is_cut_and_no_secret_is_in_what_is_left),
	        cmocka_unit_test(the_words_are_those_of_the_configuration),
	        cmocka_unit_test(a_record_says_everything_of_its_attempt),
	        cmocka_unit_test(every_outcome_has_its_name),
	        cmocka_unit_test(a_postback_that_never_got_a_url_shows_its_template),
	        cmocka_unit_test(texts_are_cut_where_they_grow_too_long),
	        cmocka_unit_test(a_character_that_was_cut_in_two_is_left_out),
	        cmocka_unit_test(a_lane_without_room_counts_what_it_drops),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
