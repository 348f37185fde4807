#include "serve/host.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

void host_init(struct hosts_allowed *hosts, const struct config *config)
{
	size_t n = config_count(config, "serve.hosts");
	memset(hosts, 0, sizeof *hosts);
	for (size_t i = 0; i < n && hosts->n < HOST_NAMES_MAX; i++)
		hosts->name[hosts->n++] = config_item(config, i, "serve.hosts");
	if (gethostname(hosts->machine, sizeof hosts->machine - 1) != 0)
		hosts->machine[0] = '\0';
}

/* The host without its port, brackets and last dot; false when it is none. */
static bool take_name(const char *field, char name[HOST_BYTES_MAX + 1], bool *address)
{
	const char *end;
	struct in6_addr any;
	size_t bytes;
	*address = field[0] == '[';
	if (*address) {
		field++;
		end = strchr(field, ']');
		if (end == NULL)
			return false;
		bytes = (size_t)(end - field);
		end++;
	} else {
		bytes = strcspn(field, ":");
		end = field + bytes;
	}
	if (*end == ':')
		end += 1 + strspn(end + 1, "0123456789");
	if (*end != '\0' || bytes == 0 || bytes > HOST_BYTES_MAX)
		return false;
	memcpy(name, field, bytes);
	name[bytes] = '\0';
	if (*address)
		return inet_pton(AF_INET6, name, &any) == 1;
	*address = inet_pton(AF_INET, name, &any) == 1;
	if (name[bytes - 1] == '.')
		name[bytes - 1] = '\0';
	return name[0] != '\0';
}

static bool is_localhost(const char *name)
{
	static const char localhost[] = "localhost";
	size_t bytes = strlen(name), length = sizeof localhost - 1;
	return bytes >= length && strcasecmp(name + bytes - length, localhost) == 0 &&
	       (bytes == length || name[bytes - length - 1] == '.');
}

/* "box", and "box.example.com" where the machine is called "box.example.com". */
static bool is_machine(const char *machine, const char *name)
{
	size_t bytes = strcspn(machine, ".");
	return machine[0] != '\0' && (strcasecmp(machine, name) == 0 ||
	                              (strlen(name) == bytes && strncasecmp(machine, name, bytes) == 0));
}

bool host_allowed(const struct hosts_allowed *hosts, const char *field)
{
	char name[HOST_BYTES_MAX + 1];
	bool address;
	if (field == NULL || !take_name(field, name, &address))
		return false;
	if (address || is_localhost(name) || is_machine(hosts->machine, name))
		return true;
	for (unsigned i = 0; i < hosts->n; i++)
		if (strcasecmp(hosts->name[i], name) == 0)
			return true;
	return false;
}
