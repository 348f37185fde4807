/* What `millrace top` shows, as rows of numbers: made from samples of an instance, without a
 * terminal.
 *
 *     sample_take --> struct sample --model_show--> struct model: the headline, and a table of rows each for
 *                     (sample.h)                    stages, topics and groups, queues, the ledger
 *                                                   '-- per row: counters so far, for rates (look/average.h); what changed
 *
 * Rows stand in flow order. What a row remembers from sample to sample it finds by its name, so a
 * reload may add and remove some. Another life of the instance begins anew.
 */
#ifndef CLI_TOP_MODEL_H
#define CLI_TOP_MODEL_H

#include "cli/top/columns.h"
#include "cli/top/sample.h"
#include "look/average.h"

#define MODEL_ROWS_MAX   (INSTANCE_TOPICS_MAX * (STREAM_GROUPS_MAX + 1u)) /* of a table */
#define MODEL_CHANGED_NS (3 * NS_PER_SEC) /* what is watched is shown as changed for so long */

enum tone { TONE_PLAIN, TONE_DIM, TONE_GOOD, TONE_WARN, TONE_BAD };

struct cell {
	double number;    /* NAN: there is none */
	const char *text; /* of kinds TEXT and NOTE; "" when there is none */
	enum tone tone;
	bool changed;
};

struct row {
	const char *name;
	const char *topic; /* of a group: the topic that it reads; NULL otherwise */
	struct cell cell[COLUMNS_MAX];
};

struct rows {
	unsigned n;
	struct row row[MODEL_ROWS_MAX];
};

/* What was lost or turned away: events that were not taken in, or that a reader did not get. */
enum loss {
	LOSS_DROPPED,
	LOSS_REFUSED,
	LOSS_KERNEL,
	LOSS_MISSED,  /* by required groups, and those that were required and lapsed */
	LOSS_DAMAGED, /* records that a group could not read */
	LOSSES
};

struct model_loss {
	double since;             /* since the instance was created */
	double now;               /* a second */
	char where[SHM_NAME_MAX]; /* the topic or queue with most of them; "": none */
	unsigned n_where;         /* topics and queues that have some */
};

/* What a row remembers. */
struct memory;

struct model {
	struct rows table[TABLES];
	double in,
	        out; /* events a second that come from outside, and that leave through the last groups and queues */
	double uptime_s, cpu_percent, own_bytes;
	unsigned n_stages, n_dead, n_silent; /* dead, throttled or failed; without a heartbeat */
	bool supervised, draining;
	struct model_loss loss[LOSSES];
	/* private */
	uint64_t generation, sample, at_ns;
	enum average_window window;
	struct memory *memory;
	unsigned n_memory, next_memory;
};

/* Returns NULL when there is no memory. */
struct model *model_new(void);

void model_free(struct model *model);

/* Makes the rows from a sample; rates are means over the window. The sample must live as long as
 * the rows are used: texts are in it. The same sample may be shown again, with another window. */
void model_show(struct model *model, const struct sample *sample, enum average_window window);

/* "dropped" and so on. */
const char *model_loss_name(enum loss loss);

/* True when anything was lost since the instance was created. */
bool model_lost(const struct model *model);

#endif
