/* millrace check: checks a configuration and prints the resources it needs. */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/program.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "config/value.h"
#include "shm/folder.h"
#include "supervisor/home.h"
#include "supervisor/owners.h"
#include "supervisor/plan.h"
#include "supervisor/trial.h"

struct options {
	const char *file, *instance;
	struct argument_list sets;
	const char *format; /* of the flow; NULL: text */
	bool json, text, keys, effective, flow;
};

/* Resources: needed by the configuration, and present. */
struct needs {
	uint64_t segment_bytes;   /* of shared memory, all segments */
	uint64_t present_bytes;   /* part of segment_bytes that exists from an earlier run */
	uint64_t available_bytes; /* still free in the file system of the segments */
	/* by role, where the role reports it: the most private memory it may use */
	uint64_t memory_bytes[INSTANCE_ROLES_MAX];
	bool present;   /* the instance has a folder, and we hold it open */
	char root[128]; /* the folder whose file system gave available_bytes */
};

static void print_keys(void)
{
	size_t n;
	const struct config_option *option = config_options(&n);
	for (size_t i = 0; i < n; i++) {
		printf("%s (%s, default %s", option[i].key, option[i].type,
		       option[i].default_text[0] != 0 ? option[i].default_text : "none");
		if (option[i].choices[0] != 0)
			printf(", one of: %s", option[i].choices);
		bool text = config_value_is_text(&option[i]);
		if (option[i].min_text[0] != 0 && !text)
			printf(", from %s", option[i].min_text);
		if (option[i].max_text[0] != 0 && !text)
			printf(", up to %s", option[i].max_text);
		printf(")\n    %s\n", option[i].help);
	}
}

/* The nearest existing folder above the segments: they will be in its file system. */
static int find_room(const char *directory, struct needs *needs)
{
	struct statvfs room;
	snprintf(needs->root, sizeof needs->root, "%s", directory);
	while (statvfs(needs->root, &room) < 0) {
		char *slash = strrchr(needs->root, '/');
		if (errno != ENOENT || slash == NULL || slash == needs->root)
			return -errno;
		*slash = 0;
	}
	needs->available_bytes = (uint64_t)room.f_bavail * room.f_frsize;
	return 0;
}

static void add_present(void *argument, const char *name, uint64_t file_bytes)
{
	struct needs *needs = argument;
	struct stat status;
	needs->segment_bytes += file_bytes;
	if (needs->present && folder_stat(needs->root, name, &status) == 0 && S_ISREG(status.st_mode))
		needs->present_bytes += (uint64_t)status.st_size;
}

/* Checks, as a start does, that the instance's folder and that of its secrets are ours and safe. */
static int find_folder(const struct config *config, const struct plan *plan, struct needs *needs,
                       struct shm_error *error)
{
	char secrets[FOLDER_PATH_MAX];
	*needs = (struct needs){0};
	snprintf(needs->root, sizeof needs->root, "%s", plan->directory);
	int result = home_hold(plan->directory, error);
	needs->present = result == 0;
	if ((result == 0 || result == -ENOENT) && config_has_secrets(config, "")) {
		result = home_hold(instance_secrets_folder(secrets, plan->directory), error);
		if (result == 0)
			folder_release(secrets);
	}
	return result == -ENOENT ? 0 : result;
}

static int find_needs(const struct plan *plan, struct needs *needs)
{
	plan_each_segment(plan, add_present, needs);
	return find_room(plan->directory, needs);
}

static bool fits(const struct needs *needs)
{
	return needs->segment_bytes <= needs->present_bytes ||
	       needs->segment_bytes - needs->present_bytes <= needs->available_bytes;
}

static void append_segment(void *argument, const char *name, uint64_t file_bytes)
{
	json_array_append_new(argument,
	                      json_pack("{s:s, s:I}", "name", name, "bytes", (json_int_t)file_bytes));
}

static json_t *topics_json(const struct plan *plan)
{
	json_t *topics = json_array();
	for (unsigned i = 0; i < plan->n_topics; i++) {
		const struct plan_topic *topic = &plan->topic[i];
		json_t *required = json_array();
		for (unsigned k = 0; k < topic->n_required; k++)
			json_array_append_new(required, json_string(topic->required[k]));
		json_array_append_new(topics,
		                      json_pack("{s:s, s:i, s:s, s:o, s:b}", "topic", topic->page.name,
		                                "lanes", (int)topic->page.n_lanes, "when_full",
		                                topic->page.when_full == WHEN_FULL_DROP ? "drop" : "refuse",
		                                "required", required, "kept", topic->n_required != 0));
	}
	return topics;
}

/* By role. tally_bytes_max is the older name of one of them. */
static void add_memory_json(json_t *root, const struct plan *plan, const struct needs *needs)
{
	int tally = plan_role_index(plan, "tally.0");
	json_t *memory = json_object();
	for (unsigned i = 0; i < plan->n_roles; i++)
		if (needs->memory_bytes[i] > 0)
			json_object_set_new(memory, plan->role[i].page.name,
			                    json_integer((json_int_t)needs->memory_bytes[i]));
	json_object_set_new(root, "memory_bytes_max", memory);
	json_object_set_new(root, "tally_bytes_max",
	                    json_integer(tally < 0 ? 0 : (json_int_t)needs->memory_bytes[tally]));
}

static json_t *environment_json(const struct config *config)
{
	json_t *notes = json_array();
	const char *note;
	for (size_t i = 0; (note = config_environment_note(config, i)) != NULL; i++)
		json_array_append_new(notes, json_string(note));
	return notes;
}

static void print_plan_json(const struct config *config, const struct plan *plan, const struct needs *needs)
{
	json_t *segments = json_array();
	plan_each_segment(plan, append_segment, segments);
	json_t *root = json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I}", "instance", plan->instance,
	                         "directory", plan->directory, "topics", topics_json(plan), "segments",
	                         segments, "segments_bytes", (json_int_t)needs->segment_bytes,
	                         "present_bytes", (json_int_t)needs->present_bytes, "available_bytes",
	                         (json_int_t)needs->available_bytes);
	json_object_set_new(root, "environment", environment_json(config));
	add_memory_json(root, plan, needs);
	json_object_set_new(root, "fits", json_boolean(fits(needs)));
	(void)command_print_json(root, JSON_INDENT(2), stdout);
	json_decref(root);
}

static void print_text(const struct config *config, const struct plan *plan, const struct needs *needs)
{
	char size[32];
	const char *note;
	for (size_t i = 0; (note = config_environment_note(config, i)) != NULL; i++)
		printf("environment: %s\n", note);
	plan_print(plan, stdout);
	printf("room in %s: %llu bytes free", needs->root, (unsigned long long)needs->available_bytes);
	if (needs->present_bytes > 0)
		printf(", and %llu of this instance there already", (unsigned long long)needs->present_bytes);
	putchar('\n');
	for (unsigned i = 0; i < plan->n_roles; i++)
		if (needs->memory_bytes[i] > 0)
			printf("memory of %s: at most %s when all its limits are reached\n",
			       plan->role[i].stage->processes == FLOW_ONE ||
			                       plan->role[i].stage->processes == FLOW_LISTENS
			               ? plan->role[i].stage->name
			               : plan->role[i].page.name,
			       plan_size_text(size, needs->memory_bytes[i]));
}

/* ---- the stages' own checks ---- */

struct trying {
	const struct plan *plan;
	struct needs *needs;
};

static void say_finding(void *argument, const struct plan_role *role, enum trial_finding finding,
                        const char *text)
{
	(void)argument;
	(void)role;
	(void)command_fail("check", "%s%s", text,
	                   finding == TRIAL_MISSING  ? " (it will be taken when it comes)"
	                   : finding == TRIAL_UNSEEN ? " (it is for the stage's own unit)"
	                                             : "");
}

/* Printed for the first role of a section; it holds for all of them. */
static void note_memory(void *argument, const struct plan_role *role, uint64_t bytes)
{
	const struct trying *trying = argument;
	for (unsigned i = 0; i < trying->plan->n_roles; i++)
		if (strcmp(trying->plan->role[i].section, role->section) == 0)
			trying->needs->memory_bytes[i] = bytes;
}

/* Asks every stage whether it could start. The stage reads the same files as at a start. */
static int try_stages(const struct config *config, const struct plan *plan, struct needs *needs)
{
	struct trying trying = {plan, needs};
	struct trial trial;
	struct users users;
	char libexec[PATH_MAX];
	int result = program_libexec(libexec, sizeof libexec);
	if (result != 0)
		return command_fail("check", "cannot find the stages: %s", strerror(-result));
	trial_begin(&trial, config, plan, libexec, false, say_finding, &trying);
	trial.memory = note_memory;
	users_find(&users, config, false);
	/* Before the first start data_dir is nobody's who could be asked. */
	if (owners_has_data(&users, config))
		trial.users = &users;
	trial_run(&trial);
	return trial.refused + trial.without == 0 ? 0 : 1;
}

static int show_needs(const struct options *options, const struct config *config, const struct plan *plan)
{
	struct needs needs;
	struct shm_error error = {""};
	int status = 0;
	if (find_folder(config, plan, &needs, &error) != 0)
		status = command_fail("check", "%s", error.text);
	int result = find_needs(plan, &needs);
	if (needs.present)
		folder_release(plan->directory);
	if (try_stages(config, plan, &needs) != 0)
		status = 1;
	if (result != 0) {
		status = command_fail("check", "%s: %s", needs.root, strerror(-result));
	} else {
		if (options->json)
			print_plan_json(config, plan, &needs);
		else
			print_text(config, plan, &needs);
		if (!fits(&needs))
			status = command_fail(
			        "check",
			        "%llu bytes are needed in %s and %llu are free; make topics.*.size smaller or the file system larger (mount -o remount,size=...)",
			        (unsigned long long)(needs.segment_bytes - needs.present_bytes), needs.root,
			        (unsigned long long)needs.available_bytes);
	}
	if (home_try_data_dir(config_string(config, "data_dir"), &error) != 0)
		status = command_fail("check", "%s", error.text);
	return status;
}

static int show_plan(const struct options *options, const struct config *config)
{
	char *errors = NULL;
	struct plan *plan = plan_make(config, &errors);
	int status = 0;
	if (plan == NULL) {
		fputs(errors, stderr);
		free(errors);
		return 1;
	}
	if (!options->flow)
		status = show_needs(options, config, plan);
	else if (options->format != NULL && strcmp(options->format, "dot") == 0)
		plan_print_dot(plan, stdout);
	else
		plan_print_flow(plan, stdout);
	plan_free(plan);
	return status;
}

static int check(struct options *options)
{
	char *errors = NULL, name[64];
	const char *sets[ARGUMENT_LIST_MAX + 1];
	size_t n = options->sets.n;
	memcpy(sets, options->sets.item, n * sizeof *sets);
	if (options->instance != NULL) {
		snprintf(name, sizeof name, "instance=%s", options->instance);
		sets[n++] = name;
	}
	struct config *config = config_load_to_start(options->file, sets, n, &errors);
	int status = 1;
	if (config == NULL)
		fputs(errors, stderr);
	else if (options->effective)
		status = config_write(config, NULL, stdout) == 0 ? 0 : 1;
	else
		status = show_plan(options, config);
	config_free(config);
	free(errors);
	return status;
}

int command_check(int argc, char **argv)
{
	struct options options = {0};
	const struct argument table[] = {
	        {"config", 'c', ARGUMENT_STRING, "FILE", "the configuration (default: the embedded one)",
	         &options.file, 0, 0, NULL},
	        {"set", 0, ARGUMENT_LIST, "KEY=VALUE",
	         "replace one value of it, VALUE being YAML; may be given several times", &options.sets, 0, 0,
	         NULL},
	        {"instance", 0, ARGUMENT_STRING, "NAME",
	         "name of the instance (default: $MILLRACE_INSTANCE, or as configured)", &options.instance, 0,
	         0, NULL},
	        {"json", 0, ARGUMENT_FLAG, NULL, "print what is needed as JSON", &options.json, 0, 0, NULL},
	        {"flow", 0, ARGUMENT_FLAG, NULL,
	         "draw the flow instead: stages with their processes, topics with their lanes and groups, queues",
	         &options.flow, 0, 0, NULL},
	        {"format", 0, ARGUMENT_CHOICE, "FORMAT",
	         "of the flow: text (default), or dot, a graph for Graphviz", &options.format, 0, 0,
	         "text dot"},
	        {"effective", 0, ARGUMENT_FLAG, NULL, "print the whole configuration that would be in force",
	         &options.effective, 0, 0, NULL},
	        {"default", 0, ARGUMENT_FLAG, NULL, "print the embedded configuration, to begin a file with",
	         &options.text, 0, 0, NULL},
	        {"keys", 0, ARGUMENT_FLAG, NULL, "list all keys with their types, limits and meaning",
	         &options.keys, 0, 0, NULL},
	};
	const struct arguments arguments = {
	        .command = "check",
	        .usage = "[-c FILE] [--set KEY=VALUE]... [--json|--flow|--effective|--default|--keys]",
	        .purpose =
	                "Checks a configuration and the files that it names, reports every error, and prints what it would start:\n"
	                "listeners, topics, stages, and each segment with its exact bytes. The stages' programs read their\n"
	                "files as they would at their start; nothing is created. A credential (credential:NAME) that is\n"
	                "another unit's alone is taken as set, and named.",
	        .example = "  millrace check -c millrace.yaml\n"
	                   "  millrace check --flow --format dot | dot -Tsvg > flow.svg",
	        .table = table,
	        .n = sizeof table / sizeof table[0],
	};
	struct operands operands;
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status == ARGUMENTS_GO_ON && options.format != NULL && !options.flow)
		status = arguments_error(&arguments, "--format: is the format of --flow");
	if (status == ARGUMENTS_GO_ON) {
		status = 0;
		if (options.text)
			fputs(config_default_text(), stdout);
		else if (options.keys)
			print_keys();
		else
			status = check(&options);
	}
	return status;
}
