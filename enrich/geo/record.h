/* The records of a MaxMind DB: are they well-formed, and what do they say? (https://maxmind.github.io/MaxMind-DB/, "Data section") */
#ifndef ENRICH_GEO_RECORD_H
#define ENRICH_GEO_RECORD_H

#include <maxminddb.h>

#include "enrich/geo/geo.h"

/* Bits of places in a record where something may stand; a database uses few of them. */
#define RECORD_COUNTRIES 0x0fu
#define RECORD_CITIES    0x30u
#define RECORD_ALL       (RECORD_COUNTRIES | RECORD_CITIES)

/* Checks the bytes of the record at `offset` of the data section, all that it refers to included: every value whole and inside the
 * first `end` bytes, keys are strings, no pointer to a pointer, nested 64 deep and 65,536 values at most. libmaxminddb checks bounds too, but
 * follows nesting as deep as it goes. */
bool record_check(const MMDB_s *mmdb, uint32_t offset, uint32_t end);

/* What the record says, looking at `places` only. Returns the bits of the places that something was found at; sets all of *place.
 * *error, which may be NULL, is set to the MMDB_..._ERROR when there was one that is not a missing key. */
unsigned record_read(const MMDB_s *mmdb, uint32_t offset, unsigned places, struct geo_place *place,
                     int *error);

#endif
