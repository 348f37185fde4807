#include "deliver/reply.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"

/* What the fields of a head say together. */
struct said {
	unsigned minor; /* HTTP/1.minor */
	bool close, keep_alive, odd;
	bool length, lengths_differ;
	uint64_t bytes;
	bool transfer, chunked; /* there is a Transfer-Encoding; chunked is its last */
	unsigned codings;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(struct reply_span span, const char *word)
{
	return span.bytes == strlen(word) && strncasecmp(span.text, word, span.bytes) == 0;
}

static struct reply_span trim(struct reply_span span)
{
	while (span.bytes > 0 && is_space(span.text[0]))
		span.text++, span.bytes--;
	while (span.bytes > 0 && is_space(span.text[span.bytes - 1]))
		span.bytes--;
	return span;
}

/* The next element of a list with commas, empty ones left out. False: there is none. */
static bool next_element(struct reply_span *list, struct reply_span *element)
{
	while (list->bytes > 0) {
		const char *comma = memchr(list->text, ',', list->bytes);
		size_t bytes = comma != NULL ? (size_t)(comma - list->text) : list->bytes;
		*element = trim((struct reply_span){list->text, bytes});
		bytes += comma != NULL;
		list->text += bytes;
		list->bytes -= bytes;
		if (element->bytes > 0)
			return true;
	}
	return false;
}

/* RFC 9110, 5.5: no control characters but tabs. */
static bool has_control(const char *text, size_t bytes)
{
	bool any = false;
	for (size_t i = 0; i < bytes; i++) {
		unsigned char c = (unsigned char)text[i];
		any |= (c < ' ' && c != '\t') || c == 0x7f;
	}
	return any;
}

/* ---- fields ---- */

static void take_connection(struct said *said, struct reply_span list)
{
	for (struct reply_span option; next_element(&list, &option);) {
		said->close |= is_word(option, "close");
		said->keep_alive |= is_word(option, "keep-alive");
	}
}

static bool take_length(struct said *said, struct reply_span list)
{
	bool any = false;
	for (struct reply_span element; next_element(&list, &element); any = true) {
		uint64_t bytes = 0;
		for (size_t i = 0; i < element.bytes; i++) {
			if (!is_digit(element.text[i]))
				return false;
			if (bytes > (UINT64_MAX - 9) / 10)
				bytes = UINT64_MAX;
			else
				bytes = 10 * bytes + (uint64_t)(element.text[i] - '0');
		}
		said->lengths_differ |= said->length && said->bytes != bytes;
		said->length = true;
		said->bytes = bytes;
	}
	return any;
}

/* Other codings nobody has asked for, and others may read a list of them in another way. */
static void take_transfer(struct said *said, struct reply_span list)
{
	said->odd |= said->transfer || !is_word(list, "chunked");
	said->transfer = true;
	for (struct reply_span coding; next_element(&list, &coding);)
		said->chunked = is_word(coding, "chunked");
}

static bool take_content(struct said *said, struct reply *answer, struct reply_span list)
{
	for (struct reply_span coding; next_element(&list, &coding);) {
		if (is_word(coding, "identity"))
			continue;
		if (++said->codings > REPLY_CODINGS_MAX)
			return false;
		if (said->codings > 1)
			answer->coding = REPLY_UNKNOWN;
		else if (is_word(coding, "gzip") || is_word(coding, "x-gzip"))
			answer->coding = REPLY_GZIP;
		else if (is_word(coding, "deflate"))
			answer->coding = REPLY_DEFLATE;
		else
			answer->coding = REPLY_UNKNOWN;
	}
	return true;
}

/* RFC 9110, 5.6.2 */
static bool is_token(struct reply_span name)
{
	for (size_t i = 0; i < name.bytes; i++) {
		unsigned char c = (unsigned char)name.text[i];
		if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c) != NULL)
			return false;
	}
	return name.bytes > 0;
}

static bool take_field(struct said *said, struct reply *answer, const char *line, size_t bytes)
{
	const char *colon = memchr(line, ':', bytes);
	bool control = has_control(line, bytes);
	if (colon == NULL || colon == line || (control && memchr(line, '\0', bytes) != NULL))
		return false;
	struct reply_span name = {line, (size_t)(colon - line)};
	struct reply_span value = trim((struct reply_span){colon + 1, bytes - name.bytes - 1});
	/* RFC 9112, 5.1 and 2.2: others may read these in another way */
	said->odd |= control || !is_token(name);
	name = trim(name);
	switch (name.bytes) {
	case 8:
		if (is_word(name, "Location"))
			answer->location = value;
		return true;
	case 10:
		if (is_word(name, "Connection"))
			take_connection(said, value);
		return true;
	case 11:
		if (is_word(name, "Retry-After"))
			answer->retry_after = value;
		return true;
	case 14:
		return !is_word(name, "Content-Length") || take_length(said, value);
	case 16:
		return !is_word(name, "Content-Encoding") || take_content(said, answer, value);
	case 17:
		if (is_word(name, "Transfer-Encoding"))
			take_transfer(said, value);
		return true;
	default:
		return true;
	}
}

/* ---- the first line ---- */

/* HTTP/1.1 200 OK; the reason may be missing (RFC 9112, 4). "HTTP/2 200" is what some proxies
 * write. */
static bool take_status(struct said *said, struct reply *answer, const char *line, size_t bytes)
{
	static const size_t at = sizeof "HTTP/" - 1;
	if (bytes < at + 1 || !is_digit(line[at]) || memchr(line, '\0', bytes) != NULL)
		return false;
	const char *end = line + bytes, *from = line + at + 1;
	bool one = line[at] == '1' && bytes > at + 2 && from[0] == '.' && is_digit(from[1]);
	if (!one && line[at] != '2')
		return false;
	if (one) {
		said->minor = (unsigned)(from[1] - '0');
		from += 2;
	} else {
		said->odd = true;
	}
	if (end - from < 4 || from[0] != ' ' || !is_digit(from[1]) || !is_digit(from[2]) ||
	    !is_digit(from[3]))
		return false;
	if (end - from > 4 && from[4] != ' ')
		return false;
	said->odd |= has_control(line, bytes);
	answer->status =
	        100 * (unsigned)(from[1] - '0') + 10 * (unsigned)(from[2] - '0') + (unsigned)(from[3] - '0');
	return answer->status >= 100 && answer->status != 101;
}

/* ---- the head ---- */

/* RFC 9112, 6.3 and 9.3 */
static void conclude(const struct said *said, struct reply *answer, bool head)
{
	unsigned status = answer->status;
	answer->keep = !said->odd && !said->close && (said->minor > 0 || said->keep_alive);
	answer->left = 0;
	if (head || status < 200 || status == 204 || status == 304) {
		answer->framing = REPLY_EMPTY;
	} else if (said->transfer) {
		answer->framing = said->chunked ? REPLY_CHUNKED : REPLY_TO_CLOSE;
	} else if (said->lengths_differ) {
		answer->framing = REPLY_EMPTY;
	} else if (said->length) {
		answer->framing = REPLY_LENGTH;
		answer->left = said->bytes;
	} else {
		answer->framing = REPLY_TO_CLOSE;
	}
	answer->keep &= answer->framing != REPLY_TO_CLOSE && !said->lengths_differ;
	/* what may be meant to be read in two ways */
	answer->keep &= !said->transfer || (!said->length && said->minor > 0);
	answer->keep &= !said->length || said->bytes != UINT64_MAX;
}

/* The end of the line that begins at `from` and goes on in all that are folded into it: its line
 * feed. The head has an end, so there is one. */
static char *unfold(struct said *said, char *from, const char *end, bool folds)
{
	char *feed = memchr(from, '\n', (size_t)(end - from));
	while (folds && feed + 1 < end && is_space(feed[1])) {
		if (feed[-1] == '\r')
			feed[-1] = ' ';
		*feed = ' ';
		said->odd = true; /* RFC 9112, 5.2: nobody is to write it any more */
		feed = memchr(feed, '\n', (size_t)(end - feed));
	}
	return feed;
}

/* The length of the head with its empty line; 0: it is not whole. */
static size_t find_end(const char *text, size_t bytes, size_t seen)
{
	size_t at = seen > 2 ? seen - 2 : 0; /* the last line feed may be among these */
	const char *feed;
	while ((feed = memchr(text + at, '\n', bytes - at)) != NULL) {
		at = (size_t)(feed - text) + 1;
		if (at < bytes && text[at] == '\n')
			return at + 1;
		if (at + 1 < bytes && text[at] == '\r' && text[at + 1] == '\n')
			return at + 2;
	}
	return 0;
}

static bool take_lines(struct said *said, struct reply *answer, char *text, size_t bytes)
{
	bool first = true;
	for (char *line = text, *end = text + bytes;; first = false) {
		char *feed = unfold(said, line, end, !first);
		size_t length = (size_t)(feed - line);
		length -= length > 0 && feed[-1] == '\r';
		if (length == 0)
			return !first;
		if (first && feed + 1 < end && is_space(feed[1]))
			return false; /* nothing can be folded into the first line */
		if (!(first ? take_status(said, answer, line, length)
		            : take_field(said, answer, line, length)))
			return false;
		line = feed + 1;
	}
}

ssize_t reply_head(struct reply *answer, char *text, size_t bytes, size_t seen, bool head)
{
	static const char begin[] = "HTTP/";
	size_t known = bytes < sizeof begin - 1 ? bytes : sizeof begin - 1;
	struct said said = {0};
	if (memcmp(text, begin, known) != 0)
		return -EBADMSG;
	size_t end = find_end(text, bytes, seen);
	if (end == 0)
		return -EAGAIN;
	*answer = (struct reply){.status = 0};
	if (!take_lines(&said, answer, text, end))
		return -EBADMSG;
	conclude(&said, answer, head);
	return (ssize_t)end;
}

/* ---- the body ---- */

static enum reply_step counted(struct reply *answer, const char *text, size_t bytes, size_t *used,
                               struct reply_span *span)
{
	*used = bytes < answer->left ? bytes : (size_t)answer->left;
	*span = (struct reply_span){text, *used};
	answer->left -= *used;
	return answer->left == 0 ? REPLY_DONE : REPLY_MORE;
}

static bool is_extra(struct reply *answer)
{
	return ++answer->extra <= REPLY_EXTRA_MAX;
}

static bool size_digit(struct reply *answer, char c)
{
	int digit = hex_value(c);
	if (digit >= 0) {
		answer->left = 16 * answer->left + (unsigned)digit;
		return ++answer->digits <= 15;
	}
	answer->place = c == '\r' ? REPLY_SIZE_END : REPLY_SIZE_REST;
	return answer->digits > 0 && (c == '\r' || c == ';' || c == ' ');
}

/* One byte that is no data. False: it cannot stand there. */
static bool frame(struct reply *answer, char c)
{
	switch (answer->place) {
	case REPLY_SIZE:
		return size_digit(answer, c);
	case REPLY_SIZE_REST:
		if (c == '\r')
			answer->place = REPLY_SIZE_END;
		return c != '\n' && is_extra(answer);
	case REPLY_SIZE_END:
		answer->place = answer->left > 0 ? REPLY_DATA : REPLY_TRAILER;
		return c == '\n';
	case REPLY_DATA_CR:
		answer->place = REPLY_DATA_LF;
		return c == '\r';
	case REPLY_DATA_LF:
		answer->place = REPLY_SIZE;
		answer->digits = 0;
		return c == '\n';
	case REPLY_TRAILER:
		answer->place = c == '\r' ? REPLY_TRAILER_CR : c == '\n' ? REPLY_LAST : REPLY_TRAILER_REST;
		return is_extra(answer);
	case REPLY_TRAILER_REST:
		if (c == '\n')
			answer->place = REPLY_TRAILER;
		return is_extra(answer);
	case REPLY_TRAILER_CR:
		answer->place = REPLY_LAST;
		return c == '\n';
	case REPLY_DATA:
	case REPLY_LAST:
		break;
	}
	return false;
}

static enum reply_step chunked(struct reply *answer, const char *text, size_t bytes, size_t *used,
                               struct reply_span *span)
{
	while (*used < bytes && answer->place != REPLY_DATA && answer->place != REPLY_LAST)
		if (!frame(answer, text[(*used)++]))
			return REPLY_BROKEN;
	if (answer->place == REPLY_LAST)
		return REPLY_DONE;
	if (*used < bytes) {
		size_t part;
		if (counted(answer, text + *used, bytes - *used, &part, span) == REPLY_DONE)
			answer->place = REPLY_DATA_CR;
		*used += part;
	}
	return REPLY_MORE;
}

enum reply_step reply_body(struct reply *answer, const char *text, size_t bytes, size_t *used,
                           struct reply_span *span)
{
	*used = 0;
	*span = (struct reply_span){NULL, 0};
	switch (answer->framing) {
	case REPLY_EMPTY:
		break;
	case REPLY_LENGTH:
		return counted(answer, text, bytes, used, span);
	case REPLY_CHUNKED:
		return chunked(answer, text, bytes, used, span);
	case REPLY_TO_CLOSE:
		*used = bytes;
		*span = (struct reply_span){text, bytes};
		return REPLY_MORE;
	}
	return REPLY_DONE;
}
