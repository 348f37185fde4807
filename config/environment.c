#include "config/environment.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config/complete.h"

#define MINUTES_MAX 8640u /* six days, as sinks[].finish.after */
#define LISTEN      "ingest.http[0].listen"
#define ANY_HOST    "[::]" /* the option's default: */
#define ANY_PORT    "8080"

enum what { HOST, PORT, STORAGE, MINUTES, DISCARD, S3, AZURE, STORE };

#define VARIABLE(name, what, key, secret, help) {name, help},
static const struct config_variable variables[] = {
#include "config/environment.def"
};
#undef VARIABLE

#define VARIABLE(name, what, key, secret, help) {name, what, key, secret},
static const struct row {
	const char *name;
	enum what what;
	const char *key;
	bool secret;
} rows[] = {
#include "config/environment.def"
};
#undef VARIABLE

#define ROWS (sizeof rows / sizeof rows[0])

const struct config_variable *config_variables(size_t *n)
{
	*n = ROWS;
	return variables;
}

/* One application. */
struct applying {
	struct config_node *tree;
	struct config_errors *errors;
	struct config_environment *said;
	const char *value[ROWS]; /* NULL: not set */
};

static void note(const struct applying *applying, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

static void note(const struct applying *applying, const char *format, ...)
{
	struct config_environment *said = applying->said;
	va_list arguments;
	said->note = reallocarray(said->note, said->n + 1, sizeof *said->note);
	va_start(arguments, format);
	if (said->note == NULL || vasprintf(&said->note[said->n], format, arguments) < 0)
		abort();
	va_end(arguments);
	said->n++;
}

void config_environment_fini(struct config_environment *said)
{
	for (size_t i = 0; i < said->n; i++)
		free(said->note[i]);
	free(said->note);
	*said = (struct config_environment){0};
}

static struct config_origin origin_of(const char *variable)
{
	return (struct config_origin){.source = variable, .rank = CONFIG_RANK_ENVIRONMENT};
}

#define REFUSE(applying, variable, ...)                                      \
	do {                                                                 \
		struct config_origin refused = origin_of(variable);          \
		config_error((applying)->errors, &refused, "", __VA_ARGS__); \
	} while (0)

static const char *shown(const struct row *row, const char *value)
{
	return row->secret ? "***" : value;
}

static void set(const struct applying *applying, const char *variable, const char *key, const char *text)
{
	struct config_origin origin = origin_of(variable);
	config_set_text(applying->tree, key, text, &origin, applying->errors);
}

static const char *value_of(const struct applying *applying, const char *variable)
{
	for (size_t i = 0; i < ROWS; i++)
		if (strcmp(rows[i].name, variable) == 0)
			return applying->value[i];
	abort();
}

/* The node at a path of names below a section; NULL when it is not there. */
static const struct config_node *below(const struct config_node *node, const char *path)
{
	char name[64];
	while (node != NULL && *path != '\0') {
		size_t n = strcspn(path, ".");
		snprintf(name, sizeof name, "%.*s", (int)n, path);
		node = config_tree_find(node, name);
		path += n + (path[n] == '.');
	}
	return node;
}

/* The text at the path, "" when there is none. */
static const char *text_below(const struct config_node *node, const char *path)
{
	node = below(node, path);
	return node != NULL && node->kind == NODE_SCALAR ? node->text : "";
}

/* Entry i of a list; a section in its place is a list of one. */
static const struct config_node *entry(const struct config_node *list, size_t i)
{
	if (list != NULL && list->kind == NODE_MAP)
		return i == 0 ? list : NULL;
	return list != NULL && list->kind == NODE_LIST && i < list->n_children ? list->child[i] : NULL;
}

/* ---- the listener ---- */

static bool is_number(const char *text, unsigned long least, unsigned long most)
{
	size_t digits = strspn(text, "0123456789");
	return digits > 0 && digits < 8 && text[digits] == '\0' && strtoul(text, NULL, 10) >= least &&
	       strtoul(text, NULL, 10) <= most;
}

static void apply_listener(const struct applying *applying)
{
	const char *host = value_of(applying, "ADDR"), *port = value_of(applying, "PORT");
	const struct config_node *http = entry(below(applying->tree, "ingest.http"), 0);
	const struct config_node *listen = below(http, "listen");
	const char *both = host != NULL && port != NULL ? "ADDR and PORT" : host != NULL ? "ADDR" : "PORT";
	char text[400];
	if (host == NULL && port == NULL)
		return;
	if (http == NULL) {
		note(applying, "%s: not used, there is no HTTP listener", both);
		return;
	}
	if (listen != NULL && listen->origin.rank != CONFIG_RANK_DEFAULT) {
		note(applying, "%s: not used, %s:%u says " LISTEN, both, listen->origin.source,
		     listen->origin.line);
		return;
	}
	if (port != NULL && !is_number(port, 0, 65535)) {
		REFUSE(applying, "PORT", "\"%.40s\" is no port; allowed: 0 to 65535", port);
		return;
	}
	bool bare = host != NULL && strchr(host, ':') != NULL && host[0] != '[';
	snprintf(text, sizeof text, bare ? "[%.300s]:%s" : "%.300s:%s", host != NULL ? host : ANY_HOST,
	         port != NULL ? port : ANY_PORT);
	set(applying, host != NULL ? "ADDR" : "PORT", LISTEN, text);
	note(applying, "%s -> " LISTEN "=%s", both, text);
}

/* ---- the sinks that keep log ---- */

static bool keeps_log(const struct config_node *sink)
{
	const struct config_node *topics = below(sink, "topics");
	const char *kind = text_below(sink, "kind");
	if (topics == NULL || (kind[0] != '\0' && strcmp(kind, "objects") != 0))
		return false;
	if (topics->kind == NODE_SCALAR)
		return strcmp(topics->text, "log") == 0;
	for (size_t i = 0; topics->kind == NODE_LIST && i < topics->n_children; i++)
		if (topics->child[i]->kind == NODE_SCALAR && strcmp(topics->child[i]->text, "log") == 0)
			return true;
	return false;
}

/* What may stand in a tree. */
static bool check_plain(const struct applying *applying, const struct row *row)
{
	const char *value = applying->value[row - rows];
	if (value == NULL || config_tree_is_plain((const unsigned char *)value, strlen(value)))
		return true;
	REFUSE(applying, row->name, "has control characters or line breaks, or is no UTF-8");
	return false;
}

static void set_in_sink(const struct applying *applying, size_t sink, const struct row *row, const char *text)
{
	char key[CONFIG_PATH_MAX];
	if (!check_plain(applying, row))
		return;
	snprintf(key, sizeof key, "sinks[%zu].%s", sink, row->key);
	set(applying, row->name, key, text);
	note(applying, "%s=%s -> %s=%s", row->name, shown(row, applying->value[row - rows]), key,
	     shown(row, text));
}

/* What else would choose a store is taken back, whoever wrote it. */
static void choose_store(const struct applying *applying, size_t sink, const char *variable,
                         const char *chosen)
{
	static const char *const choices[][2] = {
	        {"store.discard", "false"}, {"store.s3.bucket", ""}, {"store.azure.container", ""}};
	const struct config_node *node = entry(below(applying->tree, "sinks"), sink);
	for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
		char key[CONFIG_PATH_MAX];
		if (strcmp(choices[i][0], chosen) == 0 || below(node, choices[i][0]) == NULL)
			continue;
		snprintf(key, sizeof key, "sinks[%zu].%s", sink, choices[i][0]);
		set(applying, variable, key, choices[i][1]);
	}
}

static void set_credentials(const struct applying *applying, size_t sink, const char *variable,
                            const char *store, const char *kind)
{
	char key[CONFIG_PATH_MAX];
	if (value_of(applying, variable) == NULL)
		return;
	snprintf(key, sizeof key, "sinks[%zu].store.%s.credentials", sink, store);
	set(applying, variable, key, kind);
}

/* The variables of one store, for one sink. */
static void apply_store(const struct applying *applying, size_t sink, enum what what)
{
	bool aws = what == S3;
	const char *storage = value_of(applying, "STORAGE") != NULL ? "STORAGE" : "AWS_BUCKET";
	const char *needed = aws ? "AWS_BUCKET" : "AZURE_CONTAINER";
	const char *chosen = aws ? "store.s3.bucket" : "store.azure.container";
	const struct config_node *node = entry(below(applying->tree, "sinks"), sink);
	if (value_of(applying, needed) == NULL && text_below(node, chosen)[0] == '\0') {
		REFUSE(applying, storage, "%s needs %s, which is not set", aws ? "aws" : "azure", needed);
		return;
	}
	choose_store(applying, sink, storage, chosen);
	for (size_t i = 0; i < ROWS; i++)
		if (rows[i].what == what && applying->value[i] != NULL)
			set_in_sink(applying, sink, &rows[i], applying->value[i]);
	if (aws)
		set_credentials(applying, sink, "AWS_ACCESS_KEY", "s3", "config");
	else
		set_credentials(applying, sink, "AZURE_KEY", "azure", "key");
}

/* S3, AZURE, or STORE for none. */
static enum what read_storage(const struct applying *applying)
{
	const char *storage = value_of(applying, "STORAGE");
	bool key = value_of(applying, "AWS_ACCESS_KEY") != NULL,
	     secret = value_of(applying, "AWS_ACCESS_SECRET") != NULL;
	if (storage == NULL)
		return key && secret && value_of(applying, "AWS_BUCKET") != NULL ? S3 : STORE;
	if (strcmp(storage, "azure") == 0)
		return AZURE;
	if (strcmp(storage, "aws") != 0) {
		REFUSE(applying, "STORAGE", "\"%.40s\" is no storage; allowed: aws, azure, or not set",
		       storage);
		return STORE;
	}
	if (key != secret) {
		REFUSE(applying, key ? "AWS_ACCESS_KEY" : "AWS_ACCESS_SECRET", "is set without %s",
		       key ? "AWS_ACCESS_SECRET" : "AWS_ACCESS_KEY");
		return STORE;
	}
	return S3;
}

/* 1 and 0 as people write them. */
static bool read_discard(const struct applying *applying)
{
	static const char *const words[] = {"0", "false", "no", "1", "true", "yes"};
	const char *value = value_of(applying, "NO_UPLOAD");
	for (size_t i = 0; value != NULL && i < sizeof words / sizeof words[0]; i++)
		if (strcmp(value, words[i]) == 0)
			return i >= 3;
	if (value != NULL)
		REFUSE(applying, "NO_UPLOAD",
		       "\"%.40s\" is neither yes nor no; allowed: 1, true, yes, 0, false, no", value);
	return false;
}

static void apply_row(const struct applying *applying, size_t sink, const char *variable, const char *text)
{
	for (size_t i = 0; i < ROWS; i++)
		if (strcmp(rows[i].name, variable) == 0)
			set_in_sink(applying, sink, &rows[i], text);
}

static void apply_sinks(const struct applying *applying)
{
	const char *minutes = value_of(applying, "QUEUE_TIMEOUT_MIN");
	bool discard = read_discard(applying), any = false;
	enum what store = read_storage(applying);
	char after[16] = "";
	if (minutes != NULL && !is_number(minutes, 1, MINUTES_MAX))
		REFUSE(applying, "QUEUE_TIMEOUT_MIN", "\"%.40s\" is no number of minutes; allowed: 1 to %u",
		       minutes, MINUTES_MAX);
	else if (minutes != NULL)
		snprintf(after, sizeof after, "%lum", strtoul(minutes, NULL, 10));
	const struct config_node *sinks = below(applying->tree, "sinks"), *sink;
	for (size_t i = 0; (sink = entry(sinks, i)) != NULL; i++) {
		if (!keeps_log(sink))
			continue;
		any = true;
		if (after[0] != '\0')
			apply_row(applying, i, "QUEUE_TIMEOUT_MIN", after);
		if (discard) {
			choose_store(applying, i, "NO_UPLOAD", "store.discard");
			apply_row(applying, i, "NO_UPLOAD", "true");
		} else if (store != STORE) {
			apply_store(applying, i, store);
		}
		sinks = below(applying->tree, "sinks"); /* it may have become a list */
	}
	if (any || (!discard && store == STORE && after[0] == '\0'))
		return;
	if (value_of(applying, "STORAGE") != NULL)
		REFUSE(applying, "STORAGE", "no sink of the kind objects keeps the topic log");
	else
		note(applying, "%s: not used, no sink of the kind objects keeps the topic log",
		     discard          ? "NO_UPLOAD"
		     : store != STORE ? "AWS_BUCKET"
		                      : "QUEUE_TIMEOUT_MIN");
}

/* What the stores read themselves, where there is one on S3. */
static void note_stores(const struct applying *applying)
{
	const struct config_node *sinks = below(applying->tree, "sinks"), *sink;
	bool any = false;
	for (size_t i = 0; (sink = entry(sinks, i)) != NULL; i++)
		any = any || text_below(sink, "store.s3.bucket")[0] != '\0';
	for (size_t i = 0; any && i < ROWS; i++)
		if (rows[i].what == STORE && applying->value[i] != NULL)
			note(applying, "%s=%s -> stores on S3 read it where their options leave it open",
			     rows[i].name, shown(&rows[i], applying->value[i]));
}

void config_environment_apply(struct config_node *tree, struct config_errors *errors,
                              struct config_environment *said)
{
	struct applying applying = {.tree = tree, .errors = errors, .said = said};
	for (size_t i = 0; i < ROWS; i++) {
		const char *value = getenv(rows[i].name);
		if (value == NULL || value[0] == '\0')
			continue;
		applying.value[i] = value;
		/* the others are looked at where they count, or are not ours */
		bool counts = rows[i].what != S3 && rows[i].what != AZURE && rows[i].what != STORE;
		if (counts && !check_plain(&applying, &rows[i]))
			applying.value[i] = NULL;
	}
	apply_listener(&applying);
	apply_sinks(&applying);
	note_stores(&applying);
}
