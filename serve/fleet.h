/* Several boxes, one answer: what is asked of this box is asked of its peers (serve.peers) too, and
 * their answers are merged (merge.h).
 *
 *     client --> handler here --his JSON------------------.
 *                                                          +--merge--> page of it --> client
 *     question --fetch--> each peer --JSON or nothing-----'
 *        '-- kept for serve.peer_fresh: who asks the same meanwhile waits for, or gets, the same
 *
 * **Which routes.** Those of the table in fleet.c: counts, statistics, consumers, deliveries, stat,
 * sinks, /fleet. All others are about this box alone, as is any question with peers=0.
 *
 * **Never in circles.** A box asks a peer with peers=0, which is answered from that box alone, and
 * with "Via: 1.1 millrace", by which a box sees a question of another one even if something
 * between them has changed the query. So a question goes one step, whoever names whom.
 *
 * **Never twice.** Each answer to a box has the field Millrace-Box, the generation of the instance
 * that made it. An answer with our own (a box that names itself) or one that another peer gave
 * before (two names of one box) is left out.
 *
 * **Who is missing is named**: a peer that did not answer within serve.peer_timeout, or not as it
 * should. The field Millrace-Missing-Peers has their URLs, and so has "missing" of an answer that
 * is an object. A peer that answers 404 has counted nothing of this: it is not missing.
 *
 * **It holds nobody up.** The request is parked (answer.h) while peers are asked. Merging takes as
 * long as its size makes it, which is bounded: serve.peer_memory for all answers of peers and
 * as much for our own parts, FLEET_QUESTIONS_MAX questions that run or are kept.
 */
#ifndef SERVE_FLEET_H
#define SERVE_FLEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "config/config.h"
#include "serve/merge.h"
#include "shm/segment.h"

#define FLEET_PEERS_MAX     (MERGE_PARTS_MAX - 1) /* that of serve.peers */
#define FLEET_QUESTIONS_MAX 32u
#define FLEET_MISSING_BYTES 1024u

struct answer;
struct fleet; /* opaque */
struct request;
struct serve;

/* generation: of this instance. Returns 0, or -errno with the reason in error. */
int fleet_open(struct fleet **fleet, const struct config *config, uint64_t generation, uv_loop_t *loop,
               struct serve *serve, struct shm_error *error);

/* The token that peers are asked with; "": none. */
void fleet_set_token(struct fleet *fleet, const char *token);

/* Whether peers are to be asked, too. */
bool fleet_asks(const struct fleet *fleet, const struct request *request);

/* Answers from all boxes, mostly later. */
void fleet_answer(struct fleet *fleet, const struct request *request, struct answer *answer);

/* What this box is called by others: Millrace-Box. */
const char *fleet_box(const struct fleet *fleet);

/* The URLs of the peers of these bits with commas between them; "..." at the end where there is no
 * room. */
const char *fleet_missing(const struct fleet *fleet, uint64_t peers, char text[FLEET_MISSING_BYTES]);

/* Forgets what was kept for too long. now_ns: CLOCK_MONOTONIC. */
void fleet_tick(struct fleet *fleet, uint64_t now_ns);

/* Goes up with everything that happens. */
uint64_t fleet_events(const struct fleet *fleet);

/* What it can come to hold: bytes; connections to peers, each a file. */
uint64_t fleet_bytes_max(const struct config *config);
unsigned fleet_files_max(const struct config *config);

/* After the server is closed: nobody waits any more. Its handles are closed by further turns of the
 * loop. NULL is allowed. */
void fleet_close(struct fleet *fleet);

/* What the configuration says of peers. Returns 0, or -errno with "KEY: WHAT" in error. */
int fleet_check(const struct config *config, struct shm_error *error);

/* The token in a file, as stage/file.h loads it: *loaded is its text. The file has the form of
 * stage/tokens.h; its first token is it. */
int fleet_load_token(const struct config *config, const char *path, void **loaded, struct shm_error *error);

#endif
