#include "stage/control.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *stage_state_name(enum stage_state state)
{
	static const char *const names[STAGE_STATE_COUNT] = {
	        [STAGE_NONE] = "none",         [STAGE_STARTING] = "starting", [STAGE_RUNNING] = "running",
	        [STAGE_DRAINING] = "draining", [STAGE_ENDED] = "ended",       [STAGE_FAILED] = "failed",
	};
	return (unsigned)state < STAGE_STATE_COUNT ? names[state] : "unknown";
}

bool control_alive(const char *directory, const char *role, int *pid)
{
	char path[512];
	struct flock held = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int n = snprintf(path, sizeof path, "%s/%s.role", directory, role);
	if (n < 0 || (size_t)n >= sizeof path)
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool alive = fcntl(fd, F_GETLK, &held) == 0 && held.l_type != F_UNLCK;
	close(fd);
	if (alive && pid != NULL)
		*pid = held.l_pid;
	return alive;
}

static bool same_table(const struct control *control, const struct metric_description *table, unsigned n)
{
	return atomic_load_explicit(&control->n_metrics, memory_order_acquire) == n &&
	       memcmp(control->description, table, n * sizeof *table) == 0;
}

/* Value that a former life left under this name, 0 when there is none. A gauge tells of a life that is over. */
static uint64_t former_value(const struct metric_description *description, const uint64_t *value, unsigned n,
                             const struct metric_description *wanted)
{
	for (unsigned i = 0; i < n && wanted->kind == METRIC_COUNTER; i++)
		if (description[i].kind == METRIC_COUNTER &&
		    strncmp(description[i].name, wanted->name, sizeof wanted->name) == 0)
			return value[i];
	return 0;
}

void control_declare(struct control *control, const struct metric_description *table, unsigned n)
{
	struct metric_description former[METRICS_MAX];
	uint64_t value[METRICS_MAX];
	uint64_t n_former = atomic_load_explicit(&control->n_metrics, memory_order_acquire);
	if (n > METRICS_MAX)
		n = METRICS_MAX;
	if (n_former > METRICS_MAX)
		n_former = 0;
	memcpy(former, control->description, sizeof former);
	for (unsigned i = 0; i < METRICS_MAX; i++)
		value[i] = atomic_load_explicit(&control->metric[i], memory_order_relaxed);
	if (!same_table(control, table, n)) {
		/* Readers see none while the names change. */
		atomic_store_explicit(&control->n_metrics, 0, memory_order_release);
		if (n > 0)
			memcpy(control->description, table, n * sizeof *table);
	}
	for (unsigned i = 0; i < METRICS_MAX; i++)
		metric_set(control, i,
		           i < n ? former_value(former, value, (unsigned)n_former, &table[i]) : 0);
	atomic_store_explicit(&control->n_metrics, n, memory_order_release);
}
