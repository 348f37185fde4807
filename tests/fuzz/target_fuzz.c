/* Any template filled from any data: the URL goes where the template says, whatever the values are,
 * as libcurl's parser sees it; POST /ingest's parser judges the template alike; members are what
 * jansson says. The first line of the input is the template, the second what stands for unmatched
 * keys, the rest the data. */
#include <ctype.h>
#include <curl/curl.h>
#include <jansson.h>

#include "base/text.h"
#include "deliver/target.h"
#include "ingest/json/postback.h"
#include "tests/fuzz/fuzz.h"

#define ROOM 20000u

/* ---- data ---- */

/* jansson refuses some texts that are JSON (numbers beyond a double, halves of surrogate pairs);
 * none that it takes may be refused here, and strings are the same. A byte 0 between values it does
 * not see. */
static void check_data(const struct data *data, int result, const char *text, size_t bytes)
{
	bool zero = memchr(text, '\0', bytes) != NULL;
	json_t *object = zero ? NULL : json_loadb(text, bytes, JSON_ALLOW_NUL, NULL), *value;
	const char *key;
	size_t n;
	char out[ROOM];
	must(object == NULL || !json_is_object(object) || result == 0 || bytes > DATA_DEPTH_MAX);
	if (result == 0 && object != NULL) {
		must(json_object_size(object) == data->n);
		json_object_keylen_foreach(object, key, n, value)
		{
			const struct data_member *member = data_find(data, key, n);
			must(member != NULL);
			if (!json_is_string(value))
				continue;
			must(data_text(member, out) == json_string_length(value) &&
			     memcmp(out, json_string_value(value), json_string_length(value)) == 0);
		}
	}
	json_decref(object);
}

static void check_form(const struct data *data)
{
	size_t room = data_form_room(data);
	char *form = malloc(room > 0 ? room : 1);
	must(form != NULL);
	size_t n = data_form(data, form), marks = 0;
	must(n <= room);
	for (size_t i = 0; i < n; i++) {
		must(isalnum((unsigned char)form[i]) || strchr("-._~%+&=", form[i]) != NULL);
		marks += form[i] == '=' || form[i] == '&';
	}
	must(marks == (data->n > 0 ? 2 * data->n - 1 : 0));
	free(form);
}

/* ---- templates ---- */

static bool is_foreign(const char *url, size_t bytes)
{
	size_t host = bytes > 4 && url[4] == ':' ? 7 : 8; /* behind http://, https:// */
	for (size_t i = host; i < bytes && strchr("/?#", url[i]) == NULL; i++)
		if ((unsigned char)url[i] >= 0x80 ||
		    (url[i] == '%' && i + 1 < bytes && strchr("89aAbBcCdDeEfF", url[i + 1])))
			return true;
	return false;
}

static void check_door(const char *url, size_t bytes, bool taken, const struct shm_error *error)
{
	char body[8 * ROOM];
	struct text text = {.at = body, .end = body + sizeof body};
	struct json_postback postback;
	struct json_fault fault;
	if (!text_valid((const unsigned char *)url, bytes))
		return;
	text_literal(&text, "{\"endpoint\":{\"method\":\"GET\",\"url\":");
	text_string(&text, (const unsigned char *)url, bytes);
	text_literal(&text, "},\"data\":[{}]}");
	must(!text.full);
	bool open = json_postback_open(&postback, body, (size_t)(text.at - body), &fault);
	must(open == taken || (!taken && is_foreign(url, bytes) && strncmp(error->text, "host: ", 6) == 0));
}

static size_t count(const char *text, size_t bytes, char c)
{
	size_t n = 0;
	for (size_t i = 0; i < bytes; i++)
		n += text[i] == c;
	return n;
}

static void check_curl(const struct target *target, const char *url)
{
	CURLU *curl = curl_url();
	char *host = NULL, *port = NULL;
	size_t zone = strcspn(target->host, "%");
	must(curl_url_set(curl, CURLUPART_URL, url, CURLU_PATH_AS_IS) == CURLUE_OK);
	must(curl_url_get(curl, CURLUPART_HOST, &host, 0) == CURLUE_OK);
	must(curl_url_get(curl, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK);
	must(strncmp(host + (host[0] == '['), target->host, zone) == 0);
	must(strlen(host) == zone + (host[0] == '[' ? 2 : 0));
	must(atoi(port) == target->port);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(curl);
}

/* Values bring no delimiter, and no segment that is resolved. */
static void check_filled(const struct target *target, const char *out, size_t n)
{
	static const char delimiters[] = "/?#&=;@:";
	for (size_t i = 0; i < n; i++)
		must(out[i] > ' ' && out[i] < 0x7f && strchr("\"<>\\^`{|}", out[i]) == NULL);
	for (const char *c = delimiters; *c != '\0'; c++) {
		size_t fixed = 0;
		for (unsigned i = 0; i < target->n_pieces; i++)
			if (!target->piece[i].key)
				fixed +=
				        count(target->text + target->piece[i].at, target->piece[i].bytes, *c);
		must(count(out, n, *c) == fixed);
	}
	must(memcmp(out, target->text, target->piece[0].bytes) == 0);
}

/* "." and ".." the plain way: how many segments are that. */
static size_t dot_segments(const char *url, size_t bytes)
{
	char plain[ROOM];
	size_t n = 0, dots = 0;
	for (size_t i = 0; i < bytes && url[i] != '?'; i++) {
		bool encoded =
		        bytes - i >= 3 && url[i] == '%' && url[i + 1] == '2' && (url[i + 2] | 0x20) == 'e';
		plain[n++] = encoded ? '.' : url[i];
		i += encoded ? 2 : 0;
	}
	plain[n] = '\0';
	for (char *save = NULL, *segment = strtok_r(plain, "/", &save); segment != NULL;
	     segment = strtok_r(NULL, "/", &save)) {
		segment[strcspn(segment, ";")] = '\0';
		dots += strcmp(segment, ".") == 0 || strcmp(segment, "..") == 0;
	}
	return dots;
}

static void check_fill(const struct target *target, const struct data *data, const char *unmatched)
{
	struct shm_error error;
	char out[ROOM], other[ROOM];
	static const struct data none;
	long n = target_fill(target, data, unmatched, out, sizeof out, &error);
	if (n < 0)
		return;
	must(strlen(out) == (size_t)n);
	check_filled(target, out, (size_t)n);
	check_curl(target, out);
	/* with something harmless in all places there are as many dots: those of the template */
	long m = target_fill(target, &none, "x", other, sizeof other, &error);
	must(m < 0 || dot_segments(out, (size_t)n) == dot_segments(other, (size_t)m));
	char *tight = malloc((size_t)n + 1);
	must(tight != NULL);
	must(target_fill(target, data, unmatched, tight, (size_t)n, &error) < 0);
	must(target_fill(target, data, unmatched, tight, (size_t)n + 1, &error) == n);
	free(tight);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
	if (bytes > 4096)
		return 0;
	const char *all = (const char *)input, *end = all + bytes;
	const char *first = memchr(all, '\n', bytes);
	const char *second = first != NULL ? memchr(first + 1, '\n', (size_t)(end - first - 1)) : NULL;
	if (second == NULL)
		return 0;
	size_t url_bytes = (size_t)(first - all), json_bytes = (size_t)(end - second - 1);
	char *url = fuzz_copy(all, url_bytes), *json = fuzz_copy(second + 1, json_bytes);
	char *unmatched = strndup(first + 1, (size_t)(second - first - 1));
	must(unmatched != NULL);
	struct shm_error error = {""};
	struct target *target = NULL;
	struct data data = {0};
	bool taken = target_compile(&target, url, url_bytes, &error) == 0;
	must(taken || error.text[0] != '\0');
	check_door(url, url_bytes, taken, &error);
	int result = data_read(&data, json, json_bytes);
	check_data(&data, result, json, json_bytes);
	check_form(&data);
	if (taken)
		check_fill(target, &data, unmatched);
	target_free(target);
	data_free(&data);
	free(url);
	free(json);
	free(unmatched);
	return 0;
}
