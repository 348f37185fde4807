/* The records of a MaxMind DB: are they well-formed, and what do they say?
 * (https://maxmind.github.io/MaxMind-DB/, "Data section") */
#ifndef ENRICH_GEO_ENTRY_H
#define ENRICH_GEO_ENTRY_H

#include <maxminddb.h>

#include "enrich/geo/geo.h"

/* Bits of places in a record where something may stand; a database uses few of them. */
#define ENTRY_COUNTRIES 0x0fu
#define ENTRY_CITIES    0x30u
#define ENTRY_ALL       (ENTRY_COUNTRIES | ENTRY_CITIES)

/* Values in one record, keys and pointers counted: the records of the fullest databases known have
 * some 300. A look-up walks over everything before the key it wants, so this also bounds its
 * cost. */
#define ENTRY_VALUES_MAX 2048u

enum entry_verdict { ENTRY_GOOD, ENTRY_BROKEN, ENTRY_TOO_LARGE };

/* Checks the bytes of the record at `offset` of the data, all that it refers to included: every
 * value whole and inside the first `end` bytes, keys are strings, no pointer to a pointer, nested
 * 64 deep and ENTRY_VALUES_MAX values at most. libmaxminddb checks bounds too, but follows any
 * depth of nesting and any number of pointers. *values is set to the number of values
 * that were looked at. */
enum entry_verdict entry_check(const uint8_t *data, uint32_t end, uint32_t offset, uint32_t *values);

/* Whether the map at the beginning of the data, which entry_check has found good, holds under this
 * key an array of texts or a map to texts; or has no such key. */
bool entry_has_texts(const uint8_t *data, uint32_t end, const char *key);

/* Reads what the record says at `places`. Returns the bits of the places where it found something;
 * sets all of *place. *error, which may be NULL, is set to the MMDB_..._ERROR when there
 * was one that is not a missing key. */
unsigned entry_read(const MMDB_s *mmdb, uint32_t offset, unsigned places, struct geo_place *place,
                    int *error);

#endif
