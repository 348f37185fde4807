#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/load/send_http.h"

#define DEFAULT_PORT "8080"
#define URL_PORT     "80"

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

static int unix_target(const char *path, struct send_http_target *target, const char **why)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t bytes = strlen(path);
	if (bytes == 0 || bytes >= sizeof address.sun_path)
		return refuse(why, "the path of a Unix socket has 1 to 107 bytes");
	memcpy(address.sun_path, path, bytes);
	memcpy(&target->address, &address, sizeof address);
	target->address_bytes = sizeof address;
	snprintf(target->host, sizeof target->host, "localhost");
	return 0;
}

static bool is_port(const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);
	return isdigit((unsigned char)text[0]) && *end == '\0' && number >= 1 && number <= UINT16_MAX;
}

/* Cuts "host", "host:port", "[::1]" and "[::1]:port" into the two; port keeps its default when
 * there is none. */
static int split(char *text, char **host, char **port, const char **why)
{
	char *colon = strrchr(text, ':');
	*host = text;
	if (text[0] == '[') {
		char *end = strchr(text, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return refuse(why, "an IPv6 address is written [::1] or [::1]:8080");
		*host = text + 1;
		if (end[1] == ':')
			*port = end + 2;
		*end = '\0';
	} else if (colon != NULL && strchr(text, ':') == colon) {
		*colon = '\0';
		*port = colon + 1;
	} else if (colon != NULL) {
		return refuse(why, "an IPv6 address is written [::1] or [::1]:8080");
	}
	if (!is_port(*port))
		return refuse(why, "a port is a number from 1 to 65535");
	if (**host == '\0')
		*host = (char *)(uintptr_t) "127.0.0.1";
	return 0;
}

static bool answers(const struct addrinfo *info)
{
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool result = fd >= 0 && connect(fd, info->ai_addr, info->ai_addrlen) == 0;
	if (fd >= 0)
		close(fd);
	return result;
}

static int look_up(const char *host, const char *port, struct send_http_target *target, const char **why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found;
	int result = getaddrinfo(host, port, &hints, &found);
	if (result != 0)
		return refuse(why, gai_strerror(result));
	const struct addrinfo *chosen = found;
	for (const struct addrinfo *info = found; found->ai_next != NULL && info != NULL;
	     info = info->ai_next)
		if (answers(info)) {
			chosen = info;
			break;
		}
	memcpy(&target->address, chosen->ai_addr, chosen->ai_addrlen);
	target->address_bytes = chosen->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

int send_http_target(const char *text, struct send_http_target *target, const char **why)
{
	char copy[sizeof target->host], *host, *port = (char *)(uintptr_t)DEFAULT_PORT;
	memset(target, 0, sizeof *target);
	if (strncmp(text, "unix:", 5) == 0)
		return unix_target(text + 5, target, why);
	if (strncasecmp(text, "https://", 8) == 0)
		return refuse(why, "TLS is not spoken here; send to what stands behind the proxy");
	if (strncasecmp(text, "http://", 7) == 0) {
		text += 7;
		port = (char *)(uintptr_t)URL_PORT;
	}
	size_t authority = strcspn(text, "/?#"), path = strlen(text + authority);
	if (strpbrk(text, "?# \r\n\t") != NULL || path >= sizeof target->prefix)
		return refuse(why, "a query, a fragment or white space has no place here");
	if (authority >= sizeof copy)
		return refuse(why, "the host's name is too long");
	memcpy(copy, text, authority);
	copy[authority] = '\0';
	memcpy(target->host, copy, authority + 1);
	memcpy(target->prefix, text + authority, path + 1);
	if (path > 0 && target->prefix[path - 1] == '/')
		target->prefix[path - 1] = '\0';
	int error = split(copy, &host, &port, why);
	if (error == 0)
		error = look_up(host, port, target, why);
	if (error == 0 && (target->host[0] == '\0' || target->host[0] == ':'))
		snprintf(target->host, sizeof target->host, "localhost");
	return error;
}
