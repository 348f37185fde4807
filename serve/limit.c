#include "serve/limit.h"

#include <sqlite3.h>

#include "base/clock.h"

#define STEPS 1000 /* of SQLite's machine between two looks at the clock: well under 1 ms */

static uint64_t until_ns; /* 0: no limit */
static bool over;

static int look(void *argument)
{
	(void)argument;
	if (until_ns == 0 || clock_monotonic_ns() < until_ns)
		return 0;
	over = true;
	return 1;
}

static int attach(sqlite3 *db, char **error, const struct sqlite3_api_routines *api)
{
	(void)error;
	(void)api;
	sqlite3_progress_handler(db, STEPS, look, NULL);
	return SQLITE_OK;
}

bool limit_init(void)
{
	return sqlite3_auto_extension((void (*)(void))attach) == SQLITE_OK;
}

void limit_begin(uint64_t timeout_ns)
{
	over = false;
	until_ns = clock_monotonic_ns() + timeout_ns;
}

bool limit_end(void)
{
	until_ns = 0;
	return over;
}
