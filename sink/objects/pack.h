/* Pack: lines into compressed members.
 *
 *     raw bytes, in pieces --pack_add--> pack_end --> one whole member (gzip, RFC 1952; frame: zstd, RFC 8878)
 *
 * Each member stands for itself: members in a row are a file that gunzip (zstd, cat) reads, cut
 * after any of them too. The same pieces and method give a member that unpacks to the same bytes;
 * its compressed bytes may differ between versions of the libraries, so they are kept, not made
 * again.
 *
 *     none          the bytes as they are
 *     isal:0-3      ISA-L, gzip
 *     zlib:1-9      gzip
 *     zstd:1-19     zstd
 */
#ifndef SINK_OBJECTS_PACK_H
#define SINK_OBJECTS_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pack; /* opaque; one thread */

/* What pack_known takes, for people. */
#define PACK_METHODS "isal:0 to isal:3, zlib:1 to zlib:9, zstd:1 to zstd:19, none"

/* Whether the text is a method. */
bool pack_known(const char *method);

/* Reads a method ("isal:1") and allocates all that it will ever need. Returns 0, -EINVAL for a method
 * that pack_known does not take, -ENOMEM. */
int pack_open(struct pack **pack, const char *method);
void pack_close(struct pack *pack);

/* Bytes of ordinary memory that pack_open takes for the method, found by opening it; 0 for one that
 * is none, or without memory. 0.1 to 0.5 MiB; zstd 1.4 MiB (1) to 90 MiB (19). */
uint64_t pack_memory(const char *method);

/* "gzip", "zstd", "identity": Content-Encoding of the object; ".gz", ".zst", "": what a file's name
 * ends with, where that is wanted. */
const char *pack_encoding(const struct pack *pack);
const char *pack_suffix(const struct pack *pack);

/* The most that a member of so many raw bytes can take: a little more than those, with isal:0 twice
 * as much. */
size_t pack_most(const struct pack *pack, size_t raw_bytes);

/* Where compressed bytes go: returns the next piece of room and sets *bytes to its size; NULL when
 * there is no more. Pieces are filled in order; the last
 * that is asked for may stay empty. */
typedef void *pack_room(void *argument, size_t *bytes);

/* One member: begin, add as often as there are pieces, end. *packed is the member's length. What
 * is added stays there unchanged until the next of these calls has returned. They return 0, or
 * -ENOSPC when there is no more room: the member is then given up, and begin starts another. */
void pack_begin(struct pack *pack, pack_room *room, void *argument);
int pack_add(struct pack *pack, const void *raw, size_t bytes);
int pack_end(struct pack *pack, uint64_t *packed);

#endif
