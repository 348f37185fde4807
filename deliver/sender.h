/* A sender: requests out, answers in. Nothing blocks, nothing is looked up, nobody is followed.
 *
 *     sender_start(request with vetted addresses) --> connect or a kept connection --> PREREQ: the address is vetted once more
 *         --> request --> answer's head --> body, of which 4 KiB are kept --> sender_next gives the request back
 *
 * There are three: on libcurl multi (sender_curl), plain HTTP/1.1 over TCP (sender_plain.h), and
 * both as one (sender_auto.h). TLS is always verified. Never a proxy of the environment. HTTP/1.1,
 * or HTTP/2 where the request wishes it and TLS's ALPN agrees. Answers in gzip or deflate are
 * unpacked, up to the limit of what is kept. A connection is kept for the next request of its
 * origin, for at most `lifetime` and half a minute without one; at most `connections_kept` idle
 * ones in all. SIGPIPE is ignored by the process.
 *
 * An answer counts when its head is whole, whatever becomes of its body: the server has dealt with
 * the request. Of a body 64 KiB are read at most, then its connection is closed.
 *
 * A kept connection may turn out dead when the request has been sent: then the request ends with
 * -EPIPE and `reused`, for whoever sent it to decide (a postback is sent again at once, with the
 * same id; that is no attempt of its own).
 */
#ifndef DELIVER_SENDER_H
#define DELIVER_SENDER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "deliver/list.h"
#include "deliver/names.h"
#include "shm/segment.h"

#define SENDER_HEADERS_MAX 12u
#define SENDER_BODY_KEPT   4096u

/* Where an origin's requests go: vetted addresses. The caller's; unchanged while a request of it is
 * under way, but replaced as a whole with another serial. */
struct sender_place {
	char host[254]; /* as in the URL, without brackets */
	uint16_t port;
	unsigned n;
	uint8_t address[NAMES_ADDRESSES_MAX][16];
	uint32_t zone;
	uint64_t serial; /* of this set of addresses: another number with each change, 0 never */
};

/* May a request go over a connection to this address now? false: it ends with -EACCES. */
typedef bool sender_vet(void *context, const uint8_t address[16], uint16_t port, void *owner);

/* From here on the sender works on what has come for the request of this owner; NULL: for none.
 * Until then whoever dies dies of it. Requests that share a connection of HTTP/2 are taken for one
 * of them. */
typedef void sender_working(void *context, void *owner);

struct sender_options {
	unsigned requests;         /* at a time, at most; as many handles */
	unsigned connections_kept; /* idle ones, of all origins */
	uint64_t lifetime_ns;      /* of a connection */
	const char *ca_file;       /* "": the system's */
	const char *user_agent;
	sender_vet *vet;
	sender_working *working; /* NULL: nobody asks */
	void *context;           /* of both */
};

struct sender_request {
	/* the caller's, and left alone with all it points to until sender_next gives the request
	 * back */
	const char *method; /* "GET", "POST", "PUT", "PATCH", "DELETE" */
	const char *url;    /* its path goes out as it is */
	const struct sender_place *place;
	const char
	        *header[SENDER_HEADERS_MAX]; /* "Name: value"; no Host, Content-Length, User-Agent, Expect */
	unsigned n_headers;
	const void *body; /* NULL: none, and no Content-Length for GET and DELETE */
	size_t body_bytes;
	uint64_t connect_timeout_ns;    /* TLS included */
	uint64_t first_byte_timeout_ns; /* from the request sent to the answer's first byte */
	uint64_t timeout_ns;            /* of the whole */
	bool http2;
	void *owner;
	/* out */
	/* 0: there was an answer; -ETIMEDOUT; -ECONNREFUSED, -EHOSTUNREACH and what else connect(2)
	 * says; -EPROTO: TLS; -EPIPE: the connection was lost; -EBADMSG: an answer that is none;
	 * -EACCES: vet refused; -EMSGSIZE: a head over 64 KiB; -EINVAL: a URL, method or header
	 * that is none, or a URL whose host is not the place's; -ENOMEM */
	int result;
	bool sent;       /* at least one byte of the request went out */
	bool reused;     /* over a kept connection */
	unsigned status; /* 0 when no head came */
	uint32_t connect_us, tls_us, first_byte_us,
	        total_us;    /* each from the start; 0: it did not come to it; the first two of a
	                      * kept connection are 0 */
	uint8_t address[16]; /* of the server, or the last that was tried; zero: none */
	uint16_t port;
	/* -1: none; a date has become seconds from now (RFC 9110, 10.2.3) */
	int64_t retry_after_s;
	char location[2048];           /* as an absolute URL (RFC 3986, 5.2); "" none */
	char answer[SENDER_BODY_KEPT]; /* first bytes of its body */
	uint32_t answer_bytes;
	char reason[160]; /* the library's words when result is not 0 */
	/* the sender's; zero at first */
	struct link link;
	uint64_t begun_ns, due_ns; /* due: when it has taken too long in its state */
	void *own;                 /* NULL: it is not under way */
	struct sender *with;       /* of several senders that are one, the one that has it; NULL: none */
};

/* What is out, as it is before there is an answer. start does it, too. */
static inline void sender_clear(struct sender_request *request)
{
	request->result = 0;
	request->sent = request->reused = false;
	request->status = 0;
	request->connect_us = request->tls_us = request->first_byte_us = request->total_us = 0;
	memset(request->address, 0, sizeof request->address);
	request->port = 0;
	request->retry_after_s = -1;
	request->location[0] = '\0';
	request->answer_bytes = 0;
	request->reason[0] = '\0';
}

struct sender;

struct sender_ops {
	const char *name; /* "curl", "plain", "auto" */
	int (*open)(struct sender **sender, const struct sender_options *options, struct shm_error *error);
	/* Requests under way are the caller's again, without an answer. */
	void (*close)(struct sender *sender);
	/* 0: next will give it back, never start; -EAGAIN when `requests` are under way;
	 * -ENOMEM. */
	int (*start)(struct sender *sender, struct sender_request *request, uint64_t now_ns);
	/* Takes a request back before next has given it; it may have been sent. */
	void (*cancel)(struct sender *sender, struct sender_request *request);
	/* A request that has ended, or NULL. Drives all. */
	struct sender_request *(*next)(struct sender *sender, uint64_t now_ns);
	/* The addresses of the place are not to be used any more. Once for each place that goes, or
	 * the library keeps them for ever. libcurl cannot close single connections: those that are
	 * idle go when they are old, or unused for half a minute. The plain sender closes them. */
	void (*forget)(struct sender *sender, const struct sender_place *place);
	int (*fd)(const struct sender *sender); /* POLLIN: call next */
	uint64_t (*timeout)(const struct sender *sender, uint64_t timeout_ns, uint64_t now_ns);
	uint64_t (*memory_max)(const struct sender_options *options);
};

/* How every implementation begins. */
struct sender {
	const struct sender_ops *ops;
};

extern const struct sender_ops sender_curl;

#endif
