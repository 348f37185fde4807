#include "stage/settle.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

#define LOOK_NS NS_PER_SEC /* between looks at the store */

static void set(const struct settle *settle, enum settle_metric metric, uint64_t value)
{
	metric_set(settle->control, settle->metric + metric, value);
}

static void add(const struct settle *settle, enum settle_metric metric, uint64_t n)
{
	metric_add(settle->control, settle->metric + metric, n);
}

static const struct metric_description metrics[] = {
#define METRIC    METRIC_ROW
#define HISTOGRAM HISTOGRAM_ROW
#include "stage/settle.def"
#undef METRIC
#undef HISTOGRAM
};

static void observe(const struct settle *settle, enum settle_metric metric, uint64_t value)
{
	metric_observe(settle->control, metric_row(metrics, metric), settle->metric + metric, value);
}

void settle_init(struct settle *settle, const struct settle_store *store, void *sink, struct ports *ports,
                 struct control *control, unsigned metric)
{
	*settle = (struct settle){
	        .store = store,
	        .sink = sink,
	        .ports = ports,
	        .control = control,
	        .metric = metric,
	        .due_ns = UINT64_MAX,
	};
}

void settle_note(struct settle *settle, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(settle->note, sizeof settle->note, format, arguments);
	va_end(arguments);
	control_note(settle->control, "%s", settle->note);
}

/* ---- the lanes ---- */

static uint64_t passed_bytes(const struct stream_reader *lane)
{
	return lane->position - atomic_load_explicit(&lane->cursor->position, memory_order_relaxed);
}

/* Those of lanes in which something was passed; returns how many. */
static unsigned list_cursors(struct settle *settle)
{
	const struct ports *ports = settle->ports;
	unsigned n = 0;
	for (unsigned i = 0; i < ports->n_reads; i++) {
		const struct topic_reader *reader = &ports->reader[i];
		for (unsigned k = 0; k < reader->n_lanes; k++) {
			const struct stream_reader *lane = &reader->lane[k];
			if (lane->shared == NULL || passed_bytes(lane) == 0)
				continue;
			settle->cursor[n++] = (struct settle_cursor){
			        .topic = ports->wanted.reads[i],
			        .lane = k,
			        .generation = reader->instance->generation,
			        .position = lane->position,
			        .records = lane->records,
			};
		}
	}
	return n;
}

static void move_cursors(const struct settle *settle)
{
	struct ports *ports = settle->ports;
	for (unsigned i = 0; i < ports->n_reads; i++)
		for (unsigned k = 0; k < ports->reader[i].n_lanes; k++)
			if (ports->reader[i].lane[k].shared != NULL)
				stream_settle(&ports->reader[i].lane[k]);
}

/* ---- committing ---- */

/* The folder is known to everybody and may be long. */
static const char *without_folder(const struct settle *settle, const char *reason)
{
	const char *folder = settle->folder;
	size_t n = folder == NULL ? 0 : strlen(folder);
	return n != 0 && strncmp(reason, folder, n) == 0 && reason[n] == '/' ? reason + n + 1 : reason;
}

static bool in_flight(const struct settle *settle)
{
	return settle->store->commit == NULL;
}

static void note_failure(struct settle *settle, int result, const struct shm_error *error)
{
	const char *reason = without_folder(settle, error->text);
	add(settle, SETTLE_failed_commits, 1);
	control_note(settle->control, "cannot %s: %s", in_flight(settle) ? "deliver" : "commit", reason);
	if (settle->failing != result && in_flight(settle))
		log_error("cannot deliver, what was read is kept in the lanes, trying again",
		          "store=%s reason=\"%s\"", settle->store->name, error->text);
	else if (settle->failing != result)
		log_error("cannot commit, what was read is kept in memory and in the lanes, trying again",
		          "store=%s reason=\"%s\"", settle->store->name, error->text);
	settle->failing = result;
	set(settle, SETTLE_failing, 1);
}

void settle_fail(struct settle *settle, int result, const struct shm_error *error)
{
	note_failure(settle, result, error);
}

void settle_is_well(struct settle *settle)
{
	if (settle->failing == 0)
		return;
	log_info(in_flight(settle) ? "delivering again" : "committing again", "store=%s",
	         settle->store->name);
	control_note(settle->control, "%s", settle->note);
	settle->failing = 0;
	set(settle, SETTLE_failing, 0);
}

static void note_success(struct settle *settle, uint64_t took_ns)
{
	if (took_ns > settle->longest_ns)
		settle->longest_ns = took_ns;
	add(settle, SETTLE_commits, 1);
	set(settle, SETTLE_commit_last_us, took_ns / NS_PER_US);
	set(settle, SETTLE_commit_max_us, settle->longest_ns / NS_PER_US);
	observe(settle, SETTLE_commit_us, took_ns / NS_PER_US);
	settle_is_well(settle);
}

static void commit(struct settle *settle)
{
	struct shm_error error = {""};
	uint64_t begun_ns = clock_monotonic_ns();
	unsigned n = list_cursors(settle);
	int result = settle->store->commit(settle->sink, settle->cursor, n, &error);
	if (result != 0) {
		note_failure(settle, result, &error);
		return;
	}
	move_cursors(settle);
	settle->due_ns = UINT64_MAX;
	settle->passed_bytes = 0;
	note_success(settle, clock_monotonic_ns() - begun_ns);
}

/* A quarter of the lane is due; but where more is waiting (what came during the last commit) it is
 * taken first, and fewer commits of more records serve the lane better: with 100,000 applications
 * tally then holds out at nearly twice the rate. */
static bool lane_is_due(const struct stream_reader *lane)
{
	uint64_t passed = passed_bytes(lane);
	return passed >= lane->size / 4 &&
	       (stream_waiting_bytes(lane) < lane->size / 16 || passed >= lane->size / 4 * 3);
}

void settle_poll(struct settle *settle, uint64_t now_ns)
{
	if (now_ns >= settle->due_ns && settle->failing == 0)
		commit(settle);
}

/* The reader stands at the first record of what is taken: it moves on after this. Once a batch, for
 * it asks the clock. */
static void observe_taken(const struct settle *settle, const struct stream_reader *reader,
                          const struct record_batch *batch)
{
	uint64_t arrival_ns =
	        event_batch_arrival(&(struct record_batch){.at = stream_at(reader), .end = batch->end});
	if (arrival_ns != 0)
		observe(settle, SETTLE_taken_after_us,
		        clock_since_ns(arrival_ns, clock_real_ns()) / NS_PER_US);
}

static void pass_on(struct settle *settle, struct stream_reader *reader, const struct record_batch *batch,
                    uint64_t records)
{
	uint64_t before = reader->position;
	if (records != 0)
		observe_taken(settle, reader, batch);
	stream_pass(reader, batch, records);
	settle->passed_bytes += reader->position - before;
}

void settle_pass(struct settle *settle, unsigned i, unsigned lane, const struct record_batch *batch,
                 uint64_t records, bool wish, uint64_t now_ns)
{
	struct stream_reader *reader = &settle->ports->reader[i].lane[lane];
	pass_on(settle, reader, batch, records);
	if (settle->due_ns == UINT64_MAX)
		settle->due_ns = now_ns + settle->interval_ns;
	bool many = settle->most_bytes != 0 && settle->passed_bytes >= settle->most_bytes;
	if (settle->failing != 0 || !(wish || many || lane_is_due(reader)))
		return;
	commit(settle);
	if (settle->failing == 0)
		add(settle, SETTLE_early_commits, 1);
}

uint64_t settle_timeout(const struct settle *settle, uint64_t timeout_ns, uint64_t now_ns)
{
	if (settle->due_ns == UINT64_MAX || settle->failing != 0)
		return timeout_ns;
	uint64_t left_ns = settle->due_ns > now_ns ? settle->due_ns - now_ns : 0;
	return left_ns < timeout_ns ? left_ns : timeout_ns;
}

/* ---- in flight ---- */

int settle_init_flights(struct settle *settle, uint32_t most_flights)
{
	settle->flights = calloc(most_flights, sizeof *settle->flights);
	if (settle->flights == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i + 1 < most_flights; i++)
		settle->flights[i].next = &settle->flights[i + 1];
	settle->free = settle->flights;
	return 0;
}

struct settle_flight *settle_open_flight(struct settle *settle, unsigned i, unsigned lane, uint64_t now_ns)
{
	struct settle_flight *flight = settle->free;
	struct settle_lane *own = &settle->lane[i][lane];
	if (flight == NULL || (settle->most_bytes != 0 && settle->passed_bytes >= settle->most_bytes))
		return NULL;
	settle->free = flight->next;
	settle->n_flights++;
	*flight = (struct settle_flight){
	        .end = stream_mark(&settle->ports->reader[i].lane[lane]),
	        .begun_ns = now_ns,
	        .awaited = 1,
	        .reads = (uint16_t)i,
	        .lane = (uint16_t)lane,
	};
	if (own->last == NULL)
		own->first = flight;
	else
		own->last->next = flight;
	own->last = flight;
	return flight;
}

void settle_fly(struct settle *settle, struct settle_flight *flight, const struct record_batch *batch,
                uint64_t records)
{
	struct stream_reader *reader = &settle->ports->reader[flight->reads].lane[flight->lane];
	pass_on(settle, reader, batch, records);
	flight->end = stream_mark(reader);
}

/* The first flight of a lane is done with. */
static void free_first(struct settle *settle, struct settle_lane *lane)
{
	struct settle_flight *flight = lane->first;
	lane->first = flight->next;
	if (lane->first == NULL)
		lane->last = NULL;
	flight->next = settle->free;
	settle->free = flight;
	settle->n_flights--;
}

/* Moves the cursor over the flights at the front that have landed; returns when the last of them
 * was opened, 0 for none. */
static uint64_t move_over_landed(struct settle *settle, const struct settle_flight *flight)
{
	unsigned i = flight->reads, k = flight->lane;
	struct settle_lane *lane = &settle->lane[i][k];
	struct stream_reader *reader = &settle->ports->reader[i].lane[k];
	if (lane->first->awaited != 0)
		return 0;
	uint64_t before = passed_bytes(reader), begun_ns;
	struct stream_mark end;
	do {
		end = lane->first->end;
		begun_ns = lane->first->begun_ns;
		free_first(settle, lane);
	} while (lane->first != NULL && lane->first->awaited == 0);
	stream_settle_at(reader, &end);
	settle->passed_bytes -= before - passed_bytes(reader);
	return begun_ns;
}

void settle_land(struct settle *settle, struct settle_flight *flight, uint32_t effects, uint64_t now_ns)
{
	flight->awaited -= effects;
	uint64_t begun_ns = move_over_landed(settle, flight);
	if (begun_ns != 0)
		note_success(settle, clock_since_ns(begun_ns, now_ns));
}

void settle_close_flight(struct settle *settle, struct settle_flight *flight)
{
	flight->awaited--;
	(void)move_over_landed(settle, flight);
}

uint64_t settle_oldest_ns(const struct settle *settle)
{
	uint64_t oldest_ns = UINT64_MAX;
	for (unsigned i = 0; i < settle->ports->n_reads; i++)
		for (unsigned k = 0; k < settle->ports->reader[i].n_lanes; k++) {
			const struct settle_flight *first = settle->lane[i][k].first;
			if (first != NULL && first->begun_ns < oldest_ns)
				oldest_ns = first->begun_ns;
		}
	return oldest_ns;
}

void settle_return(struct settle *settle, unsigned i, unsigned lane)
{
	struct stream_reader *reader = &settle->ports->reader[i].lane[lane];
	if (reader->shared == NULL)
		return;
	while (settle->lane[i][lane].first != NULL)
		free_first(settle, &settle->lane[i][lane]);
	settle->passed_bytes -= passed_bytes(reader);
	stream_unpass(reader);
}

/* ---- tick, end ---- */

static void look_at_store(struct settle *settle, uint64_t now_ns)
{
	struct shm_error error = {""};
	if (settle->store->look == NULL || now_ns < settle->look_ns)
		return;
	settle->look_ns = now_ns + LOOK_NS;
	int result = settle->store->look(settle->sink, &error);
	if (result != 0)
		note_failure(settle, result, &error);
	else if (in_flight(settle))
		settle_is_well(settle);
}

static void count_records(const struct settle *settle)
{
	const struct ports *ports = settle->ports;
	uint64_t waiting = 0, uncommitted = 0;
	for (unsigned i = 0; i < ports->n_reads; i++)
		for (unsigned k = 0; k < ports->reader[i].n_lanes; k++) {
			const struct stream_reader *lane = &ports->reader[i].lane[k];
			if (lane->shared == NULL)
				continue;
			waiting += stream_waiting_records(lane);
			uncommitted += lane->records -
			               atomic_load_explicit(&lane->cursor->records, memory_order_relaxed);
		}
	set(settle, SETTLE_waiting_records, waiting);
	set(settle, SETTLE_uncommitted_records, uncommitted);
}

/* A store that vanishes while nothing comes in is noticed too, before the next record is read. */
void settle_tick(struct settle *settle, uint64_t now_ns)
{
	if (settle->failing != 0 && !in_flight(settle))
		commit(settle);
	else if (settle->n_flights == 0)
		look_at_store(settle, now_ns);
	count_records(settle);
}

bool settle_drained(struct settle *settle)
{
	if (settle_open(settle) && settle->failing == 0 && !in_flight(settle))
		commit(settle);
	return !settle_open(settle);
}

bool settle_finish(struct settle *settle)
{
	if (settle_open(settle) && !in_flight(settle))
		commit(settle);
	count_records(settle);
	bool safe = !settle_open(settle) && settle->failing == 0;
	free(settle->flights);
	settle->flights = settle->free = NULL;
	settle->n_flights = 0;
	memset(settle->lane, 0, sizeof settle->lane);
	return safe;
}

/* ---- the start ---- */

static int take_up_lane(struct settle *settle, unsigned i, unsigned k, uint64_t *lost,
                        struct shm_error *error)
{
	struct topic_reader *reader = &settle->ports->reader[i];
	struct stream_reader *lane = &reader->lane[k];
	struct settle_cursor stored = {.topic = settle->ports->wanted.reads[i], .lane = k};
	int result = settle->store->stored(settle->sink, &stored, error);
	if (result == -ENOENT || (result == 0 && stored.generation != reader->instance->generation)) {
		*lost += stream_cursor_read(lane->cursor); /* 0 in a lane that is younger than the store */
		return 0;
	}
	if (result != 0 || stored.position == lane->position)
		return result;
	if (stored.position < lane->position) {
		*lost += lane->records - stored.records;
		return 0;
	}
	result = stream_reader_seek(lane, stored.position, stored.records);
	if (result != 0)
		shm_explain(error,
		            "lane %u of topic %s: the %s is at position %llu, which the lane has not reached",
		            k, stored.topic, settle->store->name, (unsigned long long)stored.position);
	return result;
}

int settle_take_up_lane(struct settle *settle, unsigned i, unsigned lane, uint64_t *lost,
                        struct shm_error *error)
{
	int result = take_up_lane(settle, i, lane, lost, error);
	set(settle, SETTLE_lost_records, *lost);
	return result;
}

int settle_take_up(struct settle *settle, uint64_t *lost, struct shm_error *error)
{
	const struct ports *ports = settle->ports;
	int result = 0;
	*lost = 0;
	for (unsigned i = 0; settle->store->stored != NULL && i < ports->n_reads; i++)
		for (unsigned k = 0; result == 0 && k < ports->reader[i].n_lanes; k++)
			if (ports->reader[i].lane[k].shared != NULL)
				result = take_up_lane(settle, i, k, lost, error);
	set(settle, SETTLE_lost_records, *lost);
	return result;
}
