#include "cli/top/columns.h"

#define X(id, title, kind, width, rank, watched, help) {title, COLUMN_##kind, width, rank, watched, help},
static const struct column stages[] = {COLUMNS_OF_STAGES(X)};
static const struct column topics[] = {COLUMNS_OF_TOPICS(X)};
static const struct column queues[] = {COLUMNS_OF_QUEUES(X)};
static const struct column ledger[] = {COLUMNS_OF_LEDGERS(X)};
#undef X

_Static_assert(STAGES_COLUMNS <= COLUMNS_MAX && TOPICS_COLUMNS <= COLUMNS_MAX &&
                       QUEUES_COLUMNS <= COLUMNS_MAX && LEDGERS_COLUMNS <= COLUMNS_MAX,
               "raise COLUMNS_MAX");

const struct column *columns_of(enum table table, unsigned *n)
{
	static const struct {
		const struct column *column;
		unsigned n;
	} tables[TABLES] = {
	        [TABLE_STAGES] = {stages, STAGES_COLUMNS},
	        [TABLE_TOPICS] = {topics, TOPICS_COLUMNS},
	        [TABLE_QUEUES] = {queues, QUEUES_COLUMNS},
	        [TABLE_LEDGERS] = {ledger, LEDGERS_COLUMNS},
	};
	*n = tables[table].n;
	return tables[table].column;
}

const char *columns_table_name(enum table table)
{
	static const char *const names[TABLES] = {"stages", "topics", "queues", "ledger"};
	return names[table];
}
