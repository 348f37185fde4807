/* Signature version 4 against the examples of the S3 API reference ("Authenticating Requests: Using
 * the Authorization Header"), and its limits. System tests compare it with botocore. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sink/objects/sigv4.h"

#define EXAMPLE_TIME 1369353600 /* 2013-05-24 00:00:00 */

static const struct sigv4_keys example = {.access_key = "AKIAIOSFODNN7EXAMPLE",
                                          .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                                          .session_token = "",
                                          .region = "us-east-1",
                                          .service = "s3"};

static void assert_signature(const struct sigv4_request *request, const char *names, const char *signature)
{
	struct sigv4_signed out;
	char expected[512];
	assert_int_equal(sigv4_sign(&out, &example, request, EXAMPLE_TIME), 0);
	snprintf(
	        expected, sizeof expected,
	        "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=%s, Signature=%s",
	        names, signature);
	assert_string_equal(out.authorization, expected);
	assert_string_equal(out.date, "x-amz-date: 20130524T000000Z");
	assert_string_equal(out.token, "");
}

static void signs_the_examples_of_the_reference(void **state)
{
	(void)state;
	static const char *const range[] = {"Range: bytes=0-9"};
	assert_signature(&(struct sigv4_request){"GET", "examplebucket.s3.amazonaws.com", "/test.txt", "",
	                                         range, 1, SIGV4_EMPTY},
	                 "host;range;x-amz-content-sha256;x-amz-date",
	                 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
	static const char *const put[] = {"Date: Fri, 24 May 2013 00:00:00 GMT",
	                                  "x-amz-storage-class: REDUCED_REDUNDANCY"};
	assert_signature(
	        &(struct sigv4_request){"PUT", "examplebucket.s3.amazonaws.com", "/test%24file.text", "", put,
	                                2,
	                                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"},
	        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
	        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
	assert_signature(&(struct sigv4_request){"GET", "examplebucket.s3.amazonaws.com", "/", "lifecycle",
	                                         NULL, 0, SIGV4_EMPTY},
	                 "host;x-amz-content-sha256;x-amz-date",
	                 "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
	assert_signature(&(struct sigv4_request){"GET", "examplebucket.s3.amazonaws.com", "/",
	                                         "max-keys=2&prefix=J", NULL, 0, SIGV4_EMPTY},
	                 "host;x-amz-content-sha256;x-amz-date",
	                 "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

static void makes_the_request_canonical(void **state)
{
	(void)state;
	static const char *const header[] = {"X-Amz-Meta-B:  two   words ", "content-type:text/plain",
	                                     "Expect: 100-continue"};
	struct sigv4_request request = {
	        "PUT", "h:9000", "/a%20b//c", "z=1&uploads&a=%2F&a=1&&b=", header, 3, SIGV4_UNSIGNED};
	struct sigv4_keys keys = example;
	keys.session_token = "token";
	char *canonical = sigv4_canonical(&keys, &request, EXAMPLE_TIME);
	assert_non_null(canonical);
	assert_string_equal(
	        canonical,
	        "PUT\n/a%20b//c\na=%2F&a=1&b=&uploads=&z=1\n"
	        "content-type:text/plain\nhost:h:9000\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n"
	        "x-amz-date:20130524T000000Z\nx-amz-meta-b:two words\nx-amz-security-token:token\n\n"
	        "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-b;x-amz-security-token\n"
	        "UNSIGNED-PAYLOAD");
	free(canonical);
	struct sigv4_signed out;
	assert_int_equal(sigv4_sign(&out, &keys, &request, EXAMPLE_TIME), 0);
	assert_string_equal(out.token, "x-amz-security-token: token");
	assert_string_equal(out.hash, "x-amz-content-sha256: UNSIGNED-PAYLOAD");
}

static void refuses_what_is_too_long(void **state)
{
	(void)state;
	struct sigv4_request request = {"GET", "h", "/", "", NULL, 0, SIGV4_EMPTY};
	struct sigv4_signed out;
	static char text[200000];
	memset(text, 'a', sizeof text - 1);
	struct sigv4_keys keys = example;
	keys.secret_key = text;
	assert_int_equal(sigv4_sign(&out, &keys, &request, EXAMPLE_TIME), -E2BIG);
	keys = example, keys.session_token = text;
	assert_int_equal(sigv4_sign(&out, &keys, &request, EXAMPLE_TIME), -E2BIG);
	keys = example, keys.region = text;
	assert_int_equal(sigv4_sign(&out, &keys, &request, EXAMPLE_TIME), -E2BIG);
	request.path = text;
	assert_int_equal(sigv4_sign(&out, &example, &request, EXAMPLE_TIME), -E2BIG);
	request.path = "/", request.query = text;
	assert_int_equal(sigv4_sign(&out, &example, &request, EXAMPLE_TIME), -E2BIG);
	for (size_t i = 0; i < sizeof text - 1; i += 2)
		text[i] = '&';
	assert_int_equal(sigv4_sign(&out, &example, &request, EXAMPLE_TIME), -E2BIG);
	static const char *const colon[] = {"no colon"};
	request.query = "", request.header = colon, request.n_headers = 1;
	assert_int_equal(sigv4_sign(&out, &example, &request, EXAMPLE_TIME), -E2BIG);
}

static void encodes_all_but_the_unreserved(void **state)
{
	(void)state;
	char out[64];
	assert_int_equal(sigv4_encode(out, sizeof out, "a/B9-._~ %\xc3\xa4", 12, true), 20);
	assert_string_equal(out, "a/B9-._~%20%25%C3%A4");
	assert_int_equal(sigv4_encode(out, sizeof out, "a/\0", 3, false), 7);
	assert_string_equal(out, "a%2F%00");
	assert_int_equal(sigv4_encode(out, 4, "abcd", 4, false), -E2BIG);
	assert_int_equal(sigv4_encode(out, 4, "abc", 3, false), 3);
	assert_int_equal(sigv4_encode(out, 3, "/", 1, false), -E2BIG);
	assert_int_equal(sigv4_encode(out, 0, "", 0, false), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(signs_the_examples_of_the_reference),
	        cmocka_unit_test(makes_the_request_canonical),
	        cmocka_unit_test(refuses_what_is_too_long),
	        cmocka_unit_test(encodes_all_but_the_unreserved),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
