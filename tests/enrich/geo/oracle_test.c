/* Countries of random addresses in the fetched database, compared with what mmdblookup says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <maxminddb.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "enrich/data/data_file.h"
#include "enrich/geo/special.h"
#include "base/log.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/geo.h"

#define ADDRESSES 10000u
#define WORKERS   2u
#define PROGRAM   "/usr/bin/mmdblookup"

extern char **environ;

static char database[PATH_MAX];

/* ---- addresses ---- */

/* The network of a random record of the database: down the tree, left or right by chance, until
 * there is one. */
static bool draw_network(const MMDB_s *mmdb, uint8_t address[16])
{
	uint32_t node_number = 0;
	memset(address, 0, 16);
	for (unsigned bit = 0; bit < 128; bit++) {
		MMDB_search_node_s node;
		if (MMDB_read_node(mmdb, node_number, &node) != MMDB_SUCCESS)
			return false;
		bool right = draw_one_in(2);
		if ((right ? node.right_record_type : node.left_record_type) == MMDB_RECORD_TYPE_EMPTY)
			right = !right;
		address[bit / 8] |= (uint8_t)(right << (7 - bit % 8));
		if ((right ? node.right_record_type : node.left_record_type) == MMDB_RECORD_TYPE_DATA)
			return true;
		node_number = (uint32_t)(right ? node.right_record : node.left_record);
	}
	return false;
}

/* Half of them any IPv4 address, a quarter any global IPv6 address, a quarter in networks that the
 * database has. */
static void draw_address(const MMDB_s *mmdb, uint8_t address[16])
{
	uint64_t random[2] = {draw(), draw()};
	static const uint8_t zero[12];
	memcpy(address, random, 16);
	switch (draw_below(4)) {
	case 0:
		if (mmdb->depth == 128 && draw_network(mmdb, address)) {
			if (memcmp(address, zero, sizeof zero) != 0)
				return;
			address[10] = address[11] = 0xff; /* the tree's ::/96 are the IPv4 addresses */
			return;
		}
		/* fall through */
	case 1:
		address[0] = 0x20 | (address[0] & 0x1f);
		return;
	default:
		memset(address, 0, 10);
		address[10] = address[11] = 0xff;
	}
}

/* ---- mmdblookup, one process an address: that is all it takes ---- */

/* Standard output of mmdblookup for one address. Returns its exit status, -1 when it could not be
 * run. */
static int look_up(const char *address, char *output, size_t size)
{
	char *argv[] = {(char *)PROGRAM, (char *)"--file",       database, (char *)"--ip",
	                (char *)address, (char *)"country_code", NULL};
	posix_spawn_file_actions_t actions;
	int ends[2], status = -1;
	pid_t pid;
	ssize_t n = 0;
	if (pipe2(ends, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions) != 0)
		return -1;
	bool started =
	        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) == 0 &&
	        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) == 0 &&
	        posix_spawn(&pid, PROGRAM, &actions, NULL, argv, environ) == 0;
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)close(ends[1]);
	size_t used = 0;
	while (started && used < size - 1 && (n = read(ends[0], output + used, size - 1 - used)) > 0)
		used += (size_t)n;
	output[used] = '\0';
	(void)close(ends[0]);
	if (!started || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* `  "US" <utf8_string>`, or status 6 for an address that has no record. '?' stands for anything
 * else. */
static void country_by_mmdblookup(const uint8_t address[16], char country[2])
{
	char text[INET6_ADDRSTRLEN], output[256];
	bool mapped = special_is_mapped(address);
	inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? address + 12 : address, text, sizeof text);
	int status = look_up(text, output, sizeof output);
	const char *quote = strchr(output, '"');
	memcpy(country, "??", 2);
	if (status == 6)
		memcpy(country, "XX", 2);
	else if (status == 0 && quote != NULL && quote[1] != '\0' && quote[2] != '\0' && quote[3] == '"')
		memcpy(country, quote + 1, 2);
}

static void country_is_what_mmdblookup_says_for_10000_random_addresses(void **state)
{
	(void)state;
	const char *build = getenv("MILLRACE_BUILD");
	snprintf(database, sizeof database, "%s/share/millrace/" DATA_FILE_COUNTRY,
	         build != NULL ? build : "build");
	if (access(database, R_OK) != 0 || access(PROGRAM, X_OK) != 0) {
		print_message("skipped: %s was not fetched (make data), or there is no " PROGRAM "\n",
		              database);
		skip();
	}
	static uint8_t address[ADDRESSES][16];
	MMDB_s mmdb;
	assert_int_equal(MMDB_open(database, MMDB_MODE_MMAP, &mmdb), MMDB_SUCCESS);
	for (unsigned i = 0; i < ADDRESSES; i++)
		draw_address(&mmdb, address[i]);
	MMDB_close(&mmdb);

	char(*expected)[2] =
	        mmap(NULL, ADDRESSES * 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(expected, MAP_FAILED);
	pid_t worker[WORKERS];
	for (unsigned w = 0; w < WORKERS; w++) {
		worker[w] = fork();
		assert_true(worker[w] >= 0);
		for (unsigned i = w; worker[w] == 0 && i < ADDRESSES; i += WORKERS)
			country_by_mmdblookup(address[i], expected[i]);
		if (worker[w] == 0)
			_exit(0);
	}
	for (unsigned w = 0; w < WORKERS; w++)
		assert_int_equal(waitpid(worker[w], NULL, 0), worker[w]);

	struct geo *geo = geo_open(database);
	unsigned known = 0, special = 0;
	for (unsigned i = 0; i < ADDRESSES; i++) {
		struct geo_place place;
		char text[INET6_ADDRSTRLEN];
		geo_lookup(geo, address[i], &place);
		known += memcmp(place.country, "XX", 2) != 0;
		special += special_address(address[i]);
		const char *right = special_address(address[i]) ? "XX" : expected[i]; /* not looked up */
		inet_ntop(AF_INET6, address[i], text, sizeof text);
		if (memcmp(place.country, right, 2) != 0)
			fail_msg("%s is in %.2s, mmdblookup says %.2s", text, place.country, expected[i]);
	}
	print_message("%u addresses, %u in a country, %u special\n", ADDRESSES, known, special);
	assert_true(known > ADDRESSES / 4);
	geo_close(geo);
	(void)munmap(expected, ADDRESSES * 2);
}

int main(void)
{
	alarm(230);
	draw_init(20261121);
	log_init("geo_oracle_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(country_is_what_mmdblookup_says_for_10000_random_addresses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
