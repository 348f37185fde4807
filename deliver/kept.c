#include "deliver/kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/siphash.h"

struct kept {
	uint64_t key[2];
	struct list by_age, *by_host;
	unsigned buckets; /* a power of two */
	unsigned n, most;
	uint64_t lifetime_ns;
	struct kept_connection *closed;
};

struct kept *kept_new(unsigned most, uint64_t lifetime_ns)
{
	struct kept *kept = calloc(1, sizeof *kept);
	if (kept == NULL)
		return NULL;
	kept->most = most;
	kept->lifetime_ns = lifetime_ns;
	for (kept->buckets = 16; kept->buckets < most;)
		kept->buckets *= 2;
	kept->by_host = calloc(kept->buckets, sizeof *kept->by_host);
	if (kept->by_host == NULL || getrandom(kept->key, sizeof kept->key, 0) != sizeof kept->key) {
		free(kept->by_host);
		free(kept);
		return NULL;
	}
	list_init(&kept->by_age);
	for (unsigned i = 0; i < kept->buckets; i++)
		list_init(&kept->by_host[i]);
	return kept;
}

uint64_t kept_hash(const struct kept *kept, const struct sender_place *place)
{
	struct siphash hash;
	siphash_init(&hash, kept->key, 1, 3);
	siphash_add(&hash, &place->port, sizeof place->port);
	siphash_add(&hash, place->host, strlen(place->host));
	return siphash_end(&hash);
}

static struct list *bucket_of(const struct kept *kept, uint64_t hash)
{
	return &kept->by_host[hash & (kept->buckets - 1)];
}

static bool is_of(const struct kept_connection *connection, uint64_t hash, const char *host, uint16_t port)
{
	return connection->hash == hash && connection->port == port && strcmp(connection->host, host) == 0;
}

static void take_out(struct kept *kept, struct kept_connection *connection)
{
	if (!list_has(&connection->by_age))
		return;
	list_remove(&connection->by_age);
	list_remove(&connection->by_host);
	kept->n--;
}

static bool is_old(const struct kept *kept, const struct kept_connection *connection, uint64_t now_ns)
{
	return now_ns >= connection->born_ns + kept->lifetime_ns;
}

struct kept_connection *kept_connection(struct kept *kept, const struct sender_place *place, unsigned i,
                                        uint64_t now_ns)
{
	struct kept_connection *connection = calloc(1, sizeof *connection);
	if (connection == NULL)
		return NULL;
	connection->hash = kept_hash(kept, place);
	connection->born_ns = now_ns;
	connection->fd = -1;
	connection->port = place->port;
	memcpy(connection->address, place->address[i], sizeof connection->address);
	snprintf(connection->host, sizeof connection->host, "%s", place->host);
	return connection;
}

void kept_close(struct kept *kept, struct kept_connection *connection)
{
	take_out(kept, connection);
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->user = NULL;
	connection->next = kept->closed;
	kept->closed = connection;
}

static bool has_address(const struct sender_place *place, const uint8_t address[16])
{
	for (unsigned i = 0; i < place->n; i++)
		if (memcmp(place->address[i], address, 16) == 0)
			return true;
	return false;
}

struct kept_connection *kept_take(struct kept *kept, const struct sender_place *place, uint64_t now_ns)
{
	if (kept->n == 0)
		return NULL;
	uint64_t hash = kept_hash(kept, place);
	struct list *bucket = bucket_of(kept, hash);
	for (struct link *link = list_last(bucket), *before; link != NULL; link = before) {
		struct kept_connection *connection = LIST_OF(struct kept_connection, by_host, link);
		before = list_before(bucket, link);
		if (!is_of(connection, hash, place->host, place->port))
			continue;
		if (is_old(kept, connection, now_ns) || now_ns >= connection->idle_ns + KEPT_IDLE_NS ||
		    !has_address(place, connection->address)) {
			kept_close(kept, connection);
			continue;
		}
		take_out(kept, connection);
		return connection;
	}
	return NULL;
}

void kept_keep(struct kept *kept, struct kept_connection *connection, uint64_t now_ns)
{
	if (kept->most == 0 || is_old(kept, connection, now_ns)) {
		kept_close(kept, connection);
		return;
	}
	if (kept->n == kept->most)
		kept_close(kept, LIST_OF(struct kept_connection, by_age, list_first(&kept->by_age)));
	connection->user = NULL;
	connection->idle_ns = now_ns;
	list_push(&kept->by_age, &connection->by_age);
	list_push(bucket_of(kept, connection->hash), &connection->by_host);
	kept->n++;
}

static void close_all(struct kept *kept, uint64_t hash, const char *host, uint16_t port)
{
	struct list *bucket = bucket_of(kept, hash);
	for (struct link *link = list_first(bucket), *after; link != NULL; link = after) {
		struct kept_connection *connection = LIST_OF(struct kept_connection, by_host, link);
		after = list_after(bucket, link);
		if (is_of(connection, hash, host, port))
			kept_close(kept, connection);
	}
}

void kept_close_like(struct kept *kept, const struct kept_connection *connection)
{
	close_all(kept, connection->hash, connection->host, connection->port);
}

void kept_forget(struct kept *kept, const struct sender_place *place)
{
	if (kept->n > 0)
		close_all(kept, kept_hash(kept, place), place->host, place->port);
}

static void free_closed(struct kept *kept)
{
	while (kept->closed != NULL) {
		struct kept_connection *connection = kept->closed;
		// NOLINTNEXTLINE(clang-analyzer-unix.Malloc) what is closed is in no list
		kept->closed = connection->next;
		free(connection);
	}
}

void kept_bury(struct kept *kept, uint64_t now_ns)
{
	struct link *oldest;
	while ((oldest = list_first(&kept->by_age)) != NULL) {
		struct kept_connection *connection = LIST_OF(struct kept_connection, by_age, oldest);
		if (now_ns < connection->idle_ns + KEPT_IDLE_NS)
			break;
		kept_close(kept, connection);
	}
	free_closed(kept);
}

void kept_free(struct kept *kept)
{
	struct link *link;
	if (kept == NULL)
		return;
	while ((link = list_first(&kept->by_age)) != NULL)
		kept_close(kept, LIST_OF(struct kept_connection, by_age, link));
	free_closed(kept);
	free(kept->by_host);
	free(kept);
}
