#include "stage/config_check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/instance.h"
#include "stage/address.h"
#include "stage/config_complete.h"
#include "stage/config_value.h"

static void check_option(const struct schema *schema, const struct config_node *node, const char *path,
                         struct config_errors *errors)
{
	struct config_why why;
	if (node->kind == NODE_SCALAR && config_value_check(schema->option, node->text, &why) != 0)
		config_error(errors, &node->origin, path, "%s", why.text);
	if (node->kind == NODE_LIST && config_value_check_items(schema->option, node->n_children, &why) != 0)
		config_error(errors, &node->origin, path, "%s", why.text);
}

static void check_keys(const struct schema *schema, const struct config_node *node, const char *path,
                       struct config_errors *errors);

static void check_entries(const struct schema *schema, const struct config_node *node, const char *path,
                          struct config_errors *errors)
{
	for (size_t i = 0; i < node->n_children; i++) {
		char below[CONFIG_PATH_MAX];
		if (schema->kind == SCHEMA_ENTRIES)
			config_path_entry(below, path, i);
		else
			config_path_key(below, path, node->child[i]->key);
		check_keys(schema, node->child[i], below, errors);
	}
}

static void check_keys(const struct schema *schema, const struct config_node *node, const char *path,
                       struct config_errors *errors)
{
	for (size_t i = 0; i < schema->n_children; i++) {
		const struct schema *key = schema->child[i];
		const struct config_node *child = config_tree_find(node, key->name);
		char below[CONFIG_PATH_MAX];
		config_path_key(below, path, key->name);
		if (child == NULL)
			continue; /* taken out, with an error */
		if (key->kind == SCHEMA_OPTION)
			check_option(key, child, below, errors);
		else if (key->kind == SCHEMA_SECTION)
			check_keys(key, child, below, errors);
		else
			check_entries(key, child, below, errors);
	}
}

/* ---- what values say together ---- */

/* One listen address and where it was written. */
struct listener {
	struct sockaddr_storage address;
	const struct config_node *node;
	char path[CONFIG_PATH_MAX];
};

struct listeners {
	struct listener *listener;
	size_t n;
};

static void check_address(struct listeners *listeners, const struct config_node *node, const char *path,
                          struct config_errors *errors)
{
	struct listener found = {.node = node};
	socklen_t length;
	if (address_parse(&found.address, &length, node->text) != 0) {
		config_error(errors, &node->origin, path,
		             "\"%.80s\" is not an address; allowed: %s, port 0 to 65535", node->text,
		             ADDRESS_FORMS);
		return;
	}
	for (size_t i = 0; i < listeners->n; i++) {
		const struct listener *other = &listeners->listener[i];
		if (!address_overlaps(&found.address, &other->address))
			continue;
		config_error(errors, &node->origin, path,
		             "\"%.80s\" takes what %s (\"%.80s\") takes; allowed: each address once, [::] "
		             "standing "
		             "for all",
		             node->text, other->path, other->node->text);
		return;
	}
	listeners->listener = reallocarray(listeners->listener, listeners->n + 1, sizeof found);
	if (listeners->listener == NULL)
		abort();
	snprintf(found.path, sizeof found.path, "%s", path);
	listeners->listener[listeners->n++] = found;
}

static void check_listeners(const struct config_node *tree, struct config_errors *errors)
{
	const struct config_node *udp = config_tree_find(config_tree_find(tree, "ingest"), "udp");
	struct listeners listeners = {0};
	for (size_t i = 0; udp != NULL && i < udp->n_children; i++) {
		const struct config_node *listen = config_tree_find(udp->child[i], "listen");
		for (size_t k = 0; listen != NULL && k < listen->n_children && !config_errors_full(errors);
		     k++) {
			char path[CONFIG_PATH_MAX];
			snprintf(path, sizeof path, "ingest.udp[%zu].listen[%zu]", i, k);
			if (listen->child[k]->refused)
				continue;
			check_address(&listeners, listen->child[k], path, errors);
		}
	}
	free(listeners.listener);
}

static void check_instance(const struct config_node *tree, struct config_errors *errors)
{
	const struct config_node *node = config_tree_find(tree, "instance");
	char directory[256];
	if (node != NULL && node->text[0] != '\0' && strlen(node->text) < SHM_NAME_MAX &&
	    segment_directory(directory, sizeof directory, node->text) == -EINVAL)
		config_error(
		        errors, &node->origin, "instance",
		        "\"%.60s\" cannot be a name; allowed: 1 to %u of A-Z a-z 0-9 . _ -, no dot first",
		        node->text, SHM_NAME_MAX - 1);
}

static void check_topics(const struct config_node *tree, struct config_errors *errors)
{
	const struct config_node *topics = config_tree_find(tree, "topics");
	if (topics != NULL && topics->n_children > INSTANCE_TOPICS_MAX)
		config_error(errors, &topics->child[INSTANCE_TOPICS_MAX]->origin, "topics",
		             "%zu topics, the built-in ones counted; allowed: at most %u", topics->n_children,
		             INSTANCE_TOPICS_MAX);
}

/* The smaller of two durations must not be greater; parsed here because both have been checked only one by one. */
static void check_backoff(const struct config_node *tree, struct config_errors *errors)
{
	const struct config_node *least = config_tree_find(tree, "restart_backoff");
	const struct config_node *most = config_tree_find(tree, "restart_backoff_max");
	const struct schema *schema = config_schema();
	long i = config_schema_index(schema, "restart_backoff");
	uint64_t least_ns, most_ns;
	if (i < 0 || least == NULL || most == NULL ||
	    config_value_parse(schema->child[i]->option, least->text, &least_ns) != 0 ||
	    config_value_parse(schema->child[i]->option, most->text, &most_ns) != 0)
		return;
	if (least_ns <= most_ns)
		return;
	/* One of the two may be a default, which nobody wrote. */
	bool blame_least = least->origin.rank > most->origin.rank;
	config_error(errors, blame_least ? &least->origin : &most->origin,
	             blame_least ? "restart_backoff" : "restart_backoff_max",
	             "the first wait, %.40s, is longer than the longest, %.40s; allowed: as long or shorter",
	             least->text, most->text);
}

void config_check(const struct config_node *tree, struct config_errors *errors)
{
	check_keys(config_schema(), tree, "", errors);
	check_instance(tree, errors);
	check_listeners(tree, errors);
	check_topics(tree, errors);
	check_backoff(tree, errors);
}
