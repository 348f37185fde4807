/* Entries of the guard's lists and hosts that are addresses, against inet_pton(3) and inet_aton(3).
 *
 * An entry that is taken has a form that this file takes apart too; a host that inet_pton or
 * inet_aton takes for an address is one here, and nothing else is.
 */
#include <arpa/inet.h>

#include "deliver/guard_entry.h"
#include "deliver/names_text.h"
#include "tests/fuzz/fuzz.h"

#define TEXT_MAX 300u

static void judge_host(const char *host)
{
	uint8_t address[16] = {0}, expected[16] = {[10] = 0xff, [11] = 0xff};
	uint32_t zone;
	char text[TEXT_MAX + 1];
	bool found = names_text_address(address, &zone, host);
	strcpy(text, host);
	size_t n = strlen(text);
	if (n > 0 && text[n - 1] == '.')
		text[--n] = '\0';
	if (strchr(text, '%') != NULL) {
		*strchr(text, '%') = '\0';
		must(!found || inet_pton(AF_INET6, text, expected) == 1);
		must(!found || memcmp(address, expected, 16) == 0);
		return;
	}
	struct in_addr v4;
	bool space = strpbrk(text, " \t\n\v\f\r") != NULL; /* inet_aton does not look further */
	bool is_address = n > 0 && n <= NAMES_HOST_MAX &&
	                  (inet_pton(AF_INET6, text, expected) == 1 || (!space && inet_aton(text, &v4) != 0));
	must(found == is_address);
	if (!found)
		return;
	if (strchr(text, ':') == NULL)
		memcpy(expected + 12, &v4, 4);
	must(memcmp(address, expected, 16) == 0 && zone == 0);
}

static void judge_network(const struct guard_entry *entry, const char *text)
{
	uint8_t first[16];
	must(entry->bits <= 128);
	memcpy(first, entry->prefix, 16);
	must(guard_entry_has_address(entry, first, entry->port != 0 ? entry->port : 80));
	if (entry->bits > 0) {
		first[(entry->bits - 1) / 8] ^= (uint8_t)(0x80 >> (entry->bits - 1) % 8);
		must(!guard_entry_has_address(entry, first, entry->port != 0 ? entry->port : 80));
	}
	/* the address that the text begins with */
	char host[TEXT_MAX + 1];
	uint8_t expected[16] = {[10] = 0xff, [11] = 0xff};
	strcpy(host, text[0] == '[' ? text + 1 : text);
	host[strcspn(host, "]/")] = '\0';
	if (text[0] != '[' && strchr(host, ':') == strrchr(host, ':'))
		host[strcspn(host, ":")] = '\0';
	must(inet_pton(AF_INET, host, expected + 12) == 1 || inet_pton(AF_INET6, host, expected) == 1);
	must(memcmp(expected, entry->prefix, 16) == 0);
}

static void judge_entry(const char *text)
{
	struct guard_entry entry;
	if (guard_entry_parse(&entry, text) != NULL)
		return;
	if (entry.port != 0) {
		must(atoi(strrchr(text, ':') + 1) == entry.port);
		must(!guard_entry_has_name(&entry, "a.test", (uint16_t)(entry.port ^ 1)));
	}
	uint16_t port = entry.port != 0 ? entry.port : 443;
	if (entry.kind == GUARD_ENTRY_NETWORK)
		judge_network(&entry, text);
	if (entry.kind != GUARD_ENTRY_NAME)
		return;
	struct in_addr v4;
	must(inet_aton(entry.name, &v4) == 0); /* no address is taken for a name */
	must(names_text_name(entry.name) && entry.name[strlen(entry.name) - 1] != '.');
	must(guard_entry_has_name(&entry, entry.name, port) == !entry.below);
	char below[TEXT_MAX + 4];
	snprintf(below, sizeof below, "x.%s", entry.name);
	must(guard_entry_has_name(&entry, below, port) == entry.below);
	snprintf(below, sizeof below, "x%s", entry.name);
	must(!guard_entry_has_name(&entry, below, port));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[TEXT_MAX + 1];
	if (size > TEXT_MAX || memchr(data, 0, size) != NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	judge_host(text);
	judge_entry(text);
	return 0;
}
