/* An entry of the guard's lists (guard.h):
 *
 *     10.1.0.0/16   10.1.2.3   fd00::/8   ::1             a network, or one address
 *     hooks.internal   *.internal                         a name, names below it
 *     10.1.2.3:9000   [fd00::/8]:9000   *.internal:8443   at one port alone
 *     :8443                                               everywhere at one port
 *
 * Names are ASCII (IDNA: xn--...); case and a dot at the end make no difference.
 */
#ifndef DELIVER_GUARD_ENTRY_H
#define DELIVER_GUARD_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#define GUARD_NAME_MAX 253u

enum guard_entry_kind { GUARD_ENTRY_ANY, GUARD_ENTRY_NETWORK, GUARD_ENTRY_NAME };

struct guard_entry {
	enum guard_entry_kind kind;
	uint16_t port; /* 0: every port */
	/* a network; IPv4 as mapped, its bits 96 more */
	uint8_t prefix[16];
	uint8_t bits;
	bool below; /* names below `name`, and not it */
	char name[GUARD_NAME_MAX + 1];
};

/* Returns NULL, or what is wrong with text. */
const char *guard_entry_parse(struct guard_entry *entry, const char *text);

/* Whether an entry names this host at this port; one of a port alone names all. */
bool guard_entry_has_name(const struct guard_entry *entry, const char *host, uint16_t port);

/* The same for an address. An IPv6 network has no IPv4 address in it, ::/0 neither. */
bool guard_entry_has_address(const struct guard_entry *entry, const uint8_t address[16], uint16_t port);

bool guard_prefix_matches(const uint8_t prefix[16], unsigned bits, const uint8_t address[16]);

#endif
