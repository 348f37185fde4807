/* Any bytes as the beginning of a connection behind a proxy (PROXY protocol, versions 1 and 2),
 * read a second time here; a header that is whole in one piece is whole at the same place however
 * few bytes have come of it, and never before. */
#include <arpa/inet.h>
#include <errno.h>

#include "ingest/http/client.h"
#include "tests/fuzz/fuzz.h"

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";

static bool read_port(const char *text, unsigned *port)
{
	size_t n = strspn(text, "0123456789");
	if (n == 0 || n > 5 || text[n] != '\0' || (text[0] == '0' && n > 1))
		return false;
	*port = (unsigned)atoi(text);
	return *port <= 65535;
}

/* Version 1: a line of text. True when it is good; *named when it names a client. */
static bool read_text(const char *data, size_t bytes, size_t *used, uint8_t address[16], unsigned *port,
                      bool *named)
{
	const char *end = memmem(data, bytes < 107 ? bytes : 107, "\r\n", 2);
	char line[108], *save, *word[7];
	unsigned n = 0, other;
	uint8_t to[16];
	if (end == NULL || memchr(data, 0, (size_t)(end - data)) != NULL)
		return false;
	memcpy(line, data, (size_t)(end - data));
	line[end - data] = '\0';
	if (strpbrk(line, "\r\n") != NULL)
		return false;
	*used = (size_t)(end - data) + 2;
	*named = false;
	if (strcmp(line, "PROXY UNKNOWN") == 0 || strncmp(line, "PROXY UNKNOWN ", 14) == 0)
		return true;
	if (strncmp(line, "PROXY ", 6) != 0 || strstr(line, "  ") != NULL || line[strlen(line) - 1] == ' ')
		return false;
	for (char *at = strtok_r(line, " ", &save); at != NULL && n < 7; at = strtok_r(NULL, " ", &save))
		word[n++] = at;
	int family = n != 6                         ? 0
	             : strcmp(word[1], "TCP4") == 0 ? AF_INET
	             : strcmp(word[1], "TCP6") == 0 ? AF_INET6
	                                            : 0;
	if (family == 0 || strcmp(word[0], "PROXY") != 0)
		return false;
	memset(address, 0, 10);
	address[10] = address[11] = 0xff;
	*named = true;
	return inet_pton(family, word[2], family == AF_INET ? address + 12 : address) == 1 &&
	       inet_pton(family, word[3], to) == 1 && read_port(word[4], port) && read_port(word[5], &other);
}

/* Version 2: binary, its checksum aside. */
static bool read_binary(const uint8_t *data, size_t bytes, size_t *used, uint8_t address[16], unsigned *port,
                        bool *named)
{
	if (bytes < 16)
		return false;
	size_t length = (size_t)data[14] << 8 | data[15];
	*used = 16 + length;
	*named = false;
	if (data[12] >> 4 != 2 || (data[12] & 15) > 1 || bytes < *used || *used > PROXY_BYTES_MAX)
		return false;
	if ((data[12] & 15) == 0)
		return true;
	if (data[13] == 0x11 && length >= 12) {
		memset(address, 0, 10);
		address[10] = address[11] = 0xff;
		memcpy(address + 12, data + 16, 4);
		*port = (unsigned)(data[24] << 8 | data[25]);
		*named = true;
	} else if (data[13] == 0x21 && length >= 36) {
		memcpy(address, data + 16, 16);
		*port = (unsigned)(data[48] << 8 | data[49]);
		*named = true;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	uint8_t address[16] = {1}, wanted[16] = {1}, other[16];
	uint16_t port = 7, other_port;
	unsigned wanted_port = 7;
	size_t used = 0, wanted_used = 0;
	bool named = false;
	char *copy = fuzz_copy(data, bytes);
	enum proxy_result result = proxy_parse(copy, bytes, &used, address, &port);
	bool binary = bytes >= 12 && memcmp(copy, signature, 12) == 0;
	bool good = binary ? read_binary((uint8_t *)copy, bytes, &wanted_used, wanted, &wanted_port, &named)
	                   : read_text(copy, bytes, &wanted_used, wanted, &wanted_port, &named);
	if (result == PROXY_WHOLE) {
		must(used > 0 && used <= bytes && used <= PROXY_BYTES_MAX);
		must(good && used == wanted_used);
		if (named)
			must(memcmp(address, wanted, 16) == 0 && port == wanted_port);
		else
			must(address[0] == 1 && port == 7);
		for (size_t n = 0; n < used; n++) {
			char *piece = fuzz_copy(data, n);
			must(proxy_parse(piece, n, &wanted_used, other, &other_port) == PROXY_PARTIAL);
			free(piece);
		}
	} else if (good && !binary) {
		must(!"a good header of version 1 is refused");
	}
	must(result != PROXY_PARTIAL || bytes < PROXY_BYTES_MAX);
	free(copy);
	return 0;
}
