#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define UNIX_PREFIX "unix:"

static const struct sockaddr_in *v4(const struct sockaddr_storage *address)
{
	return (const struct sockaddr_in *)(const void *)address;
}

static const struct sockaddr_in6 *v6(const struct sockaddr_storage *address)
{
	return (const struct sockaddr_in6 *)(const void *)address;
}

static const char *path_of(const struct sockaddr_storage *address)
{
	return ((const struct sockaddr_un *)(const void *)address)->sun_path;
}

/* Digits only: strtoul would take signs and spaces. */
static int parse_port(const char *text, in_port_t *port)
{
	size_t n = strspn(text, "0123456789");
	if (n == 0 || n > 5 || text[n] != '\0')
		return -EINVAL;
	unsigned value = 0;
	for (size_t i = 0; i < n; i++)
		value = value * 10 + (unsigned)(text[i] - '0');
	if (value > UINT16_MAX)
		return -EINVAL;
	*port = htons((uint16_t)value);
	return 0;
}

static int parse_host_v6(struct sockaddr_in6 *address, char *host)
{
	char *zone = strchr(host, '%');
	if (zone != NULL) {
		*zone++ = '\0';
		address->sin6_scope_id = if_nametoindex(zone);
		if (address->sin6_scope_id == 0)
			return -EINVAL;
	}
	return inet_pton(AF_INET6, host, &address->sin6_addr) == 1 ? 0 : -EINVAL;
}

int address_parse(struct sockaddr_storage *address, socklen_t *length, const char *text)
{
	char host[ADDRESS_TEXT_MAX];
	const char *colon = strrchr(text, ':');
	size_t host_bytes = colon == NULL ? 0 : (size_t)(colon - text);
	in_port_t port;
	if (colon == NULL || host_bytes >= sizeof host || parse_port(colon + 1, &port) != 0)
		return -EINVAL;
	memcpy(host, text, host_bytes);
	host[host_bytes] = '\0';

	struct sockaddr_storage made = {0};
	if (host_bytes > 0 && host[0] != '[') {
		struct sockaddr_in *in = (struct sockaddr_in *)(void *)&made;
		in->sin_family = AF_INET;
		in->sin_port = port;
		if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
			return -EINVAL;
		*length = sizeof *in;
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&made;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = port;
		if (host_bytes > 0) {
			if (host[host_bytes - 1] != ']')
				return -EINVAL;
			host[host_bytes - 1] = '\0';
			if (parse_host_v6(in6, host + 1) != 0)
				return -EINVAL;
		}
		*length = sizeof *in6;
	}
	*address = made;
	return 0;
}

int address_parse_stream(struct sockaddr_storage *address, socklen_t *length, const char *text)
{
	struct sockaddr_un made = {.sun_family = AF_UNIX};
	size_t prefix_bytes = strlen(UNIX_PREFIX);
	if (strncmp(text, UNIX_PREFIX, prefix_bytes) != 0)
		return address_parse(address, length, text);
	const char *path = text + prefix_bytes;
	size_t bytes = strlen(path);
	if (path[0] != '/' || path[bytes - 1] == '/')
		return -EINVAL;
	if (bytes >= sizeof made.sun_path)
		return -ENAMETOOLONG;
	memcpy(made.sun_path, path, bytes);
	memset(address, 0, sizeof *address);
	memcpy(address, &made, sizeof made);
	*length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes + 1);
	return 0;
}

char *address_format(char *buffer, const struct sockaddr_storage *address)
{
	char host[INET6_ADDRSTRLEN] = "", zone[IF_NAMESIZE] = "";
	if (address->ss_family == AF_INET) {
		inet_ntop(AF_INET, &v4(address)->sin_addr, host, sizeof host);
		snprintf(buffer, ADDRESS_TEXT_MAX, "%s:%u", host, address_port(address));
	} else if (address->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6(address)->sin6_addr, host, sizeof host);
		bool zoned = v6(address)->sin6_scope_id != 0 &&
		             if_indextoname(v6(address)->sin6_scope_id, zone) != NULL;
		snprintf(buffer, ADDRESS_TEXT_MAX, "[%s%s%s]:%u", host, zoned ? "%" : "", zone,
		         address_port(address));
	} else if (address->ss_family == AF_UNIX && path_of(address)[0] == '/') {
		snprintf(buffer, ADDRESS_TEXT_MAX, UNIX_PREFIX "%.*s",
		         (int)sizeof(((struct sockaddr_un *)NULL)->sun_path), path_of(address));
	} else {
		snprintf(buffer, ADDRESS_TEXT_MAX, "?");
	}
	return buffer;
}

unsigned address_port(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return ntohs(v4(address)->sin_port);
	return address->ss_family == AF_INET6 ? ntohs(v6(address)->sin6_port) : 0;
}

static bool is_any_v4(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET && v4(address)->sin_addr.s_addr == htonl(INADDR_ANY);
}

static bool is_any_v6(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6(address)->sin6_addr);
}

bool address_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_UNIX)
		return strcmp(((const struct sockaddr_un *)(const void *)a)->sun_path,
		              ((const struct sockaddr_un *)(const void *)b)->sun_path) == 0;
	if (a->ss_family == AF_INET6) {
		const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
		return x->sin6_port == y->sin6_port && x->sin6_scope_id == y->sin6_scope_id &&
		       memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0;
	}
	const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
	/* clang-tidy's analyzer does not know that getsockname has filled it. */
	// NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult)
	return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
}

bool address_overlaps(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family == AF_UNIX && b->ss_family == AF_UNIX)
		return strcmp(path_of(a), path_of(b)) == 0;
	if (address_port(a) == 0 || address_port(a) != address_port(b))
		return false;
	if (is_any_v6(a) || is_any_v6(b))
		return true;
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return is_any_v4(a) || is_any_v4(b) || v4(a)->sin_addr.s_addr == v4(b)->sin_addr.s_addr;
	return IN6_ARE_ADDR_EQUAL(&v6(a)->sin6_addr, &v6(b)->sin6_addr) &&
	       v6(a)->sin6_scope_id == v6(b)->sin6_scope_id;
}

/* Digits only, at most `most`. */
static int parse_bits(const char *text, unsigned most, unsigned *bits)
{
	size_t n = strspn(text, "0123456789");
	if (n == 0 || n > 3 || text[n] != '\0')
		return -EINVAL;
	*bits = (unsigned)strtoul(text, NULL, 10);
	return *bits <= most ? 0 : -EINVAL;
}

static bool rest_is_zero(const uint8_t address[16], unsigned bits)
{
	for (unsigned i = bits; i < 128; i++)
		if ((address[i / 8] & 0x80 >> i % 8) != 0)
			return false;
	return true;
}

int address_parse_network(uint8_t prefix[16], unsigned *bits, const char *text)
{
	char host[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t host_bytes = slash == NULL ? strlen(text) : (size_t)(slash - text);
	if (host_bytes >= sizeof host)
		return -EINVAL;
	memcpy(host, text, host_bytes);
	host[host_bytes] = '\0';
	uint8_t made[16];
	if (!address_host_parse(made, host))
		return -EINVAL;
	unsigned width = strchr(host, ':') == NULL ? 32 : 128, length = width;
	if (slash != NULL && parse_bits(slash + 1, width, &length) != 0)
		return -EINVAL;
	length += 128 - width;
	if (!rest_is_zero(made, length))
		return -EINVAL;
	memcpy(prefix, made, sizeof made);
	*bits = length;
	return 0;
}

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

void address_map(uint8_t address[16], const void *ipv4)
{
	memcpy(address, mapped, sizeof mapped);
	memcpy(address + sizeof mapped, ipv4, 4);
}

bool address_is_mapped(const uint8_t address[16])
{
	return memcmp(address, mapped, sizeof mapped) == 0;
}

bool address_host_parse(uint8_t address[16], const char *text)
{
	struct in_addr v4;
	if (inet_pton(AF_INET, text, &v4) != 1)
		return inet_pton(AF_INET6, text, address) == 1;
	address_map(address, &v4);
	return true;
}

bool address_host(uint8_t address[16], const struct sockaddr *from)
{
	if (from->sa_family == AF_INET6)
		memcpy(address, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
	else if (from->sa_family == AF_INET)
		address_map(address, &((const struct sockaddr_in *)(const void *)from)->sin_addr);
	else
		return false;
	return true;
}

_Static_assert(ADDRESS_HOST_TEXT_MAX == INET6_ADDRSTRLEN, "room for the longest");

char *address_host_format(char *buffer, const uint8_t address[16])
{
	bool is_v4 = address_is_mapped(address);
	inet_ntop(is_v4 ? AF_INET : AF_INET6, address + (is_v4 ? sizeof mapped : 0), buffer,
	          ADDRESS_HOST_TEXT_MAX);
	return buffer;
}
