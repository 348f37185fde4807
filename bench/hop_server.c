#include "bench/hop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/turns.h"

pid_t hop_fork(void)
{
	pid_t pid = turns_fork(SIGKILL);
	if (pid < 0)
		hop_fail("fork", strerror(errno));
	return pid;
}

pid_t hop_start(const char *const *arguments, const char *log)
{
	pid_t pid = hop_fork();
	if (pid > 0)
		return pid;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd >= 0) {
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
	}
	setenv("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	execvp(arguments[0], (char *const *)(uintptr_t)arguments);
	_exit(127);
}

void hop_end(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
}
