/* The PROXY protocol (haproxy.org, doc/proxy-protocol.txt, 2020/03/05).
 *
 *     version 1:  PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 CRLF        at most 107 bytes; UNKNOWN names no address
 *
 *     version 2:  signature 12 | version, command 1 | family, transport 1 | length 2 | addresses | TLVs ...
 *                              |                                                     |<----- length ----->|
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "ingest/http/client.h"

/* Whether data begins as it must, as far as it goes. */
static bool begins(const char *data, size_t bytes, const char *with, size_t with_bytes)
{
	return memcmp(data, with, bytes < with_bytes ? bytes : with_bytes) == 0;
}

/* ---- version 1 ---- */

#define V1_BYTES_MAX 107u

static const char v1_begin[] = "PROXY ";
#define V1_BEGIN_BYTES (sizeof v1_begin - 1)

/* Cuts the line at the next space: *text becomes the next word, ended by 0, *line what follows.
 * False when there is none. */
static bool next_word(char **line, char **text)
{
	*text = *line;
	if (*text == NULL || **text == '\0')
		return false;
	char *space = strchr(*line, ' ');
	if (space != NULL)
		*space = '\0';
	*line = space == NULL ? NULL : space + 1;
	return **text != '\0';
}

static bool word_is_port(const char *word, uint16_t *port)
{
	size_t n = strspn(word, "0123456789");
	unsigned number = 0;
	if (n == 0 || n > 5 || word[n] != '\0' || (word[0] == '0' && n > 1))
		return false;
	for (size_t i = 0; i < n; i++)
		number = number * 10 + (unsigned)(word[i] - '0');
	*port = (uint16_t)number;
	return number <= UINT16_MAX;
}

/* An IPv4 address becomes a mapped one. */
static bool word_is_address(const char *word, bool v4, uint8_t address[16])
{
	memset(address, 0, 16);
	if (v4)
		address[10] = address[11] = 0xff;
	return inet_pton(v4 ? AF_INET : AF_INET6, word, v4 ? address + 12 : address) == 1;
}

/* The text between "PROXY " and CRLF, ended by 0. */
static bool parse_line(char *line, uint8_t address[16], uint16_t *port)
{
	char *protocol, *source, *destination, *source_port, *destination_port;
	uint8_t from[16], to[16];
	uint16_t from_port, to_port;
	if (!next_word(&line, &protocol))
		return false;
	if (strcmp(protocol, "UNKNOWN") == 0)
		return true; /* the rest is not looked at */
	bool v4 = strcmp(protocol, "TCP4") == 0;
	if ((!v4 && strcmp(protocol, "TCP6") != 0) || !next_word(&line, &source) ||
	    !next_word(&line, &destination) || !next_word(&line, &source_port) ||
	    !next_word(&line, &destination_port) || line != NULL)
		return false;
	if (!word_is_address(source, v4, from) || !word_is_address(destination, v4, to) ||
	    !word_is_port(source_port, &from_port) || !word_is_port(destination_port, &to_port))
		return false;
	memcpy(address, from, sizeof from);
	*port = from_port;
	return true;
}

static enum proxy_result parse_v1(const char *data, size_t bytes, size_t *used, uint8_t address[16],
                                  uint16_t *port)
{
	char line[V1_BYTES_MAX];
	size_t look = bytes < V1_BYTES_MAX ? bytes : V1_BYTES_MAX;
	const char *feed = memchr(data, '\n', look);
	const char *end = feed == NULL ? data + look : feed - 1; /* data[0] is 'P' */
	size_t length = (size_t)(end - data);
	const char *end_of_line = memchr(data, '\r', look);
	/* A line feed without carriage return, a carriage return in the line; one at the end of
	 * what is there may get its line feed. */
	if (feed != NULL ? end_of_line != end : end_of_line != NULL && end_of_line + 1 != end)
		return PROXY_BAD;
	if (memchr(data, '\0', length) != NULL)
		return PROXY_BAD;
	if (feed == NULL)
		return bytes < V1_BYTES_MAX ? PROXY_PARTIAL : PROXY_BAD;
	memcpy(line, data + V1_BEGIN_BYTES, length - V1_BEGIN_BYTES);
	line[length - V1_BEGIN_BYTES] = '\0';
	*used = length + 2;
	return parse_line(line, address, port) ? PROXY_WHOLE : PROXY_BAD;
}

/* ---- version 2 ---- */

static const char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

struct v2_header {
	char signature[sizeof v2_signature];
	uint8_t version_command;
	uint8_t family_transport;
	uint8_t length[2];
};
_Static_assert(sizeof(struct v2_header) == 16, "as on the wire");

enum { V2_LOCAL = 0, V2_PROXY = 1 };
enum { V2_UNSPEC, V2_INET, V2_INET6, V2_UNIX, V2_FAMILIES };
enum { V2_STREAM = 1, V2_TRANSPORTS = 3 };

#define V2_TYPE_CRC32C  0x03
#define V2_CRC32C_BYTES 4u

static unsigned read_16(const uint8_t at[2])
{
	return (unsigned)at[0] << 8 | at[1];
}

/* CRC-32C (Castagnoli, reflected) of the header with the four bytes at `hole` as 0. Bit by bit: it
 * is one header a connection. */
static uint32_t checksum(const uint8_t *data, size_t bytes, const uint8_t *hole)
{
	uint32_t crc = UINT32_MAX;
	for (size_t i = 0; i < bytes; i++) {
		bool in_hole = data + i >= hole && data + i < hole + V2_CRC32C_BYTES;
		crc ^= in_hole ? 0 : data[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
	}
	return ~crc;
}

/* Type 1, length 2, value: one after the other to the header's end. */
static bool tlvs_are_right(const uint8_t *header, size_t at, size_t bytes)
{
	while (at < bytes) {
		if (bytes - at < 3)
			return false;
		unsigned type = header[at], length = read_16(header + at + 1);
		const uint8_t *value = header + at + 3;
		at += 3;
		if (bytes - at < length)
			return false;
		at += length;
		if (type != V2_TYPE_CRC32C)
			continue;
		if (length != V2_CRC32C_BYTES ||
		    checksum(header, bytes, value) != (read_16(value) << 16 | read_16(value + 2)))
			return false;
	}
	return true;
}

static bool parse_addresses(const uint8_t *header, size_t bytes, unsigned family, unsigned transport,
                            uint8_t address[16], uint16_t *port)
{
	static const size_t address_bytes[V2_FAMILIES] = {0, 12, 36, 216};
	const uint8_t *at = header + sizeof(struct v2_header);
	size_t tlvs = sizeof(struct v2_header) + address_bytes[family];
	/* Of an unspecified family the length of the addresses is not known, so neither is where
	 * TLVs begin. */
	if (family == V2_UNSPEC)
		return true;
	if (tlvs > bytes || !tlvs_are_right(header, tlvs, bytes))
		return false;
	if (transport != V2_STREAM || family == V2_UNIX)
		return true;
	if (family == V2_INET) {
		memset(address, 0, 10);
		address[10] = address[11] = 0xff;
		memcpy(address + 12, at, 4);
		*port = (uint16_t)read_16(at + 8);
	} else {
		memcpy(address, at, 16);
		*port = (uint16_t)read_16(at + 32);
	}
	return true;
}

static enum proxy_result parse_v2(const char *data, size_t bytes, size_t *used, uint8_t address[16],
                                  uint16_t *port)
{
	struct v2_header head;
	/* The version at once: a signature of a later one is of no use to us. */
	if (bytes > sizeof v2_signature && (uint8_t)data[sizeof v2_signature] >> 4 != 2)
		return PROXY_BAD;
	if (bytes < sizeof head)
		return PROXY_PARTIAL;
	memcpy(&head, data, sizeof head);
	size_t length = sizeof head + read_16(head.length);
	unsigned command = head.version_command & 15;
	unsigned family = head.family_transport >> 4, transport = head.family_transport & 15;
	if (length > PROXY_BYTES_MAX || command > V2_PROXY)
		return PROXY_BAD;
	if (command == V2_PROXY && (family >= V2_FAMILIES || transport >= V2_TRANSPORTS))
		return PROXY_BAD;
	if (bytes < length)
		return PROXY_PARTIAL;
	*used = length;
	/* The block after a LOCAL is skipped. */
	if (command == V2_PROXY &&
	    !parse_addresses((const uint8_t *)data, length, family, transport, address, port))
		return PROXY_BAD;
	return PROXY_WHOLE;
}

enum proxy_result proxy_parse(const char *data, size_t bytes, size_t *used, uint8_t address[16],
                              uint16_t *port)
{
	if (begins(data, bytes, v1_begin, V1_BEGIN_BYTES))
		return bytes < V1_BEGIN_BYTES ? PROXY_PARTIAL : parse_v1(data, bytes, used, address, port);
	if (begins(data, bytes, v2_signature, sizeof v2_signature))
		return bytes < sizeof v2_signature ? PROXY_PARTIAL
		                                   : parse_v2(data, bytes, used, address, port);
	return PROXY_BAD;
}
