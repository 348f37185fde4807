/* The report of one application, from the database alone: at most tally.commit_interval old, and
 * there while nothing runs.
 *
 *     {"count": 3, "good_ips": ["10.0.0.1", "10.0.0.2"], "bad_ips": ["192.0.2.7"]}
 *
 * count is every valid message of the application. A /28 network in which two or more distinct
 * addresses were seen is good: its addresses are good_ips, all others bad_ips, both in numerical
 * order. "truncated": true is there when a limit kept addresses out. Reads one snapshot and holds
 * nobody up. Needs about 100 bytes of memory for each address.
 */
#ifndef SINK_TALLY_REPORT_H
#define SINK_TALLY_REPORT_H

#include <stdint.h>

#include "shm/segment.h"

/* Reports the application sha_hex (64 hexadecimal characters, either case) from data_dir/tally.db.
 * Returns 0 with *json, one line without a newline, malloced, the caller frees it. Otherwise -errno
 * with a line for a person in error, *json unchanged:
 *
 *   -EINVAL   sha_hex is not a sha
 *   -ENOENT   no message of this application was counted. *beyond (may be NULL) is set to the number of messages that came
 *             after tally.applications was reached and so are in no application's count: when it is not 0 the error says
 *             that some of them may be of this one
 *   -ENODATA  there is no database yet: nothing was ever committed in this data_dir
 *   -EPROTO   the file is not ours or of another version
 *   -EACCES, -EBUSY, -EIO, -ENOMEM
 */
int report_json(const char *data_dir, const char *sha_hex, char **json, uint64_t *beyond,
                struct shm_error *error);

#endif
