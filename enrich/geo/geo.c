#include "enrich/geo/geo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enrich/geo/entry.h"
#include "enrich/geo/source.h"
#include "enrich/geo/special.h"
#include "base/log.h"

/* Cached answers for whole networks (/24 and /48): clients come back. */
#define CACHE_BITS    13u
#define CACHE_ENTRIES (1u << CACHE_BITS)

struct cached {
	uint64_t key; /* 0: empty */
	struct geo_place place;
};

enum watch { WATCH_FILE, WATCH_READING };

struct geo {
	char *path; /* NULL: none */
	struct geo_base *base;
	struct geo_status status;
	struct source source; /* while reading */
	enum watch watch;
	bool gone;               /* there was no file at the last look */
	uint64_t next_ns;        /* when to look again */
	struct signature judged; /* of the file that was last taken or refused */
	struct signature seen;   /* at the last look */
	struct cached cache[CACHE_ENTRIES];
};

static const struct geo_place nowhere = {.city = GEO_UNKNOWN, .city_bytes = 2, .country = {'X', 'X'}};

/* ---- files ---- */

static void take(struct geo *geo, struct geo_base *base)
{
	const MMDB_s *mmdb = &base->mmdb;
	struct geo_status *status = &geo->status;
	base_close(geo->base);
	geo->base = base;
	memset(geo->cache, 0, sizeof geo->cache); /* city names lie in the old one */
	status->loaded = true;
	snprintf(status->type, sizeof status->type, "%s", mmdb->metadata.database_type);
	status->build_epoch = mmdb->metadata.build_epoch;
	status->bytes = (uint64_t)mmdb->file_size;
	status->nodes = mmdb->metadata.node_count;
	status->records = base->records;
	status->loads++;
	status->refusal[0] = '\0';
	log_info("country database in use", "type=\"%s\" built=%llu nodes=%u records=%u bytes=%llu path=%s",
	         status->type, (unsigned long long)status->build_epoch, status->nodes, status->records,
	         (unsigned long long)status->bytes, geo->path);
}

static void refuse(struct geo *geo)
{
	geo->status.refusals++;
	snprintf(geo->status.refusal, sizeof geo->status.refusal, "%s", geo->source.reason);
	log_warn("country database refused", "reason=\"%s\" instead=%s path=%s", geo->status.refusal,
	         geo->base == NULL ? GEO_UNKNOWN : "the-old-one", geo->path);
}

/* One step; true when a new database is in use. */
static bool read_on(struct geo *geo)
{
	struct geo_base *base = NULL;
	enum source_result result = source_step(&geo->source, &base);
	if (result == SOURCE_GOES_ON)
		return false;
	geo->watch = WATCH_FILE;
	if (result == SOURCE_CHANGED)
		return false; /* the file changed again: the next look starts over */
	geo->judged = geo->source.signature;
	if (result == SOURCE_GOOD)
		take(geo, base);
	else
		refuse(geo);
	return result == SOURCE_GOOD;
}

static void begin(struct geo *geo, const struct signature *signature)
{
	source_begin(&geo->source, geo->path, signature);
	geo->watch = WATCH_READING;
}

static void say_gone(struct geo *geo, int error)
{
	if (!geo->gone)
		log_warn("no country database", "reason=\"%s\" instead=%s path=%s", strerror(-error),
		         geo->base == NULL ? GEO_UNKNOWN : "the-old-one", geo->path);
	geo->gone = true;
}

static void look(struct geo *geo)
{
	struct signature signature;
	int result = signature_take(&signature, geo->path);
	if (result != 0) {
		say_gone(geo, result);
		return;
	}
	geo->gone = false;
	bool settled = signature_same(&signature, &geo->seen);
	geo->seen = signature;
	if (settled && !signature_same(&signature, &geo->judged))
		begin(geo, &signature);
}

bool geo_check(struct geo *geo, uint64_t now_ns)
{
	if (geo->watch == WATCH_READING)
		return read_on(geo);
	if (geo->path == NULL || now_ns < geo->next_ns)
		return false;
	geo->next_ns = now_ns + GEO_CHECK_NS;
	look(geo);
	return false;
}

struct geo *geo_open(const char *path)
{
	struct geo *geo = calloc(1, sizeof *geo);
	if (geo == NULL || path == NULL)
		return geo;
	geo->path = strdup(path);
	if (geo->path == NULL) {
		free(geo);
		return NULL;
	}
	/* At the start nothing else waits: read at once, and to the end. */
	int result = signature_take(&geo->seen, path);
	if (result != 0)
		say_gone(geo, result);
	else
		begin(geo, &geo->seen);
	while (geo->watch == WATCH_READING)
		(void)read_on(geo);
	return geo;
}

int geo_try(const char *path, struct shm_error *error)
{
	struct signature signature;
	struct source source;
	struct geo_base *base = NULL;
	enum source_result result = SOURCE_GOES_ON;
	int signed_result = signature_take(&signature, path);
	if (signed_result != 0) {
		shm_explain(error, "%s: %s", path, strerror(-signed_result));
		return signed_result;
	}
	source_begin(&source, path, &signature);
	while (result == SOURCE_GOES_ON)
		result = source_step(&source, &base);
	base_close(base);
	if (result != SOURCE_GOOD)
		shm_explain(error, "%s: %s", path,
		            result == SOURCE_CHANGED ? "changes while it is read" : source.reason);
	return result == SOURCE_GOOD ? 0 : -EINVAL;
}

void geo_close(struct geo *geo)
{
	if (geo == NULL)
		return;
	if (geo->watch == WATCH_READING)
		source_fini(&geo->source);
	base_close(geo->base);
	free(geo->path);
	free(geo);
}

const struct geo_status *geo_status(const struct geo *geo)
{
	return &geo->status;
}

/* ---- look-ups ---- */

/* The /24 of an IPv4 address, the /48 of another, and which of the two. Never 0. */
static uint64_t network_of(const uint8_t address[16], bool mapped)
{
	uint64_t key = mapped ? 1ull << 62 : 1ull << 63;
	const uint8_t *from = mapped ? address + 12 : address;
	unsigned n = mapped ? 3 : 6;
	for (unsigned i = 0; i < n; i++)
		key |= (uint64_t)from[i] << 8 * i;
	return key;
}

void geo_lookup(struct geo *geo, const uint8_t address[16], struct geo_place *place)
{
	*place = nowhere;
	if (geo->base == NULL || special_address(address))
		return;
	bool mapped = special_is_mapped(address);
	uint64_t key = network_of(address, mapped);
	struct cached *cached = &geo->cache[key * 0x9e3779b97f4a7c15u >> (64 - CACHE_BITS)];
	if (cached->key == key) {
		*place = cached->place;
		return;
	}
	uint32_t offset;
	unsigned prefix;
	int error = MMDB_SUCCESS;
	if (base_find(geo->base, address, &offset, &prefix, &error))
		(void)entry_read(&geo->base->mmdb, offset, geo->base->places, place, NULL);
	if (prefix <= (mapped ? 24u : 48u))
		*cached = (struct cached){.key = key, .place = *place};
}
