/* Files of the spool: one part each, called TOKEN.N, and a trailer that says what they are.
 *
 *     +-------------------+---------------------------------------------------+
 *     | bytes of the part | magic, token, number, bytes, sequence, CRC32C     |
 *     +-------------------+---------------------------------------------------+
 *
 * The CRC is of all that stands before it. All of these wait for the disk; symbolic links are not
 * followed.
 */
#ifndef SINK_OBJECTS_SPOOL_FILE_H
#define SINK_OBJECTS_SPOOL_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "sink/objects/journal.h"

#define SPOOL_TRAILER_BYTES 72u

struct spool_file {
	char token[JOURNAL_TOKEN_BYTES + 1];
	uint32_t number;
	uint64_t bytes;    /* of the part */
	uint64_t sequence; /* those that were spooled later have a greater one */
};

/* Writes the file, whose trailer it fills, in the place of one that has the name; file and
 * directory are safe when it returns 0. -errno: nothing of it is left, as far as the disk lets
 * it. */
int spool_file_write(int directory, const struct spool_file *file, const struct iovec *piece, unsigned n);

/* Reads the part to data, which has room for its bytes. 0; -ENOENT: it is gone, short, or not the
 * one that was written: reason says which; otherwise -errno, and it may be read later. */
int spool_file_read(int directory, const struct spool_file *file, void *data, const char **reason);

/* What its trailer says; 0 when it cannot be read. */
uint64_t spool_file_sequence(int directory, const struct spool_file *file);

/* 0 also when there is none. */
int spool_file_remove(int directory, const struct spool_file *file);

/* Token and number from a name; false: it is none of ours. */
bool spool_file_named(struct spool_file *file, const char *name);

#endif
