#include "deliver/guard_entry.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "base/address.h"
#include "deliver/names_text.h"

static const char *const bad_port = "a port is a number from 1 to 65535";
static const char *const bad_form =
        "not an entry; allowed: 10.1.0.0/16, fd00::/8, hooks.internal, *.internal, each with :PORT ([fd00::/8]:PORT), or :PORT alone";
static const char *const bad_network =
        "not a network: the bits after the prefix must be 0, and its length at most 32 (IPv6: 128)";

/* Digits alone, without leading zeros. */
static bool parse_port(uint16_t *port, const char *text)
{
	unsigned long number = 0;
	if (text[0] == '0' || strlen(text) > 5)
		return false;
	for (const char *at = text; *at != '\0'; at++) {
		if (*at < '0' || *at > '9')
			return false;
		number = number * 10 + (unsigned long)(*at - '0');
	}
	*port = (uint16_t)number;
	return number >= 1 && number <= UINT16_MAX;
}

static const char *parse_network(struct guard_entry *entry, const char *text)
{
	unsigned bits;
	if (address_parse_network(entry->prefix, &bits, text) != 0)
		return bad_network;
	entry->bits = (uint8_t)bits;
	entry->kind = GUARD_ENTRY_NETWORK;
	return NULL;
}

/* The last label is a number: such a name is an address in another form, or none (WHATWG URL). */
static bool ends_in_number(const char *name)
{
	const char *dot = strrchr(name, '.'), *label = dot == NULL ? name : dot + 1;
	if (label[0] == '0' && (label[1] == 'x' || label[1] == 'X') &&
	    label[2 + strspn(label + 2, "0123456789abcdefABCDEF")] == '\0')
		return true;
	return label[strspn(label, "0123456789")] == '\0';
}

static const char *parse_name(struct guard_entry *entry, const char *text)
{
	entry->below = strncmp(text, "*.", 2) == 0;
	if (entry->below)
		text += 2;
	for (const char *at = text; *at != '\0'; at++)
		if ((unsigned char)*at > 0x7f)
			return "write the name in ASCII, as IDNA has it (xn--...)";
	if (!names_text_name(text))
		return bad_form;
	size_t n = strlen(text);
	n -= text[n - 1] == '.';
	memcpy(entry->name, text, n);
	entry->name[n] = '\0';
	if (ends_in_number(entry->name))
		return "write an IPv4 address as four decimal numbers";
	entry->kind = GUARD_ENTRY_NAME;
	return NULL;
}

/* text without its port. */
static const char *parse_place(struct guard_entry *entry, const char *text)
{
	struct in_addr v4;
	size_t digits = strcspn(text, "/");
	char host[INET_ADDRSTRLEN];
	if (strchr(text, ':') != NULL || strchr(text, '/') != NULL)
		return parse_network(entry, text);
	if (digits >= sizeof host)
		return parse_name(entry, text);
	memcpy(host, text, digits);
	host[digits] = '\0';
	return inet_pton(AF_INET, host, &v4) == 1 ? parse_network(entry, text) : parse_name(entry, text);
}

const char *guard_entry_parse(struct guard_entry *entry, const char *text)
{
	char place[GUARD_NAME_MAX + sizeof "*.:65535."];
	memset(entry, 0, sizeof *entry);
	size_t n = strlen(text);
	if (n == 0 || n >= sizeof place)
		return bad_form;
	memcpy(place, text, n + 1);
	char *port = NULL, *from = place, *colon = strchr(place, ':');
	if (place[0] == '[') {
		char *end = strchr(place, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return bad_form;
		port = end[1] == ':' ? end + 2 : NULL;
		*end = '\0';
		from = place + 1;
		if (strchr(from, ':') == NULL)
			return bad_form;
	} else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
		*colon = '\0';
		port = colon + 1;
	}
	if (port != NULL && !parse_port(&entry->port, port))
		return bad_port;
	if (from[0] != '\0')
		return parse_place(entry, from);
	entry->kind = GUARD_ENTRY_ANY;
	return NULL;
}

bool guard_prefix_matches(const uint8_t prefix[16], unsigned bits, const uint8_t address[16])
{
	if (memcmp(prefix, address, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || ((prefix[bits / 8] ^ address[bits / 8]) >> (8 - bits % 8)) == 0;
}

bool guard_entry_has_address(const struct guard_entry *entry, const uint8_t address[16], uint16_t port)
{
	if (entry->port != 0 && entry->port != port)
		return false;
	if (entry->kind == GUARD_ENTRY_ANY)
		return true;
	return entry->kind == GUARD_ENTRY_NETWORK &&
	       (entry->bits >= 96 && address_is_mapped(entry->prefix)) == address_is_mapped(address) &&
	       guard_prefix_matches(entry->prefix, entry->bits, address);
}

bool guard_entry_has_name(const struct guard_entry *entry, const char *host, uint16_t port)
{
	if (entry->port != 0 && entry->port != port)
		return false;
	if (entry->kind != GUARD_ENTRY_NAME)
		return entry->kind == GUARD_ENTRY_ANY;
	size_t n = strlen(host), own = strlen(entry->name);
	n -= n > 0 && host[n - 1] == '.';
	if (entry->below ? n <= own + 1 || host[n - own - 1] != '.' : n != own)
		return false;
	return strncasecmp(host + n - own, entry->name, own) == 0;
}
