/* The part of json_body_oracle.h that is about bodies of several events. */
#include "tests/fuzz/json_body_oracle.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/json_verdict.h"

/* ---- postbacks ---- */

static bool matches(const char *pattern, const char *text)
{
	regex_t regex;
	if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		abort();
	bool found = regexec(&regex, text, 0, NULL, 0) == 0;
	regfree(&regex);
	return found;
}

/* Host and port after the last @ of the authority; false when it has a brace, or what is before the
 * @ has a control character as %XX. */
static bool cut_host(char *out, const char *authority)
{
	size_t n = strcspn(authority, "/?#");
	char *user = strndup(authority, n);
	if (user == NULL)
		abort();
	char *at = strrchr(user, '@'), *host = at != NULL ? at + 1 : user;
	strcpy(out, host);
	*host = 0;
	bool fits = !matches("%(0[0-9A-Fa-f]|1[0-9A-Fa-f]|7[Ff])", user) && !memchr(authority, '{', n) &&
	            !memchr(authority, '}', n);
	free(user);
	return fits;
}

static bool port_fits(const char *port)
{
	char *digits_end;
	if (!matches("^(:[0-9]*)?$", port))
		return false;
	return port[0] == 0 || port[1] == 0 ||
	       (strtoul(port + 1, &digits_end, 10) >= 1 && strtod(port + 1, NULL) <= 65535);
}

static bool address_fits(const char *host)
{
	struct in6_addr address;
	char plain[INET6_ADDRSTRLEN + 1] = "";
	if (!matches("^[0-9A-Za-z._~:-]*(%25[0-9A-Za-z._~-]{1,15})?$", host))
		return false;
	size_t bytes = strcspn(host, "%");
	if (strlen(host) > 1024)
		return false;
	if (bytes >= sizeof plain)
		return false;
	memcpy(plain, host, bytes);
	return inet_pton(AF_INET6, plain, &address) == 1;
}

static bool name_fits(const char *host)
{
	char name[4096];
	size_t n = 0;
	if (!matches("^([0-9A-Za-z._~\x80-\xff-]|%[0-9A-Fa-f]{2})+$", host))
		return false;
	for (; *host && n < sizeof name - 1; host++, n++) {
		char code[3] = {host[0] == '%' ? host[1] : 0, host[0] == '%' ? host[2] : 0, 0};
		name[n] = host[0] == '%' ? (char)strtoul(code, NULL, 16) : host[0];
		if (host[0] == '%' && (unsigned char)name[n] < 0x80 && !isalnum(name[n]) &&
		    (!name[n] || !strchr("-._~", name[n])))
			return false;
		host += host[0] == '%' ? 2 : 0;
	}
	name[n] = 0;
	bool foreign = matches("[\x80-\xff]", name);
	if (n > 1024)
		return false;
	if (name[n - 1] == '.')
		name[--n] = 0;
	if (!matches(foreign ? "^[^.]+([.][^.]+)*$" : "^[^.]{1,63}([.][^.]{1,63})*$", name) ||
	    (!foreign && (n > 253 || name[0] == '-')))
		return false;
	struct in_addr address;
	return !matches("(^|[.])([0-9]+|0[xX][0-9A-Fa-f]*)$", name)
	               ? true
	               : n <= 253 && inet_aton(name, &address) != 0;
}

/* Scheme, userinfo, host and port as url.h tells, found by regular expressions. */
static bool url_fits(json_t *value)
{
	const char *url = json_string_value(value);
	size_t n = json_string_length(value);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)url[i] <= ' ' || url[i] == 0x7f)
			return false;
	size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
	                : strncasecmp(url, "https://", 8) == 0 ? 8
	                                                       : 0;
	if (scheme == 0)
		return false;
	char *host = malloc(n + 1);
	bool fits = cut_host(host, url + scheme);
	if (fits && host[0] == '[') {
		char *end = strchr(host + 1, ']');
		fits = end && port_fits(end + 1);
		if (fits) {
			*end = 0;
			fits = address_fits(host + 1);
		}
	} else if (fits) {
		char *colon = strchr(host, ':');
		fits = !colon || port_fits(colon);
		if (colon)
			*colon = 0;
		fits = fits && name_fits(host);
	}
	free(host);
	return fits;
}

static bool method_of(json_t *value, enum postback_method *method)
{
	for (unsigned i = 0; i < POSTBACK_METHOD_COUNT; i++) {
		const char *name = postback_method_name(i);
		if (strlen(name) == json_string_length(value) &&
		    strcmp(name, json_string_value(value)) == 0) {
			*method = i;
			return true;
		}
	}
	return false;
}

static bool elements_fit(json_t *data)
{
	size_t i;
	json_t *element;
	json_array_foreach(data, i, element)
	{
		if (!json_is_object(element))
			return false;
	}
	return true;
}

static struct verdict judge_postback(json_t *root, enum postback_method *method)
{
	static const char *const outer[] = {"endpoint", "data", NULL};
	static const char *const inner[] = {"endpoint.method", "endpoint.url", NULL};
	json_t *endpoint = json_object_get(root, "endpoint"), *data = json_object_get(root, "data");
	struct verdict verdict;
	if (verdict_lacks(root, "", outer, &verdict))
		return verdict;
	if (!json_is_object(endpoint))
		return verdict_wrong("endpoint");
	if (!json_is_array(data))
		return verdict_wrong("data");
	if (verdict_lacks(endpoint, "endpoint.", inner, &verdict))
		return verdict;
	if (!json_is_string(json_object_get(endpoint, "method")))
		return verdict_wrong("endpoint.method");
	if (!json_is_string(json_object_get(endpoint, "url")))
		return verdict_wrong("endpoint.url");
	if (!method_of(json_object_get(endpoint, "method"), method))
		return verdict_wrong("endpoint.method");
	if (!url_fits(json_object_get(endpoint, "url")))
		return verdict_wrong("endpoint.url");
	if (!elements_fit(data))
		return verdict_wrong("data[]");
	return json_array_size(data) > 0 ? verdict_valid : (struct verdict){LEDGER_MISSING_FIELD, "data"};
}

static bool is_postback(const struct event_postback *event, uint32_t length, enum postback_method method,
                        json_t *url, json_t *element)
{
	size_t n = json_string_length(url);
	struct event_postback wanted = {
	        .method = (uint16_t)method, .url_bytes = (uint32_t)n, .data_bytes = event->data_bytes};
	if (length != sizeof wanted + n + event->data_bytes || memcmp(event, &wanted, sizeof wanted) != 0 ||
	    memcmp(event->text, json_string_value(url), n) != 0)
		return false;
	char *squeezed = malloc(event->data_bytes + 1u);
	json_t *data = json_loadb(event->text + n, event->data_bytes, JSON_ALLOW_NUL, NULL);
	bool same = verdict_squeeze(squeezed, event->text + n, event->data_bytes) == event->data_bytes &&
	            data && json_equal(data, element);
	json_decref(data);
	free(squeezed);
	return same;
}

static const char *compare_elements(struct json_postback *postback, enum postback_method method, json_t *root)
{
	json_t *url = json_object_get(json_object_get(root, "endpoint"), "url");
	json_t *data = json_object_get(root, "data"), *element;
	size_t i;
	if (postback->n != json_array_size(data))
		return "number of elements";
	json_array_foreach(data, i, element)
	{
		size_t room = json_postback_room(postback);
		uint32_t length = UINT32_MAX;
		void *payload = malloc(room);
		bool same = json_postback_next(postback, payload, &length) && length <= room &&
		            postback->number == i + 1 && is_postback(payload, length, method, url, element);
		free(payload);
		if (!same)
			return "postback";
	}
	uint32_t ignored;
	return json_postback_room(postback) == 0 && !json_postback_next(postback, NULL, &ignored)
	               ? NULL
	               : "more than there is";
}

static bool parse_postback(const char *data, size_t bytes, void *postback, uint32_t *length,
                           struct json_fault *fault)
{
	*length = 0;
	return json_postback_open(postback, data, bytes, fault);
}

static const char *compare_postback(const struct parsed *parsed, const struct opinion *opinion,
                                    const char *data, size_t bytes)
{
	(void)data;
	(void)bytes;
	enum postback_method method = POSTBACK_METHOD_COUNT;
	struct verdict verdict = judge_postback(opinion->root, &method);
	if (!parsed->valid && opinion->duplicates && strcmp(parsed->fault.where, "data[]") == 0)
		return NULL; /* an object or array under a key that comes again */
	const char *difference = verdict_differs(parsed, verdict);
	if (difference || !parsed->valid)
		return difference;
	return compare_elements(parsed->payload, method, opinion->root);
}

enum json_agreement json_oracle_postback(const char *data, size_t bytes)
{
	return verdict_agree(data, bytes, parse_postback, sizeof(struct json_postback), compare_postback);
}

/* ---- batches ---- */

static enum json_agreement agree_on_array(struct json_batch *batch, json_t *root, const char *data,
                                          size_t bytes)
{
	const char *text;
	size_t n, i;
	json_t *element;
	json_array_foreach(root, i, element)
	{
		if (!json_batch_next(batch, &text, &n) || batch->number != i + 1)
			return opinion_differs("elements", data, bytes);
		json_t *cut = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		bool same = cut && json_equal(cut, element);
		json_decref(cut);
		if (!same || json_oracle_track(text, n) == JSON_DISAGREED)
			return opinion_differs("element", data, bytes);
	}
	return json_batch_next(batch, &text, &n) ? opinion_differs("one element more", data, bytes)
	                                         : JSON_ACCEPTED;
}

static bool is_blank(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (text[i] == 0 || !strchr(" \t\r\n", text[i]))
			return false;
	return true;
}

static enum json_agreement agree_on_lines(struct json_batch *batch, const char *data, size_t bytes)
{
	const char *text;
	size_t n;
	uint32_t number = 0;
	for (size_t at = 0; at < bytes;) {
		size_t length = 0;
		while (at + length < bytes && data[at + length] != '\n')
			length++;
		number++;
		size_t shown = length > 0 && data[at + length - 1] == '\r' ? length - 1 : length;
		size_t mark = opinion_mark(data + at, shown);
		if (!is_blank(data + at + mark, shown - mark)) {
			if (!json_batch_next(batch, &text, &n) || text != data + at || n != shown ||
			    batch->number != number)
				return opinion_differs("lines", data, bytes);
			if (json_oracle_track(text, n) == JSON_DISAGREED)
				return JSON_DISAGREED;
		}
		at += length + 1;
	}
	return json_batch_next(batch, &text, &n) ? opinion_differs("one line more", data, bytes)
	                                         : JSON_ACCEPTED;
}

enum json_agreement json_oracle_batch(const char *data, size_t bytes)
{
	struct json_batch batch;
	struct json_fault fault;
	bool open = json_batch_open(&batch, data, bytes, &fault);
	size_t blank = opinion_mark(data, bytes);
	while (blank < bytes && is_blank(data + blank, 1))
		blank++;
	if (blank == bytes || data[blank] != '[')
		return open && !batch.array ? agree_on_lines(&batch, data, bytes)
		                            : opinion_differs("lines refused", data, bytes);
	if (opinion_too_deep(data, bytes))
		return JSON_UNDECIDED;
	struct opinion opinion = opinion_of(data, bytes);
	if (opinion.undecided || (opinion.accepted && !opinion.root))
		return JSON_UNDECIDED;
	if (open != (opinion.root != NULL))
		return opinion_differs(open ? "array" : fault.what, data, bytes);
	if (!open)
		return JSON_REFUSED;
	enum json_agreement agreement = agree_on_array(&batch, opinion.root, data, bytes);
	json_decref(opinion.root);
	return agreement;
}
