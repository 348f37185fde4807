#include "bench/pipeline.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/cpu.h"
#include "bench/port.h"
#include "bench/turns.h"
#include "base/clock.h"
#include "base/program.h"
#include "stage/control.h"

#define READY_NS (20 * NS_PER_SEC)
#define ARGS_MAX 32u
#define INSTANCE "bench"

static void fail(struct pipeline *pipeline, const char *what, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", what, why);
	if (pipeline->supervisor > 0) {
		kill(pipeline->supervisor, SIGKILL);
		waitpid(pipeline->supervisor, NULL, 0);
	}
	exit(1);
}

static void exec_supervisor(const struct pipeline_place *place, const char *const *extra,
                            const char *data_dir, int out)
{
	char folder[480], path[512], data[600], listen[160];
	if (program_libexec(folder, sizeof folder) != 0)
		_exit(127);
	snprintf(path, sizeof path, "%s/supervisor", folder);
	snprintf(data, sizeof data, "data_dir=%s", data_dir);
	snprintf(listen, sizeof listen, "ingest.udp[0].listen=%s", place->listen);
	/* ip(8) also gives it a /sys of that network */
	const char *network[] = {"ip", "netns", "exec", place->network};
	const char *fixed[] = {
	        path,       "--instance", INSTANCE,          "--set",          data,
	        "--set",    listen,       "--set",           "ingest.http=[]", "--set",
	        "sinks=[]", "--set",      "serve.listen=[]", "--set",          "log.level=warn"};
	const char *arguments[ARGS_MAX] = {NULL};
	unsigned used = 0;
	if (place->network != NULL)
		for (size_t i = 0; i < sizeof network / sizeof *network; i++)
			arguments[used++] = network[i];
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
		arguments[used++] = fixed[i];
	for (; *extra != NULL && used < ARGS_MAX - 1; extra++)
		arguments[used++] = *extra;
	if (place->pinned)
		turns_pin(place->processor);
	dup2(out, STDOUT_FILENO);
	execvp(arguments[0], (char *const *)(uintptr_t)arguments);
	_exit(127);
}

static bool running(const struct pipeline *pipeline, const char *role)
{
	struct segment segment = {0};
	struct shm_error error;
	char name[SEGMENT_NAME_MAX];
	if (segment_attach(&segment, pipeline->instance.directory, instance_stage_name(name, role),
	                   SEGMENT_STAGE, SEGMENT_READ, &error) != 0)
		return false;
	bool result = atomic_load(&((struct control *)segment.body)->state) == STAGE_RUNNING;
	segment_detach(&segment);
	return result;
}

static void wait_until_ready(struct pipeline *pipeline)
{
	struct shm_error error = {.text = "not ready in time"};
	uint64_t end_ns = clock_monotonic_ns() + READY_NS;
	while (instance_attach(&pipeline->instance, INSTANCE, SEGMENT_READ, &error) != 0) {
		if (clock_monotonic_ns() > end_ns || waitpid(pipeline->supervisor, NULL, WNOHANG) != 0)
			fail(pipeline, "the pipeline did not start", error.text);
		usleep(2000);
	}
	while (!running(pipeline, "ingest-udp.0") || !running(pipeline, "tally.0")) {
		if (clock_monotonic_ns() > end_ns)
			fail(pipeline, "the pipeline did not start", "a stage is not running");
		usleep(2000);
	}
	if (segment_attach(&pipeline->lane, pipeline->instance.directory, "ip.lane.0", SEGMENT_LANE,
	                   SEGMENT_READ, &error) != 0 ||
	    segment_attach(&pipeline->group, pipeline->instance.directory, "ip.group.0", SEGMENT_GROUP,
	                   SEGMENT_READ, &error) != 0)
		fail(pipeline, "cannot look into the pipeline", error.text);
}

void pipeline_start(struct pipeline *pipeline, const char *const *extra)
{
	static const struct pipeline_place place = {.listen = "127.0.0.1:0"};
	pipeline_start_at(pipeline, &place, extra);
}

void pipeline_start_at(struct pipeline *pipeline, const struct pipeline_place *place,
                       const char *const *extra)
{
	char data_dir[256], host[128];
	int out[2];
	memset(pipeline, 0, sizeof *pipeline);
	snprintf(data_dir, sizeof data_dir, "%s/data", turns_directory());
	if ((mkdir(data_dir, 0700) != 0 && errno != EEXIST) ||
	    setenv("MILLRACE_SHM", turns_directory(), 1) != 0 || pipe(out) != 0)
		fail(pipeline, data_dir, strerror(errno));
	pipeline->supervisor = turns_fork(SIGTERM);
	if (pipeline->supervisor < 0)
		fail(pipeline, "fork", strerror(errno));
	if (pipeline->supervisor == 0)
		exec_supervisor(place, extra, data_dir, out[1]);
	close(out[1]);
	/* the host, with the colon before the port */
	snprintf(host, sizeof host, "%.*s", (int)(strrchr(place->listen, ':') + 1 - place->listen),
	         place->listen);
	unsigned port = port_read(out[0], host, READY_NS);
	if (port == 0)
		fail(pipeline, "supervisor", "did not tell its port");
	pipeline->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	*strrchr(host, ':') = '\0';
	if (inet_pton(AF_INET, host, &pipeline->address.sin_addr) != 1)
		fail(pipeline, host, "is no IPv4 address");
	wait_until_ready(pipeline);
	/* The reading end stays open: a supervisor that prints at its end must not meet a closed
	 * pipe. */
}

void pipeline_stop(struct pipeline *pipeline)
{
	segment_detach(&pipeline->lane);
	segment_detach(&pipeline->group);
	instance_detach(&pipeline->instance);
	kill(pipeline->supervisor, SIGTERM);
	int status = 0;
	waitpid(pipeline->supervisor, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fprintf(stderr, "bench: the supervisor ended with status %d\n", status);
}

struct pipeline_count pipeline_count(const struct pipeline *pipeline)
{
	const struct stream_shared *lane = pipeline->lane.body;
	const struct stream_group *group = pipeline->group.body;
	struct pipeline_count count = {
	        .received = atomic_load(&lane->ledger.received),
	        .dropped = atomic_load(&lane->ledger.dropped),
	        .kernel_dropped = atomic_load(&lane->ledger.kernel_dropped),
	        .written = atomic_load(&lane->records),
	        .counted = stream_cursor_read(&group->cursor[0]),
	};
	for (unsigned i = 0; i < LEDGER_REASON_COUNT; i++)
		count.rejected += atomic_load(&lane->ledger.rejected[i]);
	return count;
}

uint64_t pipeline_metric(const struct pipeline *pipeline, const char *name)
{
	struct segment segment = {0};
	struct shm_error error;
	char file[SEGMENT_NAME_MAX];
	if (segment_attach(&segment, pipeline->instance.directory, instance_stage_name(file, "ingest-udp.0"),
	                   SEGMENT_STAGE, SEGMENT_READ, &error) != 0)
		return 0;
	const struct control *control = segment.body;
	uint64_t n = atomic_load(&control->n_metrics), value = 0;
	for (unsigned i = 0, word = 0; i < n && i < METRICS_MAX; i++) {
		if (strncmp(control->description[i].name, name, sizeof control->description[i].name) == 0)
			value = atomic_load(&control->metric[word]);
		word += metric_words(&control->description[i]);
	}
	segment_detach(&segment);
	return value;
}

static double cpu_of(const struct pipeline *pipeline, const char *role)
{
	int holder;
	return control_alive(pipeline->instance.directory, role, &holder) ? cpu_seconds(holder) : 0;
}

struct pipeline_cpu pipeline_cpu(const struct pipeline *pipeline)
{
	return (struct pipeline_cpu){.supervisor = cpu_seconds(pipeline->supervisor),
	                             .ingest = cpu_of(pipeline, "ingest-udp.0"),
	                             .tally = cpu_of(pipeline, "tally.0")};
}

void pipeline_settle(const struct pipeline *pipeline, double timeout_s)
{
	uint64_t end_ns = clock_monotonic_ns() + (uint64_t)(timeout_s * 1e9);
	struct pipeline_count before = pipeline_count(pipeline);
	unsigned quiet = 0;
	while (quiet < 15 && clock_monotonic_ns() < end_ns) {
		usleep(20000);
		struct pipeline_count now = pipeline_count(pipeline);
		quiet = now.received == before.received && now.counted == now.written ? quiet + 1 : 0;
		before = now;
	}
}
