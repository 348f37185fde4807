#include "config/schema.h"

#include <stdlib.h>
#include <string.h>

static struct schema *new_schema(enum schema_kind kind, const char *name, size_t name_bytes)
{
	struct schema *schema = config_alloc(sizeof *schema);
	schema->kind = kind;
	schema->name = memcpy(config_alloc(name_bytes + 1), name, name_bytes);
	return schema;
}

static struct schema *add_child(struct schema *parent, enum schema_kind kind, const char *name,
                                size_t name_bytes)
{
	for (size_t i = 0; i < parent->n_children; i++)
		if (strncmp(parent->child[i]->name, name, name_bytes) == 0 &&
		    parent->child[i]->name[name_bytes] == '\0')
			return parent->child[i];
	struct schema *child = new_schema(kind, name, name_bytes);
	parent->child = reallocarray(parent->child, parent->n_children + 1, sizeof(struct schema *));
	if (parent->child == NULL)
		abort();
	parent->child[parent->n_children++] = child;
	return child;
}

static void add_option(struct schema *root, const struct config_option *option)
{
	struct schema *at = root;
	for (const char *key = option->key; *key != '\0';) {
		size_t n = strcspn(key, ".[");
		const char *after = key + n;
		enum schema_kind kind = SCHEMA_SECTION;
		if (*after == '\0')
			kind = SCHEMA_OPTION;
		else if (strncmp(after, "[].", 3) == 0)
			kind = SCHEMA_ENTRIES, after += 3;
		else if (strncmp(after, ".*.", 3) == 0)
			kind = SCHEMA_NAMED, after += 3;
		else
			after++;
		at = add_child(at, kind, key, n);
		key = after;
	}
	at->option = option;
}

const struct schema *config_schema(void)
{
	static struct schema *root;
	if (root == NULL) {
		size_t n;
		const struct config_option *option = config_options(&n);
		root = new_schema(SCHEMA_SECTION, "", 0);
		for (size_t i = 0; i < n; i++)
			add_option(root, &option[i]);
	}
	return root;
}

long config_schema_index(const struct schema *schema, const char *name)
{
	for (size_t i = 0; i < schema->n_children; i++)
		if (strcmp(schema->child[i]->name, name) == 0)
			return (long)i;
	return -1;
}

const char **config_schema_names(const struct schema *schema)
{
	const char **names = config_alloc((schema->n_children + 1) * sizeof *names);
	for (size_t i = 0; i < schema->n_children; i++)
		names[i] = schema->child[i]->name;
	return names;
}

static struct config_step index_step(const char **key)
{
	const char *digits = *key + 1;
	size_t n = strspn(digits, "0123456789");
	if (n == 0 || n > 6 || digits[n] != ']')
		return (struct config_step){.kind = STEP_BAD};
	const char *after = digits + n + 1;
	if (*after == '.' && after[1] != '\0')
		after++;
	else if (*after != '\0' && *after != '[')
		return (struct config_step){.kind = STEP_BAD};
	*key = after;
	return (struct config_step){.kind = STEP_INDEX, .index = strtoul(digits, NULL, 10)};
}

/* Bytes of the entry's name at the start of key. */
static size_t name_of_entry(const char *key, const struct schema *schema, bool to_option)
{
	const char *dot = strrchr(key, '.');
	if (dot == NULL || dot == key)
		return strlen(key);
	return to_option || config_schema_index(schema, dot + 1) >= 0 ? (size_t)(dot - key) : strlen(key);
}

struct config_step config_step(const char **key, const struct schema *schema, bool to_option)
{
	struct config_step step = {.kind = STEP_NAME};
	if (**key == '\0')
		return (struct config_step){.kind = STEP_END};
	if (**key == '[')
		return index_step(key);
	size_t n = schema != NULL && schema->kind == SCHEMA_NAMED ? name_of_entry(*key, schema, to_option)
	                                                          : strcspn(*key, ".[");
	if (n == 0 || n > CONFIG_KEY_MAX)
		return (struct config_step){.kind = STEP_BAD};
	memcpy(step.name, *key, n);
	const char *after = *key + n;
	if (*after == '.') {
		after++;
		if (*after == '\0' || *after == '.' || *after == '[')
			return (struct config_step){.kind = STEP_BAD};
	}
	*key = after;
	return step;
}

const struct config_node *config_tree_at(const struct config_node *tree, const char *key)
{
	while (tree != NULL) {
		struct config_step step = config_step(&key, NULL, false);
		if (step.kind == STEP_END)
			return tree;
		if (step.kind == STEP_INDEX && tree->kind == NODE_LIST && step.index < tree->n_children)
			tree = tree->child[step.index];
		else
			tree = step.kind == STEP_NAME ? config_tree_find(tree, step.name) : NULL;
	}
	return NULL;
}
