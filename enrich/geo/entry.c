#include "enrich/geo/entry.h"

#include <stddef.h>
#include <string.h>

#define DEPTH_MAX 64u

/* ---- well-formed? ---- */

struct walk {
	const uint8_t *data;
	uint32_t end;
	uint32_t at;
	uint32_t values; /* looked at */
	bool too_large;
};

struct control {
	unsigned type;
	uint32_t size;   /* bytes, pairs or values */
	uint32_t target; /* of a pointer */
};

/* Takes n bytes as a number, the first the highest. */
static bool take_number(struct walk *walk, unsigned n, uint32_t *number)
{
	if (walk->end - walk->at < n)
		return false;
	*number = 0;
	for (unsigned i = 0; i < n; i++)
		*number = *number << 8 | walk->data[walk->at++];
	return true;
}

static bool take_pointer(struct walk *walk, uint32_t byte, struct control *control)
{
	static const uint32_t base[] = {0, 2048, 526336, 0};
	unsigned width = byte >> 3 & 3;
	uint32_t rest;
	if (!take_number(walk, width + 1, &rest))
		return false;
	uint32_t high = width < 3 ? (byte & 7) << 8 * (width + 1) : 0;
	control->target = (high | rest) + base[width];
	return true;
}

/* A size over 28 continues in 1, 2 or 3 bytes. */
static bool take_size(struct walk *walk, uint32_t byte, struct control *control)
{
	static const uint32_t base[] = {29, 285, 65821};
	control->size = byte & 31;
	if (control->size < 29)
		return true;
	unsigned more = control->size - 28;
	if (!take_number(walk, more, &control->size))
		return false;
	control->size += base[more - 1];
	return true;
}

static bool take_control(struct walk *walk, struct control *control)
{
	uint32_t byte, extended;
	*control = (struct control){0};
	if (walk->values == ENTRY_VALUES_MAX) {
		walk->too_large = true;
		return false;
	}
	walk->values++;
	if (!take_number(walk, 1, &byte))
		return false;
	control->type = byte >> 5;
	if (control->type == MMDB_DATA_TYPE_POINTER)
		return take_pointer(walk, byte, control);
	if (control->type == MMDB_DATA_TYPE_EXTENDED) {
		if (!take_number(walk, 1, &extended))
			return false;
		control->type = 7 + extended;
	}
	return take_size(walk, byte, control);
}

static bool skip_bytes(struct walk *walk, uint32_t n)
{
	if (walk->end - walk->at < n)
		return false;
	walk->at += n;
	return true;
}

static bool check_scalar(struct walk *walk, const struct control *control)
{
	static const uint8_t most[] = {
	        [MMDB_DATA_TYPE_UINT16] = 2, [MMDB_DATA_TYPE_UINT32] = 4,   [MMDB_DATA_TYPE_INT32] = 4,
	        [MMDB_DATA_TYPE_UINT64] = 8, [MMDB_DATA_TYPE_UINT128] = 16,
	};
	switch (control->type) {
	case MMDB_DATA_TYPE_UTF8_STRING:
	case MMDB_DATA_TYPE_BYTES:
		return skip_bytes(walk, control->size);
	case MMDB_DATA_TYPE_DOUBLE:
		return control->size == 8 && skip_bytes(walk, 8);
	case MMDB_DATA_TYPE_FLOAT:
		return control->size == 4 && skip_bytes(walk, 4);
	case MMDB_DATA_TYPE_BOOLEAN:
		return control->size <= 1;
	case MMDB_DATA_TYPE_UINT16:
	case MMDB_DATA_TYPE_UINT32:
	case MMDB_DATA_TYPE_INT32:
	case MMDB_DATA_TYPE_UINT64:
	case MMDB_DATA_TYPE_UINT128:
		return control->size <= most[control->type] && skip_bytes(walk, control->size);
	default:
		return false;
	}
}

static bool check_value(struct walk *walk, unsigned depth);

/* What a pointer refers to is checked as if it stood there, so the walk comes back after the
 * pointer. */
static bool check_target(struct walk *walk, const struct control *control, unsigned depth)
{
	uint32_t back = walk->at;
	if (control->target >= walk->end || walk->data[control->target] >> 5 == MMDB_DATA_TYPE_POINTER)
		return false;
	walk->at = control->target;
	bool good = check_value(walk, depth + 1);
	walk->at = back;
	return good;
}

static bool check_key(struct walk *walk)
{
	struct control control;
	if (!take_control(walk, &control))
		return false;
	if (control.type == MMDB_DATA_TYPE_UTF8_STRING)
		return skip_bytes(walk, control.size);
	return control.type == MMDB_DATA_TYPE_POINTER && control.target < walk->end &&
	       walk->data[control.target] >> 5 == MMDB_DATA_TYPE_UTF8_STRING &&
	       check_target(walk, &control, DEPTH_MAX - 1);
}

static bool check_value(struct walk *walk, unsigned depth)
{
	struct control control;
	if (depth > DEPTH_MAX || !take_control(walk, &control))
		return false;
	if (control.type == MMDB_DATA_TYPE_POINTER)
		return check_target(walk, &control, depth);
	if (control.type != MMDB_DATA_TYPE_MAP && control.type != MMDB_DATA_TYPE_ARRAY)
		return check_scalar(walk, &control);
	for (uint32_t i = 0; i < control.size; i++)
		if ((control.type == MMDB_DATA_TYPE_MAP && !check_key(walk)) || !check_value(walk, depth + 1))
			return false;
	return true;
}

enum entry_verdict entry_check(const uint8_t *data, uint32_t end, uint32_t offset, uint32_t *values)
{
	struct walk walk = {.data = data, .end = end, .at = offset};
	bool good = offset < end && check_value(&walk, 0);
	*values = walk.values;
	return good ? ENTRY_GOOD : walk.too_large ? ENTRY_TOO_LARGE : ENTRY_BROKEN;
}

/* ---- metadata ---- */

/* The control of a value; of a pointer, that of what it refers to, where the walk then is. */
static bool take_value(struct walk *walk, struct control *control)
{
	if (!take_control(walk, control))
		return false;
	if (control->type != MMDB_DATA_TYPE_POINTER)
		return true;
	walk->at = control->target;
	return walk->at < walk->end && take_control(walk, control);
}

/* Looks at the value where the walk is, which moves past it. */
static bool is_text(struct walk *walk)
{
	struct walk look = *walk;
	struct control control;
	return take_value(&look, &control) && control.type == MMDB_DATA_TYPE_UTF8_STRING &&
	       check_value(walk, 1);
}

static bool is_of_texts(struct walk walk)
{
	struct control control;
	if (!take_value(&walk, &control))
		return false;
	bool map = control.type == MMDB_DATA_TYPE_MAP, good = map || control.type == MMDB_DATA_TYPE_ARRAY;
	for (uint32_t i = 0; good && i < control.size; i++)
		good = (!map || is_text(&walk)) && is_text(&walk);
	return good;
}

bool entry_has_texts(const uint8_t *data, uint32_t end, const char *key)
{
	struct walk walk = {.data = data, .end = end};
	struct control map, name;
	if (!take_value(&walk, &map) || map.type != MMDB_DATA_TYPE_MAP)
		return false;
	for (uint32_t i = 0; i < map.size; i++) {
		struct walk look = walk;
		if (!take_value(&look, &name) || !check_key(&walk))
			return false;
		if (name.size == strlen(key) && memcmp(data + look.at, key, name.size) == 0 &&
		    !is_of_texts(walk))
			return false;
		if (!check_value(&walk, 1))
			return false;
	}
	return true;
}

/* ---- what it says ---- */

#define PATH_MAX_KEYS 4

static const char *const country_path[][PATH_MAX_KEYS] = {
        {"country", "iso_code"},
        {"country_code"},
        {"country"},
        {"registered_country", "iso_code"},
};

static const char *const city_path[][PATH_MAX_KEYS] = {
        {"city", "names", "en"},
        {"city"},
};

#define N_COUNTRIES (sizeof country_path / sizeof country_path[0])
#define N_CITIES    (sizeof city_path / sizeof city_path[0])
_Static_assert(ENTRY_COUNTRIES == (1u << N_COUNTRIES) - 1, "a bit for each");
_Static_assert(ENTRY_ALL == (1u << (N_COUNTRIES + N_CITIES)) - 1, "a bit for each");

/* The text at this path. Returns NULL when there is none. */
static const char *text_at(const MMDB_s *mmdb, uint32_t offset, const char *const *path, uint32_t *bytes,
                           int *error)
{
	MMDB_entry_s entry = {.mmdb = mmdb, .offset = offset};
	MMDB_entry_data_s data;
	int result = MMDB_aget_value(&entry, &data, path);
	if (result != MMDB_SUCCESS) {
		bool absent =
		        result == MMDB_LOOKUP_PATH_DOES_NOT_MATCH_DATA_ERROR ||
		        result == MMDB_INVALID_LOOKUP_PATH_ERROR; /* a name where the data has an array */
		if (!absent && error != NULL)
			*error = result;
		return NULL;
	}
	if (!data.has_data || data.type != MMDB_DATA_TYPE_UTF8_STRING)
		return NULL;
	*bytes = data.data_size;
	return data.utf8_string;
}

static bool is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* At most GEO_CITY_MAX bytes, never part of a character. */
static uint8_t cut(const char *text, uint32_t bytes)
{
	if (bytes <= GEO_CITY_MAX)
		return (uint8_t)bytes;
	bytes = GEO_CITY_MAX;
	while (bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80)
		bytes--;
	return (uint8_t)bytes;
}

unsigned entry_read(const MMDB_s *mmdb, uint32_t offset, unsigned places, struct geo_place *place, int *error)
{
	uint32_t bytes = 0;
	unsigned found = 0;
	*place = (struct geo_place){.city = GEO_UNKNOWN, .city_bytes = 2, .country = {'X', 'X'}};
	for (unsigned i = 0; i < N_COUNTRIES && found == 0; i++) {
		const char *code =
		        places >> i & 1 ? text_at(mmdb, offset, country_path[i], &bytes, error) : NULL;
		if (code == NULL || bytes != 2 || !is_letter(code[0]) || !is_letter(code[1]))
			continue;
		place->country[0] = (char)(code[0] & ~0x20);
		place->country[1] = (char)(code[1] & ~0x20);
		found = 1u << i;
	}
	for (unsigned i = 0; i < N_CITIES && (found & ENTRY_CITIES) == 0; i++) {
		const char *city = places >> (N_COUNTRIES + i) & 1
		                           ? text_at(mmdb, offset, city_path[i], &bytes, error)
		                           : NULL;
		if (city == NULL || bytes == 0)
			continue;
		place->city = city;
		place->city_bytes = cut(city, bytes);
		found |= 1u << (N_COUNTRIES + i);
	}
	return found;
}
