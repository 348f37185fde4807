/* The sender over TLS and HTTP/2: whom it trusts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/deliver/talk.h"
#include "tests/fixture/sandbox.h"

/* ---- TLS ---- */

/* A server with a certificate of its own, for localhost and 127.0.0.1. */
struct tls {
	char own[64], other[64];
	struct little_server *server;
};

static void open_tls(struct talk *f, struct tls *tls)
{
	strcpy(tls->own, "/tmp/millrace-sender-own-XXXXXX");
	strcpy(tls->other, "/tmp/millrace-sender-other-XXXXXX");
	close(mkstemp(tls->own));
	close(mkstemp(tls->other));
	little_certificate(tls->own);
	little_certificate(tls->other);
	tls->server = little_start(talk_answer, NULL, tls->own);
	f->anywhere = true;
}

static void close_tls(struct tls *tls)
{
	little_stop(tls->server);
	unlink(tls->own);
	unlink(tls->other);
}

static int get_tls(struct talk *f, const struct tls *tls, const char *ca_file, const char *host, bool http2)
{
	struct sender_options options = talk_usual;
	options.ca_file = ca_file;
	talk_open(f, options);
	talk_place(&f->place, host, (uint16_t)little_port(tls->server), "127.0.0.1", 1);
	talk_prepare(f, &f->request, "GET", "/");
	snprintf(f->url, sizeof f->url, "https://%s:%u/", host, f->place.port);
	f->request.http2 = http2;
	return talk_send(f, &f->request);
}

static void tls_is_verified_always(void **state)
{
	struct talk *f = *state;
	struct tls tls;
	open_tls(f, &tls);
	assert_int_equal(get_tls(f, &tls, tls.own, "localhost", false), 0);
	assert_true(f->request.tls_us >= f->request.connect_us && f->request.connect_us > 0);
	assert_int_equal(get_tls(f, &tls, tls.own, "127.0.0.1", false), 0);
	assert_int_equal(talk_send(f, &f->request), 0);
	assert_true(f->request.reused);
	assert_int_equal(f->request.tls_us, 0);
	assert_int_equal(get_tls(f, &tls, tls.other, "localhost", false), -EPROTO); /* another CA */
	assert_false(f->request.sent);
	assert_int_equal(get_tls(f, &tls, "", "localhost", false), -EPROTO); /* the system's */
	assert_int_equal(get_tls(f, &tls, tls.own, "hooks.example.com", false), -EPROTO);
	assert_string_not_equal(f->request.reason, "");
	close_tls(&tls);
}

static void a_certificate_counts_in_its_time_only(void **state)
{
	static const long time[][2] = {{-7200, -3600}, {3600, 7200}};
	struct talk *f = *state;
	char path[] = "/tmp/millrace-sender-time-XXXXXX";
	close(mkstemp(path));
	f->anywhere = true;
	for (unsigned i = 0; i < 2; i++) {
		struct tls tls = {.server = NULL};
		little_certificate_of(path, time[i][0], time[i][1]);
		tls.server = little_start(talk_answer, NULL, path);
		assert_int_equal(get_tls(f, &tls, path, "localhost", false), -EPROTO);
		assert_false(f->request.sent);
		little_stop(tls.server);
	}
	unlink(path);
}

/* libcurl is built with a folder of certificates besides the file; both are to go. */
static void with_a_ca_file_the_systems_certificates_do_not_count(void **state)
{
	struct talk *f = *state;
	struct tls tls;
	open_tls(f, &tls);
	talk_folders = 0;
	assert_int_equal(get_tls(f, &tls, "", "localhost", false), -EPROTO);
	assert_int_equal(talk_folders, 1);
	assert_int_equal(get_tls(f, &tls, tls.own, "localhost", false), 0);
	assert_int_equal(talk_folders, 1);
	close_tls(&tls);
}

static void a_server_without_http2_gets_http1(void **state)
{
	struct talk *f = *state;
	struct tls tls;
	open_tls(f, &tls);
	assert_int_equal(get_tls(f, &tls, tls.own, "localhost", true), 0);
	assert_non_null(strstr(talk_seen.head, " HTTP/1.1"));
	close_tls(&tls);
}

/* nginx takes no port 0, but sockets that the variable NGINX names, as in an upgrade of itself. */
static pid_t start_nginx(const char *folder, const char *certificate, uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof address;
	char path[128], log[128];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	*port = ntohs(address.sin_port);
	snprintf(path, sizeof path, "%s/conf", folder);
	snprintf(log, sizeof log, "%s/log", folder);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file,
	        "daemon off; worker_processes 1; pid %s/pid; error_log %s/log; events {}\n"
	        "http { access_log off; client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f;\n"
	        "uwsgi_temp_path %s/u; scgi_temp_path %s/s; keepalive_requests 100;\n"
	        "server { listen 127.0.0.1:%u ssl http2; ssl_certificate %s; ssl_certificate_key %s;\n"
	        "location / { return 200 $server_protocol; } } }\n",
	        folder, folder, folder, folder, folder, folder, folder, *port, certificate, certificate);
	assert_int_equal(fclose(file), 0);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (fd == 3)
			fcntl(fd, F_SETFD, 0);
		else
			dup2(fd, 3);
		setenv("NGINX", "3;", 1);
		execl("/usr/sbin/nginx", "nginx", "-e", log, "-c", path, NULL);
		_exit(127);
	}
	close(fd);
	return pid;
}

/* nginx says goodbye to a connection after 100 requests; what meets that is told as on any other
 * connection that was lost. */
static void send_over_http2(struct talk *f, unsigned n)
{
	unsigned good = 0, reused = 0;
	talk_prepare(f, &f->request, "POST", "/");
	snprintf(f->url, sizeof f->url, "https://localhost:%u/", f->place.port);
	f->request.body = "a=b";
	f->request.body_bytes = 3;
	f->request.http2 = true;
	while (good < n) {
		int r = talk_send(f, &f->request);
		reused += f->request.reused;
		if (r == 0) {
			assert_int_equal(f->request.answer_bytes, 8);
			assert_memory_equal(f->request.answer, "HTTP/2.0", 8);
			good++;
		} else {
			assert_int_equal(r, -EPIPE);
			assert_true(f->request.reused);
		}
	}
	assert_true(reused > n / 2);
}

static void a_server_with_http2_gets_http2(void **state)
{
	struct talk *f = *state;
	char folder[] = "/tmp/millrace-sender-nginx-XXXXXX", certificate[64];
	struct sender_options options = talk_usual;
	if (access("/usr/sbin/nginx", X_OK) != 0) {
		print_message("skipped: nginx, the server of HTTP/2, is not installed\n");
		skip();
	}
	assert_non_null(mkdtemp(folder));
	snprintf(certificate, sizeof certificate, "%s/pem", folder);
	little_certificate(certificate);
	f->anywhere = true;
	talk_place(&f->place, "localhost", 0, "127.0.0.1", 1);
	pid_t nginx = start_nginx(folder, certificate, &f->place.port);
	options.ca_file = certificate;
	talk_open(f, options);
	send_over_http2(f, 350);
	kill(nginx, SIGTERM);
	assert_int_equal(waitpid(nginx, NULL, 0), nginx);
	tree_remove(folder);
}

static void a_server_that_speaks_no_tls_is_an_error_of_tls(void **state)
{
	struct talk *f = *state;
	talk_prepare(f, &f->request, "GET", "/");
	snprintf(f->url, sizeof f->url, "https://%s:%u/", f->place.host, f->place.port);
	f->request.timeout_ns = NS_PER_SEC; /* the server waits for a head */
	int r = talk_send(f, &f->request);
	assert_true(r == -EPROTO || r == -ETIMEDOUT);
	assert_false(f->request.sent);
}

static void a_ca_file_that_is_none_is_told_at_the_start(void **state)
{
	(void)state;
	struct sender *sender;
	struct shm_error error = {""};
	struct sender_options options = talk_usual;
	options.ca_file = "/nowhere/ca.pem";
	assert_int_equal(sender_curl.open(&sender, &options, &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nowhere/ca.pem"));
	options.ca_file = "/etc/passwd";
	assert_int_equal(sender_curl.open(&sender, &options, &error), -EINVAL);
	assert_non_null(strstr(error.text, "/etc/passwd"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, talk_set_up, talk_tear_down)

#define TEST(name) cmocka_unit_test_setup_teardown(name, talk_set_up, talk_tear_down)

int main(void)
{
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	const struct CMUnitTest tests[] = {
	        TEST(tls_is_verified_always),
	        TEST(a_certificate_counts_in_its_time_only),
	        TEST(with_a_ca_file_the_systems_certificates_do_not_count),
	        TEST(a_server_without_http2_gets_http1),
	        TEST(a_server_with_http2_gets_http2),
	        TEST(a_server_that_speaks_no_tls_is_an_error_of_tls),
	        TEST(a_ca_file_that_is_none_is_told_at_the_start),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
