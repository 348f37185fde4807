/* Prints, as Markdown, the tables that the documents show, from the tables that the programs are
 * made of.
 *
 *     document options [SECTION]    all options, or those below SECTION ("ingest.udp", "tally")
 *     document metrics [STAGE]      metrics of all stages, or of one ("ingest-udp")
 *     document prometheus           families of metrics, as GET /metrics and `millrace stat --prometheus` give them
 *     document reasons              why a record is rejected
 *     document topics               the built-in topics
 *     document environment          variables of the environment that configure
 *     document routes               paths of the HTTP stage, what they take and answer
 *     document rules                what holds for each of its routes: types, CORS, tokens
 *     document elsewhere            paths that it has no route for, and its hint
 *     document failures             the statuses of its refusals
 *     document api                  routes of the read side
 *     document default              the embedded default configuration
 *     document flow                 its flow as a picture
 *
 * Built with the tests, not installed. scripts/check-generated compares with what stands in the
 * documents.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ledger.h"
#include "config/environment.h"
#include "config/value.h"
#include "event/event.h"
#include "look/prometheus.h"
#include "stage/help.h"
#include "supervisor/plan.h"

#define METRIC(...)          {METRICS_OF, METRIC_ROW(__VA_ARGS__)},
#define HISTOGRAM(...)       {METRICS_OF, HISTOGRAM_ROW(__VA_ARGS__)},
#define ROUTE_METRIC(...)    {METRICS_OF, ROUTE_METRIC_ROW(__VA_ARGS__)},
#define ROUTE_HISTOGRAM(...) {METRICS_OF, ROUTE_HISTOGRAM_ROW(__VA_ARGS__)},

static const struct documented_metric {
	const char *of; /* stage */
	struct metric_description about;
} metrics[] = {
#include <metrics.list> /* generated: every stage's metrics.def, in flow order (mk/tables.mk) */
#define METRICS_OF "every stage"
#include "stage/metrics.def"
#undef METRICS_OF
#define METRICS_OF "supervisor"
#include "stage/supervisor_metrics.def"
#undef METRICS_OF
};

struct api_parameter {
	const char *name, *otherwise, *help;
};

#define PLACE(name, min, max, help) \
	{                           \
		name, NULL, help    \
	}
#define TEXT(name, min, max, otherwise, help) \
	{                                     \
		name, otherwise, help         \
	}
#define MANY(name, times, min, max, help) \
	{                                 \
		name, NULL, help          \
	}
#define NUMBER(name, min, max, otherwise, help) \
	{                                       \
		name, otherwise, help           \
	}
#define TIME(name, help)         \
	{                        \
		name, NULL, help \
	}
#define AFTER(name, help) TIME(name, help)
#define EVERYBODY         "everybody"
#define READER            "readers"
#define ADMIN             "administrators"

#define ROUTE(name, method, pattern, who, type, statuses, help, ...) \
	static const struct api_parameter name##_parameters[] = {__VA_ARGS__ __VA_OPT__(, ){0}};
#include "serve/routes.def"
#undef ROUTE

static const struct {
	const char *method, *pattern, *who, *help;
	const struct api_parameter *parameter;
} api[] = {
#define ROUTE(name, method, pattern, who, type, statuses, help, ...) \
	{#method, pattern, who, help, name##_parameters},
#include "serve/routes.def"
#undef ROUTE
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
			puts("| key | type | default | allowed | meaning |\n| --- | --- | --- | --- | --- |");
		printf("| `%s` | %s | `%s` | %s | ", option[i].key, option[i].type, option[i].default_text,
		       config_value_allowed(&option[i], allowed, sizeof allowed));
		print_cell(option[i].help);
		puts(" |");
	}
	return printed > 0 ? 0 : 1;
}

static int print_metrics(const char *stage)
{
	size_t printed = 0;
	for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
		const struct documented_metric *metric = &metrics[i];
		if (stage[0] != '\0' && strcmp(metric->of, stage) != 0)
			continue;
		if (printed++ == 0)
			puts("| stage | metric | kind | meaning |\n| --- | --- | --- | --- |");
		const struct metric_description *about = &metric->about;
		printf("| %s | `%s` | %s | ", metric->of, about->name, metric_kind_name(about->kind));
		print_cell(about->help);
		for (unsigned k = 0; k < about->n_bounds; k++)
			printf("%s%llu", k == 0 ? "; buckets up to " : ", ",
			       (unsigned long long)about->bound[k]);
		puts(" |");
	}
	return printed > 0 ? 0 : 1;
}

/* The metric's family; what belongs to no stage goes without a role. */
static void name_family(char name[PROMETHEUS_NAME_MAX], const struct documented_metric *metric)
{
	prometheus_name(name, strcmp(metric->of, "every stage") == 0 ? NULL : metric->of, &metric->about);
}

/* Two metrics of a stage in one family that are not the same metric of two routes would be written
 * as one. */
static bool is_new_family(size_t i, const char *name)
{
	char other[PROMETHEUS_NAME_MAX];
	for (size_t k = 0; k < i; k++) {
		name_family(other, &metrics[k]);
		if (strcmp(other, name) == 0)
			return false;
	}
	return true;
}

static int print_prometheus(void)
{
	struct prometheus_family family;
	puts("| family | type | labels | meaning |\n| --- | --- | --- | --- |");
	for (unsigned i = 0; prometheus_family(i, &family); i++) {
		printf("| `%s` | %s | %s | ", family.name, family.type, family.labels);
		print_cell(family.help);
		puts(" |");
	}
	for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
		const struct metric_description *about = &metrics[i].about;
		char name[PROMETHEUS_NAME_MAX];
		name_family(name, &metrics[i]);
		if (!is_new_family(i, name)) {
			if (about->route_bytes != 0)
				continue;
			fprintf(stderr, "document: %s stands for two metrics\n", name);
			return 1;
		}
		printf("| `%s` | %s | %s | `%s` of %s |\n", name, metric_kind_name(about->kind),
		       strcmp(metrics[i].of, "supervisor") == 0 ? ""
		       : about->route_bytes != 0                ? "role, route"
		                                                : "role",
		       about->name + (about->route_bytes != 0 ? about->route_bytes + 1 : 0), metrics[i].of);
	}
	return 0;
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

static int print_environment(void)
{
	size_t n;
	const struct config_variable *variable = config_variables(&n);
	puts("| variable | effect |\n| --- | --- |");
	for (size_t i = 0; i < n; i++)
		printf("| `%s` | %s |\n", variable[i].name, variable[i].help);
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

static void print_route(const char *name, const char *path, const char *more, const char *methods,
                        const char *takes, const char *answers)
{
	printf("| %s%s | ", path, more);
	for (; *methods != '\0'; methods++) { /* GET | HEAD */
		if (strncmp(methods, " |", 2) == 0)
			methods++;
		putchar(*methods == '|' ? ',' : *methods);
	}
	printf(" | `%s` | %s | %s |\n", name, takes, answers);
}

static int print_routes(void)
{
	puts("| path | methods | route | takes | answers |\n| --- | --- | --- | --- | --- |");
#define PATH(name, path, match, methods, handler, takes, answers) \
	print_route(#name, "`" path, strcmp(#match, "UNDER") == 0 ? "...`" : "`", #methods, takes, answers);
#include "ingest/http/each_route.h"
#define REST(name, methods, handler, takes, answers) \
	print_route(#name, "any other path", "", #methods, takes, answers);
#include "ingest/http/each_route.h"
	return 0;
}

static void print_route_rules(const char *name, const char *types[], unsigned status, const char *outlet,
                              bool cors, bool tokens)
{
	printf("| `%s` | ", name);
	for (size_t i = 0; types[i] != NULL; i++)
		printf("%s`%s`", i == 0 ? "" : ", ", types[i]);
	printf(types[0] == NULL ? "not looked at |  | " : " | %u | ", status);
	printf(outlet[0] == '\0' ? "" : "`%s`", outlet);
	printf(" | %s | %s |\n", cors ? "yes" : "", tokens ? "yes" : "");
}

#define CORS    true
#define NO_CORS false
#define TOKENS  true
#define OPEN    false

/* What holds for each route. */
static int print_rules(void)
{
	puts("| route | `Content-Type`, when there is one | another | writes to | CORS | tokens |\n"
	     "| --- | --- | --- | --- | --- | --- |");
#define ROUTE(name, ...)
#define TYPES(symbol, status, error, ...)               \
	static const unsigned symbol##_status = status; \
	static const char *symbol[] = {__VA_ARGS__ __VA_OPT__(, ) NULL};
#include "ingest/http/each_route.h"
#define ROUTE(name, path, match, methods, types, outlet, cors, tokens, handler, takes, answers) \
	print_route_rules(#name, types, types##_status, outlet, cors, tokens);
#include "ingest/http/each_route.h"
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
#include "ingest/http/each_route.h"
	return 0;
}

static int print_failures(void)
{
	puts("| status | when |\n| --- | --- |");
#define S(status, reason)                " " #status
#define FAILURE(A, name, statuses, help) puts("|" statuses " | " help " |");
	FAILURES(FAILURE, )
#undef FAILURE
#undef S
	return 0;
}

static void print_parameters(const struct api_parameter *row)
{
	for (bool any = false; row->name != NULL; row++) {
		printf("%s`%s` %s", any ? "; " : "", row->name, row->help);
		if (row->otherwise != NULL)
			printf(" (%s unless given)", row->otherwise);
		any = true;
	}
}

static int print_api(void)
{
	puts("| method | path | for | answers | parameters |\n| --- | --- | --- | --- | --- |");
	for (size_t i = 0; i < sizeof api / sizeof api[0]; i++) {
		printf("| %s | `%s` | %s | ", api[i].method, api[i].pattern, api[i].who);
		print_cell(api[i].help);
		printf(" | ");
		print_parameters(api[i].parameter);
		puts(" |");
	}
	return 0;
}

static int print_default(void)
{
	printf("```yaml\n%s```\n", config_default_text());
	return 0;
}

static int print_flow(void)
{
	char *errors = NULL;
	struct config *config = config_load(NULL, NULL, 0, &errors);
	struct plan *plan = config == NULL ? NULL : plan_make(config, &errors);
	if (plan != NULL) {
		puts("```");
		plan_print_flow(plan, stdout);
		puts("```");
	} else {
		fputs(errors, stderr);
	}
	int status = plan != NULL ? 0 : 1;
	plan_free(plan);
	config_free(config);
	free(errors);
	return status;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *which = argc > 2 ? argv[2] : "";
	int status = 2;
	if (strcmp(what, "options") == 0)
		status = print_options(which);
	else if (strcmp(what, "metrics") == 0)
		status = print_metrics(which);
	else if (strcmp(what, "prometheus") == 0)
		status = print_prometheus();
	else if (strcmp(what, "reasons") == 0)
		status = print_reasons();
	else if (strcmp(what, "topics") == 0)
		status = print_topics();
	else if (strcmp(what, "environment") == 0)
		status = print_environment();
	else if (strcmp(what, "routes") == 0)
		status = print_routes();
	else if (strcmp(what, "rules") == 0)
		status = print_rules();
	else if (strcmp(what, "elsewhere") == 0)
		status = print_all_elsewhere();
	else if (strcmp(what, "failures") == 0)
		status = print_failures();
	else if (strcmp(what, "api") == 0)
		status = print_api();
	else if (strcmp(what, "default") == 0)
		status = print_default();
	else if (strcmp(what, "flow") == 0)
		status = print_flow();
	if (status == 2)
		fprintf(stderr,
		        "usage: document options [SECTION] | metrics [STAGE] | prometheus | reasons | topics | environment | routes | rules | elsewhere | failures | api | default | flow\n");
	else if (status == 1)
		fprintf(stderr, "document: there is no %s \"%s\"\n", what, which);
	return status;
}
