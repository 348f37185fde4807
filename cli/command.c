#include "cli/command.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/clock.h"
#include "base/program.h"
#include "cli/arguments.h"
#include "config/config.h"
#include "shm/folder.h"
#include "shm/life.h"

#define LINE_MAX_BYTES 4096u

static const struct command table[] = {
#define COMMAND(name, help, function) {name, help, function},
#include "cli/command.def"
#undef COMMAND
};

const struct command *command_table(size_t *n)
{
	*n = sizeof table / sizeof table[0];
	return table;
}

int command_fail(const char *name, const char *text, ...)
{
	char said[LINE_MAX_BYTES], line[6 * LINE_MAX_BYTES]; /* an escape takes up to 6 bytes */
	va_list list;
	va_start(list, text);
	vsnprintf(said, sizeof said, text, list);
	va_end(list);
	struct text out = {.at = line, .end = line + sizeof line};
	text_plain(&out, (const unsigned char *)said, strlen(said));
	fprintf(stderr, "millrace %s: %.*s\n", name, (int)(out.at - line), line);
	return 1;
}

const char *command_instance(void)
{
	return segment_instance(NULL);
}

struct config *command_config(const char *command, const char *file, const struct argument_list *sets,
                              const char *instance)
{
	char directory[128], *errors = NULL;
	bool running = false; /* the instance's configuration is used */
	if (file == NULL && sets->n == 0 && segment_directory(directory, sizeof directory, instance) == 0) {
		struct stat status;
		int result = folder_stat(directory, CONFIG_INSTANCE_FILE, &status);
		if (result != 0 && result != -ENOENT) {
			command_fail(command,
			             "%s/" CONFIG_INSTANCE_FILE ": %s; name the folder: --set data_dir=DIR",
			             directory, strerror(-result));
			return NULL;
		}
		running = result == 0;
	}
	struct config *config = running ? config_load_instance(directory, sets->item, sets->n, &errors)
	                                : config_load(file, sets->item, sets->n, &errors);
	if (config == NULL)
		fputs(errors, stderr);
	free(errors);
	return config;
}

int command_no_instance(const char *command, const char *name, int result, const struct shm_error *error)
{
	char directory[PATH_MAX] = "";
	(void)segment_directory(directory, sizeof directory, name);
	switch (result) {
	case -ENOENT:
		return command_fail(
		        command,
		        "instance \"%s\" is not running (no %s); start it with: millrace run --instance %s",
		        name, directory, name);
	case -EACCES:
	case -EPERM:
		return command_fail(
		        command, "instance \"%s\" belongs to another user (%s: %s); use its account or root",
		        name, directory, strerror(-result));
	case -EINVAL:
		return command_fail(command, "\"%s\" is not a name for an instance; allowed: " SHM_NAME_RULE,
		                    name);
	default:
		return command_fail(command, "instance \"%s\": %s", name,
		                    error->text[0] != 0 ? error->text : strerror(-result));
	}
}

int command_attach(const char *command, struct instance *instance, const char *name,
                   enum segment_access access)
{
	struct shm_error error = {""};
	int result = instance_attach(instance, name, access, &error);
	return result == 0 ? 0 : command_no_instance(command, name, result, &error);
}

int command_say_down(const char *command, const struct instance *instance, const char *name)
{
	return command_fail(
	        command,
	        "instance \"%s\" is down: no supervisor runs it, and what its last run left waits in %s; start it with: millrace run --instance %s",
	        name, instance->directory, name);
}

void command_follow(struct command_follow *follow, const char *command, const struct instance *instance,
                    const char *name)
{
	uint64_t now_ns = clock_monotonic_ns();
	if (now_ns < follow->next_ns)
		return;
	follow->next_ns = now_ns + NS_PER_SEC;
	bool down = !life_supervised(instance);
	if (down && !follow->down)
		(void)command_fail(
		        command,
		        "the supervisor of instance \"%s\" has died; waiting for another: millrace run --instance %s",
		        name, name);
	else if (!down && follow->down)
		(void)command_fail(command, "instance \"%s\" is run again", name);
	follow->down = down;
}

int command_exec(const char *command, const char *program, const char *const *arguments, size_t n)
{
	char folder[PATH_MAX], path[PATH_MAX];
	int result = program_libexec(folder, sizeof folder);
	if (result == 0 && snprintf(path, sizeof path, "%s/%s", folder, program) >= (int)sizeof path)
		result = -ENAMETOOLONG;
	if (result < 0)
		return command_fail(command, "cannot find %s: %s", program, strerror(-result));
	char **argv = calloc(n + 2, sizeof *argv);
	if (argv == NULL)
		return command_fail(command, "%s", strerror(ENOMEM));
	argv[0] = path;
	for (size_t i = 0; i < n; i++)
		argv[i + 1] = (char *)arguments[i];
	signal(SIGPIPE, SIG_DFL); /* an ignored signal would stay ignored in the new program */
	signal(SIGXFSZ, SIG_DFL);
	execv(path, argv);
	result = errno;
	free(argv);
	return command_fail(command, "cannot start %s: %s; set MILLRACE_LIBEXEC to the folder that holds it",
	                    path, strerror(result));
}

int command_write(int fd, const void *data, size_t bytes, const volatile bool *stop)
{
	const char *at = data;
	while (bytes > 0) {
		ssize_t n = write(fd, at, bytes);
		if (n < 0 && errno == EINTR && (stop == NULL || !*stop))
			continue;
		if (n < 0)
			return -errno;
		at += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static volatile bool stopped;
static volatile uint64_t stopped_ns;

/* timeout(1) sends its signal twice in a row, to the process and to its group. Count that as
 * one. */
static void set_stopped(int signal_number)
{
	uint64_t now = clock_monotonic_ns();
	if (!stopped) {
		stopped_ns = now;
		stopped = true;
	} else if (now - stopped_ns > NS_PER_SEC) {
		signal(signal_number, SIG_DFL);
		raise(signal_number);
	}
}

const volatile bool *command_stop_on_signals(void)
{
	struct sigaction action = {.sa_handler = set_stopped}; /* no SA_RESTART: waits end */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	return &stopped;
}

int command_print_json(const json_t *root, size_t flags, FILE *out)
{
	char *json = json_dumps(root, flags);
	if (json == NULL)
		return -ENOMEM;
	/* DEL is the only one-byte character that is escaped: it takes 6 bytes. Of the others, each
	 * byte takes at most 3. */
	size_t bytes = strlen(json), room = 6 * bytes + 1;
	char *line = malloc(room);
	int result = line == NULL ? -ENOMEM : 0;
	if (line != NULL) {
		struct text text = {.at = line, .end = line + room};
		text_json(&text, (const unsigned char *)json, bytes);
		text_literal(&text, "\n");
		fwrite(line, 1, (size_t)(text.at - line), out);
	}
	free(line);
	free(json);
	return result;
}
