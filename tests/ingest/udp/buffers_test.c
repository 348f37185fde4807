/* Receive buffers and what a new life makes of them: splitting, bounds, and a death at every
 * instruction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "base/log.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/stepped.h"
#include "tests/fixture/udp.h"

#define N_BUFFERS  72u /* more than one batch takes */
#define LANE_BYTES (64u * 1024)

static void *make_body(unsigned n_buffers, size_t *bytes)
{
	*bytes = udp_private_bytes(n_buffers);
	void *body = aligned_alloc(4096, (*bytes + 4095) & ~(size_t)4095);
	assert_non_null(body);
	memset(body, 0, *bytes);
	return body;
}

/* What the kernel leaves: data, control, then the header. */
static void fill_buffer(struct buffer *buffer, const void *data, uint32_t bytes, int segment)
{
	struct sockaddr_in from = {
	        .sin_family = AF_INET, .sin_port = htons(4711), .sin_addr = {htonl(0x0a000001)}};
	memcpy(buffer->data, data, bytes);
	uint32_t control_bytes = 0;
	if (segment != 0) {
		struct cmsghdr head = {
		        .cmsg_len = CMSG_LEN(sizeof segment), .cmsg_level = SOL_UDP, .cmsg_type = UDP_GRO};
		memcpy(buffer->control, &head, sizeof head);
		memcpy(buffer->control + CMSG_LEN(0), &segment, sizeof segment);
		control_bytes = CMSG_SPACE(sizeof segment);
	}
	memcpy(buffer->name, &from, sizeof from);
	buffer->payload_bytes = bytes;
	buffer->flags = 0;
	buffer->control_bytes = control_bytes;
	buffer->name_bytes = sizeof from;
}

/* What recvmmsg leaves: the same, but for the header; msg_len last. */
static void fill_message(struct buffers *buffers, unsigned i, const void *data, uint32_t bytes, int segment)
{
	struct buffer *buffer = &buffers->buffer[i];
	fill_buffer(buffer, data, bytes, segment);
	buffers->message[i].msg_hdr.msg_namelen = buffer->name_bytes;
	buffers->message[i].msg_hdr.msg_controllen = buffer->control_bytes;
	buffers->message[i].msg_hdr.msg_flags = 0;
	buffer->mark = 0;
	buffer->payload_bytes = 0x55555555;
	buffers->message[i].msg_len = bytes;
}

static void the_private_segment_has_the_size_that_the_supervisor_works_out(void **state)
{
	(void)state;
	assert_int_equal(udp_private_bytes(1), 4096 + 65728);
	assert_int_equal(udp_private_bytes(256), 4096 + 256 * 65728);
}

static void a_second_life_finds_the_buffers_as_the_first_left_them(void **state)
{
	(void)state;
	size_t bytes;
	void *body = make_body(N_BUFFERS, &bytes);
	struct buffers first, second;
	struct shm_error error;
	assert_int_equal(buffers_init(&first, body, bytes, &error), 0);
	assert_int_equal(first.n_buffers, N_BUFFERS);
	assert_true((char *)&first.buffer[N_BUFFERS] <= (char *)body + bytes);
	fill_buffer(&first.buffer[3], "abc", 3, 0);
	fill_buffer(&first.buffer[N_BUFFERS - 1], "", 0, 0);

	assert_int_equal(buffers_init(&second, body, bytes, &error), 0);
	uint16_t index[N_BUFFERS];
	unsigned next = 0;
	assert_int_equal(buffers_filled(&second, &next, index, 1), 1);
	assert_int_equal(index[0], 3);
	assert_int_equal(buffers_filled(&second, &next, index, N_BUFFERS), 1);
	assert_int_equal(index[0], N_BUFFERS - 1);
	assert_int_equal(buffers_filled(&second, &next, index, N_BUFFERS), 0);
	free(body);
}

static void buffers_of_another_build_or_too_few_are_refused(void **state)
{
	(void)state;
	size_t bytes;
	void *body = make_body(N_BUFFERS, &bytes);
	struct buffers buffers;
	struct shm_error error = {0};
	assert_int_equal(buffers_init(&buffers, body, udp_private_bytes(BUFFERS_MIN) - 1, &error), -EINVAL);
	assert_non_null(strstr(error.text, "receive buffers"));
	assert_int_equal(buffers_init(&buffers, body, bytes, &error), 0);
	((struct buffers_head *)body)->about.layout++;
	assert_int_equal(buffers_init(&buffers, body, bytes, &error), -EPROTO);
	((struct buffers_head *)body)->about.layout--;
	((struct buffers_head *)body)->about.n++;
	assert_int_equal(buffers_init(&buffers, body, bytes, &error), -EPROTO);
	assert_non_null(strstr(error.text, "another build"));
	free(body);
}

static void a_burst_is_described_by_its_control_message(void **state)
{
	(void)state;
	struct buffer *buffer = aligned_alloc(64, sizeof *buffer);
	struct burst burst;
	static const unsigned char data[1000];

	fill_buffer(buffer, data, 71, 0);
	buffer_describe(buffer, &burst);
	assert_int_equal(burst.n_datagrams, 1);
	assert_int_equal(burst.bytes, 71);
	static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1};
	assert_memory_equal(burst.source, mapped, 16);
	assert_int_equal(burst.source_port, 4711);
	assert_false(burst.truncated);

	fill_buffer(buffer, data, 1000, 71);
	buffer_describe(buffer, &burst);
	assert_int_equal(burst.segment_bytes, 71);
	assert_int_equal(burst.n_datagrams, 15); /* 14 of 71 and one of 6 */

	fill_buffer(buffer, data, 0, 0);
	buffer_describe(buffer, &burst);
	assert_int_equal(burst.n_datagrams, 1);
	assert_int_equal(burst.bytes, 0);

	struct sockaddr_in6 v6 = {
	        .sin6_family = AF_INET6, .sin6_port = htons(9), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	memcpy(buffer->name, &v6, sizeof v6);
	buffer->flags = MSG_TRUNC;
	buffer_describe(buffer, &burst);
	assert_memory_equal(burst.source, &in6addr_loopback, 16);
	assert_true(burst.truncated);
	free(buffer);
}

static void what_is_committed_of_a_burst_is_not_described(void **state)
{
	(void)state;
	struct buffer *buffer = aligned_alloc(64, sizeof *buffer);
	struct burst burst;
	static const unsigned char data[1000];
	for (int segment = 1; segment <= 71; segment += 70) {
		uint32_t n = (1000u + (uint32_t)segment - 1) / (uint32_t)segment;
		fill_buffer(buffer, data, 1000, segment);
		for (uint32_t done = 1; done < n; done++) {
			buffer->mark = buffer_mark_done(buffer, done);
			assert_true(buffer_filled(buffer));
			buffer_describe(buffer, &burst);
			assert_int_equal(burst.done, done);
			assert_int_equal(burst.n_datagrams, n - done);
			assert_int_equal(burst.bytes, 1000 - done * (uint32_t)segment);
			assert_ptr_equal(burst.data, buffer->data + done * (uint32_t)segment);
			assert_int_equal(burst.segment_bytes, segment);
			assert_int_equal(burst.source_port, 4711);
		}
	}
	free(buffer);
}

static void no_header_leads_out_of_the_buffer(void **state)
{
	(void)state;
	unsigned long seed = draw_seed(20261121);
	struct buffer *buffer = aligned_alloc(64, sizeof *buffer);
	struct burst burst;
	for (unsigned i = 0; i < 200000; i++) {
		unsigned char *raw = (unsigned char *)buffer;
		for (unsigned k = 0; k < 128; k++)
			raw[k] = (unsigned char)draw_next(&seed);
		if (i % 2 == 0) { /* plausible control messages reach further in */
			struct cmsghdr head = {.cmsg_len = draw_next(&seed) % 100,
			                       .cmsg_level = SOL_UDP,
			                       .cmsg_type = draw_next(&seed) % 2 ? UDP_GRO : 1};
			memcpy(buffer->control, &head, sizeof head);
			buffer->control_bytes = (uint32_t)(draw_next(&seed) % 120);
			buffer->payload_bytes = (uint32_t)(draw_next(&seed) % 70000);
		}
		buffer_describe(buffer, &burst);
		assert_true(burst.data == buffer->data + (size_t)burst.done * burst.segment_bytes);
		assert_true(burst.bytes <= BUFFER_DATA_BYTES - (size_t)(burst.data - buffer->data));
		assert_true(burst.segment_bytes >= 1 && burst.n_datagrams >= 1);
		assert_true((uint64_t)(burst.n_datagrams - 1) * burst.segment_bytes <= burst.bytes);
		assert_true((uint64_t)burst.n_datagrams * burst.segment_bytes >= burst.bytes);
	}
	free(buffer);
}

static void a_message_of_recvmmsg_becomes_a_buffer_once(void **state)
{
	(void)state;
	size_t bytes;
	void *body = make_body(N_BUFFERS, &bytes);
	struct buffers buffers;
	struct shm_error error;
	struct burst burst;
	assert_int_equal(buffers_init(&buffers, body, bytes, &error), 0);
	assert_false(buffers_adopt(&buffers, 2));
	fill_message(&buffers, 2, "hello", 5, 0);
	assert_true(buffers_adopt(&buffers, 2));
	assert_true(buffer_filled(&buffers.buffer[2]));
	buffer_describe(&buffers.buffer[2], &burst);
	assert_int_equal(burst.bytes, 5);
	assert_memory_equal(burst.data, "hello", 5);
	assert_false(buffers_adopt(&buffers, 2));

	/* an empty datagram leaves msg_len 0, which is not "unfilled" */
	fill_message(&buffers, 4, "", 0, 0);
	assert_true(buffers_adopt(&buffers, 4));
	assert_true(buffer_filled(&buffers.buffer[4]));
	free(body);
}

/* ---- batches into memory ---- */

static void a_cut_datagram_is_rejected_and_those_before_it_are_kept(void **state)
{
	(void)state;
	struct batch batch;
	alignas(8) static char room[4096];
	unsigned char data[3 * UDP_EVENT_BYTES];
	for (uint32_t i = 0; i < 3; i++)
		make_event(data + i * UDP_EVENT_BYTES, i);
	struct burst burst = {.data = data,
	                      .bytes = sizeof data,
	                      .segment_bytes = UDP_EVENT_BYTES,
	                      .n_datagrams = 3,
	                      .truncated = true};
	static const char *const formats[] = {"ipevent", "raw"};
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
		assert_int_equal(batch_init(&batch, format_find(formats[i]), 0), 0);
		batch_lane_memory(&batch, 0, room, sizeof room);
		batch_parse(&batch, &burst);
		assert_int_equal(batch.lane[0].received, 3);
		assert_int_equal(batch.lane[0].records, 2);
		assert_int_equal(batch.lane[0].rejected[LEDGER_TRUNCATED], 1);
		assert_int_equal(batch.truncated, 1);
		batch_reset(&batch);
		assert_int_equal(batch_received(&batch), 0);
		batch_fini(&batch);
	}
}

#if MEMORY_POISON
static unsigned fenced;

static void take_fenced(struct batch *batch, const struct burst *burst, const uint8_t *data, uint32_t bytes)
{
	(void)batch;
	(void)burst;
	fenced += !__asan_address_is_poisoned(data + bytes - 1) && __asan_address_is_poisoned(data + bytes);
}
#endif

static void under_asan_a_parser_has_its_datagram_and_nothing_after_it(void **state)
{
	(void)state;
#if MEMORY_POISON
	static struct buffer buffer;
	struct batch batch = {0};
	struct burst burst;
	buffer.payload_bytes = 30;
	buffer_describe(&buffer, &burst);
	burst.segment_bytes = 7; /* 7, 7, 7, 7 and 2 */
	burst.n_datagrams = 5;
	fenced = 0;
	batch_each(&batch, &burst, take_fenced);
	assert_int_equal(fenced, 5);
	for (unsigned i = 0; i < 200; i++)
		assert_false(__asan_address_is_poisoned(buffer.data + i));
#else
	skip();
#endif
}

static void what_the_lane_can_never_hold_is_too_large_and_what_it_has_no_room_for_is_dropped(void **state)
{
	(void)state;
	struct batch batch;
	alignas(8) static char room[1032]; /* three records of 300 bytes, or not quite one of 1000 */
	static const uint8_t data[1000];
	assert_int_equal(batch_init(&batch, format_find("raw"), 0), 0);
	batch_lane_memory(&batch, 0, room, sizeof room);
	batch_parse(&batch,
	            &(struct burst){.data = data, .bytes = 1000, .segment_bytes = 1000, .n_datagrams = 1});
	assert_int_equal(batch.lane[0].rejected[LEDGER_TOO_LARGE], 1);
	batch_parse(&batch,
	            &(struct burst){.data = data, .bytes = 900, .segment_bytes = 300, .n_datagrams = 3});
	assert_int_equal(batch.lane[0].records, 3);
	batch_parse(&batch,
	            &(struct burst){.data = data, .bytes = 300, .segment_bytes = 300, .n_datagrams = 1});
	assert_int_equal(batch.lane[0].dropped, 1);
	assert_int_equal(batch.lane[0].received, 5);
	batch_fini(&batch);
}

/* ---- a death at every instruction ---- */

#define N_FIRST  40u /* in bursts and messages */
#define N_SINGLE 60u /* one to a buffer, from buffer SINGLES on */
#define SINGLES  12u
#define N_EVENTS (N_FIRST + N_SINGLE)
#define N_BAD    2u

/* What is in the buffers when a life begins: numbered events, all of `bytes` bytes, and N_BAD
 * datagrams that are no events. */
struct scene {
	const char *format;
	uint32_t bytes;
	uint32_t n_first, n_single;
	unsigned commits; /* at least, of a life that does all of it */
	void (*make)(unsigned char *out, uint32_t i);
	uint32_t (*number)(const struct record *record); /* UINT32_MAX: none of those */
};

/* Buffers in both forms, and it takes several batches to commit them. */
static void fill_all(const struct scene *scene, struct buffers *buffers)
{
	static unsigned char data[128 * N_EVENTS];
	uint32_t bytes = scene->bytes, burst = scene->n_first / 2 - 1, at = 1 + 2 * burst;
	for (uint32_t i = 0; i < scene->n_first + scene->n_single; i++)
		scene->make(data + i * bytes, i);
	fill_buffer(&buffers->buffer[0], data, bytes, 0);
	fill_buffer(&buffers->buffer[7], data + bytes, burst * bytes, (int)bytes);
	fill_buffer(&buffers->buffer[8], "", 0, 0);
	fill_message(buffers, 2, data + (1 + burst) * bytes, burst * bytes, (int)bytes);
	fill_message(buffers, 9, data + at * bytes, bytes, 0);
	fill_message(buffers, 11, "x", 1, 0);
	for (uint32_t i = 0; i < scene->n_single; i++)
		fill_buffer(&buffers->buffer[SINGLES + i], data + (scene->n_first + i) * bytes, bytes, 0);
}

static uint32_t number_of_ip(const struct record *record)
{
	const struct event_ip *event = (const void *)record->payload;
	return record->type == EVENT_IP && record->length == sizeof *event ? event_number(event) : UINT32_MAX;
}

#define JSON_BYTES 48u /* with spaces at the end: those of a burst have one length */

/* Every third goes to the other lane. */
static void make_json(unsigned char *out, uint32_t i)
{
	char text[JSON_BYTES + 1];
	int n = i % 3 == 0 ? snprintf(text, sizeof text, "{\"type\": \"t\", \"ts\": %u}", i)
	                   : snprintf(text, sizeof text,
	                              "{\"username\": \"u\", \"metric\": \"m\", \"count\": %u}", i);
	assert_true(n > 0 && n < (int)sizeof text);
	memset(out, ' ', JSON_BYTES);
	memcpy(out, text, (size_t)n);
}

static uint32_t number_of_json(const struct record *record)
{
	if (record->type == EVENT_METRIC)
		return (uint32_t)((const struct event_metric *)(const void *)record->payload)->count;
	if (record->type == EVENT_TRACK_RAW)
		return (uint32_t)((const struct event_track_raw *)(const void *)record->payload)
		        ->client_ts_ms;
	return UINT32_MAX;
}

static const struct scene ip_scene = {
        .format = "ipevent",
        .bytes = UDP_EVENT_BYTES,
        .n_first = N_FIRST,
        .n_single = N_SINGLE,
        .commits = 2,
        .make = make_event,
        .number = number_of_ip,
};

/* Of an object that may become a query of four KiB six fit half a lane: each burst of 13 is
 * committed in three pieces. */
static const struct scene json_scene = {
        .format = "json",
        .bytes = JSON_BYTES,
        .n_first = 28,
        .n_single = 2,
        .commits = 7,
        .make = make_json,
        .number = number_of_json,
};

/* The segments that a life changes, mapped by name. */
struct mapped {
	struct segment private_segment;
	struct segment lane[BATCH_LANES_MAX];
	unsigned n_lanes;
};

static void map_fixture(struct mapped *mapped, const struct udp_fixture *fixture, const char *format)
{
	char name[SEGMENT_NAME_MAX];
	struct shm_error error;
	const struct format *row = format_find(format);
	memset(mapped, 0, sizeof *mapped);
	assert_int_equal(segment_attach(&mapped->private_segment, fixture->sandbox.directory,
	                                instance_private_name(name, UDP_ROLE), SEGMENT_PRIVATE, SEGMENT_WRITE,
	                                &error),
	                 0);
	for (; mapped->n_lanes < row->n_topics; mapped->n_lanes++)
		assert_int_equal(segment_attach(&mapped->lane[mapped->n_lanes], fixture->sandbox.directory,
		                                instance_lane_name(name, row->topics[mapped->n_lanes], 0),
		                                SEGMENT_LANE, SEGMENT_WRITE, &error),
		                 0);
}

static void unmap_fixture(struct mapped *mapped)
{
	segment_detach(&mapped->private_segment);
	for (unsigned i = 0; i < mapped->n_lanes; i++)
		segment_detach(&mapped->lane[i]);
}

/* What can change: the lanes, and of the private segment all but the buffers' data. */
struct snapshot {
	struct stepped_lane lane[BATCH_LANES_MAX];
	unsigned char head[BUFFERS_HEAD_BYTES + N_BUFFERS * sizeof(struct mmsghdr)];
	unsigned char header[N_BUFFERS][128];
};

static struct buffer *buffers_of(const struct mapped *mapped)
{
	return (void *)((char *)mapped->private_segment.body + sizeof(((struct snapshot *)NULL)->head));
}

static void take_snapshot(struct snapshot *snapshot, const struct mapped *from)
{
	for (unsigned i = 0; i < from->n_lanes; i++)
		stepped_take(&snapshot->lane[i], &from->lane[i], LANE_BYTES);
	memcpy(snapshot->head, from->private_segment.body, sizeof snapshot->head);
	for (unsigned i = 0; i < N_BUFFERS; i++)
		memcpy(snapshot->header[i], &buffers_of(from)[i], 128);
}

static void restore_snapshot(const struct snapshot *snapshot, struct mapped *to)
{
	for (unsigned i = 0; i < to->n_lanes; i++)
		stepped_restore(&snapshot->lane[i], &to->lane[i], LANE_BYTES);
	memcpy(to->private_segment.body, snapshot->head, sizeof snapshot->head);
	for (unsigned i = 0; i < N_BUFFERS; i++)
		memcpy(&buffers_of(to)[i], snapshot->header[i], 128);
}

static bool has_changed(const struct snapshot *snapshot, const struct mapped *now)
{
	bool same = memcmp(snapshot->head, now->private_segment.body, sizeof snapshot->head) == 0;
	for (unsigned i = 0; same && i < now->n_lanes; i++)
		same = stepped_same(&snapshot->lane[i], &now->lane[i], LANE_BYTES);
	for (unsigned i = 0; same && i < N_BUFFERS; i++)
		same = memcmp(snapshot->header[i], &buffers_of(now)[i], 128) == 0;
	return !same;
}

/* Counts in seen[i] how often event i < n lies in a topic's lane. False when there is something
 * else. */
static bool look_at_lane(const struct scene *scene, const struct udp_fixture *fixture, const char *topic,
                         uint8_t *seen, uint32_t n)
{
	struct udp_look look;
	struct record_batch batch;
	bool good = true;
	if (udp_look_open(&look, fixture, topic) != 0)
		return false;
	while (stream_peek(&look.reader, &batch)) {
		const struct record *record;
		uint64_t records = 0;
		for (; (record = record_next(&batch)) != NULL; records++) {
			uint32_t i = scene->number(record);
			if (i < n && seen[i] < UINT8_MAX)
				seen[i]++;
			else
				good = false;
		}
		good = good && !batch.corrupt;
		stream_advance(&look.reader, &batch, records);
	}
	stream_reader_detach(&look.reader);
	return good;
}

/* What a life that begins with this state leaves. Returns NULL when all is well, otherwise what is
 * wrong. */
static const char *live_on(const struct scene *scene, struct udp_fixture *fixture)
{
	struct udp udp;
	uint8_t seen[N_EVENTS] = {0};
	uint64_t records = 0, received = 0;
	const char *wrong = NULL;
	uint32_t n = scene->n_first + scene->n_single;
	if (udp_fixture_open(fixture, &udp, scene->format, RECEIVE_RECVMMSG, NULL, 0) != 0)
		return "the next life does not start";
	for (unsigned lane = 0; lane < udp.batch.n_lanes; lane++) {
		const struct stream_shared *shared = udp.ports.writer[lane].stream.shared;
		if (!look_at_lane(scene, fixture, udp.batch.format->topics[lane], seen, n))
			wrong = "the lane has what was not sent";
		if (!udp_balanced(shared))
			wrong = "the ledger does not balance";
		records += shared->records;
		received += shared->ledger.received;
	}
	for (unsigned i = 0; i < n; i++)
		if (seen[i] != 1)
			wrong = seen[i] == 0 ? "an event is missing" : "an event is there twice";
	if (wrong == NULL && records != n)
		wrong = "the number of records is wrong";
	if (wrong == NULL && received != n + N_BAD)
		wrong = "the number of datagrams is wrong";
	udp_close(&udp);
	return wrong;
}

static pid_t start_traced_life(const struct scene *scene, struct udp_fixture *fixture)
{
	pid_t child = fork();
	if (child != 0)
		return child;
	stepped_begin();
	static struct udp udp;
	_exit(udp_fixture_open(fixture, &udp, scene->format, RECEIVE_RECVMMSG, NULL, 0) == 0 ? 0 : 1);
}

static void place_with_full_buffers(const struct scene *scene, struct udp_fixture *fixture,
                                    struct mapped *mapped)
{
	struct buffers buffers;
	struct shm_error error;
	assert_int_equal(udp_fixture_make(fixture, scene->format, LANE_BYTES, N_BUFFERS, NULL), 0);
	map_fixture(mapped, fixture, scene->format);
	assert_int_equal(buffers_init(&buffers, mapped->private_segment.body,
	                              mapped->private_segment.body_bytes, &error),
	                 0);
	fill_all(scene, &buffers);
}

/* The process under test is stepped through a whole life, one instruction at a time. Each time its
 * memory has changed, that memory is what SIGKILL would have left: a copy is given to a next life,
 * which must find every event once. */
static void step_through_a_life(const struct scene *scene)
{
	struct udp_fixture live, copy;
	struct mapped live_map, copy_map;
	if (stepped_instrumented())
		skip();
	place_with_full_buffers(scene, &live, &live_map);
	place_with_full_buffers(scene, &copy, &copy_map);
	setenv("MILLRACE_SHM", live.sandbox.root, 1);

	struct snapshot *snapshot = calloc(1, sizeof *snapshot);
	assert_non_null(snapshot);
	assert_true(N_EVENTS * 72 < STEPPED_RECORDS_BYTES);
	take_snapshot(snapshot, &live_map);
	stepped_on_one_processor();
	pid_t child = start_traced_life(scene, &live);
	assert_true(child > 0);
	int status;
	unsigned long steps = 0, states = 1;
	const char *wrong = live_on(scene, &copy);
	assert_int_equal(waitpid(child, &status, 0), child);
	while (WIFSTOPPED(status) && wrong == NULL && ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0) {
		steps++;
		assert_int_equal(waitpid(child, &status, 0), child);
		if (!has_changed(snapshot, &live_map))
			continue;
		states++;
		take_snapshot(snapshot, &live_map);
		restore_snapshot(snapshot, &copy_map);
		wrong = live_on(scene, &copy);
	}
	bool traced = !WIFEXITED(status) || WEXITSTATUS(status) != STEPPED_NOT_ALLOWED;
	if (WIFSTOPPED(status)) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	} else if (wrong == NULL && traced && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		wrong = "the stepped life failed";
	}
	free(snapshot);
	uint64_t commits = udp_metric_value(&live, UDP_commits);
	printf("%lu instructions, %lu states of memory, %lu commits\n", steps, states,
	       (unsigned long)commits);
	unmap_fixture(&live_map);
	unmap_fixture(&copy_map);
	udp_fixture_remove(&live);
	udp_fixture_remove(&copy);
	assert_string_equal(wrong == NULL ? "" : wrong, "");
	if (!traced) /* a sandbox without ptrace: crash_test still kills at random */
		skip();
	assert_true(states > 100);
	assert_true(commits >= scene->commits);
}

static void a_death_at_any_instruction_loses_and_repeats_nothing(void **state)
{
	(void)state;
	step_through_a_life(&ip_scene);
}

static void a_death_between_the_pieces_of_an_aggregate_loses_and_repeats_nothing(void **state)
{
	(void)state;
	step_through_a_life(&json_scene);
}

static void others_can_count_what_is_filled(void **state)
{
	(void)state;
	struct shm_error error;
	size_t bytes = udp_private_bytes(BUFFERS_MIN);
	void *body = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	struct segment segment = {.body = body, .body_bytes = bytes};
	struct buffers buffers;
	assert_non_null(body);
	memset(body, 0, bytes);
	assert_int_equal(private_filled(&segment), 0);
	assert_int_equal(buffers_init(&buffers, body, bytes, &error), 0);
	assert_int_equal(private_filled(&segment), 0);
	atomic_store(&buffers.buffer[0].mark, 1);
	atomic_store(&buffers.buffer[7].mark, UINT64_MAX);
	atomic_store(&buffers.buffer[BUFFERS_MIN - 1].mark, 28);
	assert_int_equal(private_filled(&segment), 3);
	buffers.head->about.n = UINT64_MAX; /* what is damaged is read no further than the segment */
	assert_int_equal(private_filled(&segment), 3);
	buffers.head->about.mark_bytes = UINT64_MAX - 7;
	assert_int_equal(private_filled(&segment), 0);
	atomic_store(&buffers.head->about.layout, PRIVATE_LAYOUT);
	assert_int_equal(private_filled(&segment), 0);
	free(body);
}

int main(void)
{
	alarm(60);
	log_init("udp_buffers_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(others_can_count_what_is_filled),
	        cmocka_unit_test(the_private_segment_has_the_size_that_the_supervisor_works_out),
	        cmocka_unit_test(a_second_life_finds_the_buffers_as_the_first_left_them),
	        cmocka_unit_test(buffers_of_another_build_or_too_few_are_refused),
	        cmocka_unit_test(a_burst_is_described_by_its_control_message),
	        cmocka_unit_test(what_is_committed_of_a_burst_is_not_described),
	        cmocka_unit_test(no_header_leads_out_of_the_buffer),
	        cmocka_unit_test(a_message_of_recvmmsg_becomes_a_buffer_once),
	        cmocka_unit_test(a_cut_datagram_is_rejected_and_those_before_it_are_kept),
	        cmocka_unit_test(under_asan_a_parser_has_its_datagram_and_nothing_after_it),
	        cmocka_unit_test(
	                what_the_lane_can_never_hold_is_too_large_and_what_it_has_no_room_for_is_dropped),
	        cmocka_unit_test_teardown(a_death_at_any_instruction_loses_and_repeats_nothing,
	                                  udp_fixture_clean),
	        cmocka_unit_test_teardown(
	                a_death_between_the_pieces_of_an_aggregate_loses_and_repeats_nothing,
	                udp_fixture_clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
