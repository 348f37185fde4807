/* The schema: all option keys as one tree, and how to follow a key.
 *
 *     "ingest.udp[].listen"     section "ingest" > entries "udp" > option "listen"
 *     "topics.*.size"           named "topics" > option "size"
 *     "tally.applications"      section "tally" > option "applications"
 *
 * Made once from config_options.
 */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include "config/config.h"
#include "config/tree.h"

enum schema_kind {
	SCHEMA_SECTION, /* children are its keys */
	SCHEMA_ENTRIES, /* a list; children are the keys of each entry */
	SCHEMA_NAMED,   /* a map by name; children are the keys of each entry */
	SCHEMA_OPTION
};

struct schema {
	enum schema_kind kind;
	char *name;
	const struct config_option *option; /* of SCHEMA_OPTION */
	struct schema **child;
	size_t n_children;
};

/* The root, a SCHEMA_SECTION. Never freed. */
const struct schema *config_schema(void);

/* Index of the child of that name, or -1. */
long config_schema_index(const struct schema *schema, const char *name);

/* Names of the children; the array is the caller's to free, the names are not. */
const char **config_schema_names(const struct schema *schema);

/* One step along a key such as "ingest.udp[0].listen". */
enum config_step_kind { STEP_END, STEP_NAME, STEP_INDEX, STEP_BAD };

struct config_step {
	enum config_step_kind kind;
	char name[CONFIG_KEY_MAX + 1];
	size_t index;
};

/* Takes the next step off *key. schema is the place reached so far (NULL: unknown). The name of an
 * entry of SCHEMA_NAMED may have dots: it ends at the last dot when a key of the entry follows, or
 * when to_option says that a key must follow; otherwise it is all that is left. */
struct config_step config_step(const char **key, const struct schema *schema, bool to_option);

/* The node of a document at a key without names of topics or queues, as it was written or
 * completed; NULL when there is none. */
const struct config_node *config_tree_at(const struct config_node *tree, const char *key);

/* Topics that exist even if the configuration does not mention them; ends with a name of NULL. */
extern const struct config_built_in_topic {
	const char *name;
	const char *when_full; /* its default; other topics have that of the option */
} config_built_in_topics[];

#endif
