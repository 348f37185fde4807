#include "supervisor/drain.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "supervisor/home.h"
#include "supervisor/in_force.h"
#include "supervisor/lane_file.h"
#include "supervisor/reload.h"
#include "supervisor/renew.h"

#define OUTSIDE_LOOK_NS (20 * NS_PER_MS)
/* timeout(1), make and shells signal a process and then its whole group: that is one request, not
 * two. */
#define DRAIN_AGAIN_NS (NS_PER_SEC / 2)

void drain_begin(struct supervisor *supervisor, uint64_t now_ns)
{
	if (supervisor->phase == SUPERVISOR_DRAINING && supervisor->renew.drains) {
		renew_give_up(supervisor);
		sockets_quiet(&supervisor->sockets, true);
		return;
	}
	if (supervisor->phase == SUPERVISOR_DRAINING) {
		if (now_ns - supervisor->drain_begun_ns < DRAIN_AGAIN_NS)
			return;
		log_warn("asked again: the drain is cut short", NULL);
		supervisor->drain_deadline_ns = now_ns;
		return;
	}
	reload_give_up(supervisor);
	if (!supervisor->renew.drains)
		renew_give_up(supervisor);
	log_info("draining", "timeout_s=%llu",
	         (unsigned long long)(config_ns(supervisor->config, "drain_timeout") / NS_PER_SEC));
	supervisor->phase = SUPERVISOR_DRAINING;
	supervisor->rank = 0;
	supervisor->drain_begun_ns = now_ns;
	supervisor->drain_deadline_ns = now_ns + config_ns(supervisor->config, "drain_timeout");
	children_ending(&supervisor->children);
	packets_quiet(supervisor->packets);
	if (!supervisor->renew.drains)
		sockets_quiet(&supervisor->sockets, true);
	segments_set_draining(&supervisor->segments);
}

/* Outside readers of required groups that live and have something to read. */
static bool outside_reads(const struct supervisor *supervisor)
{
	const struct plan *plan = supervisor->plan;
	for (unsigned i = 0; i < plan->n_topics; i++)
		for (unsigned lane = 0; lane < plan->topic[i].page.n_lanes; lane++) {
			struct lane_file_state state;
			struct shm_error error;
			if (lane_file_look(plan->directory, plan->topic[i].page.name, lane, &state, &error) ==
			            0 &&
			    state.outside_reads)
				return true;
		}
	return false;
}

static bool reads_more(const struct supervisor *supervisor, const char *role)
{
	const struct plan *plan = supervisor->plan;
	struct lane_file_state state;
	struct shm_error error;
	for (unsigned i = 0; i < plan->n_topics; i++)
		for (unsigned lane = 0;
		     plan_reads(&plan->topic[i], role) && lane < plan->topic[i].page.n_lanes; lane++)
			if (lane_file_look(plan->directory, plan->topic[i].page.name, lane, &state, &error) ==
			            0 &&
			    state.waiting_bytes != 0)
				return true;
	return false;
}

bool drain_has_left(const struct supervisor *supervisor, const struct child *child)
{
	struct pollfd waiting[STAGE_SOCKETS_MAX];
	uint32_t state = atomic_load_explicit(&child->control->state, memory_order_acquire);
	for (unsigned i = 0; i < child->n_sockets; i++)
		waiting[i] = (struct pollfd){.fd = child->socket[i], .events = POLLIN};
	if (state != STAGE_ENDED && state != STAGE_NONE && child->role.private_bytes != 0)
		return true;
	return poll(waiting, child->n_sockets, 0) > 0 || reads_more(supervisor, child->role.page.name);
}

/* Outside programs that hold a lane, which they may be writing to. */
static unsigned outside_writers(const struct supervisor *supervisor)
{
	const struct plan *plan = supervisor->plan;
	unsigned n = 0;
	for (unsigned i = 0; i < plan->n_topics; i++) {
		const struct instance_topic *topic = &plan->topic[i].page;
		for (unsigned lane = 0; lane < topic->n_lanes; lane++) {
			const char *role = topic->lane_role[lane];
			bool outside = *role == '\0' || strcmp(role, PLAN_RETIRED_LANE) == 0;
			n += outside && lane_file_has_writer(plan->directory, topic->name, lane) ? 1 : 0;
		}
	}
	return n;
}

/* They learn of the drain at their next record. The drain waits no longer than outside_timeout for
 * those that append none; they are refused later. */
static bool wait_for_writers(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns)
{
	unsigned n = supervisor->lost ? 0 : outside_writers(supervisor);
	if (n == 0 || supervisor->writers_stay)
		return false;
	uint64_t until_ns = supervisor->drain_begun_ns + config_ns(supervisor->config, "outside_timeout");
	if (now_ns < until_ns) {
		uint64_t look_ns = now_ns + OUTSIDE_LOOK_NS;
		*due_ns = look_ns < *due_ns ? look_ns : *due_ns;
		return true;
	}
	log_warn(
	        "outside programs have not given back the lanes that they write to: the drain goes on without them",
	        "lanes=%u", n);
	supervisor->writers_stay = true;
	return false;
}

static void stop_rank(struct supervisor *supervisor, uint64_t now_ns)
{
	struct children *children = &supervisor->children;
	for (unsigned i = 0; i < children->n; i++) {
		struct child *child = &children->child[i];
		if ((int)child->role.rank != supervisor->rank)
			continue;
		if (child->phase == CHILD_DOWN && child->unasked && !supervisor->lost &&
		    drain_has_left(supervisor, child))
			children_finish(children, i, now_ns);
		else
			children_stop(children, i, now_ns);
		child->unasked = false;
	}
}

static void log_left(const struct supervisor *supervisor)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);
	if (stream == NULL)
		abort();
	uint64_t waiting = segments_waiting(&supervisor->segments, stream);
	fclose(stream);
	log_warn("records and messages wait", "waiting_records=%llu", (unsigned long long)waiting);
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;)
		if (*line != '\0')
			log_warn("records wait", "where=\"%s\"", line);
	free(text);
}

static bool cut_short(struct supervisor *supervisor, uint64_t *due_ns)
{
	struct children *children = &supervisor->children;
	for (unsigned i = 0; i < children->n && !supervisor->killed; i++)
		children_kill(children, i);
	supervisor->killed = true;
	*due_ns = UINT64_MAX; /* SIGCHLD comes */
	return children_all(children, -1, CHILD_DOWN);
}

bool drain_step(struct supervisor *supervisor, uint64_t now_ns, uint64_t *due_ns)
{
	struct children *children = &supervisor->children;
	if (supervisor->killed || now_ns >= supervisor->drain_deadline_ns)
		return cut_short(supervisor, due_ns);
	*due_ns = supervisor->drain_deadline_ns;
	for (; supervisor->rank < (int)flow_ranks(); supervisor->rank++) {
		stop_rank(supervisor, now_ns);
		if (!children_all(children, supervisor->rank, CHILD_DOWN))
			return false;
		if (supervisor->rank == 0) {
			packets_close(supervisor->packets);
			if (!supervisor->renew.drains)
				sockets_close(&supervisor->sockets);
		}
		if (supervisor->rank == 0 && wait_for_writers(supervisor, now_ns, due_ns))
			return false;
	}
	if (!outside_reads(supervisor))
		return true;
	if (now_ns + OUTSIDE_LOOK_NS < *due_ns)
		*due_ns = now_ns + OUTSIDE_LOOK_NS;
	return false;
}

int drain_finish(struct supervisor *supervisor)
{
	const char *directory = supervisor->plan->directory;
	segments_set_ended(&supervisor->segments);
	supervisor->home_look_ns = 0;
	supervisor_look_at_home(supervisor, clock_monotonic_ns());
	if (supervisor->lost) {
		in_force_remove_orphaned(directory);
		log_error("ended without its folder: unread records for outside readers are lost",
		          "directory=%s", directory);
		return SUPERVISOR_LOST;
	}
	uint64_t waiting = segments_waiting(&supervisor->segments, NULL);
	unsigned left = segments_unfinished(&supervisor->segments);
	if (waiting == 0 && left == 0) {
		int result = segments_remove(&supervisor->segments);
		if (result != 0)
			log_warn("cannot remove the directory", "directory=%s error=\"%s\"", directory,
			         strerror(-result));
		home_remove_root(directory, supervisor->made_root);
		log_info("drained; segments removed", "directory=%s", directory);
		return SUPERVISOR_DRAINED;
	}
	if (waiting != 0)
		log_left(supervisor);
	log_warn("not drained; segments kept, the next start goes on from there",
	         "directory=%s waiting_records=%llu", directory, (unsigned long long)waiting);
	return SUPERVISOR_LEFT;
}
