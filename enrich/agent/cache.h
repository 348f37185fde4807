/* Cached answers for agents that come again, in bounded memory. Agents that come once cannot flush
 * them: W-TinyLFU.
 *
 *     put --> window (1 %, LRU) --the oldest--> seen more often than the main part's oldest? --no--> gone
 *                                                 | yes: takes its place
 *                                                 v
 *             main (99 %):  probation (20 %) --a hit--> protected (80 %)
 *                                ^------the oldest---------'
 *
 *     const struct agent *answer = agent_cache_get(cache, text, bytes);
 *     if (!answer) {
 *             agent_parse(engine, text, bytes, &parsed);
 *             answer = agent_cache_put(cache, text, bytes, &parsed);
 *     }
 *
 * A sketch (sketch.h) estimates how often an agent was seen, and also counts agents that are not
 * cached. So a flood of agents that come once passes through the window, and those that come often
 * stay (G. Einziger, R. Friedman, B. Manes, TinyLFU: A Highly Efficient Cache Admission Policy, ACM
 * Transactions on Storage 13(4), 2017). Agents are compared byte by byte; the hash with its secret
 * key (keyed_hash.h) only says where to look.
 *
 * An entry has a slot of AGENT_CACHE_SLOT bytes for agent and answer; what does not fit (agents of
 * 700 bytes and more) is not cached: it is rare, and parsing it again takes microseconds. One
 * thread.
 */
#ifndef ENRICH_AGENT_CACHE_H
#define ENRICH_AGENT_CACHE_H

#include "enrich/agent/agent.h"

#define AGENT_CACHE_SLOT        1024u
#define AGENT_CACHE_ENTRIES_MIN 64u
#define AGENT_CACHE_ENTRIES_MAX (1u << 20)
#define AGENT_CACHE_ENTRIES     8192u /* when nothing else is configured */

struct agent_cache;

struct agent_cache_counts {
	uint64_t hits, misses;
	uint64_t admitted; /* from the window to the main part, in another's place */
	uint64_t refused;  /* left the window for good */
	uint64_t too_long; /* did not fit in a slot */
	uint32_t entries;  /* kept now */
};

/* Bytes that a cache takes at most: about 1,100 an entry. */
size_t agent_cache_bytes(uint32_t entries);

/* entries is within AGENT_CACHE_ENTRIES_MIN and _MAX. seed: 0, and the hash's key comes from the
 * kernel; else it is made from the seed (for tests). Returns NULL with errno. Memory is taken now
 * and used as it fills. */
struct agent_cache *agent_cache_create(uint32_t entries, uint64_t seed);
void agent_cache_destroy(struct agent_cache *cache);

/* The answer kept for the agent, or NULL. Counts the agent as seen. Good until the next put. bytes
 * beyond KEYED_HASH_MAX: NULL. */
const struct agent *agent_cache_get(struct agent_cache *cache, const char *text, size_t bytes);

/* Stores the answer for an agent, usually one that agent_cache_get did not find; replaces an older
 * answer. Returns the stored copy, or `agent` itself when it does not fit. */
const struct agent *agent_cache_put(struct agent_cache *cache, const char *text, size_t bytes,
                                    const struct agent *agent);

/* Forgets all, as after new rules. */
void agent_cache_clear(struct agent_cache *cache);

const struct agent_cache_counts *agent_cache_counts(const struct agent_cache *cache);

#endif
