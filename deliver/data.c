#include "deliver/data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/escape.h"
#include "base/siphash.h"
#include "base/text.h"

#define FEW           8u /* members that are looked through one by one */
#define ROOM_AT_FIRST 16u
#define REPLACEMENT   0xfffdu

/* ---- reading ---- */

struct reader {
	const char *at, *end;
	unsigned depth; /* containers open */
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_space(struct reader *reader)
{
	while (reader->at < reader->end && is_space(*reader->at))
		reader->at++;
}

/* The next byte that is no white space is this one, and is passed. */
static bool take(struct reader *reader, char c)
{
	skip_space(reader);
	if (reader->at == reader->end || *reader->at != c)
		return false;
	reader->at++;
	return true;
}

/* Length of the escape at `at`, or 0. */
static size_t escape_bytes(const char *at, const char *end)
{
	if (end - at < 2 || at[0] != '\\')
		return 0;
	if (at[1] != 'u')
		return at[1] != '\0' && strchr("\"\\/bfnrt", at[1]) != NULL ? 2 : 0;
	if (end - at < 6)
		return 0;
	for (unsigned i = 2; i < 6; i++)
		if (hex_value(at[i]) < 0)
			return 0;
	return 6;
}

/* A string; sets what is between its quotes. */
static bool read_string(struct reader *reader, const char **text, uint32_t *bytes, bool *escaped)
{
	if (!take(reader, '"'))
		return false;
	const char *at = reader->at;
	*escaped = false;
	while (at < reader->end && *at != '"') {
		size_t n = 1;
		if (*at == '\\') {
			n = escape_bytes(at, reader->end);
			*escaped = true;
		} else if ((unsigned char)*at >= 0x80) {
			n = text_sequence((const unsigned char *)at, (size_t)(reader->end - at));
		} else if ((unsigned char)*at < 0x20) {
			n = 0;
		}
		if (n == 0)
			return false;
		at += n;
	}
	if (at == reader->end)
		return false;
	*text = reader->at;
	*bytes = (uint32_t)(at - reader->at);
	reader->at = at + 1;
	return true;
}

static bool read_digits(struct reader *reader)
{
	const char *from = reader->at;
	while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
		reader->at++;
	return reader->at > from;
}

static bool next_is(const struct reader *reader, char a, char b)
{
	return reader->at < reader->end && (*reader->at == a || *reader->at == b);
}

static bool read_number(struct reader *reader)
{
	reader->at += next_is(reader, '-', '-');
	bool zero = next_is(reader, '0', '0');
	const char *from = reader->at;
	if (!read_digits(reader) || (zero && reader->at - from > 1))
		return false;
	if (next_is(reader, '.', '.')) {
		reader->at++;
		if (!read_digits(reader))
			return false;
	}
	if (!next_is(reader, 'e', 'E'))
		return true;
	reader->at++;
	reader->at += next_is(reader, '+', '-');
	return read_digits(reader);
}

static bool read_word(struct reader *reader, const char *word)
{
	size_t n = strlen(word);
	if ((size_t)(reader->end - reader->at) < n || memcmp(reader->at, word, n) != 0)
		return false;
	reader->at += n;
	return true;
}

static bool read_value(struct reader *reader, struct data_member *member);

/* The elements of an array, or members of an object, its opening bracket being passed. */
static bool read_elements(struct reader *reader, bool object)
{
	struct data_member ignored;
	char close = object ? '}' : ']';
	if (++reader->depth > DATA_DEPTH_MAX)
		return false;
	if (!take(reader, close)) {
		do {
			if (object &&
			    (!read_string(reader, &ignored.key, &ignored.key_bytes, &ignored.key_escaped) ||
			     !take(reader, ':')))
				return false;
			if (!read_value(reader, &ignored))
				return false;
		} while (take(reader, ','));
		if (!take(reader, close))
			return false;
	}
	reader->depth--;
	return true;
}

/* Any value. Recursion ends at DATA_DEPTH_MAX. */
static bool read_value(struct reader *reader, struct data_member *member)
{
	skip_space(reader);
	if (reader->at == reader->end)
		return false;
	const char *from = reader->at;
	bool read;
	member->value_escaped = false;
	switch (*from) {
	case '"':
		member->kind = 's';
		return read_string(reader, &member->value, &member->value_bytes, &member->value_escaped);
	case '{':
	case '[':
		member->kind = *from;
		reader->at++;
		read = read_elements(reader, *from == '{');
		break;
	case 't':
	case 'f':
		member->kind = *from;
		read = read_word(reader, *from == 't' ? "true" : "false");
		break;
	case 'n':
		member->kind = '0';
		read = read_word(reader, "null");
		break;
	default:
		member->kind = 'n';
		read = read_number(reader);
		break;
	}
	member->value = from;
	member->value_bytes = (uint32_t)(reader->at - from);
	return read;
}

static int add_room(struct data *data)
{
	uint32_t room = data->room > 0 ? 2 * data->room : ROOM_AT_FIRST;
	struct data_member *member = realloc(data->member, room * sizeof *member);
	if (member == NULL)
		return -ENOMEM;
	data->member = member;
	data->room = room;
	return 0;
}

/* All members, also those whose keys repeat. */
static int read_members(struct data *data, struct reader *reader)
{
	if (!take(reader, '{'))
		return -EINVAL;
	reader->depth = 1;
	if (!take(reader, '}')) {
		do {
			if (data->n == data->room && add_room(data) < 0)
				return -ENOMEM;
			struct data_member *member = &data->member[data->n];
			if (!read_string(reader, &member->key, &member->key_bytes, &member->key_escaped) ||
			    !take(reader, ':') || !read_value(reader, member))
				return -EINVAL;
			data->n++;
		} while (take(reader, ','));
		if (!take(reader, '}'))
			return -EINVAL;
	}
	skip_space(reader);
	return reader->at == reader->end ? 0 : -EINVAL;
}

/* ---- text between quotes, byte by byte with its escapes resolved ---- */

static bool is_half(unsigned code, unsigned first)
{
	return code >= first && code < first + (JSON_LOW_HALF - JSON_HIGH_HALF);
}

/* As json_escape, and half a pair becomes U+FFFD. */
static size_t resolve(char out[4], const char **at, const char *end)
{
	const char *from = *at;
	if (from[1] != 'u')
		return json_escape(out, at);
	unsigned code = json_hex4(from + 2);
	bool pair = is_half(code, JSON_HIGH_HALF) && escape_bytes(from + 6, end) == 6 &&
	            is_half(json_hex4(from + 8), JSON_LOW_HALF);
	if (pair || (!is_half(code, JSON_HIGH_HALF) && !is_half(code, JSON_LOW_HALF)))
		return json_escape(out, at);
	*at += 6;
	return json_utf8(out, REPLACEMENT);
}

struct letters {
	const char *at, *end;
	char utf8[4];
	size_t n, i;
};

/* The next byte, or -1. */
static int next_letter(struct letters *letters)
{
	if (letters->i < letters->n)
		return (unsigned char)letters->utf8[letters->i++];
	if (letters->at == letters->end)
		return -1;
	if (*letters->at != '\\')
		return (unsigned char)*letters->at++;
	letters->n = resolve(letters->utf8, &letters->at, letters->end);
	letters->i = 1;
	return (unsigned char)letters->utf8[0];
}

static bool same_text(const char *a, size_t a_bytes, bool a_escaped, const char *b, size_t b_bytes,
                      bool b_escaped)
{
	if (!a_escaped && !b_escaped)
		return a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0;
	/* What is not escaped has no backslash that would count, so it is compared as it is. */
	struct letters one = {.at = a, .end = a + a_bytes}, other = {.at = b, .end = b + b_bytes};
	int c, d;
	do {
		c = a_escaped || one.at == one.end ? next_letter(&one) : (unsigned char)*one.at++;
		d = b_escaped || other.at == other.end ? next_letter(&other) : (unsigned char)*other.at++;
	} while (c == d && c >= 0);
	return c == d;
}

/* ---- members by key ---- */

static uint64_t hash_key(const struct data *data, const char *key, size_t bytes, bool escaped)
{
	struct siphash hash;
	siphash_init(&hash, data->secret, 1, 3);
	if (!escaped) {
		siphash_add(&hash, key, bytes);
	} else {
		struct letters letters = {.at = key, .end = key + bytes};
		for (int c; (c = next_letter(&letters)) >= 0;)
			siphash_add(&hash, &(unsigned char){(unsigned char)c}, 1);
	}
	return siphash_end(&hash);
}

/* The place of the key among those, or the free one where it would be. */
static uint32_t *find_place(const struct data *data, const char *key, size_t bytes, bool escaped)
{
	uint32_t mask = data->places - 1, i = (uint32_t)hash_key(data, key, bytes, escaped) & mask;
	for (;; i = (i + 1) & mask) {
		uint32_t at = data->place[i];
		if (at == 0)
			return &data->place[i];
		const struct data_member *member = &data->member[at - 1];
		if (same_text(member->key, member->key_bytes, member->key_escaped, key, bytes, escaped))
			return &data->place[i];
	}
}

static const struct data_member *find_member(const struct data *data, const char *key, size_t bytes,
                                             bool escaped)
{
	if (data->places > 0) {
		uint32_t at = *find_place(data, key, bytes, escaped);
		return at > 0 ? &data->member[at - 1] : NULL;
	}
	for (uint32_t i = 0; i < data->n; i++) {
		const struct data_member *member = &data->member[i];
		if (same_text(member->key, member->key_bytes, member->key_escaped, key, bytes, escaped))
			return member;
	}
	return NULL;
}

static int draw_secret(struct data *data)
{
	if (data->secret[0] != 0)
		return 0;
	while (getrandom(data->secret, sizeof data->secret, 0) < 0)
		if (errno != EINTR)
			return -errno;
	data->secret[0] |= 1;
	return 0;
}

/* Empty, and at most half full with n members. */
static int make_places(struct data *data, uint32_t n)
{
	uint32_t places = 4 * FEW;
	while (places / 2 < n)
		places *= 2;
	if (places > data->places_room) {
		free(data->place);
		data->place = malloc(places * sizeof *data->place);
		data->places_room = data->place != NULL ? places : 0;
		if (data->place == NULL)
			return -ENOMEM;
	}
	memset(data->place, 0, places * sizeof *data->place);
	data->places = places;
	return draw_secret(data);
}

/* Leaves one member for each key. */
static int join_members(struct data *data)
{
	uint32_t all = data->n;
	int result = all > FEW ? make_places(data, all) : 0;
	if (result < 0)
		return result;
	data->n = 0;
	for (uint32_t i = 0; i < all; i++) {
		struct data_member member = data->member[i];
		const struct data_member *before =
		        find_member(data, member.key, member.key_bytes, member.key_escaped);
		if (before != NULL) {
			data->member[before - data->member] = member;
			continue;
		}
		if (data->places > 0)
			*find_place(data, member.key, member.key_bytes, member.key_escaped) = data->n + 1;
		data->member[data->n++] = member;
	}
	return 0;
}

int data_read(struct data *data, const char *json, size_t bytes)
{
	struct reader reader = {.at = json, .end = json + bytes};
	data->n = 0;
	data->places = 0;
	data->json = json;
	data->bytes = bytes;
	int result = bytes < UINT32_MAX / 4 ? read_members(data, &reader) : -EINVAL;
	if (result == 0)
		result = join_members(data);
	if (result < 0) {
		data->n = 0;
		data->places = 0;
	}
	return result;
}

void data_free(struct data *data)
{
	free(data->member);
	free(data->place);
	memset(data, 0, sizeof *data);
}

const struct data_member *data_find(const struct data *data, const char *key, size_t bytes)
{
	return find_member(data, key, bytes, false);
}

/* ---- writing ---- */

/* Where encoded text goes. Of what does not fit nothing more is written. */
struct writer {
	char *at, *end;
	char space; /* stands for a space; 0: it is encoded as all others */
	bool full;
};

static const bool plain[256] = {
        ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['-'] = true,
        ['.'] = true,         ['_'] = true,         ['~'] = true,
};

static char *encode_byte(char *at, unsigned char c, char space)
{
	if (plain[c]) {
		*at++ = (char)c;
	} else if (c == ' ' && space != '\0') {
		*at++ = space;
	} else {
		*at++ = '%';
		*at++ = hex_upper(c >> 4);
		*at++ = hex_upper(c);
	}
	return at;
}

static void encode(struct writer *writer, const char *text, size_t bytes)
{
	char *at = writer->at;
	const char *end = text + bytes;
	if ((size_t)(writer->end - at) / 3 >= bytes) {
		while (text < end)
			at = encode_byte(at, (unsigned char)*text++, writer->space);
	} else {
		char one[3];
		for (; text < end && !writer->full; text++) {
			size_t n = (size_t)(encode_byte(one, (unsigned char)*text, writer->space) - one);
			writer->full = (size_t)(writer->end - at) < n;
			if (!writer->full) {
				memcpy(at, one, n);
				at += n;
			}
		}
	}
	writer->at = at;
}

static void encode_string(struct writer *writer, const char *text, size_t bytes, bool escaped)
{
	const char *end = text + bytes;
	while (escaped && text < end && !writer->full) {
		const char *escape = memchr(text, '\\', (size_t)(end - text));
		char utf8[4];
		if (escape == NULL)
			break;
		encode(writer, text, (size_t)(escape - text));
		text = escape;
		size_t n = resolve(utf8, &text, end);
		encode(writer, utf8, n);
	}
	if (!writer->full)
		encode(writer, text, (size_t)(end - text));
}

/* How many bytes of a container's JSON stand together: up to white space outside of strings.
 * *in_string is kept from one piece to the next. */
static size_t dense_bytes(const char *text, const char *end, bool *in_string)
{
	const char *at = text;
	for (; at < end; at++) {
		if (*in_string && *at == '\\')
			at++; /* the byte that it escapes; there is one */
		else if (*at == '"')
			*in_string = !*in_string;
		else if (!*in_string && is_space(*at))
			break;
	}
	return (size_t)(at - text);
}

static void encode_value(struct writer *writer, const struct data_member *member)
{
	const char *at = member->value, *end = at + member->value_bytes;
	bool in_string = false;
	switch (member->kind) {
	case 's':
		encode_string(writer, at, member->value_bytes, member->value_escaped);
		break;
	case '0':
		break;
	case '[':
	case '{':
		while (at < end && !writer->full) {
			size_t n = dense_bytes(at, end, &in_string);
			encode(writer, at, n);
			at += at + n < end ? n + 1 : n;
		}
		break;
	default:
		encode(writer, at, member->value_bytes);
		break;
	}
}

size_t data_text_room(const struct data_member *member)
{
	return member->kind == '0' ? 0 : member->value_bytes;
}

size_t data_text(const struct data_member *member, char *out)
{
	const char *at = member->value, *end = at + member->value_bytes;
	char *to = out;
	bool in_string = false;
	if (member->kind == '0')
		return 0;
	if (member->kind == 's' && member->value_escaped) {
		struct letters letters = {.at = at, .end = end};
		for (int c; (c = next_letter(&letters)) >= 0;)
			*to++ = (char)c;
	} else if (member->kind == '[' || member->kind == '{') {
		while (at < end) {
			size_t n = dense_bytes(at, end, &in_string);
			memcpy(to, at, n);
			to += n;
			at += at + n < end ? n + 1 : n;
		}
	} else {
		memcpy(to, at, member->value_bytes);
		to += member->value_bytes;
	}
	return (size_t)(to - out);
}

size_t data_text_percent(const struct data_member *member, char *out, size_t size)
{
	struct writer writer = {.at = out, .end = out + size};
	encode_value(&writer, member);
	return writer.full ? SIZE_MAX : (size_t)(writer.at - out);
}

size_t data_percent(char *out, const char *text, size_t bytes)
{
	struct writer writer = {.at = out, .end = out + 3 * bytes};
	encode(&writer, text, bytes);
	return (size_t)(writer.at - out);
}

size_t data_form_room(const struct data *data)
{
	size_t room = 0;
	for (uint32_t i = 0; i < data->n; i++)
		room += 2 + 3 * (data->member[i].key_bytes + data_text_room(&data->member[i]));
	return room;
}

size_t data_form(const struct data *data, char *out)
{
	struct writer writer = {.at = out, .end = out + data_form_room(data), .space = '+'};
	for (uint32_t i = 0; i < data->n; i++) {
		const struct data_member *member = &data->member[i];
		if (i > 0)
			*writer.at++ = '&';
		encode_string(&writer, member->key, member->key_bytes, member->key_escaped);
		*writer.at++ = '=';
		encode_value(&writer, member);
	}
	return (size_t)(writer.at - out);
}
