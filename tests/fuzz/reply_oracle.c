#include "tests/fuzz/reply_oracle.h"

#include <ctype.h>
#include <errno.h>
#include <http_parser.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deliver/reply.h"

#define VALUE_MAX 256u

/* An answer taken, by whomever. */
struct opinion {
	ssize_t head; /* of reply_head: -EAGAIN, -EBADMSG, or it is whole */
	size_t begin; /* where the last head begins, after the interim ones */
	unsigned status;
	bool keep, done, broken, trailers;
	enum reply_framing framing;
	char *body;
	size_t body_bytes, used;
	char location[VALUE_MAX], retry_after[VALUE_MAX];
	/* http-parser's */
	bool head_request;
	char *value; /* which one of these comes */
	char name[VALUE_MAX];
	bool in_value;
};

static void *room_for(size_t bytes)
{
	void *room = malloc(bytes ? bytes : 1);
	if (!room)
		abort();
	return room;
}

static enum reply_agreement differs(const char *what, const char *data, size_t bytes)
{
	fprintf(stderr, "differs: %s: ", what);
	for (size_t i = 0; i < bytes && i < 2000; i++)
		fprintf(stderr, isprint((unsigned char)data[i]) ? "%c" : "\\x%02x", (unsigned char)data[i]);
	fprintf(stderr, "\n");
	return REPLY_DISAGREED;
}

/* Without white space, which folding changes. */
static void add_value(char to[VALUE_MAX], const char *from, size_t bytes)
{
	size_t at = strlen(to);
	for (size_t i = 0; i < bytes && at < VALUE_MAX - 1; i++)
		if (!isspace((unsigned char)from[i]))
			to[at++] = from[i];
	to[at] = '\0';
}

/* ---- ours ---- */

static size_t piece_of(uint64_t *seed, size_t left)
{
	if (*seed == 0)
		return left;
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	size_t piece = 1 + (*seed >> 33) % (*seed >> 63 ? 3 : left);
	return piece < left ? piece : left;
}

static void take_body(struct opinion *opinion, struct reply *answer, const char *data, size_t bytes,
                      uint64_t seed)
{
	size_t at = 0;
	do {
		size_t piece = at < bytes ? piece_of(&seed, bytes - at) : 0, used;
		char *copy = room_for(piece);
		struct reply_span span;
		memcpy(copy, data + at, piece);
		enum reply_step step = reply_body(answer, copy, piece, &used, &span);
		if (used > piece || (step == REPLY_MORE && used == 0 && piece > 0))
			abort();
		if (span.bytes > 0 && (span.text < copy || span.text + span.bytes > copy + used))
			abort();
		if (span.bytes > 0)
			memcpy(opinion->body + opinion->body_bytes, span.text, span.bytes);
		opinion->body_bytes += span.bytes;
		at += used;
		opinion->done = step == REPLY_DONE;
		opinion->broken = step == REPLY_BROKEN;
		free(copy);
	} while (at < bytes && !opinion->done && !opinion->broken);
	opinion->used += at;
	opinion->trailers = answer->extra > 0;
}

/* As a sender reads it: what is kept of the head so far, and after it the next piece. Seed 0: all
 * at once. */
static struct opinion take(const char *data, size_t bytes, uint64_t seed, bool head)
{
	struct opinion opinion = {.head = -EAGAIN, .body = room_for(bytes)};
	struct reply answer = {.status = 0};
	size_t have = 0, seen = 0;
	while (answer.status < 200 && have <= bytes) {
		char *copy = room_for(have - opinion.begin); /* of its own size, for the sanitizer */
		memcpy(copy, data + opinion.begin, have - opinion.begin);
		opinion.head = have > opinion.begin
		                       ? reply_head(&answer, copy, have - opinion.begin, seen, head)
		                       : -EAGAIN;
		if (opinion.head > 0 && answer.status >= 200) {
			if (answer.location.text)
				add_value(opinion.location, answer.location.text, answer.location.bytes);
			if (answer.retry_after.text)
				add_value(opinion.retry_after, answer.retry_after.text,
				          answer.retry_after.bytes);
		}
		free(copy);
		if (opinion.head == -EBADMSG)
			return opinion;
		seen = opinion.head > 0 ? 0 : have - opinion.begin;
		if (opinion.head > 0 && answer.status < 200)
			opinion.begin += (size_t)opinion.head;
		else if (opinion.head == -EAGAIN && have == bytes)
			return opinion;
		else if (opinion.head == -EAGAIN)
			have += piece_of(&seed, bytes - have);
	}
	opinion.status = answer.status;
	opinion.keep = answer.keep;
	opinion.framing = answer.framing;
	opinion.used = opinion.begin + (size_t)opinion.head;
	take_body(&opinion, &answer, data + opinion.used, bytes - opinion.used, seed);
	return opinion;
}

/* A broken coding may be noticed after more or less of its body has been given. */
static bool same(const struct opinion *a, const struct opinion *b)
{
	if ((a->head > 0) != (b->head > 0) || (a->head <= 0 && a->head != b->head))
		return false;
	if (a->head <= 0)
		return true;
	return a->begin == b->begin && a->head == b->head && a->status == b->status && a->keep == b->keep &&
	       a->framing == b->framing && a->done == b->done && a->broken == b->broken &&
	       a->used == b->used && a->body_bytes == b->body_bytes &&
	       memcmp(a->body, b->body, a->body_bytes) == 0 && strcmp(a->location, b->location) == 0 &&
	       strcmp(a->retry_after, b->retry_after) == 0;
}

/* ---- http-parser's ---- */

static int on_name(http_parser *parser, const char *at, size_t bytes)
{
	struct opinion *opinion = parser->data;
	if (opinion->head > 0)
		return 0; /* a trailer */
	if (opinion->in_value)
		opinion->name[0] = '\0';
	opinion->in_value = false;
	size_t have = strlen(opinion->name), room = VALUE_MAX - 1 - have;
	snprintf(opinion->name + have, room + 1, "%.*s", (int)(bytes < room ? bytes : room), at);
	return 0;
}

static int on_value(http_parser *parser, const char *at, size_t bytes)
{
	struct opinion *opinion = parser->data;
	if (opinion->head > 0)
		return 0;
	if (!opinion->in_value) {
		opinion->value = strcasecmp(opinion->name, "Location") == 0      ? opinion->location
		                 : strcasecmp(opinion->name, "Retry-After") == 0 ? opinion->retry_after
		                                                                 : NULL;
		if (opinion->value)
			opinion->value[0] = '\0';
	}
	opinion->in_value = true;
	if (opinion->value)
		add_value(opinion->value, at, bytes);
	return 0;
}

static int on_head(http_parser *parser)
{
	struct opinion *opinion = parser->data;
	opinion->head = 1;
	opinion->status = parser->status_code;
	bool empty = opinion->head_request || parser->status_code == 204 || parser->status_code == 304;
	if (empty)
		parser->flags |= F_SKIPBODY; /* it asks whether to keep the connection before it hears so */
	opinion->keep = http_should_keep_alive(parser);
	opinion->framing = empty                                  ? REPLY_EMPTY
	                   : parser->flags & F_CHUNKED            ? REPLY_CHUNKED
	                   : parser->content_length == UINT64_MAX ? REPLY_TO_CLOSE
	                                                          : REPLY_LENGTH;
	return empty;
}

static int on_body(http_parser *parser, const char *at, size_t bytes)
{
	struct opinion *opinion = parser->data;
	memcpy(opinion->body + opinion->body_bytes, at, bytes);
	opinion->body_bytes += bytes;
	return 0;
}

static int on_end(http_parser *parser)
{
	struct opinion *opinion = parser->data;
	opinion->done = true;
	http_parser_pause(parser, 1);
	return 0;
}

static struct opinion ask(const char *data, size_t bytes, bool head)
{
	static const http_parser_settings settings = {.on_header_field = on_name,
	                                              .on_header_value = on_value,
	                                              .on_headers_complete = on_head,
	                                              .on_body = on_body,
	                                              .on_message_complete = on_end};
	struct opinion opinion = {
	        .head = -EAGAIN, .body = room_for(bytes), .head_request = head, .in_value = true};
	http_parser parser;
	http_parser_init(&parser, HTTP_RESPONSE);
	parser.data = &opinion;
	opinion.used = http_parser_execute(&parser, &settings, data, bytes);
	enum http_errno error = HTTP_PARSER_ERRNO(&parser);
	opinion.broken = error != HPE_OK && error != HPE_PAUSED;
	return opinion;
}

/* ---- what cannot be compared ---- */

/* Calls for each field of the head. */
static bool any_field(const char *text, size_t bytes, bool (*is)(const char *line, size_t bytes, unsigned *n))
{
	unsigned n = 0;
	for (size_t at = 0; at < bytes;) {
		const char *feed = memchr(text + at, '\n', bytes - at);
		size_t end = feed ? (size_t)(feed - text) : bytes;
		if (is(text + at, end - at, &n))
			return true;
		at = end + 1;
	}
	return false;
}

static bool begins(const char *line, size_t bytes, const char *name)
{
	return bytes >= strlen(name) && strncasecmp(line, name, strlen(name)) == 0;
}

static bool is_undecided(const char *line, size_t bytes, unsigned *lengths)
{
	bytes -= bytes > 0 && line[bytes - 1] == '\r';
	const char *colon = memchr(line, ':', bytes);
	if (colon && colon > line && colon[-1] == ' ')
		return true;
	if (memchr(line, '\t', bytes) || memchr(line, '\r', bytes) || begins(line, bytes, "Proxy-Connection"))
		return true;
	if (begins(line, bytes, "Content-Length"))
		return ++*lengths > 1 || memchr(line, ',', bytes);
	if (begins(line, bytes, "Transfer-Encoding"))
		return bytes == 17 || line[17] != ':';
	return false;
}

static bool is_list_of_options(const char *line, size_t bytes, unsigned *n)
{
	char value[VALUE_MAX] = "";
	if (bytes > 0 && (line[0] == ' ' || line[0] == '\t'))
		return true; /* folded */
	if (!begins(line, bytes, "Connection:"))
		return false;
	add_value(value, line + 11, bytes - 11);
	return ++*n > 1 || (strcasecmp(value, "close") != 0 && strcasecmp(value, "keep-alive") != 0);
}

/* ---- the comparison ---- */

static const char *compare(const struct opinion *ours, const struct opinion *theirs, bool keep)
{
	if (ours->status != theirs->status)
		return "status";
	if (strcmp(ours->location, theirs->location) != 0 ||
	    strcmp(ours->retry_after, theirs->retry_after) != 0)
		return "value";
	if (keep && ours->keep && !theirs->keep)
		return "a connection that it would not keep";
	if (ours->framing != theirs->framing)
		return ours->keep ? "framing" : NULL;
	if (ours->trailers || ours->broken)
		return NULL;
	if (ours->done != theirs->done)
		return "end";
	if (theirs->broken)
		return "a body that it refuses";
	if (ours->body_bytes != theirs->body_bytes || memcmp(ours->body, theirs->body, ours->body_bytes) != 0)
		return "body";
	return NULL;
}

static enum reply_agreement judge(const struct opinion *ours, const char *data, size_t bytes, bool head)
{
	if (ours->head == -EBADMSG)
		return REPLY_REFUSED;
	if (ours->head <= 0)
		return REPLY_PARTIAL;
	data += ours->begin;
	bytes -= ours->begin;
	if (any_field(data, (size_t)ours->head, is_undecided))
		return REPLY_UNDECIDED;
	struct opinion theirs = ask(data, bytes, head);
	enum reply_agreement agreement = REPLY_AGREED;
	const char *what = NULL;
	if (theirs.head > 0)
		what = compare(ours, &theirs, !any_field(data, (size_t)ours->head, is_list_of_options));
	else if (ours->keep)
		what = "a head that http-parser refuses";
	else
		agreement = REPLY_UNDECIDED;
	if (what)
		agreement = differs(what, data, bytes);
	free(theirs.body);
	return agreement;
}

enum reply_agreement reply_oracle(const char *data, size_t bytes, uint64_t seed)
{
	bool head = seed % 16 == 1;
	struct opinion once = take(data, bytes, 0, head), pieces = take(data, bytes, seed | 2, head);
	enum reply_agreement agreement = same(&once, &pieces)
	                                         ? judge(&once, data, bytes, head)
	                                         : differs("pieces make a difference", data, bytes);
	free(once.body);
	free(pieces.body);
	return agreement;
}
