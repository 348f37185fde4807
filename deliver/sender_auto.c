#include "deliver/sender_auto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/sender_limits.h"
#include "deliver/sender_plain.h"

struct auto_sender {
	struct sender sender; /* first */
	struct sender *plain, *curl;
	unsigned n_busy, n_curl, most; /* requests that are not given back; those with libcurl */
	bool curl_first;               /* it was asked first the last time */
};

static struct auto_sender *of(struct sender *sender)
{
	return (struct auto_sender *)sender;
}

static void auto_close(struct sender *opened)
{
	struct auto_sender *sender = of(opened);
	if (sender->plain != NULL)
		sender_plain.close(sender->plain);
	if (sender->curl != NULL)
		sender_curl.close(sender->curl);
	free(sender);
}

static int auto_open(struct sender **opened, const struct sender_options *options, struct shm_error *error)
{
	struct auto_sender *sender = calloc(1, sizeof *sender);
	if (sender == NULL) {
		shm_explain(error, "the sender: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	sender->sender.ops = &sender_auto;
	sender->most = options->requests;
	int r = sender_curl.open(&sender->curl, options, error);
	if (r == 0)
		r = sender_plain.open(&sender->plain, options, error);
	if (r == 0) {
		r = sender_plain_beside(sender->plain, sender_curl.fd(sender->curl));
		if (r != 0)
			shm_explain(error, "the sender: %s", strerror(-r));
	}
	if (r != 0) {
		auto_close(&sender->sender);
		return r;
	}
	*opened = &sender->sender;
	return 0;
}

static int auto_start(struct sender *started, struct sender_request *request, uint64_t now_ns)
{
	struct auto_sender *sender = of(started);
	sender_clear(request);
	if (sender->n_busy == sender->most)
		return -EAGAIN;
	struct sender *with = sender->plain;
	int r = sender_plain_try(with, request, now_ns);
	if (r == -EINVAL) {
		with = sender->curl;
		r = sender_curl.start(with, request, now_ns);
	}
	if (r != 0)
		return r;
	request->with = with;
	sender->n_busy++;
	sender->n_curl += with == sender->curl;
	return 0;
}

static void leaves(struct auto_sender *sender, struct sender_request *request)
{
	sender->n_busy--;
	sender->n_curl -= request->with == sender->curl;
	request->with = NULL;
}

static void auto_cancel(struct sender *started, struct sender_request *request)
{
	if (request->with == NULL)
		return;
	request->with->ops->cancel(request->with, request);
	leaves(of(started), request);
}

static struct sender_request *next_of(struct auto_sender *sender, struct sender *from, uint64_t now_ns)
{
	struct sender_request *request = from->ops->next(from, now_ns);
	if (request != NULL)
		leaves(sender, request);
	return request;
}

/* libcurl is left alone while it has nothing to do. When both have, they take turns to be asked
 * first, so that neither waits for the other. */
static struct sender_request *auto_next(struct sender *started, uint64_t now_ns)
{
	struct auto_sender *sender = of(started);
	struct sender_request *request = NULL;
	bool curl = sender->n_curl > 0;
	sender->curl_first = curl && !sender->curl_first;
	if (sender->curl_first)
		request = next_of(sender, sender->curl, now_ns);
	if (request == NULL)
		request = next_of(sender, sender->plain, now_ns);
	if (request == NULL && !sender->curl_first && (curl || sender_plain_woken(sender->plain)))
		request = next_of(sender, sender->curl, now_ns);
	return request;
}

static void auto_forget(struct sender *started, const struct sender_place *place)
{
	struct auto_sender *sender = of(started);
	sender_plain.forget(sender->plain, place);
	sender_curl.forget(sender->curl, place);
}

static int auto_fd(const struct sender *started)
{
	return sender_plain.fd(((const struct auto_sender *)started)->plain);
}

static uint64_t auto_timeout(const struct sender *started, uint64_t timeout_ns, uint64_t now_ns)
{
	const struct auto_sender *sender = (const struct auto_sender *)started;
	timeout_ns = sender_plain.timeout(sender->plain, timeout_ns, now_ns);
	return sender_curl.timeout(sender->curl, timeout_ns, now_ns);
}

/* A request under way is with one of them, so what it takes there is counted once. */
static uint64_t auto_memory_max(const struct sender_options *options)
{
	return sizeof(struct auto_sender) + sender_plain.memory_max(options) +
	       sender_curl.memory_max(options) - (uint64_t)options->requests * SENDER_CONNECTION_BYTES;
}

const struct sender_ops sender_auto = {
        .name = "auto",
        .open = auto_open,
        .close = auto_close,
        .start = auto_start,
        .cancel = auto_cancel,
        .next = auto_next,
        .forget = auto_forget,
        .fd = auto_fd,
        .timeout = auto_timeout,
        .memory_max = auto_memory_max,
};
