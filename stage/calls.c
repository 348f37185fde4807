#include "stage/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <ucontext.h>
#include <unistd.h>

#include "stage/sandbox.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

#define NUMBERS 512

/* ---- what is refused ---- */

static _Atomic uint64_t refused;
static _Atomic uint64_t kinds[NUMBERS / 64]; /* bit n: call n was refused */
static uint64_t told[NUMBERS / 64];

/* The call has not been made; its result is where a system call's is. */
static void set_result(ucontext_t *context, long result)
{
#if defined __x86_64__
	context->uc_mcontext.gregs[REG_RAX] = result;
#elif defined __aarch64__
	context->uc_mcontext.regs[0] = (unsigned long)result;
#else
#error "where is the result of a system call here?"
#endif
}

/* In a signal handler: atomics only. */
static void on_refused(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	unsigned number = (unsigned)info->si_syscall < NUMBERS ? (unsigned)info->si_syscall : NUMBERS - 1;
	atomic_fetch_or_explicit(&kinds[number / 64], UINT64_C(1) << number % 64, memory_order_relaxed);
	atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
	set_result(context, -EPERM);
}

uint64_t calls_refused(void)
{
	return atomic_load_explicit(&refused, memory_order_relaxed);
}

int calls_next_refused(void)
{
	for (unsigned i = 0; i < NUMBERS; i++) {
		uint64_t bit = UINT64_C(1) << i % 64;
		if ((atomic_load_explicit(&kinds[i / 64], memory_order_relaxed) & ~told[i / 64] & bit) == 0)
			continue;
		told[i / 64] |= bit;
		return (int)i;
	}
	return -1;
}

const char *calls_name(int number, char *buffer, size_t size)
{
	char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
	if (name != NULL)
		snprintf(buffer, size, "%s", name);
	else
		snprintf(buffer, size, "%d", number);
	free(name);
	return buffer;
}

/* ---- what is allowed ---- */

static const struct {
	unsigned grant;
	const char *names;
} rows[] = {
#define CALLS(grant, names) {grant, names},
#include "stage/calls.def"
#undef CALLS
};

static int allow_names(scmp_filter_ctx filter, const char *names)
{
	int result = 0;
	char name[32];
	for (const char *at = names; *at != '\0' && result == 0; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");
		snprintf(name, sizeof name, "%.*s", (int)n, at);
		at += n;
		int number = seccomp_syscall_resolve_name(name);
		if (number >= 0)
			result = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 0, NULL);
	}
	return result;
}

/* Allow the call when the argument, counted from 0, fits; several rules for a call are
 * alternatives. */
static int allow_masked(scmp_filter_ctx filter, const char *name, unsigned argument, scmp_datum_t mask,
                        scmp_datum_t value)
{
	const struct scmp_arg_cmp fits = {
	        .arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
	int number = seccomp_syscall_resolve_name(name);
	return number < 0 ? 0 : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &fits);
}

static int allow_equal(scmp_filter_ctx filter, const char *name, unsigned argument, scmp_datum_t value)
{
	return allow_masked(filter, name, argument, UINT64_MAX, value);
}

static int allow_processes(scmp_filter_ctx filter, unsigned grants)
{
	const scmp_datum_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
	                                CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
	const scmp_datum_t own = (scmp_datum_t)getpid();
	int result = 0;
	if (grants & SANDBOX_THREADS) {
		result = allow_masked(filter, "clone", 0, CLONE_THREAD | namespaces, CLONE_THREAD);
		/* Its flags are in memory, where no filter can look; the C library then uses
		 * clone. */
		if (result == 0)
			result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	}
	if (result == 0)
		result = allow_equal(filter, "tgkill", 0, own);
	if (result == 0)
		result = allow_equal(filter, "kill", 1, 0);
	if (result == 0)
		result = allow_equal(filter, "prctl", 0, PR_SET_NAME);
	if (result == 0)
		result = allow_equal(filter, "prctl", 0, PR_SET_VMA);
	if (result == 0)
		result = allow_equal(filter, "prlimit64", 2, 0);
	return result;
}

static int allow_memory(scmp_filter_ctx filter, unsigned grants)
{
	if (grants & SANDBOX_CODE)
		return allow_names(filter, "mmap mprotect");
	int result = allow_masked(filter, "mmap", 2, PROT_EXEC, 0);
	return result != 0 ? result : allow_masked(filter, "mprotect", 2, PROT_EXEC, 0);
}

/* O_TRUNC together with reading only would cut a file that may be read only. */
static int allow_opening(scmp_filter_ctx filter)
{
	int result = 0;
	for (unsigned way = O_WRONLY; way <= O_RDWR && result == 0; way++) {
		result = allow_masked(filter, "openat", 2, O_ACCMODE, way);
		if (result == 0)
			result = allow_masked(filter, "open", 1, O_ACCMODE, way);
	}
	if (result == 0)
		result = allow_masked(filter, "openat", 2, O_ACCMODE | O_TRUNC, 0);
	if (result == 0)
		result = allow_masked(filter, "open", 1, O_ACCMODE | O_TRUNC, 0);
	return result;
}

static int allow_sockets(scmp_filter_ctx filter, unsigned grants)
{
	static const unsigned long requests[] = {TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIOCLEX};
	static const int families[] = {AF_INET, AF_INET6, AF_UNIX, AF_NETLINK};
	int result = 0;
	for (unsigned i = 0; i < sizeof requests / sizeof *requests && result == 0; i++)
		result = allow_masked(filter, "ioctl", 1, UINT32_MAX, requests[i]);
	/* Without an address: an answer, or word to a service manager (notify.h). */
	if (result == 0 && !(grants & (SANDBOX_CONNECT | SANDBOX_LISTEN)))
		result = allow_equal(filter, "sendto", 4, 0);
	if (grants & (SANDBOX_CONNECT | SANDBOX_LISTEN))
		for (unsigned i = 0; i < sizeof families / sizeof *families && result == 0; i++)
			result = allow_equal(filter, "socket", 0, (scmp_datum_t)families[i]);
	return result;
}

static int fill(scmp_filter_ctx filter, unsigned grants)
{
	int result = 0;
	for (unsigned i = 0; i < sizeof rows / sizeof *rows && result == 0; i++)
		if (rows[i].grant == 0 || (rows[i].grant & grants) != 0)
			result = allow_names(filter, rows[i].names);
	if (result == 0)
		result = allow_processes(filter, grants);
	if (result == 0)
		result = allow_memory(filter, grants);
	if (result == 0)
		result = allow_opening(filter);
	return result == 0 ? allow_sockets(filter, grants) : result;
}

/* Puts the filter in place unless making it has failed, and frees it. */
static int load(scmp_filter_ctx filter, int result, const char *what, struct shm_error *error)
{
	if (result == 0)
		result = seccomp_load(filter);
	if (result != 0)
		shm_explain(error, "the filter of %s: %s", what, strerror(-result));
	if (filter != NULL)
		seccomp_release(filter);
	return result;
}

int calls_refuse_rings(struct shm_error *error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int result = filter == NULL
	                     ? -ENOMEM
	                     : seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0);
	return load(filter, result, "rings", error);
}

int calls_restrict(unsigned grants, struct shm_error *error)
{
	struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_RESTART};
	scmp_filter_ctx filter = seccomp_init(grants & SANDBOX_QUIET ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_TRAP);
	int result = filter == NULL ? -ENOMEM : 0;
	if (result == 0 && sigaction(SIGSYS, &action, NULL) != 0)
		result = -errno;
	if (result == 0)
		result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (result == 0)
		result = fill(filter, grants);
	return load(filter, result, "system calls", error);
}
