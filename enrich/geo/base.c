#include "enrich/geo/base.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "enrich/geo/entry.h"
#include "enrich/geo/special.h"

#define SEPARATOR_BYTES 16u
#define MARKER          "\xab\xcd\xefMaxMind.com" /* before the metadata */
#define MARKER_BYTES    (sizeof MARKER - 1)
#define METADATA_MAX    (128u << 10) /* bytes at the end of a file in which libmaxminddb looks for the marker */

/* Where the metadata begin: after the last marker. NULL: nowhere. */
static const uint8_t *find_metadata(const uint8_t *bytes, size_t n)
{
	const uint8_t *at = n > METADATA_MAX ? bytes + n - METADATA_MAX : bytes, *end = bytes + n,
	              *found = NULL;
	while ((at = memmem(at, (size_t)(end - at), MARKER, MARKER_BYTES)) != NULL)
		found = at += MARKER_BYTES;
	return found;
}

/* libmaxminddb expands the metadata when it opens a file, whatever it takes, and loses the memory
 * when a language or description is no text; so they are looked at before. */
static const char *check_metadata(int memory)
{
	struct stat status;
	const char *reason = "its metadata are broken or endless";
	uint32_t values;
	if (fstat(memory, &status) != 0 || status.st_size <= 0)
		return "it cannot be read";
	size_t n = (size_t)status.st_size;
	uint8_t *bytes = mmap(NULL, n, PROT_READ, MAP_PRIVATE, memory, 0);
	if (bytes == MAP_FAILED)
		return "it cannot be mapped";
	const uint8_t *metadata = find_metadata(bytes, n);
	if (metadata == NULL)
		reason = "it has no metadata";
	else if (entry_check(metadata, (uint32_t)(bytes + n - metadata), 0, &values) == ENTRY_GOOD)
		reason = entry_has_texts(metadata, (uint32_t)(bytes + n - metadata), "languages") &&
		                         entry_has_texts(metadata, (uint32_t)(bytes + n - metadata),
		                                         "description")
		                 ? NULL
		                 : "its languages or descriptions are no texts";
	(void)munmap(bytes, n);
	return reason;
}

/* Metadata that do not belong to what stands before them give themselves away here. */
static const char *check_sizes(struct geo_base *base)
{
	static const uint8_t zero[SEPARATOR_BYTES];
	const MMDB_s *mmdb = &base->mmdb;
	uint64_t tree = (uint64_t)mmdb->metadata.node_count * mmdb->full_record_byte_size;
	if (mmdb->metadata.ip_version != 4 && mmdb->metadata.ip_version != 6)
		return "its ip_version is neither 4 nor 6";
	if (mmdb->metadata.node_count == 0)
		return "its search tree is empty";
	if (mmdb->data_section + MARKER_BYTES > mmdb->metadata_section)
		return "its search tree reaches into the metadata";
	if (memcmp(mmdb->file_content + tree, zero, sizeof zero) != 0)
		return "its search tree does not end where the metadata say";
	base->data_end = (uint32_t)(mmdb->metadata_section - mmdb->data_section) - MARKER_BYTES;
	return NULL;
}

struct geo_base *base_open(int memory, const char **reason)
{
	/* libmaxminddb opens files by name only. */
	char name[40];
	snprintf(name, sizeof name, "/proc/self/fd/%d", memory);
	struct geo_base *base = calloc(1, sizeof *base);
	*reason = base == NULL ? "out of memory" : check_metadata(memory);
	if (*reason != NULL) {
		free(base);
		return NULL;
	}
	int result = MMDB_open(name, MMDB_MODE_MMAP, &base->mmdb);
	if (result != MMDB_SUCCESS) {
		*reason = MMDB_strerror(result);
		free(base);
		return NULL;
	}
	*reason = check_sizes(base);
	if (*reason == NULL)
		return base;
	base_close(base);
	return NULL;
}

void base_close(struct geo_base *base)
{
	if (base == NULL)
		return;
	MMDB_close(&base->mmdb);
	free(base);
}

bool base_find(const struct geo_base *base, const uint8_t address[16], uint32_t *offset, unsigned *prefix,
               int *error)
{
	MMDB_lookup_result_s result;
	int status = MMDB_SUCCESS;
	bool mapped = special_is_mapped(address);
	if (mapped) {
		struct sockaddr_in in = {.sin_family = AF_INET};
		memcpy(&in.sin_addr, address + 12, 4);
		result = MMDB_lookup_sockaddr(&base->mmdb, (const struct sockaddr *)(const void *)&in,
		                              &status);
	} else if (base->mmdb.metadata.ip_version == 6) {
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
		memcpy(&in6.sin6_addr, address, 16);
		result = MMDB_lookup_sockaddr(&base->mmdb, (const struct sockaddr *)(const void *)&in6,
		                              &status);
	} else {
		*prefix = 0;
		return false;
	}
	if (status != MMDB_SUCCESS) {
		*prefix = 128;
		*error = status;
		return false;
	}
	/* A tree with IPv6 addresses counts the 96 bits before an IPv4 address too. */
	*prefix = result.netmask;
	if (mapped && base->mmdb.metadata.ip_version == 6)
		*prefix = result.netmask > 96 ? result.netmask - 96u : 0;
	*offset = result.entry.offset;
	return result.found_entry;
}
