/* The pieces of the store on Azure that need no store: what an answer means, and tokens of managed
 * identities; and that requests are bounded and forgotten. What it does with a store is tested
 * against the fault server (tests/system/test_azure_store.py). */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "sink/objects/azure_answer.h"
#include "sink/objects/azure_identity.h"
#include "tests/fixture/config.h"
#include "tests/fixture/little_server.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

/* ---- what an answer means ---- */

static int meaning_of(enum store_action action, long status, const char *code)
{
	char head[128];
	snprintf(head, sizeof head, "x-ms-error-code: %s\n", code);
	struct http_request answer = {.status = status, .answer = code[0] ? head : NULL};
	struct cloud_meaning meaning;
	azure_judge(&meaning, &answer, action, 0);
	return meaning.result;
}

static void an_answer_means_what_its_status_and_code_say(void **state)
{
	(void)state;
	static const struct {
		long status;
		const char *code;
		int find, part, finish, put;
	} answers[] = {
	        {400, "InvalidHeaderValue", -EINVAL, -EINVAL, -EINVAL, -EINVAL},
	        {400, "InvalidBlockList", -ENOENT, -ENOENT, -ENOENT, -ENOENT},
	        {400, "InvalidBlobOrBlock", -ENOENT, -ENOENT, -ENOENT, -ENOENT},
	        {400, "Md5Mismatch", -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	        {401, "InvalidAuthenticationInfo", -EACCES, -EACCES, -EACCES, -EACCES},
	        {403, "AuthorizationFailure", -EACCES, -EACCES, -EACCES, -EACCES},
	        {404, "BlobNotFound", -ENOENT, -ENOENT, -ENOENT, -ENOENT},
	        {404, "ContainerNotFound", -EACCES, -EACCES, -EACCES, -EACCES},
	        {404, "", -EACCES, -EACCES, -EACCES, -EACCES}, /* a proxy's; never "there is none" */
	        {301, "", -EACCES, -EACCES, -EACCES, -EACCES},
	        {408, "", -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	        {409, "BlobAlreadyExists", -EAGAIN, -EAGAIN, -EINPROGRESS, -EEXIST},
	        {409, "ContainerBeingDeleted", -EACCES, -EACCES, -EACCES, -EACCES},
	        {412, "ConditionNotMet", -EAGAIN, -EAGAIN, -EINPROGRESS, -EEXIST},
	        {413, "RequestBodyTooLarge", -EINVAL, -EINVAL, -EINVAL, -EINVAL},
	        {417, "", -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	        {429, "", -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	        {500, "InternalError", -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	        {500, "OperationTimedOut", -EAGAIN, -EAGAIN, -EINPROGRESS, -EINPROGRESS},
	        {501, "", -EINVAL, -EINVAL, -EINVAL, -EINVAL},
	        {503, "ServerBusy", -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	        {599, "", -EAGAIN, -EAGAIN, -EAGAIN, -EAGAIN},
	        /* success with an error's code is none */
	        {200, "InternalError", -EAGAIN, -EINPROGRESS, -EINPROGRESS, -EINPROGRESS},
	        {201, "BlobNotFound", -EAGAIN, -EINPROGRESS, -EINPROGRESS, -EINPROGRESS},
	};
	for (unsigned i = 0; i < sizeof answers / sizeof *answers; i++) {
		assert_int_equal(meaning_of(STORE_FIND, answers[i].status, answers[i].code), answers[i].find);
		assert_int_equal(meaning_of(STORE_PART, answers[i].status, answers[i].code), answers[i].part);
		assert_int_equal(meaning_of(STORE_FINISH, answers[i].status, answers[i].code),
		                 answers[i].finish);
		assert_int_equal(meaning_of(STORE_PUT, answers[i].status, answers[i].code), answers[i].put);
	}
}

static void silence_means_what_had_been_sent(void **state)
{
	(void)state;
	static const struct {
		int result;
		bool sent;
		int find, put;
	} silence[] = {
	        {-ECONNREFUSED, false, -EAGAIN, -EAGAIN},  {-ETIMEDOUT, false, -EAGAIN, -EAGAIN},
	        {-ETIMEDOUT, true, -EAGAIN, -EINPROGRESS}, {-EIO, true, -EAGAIN, -EINPROGRESS},
	        {-EBADMSG, true, -EAGAIN, -EINPROGRESS},   {-EPROTO, false, -EACCES, -EACCES},
	        {-EPROTO, true, -EAGAIN, -EINPROGRESS},    {-EINVAL, false, -EINVAL, -EINVAL},
	        {-EHOSTUNREACH, false, -EAGAIN, -EAGAIN},
	};
	for (unsigned i = 0; i < sizeof silence / sizeof *silence; i++) {
		struct http_request answer = {
		        .result = silence[i].result, .sent = silence[i].sent, .reason = "words"};
		struct cloud_meaning meaning;
		azure_judge(&meaning, &answer, STORE_FIND, 0);
		assert_int_equal(meaning.result, silence[i].find);
		azure_judge(&meaning, &answer, STORE_PUT, 0);
		assert_int_equal(meaning.result, silence[i].put);
		assert_string_equal(meaning.reason, "words");
	}
}

static void the_reason_is_the_first_line_of_the_stores_message(void **state)
{
	(void)state;
	char body[] =
	        "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthenticationFailed</Code>\n"
	        "<Message>Server failed to a &lt;b&gt;.\nRequestId:1\nTime:2</Message>\n"
	        "<AuthenticationErrorDetail>secret</AuthenticationErrorDetail></Error>";
	struct http_request answer = {.status = 403, .body = body, .body_bytes = sizeof body - 1};
	struct cloud_meaning meaning;
	azure_judge(&meaning, &answer, STORE_PUT, 0);
	assert_string_equal(meaning.reason, "403 AuthenticationFailed: Server failed to a <b>.");
	assert_int_equal(meaning.remedy, CLOUD_NEW_KEYS);
	answer.body_bytes -= 3; /* cut off: nothing of it counts */
	azure_judge(&meaning, &answer, STORE_PUT, 0);
	assert_string_equal(meaning.reason, "403");
	assert_int_equal(meaning.result, -EACCES);
}

static void a_clock_is_wrong_when_dates_are_far_apart(void **state)
{
	(void)state;
	char head[] = "Date: Sun, 06 Nov 1994 08:49:37 GMT\nx-ms-error-code: AuthenticationFailed\n";
	struct http_request answer = {.status = 403, .answer = head};
	struct cloud_meaning meaning;
	azure_judge(&meaning, &answer, STORE_PUT, 784111777 + 500);
	assert_int_equal(meaning.remedy, CLOUD_NEW_KEYS);
	azure_judge(&meaning, &answer, STORE_PUT, 784111777 + 1000);
	assert_int_equal(meaning.remedy, CLOUD_NEW_CLOCK);
	azure_judge(&meaning, &answer, STORE_PUT, 784111777 - 1000);
	assert_int_equal(meaning.remedy, CLOUD_NEW_CLOCK);
}

/* ---- managed identities ---- */

/* What the service answers, and what it was asked. */
static struct {
	pthread_mutex_t lock;
	char answer[12000];
	char path[2048], metadata[32], secret[64];
	unsigned asked;
} service = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void serve(struct little_connection *c, const struct little_request *request, void *argument)
{
	(void)argument;
	pthread_mutex_lock(&service.lock);
	service.asked++;
	snprintf(service.path, sizeof service.path, "%s", request->path);
	little_header(request, "Metadata", service.metadata, sizeof service.metadata);
	little_header(request, "X-IDENTITY-HEADER", service.secret, sizeof service.secret);
	if (service.answer[0])
		little_say(c, "%s", service.answer);
	pthread_mutex_unlock(&service.lock);
	if (!service.answer[0])
		little_hang(c);
}

static void will_say(const char *status, const char *headers, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
static void will_say(const char *status, const char *headers, const char *format, ...)
{
	char body[10000];
	va_list list;
	va_start(list, format);
	vsnprintf(body, sizeof body, format, list);
	va_end(list);
	pthread_mutex_lock(&service.lock);
	snprintf(service.answer, sizeof service.answer, "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s",
	         status, headers, strlen(body), body);
	pthread_mutex_unlock(&service.lock);
}

struct fixture {
	struct little_server *server;
	struct azure_identity *identity;
};

static void open_identity(struct fixture *f, bool by_option, const char *client_id)
{
	char endpoint[64];
	struct shm_error error = {.text = ""};
	snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u/", little_port(f->server));
	azure_identity_close(f->identity);
	f->identity = NULL;
	struct azure_identity_options options = {.endpoint = by_option ? endpoint : "",
	                                         .client_id = client_id,
	                                         .connect_timeout_ns = 10 * NS_PER_SEC,
	                                         .request_timeout_ns = 100000 * NS_PER_SEC};
	if (azure_identity_open(&f->identity, &options, &error) != 0)
		fail_msg("%s", error.text);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	alarm(120);
	unsetenv("IDENTITY_ENDPOINT");
	unsetenv("IDENTITY_HEADER");
	unsetenv("IMDS_ENDPOINT");
	service.asked = 0;
	service.answer[0] = 0;
	f->server = little_start(serve, NULL, NULL);
	open_identity(f, true, "");
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	azure_identity_close(f->identity);
	little_stop(f->server);
	free(f);
	return 0;
}

static const char *token, *reason;
static uint64_t number;

/* Time goes on as always, after what was passed over. */
static uint64_t passed_ns;

static uint64_t now_ns(void)
{
	return clock_monotonic_ns() + passed_ns;
}

static void pass(uint64_t seconds)
{
	passed_ns += seconds * NS_PER_SEC;
}

/* What there is now, asked for when need be. */
static int get(struct fixture *f)
{
	int result;
	while ((result = azure_identity_get(f->identity, now_ns(), &token, &number, &reason)) ==
	       -EINPROGRESS) {
		azure_identity_drive(f->identity, now_ns());
		usleep(1000);
	}
	return result;
}

/* The answer number `asked` comes in. */
static void settle(struct fixture *f, unsigned asked)
{
	while (service.asked < asked) {
		azure_identity_drive(f->identity, now_ns());
		usleep(1000);
	}
	for (unsigned i = 0; i < 30; i++) {
		azure_identity_drive(f->identity, now_ns());
		usleep(1000);
	}
}

static void a_token_is_asked_for_once_and_kept(void **state)
{
	struct fixture *f = *state;
	will_say("200 OK", "", "{\"access_token\": \"t1\", \"expires_in\": \"3600\"}");
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(get(f), 0);
		pass(1);
		assert_string_equal(token, "t1");
		assert_int_equal(number, 1);
	}
	assert_int_equal(service.asked, 1);
	assert_string_equal(
	        service.path,
	        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F");
	assert_string_equal(service.metadata, "true");
	/* five minutes before its end it is asked for again, and serves meanwhile */
	will_say("200 OK", "", "{\"access_token\": \"t2\", \"expires_in\": 3600}");
	pass(3300);
	assert_int_equal(get(f), 0);
	assert_string_equal(token, "t1");
	settle(f, 2);
	assert_int_equal(get(f), 0);
	assert_string_equal(token, "t2");
	assert_int_equal(number, 2);
}

static void the_end_of_a_token_is_read_in_every_form(void **state)
{
	struct fixture *f = *state;
	unsigned long real = (unsigned long)(clock_real_ns() / NS_PER_SEC);
	will_say("200 OK", "", "{\"access_token\": \"t\", \"expires_on\": \"%lu\", \"expires_in\": \"1\"}",
	         real + 100);
	assert_int_equal(get(f), 0);
	open_identity(f, true, "");
	will_say("200 OK", "", "{\"access_token\": \"t\", \"expires_on\": %lu}", real + 100);
	assert_int_equal(get(f), 0);
	/* by the service's clock, not by ours */
	open_identity(f, true, "");
	will_say("200 OK", "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
	         "{\"access_token\": \"t\", \"expires_on\": %lu}", 784111777ul + 100);
	assert_int_equal(get(f), 0);
}

static void an_answer_without_a_token_is_none(void **state)
{
	struct fixture *f = *state;
	static const char *const wrong[] = {
	        "",
	        "x",
	        "[]",
	        "{}",
	        "{\"access_token\": 1, \"expires_in\": 100}",
	        "{\"access_token\": \"\", \"expires_in\": 100}",
	        "{\"access_token\": \"a\\nb\", \"expires_in\": 100}",
	        "{\"access_token\": \"a b\", \"expires_in\": 100}",
	        "{\"access_token\": \"t\"}",
	        "{\"access_token\": \"t\", \"expires_in\": \"soon\"}",
	        "{\"access_token\": \"t\", \"expires_in\": -5}",
	        "{\"access_token\": \"t\", \"expires_in\": 3}",
	        "{\"access_token\": \"t\", \"expires_on\": 1000}",
	};
	for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		open_identity(f, true, "");
		will_say("200 OK", "", "%s", wrong[i]);
		assert_int_equal(get(f), -EAGAIN);
		assert_string_equal(reason, "managed identity: the answer has no token that lasts");
	}
	char longer[AZURE_TOKEN_MAX + 1];
	memset(longer, 'x', sizeof longer);
	longer[AZURE_TOKEN_MAX] = 0;
	open_identity(f, true, "");
	will_say("200 OK", "", "{\"access_token\": \"%s\", \"expires_in\": 100}", longer);
	assert_int_equal(get(f), -EAGAIN);
	longer[AZURE_TOKEN_MAX - 1] = 0;
	open_identity(f, true, "");
	will_say("200 OK", "", "{\"access_token\": \"%s\", \"expires_in\": 100}", longer);
	assert_int_equal(get(f), 0);
}

static void a_failure_is_waited_out_and_an_old_token_serves_to_its_end(void **state)
{
	struct fixture *f = *state;
	will_say("200 OK", "", "{\"access_token\": \"t1\", \"expires_in\": 3600}");
	assert_int_equal(get(f), 0);
	will_say("500 Oh", "", "{}");
	pass(3400);
	assert_int_equal(get(f), 0);
	settle(f, 2);
	assert_int_equal(get(f), 0);
	assert_int_equal(service.asked, 2); /* not again within a second */
	pass(196);
	assert_int_equal(get(f), -EAGAIN);
	assert_string_equal(reason, "managed identity: 500 ");
	assert_int_equal(service.asked, 3);
	will_say("200 OK", "", "{\"access_token\": \"t2\", \"expires_in\": 3600}");
	pass(1);
	assert_int_equal(get(f), -EAGAIN); /* the wait has doubled */
	pass(2);
	assert_int_equal(get(f), 0);
	assert_string_equal(token, "t2");
}

static void a_refusal_needs_a_person_and_a_starting_machine_does_not(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *status;
		int result;
	} answers[] = {{"400 Bad", -EACCES},     {"401 No", -EACCES},   {"403 No", -EACCES},
	               {"404 Not yet", -EAGAIN}, {"410 Gone", -EAGAIN}, {"429 Slowly", -EAGAIN},
	               {"503 Busy", -EAGAIN}};
	for (unsigned i = 0; i < sizeof answers / sizeof *answers; i++) {
		open_identity(f, true, "");
		will_say(answers[i].status, "",
		         "{\"error\": \"invalid_request\", \"error_description\": \"Identity not found\"}");
		assert_int_equal(get(f), answers[i].result);
		assert_non_null(strstr(reason, "invalid_request: Identity not found"));
	}
	unsigned asked = service.asked;
	open_identity(f, true, "");
	will_say("429 Slowly", "Retry-After: 30\r\n", "{}");
	assert_int_equal(get(f), -EAGAIN);
	pass(28);
	assert_int_equal(get(f), -EAGAIN);
	assert_int_equal(service.asked, asked + 1);
	pass(3);
	assert_int_equal(get(f), -EAGAIN);
	assert_int_equal(service.asked, asked + 2);
}

static void a_token_that_the_store_refuses_is_asked_for_anew(void **state)
{
	struct fixture *f = *state;
	will_say("200 OK", "", "{\"access_token\": \"t1\", \"expires_in\": 3600}");
	assert_int_equal(get(f), 0);
	will_say("200 OK", "", "{\"access_token\": \"t2\", \"expires_in\": 3600}");
	azure_identity_renew(f->identity, 0); /* an older one */
	assert_int_equal(get(f), 0);
	assert_string_equal(token, "t1");
	azure_identity_renew(f->identity, number);
	assert_int_equal(get(f), 0);
	assert_string_equal(token, "t2");
	assert_int_equal(service.asked, 2);
}

static void the_environment_names_the_service_of_app_service(void **state)
{
	struct fixture *f = *state;
	char endpoint[64];
	snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u/msi/token", little_port(f->server));
	setenv("IDENTITY_ENDPOINT", endpoint, 1);
	setenv("IDENTITY_HEADER", "app-secret", 1);
	will_say("200 OK", "", "{\"access_token\": \"t\", \"expires_on\": %llu}",
	         (unsigned long long)(clock_real_ns() / NS_PER_SEC + 86400));
	open_identity(f, false, "11111111-2222-3333-4444-555555555555");
	assert_int_equal(get(f), 0);
	assert_string_equal(
	        service.path,
	        "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fstorage.azure.com%2F&client_id=11111111-2222-3333-4444-555555555555");
	assert_string_equal(service.secret, "app-secret");
	assert_string_equal(service.metadata, "");
	/* what is configured comes first */
	open_identity(f, true, "");
	assert_int_equal(get(f), 0);
	assert_string_equal(service.secret, "");
	assert_memory_equal(service.path, "/metadata/identity/", 19);
}

static void azure_arc_is_refused_and_not_taken_for_a_machine(void **state)
{
	(void)state;
	struct azure_identity *identity;
	struct shm_error error = {.text = ""};
	struct azure_identity_options options = {.endpoint = "", .client_id = ""};
	setenv("IDENTITY_ENDPOINT", "http://localhost:40342/metadata/identity/oauth2/token", 1);
	setenv("IMDS_ENDPOINT", "http://localhost:40342", 1);
	assert_int_equal(azure_identity_open(&identity, &options, &error), -EINVAL);
	assert_non_null(strstr(error.text, "Azure Arc"));
}

static void what_is_asked_for_is_forgotten_at_the_end(void **state)
{
	struct fixture *f = *state; /* which does not answer */
	assert_int_equal(azure_identity_get(f->identity, clock_monotonic_ns(), &token, &number, &reason),
	                 -EINPROGRESS);
	for (unsigned i = 0; i < 20; i++) {
		azure_identity_drive(f->identity, clock_monotonic_ns());
		usleep(1000);
	}
}

/* ---- the store ---- */

static void hang(struct little_connection *c, const struct little_request *request, void *argument)
{
	(void)request, (void)argument;
	little_hang(c);
}

static void requests_are_bounded_and_forgotten_at_the_end(void **state)
{
	(void)state;
	struct little_server *server = little_start(hang, NULL, NULL);
	struct shm_error error = {.text = ""};
	struct store *store;
	char text[400];
	alarm(60);
	snprintf(
	        text, sizeof text,
	        "sinks: [{name: a, kind: objects, topics: [log],\n"
	        "  store: {azure: {account: acc, container: con, key: AAAA, connections: 3, endpoint: 'http://127.0.0.1:%u/acc'}}}]",
	        little_port(server));
	struct config *config = load(text, "");
	assert_true(store_azure.meant(config, "sinks[0]"));
	assert_int_equal(store_azure.open(&store, config, "sinks[0]", &error), 0);
	const struct store_traits *traits = store_azure.traits(store);
	assert_int_equal(traits->requests, 3);
	assert_int_equal(traits->part_min, 1 << 20);
	assert_true(traits->keeps_token && traits->upload_max_ns < 7ull * 86400 * NS_PER_SEC);
	assert_string_equal(traits->name, "azure://acc/con");
	assert_true(store_azure.memory_max(config, "sinks[0]") > 3 * (2u << 20));
	struct iovec piece = {"abc", 3};
	struct store_request request[4];
	for (unsigned i = 0; i < 4; i++) {
		request[i] = (struct store_request){.action = STORE_PART,
		                                    .name = "a",
		                                    .name_bytes = 1,
		                                    .upload = TOKEN "/gzip/text/plain",
		                                    .number = i + 1,
		                                    .piece = &piece,
		                                    .n_pieces = 1,
		                                    .bytes = 3};
		assert_int_equal(store_azure.start(store, &request[i]), i < 3);
	}
	struct store_wait wait[4];
	uint64_t timeout = UINT64_MAX;
	assert_null(store_azure.next(store, clock_monotonic_ns()));
	assert_int_equal(store_azure.wait(store, wait, 4, &timeout), 1);
	assert_true(timeout < 60 * NS_PER_SEC);
	while (little_connections(server) < 3) {
		assert_null(store_azure.next(store, clock_monotonic_ns()));
		usleep(1000);
	}
	store_azure.close(store);
	assert_int_equal(store_azure.check(config, "sinks[0]", &error), 0);
	config_free(config);
	little_stop(server);
}

int main(void)
{
#define WITH_SERVICE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_answer_means_what_its_status_and_code_say),
	        cmocka_unit_test(silence_means_what_had_been_sent),
	        cmocka_unit_test(the_reason_is_the_first_line_of_the_stores_message),
	        cmocka_unit_test(a_clock_is_wrong_when_dates_are_far_apart),
	        WITH_SERVICE(a_token_is_asked_for_once_and_kept),
	        WITH_SERVICE(the_end_of_a_token_is_read_in_every_form),
	        WITH_SERVICE(an_answer_without_a_token_is_none),
	        WITH_SERVICE(a_failure_is_waited_out_and_an_old_token_serves_to_its_end),
	        WITH_SERVICE(a_refusal_needs_a_person_and_a_starting_machine_does_not),
	        WITH_SERVICE(a_token_that_the_store_refuses_is_asked_for_anew),
	        WITH_SERVICE(the_environment_names_the_service_of_app_service),
	        WITH_SERVICE(azure_arc_is_refused_and_not_taken_for_a_machine),
	        WITH_SERVICE(what_is_asked_for_is_forgotten_at_the_end),
	        cmocka_unit_test(requests_are_bounded_and_forgotten_at_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
