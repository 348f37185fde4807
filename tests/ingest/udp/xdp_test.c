/* The UDP stage with packets from a network card (tests/fixture/card.h): where they go, what is
 * counted, and deaths at every instruction and under load. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/packet.h"
#include "tests/fixture/stepped.h"
#include "tests/fixture/udp_card.h"

#define LANE_BYTES (1024u * 1024)

static const struct stream_shared *lane_of(const struct udp *udp)
{
	return udp->ports.writer[0].stream.shared;
}

static void poll_all(struct udp *udp)
{
	for (unsigned nothing = 0; nothing < 2;) {
		if (udp_poll(udp)) {
			nothing = 0;
			continue;
		}
		nothing++;
		udp_idle(udp, NS_PER_MS);
	}
}

static void check_cards(const struct udp_card *world)
{
	for (unsigned i = 0; i < world->n; i++) {
		const char *wrong = card_check(world->card[i]);
		assert_string_equal(wrong == NULL ? "" : wrong, "");
	}
}

/* ---- taking ---- */

static void packets_of_all_queues_and_datagrams_of_the_socket_come_into_one_lane(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	struct udp_look look;
	uint16_t port;
	unsigned char event[UDP_EVENT_BYTES];
	static uint8_t seen[1000];
	memset(seen, 0, sizeof seen);
	assert_int_equal(udp_card_make(&world, "ipevent", LANE_BYTES, 2, NULL), 0);
	int listener = udp_listen(AF_INET, 1 << 20, &port), sender = udp_connect(AF_INET, port);
	assert_int_equal(udp_card_open(&world, &udp, "ipevent", &listener, 1), 0);
	unsigned ordinary = 0;
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 45; i++) {
			assert_true(udp_card_send(&world, 0));
			assert_true(udp_card_send(&world, 1));
		}
		for (unsigned i = 0; i < 10; i++, ordinary++) {
			make_event(event, world.sent++);
			assert_int_equal(udp_send(sender, event, sizeof event, 0), sizeof event);
		}
		poll_all(&udp);
		check_cards(&world);
	}
	assert_int_equal(udp_look_open(&look, &world.fixture, "ip"), 0);
	assert_int_equal(udp_look_events(&look, seen, 1000), 0);
	unsigned records = 0;
	for (unsigned i = 0; i < world.sent; i++)
		records += seen[i];
	assert_int_equal(records, world.sent - world.damaged);
	const struct ledger *ledger = &lane_of(&udp)->ledger;
	assert_int_equal(ledger->received, world.sent);
	assert_int_equal(ledger->rejected[LEDGER_FRAME_UDP_CHECKSUM], world.damaged);
	assert_true(udp_balanced(lane_of(&udp)));
	assert_int_equal(udp_metric_value(&world.fixture, UDP_received_frames), world.sent - ordinary);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_received_datagrams), world.sent);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_queues), 2);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_mode), FRAMES_COPY);
	stream_reader_detach(&look.reader);
	udp_close(&udp);
	close(listener);
	close(sender);
	udp_card_remove(&world);
}

static void the_ordinary_socket_is_served_while_packets_keep_coming(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	uint16_t port;
	unsigned char event[UDP_EVENT_BYTES];
	assert_int_equal(udp_card_make(&world, "ipevent", LANE_BYTES, 1, NULL), 0);
	int listener = udp_listen(AF_INET, 1 << 20, &port), sender = udp_connect(AF_INET, port);
	assert_int_equal(udp_card_open(&world, &udp, "ipevent", &listener, 1), 0);
	assert_true(udp_card_send(&world, 0));
	assert_true(udp_poll(&udp)); /* finds the socket empty */
	make_event(event, 0);
	assert_int_equal(udp_send(sender, event, sizeof event, 0), sizeof event);
	for (unsigned turn = 0; turn < 20; turn++) {
		assert_true(udp_card_send(&world, 0));
		assert_true(udp_poll(&udp));
	}
	assert_int_equal(lane_of(&udp)->ledger.received, 22);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_received_buffers), 1);
	udp_close(&udp);
	close(listener);
	close(sender);
	udp_card_remove(&world);
}

static void what_is_no_valid_packet_is_counted_by_its_reason(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	uint8_t data[PACKET_MAX];
	assert_int_equal(udp_card_make(&world, "raw", LANE_BYTES, 1, NULL), 0);
	assert_int_equal(udp_card_open(&world, &udp, "raw", NULL, 0), 0);
	const struct packet packet = packet_plain(false, "hello", 5);
	static const struct {
		uint32_t at; /* byte of the frame that is changed */
		uint8_t value;
		bool sum; /* checksums are right again */
		enum ledger_reason reason;
	} cases[] = {
	        {12, 0x09, false, LEDGER_FRAME_FORM},        {14 + 9, 6, true, LEDGER_FRAME_FORM},
	        {14 + 3, 200, true, LEDGER_FRAME_LENGTH},    {14 + 10, 0x55, false, LEDGER_FRAME_IP_CHECKSUM},
	        {42, 'j', false, LEDGER_FRAME_UDP_CHECKSUM}, {14 + 12, 127, true, LEDGER_FRAME_MARTIAN},
	};
	const unsigned n = sizeof cases / sizeof *cases;
	uint32_t bytes = packet_make(data, &packet);
	assert_true(card_deliver(world.card[0], data, bytes));
	for (unsigned i = 0; i < n; i++) {
		bytes = packet_make(data, &packet);
		data[cases[i].at] = cases[i].value;
		if (cases[i].sum)
			packet_sum(data, &packet);
		assert_true(card_deliver(world.card[0], data, bytes));
	}
	assert_true(card_deliver(world.card[0], data, bytes));
	world.card[0]->rx[n + 1].addr = UINT64_MAX - 3; /* leads nowhere */
	poll_all(&udp);
	const struct ledger *ledger = &lane_of(&udp)->ledger;
	assert_int_equal(ledger->received, n + 2);
	assert_int_equal(lane_of(&udp)->records, 1);
	assert_int_equal(ledger->rejected[LEDGER_FRAME_FORM], 3);
	for (unsigned i = 2; i < n; i++)
		assert_int_equal(ledger->rejected[cases[i].reason], 1);
	assert_true(udp_balanced(lane_of(&udp)));
	udp_close(&udp);
	udp_card_remove(&world);
}

/* The smallest lane, which nobody reads: a turn needs several commits, and then there is no
 * room. */
static void a_full_lane_drops_and_counts(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	uint8_t data[PACKET_MAX], payload[1400] = {0};
	assert_int_equal(udp_card_make(&world, "raw", STREAM_SIZE_MIN, 1, "tally"), 0);
	assert_int_equal(udp_card_open(&world, &udp, "raw", NULL, 0), 0);
	const struct packet packet = packet_plain(true, payload, sizeof payload);
	uint32_t bytes = packet_make(data, &packet);
	size_t record = record_bytes((uint32_t)(sizeof(struct event_raw) + sizeof payload));
	uint64_t fits = STREAM_SIZE_MIN / record;
	for (unsigned i = 0; i < UDP_CARD_FRAMES; i++)
		assert_true(card_deliver(world.card[0], data, bytes));
	poll_all(&udp);
	assert_true(fits < UDP_CARD_FRAMES);
	assert_int_equal(lane_of(&udp)->records, fits);
	assert_int_equal(lane_of(&udp)->ledger.dropped, UDP_CARD_FRAMES - fits);
	assert_int_equal(lane_of(&udp)->ledger.received, UDP_CARD_FRAMES);
	assert_true(udp_metric_value(&world.fixture, UDP_commits) > 1);
	check_cards(&world);
	udp_close(&udp);
	udp_card_remove(&world);
}

static void the_kernel_is_woken_when_it_asks_for_it(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	assert_int_equal(udp_card_make(&world, "ipevent", LANE_BYTES, 1, NULL), 0);
	assert_int_equal(udp_card_open(&world, &udp, "ipevent", NULL, 0), 0);
	assert_true(udp_card_send(&world, 0));
	poll_all(&udp);
	assert_int_equal(world.card[0]->wakes, 0);
	world.card[0]->fill_flags = XDP_RING_NEED_WAKEUP;
	assert_true(udp_card_send(&world, 0));
	poll_all(&udp);
	udp_tick(&udp);
	assert_int_equal(world.card[0]->wakes, 1);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_wakeups), 1);
	udp_close(&udp);
	/* a driver that has run out of frames waits for the next life's, and no packet comes */
	assert_int_equal(udp_card_open(&world, &udp, "ipevent", NULL, 0), 0);
	assert_int_equal(world.card[0]->wakes, 2);
	udp_close(&udp);
	udp_card_remove(&world);
}

/* ---- counting ---- */

static void what_the_kernel_drops_is_in_the_ledger_once_over_all_lives(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	uint64_t dropped = 0;
	assert_int_equal(udp_card_make(&world, "ipevent", LANE_BYTES, 2, NULL), 0);
	for (unsigned life = 0; life < 4; life++) {
		assert_int_equal(udp_card_open(&world, &udp, "ipevent", NULL, 0), 0);
		udp_tick(&udp);
		assert_int_equal(lane_of(&udp)->ledger.kernel_dropped, dropped);
		while (udp_card_send(&world, 0))
			;
		world.card[1]->loss[FRAMES_RING_FULL] += 3;
		udp_tick(&udp);
		udp_tick(&udp);
		dropped += 1 + 3;
		assert_int_equal(lane_of(&udp)->ledger.kernel_dropped, dropped);
		assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_dropped), life + 1);
		assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_ring_full), 3 * (life + 1));
		assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_fill_empty), life + 1);
		poll_all(&udp);
		udp_close(&udp);
		if (life == 1) /* a new supervisor brings new sockets */
			for (unsigned i = 0; i < 2; i++)
				card_renew(world.card[i], 200 + i);
	}
	udp_card_remove(&world);
}

static void what_the_program_counts_is_shown(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	assert_int_equal(udp_card_make(&world, "ipevent", LANE_BYTES, 2, NULL), 0);
	assert_int_equal(udp_card_open(&world, &udp, "ipevent", NULL, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		udp_card_gate(&world, i)->redirected = 1000 * (i + 1);
		udp_card_gate(&world, i)->passed[FRAMES_PASSED_FORM] = 10 * (i + 1);
		udp_card_gate(&world, i)->passed[FRAMES_PASSED_CLOSED] = i + 1;
	}
	udp_tick(&udp);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_redirected), 3000);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_passed_form), 30);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_passed_closed), 3);
	char text[100];
	xdp_tell(&udp.xdp, text, sizeof text);
	assert_string_equal(text, "xdp copy on lo, queues 0 2");
	udp_close(&udp);
	udp_card_remove(&world);
}

/* ---- beginning and ending ---- */

static void a_gate_is_open_while_the_stage_takes_and_closed_when_it_drains(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	assert_int_equal(udp_card_make(&world, "ipevent", LANE_BYTES, 2, NULL), 0);
	udp_card_gate(&world, 1)->open = 1; /* as a life leaves it that was killed with its supervisor */
	assert_int_equal(udp_card_open(&world, &udp, "ipevent", NULL, 0), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(udp_card_gate(&world, i)->open, 1);
	/* a flood: each turn finds more */
	for (unsigned turn = 0; turn < 100; turn++) {
		if (turn == 50)
			udp_quiet(&udp);
		assert_int_equal(udp_card_gate(&world, 1)->open, turn < 50);
		if (udp_card_gate(&world, 1)->open == 1)
			assert_true(udp_card_send(&world, 1));
		assert_int_equal(udp_poll(&udp), turn < 50);
	}
	assert_false(udp_drained(&udp, clock_monotonic_ns()));
	assert_false(udp_poll(&udp));
	assert_true(udp_drained(&udp, clock_monotonic_ns()));
	assert_int_equal(lane_of(&udp)->ledger.received, world.sent);
	udp_close(&udp);
	udp_card_remove(&world);
}

static void what_came_for_the_last_life_is_taken_before_the_gate_opens(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	assert_int_equal(udp_card_make(&world, "ipevent", LANE_BYTES, 1, NULL), 0);
	assert_int_equal(udp_card_open(&world, &udp, "ipevent", NULL, 0), 0);
	for (unsigned i = 0; i < 30; i++)
		assert_true(udp_card_send(&world, 0));
	udp_close(&udp);
	assert_int_equal(udp_card_open(&world, &udp, "ipevent", NULL, 0), 0);
	assert_int_equal(lane_of(&udp)->ledger.received, 30);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_recovered_frames), 30);
	check_cards(&world);
	udp_close(&udp);
	udp_card_remove(&world);
}

static void a_queue_that_cannot_be_used_is_left_to_the_ordinary_socket(void **state)
{
	(void)state;
	for (unsigned trial = 0; trial < 3; trial++) {
		struct udp_card world;
		struct udp udp;
		assert_int_equal(udp_card_make(&world, "ipevent", LANE_BYTES, 2, NULL), 0);
		if (trial == 0)
			world.handed[0].socket = world.gate; /* no card */
		else if (trial == 1)
			world.handed[0].count = 32;
		else
			world.card[0]->rx_producer = 5;
		assert_int_equal(udp_card_open(&world, &udp, "ipevent", NULL, 0), 0);
		assert_int_equal(udp_card_gate(&world, 0)->open, 0);
		assert_int_equal(udp_card_gate(&world, 1)->open, 1);
		assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_queues), 1);
		assert_true(udp_card_send(&world, 1));
		poll_all(&udp);
		assert_int_equal(lane_of(&udp)->ledger.received, 1);
		udp_close(&udp);
		udp_card_remove(&world);
	}
}

static void without_sockets_the_listener_is_served_by_the_ordinary_ones(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	uint16_t port;
	unsigned char event[UDP_EVENT_BYTES];
	assert_int_equal(udp_card_make(&world, "ipevent", LANE_BYTES, 1, NULL), 0);
	int listener = udp_listen(AF_INET, 1 << 20, &port), sender = udp_connect(AF_INET, port);
	struct udp_settings settings = {.format = format_find("ipevent"),
	                                .backend = receive_backend_of("xdp"),
	                                .xdp = {.frames = UDP_CARD_FRAMES,
	                                        .frame_bytes = UDP_CARD_FRAME_BYTES,
	                                        .interface = "lo",
	                                        .gate = -1}};
	struct shm_error error;
	assert_int_equal(udp_open(&udp, &settings, &world.fixture.instance, UDP_ROLE, &listener, 1,
	                          world.fixture.control, &error),
	                 0);
	make_event(event, 0);
	assert_int_equal(udp_send(sender, event, sizeof event, 0), sizeof event);
	poll_all(&udp);
	udp_tick(&udp);
	assert_int_equal(lane_of(&udp)->ledger.received, 1);
	assert_int_equal(udp_metric_value(&world.fixture, UDP_xdp_mode), FRAMES_NONE);
	udp_close(&udp);
	close(listener);
	close(sender);
	udp_card_remove(&world);
}

/* ---- a death at every instruction ---- */

#define N_STEPPED  80u  /* packets: more than there are frames */
#define IDLE_STEPS 500u /* without a change: the life waits for a packet */

/* What a life changes. */
struct snapshot {
	unsigned char lane[24 * 1024];
	unsigned char head[BUFFERS_HEAD_BYTES];
	unsigned char frames[sizeof(struct frames_head)];
	struct card card;
	uint32_t sent, damaged;
};

static void take_snapshot(struct snapshot *snapshot, const struct udp_card *from, const struct segment *lane)
{
	memcpy(snapshot->lane, lane->body, sizeof snapshot->lane);
	memcpy(snapshot->head, from->private_segment.body, sizeof snapshot->head);
	memcpy(snapshot->frames, udp_card_area(from), sizeof snapshot->frames);
	snapshot->card = *from->card[0];
	snapshot->sent = from->sent;
	snapshot->damaged = from->damaged;
}

/* Frames' contents and all: a packet lies in the same frame in both worlds. */
static void restore_snapshot(const struct snapshot *snapshot, const struct udp_card *live,
                             struct udp_card *to, const struct segment *lane)
{
	struct card *card = to->card[0];
	int socket = card->socket;
	char *memory = card->memory;
	memcpy(lane->body, snapshot->lane, sizeof snapshot->lane);
	memcpy(to->private_segment.body, snapshot->head, sizeof snapshot->head);
	memcpy(udp_card_area(to), snapshot->frames, sizeof snapshot->frames);
	*card = snapshot->card;
	card->socket = socket;
	card->memory = memory;
	memcpy(memory, live->card[0]->memory, (size_t)UDP_CARD_FRAMES * UDP_CARD_FRAME_BYTES);
	to->sent = snapshot->sent;
	to->damaged = snapshot->damaged;
}

static bool has_changed(const struct snapshot *snapshot, const struct udp_card *now,
                        const struct segment *lane)
{
	return memcmp(snapshot->lane, lane->body, sizeof snapshot->lane) != 0 ||
	       memcmp(snapshot->head, now->private_segment.body, sizeof snapshot->head) != 0 ||
	       memcmp(snapshot->frames, udp_card_area(now), sizeof snapshot->frames) != 0 ||
	       memcmp(&snapshot->card, now->card[0], sizeof snapshot->card) != 0;
}

static const char *look_at_events(const struct udp_card *world)
{
	struct udp_look look;
	uint8_t seen[2 * N_STEPPED] = {0};
	const char *wrong = NULL;
	if (udp_look_open(&look, &world->fixture, "ip") != 0)
		return "the lane cannot be read";
	if (udp_look_events(&look, seen, 2 * N_STEPPED) != 0)
		wrong = "the lane has what was not sent";
	for (uint32_t i = 0; i < 2 * N_STEPPED; i++) {
		unsigned expected = i < world->sent && i % UDP_CARD_BAD_EVERY != 0;
		if (seen[i] != expected)
			wrong = seen[i] < expected ? "an event is missing" : "an event is there twice";
	}
	stream_reader_detach(&look.reader);
	return wrong;
}

/* What a life that begins with this state leaves. Returns NULL when all is well, otherwise what is
 * wrong. */
static const char *live_on(struct udp_card *world)
{
	struct udp udp;
	const char *wrong = NULL;
	if (udp_card_open(world, &udp, "ipevent", NULL, 0) != 0)
		return "the next life does not start";
	if (udp.xdp.n != 1)
		wrong = "the next life does not take packets";
	for (unsigned lap = 0; lap < 2 && wrong == NULL; lap++) {
		wrong = card_check(world->card[0]);
		if (wrong == NULL)
			wrong = look_at_events(world);
		const struct ledger *ledger = &lane_of(&udp)->ledger;
		if (wrong == NULL && (ledger->received != world->sent || !udp_balanced(lane_of(&udp)) ||
		                      ledger->rejected[LEDGER_FRAME_UDP_CHECKSUM] != world->damaged))
			wrong = "the ledger does not balance";
		if (lap == 0) {
			uint32_t before = world->sent;
			while (udp_card_send(world, 0))
				;
			if (world->sent - before != UDP_CARD_FRAMES)
				wrong = "the kernel does not have all frames";
			while (udp_poll(&udp))
				;
		}
	}
	udp_close(&udp);
	return wrong;
}

static void live_stepped(struct udp_card *world)
{
	static struct udp udp;
	stepped_begin();
	if (udp_card_open(world, &udp, "ipevent", NULL, 0) != 0)
		_exit(1);
	while (atomic_load(&lane_of(&udp)->ledger.received) < N_STEPPED)
		(void)udp_poll(&udp);
	_exit(0);
}

static void attach_lane(struct segment *lane, const struct udp_card *world)
{
	char name[SEGMENT_NAME_MAX];
	struct shm_error error;
	assert_int_equal(segment_attach(lane, world->fixture.sandbox.directory,
	                                instance_lane_name(name, "ip", 0), SEGMENT_LANE, SEGMENT_WRITE,
	                                &error),
	                 0);
}

/* As in buffers_test: a life is stepped, and what its memory is after each store is given to a next
 * life. The kernel works in between: it puts packets into the frames that it gets. */
static void a_death_at_any_instruction_loses_and_repeats_nothing(void **state)
{
	(void)state;
	static struct snapshot snapshot;
	struct udp_card live, copy;
	struct segment live_lane = {0}, copy_lane = {0};
	if (stepped_instrumented())
		skip();
	unsigned long seed = draw_seed(20261128), steps = 0, states = 0, idle = 0;
	assert_int_equal(udp_card_make(&live, "ipevent", 64 * 1024, 1, NULL), 0);
	assert_int_equal(udp_card_make(&copy, "ipevent", 64 * 1024, 1, NULL), 0);
	attach_lane(&live_lane, &live);
	attach_lane(&copy_lane, &copy);
	stepped_on_one_processor();
	pid_t child = fork();
	if (child == 0)
		live_stepped(&live);
	assert_true(child > 0);
	int status;
	const char *wrong = NULL;
	assert_int_equal(waitpid(child, &status, 0), child);
	while (WIFSTOPPED(status) && wrong == NULL && ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0) {
		steps++;
		assert_int_equal(waitpid(child, &status, 0), child);
		if (states != 0 && !has_changed(&snapshot, &live, &live_lane)) {
			if (++idle == IDLE_STEPS && live.sent < N_STEPPED)
				(void)udp_card_send(&live, 0);
			continue;
		}
		idle = 0;
		states++;
		take_snapshot(&snapshot, &live, &live_lane);
		restore_snapshot(&snapshot, &live, &copy, &copy_lane);
		wrong = live_on(&copy);
		if (live.sent < N_STEPPED && draw_next(&seed) % 2 == 0)
			(void)udp_card_send(&live, 0);
	}
	bool traced = !WIFEXITED(status) || WEXITSTATUS(status) != STEPPED_NOT_ALLOWED;
	if (WIFSTOPPED(status)) {
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	} else if (wrong == NULL && traced && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		wrong = "the stepped life failed";
	}
	uint64_t commits = udp_metric_value(&live.fixture, UDP_commits);
	printf("%lu instructions, %lu states of memory, %lu commits\n", steps, states,
	       (unsigned long)commits);
	segment_detach(&live_lane);
	segment_detach(&copy_lane);
	udp_card_remove(&live);
	udp_card_remove(&copy);
	assert_string_equal(wrong == NULL ? "" : wrong, "");
	if (!traced)
		skip();
	assert_true(states > 500);
	assert_true(commits > 2);
}

/* ---- kills under load ---- */

#define N_KILLS      60u
#define KILLED_LANE  (64u * 1024 * 1024)
#define KILLED_MAX   800000u
#define KILLED_LIMIT (20 * NS_PER_SEC)
#define LIFE_PACKETS 300u
#define LIFE_MOST_NS NS_PER_SEC

static void live_until_killed(struct udp_card *world)
{
	static struct udp udp;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (udp_card_open(world, &udp, "ipevent", NULL, 0) != 0)
		_exit(1);
	for (;;)
		if (!udp_poll(&udp))
			udp_tick(&udp);
}

/* The kernel goes on without a process until the frames are used up; what it then has no frame for
 * is not sent. On a busy machine a life goes on until it has been sent something to lose. */
static void send_for(struct udp_card *world, uint64_t life_ns, unsigned long *seed)
{
	uint64_t begin_ns = clock_monotonic_ns(), lived_ns = 0;
	uint32_t enough = world->sent + LIFE_PACKETS;
	while (lived_ns < (world->sent < enough ? LIFE_MOST_NS : life_ns) && world->sent + 32 < KILLED_MAX) {
		unsigned queue = (unsigned)(draw_next(seed) % 2);
		for (uint64_t n = draw_next(seed) % 32; n > 0; n--)
			if (draw_next(seed) % 64 == 0)
				card_spill(world->card[queue]);
			else if (!udp_card_send(world, queue)) {
				sched_yield();
				break;
			}
		lived_ns = clock_monotonic_ns() - begin_ns;
	}
}

static void a_stage_killed_under_load_loses_and_repeats_no_packet(void **state)
{
	(void)state;
	struct udp_card world;
	struct udp udp;
	struct udp_look look;
	static uint8_t seen[KILLED_MAX];
	unsigned long seed = draw_seed((unsigned long)clock_real_ns());
	uint64_t end_ns = clock_monotonic_ns() + KILLED_LIMIT, foreign = 0;
	unsigned kills = 0, missing = 0, repeated = 0;
	assert_int_equal(udp_card_make(&world, "ipevent", KILLED_LANE, 2, NULL), 0);
	assert_int_equal(udp_look_open(&look, &world.fixture, "ip"), 0);
	memset(seen, 0, sizeof seen);
	for (; kills < N_KILLS && clock_monotonic_ns() < end_ns; kills++) {
		pid_t child = fork();
		int status;
		if (child == 0)
			live_until_killed(&world);
		assert_true(child > 0);
		send_for(&world, NS_PER_MS + draw_next(&seed) % (40 * NS_PER_MS), &seed);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		foreign += udp_look_events(&look, seen, KILLED_MAX);
	}
	uint64_t found = udp_metric_value(&world.fixture, UDP_recovered_frames);
	assert_int_equal(udp_card_open(&world, &udp, "ipevent", NULL, 0), 0);
	foreign += udp_look_events(&look, seen, KILLED_MAX);
	for (uint32_t i = 0; i < world.sent; i++) {
		unsigned expected = i % UDP_CARD_BAD_EVERY != 0;
		missing += seen[i] < expected;
		repeated += seen[i] > expected;
	}
	printf("%u kills, %u packets; taken up after kills %llu; %llu notes finished; missing %u, repeated %u\n",
	       kills, world.sent, (unsigned long long)found,
	       (unsigned long long)udp_metric_value(&world.fixture, UDP_recovered_notes), missing, repeated);
	assert_int_equal(missing, 0);
	assert_int_equal(repeated, 0);
	assert_int_equal(foreign, 0);
	assert_int_equal(lane_of(&udp)->ledger.received, world.sent);
	assert_true(udp_balanced(lane_of(&udp)));
	check_cards(&world);
	assert_true(world.sent > kills * LIFE_PACKETS / 2);
	assert_true(kills > 10);
	stream_reader_detach(&look.reader);
	udp_close(&udp);
	udp_card_remove(&world);
}

int main(void)
{
	alarm(100);
	log_init("udp_xdp_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(
	                packets_of_all_queues_and_datagrams_of_the_socket_come_into_one_lane,
	                udp_fixture_clean),
	        cmocka_unit_test_teardown(the_ordinary_socket_is_served_while_packets_keep_coming,
	                                  udp_fixture_clean),
	        cmocka_unit_test_teardown(what_is_no_valid_packet_is_counted_by_its_reason,
	                                  udp_fixture_clean),
	        cmocka_unit_test_teardown(a_full_lane_drops_and_counts, udp_fixture_clean),
	        cmocka_unit_test_teardown(the_kernel_is_woken_when_it_asks_for_it, udp_fixture_clean),
	        cmocka_unit_test_teardown(what_the_kernel_drops_is_in_the_ledger_once_over_all_lives,
	                                  udp_fixture_clean),
	        cmocka_unit_test_teardown(what_the_program_counts_is_shown, udp_fixture_clean),
	        cmocka_unit_test_teardown(a_gate_is_open_while_the_stage_takes_and_closed_when_it_drains,
	                                  udp_fixture_clean),
	        cmocka_unit_test_teardown(what_came_for_the_last_life_is_taken_before_the_gate_opens,
	                                  udp_fixture_clean),
	        cmocka_unit_test_teardown(a_queue_that_cannot_be_used_is_left_to_the_ordinary_socket,
	                                  udp_fixture_clean),
	        cmocka_unit_test_teardown(without_sockets_the_listener_is_served_by_the_ordinary_ones,
	                                  udp_fixture_clean),
	        cmocka_unit_test_teardown(a_stage_killed_under_load_loses_and_repeats_no_packet,
	                                  udp_fixture_clean),
	        /* last: it keeps the process on one processor */
	        cmocka_unit_test_teardown(a_death_at_any_instruction_loses_and_repeats_nothing,
	                                  udp_fixture_clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
