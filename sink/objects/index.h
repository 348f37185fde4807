/* The index: what a store may know of uploads that are open, on disk, for the time after a reboot.
 * The journal itself is memory and goes with the machine; parts that the store has confirmed do
 * not.
 *
 *     <data_dir>/sinks/NAME.open     one JSON object a line, appended
 *
 *     {"open": TOKEN, "key": ..., "name": ..., "upload": ..., "words": [..], "encoding": ..., "type": ...}   its id is known
 *     {"part": TOKEN, "number": 3, "bytes": 8388711, "etag": "..."}                                          confirmed
 *     {"done": TOKEN}                                                                                        complete, or told as lost
 *
 * A line is written when the journal has the same; a thread makes the file safe (fdatasync), so the
 * loop does not wait for the disk. What was confirmed in the moment before a power cut may be
 * missing. The journal is always right: an entry that it has, too, is the journal's. Entries that
 * only the file has are left over: recover.h completes them.
 *
 * The file is written anew, without what is done, at the start and when it has become long. One
 * that cannot be written (disk full) holds up nothing: it is said once, and written anew once that
 * works. <data_dir>/sinks/NAME.lock is held by the one process that may write it.
 */
#ifndef SINK_OBJECTS_INDEX_H
#define SINK_OBJECTS_INDEX_H

#include "base/text.h"
#include "sink/objects/journal.h"
#include "sink/objects/store.h"

struct index; /* opaque; one thread */

/* One upload that is open. */
struct index_entry {
	char token[JOURNAL_TOKEN_BYTES + 1];
	char *key, *name, *upload, *encoding, *type; /* 0-ended */
	uint64_t words[STORE_WORDS];
	uint32_t n_parts;
	struct store_part *part; /* confirmed, in the order of their numbers */
};

/* Opens the file of the sink, made with its folder when it is not there, and reads what was left
 * open. Returns 0, or -errno with the reason: -EBUSY another process has it. Lines that make no
 * sense (the last one of a cut write) are left out. */
int index_open(struct index **made, const char *data_dir, const char *sink, struct shm_error *error);

/* NULL is allowed. */
void index_close(struct index *index);

/* The entry as a look at the journal would show it: key, name, upload, token, words. It points into
 * the entry. */
struct journal_view index_view(const struct index_entry *entry);

/* Entry i of those that were left open and are not dropped; NULL after the last. */
const struct index_entry *index_left(const struct index *index, unsigned i);

/* It is the journal's, or it is done: not left any more. The pointer is not valid after this. */
void index_drop_left(struct index *index, const char *token);

/* An upload's id is known. Said again of the same token it replaces what was said before. */
void index_opened(struct index *index, const struct journal_view *object, const char *encoding,
                  const char *type);
void index_confirmed(struct index *index, const char *token, const struct store_part *part);
void index_done(struct index *index, const char *token);

/* Whether it should be written anew: it is long, or a line could not be written. */
bool index_is_long(const struct index *index, uint64_t now_ns);

/* Writes it anew: begin, what is open in the journal by index_opened and index_confirmed, end. What
 * is left and not dropped is kept. On failure the old file stays. */
void index_begin(struct index *index);
void index_end(struct index *index, uint64_t now_ns);

/* Writes a member of a JSON object that is not its first: , "name": "value". bytes: of the value. */
void index_put(struct text *text, const char *name, const char *value, size_t bytes);

#endif
