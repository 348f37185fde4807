/* millrace demo: an instance of its own under a mixed load, to be looked at.
 *
 *     millrace demo --.--> millrace catch      receives the postbacks, answers with mixed codes
 *                     |--> millrace run        instance demo-PID, data in FOLDER, all on loopback
 *                     '--> millrace send ...   one for each route, until the end
 *
 *     the end: a signal, --duration, or the end of any of them
 *              senders --> run, which drains --> catch; then FOLDER is removed
 *
 * All are this same program, so the load is that of `send` and `catch`. Each has a process group of
 * its own, so Ctrl-C reaches the demo alone, and ends when the demo dies: with it, what is in
 * shared memory goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "config/environment.h"
#include "look/snapshot.h"

#define ARGV_MAX   24u
#define CHILDREN   11u
#define START_NS   (60 * NS_PER_SEC) /* for the instance to run */
#define DRAIN_NS   (40 * NS_PER_SEC) /* for it to end; its drain_timeout is shorter */
#define LOAD_NS    (5 * NS_PER_SEC)  /* for a sender or the receiver to end */
#define LOOK_NS    (20 * NS_PER_MS)
#define LINE_BYTES 512u
#define FOREVER    "100000h" /* of a sender: until it is ended */
#define RATE_MAX   100000u
/* Of the receiver: mostly good, and what is tried again or becomes a dead letter. */
#define ANSWERS \
	"--answer /orders=200:0.96,503:0.04 --answer /mail=200:0.75,202:0.1,503:0.1,400:0.05 --delay /mail=5ms-80ms"

struct child {
	const char *name;
	pid_t pid; /* 0: it does not run */
	int status;
};

struct demo {
	uint64_t rate, duration_ns;
	const volatile bool *stop;
	char folder[PATH_MAX - 64], instance[SHM_NAME_MAX];
	char udp[64], http[64], page[64], receiver[64]; /* addresses */
	struct child child[CHILDREN];
	unsigned n;
	const struct child *ended; /* before its time */
};

enum { RECEIVER, SUPERVISOR }; /* places of children; those of senders follow */

static void nap(void)
{
	struct timespec time = {.tv_nsec = (long)LOOK_NS};
	(void)nanosleep(&time, NULL);
}

static void path_in(const struct demo *demo, char path[PATH_MAX], const char *name)
{
	snprintf(path, PATH_MAX, "%s/%s", demo->folder, name);
}

/* ---- the folder ---- */

static int make_folder(struct demo *demo)
{
	const char *where = getenv("TMPDIR");
	int n = snprintf(demo->folder, sizeof demo->folder, "%s/millrace-demo-XXXXXX",
	                 where != NULL && where[0] == '/' ? where : "/tmp");
	if (n >= (int)sizeof demo->folder)
		return -ENAMETOOLONG;
	return mkdtemp(demo->folder) != NULL ? 0 : -errno;
}

/* What cannot be removed shows when the folder is still there. */
static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *ftw)
{
	(void)status;
	(void)kind;
	(void)ftw;
	(void)remove(path);
	return 0;
}

/* Returns 0, or 1 after it told that something is left. */
static int remove_folder(const struct demo *demo)
{
	(void)nftw(demo->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return access(demo->folder, F_OK) != 0
	               ? 0
	               : command_fail("demo", "cannot remove all of %s", demo->folder);
}

/* As a text of YAML. */
static void put_quoted(FILE *out, const char *text)
{
	fputc('\'', out);
	for (; *text != '\0'; text++)
		fputs(*text == '\'' ? "\'\'" : (char[2]){*text, '\0'}, out);
	fputc('\'', out);
}

/* Small everywhere: a few dozen MiB of shared memory, and files that keep.size bounds. */
static const char config_text[] =
        "drain_timeout: 15s\n"
        "ingest:\n"
        "  udp: [{listen: [\"127.0.0.1:0\"], format: ipevent, receive_buffer: 4MiB, buffers: 256}]\n"
        "  http: [{listen: [\"127.0.0.1:0\"], max_connections: 256, request_memory: 16MiB}]\n"
        "serve: {listen: [\"127.0.0.1:0\"]}\n"
        "topics: {ip: {size: 4MiB}, metric: {size: 4MiB}, log: {size: 4MiB}, track.raw: {size: 4MiB},\n"
        "  track: {size: 4MiB}, delivery: {size: 4MiB}}\n"
        "queues: {postback: {slots: 1024, slot_size: 1KiB}}\n"
        "deliver: {guard: {allow: [\"127.0.0.0/8\"]}, retry: {schedule: [1s, 3s, 10s, 30s]}, dead: {keep: 1h}}\n"
        "sinks:\n"
        "  - {name: logs, kind: objects, topics: [log], key: \"log/{date}/{hour}\", tails: 16MiB,\n"
        "     longest_line: 64KiB, finish: {after: 30s}, store: {keep: {size: 64MiB}}}\n"
        "  - {name: tracks, kind: objects, topics: [track], key: \"track/{date}/{hour}/{type}\", tails: 16MiB,\n"
        "     longest_line: 64KiB, finish: {after: 30s}, store: {keep: {size: 64MiB}}}\n";

static int write_config(const struct demo *demo)
{
	char path[PATH_MAX];
	path_in(demo, path, "demo.yaml");
	FILE *out = fopen(path, "wex");
	if (out == NULL)
		return -errno;
	path_in(demo, path, "data");
	fprintf(out, "instance: %s\ndata_dir: ", demo->instance);
	put_quoted(out, path);
	/* The folder is its user's alone. */
	fprintf(out, "\nusers: \"off\"\n%s", config_text);
	return fclose(out) == 0 ? 0 : -errno;
}

/* ---- children ---- */

/* In the child: nothing of the environment may lead the instance elsewhere. */
static void clean_environment(void)
{
	size_t n;
	const struct config_variable *variable = config_variables(&n);
	for (size_t i = 0; i < n; i++)
		(void)unsetenv(variable[i].name);
	(void)unsetenv("MILLRACE_INSTANCE");
}

static void become(char **argv, const char *log)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (null < 0 || out < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
	    dup2(out, STDERR_FILENO) < 0)
		_exit(127);
	clean_environment();
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	execv("/proc/self/exe", argv);
	_exit(127);
}

/* Starts this program with the words of the line, which spaces divide, and then `last` when that is
 * not NULL; its output goes to FOLDER/NAME.log. Returns 0 or -errno. */
__attribute__((format(printf, 4, 5))) static int start(struct demo *demo, const char *name, char *last,
                                                       const char *format, ...)
{
	char log[PATH_MAX], file[64], line[LINE_BYTES], *argv[ARGV_MAX] = {"millrace"}, *rest = line;
	size_t n = 1;
	va_list list;
	va_start(list, format);
	vsnprintf(line, sizeof line, format, list);
	va_end(list);
	for (char *word; n < ARGV_MAX - 2 && (word = strsep(&rest, " ")) != NULL; n++)
		argv[n] = word;
	argv[n] = last;
	snprintf(file, sizeof file, "%s.log", name);
	path_in(demo, log, file);
	pid_t parent = getpid(), pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		/* A signal before execv must not be lost. */
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		signal(SIGHUP, SIG_DFL);
		(void)setpgid(0, 0);
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() == parent)
			become(argv, log);
		_exit(127);
	}
	demo->child[demo->n++] = (struct child){.name = name, .pid = pid};
	return 0;
}

/* Notices which have ended. */
static void look_at(struct demo *demo)
{
	for (unsigned i = 0; i < demo->n; i++) {
		struct child *child = &demo->child[i];
		if (child->pid == 0 || waitpid(child->pid, &child->status, WNOHANG) != child->pid)
			continue;
		child->pid = 0;
		if (demo->ended == NULL)
			demo->ended = child;
	}
}

static bool goes_on(struct demo *demo)
{
	look_at(demo);
	return demo->ended == NULL && !*demo->stop;
}

/* Ends children first .. first + n - 1 and waits for them; those that take longer are killed. True
 * when all ended by themselves. */
static bool end(struct demo *demo, unsigned first, unsigned n, uint64_t patience_ns)
{
	uint64_t until_ns = clock_monotonic_ns() + patience_ns;
	bool clean = true, left = true;
	for (unsigned i = first; i < first + n; i++)
		if (demo->child[i].pid != 0)
			(void)kill(demo->child[i].pid, SIGTERM);
	while (left) {
		bool late = clock_monotonic_ns() > until_ns;
		left = false;
		look_at(demo);
		for (unsigned i = first; i < first + n; i++) {
			if (demo->child[i].pid == 0)
				continue;
			left = true;
			clean = clean && !late;
			if (late)
				(void)kill(demo->child[i].pid, SIGKILL);
		}
		if (left)
			nap();
	}
	return clean;
}

/* ---- what they print ---- */

/* Takes what stands between `before` and the next space or the end of the first line of the child's
 * log that begins so. */
static bool read_line(const struct demo *demo, const char *file, const char *before, char *out, size_t size)
{
	char path[PATH_MAX], line[LINE_BYTES];
	bool found = false;
	path_in(demo, path, file);
	FILE *in = fopen(path, "re");
	while (in != NULL && !found && fgets(line, sizeof line, in) != NULL) {
		size_t n = strlen(before);
		found = strncmp(line, before, n) == 0 && strchr(line, '\n') != NULL;
		if (found)
			snprintf(out, size, "%.*s", (int)strcspn(line + n, " ,\n"), line + n);
	}
	if (in != NULL)
		(void)fclose(in);
	return found;
}

static void show_log(const struct demo *demo, const char *name)
{
	char path[PATH_MAX], file[64], line[LINE_BYTES];
	snprintf(file, sizeof file, "%s.log", name);
	path_in(demo, path, file);
	FILE *in = fopen(path, "re");
	while (in != NULL && fgets(line, sizeof line, in) != NULL)
		fputs(line, stderr);
	if (in != NULL)
		(void)fclose(in);
}

/* Where the API listens: its stage says so. */
static bool find_page(struct demo *demo, struct snapshot_source *source, struct snapshot *snapshot)
{
	struct shm_error error;
	if (snapshot_open(source, demo->instance, &error) != 0)
		return false;
	bool found = false;
	if (snapshot_take(source, snapshot, &error) == 0)
		for (unsigned i = 0; i < snapshot->n_stages && !found; i++) {
			const struct snapshot_stage *stage = &snapshot->stage[i];
			found = strcmp(stage->program, "serve") == 0 &&
			        strncmp(stage->note, "127.0.0.1:", 10) == 0;
			if (found)
				snprintf(demo->page, sizeof demo->page, "%.*s",
				         (int)strcspn(stage->note, " ,"), stage->note);
		}
	snapshot_close(source);
	return found;
}

/* ---- starting ---- */

typedef bool there(struct demo *demo);

/* Returns 0, -EINTR after a signal, -ECHILD when one has ended, -ETIMEDOUT. */
static int wait_for(struct demo *demo, there *is)
{
	uint64_t until_ns = clock_monotonic_ns() + START_NS;
	while (!is(demo)) {
		if (!goes_on(demo))
			return demo->ended != NULL ? -ECHILD : -EINTR;
		if (clock_monotonic_ns() > until_ns)
			return -ETIMEDOUT;
		nap();
	}
	return 0;
}

static bool receiver_listens(struct demo *demo)
{
	return read_line(demo, "catch.log", "listening on http://", demo->receiver, sizeof demo->receiver);
}

static bool instance_runs(struct demo *demo)
{
	char ready[8];
	return read_line(demo, "run.log", "udp ", demo->udp, sizeof demo->udp) &&
	       read_line(demo, "run.log", "http ", demo->http, sizeof demo->http) &&
	       read_line(demo, "run.log", "ready", ready, sizeof ready);
}

static bool page_is_there(struct demo *demo)
{
	struct snapshot_source *source = malloc(sizeof *source);
	struct snapshot *snapshot = malloc(sizeof *snapshot);
	bool found = source != NULL && snapshot != NULL && find_page(demo, source, snapshot);
	free(source);
	free(snapshot);
	return found;
}

static int start_instance(struct demo *demo)
{
	char config[PATH_MAX];
	path_in(demo, config, "demo.yaml");
	int result = start(demo, "catch", NULL,
	                   "catch 127.0.0.1:0 --json --numbers 1M --memory 16M --body ok " ANSWERS);
	if (result == 0)
		result = start(demo, "run", config, "run -c");
	if (result == 0)
		result = wait_for(demo, receiver_listens);
	if (result == 0)
		result = wait_for(demo, instance_runs);
	if (result == 0)
		result = wait_for(demo, page_is_there);
	return result;
}

/* Starts a sender for this many of a thousand events a second. */
static int start_sender(struct demo *demo, const char *name, unsigned parts, const char *words)
{
	uint64_t rate = demo->rate * parts / 1000;
	return start(demo, name, NULL, "send %s --duration " FOREVER " --rate %" PRIu64, words,
	             rate > 0 ? rate : 1);
}

/* Numbers of events begin far apart, so that none comes twice. */
static int start_load(struct demo *demo)
{
	static const struct {
		const char *name;
		unsigned parts; /* requests; a batch has ten events */
		const char *words;
	} load[] = {
	        {"send-event", 150, "--route event --connections 4 --corrupt 1"},
	        {"send-log", 100, "--route log --connections 2 --corrupt 1"},
	        {"send-track", 80, "--route track --connections 4"},
	        {"send-batch", 5, "--route batch --batch-size 10 --connections 1 --first 1000000000"},
	};
	char words[LINE_BYTES];
	snprintf(words, sizeof words, "udp %s --apps 200 --sources 20 --corrupt 2", demo->udp);
	int result = start_sender(demo, "send-udp", 600, words);
	for (size_t i = 0; i < sizeof load / sizeof *load && result == 0; i++) {
		snprintf(words, sizeof words, "http %s %s", demo->http, load[i].words);
		result = start_sender(demo, load[i].name, load[i].parts, words);
	}
	snprintf(words, sizeof words, "postback %s --endpoint http://%s/orders --connections 1", demo->http,
	         demo->receiver);
	if (result == 0)
		result = start_sender(demo, "send-orders", 15, words);
	snprintf(
	        words, sizeof words,
	        "postback %s --endpoint http://%s/mail --method POST --size 60 --connections 1 --first 1000000000",
	        demo->http, demo->receiver);
	if (result == 0)
		result = start_sender(demo, "send-mail", 5, words);
	return result;
}

/* ---- the command ---- */

/* The terminal has gone. */
static void hang_up(int signal_number)
{
	(void)signal_number;
	(void)raise(SIGTERM);
}

static void tell(const struct demo *demo)
{
	printf("millrace demo: instance %s, data and logs in %s\n", demo->instance, demo->folder);
	printf("  page     http://%s/\n", demo->page);
	printf("  top      millrace top --instance %s\n", demo->instance);
	printf("  API      curl http://%s/api/stat   (http://%s/openapi.json lists all)\n", demo->page,
	       demo->page);
	printf("  events   millrace tap track --instance %s\n", demo->instance);
	printf("  way      millrace trace ID --instance %s\n", demo->instance);
	printf("  takes    http://%s, udp %s; postbacks go to http://%s\n", demo->http, demo->udp,
	       demo->receiver);
	printf("about %" PRIu64 " events a second over all routes; ", demo->rate);
	if (demo->duration_ns != UINT64_MAX)
		printf("ends in %" PRIu64 " s, or by Ctrl-C\n", (uint64_t)(demo->duration_ns / NS_PER_SEC));
	else
		printf("Ctrl-C ends it\n");
	(void)fflush(stdout);
}

static int said(const struct demo *demo, int result)
{
	if (result == 0 || result == -EINTR)
		return 0;
	if (demo->ended != NULL) {
		show_log(demo, demo->ended->name);
		return command_fail("demo", "its part %s has ended (%s %d)", demo->ended->name,
		                    WIFSIGNALED(demo->ended->status) ? "signal" : "exit status",
		                    WIFSIGNALED(demo->ended->status) ? WTERMSIG(demo->ended->status)
		                                                     : WEXITSTATUS(demo->ended->status));
	}
	return command_fail("demo", "%s",
	                    result == -ETIMEDOUT ? "the instance did not start in time" : strerror(-result));
}

/* Runs `millrace clean`. True when nothing is left. */
static bool clean_once(struct demo *demo)
{
	unsigned place = demo->n;
	if (start(demo, "clean", NULL, "clean --force --instance %s", demo->instance) != 0)
		return false;
	uint64_t until_ns = clock_monotonic_ns() + LOAD_NS;
	while (demo->child[place].pid != 0 && clock_monotonic_ns() < until_ns) {
		nap();
		look_at(demo);
	}
	bool done = end(demo, place, 1, 0) && demo->child[place].status == 0;
	demo->n = place;
	return done;
}

/* What an instance that did not drain has left: events that nobody is to have any more. Stages of a
 * supervisor that was killed may still be ending. */
static int clean(struct demo *demo)
{
	char directory[PATH_MAX];
	uint64_t until_ns = clock_monotonic_ns() + DRAIN_NS;
	if (segment_directory(directory, sizeof directory, demo->instance) != 0 ||
	    access(directory, F_OK) != 0)
		return 0;
	while (!clean_once(demo)) {
		if (clock_monotonic_ns() > until_ns) {
			show_log(demo, "clean");
			return command_fail(
			        "demo",
			        "the instance did not end; remove what it left: millrace clean --instance %s",
			        demo->instance);
		}
		nap();
	}
	return 0;
}

/* Ends all in the order of the events' way. Returns 0, or 1 when something stays in shared
 * memory. */
static int finish(struct demo *demo)
{
	int status = 0;
	if (demo->n > SUPERVISOR + 1)
		(void)end(demo, SUPERVISOR + 1, demo->n - SUPERVISOR - 1, LOAD_NS);
	bool started = demo->n > SUPERVISOR;
	bool drained = started && end(demo, SUPERVISOR, 1, DRAIN_NS) && demo->child[SUPERVISOR].status == 0;
	if (demo->n > RECEIVER)
		(void)end(demo, RECEIVER, 1, LOAD_NS);
	if (started && !drained)
		status = clean(demo);
	return status;
}

static int run(struct demo *demo)
{
	uint64_t begun_ns = clock_monotonic_ns();
	int result = write_config(demo);
	if (result == 0)
		result = start_instance(demo);
	if (result == 0)
		result = start_load(demo);
	if (result == 0) {
		tell(demo);
		begun_ns = clock_monotonic_ns();
	}
	while (result == 0 && clock_monotonic_ns() - begun_ns < demo->duration_ns) {
		nap();
		if (!goes_on(demo))
			result = demo->ended != NULL ? -ECHILD : -EINTR;
	}
	int status = said(demo, result);
	int ended = finish(demo);
	ended |= remove_folder(demo);
	if (status == 0 && ended == 0)
		printf("millrace demo: ended; %s and the instance are gone\n", demo->folder);
	return status != 0 ? status : ended;
}

int command_demo(int argc, char **argv)
{
	struct demo demo = {.rate = 1000, .duration_ns = UINT64_MAX};
	struct operands operands;
	const struct argument table[] = {
	        {"rate", 'r', ARGUMENT_COUNT, "N", "events per second in all (default 1000)", &demo.rate, 10,
	         RATE_MAX, NULL},
	        {"duration", 'd', ARGUMENT_DURATION, "T", "end after this time (default: at Ctrl-C)",
	         &demo.duration_ns, NS_PER_SEC, 365 * 86400 * NS_PER_SEC, NULL},
	};
	const struct arguments arguments = {
	        .command = "demo",
	        .usage = "[OPTION]...",
	        .purpose =
	                "Starts an instance of its own with a mixed load on every route, and prints where its page, top and API\n"
	                "are: what to run to see all of it alive. Everything listens on loopback, on ports that the kernel\n"
	                "chooses; nothing else is opened. Data are in a temporary folder. Ctrl-C ends it, and nothing is left.",
	        .example = "  millrace demo --duration 10m",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	};
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	demo.stop = command_stop_on_signals();
	signal(SIGHUP, hang_up);
	snprintf(demo.instance, sizeof demo.instance, "demo-%d", getpid());
	int result = make_folder(&demo);
	if (result != 0)
		return command_fail("demo", "%s: %s", demo.folder, strerror(-result));
	return run(&demo);
}
