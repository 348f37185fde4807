#include "deliver/dead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "deliver/waiting_db.h"

#define COLUMNS \
	"seq, dead_ms, id, method, endpoint, origin, reason, history, url, data, attempts, arrival_ns, first_ms"
#define IS_DEAD " FROM postback INDEXED BY postback_dead WHERE state = " STATE_DEAD

/* Each letter by a search of its own, from the last one on. */
static const char newest_text[] =
        "SELECT " COLUMNS IS_DEAD " AND (dead_ms, seq) < (?1, ?2) ORDER BY dead_ms DESC, seq DESC LIMIT 1";
static const char oldest_text[] =
        "SELECT " COLUMNS IS_DEAD " AND (dead_ms, seq) > (?1, ?2) ORDER BY dead_ms, seq LIMIT 1";
static const char one_text[] = "SELECT " COLUMNS " FROM postback WHERE id = ?1 AND state = " STATE_DEAD;

static const char forget_text[] =
        "DELETE FROM gone WHERE endpoint = (SELECT endpoint FROM postback WHERE seq = ?1)";
static const char replay_text[] =
        "UPDATE postback SET state = " STATE_PARKED
        ", owner = '', attempts = 0, first_ms = 0, dead_ms = 0, reason = '', due_ms = ?2\n"
        " WHERE seq = ?1 AND state = " STATE_DEAD;
static const char purge_text[] = "DELETE FROM postback WHERE seq = ?1 AND state = " STATE_DEAD;

static int failed(struct waiting *waiting, int result, struct shm_error *error)
{
	*error = waiting->reason;
	return result;
}

static int prepare(struct waiting *waiting, const char *text, sqlite3_stmt **statement,
                   struct shm_error *error)
{
	int result = sqlite3_prepare_v2(waiting->db, text, -1, statement, NULL);
	return result == SQLITE_OK ? 0 : failed(waiting, waiting_failed(waiting, result), error);
}

/* ---- one letter, out of the database ---- */

struct found {
	struct dead_letter letter;
	char *texts; /* that letter points to */
	size_t room;
};

int dead_status(const char *history)
{
	json_t *all = json_loads(history, 0, NULL);
	json_t *last = json_array_get(all, json_array_size(all) - 1);
	int status = (int)json_integer_value(json_object_get(last, "status"));
	json_decref(all);
	return status;
}

/* Copies the row, so that nothing reads in the database while the letter is looked at. */
static int copy_letter(struct found *found, sqlite3_stmt *row)
{
	const char **const text[] = {&found->letter.id,     &found->letter.method, &found->letter.endpoint,
	                             &found->letter.origin, &found->letter.reason, &found->letter.history,
	                             &found->letter.url,    &found->letter.data};
	enum { TEXTS = sizeof text / sizeof *text, FIRST = 2 };
	size_t bytes = 0;
	for (int i = 0; i < TEXTS; i++)
		bytes += (size_t)sqlite3_column_bytes(row, FIRST + i) + 1;
	if (bytes > found->room) {
		char *texts = realloc(found->texts, bytes);
		if (texts == NULL)
			return -ENOMEM;
		found->texts = texts;
		found->room = bytes;
	}
	char *at = found->texts;
	for (int i = 0; i < TEXTS; i++) {
		const void *from = sqlite3_column_text(row, FIRST + i);
		size_t n = from != NULL ? (size_t)sqlite3_column_bytes(row, FIRST + i) : 0;
		if (n > 0)
			memcpy(at, from, n);
		at[n] = '\0';
		*text[i] = at;
		at += n + 1;
	}
	found->letter.seq = sqlite3_column_int64(row, 0);
	found->letter.dead_ms = sqlite3_column_int64(row, 1);
	found->letter.url_bytes = (size_t)sqlite3_column_bytes(row, 8);
	found->letter.data_bytes = (size_t)sqlite3_column_bytes(row, 9);
	found->letter.attempts = (uint64_t)sqlite3_column_int64(row, 10);
	found->letter.arrival_ns = (uint64_t)sqlite3_column_int64(row, 11);
	found->letter.first_ms = sqlite3_column_int64(row, 12);
	found->letter.status = dead_status(found->letter.history);
	return 0;
}

/* 1: found; 0: there is none; -errno. */
static int find(struct waiting *waiting, sqlite3_stmt *statement, struct found *found,
                struct shm_error *error)
{
	int result = waiting_step(waiting, statement);
	if (result < 0)
		return failed(waiting, result, error);
	if (result == 0)
		return 0;
	result = copy_letter(found, statement);
	sqlite3_reset(statement);
	if (result == 0)
		return 1;
	shm_explain(error, "no memory");
	return result;
}

/* ---- filters ---- */

/* The origin is scheme://host:port, an IPv6 address in brackets. */
static bool host_is(const char *origin, const char *host)
{
	const char *begin = strstr(origin, "://");
	if (begin == NULL)
		return false;
	begin += 3;
	const char *port = strrchr(begin, ':');
	size_t n = port != NULL ? (size_t)(port - begin) : strlen(begin), length = strlen(host);
	bool bare = n > 2 && begin[0] == '[' && length == n - 2 && strncasecmp(begin + 1, host, length) == 0;
	return bare || strcasecmp(begin, host) == 0 || (length == n && strncasecmp(begin, host, n) == 0);
}

static bool passes(const struct dead_filter *filter, const struct dead_letter *letter)
{
	return letter->dead_ms >= filter->since_ms && letter->dead_ms <= filter->until_ms &&
	       (filter->endpoint == NULL ||
	        strncmp(letter->endpoint, filter->endpoint, strlen(filter->endpoint)) == 0) &&
	       (filter->host == NULL || host_is(letter->origin, filter->host)) &&
	       (filter->reason == NULL || strcasestr(letter->reason, filter->reason) != NULL) &&
	       (filter->status == DEAD_ANY_STATUS || letter->status == filter->status);
}

/* ---- looking ---- */

int64_t dead_list(struct waiting *waiting, const struct dead_filter *filter, uint64_t most, dead_each *each,
                  void *argument, struct shm_error *error)
{
	sqlite3_stmt *statement;
	struct found found = {.letter = {.seq = INT64_MAX, .dead_ms = filter->until_ms}};
	int64_t given = 0;
	if (filter->after_seq != 0 && filter->after_ms <= filter->until_ms) {
		found.letter.seq = filter->after_seq;
		found.letter.dead_ms = filter->after_ms;
	}
	int result = prepare(waiting, newest_text, &statement, error);
	if (result != 0)
		return result;
	for (;;) {
		sqlite3_bind_int64(statement, 1, found.letter.dead_ms);
		sqlite3_bind_int64(statement, 2, found.letter.seq);
		result = find(waiting, statement, &found, error);
		if (result <= 0 || found.letter.dead_ms < filter->since_ms)
			break;
		if (!passes(filter, &found.letter))
			continue;
		given++;
		if (each(argument, &found.letter) != 0 || (uint64_t)given == most)
			break;
	}
	sqlite3_finalize(statement);
	free(found.texts);
	return result < 0 ? result : given;
}

static int find_one(struct waiting *waiting, const char *id, struct found *found, struct shm_error *error)
{
	sqlite3_stmt *statement;
	int result = prepare(waiting, one_text, &statement, error);
	if (result != 0)
		return result;
	sqlite3_bind_text(statement, 1, id, -1, SQLITE_STATIC);
	result = find(waiting, statement, found, error);
	sqlite3_finalize(statement);
	return result;
}

int dead_show(struct waiting *waiting, const char *id, dead_each *each, void *argument,
              struct shm_error *error)
{
	struct found found = {0};
	int result = find_one(waiting, id, &found, error);
	if (result > 0)
		(void)each(argument, &found.letter);
	free(found.texts);
	return result;
}

/* ---- changing ---- */

struct batch {
	sqlite3_stmt *forget, *change; /* forget NULL: for a purge */
	int64_t now_ms;
	unsigned n;
	int64_t seq[DEAD_BATCH];
};

static int prepare_batch(struct waiting *waiting, enum dead_change change, struct batch *batch,
                         struct shm_error *error)
{
	int result =
	        prepare(waiting, change == DEAD_REPLAY ? replay_text : purge_text, &batch->change, error);
	if (result == 0 && change == DEAD_REPLAY)
		result = prepare(waiting, forget_text, &batch->forget, error);
	return result;
}

static void free_batch(struct batch *batch)
{
	sqlite3_finalize(batch->change);
	sqlite3_finalize(batch->forget);
	free(batch);
}

static int change_row(struct waiting *waiting, struct batch *batch, int64_t seq)
{
	int result = 0;
	if (batch->forget != NULL) {
		sqlite3_bind_int64(batch->forget, 1, seq);
		sqlite3_bind_int64(batch->change, 2, batch->now_ms);
		result = waiting_run(waiting, batch->forget);
	}
	sqlite3_bind_int64(batch->change, 1, seq);
	if (result == 0)
		result = waiting_run(waiting, batch->change);
	return result != 0 ? result : sqlite3_changes(waiting->db);
}

/* One transaction. Returns the rows changed: some may no longer be dead. */
static int change_batch(struct waiting *waiting, struct batch *batch, struct shm_error *error)
{
	int changed = 0, result = waiting_begin(waiting, true, error);
	if (result != 0)
		return result;
	for (unsigned i = 0; result >= 0 && i < batch->n; i++) {
		result = change_row(waiting, batch, batch->seq[i]);
		changed += result > 0 ? result : 0;
	}
	batch->n = 0;
	if (result < 0) {
		waiting_cancel(waiting);
		return failed(waiting, result, error);
	}
	result = waiting_commit(waiting, error);
	return result != 0 ? result : changed;
}

/* Fills the batch from the letter `found` on. Returns 1, 0 when there are no more, or -errno. */
static int fill_batch(struct waiting *waiting, sqlite3_stmt *oldest, const struct dead_filter *filter,
                      uint64_t most, struct found *found, struct batch *batch, struct shm_error *error)
{
	while (batch->n < DEAD_BATCH && batch->n < most) {
		sqlite3_bind_int64(oldest, 1, found->letter.dead_ms);
		sqlite3_bind_int64(oldest, 2, found->letter.seq);
		int result = find(waiting, oldest, found, error);
		if (result <= 0 || found->letter.dead_ms > filter->until_ms)
			return result < 0 ? result : 0;
		if (passes(filter, &found->letter))
			batch->seq[batch->n++] = found->letter.seq;
	}
	return 1;
}

int64_t dead_change(struct waiting *waiting, enum dead_change change, const struct dead_filter *filter,
                    uint64_t most, int64_t now_ms, uint64_t *done, struct shm_error *error)
{
	struct found found = {.letter = {.seq = INT64_MIN, .dead_ms = filter->since_ms}};
	struct batch *batch = calloc(1, sizeof *batch);
	sqlite3_stmt *oldest = NULL;
	uint64_t left = most == 0 ? UINT64_MAX : most, changed = 0;
	if (batch == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	batch->now_ms = now_ms;
	int result = prepare(waiting, oldest_text, &oldest, error);
	if (result == 0)
		result = prepare_batch(waiting, change, batch, error);
	bool more = result == 0;
	while (more && result >= 0 && left > 0) {
		result = fill_batch(waiting, oldest, filter, left, &found, batch, error);
		more = result > 0;
		if (result >= 0 && batch->n > 0)
			result = change_batch(waiting, batch, error);
		else if (result > 0)
			result = 0;
		if (result > 0) {
			changed += (unsigned)result;
			left -= (unsigned)result;
		}
	}
	sqlite3_finalize(oldest);
	free_batch(batch);
	free(found.texts);
	if (done != NULL)
		*done = changed;
	return result < 0 ? result : (int64_t)changed;
}

int dead_change_one(struct waiting *waiting, enum dead_change change, const char *id, int64_t now_ms,
                    struct shm_error *error)
{
	struct found found = {0};
	struct batch *batch = calloc(1, sizeof *batch);
	if (batch == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	int result = find_one(waiting, id, &found, error);
	if (result > 0) {
		batch->now_ms = now_ms;
		batch->seq[batch->n++] = found.letter.seq;
		result = prepare_batch(waiting, change, batch, error);
		if (result == 0)
			result = change_batch(waiting, batch, error);
	}
	free_batch(batch);
	free(found.texts);
	return result;
}
