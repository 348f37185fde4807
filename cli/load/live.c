#include "cli/load/live.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <limits.h>
#include <net/ethernet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cli/load/live_program.h"
#include "base/clock.h"

#ifndef BPF_F_TEST_XDP_LIVE_FRAMES
#define BPF_F_TEST_XDP_LIVE_FRAMES (1U << 1) /* Linux 5.18 */
#endif

#define BATCH      64u /* pages; the ring of a veth pair has 256 places */
#define WAKE       (SIGRTMIN + 7)
#define WAKE_NS    NS_PER_MS
#define POOL_MAX   (UINT64_C(512) << 20)
#define ROUND_8(n) (((n) + 7) & ~(size_t)7)

static const unsigned char program[] = {
#include <live.bpf.inc> /* generated: live.bpf.c, compiled (cli/load/build.mk) */
};

struct live {
	struct bpf_object *object;
	struct bpf_link *taken, *error; /* tracepoints */
	int program;
	struct live_state *state;
	uint8_t *pool;
	size_t state_bytes, pool_bytes, entry_bytes;
	uint8_t page[ETH_FRAME_LEN * 2]; /* what the kernel puts into a new page; written over each time */
	uint32_t page_bytes;
	pthread_t thread;
	bool running;             /* the thread is to be joined */
	atomic_bool ending;       /* by the owner */
	atomic_int thread_result; /* by the thread: 0 or -errno; it has ended then */
	atomic_bool ended;
};

static int say_nothing(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	(void)format;
	(void)arguments;
	return 0;
}

static void make_settings(struct live_settings *settings, const struct send_frame *frame,
                          const struct generator *generator, unsigned interface)
{
	*settings = (struct live_settings){.ip_sum = frame->ip_sum,
	                                   .udp_sum = frame->udp_sum,
	                                   .head_bytes = frame->head_bytes,
	                                   .ipv6 = frame->ipv6,
	                                   .first = frame->first,
	                                   .addresses = frame->addresses,
	                                   .port = frame->port,
	                                   .sources = frame->sources,
	                                   .interface = interface,
	                                   .longest = generator_longest(generator),
	                                   .pool = generator->n};
	memcpy((uint8_t *)settings->head + LIVE_HEAD_PAD, frame->head, SEND_FRAME_HEAD_MAX);
}

/* ---- loading ---- */

static struct bpf_map *map_of(const struct live *live, const char *name)
{
	return bpf_object__find_map_by_name(live->object, name);
}

static struct bpf_program *program_of(const struct live *live, const char *name)
{
	return bpf_object__find_program_by_name(live->object, name);
}

static int load(struct live *live, const struct live_settings *settings)
{
	struct bpf_map *constants = map_of(live, ".rodata"), *pool = map_of(live, "pool");
	int result = bpf_map__set_initial_value(constants, settings, sizeof *settings);
	if (result != 0)
		return result;
	live->entry_bytes = ROUND_8(sizeof(struct live_datagram) + settings->longest + 1);
	result = bpf_map__set_value_size(pool, (uint32_t)live->entry_bytes);
	if (result == 0)
		result = bpf_map__set_max_entries(pool, settings->pool);
	return result == 0 ? bpf_object__load(live->object) : result;
}

static void *map_in(const struct live *live, const char *name, size_t bytes)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map_of(live, name)), 0);
}

/* False with errno, as below. */
static bool map_all(struct live *live, uint32_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	live->state_bytes = (sizeof *live->state + page - 1) & ~(page - 1);
	live->pool_bytes = (n * live->entry_bytes + page - 1) & ~(page - 1);
	void *state = map_in(live, "state", live->state_bytes);
	if (state == MAP_FAILED)
		return false;
	live->state = state;
	void *pool = map_in(live, "pool", live->pool_bytes);
	if (pool == MAP_FAILED)
		return false;
	live->pool = pool;
	return true;
}

static void fill_pool(const struct live *live, const struct generator *generator)
{
	for (uint32_t i = 0; i < generator->n; i++) {
		const struct generator_datagram *from = &generator->datagram[i];
		struct live_datagram *to =
		        (struct live_datagram *)(void *)(live->pool + i * live->entry_bytes);
		const uint8_t *data = generator->bytes + from->offset;
		to->length = from->length;
		to->sum = send_frame_sum(data, from->length);
		memcpy(to->data, data, from->length);
	}
}

static bool open_all(struct live *live, const struct live_settings *settings, const char **why)
{
	(void)libbpf_set_print(say_nothing);
	*why = "live frames: the kernel does not load the program (Linux 5.18; CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)";
	live->object = bpf_object__open_mem(program, sizeof program, NULL);
	if (live->object == NULL)
		return false;
	int result = load(live, settings);
	if (result != 0) {
		errno = -result;
		return false;
	}
	live->program = bpf_program__fd(program_of(live, "millrace_live"));
	*why = "live frames: the tracepoints xdp_devmap_xmit and xdp_redirect_err are not to be had";
	live->taken = bpf_program__attach(program_of(live, "millrace_taken"));
	if (live->taken == NULL)
		return false;
	live->error = bpf_program__attach(program_of(live, "millrace_error"));
	if (live->error == NULL)
		return false;
	*why = "live frames: no memory for the datagrams";
	return map_all(live, settings->pool);
}

/* ---- running ---- */

/* How often the program is run; of one run the kernel makes less ado. */
static int run(const struct live *live, int times)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = live->page, .data_size_in = live->page_bytes,
	            .repeat = times, .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);
	int result = bpf_prog_test_run_opts(live->program, &options);
	return result == -EINTR ? 0 : result;
}

static int try_one(struct live *live, const char **why)
{
	*why = "live frames: the kernel does not run the program on them (Linux 5.18)";
	live->state->goal = 1;
	int result = run(live, 1);
	if (result == 0 && live->state->error != 0) {
		*why = "live frames: its driver takes none; a veth pair does when its other end has GRO on or an XDP program";
		result = live->state->error;
	}
	if (result == 0 && live_sent(live) == 0) {
		*why = "live frames: it does not take the first one; is it up, and its other end?";
		result = -ENETDOWN;
	}
	return result;
}

static void *run_on(void *argument)
{
	struct live *live = argument;
	int result = 0;
	while (result == 0 && !atomic_load(&live->ending))
		result = run(live, INT_MAX);
	atomic_store(&live->thread_result, result);
	atomic_store(&live->ended, true);
	return NULL;
}

static void wake(int signal_number)
{
	(void)signal_number; /* that it comes ends the system call */
}

/* The thread takes no signal but the one that ends its call: all others are the process's. */
static int start(struct live *live)
{
	sigset_t all, before;
	const struct sigaction action = {.sa_handler = wake};
	sigfillset(&all);
	sigdelset(&all, WAKE);
	if (sigaction(WAKE, &action, NULL) != 0)
		return -errno;
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int result = -pthread_create(&live->thread, NULL, run_on, live);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	live->running = result == 0;
	return result;
}

/* A signal that comes before the system call does not end it: so there is one each millisecond. */
void live_stop(struct live *live)
{
	if (!live->running)
		return;
	atomic_store(&live->ending, true);
	while (!atomic_load(&live->ended)) {
		pthread_kill(live->thread, WAKE);
		nanosleep(&(struct timespec){.tv_nsec = (long)WAKE_NS}, NULL);
	}
	pthread_join(live->thread, NULL);
	live->running = false;
	atomic_store(&live->ending, false);
	atomic_store(&live->ended, false);
}

int live_open(struct live **opened, const struct send_frame *frame, const struct generator *generator,
              unsigned interface, const char **why)
{
	struct live_settings settings;
	make_settings(&settings, frame, generator, interface);
	*why = "live frames: the pool is too large";
	if ((uint64_t)generator->n * ROUND_8(sizeof(struct live_datagram) + settings.longest + 1) > POOL_MAX)
		return -E2BIG;
	struct live *live = calloc(1, sizeof *live);
	if (live == NULL)
		abort();
	live->page_bytes = frame->head_bytes + settings.longest;
	*why = "live frames: a frame does not fit";
	int result = 0;
	if (live->page_bytes > sizeof live->page) {
		result = -EMSGSIZE;
	} else if (!open_all(live, &settings, why)) {
		result = errno != 0 ? -errno : -EIO;
	} else {
		fill_pool(live, generator);
		result = try_one(live, why);
	}
	if (result != 0) {
		live_close(live);
		return result;
	}
	*opened = live;
	return 0;
}

void live_close(struct live *live)
{
	if (live == NULL)
		return;
	live_stop(live);
	if (live->pool != NULL)
		munmap(live->pool, live->pool_bytes);
	if (live->state != NULL)
		munmap(live->state, live->state_bytes);
	bpf_link__destroy(live->error);
	bpf_link__destroy(live->taken);
	if (live->object != NULL)
		bpf_object__close(live->object);
	free(live);
}

/* ---- sending ---- */

/* Words that the program writes. */
static uint64_t look(const __u64 *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

int live_allow(struct live *live, uint64_t goal)
{
	__atomic_store_n(&live->state->goal, goal, __ATOMIC_RELEASE);
	int result = live->running ? 0 : start(live);
	if (result == 0 && atomic_load(&live->ended))
		result = atomic_load(&live->thread_result);
	return result != 0 ? result : __atomic_load_n(&live->state->error, __ATOMIC_RELAXED);
}

/* refused first: it grows before answered does, and the sum must not be too large. */
uint64_t live_sent(const struct live *live)
{
	uint64_t answered = look(&live->state->answered), refused = look(&live->state->refused);
	return answered - refused;
}

uint64_t live_position(const struct live *live)
{
	return look(&live->state->next);
}

uint64_t live_refused(const struct live *live)
{
	return look(&live->state->refused);
}
