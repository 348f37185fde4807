#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "shm/drops.h"
#include "shm/folder.h"
#include "shm/instance.h"
#include "shm/queue.h"
#include "shm/redo.h"

/* Raise it when a structure outside shm/ that lies in a segment changes (stage/control.h, a stage's
 * private segment). */
#define LAYOUT_REVISION 5u

#define ROOT_DEFAULT "/dev/shm/millrace"

void shm_explain(struct shm_error *error, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof error->text, format, arguments);
	va_end(arguments);
}

bool segment_name_valid(const char *name)
{
	size_t length = strlen(name);
	return length > 0 && length < SHM_NAME_MAX && name[0] != '.' &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

const char *segment_instance_named(void)
{
	const char *name = getenv("MILLRACE_INSTANCE");
	return name != NULL && *name != '\0' ? name : NULL;
}

const char *segment_instance(const char *given)
{
	const char *named = given != NULL ? given : segment_instance_named();
	return named != NULL ? named : "default";
}

int segment_directory(char *path, size_t size, const char *instance)
{
	if (!segment_name_valid(instance))
		return -EINVAL;
	const char *root = getenv("MILLRACE_SHM");
	if (root == NULL || *root == '\0')
		root = ROOT_DEFAULT;
	size_t root_length = strlen(root);
	while (root_length > 1 && root[root_length - 1] == '/')
		root_length--;
	int n = snprintf(path, size, "%.*s/%s", (int)root_length, root, instance);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
	return hash ^ (hash >> 29);
}

uint64_t segment_layout_hash(void)
{
	static const uint64_t layout[] = {
	        LAYOUT_REVISION,
	        sizeof(struct segment_header),
	        sizeof(struct record),
	        sizeof(struct ledger),
	        offsetof(struct ledger, rejected),
	        LEDGER_REASON_COUNT,
	        sizeof(struct bell),
	        sizeof(struct stream_shared),
	        offsetof(struct stream_shared, tail),
	        offsetof(struct stream_shared, intent),
	        offsetof(struct stream_shared, limit),
	        offsetof(struct stream_shared, ledger),
	        offsetof(struct stream_shared, waypoint),
	        sizeof(struct stream_group),
	        offsetof(struct stream_group, joined),
	        offsetof(struct stream_group, cursor),
	        offsetof(struct stream_group, asleep),
	        sizeof(struct instance_page),
	        offsetof(struct instance_page, replaced),
	        offsetof(struct instance_page, topic),
	        offsetof(struct instance_page, queue),
	        offsetof(struct instance_page, role),
	        sizeof(struct instance_topic),
	        sizeof(struct drops_page),
	        sizeof(struct queue_shared),
	        offsetof(struct queue_shared, pushed),
	        sizeof(struct redo_note),
	};
	uint64_t hash = SEGMENT_MAGIC;
	for (size_t i = 0; i < sizeof layout / sizeof layout[0]; i++)
		hash = mix(hash, layout[i]);
	for (size_t i = 0; i < segment_payload_layouts; i++)
		hash = mix(hash, segment_payload_layout[i]);
	return hash == 0 ? 1 : hash;
}

static size_t page_up(size_t bytes)
{
	size_t page = SEGMENT_HEADER_BYTES;
	return (bytes + page - 1) & ~(page - 1);
}

size_t segment_file_bytes(size_t body_bytes)
{
	return SEGMENT_HEADER_BYTES + page_up(body_bytes);
}

static int path_of(char *path, size_t size, const char *directory, const char *name)
{
	int n = snprintf(path, size, "%s/%s", directory, name);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* Gives the file its size and its memory, so that no later store can fail for want of it. A signal
 * ends the call with nothing done, and so does what a ring of io_uring that was just closed leaves
 * the kernel to do (seen on 6.1). */
static int allocate(int fd, const char *directory, const char *name, size_t bytes, struct shm_error *error)
{
	int result;
	do
		result = -posix_fallocate(fd, 0, (off_t)bytes);
	while (result == -EINTR);
	if (result == -ENOSPC || result == -ENOMEM) {
		struct statvfs room = {0};
		(void)statvfs(directory, &room);
		shm_explain(error, "%s/%s: needs %zu bytes, the file system has %llu free", directory, name,
		            bytes, (unsigned long long)room.f_bavail * room.f_frsize);
	} else if (result != 0) {
		shm_explain(error, "%s/%s: cannot allocate %zu bytes: %s", directory, name, bytes,
		            strerror(-result));
	}
	return result;
}

int segment_create(const char *directory, const char *name, enum segment_kind kind, uint64_t generation,
                   size_t body_bytes, void (*fill)(void *body, void *argument), void *argument,
                   struct shm_error *error)
{
	char temporary[SEGMENT_NAME_MAX + 1];
	struct stat status;
	if (strlen(name) >= SEGMENT_NAME_MAX) {
		shm_explain(error, "%s/%s: name too long", directory, name);
		return -ENAMETOOLONG;
	}
	if (folder_stat(directory, name, &status) == 0) {
		shm_explain(error, "%s/%s: exists already", directory, name);
		return -EEXIST;
	}
	snprintf(temporary, sizeof temporary, ".%s", name);
	(void)folder_unlink(directory, temporary); /* left by one that died here */
	int fd = folder_open(directory, temporary, O_RDWR | O_CREAT | O_EXCL, 0640);
	if (fd < 0) {
		shm_explain(error, "%s/%s: cannot create: %s", directory, temporary, strerror(-fd));
		return fd;
	}
	size_t bytes = segment_file_bytes(body_bytes);
	struct segment_header *header = MAP_FAILED;
	int result = allocate(fd, directory, name, bytes, error);
	if (result != 0)
		goto out;
	header = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (header == MAP_FAILED) {
		result = -errno;
		shm_explain(error, "%s/%s: cannot map: %s", directory, temporary, strerror(-result));
		goto out;
	}
	header->layout_hash = segment_layout_hash();
	header->size_bytes = bytes;
	header->generation = generation;
	header->kind = kind;
	header->creator_pid = (uint32_t)getpid();
	snprintf(header->name, sizeof header->name, "%s", name);
	if (fill != NULL)
		fill((char *)header + SEGMENT_HEADER_BYTES, argument);
	atomic_store_explicit(&header->magic, SEGMENT_MAGIC, memory_order_release);
	result = folder_rename(directory, temporary, directory, name);
	if (result != 0)
		shm_explain(error, "%s/%s: cannot rename: %s", directory, temporary, strerror(-result));
out:
	if (header != MAP_FAILED)
		munmap(header, bytes);
	if (result != 0)
		(void)folder_unlink(directory, temporary);
	close(fd);
	return result;
}

int segment_check(int fd, const char *name, enum segment_kind kind, struct segment_header *header,
                  struct shm_error *error)
{
	struct stat status;
	if (fstat(fd, &status) != 0 || pread(fd, header, sizeof *header, 0) != (ssize_t)sizeof *header ||
	    atomic_load_explicit(&header->magic, memory_order_acquire) != SEGMENT_MAGIC) {
		shm_explain(error, "%s: not a millrace segment", name);
		return -EPROTO;
	}
	if (header->layout_hash != segment_layout_hash()) {
		shm_explain(
		        error,
		        "%s: made by another build (layout %016llx, this program has %016llx); end that instance with its own build, or remove its directory when its data is not needed",
		        name, (unsigned long long)header->layout_hash,
		        (unsigned long long)segment_layout_hash());
		return -EPROTO;
	}
	if (header->kind != kind || header->size_bytes != (uint64_t)status.st_size) {
		shm_explain(error, "%s: kind %u of %llu bytes found, kind %u of %lld bytes expected", name,
		            header->kind, (unsigned long long)header->size_bytes, kind,
		            (long long)status.st_size);
		return -EPROTO;
	}
	return 0;
}

uint64_t segment_layout_of(const char *directory, const char *name)
{
	struct segment_header header = {0};
	int fd = folder_open(directory, name, O_RDONLY, 0);
	bool whole = fd >= 0 && pread(fd, &header, sizeof header, 0) == (ssize_t)sizeof header &&
	             atomic_load_explicit(&header.magic, memory_order_acquire) == SEGMENT_MAGIC;
	if (fd >= 0)
		close(fd);
	return whole ? header.layout_hash : 0;
}

int segment_attach(struct segment *segment, const char *directory, const char *name, enum segment_kind kind,
                   enum segment_access access_wanted, struct shm_error *error)
{
	char path[256];
	if (path_of(path, sizeof path, directory, name) != 0) {
		shm_explain(error, "%s/%s: name too long", directory, name);
		return -ENAMETOOLONG;
	}
	int fd = folder_open(directory, name, access_wanted == SEGMENT_WRITE ? O_RDWR : O_RDONLY, 0);
	if (fd < 0) {
		shm_explain(error, "%s: %s", path, strerror(-fd));
		return fd;
	}
	struct segment_header header;
	struct stat status = {0};
	int result = segment_check(fd, path, kind, &header, error);
	if (result == 0) {
		int protection = access_wanted == SEGMENT_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
		void *at = mmap(NULL, header.size_bytes, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
		if (at == MAP_FAILED) {
			result = -errno;
			shm_explain(error, "%s: cannot map: %s", path, strerror(-result));
		} else {
			segment->header = at;
			segment->body = (char *)at + SEGMENT_HEADER_BYTES;
			segment->body_bytes = header.size_bytes - SEGMENT_HEADER_BYTES;
			segment->mapped_bytes = header.size_bytes;
			(void)fstat(fd, &status);
			segment->device = status.st_dev;
			segment->inode = status.st_ino;
		}
	}
	close(fd);
	return result;
}

void segment_detach(struct segment *segment)
{
	if (segment->header != NULL)
		munmap(segment->header, segment->mapped_bytes);
	memset(segment, 0, sizeof *segment);
}

int segment_destroy(const char *directory, const char *name)
{
	return folder_unlink(directory, name);
}
