#include "look/exposition.h"

#include <stdio.h>
#include <string.h>

/* ---- text ---- */

void exposition_put(struct exposition *out, const char *string)
{
	text_put(&out->text, string, strlen(string));
}

void exposition_escaped(struct exposition *out, const char *string, size_t n, bool quotes)
{
	for (size_t i = 0; i < n; i++) {
		char c = string[i] >= ' ' && string[i] <= '~' ? string[i] : '?';
		if (c == '\\' || (quotes && c == '"'))
			text_literal(&out->text, "\\");
		text_put(&out->text, &c, 1);
	}
}

/* number / 10^digits, exactly. */
static void put_number(struct exposition *out, uint64_t number, unsigned digits)
{
	char fraction[20] = {0};
	uint64_t whole = number;
	unsigned n = digits;
	for (unsigned i = digits; i > 0; i--, whole /= 10)
		fraction[i - 1] = (char)('0' + whole % 10);
	while (n > 0 && fraction[n - 1] == '0')
		n--;
	text_unsigned(&out->text, whole);
	if (n == 0)
		return;
	text_literal(&out->text, ".");
	text_put(&out->text, fraction, n);
}

/* The same as the bound of a bucket: a text that must stay the same, so both formats ask for what
 * Go makes of the number. It has an exponent from 10^6 on and below 10^-4. */
void exposition_bound(struct exposition *out, uint64_t number, unsigned digits)
{
	char digit[20];
	unsigned n = 0;
	for (uint64_t left = number; left != 0; left /= 10)
		digit[sizeof digit - ++n] = (char)('0' + left % 10);
	const char *first = digit + sizeof digit - n;
	int exponent = (int)n - 1 - (int)digits;
	if (n == 0 || (exponent >= -4 && exponent < 6)) {
		char *before = out->text.at;
		put_number(out, number, digits);
		if (out->openmetrics && !out->text.full &&
		    memchr(before, '.', (size_t)(out->text.at - before)) == NULL)
			text_literal(&out->text, ".0");
		return;
	}
	while (n > 1 && first[n - 1] == '0')
		n--;
	text_put(&out->text, first, 1);
	if (n > 1) {
		text_literal(&out->text, ".");
		text_put(&out->text, first + 1, n - 1);
	}
	unsigned size = (unsigned)(exponent < 0 ? -exponent : exponent);
	exposition_put(out, exponent < 0 ? "e-" : "e+");
	exposition_put(out, size < 10 ? "0" : "");
	text_unsigned(&out->text, size);
}

/* ---- samples ---- */

void exposition_begin_ending(struct exposition *out, const char *ending)
{
	exposition_put(out, out->name);
	exposition_put(out, ending);
	out->labels = 0;
}

void exposition_begin(struct exposition *out)
{
	exposition_begin_ending(out, out->added);
}

void exposition_begin_label(struct exposition *out, const char *key)
{
	exposition_put(out, out->labels++ == 0 ? "{" : ",");
	exposition_put(out, key);
	text_literal(&out->text, "=\"");
}

void exposition_label(struct exposition *out, const char *key, const char *value)
{
	exposition_begin_label(out, key);
	exposition_escaped(out, value, strlen(value), true);
	text_literal(&out->text, "\"");
}

void exposition_label_number(struct exposition *out, const char *key, uint64_t value)
{
	exposition_begin_label(out, key);
	text_unsigned(&out->text, value);
	text_literal(&out->text, "\"");
}

void exposition_end(struct exposition *out, uint64_t value, unsigned digits)
{
	exposition_put(out, out->labels != 0 ? "} " : " ");
	put_number(out, value, digits);
	text_literal(&out->text, "\n");
}

/* ---- families ---- */

const char *exposition_type_name(enum exposition_type type, bool openmetrics)
{
	if (type == INFO)
		return openmetrics ? "info" : "gauge";
	return metric_kind_name(type);
}

const char *exposition_added(enum exposition_type type)
{
	return type == COUNTER ? "_total" : type == INFO ? "_info" : "";
}

static void put_about(struct exposition *out, const char *what, bool text)
{
	text_literal(&out->text, "# ");
	exposition_put(out, what);
	exposition_put(out, out->name);
	exposition_put(out, text ? out->added : ""); /* OpenMetrics names the family, not its samples */
	text_literal(&out->text, " ");
}

void exposition_family(struct exposition *out, const char *name, enum exposition_type type, const char *help,
                       size_t n)
{
	bool openmetrics = out->openmetrics;
	snprintf(out->name, sizeof out->name, "millrace_%s", name);
	out->added = exposition_added(type);
	put_about(out, "HELP ", !openmetrics);
	exposition_escaped(out, help, n, openmetrics);
	text_literal(&out->text, "\n");
	put_about(out, "TYPE ", !openmetrics);
	exposition_put(out, exposition_type_name(type, openmetrics));
	text_literal(&out->text, "\n");
	const char *unit = text_ends_with(name, "_seconds") ? "seconds"
	                   : text_ends_with(name, "_bytes") ? "bytes"
	                                                    : NULL;
	if (!openmetrics || unit == NULL)
		return;
	put_about(out, "UNIT ", false);
	exposition_put(out, unit);
	text_literal(&out->text, "\n");
}
