/* A country database that somebody puts in the place of a good one: any bytes, or a good one with
 * some of its bytes changed. It is taken whole, or refused with a reason while the old one goes on
 * answering; what is taken is looked up by libmaxminddb as well.
 *
 * Input: the first byte 0 and then a whole file; otherwise patches of a good file: place (two
 * bytes), value. */
#include <arpa/inet.h>
#include <errno.h>
#include <maxminddb.h>
#include <sys/mman.h>
#include <unistd.h>

#include "enrich/geo/geo.h"
#include "enrich/geo/special.h"
#include "tests/fixture/mmdb_make.h"
#include "tests/fuzz/fuzz.h"

#define PATCH_BYTES 3u

static struct {
	unsigned char *good;
	size_t bytes;
	int file; /* what the path names */
	char path[64];
	uint64_t now_ns;
} f;

static void record(struct mmdb_make *make, const char *network, unsigned bits, const char *code,
                   const char *city)
{
	uint32_t at = mmdb_map(make, 2);
	struct in_addr address;
	mmdb_text(make, "country"), mmdb_map(make, 1), mmdb_text(make, "iso_code"), mmdb_text(make, code);
	mmdb_text(make, "city"), mmdb_map(make, 1), mmdb_text(make, "names"), mmdb_map(make, 1);
	mmdb_text(make, "en"), mmdb_text(make, city);
	must(inet_pton(AF_INET, network, &address) == 1);
	mmdb_add4(make, ntohl(address.s_addr), bits, at);
}

static void make(void)
{
	struct mmdb_make make;
	mmdb_init(&make, 24, 6, "Fuzz-City");
	record(&make, "81.2.0.0", 16, "SE", "Lund");
	record(&make, "81.3.0.0", 24, "FI", "Turku");
	f.good = mmdb_finish(&make, &f.bytes);
	f.file = memfd_create("mmdb", MFD_CLOEXEC);
	must(f.good != NULL && f.file >= 0);
	snprintf(f.path, sizeof f.path, "/proc/self/fd/%d", f.file);
	f.now_ns = 1;
}

static void put(const void *bytes, size_t n)
{
	must(ftruncate(f.file, 0) == 0 && pwrite(f.file, bytes, n, 0) == (ssize_t)n);
}

static struct geo_place at(struct geo *geo, const char *text)
{
	uint8_t address[16] = {[10] = 0xff, [11] = 0xff};
	struct geo_place place, again;
	must(inet_pton(AF_INET, text, address + 12) == 1 || inet_pton(AF_INET6, text, address) == 1);
	geo_lookup(geo, address, &place);
	geo_lookup(geo, address, &again); /* from the cache */
	must(memcmp(place.country, again.country, 2) == 0 && place.city_bytes == again.city_bytes &&
	     memcmp(place.city, again.city, place.city_bytes) == 0);
	must(place.country[0] >= 'A' && place.country[0] <= 'Z' && place.country[1] >= 'A' &&
	     place.country[1] <= 'Z');
	must(place.city_bytes > 0);
	return place;
}

/* What libmaxminddb finds at country.iso_code must be what we say. */
static void compare(struct geo *geo, const MMDB_s *other, const char *text)
{
	int gai = 0, error = 0;
	struct geo_place place = at(geo, text);
	MMDB_lookup_result_s found = MMDB_lookup_string(other, text, &gai, &error);
	if (gai != 0 || error != MMDB_SUCCESS || !found.found_entry) {
		must(memcmp(place.country, GEO_UNKNOWN, 2) == 0);
		return;
	}
	MMDB_entry_data_s data;
	if (MMDB_get_value(&found.entry, &data, "country", "iso_code", NULL) != MMDB_SUCCESS ||
	    !data.has_data || data.type != MMDB_DATA_TYPE_UTF8_STRING || data.data_size != 2)
		return;
	bool letters = true;
	for (unsigned i = 0; i < 2; i++)
		letters &= (data.utf8_string[i] | 0x20) >= 'a' && (data.utf8_string[i] | 0x20) <= 'z';
	for (unsigned i = 0; i < 2 && letters; i++)
		must(place.country[i] == (data.utf8_string[i] & ~0x20));
}

static void check_taken(struct geo *geo)
{
	static const char *const texts[] = {"81.2.3.4", "81.3.0.9", "81.3.1.1", "1.1.1.1", "223.1.2.3"};
	const struct geo_status *status = geo_status(geo);
	MMDB_s other;
	must(status->loaded && status->refusal[0] == '\0' && status->records > 0);
	must(MMDB_open(f.path, MMDB_MODE_MMAP, &other) == MMDB_SUCCESS);
	for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
		compare(geo, &other, texts[i]);
	(void)at(geo, "2a00:1450::1");
	MMDB_close(&other);
}

static void check_old(struct geo *geo)
{
	struct geo_place place = at(geo, "81.2.3.4");
	must(memcmp(place.country, "SE", 2) == 0 && place.city_bytes == 4 &&
	     memcmp(place.city, "Lund", 4) == 0);
	must(memcmp(at(geo, "81.3.0.9").country, "FI", 2) == 0);
	must(memcmp(at(geo, "81.3.1.1").country, "XX", 2) == 0);
}

/* Until the new file was judged. Bounded: a step does a bounded part, of a file this small all. */
static void wait_for(struct geo *geo)
{
	uint64_t done = geo_status(geo)->loads + geo_status(geo)->refusals;
	for (unsigned i = 0; i < 200; i++) {
		f.now_ns += GEO_CHECK_NS;
		(void)geo_check(geo, f.now_ns);
		if (geo_status(geo)->loads + geo_status(geo)->refusals != done)
			return;
	}
	must(!"the new file is never judged");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (f.good == NULL)
		make();
	if (bytes < 2)
		return 0;
	unsigned char *file = data[0] == 0 ? fuzz_copy(data + 1, bytes - 1) : fuzz_copy(f.good, f.bytes);
	size_t length = data[0] == 0 ? bytes - 1 : f.bytes;
	for (size_t i = 1; data[0] != 0 && i + PATCH_BYTES <= bytes; i += PATCH_BYTES)
		file[(size_t)(data[i] | data[i + 1] << 8) % length] = data[i + 2];
	put(f.good, f.bytes);
	struct geo *geo = geo_open(f.path);
	must(geo != NULL && geo_status(geo)->loads == 1);
	check_old(geo);
	bool same = length == f.bytes && memcmp(file, f.good, length) == 0;
	if (!same) {
		struct shm_error error = {""};
		put(file, length);
		wait_for(geo);
		bool taken = geo_status(geo)->loads == 2;
		must(taken == (geo_try(f.path, &error) == 0));
		must(taken || (geo_status(geo)->refusal[0] != '\0' && error.text[0] != '\0'));
		if (taken)
			check_taken(geo);
		else
			check_old(geo);
	}
	geo_close(geo);
	free(file);
	return 0;
}
