#include "serve/live.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/live_topic.h"

#define HEAD_BYTES  512u /* before the shared part of a message */
#define SILENCE     ":\n\n"
#define STREAM_TAIL "\n\n"

struct live_client {
	struct live *live;
	struct live_client *next, **at; /* what points to it */
	struct live_feed *feed;         /* NULL: figures only */
	struct live_client *feed_next, **feed_at;
	struct live_client *ready_next; /* of those that are to be woken */
	bool is_ready;
	bool stream, ticks;
	void *owner; /* NULL: nobody yet */
	/* Counts when it came, and what of the feed's text was there before it. */
	uint64_t seen, passed, missed;
	size_t before;
	unsigned before_n;
	uint64_t sent, skipped;
	uint64_t told_seen, told_missed;
	uint64_t spoke_ns;
	/* Its message: head, then the body from `from` on, then the tail. */
	bool busy;
	char head[HEAD_BYTES];
	size_t head_bytes, from, taken;
	struct live_message *body; /* NULL: none */
	const char *tail;
};

struct live {
	struct live_settings settings;
	struct live_counts counts;
	struct live_budget budget;
	struct live_client *first;
	struct live_client *ready, **ready_end;
	struct live_topic *topic;
	unsigned n_tickers;
	uint64_t now_ns;
	uint64_t tick_ns, window_ns, look_ns; /* the next ones */
};

/* ---- memory ---- */

struct live *live_new(const struct live_settings *settings)
{
	struct live *live = calloc(1, sizeof *live);
	if (live == NULL)
		return NULL;
	live->settings = *settings;
	live->budget.max = settings->memory;
	live->ready_end = &live->ready;
	return live;
}

void live_free(struct live *live)
{
	if (live == NULL)
		return;
	for (struct live_client *client = live->first, *next; client != NULL; client = next) {
		next = client->next;
		live_leave(client);
	}
	free(live);
}

uint64_t live_bytes_max(const struct live_settings *settings)
{
	return settings->memory + settings->clients * sizeof(struct live_client) +
	       settings->subscriptions * (sizeof(struct live_feed) + settings->message);
}

/* ---- a client's message ---- */

static void put_ready(struct live_client *client)
{
	struct live *live = client->live;
	if (client->is_ready || client->owner == NULL)
		return;
	client->is_ready = true;
	client->ready_next = NULL;
	*live->ready_end = client;
	live->ready_end = &client->ready_next;
}

static void drop_ready(struct live_client *client)
{
	struct live *live = client->live;
	struct live_client **at = &live->ready;
	while (client->is_ready && *at != client)
		at = &(*at)->ready_next;
	if (client->is_ready) {
		*at = client->ready_next;
		if (live->ready_end == &client->ready_next)
			live->ready_end = at;
	}
	client->is_ready = false;
}

/* Takes over one reference of the body (NULL: none). The head is there already. */
static void give(struct live_client *client, struct live_message *body, size_t from, const char *tail)
{
	client->busy = true;
	client->spoke_ns = client->live->now_ns;
	client->body = body;
	client->from = from;
	client->tail = tail;
	client->taken = 0;
	put_ready(client);
}

static size_t begin_head(struct live_client *client, const char *event)
{
	client->head_bytes = 0;
	if (client->stream)
		client->head_bytes = (size_t)snprintf(client->head, HEAD_BYTES, "event: %s\ndata: ", event);
	return client->head_bytes;
}

static const char *end_of(const struct live_client *client, bool list)
{
	if (client->stream)
		return list ? "]}" STREAM_TAIL : STREAM_TAIL;
	return list ? "]}" : "";
}

static bool give_hello(struct live_client *client, const char *hello)
{
	size_t bytes = strlen(hello);
	struct live_message *body = live_message_new(&client->live->budget, bytes);
	if (body == NULL)
		return false;
	memcpy(body->text, hello, bytes);
	client->head_bytes = 0;
	if (client->stream)
		client->head_bytes =
		        (size_t)snprintf(client->head, HEAD_BYTES, "retry: 2000\nevent: hello\ndata: ");
	give(client, body, 0, end_of(client, false));
	return true;
}

/* ---- coming and going ---- */

static struct live_topic **find_topic(struct live *live, const char *name)
{
	struct live_topic **at = &live->topic;
	while (*at != NULL && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static struct live_feed *find_feed(const struct live_topic *topic, const char *key)
{
	struct live_feed *feed = topic->feed;
	while (feed != NULL && strcmp(feed->key, key) != 0)
		feed = feed->next;
	return feed;
}

/* The last client of the feed has gone. */
static void remove_feed(struct live *live, struct live_feed *feed)
{
	struct live_topic *topic = feed->topic, **topic_at = find_topic(live, topic->name);
	struct live_feed **at = &topic->feed;
	while (*at != feed)
		at = &(*at)->next;
	*at = feed->next;
	live_feed_free(feed);
	live->counts.subscriptions--;
	if (topic->feed != NULL)
		return;
	*topic_at = topic->next;
	live_topic_free(topic);
}

/* Returns 0 with the feed in *feed, or the status of the problem. */
static unsigned add_feed(struct live *live, const struct instance *instance, const struct live_wish *wish,
                         uint64_t now_ns, struct live_feed **feed, struct shm_error *error)
{
	struct live_topic **at = find_topic(live, wish->topic), *topic = *at;
	*feed = topic != NULL ? find_feed(topic, wish->key) : NULL;
	if (*feed != NULL)
		return 0;
	if (live->counts.subscriptions >= live->settings.subscriptions) {
		shm_explain(error, "as many different filters as serve.live_subscriptions allows are in use");
		return 503;
	}
	if (topic == NULL) {
		int result = live_topic_new(&topic, instance, wish->topic, error);
		if (result != 0)
			return result == -ENOENT ? 404 : 503;
		*at = topic;
	}
	*feed = live_feed_new(wish, live->settings.events, live->settings.message - HEAD_BYTES, now_ns);
	if (*feed != NULL) {
		(*feed)->topic = topic;
		(*feed)->next = topic->feed;
		topic->feed = *feed;
		live->counts.subscriptions++;
		return 0;
	}
	if (topic->feed == NULL) {
		*at = topic->next;
		live_topic_free(topic);
	}
	shm_explain(error, "no memory");
	return 503;
}

static void join_feed(struct live_client *client, struct live_feed *feed)
{
	client->feed = feed;
	client->seen = client->told_seen = feed->topic->seen;
	client->missed = client->told_missed = live_topic_missed(feed->topic);
	client->passed = feed->passed;
	client->before = feed->used + (feed->n > 0); /* and the comma that comes next */
	client->before_n = feed->n;
	client->feed_next = feed->first;
	client->feed_at = &feed->first;
	if (client->feed_next != NULL)
		client->feed_next->feed_at = &client->feed_next;
	feed->first = client;
}

static void join(struct live *live, struct live_client *client)
{
	client->next = live->first;
	client->at = &live->first;
	if (client->next != NULL)
		client->next->at = &client->next;
	live->first = client;
	live->counts.clients++;
	live->n_tickers += client->ticks;
}

static uint64_t next_due(uint64_t now_ns, uint64_t period_ns, uint64_t offset_ns)
{
	return now_ns - (now_ns - offset_ns) % period_ns + period_ns;
}

static struct live_client *add_client(struct live *live, const struct instance *instance,
                                      const struct live_wish *wish, bool stream, uint64_t now_ns,
                                      unsigned *status, struct shm_error *error)
{
	struct live_feed *feed = NULL;
	*status = 503;
	if (live->counts.clients >= live->settings.clients) {
		shm_explain(error, "there are as many clients as serve.live_clients allows");
		return NULL;
	}
	struct live_client *client = calloc(1, sizeof *client);
	shm_explain(error, "no memory");
	if (client == NULL)
		return NULL;
	if (wish->topic[0] != '\0') {
		*status = add_feed(live, instance, wish, now_ns, &feed, error);
		if (feed == NULL) {
			free(client);
			return NULL;
		}
	}
	*status = 503;
	client->live = live;
	client->stream = stream;
	client->ticks = wish->ticks;
	join(live, client);
	if (feed != NULL)
		join_feed(client, feed);
	if (!give_hello(client, wish->hello)) {
		live_leave(client);
		shm_explain(error, "as much as serve.live_memory allows waits for clients to read it");
		return NULL;
	}
	return client;
}

struct live_client *live_join(struct live *live, const struct instance *instance,
                              const struct live_wish *wish, bool stream, uint64_t now_ns, unsigned *status,
                              struct shm_error *error)
{
	live->now_ns = now_ns;
	struct live_client *client = add_client(live, instance, wish, stream, now_ns, status, error);
	live->counts.refused += client == NULL;
	if (client != NULL && client->ticks && live->n_tickers == 1)
		live->tick_ns = next_due(now_ns, LIVE_TICK_NS, 0);
	return client;
}

void live_own(struct live_client *client, void *owner)
{
	client->owner = owner;
	if (client->busy)
		client->live->settings.wake(owner);
}

void live_leave(struct live_client *client)
{
	if (client == NULL)
		return;
	struct live *live = client->live;
	drop_ready(client);
	*client->at = client->next;
	if (client->next != NULL)
		client->next->at = client->at;
	live->counts.clients--;
	live->n_tickers -= client->ticks;
	live_message_release(client->body);
	if (client->feed != NULL) {
		*client->feed_at = client->feed_next;
		if (client->feed_next != NULL)
			client->feed_next->feed_at = client->feed_at;
		if (client->feed->first == NULL)
			remove_feed(live, client->feed);
	}
	free(client);
}

/* ---- taking ---- */

/* Copies what of one part of the message is wanted. */
static void copy_part(const char *part, size_t bytes, size_t *skip, char *buffer, size_t size, size_t *n)
{
	if (*skip >= bytes) {
		*skip -= bytes;
		return;
	}
	size_t length = bytes - *skip < size - *n ? bytes - *skip : size - *n;
	memcpy(buffer + *n, part + *skip, length);
	*skip = 0;
	*n += length;
}

bool live_take(struct live_client *client, char *buffer, size_t size, struct live_piece *piece)
{
	size_t body = client->body != NULL ? client->body->bytes - client->from : 0;
	size_t tail = client->busy ? strlen(client->tail) : 0, skip = client->taken, n = 0;
	size_t all = client->head_bytes + body + tail;
	if (!client->busy || client->taken == all) {
		live_message_release(client->body);
		client->body = NULL;
		client->busy = false;
		return false;
	}
	copy_part(client->head, client->head_bytes, &skip, buffer, size, &n);
	if (client->body != NULL)
		copy_part(client->body->text + client->from, body, &skip, buffer, size, &n);
	copy_part(client->tail, tail, &skip, buffer, size, &n);
	*piece = (struct live_piece){
	        .bytes = n, .first = client->taken == 0, .last = client->taken + n == all};
	client->taken += n;
	return true;
}

bool live_busy(const struct live_client *client)
{
	return client->busy;
}

/* ---- ticks ---- */

static void tick(struct live *live)
{
	size_t bytes = 0;
	char *text = live->settings.tick(live->settings.argument, &bytes);
	struct live_message *message = text != NULL ? live_message_new(&live->budget, bytes) : NULL;
	if (message != NULL)
		memcpy(message->text, text, bytes);
	free(text);
	for (struct live_client *client = live->first; client != NULL; client = client->next) {
		if (!client->ticks)
			continue;
		if (client->busy || message == NULL) {
			live->counts.ticks_skipped++;
			continue;
		}
		begin_head(client, "tick");
		give(client, live_message_hold(message), 0, end_of(client, false));
	}
	live_message_release(message);
}

/* ---- events ---- */

static void give_events(struct live_client *client, struct live_message *message)
{
	const struct live_feed *feed = client->feed;
	uint64_t passed = feed->passed - client->passed;
	size_t n = begin_head(client, "events");
	client->sent += feed->n - client->before_n;
	client->live->counts.events_sent += feed->n - client->before_n;
	client->told_seen = feed->topic->seen;
	client->told_missed = live_topic_missed(feed->topic);
	n += (size_t)snprintf(client->head + n, HEAD_BYTES - n,
	                      "{\"type\":\"events\",\"topic\":\"%s\",\"seen\":%" PRIu64 ",\"passed\":%" PRIu64
	                      ",\"skipped\":%" PRIu64 ",\"missed\":%" PRIu64 ",\"events\":[",
	                      feed->topic->name, client->told_seen - client->seen, passed,
	                      passed - client->sent, client->told_missed - client->missed);
	client->head_bytes = n;
	if (feed->n == client->before_n)
		message = NULL;
	give(client, message != NULL ? live_message_hold(message) : NULL, client->before,
	     end_of(client, true));
}

/* The text of the last moment becomes a message for those who can take one. Without memory for it
 * they learn from their next one that there was something. */
static void close_window(struct live *live, struct live_feed *feed)
{
	struct live_message *message = NULL;
	uint64_t seen = feed->topic->seen, missed = live_topic_missed(feed->topic);
	if (feed->n > 0) {
		message = live_message_new(&live->budget, feed->used);
		if (message != NULL)
			memcpy(message->text, feed->text, feed->used);
	}
	bool lost = feed->n > 0 && message == NULL;
	for (struct live_client *client = feed->first; client != NULL; client = client->feed_next) {
		bool news = client->told_seen != seen || client->told_missed != missed;
		if (!client->busy && news && !lost)
			give_events(client, message);
		uint64_t skipped = feed->passed - client->passed - client->sent;
		live->counts.events_skipped += skipped - client->skipped;
		client->skipped = skipped;
		client->before = 0;
		client->before_n = 0;
	}
	live_message_release(message);
	live_feed_clear(feed);
}

/* A stream over which nothing goes would look broken, and its end would not be noticed. */
static void break_silence(struct live_client *client)
{
	if (!client->stream || client->busy || client->live->now_ns - client->spoke_ns < LIVE_SILENCE_NS)
		return;
	client->head_bytes = 0;
	give(client, NULL, 0, SILENCE);
}

static void close_windows(struct live *live)
{
	for (struct live_topic *topic = live->topic; topic != NULL; topic = topic->next)
		for (struct live_feed *feed = topic->feed; feed != NULL; feed = feed->next)
			close_window(live, feed);
	for (struct live_client *client = live->first; client != NULL; client = client->next)
		break_silence(client);
}

/* ---- the loop ---- */

/* When the time does not suffice for all topics, others come first the next time. */
static void read_topics(struct live *live, const struct instance *instance)
{
	uint64_t begun_ns = clock_monotonic_ns(), until_ns = begun_ns + LIVE_TURN_NS;
	bool more = false;
	for (struct live_topic *topic = live->topic; topic != NULL; topic = topic->next)
		more |= live_topic_read(topic, instance, begun_ns, until_ns);
	uint64_t ended_ns = clock_monotonic_ns();
	live->look_ns = ended_ns + (more ? LIVE_REST * (ended_ns - begun_ns) : LIVE_LOOK_NS);
	if (!more || live->topic->next == NULL)
		return;
	struct live_topic *first = live->topic, *last = first;
	live->topic = first->next;
	while (last->next != NULL)
		last = last->next;
	last->next = first;
	first->next = NULL;
}

static void wake_some(struct live *live)
{
	for (unsigned i = 0; i < LIVE_WAKES && live->ready != NULL; i++) {
		struct live_client *client = live->ready;
		drop_ready(client);
		live->settings.wake(client->owner);
	}
}

bool live_poll(struct live *live, const struct instance *instance, uint64_t now_ns)
{
	live->now_ns = now_ns;
	if (live->first == NULL)
		return false;
	if (live->topic != NULL && now_ns >= live->look_ns)
		read_topics(live, instance);
	if (now_ns >= live->window_ns) {
		close_windows(live);
		live->window_ns = next_due(now_ns, LIVE_WINDOW_NS, LIVE_WINDOW_NS / 2);
	}
	if (live->n_tickers > 0 && now_ns >= live->tick_ns) {
		tick(live);
		live->tick_ns = next_due(now_ns, LIVE_TICK_NS, 0);
	}
	wake_some(live);
	return live->ready != NULL;
}

uint64_t live_wait(const struct live *live, uint64_t now_ns)
{
	if (live->first == NULL)
		return UINT64_MAX;
	if (live->ready != NULL)
		return 0;
	uint64_t next_ns = live->window_ns;
	if (live->topic != NULL && live->look_ns < next_ns)
		next_ns = live->look_ns;
	if (live->n_tickers > 0 && live->tick_ns < next_ns)
		next_ns = live->tick_ns;
	return next_ns > now_ns ? next_ns - now_ns : 0;
}

void live_look(const struct live *live, struct live_counts *counts)
{
	*counts = live->counts;
	counts->held_bytes = live->budget.held;
}
