/* Talk: a sender and a server of a few lines that it talks to, for the tests of deliver/sender.h.
 *
 *     TEST set up with talk_set_up, torn down with talk_tear_down:
 *         struct talk *f = *state;
 *         assert_int_equal(talk_get(f, "/busy"), 0);     the path says what the answer is to be (talk_answer)
 *         assert_int_equal(f->request.status, 429);
 *
 * The program's own getaddrinfo and X509_STORE_load_path count, for nobody may look a name up or
 * trust a folder; its recv sees whose answer libcurl has in its hands.
 */
#ifndef TESTS_DELIVER_TALK_H
#define TESTS_DELIVER_TALK_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "deliver/sender_auto.h"
#include "tests/fixture/little_server.h"

struct talk {
	struct little_server *server;
	struct sender *sender;
	struct sender_place place;
	unsigned vetted;
	bool forbidden, anywhere; /* what vet says; it does not look at the address */
	char url[3000];
	struct sender_request request;
};

/* What the server saw of the last request. */
struct talk_seen {
	pthread_mutex_t lock;
	char head[8192];
	char method[16], path[2048], body[8192];
	size_t body_bytes;
	unsigned connection, number;
};
extern struct talk_seen talk_seen;

/* Whose answer the sender says it works on, and whose libcurl has in its hands then: an answer
 * "mark-2" belongs to request 2. */
struct talk_work {
	pthread_t thread;
	void *owner;
	struct sender_request request[4];
	unsigned right, wrong;
};
extern struct talk_work talk_work;
void talk_note_work(void *context, void *owner);

extern atomic_uint talk_folders; /* of certificates that were to be trusted */

extern const struct sender_options talk_usual;

/* What talk_open opens: sender_auto, unless the test says otherwise. */
extern const struct sender_ops *talk_ops;

/* The value of a header of the last request; "" when there is none. */
const char *talk_seen_header(const char *name);

void talk_answer(struct little_connection *c, const struct little_request *request, void *argument);

int talk_set_up(void **state);
int talk_tear_down(void **state);

/* Another sender in the place of the one that there is. */
void talk_open(struct talk *f, struct sender_options options);

void talk_place(struct sender_place *place, const char *host, uint16_t port, const char *address,
                uint64_t serial);

void talk_wait(struct sender *sender, uint64_t most_ns);

/* The next request that ends. */
struct sender_request *talk_await(struct sender *sender);

/* A request for a path of the server, with long time-outs. */
struct sender_request *talk_prepare(struct talk *f, struct sender_request *request, const char *method,
                                    const char *path);

/* Sends it and waits for its end. Returns its result. */
int talk_send(struct talk *f, struct sender_request *request);
int talk_get(struct talk *f, const char *path);
int talk_post(struct talk *f, const char *path, const char *body);

#endif
