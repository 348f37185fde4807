#include "config/kinds.h"

#include <string.h>

#include "config/schema.h"
#include "config/value.h"

/* A row of a checks.def: these keys are for these kinds. */
struct only {
	const char *list, *choice; /* "sinks", the option that tells the kinds apart */
	const char *kinds, *keys;  /* words */
};

#define ONLY(list, choice, kinds, keys) {list, choice, kinds, keys},
#define ITEMS(...)
#define ROOM(...)
#define ORDER(...)
#define NEEDS(...)
#define BARS(...)
#define NO_USER(...)
#define NAMED(...)
#define INHERITS(...)

static const struct only rows[] = {
#include <checks.list> /* generated: every checks.def of the tree (mk/tables.mk) */
        {NULL, NULL, NULL, NULL},
};

static bool among(const char *words, const char *word)
{
	size_t n = strlen(word);
	for (; *words != '\0'; words += strcspn(words, " "), words += strspn(words, " "))
		if (strcspn(words, " ") == n && memcmp(words, word, n) == 0)
			return true;
	return false;
}

/* "sinks[3]" is an entry of "sinks". */
static bool is_entry_of(const char *path, const char *list)
{
	size_t n = strlen(list);
	return strncmp(path, list, n) == 0 && path[n] == '[' && strchr(path + n, ']') != NULL &&
	       strchr(path + n, ']')[1] == '\0';
}

/* The list's section of the schema; no row names one that lies below another list. */
static const struct schema *schema_of(const char *list)
{
	const struct schema *schema = config_schema();
	while (*list != '\0') {
		struct config_step step = config_step(&list, NULL, false);
		long i = step.kind == STEP_NAME ? config_schema_index(schema, step.name) : -1;
		if (i < 0)
			return NULL;
		schema = schema->child[i];
	}
	return schema;
}

/* What the entry says it is, or the default; NULL when it is none of the choices. */
static const char *kind_of(const struct only *row, const struct config_node *entry)
{
	const struct schema *schema = schema_of(row->list);
	long i = schema == NULL ? -1 : config_schema_index(schema, row->choice);
	const struct config_node *node = config_tree_find(entry, row->choice);
	if (i < 0)
		return NULL;
	const struct config_option *option = schema->child[i]->option;
	const char *kind = node == NULL ? option->default_text : node->text == NULL ? "" : node->text;
	return among(option->choices, kind) ? kind : NULL;
}

/* The row that keeps the key from the entry, or NULL. */
static const struct only *against(const char *path, const struct config_node *entry, const char *key,
                                  const char **kind)
{
	for (const struct only *row = rows; row->list != NULL; row++) {
		if (!is_entry_of(path, row->list) || !among(row->keys, key))
			continue;
		*kind = kind_of(row, entry);
		return *kind == NULL || among(row->kinds, *kind) ? NULL : row;
	}
	return NULL;
}

bool config_kinds_take(const char *path, const struct config_node *entry, const char *key)
{
	const char *kind;
	return against(path, entry, key, &kind) == NULL;
}

char *config_kinds_explain(const char *path, const struct config_node *entry, const char *key, char *buffer,
                           size_t size)
{
	const char *kind = "";
	const struct only *row = against(path, entry, key, &kind);
	const struct schema *schema = row == NULL ? NULL : schema_of(row->list);
	size_t used = 0;
	buffer[0] = '\0';
	if (schema == NULL)
		return buffer;
	used = (size_t)snprintf(buffer, size,
	                        "is for kind %s, this entry is of kind %s; allowed:", row->kinds, kind);
	for (size_t i = 0, n = 0; i < schema->n_children && used < size; i++)
		if (config_kinds_take(path, entry, schema->child[i]->name))
			used += (size_t)snprintf(buffer + used, size - used, "%s %s", n++ == 0 ? "" : ",",
			                         schema->child[i]->name);
	return buffer;
}
