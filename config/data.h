/* The configuration as libcyaml holds it: C data made from a document by a schema.
 *
 *     tree --written as YAML--> libcyaml with the schema --> cells         (config_data_load)
 *     cells --> libcyaml with the schema --> YAML                         (config_data_write)
 *
 *     root: cells, one per key of the section
 *     +----------+----------+--------+-----
 *     | instance | data_dir | ingest | ...       a cell: pointer and count
 *     +----|-----+----|-----+---|----+-----
 *          "default"  "data"    +-----+
 *                               | udp |  n = 2  --> [ listen format ... | listen format ... ]
 *                               +-----+
 *
 * Scalars are text; config/value.h gives them types and units. libcyaml judges which keys exist
 * and what is a section, a list or a value. It stops at the first thing that it refuses; that is
 * reported, taken out of the tree, and the rest is loaded again.
 */
#ifndef CONFIG_DATA_H
#define CONFIG_DATA_H

#include "config/schema.h"

struct cyaml_schema_value;

struct config_cell {
	/* char * of an option; char ** of a LIST; cells of a section or of all entries of a list */
	void *data;
	uint64_t n; /* items of a LIST, entries of a list section */
};

struct config_data {
	struct cyaml_schema_value *top;
	void *root;
	void **block; /* what the schema is made of */
	size_t n_blocks;
};

/* A place in the data. */
struct config_place {
	const struct schema *schema;
	const struct cyaml_schema_value *value; /* libcyaml's view of it */
	const struct config_cell *cell;         /* of this key; NULL for the root and for an entry */
	/* of the keys below: root, section and entry; else NULL */
	const struct config_cell *cells;
};

/* Loads a completed tree. What does not fit the schema is taken out of the tree, with an error for
 * each. Returns true when nothing had to be taken out. The caller frees data in either case. */
bool config_data_load(struct config_data *data, struct config_node *tree, struct config_errors *errors);

void config_data_free(struct config_data *data);

/* Writes all of it. Returns 0 or -errno. */
int config_data_write(const struct config_data *data, FILE *out);

/* Follows key from the root. Returns false when the key leads nowhere. */
bool config_data_find(const struct config_data *data, const char *key, struct config_place *place);

/* Key i of a root, section or entry. */
struct config_place config_data_key(const struct config_place *place, size_t i);

/* Entry i of a list section or a named section; false past the end. */
bool config_data_entry(const struct config_place *place, size_t i, struct config_place *entry);

/* True when both places hold the same values. They must be of the same schema. */
bool config_data_same(const struct config_place *a, const struct config_place *b);

/* Entry i of a named section: its name, or NULL past the end. */
const char *config_data_name(const struct config_place *place, size_t i);

/* Calls each for every option of the kind at or below place that has a value; key is that of
 * place. */
typedef void config_data_fn(void *argument, const char *key, const struct config_place *place);
void config_data_each(const struct config_place *place, const char *key, enum config_type kind,
                      config_data_fn *each, void *argument);

/* Puts a text (malloced; the data's from then on) in the place of that of an option that has
 * one, and returns the old one. */
char *config_data_put(const struct config_place *place, char *text);

#endif
