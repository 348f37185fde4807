#include "deliver/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/siphash.h"

struct pool {
	uint64_t key[2];
	struct list by_age, *by_host;
	unsigned buckets; /* a power of two */
	unsigned n, most;
	uint64_t lifetime_ns;
	struct pool_connection *closed;
};

struct pool *pool_new(unsigned most, uint64_t lifetime_ns)
{
	struct pool *pool = calloc(1, sizeof *pool);
	if (pool == NULL)
		return NULL;
	pool->most = most;
	pool->lifetime_ns = lifetime_ns;
	for (pool->buckets = 16; pool->buckets < most;)
		pool->buckets *= 2;
	pool->by_host = calloc(pool->buckets, sizeof *pool->by_host);
	if (pool->by_host == NULL || getrandom(pool->key, sizeof pool->key, 0) != sizeof pool->key) {
		free(pool->by_host);
		free(pool);
		return NULL;
	}
	list_init(&pool->by_age);
	for (unsigned i = 0; i < pool->buckets; i++)
		list_init(&pool->by_host[i]);
	return pool;
}

uint64_t pool_hash(const struct pool *pool, const struct sender_place *place)
{
	struct siphash hash;
	siphash_init(&hash, pool->key, 1, 3);
	siphash_add(&hash, &place->port, sizeof place->port);
	siphash_add(&hash, place->host, strlen(place->host));
	return siphash_end(&hash);
}

static struct list *bucket_of(const struct pool *pool, uint64_t hash)
{
	return &pool->by_host[hash & (pool->buckets - 1)];
}

static bool is_of(const struct pool_connection *connection, uint64_t hash, const char *host, uint16_t port)
{
	return connection->hash == hash && connection->port == port && strcmp(connection->host, host) == 0;
}

static void take_out(struct pool *pool, struct pool_connection *connection)
{
	if (!list_has(&connection->by_age))
		return;
	list_remove(&connection->by_age);
	list_remove(&connection->by_host);
	pool->n--;
}

static bool is_old(const struct pool *pool, const struct pool_connection *connection, uint64_t now_ns)
{
	return now_ns >= connection->born_ns + pool->lifetime_ns;
}

struct pool_connection *pool_connection(struct pool *pool, const struct sender_place *place, unsigned i,
                                        uint64_t now_ns)
{
	struct pool_connection *connection = calloc(1, sizeof *connection);
	if (connection == NULL)
		return NULL;
	connection->hash = pool_hash(pool, place);
	connection->born_ns = now_ns;
	connection->fd = -1;
	connection->port = place->port;
	memcpy(connection->address, place->address[i], sizeof connection->address);
	snprintf(connection->host, sizeof connection->host, "%s", place->host);
	return connection;
}

void pool_close(struct pool *pool, struct pool_connection *connection)
{
	take_out(pool, connection);
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->user = NULL;
	connection->next = pool->closed;
	pool->closed = connection;
}

static bool has_address(const struct sender_place *place, const uint8_t address[16])
{
	for (unsigned i = 0; i < place->n; i++)
		if (memcmp(place->address[i], address, 16) == 0)
			return true;
	return false;
}

struct pool_connection *pool_take(struct pool *pool, const struct sender_place *place, uint64_t now_ns)
{
	if (pool->n == 0)
		return NULL;
	uint64_t hash = pool_hash(pool, place);
	struct list *bucket = bucket_of(pool, hash);
	for (struct link *link = list_last(bucket), *before; link != NULL; link = before) {
		struct pool_connection *connection = LIST_OF(struct pool_connection, by_host, link);
		before = list_before(bucket, link);
		if (!is_of(connection, hash, place->host, place->port))
			continue;
		if (is_old(pool, connection, now_ns) || now_ns >= connection->idle_ns + POOL_IDLE_NS ||
		    !has_address(place, connection->address)) {
			pool_close(pool, connection);
			continue;
		}
		take_out(pool, connection);
		return connection;
	}
	return NULL;
}

void pool_keep(struct pool *pool, struct pool_connection *connection, uint64_t now_ns)
{
	if (pool->most == 0 || is_old(pool, connection, now_ns)) {
		pool_close(pool, connection);
		return;
	}
	if (pool->n == pool->most)
		pool_close(pool, LIST_OF(struct pool_connection, by_age, list_first(&pool->by_age)));
	connection->user = NULL;
	connection->idle_ns = now_ns;
	list_push(&pool->by_age, &connection->by_age);
	list_push(bucket_of(pool, connection->hash), &connection->by_host);
	pool->n++;
}

static void close_all(struct pool *pool, uint64_t hash, const char *host, uint16_t port)
{
	struct list *bucket = bucket_of(pool, hash);
	for (struct link *link = list_first(bucket), *after; link != NULL; link = after) {
		struct pool_connection *connection = LIST_OF(struct pool_connection, by_host, link);
		after = list_after(bucket, link);
		if (is_of(connection, hash, host, port))
			pool_close(pool, connection);
	}
}

void pool_close_like(struct pool *pool, const struct pool_connection *connection)
{
	close_all(pool, connection->hash, connection->host, connection->port);
}

void pool_forget(struct pool *pool, const struct sender_place *place)
{
	if (pool->n > 0)
		close_all(pool, pool_hash(pool, place), place->host, place->port);
}

static void free_closed(struct pool *pool)
{
	while (pool->closed != NULL) {
		struct pool_connection *connection = pool->closed;
		pool->closed = connection->next;
		free(connection);
	}
}

void pool_bury(struct pool *pool, uint64_t now_ns)
{
	struct link *oldest;
	while ((oldest = list_first(&pool->by_age)) != NULL) {
		struct pool_connection *connection = LIST_OF(struct pool_connection, by_age, oldest);
		if (now_ns < connection->idle_ns + POOL_IDLE_NS)
			break;
		pool_close(pool, connection);
	}
	free_closed(pool);
}

void pool_free(struct pool *pool)
{
	struct link *link;
	if (pool == NULL)
		return;
	while ((link = list_first(&pool->by_age)) != NULL)
		pool_close(pool, LIST_OF(struct pool_connection, by_age, link));
	free_closed(pool);
	free(pool->by_host);
	free(pool);
}
