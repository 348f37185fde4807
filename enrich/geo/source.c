#include "enrich/geo/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "enrich/geo/entry.h"
#include "enrich/geo/special.h"

/* What one step does at most. */
#define STEP_BYTES  (8u << 20)
#define STEP_NODES  200000u
#define STEP_WORDS  200000u
#define STEP_VALUES 400000u /* of records; each is passed over for every place where something may stand */

/* Values looked at in all. Records share what they point to, so there may be more than there are
 * bytes: in a database of cities nearly two a byte. */
#define VALUES_LEAST    1000000ull
#define VALUES_PER_BYTE 16u

#define BYTES_MAX (1ull << 32) /* pointers and offsets in the format have 32 bits */
#define TRIALS    1000u
#define WORD_BITS 64u

void source_begin(struct source *source, const char *path, const struct signature *signature)
{
	*source = (struct source){.path = path, .signature = *signature, .file = -1, .memory = -1};
}

void source_fini(struct source *source)
{
	if (source->file >= 0)
		(void)close(source->file);
	if (source->memory >= 0)
		(void)close(source->memory);
	base_close(source->base);
	free(source->marks);
	source->file = source->memory = -1;
	source->base = NULL;
	source->marks = NULL;
}

static enum source_result refuse(struct source *source, const char *reason)
{
	snprintf(source->reason, sizeof source->reason, "%s", reason);
	return SOURCE_REFUSED;
}

/* ---- copy ---- */

static enum source_result open_both(struct source *source)
{
	struct stat status;
	source->file = open(source->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (source->file < 0 || fstat(source->file, &status) != 0)
		return errno == ENOENT ? SOURCE_CHANGED : refuse(source, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return refuse(source, "not a file");
	if (source->signature.bytes == 0)
		return refuse(source, "empty");
	if (source->signature.bytes >= BYTES_MAX)
		return refuse(source, "4 GiB or more");
	source->memory = memfd_create("millrace-geo", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return source->memory < 0 ? refuse(source, strerror(errno)) : SOURCE_GOES_ON;
}

/* The file must still be the one that was looked at, under the same name. */
static bool unchanged(const struct source *source)
{
	struct stat status;
	struct signature opened = {0}, named = {0};
	if (fstat(source->file, &status) != 0 || signature_take(&named, source->path) != 0)
		return false;
	signature_of(&opened, &status);
	return signature_same(&opened, &source->signature) && signature_same(&named, &source->signature);
}

static enum source_result seal_and_open(struct source *source)
{
	const char *reason;
	if (!unchanged(source))
		return SOURCE_CHANGED;
	(void)close(source->file);
	source->file = -1;
	if (fcntl(source->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
		return refuse(source, strerror(errno));
	source->base = base_open(source->memory, &reason);
	if (source->base == NULL)
		return refuse(source, reason);
	(void)close(source->memory);
	source->memory = -1;
	source->marks = calloc((size_t)source->base->data_end / WORD_BITS + 1, sizeof *source->marks);
	if (source->marks == NULL)
		return refuse(source, "out of memory");
	source->phase = SOURCE_TREE;
	return SOURCE_GOES_ON;
}

static enum source_result copy(struct source *source)
{
	enum source_result result = source->file < 0 ? open_both(source) : SOURCE_GOES_ON;
	if (result != SOURCE_GOES_ON)
		return result;
	ssize_t n = sendfile(source->memory, source->file, NULL, STEP_BYTES);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return SOURCE_GOES_ON;
	if (n < 0)
		return refuse(source, strerror(errno));
	source->copied += (uint64_t)n;
	if (n == 0 || source->copied >= source->signature.bytes)
		return source->copied == source->signature.bytes ? seal_and_open(source) : SOURCE_CHANGED;
	return SOURCE_GOES_ON;
}

/* ---- check ---- */

/* A record of a node: another node, nothing, or an offset into the data. Notes where records
 * begin. */
static bool check_branch(struct source *source, uint8_t type, uint32_t offset)
{
	if (type == MMDB_RECORD_TYPE_SEARCH_NODE || type == MMDB_RECORD_TYPE_EMPTY)
		return true;
	if (type != MMDB_RECORD_TYPE_DATA || offset >= source->base->data_end)
		return false;
	source->marks[offset / WORD_BITS] |= 1ull << offset % WORD_BITS;
	return true;
}

static enum source_result check_tree(struct source *source)
{
	const MMDB_s *mmdb = &source->base->mmdb;
	uint32_t count = mmdb->metadata.node_count;
	for (uint32_t n = 0; n < STEP_NODES && source->node < count; n++, source->node++) {
		MMDB_search_node_s node;
		if (MMDB_read_node(mmdb, source->node, &node) != MMDB_SUCCESS ||
		    !check_branch(source, node.left_record_type, node.left_record_entry.offset) ||
		    !check_branch(source, node.right_record_type, node.right_record_entry.offset)) {
			snprintf(source->reason, sizeof source->reason,
			         "node %u of the search tree points nowhere", source->node);
			return SOURCE_REFUSED;
		}
	}
	if (source->node == count)
		source->phase = SOURCE_RECORDS;
	return SOURCE_GOES_ON;
}

static enum source_result refuse_record(struct source *source, uint32_t offset, enum entry_verdict verdict)
{
	if (verdict == ENTRY_TOO_LARGE)
		snprintf(source->reason, sizeof source->reason,
		         "the record at byte %u of the data has more than %u values", offset,
		         ENTRY_VALUES_MAX);
	else
		snprintf(source->reason, sizeof source->reason, "the record at byte %u of the data is broken",
		         offset);
	return SOURCE_REFUSED;
}

static enum source_result check_record(struct source *source, uint32_t offset)
{
	const struct geo_base *base = source->base;
	struct geo_place place;
	int error = MMDB_SUCCESS;
	uint32_t values;
	enum entry_verdict verdict = entry_check(base->mmdb.data_section, base->data_end, offset, &values);
	if (verdict != ENTRY_GOOD)
		return refuse_record(source, offset, verdict);
	source->values += values;
	if (source->values > VALUES_LEAST + (uint64_t)VALUES_PER_BYTE * base->data_end)
		return refuse(source, "its records point to the same values too often");
	/* Each place is asked for alone: the first that is there would hide the others. */
	for (unsigned bit = 1; bit < ENTRY_ALL; bit <<= 1)
		source->places |= entry_read(&base->mmdb, offset, bit, &place, &error);
	source->records++;
	return error == MMDB_SUCCESS ? SOURCE_GOES_ON : refuse_record(source, offset, ENTRY_BROKEN);
}

static enum source_result check_records(struct source *source)
{
	size_t words = (size_t)source->base->data_end / WORD_BITS + 1;
	uint64_t enough = source->values + STEP_VALUES;
	for (size_t n = 0; n < STEP_WORDS && source->word < words; n++, source->word++) {
		uint64_t *bits = &source->marks[source->word];
		for (; *bits != 0; *bits &= *bits - 1) {
			if (source->values >= enough)
				return SOURCE_GOES_ON;
			enum source_result result =
			        check_record(source, (uint32_t)(source->word * WORD_BITS) +
			                                     (uint32_t)__builtin_ctzll(*bits));
			if (result != SOURCE_GOES_ON)
				return result;
		}
	}
	if (source->word < words)
		return SOURCE_GOES_ON;
	if ((source->places & ENTRY_COUNTRIES) == 0)
		return refuse(source, "none of its records has a country");
	source->phase = SOURCE_TRIAL;
	return SOURCE_GOES_ON;
}

/* Look-ups as geo_lookup does them: the corners, some that everybody knows, and many at random. */
static enum source_result try_lookups(struct source *source)
{
	static const uint8_t known[][4] = {{0, 0, 0, 0}, {255, 255, 255, 255}, {1, 1, 1, 1},
	                                   {8, 8, 8, 8}, {127, 255, 255, 255}, {128, 0, 0, 0}};
	uint8_t address[16] = {[10] = 0xff, [11] = 0xff};
	uint64_t random = 0x9e3779b97f4a7c15u;
	for (unsigned i = 0; i < TRIALS; i++) {
		uint32_t offset;
		unsigned prefix;
		int error = MMDB_SUCCESS;
		random = random * 6364136223846793005u + 1442695040888963407u;
		if (i < sizeof known / sizeof known[0])
			memcpy(address + 12, known[i], 4);
		else if (i < TRIALS / 2)
			memcpy(address + 12, (const char *)&random + 4, 4);
		else
			memcpy(address + (i & 1 ? 0 : 8), &random, 8);
		(void)base_find(source->base, address, &offset, &prefix, &error);
		if (error != MMDB_SUCCESS)
			return refuse(source, MMDB_strerror(error));
	}
	return SOURCE_GOOD;
}

enum source_result source_step(struct source *source, struct geo_base **base)
{
	static enum source_result (*const step[])(struct source *) = {
	        [SOURCE_COPY] = copy,
	        [SOURCE_TREE] = check_tree,
	        [SOURCE_RECORDS] = check_records,
	        [SOURCE_TRIAL] = try_lookups,
	};
	enum source_result result = step[source->phase](source);
	if (result == SOURCE_GOES_ON)
		return result;
	if (result == SOURCE_GOOD) {
		source->base->places = source->places;
		source->base->records = source->records;
		*base = source->base;
		source->base = NULL;
	}
	source_fini(source);
	return result;
}
