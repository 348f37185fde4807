/* Records from a file, for a stage that runs alone (--input): as they lie in a lane, one after the
 * other. `ingest-http --output` and `millrace tap --format raw` write such files.
 *
 *     struct records records = {.file = input};
 *     struct record_batch batch;
 *     while (records_read(&records, &batch))
 *             while ((record = record_next(&batch)) != NULL) ...
 *     status = records_end(&records);
 */
#ifndef STAGE_RECORDS_H
#define STAGE_RECORDS_H

#include <stdbool.h>
#include <stdio.h>

#include "shm/record.h"

#define RECORDS_PIECE_BYTES (1u << 20) /* of the file, in memory at one time; more for a longer record */

/* All but file is 0 at first. */
struct records {
	FILE *file;
	char *buffer;
	size_t room, held; /* bytes of buffer; in use */
	size_t given;      /* bytes at its start that the last batch had */
	uint64_t passed;   /* bytes of the file before buffer */
	int error;         /* 0 or -errno */
};

/* The next whole records of the file, at least one; they stay until the next call. False at the end
 * of the file and on an error. */
bool records_read(struct records *records, struct record_batch *batch);

/* Frees the memory; the file stays open. Returns 0 when the file was read to its end and ended
 * after a record; otherwise -errno, and the log says what is wrong and where. */
int records_end(struct records *records);

#endif
