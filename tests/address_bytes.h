/* Addresses as the HTTP stage keeps them, from text. */
#ifndef TESTS_ADDRESS_BYTES_H
#define TESTS_ADDRESS_BYTES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <string.h>

/* The 16 bytes of an address; an IPv4 one becomes mapped. Good for the next three calls. */
static inline const uint8_t *address_of(const char *text)
{
	static uint8_t address[4][16];
	static unsigned turn;
	uint8_t *made = address[turn++ % 4];
	memset(made, 0, 16);
	if (strchr(text, ':') != NULL) {
		assert_int_equal(inet_pton(AF_INET6, text, made), 1);
	} else {
		made[10] = made[11] = 0xff;
		assert_int_equal(inet_pton(AF_INET, text, made + 12), 1);
	}
	return made;
}

#endif
