#include "deliver/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/siphash.h"

#define HASH_BYTES 17u /* "~" and 16 digits */

static int refuse(struct shm_error *error, const char *what)
{
	shm_explain(error, "%s", what);
	return -EINVAL;
}

/* ---- bytes ---- */

static bool is_plain(unsigned char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
	       (c != '\0' && strchr("-._~!$&'()*+,;=", c) != NULL);
}

/* What path and query can have, and %, which is taken as the beginning of %XX. */
static bool stays_in_path(unsigned char c)
{
	return is_plain(c) || (c != '\0' && strchr(":@/?%[]#", c) != NULL);
}

static char *put_encoded(char *to, unsigned char c)
{
	/* It lies in the target that was allocated. */
	// NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
	*to++ = '%';
	*to++ = hex_upper(c >> 4);
	*to++ = hex_upper(c);
	return to;
}

/* The value of the %XX at `at`, or -1. */
static int encoded_value(const char *at, const char *end)
{
	if (end - at < 3 || *at != '%' || hex_value(at[1]) < 0 || hex_value(at[2]) < 0)
		return -1;
	return hex_value(at[1]) << 4 | hex_value(at[2]);
}

static bool is_control(int c)
{
	return (c >= 0 && c < 0x20) || c == 0x7f;
}

/* ---- the endpoint's name, which is cut when it is long ---- */

struct name {
	char *to;
	size_t n; /* of the whole */
	struct siphash hash;
};

static void name_begin(struct name *name, char *to)
{
	*name = (struct name){.to = to};
	siphash_init(&name->hash, (const uint64_t[2]){0, 0}, 2, 4);
}

static void name_add(struct name *name, const char *text, size_t bytes)
{
	siphash_add(&name->hash, text, bytes);
	for (size_t i = 0; i < bytes; i++, name->n++)
		if (name->n < TARGET_ENDPOINT_MAX - 1)
			name->to[name->n] = text[i];
}

static void name_end(struct name *name)
{
	if (name->n < TARGET_ENDPOINT_MAX) {
		name->to[name->n] = '\0';
		return;
	}
	size_t at = TARGET_ENDPOINT_MAX - 1 - HASH_BYTES;
	while (((unsigned char)name->to[at] & 0xc0) == 0x80) /* not within a character */
		at--;
	snprintf(name->to + at, HASH_BYTES + 1, "~%016llx", (unsigned long long)siphash_end(&name->hash));
}

/* ---- compiling ---- */

struct compile {
	struct target *target;
	char *to; /* where text goes on */
	struct name endpoint;
	const char *segment; /* begin of the path's segment, in text; NULL in the query */
	bool named;          /* the segment's name has ended, at a ";" */
};

static struct target_piece *piece_at(const struct compile *compile)
{
	return &compile->target->piece[compile->target->n_pieces];
}

/* The piece that is being written ends before compile->to. */
static void end_piece(struct compile *compile)
{
	struct target *target = compile->target;
	struct target_piece *piece = piece_at(compile);
	piece->bytes = (uint32_t)(compile->to - target->text) - piece->at;
	if (piece->bytes == 0)
		return;
	if (!piece->key)
		target->fixed_bytes += piece->bytes;
	target->n_pieces++;
}

static void begin_piece(struct compile *compile, bool key)
{
	*piece_at(compile) = (struct target_piece){
	        .at = (uint32_t)(compile->to - compile->target->text),
	        .key = key,
	        .in_path = key && compile->segment != NULL && !compile->named,
	        .ends = TARGET_GOES_ON,
	};
}

/* A character of path or query that stands for itself moves from segment to segment. */
static void pass_segment(struct compile *compile, char c)
{
	struct target_piece *piece = piece_at(compile);
	uint32_t at = (uint32_t)(compile->to - compile->target->text) - piece->at;
	if (compile->segment == NULL || (c != '/' && c != '?' && c != ';'))
		return;
	if (piece->ends == TARGET_GOES_ON)
		piece->ends = at;
	if (c == '/') {
		piece->begins = at + 1;
		compile->segment = compile->to + 1;
	}
	compile->named = c == ';';
	if (c == '?')
		compile->segment = NULL;
}

static void add_fixed(struct compile *compile, unsigned char c)
{
	bool query = compile->segment == NULL;
	char *from = compile->to;
	pass_segment(compile, (char)c);
	if (stays_in_path(c))
		*compile->to++ = (char)c;
	else
		compile->to = put_encoded(compile->to, c);
	if (!query && c != '?')
		name_add(&compile->endpoint, from, (size_t)(compile->to - from));
}

/* A key may be empty: then its piece stays all the same. */
static void add_key(struct compile *compile, const char *key, size_t bytes)
{
	struct target *target = compile->target;
	end_piece(compile);
	begin_piece(compile, true);
	memcpy(compile->to, key, bytes);
	compile->to += bytes;
	piece_at(compile)->bytes = (uint32_t)bytes;
	target->n_pieces++;
	if (compile->segment != NULL) {
		name_add(&compile->endpoint, "{", 1);
		name_add(&compile->endpoint, key, bytes);
		name_add(&compile->endpoint, "}", 1);
	}
	begin_piece(compile, false);
}

/* The brace that closes the key which begins at `at`, or NULL when it is no key. */
static const char *key_end(const char *at, const char *end)
{
	while (++at < end && *at != '{' && *at != '}')
		;
	return at < end && *at == '}' ? at : NULL;
}

/* Path and query, up to the fragment. */
static void compile_path(struct compile *compile, const char *at, const char *end)
{
	compile->segment = compile->to;
	if (at == end || *at != '/')
		add_fixed(compile, '/');
	for (; at < end && *at != '#'; at++) {
		const char *close = *at == '{' ? key_end(at, end) : NULL;
		if (close != NULL) {
			add_key(compile, at + 1, (size_t)(close - at - 1));
			at = close;
		} else {
			add_fixed(compile, (unsigned char)*at);
		}
	}
	end_piece(compile);
	name_end(&compile->endpoint);
}

/* user:password@, with all that could be taken for a delimiter encoded: libcurl takes the first @,
 * POST /ingest the last one. */
static int compile_user(struct compile *compile, const char *at, const char *end, struct shm_error *error)
{
	bool password = false;
	for (const char *next = at; next < end; next++) {
		if (is_control(encoded_value(next, end)))
			return refuse(error, "user: it has a control character");
		if (is_plain((unsigned char)*next) || encoded_value(next, end) >= 0 ||
		    (*next == ':' && !password))
			*compile->to++ = *next;
		else
			compile->to = put_encoded(compile->to, (unsigned char)*next);
		password |= *next == ':';
	}
	if (at < end)
		*compile->to++ = '@';
	return 0;
}

/* Scheme, user, host and port into text; origin, and the endpoint's beginning. */
static int compile_front(struct compile *compile, const char *at, const char *end, struct shm_error *error)
{
	struct target *target = compile->target;
	struct authority authority;
	const char *user = memrchr(at, '@', (size_t)(end - at));
	const char *host = user != NULL ? user + 1 : at, *scheme = target->tls ? "https" : "http";
	char place[TARGET_ORIGIN_MAX];
	int result = authority_read(&authority, host, (size_t)(end - host), error);
	if (result < 0)
		return result;
	uint16_t usual = target->tls ? 443 : 80;
	target->port = authority.port > 0 ? authority.port : usual;
	memcpy(target->host, authority.host, sizeof target->host);
	snprintf(target->origin, sizeof target->origin, authority.ipv6 ? "%s://[%s]:%u" : "%s://%s:%u",
	         scheme, target->host, target->port);
	compile->to += sprintf(compile->to, "%s://", scheme);
	name_begin(&compile->endpoint, target->endpoint);
	name_add(&compile->endpoint, target->text, strlen(target->text));
	result = compile_user(compile, at, user != NULL ? user : at, error);
	if (result < 0)
		return result;
	/* The zone's % is %25 in a URL (RFC 6874). */
	size_t before_zone = authority.ipv6 ? strcspn(target->host, "%") : strlen(target->host);
	const char *zone = target->host + before_zone;
	int n = snprintf(place, sizeof place, "%s%.*s%s%s%s", authority.ipv6 ? "[" : "", (int)before_zone,
	                 target->host, *zone != '\0' ? "%25" : "", *zone != '\0' ? zone + 1 : "",
	                 authority.ipv6 ? "]" : "");
	if (target->port != usual)
		n += sprintf(place + n, ":%u", target->port);
	memcpy(compile->to, place, (size_t)n);
	compile->to += n;
	name_add(&compile->endpoint, place, (size_t)n);
	return 0;
}

static bool begins_with(const char *text, const char *end, const char *prefix)
{
	size_t n = strlen(prefix);
	return (size_t)(end - text) >= n && strncasecmp(text, prefix, n) == 0;
}

/* Room for all: a block with the target at its beginning. */
static struct target *allocate(const char *url, size_t bytes)
{
	size_t braces = 0, encoded = 0;
	for (size_t i = 0; i < bytes; i++) {
		braces += url[i] == '{';
		encoded += !is_plain((unsigned char)url[i]);
	}
	size_t pieces = 2 * braces + 2, text = bytes + 2 * encoded + TARGET_ORIGIN_MAX + sizeof "https://@/";
	size_t memory = sizeof(struct target) + pieces * sizeof(struct target_piece) + text + bytes;
	struct target *target = calloc(1, memory);
	if (target == NULL)
		return NULL;
	target->memory = memory;
	target->piece = (struct target_piece *)(target + 1);
	target->text = (char *)(target->piece + pieces);
	target->url = target->text + text;
	target->url_bytes = bytes;
	memcpy(target->url, url, bytes);
	return target;
}

int target_compile(struct target **made, const char *url, size_t bytes, struct shm_error *error)
{
	const char *end = url + bytes, *at = url;
	bool tls = begins_with(url, end, "https://");
	if (!tls && !begins_with(url, end, "http://"))
		return refuse(error, "scheme: it is neither http:// nor https://");
	if (bytes >= UINT32_MAX / 8)
		return refuse(error, "it is too long");
	for (; at < end; at++)
		if (is_control((unsigned char)*at) || *at == ' ')
			return refuse(error, "it has a space or a control character");
	const char *front = url + (tls ? sizeof "https://" : sizeof "http://") - 1, *path = front;
	for (; path < end && *path != '/' && *path != '?' && *path != '#'; path++)
		if (*path == '{' || *path == '}')
			return refuse(error, "there is a { or } in front of the path");
	struct target *target = allocate(url, bytes);
	if (target == NULL)
		return -ENOMEM;
	target->tls = tls;
	struct compile compile = {.target = target, .to = target->text};
	begin_piece(&compile, false);
	int result = compile_front(&compile, front, path, error);
	if (result < 0) {
		target_free(target);
		return result;
	}
	compile_path(&compile, path, end);
	*made = target;
	return 0;
}

void target_free(struct target *target)
{
	free(target);
}

/* ---- filling in ---- */

/* "." or "..", a dot perhaps as %2E. */
static bool is_dots(const char *text, size_t bytes)
{
	size_t dots = 0;
	for (size_t i = 0; i < bytes; dots++) {
		if (text[i] == '.')
			i++;
		else if (bytes - i >= 3 && text[i] == '%' && text[i + 1] == '2' &&
		         (text[i + 2] | 0x20) == 'e')
			i += 3;
		else
			return false;
		if (dots == 2)
			return false;
	}
	return dots > 0;
}

/* Returns the bytes written, or SIZE_MAX when there is no room. */
static size_t fill_key(const char *key, size_t bytes, const struct data *data, const char *unmatched,
                       char *out, size_t room)
{
	const struct data_member *member = data_find(data, key, bytes);
	if (member != NULL)
		return data_text_percent(member, out, room);
	size_t n = strlen(unmatched);
	struct data_member text = {.value = unmatched, .value_bytes = (uint32_t)n, .kind = 's'};
	return data_text_percent(&text, out, room);
}

long target_fill(const struct target *target, const struct data *data, const char *unmatched, char *out,
                 size_t size, struct shm_error *error)
{
	static const char elsewhere[] = "a value makes a segment of the path \".\" or \"..\"";
	char *to = out, *end = out + size;
	const char *segment = out;
	bool open = false; /* the segment has a value in it, and goes on */
	for (unsigned i = 0; i < target->n_pieces; i++) {
		const struct target_piece *piece = &target->piece[i];
		const char *text = target->text + piece->at;
		size_t room = (size_t)(end - to), n = piece->bytes;
		if (piece->key) {
			n = fill_key(text, n, data, unmatched, to, room);
			open |= piece->in_path;
		} else if (n <= room) {
			memcpy(to, text, n);
			if (open && piece->ends != TARGET_GOES_ON) {
				if (is_dots(segment, (size_t)(to + piece->ends - segment)))
					return refuse(error, elsewhere);
				open = false;
			}
			if (piece->begins > 0)
				segment = to + piece->begins;
		}
		if (n > room)
			return -ENOSPC;
		to += n;
	}
	if (open && is_dots(segment, (size_t)(to - segment)))
		return refuse(error, elsewhere);
	if (to == end)
		return -ENOSPC;
	*to = '\0';
	return to - out;
}
