/* The IpEvent parser against protobuf-c on random messages: well formed, with unknown fields, cut,
 * damaged. */
#include "tests/fixture/ipevent_message.h"

#include <unistd.h>

#include "tests/fixture/draw.h"

#define RANDOM_MESSAGES 1200000u

static void put_random_sha(struct message *m)
{
	char text[80];
	size_t bytes = draw_one_in(16) ? draw_below(sizeof text) : 64;
	for (size_t i = 0; i < bytes; i++)
		text[i] = "0123456789abcdefABCDEF"[draw_below(22)];
	if (bytes > 0 && draw_one_in(12))
		text[draw_below((unsigned)bytes)] = (char)draw();
	put_sha(m, text, bytes);
}

/* Now and then ten bytes, with a last one that a number of 64 bits does not need. */
static void put_random_varint(struct message *m, uint64_t value, unsigned least)
{
	put_varint(m, value, draw_one_in(8) ? 10 : least);
	if (draw_one_in(4) && m->bytes >= 10 && m->data[m->bytes - 2] >= 0x80)
		m->data[m->bytes - 1] = (uint8_t)draw_below(draw_one_in(2) ? 4 : 256);
}

static void put_random_ip(struct message *m)
{
	uint64_t ip = draw() >> (draw_one_in(8) ? draw_below(64) : 32 + draw_below(32));
	put_tag(m, 2, 0);
	put_random_varint(m, ip, draw_one_in(8) ? 1 + draw_below(11) : 1);
}

static void put_random_unknown(struct message *m, unsigned depth)
{
	unsigned field =
	        draw_one_in(8) ? draw_below(4) : 3 + (draw_below(UINT32_MAX) >> (3 + draw_below(26)));
	unsigned wire = draw_one_in(40) ? 6 + draw_below(2) : draw_below(6);
	if (wire == 4 && !draw_one_in(20))
		wire = 3;
	put_varint(m, (uint64_t)field << 3 | wire, draw_one_in(16) ? 1 + draw_below(6) : 1);
	uint8_t filler[80];
	for (size_t i = 0; i < sizeof filler; i++)
		filler[i] = (uint8_t)draw();
	unsigned length = draw_below(sizeof filler);
	switch (wire) {
	case 0:
		put_random_varint(m, draw() >> draw_below(64), 1);
		break;
	case 1:
		put_bytes(m, filler, 8);
		break;
	case 2:
		put_varint(m, length, draw_one_in(16) ? 1 + draw_below(6) : 1);
		put_bytes(m, filler, length);
		break;
	case 3:
		for (unsigned n = draw_below(3); n > 0 && depth < 4; n--)
			put_random_unknown(m, depth + 1);
		if (!draw_one_in(30))
			put_tag(m, draw_one_in(30) ? field + 1 : field, 4);
		break;
	case 5:
		put_bytes(m, filler, 4);
		break;
	default:
		break;
	}
}

static void make_random_message(struct message *m)
{
	m->bytes = 0;
	if (!draw_one_in(3)) {
		put_random_sha(m);
		put_random_ip(m);
		return;
	}
	for (unsigned n = draw_below(5); n > 0; n--) {
		switch (draw_below(3)) {
		case 0:
			put_random_sha(m);
			break;
		case 1:
			put_random_ip(m);
			break;
		default:
			put_random_unknown(m, 0);
		}
	}
}

static void damage(struct message *m)
{
	if (m->bytes > 0 && draw_one_in(6))
		m->bytes = draw_below((unsigned)m->bytes);
	if (m->bytes > 0 && draw_one_in(4)) {
		for (unsigned n = 1 + draw_below(3); n > 0; n--)
			m->data[draw_below((unsigned)m->bytes)] ^= (uint8_t)(1u << draw_below(8));
	}
	if (draw_one_in(20))
		put_byte(m, (unsigned)draw() & 0xff);
}

static void random_messages_get_the_verdict_of_protobuf_c(void **state)
{
	(void)state;
	static struct message m;
	unsigned seen[256] = {0};
	for (unsigned i = 0; i < RANDOM_MESSAGES; i++) {
		make_random_message(&m);
		damage(&m);
		struct event_ip event;
		seen[verdict(&m, &event)]++;
	}
	print_message("%u messages: %u valid", RANDOM_MESSAGES, seen[LEDGER_VALID]);
	for (unsigned reason = LEDGER_TRUNCATED; reason <= LEDGER_IP_OUT_OF_RANGE; reason++) {
		print_message(", reason %u: %u", reason, seen[reason]);
		assert_true(seen[reason] > RANDOM_MESSAGES / 100);
	}
	print_message("\n");
	assert_true(seen[LEDGER_VALID] > RANDOM_MESSAGES / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(random_messages_get_the_verdict_of_protobuf_c),
	};
	draw_init(20261121);
	alarm(60);
	return cmocka_run_group_tests(tests, make_pages, NULL);
}
