/* Small MaxMind DB files, made from scratch (https://maxmind.github.io/MaxMind-DB/).
 *
 *     struct mmdb_make make;
 *     mmdb_init(&make, 24, 6, "Test-Country");
 *     uint32_t record = mmdb_map(&make, 1);
 *     mmdb_text(&make, "country_code"); mmdb_text(&make, "SE");
 *     mmdb_add4(&make, 0x51020000, 16, record);
 *     bytes = mmdb_finish(&make, &length);     ... free(bytes)
 *
 * Networks added later win over those that they lie in; one that holds others already there is not supported.
 */
#ifndef TESTS_MMDB_MAKE_H
#define TESTS_MMDB_MAKE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MMDB_EMPTY UINT32_MAX
#define MMDB_LEAF  0x80000000u /* | offset in data; without it: a node */

struct mmdb_make {
	unsigned record_bits, ip_version;
	const char *type;
	uint64_t build_epoch;
	uint32_t (*node)[2];
	uint32_t nodes, nodes_room;
	unsigned char *data;
	uint32_t used, room;
	void (*languages)(struct mmdb_make *make); /* writes that value of the metadata; NULL: ["en"] */
};

static inline void *mmdb_more(void *memory, uint32_t *room, uint32_t needed, size_t unit)
{
	if (*room >= needed)
		return memory;
	while (*room < needed)
		*room = *room == 0 ? 64 : 2 * *room;
	memory = realloc(memory, *room * unit);
	if (memory == NULL)
		abort();
	return memory;
}

/* ---- values; each returns the offset at which it begins ---- */

static inline uint32_t mmdb_byte(struct mmdb_make *make, unsigned byte)
{
	make->data = mmdb_more(make->data, &make->room, make->used + 1, 1);
	make->data[make->used] = (unsigned char)byte;
	return make->used++;
}

static inline uint32_t mmdb_control(struct mmdb_make *make, unsigned type, uint32_t size)
{
	unsigned low = size < 29 ? size : size < 285 ? 29 : size < 65821 ? 30 : 31;
	uint32_t at = mmdb_byte(make, (type < 8 ? type << 5 : 0) | low);
	if (type >= 8)
		mmdb_byte(make, type - 7);
	static const uint32_t base[] = {29, 285, 65821};
	for (unsigned more = low < 29 ? 0 : low - 28, i = more; i > 0; i--)
		mmdb_byte(make, (size - base[more - 1]) >> 8 * (i - 1) & 255);
	return at;
}

/* Followed by n pairs of key and value. */
static inline uint32_t mmdb_map(struct mmdb_make *make, unsigned n)
{
	return mmdb_control(make, 7, n);
}

/* Followed by n values. */
static inline uint32_t mmdb_array(struct mmdb_make *make, unsigned n)
{
	return mmdb_control(make, 11, n);
}

static inline uint32_t mmdb_text(struct mmdb_make *make, const char *text)
{
	uint32_t at = mmdb_control(make, 2, (uint32_t)strlen(text));
	for (; *text != '\0'; text++)
		mmdb_byte(make, (unsigned char)*text);
	return at;
}

/* Type 5 (16 bits), 6 (32) or 9 (64). */
static inline uint32_t mmdb_number(struct mmdb_make *make, unsigned type, uint64_t number)
{
	unsigned n = 0;
	while (n < 8 && number >> 8 * n != 0)
		n++;
	uint32_t at = mmdb_control(make, type, n);
	for (unsigned i = n; i > 0; i--)
		mmdb_byte(make, number >> 8 * (i - 1) & 255);
	return at;
}

static inline uint32_t mmdb_double(struct mmdb_make *make, double number)
{
	uint64_t bits;
	memcpy(&bits, &number, sizeof bits);
	uint32_t at = mmdb_control(make, 3, 8);
	for (unsigned i = 8; i > 0; i--)
		mmdb_byte(make, bits >> 8 * (i - 1) & 255);
	return at;
}

/* To a value that was written before, in the shortest of the first three forms. */
static inline uint32_t mmdb_pointer(struct mmdb_make *make, uint32_t target)
{
	static const uint32_t base[] = {0, 2048, 526336};
	unsigned width = target < 2048 ? 0 : target < 526336 ? 1 : 2;
	uint32_t rest = target - base[width];
	uint32_t at = mmdb_byte(make, 1u << 5 | width << 3 | rest >> 8 * (width + 1));
	for (unsigned i = width + 1; i > 0; i--)
		mmdb_byte(make, rest >> 8 * (i - 1) & 255);
	return at;
}

/* ---- the tree ---- */

static inline uint32_t mmdb_node(struct mmdb_make *make, uint32_t both)
{
	make->node = mmdb_more(make->node, &make->nodes_room, make->nodes + 1, sizeof make->node[0]);
	make->node[make->nodes][0] = make->node[make->nodes][1] = both;
	return make->nodes++;
}

static inline void mmdb_init(struct mmdb_make *make, unsigned record_bits, unsigned ip_version,
                             const char *type)
{
	*make = (struct mmdb_make){.record_bits = record_bits,
	                           .ip_version = ip_version,
	                           .type = type,
	                           .build_epoch = 1760000000};
	mmdb_node(make, MMDB_EMPTY);
}

/* The network of the first `bits` bits of address, which has as many as the tree. */
static inline void mmdb_add(struct mmdb_make *make, const uint8_t *address, unsigned bits, uint32_t record)
{
	uint32_t at = 0;
	for (unsigned i = 0;; i++) {
		unsigned side = address[i / 8] >> (7 - i % 8) & 1;
		if (i + 1 == bits) {
			make->node[at][side] = MMDB_LEAF | record;
			return;
		}
		uint32_t next = make->node[at][side];
		if (next == MMDB_EMPTY || (next & MMDB_LEAF) != 0) {
			next = mmdb_node(make, next);
			make->node[at][side] = next;
		}
		at = next;
	}
}

/* An IPv4 network, in ::/96 of a tree with IPv6. */
static inline void mmdb_add4(struct mmdb_make *make, uint32_t address, unsigned bits, uint32_t record)
{
	uint8_t bytes[16] = {0};
	unsigned skip = make->ip_version == 6 ? 12 : 0;
	for (unsigned i = 0; i < 4; i++)
		bytes[skip + i] = address >> (24 - 8 * i) & 255;
	mmdb_add(make, bytes, 8 * skip + bits, record);
}

/* ---- the file ---- */

static inline uint32_t mmdb_value(const struct mmdb_make *make, uint32_t record)
{
	if (record == MMDB_EMPTY)
		return make->nodes;
	return (record & MMDB_LEAF) != 0 ? make->nodes + 16 + (record & ~MMDB_LEAF) : record;
}

static inline void mmdb_put_node(unsigned char *out, unsigned record_bits, uint32_t left, uint32_t right)
{
	unsigned whole = record_bits / 8; /* 28 bits: three bytes, and half of the one in the middle */
	for (unsigned i = 0; i < whole; i++) {
		out[i] = (unsigned char)(left >> 8 * (whole - 1 - i));
		out[record_bits / 4 - whole + i] = (unsigned char)(right >> 8 * (whole - 1 - i));
	}
	if (record_bits == 28)
		out[3] = (unsigned char)((left >> 24 & 15) << 4 | (right >> 24 & 15));
}

static inline void mmdb_metadata(struct mmdb_make *make)
{
	mmdb_map(make, 9);
	mmdb_text(make, "node_count"), mmdb_number(make, 6, make->nodes);
	mmdb_text(make, "record_size"), mmdb_number(make, 5, make->record_bits);
	mmdb_text(make, "ip_version"), mmdb_number(make, 5, make->ip_version);
	mmdb_text(make, "database_type"), mmdb_text(make, make->type);
	mmdb_text(make, "languages");
	if (make->languages != NULL)
		make->languages(make);
	else
		mmdb_array(make, 1), mmdb_text(make, "en");
	mmdb_text(make, "description"), mmdb_map(make, 1), mmdb_text(make, "en"), mmdb_text(make, "a test");
	mmdb_text(make, "binary_format_major_version"), mmdb_number(make, 5, 2);
	mmdb_text(make, "binary_format_minor_version"), mmdb_number(make, 5, 0);
	mmdb_text(make, "build_epoch"), mmdb_number(make, 9, make->build_epoch);
}

/* The bytes of the file, to be freed by the caller. make is empty afterwards. */
static inline unsigned char *mmdb_finish(struct mmdb_make *make, size_t *length)
{
	static const char marker[] = "\xab\xcd\xefMaxMind.com";
	size_t node_bytes = make->record_bits / 4, tree = node_bytes * make->nodes;
	struct mmdb_make metadata = *make;
	metadata.data = NULL;
	metadata.used = metadata.room = 0;
	mmdb_metadata(&metadata);
	*length = tree + 16 + make->used + sizeof marker - 1 + metadata.used;
	unsigned char *file = calloc(1, *length);
	if (file == NULL)
		abort();
	for (uint32_t i = 0; i < make->nodes; i++)
		mmdb_put_node(file + i * node_bytes, make->record_bits, mmdb_value(make, make->node[i][0]),
		              mmdb_value(make, make->node[i][1]));
	unsigned char *at = file + tree + 16;
	memcpy(at, make->data, make->used);
	memcpy(at + make->used, marker, sizeof marker - 1);
	memcpy(at + make->used + sizeof marker - 1, metadata.data, metadata.used);
	free(metadata.data);
	free(make->data);
	free(make->node);
	*make = (struct mmdb_make){0};
	return file;
}

#endif
