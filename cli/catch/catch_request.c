#include "cli/catch/catch_request.h"

#include <string.h>
#include <strings.h>

enum state { IN_HEAD, IN_LENGTH, IN_CHUNK_LINE, IN_CHUNK, AFTER_CHUNK, IN_TRAILERS };

static enum catch_request_result refuse(struct catch_request *request, uint16_t status, const char *error)
{
	request->status = status;
	request->error = error;
	request->close = true;
	return CATCH_BAD;
}

/* ---- the head ---- */

static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool same(const char *text, size_t bytes, const char *word)
{
	return bytes == strlen(word) && strncasecmp(text, word, bytes) == 0;
}

static struct catch_part part(const char *data, const char *at, const char *end)
{
	return (struct catch_part){(uint32_t)(at - data), (uint32_t)(end - at)};
}

/* "POST /x HTTP/1.1" */
static bool parse_line(struct catch_request *request, const char *data, const char *end)
{
	const char *at = data;
	while (at < end && is_token(*at))
		at++;
	if (at == data || at == end || *at != ' ')
		return false;
	request->method = part(data, data, at);
	request->head = same(data, request->method.bytes, "HEAD");
	const char *target = ++at;
	while (at<end && * at> ' ' && *at < 0x7f)
		at++;
	if (at == target || end - at != sizeof " HTTP/1.1" - 1 || memcmp(at, " HTTP/1.", 8) != 0)
		return false;
	request->target = part(data, target, at);
	if (at[8] != '0' && at[8] != '1')
		return false;
	request->old = request->close = at[8] == '0';
	return true;
}

/* A Content-Length; false when it is no number, or another than before. */
static bool take_length(struct catch_request *request, const char *value, size_t bytes)
{
	uint64_t number = 0;
	if (bytes == 0 || bytes > 18)
		return false;
	for (size_t i = 0; i < bytes; i++) {
		if (value[i] < '0' || value[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(value[i] - '0');
	}
	if (request->length_given)
		return false;
	request->length_given = true;
	request->length = number;
	return true;
}

/* True when a list of words with commas has the word. */
static bool has_word(const char *value, size_t bytes, const char *word)
{
	for (const char *end = value + bytes, *at = value; at < end;) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *last = comma != NULL ? comma : end, *next = last + (comma != NULL);
		while (at < last && (*at == ' ' || *at == '\t'))
			at++;
		while (last > at && (last[-1] == ' ' || last[-1] == '\t'))
			last--;
		if (same(at, (size_t)(last - at), word))
			return true;
		at = next;
	}
	return false;
}

static const char *const field_names[CATCH_FIELDS] = {"webhook-id", "webhook-timestamp", "webhook-signature",
                                                      "idempotency-key", "content-type"};

/* Returns what is wrong with the field, or NULL. */
static const char *take_field(struct catch_request *request, const char *data, const char *name,
                              size_t name_bytes, const char *value, size_t bytes)
{
	if (same(name, name_bytes, "content-length"))
		return take_length(request, value, bytes) ? NULL : "Content-Length";
	if (same(name, name_bytes, "transfer-encoding")) {
		if (request->chunked || !same(value, bytes, "chunked"))
			return "Transfer-Encoding";
		request->chunked = true;
	} else if (same(name, name_bytes, "host")) {
		if (request->host)
			return "Host twice";
		request->host = true;
	} else if (same(name, name_bytes, "connection")) {
		request->close |= has_word(value, bytes, "close");
	} else if (same(name, name_bytes, "expect")) {
		request->wants_go = same(value, bytes, "100-continue");
	}
	for (unsigned i = 0; i < CATCH_FIELDS; i++)
		if (same(name, name_bytes, field_names[i]))
			request->field[i] = part(data, value, value + bytes);
	return NULL;
}

/* Returns what is wrong with the line, or NULL. */
static const char *parse_field(struct catch_request *request, const char *data, const char *line,
                               const char *end)
{
	const char *at = line;
	while (at < end && is_token(*at))
		at++;
	if (at == line || at == end || *at != ':')
		return "a field's name";
	const char *value = at + 1;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	for (const char *c = value; c < end; c++)
		if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
			return "a control character";
	return take_field(request, data, line, (size_t)(at - line), value, (size_t)(end - value));
}

/* The head is complete: its lines are those before end. */
static enum catch_request_result parse_head(struct catch_request *request, const char *data, const char *end)
{
	const char *line_end = memmem(data, (size_t)(end - data) + 2, "\r\n", 2);
	if (!parse_line(request, data, line_end))
		return refuse(request, 400, "request line");
	const char *line = line_end + 2;
	request->fields = line < end ? part(data, line, end) : (struct catch_part){0};
	for (; line < end; line = line_end + 2) {
		line_end = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
		const char *wrong = parse_field(request, data, line, line_end);
		if (wrong != NULL)
			return refuse(request, 400, wrong);
	}
	if (!request->host && !request->old)
		return refuse(request, 400, "no Host");
	if (request->chunked && request->length_given)
		return refuse(request, 400, "a length and chunks");
	request->body = request->at = (uint32_t)(end + 4 - data);
	request->state = request->chunked ? IN_CHUNK_LINE : IN_LENGTH;
	return CATCH_MORE;
}

static enum catch_request_result find_head(struct catch_request *request, const char *data, uint32_t bytes,
                                           const struct catch_limits *limits)
{
	uint32_t from = request->at > 3 ? request->at - 3 : 0;
	uint32_t look = bytes < limits->head_bytes ? bytes : limits->head_bytes;
	const char *end = look > from ? memmem(data + from, look - from, "\r\n\r\n", 4) : NULL;
	if (end != NULL)
		return parse_head(request, data, end);
	request->at = bytes;
	return bytes >= limits->head_bytes ? refuse(request, 431, "a head that is too long") : CATCH_MORE;
}

/* ---- chunks ---- */

/* Finds the line at request->at. Returns its end, or NULL when it has none yet. */
static const char *find_line(const struct catch_request *request, const char *data, uint32_t bytes)
{
	uint32_t left = bytes - request->at;
	return left >= 2
	               ? memmem(data + request->at, left < CATCH_LINE_MAX ? left : CATCH_LINE_MAX, "\r\n", 2)
	               : NULL;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static enum catch_request_result chunk_line(struct catch_request *request, const char *data, uint32_t bytes,
                                            const struct catch_limits *limits)
{
	const char *at = data + request->at, *end = find_line(request, data, bytes), *first = at;
	if (end == NULL)
		return bytes - request->at >= CATCH_LINE_MAX ? refuse(request, 400, "a chunk's line")
		                                             : CATCH_MORE;
	uint64_t size = 0;
	for (; at < end && hex_digit(*at) >= 0 && at - first < 15; at++)
		size = size << 4 | (uint64_t)hex_digit(*at);
	if (at == first || (at < end && *at != ';' && *at != ' ' && *at != '\t'))
		return refuse(request, 400, "a chunk's size");
	if (size > limits->body_bytes - request->body_bytes)
		return refuse(request, 413, "a body that is too long");
	request->at = (uint32_t)(end + 2 - data);
	request->length = size;
	request->state = size > 0 ? IN_CHUNK : IN_TRAILERS;
	return CATCH_DONE;
}

static enum catch_request_result chunk_data(struct catch_request *request, char *data, uint32_t bytes)
{
	uint64_t n = bytes - request->at < request->length ? bytes - request->at : request->length;
	memmove(data + request->body + request->body_bytes, data + request->at, n);
	request->body_bytes += (uint32_t)n;
	request->at += (uint32_t)n;
	request->length -= n;
	if (request->length > 0)
		return CATCH_MORE;
	request->state = AFTER_CHUNK;
	return CATCH_DONE;
}

static enum catch_request_result after_chunk(struct catch_request *request, const char *data, uint32_t bytes)
{
	if (bytes - request->at < 2)
		return CATCH_MORE;
	if (memcmp(data + request->at, "\r\n", 2) != 0)
		return refuse(request, 400, "a chunk's end");
	request->at += 2;
	request->state = IN_CHUNK_LINE;
	return CATCH_DONE;
}

/* Passes over a line of the trailers. Sets *last after the empty one. */
static enum catch_request_result trailer(struct catch_request *request, const char *data, uint32_t bytes,
                                         const struct catch_limits *limits, bool *last)
{
	const char *end = find_line(request, data, bytes);
	if (end == NULL)
		return bytes - request->at >= CATCH_LINE_MAX ? refuse(request, 431, "a trailer") : CATCH_MORE;
	uint32_t line = (uint32_t)(end + 2 - data) - request->at;
	*last = line == 2;
	request->at += line;
	request->trailer_bytes += line;
	if (request->trailer_bytes > limits->head_bytes)
		return refuse(request, 431, "trailers that are too long");
	return CATCH_DONE;
}

static enum catch_request_result parse_chunks(struct catch_request *request, char *data, uint32_t *bytes,
                                              const struct catch_limits *limits)
{
	enum catch_request_result result = CATCH_DONE;
	bool last = false;
	while (result == CATCH_DONE && !last) {
		switch (request->state) {
		case IN_CHUNK_LINE:
			result = chunk_line(request, data, *bytes, limits);
			break;
		case IN_CHUNK:
			result = chunk_data(request, data, *bytes);
			break;
		case AFTER_CHUNK:
			result = after_chunk(request, data, *bytes);
			break;
		default:
			result = trailer(request, data, *bytes, limits, &last);
			break;
		}
	}
	if (last && result == CATCH_DONE)
		request->used = request->at;
	if (result == CATCH_MORE) { /* only a piece of a line is left; it follows the body */
		uint32_t end = request->body + request->body_bytes, left = *bytes - request->at;
		memmove(data + end, data + request->at, left);
		request->at = end;
		*bytes = end + left;
	}
	return result;
}

enum catch_request_result catch_request_parse(struct catch_request *request, char *data, uint32_t *bytes,
                                              const struct catch_limits *limits)
{
	if (request->state == IN_HEAD) {
		enum catch_request_result result = find_head(request, data, *bytes, limits);
		if (result == CATCH_BAD || request->state == IN_HEAD)
			return result;
	}
	if (request->state != IN_LENGTH)
		return parse_chunks(request, data, bytes, limits);
	if (request->length > limits->body_bytes)
		return refuse(request, 413, "a body that is too long");
	if (*bytes - request->body < request->length)
		return CATCH_MORE;
	request->body_bytes = (uint32_t)request->length;
	request->used = request->body + request->body_bytes;
	return CATCH_DONE;
}

bool catch_request_in_body(const struct catch_request *request)
{
	return request->state != IN_HEAD && request->used == 0 && request->status == 0;
}
