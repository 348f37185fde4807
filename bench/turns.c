#include "bench/turns.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
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

#define FOLDERS_MAX 2u

/* What the process that made it removes at its exit. */
static struct {
	char path[TURNS_PATH_MAX];
	pid_t owner;
} folder[FOLDERS_MAX];
static unsigned n_folders;

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status;
	(void)kind;
	(void)place;
	return remove(path);
}

static void remove_folder(const char *path)
{
	(void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void remove_folders(void)
{
	for (unsigned i = 0; i < n_folders; i++)
		if (getpid() == folder[i].owner)
			remove_folder(folder[i].path);
}

/* The guard: waits until the processes that use the folder have ended, in whatever way, for the
 * kernel closes their ends of the pipe. A handler of signals could not remove it: what a signal
 * interrupts may be malloc, which nftw needs. */
static void remove_when_closed(int pipe_end, const char *path)
{
	static const int from_terminal[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	char none;
	for (unsigned i = 0; i < sizeof from_terminal / sizeof *from_terminal; i++)
		(void)signal(from_terminal[i], SIG_IGN);
	/* Whoever reads our output, or waits for the end of a pipe of ours, waits for no guard. */
	(void)close_range(0, (unsigned)pipe_end - 1, 0);
	(void)close_range((unsigned)pipe_end + 1, UINT_MAX, 0);
	while (read(pipe_end, &none, 1) > 0 || errno == EINTR)
		;
	remove_folder(path);
	_exit(0);
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void start_guard(const char *path)
{
	int ends[2];
	fflush(NULL);
	if (pipe2(ends, O_CLOEXEC) != 0)
		fail(path);
	pid_t pid = fork();
	if (pid < 0)
		fail(path);
	if (pid == 0) {
		close(ends[1]);
		remove_when_closed(ends[0], path);
	}
	close(ends[0]); /* the other end stays open as long as this process lives */
}

const char *turns_make_directory(const char *below)
{
	if (n_folders == FOLDERS_MAX)
		abort();
	char *path = folder[n_folders].path;
	int n = snprintf(path, TURNS_PATH_MAX, "%s/millrace-bench-XXXXXX", below);
	if (n >= (int)TURNS_PATH_MAX) {
		fprintf(stderr, "%s: the path is too long\n", below);
		exit(1);
	}
	if (mkdtemp(path) == NULL)
		fail(path);
	folder[n_folders++].owner = getpid();
	if (n_folders == 1)
		atexit(remove_folders);
	start_guard(path);
	return path;
}

const char *turns_directory(void)
{
	static const char *directory;
	if (directory == NULL)
		directory = turns_make_directory("/dev/shm");
	return directory;
}

pid_t turns_fork(int end_signal)
{
	fflush(NULL);
	pid_t parent = getpid(), pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, end_signal);
	if (getppid() != parent)
		_exit(1); /* it ended before */
	return 0;
}

void turns_pin(unsigned n)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(n % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &set);
	(void)sched_setaffinity(0, sizeof set, &set);
}
