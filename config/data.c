#include "config/data.h"

#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/complete.h"
#include "config/refusal.h"
#include "config/value.h"

/* Memory that goes with the schema. */
static void *keep(struct config_data *data, void *block)
{
	data->block = reallocarray(data->block, data->n_blocks + 1, sizeof *data->block);
	if (data->block == NULL)
		abort();
	return data->block[data->n_blocks++] = block;
}

static uint32_t cells_bytes(size_t n)
{
	return (uint32_t)(n * sizeof(struct config_cell));
}

static void describe(struct config_data *data, const struct schema *schema, const struct config_node *node,
                     cyaml_schema_value_t *value);

/* One field per key; field i has cell i. */
static cyaml_schema_field_t *describe_keys(struct config_data *data, const struct schema *schema,
                                           const struct config_node *node)
{
	cyaml_schema_field_t *fields = keep(data, config_alloc((schema->n_children + 1) * sizeof *fields));
	for (size_t i = 0; i < schema->n_children; i++) {
		fields[i].key = schema->child[i]->name;
		fields[i].data_offset = cells_bytes(i) + offsetof(struct config_cell, data);
		fields[i].count_offset = cells_bytes(i) + offsetof(struct config_cell, n);
		fields[i].count_size = sizeof(uint64_t);
		describe(data, schema->child[i], config_tree_find(node, schema->child[i]->name),
		         &fields[i].value);
	}
	return fields;
}

/* One field per name that the document has: libcyaml knows no maps with free keys, so the schema is
 * made for this document. */
static cyaml_schema_field_t *describe_names(struct config_data *data, const struct schema *schema,
                                            const struct config_node *node)
{
	size_t n = node == NULL || node->kind != NODE_MAP ? 0 : node->n_children;
	cyaml_schema_field_t *keys = describe_keys(data, schema, NULL);
	cyaml_schema_field_t *fields = keep(data, config_alloc((n + 1) * sizeof *fields));
	for (size_t i = 0; i < n; i++) {
		char *name = strdup(node->child[i]->key);
		if (name == NULL)
			abort();
		fields[i].key = keep(data, name);
		fields[i].data_offset = cells_bytes(i) + offsetof(struct config_cell, data);
		fields[i].value = (cyaml_schema_value_t){
		        CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, keys)};
		fields[i].value.data_size = cells_bytes(schema->n_children);
	}
	return fields;
}

static void describe(struct config_data *data, const struct schema *schema, const struct config_node *node,
                     cyaml_schema_value_t *value)
{
	static const cyaml_schema_value_t item = {CYAML_VALUE_STRING(
	        CYAML_FLAG_POINTER | CYAML_FLAG_SCALAR_QUOTE_DOUBLE, char, 0, CYAML_UNLIMITED)};
	const enum cyaml_flag flags = (enum cyaml_flag)(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL);
	if (schema->kind == SCHEMA_OPTION && schema->option->kind != CONFIG_LIST) {
		int quoted = config_value_is_text(schema->option) ? CYAML_FLAG_SCALAR_QUOTE_DOUBLE : 0;
		*value = (cyaml_schema_value_t){
		        CYAML_VALUE_STRING((int)flags | quoted, char, 0, CYAML_UNLIMITED)};
	} else if (schema->kind == SCHEMA_OPTION) {
		value->type = CYAML_SEQUENCE;
		value->flags = (enum cyaml_flag)(flags | CYAML_FLAG_FLOW);
		value->data_size = sizeof(char *);
		value->sequence.entry = &item;
		value->sequence.max = CYAML_UNLIMITED;
	} else if (schema->kind == SCHEMA_ENTRIES) {
		cyaml_schema_value_t *entry = keep(data, config_alloc(sizeof *entry));
		entry->type = CYAML_MAPPING;
		entry->data_size = cells_bytes(schema->n_children);
		entry->mapping.fields = describe_keys(data, schema, NULL);
		value->type = CYAML_SEQUENCE;
		value->flags = flags;
		value->data_size = entry->data_size;
		value->sequence.entry = entry;
		value->sequence.max = CYAML_UNLIMITED;
	} else {
		bool named = schema->kind == SCHEMA_NAMED;
		size_t n = !named                                   ? schema->n_children
		           : node != NULL && node->kind == NODE_MAP ? node->n_children
		                                                    : 0;
		value->type = CYAML_MAPPING;
		value->flags = flags;
		value->data_size = cells_bytes(n == 0 ? 1 : n);
		value->mapping.fields =
		        named ? describe_names(data, schema, node) : describe_keys(data, schema, node);
	}
}

static char *tree_text(const struct config_node *tree, size_t *bytes)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, bytes);
	if (out == NULL)
		abort();
	config_tree_write(tree, out);
	if (fclose(out) != 0)
		abort();
	return text;
}

static cyaml_config_t plain_config(void)
{
	return (cyaml_config_t){.log_level = CYAML_LOG_ERROR,
	                        .mem_fn = cyaml_mem,
	                        .flags = CYAML_CFG_STYLE_BLOCK | CYAML_CFG_NO_ALIAS};
}

/* libcyaml keeps no memory for a list without items, and leaves out of what it writes whatever has
 * none: the default would come back. node is what was loaded; what is not in it stays away. */
static void keep_empty_lists(const struct config_place *place, const struct config_node *node)
{
	struct config_cell *cell = (struct config_cell *)(uintptr_t)place->cell;
	const struct schema *schema = place->schema;
	if (node == NULL || (place->cells == NULL && cell == NULL))
		return; /* nothing was loaded at all */
	if (place->cells == NULL && node->kind == NODE_LIST && cell->data == NULL &&
	    (cell->data = cyaml_mem(NULL, NULL, sizeof(char *))) == NULL)
		abort();
	if (place->cells == NULL) {
		struct config_place entry;
		for (size_t i = 0; i < node->n_children && config_data_entry(place, i, &entry); i++)
			keep_empty_lists(&entry, node->child[i]);
		return;
	}
	for (size_t i = 0; i < schema->n_children; i++) {
		struct config_place key = config_data_key(place, i);
		keep_empty_lists(&key, config_tree_find(node, schema->child[i]->name));
	}
}

bool config_data_load(struct config_data *data, struct config_node *tree, struct config_errors *errors)
{
	bool whole = true;
	memset(data, 0, sizeof *data);
	data->top = keep(data, config_alloc(sizeof *data->top));
	describe(data, config_schema(), tree, data->top);
	while (!config_errors_full(errors)) {
		struct config_refusal refusal = {0};
		cyaml_config_t config = plain_config();
		config.log_fn = config_refusal_log;
		config.log_ctx = &refusal;
		size_t bytes;
		char *text = tree_text(tree, &bytes);
		cyaml_err_t result =
		        cyaml_load_data((const uint8_t *)text, bytes, &config, data->top, &data->root, NULL);
		free(text);
		if (result == CYAML_OK) {
			struct config_place root = {
			        .schema = config_schema(), .value = data->top, .cells = data->root};
			keep_empty_lists(&root, tree);
			return whole;
		}
		whole = false;
		data->root = NULL;
		if (!config_refusal_take_out(&refusal, tree, errors)) {
			config_error(errors, &tree->origin, "", "%s: %.300s", cyaml_strerror(result),
			             refusal.message);
			return false;
		}
	}
	return false;
}

void config_data_free(struct config_data *data)
{
	cyaml_config_t config = plain_config();
	if (data->root != NULL)
		cyaml_free(&config, data->top, data->root, 0);
	for (size_t i = 0; i < data->n_blocks; i++)
		free(data->block[i]);
	free(data->block);
	memset(data, 0, sizeof *data);
}

int config_data_write(const struct config_data *data, FILE *out)
{
	cyaml_config_t config = plain_config();
	char *text = NULL;
	size_t bytes = 0;
	if (cyaml_save_data(&text, &bytes, &config, data->top, data->root, 0) != CYAML_OK)
		return -ENOMEM;
	errno = 0;
	bool written = fwrite(text, 1, bytes, out) == bytes && fflush(out) == 0;
	int result = written ? 0 : errno != 0 ? -errno : -EIO;
	free(text);
	return result;
}

const char *config_data_name(const struct config_place *place, size_t i)
{
	const cyaml_schema_field_t *field = place->value->mapping.fields;
	for (; field->key != NULL && i > 0; field++)
		i--;
	return field->key;
}

struct config_place config_data_key(const struct config_place *place, size_t i)
{
	struct config_place next = {.schema = place->schema->child[i],
	                            .value = &place->value->mapping.fields[i].value,
	                            .cell = &place->cells[i]};
	/* the analyzer does not know that a section that has keys has cells */
	if (next.schema->kind == SCHEMA_SECTION)
		// NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
		next.cells = next.cell->data;
	return next;
}

bool config_data_entry(const struct config_place *place, size_t i, struct config_place *entry)
{
	*entry = (struct config_place){.schema = place->schema};
	if (place->cell == NULL) /* the root has no entries */
		return false;
	if (place->schema->kind == SCHEMA_ENTRIES) {
		if (i >= place->cell->n)
			return false;
		entry->value = place->value->sequence.entry;
		entry->cells = (const struct config_cell *)place->cell->data + i * place->schema->n_children;
		return true;
	}
	if (place->schema->kind != SCHEMA_NAMED || config_data_name(place, i) == NULL)
		return false;
	entry->value = &place->value->mapping.fields[i].value;
	entry->cells = ((const struct config_cell *)place->cell->data)[i].data;
	return true;
}

static bool into_entry(const struct config_place *place, const struct config_step *step,
                       struct config_place *next)
{
	if (place->schema->kind == SCHEMA_ENTRIES)
		return step->kind == STEP_INDEX && config_data_entry(place, step->index, next);
	if (place->schema->kind != SCHEMA_NAMED || step->kind != STEP_NAME)
		return false;
	size_t i = 0;
	while (config_data_name(place, i) != NULL && strcmp(config_data_name(place, i), step->name) != 0)
		i++;
	return config_data_entry(place, i, next);
}

bool config_data_find(const struct config_data *data, const char *key, struct config_place *place)
{
	*place = (struct config_place){.schema = config_schema(), .value = data->top, .cells = data->root};
	for (;;) {
		struct config_step step =
		        config_step(&key, place->cells == NULL ? place->schema : NULL, false);
		if (step.kind == STEP_END)
			return true;
		if (place->cells == NULL) {
			struct config_place entry;
			if (!into_entry(place, &step, &entry))
				return false;
			*place = entry;
			continue;
		}
		long i = step.kind == STEP_NAME ? config_schema_index(place->schema, step.name) : -1;
		if (i < 0)
			return false;
		*place = config_data_key(place, (size_t)i);
	}
}

/* ---- all options of a kind ---- */

void config_data_each(const struct config_place *place, const char *key, enum config_type kind,
                      config_data_fn *each, void *argument)
{
	char below[CONFIG_PATH_MAX];
	if (place->cells == NULL && place->schema->kind == SCHEMA_OPTION) {
		if (place->schema->option->kind == kind && place->cell != NULL && place->cell->data != NULL)
			each(argument, key, place);
		return;
	}
	if (place->cells == NULL) { /* a section that the entry's kind does not have has no entries */
		struct config_place entry;
		for (size_t i = 0; config_data_entry(place, i, &entry); i++) {
			if (place->schema->kind == SCHEMA_ENTRIES)
				config_path_entry(below, key, i);
			else
				config_path_key(below, key, config_data_name(place, i));
			config_data_each(&entry, below, kind, each, argument);
		}
		return;
	}
	for (size_t i = 0; i < place->schema->n_children; i++) {
		struct config_place child = config_data_key(place, i);
		config_path_key(below, key, place->schema->child[i]->name);
		config_data_each(&child, below, kind, each, argument);
	}
}

/* libcyaml frees it with free, too. */
char *config_data_put(const struct config_place *place, char *text)
{
	struct config_cell *cell = (struct config_cell *)(uintptr_t)place->cell;
	char *old = cell->data;
	cell->data = text;
	return old;
}

/* ---- comparing ---- */

static bool same_text(const struct config_option *option, const char *a, const char *b)
{
	uint64_t a_value, b_value;
	if (a == NULL || b == NULL) /* not for this kind of entry */
		return a == b;
	if (strcmp(a, b) == 0)
		return true;
	return !config_value_is_text(option) && option->kind != CONFIG_LIST &&
	       config_value_parse(option, a, &a_value) == 0 && config_value_parse(option, b, &b_value) == 0 &&
	       a_value == b_value;
}

static bool same_option(const struct config_place *a, const struct config_place *b)
{
	if (a->cell == NULL || b->cell == NULL) /* every option has one */
		return a->cell == b->cell;
	if (a->schema->option->kind != CONFIG_LIST)
		return same_text(a->schema->option, a->cell->data, b->cell->data);
	if (a->cell->n != b->cell->n)
		return false;
	if (a->cell->data == NULL || b->cell->data == NULL) /* lists without items */
		return true;
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
	if (a->cells != NULL || b->cells != NULL) /* an entry of another kind has not all sections */
		return a->cells != NULL && b->cells != NULL && same_keys(a, b);
	return a->schema->kind == SCHEMA_OPTION ? same_option(a, b) : same_entries(a, b);
}
