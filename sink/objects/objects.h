/* The objects stage: reads its topics as the required group of the sink's name, and brings each
 * event into exactly one object of a store.
 *
 *     lanes --> lines.h --> journal.h: lines, and the lanes' cursors in one redo note
 *                                |
 *                            upload.h: members, parts, objects --> store.h
 *
 * One loop does all; what may wait (disk, network) is the store's, and is asked without blocking.
 */
#ifndef SINK_OBJECTS_OBJECTS_H
#define SINK_OBJECTS_OBJECTS_H

#include "sink/objects/lines.h"
#include "sink/objects/upload.h"
#include "stage/stage.h"

#define OBJECTS_WAITS_MAX 256u /* descriptors of a store that the loop waits for */

extern const struct stage_ops objects_stage;

/* What a sink is made of besides its lanes; the stage alone has one, too. */
struct objects {
	char section[SHM_NAME_MAX + 16]; /* "sinks[0]" */
	const struct config *config;
	const char *name; /* of the sink */
	struct lines lines;
	struct pack *pack;
	const struct store_ops *ops;
	struct store *store;
	struct index *index; /* NULL: alone */
	struct journal *journal;
	struct journal_bounds bounds;
	struct upload_options options;
	struct spool *spool; /* NULL: none */
	struct upload *upload;
	const struct instance *instance; /* NULL: alone */
	uint64_t generation;
};

/* Opens lines, pack and store of the section. Returns 0, or -errno with "KEY: WHAT" in error. */
int objects_open(struct objects *objects, const struct config *config, const char *section,
                 const char *const *topics, struct shm_error *error);

/* Opens the spool of the section, when it has one or the journal has parts in it. Before
 * objects_begin; objects->journal is set. Returns 0 or -errno with "KEY: WHAT" in error. */
int objects_spool(struct objects *objects, struct shm_error *error);

/* With the journal, which objects_close closes: begins. Returns 0 or -errno with the reason. */
int objects_begin(struct objects *objects, struct journal *journal, uint64_t generation,
                  struct shm_error *error);

/* After lines_take and the commit: tells upload which objects have a member to be packed. True when
 * there are some. */
bool objects_touch(struct objects *objects);

/* Closes what is open of it; also of one that is all zero. */
void objects_close(struct objects *objects);

/* Refuses to start when the spool's directory is gone and parts are in it (stage_ops.before). */
int objects_before(const struct stage *stage, struct shm_error *error);

/* Could objects_open do it? Makes and changes nothing (stage_ops.check). */
int objects_check(const struct config *config, const char *section, struct shm_error *error);

/* The stage alone: the records of a file, as they lie in a lane, into the store of the first sink
 * of this kind; ends when all is in the store. Returns the exit status. */
int objects_alone(const struct config *config, FILE *input, FILE *output);

#endif
