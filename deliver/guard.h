/* The guard: where postbacks may go. URLs are strangers' choice, and the box stands inside
 * somebody's network.
 *
 *     target --guard_target: scheme, name, port--> names --guard_address: each address, all must pass--> connect --guard_address once more--> request
 *
 * Forbidden unless allowed: addresses that are no public unicast (IANA's special-purpose
 * registries, RFC 6890): unspecified, loopback, private, shared (100.64/10), link-local (169.254/16
 * with the metadata services of clouds, fe80::/10), unique local (fc00::/7, fd00:ec2::254 with it),
 * site-local, multicast, broadcast, documentation, benchmarking, reserved; the addresses of this
 * machine, public ones too, as its interfaces have them (looked up again every guard tick).
 *
 * An IPv6 address that stands for an IPv4 one is judged by both: mapped ::ffff:0:0/96, translated
 * ::ffff:0:0:0/96, compatible ::/96, NAT64 64:ff9b::/96 and 64:ff9b:1::/48 (RFC 6052, all lengths
 * of RFC 8215's prefix as /96), 6to4 2002::/16, Teredo 2001::/32 (server and, inverted, client),
 * ISATAP (::0:5efe:a.b.c.d in any /64).
 *
 * deny: networks, host names, ports; allow: the same. deny wins over allow, allow over the built-in
 * list. An entry is NETWORK, HOST, *.HOST (names below it), any of them with :PORT, or :PORT alone.
 *     allow: ["10.1.0.0/16", "hooks.internal:8443", "127.0.0.1:9000"]
 * A HOST in allow allows all addresses that the name gives; a HOST in deny forbids the name.
 */
#ifndef DELIVER_GUARD_H
#define DELIVER_GUARD_H

#include "config/config.h"
#include "shm/segment.h"

/* GUARD(symbol, text): what an address is forbidden for; text is for people and in reasons. */
#define GUARD_RULES(GUARD)                                   \
	GUARD(UNSPECIFIED, "the unspecified address")        \
	GUARD(LOOPBACK, "a loopback address")                \
	GUARD(PRIVATE, "a private address")                  \
	GUARD(SHARED, "an address of shared space")          \
	GUARD(LINK_LOCAL, "a link-local address")            \
	GUARD(METADATA, "an address of a metadata service")  \
	GUARD(MULTICAST, "a multicast address")              \
	GUARD(DOCUMENTATION, "an address for documentation") \
	GUARD(RESERVED, "a reserved address")                \
	GUARD(OWN, "an address of this machine")             \
	GUARD(DENIED, "denied by deliver.guard.deny")        \
	GUARD(SCHEME, "neither http nor https")

enum guard_verdict {
	GUARD_PASSES = 0,
#define GUARD(symbol, text) GUARD_##symbol,
	GUARD_RULES(GUARD)
#undef GUARD
	        GUARD_VERDICTS,
};

struct guard; /* opaque; one thread */

/* From deliver.guard.*: allow, deny. Returns 0, to be given to guard_close, or -errno with
 * "deliver.guard.allow[2]: ..." in error. Reads the machine's addresses. */
int guard_open(struct guard **guard, const struct config *config, struct shm_error *error);
void guard_close(struct guard *guard);

/* Reads the machine's addresses again; about once a second is often enough. Returns 0 or -errno
 * (the old ones stay). */
int guard_refresh(struct guard *guard);

/* These n addresses are the machine's (IPv4 as ::ffff:a.b.c.d), until guard_refresh. Returns 0 or
 * -ENOMEM. */
int guard_own(struct guard *guard, const uint8_t (*address)[16], size_t n);

/* By name and port, before anything is looked up. *by_name is set to true when an entry of allow
 * names the host: then guard_address is asked with it. */
enum guard_verdict guard_name(const struct guard *guard, const char *host, uint16_t port, bool *by_name);

/* An address, IPv4 as ::ffff:a.b.c.d, and the port. by_name: as guard_name has set it; what deny
 * says counts all the same. */
enum guard_verdict guard_address(const struct guard *guard, const uint8_t address[16], uint16_t port,
                                 bool by_name);

/* "a loopback address"; "" for GUARD_PASSES */
const char *guard_verdict_text(enum guard_verdict verdict);

#endif
