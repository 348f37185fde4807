#include "supervisor/holder.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "stage/handed.h"
#include "stage/notify.h"
#include "supervisor/capabilities.h"
#include "supervisor/home.h"

#define STAGES_MAX (2u * INSTANCE_ROLES_MAX) /* connections: one that has just died counts, too */
#define LOOK_MS    1000

struct stage_connection {
	int fd;                  /* -1: none */
	char role[SHM_NAME_MAX]; /* "": it has not asked yet */
	bool without;            /* it was told that there is nothing for it */
};

struct holder {
	struct supervisor *supervisor;
	int listening;
	struct stage_connection stage[STAGES_MAX];
};

/* ---- what it makes ---- */

static int load(struct supervisor *supervisor, const char *directory, struct shm_error *error)
{
	char *errors = NULL;
	int result = home_hold(directory, error);
	if (result == 0)
		result = segments_look(&supervisor->segments, directory, error);
	if (result == 0 && !supervisor->segments.adopted) {
		shm_explain(error, "%s: there are no segments", directory);
		result = -ENOENT;
	}
	if (result != 0)
		return result;
	supervisor->config = config_load_instance(directory, NULL, 0, &errors);
	if (supervisor->config != NULL)
		supervisor->plan = plan_make(supervisor->config, &errors);
	if (supervisor->plan == NULL)
		shm_explain(error, "%s", errors == NULL ? "no configuration is in force" : errors);
	free(errors);
	return supervisor->plan == NULL ? -EINVAL
	                                : plan_merge(supervisor->plan, supervisor->segments.old, error);
}

/* As packets_apply wants them: roles that there are, and the addresses to which the service manager
 * has bound their sockets, which are those of the configuration, or the stages would not start. */
static void describe(struct supervisor *supervisor)
{
	const struct plan *plan = supervisor->plan;
	struct sockets *sockets = &supervisor->sockets;
	struct children *children = &supervisor->children;
	for (unsigned i = 0; i < plan->n_roles; i++)
		if (plan->role[i].listener >= 0 &&
		    plan->listener[plan->role[i].listener].interface[0] != '\0')
			children->child[children->n++].role = plan->role[i];
	for (unsigned i = 0; i < plan->n_listeners; i++) {
		const struct plan_listener *listener = &plan->listener[i];
		for (unsigned k = 0;
		     k < listener->n_addresses && listener->interface[0] != '\0' && sockets->n < SOCKETS_MAX;
		     k++) {
			struct socket_entry *entry = &sockets->entry[sockets->n++];
			*entry = (struct socket_entry){
			        .fd = -1, .kind = PLAN_DATAGRAMS, .listener = i, .place = k, .kept = true};
			entry->bound = plan->address[listener->first_address + k].address;
			entry->bound_length = plan->address[listener->first_address + k].length;
		}
	}
}

static void apply(struct supervisor *supervisor)
{
	packets_apply(supervisor->packets, supervisor->config, supervisor->plan, &supervisor->sockets,
	              &supervisor->children);
	supervisor_announce_packets(supervisor);
}

/* ---- the socket ---- */

/* Who may enter its folder may connect. */
static int open_socket(struct shm_error *error)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	const char *path = getenv(HANDED_VARIABLE);
	if (path == NULL || *path == '\0' || strlen(path) >= sizeof at.sun_path) {
		shm_explain(error, HANDED_VARIABLE " names no socket; allowed: a path of at most %zu bytes",
		            sizeof at.sun_path - 1);
		return -EINVAL;
	}
	memcpy(at.sun_path, path, strlen(path));
	(void)unlink(path); /* of a holder that died */
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0 && chmod(path, 0660) == 0 &&
	    listen(fd, (int)STAGES_MAX) == 0)
		return fd;
	int result = -errno;
	shm_explain(error, "%s: %s", path, strerror(-result));
	if (fd >= 0)
		close(fd);
	return result;
}

/* ---- the stages ---- */

static void drop(struct holder *holder, struct stage_connection *stage)
{
	struct child_packets handed;
	close(stage->fd);
	stage->fd = -1;
	if (stage->role[0] == '\0')
		return;
	packets_of(holder->supervisor->packets, stage->role, &handed);
	for (unsigned i = 0; i < handed.n; i++)
		__atomic_store_n(handed.open[i], 0, __ATOMIC_RELEASE);
	log_debug("a stage has left", "role=%s", stage->role);
	stage->role[0] = '\0';
	stage->without = false;
}

/* What could not be had before may be there now: an interface, or a queue that the life before of a
 * stage had kept. A stage that does without begins again when there is something for it. */
static void apply_again(struct holder *holder)
{
	struct child_packets handed;
	apply(holder->supervisor);
	for (unsigned i = 0; i < STAGES_MAX; i++) {
		struct stage_connection *stage = &holder->stage[i];
		if (stage->fd < 0 || !stage->without)
			continue;
		packets_of(holder->supervisor->packets, stage->role, &handed);
		if (handed.n != 0)
			drop(holder, stage);
	}
}

static int answer(int fd, const struct child_packets *handed)
{
	alignas(struct cmsghdr) char control[CMSG_SPACE(HANDED_FRAMES_MAX * sizeof(int))] = {0};
	char text[HANDED_TEXT_MAX] = "none";
	int descriptor[HANDED_FRAMES_MAX], n = 0;
	for (unsigned i = 0; i < handed->n; i++) {
		n += snprintf(text + n, sizeof text - (size_t)n, "%s%u:%u", i == 0 ? "" : " ",
		              handed->frames[i].queue, handed->frames[i].count);
		descriptor[i] = handed->frames[i].socket;
	}
	struct iovec line = {text, strlen(text)};
	struct msghdr message = {.msg_iov = &line, .msg_iovlen = 1};
	if (handed->n != 0) {
		size_t bytes = (handed->n + 1) * sizeof descriptor[0];
		descriptor[handed->n] = handed->gate;
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(bytes);
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		*head = (struct cmsghdr){
		        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(bytes)};
		memcpy(CMSG_DATA(head), descriptor, bytes);
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* It asks, or it has ended. Another connection that has the role is of its former life. */
static void hear(struct holder *holder, struct stage_connection *stage)
{
	char role[SHM_NAME_MAX];
	struct child_packets handed;
	ssize_t n = recv(stage->fd, role, sizeof role - 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || stage->role[0] != '\0') {
		drop(holder, stage);
		return;
	}
	role[n] = '\0';
	for (unsigned i = 0; i < STAGES_MAX; i++)
		if (holder->stage[i].fd >= 0 && strcmp(holder->stage[i].role, role) == 0)
			drop(holder, &holder->stage[i]);
	packets_of(holder->supervisor->packets, role, &handed);
	if (handed.n == 0) {
		apply_again(holder);
		packets_of(holder->supervisor->packets, role, &handed);
	}
	snprintf(stage->role, sizeof stage->role, "%s", role);
	stage->without = handed.n == 0;
	if (answer(stage->fd, &handed) != 0)
		drop(holder, stage);
	else
		log_info("handed to a stage", "role=%s queues=%u", role, handed.n);
}

static void take_in(struct holder *holder)
{
	int fd = accept4(holder->listening, NULL, NULL, SOCK_CLOEXEC);
	for (unsigned i = 0; fd >= 0 && i < STAGES_MAX; i++)
		if (holder->stage[i].fd < 0) {
			holder->stage[i].fd = fd;
			return;
		}
	if (fd >= 0)
		close(fd);
}

/* ---- the loop ---- */

/* True when it is to end. */
static bool take_signals(struct holder *holder)
{
	struct signalfd_siginfo info;
	bool ends = false;
	while (read(holder->supervisor->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGHUP)
			apply_again(holder);
		else
			ends = true;
	}
	return ends;
}

static void run(struct holder *holder)
{
	struct pollfd at[2 + STAGES_MAX];
	do {
		at[0] = (struct pollfd){.fd = holder->supervisor->signals, .events = POLLIN};
		at[1] = (struct pollfd){.fd = holder->listening, .events = POLLIN};
		for (unsigned i = 0; i < STAGES_MAX; i++)
			at[2 + i] = (struct pollfd){.fd = holder->stage[i].fd, .events = POLLIN};
		(void)poll(at, 2 + STAGES_MAX, LOOK_MS);
		for (unsigned i = 0; i < STAGES_MAX; i++)
			if (at[2 + i].fd >= 0 && at[2 + i].revents != 0 &&
			    holder->stage[i].fd == at[2 + i].fd)
				hear(holder, &holder->stage[i]);
		if (at[1].revents != 0)
			take_in(holder);
		packets_look(holder->supervisor->packets);
		notify_beat(clock_monotonic_ns());
	} while (!take_signals(holder));
}

static int open_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int start(struct holder *holder, const struct supervisor_options *options, struct shm_error *error)
{
	struct supervisor *supervisor = holder->supervisor;
	char directory[128];
	int result = segment_directory(directory, sizeof directory, segment_instance(options->instance));
	if (result != 0)
		shm_explain(error, "that is not a name for an instance; allowed: " SHM_NAME_RULE);
	else
		result = load(supervisor, directory, error);
	if (result == 0)
		result = holder->listening = open_socket(error);
	if (result < 0)
		return result;
	describe(supervisor);
	apply(supervisor);
	return 0;
}

int holder_run(struct supervisor *supervisor, const struct supervisor_options *options)
{
	struct holder holder = {.supervisor = supervisor, .listening = -1};
	struct shm_error error = {""};
	char text[600];
	memset(supervisor, 0, sizeof *supervisor);
	supervisor->options = *options;
	supervisor->lock = supervisor->guard = -1;
	requests_init(&supervisor->requests);
	log_init("packets", LOG_INFO, LOG_TEXT);
	capabilities_lower();
	supervisor->packets = packets_create();
	supervisor->signals = open_signals();
	notify_open();
	for (unsigned i = 0; i < STAGES_MAX; i++)
		holder.stage[i].fd = -1;
	int result = start(&holder, options, &error);
	if (result == 0) {
		notify_ready("hands packets to the stages");
		run(&holder);
		notify_stopping("takes its programs off the interfaces");
		packets_quiet(supervisor->packets);
	} else {
		snprintf(text, sizeof text, "millrace: %s\n", error.text);
		log_text(STDERR_FILENO, text);
	}
	supervisor->sockets.n = 0; /* they are the service manager's */
	supervisor_fini(supervisor);
	if (holder.listening >= 0)
		close(holder.listening);
	return result == 0 ? 0 : SUPERVISOR_CANNOT_START;
}
