#include "config/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/word.h"
#include "shm/instance.h"
#include "base/address.h"
#include "config/complete.h"
#include "config/kinds.h"
#include "config/value.h"

/* What has no default and was not written is missing where its section, parent, stands. */
static void check_option(const struct schema *schema, const struct config_node *node,
                         const struct config_node *parent, const char *path, struct config_errors *errors)
{
	static const char empty[] = "is empty";
	struct config_why why = {""};
	if (node->kind == NODE_SCALAR)
		(void)config_value_check(schema->option, node->text, &why);
	if (node->kind == NODE_LIST)
		(void)config_value_check_items(schema->option, node->n_children, &why);
	if (why.text[0] == '\0')
		return;
	bool missing = strcmp(node->origin.source, CONFIG_SOURCE_DEFAULT) == 0 &&
	               strncmp(why.text, empty, strlen(empty)) == 0;
	if (missing)
		config_error(errors, &parent->origin, path, "is missing%s", why.text + strlen(empty));
	else
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
			continue; /* taken out, with an error, or not for this kind */
		if (!config_kinds_take(path, node, key->name)) {
			char why[600];
			config_error(errors, &child->origin, below, "%s",
			             config_kinds_explain(path, node, key->name, why, sizeof why));
			continue;
		}
		if (key->kind == SCHEMA_OPTION)
			check_option(key, child, node, below, errors);
		else if (key->kind == SCHEMA_SECTION)
			check_keys(key, child, below, errors);
		else
			check_entries(key, child, below, errors);
	}
}

/* ---- what values say together ---- */

/* Takes an address, returns 0, -EINVAL or -ENAMETOOLONG (address.h). */
typedef int address_parser(struct sockaddr_storage *address, socklen_t *length, const char *text);

/* One listen address and where it was written. */
struct listener {
	struct sockaddr_storage address;
	const struct config_node *node;
	char path[CONFIG_PATH_MAX];
};

/* What one row of a checks.def has found so far: sockets of another type do not meet these. */
struct listeners {
	address_parser *parse;
	const char *forms;
	struct listener *listener;
	size_t n;
};

static void check_address(struct listeners *listeners, const struct config_node *node, const char *path,
                          struct config_errors *errors)
{
	struct listener found = {.node = node};
	socklen_t length;
	int result = listeners->parse(&found.address, &length, node->text);
	if (result == -ENAMETOOLONG) {
		config_error(errors, &node->origin, path,
		             "the path of \"%.200s\" has %zu bytes; allowed: at most %u", node->text,
		             strlen(strchr(node->text, ':') + 1), ADDRESS_PATH_MAX);
		return;
	}
	if (result != 0) {
		config_error(errors, &node->origin, path,
		             "\"%.120s\" is not an address; allowed: %s, port 0 to 65535", node->text,
		             listeners->forms);
		return;
	}
	for (size_t i = 0; i < listeners->n; i++) {
		const struct listener *other = &listeners->listener[i];
		if (!address_overlaps(&found.address, &other->address))
			continue;
		config_error(
		        errors, &node->origin, path,
		        "\"%.120s\" takes what %s (\"%.120s\") takes; allowed: each address once, [::] standing for all",
		        node->text, other->path, other->node->text);
		return;
	}
	listeners->listener = reallocarray(listeners->listener, listeners->n + 1, sizeof found);
	if (listeners->listener == NULL)
		abort();
	snprintf(found.path, sizeof found.path, "%s", path);
	listeners->listener[listeners->n++] = found;
}

static void check_network(struct listeners *listeners, const struct config_node *node, const char *path,
                          struct config_errors *errors)
{
	uint8_t prefix[16];
	unsigned bits;
	(void)listeners;
	if (address_parse_network(prefix, &bits, node->text) != 0)
		config_error(
		        errors, &node->origin, path,
		        "\"%.80s\" is not a network; allowed: 10.0.0.0/8, 2001:db8::/32, an address alone, no bits behind the prefix",
		        node->text);
}

/* An origin as browsers send it (RFC 6454, 6.2): scheme, host and perhaps port, nothing after
 * them. */
static bool is_origin(const char *text)
{
	const char *host = strstr(text, "://");
	if (strcmp(text, "*") == 0 || strcmp(text, "null") == 0)
		return true;
	return host != NULL && host != text && host[3] != '\0' && strpbrk(host + 3, "/?#@*, ") == NULL;
}

static void check_origin(struct listeners *listeners, const struct config_node *node, const char *path,
                         struct config_errors *errors)
{
	(void)listeners;
	if (!is_origin(node->text))
		config_error(
		        errors, &node->origin, path,
		        "\"%.80s\" is not an origin; allowed: https://example.com, http://localhost:3000, * for all",
		        node->text);
}

#define QUEUE_MOST 511u /* PACKETS_QUEUES_MAX - 1, of supervisor/packets_program.h */

static void check_queue(struct listeners *listeners, const struct config_node *node, const char *path,
                        struct config_errors *errors)
{
	const char *text = node->text;
	bool number = text[0] != '\0' && strlen(text) <= 3 && strspn(text, "0123456789") == strlen(text);
	(void)listeners;
	if (strcmp(text, "all") != 0 && !(number && strtoul(text, NULL, 10) <= QUEUE_MOST))
		config_error(errors, &node->origin, path,
		             "\"%.40s\" is not a receive queue; allowed: all, or numbers from 0 to %u", text,
		             QUEUE_MOST);
}

static void check_peer(struct listeners *listeners, const struct config_node *node, const char *path,
                       struct config_errors *errors)
{
	const char *text = node->text;
	bool http = strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0;
	(void)listeners;
	if (!http || !is_origin(text))
		config_error(
		        errors, &node->origin, path,
		        "\"%.80s\" is not the address of a box; allowed: http://box2:4003, http://192.0.2.7:4003, https://box3.example.com",
		        text);
}

typedef void item_check(struct listeners *listeners, const struct config_node *node, const char *path,
                        struct config_errors *errors);

/* ---- rows of checks.def ---- */

enum check_kind {
	CHECK_DATAGRAM_ADDRESSES,
	CHECK_STREAM_ADDRESSES,
	CHECK_NETWORKS,
	CHECK_ORIGINS,
	CHECK_PEERS,
	CHECK_QUEUES,
	CHECK_ROOM,
	CHECK_ORDER,
	CHECK_NAMES,
	CHECK_NEEDS,
	CHECK_BARS,
	CHECK_NO_USER
};

#define CHECK_OTHERS_MAX 4u

struct check {
	enum check_kind kind;
	const char *list, *key;
	/* ROOM: the parts; ORDER: the other key, then both in words; NEEDS: the choice, then what
	 * it needs; BARS: the name, then where its value belongs */
	const char *other[CHECK_OTHERS_MAX];
};

#define ITEMS(list, key, kind)          {CHECK_##kind, list, key, {NULL}},
#define ROOM(list, key, ...)            {CHECK_ROOM, list, key, {__VA_ARGS__}},
#define ORDER(least, most, what, whose) {CHECK_ORDER, "", least, {most, what, whose}},
#define NEEDS(list, key, choice, other) {CHECK_NEEDS, list, key, {choice, other}},
#define BARS(list, key, name, instead)  {CHECK_BARS, list, key, {name, instead}},
#define NO_USER(list, key)              {CHECK_NO_USER, list, key, {NULL}},
#define NAMED(list, key)                {CHECK_NAMES, list, key, {NULL}},
#define ONLY(...)                       /* kinds.c */
#define INHERITS(...)                   /* complete.c */

static const struct check checks[] = {
#include <checks.list> /* generated: every checks.def of the tree (mk/tables.mk) */
};

static const struct {
	item_check *check;
	address_parser *parse;
	const char *forms;
} items[] = {
        [CHECK_DATAGRAM_ADDRESSES] = {check_address, address_parse, ADDRESS_FORMS},
        [CHECK_STREAM_ADDRESSES] = {check_address, address_parse_stream, ADDRESS_STREAM_FORMS},
        [CHECK_NETWORKS] = {check_network, NULL, NULL},
        [CHECK_ORIGINS] = {check_origin, NULL, NULL},
        [CHECK_PEERS] = {check_peer, NULL, NULL},
        [CHECK_QUEUES] = {check_queue, NULL, NULL},
};

/* Takes the first part off a key: "ingest" off "ingest.udp". */
static const char *first_part(const char **key, char part[CONFIG_PATH_MAX])
{
	size_t n = strcspn(*key, ".");
	snprintf(part, CONFIG_PATH_MAX, "%.*s", (int)n, *key);
	*key += (*key)[n] == '.' ? n + 1 : n;
	return part;
}

static const struct config_node *node_of(const struct config_node *tree, const char *section)
{
	char part[CONFIG_PATH_MAX];
	while (*section != '\0')
		tree = config_tree_find(tree, first_part(&section, part));
	return tree;
}

static const struct schema *schema_of(const char *section)
{
	const struct schema *schema = config_schema();
	char part[CONFIG_PATH_MAX];
	while (*section != '\0') {
		long i = config_schema_index(schema, first_part(&section, part));
		if (i < 0)
			abort(); /* a row of a checks.def names no section */
		schema = schema->child[i];
	}
	return schema;
}

/* place: "ingest.http[0]", "serve". */
static void check_items_of(const struct config_node *entry, const char *place, const struct check *row,
                           struct listeners *listeners, struct config_errors *errors)
{
	const struct config_node *list = config_tree_find(entry, row->key);
	for (size_t k = 0; list != NULL && k < list->n_children && !config_errors_full(errors); k++) {
		char path[CONFIG_PATH_MAX];
		snprintf(path, sizeof path, "%s.%s[%zu]", place, row->key, k);
		if (!list->child[k]->refused)
			items[row->kind].check(listeners, list->child[k], path, errors);
	}
}

static void check_items(const struct config_node *tree, const struct check *row, struct config_errors *errors)
{
	struct listeners listeners = {.parse = items[row->kind].parse, .forms = items[row->kind].forms};
	const struct config_node *entries = node_of(tree, row->list);
	bool alone = schema_of(row->list)->kind == SCHEMA_SECTION;
	if (alone && entries != NULL)
		check_items_of(entries, row->list, row, &listeners, errors);
	for (size_t i = 0; !alone && entries != NULL && i < entries->n_children; i++) {
		char place[CONFIG_PATH_MAX];
		snprintf(place, sizeof place, "%s[%zu]", row->list, i);
		check_items_of(entries->child[i], place, row, &listeners, errors);
	}
	free(listeners.listener);
}

/* Value of an option of the schema's `section`, taken from the keys of node. False when it is not
 * there or wrong. */
static bool value_of(const struct schema *section, const struct config_node *node, const char *key,
                     uint64_t *value)
{
	const struct config_node *child = config_tree_find(node, key);
	long i = config_schema_index(section, key);
	return i >= 0 && child != NULL && child->kind == NODE_SCALAR &&
	       config_value_parse(section->child[i]->option, child->text, value) == 0;
}

static uint64_t power_up(uint64_t bytes)
{
	uint64_t power = 1;
	while (power < bytes && power < 1ull << 62)
		power <<= 1;
	return power;
}

/* "max_head, max_body and max_inflated" */
static void list_parts(const struct check *row, char *text, size_t size)
{
	size_t used = 0;
	for (unsigned i = 0; i < CHECK_OTHERS_MAX && row->other[i] != NULL && used < size; i++) {
		bool last = i + 1 == CHECK_OTHERS_MAX || row->other[i + 1] == NULL;
		const char *between = i == 0 ? "" : last ? " and " : ", ";
		used += (size_t)snprintf(text + used, size - used, "%s%s", between, row->other[i]);
	}
}

static void check_room_of(const struct config_node *entry, size_t i, const struct check *row,
                          struct config_errors *errors)
{
	const struct schema *section = schema_of(row->list);
	uint64_t room, part, least = 0;
	char path[CONFIG_PATH_MAX], parts[CHECK_OTHERS_MAX * (CONFIG_KEY_MAX + 5)];
	if (!value_of(section, entry, row->key, &room))
		return;
	for (unsigned k = 0; k < CHECK_OTHERS_MAX && row->other[k] != NULL; k++) {
		if (!value_of(section, entry, row->other[k], &part))
			return;
		least += power_up(part);
	}
	if (room >= least)
		return;
	snprintf(path, sizeof path, "%s[%zu].%s", row->list, i, row->key);
	list_parts(row, parts, sizeof parts);
	config_error(errors, &config_tree_find(entry, row->key)->origin, path,
	             "less than %s together take; allowed: at least %llu bytes, or smaller limits", parts,
	             (unsigned long long)least);
}

static void check_room(const struct config_node *tree, const struct check *row, struct config_errors *errors)
{
	const struct config_node *entries = node_of(tree, row->list);
	for (size_t i = 0; entries != NULL && i < entries->n_children; i++)
		check_room_of(entries->child[i], i, row, errors);
}

/* Not a letter with case, so that no two names look alike, and nothing that a role, a file or a
 * path uses to part names. */
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789_-"

static const struct config_node *name_of(const struct config_node *entry, const char *key)
{
	const struct config_node *name = config_tree_find(entry, key);
	return name != NULL && name->kind == NODE_SCALAR && name->text[0] != '\0' ? name : NULL;
}

static void check_name(const struct config_node *entries, size_t i, const struct check *row,
                       struct config_errors *errors)
{
	const struct config_node *name = name_of(entries->child[i], row->key);
	char path[CONFIG_PATH_MAX];
	if (name == NULL)
		return; /* said by its option */
	snprintf(path, sizeof path, "%s[%zu].%s", row->list, i, row->key);
	if (name->text[strspn(name->text, NAME_CHARACTERS)] != '\0')
		config_error(errors, &name->origin, path, "\"%.60s\" cannot be a name; allowed: a-z 0-9 _ -",
		             name->text);
	for (size_t k = 0; k < i; k++) {
		const struct config_node *other = name_of(entries->child[k], row->key);
		if (other == NULL || strcmp(other->text, name->text) != 0)
			continue;
		config_error(errors, &name->origin, path,
		             "\"%.60s\" is the name of %s[%zu] too; allowed: each name once", name->text,
		             row->list, k);
		return;
	}
}

static void check_names(const struct config_node *tree, const struct check *row, struct config_errors *errors)
{
	const struct config_node *entries = node_of(tree, row->list);
	for (size_t i = 0; entries != NULL && i < entries->n_children && !config_errors_full(errors); i++)
		check_name(entries, i, row, errors);
}

static void check_need(const struct config_node *entry, size_t i, const struct check *row,
                       struct config_errors *errors)
{
	const struct config_node *choice = name_of(entry, row->key), *other = name_of(entry, row->other[1]);
	char path[CONFIG_PATH_MAX];
	if (choice == NULL || strcmp(choice->text, row->other[0]) != 0 || other != NULL)
		return;
	snprintf(path, sizeof path, "%s[%zu].%s", row->list, i, row->key);
	config_error(errors, &choice->origin, path,
	             "%s needs %s, which is empty; allowed: with %s, or another %s", row->other[0],
	             row->other[1], row->other[1], row->key);
}

static void check_needs(const struct config_node *tree, const struct check *row, struct config_errors *errors)
{
	const struct config_node *entries = node_of(tree, row->list);
	for (size_t i = 0; entries != NULL && i < entries->n_children && !config_errors_full(errors); i++)
		check_need(entries->child[i], i, row, errors);
}

/* "NAME = VALUE" has the name. */
static bool has_name(const char *item, const char *name)
{
	item += strspn(item, " ");
	size_t n = strlen(name);
	return strncmp(item, name, n) == 0 && item[n + strspn(item + n, " ")] == '=';
}

static void check_bars_of(const struct config_node *entry, size_t i, const struct check *row,
                          struct config_errors *errors)
{
	const struct config_node *list = config_tree_find(entry, row->key);
	for (size_t k = 0; list != NULL && k < list->n_children; k++) {
		const struct config_node *item = list->child[k];
		char path[CONFIG_PATH_MAX];
		if (item->refused || item->text == NULL || !has_name(item->text, row->other[0]))
			continue;
		snprintf(path, sizeof path, "%s[%zu].%s[%zu]", row->list, i, row->key, k);
		config_error(errors, &item->origin, path, "%s is a secret; allowed: in %s", row->other[0],
		             row->other[1]);
	}
}

static void check_bars(const struct config_node *tree, const struct check *row, struct config_errors *errors)
{
	const struct config_node *entries = node_of(tree, row->list);
	for (size_t i = 0; entries != NULL && i < entries->n_children && !config_errors_full(errors); i++)
		check_bars_of(entries->child[i], i, row, errors);
}

/* A URL is shown, and every process of the instance can read it. */
static void check_user(const struct config_node *tree, const struct check *row, struct config_errors *errors)
{
	const struct config_node *entries = node_of(tree, row->list);
	for (size_t i = 0; entries != NULL && i < entries->n_children && !config_errors_full(errors); i++) {
		const struct config_node *node = config_tree_at(entries->child[i], row->key);
		const char *text = node != NULL && node->kind == NODE_SCALAR ? node->text : "";
		const char *host = strstr(text, "://");
		char path[CONFIG_PATH_MAX];
		host = host != NULL ? host + 3 : text;
		if (memchr(host, '@', strcspn(host, "/?#")) == NULL)
			continue;
		snprintf(path, sizeof path, "%s[%zu].%s", row->list, i, row->key);
		config_error(errors, &node->origin, path,
		             "has a user or password in it; allowed: a URL without");
	}
}

const char *config_check_barred(size_t i)
{
	for (size_t row = 0; row < sizeof checks / sizeof checks[0]; row++)
		if (checks[row].kind == CHECK_BARS && i-- == 0)
			return checks[row].other[0];
	return NULL;
}

static void check_instance(const struct config_node *tree, struct config_errors *errors)
{
	const struct config_node *node = config_tree_find(tree, "instance");
	char directory[256];
	if (node != NULL && node->text[0] != '\0' && strlen(node->text) < SHM_NAME_MAX &&
	    segment_directory(directory, sizeof directory, node->text) == -EINVAL)
		config_error(errors, &node->origin, "instance",
		             "\"%.60s\" cannot be a name; allowed: " SHM_NAME_RULE, node->text);
}

static bool is_built_in(const char *topic)
{
	for (size_t i = 0; config_built_in_topics[i].name != NULL; i++)
		if (strcmp(config_built_in_topics[i].name, topic) == 0)
			return true;
	return false;
}

/* Stages write the built-in topics, outside programs those with outside lanes. One that says
 * outside_lanes: 0 itself is meant so. */
static void check_writers(const struct config_node *topic, struct config_errors *errors)
{
	const struct config_node *lanes = config_tree_find(topic, "outside_lanes");
	const char *names[INSTANCE_TOPICS_MAX];
	char path[CONFIG_PATH_MAX];
	size_t n = 0;
	if (is_built_in(topic->key) || lanes == NULL ||
	    strcmp(lanes->origin.source, CONFIG_SOURCE_DEFAULT) != 0)
		return;
	for (; n < INSTANCE_TOPICS_MAX && config_built_in_topics[n].name != NULL; n++)
		names[n] = config_built_in_topics[n].name;
	const char *meant = word_nearest(topic->key, names, n);
	config_path_key(path, "topics", topic->key);
	config_error(
	        errors, &topic->origin, path,
	        "nobody writes %.60s%s%s%s; allowed: a topic that stages write, or outside_lanes for programs that write it",
	        topic->key, meant != NULL ? "; did you mean " : "", meant != NULL ? meant : "",
	        meant != NULL ? "?" : "");
}

static void check_topics(const struct config_node *tree, struct config_errors *errors)
{
	const struct config_node *topics = config_tree_find(tree, "topics");
	for (size_t i = 0; topics != NULL && topics->kind == NODE_MAP && i < topics->n_children; i++)
		check_writers(topics->child[i], errors);
	if (topics != NULL && topics->n_children > INSTANCE_TOPICS_MAX)
		config_error(errors, &topics->child[INSTANCE_TOPICS_MAX]->origin, "topics",
		             "%zu topics, the built-in ones counted; allowed: at most %u", topics->n_children,
		             INSTANCE_TOPICS_MAX);
}

/* Parsed here because both have been checked only one by one. */
static void check_order(const struct config_node *tree, const struct check *row, struct config_errors *errors)
{
	const struct config_node *least = config_tree_find(tree, row->key);
	const struct config_node *most = config_tree_find(tree, row->other[0]);
	uint64_t least_ns, most_ns;
	if (!value_of(config_schema(), tree, row->key, &least_ns) ||
	    !value_of(config_schema(), tree, row->other[0], &most_ns))
		return;
	if (least_ns <= most_ns)
		return;
	/* One of the two may be a default, which nobody wrote. */
	bool blame_least = least->origin.rank > most->origin.rank;
	config_error(errors, blame_least ? &least->origin : &most->origin,
	             blame_least ? row->key : row->other[0],
	             "%s, %.40s, is longer than %s, %.40s; allowed: as long or shorter", row->other[1],
	             least->text, row->other[2], most->text);
}

static void check_rows(const struct config_node *tree, struct config_errors *errors)
{
	for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
		if (checks[i].kind == CHECK_ROOM)
			check_room(tree, &checks[i], errors);
		else if (checks[i].kind == CHECK_ORDER)
			check_order(tree, &checks[i], errors);
		else if (checks[i].kind == CHECK_NAMES)
			check_names(tree, &checks[i], errors);
		else if (checks[i].kind == CHECK_NEEDS)
			check_needs(tree, &checks[i], errors);
		else if (checks[i].kind == CHECK_NO_USER)
			check_user(tree, &checks[i], errors);
		else if (checks[i].kind == CHECK_BARS)
			check_bars(tree, &checks[i], errors);
		else
			check_items(tree, &checks[i], errors);
	}
}

void config_check(const struct config_node *tree, struct config_errors *errors)
{
	check_keys(config_schema(), tree, "", errors);
	check_instance(tree, errors);
	check_rows(tree, errors);
	check_topics(tree, errors);
}
