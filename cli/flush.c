/* millrace flush: asks sinks to finish what is open, and waits until it is in the store. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "look/sinks.h"

#define LOOK_NS  (20 * NS_PER_MS)
#define AGAIN_NS NS_PER_SEC /* a signal that came while the stage started is sent again */

struct options {
	const char *instance;
	uint64_t timeout_ns;
};

/* One sink that is flushed. */
struct flush {
	char *name;
	uint64_t asked_before;
	uint64_t told_ns; /* when it was signalled last */
	bool noticed, done;
	uint64_t wanted; /* flushes_done that means done, once it is noticed */
};

/* Kill(2) by the pid of a live holder of the role's lock. */
static void ask(const struct snapshot_stage *stage, struct flush *flush, uint64_t now_ns)
{
	if (!stage->alive || stage->pid == 0 || now_ns - flush->told_ns < AGAIN_NS)
		return;
	flush->told_ns = now_ns;
	(void)kill((pid_t)stage->pid, SIGUSR1); /* one that died just now has a next life */
}

static void step(const struct snapshot_stage *stage, struct flush *flush, uint64_t now_ns)
{
	uint64_t asked = sink_metric(stage, "flushes_asked"), done = sink_metric(stage, "flushes_done");
	if (!flush->noticed && asked > flush->asked_before) {
		flush->noticed = true;
		flush->wanted = asked;
	}
	if (!flush->noticed)
		ask(stage, flush, now_ns);
	else
		flush->done = done >= flush->wanted;
}

static const struct snapshot_stage *find(const struct snapshot *snapshot, const char *name)
{
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		if (sink_is(&snapshot->stage[i]) && strcmp(sink_name(&snapshot->stage[i]), name) == 0)
			return &snapshot->stage[i];
	return NULL;
}

static bool can_flush(const struct snapshot_stage *stage)
{
	return sink_has_metric(stage, "flushes_asked");
}

static int say_unknown(const struct snapshot *snapshot, const char *name)
{
	char all[600] = "";
	for (unsigned i = 0; i < snapshot->n_stages; i++) {
		if (!sink_is(&snapshot->stage[i]) || !can_flush(&snapshot->stage[i]))
			continue;
		size_t n = strlen(all);
		snprintf(all + n, sizeof all - n, "%s%s", n > 0 ? ", " : "", sink_name(&snapshot->stage[i]));
	}
	return command_fail("flush", "no sink \"%s\" that can be flushed; there are: %s", name,
	                    all[0] != '\0' ? all : "none");
}

static unsigned choose(const struct snapshot *snapshot, const struct operands *operands, struct flush *flush)
{
	unsigned n = 0;
	for (unsigned i = 0; i < snapshot->n_stages; i++) {
		const struct snapshot_stage *stage = &snapshot->stage[i];
		bool wanted = operands->n == 0;
		if (!sink_is(stage) || !can_flush(stage))
			continue;
		for (size_t k = 0; k < operands->n; k++)
			wanted |= strcmp(operands->item[k], sink_name(stage)) == 0;
		if (wanted)
			flush[n++] = (struct flush){.name = strdup(sink_name(stage)),
			                            .asked_before = sink_metric(stage, "flushes_asked")};
	}
	return n;
}

static int say_late(const struct snapshot *snapshot, const struct flush *flush)
{
	const struct snapshot_stage *stage = find(snapshot, flush->name);
	if (stage == NULL || !stage->alive)
		return command_fail("flush", "the sink %s does not run; millrace stat shows why",
		                    flush->name);
	return command_fail(
	        "flush",
	        "%s: not everything is in the store yet (%s); the sink goes on; millrace sinks shows how far it is",
	        flush->name, stage->note);
}

static int wait_for(struct snapshot_source *source, struct snapshot *snapshot, struct flush *flush,
                    unsigned n, const struct options *options)
{
	const struct timespec pause = {.tv_nsec = (long)LOOK_NS};
	const volatile bool *stop = command_stop_on_signals();
	uint64_t until_ns = clock_monotonic_ns() + options->timeout_ns;
	for (;;) {
		struct shm_error error;
		unsigned left = 0, late = 0;
		int result = snapshot_take(source, snapshot, &error);
		if (result != 0)
			return command_no_instance("flush", options->instance, result, &error);
		for (unsigned i = 0; i < n; i++) {
			const struct snapshot_stage *stage = find(snapshot, flush[i].name);
			if (stage != NULL && !flush[i].done)
				step(stage, &flush[i], clock_monotonic_ns());
			if (!flush[i].done) {
				left++;
				late = i;
			}
		}
		if (left == 0)
			return 0;
		if (*stop || clock_monotonic_ns() >= until_ns)
			return say_late(snapshot, &flush[late]);
		(void)nanosleep(&pause, NULL);
	}
}

static int flush_chosen(struct snapshot_source *source, struct snapshot *snapshot,
                        const struct options *options, const struct operands *operands)
{
	struct flush flush[INSTANCE_ROLES_MAX];
	for (size_t i = 0; i < operands->n; i++) {
		const struct snapshot_stage *stage = find(snapshot, operands->item[i]);
		if (stage == NULL || !can_flush(stage))
			return say_unknown(snapshot, operands->item[i]);
	}
	unsigned n = choose(snapshot, operands, flush);
	int status = wait_for(source, snapshot, flush, n, options);
	for (unsigned i = 0; i < n; i++)
		free(flush[i].name);
	return status;
}

static int flush_sinks(const struct options *options, const struct operands *operands)
{
	struct snapshot_source *source = malloc(sizeof *source);
	struct snapshot *snapshot = calloc(1, sizeof *snapshot);
	struct shm_error error;
	int status;
	if (source == NULL || snapshot == NULL)
		abort();
	int opened = snapshot_open(source, options->instance, &error);
	int result = opened == 0 ? snapshot_take(source, snapshot, &error) : opened;
	if (result == 0)
		status = flush_chosen(source, snapshot, options, operands);
	else
		status = command_no_instance("flush", options->instance, result, &error);
	if (opened == 0)
		snapshot_close(source);
	free(source);
	free(snapshot);
	return status;
}

int command_flush(int argc, char **argv)
{
	struct options options = {.instance = command_instance(), .timeout_ns = 60 * NS_PER_SEC};
	struct operands operands;
	const struct argument table[] = {
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "the instance (default: $MILLRACE_INSTANCE or \"default\")", &options.instance, 0, 0, NULL},
	        {"timeout", 't', ARGUMENT_DURATION, "T",
	         "how long to wait until all is in the store (default 60s)", &options.timeout_ns,
	         .min = NS_PER_MS, .max = 86400 * NS_PER_SEC},
	};
	const struct arguments arguments = {
	        .command = "flush",
	        .usage = "[SINK...] [OPTION]...",
	        .purpose =
	                "Asks sinks of the kind objects (all of them, or those named) to finish what is open now, and\n"
	                "waits until every event that was taken in before is in the store.",
	        .exit_codes =
	                "1  not everything is in the store yet, no such sink, or the instance does not run",
	        .example = "millrace flush logs",
	        .table = table,
	        .n = sizeof table / sizeof *table,
	        .operands_max = INSTANCE_ROLES_MAX,
	};
	int status = arguments_parse(&arguments, argc, argv, &operands);
	return status != ARGUMENTS_GO_ON ? status : flush_sinks(&options, &operands);
}
