#include "tests/fuzz/ipevent_oracle.h"

#include <ctype.h>
#include <ipevent.pb-c.h> /* generated from ipevent.proto */
#include <stdio.h>
#include <stdlib.h>

#define TRUNCATED   (-1l)
#define MALFORMED   (-2l)
#define UNNOTICED   (-3l) /* malformed, and protobuf-c may not notice */
#define GROUPS_MAX  100
#define PREFIX_SIZE 4u

/* Each of these returns the bytes taken from the front, or one of the above. */

static long varint_bytes(const uint8_t *data, size_t bytes, long most, uint64_t *value)
{
	*value = 0;
	for (long i = 0; i < most; i++) {
		if ((size_t)i == bytes)
			return TRUNCATED;
		if (i == 9 && data[i] >= 2 && data[i] < 128)
			return UNNOTICED;
		*value += (uint64_t)(data[i] % 128) << (7 * i);
		if (data[i] < 128)
			return i + 1;
	}
	return MALFORMED;
}

static long tag_bytes(const uint8_t *data, size_t bytes, uint64_t *field, unsigned *wire)
{
	uint64_t tag;
	long taken = varint_bytes(data, bytes, 5, &tag);
	if (taken < 0)
		return taken;
	*field = tag / 8;
	*wire = tag % 8;
	return *field == 0 || *field >= 1u << 29 ? UNNOTICED : taken;
}

static long fixed_bytes(size_t bytes, size_t wanted)
{
	return bytes < wanted ? TRUNCATED : (long)wanted;
}

static long value_bytes(const uint8_t *data, size_t bytes, uint64_t field, unsigned wire, int groups);

static long group_bytes(const uint8_t *data, size_t bytes, uint64_t group, int groups)
{
	size_t at = 0;
	if (groups > GROUPS_MAX)
		return MALFORMED;
	while (at < bytes) {
		uint64_t field;
		unsigned wire;
		long taken = tag_bytes(data + at, bytes - at, &field, &wire);
		if (taken < 0)
			return taken;
		at += (size_t)taken;
		if (wire == 4)
			return field == group ? (long)at : MALFORMED;
		taken = value_bytes(data + at, bytes - at, field, wire, groups);
		if (taken < 0)
			return taken;
		at += (size_t)taken;
	}
	return TRUNCATED;
}

static long value_bytes(const uint8_t *data, size_t bytes, uint64_t field, unsigned wire, int groups)
{
	uint64_t value;
	long taken, rest;
	switch (wire) {
	case 0:
		return varint_bytes(data, bytes, 10, &value);
	case 1:
		return fixed_bytes(bytes, 8);
	case 2:
		taken = varint_bytes(data, bytes, 5, &value);
		if (taken < 0)
			return taken;
		if (value > INT32_MAX)
			return MALFORMED;
		rest = fixed_bytes(bytes - (size_t)taken, value);
		return rest < 0 ? rest : taken + rest;
	case 3:
		return group_bytes(data, bytes, field, groups + 1);
	case 5:
		return fixed_bytes(bytes, 4);
	default:
		return MALFORMED;
	}
}

static bool protobuf_c_reads_it(uint64_t field, unsigned wire)
{
	return wire != 3 && !(field == 1 && wire != 2) && !(field == 2 && wire != 0);
}

/* Returns LEDGER_VALID, _TRUNCATED or _MALFORMED, and in out (at least bytes + 1 large) what
 * protobuf-c gets to see. */
static enum ledger_reason adapt(const uint8_t *data, size_t bytes, uint8_t *out, size_t *out_bytes)
{
	size_t at = 0, to = 0;
	long taken = 0;
	while (at < bytes) {
		uint64_t field;
		unsigned wire;
		long tag = taken = tag_bytes(data + at, bytes - at, &field, &wire);
		if (taken > 0)
			taken = value_bytes(data + at + tag, bytes - at - (size_t)tag, field, wire, 0);
		if (taken < 0)
			break;
		size_t whole = (size_t)(tag + taken);
		if (protobuf_c_reads_it(field, wire)) {
			memcpy(out + to, data + at, whole);
			to += whole;
		}
		at += whole;
	}
	if (taken == UNNOTICED) {
		out[to++] = 0;
	} else {
		memcpy(out + to, data + at, bytes - at);
		to += bytes - at;
	}
	*out_bytes = to;
	return taken == TRUNCATED ? LEDGER_TRUNCATED : taken < 0 ? LEDGER_MALFORMED : LEDGER_VALID;
}

/* With both fields in front, what protobuf-c refuses can only be the structure. */
static bool structure_is_right(const uint8_t *data, size_t bytes)
{
	static uint8_t whole[PREFIX_SIZE + IPEVENT_ORACLE_MAX + 1] = {0x0a, 0, 0x10, 0};
	memcpy(whole + PREFIX_SIZE, data, bytes);
	IpEventBytes *message = ip_event_bytes__unpack(NULL, PREFIX_SIZE + bytes, whole);
	if (!message)
		return false;
	ip_event_bytes__free_unpacked(message, NULL);
	return true;
}

static unsigned hex_value(uint8_t c)
{
	return isdigit(c) ? (unsigned)c - '0' : (unsigned)tolower(c) - 'a' + 10;
}

static enum ledger_reason judge(const IpEventBytes *message, struct event_ip *event)
{
	const ProtobufCBinaryData *sha = &message->app_sha256;
	if (sha->len != 64)
		return LEDGER_BAD_SHA;
	for (size_t i = 0; i < 64; i++) {
		if (!isxdigit(sha->data[i]))
			return LEDGER_BAD_SHA;
	}
	for (size_t i = 0; i < 32; i++)
		event->sha[i] = (uint8_t)(16 * hex_value(sha->data[2 * i]) + hex_value(sha->data[2 * i + 1]));
	if (message->ip < 0 || message->ip > (int64_t)UINT32_MAX)
		return LEDGER_IP_OUT_OF_RANGE;
	event->ip = (uint32_t)message->ip;
	return LEDGER_VALID;
}

enum ledger_reason ipevent_oracle(const uint8_t *data, size_t bytes, struct event_ip *event)
{
	static uint8_t adapted[IPEVENT_ORACLE_MAX + 1];
	size_t adapted_bytes;
	if (bytes > IPEVENT_ORACLE_MAX)
		abort();
	enum ledger_reason structure = adapt(data, bytes, adapted, &adapted_bytes);
	IpEventBytes *message = ip_event_bytes__unpack(NULL, adapted_bytes, adapted);
	bool right = message || structure_is_right(adapted, adapted_bytes);
	if (right != (structure == LEDGER_VALID)) {
		fprintf(stderr, "the oracle contradicts itself: protobuf-c says %s, adapt says %u\n",
		        right ? "right" : "wrong", structure);
		abort();
	}
	if (!message)
		return right ? LEDGER_MISSING_FIELD : structure;
	enum ledger_reason reason = judge(message, event);
	ip_event_bytes__free_unpacked(message, NULL);
	return reason;
}
