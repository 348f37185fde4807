#include "config/refusal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/word.h"
#include "config/complete.h"
#include "config/value.h"

#define UNEXPECTED_KEY "Load: Unexpected key: "

void config_refusal_log(cyaml_log_t level, void *context, const char *format, va_list arguments)
{
	struct config_refusal *refusal = context;
	char line[sizeof refusal->message];
	(void)level;
	vsnprintf(line, sizeof line, format, arguments);
	line[strcspn(line, "\n")] = '\0';
	if (refusal->message[0] == '\0') {
		memcpy(refusal->message, line, sizeof line);
		return;
	}
	if (strcmp(line, "Load: Backtrace:") == 0)
		return;
	struct config_refusal_step step = {0};
	if (sscanf(line, "  in mapping field '%200[^']'", step.name) != 1 &&
	    sscanf(line, "  in sequence entry '%zu'", &step.index) != 1 &&
	    (strncmp(line, "  in mapping (", 14) != 0 ||
	     sscanf(refusal->message, UNEXPECTED_KEY "%200[^\n]", step.name) != 1))
		refusal->failed = true;
	if (step.name[0] == '\0' && step.index-- == 0)
		refusal->failed = true;
	if (refusal->n_steps < CONFIG_DEPTH_MAX)
		refusal->step[refusal->n_steps++] = step;
	else
		refusal->failed = true;
}

static const char *kind_name(enum config_node_kind kind)
{
	switch (kind) {
	case NODE_NULL:
		return "nothing";
	case NODE_SCALAR:
		return "a single value";
	case NODE_LIST:
		return "a list";
	case NODE_MAP:
		return "a section of keys";
	}
	return "";
}

static void join_names(const struct schema *schema, char *buffer, size_t size)
{
	size_t used = 0;
	buffer[0] = '\0';
	for (size_t i = 0; i < schema->n_children && used < size; i++)
		used += (size_t)snprintf(buffer + used, size - used, "%s%s", i > 0 ? ", " : "",
		                         schema->child[i]->name);
}

/* A key that lies elsewhere under the same name: "commit_interval" at the top is meant as
 * "tally.commit_interval". */
static const char *key_elsewhere(const char *name)
{
	size_t n;
	const struct config_option *option = config_options(&n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(config_value_name(&option[i]), name) == 0)
			return option[i].key;
	return NULL;
}

static void report_key(const struct schema *schema, const struct config_node *node, const char *path,
                       struct config_errors *errors)
{
	char allowed[400];
	join_names(schema, allowed, sizeof allowed);
	const char **names = config_schema_names(schema);
	const char *meant = word_nearest(node->key, names, schema->n_children);
	if (meant == NULL)
		meant = key_elsewhere(node->key);
	config_error(errors, &node->origin, path, "unknown key%s%s%s; allowed: %s",
	             meant != NULL ? ", did you mean " : "", meant != NULL ? meant : "",
	             meant != NULL ? "?" : "", allowed);
	free(names);
}

static void report_kind(const struct schema *schema, bool is_entry, const struct config_node *node,
                        const char *path, struct config_errors *errors)
{
	char allowed[400];
	const char *wanted = "a section of keys";
	if (schema->kind == SCHEMA_OPTION) {
		wanted = schema->option->kind == CONFIG_LIST && !is_entry ? "a list" : "a single value";
		if (is_entry)
			snprintf(allowed, sizeof allowed, "texts such as %s", schema->option->default_text);
		else
			config_value_allowed(schema->option, allowed, sizeof allowed);
	} else {
		join_names(schema, allowed, sizeof allowed);
		if (schema->kind == SCHEMA_ENTRIES && !is_entry)
			wanted = "a list of sections";
	}
	config_error(errors, &node->origin, path, "is %s, must be %s; allowed: %s", kind_name(node->kind),
	             wanted, allowed);
}

/* How far the steps have been followed. */
struct way {
	const struct schema *schema; /* NULL beyond an unknown key */
	const struct schema *holder; /* what was left by the last step */
	bool is_entry;               /* the last step went to an entry of schema, not to schema */
	struct config_node *parent;
	size_t child; /* of parent */
	char path[CONFIG_PATH_MAX];
};

/* One step. Returns false when it leads nowhere. */
static bool go(struct way *way, struct config_node *node, const struct config_refusal_step *step)
{
	size_t used = strlen(way->path);
	long i = -1;
	if (step->name[0] == '\0') {
		i = step->index < node->n_children ? (long)step->index : -1;
		snprintf(way->path + used, sizeof way->path - used, "[%zu]", step->index);
	} else {
		i = config_tree_index(node, step->name);
		snprintf(way->path + used, sizeof way->path - used, "%s%s", used > 0 ? "." : "", step->name);
	}
	if (i < 0 || way->schema == NULL)
		return false;
	way->holder = way->schema;
	bool holds = way->schema->kind == SCHEMA_ENTRIES || way->schema->kind == SCHEMA_NAMED ||
	             way->schema->kind == SCHEMA_OPTION;
	if (holds && !way->is_entry) {
		way->is_entry = true;
	} else {
		long k = config_schema_index(way->schema, step->name);
		way->schema = k < 0 ? NULL : way->schema->child[k];
		way->is_entry = false;
	}
	way->parent = node;
	way->child = (size_t)i;
	return true;
}

bool config_refusal_take_out(const struct config_refusal *refusal, struct config_node *tree,
                             struct config_errors *errors)
{
	struct way way = {.schema = config_schema()};
	struct config_node *node = tree;
	if (refusal->failed || refusal->n_steps == 0)
		return false;
	for (size_t i = refusal->n_steps; i > 0; i--) {
		if (!go(&way, node, &refusal->step[i - 1]))
			return false;
		node = way.parent->child[way.child];
	}
	if (way.schema == NULL)
		report_key(way.holder, node, way.path, errors);
	else
		report_kind(way.schema, way.is_entry, node, way.path, errors);
	if (way.parent->kind == NODE_LIST) {
		bool is_option = way.schema != NULL && way.schema->kind == SCHEMA_OPTION;
		struct config_node *neutral = is_option ? config_tree_scalar("", &node->origin)
		                                        : config_tree_container(NODE_MAP, &node->origin);
		neutral->refused = true;
		config_tree_replace(way.parent, way.child, neutral);
	} else {
		config_tree_free(config_tree_take(way.parent, way.child));
	}
	return true;
}
