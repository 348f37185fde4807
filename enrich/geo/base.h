/* One database in use or about to be: a sealed memory file, and libmaxminddb's view of it. */
#ifndef ENRICH_GEO_BASE_H
#define ENRICH_GEO_BASE_H

#include <maxminddb.h>

#include "enrich/geo/geo.h"

struct geo_base {
	MMDB_s mmdb;
	unsigned places;   /* where its records have something (entry.h) */
	uint32_t records;  /* different ones that the tree refers to */
	uint32_t data_end; /* bytes of the data section, up to the metadata */
};

/* Opens the database in a memory file, which may be closed afterwards; checks the metadata and
 * sizes: version, record size, and a tree that ends in 16 zero bytes inside the file. Returns NULL
 * with the reason, a constant. */
struct geo_base *base_open(int memory, const char **reason);

void base_close(struct geo_base *base);

/* The record of an address that is not special. Returns false when it has none. prefix: bits of the
 * network that the answer is good for, IPv4 addresses having 32, others 128. *error is set to the
 * MMDB_..._ERROR when there was one. */
bool base_find(const struct geo_base *base, const uint8_t address[16], uint32_t *offset, unsigned *prefix,
               int *error);

#endif
