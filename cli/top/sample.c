#include "cli/top/sample.h"

#include "base/clock.h"

int sample_take(struct snapshot_source *source, struct sample *sample, struct shm_error *error)
{
	struct snapshot *snapshot = &sample->snapshot;
	int result = snapshot_take(source, snapshot, error);
	if (result != 0)
		return result;
	sample->real_ns = clock_real_ns();
	process_ask(snapshot->supervisor_alive ? snapshot->supervisor_pid : 0, &sample->supervisor);
	for (unsigned i = 0; i < snapshot->n_stages; i++)
		process_ask(snapshot->stage[i].alive ? snapshot->stage[i].pid : 0, &sample->stage[i]);
	return 0;
}
