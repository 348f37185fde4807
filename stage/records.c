#include "stage/records.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"

/* Bytes of whole records at the start of the buffer. */
static size_t whole_bytes(const struct records *records)
{
	size_t bytes = 0;
	while (records->held - bytes >= sizeof(struct record)) {
		const struct record *record = (const void *)(records->buffer + bytes);
		size_t needed = record_bytes(record->length);
		if (needed > records->held - bytes)
			break;
		bytes += needed;
	}
	return bytes;
}

/* Twice as much whenever it is full: memory follows what the file has, not what a damaged length
 * says. */
static bool grow(struct records *records)
{
	size_t room = records->room == 0 ? RECORDS_PIECE_BYTES : 2 * records->room;
	char *larger = realloc(records->buffer, room);
	if (larger == NULL) {
		records->error = -ENOMEM;
		return false;
	}
	records->buffer = larger;
	records->room = room;
	return true;
}

/* False when the file has no more. */
static bool fill(struct records *records)
{
	if (records->held == records->room && !grow(records))
		return false;
	errno = 0;
	size_t n = fread(records->buffer + records->held, 1, records->room - records->held, records->file);
	records->held += n;
	if (n == 0 && ferror(records->file))
		records->error = errno != 0 ? -errno : -EIO;
	return n > 0;
}

bool records_read(struct records *records, struct record_batch *batch)
{
	records->held -= records->given;
	records->passed += records->given;
	if (records->given > 0)
		memmove(records->buffer, records->buffer + records->given, records->held);
	records->given = 0;
	while (records->error == 0 && fill(records)) {
		records->given = whole_bytes(records);
		if (records->given == 0)
			continue;
		*batch = (struct record_batch){.at = records->buffer,
		                               .end = records->buffer + records->given,
		                               .position = records->passed};
		return true;
	}
	return false;
}

int records_end(struct records *records)
{
	int result = records->error;
	if (result != 0)
		log_error("cannot read the input", "reason=\"%s\" byte=%" PRIu64, strerror(-result),
		          records->passed + records->held);
	else if (records->held > records->given) {
		log_error("the input ends within a record, or holds no records", "byte=%" PRIu64,
		          records->passed + records->given);
		result = -EINVAL;
	}
	free(records->buffer);
	*records = (struct records){.file = records->file};
	return result;
}
