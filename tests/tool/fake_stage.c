/* A stage for tests of the supervisor: joins its role as every stage does, and misbehaves on
 * demand.
 *
 *     fake_stage --instance NAME --role ROLE [--socket FD]...
 *
 * A role with sockets appends every datagram, and what every connection sends first, to its lanes;
 * a connection is answered "taken", and what begins with "post" goes into the first queue too. A
 * role without sockets reads its required group in every topic. What it does wrong stands in the
 * file <folder of the program>/<ROLE>.mode, read again and again: "crash" ends it with status 1
 * before it runs, "freeze" stops its heartbeat, "deaf" ignores SIGTERM, "idle" takes nothing in and
 * reads nothing, "hold" claims two free slots and one message of the queue and keeps them.
 *
 * --check SECTION finds nothing wrong, or whatever stands in <folder of the
 * program>/<SECTION>.findings.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shm/queue.h"
#include "shm/topic.h"
#include "base/clock.h"
#include "stage/control.h"

#define DATAGRAM_MAX 65536
#define PATIENCE_MS  10000 /* for what a connection sends first */

static volatile sig_atomic_t asked;

struct fake {
	const char *role, *program;
	int socket[16];
	unsigned n_sockets;
	struct instance instance;
	struct control *control;
	struct topic_writer writer[INSTANCE_TOPICS_MAX];
	unsigned n_writers;
	struct topic_reader reader[INSTANCE_TOPICS_MAX];
	unsigned n_readers;
	struct queue queue;
	bool has_queue, holds;
};

static void on_sigterm(int signal_number)
{
	(void)signal_number;
	asked = 1;
}

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "fake_stage: %s: %s\n", what, why);
	exit(1);
}

static bool mode_is(const struct fake *fake, const char *mode)
{
	char path[512], text[32] = "";
	snprintf(path, sizeof path, "%.*s/%s.mode", (int)(strrchr(fake->program, '/') - fake->program),
	         fake->program, fake->role);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	bool is = fgets(text, sizeof text, file) != NULL && strncmp(text, mode, strlen(mode)) == 0;
	fclose(file);
	return is;
}

static void join_queue(struct fake *fake)
{
	struct shm_error error;
	char name[SEGMENT_NAME_MAX];
	const struct instance *instance = &fake->instance;
	int role = instance_role_index(instance, fake->role);
	if (instance->page->n_queues == 0 || role < 0)
		return;
	if (queue_attach(&fake->queue, instance->directory,
	                 instance_queue_name(name, instance->page->queue[0].name), SEGMENT_WRITE,
	                 (unsigned)role + 1, &error) != 0)
		fail(fake->role, error.text);
	fake->has_queue = true;
}

static void join_topics(struct fake *fake)
{
	char group[SHM_NAME_MAX];
	struct shm_error error;
	snprintf(group, sizeof group, "%.*s", (int)strcspn(fake->role, "."), fake->role);
	for (unsigned i = 0; i < fake->instance.page->n_topics; i++) {
		const char *topic = fake->instance.page->topic[i].name;
		if (!topic_has_required(&fake->instance, topic, group))
			continue;
		if (topic_reader_attach_stage(&fake->reader[fake->n_readers++], &fake->instance, topic, group,
		                              (struct topic_share){.n = 1}, &error) != 0)
			fail(fake->role, error.text);
	}
}

static void join(struct fake *fake, const char *instance)
{
	struct shm_error error;
	struct segment control = {0};
	char name[SEGMENT_NAME_MAX];
	int owner = 0;
	if (instance_attach(&fake->instance, instance, SEGMENT_READ, &error) != 0)
		fail(instance, error.text);
	snprintf(name, sizeof name, "%s.role", fake->role);
	if (instance_lock(fake->instance.directory, name, 2000, &owner) < 0)
		fail(name, "another process has the role");
	if (segment_attach(&control, fake->instance.directory, instance_stage_name(name, fake->role),
	                   SEGMENT_STAGE, SEGMENT_WRITE, &error) != 0)
		fail(fake->role, error.text);
	fake->control = control.body;
	atomic_store(&fake->control->state, (uint32_t)STAGE_STARTING);
	atomic_store(&fake->control->pid, (uint32_t)getpid());
	atomic_store(&fake->control->started_ns, clock_real_ns());
	atomic_store(&fake->control->heartbeat_ns, clock_monotonic_ns());
	if (mode_is(fake, "crash"))
		fail(fake->role, "told to crash");
	for (unsigned i = 0; i < fake->instance.page->n_topics && fake->n_sockets != 0; i++)
		if (topic_writer_attach(&fake->writer[fake->n_writers], &fake->instance,
		                        fake->instance.page->topic[i].name, fake->role, &error) == 0)
			fake->n_writers++;
	join_queue(fake);
	if (fake->n_sockets == 0)
		join_topics(fake);
	atomic_store(&fake->control->state, (uint32_t)STAGE_RUNNING);
}

static void append(struct topic_writer *writer, const void *datagram, size_t bytes)
{
	struct ledger *ledger = &writer->stream.shared->ledger;
	void *at = stream_reserve(&writer->stream, record_bytes(bytes));
	ledger_add(&ledger->received, 1);
	if (at == NULL) {
		ledger_add(&ledger->dropped, 1);
		return;
	}
	memcpy(record_put(at, 1, (uint32_t)bytes), datagram, bytes);
	stream_commit(&writer->stream, record_bytes(bytes), 1);
	topic_ring(writer);
}

/* Returns the bytes that the next connection sends first, having answered it, or -1. */
static ssize_t serve(struct fake *fake, int listener, char *data)
{
	static const char answer[] = "taken";
	int fd = accept(listener, NULL, NULL);
	if (fd < 0)
		return -1;
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	ssize_t n = poll(&readable, 1, PATIENCE_MS) == 1 ? recv(fd, data, DATAGRAM_MAX, 0) : -1;
	if (n >= 4 && fake->has_queue && memcmp(data, "post", 4) == 0 &&
	    !queue_push(&fake->queue, data, (uint32_t)n))
		n = -1;
	if (n >= 0)
		(void)send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
	close(fd);
	return n < 0 ? 0 : n;
}

static bool listens(int fd)
{
	int value = 0;
	socklen_t length = sizeof value;
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value == 1;
}

static void hold(struct fake *fake)
{
	struct queue_slot slot;
	if (!fake->has_queue || fake->holds)
		return;
	fake->holds = true;
	(void)queue_reserve(&fake->queue, &slot);
	(void)queue_reserve(&fake->queue, &slot);
	(void)queue_take(&fake->queue, &slot);
}

static bool take_in(struct fake *fake)
{
	static char datagram[DATAGRAM_MAX];
	bool any = false;
	if (mode_is(fake, "hold"))
		hold(fake);
	for (unsigned i = 0; i < fake->n_sockets; i++) {
		ssize_t n = listens(fake->socket[i])
		                    ? serve(fake, fake->socket[i], datagram)
		                    : recv(fake->socket[i], datagram, sizeof datagram, MSG_DONTWAIT);
		for (unsigned k = 0; n >= 0 && k < fake->n_writers; k++)
			append(&fake->writer[k], datagram, (size_t)n);
		any |= n >= 0;
	}
	return any;
}

static bool read_topic(struct topic_reader *reader)
{
	struct record_batch batch;
	unsigned lane;
	uint64_t n = 0;
	if (!topic_peek(reader, &lane, &batch))
		return false;
	while (record_next(&batch) != NULL)
		n++;
	stream_advance(&reader->lane[lane], &batch, n);
	return true;
}

static bool read_all(struct fake *fake)
{
	struct shm_error error;
	bool any = false, followed = instance_follow(&fake->instance, &error) == 0;
	for (unsigned i = 0; i < fake->n_readers; i++) {
		if (followed)
			(void)topic_reader_follow(&fake->reader[i], &error);
		any |= read_topic(&fake->reader[i]);
	}
	return any;
}

static void run(struct fake *fake)
{
	for (;;) {
		bool idle = mode_is(fake, "idle");
		bool any = !idle && (fake->n_readers != 0 ? read_all(fake) : take_in(fake));
		if (!mode_is(fake, "freeze"))
			atomic_store(&fake->control->heartbeat_ns, clock_monotonic_ns());
		if (asked && !any && !mode_is(fake, "deaf"))
			return;
		if (asked)
			atomic_store(&fake->control->state, (uint32_t)STAGE_DRAINING);
		if (!any)
			poll(NULL, 0, 5);
	}
}

/* --check, as stage/file.h has it. */
static int check(const char *program, const char *section)
{
	char path[512], line[256];
	snprintf(path, sizeof path, "%.*s/%s.findings", (int)(strrchr(program, '/') - program), program,
	         section);
	FILE *file = fopen(path, "re");
	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		fputs(line, stdout);
	if (file != NULL)
		fclose(file);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option table[] = {
	        {"instance", required_argument, NULL, 'i'}, {"role", required_argument, NULL, 'r'},
	        {"socket", required_argument, NULL, 's'},   {"check", required_argument, NULL, 'c'},
	        {"layout", required_argument, NULL, 'l'},   {NULL, 0, NULL, 0}};
	static struct fake fake;
	const char *instance = NULL;
	struct sigaction action = {.sa_handler = on_sigterm};
	sigaction(SIGTERM, &action, NULL);
	fake.program = argv[0];
	for (int c; (c = getopt_long(argc, argv, "", table, NULL)) >= 0;) {
		if (c == 'i')
			instance = optarg;
		else if (c == 'r')
			fake.role = optarg;
		else if (c == 's' && fake.n_sockets < 16)
			fake.socket[fake.n_sockets++] = atoi(optarg);
		else if (c == 'c' && strchr(argv[0], '/') != NULL)
			return check(argv[0], optarg);
		else
			return 2;
	}
	if (instance == NULL || fake.role == NULL || strchr(fake.program, '/') == NULL)
		return 2;
	join(&fake, instance);
	run(&fake);
	for (unsigned i = 0; i < fake.n_readers; i++)
		topic_reader_detach(&fake.reader[i]);
	atomic_store(&fake.control->state, (uint32_t)STAGE_ENDED);
	return 0;
}
