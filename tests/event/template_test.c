/* Templates: text with an event's fields in it. */
#include "event/template.h"

#include <stddef.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fixture/event_slot.h"
#include "tests/fixture/track_make.h"
#include "tests/fuzz/template_oracle.h"

static const struct template_place here = {
        .topic = "log", .host = "box-7", .instance = "default", .n = 12, .now_ns = 1760000000123456789u};

static struct record *log_of(union slot *slot, int64_t client, int64_t timestamp_ms)
{
	static const char object[] = "{\"text\":\"a\\n\\u20ac\"}";
	struct record *record = log_record(slot, object, object + 8, 11);
	struct event_log *event = (void *)record->payload;
	event->client_id = client;
	event->timestamp_ms = timestamp_ms;
	return record;
}

static struct record *outside_of(union slot *slot, const void *bytes, size_t n)
{
	memcpy(record_put(slot, EVENT_OUTSIDE + 5, (uint32_t)n), bytes, n);
	return &slot->record;
}

static struct template *compiled(const char *text, const uint16_t *types)
{
	struct template *template;
	char reason[256] = "";
	if (template_compile(&template, text, types, reason, sizeof reason) != 0)
		fail_msg("%s: %s", text, reason);
	return template;
}

/* Asserts that the template becomes this text, and that the oracle says so too. */
static void assert_expands(const char *text, const struct record *record, const char *expected)
{
	char out[4096];
	struct template *template = compiled(text, (const uint16_t[]){record->type, 0});
	int n = template_expand(template, out, sizeof out - 1, record, &here);
	assert_true(n >= 0);
	out[n] = '\0';
	assert_string_equal(out, expected);
	assert_true(template_agrees(text, record, &here));
	template_free(template);
}

static void the_key_of_a_log_has_the_day_and_the_client_of_the_log(void **state)
{
	(void)state;
	union slot slot;
	static const char key[] = "chat/{date}/content_logs_{date}_{client_id}";
	assert_expands(key, log_of(&slot, 7, 1586846680064), "chat/2020-04-14/content_logs_2020-04-14_7");
	assert_expands(key, log_of(&slot, INT64_MIN, 1),
	               "chat/1970-01-01/content_logs_1970-01-01_-9223372036854775808");
	assert_expands("{timestamp}-{content_id}", log_of(&slot, 1, 5), "5-9223372036854775807");
}

static void a_day_begins_at_midnight_in_utc(void **state)
{
	(void)state;
	union slot slot;
	static const struct {
		int64_t ms;
		const char *text;
	} cases[] = {
	        {1582934399999, "2020-02-28 23"},   {1582934400000, "2020-02-29 00"},
	        {1583020799999, "2020-02-29 23"},   {1583020800000, "2020-03-01 00"},
	        {951782400000, "2000-02-29 00"},    {4107542399999, "2100-02-28 23"},
	        {4107542400000, "2100-03-01 00"},   {9999999999999, "2286-11-20 17"},
	        {253402300799999, "9999-12-31 23"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_expands("{date} {hour}", log_of(&slot, 1, cases[i].ms), cases[i].text);
	for (int64_t ms = 0; ms < INT64_C(9999999999999); ms += INT64_C(86400000) * 13 + 3599999)
		assert_true(template_agrees("{date}/{hour}/{date}", log_of(&slot, 1, ms), &here));
}

static void a_time_that_no_date_has_becomes_one_character(void **state)
{
	(void)state;
	union slot slot;
	static const int64_t times[] = {-1, INT64_MIN, INT64_MAX, 253402300800000};
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
		assert_expands("a/{date}/{hour}", log_of(&slot, 1, times[i]), "a/_/_");
}

static void other_events_have_the_time_of_their_arrival(void **state)
{
	(void)state;
	struct record *track = track_make(&track_example);
	assert_expands("track/{date}/{hour}/{instance}", track, "track/2017-11-16/09/default");
	free(track);
	union slot slot;
	assert_expands("{date}T{hour}", outside_of(&slot, "", 0), "2025-10-09T08");
}

static void what_the_record_does_not_say_comes_from_the_place(void **state)
{
	(void)state;
	union slot slot;
	struct record *record = log_of(&slot, 1, 1);
	assert_expands("{topic}/{host}/{instance}/{n}", record, "log/box-7/default/12");
	assert_expands("", record, "");
	assert_expands("no field", record, "no field");
	struct template *template = compiled("{topic}-{host}-{instance}-{n}", NULL);
	char out[64];
	int n = template_expand(template, out, sizeof out, record,
	                        &(struct template_place){.instance = "a/b"});
	assert_int_equal(n, 11);
	assert_memory_equal(out, "_-_-a%2Fb-0", 11);
	template_free(template);
}

static void an_event_that_has_a_host_has_its_own(void **state)
{
	(void)state;
	struct record *track = track_make(&track_example);
	assert_expands("{host}/{type}/{country}", track, "192.168.64.2/app_open/XX");
	free(track);
}

static void parameters_of_a_call_are_decoded_and_encoded_again(void **state)
{
	(void)state;
	struct track_make make = track_example;
	make.query = "b=1&a=x%2fy+%41&a=2&%61b=%zz&empty";
	struct record *track = track_make(&make);
	assert_expands("{params.a}", track, "x%2Fy%20A");
	assert_expands("{query.b}/{params.ab}/{params.none}/{params.empty}", track, "1/%25zz/_/_");
	assert_expands("{params}", track, "b%3D1%26a%3Dx%252fy%2B%2541%26a%3D2%26%2561b%3D%25zz%26empty");
	free(track);
}

static void an_escaped_text_is_what_it_stands_for(void **state)
{
	(void)state;
	union slot slot;
	assert_expands("{text}", log_of(&slot, 1, 1), "a%0A%E2%82%AC");
}

static void values_that_would_move_a_key_stay_in_their_place(void **state)
{
	(void)state;
	static const struct {
		const char *value, *text;
		size_t bytes;
	} cases[] = {
	        {"", "k/_/z", 0},
	        {".", "k/%2E/z", 1},
	        {"..", "k/%2E%2E/z", 2},
	        {"...", "k/%2E%2E%2E/z", 3},
	        {"a..", "k/a../z", 3},
	        {"../", "k/..%2F/z", 3},
	        {"/", "k/%2F/z", 1},
	        {"..%2f", "k/..%252f/z", 5},
	        {"%2e%2e", "k/%252e%252e/z", 6},
	        {"..\\", "k/..%5C/z", 3},
	        {"a\0b", "k/a%00b/z", 3},
	        {"\n", "k/%0A/z", 1},
	        {"\xc0\xae\xc0\xae\xc0\xaf", "k/%C0%AE%C0%AE%C0%AF/z", 6}, /* overlong ../ */
	        {"\xef\xbc\x8f", "k/%EF%BC%8F/z", 3},                      /* a wide slash */
	        {"\xe2\x80\xae", "k/%E2%80%AE/z", 3},                      /* text from right to left */
	        {"{client_id}", "k/%7Bclient_id%7D/z", 11},
	        {"~-_.aZ09", "k/~-_.aZ09/z", 8},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct track_make make = track_example;
		make.type = make.host = cases[i].value;
		make.type_bytes = make.host_bytes = cases[i].bytes;
		struct record *track = track_make(&make);
		assert_expands("k/{type}/z", track, cases[i].text);
		assert_expands("k/{host}/z", track, cases[i].text);
		free(track);
		union slot slot;
		if (cases[i].bytes > 0)
			assert_true(template_agrees(
			        "k/{data}/z", outside_of(&slot, cases[i].value, cases[i].bytes), &here));
	}
}

static void a_long_value_is_cut_and_stays_apart_from_others_of_its_beginning(void **state)
{
	(void)state;
	char value[10240], out[1024], other[1024];
	memset(value, 'v', sizeof value);
	struct template *template = compiled("{type}", (const uint16_t[]){EVENT_TRACK, 0});
	struct track_make make = track_example;
	make.type = value;
	for (size_t bytes = TEMPLATE_VALUE_MAX - 1; bytes <= TEMPLATE_VALUE_MAX + 1; bytes++) {
		make.type_bytes = bytes;
		struct record *track = track_make(&make);
		assert_int_equal(template_expand(template, out, sizeof out, track, &here),
		                 bytes < TEMPLATE_VALUE_MAX ? bytes : TEMPLATE_VALUE_MAX);
		assert_int_equal(out[TEMPLATE_VALUE_MAX - 17] == '~', bytes > TEMPLATE_VALUE_MAX);
		free(track);
	}
	make.type_bytes = sizeof value;
	struct record *track = track_make(&make);
	assert_int_equal(template_expand(template, out, sizeof out, track, &here), TEMPLATE_VALUE_MAX);
	free(track);
	value[sizeof value - 1] = 'w';
	track = track_make(&make);
	assert_int_equal(template_expand(template, other, sizeof other, track, &here), TEMPLATE_VALUE_MAX);
	assert_memory_equal(out, other, TEMPLATE_VALUE_MAX - 16);
	assert_memory_not_equal(out, other, TEMPLATE_VALUE_MAX);
	free(track);
	template_free(template);
}

static void an_escape_is_never_cut_in_two(void **state)
{
	(void)state;
	char value[300];
	for (size_t plain = 170; plain < 200; plain++) {
		memset(value, 'a', sizeof value);
		memset(value + plain, '/', 20);
		struct track_make make = track_example;
		make.type = value;
		make.type_bytes = plain + 20;
		struct record *track = track_make(&make);
		assert_true(template_agrees("{type}", track, &here));
		free(track);
	}
	memset(value, '.', sizeof value);
	union slot slot;
	for (size_t bytes = 1; bytes < sizeof value; bytes++)
		assert_true(template_agrees("x/{data}", outside_of(&slot, value, bytes), &here));
}

/* ---- random values ---- */

static const char *const pieces[] = {"/",
                                     "..",
                                     ".",
                                     "%2f",
                                     "%2e",
                                     "\0",
                                     "\n",
                                     "\\",
                                     "\xc0\xaf",
                                     "\xe2\x80\xae",
                                     "a",
                                     "Z",
                                     "~",
                                     "-",
                                     "_",
                                     "{",
                                     "}",
                                     "&",
                                     "=",
                                     "+",
                                     "\"",
                                     "\\u002e",
                                     "\\ud83d\\ude00",
                                     "\xff",
                                     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                     "%%"};

static size_t draw_value(char *out, size_t room)
{
	size_t n = 0, most = draw_one_in(20) ? room : draw_below(40);
	while (n < most) {
		const char *piece = pieces[draw_below(sizeof pieces / sizeof pieces[0])];
		size_t bytes = *piece == '\0' ? 1 : strlen(piece);
		if (n + bytes > room)
			break;
		memcpy(out + n, piece, bytes);
		n += bytes;
	}
	return n;
}

static struct record *draw_track(void)
{
	char type[2000], host[2000], query[4000];
	struct track_make make = track_example;
	make.type = type;
	make.host = host;
	make.query = query;
	/* 0 would ask for the text's own length */
	do
		make.type_bytes = draw_value(type, sizeof type);
	while (make.type_bytes == 0);
	do
		make.host_bytes = draw_value(host, sizeof host);
	while (make.host_bytes == 0);
	memcpy(query, "a=", 2);
	make.query_bytes = 2 + draw_value(query + 2, sizeof query - 2);
	make.arrival_ms = draw() >> 21;
	return track_make(&make);
}

static struct record *draw_log(union slot *slot)
{
	char object[2100] = "\"";
	size_t n = 1 + draw_value(object + 1, 2000);
	object[n++] = '"';
	for (size_t i = 0; i < n; i++)
		if (object[i] == '\0')
			object[i] = '0';
	object[n] = '\0';
	struct record *record = log_record(slot, object, object, n);
	((struct event_log *)(void *)record->payload)->client_id = (int64_t)draw();
	((struct event_log *)(void *)record->payload)->timestamp_ms = (int64_t)(draw() >> draw_below(64));
	return record;
}

static void any_value_comes_out_as_the_oracle_has_it_and_stays_in_its_place(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		if (i % 2 == 0) {
			struct record *track = draw_track();
			assert_true(template_agrees(
			        "track/{date}/{type}/{params.a}-{host}/{browser}{city}/{topic}", track,
			        &here));
			free(track);
		} else {
			union slot slot;
			assert_true(template_agrees("chat/{date}/{hour}/{text}/x{client_id}y/{ip}/{host}",
			                            draw_log(&slot), &here));
		}
	}
}

/* ---- hashes ---- */

static void hashes_are_the_same_exactly_when_the_texts_are(void **state)
{
	(void)state;
	static const char *const values[] = {"",  "a",  "b",    "ab",       "ba",
	                                     "_", "..", "a%62", "aaaaaaaa", "aaaaaaaaa"};
	enum { N = sizeof values / sizeof values[0] };
	static const uint64_t key[2] = {0x0123456789abcdef, 0xfedcba9876543210};
	static char text[N * N][256];
	static uint64_t hash[N * N];
	struct template *template =
	        compiled("{params.a}/{params.b}/{date}", (const uint16_t[]){EVENT_TRACK, 0});
	for (unsigned i = 0; i < N * N; i++) {
		char query[64];
		struct track_make make = track_example;
		make.query = query;
		snprintf(query, sizeof query, "a=%s&b=%s", values[i / N], values[i % N]);
		struct record *track = track_make(&make);
		int n = template_expand(template, text[i], sizeof text[i] - 1, track, &here);
		assert_true(n > 0);
		text[i][n] = '\0';
		hash[i] = template_hash(template, track, &here, key);
		assert_true(hash[i] != 0);
		assert_true(hash[i] == template_hash(template, track, &here, key));
		assert_true(hash[i] != template_hash(template, track, &here, (const uint64_t[]){5, 8}));
		free(track);
	}
	for (unsigned i = 0; i < N * N; i++)
		for (unsigned j = 0; j < i; j++)
			assert_int_equal(hash[i] == hash[j], strcmp(text[i], text[j]) == 0);
	template_free(template);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return (x > y) - (x < y);
}

static void a_hundred_thousand_clients_and_days_have_as_many_hashes(void **state)
{
	(void)state;
	enum { CLIENTS = 1000, DAYS = 100, N = CLIENTS * DAYS };
	uint64_t key[2] = {draw(), draw()}, *hash = calloc(N, sizeof *hash);
	assert_non_null(hash);
	struct template *template = compiled("{date}/{date}_{client_id}", (const uint16_t[]){EVENT_LOG, 0});
	union slot slot;
	for (unsigned i = 0; i < N; i++) {
		int64_t ms = INT64_C(1586846680064) + i % DAYS * INT64_C(86400000);
		hash[i] = template_hash(template, log_of(&slot, i / DAYS - CLIENTS / 2, ms), &here, key);
		/* the hour does not count */
		assert_true(hash[i] == template_hash(template,
		                                     log_of(&slot, i / DAYS - CLIENTS / 2, ms + 3600000),
		                                     &here, key));
	}
	qsort(hash, N, sizeof *hash, by_value);
	for (unsigned i = 1; i < N; i++)
		assert_true(hash[i - 1] != hash[i]);
	template_free(template);
	free(hash);
}

static void marks_are_the_numbers_and_the_unit_of_time(void **state)
{
	(void)state;
	static const uint16_t log[] = {EVENT_LOG, 0};
	static const struct {
		const char *text;
		bool can;
		uint64_t unit_ms;
		unsigned n;
	} row[] = {{"a", true, 0, 0},
	           {"{client_id}", true, 0, 1},
	           {"{hour}/{date}/{client_id}_{content_id}", true, 3600000, 2},
	           {"{date}/{hour}", true, 3600000, 0},
	           {"{date}/{date}_{client_id}", true, 86400000, 1},
	           {"{client_id}{client_id}{client_id}", false, 0, 0},
	           {"{client_id}/{text}", false, 0, 0},
	           {"{topic}", false, 0, 0}};
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct template_marks marks;
		struct template *template = compiled(row[i].text, log);
		assert_int_equal(template_marks(template, EVENT_LOG, &marks), row[i].can);
		assert_false(template_marks(template, EVENT_RAW, &(struct template_marks){0}));
		if (row[i].can) {
			assert_int_equal(marks.unit_ms, row[i].unit_ms);
			assert_int_equal(marks.n, row[i].n);
			assert_true(marks.n == 0 || marks.at[0] == offsetof(struct event_log, client_id));
		}
		template_free(template);
	}
}

static void each_part_that_varies_changes_the_hash(void **state)
{
	(void)state;
	static const uint64_t key[2] = {1, 2};
	union slot slot;
	struct record *record = log_of(&slot, 7, 1586846680064);
	struct template *template = compiled("{topic}{host}{instance}{n}{hour}{text}", NULL);
	uint64_t hash = template_hash(template, record, &here, key);
	struct template_place place = here;
	place.topic = "lof";
	assert_true(hash != template_hash(template, record, &place, key));
	place = here;
	place.host = "box-8";
	assert_true(hash != template_hash(template, record, &place, key));
	place = here;
	place.instance = "";
	assert_true(hash != template_hash(template, record, &place, key));
	place = here;
	place.n++;
	assert_true(hash != template_hash(template, record, &place, key));
	place = here;
	assert_true(hash != template_hash(template, log_of(&slot, 7, 1586846680064 + 3600000), &place, key));
	assert_true(hash == template_hash(template, log_of(&slot, 8, 1586846680064 + 86400000), &place, key));
	template_free(template);
}

/* ---- refusals ---- */

static void a_wrong_template_is_refused_and_told_why(void **state)
{
	(void)state;
	static const uint16_t log[] = {EVENT_LOG, 0}, both[] = {EVENT_LOG, EVENT_TRACK, 0};
	static const struct {
		const char *text;
		const uint16_t *types;
		const char *reason;
	} cases[] = {
	        {"a{colour}b", log,
	         "{colour} is no field of all these events; fields are topic, date, hour, host, instance, n, ts, ip, client_id, content_id, timestamp, text"},
	        {"{client_id}", both,
	         "{client_id} is no field of all these events; fields are topic, date, hour, host, instance, n, ts, ip"},
	        {"{colour}", NULL,
	         "{colour} is no field of any event; fields are topic, date, hour, host, instance, n"},
	        {"{params.a}", log, NULL},
	        {"{text.a}", log, NULL},
	        {"{host.a}", both + 1, NULL},
	        {"{params.}", both + 1, NULL},
	        {"{}", log, NULL},
	        {"{client_id", log, "\"{client_id\": a brace without its other"},
	        {"client_id}", log, "\"}\": a brace without its other"},
	        {"{{date}}", log, "\"{{date}}\": a brace without its other"},
	        {"{date}}", log, "\"}\": a brace without its other"},
	        {"{a_name_that_is_longer_than_any_that_a_field_of_an_event_could_have_with_its_member}", NULL,
	         NULL},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct template *template = NULL;
		char reason[256] = "";
		assert_int_equal(
		        template_compile(&template, cases[i].text, cases[i].types, reason, sizeof reason),
		        -EINVAL);
		assert_null(template);
		assert_true(reason[0] != '\0');
		if (cases[i].reason != NULL)
			assert_string_equal(reason, cases[i].reason);
		char little[10];
		assert_int_equal(
		        template_compile(&template, cases[i].text, cases[i].types, little, sizeof little),
		        -EINVAL);
	}
}

static void the_number_of_parts_is_bounded(void **state)
{
	(void)state;
	char text[200] = "", reason[64] = "";
	for (unsigned i = 0; i < TEMPLATE_PARTS_MAX; i++)
		strcat(text, i % 2 ? "{n}" : "-");
	struct template *template = compiled(text, NULL);
	assert_int_equal(template_most(template), TEMPLATE_PARTS_MAX / 2 * 21);
	template_free(template);
	strcat(text, "-");
	assert_int_equal(template_compile(&template, text, NULL, reason, sizeof reason), -EINVAL);
	assert_string_equal(reason, "more than 32 parts");
}

static void events_that_were_not_announced_have_what_they_have(void **state)
{
	(void)state;
	union slot slot;
	char out[64];
	struct template *template = compiled("{client_id}.{topic}", (const uint16_t[]){EVENT_LOG, 0});
	int n = template_expand(template, out, sizeof out, outside_of(&slot, "x", 1), &here);
	assert_int_equal(n, 5);
	assert_memory_equal(out, "_.log", 5);
	assert_true(template_hash(template, &slot.record, &here, (const uint64_t[]){1, 2}) != 0);
	template_free(template);
	template_free(NULL);
}

static void a_broken_record_has_neither_text_nor_hash(void **state)
{
	(void)state;
	union slot slot;
	char out[64];
	struct record *record = log_of(&slot, 7, 1586846680064);
	struct template *template = compiled("{date}", (const uint16_t[]){EVENT_LOG, 0});
	record->length--;
	assert_int_equal(template_expand(template, out, sizeof out, record, &here), -EINVAL);
	assert_true(template_hash(template, record, &here, (const uint64_t[]){1, 2}) == 0);
	template_free(template);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_key_of_a_log_has_the_day_and_the_client_of_the_log),
	        cmocka_unit_test(a_day_begins_at_midnight_in_utc),
	        cmocka_unit_test(a_time_that_no_date_has_becomes_one_character),
	        cmocka_unit_test(other_events_have_the_time_of_their_arrival),
	        cmocka_unit_test(what_the_record_does_not_say_comes_from_the_place),
	        cmocka_unit_test(an_event_that_has_a_host_has_its_own),
	        cmocka_unit_test(parameters_of_a_call_are_decoded_and_encoded_again),
	        cmocka_unit_test(an_escaped_text_is_what_it_stands_for),
	        cmocka_unit_test(values_that_would_move_a_key_stay_in_their_place),
	        cmocka_unit_test(a_long_value_is_cut_and_stays_apart_from_others_of_its_beginning),
	        cmocka_unit_test(an_escape_is_never_cut_in_two),
	        cmocka_unit_test(any_value_comes_out_as_the_oracle_has_it_and_stays_in_its_place),
	        cmocka_unit_test(hashes_are_the_same_exactly_when_the_texts_are),
	        cmocka_unit_test(a_hundred_thousand_clients_and_days_have_as_many_hashes),
	        cmocka_unit_test(marks_are_the_numbers_and_the_unit_of_time),
	        cmocka_unit_test(each_part_that_varies_changes_the_hash),
	        cmocka_unit_test(a_wrong_template_is_refused_and_told_why),
	        cmocka_unit_test(the_number_of_parts_is_bounded),
	        cmocka_unit_test(events_that_were_not_announced_have_what_they_have),
	        cmocka_unit_test(a_broken_record_has_neither_text_nor_hash),
	};
	alarm(50);
	draw_init(20261127);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
