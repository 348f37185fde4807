#include "base/text.h"

#include <arpa/inet.h>

#include "base/hex.h"

void text_unsigned(struct text *text, uint64_t number)
{
	char digits[20];
	size_t n = 0;
	do {
		digits[sizeof digits - ++n] = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	text_put(text, digits + sizeof digits - n, n);
}

void text_signed(struct text *text, uint64_t number)
{
	if ((int64_t)number < 0) {
		text_literal(text, "-");
		number = -number;
	}
	text_unsigned(text, number);
}

void text_hex(struct text *text, const unsigned char *bytes, size_t length)
{
	if (!text_room(text, 2 * length))
		return;
	for (size_t i = 0; i < length; i++) {
		*text->at++ = hex_lower(bytes[i] >> 4);
		*text->at++ = hex_lower(bytes[i]);
	}
}

void text_ipv4(struct text *text, uint32_t ip)
{
	for (int shift = 24; shift >= 0; shift -= 8) {
		text_unsigned(text, ip >> shift & 255);
		if (shift > 0)
			text_literal(text, ".");
	}
}

void text_address(struct text *text, const uint8_t *address)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	if (memcmp(address, mapped, sizeof mapped) == 0) {
		text_ipv4(text, (uint32_t)address[12] << 24 | (uint32_t)address[13] << 16 |
		                        (uint32_t)address[14] << 8 | address[15]);
		return;
	}
	char form[INET6_ADDRSTRLEN];
	inet_ntop(AF_INET6, address, form, sizeof form);
	text_put(text, form, strlen(form));
}

size_t text_sequence(const unsigned char *bytes, size_t left)
{
	unsigned char first = bytes[0], low = 0x80, high = 0xbf;
	size_t length;
	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	if (first < 0xe0)
		length = 2;
	else if (first < 0xf0)
		length = 3;
	else
		length = 4;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	if (left < length || bytes[1] < low || bytes[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

/* The code point of a well-formed sequence of 2 or 3 bytes. */
static unsigned code_of(const unsigned char *bytes, size_t sequence)
{
	if (sequence == 2)
		return (bytes[0] & 0x1fu) << 6 | (bytes[1] & 0x3fu);
	return (bytes[0] & 0x0fu) << 12 | (bytes[1] & 0x3fu) << 6 | (bytes[2] & 0x3fu);
}

size_t text_control(const unsigned char *bytes, size_t left)
{
	if (bytes[0] < 0x80)
		return bytes[0] < 0x20 || bytes[0] == 0x7f;
	size_t sequence = text_sequence(bytes, left);
	if (sequence != 2 && sequence != 3)
		return 0;
	unsigned code = code_of(bytes, sequence);
	bool control = code < 0xa0 || code == 0x061c || code == 0x200e || code == 0x200f ||
	               (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
	return control ? sequence : 0;
}

static bool is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

static void put_unit(struct text *text, unsigned code)
{
	unsigned char bytes[2] = {(unsigned char)(code >> 8), (unsigned char)code};
	text_literal(text, "\\u");
	text_hex(text, bytes, sizeof bytes);
}

/* A control of one byte, or a byte that is no UTF-8. */
static void put_escape(struct text *text, unsigned char byte)
{
	static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
	const char *known = byte == 0 ? NULL : strchr(from, byte);
	if (known != NULL) {
		char pair[2] = {'\\', to[known - from]};
		text_put(text, pair, sizeof pair);
		return;
	}
	put_unit(text, byte);
}

/* The character at bytes, which is not plain, inside a JSON string. Returns its length. */
static size_t put_character(struct text *text, const unsigned char *bytes, size_t left)
{
	size_t sequence = bytes[0] < 0x80 ? 0 : text_sequence(bytes, left);
	if (sequence == 0) {
		put_escape(text, bytes[0]);
		return 1;
	}
	if (text_control(bytes, left) != 0)
		put_unit(text, code_of(bytes, sequence));
	else
		text_put(text, bytes, sequence);
	return sequence;
}

void text_string(struct text *text, const unsigned char *bytes, size_t length)
{
	text_literal(text, "\"");
	for (size_t i = 0; i < length && !text->full;) {
		size_t run = i;
		while (run < length && is_plain(bytes[run]))
			run++;
		text_put(text, bytes + i, run - i);
		i = run;
		if (i < length)
			i += put_character(text, bytes + i, length - i);
	}
	text_literal(text, "\"");
}

void text_json(struct text *text, const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length && !text->full;) {
		size_t run = i;
		while (run < length && bytes[run] < 0x7f)
			run++;
		text_put(text, bytes + i, run - i);
		i = run;
		if (i < length)
			i += put_character(text, bytes + i, length - i);
	}
}

void text_plain(struct text *text, const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length && !text->full;) {
		size_t sequence = text_sequence(bytes + i, length - i);
		bool control = sequence == 0 || text_control(bytes + i, length - i) != 0;
		unsigned code = sequence < 2 ? bytes[i] : control ? code_of(bytes + i, sequence) : 0;
		sequence = sequence == 0 ? 1 : sequence;
		if (!control) {
			text_put(text, bytes + i, sequence);
		} else if (code > 0xff) {
			put_unit(text, code);
		} else {
			text_literal(text, "\\x");
			text_hex(text, &(unsigned char){(unsigned char)code}, 1);
		}
		i += sequence;
	}
}

bool text_valid(const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length;) {
		size_t sequence = bytes[i] == 0 ? 0 : text_sequence(bytes + i, length - i);
		if (sequence == 0)
			return false;
		i += sequence;
	}
	return true;
}

bool text_ends_with(const char *text, const char *end)
{
	size_t bytes = strlen(text), n = strlen(end);
	return bytes > n && strcmp(text + bytes - n, end) == 0;
}
