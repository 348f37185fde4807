#include "config/complete.h"

#include <stdlib.h>
#include <string.h>

#include "shm/segment.h"
#include "base/address.h"
#include "config/kinds.h"
#include "config/value.h"

void config_path_key(char *path, const char *parent, const char *name)
{
	snprintf(path, CONFIG_PATH_MAX, "%.300s%s%.200s", parent, parent[0] == '\0' ? "" : ".", name);
}

void config_path_entry(char *path, const char *parent, size_t i)
{
	snprintf(path, CONFIG_PATH_MAX, "%.500s[%zu]", parent, i);
}

void config_complete_sections(struct config_node *tree, struct config_node *defaults)
{
	for (size_t i = 0; i < defaults->n_children;) {
		if (config_tree_find(tree, defaults->child[i]->key) != NULL) {
			i++;
			continue;
		}
		struct config_node *moved = config_tree_take(defaults, i);
		char *key = moved->key;
		moved->key = NULL;
		config_tree_add(tree, key, moved);
		free(key);
	}
}

/* ---- sections, defaults, lists of one ---- */

/* What is being completed, and where the walk is. */
struct completing {
	const struct config_origin *defaults;
	struct config_errors *errors;
	const struct inherits *inherits;  /* of the entry, or NULL */
	const struct config_node *parent; /* what its section has of it at home, or NULL */
};

/* A row INHERITS of a checks.def: see config/check.h. */
struct inherits {
	const char *list, *section, *either[2];
};

#define INHERITS(list, section, a, b) {list, section, {a, b}},
#define ITEMS(...)
#define ROOM(...)
#define ORDER(...)
#define NEEDS(...)
#define BARS(...)
#define NO_USER(...)
#define NAMED(...)
#define ONLY(...)

static const struct inherits inherits[] = {
#include <checks.list> /* generated: every checks.def of the tree (mk/tables.mk) */
        {NULL, NULL, {NULL, NULL}},
};

static const struct inherits *inherits_of(const char *list)
{
	for (size_t i = 0; inherits[i].list != NULL; i++)
		if (strcmp(inherits[i].list, list) == 0)
			return &inherits[i];
	return NULL;
}

/* The option's default as nodes: a scalar, or a list of the words of default_text. */
static struct config_node *default_node(const struct config_option *option,
                                        const struct config_origin *origin)
{
	if (option->kind != CONFIG_LIST)
		return config_tree_scalar(option->default_text, origin);
	struct config_node *list = config_tree_container(NODE_LIST, origin);
	for (const char *at = option->default_text; *at != '\0';) {
		size_t n = strcspn(at, " ");
		char *word = strndup(at, n);
		if (word == NULL)
			abort();
		config_tree_add(list, NULL, config_tree_scalar(word, origin));
		free(word);
		at += n + (at[n] == ' ');
	}
	return list;
}

static struct config_node *absent_node(const struct schema *schema, const struct config_origin *origin)
{
	switch (schema->kind) {
	case SCHEMA_OPTION:
		return default_node(schema->option, origin);
	case SCHEMA_ENTRIES:
		return config_tree_container(NODE_LIST, origin);
	default:
		return config_tree_container(NODE_MAP, origin);
	}
}

/* Wraps child i of parent into a list that takes its place. */
static struct config_node *wrap(struct config_node *parent, size_t i)
{
	struct config_node *child = parent->child[i];
	struct config_node *list = config_tree_container(NODE_LIST, &child->origin);
	list->key = child->key;
	child->key = NULL;
	parent->child[i] = list;
	config_tree_add(list, NULL, child);
	return list;
}

/* A value that the section has, for an entry that does not say it. Where it was written is told of
 * the section alone. */
static struct config_node *copy_of(const struct config_node *node, const struct config_origin *origin)
{
	if (node->kind == NODE_SCALAR)
		return config_tree_scalar(node->text, origin);
	struct config_node *list = config_tree_container(NODE_LIST, origin);
	for (size_t i = 0; i < node->n_children; i++)
		config_tree_add(list, NULL, config_tree_scalar(node->child[i]->text, origin));
	return list;
}

/* Whether a section of an entry says one of two keys that stand for each other. */
static bool says_either(const struct completing *completing, const struct schema *schema,
                        const struct config_node *node)
{
	const struct inherits *row = completing->inherits;
	return row != NULL && strcmp(schema->name, row->section) == 0 &&
	       (config_tree_find(node, row->either[0]) != NULL ||
	        config_tree_find(node, row->either[1]) != NULL);
}

/* What is absent of a node. said: its section says one of `either`, so it does not inherit the
 * other. */
static struct config_node *value_for(const struct completing *completing, const struct schema *key, bool said)
{
	const struct inherits *row = completing->inherits;
	const struct config_node *home = config_tree_find(completing->parent, key->name);
	bool is_either = row != NULL && said &&
	                 (strcmp(key->name, row->either[0]) == 0 || strcmp(key->name, row->either[1]) == 0);
	bool is_value = home != NULL && (home->kind == NODE_SCALAR || home->kind == NODE_LIST);
	if (key->kind == SCHEMA_OPTION && is_value && !is_either)
		return copy_of(home, completing->defaults);
	return absent_node(key, completing->defaults);
}

static void complete_keys(struct completing *completing, const struct schema *schema,
                          struct config_node *node, const char *path);

/* A built-in topic is there, at its place, with its own default. */
static void complete_built_in(struct completing *completing, struct config_node *topics,
                              const struct config_built_in_topic *built_in, size_t place)
{
	if (config_tree_find(topics, built_in->name) == NULL)
		config_tree_add(topics, built_in->name,
		                config_tree_container(NODE_MAP, completing->defaults));
	config_tree_bring_forward(topics, (size_t)config_tree_index(topics, built_in->name), place);
	struct config_node *topic = topics->child[place];
	if (topic->kind == NODE_NULL)
		topic->kind = NODE_MAP;
	if (topic->kind == NODE_MAP && config_tree_find(topic, "when_full") == NULL)
		config_tree_add(topic, "when_full",
		                config_tree_scalar(built_in->when_full, completing->defaults));
}

/* Built-in names first, in their order, so that they keep their places in shared memory whatever
 * the file says. */
static void complete_names(struct completing *completing, const struct schema *schema,
                           struct config_node *node, const char *path)
{
	size_t place = 0;
	if (strcmp(schema->name, "topics") == 0) {
		for (; config_built_in_topics[place].name != NULL; place++)
			complete_built_in(completing, node, &config_built_in_topics[place], place);
	}
	for (size_t i = place; i < node->n_children;) {
		if (segment_name_valid(node->child[i]->key)) {
			i++;
			continue;
		}
		struct config_node *taken = config_tree_take(node, i);
		config_error(completing->errors, &taken->origin, path,
		             "\"%.60s\" cannot be a name; allowed: " SHM_NAME_RULE, taken->key);
		config_tree_free(taken);
	}
	for (size_t i = 0; i < node->n_children; i++) {
		char below[CONFIG_PATH_MAX];
		config_path_key(below, path, node->child[i]->key);
		if (node->child[i]->kind == NODE_NULL)
			node->child[i]->kind = NODE_MAP;
		complete_keys(completing, schema, node->child[i], below);
	}
}

/* Items without a value are errors; neutral values take their places. */
static void complete_list(struct completing *completing, struct config_node *list, const char *path)
{
	for (size_t i = 0; list->kind == NODE_LIST && i < list->n_children; i++) {
		const struct config_origin origin = list->child[i]->origin;
		if (list->child[i]->kind != NODE_NULL)
			continue;
		config_error(completing->errors, &origin, path,
		             "item %zu has no value; allowed: a list of texts", i);
		struct config_node *neutral = config_tree_scalar("", &origin);
		neutral->refused = true;
		config_tree_replace(list, i, neutral);
	}
}

static void complete_option(struct completing *completing, const struct schema *schema,
                            struct config_node *parent, size_t i, const char *path)
{
	struct config_node *node = parent->child[i];
	uint64_t choice;
	/* To YAML the word null is no value; here it may be one. */
	if (node->kind == NODE_NULL && node->text != NULL && schema->option->kind == CONFIG_CHOICE &&
	    config_value_parse(schema->option, node->text, &choice) == 0)
		node->kind = NODE_SCALAR;
	if (node->kind == NODE_NULL) {
		const struct config_origin origin = node->origin;
		config_error(completing->errors, &origin, path, "has no value; allowed: a %s such as %s",
		             schema->option->type, schema->option->default_text);
		config_tree_replace(parent, i, default_node(schema->option, &origin));
	} else if (schema->option->kind == CONFIG_LIST) {
		if (node->kind == NODE_SCALAR)
			node = wrap(parent, i);
		complete_list(completing, node, path);
	}
}

static void complete_entries(struct completing *completing, const struct schema *schema,
                             struct config_node *parent, size_t i, const char *path)
{
	struct config_node *node = parent->child[i];
	if (node->kind == NODE_NULL)
		node->kind = NODE_LIST;
	if (node->kind == NODE_MAP)
		node = wrap(parent, i);
	const struct completing before = *completing;
	completing->inherits = inherits_of(path);
	completing->parent = completing->inherits != NULL ? parent : NULL;
	for (size_t k = 0; node->kind == NODE_LIST && k < node->n_children; k++) {
		char below[CONFIG_PATH_MAX];
		config_path_entry(below, path, k);
		if (node->child[k]->kind == NODE_NULL)
			node->child[k]->kind = NODE_MAP;
		complete_keys(completing, schema, node->child[k], below);
	}
	*completing = before;
}

/* All keys of the schema in one map, but those that an entry of this kind does not have. */
static void complete_keys(struct completing *completing, const struct schema *schema,
                          struct config_node *node, const char *path)
{
	if (node->kind != NODE_MAP)
		return;
	const struct config_node *home = completing->parent;
	bool said = says_either(completing, schema, node);
	for (size_t k = 0; k < schema->n_children; k++) {
		const struct schema *key = schema->child[k];
		if (config_tree_find(node, key->name) == NULL) {
			if (!config_kinds_take(path, node, key->name))
				continue;
			config_tree_add(node, key->name, value_for(completing, key, said));
		}
		size_t i = (size_t)config_tree_index(node, key->name);
		struct config_node *child = node->child[i];
		char below[CONFIG_PATH_MAX];
		config_path_key(below, path, key->name);
		if (key->kind == SCHEMA_OPTION) {
			complete_option(completing, key, node, i, below);
		} else if (key->kind == SCHEMA_ENTRIES) {
			complete_entries(completing, key, node, i, below);
		} else {
			if (child->kind == NODE_NULL)
				child->kind = NODE_MAP;
			if (key->kind == SCHEMA_NAMED && child->kind == NODE_MAP)
				complete_names(completing, key, child, below);
			completing->parent = config_tree_find(home, key->name);
			if (key->kind == SCHEMA_SECTION)
				complete_keys(completing, key, child, below);
			completing->parent = home;
		}
	}
}

void config_complete(struct config_node *tree, const struct config_origin *defaults,
                     struct config_errors *errors)
{
	struct completing completing = {.defaults = defaults, .errors = errors};
	complete_keys(&completing, config_schema(), tree, "");
}

/* ---- --set ---- */

/* Entries of one list that --set may make: far more than a machine can use. */
#define ENTRIES_MAX 1000

/* A value that is being set. */
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

/* Checked before anything is made along the key. */
static bool is_well_formed(const char *key)
{
	for (;;) {
		struct config_step step = config_step(&key, NULL, false);
		if (step.kind == STEP_END || step.kind == STEP_BAD)
			return step.kind == STEP_END;
	}
}

/* Follows the key and makes what is missing. Returns the node that is to become the value, or
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
