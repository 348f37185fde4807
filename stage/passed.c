#include "stage/passed.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/address.h"
#include "flow/flow.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* How many were passed to this process. The variables are for nobody else. */
static unsigned long count_passed(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	bool ours = pid != NULL && count != NULL && strtoul(pid, NULL, 10) == (unsigned long)getpid();
	unsigned long n = ours ? strtoul(count, NULL, 10) : 0;
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_FDNAMES");
	return n;
}

static int option_of(int fd, int option)
{
	int value = -1;
	socklen_t length = sizeof value;
	return getsockopt(fd, SOL_SOCKET, option, &value, &length) == 0 ? value : -1;
}

static bool fits(int fd, bool datagrams, const struct sockaddr_storage *wanted)
{
	struct sockaddr_storage local = {0};
	socklen_t length = sizeof local;
	return option_of(fd, SO_TYPE) == (datagrams ? SOCK_DGRAM : SOCK_STREAM) &&
	       (datagrams || option_of(fd, SO_ACCEPTCONN) == 1) &&
	       getsockname(fd, (struct sockaddr *)&local, &length) == 0 && address_same(&local, wanted);
}

/* As supervisor/bind.h has it for those that it binds. */
static void set_up(int fd, bool datagrams)
{
	int on = 1;
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (datagrams)
		(void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
	else
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* not TCP: nothing to set */
}

static int take_address(struct stage *stage, const char *text, bool datagrams, int *passed, unsigned n,
                        struct shm_error *error)
{
	struct sockaddr_storage wanted;
	socklen_t length;
	int result = datagrams ? address_parse(&wanted, &length, text)
	                       : address_parse_stream(&wanted, &length, text);
	for (unsigned i = 0; result == 0 && i < n; i++) {
		if (passed[i] < 0 || !fits(passed[i], datagrams, &wanted))
			continue;
		set_up(passed[i], datagrams);
		stage->socket[stage->n_sockets++] = passed[i];
		passed[i] = -1;
		return 0;
	}
	shm_explain(error, "%s: the service manager passed no socket for %s, which its listener names",
	            stage->role, text);
	return -EINVAL;
}

static int check_left(const struct stage *stage, const int *passed, unsigned n, struct shm_error *error)
{
	char text[ADDRESS_TEXT_MAX];
	for (unsigned i = 0; i < n; i++) {
		struct sockaddr_storage local = {0};
		socklen_t length = sizeof local;
		if (passed[i] < 0)
			continue;
		(void)getsockname(passed[i], (struct sockaddr *)&local, &length);
		shm_explain(
		        error,
		        "%s: the service manager passed a socket for %s, which its listener does not name",
		        stage->role, address_format(text, &local));
		return -EINVAL;
	}
	return 0;
}

int passed_take(struct stage *stage, struct shm_error *error)
{
	const struct flow_stage *row = flow_stage_find(stage->ops->name);
	bool datagrams = row != NULL && row->processes == FLOW_DATAGRAMS;
	int passed[STAGE_SOCKETS_MAX], result;
	size_t entry;
	if (row == NULL || (!datagrams && row->processes != FLOW_CONNECTIONS) || stage->n_sockets != 0)
		return 0;
	unsigned long all = count_passed();
	if (all > STAGE_SOCKETS_MAX) {
		shm_explain(error, "%s: the service manager passed %lu sockets; allowed: at most %u",
		            stage->role, all, STAGE_SOCKETS_MAX);
		return -EINVAL;
	}
	unsigned n = (unsigned)all;
	if (n == 0)
		return 0;
	for (unsigned i = 0; i < n; i++)
		passed[i] = FIRST_FD + (int)i;
	result = stage_listener(stage, row->section, &entry, error);
	size_t addresses =
	        result == 0 ? config_count(stage->config, "%s[%zu].listen", row->section, entry) : 0;
	for (size_t i = 0; result == 0 && i < addresses && i < STAGE_SOCKETS_MAX; i++)
		result = take_address(stage,
		                      config_item(stage->config, i, "%s[%zu].listen", row->section, entry),
		                      datagrams, passed, n, error);
	return result == 0 ? check_left(stage, passed, n, error) : result;
}
