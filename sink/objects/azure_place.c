#include "sink/objects/azure_place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/text.h"

#define NAME_LETTERS  "abcdefghijklmnopqrstuvwxyz0123456789-"
#define UNRESERVED    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
#define CONTAINER_MIN 3u
#define QUERY_LETTERS UNRESERVED "%=&+:/,"

static int refuse(struct shm_error *error, const char *what)
{
	shm_explain(error, "%s", what);
	return -EINVAL;
}

static bool is_name(const char *text, size_t least, size_t most)
{
	size_t length = strlen(text);
	return length >= least && length <= most && strspn(text, NAME_LETTERS) == length;
}

/* True for "http://HOST" or "https://HOST", a path after it or not. */
static bool is_endpoint(const char *text)
{
	size_t scheme = strncmp(text, "https://", 8) == 0 ? 8 : strncmp(text, "http://", 7) == 0 ? 7 : 0;
	size_t host = strcspn(text + scheme, "/");
	if (scheme == 0 || host == 0)
		return false;
	for (const char *at = text; *at; at++)
		if (*at <= ' ' || *at >= 0x7f || strchr("@?#\\\"<>", *at))
			return false;
	return true;
}

int azure_place_init(struct azure_place *place, const char *account, const char *container,
                     const char *endpoint, struct shm_error *error)
{
	char made[AZURE_ACCOUNT_MAX + 64];
	if (account[0] != '\0' && !is_name(account, 1, AZURE_ACCOUNT_MAX))
		return refuse(error, "account: is no name of a storage account; allowed: a-z 0-9");
	if (account[0] == '\0' && endpoint[0] == '\0')
		return refuse(error, "account: is not set, and neither is endpoint");
	if (!is_name(container, CONTAINER_MIN, AZURE_CONTAINER_MAX))
		return refuse(error, "container: is no name of a container; allowed: 3 to 63 of a-z 0-9 -");
	snprintf(made, sizeof made, "https://%s.blob.core.windows.net", account);
	if (endpoint[0] == '\0')
		endpoint = made;
	if (!is_endpoint(endpoint))
		return refuse(error,
		              "endpoint: is none; allowed: http://HOST:PORT or https://HOST, and a path");
	size_t length = strlen(endpoint);
	while (endpoint[length - 1] == '/')
		length--;
	snprintf(place->account, sizeof place->account, "%s", account);
	snprintf(place->container, sizeof place->container, "%s", container);
	int n = snprintf(place->base, sizeof place->base, "%.*s/%s/", (int)length, endpoint, container);
	if (n < 0 || (size_t)n >= sizeof place->base)
		return refuse(error, "endpoint: is too long");
	place->tls = place->base[4] == 's';
	const char *host = strstr(place->base, "://") + 3;
	place->path_at = (size_t)(strchr(host, '/') - place->base);
	return 0;
}

int azure_place_url(const struct azure_place *place, char *url, size_t size, const char *name, size_t bytes,
                    const char *query, const char *sas)
{
	struct text text = {.at = url, .end = url + size - 1};
	text_put(&text, place->base, strlen(place->base));
	for (size_t i = 0; i < bytes; i++) {
		char c = name[i];
		if (c != '\0' && (c == '/' || strchr(UNRESERVED, c))) {
			text_put(&text, &c, 1);
		} else {
			char code[3] = {'%', hex_upper((unsigned char)c >> 4), hex_upper((unsigned char)c)};
			text_put(&text, code, sizeof code);
		}
	}
	if (query[0] != '\0' || sas[0] != '\0')
		text_literal(&text, "?");
	int query_at = (int)(text.at - url);
	text_put(&text, query, strlen(query));
	if (query[0] != '\0' && sas[0] != '\0')
		text_literal(&text, "&");
	text_put(&text, sas, strlen(sas));
	if (text.full)
		return -E2BIG;
	*text.at = '\0';
	return query_at;
}

int azure_sas_read(char out[AZURE_SAS_MAX + 1], const char *text)
{
	text += text[0] == '?';
	size_t length = strlen(text);
	while (length > 0 && strchr(" \t\r\n", text[length - 1]))
		length--;
	bool has_signature = strncmp(text, "sig=", 4) == 0 || strstr(text, "&sig=") != NULL;
	if (length == 0 || length > AZURE_SAS_MAX || strspn(text, QUERY_LETTERS) < length || !has_signature)
		return -EINVAL;
	memcpy(out, text, length);
	out[length] = '\0';
	return 0;
}
