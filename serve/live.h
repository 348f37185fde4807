/* /live: figures once a second and events as they come in, for many clients at a time.
 *
 *     snapshot --once a second--> tick: one message -----------------------.
 *     topic --one optional reader--> live_topic                            +--> each client's place for one message --> server
 *                 '--> each distinct subscription: filters, rate           |        taken: the next one that comes goes there
 *                         '--every 250 ms--> events: one message for all --'        still there: it is skipped, and counted
 *
 * Messages are made once and held once, however many clients they go to (live_message.h); what
 * differs between clients, their counts, goes before the shared part. A client has at most one
 * message; ticks that come meanwhile are not for it, and events count as skipped in its next
 * message. So what a client that does not read costs is its place.
 *
 * **It holds nobody up.** Topics are read by onlookers, 50 times a second, and no more than
 * a tenth of the time (LIVE_REST); what is overwritten meanwhile counts as missed. The reader never
 * sleeps on a lane, so writers wake nobody for it. In one turn of the loop at most LIVE_WAKES
 * clients are woken.
 *
 * One thread. The server owns clients: live_join, live_own, live_take ..., live_leave.
 */
#ifndef SERVE_LIVE_H
#define SERVE_LIVE_H

#include "serve/live_message.h"
#include "serve/live_wish.h"
#include "shm/instance.h"

#define LIVE_TICK_NS    1000000000ull  /* from a tick to the next */
#define LIVE_WINDOW_NS  250000000ull   /* events that go in one message */
#define LIVE_LOOK_NS    20000000ull    /* from a look at the topics to the next */
#define LIVE_TURN_NS    1000000ull     /* of reading, in one turn of the loop */
#define LIVE_REST       9u             /* times as long as a turn took, when it did not read all */
#define LIVE_WAKES      64u            /* clients in one turn of the loop */
#define LIVE_SILENCE_NS 15000000000ull /* a stream says something at least so often */

struct live;        /* opaque */
struct live_client; /* opaque */

struct live_settings {
	unsigned clients, subscriptions; /* at most */
	unsigned events;                 /* a second, for each subscription */
	uint64_t message;                /* bytes of one, at most */
	uint64_t memory;                 /* bytes of all that are held, at most */
	/* Says to the owner of a client that it has something to take. */
	void (*wake)(void *owner);
	/* The message of a tick, malloced; NULL: none this time. */
	char *(*tick)(void *argument, size_t *bytes);
	void *argument;
};

struct live_counts {
	unsigned clients, subscriptions; /* now */
	uint64_t held_bytes;             /* of messages, now */
	uint64_t ticks_skipped, events_sent, events_skipped, refused;
};

/* NULL: no memory. */
struct live *live_new(const struct live_settings *settings);

/* All clients have left. The instance that live_poll had last must still be attached. */
void live_free(struct live *live);

/* Bytes that it takes at most. */
uint64_t live_bytes_max(const struct live_settings *settings);

/* A client that wants this; stream: it gets server-sent events, else messages of a WebSocket. It
 * has its hello to take. Returns it; NULL with status (400, 404, 503) and the reason. */
struct live_client *live_join(struct live *live, const struct instance *instance,
                              const struct live_wish *wish, bool stream, uint64_t now_ns, unsigned *status,
                              struct shm_error *error);

/* From now on owner is woken when there is something to take: at once. */
void live_own(struct live_client *client, void *owner);

/* NULL is allowed. */
void live_leave(struct live_client *client);

/* Part of a message. */
struct live_piece {
	size_t bytes;
	bool first, last;
};

/* Copies the next piece of the client's message, at most size bytes. Returns false when there is
 * none: the message has gone out, and another one may come. So it is asked again after the last
 * piece, once that is out. */
bool live_take(struct live_client *client, char *buffer, size_t size, struct live_piece *piece);

/* Whether its message is not out. */
bool live_busy(const struct live_client *client);

/* Reads what has come, makes the messages that are due, wakes clients. Returns true when there is
 * more to do at once. */
bool live_poll(struct live *live, const struct instance *instance, uint64_t now_ns);

/* How long from now the next live_poll is due; UINT64_MAX: nobody is there. */
uint64_t live_wait(const struct live *live, uint64_t now_ns);

void live_look(const struct live *live, struct live_counts *counts);

#endif
