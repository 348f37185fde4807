/* What hosts.c stands on, for its tests: names, guard and settings of the test's own, and time that
 * stands still until the test says otherwise.
 *
 *     name of a host      names
 *     good*, b<n>.x       an address at once
 *     silent*             -ETIMEDOUT after 5 s
 *     missing*            -ENOENT
 *     slow*               an address when the test says so (world.answer_slow)
 *     inside*             two addresses, of which the guard forbids the second
 *     forbidden*          the guard forbids the name
 */
#ifndef TESTS_DELIVER_HOSTS_WORLD_H
#define TESTS_DELIVER_HOSTS_WORLD_H

#include "deliver/hosts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"

#define MS NS_PER_MS
#define S  NS_PER_SEC

#define QUERIES_MAX 20000u

struct query {
	void *asker;
	char host[254];
	uint64_t begun_ns, due_ns;
};

static struct {
	uint64_t now_ns;
	struct query query[QUERIES_MAX];
	unsigned n, most, asked;
	uint64_t ttl_ns, failure_kept_ns;
	bool answer_slow, servers_down;
	uint8_t last_byte; /* of the addresses that are given */
	struct policy policy;
	struct policies *policies; /* never looked into */
} world;

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

bool names_start(struct names *names, const char *host, void *asker, uint64_t now_ns)
{
	(void)names;
	if (world.n == world.most)
		return false;
	struct query *query = &world.query[world.n++];
	*query = (struct query){.asker = asker, .begun_ns = now_ns, .due_ns = now_ns};
	snprintf(query->host, sizeof query->host, "%s", host);
	if (begins(host, "silent") || world.servers_down)
		query->due_ns = now_ns + 5 * S;
	if (begins(host, "slow"))
		query->due_ns = UINT64_MAX;
	world.asked++;
	return true;
}

static void take_query(unsigned i)
{
	world.query[i] = world.query[--world.n];
}

void names_forget(struct names *names, void *asker)
{
	(void)names;
	for (unsigned i = 0; i < world.n; i++)
		if (world.query[i].asker == asker) {
			take_query(i);
			return;
		}
	fail_msg("an asker is forgotten that asks nothing");
}

static void put_address(uint8_t address[16], uint8_t a, uint8_t d)
{
	memset(address, 0, 16);
	address[10] = address[11] = 0xff;
	address[12] = a;
	address[15] = d;
}

bool names_next(struct names *names, struct names_answer *answer, uint64_t now_ns)
{
	(void)names;
	for (unsigned i = 0; i < world.n; i++) {
		struct query query = world.query[i];
		bool slow = begins(query.host, "slow");
		if (slow ? !world.answer_slow : query.due_ns > now_ns)
			continue;
		take_query(i);
		*answer = (struct names_answer){.asker = query.asker,
		                                .n = 1,
		                                .expires_ns = now_ns + world.ttl_ns,
		                                .took_ns = now_ns - query.begun_ns};
		put_address(answer->address[0], 203, world.last_byte);
		if (begins(query.host, "inside")) {
			answer->n = 2;
			put_address(answer->address[1], 10, 1);
		}
		if (begins(query.host, "silent") || begins(query.host, "missing") || world.servers_down) {
			answer->n = 0;
			answer->result = begins(query.host, "missing") ? -ENOENT : -ETIMEDOUT;
			answer->expires_ns = now_ns + world.failure_kept_ns;
			snprintf(answer->reason, sizeof answer->reason, "as the test wants it");
		}
		return true;
	}
	return false;
}

enum guard_verdict guard_name(const struct guard *guard, const char *host, uint16_t port, bool *by_name)
{
	(void)guard, (void)port;
	*by_name = begins(host, "inside-allowed");
	return begins(host, "forbidden") ? GUARD_DENIED : GUARD_PASSES;
}

enum guard_verdict guard_address(const struct guard *guard, const uint8_t address[16], uint16_t port,
                                 bool by_name)
{
	(void)guard, (void)port;
	return address[12] == 10 && !by_name ? GUARD_PRIVATE : GUARD_PASSES;
}

const char *guard_verdict_text(enum guard_verdict verdict)
{
	return verdict == GUARD_PRIVATE ? "a private address" : "?";
}

const struct policy_host *policies_for_host(const struct policies *policies, const char *host, uint16_t port)
{
	assert_ptr_equal(policies, world.policies);
	assert_true(host[0] != '[' && port > 0);
	return &world.policy.host;
}

/* Settings as they are by default, for each test. */
static void begin_world(void)
{
	memset(&world, 0, sizeof world);
	world.now_ns = 1000 * S;
	world.most = 256;
	world.ttl_ns = 60 * S;
	world.failure_kept_ns = 5 * S;
	world.last_byte = 1;
	world.policy = (struct policy){
	        .host = {.connections = 64, .burst = 10, .waiting = 1024},
	        .circuit = {.failures = 10, .pause_ns = S, .pause_most_ns = 60 * S},
	        .gone_ns = 86400 * S,
	};
}

static struct hosts *new_hosts(unsigned deliveries, unsigned most)
{
	struct hosts *hosts = hosts_new(&(struct hosts_options){.deliveries = deliveries,
	                                                        .hosts_most = most,
	                                                        .endpoints_most = most,
	                                                        .stale_ns = 60 * S,
	                                                        .policies = world.policies});
	assert_non_null(hosts);
	return hosts;
}

static void target_of(struct target *target, const char *host, const char *path)
{
	memset(target, 0, sizeof *target);
	target->tls = true;
	target->port = 443;
	snprintf(target->host, sizeof target->host, "%s", host);
	snprintf(target->origin, sizeof target->origin, "https://%s:443", host);
	snprintf(target->endpoint, sizeof target->endpoint, "https://%s%s", host, path);
}

#endif
