#include "config/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/tree.h"

#define ERROR_BYTES  1200
#define SOURCE_SHOWN 160 /* bytes of a source's name */

static char *clean_copy(const char *text)
{
	char *copy = config_alloc(strlen(text) * 4 + 1), *at = copy;
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c == 0x7f)
			at += sprintf(at, "\\x%02x", c);
		else
			*at++ = *text;
	}
	*at = '\0';
	return copy;
}

/* "--set tally.commit_interval=0" says the key already. */
static bool source_names(const char *source, const char *key)
{
	size_t n = strlen(key);
	return strncmp(source, "--set ", 6) == 0 && strncmp(source + 6, key, n) == 0 && source[6 + n] == '=';
}

void config_error(struct config_errors *errors, const struct config_origin *origin, const char *key,
                  const char *format, ...)
{
	if (errors->n++ >= CONFIG_ERRORS_MAX)
		return;
	char text[ERROR_BYTES], line[16] = "";
	if (origin->line != 0)
		snprintf(line, sizeof line, ":%u", origin->line);
	bool with_key = key[0] != '\0' && !source_names(origin->source, key);
	int used = snprintf(text, sizeof text, "%.*s%s: %.300s%s", SOURCE_SHOWN, origin->source, line,
	                    with_key ? key : "", with_key ? ": " : "");
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text + used, sizeof text - (size_t)used, format, arguments);
	va_end(arguments);
	errors->line[errors->n - 1] = (struct config_error_line){
	        .rank = origin->rank, .line = origin->line, .text = clean_copy(text)};
}

bool config_errors_full(const struct config_errors *errors)
{
	return errors->n >= CONFIG_ERRORS_MAX;
}

static bool comes_after(const struct config_error_line *a, const struct config_error_line *b)
{
	return a->rank != b->rank ? a->rank > b->rank : a->line > b->line;
}

/* Insertion keeps the order of equals; there are at most a hundred. */
static void sort_lines(struct config_error_line *line, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct config_error_line moved = line[i];
		size_t at = i;
		for (; at > 0 && comes_after(&line[at - 1], &moved); at--)
			line[at] = line[at - 1];
		line[at] = moved;
	}
}

char *config_errors_text(struct config_errors *errors)
{
	size_t kept = errors->n < CONFIG_ERRORS_MAX ? errors->n : CONFIG_ERRORS_MAX, bytes = 64;
	sort_lines(errors->line, kept);
	for (size_t i = 0; i < kept; i++)
		bytes += strlen(errors->line[i].text) + 1;
	char *text = config_alloc(bytes), *at = text;
	for (size_t i = 0; i < kept; i++) {
		at += sprintf(at, "%s\n", errors->line[i].text);
		free(errors->line[i].text);
	}
	if (errors->n >= CONFIG_ERRORS_MAX)
		sprintf(at, "(more errors may follow these %u)\n", CONFIG_ERRORS_MAX);
	errors->n = 0;
	return text;
}
