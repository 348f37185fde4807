#include "config/secrets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/complete.h"
#include "config/value.h"

static const char *value(const struct config_place *place)
{
	return place->cell->data;
}

static bool is_masked(const struct config_place *place)
{
	return strcmp(value(place), CONFIG_MASK) == 0;
}

/* Every secret of the section, or of all with "". */
static void each_secret(const struct config_data *data, const char *section, config_data_fn *each,
                        void *argument)
{
	struct config_place place;
	if (config_data_find(data, section, &place))
		config_data_each(&place, section, CONFIG_SECRET, each, argument);
}

/* What is left of a key below the section; NULL when it lies elsewhere. */
static const char *below(const char *key, const char *section)
{
	size_t n = strlen(section);
	if (n == 0)
		return key;
	return strncmp(key, section, n) == 0 && key[n] == '.' ? key + n + 1 : NULL;
}

/* ---- which there are ---- */

struct count {
	size_t set, masked;
};

static void count_one(void *argument, const char *key, const struct config_place *place)
{
	struct count *count = argument;
	(void)key;
	count->set += value(place)[0] != '\0' ? 1 : 0;
	count->masked += is_masked(place) ? 1 : 0;
}

bool config_secrets_any(const struct config_data *data, const char *section)
{
	struct count count = {0};
	each_secret(data, section, count_one, &count);
	return count.set != 0;
}

bool config_secrets_masked(const struct config_data *data, const char *section)
{
	struct count count = {0};
	each_secret(data, section, count_one, &count);
	return count.masked != 0;
}

struct ranking {
	const struct config_node *tree;
	unsigned rank;
};

static void rank_one(void *argument, const char *key, const struct config_place *place)
{
	struct ranking *ranking = argument;
	const struct config_node *node = config_tree_at(ranking->tree, key);
	bool secret = value(place)[0] != '\0' && config_credential(value(place)) == NULL;
	if (node != NULL && secret && node->origin.rank > ranking->rank)
		ranking->rank = node->origin.rank;
}

unsigned config_secrets_rank(const struct config_data *data, const struct config_node *tree)
{
	struct ranking ranking = {tree, CONFIG_RANK_DEFAULT};
	each_secret(data, "", rank_one, &ranking);
	return ranking.rank;
}

/* ---- masked ---- */

/* The secrets while CONFIG_MASK is in their place. */
struct masking {
	const char *except;
	struct config_place *place;
	char **secret;
	size_t n;
};

static void mask(void *argument, const char *key, const struct config_place *place)
{
	struct masking *masking = argument;
	if (value(place)[0] == '\0' || (masking->except != NULL && below(key, masking->except) != NULL))
		return;
	masking->place = reallocarray(masking->place, masking->n + 1, sizeof *masking->place);
	masking->secret = reallocarray(masking->secret, masking->n + 1, sizeof *masking->secret);
	if (masking->place == NULL || masking->secret == NULL)
		abort();
	masking->place[masking->n] = *place;
	masking->secret[masking->n++] = config_data_put(place, (char *)(uintptr_t)CONFIG_MASK);
}

int config_secrets_mask(const struct config_data *data, const char *except, FILE *out)
{
	struct masking masking = {.except = except};
	each_secret(data, "", mask, &masking);
	int result = config_data_write(data, out);
	for (size_t i = 0; i < masking.n; i++)
		(void)config_data_put(&masking.place[i], masking.secret[i]);
	free(masking.place);
	free(masking.secret);
	return result;
}

struct refusing {
	const struct config_node *tree;
	struct config_errors *errors;
};

static void refuse_mask(void *argument, const char *key, const struct config_place *place)
{
	const struct refusing *refusing = argument;
	const struct config_node *node = config_tree_at(refusing->tree, key);
	if (node != NULL && is_masked(place))
		config_error(
		        refusing->errors, &node->origin, key,
		        "is " CONFIG_MASK
		        ", which stands where a secret is not shown; allowed: the secret itself, or nothing");
}

void config_secrets_refuse_masks(const struct config_data *data, const struct config_node *tree,
                                 struct config_errors *errors)
{
	struct refusing refusing = {tree, errors};
	each_secret(data, "", refuse_mask, &refusing);
}

/* ---- apart ---- */

struct writing {
	const char *section;
	struct config_node *values;
};

static void add_value(void *argument, const char *key, const struct config_place *place)
{
	static const struct config_origin none = {.source = ""};
	const struct writing *writing = argument;
	if (value(place)[0] != '\0')
		config_tree_add(writing->values, below(key, writing->section),
		                config_tree_scalar(value(place), &none));
}

int config_secrets_write(const struct config_data *data, const char *section, const char *role, FILE *out)
{
	static const struct config_origin none = {.source = ""};
	struct config_node *document = config_tree_container(NODE_MAP, &none);
	struct writing writing = {section, config_tree_container(NODE_MAP, &none)};
	each_secret(data, section, add_value, &writing);
	config_tree_add(document, role, writing.values);
	errno = 0;
	config_tree_write(document, out);
	bool written = fputc('\n', out) != EOF && fflush(out) == 0 && ferror(out) == 0;
	int result = written ? 0 : errno != 0 ? -errno : -EIO;
	config_tree_free(document);
	return result;
}

struct taking {
	const char *section, *role;
	const struct config_data *data;
	const struct config_origin *origin;
	struct config_errors *errors;
};

static char *copy_of(const char *text)
{
	char *copy = strdup(text);
	if (copy == NULL)
		abort();
	return copy;
}

static void take_value(const struct taking *taking, const struct config_node *node)
{
	char key[CONFIG_PATH_MAX];
	struct config_place place;
	struct config_why why = {""};
	config_path_key(key, taking->section, node->key);
	bool found = config_data_find(taking->data, key, &place) && place.schema->kind == SCHEMA_OPTION &&
	             place.schema->option->kind == CONFIG_SECRET && place.cell != NULL &&
	             place.cell->data != NULL;
	if (!found)
		config_error(taking->errors, &node->origin, key, "is no secret of %s", taking->role);
	else if (!is_masked(&place))
		config_error(
		        taking->errors, &node->origin, key,
		        "has no place: the configuration in force says something else than " CONFIG_MASK);
	else if (node->kind != NODE_SCALAR || node->text[0] == '\0' || strcmp(node->text, CONFIG_MASK) == 0)
		config_error(taking->errors, &node->origin, key, "must be the secret itself");
	else if (config_value_check(place.schema->option, node->text, &why) != 0)
		config_error(taking->errors, &node->origin, key, "%s", why.text);
	else
		free(config_data_put(&place, copy_of(node->text)));
}

static void miss_masked(void *argument, const char *key, const struct config_place *place)
{
	const struct taking *taking = argument;
	if (is_masked(place))
		config_error(taking->errors, taking->origin, key, "is not in it, and %s needs it",
		             taking->role);
}

static void take_document(const struct taking *taking, const struct config_node *tree)
{
	const struct config_node *values = config_tree_find(tree, taking->role);
	if (values == NULL || values->kind != NODE_MAP || tree->n_children != 1) {
		config_error(taking->errors, taking->origin, "",
		             "is not the file of %s; allowed: {%s: {KEY: SECRET, ...}}", taking->role,
		             taking->role);
		return;
	}
	for (size_t i = 0; i < values->n_children && !config_errors_full(taking->errors); i++)
		take_value(taking, values->child[i]);
	if (taking->errors->n == 0)
		each_secret(taking->data, taking->section, miss_masked, (void *)(uintptr_t)taking);
}

void config_secrets_take(struct config_data *data, const char *section, const char *role, const char *name,
                         const char *text, size_t bytes, struct config_errors *errors)
{
	const struct config_origin whole = {.source = name, .rank = CONFIG_RANK_FILE};
	const struct config_origin begin = {.source = name, .rank = CONFIG_RANK_FILE, .line = 1};
	struct taking taking = {section, role, data, &whole, errors};
	struct config_node *tree = config_tree_parse(text, bytes, &begin, errors);
	if (tree != NULL && errors->n == 0)
		take_document(&taking, tree);
	config_tree_free(tree);
}
