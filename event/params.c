#include "event/params.h"

#include <stdlib.h>

#include "event/event.h"
#include "event/query.h"

#define NONE UINT16_MAX

/* Pairs of one name are a list; a hash table finds the first of each, so that the work grows with
 * the query, not with its square. */
struct param {
	struct query_pair pair;
	uint32_t hash;
	uint16_t next; /* of the same name, or NONE */
	uint16_t last; /* of the list that begins here */
	bool first;
};

/* Room for n parameters: a few, which lie on the stack, or as many as there are, allocated. */
#define PARAMS_FEW 64u

struct params {
	struct param *param;
	uint16_t *slot; /* index of the first of a name, or NONE; a power of two, at least 2 n */
	uint32_t mask;  /* slots, less one */
	uint16_t n;
};

/* FNV-1a over the decoded name. */
static uint32_t hash_of(const struct query_pair *pair)
{
	const char *at = pair->name, *end = at + pair->name_bytes;
	uint32_t hash = 2166136261u;
	while (at < end)
		hash = (hash ^ query_byte(&at, end)) * 16777619u;
	return hash;
}

static bool same_name(const struct param *a, const struct param *b)
{
	return a->hash == b->hash &&
	       query_same(a->pair.name, a->pair.name_bytes, b->pair.name, b->pair.name_bytes);
}

/* Appends the newest to the list of its name, or begins one. */
static void file(struct params *params, uint16_t index)
{
	struct param *added = &params->param[index];
	uint32_t at = added->hash & params->mask;
	while (params->slot[at] != NONE && !same_name(&params->param[params->slot[at]], added))
		at = (at + 1) & params->mask;
	added->next = NONE;
	added->last = index;
	added->first = params->slot[at] == NONE;
	if (added->first) {
		params->slot[at] = index;
		return;
	}
	struct param *first = &params->param[params->slot[at]];
	params->param[first->last].next = index;
	first->last = index;
}

static size_t count_pairs(const char *text, size_t bytes)
{
	struct query query = {text, text + bytes};
	struct query_pair pair;
	size_t n = 0;
	while (query_next(&query, &pair))
		n++;
	return n;
}

static uint32_t slots_for(size_t n)
{
	uint32_t slots = 2;
	while (slots < 2 * n)
		slots *= 2;
	return slots;
}

static void collect(struct params *params, const char *text, size_t bytes)
{
	struct query query = {text, text + bytes};
	memset(params->slot, 0xff, (params->mask + 1) * sizeof params->slot[0]);
	params->n = 0;
	while (query_next(&query, &params->param[params->n].pair)) {
		struct param *added = &params->param[params->n];
		added->hash = hash_of(&added->pair);
		file(params, params->n++);
		if (params->n == EVENT_PARAMS_MAX)
			break;
	}
}

static bool is_plain(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (text[i] == '%' || text[i] == '+')
			return false;
	return true;
}

/* Decoded at the end of what room there is, then written to its beginning: nothing is allocated,
 * and a character that was encoded byte by byte is whole again. */
static void put_decoded(struct text *text, const char *from, size_t bytes)
{
	if (is_plain(from, bytes)) {
		text_string(text, (const unsigned char *)from, bytes);
		return;
	}
	if (!text_room(text, bytes))
		return;
	char *decoded = text->end - bytes;
	size_t length = query_decode(decoded, from, bytes);
	struct text front = {.at = text->at, .end = decoded};
	text_string(&front, (const unsigned char *)decoded, length);
	text->at = front.at;
	text->full = text->full || front.full;
}

static void put_values(struct text *text, const struct params *params, const struct param *param)
{
	bool several = param->next != NONE;
	if (several)
		text_literal(text, "[");
	put_decoded(text, param->pair.value, param->pair.value_bytes);
	while (param->next != NONE && !text->full) {
		param = &params->param[param->next];
		text_literal(text, ",");
		put_decoded(text, param->pair.value, param->pair.value_bytes);
	}
	if (several)
		text_literal(text, "]");
}

static void put_params(struct text *text, const struct params *params)
{
	char separator = '{';
	for (uint16_t i = 0; i < params->n && !text->full; i++) {
		if (!params->param[i].first)
			continue;
		text_put(text, &separator, 1);
		separator = ',';
		put_decoded(text, params->param[i].pair.name, params->param[i].pair.name_bytes);
		text_literal(text, ":");
		put_values(text, params, &params->param[i]);
	}
	if (separator == '{')
		text_literal(text, "{");
	text_literal(text, "}");
}

void event_params_put(struct text *text, const char *query, size_t bytes)
{
	struct param few[PARAMS_FEW];
	uint16_t few_slots[2 * PARAMS_FEW];
	struct params params = {.param = few, .slot = few_slots};
	size_t n = count_pairs(query, bytes);
	void *room = NULL;
	params.mask = slots_for(n) - 1;
	if (n > PARAMS_FEW && n <= EVENT_PARAMS_MAX)
		room = malloc(n * sizeof few[0] + (params.mask + 1) * sizeof few_slots[0]);
	if (n > PARAMS_FEW && room == NULL) { /* too many, or no memory */
		text_string(text, (const unsigned char *)query, bytes);
		return;
	}
	if (room != NULL) {
		params.param = room;
		params.slot = (uint16_t *)(params.param + n);
	}
	collect(&params, query, bytes);
	put_params(text, &params);
	free(room);
}
