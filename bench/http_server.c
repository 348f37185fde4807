#include "bench/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/cpu.h"
#include "bench/port.h"
#include "bench/turns.h"
#include "look/snapshot.h"
#include "base/clock.h"
#include "base/program.h"

#define READY_NS (20 * NS_PER_SEC)
#define INSTANCE "bench"
#define STAGE    "ingest-http.0"
#define EVENT    "{\"username\": \"kodingbot\", \"count\": 12412414, \"metric\": \"kite_call\"}"

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "bench-http: %s: %s\n", what, why);
	exit(1); /* what was started dies with this process */
}

/* A file in the benchmark's directory. */
static void write_file(char *path, size_t size, const char *name, const char *text)
{
	snprintf(path, size, "%s/%s", turns_directory(), name);
	FILE *file = fopen(path, "we");
	if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
		fail(path, strerror(errno));
}

/* The only child of a process, 0 while there is none. */
static pid_t child_of(pid_t pid)
{
	char path[64];
	int child = 0;
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid, pid);
	FILE *file = fopen(path, "re");
	if (file == NULL || fscanf(file, "%d", &child) != 1)
		child = 0;
	if (file != NULL)
		fclose(file);
	return child;
}

static void check_running(const struct http_server *server, uint64_t end_ns, const char *what)
{
	if (clock_monotonic_ns() > end_ns || waitpid(server->parent, NULL, WNOHANG) != 0)
		fail(server->name, what);
	usleep(2000);
}

/* ---- nginx ---- */

/* nginx takes no port 0; but it takes over sockets that the variable NGINX names, as in an upgrade
 * of itself. */
static int listen_somewhere(unsigned *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, bytes) != 0 || listen(fd, 4096) != 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &bytes) != 0)
		fail("a socket for nginx", strerror(errno));
	*port = ntohs(address.sin_port);
	return fd;
}

void http_server_start_nginx(struct http_server *server, const char *server_lines)
{
	char text[2048], path[256], log[256], inherited[16];
	*server = (struct http_server){.name = "nginx"};
	int fd = listen_somewhere(&server->port);
	const char *directory = turns_directory();
	snprintf(
	        text, sizeof text,
	        "daemon off;\nworker_processes 1;\npid %s/nginx.pid;\nerror_log %s/nginx.log warn;\n"
	        "worker_rlimit_nofile %u;\nevents { worker_connections %u; }\n"
	        "http {\n  access_log off;\n  keepalive_requests 1000000000;\n"
	        "  client_body_temp_path %s/body;\n  proxy_temp_path %s/proxy;\n  fastcgi_temp_path %s/fastcgi;\n"
	        "  uwsgi_temp_path %s/uwsgi;\n  scgi_temp_path %s/scgi;\n"
	        "  server { listen 127.0.0.1:%u; %s location / { return 204; } }\n}\n",
	        directory, directory, http_server_descriptors(65536), http_server_descriptors(65536),
	        directory, directory, directory, directory, directory, server->port, server_lines);
	write_file(path, sizeof path, "nginx.conf", text);
	snprintf(log, sizeof log, "%s/nginx.log", directory);
	snprintf(inherited, sizeof inherited, "%d;", 3);
	server->parent = turns_fork(SIGTERM);
	if (server->parent < 0)
		fail("fork", strerror(errno));
	if (server->parent == 0) {
		turns_pin(HTTP_SERVER_CPU);
		if (fd == 3)
			fcntl(fd, F_SETFD, 0);
		else
			dup2(fd, 3);
		setenv("NGINX", inherited, 1);
		setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
		execlp("nginx", "nginx", "-e", log, "-c", path, NULL);
		fprintf(stderr,
		        "bench-http: nginx: %s; install it with: scripts/install-packages bench-http\n",
		        strerror(errno));
		_exit(127);
	}
	close(fd);
	uint64_t end_ns = clock_monotonic_ns() + READY_NS;
	while ((server->worker = child_of(server->parent)) == 0)
		check_running(server, end_ns, "did not start");
	http_server_try(server);
}

/* ---- millrace ---- */

static const struct http_server *millrace;
static struct snapshot_source *source;
static struct snapshot *snapshot;

static const struct snapshot *look(void)
{
	struct shm_error error = {.text = ""};
	if (snapshot_take(source, snapshot, &error) != 0)
		fail("cannot look into millrace", error.text);
	return snapshot;
}

static const struct snapshot_stage *find(const char *stage)
{
	const struct snapshot *now = look();
	for (unsigned i = 0; i < now->n_stages; i++)
		if (strcmp(now->stage[i].name, stage) == 0)
			return &now->stage[i];
	return NULL;
}

static void exec_supervisor(const char *config, int out)
{
	char folder[480], program[512];
	int result = program_libexec(folder, sizeof folder);
	if (result != 0)
		fail("the folder of the programs", strerror(-result));
	snprintf(program, sizeof program, "%s/supervisor", folder);
	turns_pin(HTTP_SERVER_CPU);
	dup2(out, STDOUT_FILENO);
	execl(program, program, "--instance", INSTANCE, "-c", config, NULL);
	fprintf(stderr, "bench-http: %s: %s\n", program, strerror(errno));
	_exit(127);
}

static pid_t wait_until_running(const struct http_server *server, const char *stage)
{
	const struct snapshot_stage *found;
	uint64_t end_ns = clock_monotonic_ns() + READY_NS;
	while ((found = find(stage)) == NULL || found->state != STAGE_RUNNING)
		check_running(server, end_ns, "its stage did not start");
	return (pid_t)found->pid;
}

static void begin_to_look(const struct http_server *server)
{
	struct shm_error error = {.text = ""};
	uint64_t end_ns = clock_monotonic_ns() + READY_NS;
	source = calloc(1, sizeof *source);
	snapshot = calloc(1, sizeof *snapshot);
	if (source == NULL || snapshot == NULL)
		fail("snapshot", strerror(ENOMEM));
	while (snapshot_open(source, INSTANCE, &error) != 0)
		check_running(server, end_ns, error.text);
}

void http_server_start_millrace(struct http_server *server, const char *entry, const char *further)
{
	char text[2048], path[256], data[256];
	int out[2];
	*server = (struct http_server){.name = "millrace", .is_millrace = true};
	snprintf(data, sizeof data, "%s/data", turns_directory());
	snprintf(text, sizeof text,
	         "data_dir: %s\nlog: {level: warn}\ntopics: {metric: {size: 64MiB}}\n"
	         "sinks: []\nserve: {listen: []}\n"
	         "ingest:\n  http:\n    - {listen: ['127.0.0.1:0'], processes: 1%s%s}\n%s",
	         data, entry[0] != '\0' ? ", " : "", entry, further);
	write_file(path, sizeof path, "millrace.yaml", text);
	if ((mkdir(data, 0700) != 0 && errno != EEXIST) ||
	    setenv("MILLRACE_SHM", turns_directory(), 1) != 0 || pipe2(out, O_CLOEXEC) != 0)
		fail(data, strerror(errno));
	server->parent = turns_fork(SIGTERM);
	if (server->parent < 0)
		fail("fork", strerror(errno));
	if (server->parent == 0)
		exec_supervisor(path, out[1]);
	close(out[1]);
	/* The reading end stays open: a supervisor that prints at its end must not meet a closed
	 * pipe. */
	server->port = port_read(out[0], "http 127.0.0.1:", READY_NS);
	if (server->port == 0)
		fail("millrace", "did not tell its port");
	begin_to_look(server);
	server->worker = wait_until_running(server, STAGE);
	millrace = server;
	http_server_try(server);
}

void http_server_stop(struct http_server *server)
{
	int status = 0;
	if (server->is_millrace) {
		snapshot_close(source);
		free(source);
		free(snapshot);
	}
	kill(server->parent, SIGTERM);
	if (waitpid(server->parent, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fprintf(stderr, "bench-http: %s ended with status %d\n", server->name, status);
}

/* ---- looking ---- */

double http_server_cpu(const struct http_server *server)
{
	double seconds = cpu_seconds(server->worker);
	if (seconds == 0)
		fail(server->name, "its process has gone");
	return seconds;
}

uint64_t http_server_memory(const struct http_server *server)
{
	char path[64], line[256];
	unsigned long long kib = 0;
	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", server->worker);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		fail(path, strerror(errno));
	while (fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, "Pss: %llu", &kib) == 1)
			break;
	fclose(file);
	return kib * 1024;
}

unsigned http_server_connections(const struct http_server *server)
{
	char line[512];
	unsigned n = 0, port, state;
	FILE *file = fopen("/proc/net/tcp", "re");
	if (file == NULL)
		fail("/proc/net/tcp", strerror(errno));
	while (fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, " %*u: %*x:%x %*x:%*x %x", &port, &state) == 2)
			n += port == server->port && state == TCP_ESTABLISHED;
	fclose(file);
	return n;
}

uint64_t http_server_written(const struct http_server *server)
{
	const struct snapshot *now = server->is_millrace ? look() : NULL;
	for (unsigned i = 0; now != NULL && i < now->n_topics; i++)
		if (strcmp(now->topic[i].name, "metric") == 0)
			return now->topic[i].ledger.written;
	return 0;
}

uint64_t http_server_stage_metric(const char *stage, const char *metric)
{
	const struct snapshot_stage *now = find(stage);
	const struct snapshot_metric *found = now != NULL ? snapshot_metric_find(now, metric) : NULL;
	return found != NULL ? found->value : 0;
}

const _Atomic uint64_t *http_server_stage_word(const char *stage, const char *metric)
{
	const struct snapshot_stage *now = find(stage);
	const struct control *control = now != NULL ? source->stage[now - snapshot->stage].body : NULL;
	unsigned word = 0;
	for (unsigned i = 0; control != NULL && i < now->n_metrics; i++) {
		if (strcmp(now->metric[i].about.name, metric) == 0)
			return &control->metric[word];
		word += metric_words(&now->metric[i].about);
	}
	fail(stage, "has no such metric");
	return NULL;
}

pid_t http_server_stage_pid(const char *stage)
{
	return wait_until_running(millrace, stage);
}

uint64_t http_server_metric(const struct http_server *server, const char *name)
{
	return server->is_millrace ? http_server_stage_metric(STAGE, name) : 0;
}

int http_server_connect(const struct http_server *server)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_port = htons((uint16_t)server->port),
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	return fd >= 0 ? fd : -errno;
}

void http_server_try(const struct http_server *server)
{
	char text[1024];
	int fd = http_server_connect(server);
	if (fd < 0)
		fail(server->name, strerror(-fd));
	int n = snprintf(text, sizeof text,
	                 "POST /event HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	                 "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
	                 strlen(EVENT), EVENT);
	if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n)
		fail(server->name, "takes no request");
	ssize_t got = recv(fd, text, sizeof text - 1, 0);
	text[got > 0 ? got : 0] = '\0';
	if (strncmp(text, "HTTP/1.1 2", 10) != 0)
		fail(server->name, got > 0 ? text : "gave no answer");
	close(fd);
}

unsigned http_server_descriptors(unsigned wanted)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		fail("getrlimit", strerror(errno));
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		fail("setrlimit", strerror(errno));
	return (unsigned)limit.rlim_cur;
}
