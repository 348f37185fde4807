/* logmeter: each log event becomes a metric event of its client, exactly once. README.md has the
 * picture. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "event/event.h"
#include "stage/ports.h"
#include "stage/stage.h"

#define BATCH        512u      /* records in one commit at most */
#define FULL_WAIT_NS NS_PER_MS /* nobody rings when a reader makes room */
#define CLIENT_TEXT  24u

enum logmeter_metric {
#define METRIC(name, kind, help) LOGMETER_##name,
#include "logmeter/metrics.def"
#undef METRIC
	LOGMETER_METRIC_COUNT
};

struct logmeter {
	struct ports ports;
	struct lane lane; /* of metric */
	struct redo redo;
	struct control *control;
	const char *metric; /* its name */
	bool full;          /* the last event found no room */
};

/* False when the lane has no room. */
static bool take(struct logmeter *meter, const struct record *record, const struct record_batch *batch)
{
	struct lane *lane = &meter->lane;
	struct event_log event;
	char client[CLIENT_TEXT];
	if (batch->type != EVENT_LOG || batch->length < sizeof event) {
		lane->received++;
		lane->rejected[LEDGER_MALFORMED]++;
		return true;
	}
	memcpy(&event, record->payload, sizeof event);
	size_t n = (size_t)snprintf(client, sizeof client, "%lld", (long long)event.client_id),
	       metric_bytes = strlen(meter->metric), length = sizeof(struct event_metric) + n + metric_bytes;
	char *at = lane_room(lane, record_bytes(length));
	if (at == NULL)
		return false;
	struct event_metric *made = record_put(at, EVENT_METRIC, (uint32_t)length);
	*made = (struct event_metric){.arrival_ns = event.arrival_ns,
	                              .source_port = event.source_port,
	                              .username_bytes = (uint16_t)n,
	                              .metric_bytes = (uint16_t)metric_bytes,
	                              .count = 1};
	memcpy(made->source, event.source, sizeof made->source);
	memcpy(made->text, client, n);
	memcpy(made->text + n, meter->metric, metric_bytes);
	lane->received++;
	lane_keep(lane, record_bytes(length));
	return true;
}

static bool poll_stage(struct stage *stage)
{
	struct logmeter *meter = stage->own;
	struct topic_reader *reader = &meter->ports.reader[0];
	struct record_batch batch;
	unsigned lane;
	uint64_t n = 0;
	meter->full = false;
	if (!topic_peek(reader, &lane, &batch))
		return false;
	while (n < BATCH && !meter->full) {
		struct record_batch before = batch;
		const struct record *record = record_next(&batch);
		if (record == NULL)
			break;
		meter->full = !take(meter, record, &batch);
		if (meter->full)
			batch = before;
		else
			n++;
	}
	if (n == 0 && !batch.corrupt)
		return false;
	stream_pass(&reader->lane[lane], &batch, n);
	ports_note(&meter->ports, 0, lane);
	ports_commit(&meter->ports);
	metric_add(meter->control, LOGMETER_events, n);
	return true;
}

static void idle(struct stage *stage, uint64_t timeout_ns)
{
	struct logmeter *meter = stage->own;
	if (meter->full)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = FULL_WAIT_NS}, NULL);
	else
		(void)topic_wait(&meter->ports.reader[0], timeout_ns);
}

static int init(struct stage *stage, struct shm_error *error)
{
	struct logmeter *meter = calloc(1, sizeof *meter);
	if (meter == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	struct ports_wanted wanted = ports_declared(&stage->instance, stage->role, NULL);
	wanted.lane = &meter->lane;
	wanted.redo = &meter->redo;
	wanted.control = stage->control;
	wanted.recovered_notes = LOGMETER_recovered_notes;
	int result = ports_open(&meter->ports, &wanted, error);
	if (result != 0) {
		free(meter);
		return result;
	}
	meter->control = stage->control;
	meter->metric = config_string(stage->config, "logmeter.metric");
	stage->own = meter;
	stage->ports = &meter->ports;
	return 0;
}

static void fini(struct stage *stage)
{
	struct logmeter *meter = stage->own;
	ports_close(&meter->ports);
	free(meter);
}

static void tick(struct stage *stage)
{
	(void)stage;
}

static const struct metric_description metrics[] = {
#define METRIC METRIC_ROW
#include "logmeter/metrics.def"
#undef METRIC
};

static const struct stage_ops logmeter_stage = {
        .name = "logmeter",
        .help = "counts log events by client: reads the topic log, writes the topic metric",
        .metrics = metrics,
        .n_metrics = LOGMETER_METRIC_COUNT,
        .init = init,
        .poll = poll_stage,
        .tick = tick,
        .idle = idle,
        .fini = fini,
};

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &logmeter_stage);
}
