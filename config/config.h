/* The configuration: one YAML file (or the embedded default), overridden by --set KEY=VALUE,
 * checked as a whole before use.
 *
 * Every key is declared once, in an options.def:
 *
 *     OPTION(key, type, default, min, max, choices, help)
 *
 * From it come the check, the value, `--help` and the tables in the documents. An error names file,
 * line, key, what is wrong and what is allowed:
 *
 *     millrace.yaml:7: ingest.udp[0].format: "ipevnt" is not a format; allowed: ipevent, raw, json
 *     --set tally.commit_interval=0: below the least value, 10ms
 *
 * All errors of a file are reported, not only the first. An unknown key is an error, which suggests
 * the nearest known key.
 *
 * Types: SIZE (bytes; suffixes KiB MiB GiB TiB and k M G T, decimal: "64MiB"), POWER (a SIZE that
 * is a power of two), DURATION (suffixes ns us ms s m h d; a number alone is seconds), COUNT
 * (integer), POWER_COUNT (a COUNT that is a power of two), BOOL, CHOICE, STRING, FILE (the path of
 * a file that the section's stage reads, see stage/file.h; "" names none), PATH (of what it writes;
 * "" where the stage has a place of its own), SECRET (a STRING that the stage of its section alone
 * is told, and nothing shows: errors leave it out and config_write writes "***"), LIST (of strings;
 * a single value stands for a list of one). min and max bound the value, the bytes of a STRING,
 * SECRET, PATH or FILE, a LIST's items. Sections may be lists (`ingest.udp`) or maps by name
 * (`topics`).
 *
 * What is in force; the later replaces the earlier:
 *
 *     defaults of the options < embedded default < file < environment < --set, in order
 *
 * The environment is MILLRACE_INSTANCE and the variables of environment.def, which environment.h
 * explains; ADDR and PORT of them are weaker than the file.
 *
 * A top-level section of the file replaces that of the embedded default: `ingest: {}` means no
 * listener, and a list `ingest.udp` stands for itself. Keys and topics that the file does not
 * mention have their defaults.
 */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config; /* opaque; owned by the caller of config_load */

enum config_type {
	CONFIG_SIZE,
	CONFIG_POWER,
	CONFIG_DURATION,
	CONFIG_COUNT,
	CONFIG_POWER_COUNT,
	CONFIG_BOOL,
	CONFIG_CHOICE,
	CONFIG_STRING,
	CONFIG_FILE,
	CONFIG_PATH,
	CONFIG_SECRET,
	CONFIG_LIST
};

/* One option, as `--help` and the document tables show it. */
struct config_option {
	const char *key; /* "ingest.udp[].receive_buffer", "topics.*.size" */
	/* "size", "power of two", "duration", "count", "bool", "choice", "string", "file",
	 * "path", "secret", "list" */
	const char *type;
	const char *default_text;        /* of a LIST: its items with a space between them */
	const char *min_text, *max_text; /* in the type's units; "" when there is none */
	const char *choices;             /* "ipevent raw json", or "" */
	const char *help;
	enum config_type kind; /* the same as type, for programs */
};

/* All options in the order of the documents; *n is set to their number. */
const struct config_option *config_options(size_t *n);

/* Loads path (NULL: the embedded default), takes the instance's name from MILLRACE_INSTANCE when
 * that is set and not empty, and applies sets, n_sets strings "KEY=VALUE" in order, VALUE being
 * YAML (a bare address such as [::]:4002 needs no quotes). Returns the configuration, or NULL
 * with every error, one a line, in *errors (malloced, the caller frees it; NULL otherwise). */
struct config *config_load(const char *path, const char *const *sets, size_t n_sets, char **errors);

/* The same, with all values of the environment: for whoever starts an instance, or says what would
 * start. What runs has them in its configuration. A secret that is "***" is an error: it was copied
 * from where secrets are not shown. */
struct config *config_load_to_start(const char *path, const char *const *sets, size_t n_sets, char **errors);

/* As config_load, from the configuration in force, which lies in the instance's folder
 * (folder.h); its secrets are "***" until config_read_secrets. */
#define CONFIG_INSTANCE_FILE "config.yaml"
struct config *config_load_instance(const char *directory, const char *const *sets, size_t n_sets,
                                    char **errors);

/* The same for a document in memory; name stands for the file in errors. */
struct config *config_load_text(const char *name, const char *text, size_t bytes, const char *const *sets,
                                size_t n_sets, char **errors);

void config_free(struct config *config);

/* The embedded default as a commented YAML document. */
const char *config_default_text(void);

/* What came of variables of the environment (environment.h), line i; NULL after the last, and for a
 * configuration that is not one to start. Secrets are "***". */
const char *config_environment_note(const struct config *config, size_t i);

/* Writes the whole configuration in force, defaults included, as YAML that config_load takes. Each
 * SECRET that is not empty is "***", but for those of the section ("sinks[0]"; "": all; NULL:
 * none), which are written as they are: then out must be for its process alone. Returns 0 or
 * -errno. */
#define CONFIG_MASK "***"
int config_write(const struct config *config, const char *section, FILE *out);

/* Secrets of an instance that runs. Its config.yaml, which all of its processes read, has "***" for
 * each; a role's own lie in a folder beside the instance's (shm/instance.h), in a file of the
 * role's name, one for each role whose section has any:
 *
 *     {"kafka.bus": {"password": "..."}}      keys below the section, wherever that is in its list
 */

/* Whether a SECRET in the section is not empty ("" is all sections). */
bool config_has_secrets(const struct config *config, const char *section);

/* Whether one came by --set: then ps shows it. */
bool config_secret_by_set(const struct config *config);

/* Writes the role's file: the secrets in its section that are not empty. Returns 0 or -errno. */
int config_write_secrets(const struct config *config, const char *section, const char *role, FILE *out);

/* Puts what the role's file says in the place of each "***" of the section; looks at no file where
 * there is none. directory is the instance's folder. A stage calls it before its sandbox, which
 * lets no stage into the folder of secrets, is in force. The file must have exactly these. Returns
 * 0, or -EINVAL with every error, one a line, in *errors (malloced; NULL otherwise): then some may
 * have their values. */
int config_read_secrets(struct config *config, const char *directory, const char *section, const char *role,
                        char **errors);

/* The same for a document in memory; name stands for the file in errors. */
int config_take_secrets(struct config *config, const char *section, const char *role, const char *name,
                        const char *text, size_t bytes, char **errors);

/* True when both have the same values in the section (all below `prefix`, such as "ingest.udp[0]"
 * or "tally"; "" is all): "64MiB" and "67108864" are the same. An entry that neither has is the
 * same, one that only one has is not. */
bool config_same(const struct config *a, const struct config *b, const char *prefix);

/* The same for two entries of one list that may have different places in it: "sinks[0]" of a and
 * "sinks[2]" of b. */
bool config_same_entry(const struct config *a, const char *a_prefix, const struct config *b,
                       const char *b_prefix);

/* True when somebody wrote the value at key (formatted as by printf): the file, the environment or
 * --set; false when it is that of the embedded default or of its option. No name of a topic or
 * queue may be in the key. */
bool config_written(const struct config *config, const char *key, ...) __attribute__((format(printf, 2, 3)));

/* A FILE, a PATH that is read or a SECRET may be credential:NAME (letters, digits, - _ .): a file
 * that a service manager puts into $CREDENTIALS_DIRECTORY for the process of the section alone
 * (credential.h). Returns NAME, or NULL when the value is none. */
#define CONFIG_CREDENTIAL "credential:"
const char *config_credential(const char *value);

/* Puts in the place of each credential:NAME of the section the path of its file, of a SECRET what
 * is in that file without a line break at its end. One that is not there stays, or is an error if
 * it must be there. Returns 0, or -EINVAL with every error, one a line, in *errors (malloced; NULL
 * otherwise): then some may have their values. */
int config_take_credentials(struct config *config, const char *section, bool must, char **errors);

/* Calls each for every FILE option in the section (as for config_same), in the order of the
 * documents: its key ("ingest.http[0].tokens") and the path that it names, "" when it names
 * none. */
typedef void config_file_fn(void *argument, const char *key, const char *path);
void config_each_file(const struct config *config, const char *section, config_file_fn *each, void *argument);

/* The same for every credential:NAME in the section, with NAME instead of a path. */
void config_each_credential(const struct config *config, const char *section, config_file_fn *each,
                            void *argument);

/* Makes data_dir and the path of every FILE and PATH that is no credential:NAME absolute by putting
 * folder in front, for readers with another working directory. Returns 0, or -ENAMETOOLONG with
 * "KEY: ..." in *error (malloced) when a path is longer than its option takes or folder has control
 * characters; the configuration is then only good for config_free. */
int config_make_absolute(struct config *config, const char *folder, char **error);

/* Values. The key is formatted as by printf: config_u64(c, "ingest.udp[%zu].processes", i). Asking
 * for a key that no options.def declares, or with the wrong type, is our own bug and aborts.
 * Strings live as long as the configuration. */
/* SIZE bytes, COUNT, BOOL 0/1 */
uint64_t config_u64(const struct config *config, const char *key, ...) __attribute__((format(printf, 2, 3)));
/* DURATION */
uint64_t config_ns(const struct config *config, const char *key, ...) __attribute__((format(printf, 2, 3)));
/* STRING, FILE, PATH, SECRET, CHOICE */
const char *config_string(const struct config *config, const char *key, ...)
        __attribute__((format(printf, 2, 3)));

/* Length of a list section ("ingest.udp"), of a LIST value ("ingest.udp[0].listen") or of a map
 * ("topics"). */
size_t config_count(const struct config *config, const char *key, ...) __attribute__((format(printf, 2, 3)));

/* The option at the key; NULL when the kind of its entry does not have it (kinds.h): all others
 * have a value. */
const struct config_option *config_option_at(const struct config *config, const char *key, ...)
        __attribute__((format(printf, 2, 3)));

/* Element i of a LIST value; name of element i of a map section ("topics", 0 -> "ip"). */
const char *config_item(const struct config *config, size_t i, const char *key, ...)
        __attribute__((format(printf, 3, 4)));

#endif
