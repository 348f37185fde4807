#include "deliver/pins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/address.h"
#include "base/siphash.h"

#define BUCKETS_FIRST 64u
#define ENTRY_MAX \
	(sizeof((struct sender_place *)0)->host + 8 + NAMES_ADDRESSES_MAX * (ADDRESS_HOST_TEXT_MAX + 3))

struct pin {
	struct pin *next;      /* of its bucket */
	struct pin *next_gone; /* of those to be taken out */
	bool gone, listed;     /* listed: it is in the list of those */
	uint64_t hash;
	uint64_t serial; /* that libcurl has; 0: none */
	uint16_t port;
	char host[];
};

struct pins {
	uint64_t key[2];
	struct pin **bucket;
	unsigned n, buckets; /* a power of two */
	struct pin *gone;
};

struct pins *pins_new(void)
{
	struct pins *pins = calloc(1, sizeof *pins);
	if (pins == NULL)
		return NULL;
	pins->buckets = BUCKETS_FIRST;
	pins->bucket = calloc(pins->buckets, sizeof(struct pin *));
	if (pins->bucket == NULL || getrandom(pins->key, sizeof pins->key, 0) != sizeof pins->key) {
		pins_free(pins);
		return NULL;
	}
	return pins;
}

void pins_free(struct pins *pins)
{
	if (pins == NULL)
		return;
	for (unsigned i = 0; pins->bucket != NULL && i < pins->buckets; i++)
		for (struct pin *pin = pins->bucket[i], *next; pin != NULL; pin = next) {
			next = pin->next;
			free(pin);
		}
	free(pins->bucket);
	free(pins);
}

static uint64_t hash_of(const struct pins *pins, const struct sender_place *place)
{
	struct siphash hash;
	siphash_init(&hash, pins->key, 1, 3);
	siphash_add(&hash, &place->port, sizeof place->port);
	siphash_add(&hash, place->host, strlen(place->host));
	return siphash_end(&hash);
}

/* Where the pin of the place hangs, or would. */
static struct pin **find(const struct pins *pins, const struct sender_place *place, uint64_t hash)
{
	struct pin **at = &pins->bucket[hash & (pins->buckets - 1)];
	while (*at != NULL &&
	       ((*at)->hash != hash || (*at)->port != place->port || strcmp((*at)->host, place->host) != 0))
		at = &(*at)->next;
	return at;
}

/* Without memory the buckets stay as few as they are. */
static void grow(struct pins *pins)
{
	struct pin **bucket = calloc(2 * (size_t)pins->buckets, sizeof(struct pin *));
	if (bucket == NULL)
		return;
	for (unsigned i = 0; i < pins->buckets; i++)
		for (struct pin *pin = pins->bucket[i], *next; pin != NULL; pin = next) {
			struct pin **head = &bucket[pin->hash & (2 * (uint64_t)pins->buckets - 1)];
			next = pin->next;
			pin->next = *head;
			*head = pin;
		}
	free(pins->bucket);
	pins->bucket = bucket;
	pins->buckets *= 2;
}

static struct pin *add(struct pins *pins, const struct sender_place *place, uint64_t hash)
{
	size_t bytes = strlen(place->host) + 1;
	struct pin *pin = malloc(sizeof *pin + bytes);
	if (pin == NULL)
		return NULL;
	if (pins->n >= pins->buckets)
		grow(pins);
	*pin = (struct pin){.hash = hash, .port = place->port};
	memcpy(pin->host, place->host, bytes);
	struct pin **head = &pins->bucket[hash & (pins->buckets - 1)];
	pin->next = *head;
	*head = pin;
	pins->n++;
	return pin;
}

static bool append(struct curl_slist **list, const char *text)
{
	struct curl_slist *longer = curl_slist_append(*list, text);
	if (longer == NULL)
		return false;
	*list = longer;
	return true;
}

/* HOST:PORT:ADDRESS[,ADDRESS]... */
static bool append_place(struct curl_slist **list, const struct sender_place *place)
{
	char text[ENTRY_MAX], address[ADDRESS_HOST_TEXT_MAX];
	size_t n = (size_t)snprintf(text, sizeof text, "%s:%u:", place->host, place->port);
	for (unsigned i = 0; i < place->n; i++) {
		address_host_format(address, place->address[i]);
		n += (size_t)snprintf(text + n, sizeof text - n, i == 0 ? "%s" : ",%s", address);
	}
	return append(list, text);
}

static bool append_gone(struct curl_slist **list, const struct pins *pins)
{
	char text[sizeof((struct sender_place *)0)->host + 8];
	for (const struct pin *pin = pins->gone; pin != NULL; pin = pin->next_gone) {
		snprintf(text, sizeof text, "-%s:%u", pin->host, pin->port);
		if (pin->gone && !append(list, text))
			return false;
	}
	return true;
}

int pins_list(struct pins *pins, const struct sender_place *place, struct curl_slist **list)
{
	*list = NULL;
	if (place->host[0] == '-')
		return -EINVAL;
	if (strchr(place->host, ':') != NULL)
		return 0;
	uint64_t hash = hash_of(pins, place);
	struct pin *pin = *find(pins, place, hash);
	if (pin != NULL && !pin->gone && pin->serial == place->serial)
		return 0;
	if (pin == NULL && (pin = add(pins, place, hash)) == NULL)
		return -ENOMEM;
	pin->gone = false;
	pin->serial = 0;
	if (append_gone(list, pins) && append_place(list, place))
		return 0;
	curl_slist_free_all(*list);
	*list = NULL;
	return -ENOMEM;
}

static void take_out(struct pins *pins, struct pin *pin)
{
	struct pin **at = &pins->bucket[pin->hash & (pins->buckets - 1)];
	while (*at != pin)
		at = &(*at)->next;
	*at = pin->next;
	pins->n--;
	free(pin);
}

void pins_set(struct pins *pins, const struct sender_place *place)
{
	struct pin *next, *pin = *find(pins, place, hash_of(pins, place));
	pin->serial = place->serial;
	for (pin = pins->gone; pin != NULL; pin = next) {
		next = pin->next_gone;
		pin->listed = false;
		if (pin->gone)
			take_out(pins, pin);
	}
	pins->gone = NULL;
}

void pins_forget(struct pins *pins, const struct sender_place *place)
{
	struct pin *pin = *find(pins, place, hash_of(pins, place));
	if (pin == NULL || pin->gone)
		return;
	pin->gone = true;
	if (pin->listed)
		return;
	pin->listed = true;
	pin->next_gone = pins->gone;
	pins->gone = pin;
}
