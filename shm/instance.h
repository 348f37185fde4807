/* An instance: everything one supervisor created, as one page tells it.
 *
 *     /dev/shm/millrace/<instance>/
 *         lock                    held by the supervisor (POSIX lock: dies with it)
 *         request, answer         supervisor/request.h: what a command asks of the supervisor
 *         instance                this page: topics, lanes, groups, queues, roles
 *         drops                   drops.h, how much of the sockets' drop counters is in a ledger
 *         config.yaml             the configuration in force, without secrets
 *         <topic>.lane.<n>        stream.h, written by one role
 *         <topic>.group.<k>       stream.h, one reader group
 *         <topic>.reader.<k>      locked by the reader of group k (of a share of its lanes: .<k>.<share>)
 *         <topic>.writer.<n>      locked by the outside program that writes lane n
 *         <topic>.claim           locked for the moment in which a group is claimed or freed
 *         <queue>.queue           queue.h
 *         <role>.stage            stage/control.h
 *         <role>.role             locked by the role's one live process (POSIX lock)
 *         <role>.private          what the role's next life takes up
 *         <role>.errand           stage/errand.h, what is asked of the role
 *
 *     /dev/shm/millrace/.<instance>.secrets/     where a role has secrets (supervisor/in_force.h)
 *         <role>                  those of the role (config/config.h)
 *
 * To know what exists, map the page read-only; nobody guesses file names.
 */
#ifndef SHM_INSTANCE_H
#define SHM_INSTANCE_H

#include "shm/segment.h"
#include "shm/stream.h"

#define INSTANCE_TOPICS_MAX  16u
#define INSTANCE_QUEUES_MAX  4u
#define INSTANCE_ROLES_MAX   64u
#define INSTANCE_METRICS_MAX 8u /* of the supervisor */

enum when_full { WHEN_FULL_DROP, WHEN_FULL_REFUSE };

struct instance_topic {
	char name[SHM_NAME_MAX];
	uint64_t size_bytes; /* of each lane */
	uint32_t when_full;  /* enum when_full */
	uint32_t n_lanes;
	/* the role that writes lane n; "" for a lane that outside programs may take */
	char lane_role[STREAM_LANES_MAX][SHM_NAME_MAX];
};

struct instance_queue {
	char name[SHM_NAME_MAX];
	uint64_t slots;
	uint64_t slot_bytes;
};

struct instance_role {
	char name[SHM_NAME_MAX];    /* "ingest-udp.0" */
	char program[SHM_NAME_MAX]; /* "ingest-udp": the file in libexec/millrace */
};

/* Body of the segment `instance`. Written by the supervisor; the words before `created_ns` and
 * `supervisor_metric` at any time, all else only before it is published.
 *
 *     in force --- a new configuration: another page takes its place ---> replaced      for ever
 *         '------- asked to end --> draining --- it takes no more ------> ended         until the next supervisor adopts it
 */
struct instance_page {
	_Atomic uint32_t draining; /* 1 from the moment the supervisor was asked to end */
	_Atomic uint32_t supervisor_pid;
	/* 1: another page is in place; nothing that happens later is told here (instance_follow) */
	_Atomic uint32_t replaced;
	_Atomic uint32_t ended; /* 1: nobody will take what is committed from now on (life.h) */
	uint64_t created_ns;    /* CLOCK_REALTIME */
	/* stage/supervisor_metrics.def; go on from page to page */
	_Atomic uint64_t supervisor_metric[INSTANCE_METRICS_MAX];
	uint32_t n_topics, n_queues, n_roles;
	_Atomic uint32_t managed; /* 1: a service manager runs the roles; there is no supervisor */
	struct instance_topic topic[INSTANCE_TOPICS_MAX];
	struct instance_queue queue[INSTANCE_QUEUES_MAX];
	struct instance_role role[INSTANCE_ROLES_MAX];
};

/* An instance as one process sees it. Its folder is held (folder.h). */
struct instance {
	char directory[128];
	struct segment page_segment;
	/* the supervisor writes its words through a mapping of its own */
	const struct instance_page *page;
	uint64_t generation;
};

/* Maps the instance page. name is the instance's name (segment_directory). Returns 0;
 * -ENOENT with "is not running" and the remedy in error; otherwise as segment_attach. */
int instance_attach(struct instance *instance, const char *name, enum segment_access access,
                    struct shm_error *error);

void instance_detach(struct instance *instance);

/* What lies under the page's name now. */
enum instance_place {
	INSTANCE_IN_PLACE, /* the page that is mapped */
	INSTANCE_REPLACED, /* another page */
	INSTANCE_GONE,     /* none */
};

/* Looks at the name; one stat(2). When the look itself fails (no memory, no access) the answer is
 * IN_PLACE: the next look tells. */
enum instance_place instance_look(const struct instance *instance);

/* Maps the page that is in place now, read-only, instead of the one that was replaced; topics,
 * queues and their numbers stay what they were, others may have come. Pointers into the old page
 * are invalid then. Returns 0, also when nothing was replaced; -ENOENT when there is no page any
 * more; -ESTALE when it belongs to another life of the instance, or its segments do; otherwise as
 * segment_attach. On failure nothing has changed. */
int instance_follow(struct instance *instance, struct shm_error *error);

/* Index of a topic, a queue, a role by name, or -1. */
int instance_topic_index(const struct instance *instance, const char *name);
int instance_queue_index(const struct instance *instance, const char *name);
int instance_role_index(const struct instance *instance, const char *name);

/* Names of segment files; buffer is SEGMENT_NAME_MAX bytes and is returned. */
char *instance_lane_name(char *buffer, const char *topic, unsigned lane);
char *instance_group_name(char *buffer, const char *topic, unsigned group);
char *instance_queue_name(char *buffer, const char *queue);
char *instance_stage_name(char *buffer, const char *role);
char *instance_private_name(char *buffer, const char *role);
char *instance_errand_name(char *buffer, const char *role);

/* Where secrets lay in the instance's folder, of programs before this one. */
#define INSTANCE_OLD_SECRETS ".secrets"
char *instance_old_secrets_name(char *buffer, const char *role);

/* The folder of the instance's secrets, beside its own: a stage's sandbox, which lets it read the
 * latter, cannot except anything in it, and shuts it out here. No instance has such a name. buffer
 * is FOLDER_PATH_MAX bytes (folder.h) and is returned. */
char *instance_secrets_folder(char *buffer, const char *directory);

/* Holds it (folder.h; the caller calls folder_release), and checks that it belongs to whom the
 * instance's folder belongs to, or to us; path is set as above. Returns 0; -ENOENT when there is
 * none; -EPERM when another user has it, or may change it; other -errno; with the reason in error.
 */
int instance_secrets_hold(char *path, const char *directory, struct shm_error *error);

/* Takes directory/file as a lock for this process (POSIX record lock: the kernel frees it at death;
 * lock each file at most once per process and keep the descriptor open). wait_ms 0 tries once.
 * Returns the descriptor, to be closed to unlock; -EWOULDBLOCK with *owner_pid set to the holder;
 * other -errno. */
int instance_lock(const char *directory, const char *file, unsigned wait_ms, int *owner_pid);

/* The same for a file that is open for writing; its descriptor stays open. Returns 0,
 * -EWOULDBLOCK with *owner_pid, or another -errno. */
int instance_lock_fd(int fd, unsigned wait_ms, int *owner_pid);

/* The same with an open-file-description lock (fcntl(2), F_OFD_SETLK): it excludes a second holder
 * in the same process too, but does not tell which process holds it. Tries once. Returns the
 * descriptor, -EWOULDBLOCK, or another -errno. */
int instance_hold(const char *directory, const char *file);

/* The same for a file that is open for writing; its descriptor stays open, and closing it gives the
 * lock up. Returns 0, also when this descriptor has the lock already; -EWOULDBLOCK; or another
 * -errno. */
int instance_hold_fd(int fd);

/* Whether a process holds directory/file with a lock of either kind. Returns 1 with *pid (may be
 * NULL) set to the holder, -1 where the kernel does not tell it (instance_hold); 0: nobody, or
 * there is no such file, or none that could be locked; -errno: it cannot be told, for example
 * because no descriptor is left. Then treat it as held. Not for a file that this process has locked
 * with instance_lock: closing any descriptor of it gives that lock up. */
int instance_locked(const char *directory, const char *file, int *pid);

/* The same for a file that is open; its descriptor stays open. */
int instance_locked_fd(int fd, int *pid);

#endif
