/* The supervisor's capabilities (capabilities(7)) that have to do with the network's interfaces and
 * with programs in the kernel: CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON, CAP_IPC_LOCK, and
 * CAP_SYS_ADMIN, which includes some of them.
 *
 *     start --capabilities_lower--> held, but without effect <------------------.
 *                                     |        |                                |
 *                         fork, exec  |        '--capabilities_raise--> packets_apply, packets_close, SO_RCVBUFFORCE
 *                                     v
 *                           stage: capabilities_shed: not held, and no way to get them again
 *
 * So a mistake anywhere else in the supervisor cannot use them, and a reload and the next life of
 * an interface, which need them again, have them. What other capabilities there are stays as it is:
 * root's access to files, ports below 1024. Whatever is not held is not raised: then these do
 * nothing. All are about the calling thread; the supervisor has one.
 */
#ifndef SUPERVISOR_CAPABILITIES_H
#define SUPERVISOR_CAPABILITIES_H

/* Both leave errno as it is. They cannot fail: the kernel lets every process give up what it has,
 * and take up what it holds; if it does not, they abort. */
void capabilities_lower(void);
void capabilities_raise(void);

/* In a child, before execve: gives them up for good, also for root, whose programs would otherwise
 * get all anew (no_new_privs: Documentation/userspace-api/no_new_privs.rst). Returns 0 or -errno.
 */
int capabilities_shed(void);

#endif
