/* Prints, as Markdown, the tables that the documents show, from the tables that the programs are
 * made of.
 *
 *     document options [SECTION]    all options, or those below SECTION ("ingest.udp", "tally")
 *     document metrics [STAGE]      metrics of all stages, or of one ("ingest-udp")
 *     document reasons              why a record is rejected
 *     document topics               the built-in topics
 *     document routes               what the HTTP stage takes and answers
 *     document elsewhere            paths that it has no route for, and its hint
 *     document failures             the statuses of its refusals
 *     document default              the embedded default configuration
 *
 * Built with the tests, not installed. scripts/check-generated compares with what stands in the
 * documents.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "shm/ledger.h"
#include "config/value.h"
#include "stage/help.h"

#define METRIC(symbol, kind, help) {#symbol, METRIC_##kind, help},

static const struct metric_description udp_metrics[] = {
#include "ingest/udp/metrics.def"
};

static const struct metric_description http_metrics[] = {
#include "ingest/http/metrics.def"
};

static const struct metric_description enrich_metrics[] = {
#include "enrich/metrics.def"
};

static const struct metric_description tally_metrics[] = {
#include "sink/tally/metrics.def"
};

static const struct metric_description stage_metrics[] = {
#include "stage/metrics.def"
};

static const struct metric_description supervisor_metrics[] = {
#include "stage/supervisor_metrics.def"
};

static const struct documented_stage {
	const char *name;
	const struct metric_description *metrics;
	size_t n_metrics;
} stages[] = {
        {"ingest-udp", udp_metrics, sizeof udp_metrics / sizeof udp_metrics[0]},
        {"ingest-http", http_metrics, sizeof http_metrics / sizeof http_metrics[0]},
        {"enrich", enrich_metrics, sizeof enrich_metrics / sizeof enrich_metrics[0]},
        {"tally", tally_metrics, sizeof tally_metrics / sizeof tally_metrics[0]},
        {"every stage", stage_metrics, sizeof stage_metrics / sizeof stage_metrics[0]},
        {"supervisor", supervisor_metrics, sizeof supervisor_metrics / sizeof supervisor_metrics[0]},
};

/* A bar would end the cell, an angle bracket begin a tag. */
static void print_cell(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '|' || *text == '<')
			putchar('\\');
		putchar(*text);
	}
}

static int print_options(const char *section)
{
	size_t n, printed = 0;
	const struct config_option *option = config_options(&n);
	for (size_t i = 0; i < n; i++) {
		char allowed[200];
		if (!help_in_section(&option[i], section))
			continue;
		if (printed++ == 0)
			puts("| key | type | default | allowed | what it is |\n| --- | --- | --- | --- | --- |");
		printf("| `%s` | %s | `%s` | %s | ", option[i].key, option[i].type, option[i].default_text,
		       config_value_allowed(&option[i], allowed, sizeof allowed));
		print_cell(option[i].help);
		puts(" |");
	}
	return printed > 0 ? 0 : 1;
}

static int print_metrics(const char *name)
{
	size_t printed = 0;
	for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
		if (name[0] != '\0' && strcmp(stages[i].name, name) != 0)
			continue;
		if (printed++ == 0)
			puts("| stage | metric | kind | what it is |\n| --- | --- | --- | --- |");
		for (size_t k = 0; k < stages[i].n_metrics; k++) {
			const struct metric_description *metric = &stages[i].metrics[k];
			printf("| %s | `%s` | %s | ", stages[i].name, metric->name,
			       metric->kind == METRIC_COUNTER ? "counter" : "gauge");
			print_cell(metric->help);
			puts(" |");
		}
	}
	return printed > 0 ? 0 : 1;
}

static int print_reasons(void)
{
	puts("| reason | when |\n| --- | --- |");
#define X(symbol, name, help)      \
	printf("| `%s` | ", name); \
	print_cell(help);          \
	puts(" |");
	LEDGER_REASONS(X)
#undef X
	return 0;
}

static int print_topics(void)
{
	puts("| topic | when full | events |\n| --- | --- | --- |");
#define QUEUE(name, type, help)
#define TOPIC(name, type, when_full, help) printf("| `%s` | %s | %s |\n", name, when_full, help);
#include "flow/topics.def"
#undef TOPIC
#undef QUEUE
	return 0;
}

static void print_route(const char *path, const char *match, const char *methods, bool cors,
                        const char *takes, const char *answers)
{
	const char *shown = strcmp(match, "UNDER") != 0 ? "" : path[0] == 0 ? "any other path" : "...";
	printf(path[0] == 0 ? "| %s%s | %s | %s | %s | " : "| `%s%s` | %s | %s | %s | ", path, shown, methods,
	       cors ? "yes" : "", takes);
	printf("%s |\n", answers);
}

static int print_routes(void)
{
	puts("| path | methods | CORS | takes | answers |\n| --- | --- | --- | --- | --- |");
#define METHODS(symbol, text, bits) static const char symbol[] = text;
#define PATH(path, match, route, methods, handler, body_types, cors, takes, answers) \
	print_route(path, #match, methods, cors, takes, answers);
#include "ingest/http/paths.def"
	return 0;
}

static void print_elsewhere(const char *path, const char *match, const char *hint)
{
	printf("| `%s` | %s | %s |\n", path,
	       strcmp(match, "BELOW") == 0   ? "and all below it"
	       : strcmp(match, "ALONE") == 0 ? "with a slash at its end or without"
	                                     : "",
	       hint);
}

static int print_all_elsewhere(void)
{
	puts("| path | | hint |\n| --- | --- | --- |");
#define ELSEWHERE(path, match, hint) print_elsewhere(path, #match, hint);
#include "ingest/http/paths.def"
	return 0;
}

static int print_failures(void)
{
	puts("| status | when |\n| --- | --- |");
#define FAILURE(symbol, name, statuses, help) puts("| " statuses " | " help " |");
#include "ingest/http/failures.def"
#undef FAILURE
	return 0;
}

static int print_default(void)
{
	printf("```yaml\n%s```\n", config_default_text());
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *which = argc > 2 ? argv[2] : "";
	int status = 2;
	if (strcmp(what, "options") == 0)
		status = print_options(which);
	else if (strcmp(what, "metrics") == 0)
		status = print_metrics(which);
	else if (strcmp(what, "reasons") == 0)
		status = print_reasons();
	else if (strcmp(what, "topics") == 0)
		status = print_topics();
	else if (strcmp(what, "routes") == 0)
		status = print_routes();
	else if (strcmp(what, "elsewhere") == 0)
		status = print_all_elsewhere();
	else if (strcmp(what, "failures") == 0)
		status = print_failures();
	else if (strcmp(what, "default") == 0)
		status = print_default();
	if (status == 2)
		fprintf(stderr,
		        "usage: document options [SECTION] | metrics [STAGE] | reasons | topics | routes | elsewhere | failures | default\n");
	else if (status == 1)
		fprintf(stderr, "document: there is no %s \"%s\"\n", what, which);
	return status;
}
