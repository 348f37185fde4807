/* The spool: parts that find no room in memory while the store fails, as files on a disk.
 *
 *     journal (blocks) --spool_write--> DIRECTORY/TOKEN.N, fsync --> journal_spooled: the blocks are free
 *                                             |
 *                       store <--spool_fetch--'   length and CRC32C are checked; confirmed: spool_drop
 *
 * A part keeps its number and its bytes. The journal says which parts are here: a file that it does
 * not know was written by a life that was killed before it said so, and is removed at the start. A
 * part whose file is gone, short or another one is lost (SPOOL_GONE), and nothing is sent in its
 * place.
 *
 * A thread does what waits for the disk, in the order in which it is asked. All else is the loop's.
 */
#ifndef SINK_OBJECTS_SPOOL_H
#define SINK_OBJECTS_SPOOL_H

#include "config/config.h"
#include "sink/objects/journal.h"
#include "sink/objects/store.h"

#define SPOOL_PARTS_MAX 65536u /* in the spool */
#define SPOOL_READS     2u     /* parts that are in ordinary memory, to be sent */
#define SPOOL_WRITES    2u     /* parts that are being written */

struct spool; /* opaque */

struct spool_counts {
	uint64_t bytes, parts; /* in the directory */
	uint64_t spooled;      /* written since spool_open */
	const char *reason;    /* why it cannot be written or read; "": it can */
};

/* Whether spool_open may make the directory: -ENOENT with the reason when it is gone and parts are
 * in it, 0 otherwise; other -errno. Changes nothing. */
int spool_look(const char *directory, struct journal *journal, struct shm_error *error);

/* Takes up the spool in the directory, which it makes if spool_look lets it. size: bytes of all
 * files; 0: what is there is sent, nothing is added. owner: the directory belongs to it for good;
 * another's is refused. With size 0 and no part in the spool *made is NULL. The journal stays open
 * until spool_close. Returns 0, or -errno with the reason. */
int spool_open(struct spool **made, const char *directory, const char *owner, uint64_t size,
               struct journal *journal, struct shm_error *error);

/* Waits for what the thread is doing. NULL is allowed. */
void spool_close(struct spool *spool);

/* Bytes of ordinary memory; part_most: of the longest part. */
uint64_t spool_memory(uint64_t size, uint64_t part_most);

/* Has it room for so many more bytes, and does its disk take them, as far as is known? */
bool spool_takes(const struct spool *spool, uint64_t bytes, uint64_t now_ns);

/* Fewer than SPOOL_WRITES are under way. */
bool spool_idle(const struct spool *spool);

/* Begins to write a cut part that is not in the spool. The blocks, and the object, stay until
 * spool_busy is false; then the part is in the spool, or it could not be written and is where it
 * was. Only when spool_takes and spool_idle. False without memory. */
bool spool_write(struct spool *spool, journal_object object, uint32_t number);

/* A part of the object is being written. */
bool spool_busy(const struct spool *spool, journal_object object);

/* Takes what the thread has done. An object of which a part was written or read, JOURNAL_NONE:
 * nothing more. Nothing in the journal is uncommitted. */
journal_object spool_next(struct spool *spool, uint64_t now_ns);

enum spool_fetched {
	SPOOL_READY,
	SPOOL_WAIT, /* it is being read; or too many are, or reading failed for now: ask again */
	SPOOL_GONE,
};

/* The bytes of a part in the spool. READY: data stays until spool_free or spool_drop; GONE:
 * *reason. */
enum spool_fetched spool_fetch(struct spool *spool, journal_object object, uint32_t number, uint64_t now_ns,
                               const void **data, const char **reason);

/* The bytes are being sent; they are not any more, and may be read again. */
void spool_use(struct spool *spool, journal_object object, uint32_t number);
void spool_free(struct spool *spool, journal_object object, uint32_t number);

/* The part is confirmed, or nobody wants it any more: its file goes. */
void spool_drop(struct spool *spool, journal_object object, uint32_t number);

/* Objects with parts here, in the order in which they were spooled; at most n, each once. Returns
 * how many. */
unsigned spool_oldest(const struct spool *spool, journal_object *object, unsigned n);

/* A descriptor that is readable when spool_next has something. */
struct store_wait spool_wait(const struct spool *spool);

void spool_count(const struct spool *spool, struct spool_counts *counts);

/* The directory of a section's spool. Returns 0 or -ENAMETOOLONG with the reason. */
int spool_path(char path[], const struct config *config, const char *section, struct shm_error *error);

/* --check: could the directory be made and written? Changes nothing. */
int spool_check(const struct config *config, const char *section, struct shm_error *error);

#endif
