/* Signatures of Standard Webhooks: the vector of its reference libraries, several secrets, files
 * that are wrong, and files that change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deliver/sign.h"

/* What the libraries of Standard Webhooks test themselves with. */
#define SECRET "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define OTHER                   \
	"whsec_" /* 64 bytes */ \
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
#define ID        "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define TIMESTAMP 1614265330
#define BODY      "{\"test\": 2432232314}"
#define SIGNATURE "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

static char path[64];

static void write_secrets(const char *text)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
	(void)state;
	alarm(60);
	strcpy(path, "/tmp/millrace-sign-XXXXXX");
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
	(void)state;
	return unlink(path);
}

static struct sign *open_with(const char *text)
{
	struct sign *sign = NULL;
	struct shm_error error = {""};
	write_secrets(text);
	if (sign_open(&sign, path, &error) != 0)
		fail_msg("%s", error.text);
	return sign;
}

static const char *header(const struct sign *sign, const char *id, int64_t timestamp_s, const char *body)
{
	static char out[SIGN_HEADER_MAX];
	size_t n = sign_header(sign, id, timestamp_s, body, strlen(body), out);
	assert_int_equal(n, strlen(out));
	return out;
}

static void the_vector_of_the_reference_libraries_comes_out(void **state)
{
	(void)state;
	struct sign *sign = open_with(SECRET "\n");
	assert_string_equal(header(sign, ID, TIMESTAMP, BODY), "webhook-signature: " SIGNATURE);
	assert_true(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), SIGNATURE));
	sign_close(sign);
}

static void each_signature_stands_alone(void **state)
{
	(void)state;
	struct sign *sign = open_with(SECRET);
	char first[SIGN_HEADER_MAX];
	strcpy(first, header(sign, "a", 1, "x"));
	for (unsigned i = 0; i < 100; i++) {
		header(sign, "another", i, "and another");
		assert_string_equal(header(sign, "a", 1, "x"), first);
	}
	sign_close(sign);
}

/* Against OpenSSL's one-shot function. */
static void it_is_the_hmac_of_id_time_and_body(void **state)
{
	(void)state;
	uint8_t key[64], digest[32];
	char text[64], body[500], signed_text[700], wanted[128];
	struct sign *sign = open_with(OTHER "\n");
	for (unsigned i = 0; i < sizeof key; i++)
		key[i] = (uint8_t)i;
	for (unsigned n = 0; n < sizeof body - 1; n += 7) {
		unsigned length = 32;
		memset(body, 'a' + (int)(n % 26), n);
		body[n] = '\0';
		int bytes = snprintf(signed_text, sizeof signed_text, "id%u.%u.%s", n, 1700000000 + n, body);
		assert_non_null(HMAC(EVP_sha256(), key, sizeof key, (unsigned char *)signed_text,
		                     (size_t)bytes, digest, &length));
		EVP_EncodeBlock((unsigned char *)text, digest, 32);
		snprintf(wanted, sizeof wanted, "webhook-signature: v1,%s", text);
		snprintf(text, sizeof text, "id%u", n);
		assert_string_equal(header(sign, text, 1700000000 + n, body), wanted);
	}
	sign_close(sign);
}

static void every_secret_signs_in_the_order_of_the_file(void **state)
{
	(void)state;
	struct sign *both = open_with("# rotated in May\n\n  " SECRET " \r\n" OTHER);
	struct sign *one = open_with(OTHER "\n");
	const char *second = strchr(header(one, ID, TIMESTAMP, BODY), ' ') + 1;
	char wanted[SIGN_HEADER_MAX];
	snprintf(wanted, sizeof wanted, "webhook-signature: " SIGNATURE " %s", second);
	assert_string_equal(header(both, ID, TIMESTAMP, BODY), wanted);
	assert_true(sign_verify(one, ID, TIMESTAMP, BODY, strlen(BODY), strchr(wanted, ' ') + 1));
	sign_close(both);
	sign_close(one);
}

static void eight_secrets_fit_into_the_header(void **state)
{
	(void)state;
	char text[8 * sizeof OTHER + 1] = "";
	for (unsigned i = 0; i < SIGN_SECRETS_MAX; i++)
		strcat(text, OTHER "\n");
	struct sign *sign = open_with(text);
	assert_int_equal(strlen(header(sign, ID, TIMESTAMP, BODY)), 18 + SIGN_SECRETS_MAX * 48);
	sign_close(sign);
}

static void anything_changed_is_not_verified(void **state)
{
	(void)state;
	struct sign *sign = open_with(SECRET);
	char value[] = SIGNATURE;
	assert_false(sign_verify(sign, ID "x", TIMESTAMP, BODY, strlen(BODY), SIGNATURE));
	assert_false(sign_verify(sign, ID, TIMESTAMP + 1, BODY, strlen(BODY), SIGNATURE));
	assert_false(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY) - 1, SIGNATURE));
	assert_false(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), ""));
	assert_false(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), "v1, v1,abc  v2"));
	assert_false(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), SIGNATURE "x"));
	assert_false(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY),
	                         "v1a" /* its length */
	                         "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
	for (size_t i = 0; i < sizeof value - 1; i++) {
		value[i] ^= 1;
		assert_false(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), value));
		value[i] ^= 1;
	}
	assert_true(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), "v2,x  v1a,y " SIGNATURE " "));
	sign_close(sign);
}

static void a_file_that_is_wrong_is_refused_and_no_secret_is_told(void **state)
{
	(void)state;
	static const struct {
		const char *text, *told;
	} wrong[] = {
	        {"", ": there is no secret in it"},
	        {"# none\n\n", ": there is no secret in it"},
	        {"\nMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", ":2: a secret begins with whsec_"},
	        {"whsec_\n", ":1: what follows whsec_ is not the base64"},
	        {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa==\n", ":1: what follows whsec_"},
	        {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS\n", ":1: what follows whsec_"},
	        {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!\n", ":1: what follows whsec_"},
	        {"whsec_MfKQ9r8GKYqr=wjUPD8ILPZIo2LaLaSw\n", ":1: what follows whsec_"},
	        {"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=\n",
	         ":1: what follows whsec_"},
	        {OTHER "\n" OTHER "\n" OTHER "\n" OTHER "\n" OTHER "\n" OTHER "\n" OTHER "\n" OTHER "\n" OTHER
	               "\n",
	         ":9: too many secrets"},
	};
	for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct sign *sign;
		struct shm_error error = {""};
		write_secrets(wrong[i].text);
		assert_int_equal(sign_open(&sign, path, &error), -EINVAL);
		if (strstr(error.text, wrong[i].told) == NULL)
			fail_msg("\"%s\" is not in \"%s\"", wrong[i].told, error.text);
		assert_null(strstr(error.text, "MfKQ"));
	}
}

static void a_secret_in_the_place_of_a_file_is_not_repeated(void **state)
{
	static const char *const written[] = {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	                                      "/etc/millrace/whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct sign *sign = NULL;
		struct shm_error error = {""};
		assert_int_equal(sign_open(&sign, written[i], &error), -EINVAL);
		assert_null(strstr(error.text, "MfKQ"));
		assert_non_null(strstr(error.text, "file"));
	}
}

static void what_is_no_file_is_refused(void **state)
{
	(void)state;
	struct sign *sign;
	struct shm_error error = {""};
	assert_int_equal(sign_open(&sign, "/nowhere/secrets", &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nowhere/secrets: "));
	assert_int_equal(sign_open(&sign, "/tmp", &error), -EINVAL);
	assert_int_equal(sign_open(&sign, "/dev/zero", &error), -EINVAL);
	assert_int_equal(truncate(path, 70000), 0);
	assert_int_equal(sign_open(&sign, path, &error), -EFBIG);
}

static void a_file_that_has_changed_is_read_again(void **state)
{
	(void)state;
	struct shm_error error = {""};
	struct sign *sign = open_with(OTHER "\n");
	assert_int_equal(sign_refresh(sign, &error), 0);
	write_secrets(SECRET "\n" OTHER "\n");
	assert_int_equal(sign_refresh(sign, &error), 1);
	assert_true(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), SIGNATURE));
	assert_int_equal(sign_refresh(sign, &error), 0);
	write_secrets("nothing");
	assert_int_equal(sign_refresh(sign, &error), -EINVAL);
	assert_true(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), SIGNATURE));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(sign_refresh(sign, &error), -ENOENT);
	assert_true(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), SIGNATURE));
	write_secrets(OTHER "\n");
	assert_int_equal(sign_refresh(sign, &error), 1);
	assert_false(sign_verify(sign, ID, TIMESTAMP, BODY, strlen(BODY), SIGNATURE));
	sign_close(sign);
	sign_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(the_vector_of_the_reference_libraries_comes_out, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(each_signature_stands_alone, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(it_is_the_hmac_of_id_time_and_body, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(every_secret_signs_in_the_order_of_the_file, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(eight_secrets_fit_into_the_header, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(anything_changed_is_not_verified, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_file_that_is_wrong_is_refused_and_no_secret_is_told, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_secret_in_the_place_of_a_file_is_not_repeated, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(what_is_no_file_is_refused, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_file_that_has_changed_is_read_again, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
