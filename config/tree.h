/* A YAML document as a tree that remembers where each value was written.
 *
 *     ingest:                           map
 *       udp:                              "ingest": map
 *         - listen: ["[::]:4002"]           "udp": list
 *           format: raw                       map
 *                                               "listen": list of a scalar; "format": scalar "raw", line 4
 *
 * Overrides are applied to it, and errors take their lines from it. It is read with libyaml; an
 * alias becomes a copy. A hostile document meets limits (CONFIG_*_MAX) and gets an error; it cannot
 * make the tree large or deep. All text in a tree is UTF-8 without control
 * characters.
 */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include <stdio.h>

#include "config/error.h"

#define CONFIG_DOCUMENT_MAX (128u * 1024u) /* bytes of a file or of one --set */
#define CONFIG_NODES_MAX    10000u         /* nodes of one document, aliases copied */
#define CONFIG_TEXT_MAX     (512u * 1024u) /* bytes of all its scalars, aliases copied */
#define CONFIG_DEPTH_MAX    16u
#define CONFIG_KEY_MAX      200u /* bytes of a key; libyaml bounds the escaped form by 1024 */

enum config_node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct config_node {
	enum config_node_kind kind;
	char *key;  /* in a map, else NULL */
	char *text; /* of a scalar, and of a NODE_NULL that was written: "", "~", "null" */
	struct config_origin origin;
	struct config_node **child;
	size_t n_children, room;
	/* takes the place of something that was reported, so that its neighbours keep their
	 * numbers */
	bool refused;
};

/* Zeroed memory. Aborts when there is none: a program without the memory for its configuration
 * cannot go on. */
void *config_alloc(size_t bytes);

/* True for printable UTF-8, without control characters and line breaks of any kind: what all text
 * in a tree is. */
bool config_tree_is_plain(const unsigned char *text, size_t bytes);

/* Parses one document. An empty one is NODE_NULL. Returns NULL, with errors added, when it is not
 * YAML or meets a limit. A key or value that cannot be used (a duplicate key, a control character)
 * adds an error and is left out. origin gives source and rank; its line is 1, or 0 when lines mean
 * nothing. */
struct config_node *config_tree_parse(const char *text, size_t bytes, const struct config_origin *origin,
                                      struct config_errors *errors);

void config_tree_free(struct config_node *node);

/* New nodes; text and key are copied. */
struct config_node *config_tree_scalar(const char *text, const struct config_origin *origin);
struct config_node *config_tree_container(enum config_node_kind kind, const struct config_origin *origin);

/* Appends child to a list, or to a map under key (NULL for a list); an older child of that key is
 * replaced. */
void config_tree_add(struct config_node *parent, const char *key, struct config_node *child);

/* Puts child in the place of child i of parent and frees the old one. */
void config_tree_replace(struct config_node *parent, size_t i, struct config_node *child);

/* Takes child i out and gives it to the caller, who frees it. */
struct config_node *config_tree_take(struct config_node *parent, size_t i);

/* Moves child `from` forward to place `to` (to <= from); those between move back by one. */
void config_tree_bring_forward(struct config_node *parent, size_t from, size_t to);

/* Index of the key in a map, or -1 (also when map is NULL or not a map). */
long config_tree_index(const struct config_node *map, const char *key);

/* The child under key, or NULL (likewise). */
struct config_node *config_tree_find(const struct config_node *map, const char *key);

/* Writes the tree as YAML in flow style with every scalar in double quotes. */
void config_tree_write(const struct config_node *node, FILE *out);

#endif
