/* The inside of the sender on libcurl: what its sources share.
 *
 *     sender_curl.c     opening, requests, libcurl's loop
 *     sender_handle.c   a handle: its options, its time-outs, what libcurl asks before it connects and sends
 *     sender_answer.c   the head and the body of an answer, and what its end means
 *     pins.c            names in libcurl's cache
 */
#ifndef DELIVER_SENDER_INSIDE_H
#define DELIVER_SENDER_INSIDE_H

#include <curl/curl.h>

#include "deliver/pins.h"
#include "deliver/sender.h"
#include "deliver/sender_limits.h"
#include "deliver/under_way.h"

/* A handle, and the request that it is busy with. */
struct slot {
	struct curl_sender *sender;
	struct slot *next;              /* free ones */
	CURL *easy;                     /* NULL: not made yet */
	struct sender_request *request; /* NULL: free */
	enum sender_state state;
	unsigned tries;  /* how often it was about to be sent */
	bool opened;     /* a connection, for itself */
	int result;      /* why we ended it; 0: libcurl knows */
	const char *why; /* ours, "" or a constant */
	/* of the answer */
	bool head_whole; /* what comes now is body, or trailers */
	bool redirects;  /* there is a Location */
	size_t head_bytes, body_bytes;
	/* The headers, with Expect before them and room for Content-Type after. libcurl reads the
	 * list where it lies (CURLOPT_HTTPHEADER). */
	struct curl_slist header[SENDER_HEADERS_MAX + 2];
	/* what the handle is set to */
	struct {
		char method[SENDER_METHOD_MAX]; /* "": nothing yet */
		bool body, http2, uncached;
		long connect_ms;
		uint32_t zone;
	} set;
	char error[CURL_ERROR_SIZE]; /* libcurl's */
};

/* What epoll is asked about a descriptor. It stays asked when libcurl does not want it any more,
 * because the next request on the connection will: that saves two system calls for each. */
struct watched {
	uint8_t asked, wanted; /* EPOLLIN, EPOLLOUT */
	struct slot *slot;     /* for which libcurl wants it; NULL: it does not */
};

struct curl_sender {
	struct sender sender; /* first */
	CURLM *multi;
	int epoll;
	struct watched *watched; /* by descriptor */
	size_t watched_room;
	uint64_t now_ns;   /* the caller's, of this call */
	uint64_t timer_ns; /* when libcurl wants to be called at the latest */
	struct sender_options options;
	char *ca_file, *user_agent;
	struct pins *pins;
	struct slot *slot, *free;
	unsigned n_made;
	struct under_way requests;
};

/* ---- sender_answer.c ---- */

/* CURLOPT_HEADERFUNCTION, CURLOPT_WRITEFUNCTION. */
size_t sender_answer_head(char *from, size_t size, size_t n, void *slot);
size_t sender_answer_body(char *from, size_t size, size_t n, void *slot);

/* Says in the request what has come of it: libcurl's code, or slot->result when that is set. */
void sender_answer_end(struct slot *slot, CURLcode code);

/* ---- sender_curl.c ---- */

/* A new socket: nothing is known of its descriptor. False when there is no memory. */
bool sender_watch_new(struct curl_sender *sender, int fd);

/* What libcurl does next is for the request of this slot; NULL: for none alone. */
void sender_work_on(struct curl_sender *sender, const struct slot *slot);

/* ---- sender_handle.c ---- */

/* Sets the handle up for its request; made when there is none. Returns 0; -EINVAL; -ENOMEM. */
int sender_handle_set(struct slot *slot);

/* What comes next has timeout_ns, and the whole request until its end. */
void sender_due(struct slot *slot, uint64_t timeout_ns);

/* The first line of a head has come. */
void sender_answering(struct slot *slot);

#endif
