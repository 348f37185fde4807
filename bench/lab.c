#include "bench/lab.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/program.h"

#define ARGS_MAX 16u

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "bench-udp: %s: %s\n", what, why);
	exit(1);
}

static void exec_script(const char *name, const char *const *extra)
{
	char folder[480], path[512];
	if (program_libexec(folder, sizeof folder) != 0)
		_exit(127);
	snprintf(path, sizeof path, "%s/packet-lab", folder);
	const char *arguments[ARGS_MAX] = {path, "--quiet", "--name", name};
	for (unsigned used = 4; *extra != NULL && used < ARGS_MAX - 1; extra++)
		arguments[used++] = *extra;
	setpgid(0, 0); /* Ctrl-C is for the benchmark, whose end ends it */
	execv(path, (char *const *)(uintptr_t)arguments);
	perror(path);
	_exit(127);
}

static int open_namespace(const char *name)
{
	char path[96];
	snprintf(path, sizeof path, "/run/netns/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(path, strerror(errno));
	return fd;
}

void lab_start(struct lab *lab, const char *const *extra)
{
	int in[2], out[2];
	char name[32], word[8] = "";
	snprintf(name, sizeof name, "bench-%d", (int)getpid());
	snprintf(lab->client, sizeof lab->client, "%s-client", name);
	snprintf(lab->server, sizeof lab->server, "%s-server", name);
	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		fail("pipe", strerror(errno));
	fflush(NULL);
	lab->script = fork();
	if (lab->script < 0)
		fail("fork", strerror(errno));
	if (lab->script == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		exec_script(name, extra);
	}
	close(in[0]);
	close(out[1]);
	lab->input = in[1];
	if (read(out[0], word, sizeof word - 1) <= 0 || strcmp(word, "ready\n") != 0)
		fail("packet-lab", "it makes no lab");
	close(out[0]);
	lab->own_namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	lab->client_namespace = open_namespace(lab->client);
	lab->server_namespace = open_namespace(lab->server);
}

void lab_stop(struct lab *lab)
{
	close(lab->client_namespace);
	close(lab->server_namespace);
	close(lab->own_namespace);
	close(lab->input);
	waitpid(lab->script, NULL, 0);
}

void lab_enter(int network_namespace)
{
	if (setns(network_namespace, CLONE_NEWNET) != 0)
		fail("setns", strerror(errno));
}

static void count_interface(struct lab_count *count)
{
	char line[512];
	FILE *file = fopen("/proc/self/net/dev", "re");
	if (file == NULL)
		fail("/proc/self/net/dev", strerror(errno));
	while (fgets(line, sizeof line, file) != NULL) {
		const char *at = strstr(line, LAB_SERVER ":");
		unsigned long long packets, errors, dropped;
		if (at != NULL && sscanf(at + strlen(LAB_SERVER ":"), "%*u %llu %llu %llu", &packets, &errors,
		                         &dropped) == 3) {
			count->packets = packets;
			count->dropped = dropped;
		}
	}
	fclose(file);
}

/* The second line that begins so has the numbers; the first their names. */
static void count_udp(struct lab_count *count)
{
	char line[512];
	unsigned long long in = 0, no_port = 0, errors = 0, buffer = 0, checksum = 0;
	FILE *file = fopen("/proc/self/net/snmp", "re");
	if (file == NULL)
		fail("/proc/self/net/snmp", strerror(errno));
	while (fgets(line, sizeof line, file) != NULL)
		(void)sscanf(line, "Udp: %llu %llu %llu %*u %llu %*u %llu", &in, &no_port, &errors, &buffer,
		             &checksum);
	fclose(file);
	count->udp_in = in;
	count->udp_no_port = no_port;
	count->udp_errors = errors;
	count->udp_buffer = buffer;
	count->udp_checksum = checksum;
}

struct lab_count lab_count(const struct lab *lab)
{
	struct lab_count count = {0};
	lab_enter(lab->server_namespace);
	count_interface(&count);
	count_udp(&count);
	lab_enter(lab->own_namespace);
	return count;
}
