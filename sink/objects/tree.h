/* A directory and what lies below it, reached by descriptors and without following symbolic links.
 *
 *     path/                     tree.fd, held open
 *         +open/TOKEN.part      uploads that are not finished (no object's name can begin so: '+' is no byte of a value)
 *         chat/2026-11-27/...   objects; tree_parent opens (or makes) the directory that an object is in
 *
 * The directory may be removed, renamed or covered by another file system while it is open. What is
 * written into it then has no name, so tree_look is asked before and after each effect.
 */
#ifndef SINK_OBJECTS_TREE_H
#define SINK_OBJECTS_TREE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define TREE_OPEN "+open" /* the directory of uploads */

struct tree {
	char path[PATH_MAX];
	int fd;      /* of path; -1: not open */
	int open_fd; /* of path/+open */
};

/* Opens the directory, makes it and those above it when they are not there. Returns 0 or -errno
 * with nothing open. */
int tree_open(struct tree *tree);
void tree_close(struct tree *tree);

/* Is the directory that is open the one that has the path? Opens it when it is not open, or was
 * removed for good. Returns 0; -ESTALE when it was renamed or something covers it, so that it may
 * come back; otherwise as tree_open. */
int tree_look(struct tree *tree);

/* 0 when the directory, or the nearest one above it in which it would be made, lets us write;
 * otherwise -errno. Changes nothing. */
int tree_could_write(const char *path);

/* 0 when an object of this name could lie below a tree: parts between slashes, none of them empty,
 * "." or "..", none longer than NAME_MAX, none but those of uploads called +open, no NUL. -EINVAL
 * or -ENAMETOOLONG otherwise. */
int tree_name(const char *name, size_t bytes);

/* Opens the directory in which the object lies and copies the last part of its name to last. make:
 * makes what is missing, with fsync of what it is made in. Returns the descriptor, which the caller
 * closes, or -errno: -ENOENT, -ENOTDIR and -ELOOP for what stands in the way. */
int tree_parent(const struct tree *tree, const char *name, size_t bytes, bool make, char last[NAME_MAX + 1]);

#endif
