/* Which country and city an address is in, from a MaxMind DB file that may be replaced at any time.
 *
 *     file --(stat, once a second)--> changed? --> the same for a second? --> copied into private memory --> checked --> swapped in whole
 *                                                                                                         '--> refused: the old one goes on
 *
 *     struct geo *geo = geo_open(path);
 *     tick:    geo_check(geo, stage->now_ns);
 *     record:  geo_lookup(geo, event->source, &place);
 *
 * A database in use is a sealed memory file, so nothing that is done to the original file, by
 * rename or in place, can harm a look-up. A new file is read and checked in small steps, one a
 * tick, so that nothing waits for it; README.md says what is checked.
 *
 * Any MaxMind DB will do (format 2, records of 24, 28 or 32 bits, IPv4 or IPv6) that has one of
 * these in its records:
 *
 *     country   country.iso_code (GeoIP2, GeoLite2, DB-IP), country_code (ip-location-db, IPinfo), country (two letters),
 *               registered_country.iso_code: the first of these that holds two letters
 *     city      city.names.en, city (text)
 *
 * One thread. https://maxmind.github.io/MaxMind-DB/
 */
#ifndef ENRICH_GEO_GEO_H
#define ENRICH_GEO_GEO_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/segment.h"

#define GEO_UNKNOWN  "XX"
#define GEO_CITY_MAX 255u /* bytes; longer names are cut between characters */
#define GEO_CHECK_NS 1000000000ull

struct geo;

struct geo_place {
	const char *
	        /* UTF-8, no final 0; "XX" when unknown. Lies in the database: good until the next
	         * geo_check */
	        city;
	uint8_t city_bytes;
	char country[2]; /* upper case; "XX" when unknown */
};

struct geo_status {
	bool loaded;          /* there is a database; else all is XX and the five below are 0 */
	char type[64];        /* metadata's database_type: "GeoLite2-City", "country ipvAll" */
	uint64_t build_epoch; /* seconds since 1970: its age is now less this */
	uint64_t bytes;
	uint32_t nodes;    /* of the search tree */
	uint32_t records;  /* different records that the tree refers to */
	uint64_t loads;    /* databases loaded, the first included */
	uint64_t refusals; /* files that were read and refused */
	char refusal[160]; /* why the last one was refused; "" when what is there now is in use */
};

/* Opens the database at path (NULL: none) and reads it to the end. If there is none, or it is
 * broken, it logs that and every answer is XX until geo_check finds a good one. Returns NULL with
 * errno when out of memory. */
struct geo *geo_open(const char *path);

void geo_close(struct geo *geo);

/* Reads and checks the file at path as geo_open does; logs nothing and keeps nothing. Returns 0, or
 * -errno with "PATH: what is wrong" in error. */
int geo_try(const char *path, struct shm_error *error);

/* Where the address is (IPv6, or IPv4-mapped as in event/event.h). XX for what is in no country
 * (special.h), without a look-up, and for what the database does not know. Sets all of *place. */
void geo_lookup(struct geo *geo, const uint8_t address[16], struct geo_place *place);

/* Checks whether the file has changed, or takes the next step with a new one. Call it at every
 * tick; now_ns is CLOCK_MONOTONIC. It looks once in GEO_CHECK_NS; a step takes some milliseconds.
 * Returns true when a new database has just come into use. Each change of state is logged
 * once. */
bool geo_check(struct geo *geo, uint64_t now_ns);

/* For metrics; changes with geo_check only. */
const struct geo_status *geo_status(const struct geo *geo);

#endif
