/* Countries and cities: what records say, in which networks, and which addresses are in no
 * country. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "enrich/geo/special.h"
#include "base/log.h"
#include "tests/fixture/geo.h"

/* Opens what was made; the file may go at once. */
static struct geo *opened(struct mmdb_make *make)
{
	size_t length;
	unsigned char *bytes = mmdb_finish(make, &length);
	geo_write(geo_path, bytes, length);
	free(bytes);
	struct geo *geo = geo_open(geo_path);
	assert_non_null(geo);
	if (!geo_status(geo)->loaded)
		fail_msg("refused: %s", geo_status(geo)->refusal);
	return geo;
}

/* As GeoLite2-City has it, the keys in alphabetical order, names in several languages, things of no
 * interest in between. */
static uint32_t put_city(struct mmdb_make *make, const char *code, const char *city)
{
	uint32_t record = mmdb_map(make, 4);
	mmdb_text(make, "city"), mmdb_map(make, 2);
	mmdb_text(make, "geoname_id"), mmdb_number(make, 6, 2673730);
	mmdb_text(make, "names"), mmdb_map(make, 3);
	mmdb_text(make, "de"), mmdb_text(make, "nicht dies");
	mmdb_text(make, "en"), mmdb_text(make, city);
	mmdb_text(make, "ja"), mmdb_text(make, "\xe5\x88\xa5");
	mmdb_text(make, "country"), mmdb_map(make, 2);
	mmdb_text(make, "is_in_european_union"), mmdb_control(make, 14, 1);
	mmdb_text(make, "iso_code"), mmdb_text(make, code);
	mmdb_text(make, "location"), mmdb_map(make, 1);
	mmdb_text(make, "latitude"), mmdb_double(make, 59.33);
	mmdb_text(make, "registered_country"), mmdb_map(make, 1);
	mmdb_text(make, "iso_code"), mmdb_text(make, "ZZ");
	return record;
}

static uint32_t put_flat(struct mmdb_make *make, const char *key, const char *code)
{
	uint32_t record = mmdb_map(make, 1);
	mmdb_text(make, key), mmdb_text(make, code);
	return record;
}

static uint32_t put_nested(struct mmdb_make *make, const char *key, const char *code)
{
	uint32_t record = mmdb_map(make, 1);
	mmdb_text(make, key);
	put_flat(make, "iso_code", code);
	return record;
}

static void check_layout(unsigned record_bits, unsigned ip_version)
{
	struct mmdb_make make;
	mmdb_init(&make, record_bits, ip_version, "Test-City");
	uint32_t stockholm = put_city(&make, "SE", "Stockholm"), oslo = put_city(&make, "NO", "Oslo");
	uint32_t pointed = mmdb_pointer(&make, oslo);
	uint8_t network[16] = {0x2a, 0x02, 0x01};
	if (ip_version == 6)
		mmdb_add(&make, network, 40, oslo);
	mmdb_add4(&make, 0x51020000, 16, stockholm);
	mmdb_add4(&make, 0x51028000, 18, oslo);
	mmdb_add4(&make, 0xdfffffff, 32, pointed);
	struct geo *geo = opened(&make);
	for (int again = 0; again < 2; again++) { /* from the tree, then from the cache */
		assert_country(geo_at(geo, "81.2.0.0"), "SE");
		assert_city(geo_at(geo, "81.2.0.0"), "Stockholm");
		assert_country(geo_at(geo, "81.2.128.0"), "NO");
		assert_city(geo_at(geo, "81.2.191.255"), "Oslo");
		assert_city(geo_at(geo, "81.2.192.0"), "Stockholm");
		assert_country(geo_at(geo, "81.1.255.255"), "XX");
		assert_city(geo_at(geo, "81.3.0.0"), "XX");
		assert_country(geo_at(geo, "223.255.255.255"), "NO");
		assert_country(geo_at(geo, "223.255.255.254"), "XX");
		assert_country(geo_at(geo, "2a02:100::1"), ip_version == 6 ? "NO" : "XX");
		assert_city(geo_at(geo, "2a02:100:ff:ffff:ffff:ffff:ffff:ffff"),
		            ip_version == 6 ? "Oslo" : "XX");
		assert_country(geo_at(geo, "2a02:101::"), "XX");
	}
	const struct geo_status *status = geo_status(geo);
	assert_string_equal(status->type, "Test-City");
	assert_int_equal(status->build_epoch, 1760000000);
	assert_int_equal(status->records, 3);
	assert_int_equal(status->loads, 1);
	assert_true(status->nodes > 32);
	geo_close(geo);
}

static void records_of_24_28_and_32_bits_with_and_without_ipv6_are_read(void **state)
{
	(void)state;
	for (unsigned bits = 24; bits <= 32; bits += 4) {
		check_layout(bits, 4);
		check_layout(bits, 6);
	}
}

/* 28 bits are told from 24 only by values that need them. */
static void offsets_over_16_million_are_read(void **state)
{
	(void)state;
	for (unsigned bits = 28; bits <= 32; bits += 4) {
		struct mmdb_make make;
		mmdb_init(&make, bits, 6, "Test-Large");
		mmdb_control(&make, 4, 65821 + 0xffffff);
		make.data = mmdb_more(make.data, &make.room, make.used + 65821 + 0xffffff, 1);
		memset(make.data + make.used, 0, 65821 + 0xffffff);
		make.used += 65821 + 0xffffff;
		mmdb_add4(&make, 0x08080000, 16, put_flat(&make, "country_code", "US"));
		mmdb_add4(&make, 0x88080000, 16, put_flat(&make, "country_code", "CA"));
		struct geo *geo = opened(&make);
		assert_country(geo_at(geo, "8.8.8.8"), "US");
		assert_country(geo_at(geo, "136.8.8.8"), "CA");
		geo_close(geo);
	}
}

static void every_usual_form_of_a_record_is_understood(void **state)
{
	(void)state;
	struct mmdb_make make;
	mmdb_init(&make, 24, 6, "Test-Forms");
	mmdb_add4(&make, 0x01000000, 16, put_nested(&make, "country", "SE"));
	mmdb_add4(&make, 0x01010000, 16, put_flat(&make, "country_code", "NO"));
	mmdb_add4(&make, 0x01020000, 16, put_flat(&make, "country", "FI"));
	mmdb_add4(&make, 0x01030000, 16, put_nested(&make, "registered_country", "DK"));
	mmdb_add4(&make, 0x01040000, 16, put_flat(&make, "country_code", "is"));
	mmdb_add4(&make, 0x01050000, 16, put_flat(&make, "country_code", ""));
	mmdb_add4(&make, 0x01060000, 16, put_flat(&make, "country_code", "EST"));
	mmdb_add4(&make, 0x01070000, 16, put_flat(&make, "country_code", "E1"));
	mmdb_add4(&make, 0x01080000, 16, put_flat(&make, "country", "Estonia"));
	uint32_t city = mmdb_map(&make, 3);
	mmdb_text(&make, "city"), mmdb_text(&make, "Z\xc3\xbcrich");
	mmdb_text(&make, "country_code"), mmdb_text(&make, "CH");
	mmdb_text(&make, "postcode"), mmdb_text(&make, "8000");
	mmdb_add4(&make, 0x01090000, 16, city);
	uint32_t strange = mmdb_map(&make, 2);
	mmdb_text(&make, "country"), mmdb_array(&make, 1), mmdb_text(&make, "SE");
	mmdb_text(&make, "country_code"), mmdb_number(&make, 5, 46);
	mmdb_add4(&make, 0x010a0000, 16, strange);
	mmdb_add4(&make, 0x010b0000, 16, mmdb_map(&make, 0));
	struct geo *geo = opened(&make);
	static const char *const expected[] = {"SE", "NO", "FI", "DK", "IS", "XX",
	                                       "XX", "XX", "XX", "CH", "XX", "XX"};
	for (unsigned i = 0; i < sizeof expected / sizeof expected[0]; i++) {
		char text[16];
		snprintf(text, sizeof text, "1.%u.2.3", i);
		assert_country(geo_at(geo, text), expected[i]);
		assert_city(geo_at(geo, text), i == 9 ? "Z\xc3\xbcrich" : "XX");
	}
	geo_close(geo);
}

/* As writers do that keep each text once. */
static void keys_and_values_behind_pointers_are_followed(void **state)
{
	(void)state;
	struct mmdb_make make;
	mmdb_init(&make, 24, 6, "Test-Pointers");
	uint32_t key = mmdb_text(&make, "iso_code"), country = mmdb_text(&make, "country"),
	         code = mmdb_text(&make, "SE");
	uint32_t names = mmdb_map(&make, 1);
	mmdb_pointer(&make, key), mmdb_pointer(&make, code);
	for (unsigned i = 0; i < 700; i++) /* the next pointers need their second form */
		mmdb_number(&make, 6, 0x01020304);
	uint32_t far = mmdb_text(&make, "NO");
	uint32_t near = mmdb_map(&make, 1);
	mmdb_pointer(&make, country), mmdb_pointer(&make, names);
	uint32_t other = mmdb_map(&make, 1);
	mmdb_text(&make, "country_code"), mmdb_pointer(&make, far);
	mmdb_add4(&make, 0x01000000, 9, near);
	mmdb_add4(&make, 0x01800000, 9, other);
	struct geo *geo = opened(&make);
	assert_country(geo_at(geo, "1.0.0.1"), "SE");
	assert_country(geo_at(geo, "1.128.0.1"), "NO");
	geo_close(geo);
}

static void neighbours_in_networks_smaller_than_the_caches_are_told_apart(void **state)
{
	(void)state;
	struct mmdb_make make;
	mmdb_init(&make, 24, 6, "Test-Small");
	uint32_t se = put_flat(&make, "country_code", "SE"), no = put_flat(&make, "country_code", "NO");
	uint8_t network[16] = {0x2a, 0x02, 0, 1, 0, 2};
	for (unsigned i = 0; i < 256; i++)
		mmdb_add4(&make, 0x05050500 + i, 32, i % 3 == 0 ? se : no);
	for (unsigned i = 0; i < 4; i++) {
		network[6] = (uint8_t)(i << 6);
		mmdb_add(&make, network, 50, i % 2 == 0 ? se : no);
	}
	struct geo *geo = opened(&make);
	for (unsigned i = 0; i < 512; i++) {
		char text[64];
		snprintf(text, sizeof text, "5.5.5.%u", i * 77 % 256);
		assert_country(geo_at(geo, text), i * 77 % 256 % 3 == 0 ? "SE" : "NO");
		snprintf(text, sizeof text, "2a02:1:2:%x::%x", (i % 4) << 14, i);
		assert_country(geo_at(geo, text), i % 2 == 0 ? "SE" : "NO");
	}
	geo_close(geo);
}

static void a_long_city_is_cut_between_characters(void **state)
{
	(void)state;
	struct mmdb_make make;
	char name[400] = "";
	mmdb_init(&make, 24, 6, "Test-Long");
	for (unsigned i = 0; i < 100; i++)
		memcpy(name + 3 * i, "\xe6\x9d\xb1", 3);
	mmdb_add4(&make, 0x01000000, 16, put_city(&make, "JP", name));
	mmdb_add4(&make, 0x01010000, 16, put_city(&make, "JP", name + 1)); /* 299 bytes, no text at all */
	memset(name, 'a', 255);
	name[255] = '\0';
	mmdb_add4(&make, 0x01020000, 16, put_city(&make, "JP", name));
	struct geo *geo = opened(&make);
	assert_int_equal(geo_at(geo, "1.0.0.1").city_bytes, 255);
	assert_memory_equal(geo_at(geo, "1.0.0.1").city + 252, "\xe6\x9d\xb1", 3);
	assert_int_equal(geo_at(geo, "1.1.0.1").city_bytes, 254);
	assert_int_equal(geo_at(geo, "1.2.0.1").city_bytes, 255);
	geo_close(geo);
}

/* Each block's first and last address, and its neighbours where they are ordinary. */
static const struct {
	const char *before, *first, *last, *after;
} blocks[] = {
        {NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
        {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
        {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
        {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
        {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
        {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
        {"191.255.255.255", "192.0.0.0", "192.0.0.8", "192.0.0.9"},
        {"192.0.0.10", "192.0.0.11", "192.0.0.255", "192.0.1.0"},
        {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
        {"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
        {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
        {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
        {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
        {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
        {"223.255.255.255", "224.0.0.0", "255.255.255.255", NULL},
        {NULL, "::", "::1", NULL},
        {NULL, "::8.8.8.8", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "64:ff9b::"},
        {"64:ff9b::ffff:ffff", "64:ff9b::1:0:0", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", NULL},
        {NULL, "100::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2000::"},
        {"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:1::1"},
        {NULL, "2001:2::", "2001:2:ffff:ffff:ffff:ffff:ffff:ffff", "2001:3::"},
        {"2001:4:112:ffff:ffff:ffff:ffff:ffff", "2001:4:113::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:20::"},
        {"2001:3f:ffff:ffff:ffff:ffff:ffff:ffff", "2001:40::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:200::"},
        {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:db9::"},
        {"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
         "3fff:1000::"},
        {"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
         NULL},
        {NULL, "fc00::1", "fdff::1", NULL},
        {NULL, "fe80::1", "ff02::1", NULL},
        {"2002:808:808::1", "5f00::", "fec0::", "2620:4f:8000::1"},
};

static bool is_special(const char *text)
{
	uint8_t address[16];
	geo_address(address, text);
	return special_address(address);
}

static void special_blocks_begin_and_end_where_the_registries_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
		if (!is_special(blocks[i].first) || !is_special(blocks[i].last))
			fail_msg("%s or %s is not special", blocks[i].first, blocks[i].last);
		if (blocks[i].before != NULL && is_special(blocks[i].before))
			fail_msg("%s is special", blocks[i].before);
		if (blocks[i].after != NULL && is_special(blocks[i].after))
			fail_msg("%s is special", blocks[i].after);
	}
}

static void special_addresses_are_in_no_country_whatever_the_database_says(void **state)
{
	(void)state;
	struct mmdb_make make;
	uint8_t all[16] = {0};
	mmdb_init(&make, 24, 6, "Test-Everything");
	uint32_t record = put_city(&make, "SE", "Everywhere");
	mmdb_add(&make, all, 1, record);
	all[0] = 0x80;
	mmdb_add(&make, all, 1, record);
	struct geo *geo = opened(&make);
	for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
		assert_country(geo_at(geo, blocks[i].first), "XX");
		assert_city(geo_at(geo, blocks[i].last), "XX");
		if (blocks[i].after != NULL)
			assert_country(geo_at(geo, blocks[i].after), "SE");
		if (blocks[i].before != NULL)
			assert_city(geo_at(geo, blocks[i].before), "Everywhere");
	}
	geo_close(geo);
}

static void without_a_database_every_address_is_unknown(void **state)
{
	(void)state;
	struct geo *geo = geo_open(NULL);
	assert_non_null(geo);
	assert_country(geo_at(geo, "8.8.8.8"), "XX");
	assert_city(geo_at(geo, "2a02::1"), "XX");
	assert_false(geo_check(geo, 1));
	assert_false(geo_status(geo)->loaded);
	geo_close(geo);
}

int main(void)
{
	alarm(120);
	log_init("geo_test", LOG_ERROR, LOG_TEXT); /* refusals are what these tests are about */
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(records_of_24_28_and_32_bits_with_and_without_ipv6_are_read),
	        cmocka_unit_test(offsets_over_16_million_are_read),
	        cmocka_unit_test(every_usual_form_of_a_record_is_understood),
	        cmocka_unit_test(keys_and_values_behind_pointers_are_followed),
	        cmocka_unit_test(neighbours_in_networks_smaller_than_the_caches_are_told_apart),
	        cmocka_unit_test(a_long_city_is_cut_between_characters),
	        cmocka_unit_test(special_blocks_begin_and_end_where_the_registries_say),
	        cmocka_unit_test(special_addresses_are_in_no_country_whatever_the_database_says),
	        cmocka_unit_test(without_a_database_every_address_is_unknown),
	};
	return cmocka_run_group_tests(tests, geo_folder_make, geo_folder_remove);
}
