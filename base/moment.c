#include "base/moment.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool parse_ago(const char *text, int64_t now_ms, int64_t *ms)
{
	static const struct {
		char unit;
		int64_t ms;
	} units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
	char *end;
	errno = 0;
	long number = strtol(text, &end, 10);
	if (end == text || errno != 0 || number < 0 || number > 1000000 || end[0] == '\0' || end[1] != '\0')
		return false;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (units[i].unit == end[0]) {
			*ms = now_ms - number * units[i].ms;
			return true;
		}
	return false;
}

bool moment_parse(const char *text, int64_t now_ms, int64_t *ms)
{
	static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S",
	                                    "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"};
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct tm tm = {.tm_isdst = -1};
		const char *end = strptime(text, forms[i], &tm);
		if (end == NULL || *end != '\0')
			continue;
		bool utc = forms[i][strlen(forms[i]) - 1] == 'Z';
		time_t time = utc ? timegm(&tm) : mktime(&tm);
		if (time == (time_t)-1)
			return false;
		*ms = (int64_t)time * 1000;
		return true;
	}
	return parse_ago(text, now_ms, ms);
}

const char *moment_show(char out[MOMENT_BYTES], int64_t ms)
{
	time_t time = (time_t)(ms / 1000);
	struct tm local;
	if (ms == 0 || localtime_r(&time, &local) == NULL ||
	    strftime(out, MOMENT_BYTES, "%F %T", &local) == 0)
		snprintf(out, MOMENT_BYTES, "-");
	return out;
}
