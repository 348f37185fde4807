#include "bench/turns.h"

#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void turns_add(struct turns *turns, double ours, double reference)
{
	if (turns->n == TURNS_MAX)
		return;
	turns->ours[turns->n] = ours;
	turns->reference[turns->n++] = reference;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double turns_median(const double *values, unsigned n)
{
	double sorted[TURNS_MAX];
	if (n == 0)
		return 0;
	memcpy(sorted, values, n * sizeof *values);
	qsort(sorted, n, sizeof *sorted, ascending);
	return n % 2 != 0 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double turns_ratio(const struct turns *turns)
{
	double reference = turns_median(turns->reference, turns->n);
	return reference > 0 ? turns_median(turns->ours, turns->n) / reference : 0;
}

static void print_side(const char *name, const double *values, unsigned n)
{
	double least = values[0], greatest = values[0];
	for (unsigned i = 1; i < n; i++) {
		least = values[i] < least ? values[i] : least;
		greatest = values[i] > greatest ? values[i] : greatest;
	}
	printf("  %-28s %9.2f M/s   (%.2f .. %.2f)\n", name, turns_median(values, n) / 1e6, least / 1e6,
	       greatest / 1e6);
}

void turns_print(const struct turns *turns, const char *what, const char *ours, const char *reference)
{
	if (turns->n == 0)
		return;
	printf("%s, median of %u turns each\n", what, turns->n);
	print_side(ours, turns->ours, turns->n);
	print_side(reference, turns->reference, turns->n);
	printf("  ratio %.2f\n", turns_ratio(turns));
	fflush(stdout);
}

static char directory[128];
static pid_t directory_owner;

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status;
	(void)kind;
	(void)place;
	return remove(path);
}

static void remove_directory(void)
{
	if (getpid() == directory_owner)
		(void)nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void leave(int signal_number)
{
	exit(128 + signal_number);
}

const char *turns_directory(void)
{
	if (directory[0] != '\0')
		return directory;
	snprintf(directory, sizeof directory, "/dev/shm/millrace-bench-XXXXXX");
	if (mkdtemp(directory) == NULL) {
		perror(directory);
		exit(1);
	}
	directory_owner = getpid();
	atexit(remove_directory);
	signal(SIGINT, leave);
	signal(SIGTERM, leave);
	return directory;
}

void turns_pin(unsigned n)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(n % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &set);
	(void)sched_setaffinity(0, sizeof set, &set);
}
