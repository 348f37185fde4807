#include "deliver/authority.h"

#include <arpa/inet.h>
#include <errno.h>
#include <idn2.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

#define LABEL_MOST   63u
#define FOREIGN_MOST 1024u /* a name of 253 ASCII characters may stand for up to four bytes each */
#define ZONE_MOST    15u   /* libcurl takes no more; names of interfaces have no more */

static int refuse(struct shm_error *error, const char *what)
{
	shm_explain(error, "%s", what);
	return -EINVAL;
}

static const char wrong_host[] = "host: it is neither a name nor an address";

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 3986, 2.3 */
static bool is_unreserved(char c)
{
	return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c != '\0' && strchr("-._~", c));
}

/* A name ends in a label that is not a number, or it is an IPv4 address (WHATWG URL, "ends in a
 * number"). */
static bool ends_in_number(const char *host)
{
	const char *dot = strrchr(host, '.'), *label = dot != NULL ? dot + 1 : host;
	if (label[0] == '0' && (label[1] | 0x20) == 'x')
		return label[2 + strspn(label + 2, "0123456789abcdefABCDEF")] == '\0';
	return label[strspn(label, "0123456789")] == '\0';
}

/* Labels of 1 to 63 characters, all unreserved. */
static bool is_name(const char *host)
{
	size_t label = 0;
	for (const char *at = host; *at != '\0'; at++) {
		if (!is_unreserved(*at) || (*at == '.' && label == 0))
			return false;
		label = *at == '.' ? 0 : label + 1;
		if (label > LABEL_MOST)
			return false;
	}
	return label > 0;
}

/* A host without brackets, in ASCII and lower case, as text with a final 0. */
static int take_ascii(struct authority *authority, char *host, struct shm_error *error)
{
	size_t n = strlen(host);
	struct in_addr address;
	if (n > 0 && host[n - 1] == '.')
		host[--n] = '\0';
	/* "-" first is no name (RFC 1123, 2.1), and to libcurl's list of addresses an order */
	if (n > AUTHORITY_HOST_MAX || !is_name(host) || host[0] == '-')
		return refuse(error, wrong_host);
	if (!ends_in_number(host)) {
		memcpy(authority->host, host, n + 1);
		return 0;
	}
	if (inet_aton(host, &address) == 0)
		return refuse(error, "host: it ends in a number and is no IPv4 address");
	inet_ntop(AF_INET, &address, authority->host, sizeof authority->host);
	return 0;
}

/* One with characters beyond ASCII. */
static int take_foreign(struct authority *authority, const char *host, struct shm_error *error)
{
	uint8_t *ascii = NULL;
	int result = idn2_lookup_u8((const uint8_t *)host, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	if (result == IDN2_MALLOC)
		return -ENOMEM;
	if (result != IDN2_OK) {
		shm_explain(error, "host: it is no name (IDNA: %s)", idn2_strerror(result));
		return -EINVAL;
	}
	result = take_ascii(authority, (char *)ascii, error);
	idn2_free(ascii);
	return result;
}

/* Resolves %XX, makes letters small. Returns false when there is a % without its digits, or a byte
 * 0; *foreign: there are bytes beyond ASCII. out has room for bytes and a final 0. */
static bool decode(char *out, const char *text, size_t bytes, bool *foreign)
{
	*foreign = false;
	for (const char *end = text + bytes; text < end; text++) {
		char c = *text;
		if (c == '%') {
			if (end - text < 3 || hex_value(text[1]) < 0 || hex_value(text[2]) < 0)
				return false;
			c = (char)(hex_value(text[1]) << 4 | hex_value(text[2]));
			text += 2;
		}
		if (c == '\0')
			return false;
		*foreign |= (unsigned char)c >= 0x80;
		*out++ = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	*out = '\0';
	return true;
}

static int read_name(struct authority *authority, const char *text, size_t bytes, struct shm_error *error)
{
	char host[3 * FOREIGN_MOST + 1];
	bool foreign;
	if (bytes == 0)
		return refuse(error, "host: there is none");
	if (bytes >= sizeof host || !decode(host, text, bytes, &foreign))
		return refuse(error, wrong_host);
	return foreign ? take_foreign(authority, host, error) : take_ascii(authority, host, error);
}

/* What stands between brackets. The zone as %25zone (RFC 6874). */
static int read_ipv6(struct authority *authority, const char *text, size_t bytes, struct shm_error *error)
{
	static const char wrong[] = "host: what is in brackets is no IPv6 address";
	char plain[INET6_ADDRSTRLEN];
	struct in6_addr address;
	const char *percent = memchr(text, '%', bytes);
	size_t n = percent != NULL ? (size_t)(percent - text) : bytes, zone = 0;
	if (percent != NULL) {
		if (bytes - n < 4 || bytes - n > 3 + ZONE_MOST || memcmp(percent, "%25", 3) != 0)
			return refuse(error, "host: a zone is written %25 and 1 to 15 characters");
		zone = bytes - n - 3;
		for (size_t i = 0; i < zone; i++)
			if (!is_unreserved(percent[3 + i]))
				return refuse(error, "host: a zone has letters, digits, - . _ ~");
	}
	if (n >= sizeof plain)
		return refuse(error, wrong);
	memcpy(plain, text, n);
	plain[n] = '\0';
	if (memchr(plain, '\0', n) != NULL || inet_pton(AF_INET6, plain, &address) != 1)
		return refuse(error, wrong);
	inet_ntop(AF_INET6, &address, authority->host, INET6_ADDRSTRLEN);
	if (zone > 0) {
		n = strlen(authority->host);
		authority->host[n] = '%';
		memcpy(authority->host + n + 1, percent + 3, zone);
		authority->host[n + 1 + zone] = '\0';
	}
	authority->ipv6 = true;
	return 0;
}

/* What stands after the colon; nothing is no port (RFC 3986, 3.2.3). */
static int read_port(struct authority *authority, const char *text, size_t bytes, struct shm_error *error)
{
	uint32_t port = 0;
	for (size_t i = 0; i < bytes; i++) {
		if (!is_digit(text[i]))
			return refuse(error, "port: it is no number");
		port = port * 10 + (uint32_t)(text[i] - '0');
		if (port > UINT16_MAX)
			break;
	}
	if (bytes > 0 && (port == 0 || port > UINT16_MAX))
		return refuse(error, "port: it is not 1 to 65535");
	authority->port = (uint16_t)port;
	return 0;
}

int authority_read(struct authority *authority, const char *text, size_t bytes, struct shm_error *error)
{
	const char *end = text + bytes, *after;
	int result;
	memset(authority, 0, sizeof *authority);
	if (bytes > 0 && *text == '[') {
		after = memchr(text, ']', bytes);
		if (after == NULL)
			return refuse(error, "host: there is no ] for its [");
		result = read_ipv6(authority, text + 1, (size_t)(after - text - 1), error);
		after++;
		if (result == 0 && after < end && *after != ':')
			return refuse(error, "host: after its ] comes neither a port nor the path");
	} else {
		after = bytes > 0 ? memchr(text, ':', bytes) : NULL;
		if (after == NULL)
			after = end;
		result = read_name(authority, text, (size_t)(after - text), error);
	}
	if (result < 0 || after == end)
		return result;
	return read_port(authority, after + 1, (size_t)(end - after - 1), error);
}
