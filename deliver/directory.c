#include "deliver/directory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/siphash.h"

static uint64_t mask_for(unsigned most)
{
	uint64_t slots = 16;
	while (slots < most)
		slots *= 2;
	return slots - 1;
}

int directory_init(struct directory *directory, unsigned hosts_most, unsigned endpoints_most)
{
	*directory = (struct directory){.mask_hosts = mask_for(hosts_most),
	                                .mask_endpoints = mask_for(endpoints_most),
	                                .hosts_most = hosts_most,
	                                .endpoints_most = endpoints_most};
	list_init(&directory->idle_hosts);
	list_init(&directory->idle_closed);
	list_init(&directory->idle_unclosed);
	if (getrandom(directory->key, sizeof directory->key, 0) != (ssize_t)sizeof directory->key)
		return -EIO;
	directory->host = calloc(directory->mask_hosts + 1, sizeof(struct host_entry *));
	directory->endpoint = calloc(directory->mask_endpoints + 1, sizeof(struct endpoint_entry *));
	if (directory->host != NULL && directory->endpoint != NULL)
		return 0;
	free(directory->host);
	free(directory->endpoint);
	return -ENOMEM;
}

void directory_fini(struct directory *directory)
{
	for (uint64_t i = 0; i <= directory->mask_hosts; i++)
		for (struct host_entry *host; (host = directory->host[i]) != NULL;) {
			directory->host[i] = host->chain;
			free(host);
		}
	for (uint64_t i = 0; i <= directory->mask_endpoints; i++)
		for (struct endpoint_entry *endpoint; (endpoint = directory->endpoint[i]) != NULL;) {
			directory->endpoint[i] = endpoint->chain;
			free(endpoint);
		}
	free(directory->host);
	free(directory->endpoint);
}

static uint64_t hash_of(const struct directory *directory, const char *name)
{
	struct siphash hash;
	siphash_init(&hash, directory->key, 1, 3);
	siphash_add(&hash, name, strlen(name));
	return siphash_end(&hash);
}

/* ---- hosts ---- */

struct host_entry *directory_host(const struct directory *directory, const char *origin)
{
	uint64_t hash = hash_of(directory, origin);
	struct host_entry *host = directory->host[hash & directory->mask_hosts];
	while (host != NULL && (host->hash != hash || strcmp(host->host.origin, origin) != 0))
		host = host->chain;
	return host;
}

struct host_entry *directory_add_host(struct directory *directory, const char *origin)
{
	struct host_entry *host = directory->n_hosts < directory->hosts_most ? calloc(1, sizeof *host) : NULL;
	if (host == NULL)
		return NULL;
	snprintf(host->host.origin, sizeof host->host.origin, "%s", origin);
	host->hash = hash_of(directory, host->host.origin);
	struct host_entry **first = &directory->host[host->hash & directory->mask_hosts];
	host->chain = *first;
	*first = host;
	list_init(&host->endpoints);
	list_push(&directory->idle_hosts, &host->idle);
	directory->n_hosts++;
	return host;
}

struct host_entry *directory_oldest_host(const struct directory *directory)
{
	struct link *oldest =
	        directory->n_hosts < directory->hosts_most ? NULL : list_first(&directory->idle_hosts);
	return oldest == NULL ? NULL : LIST_OF(struct host_entry, idle, oldest);
}

void directory_drop_host(struct directory *directory, struct host_entry *host)
{
	struct host_entry **at = &directory->host[host->hash & directory->mask_hosts];
	while (*at != host)
		at = &(*at)->chain;
	*at = host->chain;
	list_remove(&host->idle);
	directory->n_hosts--;
	free(host);
}

void directory_regard_host(struct directory *directory, struct host_entry *host)
{
	list_remove(&host->idle);
	if (host->host.in_memory == 0)
		list_push(&directory->idle_hosts, &host->idle);
}

/* ---- endpoints ---- */

struct endpoint_entry *directory_endpoint(const struct directory *directory, const char *name)
{
	uint64_t hash = hash_of(directory, name);
	struct endpoint_entry *endpoint = directory->endpoint[hash & directory->mask_endpoints];
	while (endpoint != NULL && (endpoint->hash != hash || strcmp(endpoint->endpoint.name, name) != 0))
		endpoint = endpoint->chain;
	return endpoint;
}

struct endpoint_entry *directory_add_endpoint(struct directory *directory, const char *name)
{
	struct endpoint_entry *endpoint =
	        directory->n_endpoints < directory->endpoints_most ? calloc(1, sizeof *endpoint) : NULL;
	if (endpoint == NULL)
		return NULL;
	snprintf(endpoint->endpoint.name, sizeof endpoint->endpoint.name, "%s", name);
	endpoint->hash = hash_of(directory, endpoint->endpoint.name);
	struct endpoint_entry **first = &directory->endpoint[endpoint->hash & directory->mask_endpoints];
	endpoint->chain = *first;
	*first = endpoint;
	list_push(&directory->idle_closed, &endpoint->idle);
	directory->n_endpoints++;
	return endpoint;
}

struct endpoint_entry *directory_oldest_endpoint(const struct directory *directory)
{
	if (directory->n_endpoints < directory->endpoints_most)
		return NULL;
	struct link *oldest = list_first(&directory->idle_closed);
	if (oldest == NULL)
		oldest = list_first(&directory->idle_unclosed);
	return oldest == NULL ? NULL : LIST_OF(struct endpoint_entry, idle, oldest);
}

void directory_drop_endpoint(struct directory *directory, struct endpoint_entry *endpoint)
{
	struct endpoint_entry **at = &directory->endpoint[endpoint->hash & directory->mask_endpoints];
	while (*at != endpoint)
		at = &(*at)->chain;
	*at = endpoint->chain;
	list_remove(&endpoint->idle);
	directory->n_endpoints--;
	free(endpoint);
}

void directory_regard_endpoint(struct directory *directory, struct endpoint_entry *endpoint)
{
	list_remove(&endpoint->idle);
	if (endpoint->endpoint.in_memory > 0)
		return;
	bool closed = endpoint->endpoint.circuit.state == CIRCUIT_CLOSED;
	list_push(closed ? &directory->idle_closed : &directory->idle_unclosed, &endpoint->idle);
}
