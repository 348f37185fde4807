/* Any query string of a tracking call: as JSON, as the tracking line, and without the parameters
 * that privacy options take away. The query is taken apart a second time here; jansson reads the
 * JSON, and says what UTF-8 is. The first byte is the length of the type, which comes next. */
#include <errno.h>
#include <jansson.h>

#include "base/text.h"
#include "enrich/track/privacy.h"
#include "enrich/track/track.h"
#include "event/line.h"
#include "event/params.h"
#include "tests/fixture/track_make.h"
#include "tests/fuzz/fuzz.h"

#define QUERY_MAX 20000u

struct plain {
	char *bytes;
	size_t n;
};

struct pair {
	const char *raw;
	size_t raw_bytes;
	struct plain name, value;
};

struct pairs {
	struct pair *pair;
	size_t n;
};

/* ---- the second reading ---- */

static int digit(char c)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	const char *at = c != '\0' ? strchr(digits, c) : NULL;
	return at == NULL ? -1 : (int)(at - digits) < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

static struct plain decode(const char *text, size_t bytes)
{
	struct plain plain = {.bytes = malloc(bytes + 1)};
	must(plain.bytes != NULL);
	for (size_t i = 0; i < bytes; i++) {
		bool escape =
		        text[i] == '%' && bytes - i > 2 && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
		int byte = escape           ? digit(text[i + 1]) * 16 + digit(text[i + 2])
		           : text[i] == '+' ? ' '
		                            : text[i];
		plain.bytes[plain.n++] = (char)byte;
		i += escape ? 2 : 0;
	}
	return plain;
}

static struct pairs split(const char *query, size_t bytes)
{
	struct pairs pairs = {.pair = calloc(bytes + 1, sizeof *pairs.pair)};
	must(pairs.pair != NULL);
	for (size_t from = 0; from < bytes;) {
		size_t to = from, equals;
		while (to < bytes && query[to] != '&')
			to++;
		for (equals = from; equals < to && query[equals] != '=';)
			equals++;
		if (to > from) {
			struct pair *pair = &pairs.pair[pairs.n++];
			size_t value = equals < to ? equals + 1 : to;
			*pair = (struct pair){.raw = query + from, .raw_bytes = to - from};
			pair->name = decode(query + from, equals - from);
			pair->value = decode(query + value, to - value);
		}
		from = to + 1;
	}
	return pairs;
}

static void pairs_free(struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->n; i++) {
		free(pairs->pair[i].name.bytes);
		free(pairs->pair[i].value.bytes);
	}
	free(pairs->pair);
}

/* Bytes as JSON shows them: those that are no UTF-8 as the character of their number. */
static json_t *shown(const char *bytes, size_t n)
{
	char *text = malloc(2 * n + 1);
	size_t length = 0;
	must(text != NULL);
	for (size_t i = 0, k; i < n; i += k) {
		json_t *character = NULL;
		for (k = 1; k <= 4 && i + k <= n && character == NULL; k++)
			character = json_stringn(bytes + i, k);
		k = character != NULL ? k - 1 : 1;
		if (character != NULL) {
			memcpy(text + length, bytes + i, k);
			length += k;
		} else {
			text[length++] = (char)(0xc0 | (unsigned char)bytes[i] >> 6);
			text[length++] = (char)(0x80 | ((unsigned char)bytes[i] & 0x3f));
		}
		json_decref(character);
	}
	json_t *string = json_stringn(text, length);
	must(string != NULL);
	free(text);
	return string;
}

static bool same(struct plain a, struct plain b)
{
	return a.n == b.n && memcmp(a.bytes, b.bytes, a.n) == 0;
}

/* An array of [name, values...], each name once, in the order of the query. */
static json_t *expected(const struct pairs *pairs)
{
	json_t *all = json_array();
	size_t *place = calloc(pairs->n + 1, sizeof *place);
	must(place != NULL);
	for (size_t i = 0; i < pairs->n; i++) {
		size_t first = 0;
		while (!same(pairs->pair[first].name, pairs->pair[i].name))
			first++;
		if (first == i) {
			place[i] = json_array_size(all);
			json_array_append_new(all, json_pack("[o]", shown(pairs->pair[i].name.bytes,
			                                                  pairs->pair[i].name.n)));
		}
		json_array_append_new(json_array_get(all, place[first]),
		                      shown(pairs->pair[i].value.bytes, pairs->pair[i].value.n));
	}
	free(place);
	return all;
}

/* ---- JSON ---- */

static void compare(const char *json, size_t bytes, const struct pairs *pairs)
{
	json_t *root = json_loadb(json, bytes, JSON_ALLOW_NUL, NULL), *wanted = expected(pairs), *value;
	const char *key;
	size_t i = 0, n;
	/* jansson takes no zero byte in a name; two names of other bytes may be shown alike */
	bool beyond = false;
	for (size_t k = 0; k < pairs->n; k++)
		beyond |= memchr(pairs->pair[k].name.bytes, 0, pairs->pair[k].name.n) != NULL;
	must(root != NULL || beyond);
	if (root != NULL && json_object_size(root) == json_array_size(wanted)) {
		json_object_keylen_foreach(root, key, n, value)
		{
			json_t *row = json_array_get(wanted, i++), *name = json_array_get(row, 0);
			must(json_string_length(name) == n && memcmp(json_string_value(name), key, n) == 0);
			json_array_remove(row, 0);
			must(json_equal(json_array_size(row) == 1 ? json_array_get(row, 0) : row, value));
		}
	}
	must(root == NULL || json_object_size(root) <= json_array_size(wanted));
	json_decref(root);
	json_decref(wanted);
}

static void check_json(const char *query, size_t bytes, const struct pairs *pairs)
{
	size_t room = 7 * bytes + 64;
	char *out = malloc(room);
	must(out != NULL);
	struct text text = {.at = out, .end = out + room};
	event_params_put(&text, query, bytes);
	must(!text.full);
	size_t n = (size_t)(text.at - out);
	if (pairs->n <= EVENT_PARAMS_MAX) {
		compare(out, n, pairs);
	} else {
		json_t *root = json_loadb(out, n, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL),
		       *wanted = shown(query, bytes);
		must(root != NULL && json_equal(root, wanted));
		json_decref(root);
		json_decref(wanted);
	}
	/* less room: the same, or full */
	for (size_t less = n > 3 ? n - 3 : 0; less < n + 3; less++) {
		char *tight = malloc(less + 1);
		must(tight != NULL);
		text = (struct text){.at = tight, .end = tight + less};
		event_params_put(&text, query, bytes);
		must(text.full || ((size_t)(text.at - tight) == n && memcmp(tight, out, n) == 0));
		must(less >= n || text.full);
		free(tight);
	}
	free(out);
}

/* ---- privacy ---- */

static bool dropped(const struct pair *pair, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (pair->name.n == strlen(names[i]) && memcmp(pair->name.bytes, names[i], pair->name.n) == 0)
			return true;
	return false;
}

static void check_drop(const char *query, size_t bytes, const struct pairs *pairs)
{
	static const char *const names[] = {"uid", "a", ""};
	char *out = malloc(bytes + 1), *in_place = fuzz_copy(query, bytes);
	must(out != NULL);
	size_t n = privacy_drop(out, query, bytes, names, 3);
	must(n <= bytes);
	must(privacy_drop(in_place, in_place, bytes, names, 3) == n && memcmp(in_place, out, n) == 0);
	struct pairs left = split(out, n);
	size_t k = 0;
	for (size_t i = 0; i < pairs->n; i++) {
		if (dropped(&pairs->pair[i], names, 3))
			continue;
		must(k < left.n && left.pair[k].raw_bytes == pairs->pair[i].raw_bytes);
		must(memcmp(left.pair[k].raw, pairs->pair[i].raw, left.pair[k].raw_bytes) == 0);
		k++;
	}
	must(k == left.n);
	pairs_free(&left);
	free(out);
	free(in_place);
}

/* ---- the line ---- */

static void check_line(const char *type, size_t type_bytes, const char *query, size_t bytes)
{
	struct track_make make = track_example;
	make.type = type, make.type_bytes = type_bytes, make.query = query, make.query_bytes = bytes;
	struct record *record = track_make(&make);
	size_t room = 3 * (type_bytes + bytes) + 2048;
	char *out = malloc(room), *end;
	must(out != NULL);
	int n = event_line(out, room, record);
	must(n > 0);
	for (int i = 0; i < n; i++)
		must((unsigned char)out[i] >= ' ' && out[i] != 0x7f);
	char *middle = memchr(out, ' ', (size_t)n), *last = memrchr(out, ' ', (size_t)n);
	must(middle != NULL && last != NULL && middle < last);
	must(memchr(middle + 1, ' ', (size_t)(last - middle - 1)) == NULL);
	struct plain read_type = decode(out, (size_t)(middle - out));
	must(type_bytes == 0 ||
	     (read_type.n == type_bytes && memcmp(read_type.bytes, type, type_bytes) == 0));
	end = out + n;
	struct plain wanted = decode(query, bytes), read = decode(last + 1, (size_t)(end - last - 1));
	must(bytes == 0 ? end - last == 2 && last[1] == 'e' : same(wanted, read));
	json_t *utf8 = json_stringn(out, (size_t)n);
	must(utf8 != NULL);
	json_decref(utf8);
	must(event_line(out, (size_t)n - 1, record) == -ENOSPC && event_line(out, (size_t)n, record) == n);
	free(read_type.bytes);
	free(wanted.bytes);
	free(read.bytes);
	free(record);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes == 0 || bytes > QUERY_MAX)
		return 0;
	size_t type_bytes = data[0] % 32u;
	data++, bytes--;
	if (type_bytes > bytes)
		type_bytes = bytes;
	char *type = fuzz_copy(data, type_bytes), *query = fuzz_copy(data + type_bytes, bytes - type_bytes);
	bytes -= type_bytes;
	struct pairs pairs = split(query, bytes);
	/* the second reading is quadratic */
	if (pairs.n < 300 || pairs.n > EVENT_PARAMS_MAX)
		check_json(query, bytes, &pairs);
	check_drop(query, bytes, &pairs);
	if (type_bytes != 0 && bytes != 0)
		check_line(type, type_bytes, query, bytes);
	pairs_free(&pairs);
	free(type);
	free(query);
	return 0;
}
