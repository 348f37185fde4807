#include "sink/objects/azure_sign.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hex.h"
#include "base/text.h"

#define HEADERS_MAX    32u
#define PARAMETERS_MAX 16u
#define OWN_PREFIX     "x-ms-"

int azure_key_read(struct azure_key *key, const char *account, const char *text)
{
	size_t length = strlen(text), padding = 0;
	while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
		padding++;
	if (length == 0 || length % 4 != 0 || length / 4 * 3 > sizeof key->bytes ||
	    (size_t)snprintf(key->account, sizeof key->account, "%s", account) >= sizeof key->account)
		return -EINVAL;
	/* EVP_DecodeBlock skips white space at both ends, which no key has */
	if (strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") !=
	    length - padding)
		return -EINVAL;
	int n = EVP_DecodeBlock(key->bytes, (const unsigned char *)text, (int)length);
	if (n < (int)padding)
		return -EINVAL;
	key->n_bytes = (size_t)n - padding;
	return key->n_bytes > 0 ? 0 : -EINVAL;
}

void azure_date(char out[AZURE_DATE_MAX], time_t now)
{
	static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm t;
	gmtime_r(&now, &t);
	snprintf(out, AZURE_DATE_MAX, "x-ms-date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
	         days + 3 * t.tm_wday, t.tm_mday, months + 3 * t.tm_mon, (t.tm_year + 1900) % 10000,
	         t.tm_hour, t.tm_min, t.tm_sec);
}

static void put_lower(struct text *out, const char *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		char c = from[i] >= 'A' && from[i] <= 'Z' ? (char)(from[i] + ('a' - 'A')) : from[i];
		text_put(out, &c, 1);
	}
}

/* Without white space around it, and one blank for what white space is in it. */
static void put_value(struct text *out, const char *value)
{
	value += strspn(value, " \t");
	while (*value) {
		size_t word = strcspn(value, " \t"), white = strspn(value + word, " \t");
		text_put(out, value, word);
		value += word + white;
		if (white && *value)
			text_literal(out, " ");
	}
}

/* The value of a header, or "". */
static const char *header_value(const struct azure_signed *request, const char *name)
{
	size_t length = strlen(name);
	for (unsigned i = 0; i < request->n_headers; i++)
		if (strncasecmp(request->header[i], name, length) == 0 && request->header[i][length] == ':')
			return request->header[i] + length + 1;
	return "";
}

static int by_name(const void *a, const void *b)
{
	const char *x = *(const char *const *)a, *y = *(const char *const *)b;
	size_t n = strcspn(x, ":"), m = strcspn(y, ":");
	int order = strncasecmp(x, y, n < m ? n : m);
	return order ? order : (n > m) - (n < m);
}

static int put_own_headers(struct text *out, const struct azure_signed *request)
{
	const char *own[HEADERS_MAX] = {NULL};
	unsigned n = 0;
	for (unsigned i = 0; i < request->n_headers; i++)
		if (strncasecmp(request->header[i], OWN_PREFIX, sizeof OWN_PREFIX - 1) == 0) {
			if (n == HEADERS_MAX)
				return -E2BIG;
			own[n++] = request->header[i];
		}
	qsort(own, n, sizeof *own, by_name);
	for (unsigned i = 0; i < n; i++) {
		size_t name = strcspn(own[i], ":");
		put_lower(out, own[i], name);
		text_literal(out, ":");
		put_value(out, own[i] + name + (own[i][name] == ':'));
		text_literal(out, "\n");
	}
	return 0;
}

/* Decodes what is percent-encoded. False when it is not well-formed, or would put a line end into
 * the text. */
static bool put_decoded(struct text *out, const char *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		char c = from[i];
		if (c == '%') {
			int high = bytes - i < 3 ? -1 : hex_value(from[i + 1]);
			int low = bytes - i < 3 ? -1 : hex_value(from[i + 2]);
			if (high < 0 || low < 0)
				return false;
			c = (char)(high << 4 | low);
			i += 2;
		}
		if (c == '\n' || c == '\0')
			return false;
		text_put(out, &c, 1);
	}
	return true;
}

/* "NAME=VALUE" up to the next "&"; our names have nothing that is encoded. */
static int by_parameter(const void *a, const void *b)
{
	const char *x = *(const char *const *)a, *y = *(const char *const *)b;
	size_t n = strcspn(x, "=&"), m = strcspn(y, "=&");
	int order = strncasecmp(x, y, n < m ? n : m);
	return order ? order : (n > m) - (n < m);
}

static int put_query(struct text *out, const char *query)
{
	const char *parameter[PARAMETERS_MAX] = {NULL};
	unsigned n = 0;
	while (*query) {
		if (n == PARAMETERS_MAX)
			return -E2BIG;
		parameter[n++] = query;
		query += strcspn(query, "&");
		query += *query == '&';
	}
	qsort(parameter, n, sizeof *parameter, by_parameter);
	for (unsigned i = 0; i < n; i++) {
		size_t name = strcspn(parameter[i], "=&");
		const char *value = parameter[i] + name + (parameter[i][name] == '=');
		text_literal(out, "\n");
		put_lower(out, parameter[i], name);
		text_literal(out, ":");
		if (!put_decoded(out, value, strcspn(value, "&")))
			return -EINVAL;
	}
	return 0;
}

int azure_string_to_sign(char *out, size_t size, const char *account, const struct azure_signed *request)
{
	/* Date stays empty because there is x-ms-date; Content-Length because it is 0 */
	static const char *const before[] = {"Content-Encoding", "Content-Language"};
	static const char *const after[] = {"Content-MD5",         "Content-Type", NULL,
	                                    "If-Modified-Since",   "If-Match",     "If-None-Match",
	                                    "If-Unmodified-Since", "Range"};
	struct text text = {.at = out, .end = out + size - 1};
	text_put(&text, request->method, strlen(request->method));
	text_literal(&text, "\n");
	for (unsigned i = 0; i < sizeof before / sizeof *before; i++) {
		put_value(&text, header_value(request, before[i]));
		text_literal(&text, "\n");
	}
	if (request->bytes > 0)
		text_unsigned(&text, request->bytes);
	text_literal(&text, "\n");
	for (unsigned i = 0; i < sizeof after / sizeof *after; i++) {
		if (after[i])
			put_value(&text, header_value(request, after[i]));
		text_literal(&text, "\n");
	}
	int result = put_own_headers(&text, request);
	text_literal(&text, "/");
	text_put(&text, account, strlen(account));
	text_put(&text, request->path, strcspn(request->path, "?"));
	if (result == 0)
		result = put_query(&text, request->query);
	if (result != 0)
		return result;
	if (text.full)
		return -E2BIG;
	*text.at = '\0';
	return (int)(text.at - out);
}

int azure_sign(char out[AZURE_AUTHORIZATION_MAX], const struct azure_key *key,
               const struct azure_signed *request)
{
	char text[AZURE_SIGN_MAX];
	unsigned char digest[EVP_MAX_MD_SIZE], base64[64];
	unsigned digest_bytes;
	int n = azure_string_to_sign(text, sizeof text, key->account, request);
	if (n < 0)
		return n;
	if (!HMAC(EVP_sha256(), key->bytes, (int)key->n_bytes, (const unsigned char *)text, (size_t)n, digest,
	          &digest_bytes))
		return -ENOMEM;
	EVP_EncodeBlock(base64, digest, (int)digest_bytes);
	snprintf(out, AZURE_AUTHORIZATION_MAX, "Authorization: SharedKey %s:%s", key->account,
	         (char *)base64);
	return 0;
}
