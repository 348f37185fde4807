/* Lines: from records of the lanes to lines of the journal's objects.
 *
 *     record --> copy --> filter --> key (template_hash, which object?) --> line (encode) --> journal_append
 *                           '-- filtered     '-- bad                          '-- bad, long
 *
 * A log whose key has numbers and times alone takes a shorter way: the journal's object is
 * remembered (recent.h), its line goes from the lane into the journal (journal_line.h). What cannot
 * be a line is counted and passed over. What finds no room stays in the batch.
 */
#ifndef SINK_OBJECTS_LINES_H
#define SINK_OBJECTS_LINES_H

#include "config/config.h"
#include "event/encode.h"
#include "event/filter.h"
#include "event/template.h"
#include "shm/instance.h"
#include "shm/record_copy.h"
#include "sink/objects/journal.h"
#include "sink/objects/recent.h"

#define LINES_TOPICS_MAX  PORTS_READS_MAX
#define LINES_BATCH_MAX   8192u                              /* records at a time */
#define LINES_DEFAULT_KEY "{topic}/{date}/{hour}/{instance}" /* of an empty option `key` */
#define LINES_KEY_MAX     800u /* a longer key is shortened (name.h): it leaves room for a suffix */

struct lines_topic {
	const char *name;
	uint16_t number; /* of the instance; of a stage alone its place in the list */
	struct filters filters;
	char origin[STREAM_LANES_MAX][80]; /* "<generation>-<topic>-<lane>" */
};

struct lines_counts {
	uint64_t events, filtered, bad, too_long;
};

struct lines {
	struct journal *journal;
	struct template *template;
	enum encode_format format;
	uint64_t longest;
	struct lines_topic topic[LINES_TOPICS_MAX];
	unsigned n_topics;
	struct template_place place;
	char host[256], instance[SHM_NAME_MAX];
	uint64_t hash_key[2];
	struct recent recent;
	struct record_copy copy;
	char *line; /* buffer */
	size_t room;
	char *key; /* buffer */
	size_t key_room;
	/* of one batch: the objects that got lines */
	uint32_t *stamp, n_objects, batch;
	journal_object *touched;
	unsigned n_touched;
	bool full; /* a line found no room: journal.h says what to do */
	struct lines_counts counts;
};

/* Reads key, format, filters and longest_line of the section; topics ends with NULL. Returns 0, or
 * -errno with "KEY: WHAT" in error and nothing left. Without a journal (lines_begin) it takes no
 * records: that much is what --check looks at. */
int lines_open(struct lines *lines, const struct config *config, const char *section,
               const char *const *topics, struct shm_error *error);

/* Where they go. generation: of the instance. Returns 0 or -ENOMEM. */
int lines_begin(struct lines *lines, struct journal *journal, uint64_t generation);

/* Takes at most LINES_BATCH_MAX records; batch stands after the last that was taken. Returns how
 * many that were. Nothing is committed. real_ns: CLOCK_REALTIME. */
uint64_t lines_take(struct lines *lines, unsigned topic, unsigned lane, struct record_batch *batch,
                    uint64_t real_ns);

void lines_close(struct lines *lines);

#endif
