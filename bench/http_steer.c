#include "bench/http_steer.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/http_server.h"

#define RPS_CPUS "/sys/class/net/lo/queues/rx-0/rps_cpus"

static void need(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "bench-http: --steer: %s: %s (it needs root)\n", what, strerror(errno));
	exit(1);
}

static void raise_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	need(fd, "socket");
	need(ioctl(fd, SIOCSIFFLAGS, &request), "loopback up");
	close(fd);
}

void http_steer(void)
{
	char mask[20];
	int n = snprintf(mask, sizeof mask, "%x", 1u << HTTP_SERVER_CPU);
	need(unshare(CLONE_NEWNET | CLONE_NEWNS), "a network namespace");
	/* /sys shows the devices of the namespace that it was mounted in; nobody else is to see the
	 * new one. */
	need(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "a mount namespace");
	need(mount("sysfs", "/sys", "sysfs", 0, NULL), "/sys");
	raise_loopback();
	int fd = open(RPS_CPUS, O_WRONLY | O_CLOEXEC);
	need(fd, RPS_CPUS);
	need((int)write(fd, mask, (size_t)n), RPS_CPUS);
	close(fd);
}
