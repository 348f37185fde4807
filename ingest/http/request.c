/* One pass over the head. Everything stops at `stop`, where either the data ends (more is needed)
 * or a limit is reached (too long):
 *
 *     skip_empty_lines --> take_request_line --> take_field ... --> CRLF alone: fields_finish
 *
 * An error is decided by the bytes up to the first that is wrong, never by what follows, so the
 * verdict on a head does not depend on the pieces that it comes in. Only what a field means is
 * decided at the end of its line.
 */
#include "ingest/http/request.h"

#include <string.h>

#include "base/hex.h"
#include "ingest/http/octets.h"
#include "ingest/http/request_fields.h"

struct head {
	struct request *request;
	const struct request_limits *limits;
	const char *at;
	/* nothing is read from here on: the end of the data, or as far as the limit goes */
	const char *stop;
	unsigned status; /* when stop is a limit: 414 or 431; else 0 */
	uint32_t n_fields;
	struct fields fields;
};

static const char request_line[] = "request line";

/* Results inside: REQUEST_WHOLE means go on. */

static enum request_result refuse(struct head *head, const char *error, const char *where)
{
	return request_refuse(head->request, 400, error, where);
}

/* At stop, and more is needed. */
static enum request_result more(struct head *head)
{
	if (head->status == 414)
		return request_refuse(head->request, 414, "request line too long", request_line);
	if (head->status == 431)
		return request_refuse(head->request, 431, "request line and fields too long", "fields");
	return REQUEST_PARTIAL;
}

/* Bounds what is read to `most` bytes from begin on, or fewer when stop is nearer already. */
static void bound(struct head *head, const char *begin, size_t most, unsigned status)
{
	if ((size_t)(head->stop - begin) > most) {
		head->stop = begin + most;
		head->status = status;
	}
}

/* An octet that cannot be where it is, at head->at. */
static const char *octet_error(const struct head *head, const char *otherwise)
{
	char c = *head->at;
	if (c == '\n')
		return "line feed without carriage return";
	if (c == '\r') /* what follows is not looked at: it may not be here yet */
		return otherwise;
	return (unsigned char)c < 0x20 || c == 0x7f ? "control character" : otherwise;
}

/* Expects the line to end at head->at, where there is something else than a class of octets
 * allows. */
static enum request_result take_line_end(struct head *head, const char *where)
{
	const char *at = head->at;
	if (*at == '\r') {
		if (head->stop - at < 2)
			return more(head);
		if (at[1] != '\n')
			return refuse(head, "carriage return without line feed", where);
		head->at = at + 2;
		return REQUEST_WHOLE;
	}
	return refuse(head, octet_error(head, "character not allowed"), where);
}

/* ---- request line ---- */

/* RFC 9112, 2.2: at least one empty line before the request is to be ignored. */
static enum request_result skip_empty_lines(struct head *head)
{
	for (unsigned i = 0; i < 2 && head->at < head->stop && *head->at == '\r'; i++) {
		enum request_result result = take_line_end(head, request_line);
		if (result != REQUEST_WHOLE)
			return result;
	}
	return REQUEST_WHOLE;
}

static enum request_method method_named(const char *name, size_t bytes)
{
	if (bytes == 3 && memcmp(name, "GET", 3) == 0)
		return REQUEST_GET;
	if (bytes == 4 && memcmp(name, "POST", 4) == 0)
		return REQUEST_POST;
	if (bytes == 4 && memcmp(name, "HEAD", 4) == 0)
		return REQUEST_HEAD;
	if (bytes == 7 && memcmp(name, "OPTIONS", 7) == 0)
		return REQUEST_OPTIONS;
	return REQUEST_OTHER;
}

static enum request_result take_method(struct head *head)
{
	const char *begin = head->at;
	head->at = octets_skip(begin, head->stop, OCTET_TOKEN);
	if (head->at == head->stop)
		return more(head);
	size_t bytes = (size_t)(head->at - begin);
	if (*head->at != ' ' || bytes == 0)
		return refuse(head, octet_error(head, "not a method and one space"), request_line);
	head->request->method_text = (struct slice){begin, (uint32_t)bytes};
	head->request->method = method_named(begin, bytes);
	head->at++;
	return REQUEST_WHOLE;
}

/* Leaves the target before its '?' in path, whatever its form. */
static enum request_result take_target(struct head *head)
{
	struct request *request = head->request;
	const char *begin = head->at, *query = NULL;
	const char *at = octets_skip_target(begin, head->stop), *path_end = at;
	if (at < head->stop && *at == '?') {
		query = at + 1;
		do
			at = octets_skip_target(at + 1, head->stop);
		while (at < head->stop && *at == '?');
	}
	head->at = at;
	if (at == head->stop)
		return more(head);
	if (*at == '#')
		return refuse(head, "a fragment does not belong into a request", request_line);
	if (*at == '\r' || (*at == ' ' && at == begin))
		return refuse(head, "not method, target and version with one space between", request_line);
	if (*at != ' ')
		return refuse(head, octet_error(head, "character not allowed in a target"), request_line);
	request->path = (struct slice){begin, (uint32_t)(path_end - begin)};
	if (query)
		request->query = (struct slice){query, (uint32_t)(at - query)};
	head->at++;
	return REQUEST_WHOLE;
}

/* "HTTP/" DIGIT "." DIGIT CRLF. Only the name is fixed, and is in upper case (RFC 9112, 2.3). */
static enum request_result take_version(struct head *head, char *major)
{
	static const char pattern[] = "HTTP/0.0\r\n"; /* 0: any digit */
	const char *at = head->at;
	size_t there = (size_t)(head->stop - at);
	if (there >= 10 && memcmp(at, "HTTP/1.1\r\n", 10) == 0) {
		*major = '1';
		head->request->minor = 1;
		head->at += 10;
		return REQUEST_WHOLE;
	}
	for (size_t i = 0; i < 10; i++, head->at++) {
		if (i == there)
			return more(head);
		bool digit = pattern[i] == '0';
		if (digit ? at[i] < '0' || at[i] > '9' : at[i] != pattern[i])
			return refuse(head, octet_error(head, "not an HTTP version and the line's end"),
			              request_line);
	}
	*major = at[5];
	head->request->minor = (uint8_t)(at[7] - '0');
	return REQUEST_WHOLE;
}

/* The bytes of "http://" or "https://" at the start of the target, 0 when it begins otherwise. */
static size_t scheme_bytes(struct slice target)
{
	static const char scheme[] = "https";
	size_t n = 0;
	while (n < 5 && n < target.bytes && (target.text[n] | 0x20) == scheme[n])
		n++;
	return n >= 4 && target.bytes - n >= 3 && memcmp(target.text + n, "://", 3) == 0 ? n + 3 : 0;
}

/* http://authority/path: the authority counts as the host, an empty path is "/" (RFC 9110, 4.2.3),
 * or with OPTIONS "*" (RFC 9112, 3.2.4). */
static enum request_result split_absolute(struct head *head, size_t scheme)
{
	struct request *request = head->request;
	const char *authority = request->path.text + scheme, *end = request->path.text + request->path.bytes;
	const char *slash = memchr(authority, '/', (size_t)(end - authority));
	const char *path = slash ? slash : end;
	struct slice host = {authority, (uint32_t)(path - authority)};
	if (host.bytes == 0 || *authority == ':' || !host_valid(host))
		return refuse(head, "the target has no valid host", request_line);
	request->host = host;
	request->path = (struct slice){path, (uint32_t)(end - path)};
	if (slash == NULL) {
		bool server = request->method == REQUEST_OPTIONS && request->query.text == NULL;
		request->path = (struct slice){server ? "*" : "/", 1};
	}
	return REQUEST_WHOLE;
}

/* CONNECT host:port. There is no path. */
static enum request_result split_authority(struct head *head)
{
	struct request *request = head->request;
	struct slice target = request->path;
	const char *colon = memrchr(target.text, ':', target.bytes), *end = target.text + target.bytes;
	if (colon == NULL || colon == target.text || colon + 1 == end || end[-1] == ']' ||
	    request->query.text != NULL || !host_valid(target))
		return refuse(head, "CONNECT needs host:port", request_line);
	request->host = target;
	request->path = (struct slice){end, 0};
	return REQUEST_WHOLE;
}

/* The four forms of a target (RFC 9112, 3.2). */
static enum request_result split_target(struct head *head)
{
	struct request *request = head->request;
	struct slice target = request->path, method = request->method_text;
	if (method.bytes == 7 && memcmp(method.text, "CONNECT", 7) == 0)
		return split_authority(head);
	if (target.bytes > 0 && target.text[0] == '/')
		return REQUEST_WHOLE;
	if (request->method == REQUEST_OPTIONS && target.bytes == 1 && target.text[0] == '*' &&
	    request->query.text == NULL)
		return REQUEST_WHOLE;
	size_t scheme = scheme_bytes(target);
	if (scheme == 0)
		return refuse(head, "the target is neither a path nor an http URI", request_line);
	return split_absolute(head, scheme);
}

static enum request_result take_request_line(struct head *head)
{
	const char *stop = head->stop;
	unsigned status = head->status;
	char major = 0;
	bound(head, head->at, head->limits->line_bytes, 414);
	enum request_result result = take_method(head);
	if (result == REQUEST_WHOLE)
		result = take_target(head);
	if (result == REQUEST_WHOLE)
		result = take_version(head, &major);
	if (result != REQUEST_WHOLE)
		return result;
	if (major != '1')
		return request_refuse(head->request, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here",
		                      request_line);
	head->stop = stop;
	head->status = status;
	return split_target(head);
}

/* ---- fields ---- */

/* The text before the colon is not a name, or there is no colon (colon == stop). */
static enum request_result refuse_name(struct head *head, const char *colon)
{
	const char *begin = head->at;
	head->at = octets_skip(begin, colon, OCTET_TOKEN);
	if (head->at == head->stop)
		return more(head);
	char c = *head->at;
	if (c == ' ' || c == '\t') {
		if (head->at > begin)
			return refuse(head, "white space before the colon", "field name");
		return refuse(head,
		              head->n_fields == 1 ? "white space before the first field" : "folded line",
		              "field name");
	}
	if (c == ':')
		return refuse(head, "empty", "field name");
	return refuse(head, octet_error(head, "character not allowed"), "field name");
}

static enum request_result take_field(struct head *head)
{
	if (++head->n_fields > head->limits->fields)
		return request_refuse(head->request, 431, "too many fields", "fields");
	const char *name = head->at, *colon = octets_find_colon(name, head->stop);
	if (colon == name || colon == head->stop)
		return refuse_name(head, colon);
	enum field field = field_named(name, (size_t)(colon - name));
	if (field == FIELD_OTHER && octets_skip(name, colon, OCTET_TOKEN) != colon)
		return refuse_name(head, colon);
	const char *value = colon + 1;
	while (value < head->stop && (*value == ' ' || *value == '\t'))
		value++;
	const char *end = octets_skip_field(value, head->stop);
	head->at = end;
	if (end == head->stop)
		return more(head);
	enum request_result result = take_line_end(head, "field value");
	if (result != REQUEST_WHOLE || field == FIELD_OTHER)
		return result;
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return fields_take(&head->fields, head->request, field,
	                   (struct slice){value, (uint32_t)(end - value)});
}

static enum request_result take_fields(struct head *head)
{
	for (;;) {
		if (head->at == head->stop)
			return more(head);
		if (*head->at == '\r' || *head->at == '\n')
			break;
		enum request_result result = take_field(head);
		if (result != REQUEST_WHOLE)
			return result;
	}
	enum request_result result = take_line_end(head, "field name");
	return result == REQUEST_WHOLE ? fields_finish(&head->fields, head->request) : result;
}

enum request_result request_parse(struct request *request, const char *data, size_t bytes,
                                  const struct request_limits *limits)
{
	struct head head = {.request = request, .limits = limits, .at = data, .stop = data + bytes};
	*request = (struct request){0};
	bound(&head, data, limits->head_bytes, 431);
	enum request_result result = skip_empty_lines(&head);
	if (result == REQUEST_WHOLE)
		result = take_request_line(&head);
	if (result == REQUEST_WHOLE)
		result = take_fields(&head);
	request->head_bytes = (uint32_t)(head.at - data);
	return result;
}

bool request_ready(const char *data, size_t bytes, size_t *seen)
{
	while (*seen < bytes) {
		const char *feed = memchr(data + *seen, '\n', bytes - *seen);
		if (feed == NULL) {
			*seen = bytes;
			return false;
		}
		size_t at = (size_t)(feed - data);
		*seen = at + 1;
		if (at == 0 || data[at - 1] != '\r')
			return true;
		/* Fewer than four bytes hold only empty lines that request_parse skips. */
		if (at > 3 && data[at - 2] == '\n')
			return true;
	}
	return false;
}

long percent_decode(char *out, const char *text, size_t bytes)
{
	long length = 0;
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] != '%') {
			out[length++] = text[i];
			continue;
		}
		if (bytes - i < 3)
			return -1;
		int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
		if (high < 0 || low < 0)
			return -1;
		out[length++] = (char)(high << 4 | low);
		i += 2;
	}
	return length;
}
