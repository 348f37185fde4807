/* Shared Key: the text that is signed as Azure's document has it, signatures that Python's hmac and
 * base64 gave for the same texts, and what is refused. Places of containers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "sink/objects/azure_place.h"
#include "sink/objects/azure_sign.h"

/* bytes 0 to 63 */
#define KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="

static void assert_text(const struct azure_signed *request, const char *account, const char *expected)
{
	char text[AZURE_SIGN_MAX];
	assert_int_equal(azure_string_to_sign(text, sizeof text, account, request), (int)strlen(expected));
	assert_string_equal(text, expected);
}

/* learn.microsoft.com, authorize-with-shared-key, "Shared Key signature for Blob, Queue, and File
 * services": Get Container Metadata, and List Blobs. */
static void the_text_is_that_of_the_document(void **state)
{
	(void)state;
	static const char *const header[] = {"x-ms-version: 2015-02-21",
	                                     "x-ms-date: Fri, 26 Jun 2015 23:39:12 GMT"};
	struct azure_signed request = {.method = "GET",
	                               .path = "/mycontainer?restype=container",
	                               .query = "restype=container&comp=metadata",
	                               .header = header,
	                               .n_headers = 2};
	assert_text(&request, "myaccount",
	            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n"
	            "x-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\nrestype:container");
}

static void all_headers_have_their_place(void **state)
{
	(void)state;
	static const char *const header[] = {
	        "Range: bytes=0-1",        "If-None-Match:*",
	        "if-match: \"a\"",         "If-Modified-Since: d1",
	        "If-Unmodified-Since: d2", "content-type: text/plain",
	        "Content-MD5: q==",        "Content-Language: de",
	        "Content-Encoding: gzip",  "X-Ms-Meta-B:  two \t words  ",
	        "x-ms-meta-a: 1",          "x-ms-meta: shorter",
	        "Other: ignored",
	};
	struct azure_signed request = {.method = "PUT",
	                               .path = "/acc/con/a%20b%2Fc",
	                               .query = "comp=block&BlockId=QUJD%2B%2f%3D",
	                               .header = header,
	                               .n_headers = sizeof header / sizeof *header,
	                               .bytes = 1234567890123};
	assert_text(&request, "acc",
	            "PUT\ngzip\nde\n1234567890123\nq==\ntext/plain\n\nd1\n\"a\"\n*\nd2\nbytes=0-1\n"
	            "x-ms-meta:shorter\nx-ms-meta-a:1\nx-ms-meta-b:two words\n/acc/acc/con/a%20b%2Fc\n"
	            "blockid:QUJD+/=\ncomp:block");
}

static void the_signature_is_what_others_compute(void **state)
{
	(void)state;
	struct azure_key key;
	char line[AZURE_AUTHORIZATION_MAX];
	static const char *const header[] = {"x-ms-date: Fri, 26 Jun 2015 23:39:12 GMT",
	                                     "x-ms-version: 2021-12-02", "x-ms-blob-type: BlockBlob"};
	struct azure_signed request = {.method = "PUT",
	                               .path = "/testaccount/container/chat/a",
	                               .query = "",
	                               .header = header,
	                               .n_headers = 3,
	                               .bytes = 5};
	assert_int_equal(azure_key_read(&key, "testaccount", KEY), 0);
	assert_int_equal(key.n_bytes, 64);
	assert_int_equal(azure_sign(line, &key, &request), 0);
	assert_string_equal(
	        line, "Authorization: SharedKey testaccount:Vb+F+hy7ozmY1x40PR703j6QaXHnH+hezf1lBdLkB5k=");
}

static void a_query_that_is_none_is_refused(void **state)
{
	(void)state;
	char text[AZURE_SIGN_MAX];
	static const char *const wrong[] = {"a=%", "a=%2", "a=%zz", "a=%0a", "a=%00"};
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct azure_signed request = {.method = "GET", .path = "/", .query = wrong[i]};
		assert_int_equal(azure_string_to_sign(text, sizeof text, "a", &request), -EINVAL);
	}
	struct azure_signed request = {.method = "GET", .path = "/", .query = ""};
	assert_int_equal(azure_string_to_sign(text, 16, "a", &request), -E2BIG);
}

static void a_key_is_base64_of_some_bytes(void **state)
{
	(void)state;
	struct azure_key key;
	static const char *const wrong[] = {
	        "", "A", "AAA", "AAAAA", "====", "AA A", " AAAA", "AAAA\n", "AA=A", "AA\xc3\xa4"};
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(azure_key_read(&key, "a", wrong[i]), -EINVAL);
	assert_int_equal(azure_key_read(&key, "a", "QQ=="), 0);
	assert_int_equal(key.n_bytes, 1);
	assert_int_equal(azure_key_read(&key, "a", "QUI="), 0);
	assert_int_equal(key.n_bytes, 2);
	char longer[300];
	memset(longer, 'A', sizeof longer);
	longer[296] = 0;
	assert_int_equal(azure_key_read(&key, "a", longer), -EINVAL);
	memset(longer, 'a', sizeof longer);
	longer[AZURE_ACCOUNT_MAX + 1] = 0;
	assert_int_equal(azure_key_read(&key, longer, "QQ=="), -EINVAL);
}

static void a_date_is_in_gmt_and_english(void **state)
{
	(void)state;
	char line[AZURE_DATE_MAX];
	azure_date(line, 784111777);
	assert_string_equal(line, "x-ms-date: Sun, 06 Nov 1994 08:49:37 GMT");
	azure_date(line, 1709251199);
	assert_string_equal(line, "x-ms-date: Thu, 29 Feb 2024 23:59:59 GMT");
}

static void a_container_is_at_azure_or_at_an_endpoint(void **state)
{
	(void)state;
	struct azure_place place;
	struct shm_error error;
	char url[AZURE_URL_MAX];
	assert_int_equal(azure_place_init(&place, "acc", "logs", "", &error), 0);
	assert_true(place.tls);
	int at = azure_place_url(&place, url, sizeof url, "chat/a b%/\xc3\xa4~", 13, "comp=block", "");
	assert_string_equal(url, "https://acc.blob.core.windows.net/logs/chat/a%20b%25/%C3%A4~?comp=block");
	assert_string_equal(url + at, "comp=block");
	assert_string_equal(url + place.path_at, "/logs/chat/a%20b%25/%C3%A4~?comp=block");
	assert_int_equal(
	        azure_place_init(&place, "", "logs", "http://127.0.0.1:10000/devstoreaccount1//", &error), 0);
	assert_false(place.tls);
	at = azure_place_url(&place, url, sizeof url, "a\0?", 3, "", "sv=1&sig=x");
	assert_string_equal(url, "http://127.0.0.1:10000/devstoreaccount1/logs/a%00%3F?sv=1&sig=x");
	assert_string_equal(url + at, "sv=1&sig=x");
	at = azure_place_url(&place, url, sizeof url, "a", 1, "", "");
	assert_string_equal(url, "http://127.0.0.1:10000/devstoreaccount1/logs/a");
	assert_string_equal(url + at, "");
	assert_int_equal(azure_place_url(&place, url, 40, "a", 1, "", ""), -E2BIG);
}

static void a_place_that_is_none_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *account, *container, *endpoint, *key;
	} wrong[] = {
	        {"", "logs", "", "account: "},
	        {"a_b", "logs", "", "account: "},
	        {"a.evil.example/", "logs", "", "account: "},
	        {"acc", "", "", "container: "},
	        {"acc", "a/b", "", "container: "},
	        {"acc", "lo", "", "container: "},
	        {"acc", "logs", "ftp://x", "endpoint: "},
	        {"acc", "logs", "http://", "endpoint: "},
	        {"acc", "logs", "http:///x", "endpoint: "},
	        {"acc", "logs", "http://user@x", "endpoint: "},
	        {"acc", "logs", "http://x?y", "endpoint: "},
	        {"acc", "logs", "http://x y", "endpoint: "},
	};
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct azure_place place;
		struct shm_error error = {.text = ""};
		assert_int_equal(azure_place_init(&place, wrong[i].account, wrong[i].container,
		                                  wrong[i].endpoint, &error),
		                 -EINVAL);
		assert_memory_equal(error.text, wrong[i].key, strlen(wrong[i].key));
	}
}

static void a_shared_access_signature_is_a_query_with_sig(void **state)
{
	(void)state;
	char sas[AZURE_SAS_MAX + 1];
	assert_int_equal(azure_sas_read(sas, "?sv=2021-12-02&sp=rcw&sig=a%2Bb%3D\r\n"), 0);
	assert_string_equal(sas, "sv=2021-12-02&sp=rcw&sig=a%2Bb%3D");
	static const char *const wrong[] = {"",        "?",        "sv=1",    "sig",      "xsig=1",
	                                    "sig=a b", "sig=a\nb", "sig=a#b", "sig=\"x\""};
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(azure_sas_read(sas, wrong[i]), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_text_is_that_of_the_document),
	        cmocka_unit_test(all_headers_have_their_place),
	        cmocka_unit_test(the_signature_is_what_others_compute),
	        cmocka_unit_test(a_query_that_is_none_is_refused),
	        cmocka_unit_test(a_key_is_base64_of_some_bytes),
	        cmocka_unit_test(a_date_is_in_gmt_and_english),
	        cmocka_unit_test(a_container_is_at_azure_or_at_an_endpoint),
	        cmocka_unit_test(a_place_that_is_none_is_refused),
	        cmocka_unit_test(a_shared_access_signature_is_a_query_with_sig),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
