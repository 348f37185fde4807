#include "deliver/guard.h"

#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/address.h"
#include "deliver/guard_entry.h"

#define OWN_FIRST 16u /* the first room for the machine's addresses */

struct network {
	uint8_t prefix[16];
	uint8_t bits;
	enum guard_verdict verdict;
};

struct guard {
	struct guard_entry *allow, *deny;
	size_t n_allow, n_deny;
	uint8_t (*own)[16];
	size_t n_own;
};

/* ---- the built-in list ---- */

/* What networks are, the first that matches counts. IPv4 ones are below ::ffff:0:0/96, so their
 * bits are 96 more. From IANA's registries iana-ipv4-special, iana-ipv6-special and
 * ipv6-address-space; what is in none of the lines is reserved or not allocated. */
#define V4(a, b, c, d)                                                           \
	{                                                                        \
		[10] = 0xff, [11] = 0xff, [12] = a, [13] = b, [14] = c, [15] = d \
	}
static const struct network network[] = {
        /* metadata services of clouds, where they are not link-local: Azure, Alibaba, Oracle */
        {V4(168, 63, 129, 16), 128, GUARD_METADATA},
        {V4(100, 100, 100, 200), 128, GUARD_METADATA},
        {V4(192, 0, 0, 192), 128, GUARD_METADATA},
        /* and where they are: most clouds; Amazon's ECS and EKS */
        {V4(169, 254, 169, 254), 128, GUARD_METADATA},
        {V4(169, 254, 170, 2), 128, GUARD_METADATA},
        {V4(169, 254, 170, 23), 128, GUARD_METADATA},
        {V4(0, 0, 0, 0), 96 + 8, GUARD_UNSPECIFIED}, /* "this network" */
        {V4(10, 0, 0, 0), 96 + 8, GUARD_PRIVATE},
        {V4(100, 64, 0, 0), 96 + 10, GUARD_SHARED},
        {V4(127, 0, 0, 0), 96 + 8, GUARD_LOOPBACK},
        {V4(169, 254, 0, 0), 96 + 16, GUARD_LINK_LOCAL},
        {V4(172, 16, 0, 0), 96 + 12, GUARD_PRIVATE},
        {V4(192, 0, 0, 0), 96 + 24, GUARD_RESERVED}, /* IETF protocol assignments */
        {V4(192, 0, 2, 0), 96 + 24, GUARD_DOCUMENTATION},
        {V4(192, 88, 99, 0), 96 + 24, GUARD_RESERVED}, /* relays of 6to4 (RFC 7526) */
        {V4(192, 168, 0, 0), 96 + 16, GUARD_PRIVATE},
        {V4(198, 18, 0, 0), 96 + 15, GUARD_RESERVED}, /* benchmarking */
        {V4(198, 51, 100, 0), 96 + 24, GUARD_DOCUMENTATION},
        {V4(203, 0, 113, 0), 96 + 24, GUARD_DOCUMENTATION},
        {V4(224, 0, 0, 0), 96 + 4, GUARD_MULTICAST},
        {V4(240, 0, 0, 0), 96 + 4, GUARD_RESERVED}, /* 255.255.255.255 with it */
        {V4(0, 0, 0, 0), 96, GUARD_PASSES},
        {{0}, 128, GUARD_UNSPECIFIED},
        {{[15] = 1}, 128, GUARD_LOOPBACK},
        {{0x00, 0x64, 0xff, 0x9b}, 96, GUARD_PASSES}, /* NAT64: what it translates to counts */
        {{0x20, 0x01}, 23, GUARD_RESERVED},           /* IETF protocol assignments, Teredo */
        {{0x20, 0x01, 0x0d, 0xb8}, 32, GUARD_DOCUMENTATION},
        {{0x3f, 0xff}, 20, GUARD_DOCUMENTATION},
        {{0x20}, 3, GUARD_PASSES},                                                 /* global unicast */
        {{0xfd, 0x00, 0x0e, 0xc2}, 32, GUARD_METADATA},                            /* Amazon */
        {{0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54}, 128, GUARD_METADATA}, /* Google */
        {{0xfc}, 7, GUARD_PRIVATE},                                                /* unique local */
        {{0xfe, 0x80}, 10, GUARD_LINK_LOCAL},
        {{0xfe, 0xc0}, 10, GUARD_PRIVATE}, /* site-local */
        {{0xff}, 8, GUARD_MULTICAST},
        {{0}, 0, GUARD_RESERVED},
};

static enum guard_verdict built_in(const uint8_t address[16])
{
	for (size_t i = 0; i < sizeof network / sizeof network[0]; i++)
		if (guard_prefix_matches(network[i].prefix, network[i].bits, address))
			return network[i].verdict;
	return GUARD_RESERVED;
}

/* ---- IPv4 addresses inside IPv6 ones ---- */

/* Where in addresses with the prefix an IPv4 one lies. */
struct embedding {
	uint8_t prefix[16], mask[16];
	uint8_t at[4];    /* bytes of the address */
	uint8_t inverted; /* 0xff: they are stored inverted */
	/* one of several readings of the prefix: it is meant when all bytes from here on are 0 and
	 * the IPv4 address is not; 0: this is the only reading */
	uint8_t zero_from;
};

static const struct embedding embedding[] = {
        /* compatible ::/96 (RFC 4291, 2.5.5.1), translated ::ffff:0:0:0/96 (RFC 2765) */
        {{0}, {[0 ... 11] = 0xff}, {12, 13, 14, 15}, 0, 0},
        {{[8] = 0xff, [9] = 0xff}, {[0 ... 11] = 0xff}, {12, 13, 14, 15}, 0, 0},
        /* NAT64, the well-known prefix (RFC 6052) */
        {{0x00, 0x64, 0xff, 0x9b}, {[0 ... 11] = 0xff}, {12, 13, 14, 15}, 0, 0},
        /* NAT64, the prefix for local use (RFC 8215): a network may have a /96, /64, /56 of it, or
         * all of the /48 (RFC 6052, 2.2; byte 8 is always 0) */
        {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, {[0 ... 5] = 0xff}, {12, 13, 14, 15}, 0, 16},
        {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, {[0 ... 5] = 0xff}, {9, 10, 11, 12}, 0, 13},
        {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, {[0 ... 5] = 0xff}, {7, 9, 10, 11}, 0, 12},
        {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, {[0 ... 5] = 0xff}, {6, 7, 9, 10}, 0, 11},
        /* 6to4 (RFC 3056) */
        {{0x20, 0x02}, {0xff, 0xff}, {2, 3, 4, 5}, 0, 0},
        /* Teredo (RFC 4380): the server, and the client as others see it */
        {{0x20, 0x01}, {[0 ... 3] = 0xff}, {4, 5, 6, 7}, 0, 0},
        {{0x20, 0x01}, {[0 ... 3] = 0xff}, {12, 13, 14, 15}, 0xff, 0},
        /* ISATAP (RFC 5214) in any /64; the bit 0x02 says that the IPv4 address is unique */
        {{[10] = 0x5e, [11] = 0xfe},
         {[8] = 0xfd, [9] = 0xff, [10] = 0xff, [11] = 0xff},
         {12, 13, 14, 15},
         0,
         0},
};

/* The IPv4 address, mapped, that a reading finds. False when this is no such address. */
static bool unpack(const struct embedding *e, const uint8_t address[16], uint8_t inner[16])
{
	for (unsigned i = 0; i < 16; i++)
		if ((address[i] & e->mask[i]) != e->prefix[i] ||
		    (e->zero_from != 0 && i >= e->zero_from && address[i] != 0))
			return false;
	uint8_t ipv4[4], any = 0;
	for (unsigned i = 0; i < 4; i++)
		any |= ipv4[i] = address[e->at[i]] ^ e->inverted;
	address_map(inner, ipv4);
	return e->zero_from == 0 || any != 0;
}

/* ---- verdicts ---- */

static bool is_own(const struct guard *guard, const uint8_t address[16])
{
	for (size_t i = 0; i < guard->n_own; i++)
		if (memcmp(guard->own[i], address, 16) == 0)
			return true;
	return false;
}

static bool listed(const struct guard_entry *entry, size_t n, const uint8_t address[16], uint16_t port)
{
	for (size_t i = 0; i < n; i++)
		if (guard_entry_has_address(&entry[i], address, port))
			return true;
	return false;
}

/* One form of an address, for itself. */
static enum guard_verdict judge(const struct guard *guard, const uint8_t address[16], uint16_t port,
                                bool by_name)
{
	if (listed(guard->deny, guard->n_deny, address, port))
		return GUARD_DENIED;
	if (by_name || listed(guard->allow, guard->n_allow, address, port))
		return GUARD_PASSES;
	enum guard_verdict verdict = built_in(address);
	return verdict != GUARD_LOOPBACK && is_own(guard, address) ? GUARD_OWN : verdict;
}

/* :: and ::1 have the form of compatible addresses, and are none (RFC 4291, 2.5.5.1). */
static bool may_embed(const uint8_t address[16])
{
	enum guard_verdict verdict = built_in(address);
	return !address_is_mapped(address) && verdict != GUARD_UNSPECIFIED && verdict != GUARD_LOOPBACK;
}

enum guard_verdict guard_address(const struct guard *guard, const uint8_t address[16], uint16_t port,
                                 bool by_name)
{
	enum guard_verdict verdict = judge(guard, address, port, by_name);
	bool embeds = may_embed(address);
	for (size_t i = 0; embeds && i < sizeof embedding / sizeof embedding[0]; i++) {
		uint8_t inner[16];
		/* what is inside says more than that the form is reserved */
		if ((verdict != GUARD_PASSES && verdict != GUARD_RESERVED) ||
		    !unpack(&embedding[i], address, inner))
			continue;
		enum guard_verdict of_inner = judge(guard, inner, port, by_name);
		if (of_inner != GUARD_PASSES)
			verdict = of_inner;
	}
	return verdict;
}

enum guard_verdict guard_name(const struct guard *guard, const char *host, uint16_t port, bool *by_name)
{
	*by_name = false;
	for (size_t i = 0; i < guard->n_deny; i++)
		if (guard_entry_has_name(&guard->deny[i], host, port))
			return GUARD_DENIED;
	for (size_t i = 0; i < guard->n_allow && !*by_name; i++)
		*by_name = guard->allow[i].kind == GUARD_ENTRY_NAME &&
		           guard_entry_has_name(&guard->allow[i], host, port);
	return GUARD_PASSES;
}

const char *guard_verdict_text(enum guard_verdict verdict)
{
	static const char *const text[GUARD_VERDICTS] = {[GUARD_PASSES] = "",
#define GUARD(symbol, words) [GUARD_##symbol] = words,
	                                                 GUARD_RULES(GUARD)
#undef GUARD
	};
	return (unsigned)verdict < GUARD_VERDICTS ? text[verdict] : "";
}

/* ---- the machine's addresses ---- */

int guard_own(struct guard *guard, const uint8_t (*address)[16], size_t n)
{
	uint8_t(*own)[16] = malloc((n == 0 ? 1 : n) * sizeof *own);
	if (own == NULL)
		return -ENOMEM;
	if (n > 0)
		memcpy(own, address, n * sizeof *own);
	free(guard->own);
	guard->own = own;
	guard->n_own = n;
	return 0;
}

int guard_refresh(struct guard *guard)
{
	struct ifaddrs *first;
	if (getifaddrs(&first) != 0)
		return -errno;
	size_t n = 0;
	for (const struct ifaddrs *i = first; i != NULL; i = i->ifa_next)
		n++;
	uint8_t(*found)[16] = malloc((n == 0 ? 1 : n) * sizeof *found);
	if (found == NULL) {
		freeifaddrs(first);
		return -ENOMEM;
	}
	n = 0;
	for (const struct ifaddrs *i = first; i != NULL; i = i->ifa_next)
		n += i->ifa_addr != NULL && address_host(found[n], i->ifa_addr);
	freeifaddrs(first);
	free(guard->own);
	guard->own = found;
	guard->n_own = n;
	return 0;
}

/* ---- opening ---- */

static int read_list(struct guard_entry **list, size_t *n, const struct config *config, const char *key,
                     struct shm_error *error)
{
	*n = config_count(config, "%s", key);
	*list = calloc(*n == 0 ? 1 : *n, sizeof **list);
	if (*list == NULL) {
		shm_explain(error, "%s: no memory", key);
		return -ENOMEM;
	}
	for (size_t i = 0; i < *n; i++) {
		const char *text = config_item(config, i, "%s", key);
		const char *wrong = guard_entry_parse(&(*list)[i], text);
		if (wrong == NULL)
			continue;
		shm_explain(error, "%s[%zu]: \"%.260s\": %s", key, i, text, wrong);
		return -EINVAL;
	}
	return 0;
}

int guard_open(struct guard **guard, const struct config *config, struct shm_error *error)
{
	struct guard *made = calloc(1, sizeof *made);
	if (made == NULL) {
		shm_explain(error, "deliver.guard: no memory");
		return -ENOMEM;
	}
	int result = read_list(&made->allow, &made->n_allow, config, "deliver.guard.allow", error);
	if (result == 0)
		result = read_list(&made->deny, &made->n_deny, config, "deliver.guard.deny", error);
	if (result == 0 && (result = guard_refresh(made)) != 0)
		shm_explain(error, "cannot read the addresses of this machine: %s", strerror(-result));
	if (result != 0) {
		guard_close(made);
		return result;
	}
	*guard = made;
	return 0;
}

void guard_close(struct guard *guard)
{
	if (guard == NULL)
		return;
	free(guard->allow);
	free(guard->deny);
	free(guard->own);
	free(guard);
}
