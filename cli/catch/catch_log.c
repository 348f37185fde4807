#include "cli/catch/catch_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"

#define BODY_MAX 4096u

static void put_part(struct text *text, const char *data, struct catch_part part)
{
	text_string(text, (const unsigned char *)data + part.at, part.bytes);
}

/* The field at line, in lower case; moves *line to the next. Values keep their inner spaces. */
static void put_field(struct text *text, const char **line, const char *end)
{
	const char *last = memmem(*line, (size_t)(end - *line), "\r\n", 2);
	last = last != NULL ? last : end;
	const char *colon = memchr(*line, ':', (size_t)(last - *line)), *value = colon + 1;
	char name[64];
	size_t bytes = (size_t)(colon - *line) < sizeof name ? (size_t)(colon - *line) : sizeof name;
	for (size_t i = 0; i < bytes; i++)
		name[i] = (char)((*line)[i] >= 'A' && (*line)[i] <= 'Z' ? (*line)[i] + 32 : (*line)[i]);
	while (value < last && (*value == ' ' || *value == '\t'))
		value++;
	text_literal(text, "[");
	text_string(text, (const unsigned char *)name, bytes);
	text_literal(text, ",");
	text_string(text, (const unsigned char *)value, (size_t)(last - value));
	text_literal(text, "]");
	*line = last + 2;
}

static void put_fields(struct text *text, const char *data, struct catch_part fields)
{
	const char *line = data + fields.at, *end = line + fields.bytes;
	text_literal(text, ",\"headers\":[");
	for (bool first = true; line < end; first = false) {
		if (!first)
			text_literal(text, ",");
		put_field(text, &line, end);
	}
	text_literal(text, "]");
}

static void put_body(struct text *text, const unsigned char *body, size_t bytes)
{
	size_t kept = bytes < BODY_MAX ? bytes : BODY_MAX;
	text_literal(text, ",\"body_bytes\":");
	text_unsigned(text, bytes);
	if (text_valid(body, kept)) {
		text_literal(text, ",\"body\":");
		text_string(text, body, kept);
		return;
	}
	text_literal(text, ",\"body_hex\":\"");
	text_hex(text, body, kept);
	text_literal(text, "\"");
}

static void put_outcome(struct text *text, const struct catch_postback *postback,
                        const struct catch_fate *fate, enum catch_signature signature)
{
	static const char *const names[CATCH_SIGNATURES] = {"unchecked", "good", "unsigned", "stale",
	                                                    "wrong"};
	bool numbered = postback->key != 0 && postback->key >> 63 == 0;
	text_literal(text, ",\"number\":");
	text_unsigned(text, numbered ? postback->key : 0);
	text_literal(text, ",\"status\":");
	text_unsigned(text, fate->hangs || fate->closes ? 0 : fate->status);
	if (fate->hangs)
		text_literal(text, ",\"failure\":\"hang\"");
	if (fate->closes)
		text_literal(text, ",\"failure\":\"close\"");
	text_literal(text, ",\"signature\":");
	text_string(text, (const unsigned char *)names[signature], strlen(names[signature]));
	text_literal(text, "}\n");
}

int catch_log_write(FILE *out, const struct catch_request *request, const char *data,
                    const struct catch_postback *postback, const struct catch_fate *fate,
                    enum catch_signature signature, uint64_t now_us)
{
	/* Each byte becomes at most six (\u00XX). */
	size_t room = 6 * ((size_t)request->body + BODY_MAX) + 1024;
	char *line = malloc(room);
	if (line == NULL)
		return -ENOMEM;
	struct text text = {.at = line, .end = line + room};
	text_literal(&text, "{\"ts\":");
	text_unsigned(&text, now_us / 1000);
	text_literal(&text, ",\"method\":");
	put_part(&text, data, request->method);
	text_literal(&text, ",\"target\":");
	put_part(&text, data, request->target);
	put_fields(&text, data, request->fields);
	put_body(&text, (const unsigned char *)data + request->body, request->body_bytes);
	put_outcome(&text, postback, fate, signature);
	size_t bytes = (size_t)(text.at - line);
	errno = 0;
	int error = text.full                                      ? -ENOBUFS
	            : fwrite_unlocked(line, 1, bytes, out) < bytes ? (errno != 0 ? -errno : -EIO)
	                                                           : 0;
	free(line);
	return error;
}
