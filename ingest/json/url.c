/* One pass, a character at a time:
 *
 *     SCHEME -> SECURE -> COLON -> SLASHES -> NAME --'[' first--> ADDRESS --']'--> BEHIND
 *                                   .----------'|'--':'--> PORT <--':'---------------'
 *                                   |  @: begins again, all before it was userinfo
 *                                   '- / ? # : REST
 *
 * A fault of the host or port is remembered, not reported at once: an @ may turn both into
 * userinfo.
 */
#include "ingest/json/url.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "base/hex.h"

#define HOST_ROOM  1024u /* a name of 253 ASCII characters may stand for up to four bytes each */
#define NAME_MOST  253u
#define LABEL_MOST 63u
#define ZONE_MOST  15u
#define PORT_MOST  65535u

enum part {
	PART_SCHEME,
	PART_SECURE,
	PART_COLON,
	PART_SLASHES,
	PART_NAME,
	PART_ADDRESS,
	PART_BEHIND,
	PART_PORT,
	PART_REST,
	PART_WRONG
};

static const char wrong_scheme[] = "must begin with http:// or https://";
static const char wrong_spaces[] = "must be without spaces and control characters";
static const char no_host[] = "must have a host";
static const char wrong_host[] = "has a host that is neither a name nor an address";
static const char wrong_port[] = "has a port that is not 1 to 65535";
static const char wrong_brace[] = "has a { or } in front of the path";

/* All since the last @. */
struct authority {
	bool brackets, foreign; /* the host has brackets; has characters beyond ASCII */
	bool host_wrong, port_wrong, port_digits;
	bool control;         /* a %XX of a control character, which a user cannot have */
	uint32_t port;        /* PORT_MOST + 1: or more */
	unsigned hexadecimal; /* digits of a %XX that are still to come; code: their value so far */
	unsigned code;
	size_t host_bytes;
};

struct url {
	enum part part;
	unsigned place; /* in "http" or "//" */
	bool spaces;    /* or control characters, anywhere */
	bool braces;    /* before the path */
	char before[2]; /* the last two characters */
	struct authority authority;
	char *host; /* HOST_ROOM bytes; in a name %XX is resolved */
};

/* ---- the host, when it is whole ---- */

/* 1 to ZONE_MOST characters, as libcurl takes them. */
static bool is_zone(const char *zone, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (!json_is_unreserved(zone[i]))
			return false;
	return bytes > 0 && bytes <= ZONE_MOST;
}

/* The text between the brackets. */
static bool is_address(const char *host, size_t bytes)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;
	const char *end = host + bytes, *zone = memchr(host, '%', bytes);
	if (zone) {
		if (end - zone < 4 || memcmp(zone, "%25", 3) != 0 ||
		    !is_zone(zone + 3, (size_t)(end - zone - 3)))
			return false;
		end = zone;
	}
	if ((size_t)(end - host) >= sizeof text)
		return false;
	memcpy(text, host, (size_t)(end - host));
	text[end - host] = '\0';
	return inet_pton(AF_INET6, text, &address) == 1;
}

/* A name ends in a label that is not a number, or it is an IPv4 address (WHATWG URL, "ends in a
 * number"). */
static bool ends_in_number(const char *label, const char *end)
{
	bool hexadecimal = end - label >= 2 && label[0] == '0' && (label[1] | 0x20) == 'x';
	for (label += hexadecimal ? 2 : 0; label < end; label++)
		if (hexadecimal ? !isxdigit((unsigned char)*label) : !isdigit((unsigned char)*label))
			return false;
	return true;
}

/* Not empty. */
static bool is_name(const char *host, size_t bytes, bool foreign)
{
	char text[NAME_MOST + 1];
	struct in_addr address;
	const char *end = host + bytes, *label = host;
	size_t label_most = foreign ? HOST_ROOM : LABEL_MOST;
	if (*host == '-' && !foreign)
		return false;
	if (end[-1] == '.')
		end--;
	for (const char *dot; (dot = memchr(label, '.', (size_t)(end - label))) != NULL; label = dot + 1)
		if (dot == label || (size_t)(dot - label) > label_most)
			return false;
	if (label == end || (size_t)(end - label) > label_most)
		return false;
	if ((size_t)(end - host) >= sizeof text)
		return foreign;
	if (!ends_in_number(label, end))
		return true;
	memcpy(text, host, (size_t)(end - host));
	text[end - host] = '\0';
	return inet_aton(text, &address) != 0;
}

static const char *judge(const struct url *url)
{
	const struct authority *authority = &url->authority;
	if (url->braces)
		return wrong_brace;
	if (authority->host_bytes == 0 && !authority->brackets && !authority->host_wrong)
		return no_host;
	if (authority->host_wrong || authority->hexadecimal > 0)
		return wrong_host;
	if (authority->brackets ? !is_address(url->host, authority->host_bytes)
	                        : !is_name(url->host, authority->host_bytes, authority->foreign))
		return wrong_host;
	if (authority->port_wrong ||
	    (authority->port_digits && (authority->port == 0 || authority->port > PORT_MOST)))
		return wrong_port;
	return NULL;
}

/* ---- character by character ---- */

static void take_scheme(struct url *url, char c)
{
	static const char http[] = "http", slashes[] = "//";
	char lower = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	switch (url->part) {
	case PART_SCHEME:
		url->part = lower != http[url->place] ? PART_WRONG
		            : ++url->place == 4       ? PART_SECURE
		                                      : PART_SCHEME;
		break;
	case PART_SECURE:
		url->part = lower == 's' ? PART_COLON : c == ':' ? PART_SLASHES : PART_WRONG;
		url->place = 0;
		break;
	case PART_COLON:
		url->part = c == ':' ? PART_SLASHES : PART_WRONG;
		break;
	default:
		url->part = c != slashes[url->place] ? PART_WRONG
		            : ++url->place == 2      ? PART_NAME
		                                     : PART_SLASHES;
		break;
	}
}

static void put_host(struct url *url, char c)
{
	struct authority *authority = &url->authority;
	if (authority->host_bytes < HOST_ROOM)
		url->host[authority->host_bytes++] = c;
	else
		authority->host_wrong = true;
}

static void take_name(struct url *url, char c)
{
	struct authority *authority = &url->authority;
	if (authority->hexadecimal > 0) {
		int digit = hex_value(c);
		authority->host_wrong |= digit < 0;
		authority->code = authority->code << 4 | ((unsigned)digit & 15);
		if (--authority->hexadecimal > 0)
			return;
		c = (char)authority->code;
	} else if (c == '%') {
		authority->hexadecimal = 2;
		authority->code = 0;
		return;
	}
	authority->foreign |= (unsigned char)c >= 0x80;
	authority->host_wrong |= (unsigned char)c < 0x80 && !json_is_unreserved(c);
	put_host(url, c);
}

static void take_port(struct authority *authority, char c)
{
	if (!isdigit((unsigned char)c)) {
		authority->port_wrong = true;
		return;
	}
	authority->port_digits = true;
	authority->port = authority->port * 10 + (uint32_t)(c - '0');
	if (authority->port > PORT_MOST)
		authority->port = PORT_MOST + 1;
}

/* c is the last digit of a %XX that stands for a control character. */
static bool ends_control(const struct url *url, char c)
{
	char high = url->before[1];
	return url->before[0] == '%' && hex_value(c) >= 0 &&
	       (high == '0' || high == '1' || (high == '7' && hex_value(c) == 0xf));
}

static void take_authority(struct url *url, char c)
{
	struct authority *authority = &url->authority;
	url->braces |= c == '{' || c == '}';
	authority->control |= ends_control(url, c);
	url->before[0] = url->before[1];
	url->before[1] = c;
	if (c == '/' || c == '?' || c == '#') {
		authority->host_wrong |= url->part == PART_ADDRESS;
		url->part = PART_REST;
	} else if (c == '@') {
		url->spaces |= authority->control;
		*authority = (struct authority){0};
		url->part = PART_NAME;
	} else if (url->part == PART_PORT) {
		take_port(authority, c);
	} else if (c == ':' && url->part != PART_ADDRESS) {
		url->part = PART_PORT;
	} else if (url->part == PART_BEHIND) {
		authority->host_wrong = true;
	} else if (url->part == PART_ADDRESS) {
		if (c == ']')
			url->part = PART_BEHIND;
		else if (json_is_unreserved(c) || c == ':' || c == '%')
			put_host(url, c);
		else
			authority->host_wrong = true;
	} else if (c == '[' && authority->host_bytes == 0) {
		authority->brackets = true;
		url->part = PART_ADDRESS;
	} else {
		take_name(url, c);
	}
}

static void take_character(struct url *url, char c)
{
	if ((unsigned char)c <= 0x20 || c == 0x7f)
		url->spaces = true;
	if (url->part < PART_NAME)
		take_scheme(url, c);
	else if (url->part < PART_REST)
		take_authority(url, c);
}

const char *json_url_fault(const struct json_value *value)
{
	char host[HOST_ROOM];
	struct url url = {.part = PART_SCHEME, .host = host};
	/* Of spaces and control characters a JSON string holds these two as they are, others in
	 * escapes. */
	url.spaces = memchr(value->text, ' ', value->bytes) || memchr(value->text, 0x7f, value->bytes);
	const char *at = value->text, *end = at + value->bytes;
	while (at < end && (value->escaped ? url.part != PART_WRONG : url.part < PART_REST)) {
		char utf8[4] = {*at};
		size_t n = 1;
		if (*at == '\\')
			n = scan_escape(utf8, &at);
		else
			at++;
		for (size_t i = 0; i < n; i++)
			take_character(&url, utf8[i]);
	}
	if (url.part == PART_WRONG || url.part < PART_NAME)
		return wrong_scheme;
	if (url.spaces)
		return wrong_spaces;
	url.authority.host_wrong |= url.part == PART_ADDRESS;
	return judge(&url);
}
