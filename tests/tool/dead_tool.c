/* Fills a deliver.db with rows of the tests, which the command `millrace dead` then finds.
 *
 *     dead_tool DIR dead N ENDPOINT STATUS REASON DEAD_MS    sample N as a dead letter, two attempts in its history
 *     dead_tool DIR gone ENDPOINT                            the endpoint is gone until the year 2100
 *     dead_tool DIR counts                                   prints later, parked, claimed, dead, gone
 *     dead_tool DIR claim                                    claims all that is parked, prints number and attempts of each
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fixture/waiting_sample.h"

#define FAR_MS 4102444800000

static int put_dead(struct waiting *waiting, char **argument)
{
	struct waiting_sample sample;
	waiting_sample(&sample, strtoull(argument[0], NULL, 10), (unsigned)atoi(argument[1]));
	char *history = waiting_history(NULL, 1700000000000, 503, "busy", 12000);
	history = waiting_history(history, 1700000005000, (unsigned)atoi(argument[2]), "refused", 3000);
	sample.row.attempts = 2;
	sample.row.first_ms = 1700000000000;
	sample.row.history = history;
	int result = waiting_put_dead(waiting, &sample.row, argument[3], atoll(argument[4]));
	free(history);
	return result;
}

static void count_gone(void *argument, const char *endpoint, int64_t until_ms)
{
	(void)endpoint;
	(void)until_ms;
	(*(unsigned *)argument)++;
}

static int print_counts(struct waiting *waiting)
{
	struct waiting_counts counts;
	unsigned gone = 0;
	int result = waiting_count(waiting, &counts);
	if (result == 0)
		result = waiting_each_gone(waiting, 0, count_gone, &gone);
	printf("%llu %llu %llu %llu %u\n", (unsigned long long)counts.later,
	       (unsigned long long)counts.parked, (unsigned long long)counts.claimed,
	       (unsigned long long)counts.dead, gone);
	return result;
}

static unsigned room(void *argument, const char *origin, const char *endpoint)
{
	(void)argument;
	(void)origin;
	(void)endpoint;
	return 1000;
}

static void give(void *argument, const struct waiting_row *row)
{
	(void)argument;
	printf("%llu %u %lld %s\n", (unsigned long long)waiting_sample_number(row->postback), row->attempts,
	       (long long)row->first_ms, row->history);
}

int main(int argc, char **argv)
{
	struct shm_error error;
	struct waiting *waiting;
	char endpoint[64];
	if (argc < 3 || waiting_open(&waiting, argv[1], "test", &error) != 0 ||
	    waiting_begin(waiting, true, &error) != 0)
		return fprintf(stderr, "%s\n", error.text), 1;
	int result = -1;
	if (strcmp(argv[2], "dead") == 0 && argc == 8) {
		result = put_dead(waiting, argv + 3);
	} else if (strcmp(argv[2], "gone") == 0 && argc == 4) {
		waiting_sample_endpoint(endpoint, (unsigned)atoi(argv[3]));
		result = waiting_put_gone(waiting, endpoint, FAR_MS);
	} else if (strcmp(argv[2], "counts") == 0) {
		result = print_counts(waiting);
	} else if (strcmp(argv[2], "claim") == 0) {
		result = waiting_claim(waiting, 1000, 1000, room, give, NULL) < 0;
	}
	if (result == 0)
		result = waiting_commit(waiting, &error);
	waiting_close(waiting);
	return result != 0;
}
