#include "stage/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const struct sockaddr_in *v4(const struct sockaddr_storage *address)
{
	return (const struct sockaddr_in *)(const void *)address;
}

static const struct sockaddr_in6 *v6(const struct sockaddr_storage *address)
{
	return (const struct sockaddr_in6 *)(const void *)address;
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

bool address_overlaps(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
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
