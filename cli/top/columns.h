/* The tables of `millrace top` and their columns, in the order in which they stand.
 *
 *     X(id, title, kind, width, rank, watched, help)
 *
 * kind says how the number of a cell becomes text. width is that of the text; a NAME and a NOTE
 * take the room that there is. rank is the order of importance: where a screen is too narrow, the
 * columns of the highest ranks are left out. What is watched is highlighted when it has changed.
 */
#ifndef CLI_TOP_COLUMNS_H
#define CLI_TOP_COLUMNS_H

#include <stdbool.h>

#define COLUMNS_OF_STAGES(X)                                                                            \
	X(NAME, "STAGE", NAME, 9, 0, false, "the process")                                              \
	X(STATE, "STATE", TEXT, 9, 1, true,                                                             \
	  "what it does; dead: no process; throttled: it died too often; silent: no heartbeat for 5 s") \
	X(CPU, "CPU%", PERCENT, 5, 2, false, "of one processor")                                        \
	X(RATE, "EVENTS/S", RATE, 8, 4, false,                                                          \
	  "events that it received into its topics; of a sink: that it read")                           \
	X(RESTARTS, "RESTARTS", COUNT, 8, 3, true, "since the instance was created")                    \
	X(MEMORY, "MEMORY", BYTES, 7, 5, false, "its own in RAM, without what it shares")               \
	X(SHARED, "SHARED", BYTES, 7, 9, false, "files and shared memory that it has touched")          \
	X(UP, "UP", AGE, 6, 7, false, "how long this process runs")                                     \
	X(PID, "PID", PLAIN, 8, 8, true, "the process")                                                 \
	X(NOTE, "NOTE", NOTE, 10, 6, false, "what the stage says")

#define COLUMNS_OF_TOPICS(X)                                                                       \
	X(NAME, "TOPIC", NAME, 13, 0, false, "a topic, and below it the groups that read it")      \
	X(RATE, "EVENTS/S", RATE, 8, 1, false, "a topic: received; a group: read")                 \
	X(FILL, "FULL", BAR, 16, 2, false,                                                         \
	  "the part of the fullest lane that waits for a group; a topic: for its required groups") \
	X(WAITING, "WAITING", COUNT, 7, 3, false, "records that wait for the group")               \
	X(OLDEST, "OLDEST", AGE, 6, 4, false, "the age of the oldest of these")                    \
	X(MISSED, "MISSED", COUNT, 7, 5, true, "records overwritten before the group read them")   \
	X(BYTES, "BYTES", BYTES, 7, 6, false, "bytes that wait for the group; a topic: of a lane") \
	X(TOTAL, "TOTAL", COUNT, 7, 7, false, "a topic: records written; a group: read")           \
	X(KIND, "KIND", TEXT, 8, 8, true,                                                          \
	  "a topic: what happens when it is full; a group: required groups hold the writers up")   \
	X(READER, "READER", PLAIN, 8, 9, true, "the process that reads the group")

#define COLUMNS_OF_QUEUES(X)                                                     \
	X(NAME, "QUEUE", NAME, 9, 0, false, "a queue of work")                   \
	X(RATE, "PUT/S", RATE, 8, 1, false, "messages put into it")              \
	X(FILL, "FULL", BAR, 16, 2, false, "slots in use")                       \
	X(READY, "READY", COUNT, 7, 3, false, "messages that wait")              \
	X(TAKEN, "TAKEN", COUNT, 7, 4, false, "messages that a stage works on")  \
	X(DONE, "DONE/S", RATE, 8, 5, false, "messages dealt with")              \
	X(FILLING, "FILLING", COUNT, 7, 7, false, "slots that are being filled") \
	X(SLOTS, "SLOTS", COUNT, 7, 6, false, "all of them")                     \
	X(SIZE, "SIZE", BYTES, 7, 8, false, "of a slot")

#define COLUMNS_OF_LEDGERS(X)                                                                        \
	X(NAME, "LEDGER", NAME, 9, 0, false, "a topic, all its lanes")                               \
	X(RECEIVED, "RECEIVED", COUNT, 8, 4, false, "= rejected + dropped + refused + written")      \
	X(REJECTED, "REJECTED", COUNT, 8, 5, true, "no valid events; millrace stat has the reasons") \
	X(DROPPED, "DROPPED", COUNT, 7, 1, true, "valid, and there was no room")                     \
	X(REFUSED, "REFUSED", COUNT, 7, 2, true, "the same over HTTP, where the client was told")    \
	X(KERNEL, "KERNEL", COUNT, 7, 3, true, "dropped by the kernel before they were received")    \
	X(WRITTEN, "WRITTEN", COUNT, 7, 6, false, "records in the topic")                            \
	X(LOST_RATE, "LOST/S", RATE, 7, 7, false, "dropped, refused, and dropped by the kernel")     \
	X(REJECTED_RATE, "REJ/S", RATE, 7, 8, false, "rejected")                                     \
	X(BALANCED, "BALANCED", TEXT, 8, 9, true, "whether the sum is right; for moments it is not")

enum column_kind {
	COLUMN_NAME,
	COLUMN_TEXT,
	COLUMN_COUNT,
	COLUMN_PLAIN, /* a number that is a name: all its digits */
	COLUMN_RATE,
	COLUMN_BYTES,
	COLUMN_AGE, /* seconds */
	COLUMN_PERCENT,
	COLUMN_BAR, /* 0 to 1 */
	COLUMN_NOTE,
};

enum table { TABLE_STAGES, TABLE_TOPICS, TABLE_QUEUES, TABLE_LEDGERS, TABLES };

#define X(id, ...) STAGES_##id,
enum stages_column { COLUMNS_OF_STAGES(X) STAGES_COLUMNS };
#undef X
#define X(id, ...) TOPICS_##id,
enum topics_column { COLUMNS_OF_TOPICS(X) TOPICS_COLUMNS };
#undef X
#define X(id, ...) QUEUES_##id,
enum queues_column { COLUMNS_OF_QUEUES(X) QUEUES_COLUMNS };
#undef X
#define X(id, ...) LEDGERS_##id,
enum ledgers_column { COLUMNS_OF_LEDGERS(X) LEDGERS_COLUMNS };
#undef X

#define COLUMNS_MAX 10u /* of a table */

struct column {
	const char *title;
	enum column_kind kind;
	unsigned width, rank;
	bool watched;
	const char *help;
};

/* The columns of a table; *n is set to their number. */
const struct column *columns_of(enum table table, unsigned *n);

/* "stages" and so on. */
const char *columns_table_name(enum table table);

#endif
