#include "sink/objects/azure_token.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number, or a text that is one: the services differ. 0 when there is none. */
static uint64_t seconds_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	if (json_is_integer(value))
		return json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
	const char *text = json_is_string(value) ? json_string_value(value) : "";
	char *end;
	uint64_t seconds = strtoull(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' ? seconds : 0;
}

static bool is_token(const char *text)
{
	size_t length = strlen(text);
	for (size_t i = 0; i < length; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f)
			return false;
	return length > 0 && length < AZURE_TOKEN_MAX;
}

bool azure_token_read(struct azure_token *token, const char *body, size_t bytes, uint64_t now_s)
{
	json_t *root = body != NULL ? json_loadb(body, bytes, 0, NULL) : NULL;
	const char *text = json_string_value(json_object_get(root, "access_token"));
	uint64_t on = seconds_of(root, "expires_on");
	uint64_t left = on > now_s ? on - now_s : on == 0 ? seconds_of(root, "expires_in") : 0;
	bool good = text != NULL && is_token(text) && left > AZURE_TOKEN_SPARE_S;
	if (good) {
		snprintf(token->text, sizeof token->text, "%s", text);
		token->left_s = left < AZURE_TOKEN_LIFE_MAX ? left : AZURE_TOKEN_LIFE_MAX;
	}
	json_decref(root);
	return good;
}

void azure_token_refusal(char *text, size_t size, const char *body, size_t bytes)
{
	json_t *root = body != NULL ? json_loadb(body, bytes, 0, NULL) : NULL;
	const char *code = json_string_value(json_object_get(root, "error"));
	const char *words = json_string_value(json_object_get(root, "error_description"));
	snprintf(text, size, "%.60s%s%.140s", code != NULL ? code : "", words != NULL ? ": " : "",
	         words != NULL ? words : "");
	json_decref(root);
}
