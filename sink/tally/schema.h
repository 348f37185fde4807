/* The tables of tally.db, as made in a new file. store.h says what they mean. Whoever changes them
 * raises STORE_VERSION.
 *
 * The view `address` takes a network's id and bits apart again: id >> 28 is the application's index
 * (its row less one), the rest and a bit's number make the address.
 */
#ifndef SINK_TALLY_SCHEMA_H
#define SINK_TALLY_SCHEMA_H

// clang-format off

static const char store_schema[] =
        "CREATE TABLE application (id INTEGER PRIMARY KEY, sha BLOB NOT NULL UNIQUE);"
        "CREATE TABLE count (id INTEGER PRIMARY KEY, count INTEGER NOT NULL, truncated INTEGER NOT NULL);"
        "CREATE TABLE network (id INTEGER PRIMARY KEY, hosts INTEGER NOT NULL);"
        "CREATE TABLE cursor (topic TEXT NOT NULL, lane INTEGER NOT NULL, generation INTEGER NOT NULL,"
        "                     position INTEGER NOT NULL, records INTEGER NOT NULL, PRIMARY KEY (topic, lane)) WITHOUT ROWID;"
        "CREATE TABLE total (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE VIEW report AS SELECT lower(hex(sha)) AS sha, count, truncated"
        "  FROM application JOIN count USING (id);"
        "CREATE VIEW address AS"
        "  WITH host(bit) AS (VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9),(10),(11),(12),(13),(14),(15)),"
        "       seen(application, ip) AS (SELECT id >> 28, (id & 268435455) << 4 | bit FROM network, host"
        "                                 WHERE hosts >> bit & 1)"
        "  SELECT lower(hex(a.sha)) AS sha,"
        "         printf('%d.%d.%d.%d', ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255) AS ip"
        "  FROM seen JOIN application a ON a.id = seen.application + 1;";

// clang-format on

#endif
