/* Addresses of names, by c-ares: nothing blocks, and a name that is never answered costs one query
 * of `most`.
 *
 *     names_start(host) --> A and AAAA, the hosts file first --> names_next: addresses and how long they hold
 *
 * Debian's libcurl resolves in threads, and taking a transfer away waits for its thread
 * (curl#8515); so libcurl gets addresses from here (CURLOPT_RESOLVE) and looks up nothing.
 *
 * An address in text is answered at once, without a query: IPv6 with or without a zone, IPv4 in all
 * forms that inet_aton(3) takes (2130706433, 0x7f.1, 0177.0.0.1), since those are what libcurl and
 * others would take it for.
 *
 * Names are asked for as they are: no search list of resolv.conf(5). localhost and names below it
 * are loopback (RFC 6761). The hosts file and resolv.conf are looked at again once a second.
 *
 * Answers are not kept here: the asker keeps them until they expire (hosts.h).
 */
#ifndef DELIVER_NAMES_H
#define DELIVER_NAMES_H

#include "config/config.h"
#include "shm/segment.h"

#define NAMES_ADDRESSES_MAX 16u /* of one name; more are left out, in the order of RFC 6724 */

struct names; /* opaque; one thread */

struct names_answer {
	void *asker;
	/* 0; -ENOENT: there is no such name, or it has no addresses; -ETIMEDOUT: no answer in time;
	 * -EIO: the servers failed or refused; -EINVAL: no name. Servers that cannot be reached are
	 * one of -EIO and -ETIMEDOUT */
	int result;
	unsigned n;                               /* at least 1 when result is 0 */
	uint8_t address[NAMES_ADDRESSES_MAX][16]; /* IPv4 as ::ffff:a.b.c.d */
	uint32_t zone; /* scope of link-local addresses, of a zone in the text; else 0 */
	uint64_t
	        /* CLOCK_MONOTONIC; between ttl_least and ttl_most, of a failure `failure_kept` */
	        expires_ns;
	uint64_t took_ns;
	char reason[128]; /* c-ares' words when result is not 0 */
};

/* From deliver.dns.*: servers (none: resolv.conf(5)), timeout (of a query, all tries together),
 * tries, most (queries at a time), ttl.least, ttl.most, failure_kept, hosts_file. Returns 0, or
 * -errno with the reason. */
int names_open(struct names **names, const struct config *config, struct shm_error *error);

/* Queries under way are forgotten. NULL does nothing. */
void names_close(struct names *names);

/* Asks for the addresses of a host (target.host). False when `most` are under way: ask again later.
 * What needs no query has places of its own, twice `most` in all. The answer comes from names_next,
 * never from here. */
bool names_start(struct names *names, const char *host, void *asker, uint64_t now_ns);

/* The answers for this asker are not wanted any more. A query of it keeps its place until c-ares
 * has done with it: by an answer, or after `timeout` or little more. */
void names_forget(struct names *names, void *asker);

/* Drives all; never blocks. False when no answer has come. */
bool names_next(struct names *names, struct names_answer *answer, uint64_t now_ns);

/* A descriptor to wait for (POLLIN): an epoll of its own. */
int names_fd(const struct names *names);

/* How long to sleep at most, of timeout_ns. */
uint64_t names_timeout(const struct names *names, uint64_t timeout_ns, uint64_t now_ns);

#endif
