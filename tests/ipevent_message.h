/* IpEvent messages for the tests, and the parser's verdict on them, which the oracle must share. */
#ifndef TESTS_IPEVENT_MESSAGE_H
#define TESTS_IPEVENT_MESSAGE_H

#include "ingest/udp/ipevent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>

#include "tests/fuzz/ipevent_oracle.h"
#include "tests/page_end.h"

#define ROOM 4096u

static uint8_t *page_end;

static int make_pages(void **state)
{
	(void)state;
	page_end = page_end_make(ROOM);
	return page_end ? 0 : -1;
}

/* A message in the making. */
struct message {
	uint8_t data[ROOM];
	size_t bytes;
};

static inline void put_byte(struct message *m, unsigned byte)
{
	assert_true(m->bytes < ROOM);
	m->data[m->bytes++] = (uint8_t)byte;
}

static inline void put_bytes(struct message *m, const void *data, size_t bytes)
{
	assert_true(m->bytes + bytes <= ROOM);
	memcpy(m->data + m->bytes, data, bytes);
	m->bytes += bytes;
}

/* A varint in at least `least` bytes; up to 10 of them say the same. */
static inline void put_varint(struct message *m, uint64_t value, unsigned least)
{
	unsigned n = 1;
	for (; value > 0x7f || n < least; value >>= 7, n++)
		put_byte(m, (unsigned)(value & 0x7f) | 0x80);
	put_byte(m, (unsigned)value);
}

static inline void put_tag(struct message *m, unsigned field, unsigned wire)
{
	put_varint(m, (uint64_t)field << 3 | wire, 1);
}

static inline void put_sha(struct message *m, const char *text, size_t bytes)
{
	put_tag(m, 1, 2);
	put_varint(m, bytes, 1);
	put_bytes(m, text, bytes);
}

static inline void put_ip(struct message *m, uint64_t ip)
{
	put_tag(m, 2, 0);
	put_varint(m, ip, 1);
}

/* Parses with the last byte in front of the forbidden page. */
static inline enum ledger_reason parse_at_page_end(const uint8_t *data, size_t bytes, struct event_ip *event)
{
	memcpy(page_end - bytes, data, bytes);
	return ipevent_parse(page_end - bytes, bytes, event);
}

/* The parser's verdict, after the oracle agreed. */
static inline enum ledger_reason verdict(const struct message *m, struct event_ip *event)
{
	struct event_ip expected;
	memset(event, 0xa5, sizeof *event);
	memset(&expected, 0xa5, sizeof expected);
	enum ledger_reason reason = parse_at_page_end(m->data, m->bytes, event);
	enum ledger_reason wanted = ipevent_oracle(m->data, m->bytes, &expected);
	bool same = reason == wanted &&
	            (reason != LEDGER_VALID || memcmp(event, &expected, sizeof expected) == 0);
	if (!same) {
		fprintf(stderr, "parser %u, oracle %u, message", reason, wanted);
		for (size_t i = 0; i < m->bytes; i++)
			fprintf(stderr, " %02x", m->data[i]);
		fprintf(stderr, "\n");
	}
	assert_true(same);
	return reason;
}

#endif
