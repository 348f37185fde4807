#include "stage/help.h"

#include <string.h>

#include "config/value.h"
#include "flow/flow.h"

#define TEXT_COLUMNS 100

char *help_section(const struct stage_ops *ops, char *buffer, size_t size)
{
	const struct flow_stage *row = flow_stage_find(ops->name);
	const char *own = ops->section != NULL ? ops->section : ops->name;
	snprintf(buffer, size, "%s", row != NULL ? row->section : own);
	return buffer;
}

bool help_in_section(const struct config_option *option, const char *section)
{
	size_t n = strlen(section);
	if (n == 0)
		return true;
	return strncmp(option->key, section, n) == 0 &&
	       (option->key[n] == '\0' || option->key[n] == '.' || option->key[n] == '[');
}

/* Words of text, broken at TEXT_COLUMNS, each line indented. */
static void write_wrapped(FILE *out, const char *text, int indent)
{
	int column = 0;
	while (*text != '\0') {
		int n = (int)strcspn(text, " ");
		if (column > 0 && column + 1 + n > TEXT_COLUMNS) {
			fputc('\n', out);
			column = 0;
		}
		column += fprintf(out, "%*s%.*s", column == 0 ? indent : 1, "", n, text);
		text += n;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

static void write_option(FILE *out, const struct config_option *option)
{
	char allowed[200];
	fprintf(out, "  %s\n", option->key);
	write_wrapped(out, option->help, 6);
	fprintf(out, "      %s: %s; default %s\n", option->type,
	        config_value_allowed(option, allowed, sizeof allowed), option->default_text);
}

static void write_metric(FILE *out, const struct metric_description *metric)
{
	fprintf(out, "  %s (%s)\n", metric->name, metric_kind_name(metric->kind));
	write_wrapped(out, metric->help, 6);
}

void help_write(const struct stage_ops *ops, FILE *out)
{
	char section[SHM_NAME_MAX];
	size_t n;
	const struct config_option *option = config_options(&n);
	help_section(ops, section, sizeof section);
	fprintf(out, "%s: %s\n\nUsage:\n", ops->name, ops->help);
	fprintf(out,
	        "  %s --instance NAME --role ROLE [--socket FD]... [--frames FD:QUEUE:COUNT]... [--gate FD]\n"
	        "      as the supervisor starts it\n",
	        ops->name);
	if (ops->alone != NULL)
		fprintf(out,
		        "  %s --input FILE [--output FILE] [--set KEY=VALUE]...\n"
		        "      alone, for debugging: FILE is what it would read; - is standard input or output\n",
		        ops->name);
	fprintf(out,
	        "  %s --check SECTION < config.yaml\n"
	        "      reads the files that the options of SECTION name, and says what is wrong with them\n",
	        ops->name);
	fprintf(out, "  %s --help | --version\n\n", ops->name);
	fprintf(out, "Exit status: 0 ended in good order, 1 could not start (one line says why), 2 usage.\n");
	for (size_t i = 0, written = 0; i < n; i++) {
		if (!help_in_section(&option[i], section))
			continue;
		if (written++ == 0)
			fprintf(out,
			        "\nOptions (in the configuration, or --set KEY=VALUE of millrace run):\n");
		write_option(out, &option[i]);
	}
	fprintf(out, "\nMetrics (millrace stat):\n");
	for (unsigned i = 0; i < ops->n_metrics; i++)
		write_metric(out, &ops->metrics[i]);
	static const struct metric_description common[] = {
#define METRIC METRIC_ROW
#include "stage/metrics.def"
#undef METRIC
	};
	for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
		write_metric(out, &common[i]);
}
