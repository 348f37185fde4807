/* The rows of waiting.h. */
#include "deliver/waiting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/text.h"
#include "deliver/waiting_db.h"

#define ERROR_BYTES   500u /* of an attempt's error in a history */
#define DAMAGE_REASON "its row in deliver.db makes no sense"

/* ---- putting ---- */

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
	sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

static int put(struct waiting *waiting, const struct waiting_row *row, enum waiting_state state,
               const char *reason, int64_t dead_ms)
{
	const struct event_postback *postback = row->postback;
	const char *method = postback_method_name(postback->method);
	char id[EVENT_POSTBACK_ID_BYTES];
	if (method == NULL)
		return -EINVAL;
	event_postback_id(id, postback);
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_PUT);
	sqlite3_bind_text(statement, 1, id, sizeof id, SQLITE_STATIC);
	sqlite3_bind_int(statement, 2, (int)state);
	sqlite3_bind_int64(statement, 3, row->due_ms);
	bind_text(statement, 4, row->endpoint);
	bind_text(statement, 5, row->origin);
	bind_text(statement, 6, method);
	sqlite3_bind_int64(statement, 7, (int64_t)postback->arrival_ns);
	sqlite3_bind_blob(statement, 8, postback->source, sizeof postback->source, SQLITE_STATIC);
	sqlite3_bind_int(statement, 9, postback->source_port);
	sqlite3_bind_int64(statement, 10, row->attempts);
	sqlite3_bind_int64(statement, 11, row->first_ms);
	sqlite3_bind_int64(statement, 12, dead_ms);
	bind_text(statement, 13, reason);
	sqlite3_bind_text64(statement, 14, postback->text, postback->url_bytes, SQLITE_STATIC, SQLITE_UTF8);
	sqlite3_bind_text64(statement, 15, postback->text + postback->url_bytes, postback->data_bytes,
	                    SQLITE_STATIC, SQLITE_UTF8);
	bind_text(statement, 16, row->history);
	return waiting_run(waiting, statement);
}

int waiting_put_later(struct waiting *waiting, const struct waiting_row *row)
{
	return put(waiting, row, WAITING_LATER, "", 0);
}

int waiting_put_parked(struct waiting *waiting, const struct waiting_row *row)
{
	return put(waiting, row, WAITING_PARKED, "", 0);
}

int waiting_put_dead(struct waiting *waiting, const struct waiting_row *row, const char *reason,
                     int64_t now_ms)
{
	return put(waiting, row, WAITING_DEAD, reason, now_ms);
}

int waiting_delete(struct waiting *waiting, const struct event_postback *postback)
{
	char id[EVENT_POSTBACK_ID_BYTES];
	event_postback_id(id, postback);
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_DELETE);
	sqlite3_bind_text(statement, 1, id, sizeof id, SQLITE_STATIC);
	return waiting_run(waiting, statement);
}

int waiting_has(struct waiting *waiting, const struct event_postback *postback)
{
	char id[EVENT_POSTBACK_ID_BYTES];
	event_postback_id(id, postback);
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_HAS);
	sqlite3_bind_text(statement, 1, id, sizeof id, SQLITE_STATIC);
	int result = waiting_step(waiting, statement);
	if (result > 0)
		sqlite3_reset(statement);
	return result;
}

int waiting_put_gone(struct waiting *waiting, const char *endpoint, int64_t until_ms)
{
	sqlite3_stmt *statement = waiting_statement(waiting, until_ms == 0 ? SQL_DELETE_GONE : SQL_PUT_GONE);
	bind_text(statement, 1, endpoint);
	if (until_ms != 0)
		sqlite3_bind_int64(statement, 2, until_ms);
	return waiting_run(waiting, statement);
}

int waiting_promote(struct waiting *waiting, int64_t now_ms, unsigned most)
{
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_PROMOTE);
	sqlite3_bind_int64(statement, 1, now_ms);
	sqlite3_bind_int64(statement, 2, most);
	int result = waiting_run(waiting, statement);
	return result != 0 ? result : sqlite3_changes(waiting->db);
}

/* ---- reading a row ---- */

static bool read_method(uint16_t *method, const char *text)
{
	const char *name;
	for (*method = 0; text != NULL && (name = postback_method_name(*method)) != NULL; (*method)++)
		if (strcmp(name, text) == 0)
			return true;
	return false;
}

/* Room for the postback and its texts; bounded by what SQLite takes for a value, 10^9 bytes. */
static bool make_room(struct waiting *waiting, uint64_t bytes)
{
	if (bytes <= waiting->postback_room)
		return true;
	struct event_postback *postback = realloc(waiting->postback, bytes);
	if (postback == NULL)
		return false;
	waiting->postback = postback;
	waiting->postback_room = bytes;
	return true;
}

static const char *text_at(sqlite3_stmt *statement, int column)
{
	const char *text = (const char *)sqlite3_column_text(statement, column);
	return text != NULL ? text : "";
}

int waiting_read_row(struct waiting *waiting, sqlite3_stmt *statement, struct waiting_row *row)
{
	const char *url = text_at(statement, 6), *data = text_at(statement, 7);
	uint64_t url_bytes = (uint64_t)sqlite3_column_bytes(statement, 6);
	uint64_t data_bytes = (uint64_t)sqlite3_column_bytes(statement, 7);
	uint64_t bytes = sizeof *row->postback + url_bytes + data_bytes;
	if (!make_room(waiting, bytes))
		return -ENOMEM;
	struct event_postback *postback = waiting->postback;
	*postback = (struct event_postback){
	        .arrival_ns = (uint64_t)sqlite3_column_int64(statement, 3),
	        .source_port = (uint16_t)sqlite3_column_int(statement, 5),
	        .url_bytes = (uint32_t)url_bytes,
	        .data_bytes = (uint32_t)data_bytes,
	};
	const void *source = sqlite3_column_blob(statement, 4);
	if (!event_postback_parse_id(postback->id, text_at(statement, 1),
	                             (size_t)sqlite3_column_bytes(statement, 1)) ||
	    !read_method(&postback->method, text_at(statement, 2)) || source == NULL ||
	    sqlite3_column_bytes(statement, 4) != (int)sizeof postback->source || bytes > UINT32_MAX)
		return -EPROTO;
	memcpy(postback->source, source, sizeof postback->source);
	memcpy(postback->text, url, url_bytes);
	memcpy(postback->text + url_bytes, data, data_bytes);
	if (!event_postback_check(postback, (uint32_t)bytes))
		return -EPROTO;
	*row = (struct waiting_row){
	        .postback = postback,
	        .bytes = (uint32_t)bytes,
	        .endpoint = text_at(statement, 8),
	        .origin = text_at(statement, 9),
	        .attempts = (unsigned)sqlite3_column_int64(statement, 10),
	        .first_ms = sqlite3_column_int64(statement, 11),
	        .due_ms = sqlite3_column_int64(statement, 12),
	        .history = text_at(statement, 13),
	};
	return 0;
}

/* ---- claiming ---- */

/* Marks the row of that statement as a dead letter, so that it stands in nobody's way. */
static int set_aside(struct waiting *waiting, int64_t seq)
{
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_DAMAGED);
	sqlite3_bind_int64(statement, 1, seq);
	sqlite3_bind_int64(statement, 2, clock_real_ms());
	bind_text(statement, 3, DAMAGE_REASON);
	return waiting_run(waiting, statement);
}

/* The first row of the endpoint that is parked. Returns 1 when there was one, claimed or set
 * aside. */
static int claim_first(struct waiting *waiting, const char *endpoint, unsigned *claimed, waiting_give *give,
                       void *argument)
{
	struct waiting_row row;
	sqlite3_stmt *first = waiting_statement(waiting, SQL_FIRST_PARKED);
	bind_text(first, 1, endpoint);
	int result = waiting_step(waiting, first);
	if (result <= 0)
		return result;
	int64_t seq = sqlite3_column_int64(first, 0);
	result = waiting_read_row(waiting, first, &row);
	if (result == 0) {
		sqlite3_stmt *claim = waiting_statement(waiting, SQL_CLAIM);
		sqlite3_bind_int64(claim, 1, seq);
		bind_text(claim, 2, waiting->role);
		result = waiting_run(waiting, claim);
		if (result == 0) {
			(*claimed)++;
			give(argument, &row);
		}
	} else if (result == -EPROTO) {
		result = set_aside(waiting, seq);
	}
	sqlite3_reset(first);
	return result == 0 ? 1 : result;
}

static int remember_endpoint(struct waiting *waiting, const char *endpoint)
{
	char *copy = strdup(endpoint);
	if (copy == NULL)
		return -ENOMEM;
	free(waiting->endpoint);
	waiting->endpoint = copy;
	return 0;
}

/* The next endpoint with parked rows, in waiting->endpoint, and how many of them there is room for.
 * until NULL: no bound. Returns 1, 0 when there is none up to `until`, or -errno. */
static int next_endpoint(struct waiting *waiting, const char *until, unsigned *n, waiting_room *room,
                         void *argument)
{
	bool begin = waiting->endpoint == NULL;
	sqlite3_stmt *statement = waiting_statement(waiting, begin ? SQL_FIRST_ENDPOINT : SQL_NEXT_ENDPOINT);
	if (!begin)
		bind_text(statement, 1, waiting->endpoint);
	int result = waiting_step(waiting, statement);
	if (result <= 0)
		return result;
	const char *endpoint = text_at(statement, 0);
	if (until != NULL && strcmp(endpoint, until) > 0) {
		sqlite3_reset(statement);
		return 0;
	}
	*n = room(argument, text_at(statement, 1), endpoint);
	result = remember_endpoint(waiting, endpoint);
	sqlite3_reset(statement);
	return result == 0 ? 1 : result;
}

static int claim_round(struct waiting *waiting, const char *until, unsigned *looks, unsigned most,
                       unsigned *claimed, waiting_room *room, waiting_give *give, void *argument)
{
	while (*looks > 0 && *claimed < most) {
		unsigned n = 0, before = *claimed;
		int result = next_endpoint(waiting, until, &n, room, argument);
		if (result <= 0)
			return result;
		(*looks)--;
		n = n < most - before ? n : most - before;
		while (*claimed - before < n &&
		       (result = claim_first(waiting, waiting->endpoint, claimed, give, argument)) > 0) {
		}
		if (result < 0)
			return result;
	}
	return 0;
}

int waiting_claim(struct waiting *waiting, unsigned looks, unsigned most, waiting_room *room,
                  waiting_give *give, void *argument)
{
	unsigned claimed = 0;
	char *start = waiting->endpoint != NULL ? strdup(waiting->endpoint) : NULL;
	if (waiting->endpoint != NULL && start == NULL)
		return -ENOMEM;
	int result = claim_round(waiting, NULL, &looks, most, &claimed, room, give, argument);
	if (result == 0 && looks > 0 && claimed < most) { /* at the end: from the beginning */
		free(waiting->endpoint);
		waiting->endpoint = NULL;
		if (start != NULL)
			result = claim_round(waiting, start, &looks, most, &claimed, room, give, argument);
	}
	free(start);
	return result != 0 ? result : (int)claimed;
}

int waiting_adopt(struct waiting *waiting, bool (*is_gone)(void *argument, const char *role), void *argument)
{
	char role[SHM_NAME_MAX] = "";
	int rows = 0;
	for (;;) {
		sqlite3_stmt *next = waiting_statement(waiting, SQL_NEXT_OWNER);
		bind_text(next, 1, role);
		int result = waiting_step(waiting, next);
		if (result <= 0)
			return result < 0 ? result : rows;
		const char *owner = text_at(next, 0);
		/* A name that is too long is nobody's; cut, it would be met for ever. */
		bool cut = strlen(owner) >= sizeof role;
		bool gone = strcmp(owner, waiting->role) != 0 && (cut || is_gone(argument, owner));
		if (gone) {
			sqlite3_stmt *back = waiting_statement(waiting, SQL_TAKE_BACK);
			sqlite3_bind_text(back, 1, owner, -1, SQLITE_TRANSIENT);
			sqlite3_reset(next);
			result = waiting_run(waiting, back);
			if (result != 0)
				return result;
			rows += sqlite3_changes(waiting->db);
		} else {
			memcpy(role, owner, strlen(owner) + 1);
			sqlite3_reset(next);
		}
	}
}

/* ---- dead letters' end ---- */

static int delete_rows(struct waiting *waiting, sqlite3_stmt *statement, int *deleted)
{
	int result = waiting_run(waiting, statement);
	if (result == 0)
		*deleted += sqlite3_changes(waiting->db);
	return result;
}

int waiting_expire_dead(struct waiting *waiting, int64_t now_ms, int64_t keep_ms, uint64_t most)
{
	struct waiting_counts counts;
	int deleted = 0, ignored = 0, result = 0;
	if (keep_ms > 0) {
		sqlite3_stmt *old = waiting_statement(waiting, SQL_EXPIRE_OLD);
		sqlite3_bind_int64(old, 1, now_ms - keep_ms);
		sqlite3_bind_int64(old, 2, WAITING_EXPIRE_MOST);
		result = delete_rows(waiting, old, &deleted);
	}
	if (result == 0)
		result = waiting_count(waiting, &counts);
	if (result == 0 && most > 0 && counts.dead > most) {
		uint64_t over = counts.dead - most;
		sqlite3_stmt *many = waiting_statement(waiting, SQL_EXPIRE_MANY);
		sqlite3_bind_int64(many, 1, over < WAITING_EXPIRE_MOST ? (int64_t)over : WAITING_EXPIRE_MOST);
		result = delete_rows(waiting, many, &deleted);
	}
	if (result == 0) {
		sqlite3_stmt *gone = waiting_statement(waiting, SQL_EXPIRE_GONE);
		sqlite3_bind_int64(gone, 1, now_ms);
		sqlite3_bind_int64(gone, 2, WAITING_EXPIRE_MOST);
		result = delete_rows(waiting, gone, &ignored);
	}
	return result != 0 ? result : deleted;
}

/* ---- looking ---- */

int waiting_count(struct waiting *waiting, struct waiting_counts *counts)
{
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_COUNTS);
	int result;
	*counts = (struct waiting_counts){0};
	while ((result = waiting_step(waiting, statement)) > 0) {
		uint64_t rows = (uint64_t)sqlite3_column_int64(statement, 1);
		switch (sqlite3_column_int(statement, 0)) {
		case WAITING_LATER:
			counts->later = rows;
			break;
		case WAITING_PARKED:
			counts->parked = rows;
			break;
		case WAITING_CLAIMED:
			counts->claimed = rows;
			break;
		case WAITING_DEAD:
			counts->dead = rows;
			break;
		default:
			break;
		}
	}
	return result;
}

int64_t waiting_next_due_ms(struct waiting *waiting)
{
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_NEXT_DUE);
	if (waiting_step(waiting, statement) <= 0)
		return INT64_MAX;
	int64_t due_ms = sqlite3_column_int64(statement, 0);
	sqlite3_reset(statement);
	return due_ms;
}

bool waiting_changed(struct waiting *waiting)
{
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_DATA_VERSION);
	if (waiting_step(waiting, statement) <= 0)
		return true;
	int64_t version = sqlite3_column_int64(statement, 0);
	bool changed = version != waiting->data_version;
	sqlite3_reset(statement);
	waiting->data_version = version;
	return changed;
}

int waiting_each_gone(struct waiting *waiting, int64_t now_ms,
                      void (*each)(void *argument, const char *endpoint, int64_t until_ms), void *argument)
{
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_EACH_GONE);
	int result;
	sqlite3_bind_int64(statement, 1, now_ms);
	while ((result = waiting_step(waiting, statement)) > 0)
		each(argument, text_at(statement, 0), sqlite3_column_int64(statement, 1));
	return result;
}

int waiting_is_gone(struct waiting *waiting, const char *endpoint, int64_t now_ms)
{
	sqlite3_stmt *statement = waiting_statement(waiting, SQL_IS_GONE);
	bind_text(statement, 1, endpoint);
	sqlite3_bind_int64(statement, 2, now_ms);
	int result = waiting_step(waiting, statement);
	if (result > 0)
		sqlite3_reset(statement);
	return result;
}

/* ---- histories ---- */

/* The error as a JSON string: what is no UTF-8 comes out escaped. */
static json_t *error_text(const char *error)
{
	char out[4 * ERROR_BYTES + 1];
	struct text text = {.at = out, .end = out + sizeof out};
	text_plain(&text, (const unsigned char *)error, strnlen(error, ERROR_BYTES));
	return json_stringn(out, (size_t)(text.at - out));
}

char *waiting_history(char *history, int64_t at_ms, unsigned status, const char *error, uint32_t total_us)
{
	json_t *all = history != NULL ? json_loads(history, 0, NULL) : NULL;
	if (!json_is_array(all)) { /* none yet, or somebody's hand was in it */
		json_decref(all);
		all = json_array();
	}
	json_t *one =
	        json_pack("{s:I, s:i, s:o*, s:I}", "at", (json_int_t)at_ms, "status", (int)status, "error",
	                  error[0] != '\0' ? error_text(error) : NULL, "ms", (json_int_t)(total_us / 1000));
	while (json_array_size(all) > WAITING_HISTORY)
		json_array_remove(all, json_array_size(all) - 1);
	char *made = one != NULL && json_array_append(all, one) == 0 ? json_dumps(all, JSON_COMPACT) : NULL;
	json_decref(one);
	json_decref(all);
	if (made != NULL)
		free(history);
	return made;
}
