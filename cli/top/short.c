#include "cli/top/short.h"

#include <math.h>
#include <stdio.h>

/* Three digits that count: 1.23, 12.3, 123. */
static void put(char text[SHORT_MAX], double value, const char *unit)
{
	int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
	snprintf(text, SHORT_MAX, "%.*f%s", decimals, value, unit);
}

/* The value in the largest unit in which it is at least 1. */
static const char *put_unit(char text[SHORT_MAX], double value, double step, const char *const *units,
                            unsigned n)
{
	unsigned unit = 0;
	while (unit + 1 < n && value >= step - 0.5) {
		value /= step;
		unit++;
	}
	if (value >= 99999) /* beyond the last unit */
		snprintf(text, SHORT_MAX, "%.0e%.3s", value, units[unit]);
	else
		put(text, value, units[unit]);
	return text;
}

const char *short_count(char text[SHORT_MAX], double n)
{
	static const char *const units[] = {"k", "M", "G", "T", "P"};
	if (n >= 9999.5)
		return put_unit(text, n / 1000, 1000, units, sizeof units / sizeof *units);
	snprintf(text, SHORT_MAX, "%.0f", n);
	return text;
}

const char *short_rate(char text[SHORT_MAX], double per_second)
{
	if (per_second < 0.005 || per_second >= 9.95)
		return short_count(text, per_second);
	snprintf(text, SHORT_MAX, per_second < 0.095 ? "%.2f" : "%.1f", per_second);
	return text;
}

const char *short_bytes(char text[SHORT_MAX], double bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = bytes / 1024;
	unsigned unit = 0;
	if (bytes < 1023.5) {
		snprintf(text, SHORT_MAX, "%.0fB", bytes);
		return text;
	}
	while (unit + 1 < sizeof units / sizeof *units && value >= 1023.5) {
		value /= 1024;
		unit++;
	}
	snprintf(text, SHORT_MAX, value < 9.95 && value != floor(value) ? "%.1f%s" : "%.0f%s",
	         fmin(value, 99999), units[unit]);
	return text;
}

const char *short_age(char text[SHORT_MAX], double seconds)
{
	double s = floor(seconds);
	if (seconds < 0.9995)
		snprintf(text, SHORT_MAX, "%.0fms", seconds * 1e3);
	else if (seconds < 9.95)
		snprintf(text, SHORT_MAX, "%.1fs", seconds);
	else if (seconds < 60)
		snprintf(text, SHORT_MAX, "%.0fs", s);
	else if (seconds < 3600)
		snprintf(text, SHORT_MAX, "%.0fm%02.0fs", floor(s / 60), fmod(s, 60));
	else if (seconds < 86400)
		snprintf(text, SHORT_MAX, "%.0fh%02.0fm", floor(s / 3600), floor(fmod(s, 3600) / 60));
	else
		snprintf(text, SHORT_MAX, "%.0fd%02.0fh", fmin(floor(s / 86400), 99999),
		         floor(fmod(s, 86400) / 3600));
	return text;
}

const char *short_percent(char text[SHORT_MAX], double percent)
{
	snprintf(text, SHORT_MAX, percent >= 0.05 && percent < 9.95 ? "%.1f" : "%.0f", fmin(percent, 1e8));
	return text;
}
