#include "shm/ledger.h"

#include <stddef.h>

static const struct {
	const char *name, *help;
} reasons[] = {
#define X(symbol, name, help) {name, help},
        LEDGER_REASONS(X)
#undef X
};

const char *ledger_reason_name(enum ledger_reason reason)
{
	return (unsigned)reason < LEDGER_REASON_COUNT ? reasons[reason].name : NULL;
}

const char *ledger_reason_help(enum ledger_reason reason)
{
	return (unsigned)reason < LEDGER_REASON_COUNT ? reasons[reason].help : NULL;
}
