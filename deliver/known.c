#include "deliver/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/dead_json.h"
#include "deliver/waiting_db.h"

static const char text[] =
        "SELECT id, method, endpoint, origin, reason, history, url, data, attempts, arrival_ns, first_ms, dead_ms, due_ms, state FROM postback WHERE id = ?1";

static const char *state_name(int64_t state)
{
	switch (state) {
	case WAITING_LATER:
		return "later";
	case WAITING_PARKED:
		return "parked";
	case WAITING_CLAIMED:
		return "claimed";
	default:
		return "dead";
	}
}

static const char *column(sqlite3_stmt *row, int i)
{
	const char *found = (const char *)sqlite3_column_text(row, i);
	return found != NULL ? found : "";
}

static json_t *row_json(const struct redact *redact, sqlite3_stmt *row)
{
	struct dead_letter letter = {
	        .id = column(row, 0),
	        .method = column(row, 1),
	        .endpoint = column(row, 2),
	        .origin = column(row, 3),
	        .reason = column(row, 4),
	        .history = column(row, 5),
	        .url = column(row, 6),
	        .data = column(row, 7),
	        .url_bytes = (size_t)sqlite3_column_bytes(row, 6),
	        .data_bytes = (size_t)sqlite3_column_bytes(row, 7),
	        .attempts = (uint64_t)sqlite3_column_int64(row, 8),
	        .arrival_ns = (uint64_t)sqlite3_column_int64(row, 9),
	        .first_ms = sqlite3_column_int64(row, 10),
	        .dead_ms = sqlite3_column_int64(row, 11),
	};
	letter.status = dead_status(letter.history);
	json_t *one = dead_json(&letter, redact, true);
	int64_t state = sqlite3_column_int64(row, 13);
	if (one == NULL || json_object_set_new(one, "state", json_string(state_name(state))) != 0) {
		json_decref(one);
		return NULL;
	}
	if (state == WAITING_DEAD)
		return one;
	(void)json_object_del(one, "dead_ts");
	(void)json_object_del(one, "reason");
	if (json_object_set_new(one, "due_ts", json_integer(sqlite3_column_int64(row, 12))) == 0)
		return one;
	json_decref(one);
	return NULL;
}

int known_json(struct waiting *waiting, const struct redact *redact, const char *id, json_t **json,
               struct shm_error *error)
{
	sqlite3_stmt *statement = NULL;
	int result = sqlite3_prepare_v2(waiting->db, text, -1, &statement, NULL);
	if (result == SQLITE_OK) {
		sqlite3_bind_text(statement, 1, id, -1, SQLITE_STATIC);
		result = sqlite3_step(statement);
	}
	int found = 0;
	if (result == SQLITE_ROW) {
		*json = row_json(redact, statement);
		found = *json != NULL ? 1 : -ENOMEM;
		if (found < 0)
			shm_explain(error, "no memory");
	} else if (result != SQLITE_DONE) {
		found = waiting_failed(waiting, result);
		*error = waiting->reason;
	}
	sqlite3_finalize(statement);
	return found;
}
