/* The guard's verdicts, address by address, and its lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "deliver/guard.h"
#include "tests/fixture/config.h"

static struct shm_error error;

static struct guard *guard_of(const char *text)
{
	struct guard *guard = NULL;
	struct config *config = load(text, "");
	if (guard_open(&guard, config, &error) != 0)
		fail_msg("%s", error.text);
	config_free(config);
	return guard;
}

static void parse(uint8_t address[16], const char *text)
{
	memset(address, 0, 10);
	address[10] = address[11] = 0xff;
	assert_true(inet_pton(AF_INET, text, address + 12) == 1 || inet_pton(AF_INET6, text, address) == 1);
}

static enum guard_verdict ask(const struct guard *guard, const char *text, uint16_t port, bool by_name)
{
	uint8_t address[16];
	parse(address, text);
	return guard_address(guard, address, port, by_name);
}

static void assert_verdict(const struct guard *guard, const char *text, uint16_t port,
                           enum guard_verdict expected)
{
	enum guard_verdict verdict = ask(guard, text, port, false);
	if (verdict != expected)
		fail_msg("%s port %u: \"%s\", not \"%s\"", text, port, guard_verdict_text(verdict),
		         guard_verdict_text(expected));
}

/* ---- the built-in list ---- */

struct judged {
	const char *text;
	enum guard_verdict verdict;
};

/* First and last of each network, and the neighbours that are none of it. */
static const struct judged v4[] = {
        {"0.0.0.0", GUARD_UNSPECIFIED},
        {"0.255.255.255", GUARD_UNSPECIFIED},
        {"1.0.0.0", GUARD_PASSES},
        {"9.255.255.255", GUARD_PASSES},
        {"10.0.0.0", GUARD_PRIVATE},
        {"10.255.255.255", GUARD_PRIVATE},
        {"11.0.0.0", GUARD_PASSES},
        {"100.63.255.255", GUARD_PASSES},
        {"100.64.0.0", GUARD_SHARED},
        {"100.100.100.200", GUARD_METADATA},
        {"100.127.255.255", GUARD_SHARED},
        {"100.128.0.0", GUARD_PASSES},
        {"126.255.255.255", GUARD_PASSES},
        {"127.0.0.0", GUARD_LOOPBACK},
        {"127.0.0.1", GUARD_LOOPBACK},
        {"127.255.255.255", GUARD_LOOPBACK},
        {"128.0.0.0", GUARD_PASSES},
        {"168.63.129.15", GUARD_PASSES},
        {"168.63.129.16", GUARD_METADATA},
        {"169.253.255.255", GUARD_PASSES},
        {"169.254.0.0", GUARD_LINK_LOCAL},
        {"169.254.169.254", GUARD_METADATA},
        {"169.254.170.2", GUARD_METADATA},
        {"169.254.170.23", GUARD_METADATA},
        {"169.254.255.255", GUARD_LINK_LOCAL},
        {"169.255.0.0", GUARD_PASSES},
        {"172.15.255.255", GUARD_PASSES},
        {"172.16.0.0", GUARD_PRIVATE},
        {"172.31.255.255", GUARD_PRIVATE},
        {"172.32.0.0", GUARD_PASSES},
        {"191.255.255.255", GUARD_PASSES},
        {"192.0.0.0", GUARD_RESERVED},
        {"192.0.0.192", GUARD_METADATA},
        {"192.0.0.255", GUARD_RESERVED},
        {"192.0.1.0", GUARD_PASSES},
        {"192.0.2.0", GUARD_DOCUMENTATION},
        {"192.0.2.255", GUARD_DOCUMENTATION},
        {"192.0.3.0", GUARD_PASSES},
        {"192.88.98.255", GUARD_PASSES},
        {"192.88.99.0", GUARD_RESERVED},
        {"192.88.99.255", GUARD_RESERVED},
        {"192.88.100.0", GUARD_PASSES},
        {"192.167.255.255", GUARD_PASSES},
        {"192.168.0.0", GUARD_PRIVATE},
        {"192.168.255.255", GUARD_PRIVATE},
        {"192.169.0.0", GUARD_PASSES},
        {"198.17.255.255", GUARD_PASSES},
        {"198.18.0.0", GUARD_RESERVED},
        {"198.19.255.255", GUARD_RESERVED},
        {"198.20.0.0", GUARD_PASSES},
        {"198.51.99.255", GUARD_PASSES},
        {"198.51.100.0", GUARD_DOCUMENTATION},
        {"198.51.100.255", GUARD_DOCUMENTATION},
        {"198.51.101.0", GUARD_PASSES},
        {"203.0.112.255", GUARD_PASSES},
        {"203.0.113.0", GUARD_DOCUMENTATION},
        {"203.0.113.255", GUARD_DOCUMENTATION},
        {"203.0.114.0", GUARD_PASSES},
        {"223.255.255.255", GUARD_PASSES},
        {"224.0.0.0", GUARD_MULTICAST},
        {"239.255.255.255", GUARD_MULTICAST},
        {"240.0.0.0", GUARD_RESERVED},
        {"255.255.255.254", GUARD_RESERVED},
        {"255.255.255.255", GUARD_RESERVED},
        {"8.8.8.8", GUARD_PASSES},
};

static const struct judged v6[] = {
        {"::", GUARD_UNSPECIFIED},
        {"::1", GUARD_LOOPBACK},
        {"100::", GUARD_RESERVED},
        {"100:0:0:1::", GUARD_RESERVED},
        {"1fff:ffff::", GUARD_RESERVED},
        {"2000::", GUARD_PASSES},
        {"2001::", GUARD_UNSPECIFIED}, /* Teredo with server 0.0.0.0 */
        {"2001:1::1", GUARD_RESERVED},
        {"2001:2::", GUARD_RESERVED},
        {"2001:10::", GUARD_RESERVED},
        {"2001:20::", GUARD_RESERVED},
        {"2001:1ff:ffff::", GUARD_RESERVED},
        {"2001:200::", GUARD_PASSES},
        {"2001:db7:ffff::", GUARD_PASSES},
        {"2001:db8::", GUARD_DOCUMENTATION},
        {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", GUARD_DOCUMENTATION},
        {"2001:db9::", GUARD_PASSES},
        {"2606:4700:4700::1111", GUARD_PASSES},
        {"3ffe:ffff::", GUARD_PASSES},
        {"3fff::", GUARD_DOCUMENTATION},
        {"3fff:fff:ffff::", GUARD_DOCUMENTATION},
        {"3fff:1000::", GUARD_PASSES},
        {"4000::", GUARD_RESERVED},
        {"5f00::1", GUARD_RESERVED},
        {"fbff:ffff::", GUARD_RESERVED},
        {"fc00::", GUARD_PRIVATE},
        {"fd00:ec2::254", GUARD_METADATA},
        {"fd20:ce::254", GUARD_METADATA},
        {"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", GUARD_PRIVATE},
        {"fe00::", GUARD_RESERVED},
        {"fe80::1", GUARD_LINK_LOCAL},
        {"febf:ffff::", GUARD_LINK_LOCAL},
        {"fec0::", GUARD_PRIVATE},
        {"feff:ffff::", GUARD_PRIVATE},
        {"ff00::", GUARD_MULTICAST},
        {"ff02::1", GUARD_MULTICAST},
        {"ff0e::1", GUARD_MULTICAST},
        {"64:ff9a:ffff::", GUARD_RESERVED},
        {"64:ff9b:0:0:0:1::", GUARD_RESERVED},
        {"64:ff9b:1::", GUARD_RESERVED},
        {"64:ff9b:2::", GUARD_RESERVED},
};

static void ipv4_addresses_are_judged_by_their_network(void **state)
{
	(void)state;
	struct guard *guard = guard_of("ingest: {}\n");
	assert_int_equal(guard_own(guard, NULL, 0), 0);
	for (size_t i = 0; i < sizeof v4 / sizeof v4[0]; i++)
		assert_verdict(guard, v4[i].text, 80, v4[i].verdict);
	guard_close(guard);
}

static void ipv6_addresses_are_judged_by_their_network(void **state)
{
	(void)state;
	struct guard *guard = guard_of("ingest: {}\n");
	assert_int_equal(guard_own(guard, NULL, 0), 0);
	for (size_t i = 0; i < sizeof v6 / sizeof v6[0]; i++)
		assert_verdict(guard, v6[i].text, 80, v6[i].verdict);
	guard_close(guard);
}

/* ---- IPv4 addresses inside IPv6 ones ---- */

/* %1$02x to %4$02x: the bytes; %5$ to %8$: the bytes inverted. outer: what the form is with a
 * public address inside. */
static const struct {
	const char *format;
	enum guard_verdict outer;
} form[] = {
        {"::ffff:%1$02x%2$02x:%3$02x%4$02x", GUARD_PASSES},
        {"::ffff:0:%1$02x%2$02x:%3$02x%4$02x", GUARD_RESERVED},
        {"::%1$02x%2$02x:%3$02x%4$02x", GUARD_RESERVED},
        {"64:ff9b::%1$02x%2$02x:%3$02x%4$02x", GUARD_PASSES},
        {"64:ff9b:1::%1$02x%2$02x:%3$02x%4$02x", GUARD_RESERVED},
        {"64:ff9b:1:abcd:0:1234:%1$02x%2$02x:%3$02x%4$02x", GUARD_RESERVED},
        {"64:ff9b:1:%1$02x%2$02x:%3$02x:%4$02x00::", GUARD_RESERVED},
        {"64:ff9b:1:ab%1$02x:%2$02x:%3$02x%4$02x::", GUARD_RESERVED},
        {"64:ff9b:1:abcd:%1$02x:%2$02x%3$02x:%4$02x00:0", GUARD_RESERVED},
        {"2002:%1$02x%2$02x:%3$02x%4$02x::", GUARD_PASSES},
        {"2002:%1$02x%2$02x:%3$02x%4$02x:1:2:3:4:5", GUARD_PASSES},
        {"2001:0:%1$02x%2$02x:%3$02x%4$02x:8000:1234:f7f7:f7f7", GUARD_RESERVED},
        {"2001:0:0808:0808:8000:1234:%5$02x%6$02x:%7$02x%8$02x", GUARD_RESERVED},
        {"2606:4700::5efe:%1$02x%2$02x:%3$02x%4$02x", GUARD_PASSES},
        {"2606:4700:1:2:200:5efe:%1$02x%2$02x:%3$02x%4$02x", GUARD_PASSES},
        {"fe80::5efe:%1$02x%2$02x:%3$02x%4$02x", GUARD_LINK_LOCAL},
};
#define FORMS (sizeof form / sizeof form[0])

static void embed(char *text, size_t size, size_t i, const char *inner)
{
	uint8_t b[4];
	assert_int_equal(inet_pton(AF_INET, inner, b), 1);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(text, size, form[i].format, b[0], b[1], b[2], b[3], b[0] ^ 0xff, b[1] ^ 0xff, b[2] ^ 0xff,
	         b[3] ^ 0xff);
#pragma GCC diagnostic pop
}

static void every_ipv4_address_is_judged_the_same_inside_every_ipv6_form(void **state)
{
	(void)state;
	struct guard *guard = guard_of("ingest: {}\n");
	assert_int_equal(guard_own(guard, NULL, 0), 0);
	for (size_t f = 0; f < FORMS; f++)
		for (size_t i = 0; i < sizeof v4 / sizeof v4[0]; i++) {
			char text[INET6_ADDRSTRLEN];
			embed(text, sizeof text, f, v4[i].text);
			enum guard_verdict verdict = ask(guard, text, 80, false);
			if (v4[i].verdict == GUARD_PASSES
			            ? form[f].outer == GUARD_PASSES && verdict != GUARD_PASSES
			            : verdict == GUARD_PASSES)
				fail_msg("%s (%s): \"%s\"", text, v4[i].text, guard_verdict_text(verdict));
		}
	guard_close(guard);
}

static void the_reason_is_that_of_the_address_inside(void **state)
{
	(void)state;
	struct guard *guard = guard_of("ingest: {}\n");
	assert_int_equal(guard_own(guard, NULL, 0), 0);
	for (size_t f = 0; f < FORMS; f++) {
		char text[INET6_ADDRSTRLEN];
		embed(text, sizeof text, f, "127.0.0.1");
		enum guard_verdict verdict = ask(guard, text, 80, false);
		/* a short NAT64 prefix has readings that find other forbidden addresses first */
		if (form[f].outer != GUARD_LINK_LOCAL && strncmp(text, "64:ff9b:1:", 10) != 0)
			assert_int_equal(verdict, GUARD_LOOPBACK);
	}
	guard_close(guard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(ipv4_addresses_are_judged_by_their_network),
	        cmocka_unit_test(ipv6_addresses_are_judged_by_their_network),
	        cmocka_unit_test(every_ipv4_address_is_judged_the_same_inside_every_ipv6_form),
	        cmocka_unit_test(the_reason_is_that_of_the_address_inside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
