#include "sink/objects/credentials_text.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sink/objects/xml.h"

static bool is_white(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void trim(const char **text, size_t *bytes)
{
	while (*bytes > 0 && is_white(**text))
		(*text)++, (*bytes)--;
	while (*bytes > 0 && is_white((*text)[*bytes - 1]))
		(*bytes)--;
}

static bool take(char *out, size_t size, const char *text, size_t bytes, char least)
{
	trim(&text, &bytes);
	if (bytes == 0 || bytes >= size)
		return false;
	for (size_t i = 0; i < bytes; i++)
		if (text[i] < least || text[i] > '~')
			return false;
	memcpy(out, text, bytes);
	out[bytes] = '\0';
	return true;
}

bool credentials_take(char *out, size_t size, const char *text, size_t bytes)
{
	return take(out, size, text, bytes, '!');
}

bool credentials_take_value(char *out, size_t size, const char *text, size_t bytes)
{
	return take(out, size, text, bytes, ' ');
}

int64_t credentials_time(const char *text)
{
	struct tm utc = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
	if (end == NULL)
		return -1;
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	if (strcmp(end, "Z") != 0 && strcmp(end, "+00:00") != 0)
		return -1;
	time_t seconds = timegm(&utc);
	return seconds > 0 ? (int64_t)seconds : -1;
}

static int refuse(struct credentials_keys *keys, char *reason, size_t size, const char *what,
                  const char *whose)
{
	OPENSSL_cleanse(keys, sizeof *keys);
	snprintf(reason, size, "%s%s", what, whose);
	return -EINVAL;
}

/* ---- the shared credentials file ---- */

/* One line without its end; false when there is none. */
static bool next_line(const char **at, const char *end, const char **line, size_t *bytes)
{
	if (*at >= end)
		return false;
	const char *newline = memchr(*at, '\n', (size_t)(end - *at));
	*line = *at;
	*bytes = (size_t)((newline != NULL ? newline : end) - *at);
	*at = newline != NULL ? newline + 1 : end;
	trim(line, bytes);
	return true;
}

static bool is_word(const char *text, size_t bytes, const char *word)
{
	return strlen(word) == bytes && memcmp(text, word, bytes) == 0;
}

/* "[name]", and as the other file of AWS has it, "[profile name]". */
static bool is_section(const char *line, size_t bytes, const char *profile)
{
	if (bytes < 2 || line[bytes - 1] != ']')
		return false;
	line++, bytes -= 2;
	trim(&line, &bytes);
	static const char prefix[] = "profile ";
	if (bytes > sizeof prefix - 1 && memcmp(line, prefix, sizeof prefix - 1) == 0) {
		line += sizeof prefix - 1, bytes -= sizeof prefix - 1;
		trim(&line, &bytes);
	}
	return is_word(line, bytes, profile);
}

/* One "name = value" of the profile. Returns what is wrong with it, or NULL. */
static const char *take_setting(struct credentials_keys *keys, const char *line, size_t bytes)
{
	const char *equals = memchr(line, '=', bytes);
	if (equals == NULL)
		return "a line that is no \"name = value\" in profile ";
	const char *name = line, *value = equals + 1;
	size_t name_bytes = (size_t)(equals - line), value_bytes = bytes - name_bytes - 1;
	trim(&name, &name_bytes);
	static const char *const other[] = {"role_arn",    "credential_process", "credential_source",
	                                    "sso_session", "sso_start_url",      "web_identity_token_file"};
	for (size_t i = 0; i < sizeof other / sizeof *other; i++)
		if (is_word(name, name_bytes, other[i]))
			return "only keys are taken from a file, not role_arn, credential_process or sso, as they stand in profile ";
	if (is_word(name, name_bytes, "aws_access_key_id") &&
	    !credentials_take(keys->access_key, sizeof keys->access_key, value, value_bytes))
		return "aws_access_key_id is empty or no key, in profile ";
	if (is_word(name, name_bytes, "aws_secret_access_key") &&
	    !credentials_take(keys->secret_key, sizeof keys->secret_key, value, value_bytes))
		return "aws_secret_access_key is empty or no key, in profile ";
	if (is_word(name, name_bytes, "aws_session_token") &&
	    !credentials_take(keys->session_token, sizeof keys->session_token, value, value_bytes))
		return "aws_session_token is empty or no token, in profile ";
	return NULL;
}

int credentials_of_file(struct credentials_keys *keys, const char *text, size_t bytes, const char *profile,
                        char *reason, size_t size)
{
	memset(keys, 0, sizeof *keys);
	const char *at = text, *end = text + bytes, *line;
	size_t length;
	bool inside = false, found = false;
	while (next_line(&at, end, &line, &length)) {
		if (length == 0 || *line == '#' || *line == ';')
			continue;
		if (*line == '[') {
			inside = is_section(line, length, profile);
			found |= inside;
			continue;
		}
		const char *wrong = inside ? take_setting(keys, line, length) : NULL;
		if (wrong != NULL)
			return refuse(keys, reason, size, wrong, profile);
	}
	if (!found)
		return refuse(keys, reason, size, "there is no profile ", profile);
	if (keys->access_key[0] == '\0' || keys->secret_key[0] == '\0')
		return refuse(keys, reason, size,
		              "aws_access_key_id or aws_secret_access_key is missing in profile ", profile);
	return 0;
}

/* ---- JSON ---- */

static bool take_member(char *out, size_t size, const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);
	return json_is_string(value) &&
	       credentials_take(out, size, json_string_value(value), json_string_length(value));
}

int credentials_of_json(struct credentials_keys *keys, const char *text, size_t bytes, char *reason,
                        size_t size)
{
	memset(keys, 0, sizeof *keys);
	json_t *object = json_loadb(text, bytes, 0, NULL);
	const char *wrong = NULL;
	const json_t *code = json_object_get(object, "Code");
	if (!json_is_object(object))
		wrong = "the answer is no JSON object";
	else if (json_is_string(code) && strcmp(json_string_value(code), "Success") != 0)
		wrong = "the answer's Code is not Success";
	else if (!take_member(keys->access_key, sizeof keys->access_key, object, "AccessKeyId") ||
	         !take_member(keys->secret_key, sizeof keys->secret_key, object, "SecretAccessKey"))
		wrong = "the answer has no AccessKeyId or no SecretAccessKey";
	else if (json_object_get(object, "Token") != NULL &&
	         !take_member(keys->session_token, sizeof keys->session_token, object, "Token"))
		wrong = "the answer's Token is none";
	char expires[64] = "";
	if (wrong == NULL && json_object_get(object, "Expiration") != NULL &&
	    (!take_member(expires, sizeof expires, object, "Expiration") ||
	     (keys->expires_s = credentials_time(expires)) < 0))
		wrong = "the answer's Expiration is no time";
	json_decref(object);
	return wrong != NULL ? refuse(keys, reason, size, wrong, "") : 0;
}

/* ---- STS ---- */

struct sts {
	struct credentials_keys *keys;
	bool bad;
};

static void take_element(void *argument, const char *path, const char *text)
{
	static const char folder[] =
	        "AssumeRoleWithWebIdentityResponse/AssumeRoleWithWebIdentityResult/Credentials/";
	struct sts *sts = argument;
	struct credentials_keys *keys = sts->keys;
	if (text == NULL || strncmp(path, folder, sizeof folder - 1) != 0)
		return;
	const char *name = path + sizeof folder - 1;
	size_t bytes = strlen(text);
	if (strcmp(name, "AccessKeyId") == 0)
		sts->bad |= !credentials_take(keys->access_key, sizeof keys->access_key, text, bytes);
	else if (strcmp(name, "SecretAccessKey") == 0)
		sts->bad |= !credentials_take(keys->secret_key, sizeof keys->secret_key, text, bytes);
	else if (strcmp(name, "SessionToken") == 0)
		sts->bad |= !credentials_take(keys->session_token, sizeof keys->session_token, text, bytes);
	else if (strcmp(name, "Expiration") == 0)
		sts->bad |= (keys->expires_s = credentials_time(text)) < 0;
}

int credentials_of_sts(struct credentials_keys *keys, const char *text, size_t bytes, char *reason,
                       size_t size)
{
	memset(keys, 0, sizeof *keys);
	struct sts sts = {.keys = keys};
	if (xml_read(text, bytes, take_element, &sts) != 0)
		return refuse(keys, reason, size, "the answer is no XML of STS", "");
	if (sts.bad || keys->access_key[0] == '\0' || keys->secret_key[0] == '\0' ||
	    keys->session_token[0] == '\0' || keys->expires_s == 0)
		return refuse(keys, reason, size, "the answer has no whole Credentials", "");
	return 0;
}
