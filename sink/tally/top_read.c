#include "sink/tally/top_read.h"

#include <errno.h>

#include <sqlite3.h>

#include "sink/tally/answer.h"
#include "sink/tally/top_store.h"

static int read_head(const struct reader *reader, const char *name, int64_t *id, struct top_read *read,
                     struct shm_error *error)
{
	static const char text[] =
	        "SELECT id, total, smallest, (SELECT count(*) FROM top_counter WHERE list = id) FROM top WHERE name = ?1";
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(reader->db, text, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return reader_explain(reader, result, error);
	sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
	result = sqlite3_step(statement);
	if (result == SQLITE_ROW) {
		*id = sqlite3_column_int64(statement, 0);
		read->total = (uint64_t)sqlite3_column_int64(statement, 1);
		read->smallest = (uint64_t)sqlite3_column_int64(statement, 2);
		read->keys = (uint64_t)sqlite3_column_int64(statement, 3);
	}
	sqlite3_finalize(statement);
	return result == SQLITE_ROW    ? 0
	       : result == SQLITE_DONE ? -ENOENT
	                               : reader_explain(reader, result, error);
}

bool top_read_append(json_t *list, const char *member, sqlite3_stmt *row)
{
	const char *key = sqlite3_column_blob(row, 0); /* NULL for the empty one */
	json_t *text = answer_string(key == NULL ? "" : key, (size_t)sqlite3_column_bytes(row, 0));
	json_t *item = text == NULL ? NULL
	                            : json_pack("{s:o, s:I, s:I}", member, text, "count",
	                                        (json_int_t)sqlite3_column_int64(row, 1), "error",
	                                        (json_int_t)sqlite3_column_int64(row, 2));
	return item != NULL && json_array_append_new(list, item) == 0;
}

static int read_page(const struct reader *reader, int64_t id, const char *member, struct top_page page,
                     json_t *list, struct shm_error *error)
{
	static const char text[] =
	        "SELECT key, count, error FROM top_counter WHERE list = ?1 ORDER BY count DESC, CAST(key AS BLOB) LIMIT ?2 OFFSET ?3";
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(reader->db, text, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return reader_explain(reader, result, error);
	sqlite3_bind_int64(statement, 1, id);
	sqlite3_bind_int64(statement, 2, page.limit < TOP_LIMIT_MAX ? (int64_t)page.limit : TOP_LIMIT_MAX);
	sqlite3_bind_int64(statement, 3,
	                   page.offset < TOP_CAPACITY_MAX ? (int64_t)page.offset : TOP_CAPACITY_MAX);
	bool appended = true;
	while (appended && (result = sqlite3_step(statement)) == SQLITE_ROW)
		appended = top_read_append(list, member, statement);
	sqlite3_finalize(statement);
	return !appended               ? answer_no_memory(error)
	       : result == SQLITE_DONE ? 0
	                               : reader_explain(reader, result, error);
}

int top_read(const struct reader *reader, const char *name, const char *member, struct top_page page,
             struct top_read *read, struct shm_error *error)
{
	int64_t id = 0;
	*read = (struct top_read){.list = json_array()};
	if (read->list == NULL)
		return answer_no_memory(error);
	int result = read_head(reader, name, &id, read, error);
	if (result == 0)
		result = read_page(reader, id, member, page, read->list, error);
	if (result != 0 && result != -ENOENT) {
		json_decref(read->list);
		read->list = NULL;
	}
	return result;
}
