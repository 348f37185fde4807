#include "deliver/redirect.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

bool redirect_is(unsigned status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool redirect_keeps(unsigned status)
{
	return status == 307 || status == 308;
}

static int copy(const char *url, char *out, size_t size)
{
	size_t used = 0;
	for (; *url != '\0'; url++) {
		bool brace = *url == '{' || *url == '}';
		if (used + (brace ? 3 : 1) >= size)
			return -ENOSPC;
		if (brace) {
			memcpy(out + used, *url == '{' ? "%7B" : "%7D", 3);
			used += 3;
		} else
			out[used++] = *url;
	}
	out[used] = '\0';
	return 0;
}

static bool begins(const char *url, const char *scheme)
{
	return strncasecmp(url, scheme, strlen(scheme)) == 0;
}

int redirect_resolve(const char *url, const char *location, char *out, size_t size)
{
	char *whole = NULL;
	int result = -EINVAL;
	CURLU *parts = curl_url();
	if (parts == NULL)
		return -ENOMEM;
	if (curl_url_set(parts, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_set(parts, CURLUPART_USER, NULL, 0) != CURLUE_OK ||
	    curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0) != CURLUE_OK ||
	    curl_url_set(parts, CURLUPART_URL, location, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
	    curl_url_set(parts, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK ||
	    curl_url_set(parts, CURLUPART_USER, NULL, 0) != CURLUE_OK ||
	    curl_url_set(parts, CURLUPART_PASSWORD, NULL, 0) != CURLUE_OK ||
	    curl_url_get(parts, CURLUPART_URL, &whole, 0) != CURLUE_OK)
		goto out;
	if (begins(url, "https:") && !begins(whole, "https:"))
		result = begins(whole, "http:") ? -EPERM : -EINVAL;
	else if (begins(whole, "http:") || begins(whole, "https:"))
		result = copy(whole, out, size);
out:
	curl_free(whole);
	curl_url_cleanup(parts);
	return result;
}
