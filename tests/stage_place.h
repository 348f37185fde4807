/* A tiny real stage and an instance for it. The test program is the stage when it is called with arguments.
 *
 *     test --fork, exec--> test --instance test --role echo.0      (start_stage)
 *       |                    |
 *       '---- struct work ---'   a file in the instance's directory, mapped by both
 *
 * The stage takes one job a poll, 1 ms each, counts it, and sleeps on the bell of topic 0, group 0.
 */
#ifndef TESTS_STAGE_PLACE_H
#define TESTS_STAGE_PLACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "stage/stage.h"
#include "tests/instance_place.h"

#define ROLE "echo.0"

struct work {
	_Atomic uint64_t jobs, done, polls, ticks, finis, sockets;
	_Atomic uint32_t hold;      /* drained says no */
	_Atomic uint32_t fail_init; /* init says no */
};

/* ---- the stage ---- */

enum { METRIC_JOBS, METRIC_LEFT };

static inline struct work *map_work(const char *directory, int flags)
{
	char path[160];
	snprintf(path, sizeof path, "%s/work", directory);
	int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct work)) != 0)
		return NULL;
	void *memory = mmap(NULL, sizeof(struct work), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return memory == MAP_FAILED ? NULL : memory;
}

static int echo_init(struct stage *stage, struct shm_error *error)
{
	struct work *work = map_work(stage->instance.directory, 0);
	if (work == NULL || work->fail_init) {
		shm_explain(error, "the work of %s cannot be found; look under the sofa", stage->role);
		return -ENOENT;
	}
	work->sockets = stage->n_sockets;
	stage->own = work;
	return 0;
}

static bool echo_poll(struct stage *stage)
{
	struct work *work = stage->own;
	work->polls++;
	if (work->jobs == 0)
		return false;
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	work->jobs--;
	work->done++;
	metric_add(stage->control, METRIC_JOBS, 1);
	return true;
}

static void echo_tick(struct stage *stage)
{
	struct work *work = stage->own;
	work->ticks++;
	metric_set(stage->control, METRIC_LEFT, work->jobs + 5);
}

static void echo_idle(struct stage *stage, uint64_t timeout_ns)
{
	struct work *work = stage->own;
	struct bell *bell = &stage->instance.bells->group[0][0];
	uint32_t seen = bell_value(bell);
	if (work->jobs == 0)
		bell_wait(bell, seen, timeout_ns);
}

static bool echo_drained(struct stage *stage)
{
	return ((struct work *)stage->own)->hold == 0;
}

static void echo_fini(struct stage *stage)
{
	((struct work *)stage->own)->finis++;
}

static int echo_alone(const struct config *config, FILE *input, FILE *output)
{
	fprintf(output, "%s:", config_string(config, "data_dir"));
	for (int c; (c = getc(input)) != EOF;)
		putc(c, output);
	return 0;
}

static const struct metric_description echo_metrics[] = {
        [METRIC_JOBS] = {"jobs", METRIC_COUNTER, "jobs done"},
        [METRIC_LEFT] = {"left", METRIC_GAUGE, "jobs not yet done, and five"},
};

static const struct stage_ops echo_stage = {
        .name = "echo",
        .help = "does jobs",
        .metrics = echo_metrics,
        .n_metrics = 2,
        .init = echo_init,
        .poll = echo_poll,
        .tick = echo_tick,
        .idle = echo_idle,
        .drained = echo_drained,
        .fini = echo_fini,
        .alone = echo_alone,
        .section = "tally",
};

/* ---- the instance ---- */

struct stage_place {
	struct place place;
	struct work *work;
	struct instance instance;
	struct segment control_segment;
	struct control *control;
};

static inline void write_file(const char *directory, const char *name, const char *text)
{
	char path[160];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static inline void add_role(struct instance_page *page, const char *name, const char *program)
{
	struct instance_role *role = &page->role[page->n_roles++];
	snprintf(role->name, sizeof role->name, "%s", name);
	snprintf(role->program, sizeof role->program, "%s", program);
}

static inline int set_up(void **state)
{
	struct stage_place *stage = calloc(1, sizeof *stage);
	struct shm_error error = {{0}};
	if (stage == NULL || place_make(&stage->place) != 0)
		return -1;
	*state = stage;
	const char *directory = stage->place.directory;
	assert_int_equal(instance_make(directory, NULL, 0, &error), 0);
	assert_int_equal(segment_create(directory, ROLE ".stage", SEGMENT_STAGE, 7, sizeof(struct control), NULL, NULL, &error),
	                 0);
	assert_int_equal(instance_attach(&stage->instance, "test", SEGMENT_WRITE, &error), 0);
	struct instance_page *page = stage->instance.page_segment.body;
	add_role(page, ROLE, "echo");
	add_role(page, "other.0", "other");
	add_role(page, "echo.1", "echo"); /* has no control segment */
	assert_int_equal(segment_attach(&stage->control_segment, directory, ROLE ".stage", SEGMENT_STAGE, SEGMENT_WRITE, &error),
	                 0);
	stage->control = stage->control_segment.body;
	write_file(directory, "config.yaml", "data_dir: /tmp\n");
	stage->work = map_work(directory, O_CREAT);
	assert_non_null(stage->work);
	return 0;
}

static inline int tear_down(void **state)
{
	struct stage_place *stage = *state;
	munmap(stage->work, sizeof *stage->work);
	segment_detach(&stage->control_segment);
	instance_detach(&stage->instance);
	place_remove(&stage->place);
	free(stage);
	return 0;
}

/* ---- processes ---- */

#define ARGUMENTS_MAX 12

/* Starts this program with the arguments, NULL last; standard output and error go to files of the place. */
static inline pid_t start_program(const struct stage_place *stage, const char *const *arguments)
{
	const char *argv[ARGUMENTS_MAX + 2] = {"echo"};
	char out[160], err[160];
	for (unsigned i = 0; i < ARGUMENTS_MAX && arguments[i] != NULL; i++)
		argv[i + 1] = arguments[i];
	snprintf(out, sizeof out, "%s/out", stage->place.root);
	snprintf(err, sizeof err, "%s/err", stage->place.root);
	pid_t pid = fork();
	if (pid == 0) {
		if (freopen(out, "a", stdout) == NULL || freopen(err, "a", stderr) == NULL)
			_exit(99);
		execv("/proc/self/exe", (char *const *)argv);
		_exit(98);
	}
	assert_true(pid > 0);
	return pid;
}

#define start_with(stage, ...) start_program(stage, (const char *const[]){__VA_ARGS__, NULL})
#define start_stage(stage)     start_with(stage, "--instance", "test", "--role", ROLE)

static inline void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* Waits until condition holds, 5 s at most. */
#define wait_until(condition)                                                                                          \
	do {                                                                                                           \
		for (unsigned waited_ms = 0; !(condition) && waited_ms < 5000; waited_ms++)                            \
			sleep_ms(1);                                                                                   \
		assert_true(condition);                                                                                \
	} while (0)

static inline void wait_running(const struct stage_place *stage)
{
	wait_until(stage->control->state == STAGE_RUNNING);
}

/* Exit status of a process that is to end by itself, within 8 s; 1000 + signal when a signal ended it. */
static inline int status_of(pid_t pid)
{
	int status = 0;
	for (unsigned waited_ms = 0; waited_ms < 8000; waited_ms++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
		sleep_ms(1);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

/* What was written to standard output ("out") or error ("err") so far. */
static inline const char *output_of(const struct stage_place *stage, const char *name)
{
	static char text[16384];
	char path[160];
	snprintf(path, sizeof path, "%s/%s", stage->place.root, name);
	FILE *file = fopen(path, "re");
	size_t n = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
	text[n] = '\0';
	if (file != NULL)
		fclose(file);
	return text;
}

static inline unsigned lines_of(const char *text)
{
	unsigned n = 0;
	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

#endif
