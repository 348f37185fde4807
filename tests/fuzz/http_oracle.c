#include "tests/fuzz/http_oracle.h"

#include <ctype.h>
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ingest/http/request.h"

const struct request_limits http_oracle_limits = {.line_bytes = 256, .head_bytes = 1024, .fields = 24};

#define FIELDS_MAX 24u

enum http_agreement http_oracle_differs(const char *what, const char *data, size_t bytes)
{
	fprintf(stderr, "differs from http-parser: %s: ", what);
	for (size_t i = 0; i < bytes && i < 2000; i++)
		fprintf(stderr, isprint((unsigned char)data[i]) ? "%c" : "\\x%02x", (unsigned char)data[i]);
	fprintf(stderr, "\n");
	return HTTP_DISAGREED;
}

/* ---- http-parser's opinion ---- */

struct opinion {
	http_parser parser;
	bool whole;
	size_t head_bytes;
	struct slice url, name[FIELDS_MAX], value[FIELDS_MAX];
	unsigned n_names, n_values;
};

static int on_url(http_parser *parser, const char *at, size_t bytes)
{
	struct opinion *opinion = parser->data;
	opinion->url = (struct slice){at, (uint32_t)bytes};
	return 0;
}

static int on_name(http_parser *parser, const char *at, size_t bytes)
{
	struct opinion *opinion = parser->data;
	if (opinion->n_names < FIELDS_MAX)
		opinion->name[opinion->n_names] = (struct slice){at, (uint32_t)bytes};
	opinion->n_names++;
	return 0;
}

static int on_value(http_parser *parser, const char *at, size_t bytes)
{
	struct opinion *opinion = parser->data;
	while (bytes > 0 && (at[bytes - 1] == ' ' || at[bytes - 1] == '\t'))
		bytes--;
	if (opinion->n_values < FIELDS_MAX)
		opinion->value[opinion->n_values] = (struct slice){at, (uint32_t)bytes};
	opinion->n_values++;
	return 0;
}

static int on_end(http_parser *parser)
{
	struct opinion *opinion = parser->data;
	opinion->whole = true;
	http_parser_pause(parser, 1);
	return 0;
}

static void ask(struct opinion *opinion, const char *data, size_t bytes)
{
	static const http_parser_settings settings = {.on_url = on_url,
	                                              .on_header_field = on_name,
	                                              .on_header_value = on_value,
	                                              .on_headers_complete = on_end};
	*opinion = (struct opinion){.whole = false};
	http_parser_init(&opinion->parser, HTTP_REQUEST);
	opinion->parser.data = opinion;
	/* It stops at the line feed that ends the head. */
	opinion->head_bytes = http_parser_execute(&opinion->parser, &settings, data, bytes) + 1;
}

static bool method_known(struct slice method)
{
	static const char *const known[] = {
#define XX(number, name, string) #string,
	        HTTP_METHOD_MAP(XX)
#undef XX
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strlen(known[i]) == method.bytes && memcmp(known[i], method.text, method.bytes) == 0)
			return true;
	return false;
}

/* ---- comparing ---- */

static bool equal(struct slice a, const char *text, size_t bytes)
{
	return a.bytes == bytes && (bytes == 0 || memcmp(a.text, text, bytes) == 0);
}

/* http-parser's values of the named field; *n of them. The first is returned. */
static struct slice value_of(const struct opinion *opinion, const char *name, unsigned *n)
{
	struct slice first = {0};
	*n = 0;
	for (unsigned i = 0; i < opinion->n_names; i++) {
		struct slice have = opinion->name[i];
		if (have.bytes == strlen(name) && strncasecmp(have.text, name, have.bytes) == 0 &&
		    (*n)++ == 0)
			first = opinion->value[i];
	}
	return first;
}

static const char *values_differ(const struct request *request, const struct opinion *opinion)
{
	const struct {
		const char *name;
		struct slice ours;
	} kept[] = {
	        {"Content-Type", request->content_type},
	        {"User-Agent", request->user_agent},
	        {"Authorization", request->authorization},
	        {"Origin", request->origin},
	        {"X-Push-IP", request->push_ip},
	        {"X-Forwarded-For", request->forwarded_for},
	        {"X-Real-IP", request->real_ip},
	        {"Forwarded", request->forwarded},
	        {"Access-Control-Request-Method", request->request_method},
	        {"Access-Control-Request-Headers", request->request_headers},
	};
	unsigned n;
	if (opinion->n_names != opinion->n_values || opinion->n_names > FIELDS_MAX)
		return "number of fields";
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		struct slice theirs = value_of(opinion, kept[i].name, &n);
		if ((kept[i].ours.text != NULL) != (n != 0) ||
		    !equal(kept[i].ours, theirs.text, theirs.bytes))
			return kept[i].name;
	}
	return NULL;
}

/* All lines of a list come one after the other. */
static const char *lines_differ(const struct request *request, const struct opinion *opinion)
{
	const struct {
		const char *name;
		struct slice first;
		enum request_list list;
	} lists[] = {
	        {"X-Push-IP", request->push_ip, REQUEST_PUSH_IP},
	        {"X-Forwarded-For", request->forwarded_for, REQUEST_FORWARDED_FOR},
	        {"X-Real-IP", request->real_ip, REQUEST_REAL_IP},
	        {"Forwarded", request->forwarded, REQUEST_FORWARDED},
	};
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		struct slice line = lists[i].first;
		unsigned n = 0;
		for (unsigned k = 0; k < opinion->n_names; k++) {
			struct slice have = opinion->name[k];
			if (have.bytes != strlen(lists[i].name) ||
			    strncasecmp(have.text, lists[i].name, have.bytes) != 0)
				continue;
			if (n++ > 0 && !request_next_line(&line, lists[i].list))
				return lists[i].name;
			if (!equal(line, opinion->value[k].text, opinion->value[k].bytes))
				return lists[i].name;
		}
		bool more = (request->more_lines & lists[i].list) != 0;
		if (more != (n > 1) || (n > 0 && request_next_line(&line, lists[i].list)))
			return lists[i].name;
	}
	return NULL;
}

/* Of a field that comes once. */
static const char *meanings_differ(const struct request *request, const struct opinion *opinion)
{
	unsigned n, n_gpc;
	struct slice coding = value_of(opinion, "Content-Encoding", &n);
	enum request_coding expected = REQUEST_CODING_OTHER;
	if (coding.bytes == 0 || (coding.bytes == 8 && strncasecmp(coding.text, "identity", 8) == 0))
		expected = REQUEST_IDENTITY;
	else if ((coding.bytes == 4 && strncasecmp(coding.text, "gzip", 4) == 0) ||
	         (coding.bytes == 6 && strncasecmp(coding.text, "x-gzip", 6) == 0))
		expected = REQUEST_GZIP;
	else if (coding.bytes == 7 && strncasecmp(coding.text, "deflate", 7) == 0)
		expected = REQUEST_DEFLATE;
	if (n <= 1 && !(n == 1 && memchr(coding.text, ',', coding.bytes)) && expected != request->coding)
		return "Content-Encoding";
	struct slice dnt = value_of(opinion, "DNT", &n), gpc = value_of(opinion, "Sec-GPC", &n_gpc);
	if (n <= 1 && n_gpc <= 1 && request->do_not_track != (equal(dnt, "1", 1) || equal(gpc, "1", 1)))
		return "DNT";
	struct slice expect = value_of(opinion, "Expect", &n);
	bool given = expect.bytes == 12 && strncasecmp(expect.text, "100-continue", 12) == 0;
	if (n <= 1 && (n == 0 || expect.bytes == 0 || given) &&
	    request->expect_continue != (given && request->minor != 0))
		return "Expect";
	return NULL;
}

/* Whether it is an option that http-parser knows, cut short: it overlooks the comma after one. */
static bool cut_option(const char *word, size_t bytes)
{
	static const char *const options[] = {"close", "keep-alive", "upgrade"};
	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		if (bytes < strlen(options[i]) && strncasecmp(word, options[i], bytes) == 0)
			return true;
	return false;
}

/* token *( *SP "," *SP token ), the tokens of letters, digits and "-" */
static bool plain_list(struct slice list)
{
	const char *at = list.text, *end = at + list.bytes;
	for (;; at++) {
		while (at < end && *at == ' ')
			at++;
		const char *token = at;
		while (at < end && (isalnum((unsigned char)*at) || *at == '-'))
			at++;
		if (at == token || cut_option(token, (size_t)(at - token)))
			return false;
		while (at < end && *at == ' ')
			at++;
		if (at == end || *at != ',')
			return at == end;
	}
}

/* Whether http-parser reads Connection as RFC 9110 does. */
static bool keep_alive_comparable(const struct opinion *opinion)
{
	unsigned flags = opinion->parser.flags;
	if (opinion->parser.http_minor == 0 && (flags & F_CONNECTION_CLOSE) &&
	    (flags & F_CONNECTION_KEEP_ALIVE))
		return false;
	for (unsigned i = 0; i < opinion->n_names; i++)
		if (opinion->name[i].bytes == 10 &&
		    strncasecmp(opinion->name[i].text, "Connection", 10) == 0 &&
		    !plain_list(opinion->value[i]))
			return false;
	return true;
}

/* Path and query of a URI whose authority http_parser_parse_url does not take. */
static struct http_parser_url cut(struct slice url)
{
	struct http_parser_url cut = {0};
	const char *end = url.text + url.bytes;
	const char *query = memchr(url.text, '?', url.bytes);
	const char *authority = strstr(url.text, "://") + 3;
	const char *path_end = query ? query : end;
	const char *path = memchr(authority, '/', (size_t)(path_end - authority));
	if (path) {
		cut.field_set |= 1 << UF_PATH;
		cut.field_data[UF_PATH].off = (uint16_t)(path - url.text);
		cut.field_data[UF_PATH].len = (uint16_t)(path_end - path);
	}
	if (query && query + 1 < end) {
		cut.field_set |= 1 << UF_QUERY;
		cut.field_data[UF_QUERY].off = (uint16_t)(query + 1 - url.text);
		cut.field_data[UF_QUERY].len = (uint16_t)(end - query - 1);
	}
	return cut;
}

static bool host_beyond_parse_url(struct slice host)
{
	const char *port = memrchr(host.text, ':', host.bytes);
	if (host.text[0] == '[') {
		for (uint32_t i = 1; i < host.bytes && host.text[i] != ']'; i++)
			if (!isxdigit((unsigned char)host.text[i]) && !strchr(":.", host.text[i]))
				return true;
	}
	for (uint32_t i = 0; i < host.bytes; i++)
		if (!isalnum((unsigned char)host.text[i]) && !strchr("._-:[]", host.text[i]))
			return true;
	return port && (port + 1 == host.text + host.bytes || atol(port + 1) > 65535);
}

static const char *target_differs(const struct request *request, const struct opinion *opinion, bool connect)
{
	struct http_parser_url url = {0};
	struct slice text = opinion->url;
	if (http_parser_parse_url(text.text, text.bytes, connect, &url) != 0) {
		if (text.text[0] == '/' || !host_beyond_parse_url(request->host))
			return "target";
		if (connect)
			return NULL;
		url = cut(text);
	} else if (url.field_set & 1 << UF_HOST) {
		const char *host = text.text + url.field_data[UF_HOST].off;
		if (!memmem(request->host.text, request->host.bytes, host, url.field_data[UF_HOST].len))
			return "host of the target";
	}
	bool path = url.field_set & 1 << UF_PATH, query = url.field_set & 1 << UF_QUERY;
	if (query ? !equal(request->query, text.text + url.field_data[UF_QUERY].off,
	                   url.field_data[UF_QUERY].len)
	          : request->query.bytes != 0)
		return "query";
	if ((request->query.text != NULL) != (memchr(text.text, '?', text.bytes) != NULL))
		return "presence of a query";
	if (path)
		return equal(request->path, text.text + url.field_data[UF_PATH].off,
		             url.field_data[UF_PATH].len)
		               ? NULL
		               : "path";
	if (connect)
		return request->path.bytes == 0 ? NULL : "path";
	bool server = request->method == REQUEST_OPTIONS && request->query.text == NULL;
	return equal(request->path, server ? "*" : "/", 1) ? NULL : "empty path";
}

/* What differs, or NULL. known: the method is shown as it is. */
static const char *head_differs(const struct request *request, const struct opinion *opinion, bool known)
{
	const http_parser *parser = &opinion->parser;
	const char *method = http_method_str((enum http_method)parser->method);
	bool chunked = parser->flags & F_CHUNKED;
	if (known && !equal(request->method_text, method, strlen(method)))
		return "method";
	if (parser->http_major != 1 || parser->http_minor != request->minor)
		return "version";
	if (request->chunked != chunked)
		return "chunked";
	uint64_t length = parser->content_length == UINT64_MAX ? 0 : parser->content_length;
	if (!chunked && length != request->content_length)
		return "content length";
	if (keep_alive_comparable(opinion) && request->keep_alive != (http_should_keep_alive(parser) != 0))
		return "keep-alive";
	const char *differs = target_differs(request, opinion, known && parser->method == HTTP_CONNECT);
	if (!differs)
		differs = values_differ(request, opinion);
	if (!differs)
		differs = lines_differ(request, opinion);
	return differs ? differs : meanings_differ(request, opinion);
}

static bool line_begins(const char *at, const char *end, const char *name)
{
	size_t bytes = strlen(name);
	return (size_t)(end - at) > bytes && strncasecmp(at, name, bytes) == 0;
}

/* Names that http-parser takes for others begin with an X, and tabs after a value become
 * spaces. */
static void show_otherwise(char *shown, size_t bytes)
{
	const char *end = shown + bytes;
	for (char *at = memchr(shown, '\n', bytes); at; at = memchr(at, '\n', (size_t)(end - at))) {
		for (char *tail = at - (at > shown + 1 ? 2 : 0);
		     tail > shown && (*tail == ' ' || *tail == '\t'); tail--)
			*tail = ' ';
		at++;
		if (line_begins(at, end, "Proxy-Connection") ||
		    (line_begins(at, end, "Transfer-Encoding") && at[strlen("Transfer-Encoding")] != ':'))
			*at = 'X';
	}
}

/* Shows http-parser PUT where it does not know the method. */
static enum http_agreement compare_whole(const struct request *request, const char *data, size_t bytes)
{
	struct opinion opinion;
	bool known = method_known(request->method_text);
	size_t before = (size_t)(request->method_text.text - data);
	size_t after = before + request->method_text.bytes;
	char *shown = malloc(bytes + sizeof "PUT");
	if (!shown)
		abort();
	memcpy(shown, data, before);
	memcpy(shown + before, known ? request->method_text.text : "PUT",
	       known ? request->method_text.bytes : 3);
	size_t head = before + (known ? request->method_text.bytes : 3);
	memcpy(shown + head, data + after, request->head_bytes - after);
	head += request->head_bytes - after;
	shown[head] = 0;
	show_otherwise(shown, head);
	ask(&opinion, shown, head);
	const char *differs;
	if (opinion.whole)
		differs = opinion.head_bytes != head ? "length of the head"
		                                     : head_differs(request, &opinion, known);
	else
		differs = http_errno_name(HTTP_PARSER_ERRNO(&opinion.parser));
	free(shown);
	return differs ? http_oracle_differs(differs, data, bytes) : HTTP_WHOLE;
}

enum http_agreement http_oracle_head(const char *data, size_t bytes)
{
	struct request request;
	struct opinion opinion;
	switch (request_parse(&request, data, bytes, &http_oracle_limits)) {
	case REQUEST_WHOLE:
		return compare_whole(&request, data, bytes);
	case REQUEST_PARTIAL:
		ask(&opinion, data, bytes);
		return opinion.whole ? http_oracle_differs("it sees the end", data, bytes) : HTTP_PARTIAL;
	default:
		if (request.status < 400 || !request.error || !request.where)
			return http_oracle_differs("refused without a reason", data, bytes);
		return HTTP_REFUSED;
	}
}

/* ---- pieces ---- */

/* Bytes in memory of their own, so that a sanitizer sees a read past their end. */
static char *copy_of(const char *data, size_t bytes)
{
	char *copy = malloc(bytes ? bytes : 1);
	if (!copy)
		abort();
	return memcpy(copy, data, bytes);
}

static bool same_end(enum request_result a_result, const struct request *a, enum request_result b_result,
                     const struct request *b)
{
	if (a_result != b_result)
		return false;
	if (a_result == REQUEST_WHOLE)
		return a->head_bytes == b->head_bytes && a->content_length == b->content_length &&
		       a->chunked == b->chunked && a->keep_alive == b->keep_alive &&
		       a->path.bytes == b->path.bytes && a->host.bytes == b->host.bytes;
	return a->status == b->status && a->error == b->error && a->where == b->where;
}

enum http_agreement http_oracle_pieces(const char *data, size_t bytes, uint64_t seed)
{
	struct request whole, part;
	size_t seen = 0;
	bool ready = false;
	enum request_result result = request_parse(&whole, data, bytes, &http_oracle_limits);
	for (size_t at = 0; at < bytes;) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		at += 1 + (seed >> 33) % (seed >> 63 ? 4 : 1 + bytes / 2);
		at = at < bytes ? at : bytes;
		char *copy = copy_of(data, at);
		enum request_result early = request_parse(&part, copy, at, &http_oracle_limits);
		ready = ready || request_ready(copy, at, &seen);
		free(copy);
		if (early == REQUEST_WHOLE && !ready)
			return http_oracle_differs("not ready, but whole", data, at);
		if (early == REQUEST_PARTIAL && ready)
			return http_oracle_differs("ready, but partial", data, at);
		if (early != REQUEST_PARTIAL)
			return same_end(early, &part, result, &whole)
			               ? (early == REQUEST_WHOLE ? HTTP_WHOLE : HTTP_REFUSED)
			               : http_oracle_differs("verdict on a prefix", data, at);
	}
	return result == REQUEST_PARTIAL ? HTTP_PARTIAL
	                                 : http_oracle_differs("verdict on all of it", data, bytes);
}
