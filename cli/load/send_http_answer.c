#include "cli/load/send_http_answer.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"

enum state { STATUS_LINE, FIELD, BODY, BODY_TO_END, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

void send_http_answer_begin(struct send_http_answer *answer, bool head)
{
	/* Do not clear line and body: they are large, and line_bytes and body_bytes tell which part
	 * is valid */
	answer->status = 0;
	answer->close = answer->retry_after = false;
	answer->retry_after_s = 0;
	answer->body_bytes = answer->left = 0;
	answer->error = NULL;
	answer->state = STATUS_LINE;
	answer->head = head;
	answer->begun = answer->chunked = answer->length_given = answer->line_cut = false;
	answer->head_bytes = answer->line_bytes = 0;
	answer->line_last = 0;
}

static enum send_http_answer_result bad(struct send_http_answer *answer, const char *error)
{
	answer->error = error;
	return SEND_HTTP_ANSWER_BAD;
}

/* ---- lines ---- */

static void keep_line(struct send_http_answer *answer, const char *data, size_t bytes)
{
	size_t room = sizeof answer->line - answer->line_bytes, n = bytes < room ? bytes : room;
	memcpy(answer->line + answer->line_bytes, data, n);
	answer->line_bytes += (uint32_t)n;
	answer->line_cut |= n < bytes;
}

/* Takes bytes up to the end of a line. DONE: *line and *length are the line without its end: in
 * data when it came in one piece, otherwise the kept copy. */
static enum send_http_answer_result take_line(struct send_http_answer *answer, const char *data, size_t bytes,
                                              size_t *used, const char **line, size_t *length)
{
	const char *begin = data + *used, *end = memchr(begin, '\n', bytes - *used);
	size_t n = end != NULL ? (size_t)(end - begin) + 1 : bytes - *used;
	answer->head_bytes += (uint32_t)n;
	*used += n;
	if (answer->head_bytes > SEND_HTTP_ANSWER_HEAD_MAX)
		return bad(answer, "a head that does not end");
	if (end == NULL) {
		keep_line(answer, begin, n);
		answer->line_last = begin[n - 1];
		return SEND_HTTP_ANSWER_MORE;
	}
	if ((n > 1 ? end[-1] : answer->line_last) != '\r')
		return bad(answer, "a line that does not end in CR LF");
	if (answer->line_bytes == 0) {
		*line = begin;
		*length = n - 2;
		return SEND_HTTP_ANSWER_DONE;
	}
	keep_line(answer, begin, n - 1);
	*line = answer->line;
	*length = answer->line_bytes - !answer->line_cut;
	answer->line_bytes = 0;
	answer->line_cut = false;
	answer->line_last = 0;
	return SEND_HTTP_ANSWER_DONE;
}

/* Reads a whole number without a sign. */
static bool parse_number(const char *text, size_t length, uint64_t *value)
{
	uint64_t number = 0;
	for (size_t i = 0; i < length; i++)
		if (!isdigit((unsigned char)text[i]) || __builtin_mul_overflow(number, 10u, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number))
			return false;
	*value = number;
	return length > 0;
}

static bool parse_size(const char *text, size_t length, uint64_t *value)
{
	size_t i = 0;
	*value = 0;
	for (; i < length && hex_value(text[i]) >= 0; i++) {
		if (*value >> 60 != 0)
			return false;
		*value = *value << 4 | (uint64_t)hex_value(text[i]);
	}
	return i > 0 && (i == length || text[i] == ';');
}

static bool is(const char *text, size_t length, const char *word)
{
	return strlen(word) == length && strncasecmp(text, word, length) == 0;
}

/* True when the comma-separated list has the word. */
static bool has_word(const char *text, size_t length, const char *word)
{
	for (size_t at = 0; at < length;) {
		const char *comma = memchr(text + at, ',', length - at);
		size_t end = comma != NULL ? (size_t)(comma - text) : length, n = end;
		while (at < n && (text[at] == ' ' || text[at] == '\t'))
			at++;
		while (n > at && (text[n - 1] == ' ' || text[n - 1] == '\t'))
			n--;
		if (is(text + at, n - at, word))
			return true;
		at = end + 1;
	}
	return false;
}

static enum send_http_answer_result status_line(struct send_http_answer *answer, const char *line,
                                                size_t length)
{
	uint64_t status;
	if (length < 12 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') ||
	    line[8] != ' ' || !parse_number(line + 9, 3, &status) || status < 100 || status > 599 ||
	    (length > 12 && line[12] != ' '))
		return bad(answer, "a status line that is none");
	answer->status = (uint16_t)status;
	answer->close = line[7] == '0';
	answer->state = FIELD;
	return SEND_HTTP_ANSWER_MORE;
}

static enum send_http_answer_result field_length(struct send_http_answer *answer, const char *value,
                                                 size_t length)
{
	uint64_t number;
	if (!parse_number(value, length, &number))
		return bad(answer, "a Content-Length that is no number");
	if (answer->length_given && number != answer->left)
		return bad(answer, "two Content-Lengths");
	answer->length_given = true;
	answer->left = number;
	return SEND_HTTP_ANSWER_MORE;
}

static enum send_http_answer_result field(struct send_http_answer *answer, const char *line, size_t length)
{
	const char *colon = memchr(line, ':', length);
	if (colon == NULL || colon == line || colon[-1] == ' ' || colon[-1] == '\t')
		return bad(answer, "a field without name or colon");
	size_t name = (size_t)(colon - line);
	const char *value = colon + 1, *end = line + length;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	size_t n = (size_t)(end - value);
	uint64_t seconds;
	if (is(line, name, "content-length"))
		return field_length(answer, value, n);
	if (is(line, name, "transfer-encoding")) {
		if (!is(value, n, "chunked") || answer->chunked)
			return bad(answer, "a Transfer-Encoding other than chunked");
		answer->chunked = true;
	} else if (is(line, name, "connection")) {
		if (has_word(value, n, "close"))
			answer->close = true;
		else if (has_word(value, n, "keep-alive"))
			answer->close = false;
	} else if (is(line, name, "retry-after") && parse_number(value, n, &seconds)) {
		answer->retry_after = true;
		answer->retry_after_s = seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
	}
	return SEND_HTTP_ANSWER_MORE;
}

/* After the empty line: finds the kind of body that follows (RFC 9112, 6.3). */
static enum send_http_answer_result head_done(struct send_http_answer *answer)
{
	if (answer->chunked && answer->length_given)
		return bad(answer, "both Content-Length and Transfer-Encoding");
	if (answer->status < 200) {
		if (answer->status == 101)
			return bad(answer, "101, which nobody asked for");
		bool head = answer->head;
		send_http_answer_begin(answer, head);
		answer->begun = true;
		return SEND_HTTP_ANSWER_MORE;
	}
	answer->head_bytes = 0;
	if (answer->head || answer->status == 204 || answer->status == 304)
		return SEND_HTTP_ANSWER_DONE;
	if (answer->chunked) {
		answer->state = CHUNK_SIZE;
	} else if (answer->length_given) {
		answer->state = BODY;
		return answer->left == 0 ? SEND_HTTP_ANSWER_DONE : SEND_HTTP_ANSWER_MORE;
	} else {
		answer->close = true;
		answer->state = BODY_TO_END;
	}
	return SEND_HTTP_ANSWER_MORE;
}

static enum send_http_answer_result handle_line(struct send_http_answer *answer, const char *line,
                                                size_t length)
{
	switch (answer->state) {
	case STATUS_LINE:
		return status_line(answer, line, length);
	case FIELD:
		return length == 0 ? head_done(answer) : field(answer, line, length);
	case CHUNK_SIZE:
		if (!parse_size(line, length, &answer->left))
			return bad(answer, "a chunk without a size");
		answer->state = answer->left > 0 ? CHUNK_DATA : TRAILER;
		answer->head_bytes = 0;
		return SEND_HTTP_ANSWER_MORE;
	case CHUNK_END:
		if (length > 0)
			return bad(answer, "a chunk that is longer than its size");
		answer->state = CHUNK_SIZE;
		return SEND_HTTP_ANSWER_MORE;
	default: /* TRAILER */
		return length == 0 ? SEND_HTTP_ANSWER_DONE : SEND_HTTP_ANSWER_MORE;
	}
}

/* ---- bodies ---- */

static void keep_body(struct send_http_answer *answer, const char *data, size_t bytes)
{
	if (answer->body_bytes < sizeof answer->body) {
		size_t room = sizeof answer->body - (size_t)answer->body_bytes;
		memcpy(answer->body + answer->body_bytes, data, bytes < room ? bytes : room);
	}
	answer->body_bytes += bytes;
}

static enum send_http_answer_result take_body(struct send_http_answer *answer, const char *data, size_t bytes,
                                              size_t *used)
{
	size_t n = bytes - *used;
	if (answer->state != BODY_TO_END && n > answer->left)
		n = (size_t)answer->left;
	keep_body(answer, data + *used, n);
	*used += n;
	if (answer->state == BODY_TO_END)
		return SEND_HTTP_ANSWER_MORE;
	answer->left -= n;
	if (answer->left > 0)
		return SEND_HTTP_ANSWER_MORE;
	if (answer->state == BODY)
		return SEND_HTTP_ANSWER_DONE;
	answer->state = CHUNK_END;
	return SEND_HTTP_ANSWER_MORE;
}

enum send_http_answer_result send_http_answer_feed(struct send_http_answer *answer, const char *data,
                                                   size_t bytes, size_t *used)
{
	enum send_http_answer_result result = SEND_HTTP_ANSWER_MORE;
	*used = 0;
	answer->begun |= bytes > 0;
	while (*used < bytes && result == SEND_HTTP_ANSWER_MORE) {
		const char *line;
		size_t length;
		if (answer->state == BODY || answer->state == BODY_TO_END || answer->state == CHUNK_DATA) {
			result = take_body(answer, data, bytes, used);
			continue;
		}
		result = take_line(answer, data, bytes, used, &line, &length);
		if (result == SEND_HTTP_ANSWER_DONE)
			result = handle_line(answer, line, length);
	}
	return result;
}

enum send_http_answer_result send_http_answer_end(struct send_http_answer *answer)
{
	if (answer->state == BODY_TO_END)
		return SEND_HTTP_ANSWER_DONE;
	return answer->begun ? bad(answer, "an answer that was cut off") : SEND_HTTP_ANSWER_MORE;
}
