#include "supervisor/managed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/program.h"
#include "supervisor/home.h"
#include "supervisor/maker.h"
#include "supervisor/managed_request.h"

static int refuse(const char *why)
{
	char text[600];
	snprintf(text, sizeof text, "millrace: %s\n", why);
	log_text(STDERR_FILENO, text);
	return SUPERVISOR_CANNOT_START;
}

/* ---- make ---- */

static int make(struct supervisor *supervisor, const struct supervisor_options *given)
{
	struct supervisor_options options = *given;
	options.managed = true;
	struct shm_error error = {""};
	int status = supervisor_init(supervisor, &options);
	if (status == 0 && maker_keep(supervisor->plan->directory, &error) != 0) {
		status = refuse(error.text);
		if (supervisor->fresh)
			(void)segments_remove(&supervisor->segments);
	}
	if (status == 0)
		log_info("the segments are there", "directory=%s roles=%u", supervisor->plan->directory,
		         supervisor->plan->n_roles);
	supervisor_fini(supervisor);
	return status;
}

/* ---- open, drain ---- */

static int set_draining(const char *directory, uint32_t draining)
{
	struct segment page = {0};
	struct shm_error error = {""};
	int result = segment_attach(&page, directory, "instance", SEGMENT_INSTANCE, SEGMENT_WRITE, &error);
	if (result != 0)
		return refuse(error.text);
	atomic_store_explicit(&((struct instance_page *)page.body)->draining, draining, memory_order_release);
	segment_detach(&page);
	return 0;
}

/* ---- end ---- */

/* The lock is held. */
static int give_up(struct segments *segments, const char *directory)
{
	uint64_t waiting;
	struct shm_error error = {""};
	int result = segments_look(segments, directory, &error);
	if (result == 0 && segments->adopted)
		result = segment_attach(&segments->page, segments->directory, "instance", SEGMENT_INSTANCE,
		                        SEGMENT_WRITE, &error);
	if (result != 0)
		return refuse(error.text);
	if (!segments->adopted) { /* nothing is there any more, but for the lock */
		(void)segments_remove(segments);
		return 0;
	}
	atomic_store(&((struct instance_page *)segments->page.body)->managed, 0);
	maker_forget(segments->directory);
	segments_set_draining(segments);
	segments_set_ended(segments);
	waiting = segments_waiting(segments, NULL);
	if (waiting != 0 || segments_unfinished(segments) != 0) {
		log_warn("not drained; segments kept, the next start goes on from there",
		         "directory=%s waiting_records=%llu", segments->directory,
		         (unsigned long long)waiting);
		return SUPERVISOR_LEFT;
	}
	result = segments_remove(segments);
	if (result != 0)
		log_warn("cannot remove the directory", "directory=%s error=\"%s\"", segments->directory,
		         strerror(-result));
	log_info("drained; segments removed", "directory=%s", segments->directory);
	return 0;
}

static int end(const char *directory)
{
	struct segments segments = {0};
	struct shm_error error = {""};
	bool made_root;
	int lock, result = home_lock(directory, NULL, &lock, &made_root, &error);
	if (result != 0)
		return refuse(error.text);
	int status = give_up(&segments, directory);
	segments_fini(&segments);
	close(lock);
	return status;
}

int managed_do(const char *word, struct supervisor *supervisor, const struct supervisor_options *options)
{
	char directory[128];
	log_init("segments", LOG_INFO, LOG_TEXT);
	if (strcmp(word, "make") == 0)
		return make(supervisor, options);
	bool drain = strcmp(word, "drain") == 0, ends = strcmp(word, "end") == 0;
	bool asked = strcmp(word, "reload") == 0;
	if (!drain && !ends && !asked && strcmp(word, "open") != 0)
		return SUPERVISOR_USAGE;
	int result = segment_directory(directory, sizeof directory, segment_instance(options->instance));
	if (result != 0)
		return refuse("that is not a name for an instance; allowed: " SHM_NAME_RULE);
	if (asked)
		return managed_request(directory, supervisor, options);
	if (maker_is_needed(directory)) {
		struct shm_error error = {""};
		(void)maker_become(directory, options->argv, &error);
		return refuse(error.text);
	}
	return ends ? end(directory) : set_draining(directory, drain ? 1 : 0);
}

/* ---- a sink ---- */

static bool is_sink(const struct instance_role *role, const char *name)
{
	const struct flow_stage *row = flow_stage_find(role->program);
	size_t n = strlen(role->program);
	return row != NULL && row->kinds != NULL && strncmp(role->name, role->program, n) == 0 &&
	       role->name[n] == '.' && strcmp(role->name + n + 1, name) == 0;
}

int managed_sink(const char *name, const struct supervisor_options *options)
{
	char folder[300], path[400], why[200];
	struct instance instance;
	struct shm_error error = {""};
	const char *of = segment_instance(options->instance);
	log_init("sink", LOG_INFO, LOG_TEXT);
	if (instance_attach(&instance, of, SEGMENT_READ, &error) != 0)
		return refuse(error.text);
	for (unsigned i = 0; i < instance.page->n_roles; i++) {
		const struct instance_role *role = &instance.page->role[i];
		if (!is_sink(role, name) || program_libexec(folder, sizeof folder) != 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, role->program);
		execl(path, path, "--instance", of, "--role", role->name, (char *)NULL);
		snprintf(why, sizeof why, "%.120s: %s", path, strerror(errno));
		return refuse(why);
	}
	snprintf(why, sizeof why, "the configuration has no sink \"%.60s\"", name);
	return refuse(why);
}
