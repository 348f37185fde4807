/* The pieces of the store on S3 that need no store: where a bucket is, lists, what an answer means;
 * and that requests are bounded and forgotten. What it does with a store is tested against the
 * fault server (tests/system/test_s3_store.py). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "sink/objects/s3_answer.h"
#include "sink/objects/s3_list.h"
#include "sink/objects/s3_place.h"
#include "tests/fixture/little_server.h"

/* ---- places ---- */

static void assert_place(const char *bucket, const char *region, const char *endpoint, const char *style,
                         const char *url, const char *host)
{
	struct s3_place place;
	struct shm_error error = {.text = ""};
	char made[512];
	if (s3_place_init(&place, bucket, region, endpoint, style, &error) != 0)
		fail_msg("%s", error.text);
	int at = s3_place_url(&place, made, sizeof made, "a b/c", 5, "x=1");
	assert_string_equal(made, url);
	assert_string_equal(made + at, "x=1");
	assert_string_equal(place.host, host);
	assert_int_equal(made[place.path_at], '/');
}

static void a_bucket_is_in_the_host_or_in_the_path(void **state)
{
	(void)state;
	assert_place("logs", "eu-central-1", "", "auto",
	             "https://logs.s3.eu-central-1.amazonaws.com/a%20b/c?x=1",
	             "logs.s3.eu-central-1.amazonaws.com");
	assert_place("my.logs", "eu-central-1", "", "auto",
	             "https://s3.eu-central-1.amazonaws.com/my.logs/a%20b/c?x=1",
	             "s3.eu-central-1.amazonaws.com");
	assert_place("Logs_1", "us-east-1", "", "auto",
	             "https://s3.us-east-1.amazonaws.com/Logs_1/a%20b/c?x=1", "s3.us-east-1.amazonaws.com");
	assert_place("logs", "cn-north-1", "", "path",
	             "https://s3.cn-north-1.amazonaws.com.cn/logs/a%20b/c?x=1",
	             "s3.cn-north-1.amazonaws.com.cn");
	assert_place("logs", "us-east-1", "http://minio:9000", "auto", "http://minio:9000/logs/a%20b/c?x=1",
	             "minio:9000");
	assert_place("logs", "us-east-1", "https://S3.EU-West-1.AmazonAWS.com/S", "auto",
	             "https://logs.s3.eu-west-1.amazonaws.com/S/a%20b/c?x=1",
	             "logs.s3.eu-west-1.amazonaws.com");
	assert_place("logs", "us-east-1", "http://minio:9000", "virtual",
	             "http://logs.minio:9000/a%20b/c?x=1", "logs.minio:9000");
	assert_place("logs", "us-east-1", "https://h:443/", "path", "https://h/logs/a%20b/c?x=1", "h");
	assert_place("logs", "us-east-1", "http://h:80/s3//", "path", "http://h/s3/logs/a%20b/c?x=1", "h");
	assert_place("logs", "us-east-1", "http://[::1]:9000", "auto", "http://[::1]:9000/logs/a%20b/c?x=1",
	             "[::1]:9000");
	assert_place("logs", "us-east-1", "https://s3.dualstack.us-east-1.amazonaws.com", "auto",
	             "https://logs.s3.dualstack.us-east-1.amazonaws.com/a%20b/c?x=1",
	             "logs.s3.dualstack.us-east-1.amazonaws.com");
}

static void the_bucket_itself_has_a_url(void **state)
{
	(void)state;
	struct s3_place place;
	struct shm_error error;
	char url[256], small[20];
	assert_int_equal(s3_place_init(&place, "logs", "us-east-1", "http://h", "path", &error), 0);
	assert_int_equal(s3_place_url(&place, url, sizeof url, "", 0, "uploads"), 14);
	assert_string_equal(url, "http://h/logs?uploads");
	assert_int_equal(s3_place_url(&place, url, sizeof url, "", 0, ""), 13);
	assert_string_equal(url, "http://h/logs");
	assert_int_equal(s3_place_url(&place, small, sizeof small, "abcdef", 6, ""), -E2BIG);
	assert_int_equal(s3_place_url(&place, small, sizeof small, "abc", 3, "abc"), -E2BIG);
}

static void a_place_that_is_none_is_refused(void **state)
{
	(void)state;
	static const char *const bad[][4] = {
	        {"ab", "us-east-1", "", "auto"},
	        {"a/b", "us-east-1", "", "auto"},
	        {"a..b", "us-east-1", "", "auto"},
	        {"logs", "", "", "auto"},
	        {"logs", "us-east-1.evil.com/", "", "auto"},
	        {"logs", "us-east-1", "minio:9000", "auto"},
	        {"logs", "us-east-1", "ftp://minio", "auto"},
	        {"logs", "us-east-1", "http://", "auto"},
	        {"logs", "us-east-1", "http://:9000", "auto"},
	        {"logs", "us-east-1", "http://a b", "auto"},
	        {"logs", "us-east-1", "http://user@host", "auto"},
	        {"logs", "us-east-1", "http://host:", "auto"},
	        {"logs", "us-east-1", "http://host:65536", "auto"},
	        {"logs", "us-east-1", "http://host:1x", "auto"},
	        {"logs", "us-east-1", "http://host/?q", "auto"},
	        {"logs", "us-east-1", "http://host/#f", "auto"},
	        {"logs", "us-east-1", "http://[::1", "auto"},
	        {"logs", "us-east-1", "http://[::g]", "auto"},
	        {"logs", "us-east-1", "http://10.0.0.1:9000", "virtual"},
	        {"my.logs", "us-east-1", "", "virtual"},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct s3_place place;
		struct shm_error error;
		if (s3_place_init(&place, bad[i][0], bad[i][1], bad[i][2], bad[i][3], &error) != -EINVAL)
			fail_msg("taken: %s %s %s %s", bad[i][0], bad[i][1], bad[i][2], bad[i][3]);
	}
}

/* ---- lists ---- */

static int read_parts(struct s3_parts *parts, const char *text)
{
	return s3_read_parts(parts, text, strlen(text));
}

#define PART(number, etag, more) \
	"<Part><PartNumber>" number "</PartNumber><ETag>" etag "</ETag><Size>7</Size>" more "</Part>"

static void parts_are_read_page_after_page(void **state)
{
	(void)state;
	struct s3_parts parts = {.n = 0};
	assert_int_equal(
	        read_parts(&parts,
	                   "<ListPartsResult><IsTruncated>true</IsTruncated>" PART("2", "&quot;a&quot;", "")
	                           PART("5", "b",
	                                "<ChecksumCRC32C>AAAAAA==</ChecksumCRC32C>") "</ListPartsResult>"),
	        0);
	assert_true(parts.truncated);
	assert_int_equal(parts.last, 5);
	assert_int_equal(read_parts(&parts, "<ListPartsResult>" PART("6", "c", "") "</ListPartsResult>"), 0);
	assert_false(parts.truncated);
	assert_int_equal(parts.n, 3);
	assert_string_equal(parts.part[0].etag, "\"a\"");
	assert_string_equal(parts.part[1].etag, "b AAAAAA==");
	assert_int_equal(parts.part[1].bytes, 7);
	assert_string_equal(parts.part[2].etag, "c");
	free(parts.part);
}

static void a_list_of_parts_that_makes_no_sense_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int result;
	} bad[] = {
	        {"", -EINVAL},
	        {"<Error><Code>x</Code></Error>", -EINVAL},
	        {"<ListPartsResult>" PART("1", "a", ""), -EINVAL},
	        {"<ListPartsResult><IsTruncated>true</IsTruncated></ListPartsResult>", -EPROTO},
	        {"<ListPartsResult>" PART("2", "a", "") PART("1", "b", "") "</ListPartsResult>", -EPROTO},
	        {"<ListPartsResult>" PART("2", "a", "") PART("2", "b", "") "</ListPartsResult>", -EPROTO},
	        {"<ListPartsResult>" PART("0", "a", "") "</ListPartsResult>", -EPROTO},
	        {"<ListPartsResult>" PART("10001", "a", "") "</ListPartsResult>", -EPROTO},
	        {"<ListPartsResult>" PART("99999999999999999999", "a", "") "</ListPartsResult>", -EPROTO},
	        {"<ListPartsResult>" PART("1", "", "") "</ListPartsResult>", -EPROTO},
	        {"<ListPartsResult>" PART("1", "a b", "") "</ListPartsResult>", -EPROTO},
	        {"<ListPartsResult>" PART("1", "&lt;", "") "</ListPartsResult>", -EPROTO},
	        {"<ListPartsResult>" PART(
	                 "1",
	                 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	                 "") "</ListPartsResult>",
	         -EPROTO},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct s3_parts parts = {.n = 0};
		if (read_parts(&parts, bad[i].text) != bad[i].result)
			fail_msg("%s", bad[i].text);
		free(parts.part);
	}
}

static void the_youngest_upload_of_exactly_the_name_is_found(void **state)
{
	(void)state;
#define UPLOAD(key, id, time, more)                                                                 \
	"<Upload><Key>" key "</Key><UploadId>" id "</UploadId><Initiated>" time "</Initiated>" more \
	"</Upload>"
	static const char text[] = "<ListMultipartUploadsResult>" UPLOAD("a", "1", "2026-01-02T00:00:00Z", "")
	        UPLOAD("a", "2", "2026-01-03T00:00:00Z", "<ChecksumAlgorithm>CRC32C</ChecksumAlgorithm>")
	                UPLOAD("a", "3", "2026-01-01T00:00:00Z", "")
	                        UPLOAD("ab", "4", "2027-01-01T00:00:00Z", "") "</ListMultipartUploadsResult>";
	struct s3_upload upload;
	assert_int_equal(s3_read_uploads(&upload, "a", 1, text, strlen(text)), 0);
	assert_string_equal(upload.id, "2");
	assert_string_equal(upload.checksum, "CRC32C");
	assert_int_equal(s3_read_uploads(&upload, "b", 1, text, strlen(text)), 0);
	assert_string_equal(upload.id, "");
	assert_int_equal(s3_read_uploads(&upload, "a", 1, text, strlen(text) - 1), -EINVAL);
	assert_int_equal(s3_read_uploads(&upload, "a", 1, "<Error/>", 8), -EINVAL);
}

/* ---- answers ---- */

static struct cloud_meaning judge(long status, const char *head, const char *body, enum store_action action)
{
	struct cloud_meaning meaning;
	struct http_request answer = {.status = status,
	                              .answer = (char *)(uintptr_t)head,
	                              .body = (char *)(uintptr_t)body,
	                              .body_bytes = strlen(body)};
	s3_judge(&meaning, &answer, action, "us-east-1");
	return meaning;
}

static void a_status_without_a_code_has_a_meaning(void **state)
{
	(void)state;
	static const struct {
		long status;
		int find, part, finish, put;
	} rows[] = {
	        {200, -EAGAIN, -EINPROGRESS, -EINPROGRESS, -EINPROGRESS},
	        {301, -EACCES, -EACCES, -EACCES, -EACCES},
	        {400, -EINVAL, -EINVAL, -EINVAL, -EINVAL},
	        {403, -EACCES, -EACCES, -EACCES, -EACCES},
	        {404, -EACCES, -EACCES, -EACCES, -EACCES},
	        {409, -EAGAIN, -EAGAIN, -EINPROGRESS, -EINPROGRESS},
	        {412, -EAGAIN, -EAGAIN, -EINPROGRESS, -EEXIST},
	        {429, -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	        {500, -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	        {501, -EINVAL, -EINVAL, -EINVAL, -EINVAL},
	        {507, -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(judge(rows[i].status, "", "", STORE_FIND).result, rows[i].find);
		assert_int_equal(judge(rows[i].status, "", "", STORE_PART).result, rows[i].part);
		assert_int_equal(judge(rows[i].status, "", "<html>", STORE_FINISH).result, rows[i].finish);
		assert_int_equal(judge(rows[i].status, "", "", STORE_PUT).result, rows[i].put);
	}
}

static void a_code_says_more_than_the_status(void **state)
{
	(void)state;
	struct cloud_meaning meaning =
	        judge(400, "", "<Error><Code>ExpiredToken</Code><Message>over</Message></Error>", STORE_PART);
	assert_int_equal(meaning.remedy, CLOUD_NEW_KEYS);
	assert_string_equal(meaning.reason, "400 ExpiredToken: over");
	meaning = judge(403, "", "<Error><Code>RequestTimeTooSkewed</Code></Error>", STORE_PART);
	assert_int_equal(meaning.remedy, CLOUD_NEW_CLOCK);
	assert_int_equal(judge(400, "", "<Error><Code>RequestTimeout</Code></Error>", STORE_PART).result,
	                 -EAGAIN);
	assert_int_equal(judge(404, "", "<Error><Code>NoSuchUpload</Code></Error>", STORE_FINISH).result,
	                 -ENOENT);
	meaning = judge(301, "x-amz-bucket-region: eu-west-1\n", "", STORE_FIND);
	assert_string_equal(meaning.reason, "301 (the bucket is in region eu-west-1: set s3.region)");
	meaning = judge(301, "", "<Error><Code>PermanentRedirect</Code><Region>eu-west-1</Region></Error>",
	                STORE_FIND);
	assert_string_equal(meaning.reason,
	                    "301 PermanentRedirect (the bucket is in region eu-west-1: set s3.region)");
	meaning = judge(403, "x-amz-bucket-region: us-east-1\n", "<Error><Code>AccessDenied</Code></Error>",
	                STORE_FIND);
	assert_string_equal(meaning.reason, "403 AccessDenied");
	assert_int_equal(judge(503, "Retry-After: 9\n", "", STORE_PART).wait_ns, 9 * NS_PER_SEC);
	assert_int_equal(judge(503, "Retry-After: 999999\n", "", STORE_PART).wait_ns, 300 * NS_PER_SEC);
}

static void without_an_answer_it_matters_whether_anything_was_sent(void **state)
{
	(void)state;
	static const struct {
		int error;
		bool sent;
		enum store_action action;
		int result;
	} rows[] = {
	        {-ETIMEDOUT, false, STORE_FINISH, -EAGAIN}, {-ETIMEDOUT, true, STORE_FINISH, -EINPROGRESS},
	        {-EIO, true, STORE_PART, -EINPROGRESS},     {-EIO, true, STORE_FIND, -EAGAIN},
	        {-ECONNREFUSED, false, STORE_PUT, -EAGAIN}, {-EHOSTUNREACH, false, STORE_PUT, -EAGAIN},
	        {-EPROTO, false, STORE_PROBE, -EACCES},     {-EINVAL, false, STORE_PUT, -EINVAL},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct cloud_meaning meaning;
		struct http_request answer = {.result = rows[i].error, .sent = rows[i].sent, .reason = "why"};
		s3_judge(&meaning, &answer, rows[i].action, "us-east-1");
		assert_int_equal(meaning.result, rows[i].result);
		assert_string_equal(meaning.reason, "why");
	}
}

/* ---- requests ---- */

static void never(struct little_connection *c, const struct little_request *request, void *argument)
{
	(void)request;
	(void)argument;
	little_hang(c);
}

static void only_so_many_requests_are_under_way_and_closing_forgets_them(void **state)
{
	(void)state;
	struct little_server *server = little_start(never, NULL, NULL);
	char endpoint[512], *errors = NULL;
	snprintf(
	        endpoint, sizeof endpoint,
	        "sinks=[{name: a, kind: objects, topics: [log], store: {s3: {bucket: bbb, endpoint: \"http://127.0.0.1:%u\", access_key: k, secret_key: s, connections: 2}}}]",
	        little_port(server));
	const char *sets[] = {endpoint};
	struct config *config = config_load_text("t", "", 0, sets, 1, &errors);
	if (config == NULL)
		fail_msg("%s", errors);
	struct shm_error error;
	struct store *store;
	const struct store_ops *ops;
	assert_int_equal(store_choose(&ops, config, "sinks[0]", &error), 0);
	assert_string_equal(ops->kind, "s3");
	assert_int_equal(ops->open(&store, config, "sinks[0]", &error), 0);
	assert_int_equal(ops->traits(store)->requests, 2);
	assert_string_equal(ops->traits(store)->name, "s3://bbb");
	assert_true(ops->memory_max(config, "sinks[0]") < 64u << 20);
	struct store_request request[3] = {
	        {.action = STORE_FIND, .name = "a", .name_bytes = 1},
	        {.action = STORE_LIST, .name = "a", .name_bytes = 1, .upload = "u"},
	        {.action = STORE_PROBE}};
	assert_true(ops->start(store, &request[0]));
	assert_true(ops->start(store, &request[1]));
	assert_false(ops->start(store, &request[2]));
	for (unsigned i = 0; i < 200 && little_connections(server) < 2; i++) {
		assert_null(ops->next(store, clock_monotonic_ns()));
		usleep(1000);
	}
	struct store_wait wait[4];
	uint64_t timeout = 1000 * NS_PER_SEC;
	assert_int_equal(ops->wait(store, wait, 4, &timeout), 1);
	assert_true(timeout < 1000 * NS_PER_SEC);
	ops->close(store);
	config_free(config);
	little_stop(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_bucket_is_in_the_host_or_in_the_path),
	        cmocka_unit_test(the_bucket_itself_has_a_url),
	        cmocka_unit_test(a_place_that_is_none_is_refused),
	        cmocka_unit_test(parts_are_read_page_after_page),
	        cmocka_unit_test(a_list_of_parts_that_makes_no_sense_is_refused),
	        cmocka_unit_test(the_youngest_upload_of_exactly_the_name_is_found),
	        cmocka_unit_test(a_status_without_a_code_has_a_meaning),
	        cmocka_unit_test(a_code_says_more_than_the_status),
	        cmocka_unit_test(without_an_answer_it_matters_whether_anything_was_sent),
	        cmocka_unit_test(only_so_many_requests_are_under_way_and_closing_forgets_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
