#include <string.h>

#include "base/address.h"
#include "config/complete.h"

/* Entries of one list that --set may make; far above what a machine can use. */
#define ENTRIES_MAX 1000

/* A key on its way into the tree. */
struct setting {
	const struct config_origin *origin;
	struct config_errors *errors;
	const char *key; /* whole */
};

static struct config_node *child_named(const struct setting *setting, struct config_node *node,
                                       const char *name)
{
	if (node->kind == NODE_NULL)
		node->kind = NODE_MAP;
	if (node->kind != NODE_MAP) {
		config_error(setting->errors, setting->origin, "",
		             "\"%.60s\" cannot be set: what holds it is %s", name,
		             node->kind == NODE_LIST ? "a list; allowed: its entries [0], [1] and so on"
		                                     : "a single value, not a section");
		return NULL;
	}
	if (config_tree_find(node, name) == NULL)
		config_tree_add(node, name, config_tree_container(NODE_NULL, setting->origin));
	return config_tree_find(node, name);
}

/* A single value or section stands for a list of one; [n] right after the last one appends. */
static struct config_node *child_at(const struct setting *setting, struct config_node *node, size_t index)
{
	if (node->kind == NODE_NULL)
		node->kind = NODE_LIST;
	if (node->kind != NODE_LIST) {
		struct config_node *only = config_alloc(sizeof *only);
		*only = *node;
		only->key = NULL;
		*node = (struct config_node){.kind = NODE_LIST, .key = node->key, .origin = node->origin};
		config_tree_add(node, NULL, only);
	}
	if (index > node->n_children || index >= ENTRIES_MAX) {
		config_error(setting->errors, setting->origin, "",
		             "there is no entry [%zu]; allowed: [0] to [%zu], the last to append", index,
		             node->n_children);
		return NULL;
	}
	if (index == node->n_children)
		config_tree_add(node, NULL, config_tree_container(NODE_NULL, setting->origin));
	return node->child[index];
}

static const struct schema *schema_below(const struct schema *schema, const struct config_step *step,
                                         bool *in_entry)
{
	if (schema == NULL)
		return NULL;
	bool holds_entries = schema->kind == SCHEMA_ENTRIES || schema->kind == SCHEMA_NAMED;
	if (holds_entries && !*in_entry) {
		*in_entry = true;
		return schema->kind == SCHEMA_ENTRIES && step->kind != STEP_INDEX ? NULL : schema;
	}
	*in_entry = false;
	long i = step->kind == STEP_NAME ? config_schema_index(schema, step->name) : -1;
	return i < 0 ? NULL : schema->child[i];
}

static struct config_node *bad_key(const struct setting *setting)
{
	config_error(
	        setting->errors, setting->origin, "",
	        "the key is not well formed; allowed: names with dots, and [n] for the n-th entry of a list, such as ingest.udp[0].listen");
	return NULL;
}

/* Looked at before anything is made on the way. */
static bool is_well_formed(const char *key)
{
	for (;;) {
		struct config_step step = config_step(&key, NULL, false);
		if (step.kind == STEP_END || step.kind == STEP_BAD)
			return step.kind == STEP_END;
	}
}

/* Walks along the key, making what is not there. Returns the node that is to become the value, or
 * NULL with an error. */
static struct config_node *make_way(const struct setting *setting, struct config_node *tree, bool scalar)
{
	const struct schema *schema = config_schema();
	struct config_node *node = tree;
	if (!is_well_formed(setting->key))
		return bad_key(setting);
	bool in_entry = false;
	const char *key = setting->key;
	while (node != NULL) {
		bool at_names = schema != NULL && schema->kind == SCHEMA_NAMED && !in_entry;
		struct config_step step = config_step(&key, at_names ? schema : NULL, scalar);
		if (step.kind == STEP_END)
			return node;
		if (step.kind == STEP_BAD)
			return bad_key(setting); /* a name that is too long */
		schema = schema_below(schema, &step, &in_entry);
		node = step.kind == STEP_INDEX ? child_at(setting, node, step.index)
		                               : child_named(setting, node, step.name);
	}
	return NULL;
}

static void put(const struct setting *setting, struct config_node *tree, struct config_node *value)
{
	struct config_node *place = make_way(setting, tree, value->kind == NODE_SCALAR);
	if (place == NULL) {
		config_tree_free(value);
		return;
	}
	/* The place keeps its name and its parent; all else comes from value. */
	struct config_node old = *place;
	*place = *value;
	place->key = old.key;
	*value = old;
	value->key = NULL;
	config_tree_free(value);
}

void config_set_text(struct config_node *tree, const char *key, const char *text,
                     const struct config_origin *origin, struct config_errors *errors)
{
	struct setting setting = {.origin = origin, .errors = errors, .key = key};
	put(&setting, tree, config_tree_scalar(text, origin));
}

void config_set(struct config_node *tree, const char *set, const struct config_origin *origin,
                struct config_errors *errors)
{
	const char *equals = strchr(set, '=');
	char key[CONFIG_PATH_MAX];
	size_t key_bytes = equals == NULL ? 0 : (size_t)(equals - set);
	if (key_bytes == 0 || key_bytes >= sizeof key) {
		config_error(errors, origin, "", "allowed: KEY=VALUE, such as tally.commit_interval=500ms");
		return;
	}
	memcpy(key, set, key_bytes);
	key[key_bytes] = '\0';
	const char *text = equals + 1;
	struct sockaddr_storage address;
	socklen_t length;
	/* "[::]:4002" would begin a YAML list. */
	struct config_node *value = address_parse(&address, &length, text) == 0
	                                    ? config_tree_scalar(text, origin)
	                                    : config_tree_parse(text, strlen(text), origin, errors);
	if (value == NULL)
		return;
	struct setting setting = {.origin = origin, .errors = errors, .key = key};
	put(&setting, tree, value);
}
