/* One byte, one step, except for the data, which moves as a whole:
 *
 *     SIZE --digit--> SIZE_MORE --;--> EXTENSION --CR--> SIZE_LF --LF--> size > 0: DATA --> DATA_CR --> DATA_LF --> SIZE
 *                         +---------------CR-----------------^            size 0: LINE
 *
 *     LINE (begins) --token--> NAME --:--> VALUE --CR--> VALUE_LF --> LINE
 *         +--CR--> LAST_LF --> DONE
 */
#include "ingest/http/chunked.h"

#include <stdbool.h>
#include <string.h>

#include "base/hex.h"
#include "ingest/http/octets.h"

enum state {
	SIZE, /* 0: the beginning */
	SIZE_MORE,
	EXTENSION,
	SIZE_LF,
	DATA,
	DATA_CR,
	DATA_LF,
	LINE,
	NAME,
	VALUE,
	VALUE_LF,
	LAST_LF,
	DONE,
	BAD,
};

static const char bare_return[] = "carriage return without line feed";

/* Returns an error, or NULL. */
static const char *take_digit(struct chunked *chunked, char c)
{
	int digit = hex_value(c);
	if (digit < 0)
		return "chunk size is not a hexadecimal number";
	if (chunked->left >> 59) /* as Content-Length: below 2^63 */
		return "chunk size too large";
	chunked->left = chunked->left << 4 | (unsigned)digit;
	chunked->state = SIZE_MORE;
	return NULL;
}

static const char *take_line_feed(struct chunked *chunked, char c, enum state next)
{
	if (c != '\n')
		return bare_return;
	chunked->state = (uint8_t)next;
	return NULL;
}

/* A byte of the line with the size. */
static const char *step_size(struct chunked *chunked, char c)
{
	if (++chunked->length > CHUNKED_LINE_BYTES_MAX)
		return "chunk size and extensions too long";
	switch ((enum state)chunked->state) {
	case SIZE_MORE:
		if (c != '\r' && c != ';')
			return take_digit(chunked, c);
		chunked->state = c == ';' ? EXTENSION : SIZE_LF;
		return NULL;
	case EXTENSION:
		if (c == '\r')
			chunked->state = SIZE_LF;
		else if (!octet_is(c, OCTET_FIELD))
			return "character not allowed in a chunk extension";
		return NULL;
	case SIZE_LF:
		chunked->length = 0;
		return take_line_feed(chunked, c, chunked->left > 0 ? DATA : LINE);
	default:
		return take_digit(chunked, c);
	}
}

/* A byte of the trailer section. */
static const char *step_trailer(struct chunked *chunked, char c)
{
	if (++chunked->length > CHUNKED_TRAILER_BYTES_MAX)
		return "trailer too long";
	switch ((enum state)chunked->state) {
	case LINE:
		if (c == '\r') {
			chunked->state = LAST_LF;
			return NULL;
		}
		chunked->state = NAME;
		return octet_is(c, OCTET_TOKEN) ? NULL
		                                : "character not allowed in the name of a trailer field";
	case NAME:
		if (c == ':')
			chunked->state = VALUE;
		else if (!octet_is(c, OCTET_TOKEN))
			return "character not allowed in the name of a trailer field";
		return NULL;
	case VALUE:
		if (c == '\r')
			chunked->state = VALUE_LF;
		else if (!octet_is(c, OCTET_FIELD))
			return "character not allowed in a trailer field";
		return NULL;
	default:
		return take_line_feed(chunked, c, chunked->state == LAST_LF ? DONE : LINE);
	}
}

static const char *step(struct chunked *chunked, char c)
{
	switch ((enum state)chunked->state) {
	case SIZE:
	case SIZE_MORE:
	case EXTENSION:
	case SIZE_LF:
		return step_size(chunked, c);
	case DATA_CR:
		chunked->state = DATA_LF;
		return c == '\r' ? NULL : "chunk is not as long as its size says";
	case DATA_LF:
		return take_line_feed(chunked, c, SIZE);
	case BAD:
		return "chunked coding was wrong before";
	default:
		return step_trailer(chunked, c);
	}
}

static void take_data(struct chunked *chunked, char *buffer, size_t *in, size_t end, size_t *out)
{
	size_t bytes = end - *in < chunked->left ? end - *in : (size_t)chunked->left;
	if (*out != *in)
		memmove(buffer + *out, buffer + *in, bytes);
	*in += bytes;
	*out += bytes;
	chunked->left -= bytes;
	if (chunked->left == 0)
		chunked->state = DATA_CR;
}

enum chunked_result chunked_decode(struct chunked *chunked, char *buffer, size_t *in, size_t end, size_t *out,
                                   const char **error)
{
	while (*in < end && chunked->state != DONE) {
		if (chunked->state == DATA) {
			take_data(chunked, buffer, in, end, out);
			continue;
		}
		const char *wrong = step(chunked, buffer[*in]);
		if (wrong != NULL) {
			*error = wrong;
			chunked->state = BAD;
			return CHUNKED_BAD;
		}
		++*in;
	}
	return chunked->state == DONE ? CHUNKED_DONE : CHUNKED_MORE;
}
