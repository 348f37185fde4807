/* Law 4: the UDP stage is killed again and again under load. Every datagram that the kernel took is
 * in the lane once, and the ledger adds up. The sockets are the parent's, as they are the
 * supervisor's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <linux/sock_diag.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/udp.h"

#define LANE_BYTES     (32u * 1024 * 1024)
#define N_BUFFERS      64u
#define N_KILLS        60u
#define N_EVENTS       6000000u
#define BURST_MAX      32u
#define BAD_EVERY      7u /* of this many datagrams one is no event */
#define LIMIT_NS       (20 * NS_PER_SEC)
#define LIFE_DATAGRAMS 200u
#define LIFE_MOST_NS   (200 * NS_PER_MS)
#define PER_EVENT      1024u /* bytes of socket buffer that a datagram may take when it comes alone */

struct trial {
	struct udp_fixture fixture;
	struct udp_look look;
	enum receive_backend backend;
	int listener, sender;
	uint64_t window; /* datagrams under way at most, so that the socket never overflows */
	pid_t child;
	unsigned long seed;
	uint8_t *seen;
	uint64_t sent, bad; /* number i is bad when i % BAD_EVERY is 0 */
	uint64_t foreign;
	unsigned kills;
	uint64_t found_buffers, found_datagrams, kills_with_filled;
};

/* The stage: no cmocka here. */
static void live(struct trial *trial)
{
	static struct udp udp;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (udp_fixture_open(&trial->fixture, &udp, "ipevent", trial->backend, &trial->listener, 1) != 0)
		_exit(1);
	uint64_t tick_ns = 0;
	for (;;) {
		uint64_t now_ns = clock_monotonic_ns();
		if (now_ns >= tick_ns) {
			udp_tick(&udp);
			tick_ns = now_ns + NS_PER_MS;
		}
		if (!udp_poll(&udp))
			udp_idle(&udp, 2 * NS_PER_MS);
	}
}

static void start_life(struct trial *trial)
{
	trial->child = fork();
	if (trial->child == 0)
		live(trial);
}

static uint64_t booked(const struct trial *trial)
{
	return atomic_load_explicit(&trial->look.reader.shared->ledger.received, memory_order_acquire);
}

static void send_some(struct trial *trial)
{
	static unsigned char data[BURST_MAX * UDP_EVENT_BYTES];
	uint32_t n =
	        draw_next(&trial->seed) % 2 == 0 ? 1 : 1 + (uint32_t)(draw_next(&trial->seed) % BURST_MAX);
	if (trial->sent + n > N_EVENTS || trial->sent + n - booked(trial) > trial->window)
		return;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t number = (uint32_t)trial->sent + i;
		make_event(data + i * UDP_EVENT_BYTES, number);
		if (number % BAD_EVERY == 0) {
			data[i * UDP_EVENT_BYTES + 2] = 'x';
			trial->bad++;
		}
	}
	if (udp_send(trial->sender, data, n * UDP_EVENT_BYTES, n == 1 ? 0 : UDP_EVENT_BYTES) < 0)
		trial->foreign++; /* loopback refuses nothing */
	trial->sent += n;
}

/* What the killed life leaves in its buffers; looked at as its next life will. */
static void look_at_remains(struct trial *trial)
{
	char name[SEGMENT_NAME_MAX];
	struct segment segment = {0};
	struct shm_error error;
	struct buffers buffers;
	struct burst burst;
	uint64_t found = 0;
	if (segment_attach(&segment, trial->fixture.sandbox.directory, instance_private_name(name, UDP_ROLE),
	                   SEGMENT_PRIVATE, SEGMENT_READ, &error) != 0)
		return;
	const struct buffers_head *head = segment.body;
	if (head->about.layout != 0 &&
	    buffers_init(&buffers, segment.body, segment.body_bytes, &error) == 0 &&
	    head->note.published == 0) {
		for (unsigned i = 0; i < buffers.n_buffers; i++) {
			if (buffer_filled(&buffers.buffer[i])) {
				buffer_describe(&buffers.buffer[i], &burst);
				trial->found_datagrams += burst.n_datagrams;
				found++;
			} else if (buffers.message[i].msg_len != BUFFER_UNFILLED) {
				trial->found_datagrams++; /* at least */
				found++;
			}
		}
	}
	trial->found_buffers += found;
	trial->kills_with_filled += found > 0;
	segment_detach(&segment);
}

static void kill_life(struct trial *trial)
{
	int status = 0;
	kill(trial->child, SIGKILL);
	assert_int_equal(waitpid(trial->child, &status, 0), trial->child);
	trial->child = 0;
	assert_true(WIFSIGNALED(status) &&
	            WTERMSIG(status) == SIGKILL); /* otherwise it had failed by itself */
	trial->kills++;
}

static void run_trial(struct trial *trial)
{
	uint64_t begin_ns = clock_monotonic_ns();
	while (trial->kills < N_KILLS && clock_monotonic_ns() - begin_ns < LIMIT_NS) {
		uint64_t kill_ns =
		        clock_monotonic_ns() + NS_PER_MS + draw_next(&trial->seed) % (60 * NS_PER_MS);
		start_life(trial);
		assert_true(trial->child > 0);
		/* on a busy machine a life goes on until it has been sent something to lose */
		uint64_t enough = trial->sent + LIFE_DATAGRAMS, end_ns = kill_ns + LIFE_MOST_NS;
		while (clock_monotonic_ns() < (trial->sent < enough ? end_ns : kill_ns)) {
			for (unsigned i = 0; i < 16; i++)
				send_some(trial);
			trial->foreign += udp_look_events(&trial->look, trial->seen, N_EVENTS);
		}
		kill_life(trial);
		look_at_remains(trial);
	}
	/* one more life takes what is left */
	start_life(trial);
	uint64_t end_ns = clock_monotonic_ns() + 2 * NS_PER_SEC;
	while (booked(trial) < trial->sent && clock_monotonic_ns() < end_ns)
		(void)nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	(void)nanosleep(&(struct timespec){.tv_nsec = 5 * NS_PER_MS}, NULL);
	kill_life(trial);
	trial->foreign += udp_look_events(&trial->look, trial->seen, N_EVENTS);
}

static void check_trial(const struct trial *trial)
{
	const struct stream_shared *shared = trial->look.reader.shared;
	uint64_t missing = 0, repeated = 0;
	for (uint32_t i = 0; i < trial->sent; i++) {
		unsigned expected = i % BAD_EVERY != 0;
		missing += trial->seen[i] < expected;
		repeated += trial->seen[i] > expected;
	}
	printf("%u kills, %llu datagrams; found in buffers after %llu kills: %llu buffers, at least %llu datagrams; %llu notes finished; missing %llu, repeated %llu\n",
	       trial->kills - 1, (unsigned long long)trial->sent,
	       (unsigned long long)trial->kills_with_filled, (unsigned long long)trial->found_buffers,
	       (unsigned long long)trial->found_datagrams,
	       (unsigned long long)udp_metric_value(&trial->fixture, UDP_recovered_notes),
	       (unsigned long long)missing, (unsigned long long)repeated);
	assert_int_equal(missing, 0);
	assert_int_equal(repeated, 0);
	assert_int_equal(trial->foreign, 0);
	assert_int_equal(shared->ledger.kernel_dropped, 0);
	assert_int_equal(shared->ledger.received, trial->sent);
	assert_int_equal(shared->ledger.rejected[LEDGER_BAD_SHA], trial->bad);
	assert_int_equal(shared->records, trial->sent - trial->bad);
	assert_true(udp_balanced(shared));
	assert_true(trial->sent > 10000);
	assert_true(trial->kills > 50);
}

static void kill_again_and_again(enum receive_backend backend)
{
	struct trial trial = {.backend = backend, .seed = draw_seed((unsigned long)clock_real_ns())};
	static uint8_t seen[N_EVENTS];
	int bytes = 4 << 20;
	uint16_t port;
	assert_int_equal(udp_fixture_make(&trial.fixture, "ipevent", LANE_BYTES, N_BUFFERS, NULL), 0);
	memset(seen, 0, sizeof seen);
	trial.seen = seen;
	trial.listener = udp_listen(AF_INET, bytes, &port);
	trial.sender = udp_connect(AF_INET, port);
	assert_true(trial.listener >= 0 && trial.sender >= 0);
	(void)setsockopt(trial.listener, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	socklen_t length = sizeof bytes;
	assert_int_equal(getsockopt(trial.listener, SOL_SOCKET, SO_RCVBUF, &bytes, &length), 0);
	trial.window = (uint64_t)bytes / PER_EVENT / 2;
	assert_int_equal(udp_look_open(&trial.look, &trial.fixture, "ip"), 0);
	run_trial(&trial);
	check_trial(&trial);
	stream_reader_detach(&trial.look.reader);
	close(trial.listener);
	close(trial.sender);
	udp_fixture_remove(&trial.fixture);
}

static void a_killed_stage_loses_and_repeats_no_datagram_with_io_uring(void **state)
{
	(void)state;
	kill_again_and_again(RECEIVE_URING);
}

static void a_killed_stage_loses_and_repeats_no_datagram_with_recvmmsg(void **state)
{
	(void)state;
	kill_again_and_again(RECEIVE_RECVMMSG);
}

int main(void)
{
	alarm(60);
	log_init("udp_crash_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_teardown(a_killed_stage_loses_and_repeats_no_datagram_with_io_uring,
	                                  udp_fixture_clean),
	        cmocka_unit_test_teardown(a_killed_stage_loses_and_repeats_no_datagram_with_recvmmsg,
	                                  udp_fixture_clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
