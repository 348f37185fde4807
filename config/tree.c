#include "config/tree.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/text.h"
#include "config/complete.h"

/* ---- nodes ---- */

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
	return i < 0 || map->child == NULL ? NULL : map->child[i];
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

/* ---- reading YAML ---- */

/* What one document may still use. */
struct reading {
	yaml_document_t document;
	const struct config_origin *origin;
	struct config_errors *errors;
	size_t n_nodes, text_bytes;
	bool over;                  /* a limit was exceeded: nothing more is converted */
	char path[CONFIG_PATH_MAX]; /* of the node at hand, for errors */
};

static struct config_origin origin_at(const struct reading *reading, const yaml_node_t *node)
{
	struct config_origin origin = *reading->origin;
	if (origin.line != 0)
		origin.line = (unsigned)node->start_mark.line + 1;
	return origin;
}

/* Printable UTF-8: what libyaml reads from a file as it is, less the line breaks. Escapes ("\0",
 * "\e") can make others. */
bool config_tree_is_plain(const unsigned char *text, size_t bytes)
{
	if (!text_valid(text, bytes))
		return false;
	for (size_t i = 0; i < bytes; i++) {
		const unsigned char *at = text + i;
		if (*at < 0x20 || *at == 0x7f)
			return false;
		if (*at == 0xc2 && at[1] < 0xa0)
			return false; /* C1 controls */
		if (*at == 0xe2 && at[1] == 0x80 && (at[2] == 0xa8 || at[2] == 0xa9))
			return false; /* line and paragraph separator: line breaks to YAML */
		if (*at == 0xef && at[1] == 0xbb && at[2] == 0xbf)
			return false; /* byte order mark */
		if (*at == 0xef && at[1] == 0xbf && at[2] >= 0xbe)
			return false; /* U+FFFE, U+FFFF */
	}
	return true;
}

static bool is_null(const yaml_node_t *node)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL"};
	if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcmp((const char *)node->data.scalar.value, words[i]) == 0)
			return true;
	return false;
}

/* NULL: there is an error, and the value is left out. */
static struct config_node *convert(struct reading *reading, int index, unsigned depth);

static struct config_node *convert_scalar(struct reading *reading, const yaml_node_t *node)
{
	struct config_origin origin = origin_at(reading, node);
	reading->text_bytes += node->data.scalar.length;
	if (!config_tree_is_plain(node->data.scalar.value, node->data.scalar.length)) {
		config_error(reading->errors, &origin, reading->path,
		             "a value has control characters or line breaks");
		return NULL;
	}
	struct config_node *scalar = config_tree_scalar((const char *)node->data.scalar.value, &origin);
	if (is_null(node))
		scalar->kind = NODE_NULL;
	return scalar;
}

static struct config_node *convert_list(struct reading *reading, const yaml_node_t *node, unsigned depth)
{
	struct config_origin origin = origin_at(reading, node);
	struct config_node *list = config_tree_container(NODE_LIST, &origin);
	char path[CONFIG_PATH_MAX];
	memcpy(path, reading->path, sizeof path);
	const yaml_node_item_t *item = node->data.sequence.items.start;
	for (; item < node->data.sequence.items.top && !reading->over; item++) {
		config_path_entry(reading->path, path, (size_t)(item - node->data.sequence.items.start));
		struct config_node *child = convert(reading, *item, depth + 1);
		if (child != NULL)
			config_tree_add(list, NULL, child);
	}
	memcpy(reading->path, path, sizeof path);
	return list;
}

/* The key's text, or NULL with an error. */
static const char *key_of(struct reading *reading, const struct config_node *map, const yaml_node_t *key)
{
	struct config_origin origin = origin_at(reading, key);
	const char *text = (const char *)key->data.scalar.value;
	if (key->type != YAML_SCALAR_NODE) {
		config_error(reading->errors, &origin, reading->path,
		             "a key must be a word, not a list or a section");
		return NULL;
	}
	if (key->data.scalar.length == 0 || key->data.scalar.length > CONFIG_KEY_MAX) {
		config_error(reading->errors, &origin, reading->path, "a key has %zu bytes; allowed: 1 to %u",
		             key->data.scalar.length, CONFIG_KEY_MAX);
		return NULL;
	}
	if (!config_tree_is_plain(key->data.scalar.value, key->data.scalar.length)) {
		config_error(reading->errors, &origin, reading->path,
		             "a key has control characters or line breaks");
		return NULL;
	}
	const struct config_node *older = config_tree_find(map, text);
	if (older != NULL) {
		char path[CONFIG_PATH_MAX];
		config_path_key(path, reading->path, text);
		config_error(reading->errors, &origin, path, "the key is there twice, first on line %u",
		             older->origin.line);
		return NULL;
	}
	return text;
}

static struct config_node *convert_map(struct reading *reading, const yaml_node_t *node, unsigned depth)
{
	struct config_origin origin = origin_at(reading, node);
	struct config_node *map = config_tree_container(NODE_MAP, &origin);
	char path[CONFIG_PATH_MAX];
	memcpy(path, reading->path, sizeof path);
	const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	for (; pair < node->data.mapping.pairs.top && !reading->over; pair++) {
		const yaml_node_t *key = yaml_document_get_node(&reading->document, pair->key);
		const char *text = key_of(reading, map, key);
		if (text == NULL)
			continue;
		config_path_key(reading->path, path, text);
		struct config_node *child = convert(reading, pair->value, depth + 1);
		memcpy(reading->path, path, sizeof path);
		if (child == NULL)
			continue;
		/* A value may begin a line after its key; people look for the key. */
		child->origin = origin_at(reading, key);
		config_tree_add(map, text, child);
	}
	return map;
}

/* Aliases appear as further references to one node; each becomes a copy, which the limits bound. An
 * alias to a node around itself ends at the greatest depth. */
static struct config_node *convert(struct reading *reading, int index, unsigned depth)
{
	const yaml_node_t *node = yaml_document_get_node(&reading->document, index);
	struct config_origin origin = origin_at(reading, node);
	if (depth > CONFIG_DEPTH_MAX) {
		reading->over = true;
		config_error(reading->errors, &origin, "", "nested deeper than %u levels", CONFIG_DEPTH_MAX);
		return NULL;
	}
	if (++reading->n_nodes > CONFIG_NODES_MAX || reading->text_bytes > CONFIG_TEXT_MAX) {
		reading->over = true;
		config_error(reading->errors, &origin, "",
		             "more than %u values or %u bytes of text, aliases counted where they stand",
		             CONFIG_NODES_MAX, CONFIG_TEXT_MAX);
		return NULL;
	}
	switch (node->type) {
	case YAML_SCALAR_NODE:
		return convert_scalar(reading, node);
	case YAML_SEQUENCE_NODE:
		return convert_list(reading, node, depth);
	case YAML_MAPPING_NODE:
		return convert_map(reading, node, depth);
	default:
		return config_tree_container(NODE_NULL, &origin);
	}
}

static unsigned line_of_offset(const char *text, size_t bytes, size_t offset)
{
	unsigned line = 1;
	for (size_t i = 0; i < offset && i < bytes; i++)
		line += text[i] == '\n';
	return line;
}

/* Start of line number `line`, from 0, or NULL. */
static const char *line_start(const char *text, size_t bytes, size_t line)
{
	const char *at = text, *end = text + bytes;
	for (; line > 0 && at != NULL; line--) {
		at = memchr(at, '\n', (size_t)(end - at));
		at = at == NULL ? NULL : at + 1;
	}
	return at;
}

/* True when line number `line`, from 0, has the phrase. */
static bool line_holds(const char *text, size_t bytes, size_t line, const char *phrase)
{
	const char *at = line_start(text, bytes, line), *end = text + bytes;
	if (at == NULL)
		return false;
	const char *line_end = memchr(at, '\n', (size_t)(end - at));
	size_t length = (size_t)((line_end == NULL ? end : line_end) - at);
	return memmem(at, length, phrase, strlen(phrase)) != NULL;
}

/* True when the line is indented by a tab. */
static bool tab_indents(const char *text, size_t bytes, size_t line)
{
	const char *at = line_start(text, bytes, line), *end = text + bytes;
	while (at != NULL && at < end && *at == ' ')
		at++;
	return at != NULL && at < end && *at == '\t';
}

static void syntax_error(const yaml_parser_t *parser, const char *text, size_t bytes,
                         const struct config_origin *origin, struct config_errors *errors)
{
	struct config_origin at = *origin;
	const char *problem = parser->problem != NULL ? parser->problem : "cannot be read";
	if (parser->error == YAML_READER_ERROR) {
		if (origin->line != 0)
			at.line = line_of_offset(text, bytes, parser->problem_offset);
		config_error(errors, &at, "", "not readable as UTF-8 text: %s", problem);
		return;
	}
	if (origin->line != 0)
		at.line = (unsigned)parser->problem_mark.line + 1;
	if (tab_indents(text, bytes, parser->problem_mark.line)) {
		config_error(errors, &at, "", "not YAML: a tab indents the line; allowed: spaces");
		return;
	}
	char context[100] = "";
	if (parser->context != NULL && origin->line != 0)
		snprintf(context, sizeof context, " %s that begins on line %zu", parser->context,
		         parser->context_mark.line + 1);
	bool address = line_holds(text, bytes, parser->problem_mark.line, "]:");
	config_error(errors, &at, "", "not YAML: %s%s%s", problem, context,
	             address ? " (an address such as \"[::]:4002\" needs quotes)" : "");
}

/* Fails when a second document follows. */
static bool at_end(yaml_parser_t *parser, const struct config_origin *origin, struct config_errors *errors)
{
	yaml_document_t next;
	if (yaml_parser_load(parser, &next) == 0)
		return false;
	yaml_node_t *root = yaml_document_get_root_node(&next);
	if (root != NULL) {
		struct config_origin at = *origin;
		if (at.line != 0)
			at.line = (unsigned)root->start_mark.line + 1;
		config_error(errors, &at, "", "a second YAML document begins here; one is allowed");
	}
	yaml_document_delete(&next);
	return true;
}

static void begin(yaml_parser_t *parser, const char *text, size_t bytes)
{
	if (yaml_parser_initialize(parser) == 0)
		abort();
	yaml_parser_set_input_string(parser, (const unsigned char *)text, bytes);
}

/* libyaml takes time that grows with the square of the nesting (a minute for 100,000 brackets), so
 * a first pass over the events stops where the document gets too deep. Other errors are left to the
 * second. */
static bool is_shallow(const char *text, size_t bytes, const struct config_origin *origin,
                       struct config_errors *errors)
{
	yaml_parser_t parser;
	unsigned depth = 0;
	size_t line = 0;
	bool more = true;
	begin(&parser, text, bytes);
	while (more && depth <= CONFIG_DEPTH_MAX) {
		yaml_event_t event;
		if (yaml_parser_parse(&parser, &event) == 0)
			break;
		if (event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT)
			depth++;
		else if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT)
			depth--;
		more = event.type != YAML_STREAM_END_EVENT;
		line = event.start_mark.line;
		yaml_event_delete(&event);
	}
	if (depth > CONFIG_DEPTH_MAX) {
		struct config_origin at = *origin;
		if (at.line != 0)
			at.line = (unsigned)line + 1;
		config_error(errors, &at, "", "nested deeper than %u levels", CONFIG_DEPTH_MAX);
	}
	yaml_parser_delete(&parser);
	return depth <= CONFIG_DEPTH_MAX;
}

struct config_node *config_tree_parse(const char *text, size_t bytes, const struct config_origin *origin,
                                      struct config_errors *errors)
{
	if (bytes > CONFIG_DOCUMENT_MAX) {
		config_error(errors, origin, "", "longer than %u bytes", CONFIG_DOCUMENT_MAX);
		return NULL;
	}
	if (!is_shallow(text, bytes, origin, errors))
		return NULL;
	yaml_parser_t parser;
	begin(&parser, text, bytes);
	struct reading reading = {.origin = origin, .errors = errors};
	struct config_node *tree = NULL;
	if (yaml_parser_load(&parser, &reading.document) == 0) {
		syntax_error(&parser, text, bytes, origin, errors);
	} else {
		tree = yaml_document_get_root_node(&reading.document) == NULL
		               ? config_tree_container(NODE_NULL, origin)
		               : convert(&reading, 1, 1);
		yaml_document_delete(&reading.document);
		if (!at_end(&parser, origin, errors))
			syntax_error(&parser, text, bytes, origin, errors);
	}
	yaml_parser_delete(&parser);
	if (reading.over) {
		config_tree_free(tree);
		tree = NULL;
	}
	return tree;
}
