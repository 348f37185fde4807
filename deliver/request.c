#include "deliver/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "deliver/hosts.h"

#define FORM_TYPE "Content-Type: application/x-www-form-urlencoded"
#define JSON_TYPE "Content-Type: application/json"

#define KEY_HEADER "Idempotency-Key: "
_Static_assert(sizeof KEY_HEADER + EVENT_POSTBACK_ID_BYTES <= DELIVERY_HEADER_BYTES, "the id fits");

/* ---- headers ---- */

static void add(struct sender_request *request, const char *header)
{
	request->header[request->n_headers++] = header;
}

static void add_written(struct sender_request *request, char out[DELIVERY_HEADER_BYTES], const char *format,
                        ...) __attribute__((format(printf, 3, 4)));

static void add_written(struct sender_request *request, char out[DELIVERY_HEADER_BYTES], const char *format,
                        ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(out, DELIVERY_HEADER_BYTES, format, arguments);
	va_end(arguments);
	add(request, out);
}

static void sign(struct delivery *delivery)
{
	struct attempt *attempt = delivery->attempt;
	struct sender_request *request = &attempt->request;
	int64_t now_s = (int64_t)(delivery->begun_real_ns / NS_PER_SEC);
	if (delivery->policy->sign == NULL)
		return;
	add_written(request, attempt->id_header, "webhook-id: %s", attempt->id);
	add_written(request, attempt->time_header, "webhook-timestamp: %lld", (long long)now_s);
	sign_header(delivery->policy->sign, attempt->id, now_s, request->body, request->body_bytes,
	            attempt->sign_header);
	add(request, attempt->sign_header);
}

static void make_headers(struct delivery *delivery)
{
	struct attempt *attempt = delivery->attempt;
	struct sender_request *request = &attempt->request;
	request->n_headers = 0;
	if (request->body != NULL)
		add(request, delivery->policy->json ? JSON_TYPE : FORM_TYPE);
	char *end = mempcpy(attempt->key_header, KEY_HEADER, sizeof KEY_HEADER - 1);
	memcpy(end, attempt->id, sizeof attempt->id);
	add(request, attempt->key_header);
	sign(delivery);
}

/* ---- URL and body ---- */

static int make_url(struct delivery *delivery, const struct data *data, char *url, size_t url_most,
                    struct shm_error *error)
{
	long bytes =
	        target_fill(delivery->target, data, delivery->policy->unmatched, url, url_most + 1, error);
	if (bytes == -ENOSPC) {
		shm_explain(error, "URL: longer than deliver.url_most, %zu bytes", url_most);
		return -EINVAL;
	}
	if (bytes < 0)
		return (int)bytes;
	free(delivery->attempt->url);
	delivery->attempt->url = strdup(url);
	return delivery->attempt->url == NULL ? -ENOMEM : 0;
}

static bool has_body(unsigned method)
{
	return method == POSTBACK_POST || method == POSTBACK_PUT || method == POSTBACK_PATCH;
}

/* JSON goes out as it lies in the postback. */
static int make_body(struct delivery *delivery, const struct data *data)
{
	struct attempt *attempt = delivery->attempt;
	struct sender_request *request = &attempt->request;
	request->body = NULL;
	request->body_bytes = 0;
	free(attempt->body);
	attempt->body = NULL;
	if (!has_body(delivery->postback->method))
		return 0;
	if (delivery->policy->json) {
		request->body = data->json;
		request->body_bytes = data->bytes;
		return 0;
	}
	attempt->body = malloc(data_form_room(data) + 1);
	if (attempt->body == NULL)
		return -ENOMEM;
	request->body = attempt->body;
	request->body_bytes = data_form(data, attempt->body);
	return 0;
}

int request_make(struct delivery *delivery, struct data *data, char *url, size_t url_most,
                 struct shm_error *error)
{
	const struct event_postback *postback = delivery->postback;
	struct sender_request *request = &delivery->attempt->request;
	int result = data_read(data, postback->text + postback->url_bytes, postback->data_bytes);
	if (result == -EINVAL)
		shm_explain(error, "its data is no JSON object");
	if (result == 0)
		result = make_url(delivery, data, url, url_most, error);
	if (result == 0)
		result = make_body(delivery, data);
	if (result != 0)
		return result;
	request->method = postback_method_name(postback->method);
	request->url = delivery->attempt->url;
	request->connect_timeout_ns = delivery->policy->connect_timeout_ns;
	request->first_byte_timeout_ns = delivery->policy->first_byte_timeout_ns;
	request->timeout_ns = delivery->policy->timeout_ns;
	request->http2 = delivery->policy->http2;
	request->owner = delivery;
	event_postback_id(delivery->attempt->id, postback);
	delivery->attempt->id[EVENT_POSTBACK_ID_BYTES] = '\0';
	make_headers(delivery);
	return 0;
}

void request_place(struct delivery *delivery)
{
	delivery->attempt->request.place = &delivery->host->place;
}

void request_move(struct delivery *delivery, char *url, bool keeps)
{
	struct sender_request *request = &delivery->attempt->request;
	free(delivery->attempt->url);
	delivery->attempt->url = url;
	request->url = url;
	if (keeps)
		return;
	request->method = "GET";
	request->body = NULL;
	request->body_bytes = 0;
	make_headers(delivery);
}
