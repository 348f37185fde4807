#include "stage/file.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "stage/help.h"
#include "base/log.h"
#include "stage/signature.h"
#include "stage/stage.h"

#define RETRY_NS NS_PER_SEC /* between two tries while nothing is in force */

/* One file of a running stage. */
struct stage_file_state {
	const struct stage_file *file;
	char key[sizeof((struct control_file *)NULL)->option];
	struct signature judged; /* of what was last taken or refused */
	bool judged_any;
	uint64_t tried_ns; /* CLOCK_MONOTONIC */
	struct control_file shown;
};

struct stage_files {
	struct stage_file_state state[CONTROL_FILES_MAX];
	unsigned n;
	uint64_t reloads; /* of the control block, that have been followed */
};

/* ---- finding and loading ---- */

static const struct stage_file *file_of(const struct stage_ops *ops, const char *key)
{
	const char *dot = strrchr(key, '.'), *option = dot == NULL ? key : dot + 1;
	for (unsigned i = 0; i < ops->n_files; i++)
		if (strcmp(ops->files[i].option, option) == 0)
			return &ops->files[i];
	fprintf(stderr, "%s: an option names a file that the stage does not read: %s\n", ops->name, key);
	abort();
}

/* Returns 0, -ENOENT when there is none, or another -errno. */
static int find(const struct stage_file *file, char path[PATH_MAX], const char *configured)
{
	if (config_credential(configured) != NULL) { /* of another process: stage_files_check */
		path[0] = '\0';
		return -ENOENT;
	}
	if (file->find != NULL)
		return file->find(path, PATH_MAX, configured);
	int n = snprintf(path, PATH_MAX, "%s", configured);
	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	return n == 0 ? -ENOENT : 0;
}

int stage_file_load(const struct stage_file *file, const struct config *config, const char *key,
                    void **loaded, struct shm_error *error)
{
	char path[PATH_MAX];
	struct shm_error why = {""};
	*loaded = NULL;
	int result = find(file, path, config_string(config, "%s", key));
	if (result == -ENOENT)
		return 0;
	if (result == 0)
		result = file->load(config, path, loaded, &why);
	if (result != 0)
		shm_explain(error, "%s: %s", key, why.text[0] != '\0' ? why.text : strerror(-result));
	return result;
}

struct naming {
	const struct stage_ops *ops;
	void (*each)(void *argument, const char *path);
	void *argument;
};

static void name_file(void *argument, const char *key, const char *configured)
{
	struct naming *naming = argument;
	const struct stage_file *file = file_of(naming->ops, key);
	char path[PATH_MAX] = "", beside[PATH_MAX];
	int result = find(file, path, configured);
	if ((result != 0 && result != -ENOENT) || path[0] == '\0')
		return;
	naming->each(naming->argument, path);
	if (file->beside != NULL && file->beside(beside, sizeof beside, path) == 0)
		naming->each(naming->argument, beside);
}

void stage_files_each(const struct stage_ops *ops, const struct config *config, const char *section,
                      void (*each)(void *argument, const char *path), void *argument)
{
	struct naming naming = {.ops = ops, .each = each, .argument = argument};
	if (ops->n_files != 0)
		config_each_file(config, section, name_file, &naming);
}

/* ---- a running stage ---- */

static void show(const struct stage *stage, const struct stage_file_state *state)
{
	control_show_file(stage->control, (unsigned)(state - stage->files->state), &state->shown);
}

/* Without the key, which is shown next to it. */
static void set_refusal(struct stage_file_state *state, const char *refusal)
{
	size_t n = strlen(state->key);
	if (strncmp(refusal, state->key, n) == 0 && strncmp(refusal + n, ": ", 2) == 0)
		refusal += n + 2;
	snprintf(state->shown.refusal, sizeof state->shown.refusal, "%s", refusal);
	state->shown.refused_ns = refusal[0] != '\0' ? clock_real_ns() : 0;
}

static int look(const struct stage *stage, struct stage_file_state *state, struct signature *signature)
{
	char path[PATH_MAX] = "";
	int result = find(state->file, path, config_string(stage->config, "%s", state->key));
	snprintf(state->shown.path, sizeof state->shown.path, "%.*s", (int)sizeof state->shown.path - 1,
	         path);
	return result == 0 ? signature_take(signature, path) : result;
}

static void begin_file(void *argument, const char *key, const char *path)
{
	struct stage *stage = argument;
	struct stage_files *files = stage->files;
	const struct stage_file *file = file_of(stage->ops, key);
	if ((path[0] == '\0' && file->find == NULL) || files->n == CONTROL_FILES_MAX)
		return;
	struct stage_file_state *state = &files->state[files->n++];
	state->file = file;
	snprintf(state->key, sizeof state->key, "%s", key);
	memcpy(state->shown.option, state->key, sizeof state->key);
	state->judged_any = look(stage, state, &state->judged) == 0;
}

int stage_files_begin(struct stage *stage, struct shm_error *error)
{
	char section[SHM_NAME_MAX + 16];
	if (stage->ops->n_files == 0)
		return 0;
	int result = stage_section(stage, section, sizeof section, error);
	if (result != 0)
		return result;
	stage->files = calloc(1, sizeof *stage->files);
	if (stage->files == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	/* Noted before anything is read, so that a later change is read again. */
	stage->files->reloads = atomic_load_explicit(&stage->control->reloads, memory_order_acquire);
	config_each_file(stage->config, section, begin_file, stage);
	return 0;
}

void stage_files_started(struct stage *stage)
{
	for (unsigned i = 0; stage->files != NULL && i < stage->files->n; i++) {
		struct stage_file_state *state = &stage->files->state[i];
		if (state->judged_any && state->shown.refusal[0] == '\0' && state->file->replace != NULL)
			state->shown.in_force_ns = clock_real_ns();
		show(stage, state);
	}
}

void stage_files_end(struct stage *stage)
{
	free(stage->files);
	stage->files = NULL;
}

static void refuse(struct stage *stage, struct stage_file_state *state, const char *reason)
{
	struct control_file before = state->shown;
	set_refusal(state, reason);
	show(stage, state);
	if (strcmp(before.refusal, state->shown.refusal) != 0)
		log_error("the file is refused", "key=%s instead=%s reason=\"%s\"", state->key,
		          state->shown.in_force_ns == 0 ? "nothing" : "the-old-one", state->shown.refusal);
}

static void read_again(struct stage *stage, struct stage_file_state *state)
{
	struct signature signature;
	struct shm_error error = {""};
	void *loaded = NULL;
	state->tried_ns = stage->now_ns;
	int result = look(stage, state, &signature);
	if (result != 0) {
		/* No refusal for a file that no option names and that has never been there. */
		shm_explain(&error, "%s: %s", state->shown.path, strerror(-result));
		if (config_string(stage->config, "%s", state->key)[0] != '\0' || state->judged_any)
			refuse(stage, state, error.text);
		state->judged_any = false;
		return;
	}
	if (state->judged_any && signature_same(&signature, &state->judged))
		return;
	state->judged = signature;
	state->judged_any = true;
	if (stage_file_load(state->file, stage->config, state->key, &loaded, &error) != 0) {
		refuse(stage, state, error.text);
		return;
	}
	if (loaded == NULL)
		return; /* it has gone since */
	state->file->replace(stage, loaded);
	state->shown.in_force_ns = clock_real_ns();
	set_refusal(state, "");
	show(stage, state);
	log_info("the file was read again and is in force", "key=%s file=\"%s\"", state->key,
	         state->shown.path);
}

void stage_files_tick(struct stage *stage)
{
	struct stage_files *files = stage->files;
	if (files == NULL)
		return;
	uint64_t reloads = atomic_load_explicit(&stage->control->reloads, memory_order_acquire);
	bool wanted = reloads != files->reloads;
	files->reloads = reloads;
	for (unsigned i = 0; i < files->n; i++) {
		struct stage_file_state *state = &files->state[i];
		bool again = state->shown.in_force_ns == 0 && stage->now_ns - state->tried_ns >= RETRY_NS;
		if (state->file->replace != NULL && (wanted || again))
			read_again(stage, state);
	}
}

void stage_file_report(struct stage *stage, const char *option, bool in_force, const char *refusal)
{
	for (unsigned i = 0; stage->files != NULL && i < stage->files->n; i++) {
		struct stage_file_state *state = &stage->files->state[i];
		if (strcmp(state->file->option, option) != 0)
			continue;
		if (in_force)
			state->shown.in_force_ns = clock_real_ns();
		set_refusal(state, refusal == NULL ? "" : refusal);
		show(stage, state);
	}
}

/* ---- --check ---- */

struct checking {
	const struct stage_ops *ops;
	const struct config *config;
	FILE *out;
};

/* One line, whatever the text quotes of a hostile file: after a line break it would be another
 * finding. */
static void print_finding(FILE *out, const char *word, const char *text)
{
	char line[6 * sizeof((struct shm_error *)NULL)->text];
	struct text plain = {.at = line, .end = line + sizeof line};
	text_plain(&plain, (const unsigned char *)text, strlen(text));
	fprintf(out, "%s %.*s\n", word, (int)(plain.at - line), line);
}

static void check_file(void *argument, const char *key, const char *configured)
{
	struct checking *checking = argument;
	const struct stage_file *file = file_of(checking->ops, key);
	char path[PATH_MAX];
	struct signature signature;
	struct shm_error error = {""};
	void *loaded = NULL;
	int result = find(file, path, configured);
	if (result == -ENOENT)
		return; /* none is named, and the stage can do without */
	if (file->dispensable && result == 0 && signature_take(&signature, path) == -ENOENT) {
		shm_explain(&error, "%s: %s: %s", key, path, strerror(ENOENT));
		print_finding(checking->out, "missing", error.text);
		return;
	}
	if (stage_file_load(file, checking->config, key, &loaded, &error) != 0)
		print_finding(checking->out, file->dispensable ? "without" : "refused", error.text);
	if (loaded != NULL)
		file->discard(loaded);
}

static void tell_unseen(void *argument, const char *key, const char *name)
{
	struct checking *checking = argument;
	struct shm_error text = {""};
	shm_explain(&text, "%s: the credential %s is not here, so nobody has looked at it", key, name);
	print_finding(checking->out, "unseen", text.text);
}

bool stage_layout_fits(const char *hash, FILE *out)
{
	uint64_t layout = segment_layout_hash();
	if (strtoull(hash, NULL, 16) == layout)
		return true;
	fprintf(out, "layout the segments have layout %.16s, this program has %016llx\n", hash,
	        (unsigned long long)layout);
	return false;
}

/* Whoever starts an instance by hand may have them in the environment. */
static bool take_credentials(struct config *config, const char *section, FILE *out)
{
	char *errors, *rest;
	if (config_take_credentials(config, section, false, &errors) == 0)
		return true;
	rest = errors;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;)
		if (line[0] != '\0')
			print_finding(out, "refused", line);
	free(errors);
	return false;
}

int stage_files_check(const struct stage_ops *ops, struct config *config, const char *section, FILE *out)
{
	struct checking checking = {.ops = ops, .config = config, .out = out};
	struct shm_error error = {""};
	if (ops->memory_max != NULL)
		fprintf(out, "memory %llu\n", (unsigned long long)ops->memory_max(config, section));
	if (!take_credentials(config, section, out))
		return fflush(out) == 0 && ferror(out) == 0 ? 0 : -EIO;
	config_each_file(config, section, check_file, &checking);
	config_each_credential(config, section, tell_unseen, &checking);
	if (ops->check != NULL && ops->check(config, section, &error) != 0)
		print_finding(out, "refused", error.text);
	return fflush(out) == 0 && ferror(out) == 0 ? 0 : -EIO;
}
