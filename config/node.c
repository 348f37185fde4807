#include "config/tree.h"

#include <stdlib.h>
#include <string.h>

void *config_alloc(size_t bytes)
{
	void *memory = calloc(1, bytes);
	if (memory == NULL)
		abort();
	return memory;
}

static char *copy_text(const char *text)
{
	size_t bytes = strlen(text) + 1;
	return memcpy(config_alloc(bytes), text, bytes);
}

struct config_node *config_tree_container(enum config_node_kind kind, const struct config_origin *origin)
{
	struct config_node *node = config_alloc(sizeof *node);
	node->kind = kind;
	node->origin = *origin;
	return node;
}

struct config_node *config_tree_scalar(const char *text, const struct config_origin *origin)
{
	struct config_node *node = config_tree_container(NODE_SCALAR, origin);
	node->text = copy_text(text);
	return node;
}

void config_tree_free(struct config_node *node)
{
	if (node == NULL)
		return;
	for (size_t i = 0; i < node->n_children; i++)
		config_tree_free(node->child[i]);
	free(node->child);
	free(node->key);
	free(node->text);
	free(node);
}

void config_tree_replace(struct config_node *parent, size_t i, struct config_node *child)
{
	free(child->key);
	child->key = parent->child[i]->key;
	parent->child[i]->key = NULL;
	config_tree_free(parent->child[i]);
	parent->child[i] = child;
}

void config_tree_add(struct config_node *parent, const char *key, struct config_node *child)
{
	long old = key == NULL ? -1 : config_tree_index(parent, key);
	if (old >= 0) {
		config_tree_replace(parent, (size_t)old, child);
		return;
	}
	if (parent->n_children == parent->room) {
		size_t room = parent->room == 0 ? 4 : parent->room * 2;
		parent->child = reallocarray(parent->child, room, sizeof(struct config_node *));
		if (parent->child == NULL)
			abort();
		parent->room = room;
	}
	free(child->key);
	child->key = key == NULL ? NULL : copy_text(key);
	parent->child[parent->n_children++] = child;
}

struct config_node *config_tree_take(struct config_node *parent, size_t i)
{
	struct config_node *taken = parent->child[i];
	parent->n_children--;
	for (size_t k = i; k < parent->n_children; k++)
		parent->child[k] = parent->child[k + 1];
	return taken;
}

void config_tree_bring_forward(struct config_node *parent, size_t from, size_t to)
{
	struct config_node *moved = parent->child[from];
	for (size_t i = from; i > to; i--)
		parent->child[i] = parent->child[i - 1];
	parent->child[to] = moved;
}

long config_tree_index(const struct config_node *map, const char *key)
{
	for (size_t i = 0; map != NULL && map->kind == NODE_MAP && i < map->n_children; i++)
		if (strcmp(map->child[i]->key, key) == 0)
			return (long)i;
	return -1;
}

struct config_node *config_tree_find(const struct config_node *map, const char *key)
{
	long i = config_tree_index(map, key);
	return i < 0 ? NULL : map->child[i];
}

/* A tree holds no control characters, so quotes and backslashes are all there is to escape. */
static void write_quoted(const char *text, FILE *out)
{
	putc('"', out);
	for (; *text != '\0'; text++) {
		if (*text == '"' || *text == '\\')
			putc('\\', out);
		putc(*text, out);
	}
	putc('"', out);
}

void config_tree_write(const struct config_node *node, FILE *out)
{
	switch (node->kind) {
	case NODE_NULL:
		fputs("~", out);
		break;
	case NODE_SCALAR:
		write_quoted(node->text, out);
		break;
	case NODE_LIST:
	case NODE_MAP:
		putc(node->kind == NODE_MAP ? '{' : '[', out);
		for (size_t i = 0; i < node->n_children; i++) {
			if (i > 0)
				fputs(",\n", out);
			if (node->kind == NODE_MAP) {
				write_quoted(node->child[i]->key, out);
				fputs(": ", out);
			}
			config_tree_write(node->child[i], out);
		}
		putc(node->kind == NODE_MAP ? '}' : ']', out);
		break;
	}
}
