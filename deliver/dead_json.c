#include "deliver/dead_json.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"

#define URL_BYTES 4096u

/* Text as it is where that is UTF-8, otherwise with \xXX for other bytes. */
static json_t *text_of(const char *bytes, size_t length)
{
	json_t *plain = json_stringn(bytes, length);
	if (plain != NULL)
		return plain;
	char *out = malloc(4 * length + 1);
	if (out == NULL)
		return NULL;
	struct text text = {.at = out, .end = out + 4 * length + 1};
	text_plain(&text, (const unsigned char *)bytes, length);
	plain = json_stringn(out, (size_t)(text.at - out));
	free(out);
	return plain;
}

static json_t *json_or_text(const char *bytes, size_t length)
{
	json_t *value = json_loadb(bytes, length, JSON_ALLOW_NUL, NULL);
	return value != NULL ? value : text_of(bytes, length);
}

json_t *dead_json(const struct dead_letter *letter, const struct redact *redact, bool whole)
{
	char url[URL_BYTES];
	size_t n = redact_url(redact, letter->url, letter->url_bytes, url, sizeof url);
	json_t *one = json_pack(
	        "{s:o, s:I, s:o, s:o, s:o, s:o, s:I, s:i, s:I, s:I}", "id",
	        text_of(letter->id, strlen(letter->id)), "dead_ts", (json_int_t)letter->dead_ms, "reason",
	        text_of(letter->reason, strlen(letter->reason)), "endpoint",
	        text_of(letter->endpoint, strlen(letter->endpoint)), "method",
	        text_of(letter->method, strlen(letter->method)), "url", text_of(url, n), "attempts",
	        (json_int_t)letter->attempts, "status", letter->status, "first_ts",
	        (json_int_t)letter->first_ms, "postback_ts", (json_int_t)(letter->arrival_ns / NS_PER_MS));
	if (one == NULL || !whole)
		return one;
	json_object_set_new(one, "data", json_or_text(letter->data, letter->data_bytes));
	json_object_set_new(one, "history",
	                    letter->history[0] != '\0'
	                            ? json_or_text(letter->history, strlen(letter->history))
	                            : json_array());
	return one;
}
