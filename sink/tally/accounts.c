#include "sink/tally/accounts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>
#include <sqlite3.h>

#include "sink/tally/answer.h"
#include "sink/tally/reader.h"
#include "stage/database.h"

/* Returns 1 with *first_ms; 0; -errno. */
static int find(struct reader *reader, const char *username, int64_t *first_ms, struct shm_error *error)
{
	sqlite3_stmt *statement;
	size_t bytes = strlen(username);
	int result = sqlite3_prepare_v2(reader->db, "SELECT first_ms FROM account WHERE name = ?1", -1,
	                                &statement, NULL);
	if (result != SQLITE_OK)
		return reader_explain(reader, result, error);
	database_bind_bytes(statement, 1, username, bytes); /* as known.c stores it */
	result = sqlite3_step(statement);
	if (result == SQLITE_ROW)
		*first_ms = sqlite3_column_int64(statement, 0);
	int found = result == SQLITE_ROW    ? 1
	            : result == SQLITE_DONE ? 0
	                                    : reader_explain(reader, result, error);
	sqlite3_finalize(statement);
	return found;
}

static int say_unknown(struct reader *reader, struct shm_error *error)
{
	int64_t events = 0;
	int result = store_total(reader->db, "accounts_beyond", &events);
	if (result != SQLITE_OK)
		return reader_explain(reader, result, error);
	if (events == 0)
		shm_explain(error, "no event of this account was counted");
	else
		shm_explain(
		        error,
		        "not among the accounts that are told apart; %" PRId64
		        " events came of others, after tally.accounts was reached or with longer names, and some may be of this one",
		        events);
	return -ENOENT;
}

static int print(const char *username, int64_t first_ms, char **json, struct shm_error *error)
{
	char when[64], seconds[48];
	time_t time = (time_t)(first_ms / 1000);
	struct tm utc = {0};
	(void)gmtime_r(&time, &utc);
	(void)strftime(seconds, sizeof seconds, "%FT%T", &utc);
	snprintf(when, sizeof when, "%s.%03dZ", seconds, (int)(first_ms % 1000));
	json_t *name = answer_string(username, strlen(username));
	json_t *answer = name == NULL ? NULL
	                              : json_pack("{s:o, s:s, s:I}", "username", name, "first_seen", when,
	                                          "first_seen_ms", (json_int_t)first_ms);
	return answer_give(answer, 0, json, error);
}

int accounts_json(const char *data_dir, const char *username, char **json, struct shm_error *error)
{
	struct reader reader;
	int64_t first_ms = 0;
	int result = reader_open(&reader, data_dir, STORE_ALL_BOOKS, error);
	if (result != 0)
		return result;
	result = find(&reader, username, &first_ms, error);
	if (result == 1)
		result = print(username, first_ms, json, error);
	else if (result == 0)
		result = say_unknown(&reader, error);
	reader_close(&reader);
	return result;
}
