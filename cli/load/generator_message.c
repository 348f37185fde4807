#include "cli/load/generator_message.h"

#include <stdarg.h>
#include <string.h>

/* Tags in the wire format of IpEvent (ingest/udp/ipevent.h). */
#define TAG_SHA        0x0a
#define TAG_IP         0x10
#define TAG_OTHER_TEXT 0x1a /* field 3, length-delimited: unknown to the receiver */
#define TAG_OTHER_INT  0x18 /* field 3, varint */
#define TAG_INVALID    0x0f /* field 1 with wire type 7, which does not exist */
#define SHA_HEX        64u
#define VARINT_MORE    0x80

uint64_t generator_draw(struct generator_random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint32_t put_varint(uint8_t *out, uint64_t value)
{
	uint32_t n = 0;
	for (; value >= VARINT_MORE; value >>= 7)
		out[n++] = (uint8_t)(value | VARINT_MORE);
	out[n++] = (uint8_t)value;
	return n;
}

static uint32_t put_sha(uint8_t *out, const uint8_t sha[32], const char *digits)
{
	out[0] = TAG_SHA;
	out[1] = SHA_HEX;
	for (uint32_t i = 0; i < 32; i++) {
		out[2 + 2 * i] = (uint8_t)digits[sha[i] >> 4];
		out[3 + 2 * i] = (uint8_t)digits[sha[i] & 15];
	}
	return 2 + SHA_HEX;
}

static uint32_t put_ip(uint8_t *out, uint64_t ip)
{
	out[0] = TAG_IP;
	return 1 + put_varint(out + 1, ip);
}

static const char lower[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";

static uint32_t typical(uint8_t *out, const uint8_t sha[32], uint64_t ip)
{
	uint32_t n = put_sha(out, sha, lower);
	return n + put_ip(out + n, ip);
}

uint32_t generator_ipevent(struct generator_random *random, uint8_t *out, const uint8_t sha[32], uint32_t ip)
{
	uint32_t n;
	switch (generator_below(random, 128)) {
	case 0: /* the other order */
		n = put_ip(out, ip);
		return n + put_sha(out + n, sha, lower);
	case 1:
		n = put_sha(out, sha, upper);
		return n + put_ip(out + n, ip);
	case 2: /* an unknown field in between */
		n = put_sha(out, sha, lower);
		out[n++] = TAG_OTHER_TEXT;
		out[n++] = 3;
		memcpy(out + n, (const uint8_t[3]){0xff, 0, 'x'}, 3);
		n += 3;
		return n + put_ip(out + n, ip);
	case 3: /* a repeated field: the last wins */
		n = put_ip(out, ~(uint64_t)ip);
		return n + typical(out + n, sha, ip);
	default:
		return typical(out, sha, ip);
	}
}

uint32_t generator_bad_ipevent(struct generator_random *random, uint8_t *out, const uint8_t sha[32],
                               uint32_t ip, uint8_t *reason)
{
	uint32_t n = typical(out, sha, ip);
	switch (generator_below(random, 10)) {
	case 0: /* cut inside the sha */
		*reason = LEDGER_TRUNCATED;
		return 1 + generator_below(random, SHA_HEX);
	case 1: /* the datagram ends within the ip */
		*reason = LEDGER_TRUNCATED;
		out[n - 1] |= VARINT_MORE;
		return n;
	case 2: /* the sha's length is greater than the datagram */
		*reason = LEDGER_TRUNCATED;
		out[1] = 0x7f;
		return n;
	case 3:
		*reason = LEDGER_MALFORMED;
		out[0] = TAG_INVALID;
		return n;
	case 4: /* field number 0 */
		*reason = LEDGER_MALFORMED;
		out[2 + SHA_HEX] = 0;
		return n;
	case 5:
		*reason = LEDGER_MISSING_FIELD;
		out[0] = TAG_OTHER_TEXT;
		return n;
	case 6:
		*reason = LEDGER_MISSING_FIELD;
		out[2 + SHA_HEX] = TAG_OTHER_INT;
		return n;
	case 7: /* no hexadecimal digit */
		*reason = LEDGER_BAD_SHA;
		out[2 + generator_below(random, SHA_HEX)] =
		        (uint8_t) "gGz@`/: \0\xff"[generator_below(random, 10)];
		return n;
	case 8: /* one digit too few */
		*reason = LEDGER_BAD_SHA;
		out[1] = SHA_HEX - 1;
		memmove(out + 1 + SHA_HEX, out + 2 + SHA_HEX, n - 2 - SHA_HEX);
		return n - 1;
	default: /* above 2^32 - 1, or negative (ten bytes) */
		*reason = LEDGER_IP_OUT_OF_RANGE;
		return typical(out, sha,
		               generator_below(random, 4) == 0 ? -(uint64_t)ip - 1 : (1ull << 32) + ip);
	}
}

static uint32_t print(uint8_t *out, const char *text, ...) __attribute__((format(printf, 2, 3)));

static uint32_t print(uint8_t *out, const char *text, ...)
{
	va_list list;
	va_start(list, text);
	int n = vsnprintf((char *)out, GENERATOR_MESSAGE_MAX, text, list);
	va_end(list);
	return (uint32_t)n;
}

static const char *const metrics[] = {"kite_call", "login",     "vm_start",
                                      "build",     "page_view", "\u00fcbersicht"};
static const char *const types[] = {"app_open", "offr", "purchase", "search", "heartbeat"};
#define PICK(random, list) (list)[generator_below(random, sizeof(list) / sizeof(list)[0])]

static uint32_t metric(struct generator_random *random, uint8_t *out, uint32_t user)
{
	return print(out, "{\"username\":\"user%u\",\"count\":%d,\"metric\":\"%s\"}", user,
	             (int)generator_draw(random), PICK(random, metrics));
}

uint32_t generator_json(struct generator_random *random, uint8_t *out, uint32_t user, uint16_t *type)
{
	*type = EVENT_METRIC;
	if (generator_below(random, 3) != 0)
		return metric(random, out, user);
	*type = EVENT_TRACK_RAW;
	return print(
	        out,
	        "{\"type\":\"%s\",\"ts\":%llu,\"params\":{\"action\":\"preview\",\"text\":\"shoes & %u\"}}",
	        PICK(random, types), 1760000000000ull + generator_below(random, 1000000), user);
}

uint32_t generator_bad_json(struct generator_random *random, uint8_t *out, uint32_t user, uint8_t *reason)
{
	switch (generator_below(random, 7)) {
	case 0:
		*reason = LEDGER_TRUNCATED;
		return 1 + generator_below(random, metric(random, out, user) - 1);
	case 1:
		*reason = LEDGER_MALFORMED;
		return print(out, "{\"username\";\"user%u\"}", user);
	case 2: /* not UTF-8 */
		*reason = LEDGER_MALFORMED;
		return print(out, "{\"username\":\"\xff%u\",\"count\":1,\"metric\":\"login\"}", user);
	case 3:
		*reason = LEDGER_MISSING_FIELD;
		return print(out, "{\"username\":\"user%u\",\"count\":1}", user);
	case 4:
		*reason = LEDGER_MISSING_FIELD;
		return print(out, "{\"username\":\"\",\"count\":%u,\"metric\":\"login\"}", user);
	case 5:
		*reason = LEDGER_WRONG_TYPE;
		return print(out, "{\"username\":\"user%u\",\"count\":\"1\",\"metric\":\"login\"}", user);
	default:
		*reason = LEDGER_UNKNOWN_EVENT;
		return print(out, "{\"hello\":\"user%u\"}", user);
	}
}
