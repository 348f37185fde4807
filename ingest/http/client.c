#include "ingest/http/client.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* An address alone, without zone: text needs no final 0. */
static bool parse_numbers(uint8_t address[16], const char *text, size_t bytes, bool *is_v4)
{
	char copy[INET6_ADDRSTRLEN];
	/* inet_pton stops at a 0 and would ignore what follows it. */
	if (bytes == 0 || bytes >= sizeof copy || memchr(text, 0, bytes) != NULL)
		return false;
	memcpy(copy, text, bytes);
	copy[bytes] = '\0';
	*is_v4 = memchr(text, ':', bytes) == NULL;
	uint8_t made[16];
	memcpy(made, mapped, sizeof mapped);
	if (inet_pton(*is_v4 ? AF_INET : AF_INET6, copy, *is_v4 ? made + sizeof mapped : made) != 1)
		return false;
	memcpy(address, made, sizeof made);
	return true;
}

/* Decimal digits without sign, space or leading zero. */
static bool parse_number(const char *text, size_t bytes, unsigned most, unsigned *number)
{
	if (bytes == 0 || bytes > 5 || (text[0] == '0' && bytes > 1))
		return false;
	*number = 0;
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		*number = *number * 10 + (unsigned)(text[i] - '0');
	}
	return *number <= most;
}

/* ---- trusted networks ---- */

/* Whether the first `bits` bits are the same. */
static bool same_network(const uint8_t a[16], const uint8_t b[16], unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;
	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) & (0xff00u >> rest & 0xff)) == 0;
}

static bool is_prefix(const uint8_t address[16], unsigned bits)
{
	for (unsigned i = bits; i < 128; i++)
		if ((address[i / 8] & (0x80 >> i % 8)) != 0)
			return false;
	return true;
}

int client_network_add(struct client_networks *networks, const char *text)
{
	struct client_network network;
	const char *slash = strchr(text, '/');
	size_t bytes = slash == NULL ? strlen(text) : (size_t)(slash - text);
	bool is_v4;
	if (!parse_numbers(network.address, text, bytes, &is_v4))
		return -EINVAL;
	unsigned bits = is_v4 ? 32 : 128;
	if (slash != NULL && !parse_number(slash + 1, strlen(slash + 1), bits, &bits))
		return -EINVAL;
	if (is_v4)
		bits += 96;
	if (!is_prefix(network.address, bits))
		return -EINVAL;
	if (networks->n == CLIENT_NETWORKS_MAX)
		return -ENOSPC;
	network.bits = (uint8_t)bits;
	networks->network[networks->n++] = network;
	return 0;
}

bool client_trusted(const struct client_networks *networks, const uint8_t address[16])
{
	for (unsigned i = 0; i < networks->n; i++)
		if (same_network(networks->network[i].address, address, networks->network[i].bits))
			return true;
	return false;
}

/* ---- the peer ---- */

void client_of_peer(uint8_t address[16], uint16_t *port, const struct sockaddr_storage *peer)
{
	memset(address, 0, 16);
	*port = 0;
	if (peer->ss_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, peer, sizeof in);
		memcpy(address, mapped, sizeof mapped);
		memcpy(address + sizeof mapped, &in.sin_addr, 4);
		*port = ntohs(in.sin_port);
	} else if (peer->ss_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, peer, sizeof in6);
		memcpy(address, &in6.sin6_addr, 16);
		*port = ntohs(in6.sin6_port);
	}
}

/* ---- the request's headers ---- */

static struct slice trim(struct slice slice)
{
	while (slice.bytes > 0 && (*slice.text == ' ' || *slice.text == '\t')) {
		slice.text++;
		slice.bytes--;
	}
	while (slice.bytes > 0 && (slice.text[slice.bytes - 1] == ' ' || slice.text[slice.bytes - 1] == '\t'))
		slice.bytes--;
	return slice;
}

/* ":_hidden" (RFC 7239, 6.3): the text after the colon. */
static bool is_obfuscated(const char *text, size_t bytes)
{
	if (bytes < 2 || text[0] != '_')
		return false;
	for (size_t i = 1; i < bytes; i++)
		if (!isalnum((unsigned char)text[i]) && (text[i] == '\0' || strchr("._-", text[i]) == NULL))
			return false;
	return true;
}

/* Nothing, ":80", or ":_hidden". */
static bool is_port_or_nothing(const char *text, size_t bytes)
{
	unsigned port;
	return bytes == 0 || (text[0] == ':' && (parse_number(text + 1, bytes - 1, UINT16_MAX, &port) ||
	                                         is_obfuscated(text + 1, bytes - 1)));
}

static bool parse_bracketed(uint8_t address[16], struct slice hop)
{
	const char *end = memchr(hop.text, ']', hop.bytes);
	bool is_v4;
	uint8_t made[16];
	if (end == NULL || !is_port_or_nothing(end + 1, (size_t)(hop.text + hop.bytes - end) - 1) ||
	    !parse_numbers(made, hop.text + 1, (size_t)(end - hop.text) - 1, &is_v4) || is_v4)
		return false;
	memcpy(address, made, sizeof made);
	return true;
}

static bool parse_hop(uint8_t address[16], struct slice hop)
{
	bool is_v4;
	if (hop.bytes >= 2 && hop.text[0] == '"' && hop.text[hop.bytes - 1] == '"') {
		hop.text++;
		hop.bytes -= 2;
	}
	if (hop.bytes == 0)
		return false;
	if (hop.text[0] == '[')
		return parse_bracketed(address, hop);
	const char *colon = memchr(hop.text, ':', hop.bytes);
	size_t before = colon == NULL ? hop.bytes : (size_t)(colon - hop.text);
	/* Two colons: an IPv6 address, which has no port without brackets. */
	if (colon != NULL && memchr(colon + 1, ':', hop.bytes - before - 1) != NULL)
		return parse_numbers(address, hop.text, hop.bytes, &is_v4);
	return is_port_or_nothing(hop.text + before, hop.bytes - before) &&
	       parse_numbers(address, hop.text, before, &is_v4);
}

/* ---- lists of hops ---- */

/* Up to the next `separator` that is not in quotes, when these count, or to the end. Moves *rest
 * after it. */
static struct slice take_piece(struct slice *rest, char separator, bool quotes)
{
	bool quoted = false;
	uint32_t n = 0;
	for (; n < rest->bytes && (quoted || rest->text[n] != separator); n++) {
		if (quoted && rest->text[n] == '\\' && n + 1 < rest->bytes)
			n++;
		else if (quotes && rest->text[n] == '"')
			quoted = !quoted;
	}
	struct slice piece = {.text = rest->text, .bytes = n};
	uint32_t used = n < rest->bytes ? n + 1 : n;
	*rest = (struct slice){.text = rest->text + used, .bytes = rest->bytes - used};
	return trim(piece);
}

/* One field: lines, and in each elements with commas between. */
struct hops {
	struct slice line, rest;
	enum request_list list;
	bool more_lines;
};

/* The next element that is not empty (RFC 9110, 5.6.1). */
static bool next_hop(struct hops *hops, struct slice *hop)
{
	for (;;) {
		while (hops->rest.bytes > 0) {
			*hop = take_piece(&hops->rest, ',', hops->list == REQUEST_FORWARDED);
			if (hop->bytes > 0)
				return true;
		}
		if (!hops->more_lines || !request_next_line(&hops->line, hops->list))
			return false;
		hops->rest = hops->line;
	}
}

#define NODE_BYTES 64u /* longer is not an address */

/* The node that the "for" of an element of Forwarded names (RFC 7239, 4), without its quotes; in
 * copy, when it had any. */
static struct slice forwarded_node(struct slice element, char copy[NODE_BYTES])
{
	while (element.bytes > 0) {
		struct slice value = take_piece(&element, ';', true), node = {.text = copy};
		struct slice name = take_piece(&value, '=', true);
		if (name.bytes != 3 || strncasecmp(name.text, "for", 3) != 0)
			continue;
		value = trim(value);
		if (value.bytes < 2 || value.text[0] != '"' || value.text[value.bytes - 1] != '"')
			return value;
		for (uint32_t i = 1; i < value.bytes - 1 && node.bytes < NODE_BYTES; i++) {
			i += value.text[i] == '\\';
			copy[node.bytes++] = value.text[i];
		}
		return node;
	}
	return (struct slice){.text = copy};
}

static bool parse_element(uint8_t address[16], enum request_list list, struct slice hop)
{
	char copy[NODE_BYTES];
	return parse_hop(address, list == REQUEST_FORWARDED ? forwarded_node(hop, copy) : hop);
}

#define SOURCES 4u

bool client_of_request(uint8_t address[16], const struct request *request)
{
	const struct {
		struct slice line;
		enum request_list list;
	} source[SOURCES] = {
	        {request->push_ip, REQUEST_PUSH_IP},
	        {request->forwarded_for, REQUEST_FORWARDED_FOR},
	        {request->real_ip, REQUEST_REAL_IP},
	        {request->forwarded, REQUEST_FORWARDED},
	};
	struct hops hops[SOURCES];
	struct slice hop;
	for (unsigned i = 0; i < SOURCES; i++) {
		bool more = (request->more_lines & source[i].list) != 0;
		hops[i] = (struct hops){source[i].line, source[i].line, source[i].list, more};
		if (source[i].line.text != NULL && next_hop(&hops[i], &hop) &&
		    parse_element(address, source[i].list, hop))
			return true;
	}
	/* Behind "unknown" and the like stand hops that are nearer to us: better than the proxy
	 * that we talk to. */
	for (unsigned i = 0; i < SOURCES; i++)
		while (source[i].line.text != NULL && next_hop(&hops[i], &hop))
			if (parse_element(address, source[i].list, hop))
				return true;
	return false;
}
