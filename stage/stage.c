#include "stage/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stage/help.h"
#include "flow/flow.h"
#include "base/log.h"
#include "stage/loop.h"
#include "stage/notify.h"
#include "stage/handed.h"
#include "stage/passed.h"
#include "stage/sandbox.h"
#include "base/output.h"

#define LOCK_WAIT_MS 5000
#define SETS_MAX     64u

enum { EXIT_DRAINED = 0, EXIT_CANNOT_START = 1, EXIT_USAGE = 2, EXIT_LOST = 3, EXIT_OUTDATED = 4 };

struct arguments {
	const char *instance, *role, *input, *output, *check, *layout;
	int socket[STAGE_SOCKETS_MAX];
	unsigned n_sockets;
	struct stage_frames frames[STAGE_FRAMES_MAX];
	unsigned n_frames;
	int gate; /* -1: none */
	const char *set[SETS_MAX];
	size_t n_sets;
};

/* ---- command line ---- */

static int usage_error(const struct stage_ops *ops, const char *what, const char *which)
{
	fprintf(stderr, "%s: %s%s%s; %s --help tells more\n", ops->name, what, which[0] != '\0' ? ": " : "",
	        which, ops->name);
	return -EINVAL;
}

/* A number, up to a character that ends it; *text is moved past that. */
static bool take_number(const char **text, char ends, long *number)
{
	char *end;
	errno = 0;
	*number = strtol(*text, &end, 10);
	if (end == *text || *end != ends || errno != 0 || *number < 0 || *number > 1 << 20)
		return false;
	*text = end + (ends != '\0');
	return true;
}

static int add_socket(struct arguments *arguments, const struct stage_ops *ops, const char *text)
{
	const char *rest = text;
	long fd;
	if (!take_number(&rest, '\0', &fd))
		return usage_error(ops, "--socket takes the number of an open descriptor", text);
	if (arguments->n_sockets == STAGE_SOCKETS_MAX)
		return usage_error(ops, "too many sockets", text);
	arguments->socket[arguments->n_sockets++] = (int)fd;
	return 0;
}

static int add_frames(struct arguments *arguments, const struct stage_ops *ops, const char *text)
{
	const char *rest = text;
	long fd, queue, count;
	if (!take_number(&rest, ':', &fd) || !take_number(&rest, ':', &queue) ||
	    !take_number(&rest, '\0', &count))
		return usage_error(ops, "--frames takes descriptor:queue:frames", text);
	if (arguments->n_frames == STAGE_FRAMES_MAX)
		return usage_error(ops, "too many --frames", text);
	arguments->frames[arguments->n_frames++] =
	        (struct stage_frames){.socket = (int)fd, .queue = (unsigned)queue, .count = (unsigned)count};
	return 0;
}

static int set_gate(struct arguments *arguments, const struct stage_ops *ops, const char *text)
{
	const char *rest = text;
	long fd;
	if (!take_number(&rest, '\0', &fd))
		return usage_error(ops, "--gate takes the number of an open descriptor", text);
	arguments->gate = (int)fd;
	return 0;
}

/* Which of the two lives the arguments ask for. */
static int check_arguments(const struct arguments *arguments, const struct stage_ops *ops)
{
	bool joins = arguments->instance != NULL || arguments->role != NULL || arguments->n_sockets > 0 ||
	             arguments->n_frames > 0 || arguments->gate >= 0;
	bool alone = arguments->input != NULL || arguments->output != NULL || arguments->n_sets > 0;
	if (arguments->layout != NULL && arguments->check == NULL)
		return usage_error(ops, "--layout goes with --check", "");
	if (arguments->check != NULL) {
		if (joins || alone)
			return usage_error(ops, "--check stands alone", "");
		return 0;
	}
	if (joins && alone)
		return usage_error(
		        ops,
		        "--instance, --role, --socket, --frames, --gate and --input, --output, --set exclude each other",
		        "");
	if (joins && (arguments->instance == NULL || arguments->role == NULL))
		return usage_error(ops, "--instance and --role go together", "");
	if ((arguments->n_frames > 0) != (arguments->gate >= 0))
		return usage_error(ops, "--frames and --gate go together", "");
	if (!joins && arguments->input == NULL)
		return usage_error(ops, "--instance and --role, or --input, are needed", "");
	if (alone && ops->alone == NULL)
		return usage_error(ops, "this stage has nothing to do alone", "");
	return 0;
}

/* Returns 0 to go on, 1 when all is said (--help), -EINVAL after a message. */
static int parse_arguments(struct arguments *arguments, int argc, char **argv, const struct stage_ops *ops)
{
	static const struct option options[] = {
	        {"instance", required_argument, NULL, 'i'},
	        {"role", required_argument, NULL, 'r'},
	        {"socket", required_argument, NULL, 's'},
	        {"frames", required_argument, NULL, 'f'},
	        {"gate", required_argument, NULL, 'g'},
	        {"input", required_argument, NULL, 'I'},
	        {"output", required_argument, NULL, 'O'},
	        {"set", required_argument, NULL, 'S'},
	        {"check", required_argument, NULL, 'c'},
	        {"help", no_argument, NULL, 'h'},
	        {"version", no_argument, NULL, 'v'},
	        {"layout", required_argument, NULL, 'l'},
	        {NULL, 0, NULL, 0},
	};
	int option, result = 0;
	opterr = 0;
	while (result == 0 && (option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (option) {
		case 'i':
			arguments->instance = optarg;
			break;
		case 'r':
			arguments->role = optarg;
			break;
		case 's':
			result = add_socket(arguments, ops, optarg);
			break;
		case 'f':
			result = add_frames(arguments, ops, optarg);
			break;
		case 'g':
			result = set_gate(arguments, ops, optarg);
			break;
		case 'I':
			arguments->input = optarg;
			break;
		case 'O':
			arguments->output = optarg;
			break;
		case 'S':
			if (arguments->n_sets == SETS_MAX)
				return usage_error(ops, "too many --set", optarg);
			arguments->set[arguments->n_sets++] = optarg;
			break;
		case 'c':
			arguments->check = optarg;
			break;
		case 'l':
			arguments->layout = optarg;
			break;
		case 'h':
			help_write(ops, stdout);
			return 1;
		case 'v':
			printf("%s (millrace) %s\n", ops->name, MILLRACE_VERSION);
			return 1;
		case ':':
			return usage_error(ops, "needs a value", argv[optind - 1]);
		default:
			return usage_error(ops, "unknown option", argv[optind - 1]);
		}
	}
	if (result == 0 && optind < argc)
		return usage_error(ops, "takes no such argument", argv[optind]);
	return result != 0 ? result : check_arguments(arguments, ops);
}

/* ---- configuration ---- */

/* Logs each line of errors and frees them. */
static void log_config_errors(char *errors)
{
	char *rest = errors;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;)
		if (line[0] != '\0')
			log_error("configuration", "reason=%s", line);
	free(errors);
}

/* Says what is wrong, or takes from the configuration how to log. */
static struct config *take_config(const struct stage_ops *ops, struct config *config, char *errors)
{
	if (config == NULL)
		log_config_errors(errors);
	else
		log_init_words(ops->name, config_string(config, "log.level"),
		               config_string(config, "log.format"));
	return config;
}

static struct config *load_config(const struct stage_ops *ops, const char *path, const char *const *sets,
                                  size_t n_sets)
{
	char *errors;
	struct config *config = config_load(path, sets, n_sets, &errors);
	return take_config(ops, config, errors);
}

/* ---- before it is started ---- */

static int run_check(const char *section, const char *layout, const struct stage_ops *ops)
{
	if (layout != NULL && !stage_layout_fits(layout, stdout))
		return output_finish(ops->name) == 0 ? EXIT_DRAINED : EXIT_CANNOT_START;
	struct config *config = load_config(ops, "/dev/stdin", NULL, 0);
	if (config == NULL)
		return EXIT_CANNOT_START;
	sandbox_check(config);
	int result = stage_files_check(ops, config, section, stdout);
	config_free(config);
	if (result != 0)
		log_error("cannot write", "reason=%s", strerror(-result));
	return result == 0 ? EXIT_DRAINED : EXIT_CANNOT_START;
}

/* ---- alone ---- */

static FILE *open_stream(const char *path, const char *mode, FILE *standard)
{
	if (path == NULL || strcmp(path, "-") == 0)
		return standard;
	FILE *stream = fopen(path, mode);
	if (stream == NULL)
		log_error("cannot open", "file=%s reason=%s", path, strerror(errno));
	return stream;
}

static int run_alone(const struct arguments *arguments, const struct stage_ops *ops)
{
	int status = EXIT_CANNOT_START;
	struct config *config = load_config(ops, NULL, arguments->set, arguments->n_sets);
	char *errors;
	if (config != NULL && config_take_credentials(config, "", true, &errors) != 0) {
		log_config_errors(errors);
		config_free(config);
		return status;
	}
	FILE *input = config == NULL ? NULL : open_stream(arguments->input, "re", stdin);
	FILE *output = input == NULL ? NULL : open_stream(arguments->output, "we", stdout);
	if (output != NULL) {
		status = ops->alone(config, input, output);
		if (fflush(output) != 0 || ferror(output)) {
			log_error("cannot write", "file=%s reason=%s",
			          arguments->output == NULL ? "-" : arguments->output, strerror(errno));
			status = EXIT_CANNOT_START;
		}
	}
	if (output != NULL && output != stdout && fclose(output) != 0)
		status = EXIT_CANNOT_START;
	if (input != NULL && input != stdin)
		fclose(input);
	config_free(config);
	return status;
}

/* ---- a role in an instance ---- */

static int check_role(struct stage *stage, struct shm_error *error)
{
	const struct flow_stage *row = flow_stage_find(stage->ops->name);
	const char *dot = strrchr(stage->role, '.');
	int i = instance_role_index(&stage->instance, stage->role);
	bool named = row != NULL && row->kinds != NULL; /* after its entry, else numbered */
	if (dot == NULL || dot[1] == '\0' || i < 0 ||
	    (!named && strspn(dot + 1, "0123456789") != strlen(dot + 1))) {
		shm_explain(error, "the instance has no role \"%.40s\"; millrace stat lists those it has",
		            stage->role);
		return -ENOENT;
	}
	const char *program = stage->instance.page->role[i].program;
	if (strcmp(program, stage->ops->name) != 0) {
		shm_explain(error, "the role \"%s\" is for the program %s", stage->role, program);
		return -EINVAL;
	}
	stage->index = named ? 0 : (unsigned)strtoul(dot + 1, NULL, 10);
	return 0;
}

static int check_descriptor(const char *option, int fd, struct shm_error *error)
{
	if (fcntl(fd, F_GETFD) >= 0)
		return 0;
	shm_explain(error, "%s %d: %s", option, fd, strerror(errno));
	return -EBADF;
}

static int check_sockets(const struct stage *stage, struct shm_error *error)
{
	int result = 0;
	for (unsigned i = 0; i < stage->n_sockets && result == 0; i++)
		result = check_descriptor("--socket", stage->socket[i], error);
	for (unsigned i = 0; i < stage->n_frames && result == 0; i++)
		result = check_descriptor("--frames", stage->frames[i].socket, error);
	if (result == 0 && stage->n_frames > 0)
		result = check_descriptor("--gate", stage->gate, error);
	return result;
}

/* Law: one live process per role. The lock's file stays open as long as the process lives. */
static int lock_role(struct stage *stage, struct shm_error *error)
{
	char file[SEGMENT_NAME_MAX];
	int owner = 0;
	snprintf(file, sizeof file, "%s.role", stage->role);
	stage->role_lock = instance_lock(stage->instance.directory, file, LOCK_WAIT_MS, &owner);
	if (stage->role_lock >= 0)
		return 0;
	if (stage->role_lock == -EWOULDBLOCK)
		shm_explain(error, "the role \"%s\" belongs to process %d, which is alive", stage->role,
		            owner);
	else
		shm_explain(error, "%s/%s: %s", stage->instance.directory, file, strerror(-stage->role_lock));
	return stage->role_lock;
}

static void set_state(struct stage *stage, enum stage_state state)
{
	stage_heartbeat(stage);
	atomic_store_explicit(&stage->control->state, state, memory_order_release);
}

static int attach_control(struct stage *stage, struct shm_error *error)
{
	char name[SEGMENT_NAME_MAX];
	int result =
	        segment_attach(&stage->control_segment, stage->instance.directory,
	                       instance_stage_name(name, stage->role), SEGMENT_STAGE, SEGMENT_WRITE, error);
	if (result != 0)
		return result;
	if (stage->control_segment.body_bytes < sizeof(struct control)) {
		shm_explain(error, "%s is smaller than a control block", name);
		return -EPROTO;
	}
	stage->control = stage->control_segment.body;
	atomic_store_explicit(&stage->control->pid, (uint32_t)getpid(), memory_order_relaxed);
	atomic_store_explicit(&stage->control->started_ns, clock_real_ns(), memory_order_relaxed);
	set_state(stage, STAGE_STARTING);
	control_declare_stage(stage->control, stage->ops->metrics, stage->ops->n_metrics);
	control_note(stage->control, "%s", "");
	for (unsigned i = 0; i < CONTROL_FILES_MAX; i++)
		control_show_file(stage->control, i, NULL);
	return 0;
}

/* The configuration in force lies in the same folder as the segments; the instance's name is the
 * one that was joined. */
static int load_instance_config(struct stage *stage, const char *instance, struct shm_error *error)
{
	char set[64], *errors;
	snprintf(set, sizeof set, "instance=\"%s\"", instance);
	struct config *config =
	        config_load_instance(stage->instance.directory, (const char *const[]){set}, 1, &errors);
	stage->config = take_config(stage->ops, config, errors);
	if (stage->config != NULL)
		return 0;
	shm_explain(error, "%s/" CONFIG_INSTANCE_FILE " cannot be used", stage->instance.directory);
	return -EINVAL;
}

/* Those of its own section, and no others; then what a service manager has for it. */
static int take_secrets(struct stage *stage, struct shm_error *error)
{
	char section[SHM_NAME_MAX + 16], *errors;
	int result = stage_section(stage, section, sizeof section, error);
	if (result != 0)
		return result;
	result = config_read_secrets(stage->config, stage->instance.directory, section, stage->role, &errors);
	if (result != 0)
		shm_explain(error, "its secrets cannot be used");
	else if ((result = config_take_credentials(stage->config, section, true, &errors)) != 0)
		shm_explain(error, "a credential cannot be used");
	if (result != 0)
		log_config_errors(errors);
	return result;
}

static int enter_sandbox(struct stage *stage, struct shm_error *error)
{
	char section[SHM_NAME_MAX + 16];
	int result = stage_section(stage, section, sizeof section, error);
	if (result != 0)
		return result;
	const struct sandbox_place place = {
	        .page = stage->instance.page, .directory = stage->instance.directory, .role = stage->role};
	return sandbox_enter(&stage->sandbox, stage->ops, stage->config, section, &place, error);
}

/* What the stage has opened it closes again where its sandbox cannot be shut behind it. */
static int init(struct stage *stage, struct shm_error *error)
{
	int result = stage->ops->init(stage, error);
	if (result != 0)
		return result;
	result = sandbox_close(stage->sandbox, stage->role, error);
	if (result != 0 && stage->ops->fini != NULL)
		stage->ops->fini(stage);
	return result;
}

/* Everything up to the loop. On failure error tells why, and the control block, when there is one,
 * says FAILED. */
static int join(struct stage *stage, const char *instance, struct loop_parent *parent,
                struct shm_error *error)
{
	int result = instance_attach(&stage->instance, instance, SEGMENT_READ, error);
	if (result != 0)
		return result;
	parent->supervisor =
	        atomic_load_explicit(&stage->instance.page->supervisor_pid, memory_order_relaxed);
	result = load_instance_config(stage, instance, error);
	if (result == 0)
		result = check_role(stage, error);
	if (result == 0)
		result = take_secrets(stage, error);
	if (result == 0)
		result = passed_take(stage, error);
	if (result == 0)
		result = handed_take(stage, error);
	if (result == 0)
		result = check_sockets(stage, error);
	if (result == 0)
		result = lock_role(stage, error);
	if (result == 0)
		result = attach_control(stage, error);
	if (result != 0)
		return result;
	stage->reloads = atomic_load_explicit(&stage->control->reloads, memory_order_acquire);
	result = stage_files_begin(stage, error);
	if (result == 0 && stage->ops->before != NULL)
		result = stage->ops->before(stage, error);
	if (result == 0)
		result = enter_sandbox(stage, error);
	if (result == 0)
		result = init(stage, error);
	if (result == 0)
		stage_files_started(stage);
	else
		set_state(stage, STAGE_FAILED);
	return result;
}

static void leave(struct stage *stage)
{
	stage_files_end(stage);
	sandbox_free(stage->sandbox);
	segment_detach(&stage->control_segment);
	instance_detach(&stage->instance);
	config_free(stage->config);
	/* The role's lock goes with the process, after everything else. */
}

static int run_role(const struct arguments *arguments, const struct stage_ops *ops)
{
	struct loop_parent parent;
	loop_watch_parent(&parent);
	notify_open();
	struct shm_error error = {{0}};
	struct stage stage = {.ops = ops,
	                      .role = arguments->role,
	                      .role_lock = -1,
	                      .n_sockets = arguments->n_sockets,
	                      .n_frames = arguments->n_frames,
	                      .holder = -1,
	                      .gate = arguments->gate};
	memcpy(stage.socket, arguments->socket, sizeof stage.socket);
	memcpy(stage.frames, arguments->frames, sizeof stage.frames);
	loop_signals(&stage);
	int result = join(&stage, arguments->instance, &parent, &error);
	if (result != 0) {
		log_error("cannot start", "role=%s reason=%s", arguments->role,
		          error.text[0] != '\0' ? error.text : strerror(-result));
		leave(&stage);
		return EXIT_CANNOT_START;
	}
	set_state(&stage, STAGE_RUNNING);
	log_info("started", "role=%s", stage.role);
	notify_ready("running");
	loop_run(&stage, &parent);
	if (ops->fini != NULL)
		ops->fini(&stage);
	set_state(&stage, STAGE_ENDED);
	log_info("ended", "role=%s", stage.role);
	loop_count(&stage);
	leave(&stage);
	return stage.lost ? EXIT_LOST : stage.outdated ? EXIT_OUTDATED : EXIT_DRAINED;
}

int stage_main(int argc, char **argv, const struct stage_ops *ops)
{
	struct arguments arguments = {.gate = -1};
	log_init(ops->name, LOG_INFO, LOG_TEXT);
	output_no_size_signal();
	int result = parse_arguments(&arguments, argc, argv, ops);
	if (result != 0)
		return result < 0                      ? EXIT_USAGE
		       : output_finish(ops->name) == 0 ? EXIT_DRAINED
		                                       : EXIT_CANNOT_START;
	if (arguments.check != NULL)
		return run_check(arguments.check, arguments.layout, ops);
	return arguments.input != NULL ? run_alone(&arguments, ops) : run_role(&arguments, ops);
}

int stage_listener(const struct stage *stage, const char *section, size_t *entry, struct shm_error *error)
{
	uint64_t first = 0;
	size_t n = config_count(stage->config, "%s", section);
	for (*entry = 0; *entry < n; (*entry)++) {
		first += config_u64(stage->config, "%s[%zu].processes", section, *entry);
		if (stage->index < first)
			return 0;
	}
	shm_explain(error, "%s: the configuration has no listener for it", stage->role);
	return -EINVAL;
}

int stage_section(const struct stage *stage, char *section, size_t size, struct shm_error *error)
{
	const struct flow_stage *row = flow_stage_find(stage->ops->name);
	char base[SHM_NAME_MAX];
	size_t entry = 0;
	int result = 0;
	help_section(stage->ops, base, sizeof base);
	snprintf(section, size, "%s", base);
	if (row == NULL || row->processes == FLOW_ONE || row->processes == FLOW_SHARED ||
	    row->processes == FLOW_LISTENS)
		return 0;
	if (row->processes == FLOW_ENTRIES) {
		long found = flow_entry(row, stage->config, stage->role);
		entry = (size_t)found;
		if (found < 0) {
			shm_explain(error, "%s: the configuration has no entry for it", stage->role);
			result = -EINVAL;
		}
	} else {
		result = stage_listener(stage, base, &entry, error);
	}
	if (result == 0)
		snprintf(section, size, "%s[%zu]", base, entry);
	return result;
}
