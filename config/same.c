#include <string.h>

#include "config/data.h"
#include "config/value.h"

static bool same_text(const struct config_option *option, const char *a, const char *b)
{
	uint64_t a_value, b_value;
	if (strcmp(a, b) == 0)
		return true;
	return !config_value_is_text(option) && option->kind != CONFIG_LIST &&
	       config_value_parse(option, a, &a_value) == 0 && config_value_parse(option, b, &b_value) == 0 &&
	       a_value == b_value;
}

static bool same_option(const struct config_place *a, const struct config_place *b)
{
	if (a->schema->option->kind != CONFIG_LIST)
		return same_text(a->schema->option, a->cell->data, b->cell->data);
	if (a->cell->n != b->cell->n)
		return false;
	for (size_t i = 0; i < a->cell->n; i++)
		if (strcmp(((char *const *)a->cell->data)[i], ((char *const *)b->cell->data)[i]) != 0)
			return false;
	return true;
}

static bool same_keys(const struct config_place *a, const struct config_place *b)
{
	for (size_t i = 0; i < a->schema->n_children; i++) {
		struct config_place a_key = config_data_key(a, i), b_key = config_data_key(b, i);
		if (!config_data_same(&a_key, &b_key))
			return false;
	}
	return true;
}

/* Entries of a named section are compared in their order, which is that of what they become in
 * shared memory. */
static bool same_entries(const struct config_place *a, const struct config_place *b)
{
	for (size_t i = 0;; i++) {
		struct config_place a_entry, b_entry;
		bool in_a = config_data_entry(a, i, &a_entry), in_b = config_data_entry(b, i, &b_entry);
		if (!in_a || !in_b)
			return in_a == in_b;
		if (a->schema->kind == SCHEMA_NAMED &&
		    strcmp(config_data_name(a, i), config_data_name(b, i)) != 0)
			return false;
		if (!same_keys(&a_entry, &b_entry))
			return false;
	}
}

bool config_data_same(const struct config_place *a, const struct config_place *b)
{
	if (a->cells != NULL)
		return same_keys(a, b);
	return a->schema->kind == SCHEMA_OPTION ? same_option(a, b) : same_entries(a, b);
}
