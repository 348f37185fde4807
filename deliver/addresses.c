#include "deliver/addresses.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/clock.h"

#define LEAST_NS (100 * NS_PER_MS)

static bool usable(const struct addresses *addresses, const struct sender_place *place, uint64_t stale_ns,
                   uint64_t now_ns)
{
	return place->n > 0 && (now_ns < addresses->expires_ns || now_ns - addresses->expires_ns < stale_ns);
}

enum addresses_state addresses_look(const struct addresses *addresses, const struct sender_place *place,
                                    uint64_t stale_ns, uint64_t now_ns)
{
	if (usable(addresses, place, stale_ns, now_ns))
		return ADDRESSES_KNOWN;
	return addresses->failed != 0 && now_ns < addresses->failed_until_ns ? ADDRESSES_FAILED
	                                                                     : ADDRESSES_NONE;
}

bool addresses_to_ask(const struct addresses *addresses, const struct sender_place *place, uint64_t now_ns)
{
	return !addresses->asking && (place->n == 0 || now_ns >= addresses->expires_ns) &&
	       (addresses->failed == 0 || now_ns >= addresses->failed_until_ns);
}

/* The first that is forbidden, or n. */
static unsigned vet(const struct names_answer *answer, const struct guard *guard, uint16_t port, bool by_name,
                    enum guard_verdict *why)
{
	unsigned i = 0;
	for (; i < answer->n; i++)
		if ((*why = guard_address(guard, answer->address[i], port, by_name)) != GUARD_PASSES)
			break;
	return i;
}

static void explain(struct addresses *addresses, const uint8_t address[16])
{
	char text[ADDRESS_HOST_TEXT_MAX];
	snprintf(addresses->reason, sizeof addresses->reason, "%s is %s", address_host_format(text, address),
	         guard_verdict_text(addresses->why));
}

static bool same_addresses(const struct sender_place *place, const struct names_answer *answer)
{
	if (place->n != answer->n || place->zone != answer->zone)
		return false;
	for (unsigned i = 0; i < answer->n; i++) {
		unsigned k = 0;
		while (k < place->n && memcmp(place->address[k], answer->address[i], 16) != 0)
			k++;
		if (k == place->n)
			return false;
	}
	return true;
}

/* Those that wait hear of it, also when it holds for no time at all. */
static uint64_t at_least(uint64_t expires_ns, uint64_t now_ns)
{
	return expires_ns > now_ns + LEAST_NS ? expires_ns : now_ns + LEAST_NS;
}

/* Name servers turn the order at each answer: the same addresses in another one are no news. */
static bool replace(struct sender_place *place, const struct names_answer *answer, uint64_t *serial)
{
	bool others = place->n > 0;
	if (same_addresses(place, answer))
		return false;
	place->n = answer->n;
	memcpy(place->address, answer->address, sizeof place->address);
	place->zone = answer->zone;
	place->serial = ++*serial;
	return others;
}

static bool take_failure(struct addresses *addresses, struct sender_place *place, int result,
                         uint64_t expires_ns, uint64_t *serial)
{
	bool others = place->n > 0;
	addresses->failed = result;
	addresses->failed_until_ns = expires_ns;
	/* That a server does not answer says nothing of the addresses; these two do. */
	if (result != -ENOENT && result != -EACCES)
		return false;
	place->n = 0;
	place->serial = ++*serial;
	return others;
}

bool addresses_answer(struct addresses *addresses, struct sender_place *place,
                      const struct names_answer *answer, const struct guard *guard, uint64_t stale_ns,
                      uint64_t *serial, uint64_t now_ns)
{
	uint64_t expires_ns = at_least(answer->expires_ns, now_ns);
	addresses->asking = false;
	if (!usable(addresses, place, stale_ns, now_ns))
		addresses->answered_ns = now_ns;
	addresses->why = GUARD_PASSES;
	if (answer->result != 0 || answer->n == 0) {
		int result = answer->result != 0 ? answer->result : -ENOENT;
		snprintf(addresses->reason, sizeof addresses->reason, "%s", answer->reason);
		return take_failure(addresses, place, result, expires_ns, serial);
	}
	unsigned i = vet(answer, guard, place->port, addresses->by_name, &addresses->why);
	if (i < answer->n) {
		explain(addresses, answer->address[i]);
		return take_failure(addresses, place, -EACCES, expires_ns, serial);
	}
	addresses->failed = 0;
	addresses->reason[0] = '\0';
	addresses->expires_ns = expires_ns;
	return replace(place, answer, serial);
}
