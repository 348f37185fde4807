/* count: how many records a second go through a topic. A whole consumer in one page.
 *
 *     cc count.c $(pkg-config --cflags --libs millrace) -o count
 *     ./count ip my-counter
 *
 * The group is required: stop this program and start it again, and it goes on where it was. Free
 * the group in the end with
 *     millrace consume ip --group my-counter --forget
 */
#include <errno.h>
#include <millrace.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

/* Reads until the instance ends or its configuration changes (-ESTALE: attach again, the group goes
 * on at its cursor). */
static int follow(const char *topic, const char *group)
{
	char error[512];
	struct millrace *millrace = millrace_attach(NULL, error, sizeof error);
	if (millrace == NULL) {
		fprintf(stderr, "count: %s\n", error);
		return 1;
	}
	struct millrace_reader *reader =
	        millrace_read(millrace, topic, group, MILLRACE_REQUIRED, MILLRACE_FROM_TAIL);
	if (reader == NULL) {
		fprintf(stderr, "count: %s\n", millrace_error(millrace));
		millrace_detach(millrace);
		return 1;
	}

	unsigned long long records = 0, bytes = 0;
	time_t second = time(NULL);
	int more = 1;
	while (!stop && more >= 0) {
		const struct millrace_record *record;
		more = millrace_peek(reader, 200);
		while (more > 0 && (record = millrace_next(reader)) != NULL) {
			records++;
			bytes += record->length;
		}
		millrace_advance(reader);
		if (time(NULL) != second || more < 0) {
			second = time(NULL);
			printf("%llu records, %llu bytes, %llu waiting\n", records, bytes,
			       (unsigned long long)millrace_waiting(reader));
			fflush(stdout);
			records = bytes = 0;
		}
	}
	millrace_read_end(reader);
	millrace_detach(millrace);
	return more < 0 ? more : 0;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: count TOPIC GROUP\n");
		return 2;
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	int result;
	do
		result = follow(argv[1], argv[2]);
	while (result == -ESTALE && !stop);
	return result == 1;
}
