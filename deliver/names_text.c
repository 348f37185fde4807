#include "deliver/names_text.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"

#define LABEL_MAX 63u

static bool is_letter_or_digit(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool parse_zone(uint32_t *zone, const char *text)
{
	size_t digits = strspn(text, "0123456789");
	if (text[0] == '\0' || strlen(text) >= IF_NAMESIZE)
		return false;
	if (text[digits] != '\0')
		return (*zone = if_nametoindex(text)) != 0;
	unsigned long long number = strtoull(text, NULL, 10);
	*zone = (uint32_t)number;
	return number <= UINT32_MAX;
}

static bool parse_v6(uint8_t address[16], uint32_t *zone, char *text)
{
	char *percent = strchr(text, '%');
	if (percent != NULL)
		*percent = '\0';
	return inet_pton(AF_INET6, text, address) == 1 && (percent == NULL || parse_zone(zone, percent + 1));
}

bool names_text_address(uint8_t address[16], uint32_t *zone, const char *host)
{
	char text[NAMES_HOST_MAX + 1];
	size_t n = strlen(host);
	*zone = 0;
	if (n > 0 && host[n - 1] == '.')
		n--;
	if (n == 0 || n >= sizeof text)
		return false;
	memcpy(text, host, n);
	text[n] = '\0';
	if (strchr(text, ':') != NULL)
		return parse_v6(address, zone, text);
	/* inet_aton stops at white space and leaves out what comes after it */
	for (size_t i = 0; i < n; i++)
		if (!is_letter_or_digit(text[i]) && text[i] != '.')
			return false;
	struct in_addr v4;
	if (inet_aton(text, &v4) == 0)
		return false;
	address_map(address, &v4);
	return true;
}

bool names_text_name(const char *host)
{
	size_t label = 0, n = strlen(host);
	n -= n > 0 && host[n - 1] == '.';
	if (n == 0 || n >= NAMES_HOST_MAX || host[n - 1] == '.')
		return false;
	for (size_t i = 0; i < n; i++) {
		bool dot = host[i] == '.';
		if (dot ? label == 0 : !is_letter_or_digit(host[i]) && host[i] != '-' && host[i] != '_')
			return false;
		label = dot ? 0 : label + 1;
		if (label > LABEL_MAX)
			return false;
	}
	return true;
}
