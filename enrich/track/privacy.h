/* What the configuration removes from tracking events. Off by default. Pure functions.
 *
 *     truncate    addresses lose their last bits: 192.0.2.77 becomes 192.0.2.0 (/24), 2001:db8:1:2::3 becomes 2001:db8:1:: (/48)
 *     drop        parameters with these names leave the query; the rest of it stays as it is, byte for byte
 *     honour_dnt  of a client that asked not to be tracked (DNT: 1, Sec-GPC: 1) only what is the same for many people is kept: event type,
 *                 time, host, country, device. Address, port, city, parameters and the client's own time are left out
 *
 * The country is looked up before: it is that of the whole address.
 */
#ifndef ENRICH_TRACK_PRIVACY_H
#define ENRICH_TRACK_PRIVACY_H

#include "event/event.h"

struct privacy {
	bool truncate;
	bool honour_dnt;
	const char *const *drop; /* names as they are when decoded */
	unsigned n_drop;
};

/* Keeps the first 24 bits of an IPv4-mapped address, the first 48 of any other. */
void privacy_truncate(uint8_t address[16]);

/* Copies the query without the parameters of these names to out, which has room for `bytes` and may
 * be the query itself. Names are compared decoded (%75id and uid are one), letters as they are. One
 * & goes with each parameter. Returns the length. */
size_t privacy_drop(char *out, const char *query, size_t bytes, const char *const *names, unsigned n);

/* Applies what is switched on to a payload that track_put made. Returns its new length, never more
 * than before. */
uint32_t privacy_apply(const struct privacy *privacy, struct event_track *event);

#endif
