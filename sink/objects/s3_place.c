#include "sink/objects/s3_place.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sink/objects/sigv4.h"

static bool is_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* What S3-like stores take in a bucket's name; AWS takes less in new ones. */
static bool is_bucket(const char *bucket)
{
	size_t n = 0;
	for (; bucket[n] != '\0'; n++)
		if (!is_lower(bucket[n]) && !(bucket[n] >= 'A' && bucket[n] <= 'Z') &&
		    strchr("-_.", bucket[n]) == NULL)
			return false;
	return n >= 3 && n <= S3_BUCKET_MAX && strstr(bucket, "..") == NULL && bucket[0] != '.';
}

/* One label of a host name: what a certificate for *.s3.amazonaws.com is good for. */
static bool is_label(const char *bucket)
{
	size_t n = strlen(bucket);
	for (size_t i = 0; i < n; i++)
		if (!is_lower(bucket[i]) && bucket[i] != '-')
			return false;
	return n <= 63 && bucket[0] != '-' && bucket[n - 1] != '-';
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), bytes = strlen(end);
	return n >= bytes && strcasecmp(text + n - bytes, end) == 0;
}

/* A host with or without a port: letters, digits, "-", ".", or an IPv6 address in brackets. */
static bool is_host(const char *host, size_t bytes)
{
	char name[256];
	if (bytes == 0 || bytes >= sizeof name)
		return false;
	memcpy(name, host, bytes);
	name[bytes] = '\0';
	char *port = strrchr(name, ':');
	if (name[0] == '[') {
		char *end = strchr(name, ']');
		struct in6_addr address;
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		port = end[1] == ':' ? end + 1 : NULL;
		*end = '\0';
		if (inet_pton(AF_INET6, name + 1, &address) != 1)
			return false;
	} else {
		if (port != NULL)
			*port = '\0';
		for (const char *at = name; *at != '\0'; at++)
			if (!is_lower(*at) && !(*at >= 'A' && *at <= 'Z') && *at != '-' && *at != '.')
				return false;
		if (name[0] == '\0')
			return false;
	}
	if (port == NULL)
		return true;
	char *end;
	unsigned long number = strtoul(port + 1, &end, 10);
	return port[1] >= '0' && port[1] <= '9' && *end == '\0' && number > 0 && number < 65536;
}

/* What an endpoint is made of; the strings lie in it. */
struct endpoint {
	bool tls;
	const char *host, *path;
	size_t host_bytes, path_bytes;
};

static bool parse_endpoint(struct endpoint *out, const char *endpoint)
{
	static const char http[] = "http://", https[] = "https://";
	out->tls = strncmp(endpoint, https, sizeof https - 1) == 0;
	if (!out->tls && strncmp(endpoint, http, sizeof http - 1) != 0)
		return false;
	out->host = endpoint + (out->tls ? sizeof https : sizeof http) - 1;
	out->host_bytes = strcspn(out->host, "/");
	out->path = out->host + out->host_bytes;
	out->path_bytes = strlen(out->path);
	while (out->path_bytes > 0 && out->path[out->path_bytes - 1] == '/')
		out->path_bytes--;
	for (size_t i = 0; i < out->path_bytes; i++)
		if (out->path[i] <= ' ' || out->path[i] > '~' ||
		    strchr("?#%\"<>\\^`{|}", out->path[i]) != NULL)
			return false;
	if (!is_host(out->host, out->host_bytes))
		return false;
	/* libcurl leaves the scheme's own port out of Host */
	const char *usual = out->tls ? ":443" : ":80";
	size_t bytes = strlen(usual);
	if (out->host_bytes > bytes && memcmp(out->host + out->host_bytes - bytes, usual, bytes) == 0)
		out->host_bytes -= bytes;
	return true;
}

static bool choose_style(struct s3_place *place, const char *style, const struct endpoint *endpoint)
{
	bool numeric =
	        endpoint->host[0] == '[' || strspn(endpoint->host, "0123456789.:") >= endpoint->host_bytes;
	place->virtual_host = strcmp(style, "virtual") == 0 ||
	                      (strcmp(style, "auto") == 0 && place->aws && is_label(place->bucket));
	return !place->virtual_host || (is_label(place->bucket) && !numeric);
}

int s3_place_init(struct s3_place *place, const char *bucket, const char *region, const char *endpoint,
                  const char *style, struct shm_error *error)
{
	*place = (struct s3_place){.tls = false};
	if (!is_bucket(bucket)) {
		shm_explain(error,
		            "bucket: \"%s\" is not a bucket's name; allowed: 3 to 255 of A-Z a-z 0-9 . - _",
		            bucket);
		return -EINVAL;
	}
	size_t n = 0;
	while (is_lower(region[n]) || region[n] == '-')
		n++;
	if (n == 0 || region[n] != '\0' || n >= sizeof place->region) {
		shm_explain(error, "region: \"%s\" is not a region; allowed: a-z 0-9 -, such as eu-central-1",
		            region);
		return -EINVAL;
	}
	snprintf(place->bucket, sizeof place->bucket, "%s", bucket);
	snprintf(place->region, sizeof place->region, "%s", region);
	char of_region[128];
	snprintf(of_region, sizeof of_region, "https://s3.%s.amazonaws.com%s", region,
	         strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
	struct endpoint parts;
	if (!parse_endpoint(&parts, endpoint[0] != '\0' ? endpoint : of_region)) {
		shm_explain(
		        error,
		        "endpoint: \"%s\" is not a URL of a store; allowed: http:// or https://, a host, a port, a path",
		        endpoint);
		return -EINVAL;
	}
	char host[256];
	snprintf(host, sizeof host, "%.*s", (int)parts.host_bytes, parts.host);
	for (char *at = host; *at != '\0'; at++)
		if (*at >= 'A' && *at <= 'Z')
			*at |= 0x20; /* what is signed is what libcurl sends, whatever it makes of a host */
	place->tls = parts.tls;
	place->aws = ends_with(host, ".amazonaws.com") || ends_with(host, ".amazonaws.com.cn");
	if (!choose_style(place, style, &parts)) {
		shm_explain(
		        error,
		        "style: virtual needs an endpoint with a name, and a bucket of at most 63 of a-z 0-9 -, not \"%s\"",
		        bucket);
		return -EINVAL;
	}
	snprintf(place->host, sizeof place->host, "%s%s%s", place->virtual_host ? bucket : "",
	         place->virtual_host ? "." : "", host);
	int at = snprintf(place->base, sizeof place->base, "%s://%s", place->tls ? "https" : "http",
	                  place->host);
	place->path_at = (size_t)at;
	int length = snprintf(place->base, sizeof place->base, "%s://%s%.*s/%s%s",
	                      place->tls ? "https" : "http", place->host, (int)parts.path_bytes, parts.path,
	                      place->virtual_host ? "" : bucket, place->virtual_host ? "" : "/");
	if (length >= (int)sizeof place->base) {
		shm_explain(error, "endpoint: too long");
		return -EINVAL;
	}
	return 0;
}

int s3_place_url(const struct s3_place *place, char *url, size_t size, const char *name, size_t bytes,
                 const char *query)
{
	size_t n = strlen(place->base);
	if (bytes == 0 && !place->virtual_host)
		n--; /* "/logs", not "/logs/": some stores take the latter for an object */
	if (n >= size)
		return -E2BIG;
	memcpy(url, place->base, n);
	int encoded = sigv4_encode(url + n, size - n, name, bytes, true);
	if (encoded < 0)
		return encoded;
	n += (size_t)encoded;
	int length = query[0] != '\0' ? snprintf(url + n, size - n, "?%s", query) : 0;
	if (length < 0 || (size_t)length >= size - n)
		return -E2BIG;
	return (int)n + (length > 0);
}
