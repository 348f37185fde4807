/* Who may ask what: tokens, origins, and the header Host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/auth.h"
#include "serve/host.h"
#include "serve/listener.h"

#define READER "reader-0123456789abcdef"
#define ADMIN  "admin-0123456789abcdef"
#define BEARER "Bearer "

static void load(struct tokens *tokens, const char *token, const char *const *name)
{
	char path[] = "/tmp/millrace-auth-test.XXXXXX";
	struct shm_error error = {""};
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, token, strlen(token)), strlen(token));
	close(fd);
	int result = tokens_load(tokens, path, name, 1, &error);
	unlink(path);
	assert_int_equal(result, 0);
}

static struct auth *make(bool read, bool admin, bool loopback)
{
	static struct auth auth;
	auth = (struct auth){.has_read = read, .has_admin = admin, .loopback = loopback};
	if (read)
		load(&auth.read, READER, auth_read_name);
	if (admin)
		load(&auth.admin, ADMIN, auth_admin_name);
	return &auth;
}

static void without_files_this_host_may_do_all(void **state)
{
	(void)state;
	struct auth *auth = make(false, false, true);
	for (enum route_who who = ROUTE_EVERYBODY; who <= ROUTE_ADMIN; who++) {
		assert_int_equal(auth_judge(auth, who, NULL), AUTH_ALLOWED);
		assert_int_equal(auth_judge(auth, who, BEARER "whatever"), AUTH_ALLOWED);
	}
	auth = make(false, false, false);
	assert_int_equal(auth_judge(auth, ROUTE_ADMIN, NULL), AUTH_CLOSED);
}

static void readers_tokens_read_and_change_nothing(void **state)
{
	(void)state;
	struct auth *auth = make(true, true, true);
	assert_int_equal(auth_judge(auth, ROUTE_EVERYBODY, NULL), AUTH_ALLOWED);
	assert_int_equal(auth_judge(auth, ROUTE_READER, NULL), AUTH_NO_TOKEN);
	assert_int_equal(auth_judge(auth, ROUTE_READER, BEARER READER), AUTH_ALLOWED);
	assert_int_equal(auth_judge(auth, ROUTE_READER, BEARER ADMIN), AUTH_ALLOWED);
	assert_int_equal(auth_judge(auth, ROUTE_READER, BEARER READER "x"), AUTH_BAD_TOKEN);
	assert_int_equal(auth_judge(auth, ROUTE_READER, "Basic abc"), AUTH_NO_TOKEN);
	assert_int_equal(auth_judge(auth, ROUTE_ADMIN, BEARER READER), AUTH_BAD_TOKEN);
	assert_int_equal(auth_judge(auth, ROUTE_ADMIN, BEARER ADMIN), AUTH_ALLOWED);
	assert_int_equal(auth_judge(auth, ROUTE_ADMIN, NULL), AUTH_NO_TOKEN);
}

static void with_readers_tokens_alone_nobody_changes_anything(void **state)
{
	(void)state;
	struct auth *auth = make(true, false, true);
	assert_int_equal(auth_judge(auth, ROUTE_ADMIN, BEARER READER), AUTH_CLOSED);
	assert_int_equal(auth_judge(auth, ROUTE_READER, BEARER READER), AUTH_ALLOWED);
	auth = make(false, true, true);
	assert_int_equal(auth_judge(auth, ROUTE_READER, NULL), AUTH_ALLOWED);
	assert_int_equal(auth_judge(auth, ROUTE_ADMIN, NULL), AUTH_NO_TOKEN);
}

static void tokens_that_cannot_be_read_close_what_they_would_open(void **state)
{
	(void)state;
	struct auth *auth = make(true, true, true);
	tokens_close(&auth->read, auth_read_name, 1);
	assert_int_equal(auth_judge(auth, ROUTE_READER, BEARER READER), AUTH_UNREAD);
	assert_int_equal(auth_judge(auth, ROUTE_READER, BEARER ADMIN), AUTH_ALLOWED);
	assert_int_equal(auth_judge(auth, ROUTE_EVERYBODY, NULL), AUTH_ALLOWED);
	tokens_close(&auth->admin, auth_admin_name, 1);
	assert_int_equal(auth_judge(auth, ROUTE_ADMIN, BEARER ADMIN), AUTH_UNREAD);
}

static void an_origin_is_ours_or_named(void **state)
{
	(void)state;
	struct auth auth = {.n_origins = 1, .origin = {"https://dash.example"}};
	assert_true(auth_origin_named(&auth, "https://DASH.example"));
	assert_false(auth_origin_named(&auth, "https://dash.example.evil"));
	assert_false(auth_origin_named(&auth, "null"));
	auth.origin[0] = "*";
	assert_true(auth_origin_named(&auth, "null"));
	assert_true(auth_origin_own("http://127.0.0.1:4003", "127.0.0.1:4003"));
	assert_true(auth_origin_own("https://box", "BOX"));
	assert_false(auth_origin_own("http://127.0.0.1:4004", "127.0.0.1:4003"));
	assert_false(auth_origin_own("null", "null"));
	assert_false(auth_origin_own("http://box", NULL));
}

static void hosts_are_addresses_localhost_this_machine_and_what_is_named(void **state)
{
	(void)state;
	struct hosts_allowed hosts = {.n = 1, .name = {"dash.example.com"}, .machine = "box.lan"};
	static const char *const yes[] = {
	        "127.0.0.1",        "127.0.0.1:4003", "10.0.0.7:80", "[::1]",
	        "[::1]:4003",       "localhost",      "LOCALHOST:1", "a.localhost",
	        "dash.example.com", "box.lan:4003",   "box",         "Dash.Example.com.",
	        "localhost."};
	static const char *const no[] = {"",
	                                 "evil.example",
	                                 "evil.example:4003",
	                                 "notlocalhost",
	                                 "localhost.evil.example",
	                                 "127.0.0.1.evil.example",
	                                 "127.0.0.1@evil",
	                                 "127.0.0.1, evil",
	                                 "[::1",
	                                 "[evil]",
	                                 "[::1]x",
	                                 "localhost:80x",
	                                 "localhost/",
	                                 ":80",
	                                 ".",
	                                 "bo",
	                                 "box.lan.evil",
	                                 "dash.example.com evil"};
	for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
		if (!host_allowed(&hosts, yes[i]))
			fail_msg("%s", yes[i]);
	for (size_t i = 0; i < sizeof no / sizeof *no; i++)
		if (host_allowed(&hosts, no[i]))
			fail_msg("%s", no[i]);
	assert_false(host_allowed(&hosts, NULL));
	hosts.machine[0] = '\0';
	assert_false(host_allowed(&hosts, "box"));
}

static void a_token_comes_as_a_subprotocol(void **state)
{
	static const struct {
		const char *list, *field;
	} lists[] = {
	        {"millrace.v1, bearer.cmVhZGVyLXRva2VuLzE", "Bearer reader-token/1"},
	        {"bearer.cmVhZGVyLXRva2VuLzE,millrace.v1", "Bearer reader-token/1"},
	        {"bearer._-8", "Bearer \xff\xef"},
	        {"millrace.v1", NULL},
	        {"bearer.", NULL},
	        {"bearer.!!", NULL},
	        {"bearer.A", NULL},
	        {"Bearer.AAAA", NULL},
	        {"", NULL},
	        {NULL, NULL},
	};
	char field[AUTH_BEARER_BYTES], *longest = malloc(2000);
	(void)state;
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		const char *found = auth_from_protocols(lists[i].list, field);
		if (lists[i].field != NULL)
			assert_string_equal(found, lists[i].field);
		else
			assert_null(found);
	}
	memset(stpcpy(longest, "bearer."), 'A', 1900);
	longest[1900] = '\0';
	assert_null(auth_from_protocols(longest, field));
	free(longest);
}

static void a_loopback_address_reaches_this_host_alone(void **state)
{
	(void)state;
	static const char *const yes[] = {"127.0.0.1:4003", "127.9.9.9:1", "[::1]:4003", "unix:/run/m.sock",
	                                  "[::ffff:127.0.0.1]:1"};
	static const char *const no[] = {"0.0.0.0:4003",  "[::]:4003",   ":4003",
	                                 "10.0.0.1:4003", "128.0.0.1:1", "x"};
	for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
		assert_true(listener_is_loopback(yes[i]));
	for (size_t i = 0; i < sizeof no / sizeof *no; i++)
		assert_false(listener_is_loopback(no[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(without_files_this_host_may_do_all),
	        cmocka_unit_test(readers_tokens_read_and_change_nothing),
	        cmocka_unit_test(with_readers_tokens_alone_nobody_changes_anything),
	        cmocka_unit_test(tokens_that_cannot_be_read_close_what_they_would_open),
	        cmocka_unit_test(an_origin_is_ours_or_named),
	        cmocka_unit_test(hosts_are_addresses_localhost_this_machine_and_what_is_named),
	        cmocka_unit_test(a_token_comes_as_a_subprotocol),
	        cmocka_unit_test(a_loopback_address_reaches_this_host_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
