#include "deliver/sender_inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/address.h"
#include "base/clock.h"

/* An idle connection is used again for so long: less than servers keep it, so that a request seldom
 * meets one that is just being closed. */
#define IDLE_SECONDS 30u

/* Answers are small, and each handle has such a buffer. */
#define BUFFER_BYTES 4096L

/* ---- time-outs ---- */

void sender_due(struct slot *slot, uint64_t timeout_ns)
{
	struct curl_sender *sender = slot->sender;
	under_way_due(&sender->requests, slot->request, timeout_ns, sender->now_ns);
}

void sender_answering(struct slot *slot)
{
	slot->state = SENDER_ANSWERING;
	sender_due(slot, slot->request->timeout_ns);
}

/* ---- what libcurl calls ---- */

/* True when the request may go to its address. */
static bool vetted(struct slot *slot)
{
	const struct sender_options *options = &slot->sender->options;
	struct sender_request *request = slot->request;
	if (options->vet(options->context, request->address, request->port, request->owner))
		return true;
	slot->result = -EACCES;
	slot->why = SENDER_FORBIDDEN;
	return false;
}

/* The kept connection that the request went out on is dead; libcurl sends any request again on
 * another one then, unasked. */
static bool is_repeat(struct slot *slot)
{
	if (slot->tries == 0)
		return false;
	slot->result = -EPIPE;
	slot->why = SENDER_DEAD;
	return true;
}

static curl_socket_t open_socket(void *argument, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct slot *slot = argument;
	struct sender_request *request = slot->request;
	(void)purpose;
	if (slot->result != 0 || is_repeat(slot))
		return CURL_SOCKET_BAD;
	if (!address_host(request->address, &to->addr))
		return CURL_SOCKET_BAD;
	request->port = ntohs(to->family == AF_INET ? ((const struct sockaddr_in *)&to->addr)->sin_port
	                                            : ((const struct sockaddr_in6 *)&to->addr)->sin6_port);
	if (!vetted(slot))
		return CURL_SOCKET_BAD;
	int fd = socket(to->family, to->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, to->protocol);
	if (fd >= 0 && !sender_watch_new(slot->sender, fd)) {
		close(fd);
		return CURL_SOCKET_BAD;
	}
	slot->opened = true;
	return fd;
}

/* There is a connection, and the head is sent as soon as this returns. */
static int about_to_send(void *argument, char *to, char *from, int to_port, int from_port)
{
	struct slot *slot = argument;
	struct sender_request *request = slot->request;
	(void)from, (void)from_port;
	if (slot->result != 0 || is_repeat(slot))
		return CURL_PREREQFUNC_ABORT;
	slot->tries++;
	request->reused = !slot->opened;
	request->port = (uint16_t)to_port;
	if (!address_host_parse(request->address, to))
		memset(request->address, 0, sizeof request->address);
	if (!vetted(slot))
		return CURL_PREREQFUNC_ABORT;
	slot->state = SENDER_WAITING;
	sender_due(slot, request->first_byte_timeout_ns);
	/* libcurl sends, and looks for an answer at once. */
	sender_work_on(slot->sender, slot);
	return CURL_PREREQFUNC_OK;
}

/* libcurl does not find the host in its cache: fine for an address in text, which it only converts.
 * Anything else it would look up, in a thread, and go to what nobody has vetted. */
static int about_to_resolve(void *resolver, void *reserved, void *argument)
{
	struct slot *slot = argument;
	struct in_addr ipv4;
	const char *host = slot->request->place->host;
	(void)resolver, (void)reserved;
	if (strchr(host, ':') != NULL || inet_aton(host, &ipv4) != 0)
		return 0;
	slot->result = -EINVAL;
	slot->why = "the host of the URL is not the one whose addresses are known";
	return 1;
}

/* ---- options ---- */

/* What no request changes is set once. */
static bool make_handle(struct slot *slot)
{
	const struct curl_sender *sender = slot->sender;
	uint64_t lifetime_s = (sender->options.lifetime_ns + NS_PER_SEC - 1) / NS_PER_SEC;
	CURL *easy = slot->easy = curl_easy_init();
	if (easy == NULL)
		return false;
	curl_easy_setopt(easy, CURLOPT_PRIVATE, slot);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, slot->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	if (sender->ca_file[0] != '\0') {
		curl_easy_setopt(easy, CURLOPT_CAINFO, sender->ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* else the system's are trusted besides */
	}
	curl_easy_setopt(easy, CURLOPT_USERAGENT, sender->user_agent);
	curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, SENDER_CODINGS);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	/* else each end looks through all names */
	curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, -1L);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN,
	                 (long)(lifetime_s < IDLE_SECONDS ? lifetime_s : IDLE_SECONDS));
	curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long)lifetime_s);
	if (sender->options.connections_kept == 0)
		curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, slot);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, about_to_send);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, slot);
	curl_easy_setopt(easy, CURLOPT_RESOLVER_START_FUNCTION, about_to_resolve);
	curl_easy_setopt(easy, CURLOPT_RESOLVER_START_DATA, slot);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, sender_answer_head);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, slot);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, sender_answer_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	slot->header[0].data = (char *)(uintptr_t) "Expect:";
	return curl_easy_setopt(easy, CURLOPT_HTTPHEADER, slot->header) == CURLE_OK;
}

static int set_headers(struct slot *slot, bool body)
{
	const struct sender_request *request = slot->request;
	struct curl_slist *last = &slot->header[0];
	bool typed = false;
	for (unsigned i = 0; i < request->n_headers; i++) {
		const char *text = request->header[i];
		if (strpbrk(text, "\r\n") != NULL || strchr(text, ':') == NULL)
			return -EINVAL;
		typed |= strncasecmp(text, "Content-Type:", 13) == 0;
		last->next = &slot->header[i + 1];
		last = last->next;
		last->data = (char *)(uintptr_t)text;
	}
	if (body && !typed) { /* libcurl would call it a form */
		last->next = &slot->header[request->n_headers + 1];
		last = last->next;
		last->data = (char *)(uintptr_t) "Content-Type:";
	}
	last->next = NULL;
	return 0;
}

static void set_method(struct slot *slot, bool body)
{
	const char *method = slot->request->method;
	if (body) {
		curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDSIZE_LARGE,
		                 (curl_off_t)slot->request->body_bytes);
		curl_easy_setopt(slot->easy, CURLOPT_POSTFIELDS,
		                 slot->request->body != NULL ? slot->request->body : "");
	}
	if (body == slot->set.body && strcmp(method, slot->set.method) == 0)
		return;
	if (!body)
		curl_easy_setopt(slot->easy, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(slot->easy, CURLOPT_CUSTOMREQUEST,
	                 strcmp(method, body ? "POST" : "GET") == 0 ? NULL : method);
	slot->set.body = body;
	snprintf(slot->set.method, sizeof slot->set.method, "%s", method);
}

/* Rounded up, so that our own time-out is not before it. */
static long milliseconds(uint64_t ns)
{
	uint64_t ms = ns / NS_PER_MS + 1;
	return ms > INT32_MAX ? INT32_MAX : (long)ms;
}

/* Only what has changed since the last request of the handle. */
static void set_others(struct slot *slot)
{
	const struct sender_request *request = slot->request;
	long connect_ms = milliseconds(request->connect_timeout_ns);
	bool uncached = strchr(request->place->host, ':') != NULL;
	if (request->http2 != slot->set.http2)
		curl_easy_setopt(slot->easy, CURLOPT_HTTP_VERSION,
		                 (long)(request->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
	/* of several addresses, each gets a part of it */
	if (connect_ms != slot->set.connect_ms)
		curl_easy_setopt(slot->easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
	if (request->place->zone != slot->set.zone)
		curl_easy_setopt(slot->easy, CURLOPT_ADDRESS_SCOPE, (long)request->place->zone);
	/* an IPv6 address in text, which is not pinned, must not stay for ever */
	if (uncached != slot->set.uncached)
		curl_easy_setopt(slot->easy, CURLOPT_DNS_CACHE_TIMEOUT, uncached ? 0L : -1L);
	slot->set.http2 = request->http2;
	slot->set.connect_ms = connect_ms;
	slot->set.zone = request->place->zone;
	slot->set.uncached = uncached;
}

int sender_handle_set(struct slot *slot)
{
	const struct sender_request *request = slot->request;
	if (strlen(request->method) >= SENDER_METHOD_MAX || request->place->n == 0)
		return -EINVAL;
	if (slot->easy == NULL && !make_handle(slot))
		return -ENOMEM;
	bool body = request->body != NULL || request->method[0] == 'P';
	int r = set_headers(slot, body);
	if (r != 0)
		return r;
	set_method(slot, body);
	set_others(slot);
	CURLcode code = curl_easy_setopt(slot->easy, CURLOPT_URL, request->url);
	return code == CURLE_OK ? 0 : code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
}
