/* The cells of one minute and account as bytes, in the column `cells` of table `hour`.
 *
 *     metric  count  least  greatest - least  sum - count * least        one cell after the other, each metric once
 *
 * All are numbers in LEB128 (7 bits a byte, the lowest first, the upper bit says that more come);
 * `least` has its sign in the lowest bit (0, -1, 1, -2, ...), the others have none. metric is the
 * row in metric_name, 0 for all without a row. A cell takes 5 bytes at least, 10 to 20 usually.
 *
 * Values are absolute: the same row written twice is the same.
 */
#ifndef SINK_TALLY_HOUR_BLOB_H
#define SINK_TALLY_HOUR_BLOB_H

#include "sink/tally/hour.h"

#define HOUR_BLOB_CELL_MAX 54u /* bytes of a cell */
#define HOUR_BLOB_CELL_MIN 5u

static inline uint8_t *hour_blob_put_number(uint8_t *at, unsigned __int128 number)
{
	for (; number > 0x7f; number >>= 7)
		*at++ = (uint8_t)(number | 0x80);
	*at++ = (uint8_t)number;
	return at;
}

/* Most numbers have 64 bits, and shifts of 128 are slower. */
static inline uint8_t *hour_blob_put_word(uint8_t *at, uint64_t number)
{
	for (; number > 0x7f; number >>= 7)
		*at++ = (uint8_t)(number | 0x80);
	*at++ = (uint8_t)number;
	return at;
}

/* Writes a cell (HOUR_BLOB_CELL_MAX bytes at most) and returns where the next goes. */
static inline uint8_t *hour_blob_put(uint8_t *at, uint32_t metric, const struct hour_value *value)
{
	uint64_t least = (uint64_t)value->least;
	unsigned __int128 rest =
	        (unsigned __int128)(value->sum - (__int128)value->least * (__int128)value->count);
	at = hour_blob_put_word(at, metric);
	at = hour_blob_put_word(at, value->count);
	at = hour_blob_put_word(at, least << 1 ^ (value->least < 0 ? UINT64_MAX : 0));
	at = hour_blob_put_word(at, (uint64_t)value->greatest - least);
	return rest <= UINT64_MAX ? hour_blob_put_word(at, (uint64_t)rest) : hour_blob_put_number(at, rest);
}

struct hour_blob {
	const uint8_t *at, *end;
	bool bad; /* not what hour_blob_put writes */
};

static inline unsigned __int128 hour_blob_number(struct hour_blob *blob, unsigned bits)
{
	unsigned __int128 number = 0;
	for (unsigned shift = 0; blob->at < blob->end && shift < bits; shift += 7) {
		uint8_t byte = *blob->at++;
		unsigned left = bits - shift;
		if (left < 7 && (byte & 0x7f) >> left != 0)
			break;
		number |= (unsigned __int128)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return number;
	}
	blob->bad = true;
	return 0;
}

static inline uint64_t hour_blob_word(struct hour_blob *blob)
{
	if (blob->at < blob->end && *blob->at < 0x80)
		return *blob->at++;
	return (uint64_t)hour_blob_number(blob, 64);
}

/* The next cell; false at the end, and for one that no cell can be (bad is set). */
static inline bool hour_blob_next(struct hour_blob *blob, uint32_t *metric, struct hour_value *value)
{
	if (blob->at == blob->end)
		return false;
	uint64_t number = hour_blob_word(blob);
	value->count = hour_blob_word(blob);
	uint64_t least = hour_blob_word(blob);
	value->least = (int64_t)(least >> 1 ^ -(least & 1));
	uint64_t span = hour_blob_word(blob);
	value->greatest = (int64_t)((uint64_t)value->least + span);
	unsigned __int128 rest = hour_blob_number(blob, 127);
	/* So small a count times any number has 127 bits and a sign. */
	blob->bad = blob->bad || number > UINT32_MAX || value->count == 0 || value->count > INT64_MAX ||
	            value->greatest < value->least || rest > (unsigned __int128)value->count * span;
	if (blob->bad)
		return false;
	*metric = (uint32_t)number;
	value->sum = (__int128)value->least * (__int128)value->count + (__int128)rest;
	return true;
}

#endif
