#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/folder.h"
#include "shm/instance.h"
#include "config/check.h"
#include "config/complete.h"
#include "config/credential.h"
#include "config/data.h"
#include "config/environment.h"
#include "config/secrets.h"
#include "config/value.h"
#include "base/log.h"

struct config {
	struct config_data data;
	/* What was loaded, for config_written. The names of its sources are gone, their ranks
	 * stay. */
	struct config_node *tree;
	struct config_environment environment;
};

const char *config_default_text(void)
{
	return "instance: default               # segments under /dev/shm/millrace/default; MILLRACE_INSTANCE and\n"
	       "                                # --instance choose it for every command\n"
	       "data_dir: millrace-data         # the counts (tally.db), the objects\n"
	       "drain_timeout: 30s\n"
	       "ingest:\n"
	       "  udp:\n"
	       "    - {listen: [\"[::]:4002\"], format: ipevent, processes: 1, receive_buffer: 64MiB}\n"
	       "  http:\n"
	       "    - {listen: [\"[::]:8080\"], processes: 1, max_body: 1MiB, max_connections: 65536}\n"
	       "topics:\n"
	       "  ip: {size: 64MiB, when_full: drop}\n"
	       "  raw: {size: 64MiB, when_full: drop}\n"
	       "  metric: {size: 64MiB, when_full: refuse}\n"
	       "  track.raw: {size: 64MiB, when_full: refuse}\n"
	       "  log: {size: 64MiB, when_full: refuse}\n"
	       "  track: {size: 64MiB, when_full: refuse}\n"
	       "queues:\n"
	       "  postback: {slots: 16384, slot_size: 4KiB}\n"
	       "enrich: {processes: 1}\n"
	       "tally: {applications: 100000, addresses_per_application: 65536, commit_interval: 1s}\n"
	       "sinks:\n"
	       "  - {name: logs, kind: objects, topics: [log], key: \"chat/{date}/content_logs_{date}_{client_id}\", tails: 64MiB}\n"
	       "  - {name: tracks, kind: objects, topics: [track], key: \"track/{date}/{hour}/{instance}\", tails: 64MiB}\n"
	       "serve: {listen: [\"127.0.0.1:4003\"]}    # the API; []: none\n"
	       "log: {level: info, format: text}    # or json\n";
}

/* The embedded default as a tree. It has no errors: config_test loads it. */
static struct config_node *default_tree(const struct config_origin *origin, struct config_errors *errors)
{
	const char *text = config_default_text();
	struct config_origin begin = *origin;
	begin.line = 1;
	return config_tree_parse(text, strlen(text), &begin, errors);
}

/* Root of a document: a map, or nothing at all, which is an empty map. */
static void expect_map(struct config_node *tree, struct config_errors *errors)
{
	if (tree->kind == NODE_NULL)
		tree->kind = NODE_MAP;
	if (tree->kind == NODE_MAP)
		return;
	config_error(errors, &tree->origin, "",
	             "the document must be a section of keys, such as \"data_dir: /srv/millrace\"");
	tree->kind = NODE_MAP;
	while (tree->n_children > 0)
		config_tree_free(config_tree_take(tree, tree->n_children - 1));
}

/* Whether the word stands in the text, with no letter, digit or _ next to it. */
static bool has_word(const char *text, const char *word)
{
	static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	size_t n = strlen(word);
	for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
		if ((at == text || strchr(more, at[-1]) == NULL) &&
		    (at[n] == '\0' || strchr(more, at[n]) == NULL))
			return true;
	return false;
}

/* Where a value was set, as errors cite it. One that names a secret, or a section that may hold it,
 * ends after its key. */
static char *set_name(const char *set)
{
	size_t n;
	const struct config_option *option = config_options(&n);
	int shown = (int)strlen(set);
	const char *barred;
	char *name;
	for (size_t i = 0; i < n; i++)
		if (option[i].kind == CONFIG_SECRET && has_word(set, config_value_name(&option[i])))
			shown = (int)strcspn(set, "=");
	for (size_t i = 0; (barred = config_check_barred(i)) != NULL; i++)
		if (has_word(set, barred))
			shown = (int)strcspn(set, "=");
	if (asprintf(&name, "--set %.*s%s", shown, set, set[shown] == '=' ? "=***" : "") < 0)
		abort();
	return name;
}

static void apply_sets(struct config_node *tree, const char *const *sets, char **names, size_t n_sets,
                       struct config_errors *errors)
{
	const char *instance = segment_instance_named();
	struct config_origin origin = {.source = "MILLRACE_INSTANCE", .rank = CONFIG_RANK_ENVIRONMENT};
	if (instance != NULL)
		config_set_text(tree, "instance", instance, &origin, errors);
	for (size_t i = 0; i < n_sets; i++) {
		names[i] = set_name(sets[i]);
		origin = (struct config_origin){.source = names[i], .rank = CONFIG_RANK_SET + (unsigned)i};
		config_set(tree, sets[i], &origin, errors);
	}
}

/* tree is the file's, or NULL when it could not be read; it is freed. environment: it is for a
 * start, not that of a running instance. */
static struct config *make(struct config_node *tree, const char *const *sets, size_t n_sets, bool environment,
                           struct config_errors *errors)
{
	struct config_origin defaults = {.source = CONFIG_SOURCE_DEFAULT, .rank = CONFIG_RANK_DEFAULT};
	struct config *config = config_alloc(sizeof *config);
	char **names = config_alloc((n_sets + 1) * sizeof *names);
	struct config_node *sections = default_tree(&defaults, errors);
	if (tree == NULL)
		tree = config_tree_container(NODE_MAP, &defaults);
	expect_map(tree, errors);
	config_complete_sections(tree, sections);
	config_tree_free(sections);
	if (environment)
		config_environment_apply(tree, errors, &config->environment);
	apply_sets(tree, sets, names, n_sets, errors);
	config_complete(tree, &defaults, errors);
	if (config_data_load(&config->data, tree, errors) || !config_errors_full(errors))
		config_check(tree, errors);
	if (environment && errors->n == 0)
		config_secrets_refuse_masks(&config->data, tree, errors);
	config->tree = tree;
	if (errors->n > 0) {
		config_free(config);
		config = NULL;
	}
	/* The names live as long as the errors that cite them by text; those are formatted by
	 * now. */
	for (size_t i = 0; i < n_sets; i++)
		free(names[i]);
	free(names);
	return config;
}

static struct config *load_document(const char *name, const char *text, size_t bytes, const char *const *sets,
                                    size_t n_sets, bool environment, char **errors)
{
	struct config_errors found = {0};
	struct config_origin origin = {.source = name, .rank = CONFIG_RANK_FILE, .line = 1};
	struct config *config =
	        make(config_tree_parse(text, bytes, &origin, &found), sets, n_sets, environment, &found);
	*errors = config == NULL ? config_errors_text(&found) : NULL;
	return config;
}

struct config *config_load_text(const char *name, const char *text, size_t bytes, const char *const *sets,
                                size_t n_sets, char **errors)
{
	return load_document(name, text, bytes, sets, n_sets, false, errors);
}

/* Reads the whole file and closes it; fd may be -errno. Returns its text, or NULL with the reason
 * in *why. */
static char *read_file(int fd, size_t *bytes, const char **why)
{
	char *text = config_alloc(CONFIG_DOCUMENT_MAX + 1);
	struct stat status;
	*bytes = 0;
	*why = NULL;
	if (fd < 0 || fstat(fd, &status) != 0)
		*why = strerror(fd < 0 ? -fd : errno);
	else if (S_ISDIR(status.st_mode))
		*why = "it is a directory";
	while (*why == NULL && *bytes <= CONFIG_DOCUMENT_MAX) {
		ssize_t n = read(fd, text + *bytes, CONFIG_DOCUMENT_MAX + 1 - *bytes);
		if (n == 0)
			break;
		if (n > 0)
			*bytes += (size_t)n;
		else if (errno != EINTR)
			*why = strerror(errno);
	}
	if (fd >= 0)
		close(fd);
	if (*why == NULL)
		return text;
	free(text);
	return NULL;
}

static struct config *load_open(int fd, const char *path, const char *const *sets, size_t n_sets,
                                bool environment, char **errors)
{
	size_t bytes;
	const char *why;
	char *text = read_file(fd, &bytes, &why);
	if (text == NULL) {
		if (asprintf(errors, "%s: cannot be read: %s\n", path, why) < 0)
			abort();
		return NULL;
	}
	struct config *config = load_document(path, text, bytes, sets, n_sets, environment, errors);
	free(text);
	return config;
}

/* O_NONBLOCK: a pipe without a writer must not hold up the start. */
#define READ_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK)

static struct config *load(const char *path, const char *const *sets, size_t n_sets, bool environment,
                           char **errors)
{
	if (path == NULL) /* an empty file: the default's sections come to it */
		return load_document("default", "", 0, sets, n_sets, environment, errors);
	int fd = open(path, READ_FLAGS);
	return load_open(fd < 0 ? -errno : fd, path, sets, n_sets, environment, errors);
}

struct config *config_load(const char *path, const char *const *sets, size_t n_sets, char **errors)
{
	return load(path, sets, n_sets, false, errors);
}

struct config *config_load_to_start(const char *path, const char *const *sets, size_t n_sets, char **errors)
{
	return load(path, sets, n_sets, true, errors);
}

struct config *config_load_instance(const char *directory, const char *const *sets, size_t n_sets,
                                    char **errors)
{
	char path[FOLDER_PATH_MAX + sizeof CONFIG_INSTANCE_FILE];
	snprintf(path, sizeof path, "%s/" CONFIG_INSTANCE_FILE, directory);
	return load_open(folder_open(directory, CONFIG_INSTANCE_FILE, READ_FLAGS, 0), path, sets, n_sets,
	                 false, errors);
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	config_data_free(&config->data);
	config_tree_free(config->tree);
	config_environment_fini(&config->environment);
	free(config);
}

const char *config_environment_note(const struct config *config, size_t i)
{
	return i < config->environment.n ? config->environment.note[i] : NULL;
}

bool config_written(const struct config *config, const char *format, ...)
{
	char key[CONFIG_PATH_MAX];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(key, sizeof key, format, arguments);
	va_end(arguments);
	const struct config_node *node = config_tree_at(config->tree, key);
	return node != NULL && node->origin.rank != CONFIG_RANK_DEFAULT;
}

/* ---- secrets ---- */

int config_write(const struct config *config, const char *section, FILE *out)
{
	return config_secrets_mask(&config->data, section, out);
}

bool config_has_secrets(const struct config *config, const char *section)
{
	return config_secrets_any(&config->data, section);
}

bool config_secret_by_set(const struct config *config)
{
	return config_secrets_rank(&config->data, config->tree) >= CONFIG_RANK_SET;
}

int config_write_secrets(const struct config *config, const char *section, const char *role, FILE *out)
{
	return config_secrets_write(&config->data, section, role, out);
}

int config_take_secrets(struct config *config, const char *section, const char *role, const char *name,
                        const char *text, size_t bytes, char **errors)
{
	struct config_errors found = {0};
	config_secrets_take(&config->data, section, role, name, text, bytes, &found);
	*errors = found.n > 0 ? config_errors_text(&found) : NULL;
	return *errors == NULL ? 0 : -EINVAL;
}

/* A file of a program before this one goes when the next configuration is put in force. path is set
 * to what was opened, or would be; *refused tells why the folder is not trusted. */
static int open_secrets(const char *directory, const char *role, char *path, size_t size,
                        struct shm_error *refused)
{
	char folder[FOLDER_PATH_MAX], name[SEGMENT_NAME_MAX];
	int fd = instance_secrets_hold(folder, directory, refused);
	snprintf(path, size, "%s/%s", folder, role);
	if (fd == 0) {
		fd = folder_open(folder, role, READ_FLAGS, 0);
		folder_release(folder);
	}
	if (fd != -ENOENT)
		return fd;
	refused->text[0] = '\0';
	int old = folder_open(directory, instance_old_secrets_name(name, role), READ_FLAGS, 0);
	if (old >= 0)
		snprintf(path, size, "%s/%s", directory, name);
	return old >= 0 ? old : fd;
}

int config_read_secrets(struct config *config, const char *directory, const char *section, const char *role,
                        char **errors)
{
	char path[FOLDER_PATH_MAX + SEGMENT_NAME_MAX];
	const char *why;
	struct shm_error refused = {""};
	size_t bytes;
	*errors = NULL;
	if (!config_secrets_masked(&config->data, section))
		return 0;
	char *text = read_file(open_secrets(directory, role, path, sizeof path, &refused), &bytes, &why);
	if (text == NULL) {
		if (asprintf(errors, "%s: cannot be read: %s; %s has secrets, which lie there\n", path,
		             refused.text[0] != '\0' ? refused.text : why, section) < 0)
			abort();
		return -EINVAL;
	}
	int result = config_take_secrets(config, section, role, path, text, bytes, errors);
	explicit_bzero(text, bytes);
	free(text);
	return result;
}

int config_take_credentials(struct config *config, const char *section, bool must, char **errors)
{
	struct config_errors found = {0};
	config_credentials_take(&config->data, section, must, &found);
	*errors = found.n > 0 ? config_errors_text(&found) : NULL;
	return *errors == NULL ? 0 : -EINVAL;
}

void config_each_credential(const struct config *config, const char *section, config_file_fn *each,
                            void *argument)
{
	config_credentials_each(&config->data, section, each, argument);
}

/* ---- comparing ---- */

bool config_same_entry(const struct config *a, const char *a_prefix, const struct config *b,
                       const char *b_prefix)
{
	struct config_place a_place, b_place;
	bool in_a = config_data_find(&a->data, a_prefix, &a_place);
	bool in_b = config_data_find(&b->data, b_prefix, &b_place);
	return in_a && in_b ? config_data_same(&a_place, &b_place) : in_a == in_b;
}

bool config_same(const struct config *a, const struct config *b, const char *prefix)
{
	return config_same_entry(a, prefix, b, prefix);
}

/* ---- files ---- */

struct telling {
	config_file_fn *each;
	void *argument;
};

static void tell_file(void *argument, const char *key, const struct config_place *place)
{
	const struct telling *telling = argument;
	telling->each(telling->argument, key, place->cell->data);
}

void config_each_file(const struct config *config, const char *section, config_file_fn *each, void *argument)
{
	struct telling telling = {.each = each, .argument = argument};
	struct config_place place;
	if (config_data_find(&config->data, section, &place))
		config_data_each(&place, section, CONFIG_FILE, tell_file, &telling);
}

struct moving {
	const char *folder;
	char *error;
};

static void make_absolute(void *argument, const char *key, const struct config_place *place)
{
	struct moving *moving = argument;
	const char *path = place->cell->data;
	struct config_why why;
	char *absolute;
	if (path[0] == '/' || path[0] == '\0' || config_credential(path) != NULL || moving->error != NULL)
		return;
	if (asprintf(&absolute, "%s/%s", moving->folder, path) < 0)
		abort();
	int result = config_value_check(place->schema->option, absolute, &why);
	if (result == 0 &&
	    !config_tree_is_plain((const unsigned char *)moving->folder, strlen(moving->folder))) {
		snprintf(why.text, sizeof why.text,
		         "the name of the folder has control characters or line breaks");
		result = -EINVAL;
	}
	if (result != 0) {
		if (asprintf(&moving->error, "%s: as an absolute path: %s\n", key, why.text) < 0)
			abort();
		free(absolute);
		return;
	}
	free(config_data_put(place, absolute));
}

int config_make_absolute(struct config *config, const char *folder, char **error)
{
	struct moving moving = {.folder = folder};
	struct config_place root, data_dir;
	if (config_data_find(&config->data, "", &root))
		config_data_each(&root, "", CONFIG_FILE, make_absolute, &moving);
	if (config_data_find(&config->data, "", &root))
		config_data_each(&root, "", CONFIG_PATH, make_absolute, &moving);
	if (config_data_find(&config->data, "data_dir", &data_dir))
		make_absolute(&moving, "data_dir", &data_dir);
	*error = moving.error;
	return moving.error == NULL ? 0 : -ENAMETOOLONG;
}

/* ---- values ---- */

/* Formats the key and follows it. What leads nowhere is a mistake of the program, not of the
 * configuration. */
static struct config_place find(const struct config *config, char *key, const char *format, va_list arguments)
{
	struct config_place place;
	vsnprintf(key, CONFIG_PATH_MAX, format, arguments);
	if (!config_data_find(&config->data, key, &place)) {
		log_error("the configuration has no such key", "key=%s", key);
		abort();
	}
	return place;
}

#define FIND(place, config, key)                                              \
	char key##_text[CONFIG_PATH_MAX];                                     \
	va_list arguments;                                                    \
	va_start(arguments, key);                                             \
	struct config_place place = find(config, key##_text, key, arguments); \
	va_end(arguments)

static void expect_type(const struct config_place *place, const char *key, bool right)
{
	bool is_option = place->schema->kind == SCHEMA_OPTION && place->cell != NULL;
	if (right && is_option && (place->cell->data != NULL || place->schema->option->kind == CONFIG_LIST))
		return;
	log_error(right && is_option ? "a key of the configuration is not for this kind of entry"
	                             : "a key of the configuration is asked for with the wrong type",
	          "key=%s", key);
	abort();
}

const struct config_option *config_option_at(const struct config *config, const char *key, ...)
{
	FIND(place, config, key);
	if (place.schema->kind != SCHEMA_OPTION)
		expect_type(&place, key_text, false);
	const struct config_option *option = place.schema->option;
	bool here = option->kind == CONFIG_LIST || (place.cell != NULL && place.cell->data != NULL);
	return here ? option : NULL;
}

static uint64_t number(const struct config_place *place)
{
	uint64_t value = 0;
	if (config_value_parse(place->schema->option, place->cell->data, &value) != 0)
		abort(); /* config_check let it through */
	return value;
}

uint64_t config_u64(const struct config *config, const char *key, ...)
{
	FIND(place, config, key);
	const struct config_option *option = place.schema->option;
	expect_type(&place, key_text,
	            option != NULL && (option->kind == CONFIG_SIZE || option->kind == CONFIG_POWER ||
	                               option->kind == CONFIG_COUNT || option->kind == CONFIG_POWER_COUNT ||
	                               option->kind == CONFIG_BOOL));
	return number(&place);
}

uint64_t config_ns(const struct config *config, const char *key, ...)
{
	FIND(place, config, key);
	expect_type(&place, key_text,
	            place.schema->option != NULL && place.schema->option->kind == CONFIG_DURATION);
	return number(&place);
}

const char *config_string(const struct config *config, const char *key, ...)
{
	FIND(place, config, key);
	const struct config_option *option = place.schema->option;
	expect_type(&place, key_text,
	            option != NULL && (config_value_is_text(option) || option->kind == CONFIG_CHOICE));
	return place.cell->data;
}

size_t config_count(const struct config *config, const char *key, ...)
{
	FIND(place, config, key);
	if (place.schema->kind == SCHEMA_NAMED && place.cells == NULL) {
		size_t n = 0;
		while (config_data_name(&place, n) != NULL)
			n++;
		return n;
	}
	if (place.schema->kind != SCHEMA_ENTRIES || place.cells != NULL)
		expect_type(&place, key_text,
		            place.schema->option != NULL && place.schema->option->kind == CONFIG_LIST);
	return place.cell->n;
}

const char *config_item(const struct config *config, size_t i, const char *key, ...)
{
	FIND(place, config, key);
	const char *item = NULL;
	if (place.schema->kind == SCHEMA_NAMED && place.cells == NULL) {
		item = config_data_name(&place, i);
	} else {
		expect_type(&place, key_text,
		            place.schema->option != NULL && place.schema->option->kind == CONFIG_LIST);
		if (i < place.cell->n)
			item = ((char *const *)place.cell->data)[i];
	}
	if (item == NULL) {
		log_error("a list of the configuration has no such item", "key=%s item=%zu", key_text, i);
		abort();
	}
	return item;
}
