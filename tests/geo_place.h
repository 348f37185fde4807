/* A folder of its own for a test's databases, and addresses from text. */
#ifndef TESTS_GEO_PLACE_H
#define TESTS_GEO_PLACE_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enrich/geo/geo.h"
#include "tests/mmdb_make.h"

static char geo_folder[64];
static char geo_path[96]; /* the database */
static char geo_side[96]; /* another file in the same folder */

static inline int geo_place_make(void **state)
{
	(void)state;
	snprintf(geo_folder, sizeof geo_folder, "/tmp/millrace-geo-XXXXXX");
	if (mkdtemp(geo_folder) == NULL)
		return -1;
	snprintf(geo_path, sizeof geo_path, "%s/country.mmdb", geo_folder);
	snprintf(geo_side, sizeof geo_side, "%s/side.mmdb", geo_folder);
	return 0;
}

static inline int geo_place_remove(void **state)
{
	(void)state;
	(void)unlink(geo_path);
	(void)unlink(geo_side);
	return rmdir(geo_folder);
}

/* Overwrites the file in place, beginning at its first byte, and cuts it to size. Aborts on failure. */
static inline void geo_write(const char *path, const void *bytes, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, bytes, length) != (ssize_t)length || ftruncate(fd, (off_t)length) != 0 ||
	    close(fd) != 0)
		abort();
}

/* "10.0.0.1" or "2001:db8::1" as in shm/event.h. */
static inline void geo_address(uint8_t address[16], const char *text)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	if (strchr(text, ':') == NULL) {
		memcpy(address, mapped, sizeof mapped);
		if (inet_pton(AF_INET, text, address + 12) != 1)
			abort();
	} else if (inet_pton(AF_INET6, text, address) != 1) {
		abort();
	}
}

static inline struct geo_place geo_at(struct geo *geo, const char *text)
{
	uint8_t address[16];
	struct geo_place place;
	geo_address(address, text);
	geo_lookup(geo, address, &place);
	return place;
}

#define assert_country(place, code) assert_memory_equal((place).country, code, 2)
#define assert_city(place, name)                                             \
	do {                                                                 \
		assert_int_equal((place).city_bytes, strlen(name));          \
		assert_memory_equal((place).city, name, (place).city_bytes); \
	} while (0)

#endif
