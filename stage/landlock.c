#include "stage/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* include/uapi/linux/landlock.h of Linux 6.12. */
#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH      1
#define RULE_NET_PORT          2

#define FS_EXECUTE     (1ull << 0)
#define FS_WRITE_FILE  (1ull << 1)
#define FS_READ_FILE   (1ull << 2)
#define FS_READ_DIR    (1ull << 3)
#define FS_REMOVE_DIR  (1ull << 4)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_CHAR   (1ull << 6)
#define FS_MAKE_DIR    (1ull << 7)
#define FS_MAKE_REG    (1ull << 8)
#define FS_MAKE_SOCK   (1ull << 9)
#define FS_MAKE_BLOCK  (1ull << 11)
#define FS_REFER       (1ull << 13) /* ABI 2 */
#define FS_TRUNCATE    (1ull << 14) /* ABI 3 */
#define FS_IOCTL_DEV   (1ull << 15) /* ABI 5 */
#define FS_ABI_2       ((1ull << 14) - 1)
/* Rights that a rule about a file, not a folder, may give. */
#define FS_OF_FILES (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

#define NET_BIND_TCP    1ull
#define NET_CONNECT_TCP 2ull

#define SCOPE_ABSTRACT_UNIX_SOCKET 1ull
#define SCOPE_SIGNAL               2ull

struct ruleset {
	uint64_t handled_fs, handled_net, scoped;
};

/* Packed, as the kernel has it. */
struct path_beneath {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));

struct net_port {
	uint64_t allowed, port;
};

static int abi(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
	return version < 0 ? 0 : (int)version;
}

static uint64_t fs_rights(void)
{
	int version = abi();
	return FS_ABI_2 | (version >= 3 ? FS_TRUNCATE : 0) | (version >= 5 ? FS_IOCTL_DEV : 0);
}

unsigned landlock_look(void)
{
	int version = abi();
	return (version >= 2 ? LANDLOCK_HAS_PATHS : 0) |
	       (version >= 4 ? LANDLOCK_HAS_BINDING | LANDLOCK_HAS_CONNECTING : 0) |
	       (version >= 6 ? LANDLOCK_HAS_SIGNALS : 0);
}

int landlock_begin(struct landlock *box, unsigned wanted)
{
	struct ruleset rules = {0};
	*box = (struct landlock){.fd = -1, .has = landlock_look() & wanted};
	if (box->has == 0)
		return 0;
	if (box->has & LANDLOCK_HAS_PATHS)
		rules.handled_fs = fs_rights();
	if (box->has & LANDLOCK_HAS_BINDING)
		rules.handled_net |= NET_BIND_TCP;
	if (box->has & LANDLOCK_HAS_CONNECTING)
		rules.handled_net |= NET_CONNECT_TCP;
	if (box->has & LANDLOCK_HAS_SIGNALS)
		rules.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
	/* A kernel that knows fewer fields takes a longer structure whose other fields are 0. */
	box->fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
	return box->fd < 0 ? -errno : 0;
}

static uint64_t rights(enum landlock_access access, bool folder)
{
	uint64_t given = FS_READ_FILE | FS_READ_DIR;
	if (access != LANDLOCK_READ)
		given |= FS_WRITE_FILE | FS_MAKE_REG;
	if (access == LANDLOCK_CHANGE)
		given |= FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_SOCK | FS_REFER | FS_TRUNCATE;
	return given & fs_rights() & (folder ? UINT64_MAX : FS_OF_FILES);
}

static int add_path(const struct landlock *box, int fd, uint64_t allowed)
{
	struct path_beneath rule = {.allowed = allowed, .parent = fd};
	return syscall(SYS_landlock_add_rule, box->fd, RULE_PATH_BENEATH, &rule, 0) == 0 ? 0 : -errno;
}

int landlock_path(const struct landlock *box, const char *path, enum landlock_access access,
                  struct stat *about)
{
	int result = 0, fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, about) != 0)
		result = -errno;
	else if (box->has & LANDLOCK_HAS_PATHS)
		result = add_path(box, fd, rights(access, S_ISDIR(about->st_mode)));
	close(fd);
	return result;
}

int landlock_descriptor(const struct landlock *box, int fd)
{
	if (!(box->has & LANDLOCK_HAS_PATHS))
		return 0;
	int result = add_path(box, fd, (FS_WRITE_FILE | FS_IOCTL_DEV) & fs_rights());
	return result == -EBADFD || result == -EBADF ? 0 : result;
}

static int add_port(const struct landlock *box, unsigned has, uint64_t allowed, uint16_t port)
{
	struct net_port rule = {.allowed = allowed, .port = port};
	if (!(box->has & has))
		return 0;
	return syscall(SYS_landlock_add_rule, box->fd, RULE_NET_PORT, &rule, 0) == 0 ? 0 : -errno;
}

int landlock_connect(const struct landlock *box, uint16_t port)
{
	return add_port(box, LANDLOCK_HAS_CONNECTING, NET_CONNECT_TCP, port);
}

int landlock_bind(const struct landlock *box, uint16_t port)
{
	return add_port(box, LANDLOCK_HAS_BINDING, NET_BIND_TCP, port);
}

int landlock_enforce(struct landlock *box)
{
	int result = box->fd < 0 || syscall(SYS_landlock_restrict_self, box->fd, 0) == 0 ? 0 : -errno;
	landlock_drop(box);
	return result;
}

void landlock_drop(struct landlock *box)
{
	if (box->fd >= 0)
		close(box->fd);
	box->fd = -1;
}
