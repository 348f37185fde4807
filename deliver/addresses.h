/* The addresses of a host: what a look-up gave, for how long, and what it means for those that
 * wait.
 *
 *     none --ask--> asking --good--> known --expires--> known, stale: serves on, and is asked again --`stale` later--> none
 *                          '--bad---> failed, until the answer expires; known addresses serve on, unless there is no such name
 *                                     or one of its addresses is forbidden
 */
#ifndef DELIVER_ADDRESSES_H
#define DELIVER_ADDRESSES_H

#include "deliver/guard.h"
#include "deliver/names.h"
#include "deliver/sender.h"

/* Zero at first. */
struct addresses {
	bool by_name; /* guard_name's */
	bool asking;
	uint64_t expires_ns;      /* of the place */
	int failed;               /* the last answer, 0 good; -EACCES: the guard forbids one of them */
	enum guard_verdict why;   /* then */
	uint64_t failed_until_ns; /* it is not asked again until then */
	uint64_t answered_ns;     /* when those that waited for an answer last had one */
	char reason[192];
};

enum addresses_state { ADDRESSES_NONE, ADDRESSES_KNOWN, ADDRESSES_FAILED };

/* KNOWN: the place can be used. FAILED: there is none, and it is not to be asked now. */
enum addresses_state addresses_look(const struct addresses *addresses, const struct sender_place *place,
                                    uint64_t stale_ns, uint64_t now_ns);

/* Whether it is time to ask. */
bool addresses_to_ask(const struct addresses *addresses, const struct sender_place *place, uint64_t now_ns);

/* Takes an answer. All of its addresses are vetted. *serial grows, and true is returned, when the
 * place had others before. */
bool addresses_answer(struct addresses *addresses, struct sender_place *place,
                      const struct names_answer *answer, const struct guard *guard, uint64_t stale_ns,
                      uint64_t *serial, uint64_t now_ns);

#endif
