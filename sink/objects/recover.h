/* Uploads that an earlier life of the machine left open: what is confirmed of them is brought to
 * light.
 *
 *     index: left open, and the journal does not have it
 *        |
 *      FIND the name --our token--> done
 *        | not there                      (another's: the next name, or LOST where the store has fixed the name)
 *      LIST the parts --none, or no such upload--> LOST, told with the remedy (abandoned.h)
 *        |
 *      FINISH with them --> done | lost answer --> FIND
 *
 * The events of parts that were never confirmed went with the memory. One upload after the other,
 * one request at a time; the gate before the store is the caller's.
 */
#ifndef SINK_OBJECTS_RECOVER_H
#define SINK_OBJECTS_RECOVER_H

#include "sink/objects/index.h"
#include "sink/objects/store.h"

struct recover; /* opaque */

/* What became of an upload. */
struct recover_end {
	const struct index_entry *entry;
	uint64_t bytes;
	const char *lost; /* the reason, or NULL: it is complete */
};
typedef void recover_told(void *argument, const struct recover_end *end);

/* All that the index has left. told is called once for each. Returns 0 or -ENOMEM. */
int recover_open(struct recover **made, struct index *index, const struct store_ops *ops, struct store *store,
                 recover_told *told, void *argument);

/* After the store was closed. NULL is allowed. */
void recover_close(struct recover *recover);

/* Starts the next request, when none is under way. True when one was started. */
bool recover_work(struct recover *recover, uint64_t now_ns);

/* Takes an answer of a request whose owner is `recover`. */
void recover_answer(struct recover *recover, struct store_request *request, uint64_t now_ns);

/* Uploads that are not dealt with. */
unsigned recover_left(const struct recover *recover);

#endif
