#include "sink/tally/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <sqlite3.h>

#include "base/hex.h"
#include "sink/tally/answer.h"
#include "sink/tally/counts.h"
#include "sink/tally/reader.h"

struct report {
	struct reader reader;
	int64_t application; /* row, 0 when there is none */
	uint64_t count;
	bool truncated;
	uint64_t beyond;
	json_t *good, *bad;
};

/* ---- shas ---- */

static bool parse_sha(const char *text, uint8_t sha[COUNTS_SHA_BYTES])
{
	if (strnlen(text, 2 * COUNTS_SHA_BYTES + 1) != 2 * COUNTS_SHA_BYTES)
		return false;
	for (unsigned i = 0; i < COUNTS_SHA_BYTES; i++) {
		int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		sha[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* ---- the database ---- */

static int read_application(struct report *report, const uint8_t sha[COUNTS_SHA_BYTES],
                            struct shm_error *error)
{
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(
	        report->reader.db,
	        "SELECT (SELECT value FROM total WHERE name = 'beyond'), id, count, truncated FROM (SELECT 1) LEFT JOIN application ON sha = ?1 LEFT JOIN count USING (id)",
	        -1, &statement, NULL);
	if (result != SQLITE_OK)
		return reader_explain(&report->reader, result, error);
	sqlite3_bind_blob(statement, 1, sha, COUNTS_SHA_BYTES, SQLITE_STATIC);
	result = sqlite3_step(statement);
	if (result == SQLITE_ROW) {
		report->beyond = (uint64_t)sqlite3_column_int64(statement, 0);
		report->application = sqlite3_column_int64(statement, 1);
		report->count = (uint64_t)sqlite3_column_int64(statement, 2);
		report->truncated = sqlite3_column_int(statement, 3) != 0;
	}
	int reported = result == SQLITE_ROW ? 0 : reader_explain(&report->reader, result, error);
	sqlite3_finalize(statement);
	return reported;
}

/* ---- addresses ---- */

static bool add_network(struct report *report, uint32_t first_ip, unsigned hosts)
{
	json_t *list = __builtin_popcount(hosts) >= 2 ? report->good : report->bad;
	for (; hosts != 0; hosts &= hosts - 1) {
		uint32_t ip = first_ip | (uint32_t)__builtin_ctz(hosts);
		char text[16];
		int n = snprintf(text, sizeof text, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255,
		                 ip & 255);
		if (json_array_append_new(list, json_stringn_nocheck(text, (size_t)n)) != 0)
			return false;
	}
	return true;
}

/* The networks of an application are one range of ids, in the order of addresses. */
static int read_networks(struct report *report, struct shm_error *error)
{
	int64_t first = (report->application - 1) << NETWORKS_KEY_SHIFT;
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(
	        report->reader.db, "SELECT id, hosts FROM network WHERE id >= ?1 AND id < ?2 ORDER BY id", -1,
	        &statement, NULL);
	if (result != SQLITE_OK)
		return reader_explain(&report->reader, result, error);
	sqlite3_bind_int64(statement, 1, first);
	sqlite3_bind_int64(statement, 2, first + ((int64_t)1 << NETWORKS_KEY_SHIFT));
	bool added = true;
	while (added && (result = sqlite3_step(statement)) == SQLITE_ROW)
		added = add_network(
		        report, (uint32_t)(sqlite3_column_int64(statement, 0) - first) << NETWORKS_HOST_BITS,
		        (unsigned)sqlite3_column_int(statement, 1) & UINT16_MAX);
	int reported = !added                  ? answer_no_memory(error)
	               : result == SQLITE_DONE ? 0
	                                       : reader_explain(&report->reader, result, error);
	sqlite3_finalize(statement);
	return reported;
}

static json_t *pack(const struct report *report)
{
	json_t *object = json_pack("{s:I, s:O, s:O}", "count", (json_int_t)report->count, "good_ips",
	                           report->good, "bad_ips", report->bad);
	if (object == NULL || !report->truncated ||
	    json_object_set_new(object, "truncated", json_true()) == 0)
		return object;
	json_decref(object);
	return NULL;
}

static int make(struct report *report, char **json, struct shm_error *error)
{
	report->good = json_array();
	report->bad = json_array();
	if (report->good == NULL || report->bad == NULL)
		return answer_no_memory(error);
	int result = read_networks(report, error);
	return result == 0 ? answer_give(pack(report), 0, json, error) : result;
}

static int say_unknown(const struct report *report, const char *sha_hex, struct shm_error *error)
{
	if (report->beyond == 0)
		shm_explain(error, "%s: no message of this application was counted", sha_hex);
	else
		shm_explain(error,
		            "%s: not among the applications counted; %" PRIu64
		            " messages came after tally.applications was reached and some may be of this one",
		            sha_hex, report->beyond);
	return -ENOENT;
}

int report_json(const char *data_dir, const char *sha_hex, char **json, uint64_t *beyond,
                struct shm_error *error)
{
	uint8_t sha[COUNTS_SHA_BYTES];
	struct report report = {0};
	if (!parse_sha(sha_hex, sha)) {
		shm_explain(error, "\"%s\" is not a sha256: 64 hexadecimal characters are wanted", sha_hex);
		return -EINVAL;
	}
	int result = reader_open(&report.reader, data_dir, STORE_OLDEST, error);
	if (result == 0)
		result = read_application(&report, sha, error);
	if (result == 0 && beyond != NULL)
		*beyond = report.beyond;
	if (result == 0)
		result = report.application == 0 ? say_unknown(&report, sha_hex, error)
		                                 : make(&report, json, error);
	json_decref(report.good);
	json_decref(report.bad);
	reader_close(&report.reader);
	return result;
}
