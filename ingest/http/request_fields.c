#include "ingest/http/request_fields.h"

#include <string.h>

#include "base/hex.h"
#include "ingest/http/octets.h"

/* ---- names ---- */

/* The bits in which the bytes differ from those of name (lower case) where case of letters does not
 * count. */
static inline uint64_t differs8(const char *text, const char *name)
{
	uint64_t have, want;
	memcpy(&have, text, 8);
	memcpy(&want, name, 8);
	return (have ^ want) & ~((want & 0x4040404040404040u) >> 1);
}

static inline uint32_t differs4(const char *text, const char *name)
{
	uint32_t have, want;
	memcpy(&have, text, 4);
	memcpy(&want, name, 4);
	return (have ^ want) & ~((want & 0x40404040u) >> 1);
}

/* Whether text is name, whose length is known when this is compiled: then it is a few comparisons
 * of words, the last one overlapping. */
static inline __attribute__((always_inline)) bool same(const char *text, const char *name, size_t bytes)
{
	if (bytes < 4) {
		for (size_t i = 0; i < bytes; i++)
			if ((text[i] ^ name[i]) & ~((name[i] & 0x40) >> 1))
				return false;
		return true;
	}
	if (bytes < 8)
		return (differs4(text, name) | differs4(text + (bytes - 4), name + (bytes - 4))) == 0;
	uint64_t differs = differs8(text, name) | differs8(text + (bytes - 8), name + (bytes - 8));
	if (bytes > 16)
		differs |= differs8(text + 8, name + 8);
	if (bytes > 24)
		differs |= differs8(text + 16, name + 16);
	return differs == 0;
}

/* Both for a literal in lower case, of at most 32 bytes. */
#define NAMED(text, literal, field) (same(text, literal, sizeof literal - 1) ? (field) : FIELD_OTHER)
#define IS(slice, literal) \
	((slice).bytes == sizeof literal - 1 && same((slice).text, literal, sizeof literal - 1))

enum field field_named(const char *name, size_t bytes)
{
	enum field field;
	switch (bytes) {
	case 3:
		return NAMED(name, "dnt", FIELD_DNT);
	case 4:
		return NAMED(name, "host", FIELD_HOST);
	case 6:
		field = NAMED(name, "origin", FIELD_ORIGIN);
		return field ? field : NAMED(name, "expect", FIELD_EXPECT);
	case 7:
		return NAMED(name, "sec-gpc", FIELD_SEC_GPC);
	case 9:
		field = NAMED(name, "x-real-ip", FIELD_X_REAL_IP);
		field = field ? field : NAMED(name, "x-push-ip", FIELD_X_PUSH_IP);
		return field ? field : NAMED(name, "forwarded", FIELD_FORWARDED);
	case 10:
		field = NAMED(name, "user-agent", FIELD_USER_AGENT);
		return field ? field : NAMED(name, "connection", FIELD_CONNECTION);
	case 12:
		return NAMED(name, "content-type", FIELD_CONTENT_TYPE);
	case 13:
		return NAMED(name, "authorization", FIELD_AUTHORIZATION);
	case 14:
		return NAMED(name, "content-length", FIELD_CONTENT_LENGTH);
	case 15:
		return NAMED(name, "x-forwarded-for", FIELD_X_FORWARDED_FOR);
	case 16:
		return NAMED(name, "content-encoding", FIELD_CONTENT_ENCODING);
	case 17:
		return NAMED(name, "transfer-encoding", FIELD_TRANSFER_ENCODING);
	case 29:
		return NAMED(name, "access-control-request-method", FIELD_ACCESS_CONTROL_REQUEST_METHOD);
	case 30:
		return NAMED(name, "access-control-request-headers", FIELD_ACCESS_CONTROL_REQUEST_HEADERS);
	default:
		return FIELD_OTHER;
	}
}

/* ---- values ---- */

static inline bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Takes the next element off the front of a list (RFC 9110, 5.6.1), without the white space around
 * it. False when there is none. */
static bool next_element(struct slice *list, struct slice *element)
{
	if (list->text == NULL)
		return false;
	const char *at = list->text, *end = at + list->bytes;
	const char *comma = memchr(at, ',', list->bytes);
	const char *last = comma ? comma : end;
	while (at < last && is_space(*at))
		at++;
	*list = (struct slice){comma ? comma + 1 : NULL, comma ? (uint32_t)(end - comma - 1) : 0};
	while (last > at && is_space(last[-1]))
		last--;
	*element = (struct slice){at, (uint32_t)(last - at)};
	return true;
}

static bool digits(const char *at, const char *end)
{
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at == end;
}

/* "[" ( IPv6address / IPvFuture ) "]", as far as the characters show. Returns what follows it,
 * NULL when it is none. */
static const char *ip_literal_end(const char *at, const char *end)
{
	const char *begin = ++at;
	while (at < end && *at != '%' && (*at == ':' || octet_is(*at, OCTET_HOST)))
		at++;
	return at < end && *at == ']' && at > begin ? at + 1 : NULL;
}

bool host_valid(struct slice host)
{
	const char *at = host.text, *end = at + host.bytes;
	if (at < end && *at == '[') {
		at = ip_literal_end(at, end);
		if (at == NULL)
			return false;
	} else {
		for (; at < end && octet_is(*at, OCTET_HOST); at++)
			if (*at == '%' && (end - at < 3 || hex_value(at[1]) < 0 || hex_value(at[2]) < 0))
				return false;
	}
	return at == end || (*at == ':' && digits(at + 1, end));
}

static enum request_result take_host(struct fields *fields, struct request *request, struct slice value)
{
	if (fields->host)
		return request_refuse(request, 400, "more than one", "Host");
	if (!host_valid(value))
		return request_refuse(request, 400, "not a host and port", "Host");
	fields->host = true;
	if (request->host.text == NULL) /* else the target's authority counts (RFC 9112, 3.2.2) */
		request->host = value;
	return REQUEST_WHOLE;
}

static const char both[] = "both Content-Length and Transfer-Encoding";

/* 63 bits, so that neither the caller nor a proxy of signed numbers overflows on adding the head to
 * it. */
static enum request_result take_length(struct fields *fields, struct request *request, struct slice value)
{
	uint64_t length = 0;
	if (fields->length)
		return request_refuse(request, 400, "more than one", "Content-Length");
	if (fields->coded)
		return request_refuse(request, 400, both, "Content-Length");
	if (value.bytes == 0 || !digits(value.text, value.text + value.bytes))
		return request_refuse(request, 400, "not a number", "Content-Length");
	for (uint32_t i = 0; i < value.bytes; i++) {
		unsigned digit = (unsigned char)value.text[i] - '0';
		if (length > ((uint64_t)INT64_MAX - digit) / 10)
			return request_refuse(request, 400, "number too large", "Content-Length");
		length = length * 10 + digit;
	}
	request->content_length = length;
	fields->length = true;
	return REQUEST_WHOLE;
}

/* Only chunked can be taken off. Other codings may come before it in the list (501 in the
 * end), none after it. */
static enum request_result take_coding(struct fields *fields, struct request *request, struct slice value)
{
	static const char where[] = "Transfer-Encoding";
	struct slice element;
	if (fields->length)
		return request_refuse(request, 400, both, where);
	if (request->minor == 0)
		return request_refuse(request, 400, "not in HTTP/1.0", where);
	fields->coded = true;
	while (next_element(&value, &element)) {
		const char *end = element.text + element.bytes;
		const char *name_end = octets_skip(element.text, end, OCTET_TOKEN);
		if (name_end == element.text || (name_end < end && !is_space(*name_end) && *name_end != ';'))
			return request_refuse(request, 400, "not a list of codings", where);
		struct slice name = {element.text, (uint32_t)(name_end - element.text)};
		bool chunked = IS(name, "chunked");
		if (chunked && name_end != end)
			return request_refuse(request, 400, "chunked has no parameters", where);
		if (request->chunked)
			return request_refuse(request, 400,
			                      chunked ? "chunked more than once" : "chunked is not last",
			                      where);
		request->chunked = chunked;
		fields->foreign = fields->foreign || !chunked;
	}
	return REQUEST_WHOLE;
}

static enum request_result take_connection(struct fields *fields, struct slice value)
{
	struct slice element;
	while (next_element(&value, &element)) {
		if (IS(element, "close"))
			fields->close = true;
		else if (IS(element, "keep-alive"))
			fields->keep_alive = true;
	}
	return REQUEST_WHOLE;
}

static enum request_result take_expect(struct request *request, struct slice value)
{
	struct slice element;
	if (request->minor == 0) /* must be ignored (RFC 9110, 10.1.1) */
		return REQUEST_WHOLE;
	while (next_element(&value, &element)) {
		if (IS(element, "100-continue"))
			request->expect_continue = true;
		else if (element.bytes != 0)
			return request_refuse(request, 417, "only 100-continue can be met", "Expect");
	}
	return REQUEST_WHOLE;
}

static enum request_result take_content_coding(struct request *request, struct slice value)
{
	struct slice element;
	while (next_element(&value, &element)) {
		if (element.bytes == 0 || IS(element, "identity"))
			continue;
		if (request->coding != REQUEST_IDENTITY)
			request->coding = REQUEST_CODING_OTHER; /* one over the other */
		else if (IS(element, "gzip") || IS(element, "x-gzip"))
			request->coding = REQUEST_GZIP;
		else if (IS(element, "deflate"))
			request->coding = REQUEST_DEFLATE;
		else
			request->coding = REQUEST_CODING_OTHER;
	}
	return REQUEST_WHOLE;
}

static enum request_result keep_first(struct slice *kept, struct slice value)
{
	if (kept->text == NULL)
		*kept = value;
	return REQUEST_WHOLE;
}

/* The same, and notes that there are more. */
static enum request_result keep_list(struct request *request, struct slice *kept, enum request_list list,
                                     struct slice value)
{
	if (kept->text != NULL)
		request->more_lines |= (uint8_t)list;
	return keep_first(kept, value);
}

bool request_next_line(struct slice *value, enum request_list list)
{
	enum field field = list == REQUEST_PUSH_IP         ? FIELD_X_PUSH_IP
	                   : list == REQUEST_FORWARDED_FOR ? FIELD_X_FORWARDED_FOR
	                   : list == REQUEST_REAL_IP       ? FIELD_X_REAL_IP
	                                                   : FIELD_FORWARDED;
	/* The head is whole and was found right: every line has a colon and a CRLF, and an empty
	 * one is the last. */
	for (const char *at = value->text + value->bytes;;) {
		while (*at != '\n')
			at++;
		const char *name = ++at;
		if (*name == '\r')
			return false;
		while (*at != ':')
			at++;
		bool found = field_named(name, (size_t)(at - name)) == field;
		for (at++; is_space(*at);)
			at++;
		const char *text = at;
		while (*at != '\r')
			at++;
		const char *end = at;
		while (end > text && is_space(end[-1]))
			end--;
		if (found) {
			*value = (struct slice){text, (uint32_t)(end - text)};
			return true;
		}
	}
}

enum request_result fields_take(struct fields *fields, struct request *request, enum field field,
                                struct slice value)
{
	switch (field) {
	case FIELD_ACCESS_CONTROL_REQUEST_HEADERS:
		return keep_first(&request->request_headers, value);
	case FIELD_ACCESS_CONTROL_REQUEST_METHOD:
		return keep_first(&request->request_method, value);
	case FIELD_AUTHORIZATION:
		return keep_first(&request->authorization, value);
	case FIELD_CONNECTION:
		return take_connection(fields, value);
	case FIELD_CONTENT_ENCODING:
		return take_content_coding(request, value);
	case FIELD_CONTENT_LENGTH:
		return take_length(fields, request, value);
	case FIELD_CONTENT_TYPE:
		return keep_first(&request->content_type, value);
	case FIELD_DNT:
	case FIELD_SEC_GPC:
		request->do_not_track = request->do_not_track || (value.bytes == 1 && value.text[0] == '1');
		return REQUEST_WHOLE;
	case FIELD_EXPECT:
		return take_expect(request, value);
	case FIELD_FORWARDED:
		return keep_list(request, &request->forwarded, REQUEST_FORWARDED, value);
	case FIELD_HOST:
		return take_host(fields, request, value);
	case FIELD_ORIGIN:
		return keep_first(&request->origin, value);
	case FIELD_TRANSFER_ENCODING:
		return take_coding(fields, request, value);
	case FIELD_USER_AGENT:
		return keep_first(&request->user_agent, value);
	case FIELD_X_FORWARDED_FOR:
		return keep_list(request, &request->forwarded_for, REQUEST_FORWARDED_FOR, value);
	case FIELD_X_PUSH_IP:
		return keep_list(request, &request->push_ip, REQUEST_PUSH_IP, value);
	case FIELD_X_REAL_IP:
		return keep_list(request, &request->real_ip, REQUEST_REAL_IP, value);
	default:
		return REQUEST_WHOLE;
	}
}

enum request_result fields_finish(const struct fields *fields, struct request *request)
{
	if (!fields->host && request->minor != 0)
		return request_refuse(request, 400, "missing", "Host");
	/* Where the body ends cannot be told (RFC 9112, 6.3). */
	if (fields->coded && !request->chunked)
		return request_refuse(request, 400, "chunked is not last", "Transfer-Encoding");
	if (fields->foreign)
		return request_refuse(request, 501, "no coding but chunked", "Transfer-Encoding");
	request->keep_alive = !fields->close && (request->minor != 0 || fields->keep_alive);
	return REQUEST_WHOLE;
}
