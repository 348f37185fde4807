/* Name servers of the system that change while look-ups are under way. The source is included whole
 * with another path for resolv.conf: nothing but the file can tell it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char resolv_conf[64];
#define RESOLV_CONF resolv_conf
#include "deliver/names.c"

#include <netinet/in.h>
#include <poll.h>

#include "tests/fixture/config.h"

static char folder[] = "/tmp/millrace-names.XXXXXX";

static void write_servers(const char *text)
{
	char other[80];
	snprintf(other, sizeof other, "%s.new", resolv_conf);
	FILE *file = fopen(other, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(other, resolv_conf), 0);
}

/* Servers at 127.0.0.2 and on that never answer. Returns false where this user may not take port
 * 53: where nobody is there a look-up ends when the kernel says so, and from c-ares 1.30 on that
 * may be at once. */
static bool be_silent(int fd[3])
{
	bool silent = true;
	for (unsigned i = 0; i < 3; i++) {
		const struct sockaddr_in address = {.sin_family = AF_INET,
		                                    .sin_port = htons(53),
		                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i)};
		fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		assert_true(fd[i] >= 0);
		silent &= bind(fd[i], (const struct sockaddr *)&address, sizeof address) == 0;
	}
	return silent;
}

static void look_ups_go_to_new_servers_and_those_under_way_end_at_the_old_ones(void **state)
{
	(void)state;
	struct names *names;
	struct names_answer answer;
	struct shm_error error;
	int asker[3], silent[3];
	int version;
	(void)ares_version(&version);
	bool under_way = be_silent(silent) || version < 0x011e00;
	assert_non_null(mkdtemp(folder));
	snprintf(resolv_conf, sizeof resolv_conf, "%s/resolv.conf", folder);
	write_servers("nameserver 127.0.0.2\n");
	struct config *config = load("deliver: {dns: {timeout: 200ms, tries: 1}}\n", "");
	assert_int_equal(names_open(&names, config, &error), 0);
	config_free(config);
	uint64_t now_ns = clock_monotonic_ns();
	assert_true(names_start(names, "a.test", &asker[0], now_ns));
	unsigned first = names->current;
	write_servers("nameserver 127.0.0.3\nnameserver 127.0.0.4\n");
	assert_true(names_start(names, "a.test", &asker[1], now_ns)); /* not looked at yet */
	assert_int_equal(names->current, first);
	assert_true(names_start(names, "a.test", &asker[2], now_ns + LOOK_NS));
	assert_int_not_equal(names->current, first);
	if (under_way) {
		assert_int_equal(names->channel[first].n_asks, 2);
		assert_int_equal(names->channel[names->current].n_asks, 1);
	}
	names_forget(names, &asker[0]);
	names_forget(names, &asker[1]);
	names_forget(names, &asker[2]);
	uint64_t end_ns = now_ns + 30 * NS_PER_SEC;
	while (names->n_asks > 0) {
		struct pollfd fd = {.fd = names_fd(names), .events = POLLIN};
		assert_true(clock_monotonic_ns() < end_ns);
		poll(&fd, 1, (int)(names_timeout(names, NS_PER_SEC, clock_monotonic_ns()) / NS_PER_MS) + 1);
		assert_false(names_next(names, &answer, clock_monotonic_ns()));
	}
	if (under_way)
		assert_null(names->channel[first].ares);
	/* what nobody waits for makes room for the next change, also when look-ups end at once */
	write_servers("nameserver 127.0.0.5\n");
	assert_true(names_start(names, "a.test", &asker[0], clock_monotonic_ns() + 2 * LOOK_NS));
	assert_int_equal(names->current, first);
	names_close(names);
	for (unsigned i = 0; i < 3; i++)
		close(silent[i]);
	assert_int_equal(unlink(resolv_conf), 0);
	assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(look_ups_go_to_new_servers_and_those_under_way_end_at_the_old_ones),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
