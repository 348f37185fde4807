#include "tests/fuzz/template_oracle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/siphash.h"

#define ROOM 65536u

struct out {
	char *at, *end;
};

static void put(struct out *out, const void *bytes, size_t n)
{
	if ((size_t)(out->end - out->at) < n)
		abort();
	memcpy(out->at, bytes, n);
	out->at += n;
}

/* One byte as a value has it; returns the length. */
static size_t encoded(char form[4], unsigned char byte, bool dots)
{
	if ((byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
	    byte == '-' || byte == '_' || byte == '~' || (byte == '.' && !dots))
		return (size_t)snprintf(form, 4, "%c", byte);
	return (size_t)snprintf(form, 4, "%%%02X", byte);
}

static void put_value(struct out *out, const char *value, size_t bytes)
{
	if (bytes == 0) {
		put(out, "_", 1);
		return;
	}
	bool dots = true;
	for (size_t i = 0; i < bytes; i++)
		dots = dots && value[i] == '.';
	char form[4];
	size_t all = 0, some = 0;
	for (size_t i = 0; i < bytes; i++)
		all += encoded(form, (unsigned char)value[i], dots);
	size_t most = all <= TEMPLATE_VALUE_MAX ? all : TEMPLATE_VALUE_MAX - 17;
	for (size_t i = 0; i < bytes; i++) {
		size_t n = encoded(form, (unsigned char)value[i], dots);
		if (some + n > most)
			break;
		put(out, form, n);
		some += n;
	}
	if (all == most)
		return;
	struct siphash hash;
	char digits[18];
	siphash_init(&hash, (const uint64_t[2]){0, 0}, 2, 4);
	siphash_add(&hash, value, bytes);
	snprintf(digits, sizeof digits, "~%016llx", (unsigned long long)siphash_end(&hash));
	put(out, digits, 17);
}

static int digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
	                              : -1;
}

/* In place. */
static size_t decode(char *text, size_t bytes)
{
	size_t n = 0;
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] == '%' && i + 2 < bytes && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
			text[n++] = (char)(digit(text[i + 1]) * 16 + digit(text[i + 2]));
			i += 2;
		} else {
			text[n++] = text[i] == '+' ? ' ' : text[i];
		}
	}
	return n;
}

/* The value of the first parameter of that name in a query, in place; its length. */
static size_t parameter(char *query, size_t bytes, const char *name)
{
	for (size_t at = 0; at < bytes;) {
		size_t end = at, equals;
		while (end < bytes && query[end] != '&')
			end++;
		for (equals = at; equals < end && query[equals] != '=';)
			equals++;
		char *copy = malloc(equals - at + 1);
		if (copy == NULL)
			abort();
		memcpy(copy, query + at, equals - at);
		size_t n = decode(copy, equals - at);
		bool found = end > at && n == strlen(name) && memcmp(copy, name, n) == 0;
		free(copy);
		if (found) {
			size_t value = equals < end ? equals + 1 : end;
			memmove(query, query + value, end - value);
			return decode(query, end - value);
		}
		at = end + 1;
	}
	return 0;
}

static void put_time(struct out *out, const char *format, const struct record *record,
                     const struct template_place *place)
{
	int64_t ms = 0;
	uint64_t arrival = 0;
	memcpy(&arrival, record->payload, record->length >= 8 ? 8 : 0);
	if (record->type == EVENT_LOG)
		ms = ((const struct event_log *)(const void *)record->payload)->timestamp_ms;
	else
		ms = (int64_t)((record->type >= EVENT_OUTSIDE ? place->now_ns : arrival) / 1000000);
	time_t seconds = ms / 1000;
	struct tm tm;
	char form[32];
	if (ms < 0 || ms > 253402300799999) {
		put(out, "_", 1);
		return;
	}
	put(out, form, strftime(form, sizeof form, format, gmtime_r(&seconds, &tm)));
}

static void put_field(struct out *out, char *name, const struct record *record,
                      const struct template_place *place)
{
	char form[32];
	const char *text = strcmp(name, "topic") == 0      ? place->topic
	                   : strcmp(name, "instance") == 0 ? place->instance
	                   : strcmp(name, "host") == 0     ? place->host
	                                                   : NULL;
	if (strcmp(name, "date") == 0) {
		put_time(out, "%Y-%m-%d", record, place);
	} else if (strcmp(name, "hour") == 0) {
		put_time(out, "%H", record, place);
	} else if (strcmp(name, "n") == 0) {
		put(out, form, (size_t)snprintf(form, sizeof form, "%llu", (unsigned long long)place->n));
	} else if (text != NULL && !(strcmp(name, "host") == 0 && event_field_known(record->type, name))) {
		put_value(out, text, strlen(text));
	} else {
		char *value = malloc(ROOM), *dot = strchr(name, '.');
		if (value == NULL)
			abort();
		if (dot != NULL)
			*dot = '\0';
		int n = event_field(value, ROOM, record, name);
		if (n == -ENOSPC)
			abort();
		size_t bytes = n > 0 ? (size_t)n : 0;
		put_value(out, value, dot != NULL ? parameter(value, bytes, dot + 1) : bytes);
		free(value);
	}
}

int template_oracle(char *to, size_t size, const char *text, const struct record *record,
                    const struct template_place *place)
{
	struct out out = {to, to + size};
	if (!event_check(record))
		return -EINVAL;
	while (*text != '\0') {
		if (*text != '{') {
			put(&out, text++, 1);
			continue;
		}
		char name[128];
		snprintf(name, sizeof name, "%.*s", (int)strcspn(text + 1, "}"), text + 1);
		text += strlen(name) + 2;
		put_field(&out, name, record, place);
	}
	return (int)(out.at - to);
}

static bool wrong(const char *what, const char *text, const char *is, int n, const char *want, int wanted)
{
	fprintf(stderr, "%s: %s: %.*s (%d), not %.*s (%d)\n", text, what, n > 0 ? n : 0, is, n,
	        wanted > 0 ? wanted : 0, want, wanted);
	return false;
}

/* Each component of the result stands where the template has one. */
static bool in_place(const char *text, const char *out, int n)
{
	unsigned of_template = 0, of_result = 0;
	for (; *text != '\0'; text++)
		of_template += *text == '/';
	for (int i = 0; i < n; i++)
		of_result += out[i] == '/';
	for (int i = 0, end; i <= n && n > 0; i = end + 1) {
		for (end = i; end < n && out[end] != '/';)
			end++;
		if (end == i || (end == i + 1 && out[i] == '.') ||
		    (end == i + 2 && out[i] == '.' && out[i + 1] == '.'))
			return false;
	}
	return of_template == of_result;
}

bool template_agrees(const char *text, const struct record *record, const struct template_place *place)
{
	char reason[256] = "", want[4096];
	struct template *template;
	if (template_compile(&template, text, (const uint16_t[]){record->type, 0}, reason, sizeof reason) !=
	    0)
		return wrong("refused", text, reason, (int)strlen(reason), "", 0);
	size_t most = template_most(template);
	int wanted = template_oracle(want, sizeof want, text, record, place);
	char *out = malloc(most + 1);
	if (out == NULL)
		abort();
	int n = template_expand(template, out, most, record, place);
	bool same = n == wanted && (n < 0 || memcmp(out, want, (size_t)n) == 0);
	if (!same)
		wrong("expanded", text, out, n, want, wanted);
	else if (n >= 0 && !in_place(text, out, n))
		same = wrong("moved", text, out, n, "its place", 9);
	char *exact = malloc(n > 0 ? (size_t)n : 1);
	if (exact == NULL)
		abort();
	if (same && n > 0 &&
	    (template_expand(template, exact, (size_t)n, record, place) != n ||
	     template_expand(template, exact, (size_t)n - 1, record, place) != -ENOSPC))
		same = wrong("room", text, out, n, want, wanted);
	static const uint64_t key[2] = {3, 4};
	if ((template_hash(template, record, place, key) == 0) != (n == -EINVAL))
		same = wrong("hash", text, out, n, want, wanted);
	free(exact);
	free(out);
	template_free(template);
	return same;
}
