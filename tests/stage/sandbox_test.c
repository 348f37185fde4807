/* What the sandbox of each stage refuses, tried in a child that has put it on, by the real row of
 * its table; and that what it needs still works. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "stage/calls.h"
#include "stage/landlock.h"
#include "stage/sandbox.h"
#include "stage/stage.h"
#include "stage/values.h"
#include "tests/fixture/sandbox.h"

#define SAID    8192
#define SECRETS ".instance.secrets"
#define OTHER   65534u /* nobody: as good as any user who is not us */

/* A place with an instance's folder, data, and folders that no stage has a right to. */
struct place {
	char root[64];
	char instance[96], secrets[96], data[96], logs[96], elsewhere[96], theirs[128], document[4096];
	struct config *config;
	int listener;
	uint16_t port;
};

static void make_folder(char *path, size_t size, const char *root, const char *name)
{
	snprintf(path, size, "%s/%s", root, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void make_config(struct place *place)
{
	char *errors = NULL;
	int n = snprintf(
	        place->document, sizeof place->document,
	        "data_dir: %s\nsandbox: auto\ningest: {udp: [{listen: ['127.0.0.1:0']}], http: [{listen: ['127.0.0.1:0']}]}\n"
	        "serve: {listen: ['127.0.0.1:4003'], peers: ['http://127.0.0.1:4005']}\n"
	        "sinks:\n"
	        " - {name: o, kind: objects, topics: [log], store: {s3: {bucket: b, endpoint: 'http://127.0.0.1:9000'}}}\n"
	        " - {name: f, kind: file, topics: [log], path: %s/lines}\n"
	        " - {name: k, kind: kafka, topics: [log], brokers: ['127.0.0.1:9092']}\n",
	        place->data, place->logs);
	place->config = config_load_text("test", place->document, (size_t)n, NULL, 0, &errors);
	if (place->config == NULL)
		fail_msg("%s", errors);
}

static int set_up(void **state)
{
	struct place *place = calloc(1, sizeof *place);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	snprintf(place->root, sizeof place->root, "/var/tmp/millrace-sandbox-XXXXXX");
	assert_non_null(mkdtemp(place->root));
	make_folder(place->instance, sizeof place->instance, place->root, "instance");
	make_folder(place->secrets, sizeof place->secrets, place->root, SECRETS);
	make_folder(place->data, sizeof place->data, place->root, "data");
	make_folder(place->logs, sizeof place->logs, place->root, "logs");
	make_folder(place->elsewhere, sizeof place->elsewhere, place->root, "elsewhere");
	snprintf(place->theirs, sizeof place->theirs, "%s/theirs", place->elsewhere);
	int fd = open(place->theirs, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "secret", 6), 6);
	close(fd);
	make_config(place);
	place->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(place->listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(place->listener, 8), 0);
	assert_int_equal(getsockname(place->listener, (struct sockaddr *)&address, &length), 0);
	place->port = ntohs(address.sin_port);
	*state = place;
	return 0;
}

static int tear_down(void **state)
{
	struct place *place = *state;
	tree_remove(place->root);
	close(place->listener);
	config_free(place->config);
	free(place);
	return 0;
}

/* ---- in the child ---- */

static struct place *here;
static int telling; /* the pipe to the parent: what was wrong */

static void __attribute__((format(printf, 1, 2))) wrong(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vdprintf(telling, format, arguments);
	va_end(arguments);
}

static void expect(const char *what, long result, int expected)
{
	int got = result < 0 ? errno : 0;
	if (got != expected)
		wrong("%s: %s, expected %s\n", what, strerror(got), strerror(expected));
}

static long try_open(const char *folder, const char *name, int flags)
{
	char path[256];
	snprintf(path, sizeof path, "%s%s%s", folder, name[0] == '\0' ? "" : "/", name);
	int fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	return fd;
}

static long try_socket(int family, int type)
{
	int fd = socket(family, type | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		close(fd);
	return fd;
}

typedef int address_fn(int fd, const struct sockaddr *address, socklen_t length);

static long try_port(address_fn *call, uint16_t port)
{
	struct sockaddr_in address = {
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long result = fd < 0 ? -1 : call(fd, (struct sockaddr *)&address, sizeof address);
	int failed = errno;
	if (fd >= 0)
		close(fd);
	errno = failed;
	return result;
}

/* Whatever a stage is granted. */
static void try_calls_of_nobody(void)
{
	char *const argv[] = {"/bin/true", NULL};
	char byte;
	struct {
		void *base;
		size_t bytes;
	} vector = {&byte, 1};
	expect("execve", syscall(SYS_execve, "/bin/true", argv, argv), EPERM);
	expect("execveat", syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, argv, 0), EPERM);
	expect("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), EPERM);
	expect("a namespace", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), EPERM);
	expect("unshare", syscall(SYS_unshare, CLONE_NEWNS), EPERM);
	expect("setns", syscall(SYS_setns, 0, 0), EPERM);
	expect("ptrace", syscall(SYS_ptrace, 0, 0, 0, 0), EPERM);
	expect("process_vm_readv", syscall(SYS_process_vm_readv, getppid(), &vector, 1, &vector, 1, 0),
	       EPERM);
	expect("pidfd_open", syscall(SYS_pidfd_open, getppid(), 0), EPERM);
	expect("io_uring_setup", syscall(SYS_io_uring_setup, 8, NULL), EPERM);
	expect("bpf", syscall(SYS_bpf, 0, NULL, 0), EPERM);
	expect("perf_event_open", syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0), EPERM);
	expect("userfaultfd", syscall(SYS_userfaultfd, 0), EPERM);
	expect("keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM);
	expect("mount", syscall(SYS_mount, "a", "/mnt", "tmpfs", 0, NULL), EPERM);
	expect("chroot", syscall(SYS_chroot, "/"), EPERM);
	expect("setuid", syscall(SYS_setuid, 0), EPERM);
	expect("capset", syscall(SYS_capset, NULL, NULL), EPERM);
	expect("personality", syscall(SYS_personality, 0), EPERM);
	expect("symlink", syscall(SYS_symlinkat, "a", AT_FDCWD, "b"), EPERM);
	expect("mknod", syscall(SYS_mknodat, AT_FDCWD, "b", S_IFIFO, 0), EPERM);
	expect("truncate", syscall(SYS_truncate, "/usr/bin/env", 0), EPERM);
	expect("cutting what is opened to read", try_open("/usr/bin/env", "", O_RDONLY | O_TRUNC), EPERM);
	expect("a signal to the parent", syscall(SYS_kill, getppid(), SIGTERM), EPERM);
	expect("a signal to its thread", syscall(SYS_tgkill, getppid(), getppid(), SIGTERM), EPERM);
	expect("a limit", syscall(SYS_prlimit64, 0, 7, &vector, NULL), EPERM);
	expect("to be dumpable again", prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), EPERM);
	expect("packets", try_socket(AF_PACKET, SOCK_RAW), EPERM);
}

static void try_granted_calls(unsigned grants)
{
	bool sockets = (grants & (SANDBOX_CONNECT | SANDBOX_LISTEN)) != 0;
	void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	expect("executable memory", code == MAP_FAILED ? -1 : 0, grants & SANDBOX_CODE ? 0 : EPERM);
	expect("a socket", try_socket(AF_INET, SOCK_STREAM), sockets ? 0 : EPERM);
	expect("a datagram socket", try_socket(AF_INET6, SOCK_DGRAM), sockets ? 0 : EPERM);
	expect("io_uring_enter", syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0),
	       grants & SANDBOX_RING ? EBADF : EPERM);
	expect("SIGUSR1 to nobody", syscall(SYS_kill, INT32_MAX, SIGUSR1), EPERM);
	int taken;
	do /* those of stages before this one */
		taken = accept4(here->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (taken >= 0 && close(taken) == 0);
	expect("accept", accept4(here->listener, NULL, NULL, SOCK_NONBLOCK),
	       grants & (SANDBOX_SERVE | SANDBOX_CONNECT | SANDBOX_LISTEN) ? EAGAIN : EPERM);
	struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct msghdr message = {.msg_name = &nobody, .msg_namelen = sizeof nobody};
	expect("sending to an address",
	       sendto(here->listener, "", 0, MSG_NOSIGNAL, (struct sockaddr *)&nobody, sizeof nobody),
	       sockets ? EPIPE : EPERM);
	expect("a message to an address", sendmsg(here->listener, &message, MSG_NOSIGNAL),
	       sockets ? EPIPE : EPERM);
	expect("an answer", send(here->listener, "", 0, MSG_NOSIGNAL), EPIPE);
	expect("rename", renameat(AT_FDCWD, "/nothing", AT_FDCWD, "/nothing"),
	       grants & SANDBOX_CHANGE ? ENOENT : EPERM);
	expect("a file in memory", syscall(SYS_memfd_create, "test", 0), grants & SANDBOX_MEMORY ? 0 : EPERM);
	expect("whether a process is there", kill(INT32_MAX, 0), ESRCH);
}

/* Two roles of each stage, each of which writes a lane of topic `t`. */
static void role_of(const struct sandbox_row *row, unsigned number, char role[SHM_NAME_MAX])
{
	snprintf(role, SHM_NAME_MAX, "%s.%u", row->stage, number);
}

static long try_file(const char *format, const char *role, int flags)
{
	char name[SEGMENT_NAME_MAX];
	snprintf(name, sizeof name, format, role);
	return try_open(here->instance, name, flags);
}

static void try_instance(const struct sandbox_row *row)
{
	char own[SHM_NAME_MAX], other[SHM_NAME_MAX];
	bool known = sandbox_find(row->stage) != NULL;
	role_of(row, 0, own);
	role_of(row, 1, other);
	expect("its control block", try_file("%s.stage", own, O_RDWR), known ? 0 : EACCES);
	expect("its lock", try_file("%s.role", own, O_RDWR), known ? 0 : ENOENT);
	expect("its lane", try_open(here->instance, "t.lane.0", O_RDWR), known ? 0 : EACCES);
	expect("another's control block, to read", try_file("%s.stage", other, O_RDONLY), 0);
	expect("another's control block", try_file("%s.stage", other, O_RDWR), EACCES);
	expect("another's lock", try_file("%s.role", other, O_RDWR), EACCES);
	expect("another's lane", try_open(here->instance, "t.lane.1", O_RDWR), EACCES);
	expect("another's lane, to read", try_open(here->instance, "t.lane.1", O_RDONLY), 0);
	expect("the page", try_open(here->instance, "instance", O_RDWR), EACCES);
	if (strcmp(row->stage, "ingest-udp") != 0)
		expect("what is counted of kernel drops", try_open(here->instance, "drops", O_RDWR), EACCES);
}

/* By the folder's name, and from the instance's, which it may read. */
static void try_secrets(const struct sandbox_row *row, int expected)
{
	for (unsigned i = 0; i < 2; i++) {
		char role[SHM_NAME_MAX], beside[SHM_NAME_MAX + 32];
		role_of(row, i, role);
		snprintf(beside, sizeof beside, "../" SECRETS "/%s", role);
		expect(i == 0 ? "its secrets" : "another's secrets", try_open(here->secrets, role, O_RDONLY),
		       expected);
		expect(i == 0 ? "its secrets, beside the instance" : "another's secrets, beside the instance",
		       try_open(here->instance, beside, O_RDONLY), expected);
	}
	expect("whose secrets there are", try_open(here->secrets, "", O_RDONLY), expected);
}

static void try_paths(const struct sandbox_row *row)
{
	try_secrets(row, EACCES);
	unsigned grants = row->grants;
	expect("/etc/shadow", try_open("/etc/shadow", "", O_RDONLY), EACCES);
	expect("another's file", try_open(here->theirs, "", O_RDONLY), EACCES);
	expect("another's file, to write", try_open(here->theirs, "", O_WRONLY), EACCES);
	expect("a file elsewhere", try_open(here->elsewhere, "new", O_WRONLY | O_CREAT), EACCES);
	expect("a program", try_open("/usr/bin", "env", O_RDONLY), 0);
	expect("a file in /usr", try_open("/usr/bin", "millrace-test", O_WRONLY | O_CREAT), EACCES);
	expect("/dev/null", try_open("/dev/null", "", O_RDWR), 0);
	expect("/proc/self/environ of the parent", try_open("/proc/1/environ", "", O_RDONLY), EACCES);
	expect("/proc/stat", try_open("/proc/stat", "", O_RDONLY), grants & SANDBOX_PROC ? 0 : EACCES);
	expect("a file in the instance's folder", try_open(here->instance, "new", O_RDWR | O_CREAT), EACCES);
	try_instance(row);
	expect("/etc/hosts", try_open("/etc/hosts", "", O_RDONLY),
	       grants & SANDBOX_LOOK_UP || row->read != NULL ? 0 : EACCES);
	expect("a database", try_open(here->data, "x.db", O_RDWR | O_CREAT),
	       grants & SANDBOX_DATA ? 0 : EACCES);
	expect("a log", try_open(here->logs, "lines", O_WRONLY | O_CREAT),
	       row->change_beside != NULL ? 0 : EACCES);
}

static void try_ports(const struct sandbox_row *row)
{
	bool any = row->grants & SANDBOX_CONNECT && row->connect == NULL;
	if (row->grants & SANDBOX_CONNECT) {
		expect("a port", try_port(connect, here->port), any ? 0 : EACCES);
		expect("binding a port", try_port(bind, here->port), EACCES);
	}
	if (row->connect != NULL) /* nobody listens there, and one may ask */
		expect("its own port",
		       try_port(connect, strcmp(row->stage, "serve") == 0 ? 4005 : 9000) < 0 &&
		                       errno != EACCES
		               ? 0
		               : -1,
		       0);
}

static void look_at_privileges(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct left[_LINUX_CAPABILITY_U32S_3];
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		wrong("new privileges can come\n");
	if (syscall(SYS_capget, &head, left) != 0)
		wrong("capget: %s\n", strerror(errno));
	for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		if (left[i].effective != 0 || left[i].permitted != 0 || left[i].inheritable != 0)
			wrong("capabilities are left\n");
}

static const char *section_of(const char *stage)
{
	static const char *const section[][2] = {{"ingest-udp", "ingest.udp[0]"},
	                                         {"ingest-http", "ingest.http[0]"},
	                                         {"objects", "sinks[0]"},
	                                         {"file", "sinks[1]"},
	                                         {"kafka", "sinks[2]"}};
	for (unsigned i = 0; i < sizeof section / sizeof *section; i++)
		if (strcmp(section[i][0], stage) == 0)
			return section[i][1];
	return stage;
}

static void make_file(const char *name)
{
	if (try_open(here->instance, name, O_RDWR | O_CREAT) < 0)
		wrong("%s: %s\n", name, strerror(errno));
}

/* As the supervisor makes it, as far as names go. Its lock is not there yet. */
static struct sandbox_place make_instance(const struct sandbox_row *row)
{
	static struct instance_page page;
	static char role[2][SHM_NAME_MAX];
	char name[SEGMENT_NAME_MAX];
	page = (struct instance_page){.n_topics = 1, .n_roles = 2};
	snprintf(page.topic[0].name, SHM_NAME_MAX, "t");
	page.topic[0].n_lanes = 2;
	for (unsigned i = 0; i < 2; i++) {
		role_of(row, i, role[i]);
		memcpy(page.role[i].name, role[i], sizeof role[i]);
		snprintf(page.role[i].program, SHM_NAME_MAX, "%s", row->stage);
		memcpy(page.topic[0].lane_role[i], role[i], sizeof role[i]);
		make_file(instance_stage_name(name, role[i]));
		make_file(instance_lane_name(name, "t", i));
	}
	snprintf(name, sizeof name, "%s.role", role[1]);
	make_file(name);
	make_file("instance");
	make_file("drops");
	return (struct sandbox_place){.page = &page, .directory = here->instance, .role = role[0]};
}

/* Of both roles, for the group. */
static void make_secrets(const struct sandbox_row *row, gid_t group)
{
	char role[SHM_NAME_MAX];
	for (unsigned i = 0; i < 2; i++) {
		role_of(row, i, role);
		expect("the folder of secrets", chown(here->secrets, (uid_t)-1, group), 0);
		expect("its mode", chmod(here->secrets, 0750), 0);
		expect("secrets", try_open(here->secrets, role, O_RDWR | O_CREAT), 0);
		int folder = open(here->secrets, O_PATH | O_DIRECTORY | O_CLOEXEC);
		expect("their group", fchownat(folder, role, (uid_t)-1, group, 0), 0);
		expect("their mode", fchmodat(folder, role, 0640, 0), 0);
		close(folder);
	}
}

static void try_all(const struct sandbox_row *row)
{
	struct shm_error error = {""};
	make_secrets(row, getegid());
	try_secrets(row, 0); /* until the sandbox is in force */
	const struct sandbox_place where = make_instance(row);
	struct sandbox *sandbox;
	const struct stage_ops ops = {.name = row->stage};
	if (sandbox_enter(&sandbox, &ops, here->config, section_of(row->stage), &where, &error) != 0) {
		wrong("enter: %s\n", error.text);
		return;
	}
	look_at_privileges(); /* before capget is refused */
	/* EFAULT: it would be set up */
	if (sandbox_in_force(sandbox) & SANDBOX_PATHS) /* no sanitizer is built in */
		expect("io_uring_setup before init", syscall(SYS_io_uring_setup, 8, NULL),
		       row->grants & SANDBOX_RING ? EFAULT : EPERM);
	bool dumps = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0;
	if (sandbox_close(sandbox, row->stage, &error) != 0)
		wrong("close: %s\n", error.text);
	unsigned in_force = sandbox_in_force(sandbox);
	if (in_force & SANDBOX_PATHS)
		try_paths(row);
	if (in_force & SANDBOX_PORTS)
		try_ports(row);
	if (!(in_force & SANDBOX_CALLS))
		return; /* a sanitizer is built in */
	if (dumps != ((row->grants & SANDBOX_SECRET) == 0))
		wrong("dumps are %s\n", dumps ? "made, and would show its keys" : "not made");
	try_calls_of_nobody();
	try_granted_calls(row->grants);
	if (row->grants & SANDBOX_QUIET ? sandbox_refused(sandbox) != 0 : sandbox_refused(sandbox) < 28)
		wrong("%llu refused calls were counted\n", (unsigned long long)sandbox_refused(sandbox));
}

/* ---- the tests ---- */

static void in_child(struct place *place, void (*work)(const struct sandbox_row *row),
                     const struct sandbox_row *row, char said[SAID])
{
	int ends[2], status;
	assert_int_equal(pipe(ends), 0);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		close(ends[0]);
		here = place;
		telling = ends[1];
		(void)fcntl(place->listener, F_SETFL, O_NONBLOCK);
		work(row);
		_exit(0);
	}
	assert_true(child > 0);
	close(ends[1]);
	size_t n = 0;
	for (ssize_t got; (got = read(ends[0], said + n, SAID - 1 - n)) > 0;)
		n += (size_t)got;
	said[n] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		snprintf(said + n, SAID - n, "the child ended with status 0x%x\n", (unsigned)status);
}

static void every_stage_is_refused_what_its_row_does_not_grant(void **state)
{
	char said[SAID];
	const struct sandbox_row *row;
	bool all = true;
	for (unsigned i = 0; (row = sandbox_row(i)) != NULL; i++) {
		in_child(*state, try_all, row, said);
		if (said[0] != '\0')
			print_error("%s:\n%s", row->stage, said);
		all = all && said[0] == '\0';
	}
	assert_true(all);
}

/* The kernel's owners and modes let a user of a kind read what is for its kind. */
static void try_secrets_as_another_user(const struct sandbox_row *row)
{
	struct shm_error error = {""};
	struct sandbox *sandbox;
	const struct stage_ops ops = {.name = row->stage};
	make_secrets(row, OTHER);
	expect("the root", chmod(here->root, 0755), 0);
	expect("the instance", chown(here->instance, OTHER, OTHER), 0);
	if (setgroups(0, NULL) != 0 || setresgid(OTHER, OTHER, OTHER) != 0 ||
	    setresuid(OTHER, OTHER, OTHER) != 0)
		wrong("another user: %s\n", strerror(errno));
	const struct sandbox_place where = make_instance(row);
	try_secrets(row, 0);
	if (sandbox_enter(&sandbox, &ops, here->config, section_of(row->stage), &where, &error) != 0)
		wrong("enter: %s\n", error.text);
	else if (sandbox_in_force(sandbox) & SANDBOX_PATHS)
		try_secrets(row, EACCES);
}

static void a_sink_cannot_read_the_secrets_of_another_of_its_user(void **state)
{
	static const char *const sink[] = {"file", "kafka", "objects"};
	char said[SAID];
	if (geteuid() != 0)
		skip();
	for (unsigned i = 0; i < sizeof sink / sizeof *sink; i++) {
		in_child(*state, try_secrets_as_another_user, sandbox_find(sink[i]), said);
		assert_string_equal(said, "");
	}
}

static void the_strictest_is_for_a_stage_without_a_row(void **state)
{
	static const struct sandbox_row unknown = {.stage = "tally-of-somebody"};
	char said[SAID];
	assert_null(sandbox_find(unknown.stage));
	in_child(*state, try_all, &unknown, said);
	assert_string_equal(said, "");
}

static void look_for_a_replaced_folder(const struct sandbox_row *row)
{
	struct shm_error error = {""};
	struct sandbox *sandbox;
	const struct stage_ops ops = {.name = row->stage};
	const char *path = "";
	bool written = false;
	char aside[128];
	const struct sandbox_place where = make_instance(row);
	if (sandbox_enter(&sandbox, &ops, here->config, "tally", &where, &error) != 0)
		wrong("enter: %s\n", error.text);
	if (!(sandbox_in_force(sandbox) & SANDBOX_PATHS))
		return;
	if (sandbox_outdated(sandbox, false, &path, &written))
		wrong("%s was not replaced\n", path);
	/* The rule is about the folder, so the process may no longer do this by itself. */
	snprintf(aside, sizeof aside, "%s.aside", here->data);
	expect("renaming data_dir", rename(here->data, aside), EACCES);
	raise(SIGSTOP);
	if (!sandbox_outdated(sandbox, false, &path, &written) || strcmp(path, here->data) != 0 || !written)
		wrong("the replaced folder was not noticed\n");
}

static void a_replaced_folder_ends_the_life(void **state)
{
	struct place *place = *state;
	char aside[128], said[SAID];
	int status, ends[2];
	snprintf(aside, sizeof aside, "%s.aside", place->data);
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		here = place;
		telling = ends[1];
		look_for_a_replaced_folder(sandbox_find("tally"));
		_exit(0);
	}
	close(ends[1]);
	assert_int_equal(waitpid(child, &status, WUNTRACED), child);
	if (WIFSTOPPED(status)) {
		assert_int_equal(rename(place->data, aside), 0);
		assert_int_equal(mkdir(place->data, 0700), 0);
		assert_int_equal(kill(child, SIGCONT), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
	}
	ssize_t n = read(ends[0], said, SAID - 1);
	close(ends[0]);
	said[n < 0 ? 0 : n] = '\0';
	assert_string_equal(said, "");
	assert_int_equal(status, 0);
}

static void switch_it_off(const struct sandbox_row *row)
{
	struct shm_error error = {""};
	struct sandbox *sandbox;
	const struct stage_ops ops = {.name = row->stage};
	char *errors = NULL;
	const struct sandbox_place where = make_instance(row);
	struct config *config = config_load(NULL, (const char *const[]){"sandbox=off"}, 1, &errors);
	if (config == NULL || sandbox_enter(&sandbox, &ops, config, "tally", &where, &error) != 0 ||
	    sandbox_close(sandbox, row->stage, &error) != 0)
		wrong("%s %s\n", errors != NULL ? errors : "", error.text);
	else if (sandbox_in_force(sandbox) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0)
		wrong("something was taken\n");
	expect("another's file", try_open(here->theirs, "", O_RDONLY), 0);
}

static void off_takes_nothing(void **state)
{
	char said[SAID];
	in_child(*state, switch_it_off, sandbox_find("tally"), said);
	assert_string_equal(said, "");
}

static void ports_are_found_in_addresses_and_urls(void **state)
{
	static const struct {
		const char *text;
		uint16_t port;
	} cases[] = {{"127.0.0.1:4003", 4003},
	             {":80", 80},
	             {"[::1]:99", 99},
	             {"[::1]", 0},
	             {"http://host:9000/x:1", 9000},
	             {"https://host", 443},
	             {"http://[::1]", 80},
	             {"http://host/a", 80},
	             {"https://[fd00::1]:8443", 8443}};
	(void)state;
	for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(values_port(cases[i].text), cases[i].port);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(every_stage_is_refused_what_its_row_does_not_grant, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_sink_cannot_read_the_secrets_of_another_of_its_user, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(the_strictest_is_for_a_stage_without_a_row, set_up,
	                                        tear_down),
	        cmocka_unit_test_setup_teardown(a_replaced_folder_ends_the_life, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(off_takes_nothing, set_up, tear_down),
	        cmocka_unit_test(ports_are_found_in_addresses_and_urls),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
