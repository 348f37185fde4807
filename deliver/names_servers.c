#include "deliver/names_servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"

#define DNS_PORT 53u

static bool add(struct names_servers *servers, const char *host, unsigned port)
{
	size_t used = strlen(servers->text);
	if (servers->n == NAMES_SERVERS_MAX)
		return false;
	snprintf(servers->text + used, sizeof servers->text - used,
	         strchr(host, ':') ? "%s[%s]:%u" : "%s%s:%u", servers->n == 0 ? "" : ",", host, port);
	servers->n++;
	return true;
}

/* An address without a port and a zone. */
static bool is_address(const char *text)
{
	uint8_t address[16];
	return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static bool add_text(struct names_servers *servers, const char *text)
{
	struct sockaddr_storage address;
	socklen_t length;
	char host[INET6_ADDRSTRLEN];
	if (is_address(text))
		return add(servers, text, DNS_PORT);
	if (text[0] == ':' || address_parse(&address, &length, text) != 0 || address_port(&address) == 0)
		return false;
	const struct sockaddr_in6 *v6 = (const void *)&address;
	const struct sockaddr_in *v4 = (const void *)&address;
	if (address.ss_family == AF_INET6 && v6->sin6_scope_id != 0)
		return false;
	const void *bytes = address.ss_family == AF_INET6 ? (const void *)&v6->sin6_addr : &v4->sin_addr;
	return inet_ntop(address.ss_family, bytes, host, sizeof host) != NULL &&
	       add(servers, host, address_port(&address));
}

int names_servers_configured(struct names_servers *servers, const struct config *config,
                             struct shm_error *error)
{
	size_t n = config_count(config, "deliver.dns.servers");
	*servers = (struct names_servers){0};
	for (size_t i = 0; i < n; i++) {
		const char *text = config_item(config, i, "deliver.dns.servers");
		if (add_text(servers, text))
			continue;
		shm_explain(
		        error,
		        "deliver.dns.servers[%zu]: \"%.100s\" is no name server; allowed: 192.0.2.1, 192.0.2.1:5353, 2001:db8::1, [2001:db8::1]:5353",
		        i, text);
		return -EINVAL;
	}
	return 0;
}

void names_servers_system(struct names_servers *servers, const char *path)
{
	char line[512], word[64];
	*servers = (struct names_servers){0};
	FILE *file = fopen(path, "re");
	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, " nameserver %63s", word) == 1 && is_address(word))
			add(servers, word, DNS_PORT);
	if (file != NULL)
		fclose(file);
	if (servers->n == 0)
		add(servers, "127.0.0.1", DNS_PORT);
}
