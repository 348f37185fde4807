#include "deliver/reply_values.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t reply_retry_after(const char *value, size_t bytes)
{
	char text[64], *end;
	if (bytes == 0 || bytes >= sizeof text)
		return -1;
	memcpy(text, value, bytes);
	text[bytes] = '\0';
	if (strspn(text, "0123456789") == bytes) {
		errno = 0;
		long long seconds = strtoll(text, &end, 10);
		return errno == 0 ? seconds : INT64_MAX;
	}
	time_t then = curl_getdate(text, NULL), now = time(NULL);
	if (then == -1)
		return -1;
	return then > now ? (int64_t)(then - now) : 0;
}

bool reply_keep_location(struct sender_request *request, const char *value, size_t bytes)
{
	if (bytes == 0 || bytes >= sizeof request->location)
		return false;
	memcpy(request->location, value, bytes);
	request->location[bytes] = '\0';
	return true;
}

void reply_resolve_location(struct sender_request *request)
{
	char *whole = NULL;
	CURLU *url = curl_url();
	if (url == NULL || curl_url_set(url, CURLUPART_URL, request->url, 0) != CURLUE_OK ||
	    curl_url_set(url, CURLUPART_URL, request->location, CURLU_URLENCODE) != CURLUE_OK ||
	    curl_url_get(url, CURLUPART_URL, &whole, 0) != CURLUE_OK ||
	    (size_t)snprintf(request->location, sizeof request->location, "%s", whole) >=
	            sizeof request->location)
		request->location[0] = '\0';
	curl_free(whole);
	curl_url_cleanup(url);
}
