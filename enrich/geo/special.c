#include "enrich/geo/special.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>

/* The first row that matches decides: exceptions stand before the block that they are in. */

struct block4 {
	uint32_t first;
	uint8_t bits;
	bool special;
};

#define V4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

static const struct block4 blocks4[] = {
        {V4(0, 0, 0, 0), 8, true},       /* this network: RFC 791, 3.2 */
        {V4(10, 0, 0, 0), 8, true},      /* private use: RFC 1918 */
        {V4(100, 64, 0, 0), 10, true},   /* shared address space (carrier-grade NAT): RFC 6598 */
        {V4(127, 0, 0, 0), 8, true},     /* loopback: RFC 1122, 3.2.1.3 */
        {V4(169, 254, 0, 0), 16, true},  /* link-local: RFC 3927 */
        {V4(172, 16, 0, 0), 12, true},   /* private use: RFC 1918 */
        {V4(192, 0, 0, 9), 32, false},   /* PCP anycast, globally reachable: RFC 7723 */
        {V4(192, 0, 0, 10), 32, false},  /* TURN anycast, globally reachable: RFC 8155 */
        {V4(192, 0, 0, 0), 24, true},    /* IETF protocol assignments: RFC 6890, 2.1 */
        {V4(192, 0, 2, 0), 24, true},    /* documentation: RFC 5737 */
        {V4(192, 88, 99, 0), 24, true},  /* 6to4 relay anycast, withdrawn: RFC 7526 */
        {V4(192, 168, 0, 0), 16, true},  /* private use: RFC 1918 */
        {V4(198, 18, 0, 0), 15, true},   /* benchmarking: RFC 2544 */
        {V4(198, 51, 100, 0), 24, true}, /* documentation: RFC 5737 */
        {V4(203, 0, 113, 0), 24, true},  /* documentation: RFC 5737 */
        {V4(224, 0, 0, 0), 4, true},     /* multicast: RFC 5771 */
        {V4(240, 0, 0, 0), 4, true},     /* reserved: RFC 1112, 4; limited broadcast: RFC 919 */
};

/* By the upper 64 bits; all outside 2000::/3 is dealt with before. */
struct block6 {
	uint64_t first;
	uint8_t bits;
	bool special;
};

#define V6(a, b, c, d) ((uint64_t)(a) << 48 | (uint64_t)(b) << 32 | (uint64_t)(c) << 16 | (uint64_t)(d))

static const struct block6 blocks6[] = {
        {V6(0x2001, 1, 0, 0), 64,
         false}, /* in it ::1 PCP, ::2 TURN, ::3 SRP anycast: RFC 7723, RFC 8155, RFC 9665 */
        {V6(0x2001, 3, 0, 0), 32, false},     /* AMT, globally reachable: RFC 7450 */
        {V6(0x2001, 4, 0x112, 0), 48, false}, /* AS112-v6, globally reachable: RFC 7535 */
        {V6(0x2001, 0x20, 0, 0), 28, false},  /* ORCHIDv2, globally reachable: RFC 7343 */
        /* drone remote identification, globally reachable: RFC 9374 */
        {V6(0x2001, 0x30, 0, 0), 28, false},
        {V6(0x2001, 0, 0, 0), 23,
         /* IETF protocol assignments: RFC 2928; in it Teredo (RFC 4380), whose upper bits tell the
          * server's place, benchmarking (RFC 5180), ORCHID (RFC 4843) */
         true},
        {V6(0x2001, 0xdb8, 0, 0), 32, true}, /* documentation: RFC 3849 */
        {V6(0x3fff, 0, 0, 0), 20, true},     /* documentation: RFC 9637 */
};

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

static uint64_t upper_half(const uint8_t address[16])
{
	uint64_t upper;
	memcpy(&upper, address, sizeof upper);
	return be64toh(upper);
}

bool special_is_mapped(const uint8_t address[16])
{
	static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291, 2.5.5.2 */
	return memcmp(address, prefix, sizeof prefix) == 0;
}

static bool special4(uint32_t address)
{
	for (size_t i = 0; i < COUNT_OF(blocks4); i++)
		if ((address ^ blocks4[i].first) >> (32 - blocks4[i].bits) == 0)
			return blocks4[i].special;
	return false;
}

/* Outside 2000::/3, the global unicast space that IANA gives out, only the prefix for translation
 * to IPv4 (64:ff9b::/96, RFC 6052) reaches anybody: not ::, ::1, 64:ff9b:1::/48 (RFC 8215),
 * 100::/64 (RFC 6666), 5f00::/16 (RFC 9602), fc00::/7 (RFC 4193), fe80::/10 (RFC 4291),
 * ff00::/8. */
static bool special6(const uint8_t address[16])
{
	static const uint8_t translated[12] = {0, 0x64, 0xff, 0x9b};
	uint64_t upper = upper_half(address);
	if (upper >> 61 != 1)
		return memcmp(address, translated, sizeof translated) != 0;
	for (size_t i = 0; i < COUNT_OF(blocks6); i++)
		if ((upper ^ blocks6[i].first) >> (64 - blocks6[i].bits) == 0)
			return blocks6[i].special;
	return false;
}

bool special_address(const uint8_t address[16])
{
	if (!special_is_mapped(address))
		return special6(address);
	return special4(V4(address[12], address[13], address[14], address[15]));
}
