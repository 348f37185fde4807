/* millrace dead: postbacks that were given up. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/moment.h"
#include "base/text.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/grid.h"
#include "config/config.h"
#include "deliver/dead_json.h"

#define EXIT_UNKNOWN 3
#define LIST_MOST    100u
#define URL_BYTES    4096u

struct options {
	const char *file, *instance, *endpoint, *host, *reason, *since, *until;
	struct argument_list sets;
	uint64_t status, limit;
	bool json, all, yes;
};

#define NO_STATUS 1000u /* --status was not given */
#define NO_LIMIT  UINT64_MAX

static struct options given = {.status = NO_STATUS, .limit = NO_LIMIT};

/* What a subcommand works with. */
struct desk {
	struct waiting *waiting;
	struct redact *redact;
	struct dead_filter filter;
	struct grid grid;
	uint64_t shown;
};

static const struct argument table[] = {
        {"endpoint", 0, ARGUMENT_STRING, "TEXT", "those whose endpoint begins so", &given.endpoint, 0, 0,
         NULL},
        {"host", 0, ARGUMENT_STRING, "HOST", "those to this host, or HOST:PORT", &given.host, 0, 0, NULL},
        {"reason", 0, ARGUMENT_STRING, "TEXT", "those with this text in their reason", &given.reason, 0, 0,
         NULL},
        {"status", 0, ARGUMENT_COUNT, "N", "those whose last answer was this; 0: that had none",
         &given.status, 0, 999, NULL},
        {"since", 0, ARGUMENT_STRING, "TIME",
         "those that died then or later: 2026-07-01, \"2026-07-01 12:30:00\"\n(local time), or how long ago: 30m, 2h, 7d",
         &given.since, 0, 0, NULL},
        {"until", 0, ARGUMENT_STRING, "TIME", "those that died then or before", &given.until, 0, 0, NULL},
        {"limit", 'n', ARGUMENT_COUNT, "N",
         "list: the newest N (default 100); replay, purge: the oldest N\n(default all); 0: all", &given.limit,
         0, INT64_MAX, NULL},
        {"all", 0, ARGUMENT_FLAG, NULL, "replay, purge: all of them, without a filter", &given.all, 0, 0,
         NULL},
        {"yes", 0, ARGUMENT_FLAG, NULL, "purge --all: really", &given.yes, 0, 0, NULL},
        {"json", 0, ARGUMENT_FLAG, NULL, "list: one JSON object a line; show: one object", &given.json, 0, 0,
         NULL},
        COMMAND_CONFIG_ARGUMENTS(given.file, given.sets, given.instance),
};

static const struct arguments arguments = {
        .command = "dead",
        .usage = "list | show ID | replay [ID]... | purge [ID]... [OPTION]...",
        .purpose =
                "Postbacks that were given up (dead letters), in data_dir/deliver.db, whether or not the instance runs.\n"
                "list shows them, the newest first; show tells all about one, with each attempt. replay sends them\n"
                "again from the first attempt on, under the same id; purge deletes them. Both take ids, filters, or\n"
                "--all, and say how many it were. Secrets in URLs are shown as *** (deliver.redact).",
        .exit_codes = "  3  no dead letter has this id",
        .example = "  millrace dead list --host api.example.com --since 2h\n"
                   "  millrace dead replay --status 400 --endpoint https://api.example.com/hook",
        .table = table,
        .n = sizeof table / sizeof *table,
        .operands_min = 1,
        .operands_max = 1000,
};

/* ---- opening ---- */

static bool filtered(void)
{
	return given.endpoint != NULL || given.host != NULL || given.reason != NULL ||
	       given.status != NO_STATUS || given.since != NULL || given.until != NULL;
}

static int set_filter(struct dead_filter *filter)
{
	int64_t now_ms = clock_real_ms();
	*filter = (struct dead_filter){.endpoint = given.endpoint,
	                               .host = given.host,
	                               .reason = given.reason,
	                               .status = given.status == NO_STATUS ? DEAD_ANY_STATUS
	                                                                   : (int)given.status,
	                               .until_ms = now_ms};
	static const char form[] = "%s %s: not a time; such are " MOMENT_EXAMPLES;
	if (given.since != NULL && !moment_parse(given.since, now_ms, &filter->since_ms))
		return arguments_error(&arguments, form, "--since", given.since);
	if (given.until != NULL && !moment_parse(given.until, now_ms, &filter->until_ms))
		return arguments_error(&arguments, form, "--until", given.until);
	return 0;
}

/* Returns 0 or the exit status. */
static int open_desk(struct desk *desk)
{
	struct shm_error error = {""};
	struct config *config = command_config("dead", given.file, &given.sets, given.instance);
	if (config == NULL)
		return 1;
	int status = 0, result = waiting_open(&desk->waiting, config_string(config, "data_dir"), "", &error);
	if (result == -ENOENT)
		status = command_fail("dead", "%s; nothing has waited for delivery there", error.text);
	else if (result != 0)
		status = command_fail("dead", "%s%s", error.text,
		                      result == -EACCES ? "; run this as the user who owns it" : "");
	desk->redact = status == 0 ? redact_new(config) : NULL;
	if (status == 0 && desk->redact == NULL)
		status = command_fail("dead", "%s", strerror(ENOMEM));
	config_free(config);
	return status;
}

static void close_desk(struct desk *desk)
{
	waiting_close(desk->waiting);
	redact_free(desk->redact);
}

/* ---- as JSON ---- */

static int print_object(const struct desk *desk, const struct dead_letter *letter, bool whole, size_t flags)
{
	json_t *one = dead_json(letter, desk->redact, whole);
	int result = one != NULL ? command_print_json(one, flags, stdout) : -ENOMEM;
	json_decref(one);
	return result;
}

/* ---- list ---- */

static int list_line(void *argument, const struct dead_letter *letter)
{
	struct desk *desk = argument;
	return print_object(desk, letter, false, JSON_COMPACT) != 0 || ferror(stdout);
}

static void status_cell(struct grid *grid, int status)
{
	if (status != 0)
		grid_cell(grid, "%d", status);
	else
		grid_cell(grid, "-");
}

static int list_row(void *argument, const struct dead_letter *letter)
{
	struct desk *desk = argument;
	char time[MOMENT_BYTES], url[URL_BYTES];
	(void)redact_url(desk->redact, letter->url, letter->url_bytes, url, sizeof url);
	grid_cell(&desk->grid, "%s", moment_show(time, letter->dead_ms));
	grid_cell(&desk->grid, "%s", letter->id);
	grid_number(&desk->grid, letter->attempts);
	status_cell(&desk->grid, letter->status);
	grid_cell(&desk->grid, "%s", letter->reason);
	grid_cell(&desk->grid, "%s", letter->method);
	grid_cell(&desk->grid, "%s", url);
	return 0;
}

static int list(struct desk *desk)
{
	struct shm_error error;
	struct waiting_counts counts;
	uint64_t most = given.limit == NO_LIMIT ? LIST_MOST : given.limit;
	if (!given.json)
		grid_init(&desk->grid, "<DIED <ID >ATTEMPTS >STATUS <REASON <METHOD <URL");
	int64_t n = dead_list(desk->waiting, &desk->filter, most, given.json ? list_line : list_row, desk,
	                      &error);
	if (!given.json)
		grid_print(&desk->grid, stdout);
	if (n < 0)
		return command_fail("dead", "%s", error.text);
	if (given.json)
		return 0;
	if (waiting_count(desk->waiting, &counts) != 0)
		return command_fail("dead", "%s", waiting_reason(desk->waiting));
	if (counts.dead == 0)
		printf("no dead letters\n");
	else if ((uint64_t)n == most)
		printf("%" PRId64 " shown, the newest; there are %" PRIu64 " in all, --limit shows more\n", n,
		       counts.dead);
	else
		printf("%" PRId64 " shown; there are %" PRIu64 " in all\n", n, counts.dead);
	return 0;
}

/* ---- show ---- */

/* Name and value, with controls escaped. */
static void print_field(const char *name, const char *bytes, size_t length)
{
	char *out = malloc(4 * length + 1);
	if (out == NULL)
		abort();
	struct text text = {.at = out, .end = out + 4 * length + 1};
	text_plain(&text, (const unsigned char *)bytes, length);
	printf("%-10s  %.*s\n", name, (int)(text.at - out), out);
	free(out);
}

static void print_history(const char *history)
{
	json_t *all = json_loads(history, 0, NULL), *one;
	struct grid grid;
	size_t i;
	grid_init(&grid, "<AT >STATUS >TIME <ERROR");
	json_array_foreach(all, i, one)
	{
		char time[MOMENT_BYTES];
		const char *error = json_string_value(json_object_get(one, "error"));
		json_int_t ms = json_integer_value(json_object_get(one, "ms"));
		grid_cell(&grid, "%s", moment_show(time, json_integer_value(json_object_get(one, "at"))));
		status_cell(&grid, (int)json_integer_value(json_object_get(one, "status")));
		grid_time(&grid, (uint64_t)(ms > 0 ? ms : 0) * NS_PER_MS);
		grid_cell(&grid, "%s", error != NULL ? error : "");
	}
	if (json_array_size(all) > 0)
		putchar('\n');
	grid_print(&grid, stdout);
	json_decref(all);
}

static int show_letter(void *argument, const struct dead_letter *letter)
{
	struct desk *desk = argument;
	char time[MOMENT_BYTES], url[URL_BYTES], attempts[32];
	if (given.json)
		return print_object(desk, letter, true, JSON_INDENT(2));
	size_t n = redact_url(desk->redact, letter->url, letter->url_bytes, url, sizeof url);
	snprintf(attempts, sizeof attempts, "%" PRIu64, letter->attempts);
	print_field("id", letter->id, strlen(letter->id));
	moment_show(time, letter->dead_ms);
	print_field("died", time, strlen(time));
	print_field("reason", letter->reason, strlen(letter->reason));
	print_field("endpoint", letter->endpoint, strlen(letter->endpoint));
	print_field("method", letter->method, strlen(letter->method));
	print_field("url", url, n);
	print_field("data", letter->data, letter->data_bytes);
	moment_show(time, (int64_t)(letter->arrival_ns / NS_PER_MS));
	print_field("taken in", time, strlen(time));
	print_field("attempts", attempts, strlen(attempts));
	print_history(letter->history);
	return 0;
}

static int no_such(const char *id)
{
	(void)command_fail("dead", "%s: no dead letter has this id; millrace dead list shows them", id);
	return EXIT_UNKNOWN;
}

static int show(struct desk *desk, const char *id)
{
	struct shm_error error;
	int result = dead_show(desk->waiting, id, show_letter, desk, &error);
	if (result < 0)
		return command_fail("dead", "%s", error.text);
	return result > 0 ? 0 : no_such(id);
}

/* ---- replay, purge ---- */

static int change_ids(struct desk *desk, enum dead_change change, char **id, size_t n, uint64_t *changed)
{
	int64_t now_ms = clock_real_ms();
	int status = 0;
	for (size_t i = 0; i < n; i++) {
		struct shm_error error;
		int result = dead_change_one(desk->waiting, change, id[i], now_ms, &error);
		if (result < 0)
			return command_fail("dead", "%s", error.text);
		*changed += (unsigned)result;
		status = result == 0 ? no_such(id[i]) : status;
	}
	return status;
}

static int change_letters(struct desk *desk, enum dead_change change, char **id, size_t n)
{
	struct shm_error error;
	uint64_t changed = 0;
	int status = 0;
	if (n > 0) {
		status = change_ids(desk, change, id, n, &changed);
	} else {
		uint64_t most = given.limit == NO_LIMIT ? 0 : given.limit;
		if (dead_change(desk->waiting, change, &desk->filter, most, clock_real_ms(), &changed,
		                &error) < 0)
			status = command_fail("dead", "%s", error.text);
	}
	printf(change == DEAD_REPLAY ? "replayed %" PRIu64 "\n" : "purged %" PRIu64 "\n", changed);
	return status;
}

/* ---- the command ---- */

static int check_ids(char **id, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t number[2];
		if (!event_postback_parse_id(number, id[i], strlen(id[i])))
			return arguments_error(&arguments, "\"%s\" is no id: they have 32 hexadecimal digits",
			                       id[i]);
		for (char *at = id[i]; *at != '\0'; at++) /* as they are stored */
			*at = hex_lower((unsigned)hex_value(*at));
	}
	return 0;
}

static int check_change(const char *what, size_t n_ids)
{
	bool purge = strcmp(what, "purge") == 0;
	if (n_ids > 0 && (filtered() || given.all || given.limit != NO_LIMIT))
		return arguments_error(&arguments, "%s takes ids, or filters, or --all; not ids with others",
		                       what);
	if (given.all && filtered())
		return arguments_error(&arguments, "--all takes no filter");
	if (n_ids == 0 && !given.all && !filtered())
		return arguments_error(&arguments, "%s needs an id, a filter, or --all", what);
	if (purge && given.all && !given.yes)
		return arguments_error(&arguments,
		                       "purge --all deletes all dead letters; it takes --yes too");
	if (given.json)
		return arguments_error(&arguments, "--json is for list and show");
	return 0;
}

static int check(const char *what, size_t n_ids)
{
	static const char *const known[] = {"list", "show", "replay", "purge"};
	bool found = false;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		found = found || strcmp(what, known[i]) == 0;
	if (!found)
		return arguments_error(&arguments, "cannot %s; there are: list, show, replay, purge", what);
	if (strcmp(what, "replay") == 0 || strcmp(what, "purge") == 0)
		return check_change(what, n_ids);
	if (strcmp(what, "list") == 0 && n_ids > 0)
		return arguments_error(&arguments, "list takes filters; millrace dead show ID shows one");
	if (strcmp(what, "show") == 0 && n_ids != 1)
		return arguments_error(&arguments, "show takes one id");
	return 0;
}

int command_dead(int argc, char **argv)
{
	struct operands operands;
	struct desk desk = {0};
	given.instance = command_instance();
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	const char *what = operands.item[0];
	char **id = operands.item + 1;
	size_t n = operands.n - 1;
	status = check(what, n);
	if (status == 0)
		status = check_ids(id, n);
	if (status == 0)
		status = set_filter(&desk.filter);
	if (status == 0)
		status = open_desk(&desk);
	if (status == 0)
		status = strcmp(what, "list") == 0 ? list(&desk)
		         : strcmp(what, "show") == 0
		                 ? show(&desk, id[0])
		                 : change_letters(&desk,
		                                  strcmp(what, "replay") == 0 ? DEAD_REPLAY : DEAD_PURGE, id,
		                                  n);
	close_desk(&desk);
	return status;
}
