/* Look-ups against a name server of a few lines that the test steps by itself: no thread, and no
 * answer before the test wants one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "deliver/names.h"
#include "deliver/names_servers.h"
#include "tests/fixture/config.h"

#define WAIT_NS (30 * NS_PER_SEC)

/* ---- the name server ---- */

#define TYPE_A     1
#define TYPE_CNAME 5
#define TYPE_AAAA  28

struct zone_line {
	const char *name;
	unsigned type;       /* of the question */
	unsigned rcode;      /* 2: SERVFAIL, 3: NXDOMAIN */
	unsigned ttl, many;  /* many: so many addresses, counted up from `address` */
	const char *address; /* NULL: none */
	const char *cname;   /* the first record, with a ttl of its own */
	unsigned cname_ttl;
	bool truncated, silent;
};

static const struct zone_line zone[] = {
        {.name = "both.test", .type = TYPE_A, .ttl = 70, .many = 2, .address = "192.0.2.1"},
        {.name = "both.test", .type = TYPE_AAAA, .ttl = 50, .many = 1, .address = "2001:db8::1"},
        {.name = "four.test", .type = TYPE_A, .ttl = 30, .many = 1, .address = "192.0.2.4"},
        {.name = "four.test", .type = TYPE_AAAA},
        {.name = "many.test", .type = TYPE_A, .ttl = 30, .many = 100, .address = "192.0.2.1"},
        {.name = "many.test", .type = TYPE_AAAA},
        {.name = "short.test", .type = TYPE_A, .ttl = 0, .many = 1, .address = "192.0.2.5"},
        {.name = "short.test", .type = TYPE_AAAA},
        {.name = "long.test", .type = TYPE_A, .ttl = 86400, .many = 1, .address = "192.0.2.6"},
        {.name = "long.test", .type = TYPE_AAAA},
        {.name = "alias.test",
         .type = TYPE_A,
         .ttl = 90,
         .many = 1,
         .address = "192.0.2.7",
         .cname = "real.test",
         .cname_ttl = 40},
        {.name = "alias.test", .type = TYPE_AAAA},
        {.name = "cut.test", .type = TYPE_A, .ttl = 30, .many = 1, .address = "192.0.2.8", .truncated = true},
        {.name = "cut.test", .type = TYPE_AAAA},
        {.name = "fails.test", .type = TYPE_A, .rcode = 2},
        {.name = "fails.test", .type = TYPE_AAAA, .rcode = 2},
        {.name = "empty.test", .type = TYPE_A},
        {.name = "empty.test", .type = TYPE_AAAA},
        {.name = "never.test", .type = TYPE_A, .silent = true},
        {.name = "never.test", .type = TYPE_AAAA, .silent = true},
        {.name = "half.test", .type = TYPE_A, .ttl = 30, .many = 1, .address = "192.0.2.9"},
        {.name = "half.test", .type = TYPE_AAAA, .silent = true},
};

static struct {
	int udp, tcp, connection;
	unsigned port;
	unsigned questions, over_tcp;
} server;

static size_t put_name(uint8_t *to, const char *name)
{
	size_t n = 0;
	while (*name != '\0') {
		size_t label = strcspn(name, ".");
		to[n++] = (uint8_t)label;
		memcpy(to + n, name, label);
		n += label;
		name += label + (name[label] == '.');
	}
	to[n++] = 0;
	return n;
}

static size_t put_head(uint8_t *to, const char *name, unsigned type, unsigned ttl, unsigned bytes)
{
	size_t n = put_name(to, name);
	uint8_t fixed[10] = {0,
	                     (uint8_t)type,
	                     0,
	                     1,
	                     (uint8_t)(ttl >> 24),
	                     (uint8_t)(ttl >> 16),
	                     (uint8_t)(ttl >> 8),
	                     (uint8_t)ttl,
	                     0,
	                     (uint8_t)bytes};
	memcpy(to + n, fixed, sizeof fixed);
	return n + sizeof fixed;
}

static size_t put_records(uint8_t *to, const struct zone_line *line)
{
	size_t n = 0;
	const char *name = line->name;
	if (line->cname != NULL) {
		n += put_head(to, name, TYPE_CNAME, line->cname_ttl, (unsigned)strlen(line->cname) + 2);
		n += put_name(to + n, line->cname);
		name = line->cname;
	}
	for (unsigned i = 0; i < line->many; i++) {
		unsigned bytes = line->type == TYPE_A ? 4 : 16;
		n += put_head(to + n, name, line->type, line->ttl, bytes);
		assert_int_equal(inet_pton(bytes == 4 ? AF_INET : AF_INET6, line->address, to + n), 1);
		to[n + bytes - 1] = (uint8_t)(to[n + bytes - 1] + i);
		n += bytes;
	}
	return n;
}

/* The answer to a question; 0 bytes: none. */
static size_t answer_to(const uint8_t *question, size_t bytes, uint8_t *to, bool tcp)
{
	char name[256] = "";
	size_t at = 12;
	while (at < bytes && question[at] != 0) {
		snprintf(name + strlen(name), sizeof name - strlen(name), "%s%.*s", name[0] ? "." : "",
		         question[at], (const char *)question + at + 1);
		at += 1u + question[at];
	}
	assert_true(at + 5 <= bytes);
	unsigned type = question[at + 2];
	const struct zone_line *line = NULL, none = {.rcode = 3};
	for (size_t i = 0; i < sizeof zone / sizeof zone[0]; i++)
		if (strcasecmp(zone[i].name, name) == 0 && zone[i].type == type)
			line = &zone[i];
	line = line != NULL ? line : &none;
	server.questions++;
	server.over_tcp += tcp;
	if (line->silent)
		return 0;
	bool cut = line->truncated && !tcp;
	memcpy(to, question, at + 5);
	to[2] = (uint8_t)(0x81 | (cut ? 0x02 : 0));
	to[3] = (uint8_t)(0x80 | line->rcode);
	memset(to + 6, 0, 6);
	size_t records = cut ? 0 : put_records(to + at + 5, line);
	to[7] = cut ? 0 : (uint8_t)(line->many + (line->cname != NULL));
	return at + 5 + records;
}

static void step_tcp(void)
{
	uint8_t in[1024], out[8192];
	int fd = accept4(server.tcp, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0 && server.connection >= 0)
		close(server.connection);
	server.connection = fd >= 0 ? fd : server.connection;
	ssize_t n = server.connection < 0 ? -1 : recv(server.connection, in, sizeof in, MSG_DONTWAIT);
	if (n < 2)
		return;
	assert_int_equal(n, 2 + in[0] * 256 + in[1]); /* one question: on loopback it comes whole */
	size_t bytes = answer_to(in + 2, (size_t)n - 2, out + 2, true);
	out[0] = (uint8_t)(bytes >> 8);
	out[1] = (uint8_t)bytes;
	assert_int_equal(send(server.connection, out, bytes + 2, MSG_NOSIGNAL), bytes + 2);
}

static void step(void)
{
	uint8_t in[1024], out[8192];
	struct sockaddr_in peer;
	socklen_t length = sizeof peer;
	ssize_t n;
	while ((n = recvfrom(server.udp, in, sizeof in, MSG_DONTWAIT, (struct sockaddr *)&peer, &length)) >
	       12) {
		size_t bytes = answer_to(in, (size_t)n, out, false);
		if (bytes > 0)
			sendto(server.udp, out, bytes, 0, (struct sockaddr *)&peer, length);
	}
	step_tcp();
}

static int start_server(void **state)
{
	(void)state;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof at;
	memset(&server, 0, sizeof server);
	server.connection = -1;
	for (unsigned tries = 0; tries < 50; tries++) {
		at.sin_port = 0;
		server.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		server.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (bind(server.udp, (struct sockaddr *)&at, sizeof at) == 0 &&
		    getsockname(server.udp, (struct sockaddr *)&at, &length) == 0 &&
		    bind(server.tcp, (struct sockaddr *)&at, sizeof at) == 0 && listen(server.tcp, 8) == 0) {
			server.port = ntohs(at.sin_port);
			return 0;
		}
		close(server.udp);
		close(server.tcp);
	}
	return -1;
}

static int stop_server(void **state)
{
	(void)state;
	close(server.udp);
	close(server.tcp);
	if (server.connection >= 0)
		close(server.connection);
	return 0;
}

/* ---- looking up ---- */

static struct shm_error error;

/* options: more of deliver.dns, ", ..." */
static struct names *names_with(const char *options)
{
	char text[1024];
	struct names *names = NULL;
	snprintf(text, sizeof text, "deliver: {dns: {servers: [\"127.0.0.1:%u\"]%s}}\n", server.port,
	         options);
	struct config *config = load(text, "");
	if (names_open(&names, config, &error) != 0)
		fail_msg("%s", error.text);
	config_free(config);
	return names;
}

/* Sleeps as a stage would. */
static void sleep_on(struct names *names)
{
	struct pollfd fd[] = {{.fd = names_fd(names), .events = POLLIN},
	                      {.fd = server.udp, .events = POLLIN},
	                      {.fd = server.tcp, .events = POLLIN},
	                      {.fd = server.connection, .events = POLLIN}};
	uint64_t ns = names_timeout(names, NS_PER_SEC, clock_monotonic_ns());
	assert_true(poll(fd, 4, (int)((ns + NS_PER_MS - 1) / NS_PER_MS)) >= 0);
}

static struct names_answer next(struct names *names)
{
	struct names_answer answer;
	uint64_t end_ns = clock_monotonic_ns() + WAIT_NS;
	while (!names_next(names, &answer, clock_monotonic_ns())) {
		assert_true(clock_monotonic_ns() < end_ns);
		step();
		sleep_on(names);
		step();
	}
	return answer;
}

static struct names_answer look_up(struct names *names, const char *host)
{
	int asker;
	assert_true(names_start(names, host, &asker, clock_monotonic_ns()));
	struct names_answer answer = next(names);
	assert_ptr_equal(answer.asker, &asker);
	return answer;
}

static bool has(const struct names_answer *answer, const char *text)
{
	uint8_t address[16] = {[10] = 0xff, [11] = 0xff};
	assert_true(inet_pton(AF_INET, text, address + 12) == 1 || inet_pton(AF_INET6, text, address) == 1);
	for (unsigned i = 0; i < answer->n; i++)
		if (memcmp(answer->address[i], address, 16) == 0)
			return true;
	return false;
}

/* Seconds from now until the answer expires, rounded up. */
static unsigned holds(const struct names_answer *answer)
{
	return (unsigned)((answer->expires_ns - clock_monotonic_ns() + NS_PER_SEC - 1) / NS_PER_SEC);
}

/* ---- text ---- */

static void an_address_in_text_is_answered_without_a_query(void **state)
{
	(void)state;
	static const char *const form[] = {
	        "127.0.0.1",        "127.1",
	        "2130706433",       "0x7f.1",
	        "0177.0.0.1",       "0x7f000001",
	        "::ffff:127.0.0.1", "127.0.0.1.",
	        "0X7F.0x0.0.01",    "00000000000000000000000000000000000000000000000000000000000000000177.1"};
	struct names *names = names_with("");
	for (size_t i = 0; i < sizeof form / sizeof form[0]; i++) {
		struct names_answer answer = look_up(names, form[i]);
		assert_int_equal(answer.result, 0);
		assert_int_equal(answer.n, 1);
		assert_true(has(&answer, "127.0.0.1"));
	}
	struct names_answer answer = look_up(names, "2001:DB8::1");
	assert_true(answer.n == 1 && has(&answer, "2001:db8::1") && answer.zone == 0);
	answer = look_up(names, "fe80::1%7");
	assert_true(answer.n == 1 && has(&answer, "fe80::1") && answer.zone == 7);
	answer = look_up(names, "fe80::1%lo");
	assert_true(answer.n == 1 && answer.zone == if_nametoindex("lo"));
	assert_int_equal(server.questions, 0);
	names_close(names);
}

static void what_is_neither_address_nor_name_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
	        "",
	        ".",
	        "..",
	        "a..b",
	        ".a",
	        "127.0.0.1 x",
	        "a b",
	        "a\\046b",
	        "a/b",
	        "::g",
	        "1::2::3",
	        "fe80::1%",
	        "fe80::1%4294967296",
	        "fe80::1%no-such-one",
	        "a%lo",
	        "\xc3\xbc.test",
	        "[::1]",
	        "a234567890123456789012345678901234567890123456789012345678901234.test"};
	struct names *names = names_with("");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct names_answer answer = look_up(names, bad[i]);
		if (answer.result != -EINVAL || answer.reason[0] == '\0')
			fail_msg("\"%s\": %d", bad[i], answer.result);
	}
	assert_int_equal(server.questions, 0);
	names_close(names);
}

/* ---- answers ---- */

static void both_kinds_of_addresses_come_and_hold_for_the_least_ttl(void **state)
{
	(void)state;
	struct names *names = names_with("");
	struct names_answer answer = look_up(names, "both.test");
	assert_int_equal(answer.result, 0);
	assert_int_equal(answer.n, 3);
	assert_true(has(&answer, "192.0.2.1") && has(&answer, "192.0.2.2") && has(&answer, "2001:db8::1"));
	assert_true(holds(&answer) <= 50 && holds(&answer) > 20);
	answer = look_up(names, "BOTH.test.");
	assert_int_equal(answer.n, 3);
	answer = look_up(names, "alias.test");
	assert_true(answer.n == 1 && has(&answer, "192.0.2.7") && holds(&answer) <= 40);
	names_close(names);
}

static void times_to_live_are_kept_between_the_limits(void **state)
{
	(void)state;
	struct names *names = names_with(", ttl_least: 100s, ttl_most: 200s");
	struct names_answer answer = look_up(names, "short.test");
	assert_true(answer.result == 0 && holds(&answer) <= 100 && holds(&answer) > 70);
	answer = look_up(names, "long.test");
	assert_true(answer.result == 0 && holds(&answer) <= 200 && holds(&answer) > 170);
	names_close(names);
}

static void no_more_addresses_come_than_there_is_room_for(void **state)
{
	(void)state;
	struct names *names = names_with("");
	struct names_answer answer = look_up(names, "many.test");
	assert_int_equal(answer.result, 0);
	assert_int_equal(answer.n, NAMES_ADDRESSES_MAX);
	for (unsigned i = 1; i < answer.n; i++)
		for (unsigned k = 0; k < i; k++)
			assert_memory_not_equal(answer.address[i], answer.address[k], 16);
	names_close(names);
}

static void failures_say_what_they_are_and_are_kept(void **state)
{
	(void)state;
	struct names *names = names_with(", failure_kept: 300s");
	static const struct {
		const char *host;
		int result;
	} failing[] = {{"nowhere.test", -ENOENT}, {"empty.test", -ENOENT}, {"fails.test", -EIO}};
	for (size_t i = 0; i < sizeof failing / sizeof failing[0]; i++) {
		struct names_answer answer = look_up(names, failing[i].host);
		assert_int_equal(answer.result, failing[i].result);
		assert_true(answer.n == 0 && answer.reason[0] != '\0');
		assert_true(holds(&answer) <= 300 && holds(&answer) > 270);
	}
	names_close(names);
}

static void a_truncated_answer_is_asked_for_over_tcp(void **state)
{
	(void)state;
	struct names *names = names_with("");
	struct names_answer answer = look_up(names, "cut.test");
	assert_true(answer.result == 0 && answer.n == 1 && has(&answer, "192.0.2.8"));
	assert_int_equal(server.over_tcp, 1);
	names_close(names);
}

static void localhost_is_loopback_and_nobody_is_asked(void **state)
{
	(void)state;
	struct names *names = names_with(", hosts_file: \"\"");
	struct names_answer answer = look_up(names, "localhost");
	assert_int_equal(answer.result, 0);
	assert_true(answer.n == 2 && has(&answer, "127.0.0.1") && has(&answer, "::1"));
	answer = look_up(names, "a.LocalHost.");
	assert_true(answer.n == 2 && has(&answer, "127.0.0.1"));
	assert_int_equal(look_up(names, "notlocalhost").result, -ENOENT);
	assert_int_equal(look_up(names, "localhost.test").result, -ENOENT);
	names_close(names);
}

/* ---- time ---- */

static void a_name_that_is_never_answered_ends_in_time_and_holds_up_no_other(void **state)
{
	(void)state;
	struct names *names = names_with(", timeout: 400ms");
	int never, four;
	uint64_t begun_ns = clock_monotonic_ns();
	assert_true(names_start(names, "never.test", &never, begun_ns));
	assert_true(names_start(names, "four.test", &four, begun_ns));
	struct names_answer answer = next(names);
	assert_true(answer.asker == &four && answer.result == 0);
	answer = next(names);
	assert_true(answer.asker == &never && answer.result == -ETIMEDOUT && answer.reason[0] != '\0');
	assert_true(answer.took_ns >= 200 * NS_PER_MS);
	assert_true(server.questions > 4); /* tried again */
	names_close(names);
}

/* On a clock of the test's own, on which c-ares has no say. */
static void the_time_of_a_look_up_is_over_when_it_is_over(void **state)
{
	(void)state;
	struct names *names = names_with(", timeout: 60s, most: 1");
	int asker;
	struct names_answer answer;
	uint64_t now_ns = clock_monotonic_ns();
	assert_true(names_start(names, "never.test", &asker, now_ns));
	assert_false(names_next(names, &answer, now_ns + 60 * NS_PER_SEC - 1));
	assert_int_equal(names_timeout(names, NS_PER_SEC, now_ns + 60 * NS_PER_SEC), 0);
	assert_true(names_next(names, &answer, now_ns + 60 * NS_PER_SEC));
	assert_int_equal(answer.result, -ETIMEDOUT);
	assert_int_equal(answer.took_ns, 60 * NS_PER_SEC);
	/* c-ares has it still */
	assert_false(names_start(names, "four.test", &asker, now_ns));
	names_close(names);
}

static void an_answer_of_one_kind_is_enough(void **state)
{
	(void)state;
	struct names *names = names_with(", timeout: 400ms, tries: 2");
	struct names_answer answer = look_up(names, "half.test");
	assert_int_equal(answer.result, 0);
	assert_true(answer.n == 1 && has(&answer, "192.0.2.9"));
	names_close(names);
}

static void another_server_is_asked_when_one_is_silent_or_not_there(void **state)
{
	(void)state;
	char text[256];
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof at;
	int silent = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(silent, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(getsockname(silent, (struct sockaddr *)&at, &length), 0);
	for (unsigned there = 0; there < 2; there++) {
		struct names *names;
		if (there == 1)
			close(silent); /* now it refuses */
		snprintf(text, sizeof text,
		         "deliver: {dns: {timeout: 2s, servers: [\"127.0.0.1:%u\", \"127.0.0.1:%u\"]}}\n",
		         ntohs(at.sin_port), server.port);
		struct config *config = load(text, "");
		assert_int_equal(names_open(&names, config, &error), 0);
		config_free(config);
		struct names_answer answer = look_up(names, "four.test");
		assert_true(answer.result == 0 && answer.n == 1);
		names_close(names);
	}
}

static void servers_that_are_not_there_are_a_failure_of_servers(void **state)
{
	(void)state;
	struct names *names = names_with(", timeout: 400ms");
	stop_server(NULL);
	int asker;
	assert_true(names_start(names, "four.test", &asker, clock_monotonic_ns()));
	struct names_answer answer;
	while (!names_next(names, &answer, clock_monotonic_ns())) {
		struct pollfd fd = {.fd = names_fd(names), .events = POLLIN};
		poll(&fd, 1, (int)(names_timeout(names, NS_PER_SEC, clock_monotonic_ns()) / NS_PER_MS) + 1);
	}
	/* the refusal of A's datagram comes at AAAA's sending, or not: c-ares then waits for A */
	assert_true(answer.result == -EIO || answer.result == -ETIMEDOUT);
	names_close(names);
	assert_int_equal(start_server(NULL), 0);
}

/* ---- how many, and who still wants it ---- */

static void no_more_are_under_way_than_the_most_and_addresses_need_no_place(void **state)
{
	(void)state;
	struct names *names = names_with(", most: 2, timeout: 20s");
	int asker[4];
	assert_true(names_start(names, "four.test", &asker[0], clock_monotonic_ns()));
	assert_true(names_start(names, "never.test", &asker[1], clock_monotonic_ns()));
	assert_false(names_start(names, "both.test", &asker[2], clock_monotonic_ns()));
	struct names_answer answer = look_up(names, "192.0.2.1");
	assert_int_equal(answer.result, 0);
	assert_ptr_equal(next(names).asker, &asker[0]);
	assert_true(names_start(names, "both.test", &asker[2], clock_monotonic_ns()));
	assert_false(names_start(names, "four.test", &asker[3], clock_monotonic_ns()));
	assert_ptr_equal(next(names).asker, &asker[2]);
	/* answers that nobody takes have a limit too */
	unsigned n = 0;
	while (names_start(names, "192.0.2.1", &asker[3], clock_monotonic_ns()))
		assert_true(++n <= 4);
	assert_int_equal(n, 3); /* the one that is never answered has its place kept */
	names_close(names);
}

static void an_answer_that_is_not_wanted_any_more_does_not_come(void **state)
{
	(void)state;
	struct names *names = names_with(", most: 2");
	int gone, stays;
	struct names_answer answer;
	for (unsigned i = 0; i < 6; i++) { /* places come back */
		assert_true(names_start(names, "four.test", &gone, clock_monotonic_ns()));
		assert_true(names_start(names, "both.test", &stays, clock_monotonic_ns()));
		names_forget(names, &gone);
		assert_ptr_equal(next(names).asker, &stays);
		while (!names_start(names, "four.test", &stays, clock_monotonic_ns())) {
			step();
			assert_false(names_next(names, &answer, clock_monotonic_ns()));
		}
		assert_ptr_equal(next(names).asker, &stays);
	}
	assert_true(names_start(names, "192.0.2.1", &gone, clock_monotonic_ns()));
	assert_true(names_start(names, "192.0.2.2", &stays, clock_monotonic_ns()));
	names_forget(names, &gone);
	assert_ptr_equal(next(names).asker, &stays);
	assert_false(names_next(names, &answer, clock_monotonic_ns()));
	names_close(names);
}

static void closing_forgets_what_is_under_way(void **state)
{
	(void)state;
	struct names *names = names_with("");
	int asker;
	for (unsigned i = 0; i < 20; i++)
		assert_true(
		        names_start(names, i % 2 ? "never.test" : "both.test", &asker, clock_monotonic_ns()));
	step();
	names_forget(names, NULL);
	names_close(names);
	names_close(NULL);
}

/* ---- files and options ---- */

static void write_file(const char *path, const char *text)
{
	char other[128];
	snprintf(other, sizeof other, "%s.new", path);
	FILE *file = fopen(other, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(other, path), 0);
}

static void the_hosts_file_comes_first_and_is_read_again_when_it_changes(void **state)
{
	(void)state;
	char folder[] = "/tmp/millrace-names.XXXXXX", path[64], options[128];
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/hosts", folder);
	snprintf(options, sizeof options, ", hosts_file: \"%s\"", path);
	struct names *names = names_with(options); /* it is not there yet */
	assert_int_equal(look_up(names, "inside.test").result, -ENOENT);
	write_file(
	        path,
	        "# comment\n192.0.2.70 Inside.test in # more\n\n 2001:db8::70\tinside.test\nfe80::1%lo link\nno-address x\n192.0.2.71");
	int asker;
	struct names_answer answer;
	uint64_t later_ns = clock_monotonic_ns() + 2 * NS_PER_SEC;
	assert_true(names_start(names, "INSIDE.test.", &asker, later_ns));
	assert_true(names_next(names, &answer, later_ns));
	assert_true(answer.n == 2 && has(&answer, "192.0.2.70") && has(&answer, "2001:db8::70"));
	assert_true(names_start(names, "in", &asker, later_ns) && names_next(names, &answer, later_ns));
	assert_true(answer.n == 1 && has(&answer, "192.0.2.70"));
	write_file(path, "192.0.2.72 inside.test");
	later_ns += 2 * NS_PER_SEC;
	assert_true(names_start(names, "inside.test", &asker, later_ns) &&
	            names_next(names, &answer, later_ns));
	assert_true(answer.n == 1 && has(&answer, "192.0.2.72"));
	assert_int_equal(unlink(path), 0);
	later_ns += 2 * NS_PER_SEC;
	assert_true(names_start(names, "inside.test", &asker, later_ns));
	assert_int_equal(next(names).result, -ENOENT);
	names_close(names);
	assert_int_equal(rmdir(folder), 0);
}

static void a_server_that_is_none_is_a_mistake_with_its_key(void **state)
{
	(void)state;
	static const char *const bad[] = {"dns.test", "127.0.0.1:0", "127.0.0.1:99999", ":53", "127.1",
	                                  "::1:53:",  "[::1",        "fe80::1%lo",      ""};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char text[256];
		struct names *names = NULL;
		snprintf(text, sizeof text, "deliver: {dns: {servers: [\"192.0.2.1\", \"%s\"]}}\n", bad[i]);
		struct config *config = load(text, "");
		assert_int_equal(names_open(&names, config, &error), -EINVAL);
		assert_non_null(strstr(error.text, "deliver.dns.servers[1]: \""));
		config_free(config);
	}
	struct names_servers servers;
	struct config *config = load(
	        "deliver: {dns: {servers: [192.0.2.1, \"192.0.2.2:5353\", \"2001:db8::1\", \"[2001:db8::2]:5353\"]}}\n",
	        "");
	assert_int_equal(names_servers_configured(&servers, config, &error), 0);
	assert_string_equal(servers.text, "192.0.2.1:53,192.0.2.2:5353,[2001:db8::1]:53,[2001:db8::2]:5353");
	config_free(config);
}

static void servers_of_the_system_are_those_of_its_file(void **state)
{
	(void)state;
	char path[] = "/tmp/millrace-resolv.XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	static const char text[] =
	        "# nameserver 192.0.2.9\nnameserver 192.0.2.1\n\tnameserver 2001:db8::1 x\nnameserver fe80::1%lo\nsearch test\nnameserver nonsense\n";
	assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
	close(fd);
	struct names_servers servers;
	names_servers_system(&servers, path);
	assert_string_equal(servers.text, "192.0.2.1:53,[2001:db8::1]:53");
	assert_int_equal(unlink(path), 0);
	names_servers_system(&servers, path);
	assert_string_equal(servers.text, "127.0.0.1:53");
}

#define NAMES_TEST(test) cmocka_unit_test_setup_teardown(test, start_server, stop_server)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        NAMES_TEST(an_address_in_text_is_answered_without_a_query),
	        NAMES_TEST(what_is_neither_address_nor_name_is_refused),
	        NAMES_TEST(both_kinds_of_addresses_come_and_hold_for_the_least_ttl),
	        NAMES_TEST(times_to_live_are_kept_between_the_limits),
	        NAMES_TEST(no_more_addresses_come_than_there_is_room_for),
	        NAMES_TEST(failures_say_what_they_are_and_are_kept),
	        NAMES_TEST(a_truncated_answer_is_asked_for_over_tcp),
	        NAMES_TEST(localhost_is_loopback_and_nobody_is_asked),
	        NAMES_TEST(a_name_that_is_never_answered_ends_in_time_and_holds_up_no_other),
	        NAMES_TEST(the_time_of_a_look_up_is_over_when_it_is_over),
	        NAMES_TEST(an_answer_of_one_kind_is_enough),
	        NAMES_TEST(another_server_is_asked_when_one_is_silent_or_not_there),
	        NAMES_TEST(servers_that_are_not_there_are_a_failure_of_servers),
	        NAMES_TEST(no_more_are_under_way_than_the_most_and_addresses_need_no_place),
	        NAMES_TEST(an_answer_that_is_not_wanted_any_more_does_not_come),
	        NAMES_TEST(closing_forgets_what_is_under_way),
	        NAMES_TEST(the_hosts_file_comes_first_and_is_read_again_when_it_changes),
	        NAMES_TEST(a_server_that_is_none_is_a_mistake_with_its_key),
	        cmocka_unit_test(servers_of_the_system_are_those_of_its_file),
	};
	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
