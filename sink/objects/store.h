/* Stores: where objects are kept. One small interface, asynchronous: the sink starts requests and
 * takes their results later; nothing here blocks the loop.
 *
 *     upload.c --store_start(request)--> directory | s3 | azure | null --> the same request, with its result, from store_next
 *
 *     STORE_PROBE    is it there, may we write? At the start and while failing.
 *     STORE_FIND     is there an object of this name; its token and size
 *     STORE_CREATE   begins an upload under this name, with the token as metadata --> upload id
 *     STORE_PART     part n of the upload; the same number and bytes as often as need be --> etag
 *     STORE_LIST     the parts that the store has of the upload (after a reboot)
 *     STORE_FINISH   completes the upload from the parts given, unconditionally
 *     STORE_PUT      the whole object at once, only if there is none of this name; never asked of a store whose part_min is 1
 *
 * Results mean the same of every store:
 *
 *     0          done, for certain
 *     -EEXIST    PUT: an object of this name is there (whose it is, FIND tells); FINISH: the same, of a store
 *                that can finish the upload under another name
 *     -ENOENT    FIND: there is none; PART, FINISH, LIST: the store does not know the upload, which
 *                alone proves nothing: FIND tells whether it was completed
 *     -EAGAIN    not done for now: try again later (500, 503, SlowDown, too many requests, a connection
 *                that failed before anything was sent, no room); wait_ns when the store said how long
 *     -EINPROGRESS   nobody knows: the request was sent and its answer was lost, or 409 or 412 after
 *                such a loss. FINISH and PUT: FIND tells; the others: do it again
 *     -EACCES    credentials, permission, bucket or container: a person must act. Tried again slowly.
 *     -EINVAL    the store will never take it (name too long, part too small): our bug or a store of
 *                another kind; reason has the store's words
 *
 * An answer of 200 with an error body is the error. reason has the store's own message, for people.
 */
#ifndef SINK_OBJECTS_STORE_H
#define SINK_OBJECTS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "config/config.h"
#include "shm/segment.h"
#include "sink/objects/journal.h"

enum store_action { STORE_PROBE, STORE_FIND, STORE_CREATE, STORE_PART, STORE_LIST, STORE_FINISH, STORE_PUT };

/* Of the journal's four words of an object these are the store's; the others are upload.c's. */
#define STORE_WORDS 2u

struct store_part {
	uint32_t number;
	uint64_t bytes;
	char etag[JOURNAL_ETAG_MAX];
};

/* Belongs to the caller, who leaves it and all that it points to alone until store_next gives it
 * back. */
struct store_request {
	enum store_action action;
	void *owner; /* the caller's */
	/* ---- in ---- */
	const char *name; /* of the object, name_bytes long; not of PROBE */
	size_t name_bytes;
	const char *token;         /* JOURNAL_TOKEN_BYTES */
	const char *upload;        /* id, 0-ended; of PART, LIST, FINISH */
	const char *encoding;      /* "gzip", "zstd", "identity"; CREATE, PUT */
	const char *type;          /* media type of the content */
	uint32_t number;           /* of the part */
	const struct iovec *piece; /* PART and PUT: the bytes */
	unsigned n_pieces;
	uint64_t bytes;  /* of all pieces */
	uint64_t offset; /* PART: bytes of all parts before it */
	uint64_t safe;   /* PART: bytes of those before the first that is not confirmed */
	/* CREATE: it may have been done before under this name and token, and its answer was lost:
	 * an upload that is there is taken up rather than left open */
	bool again;
	const struct store_part *part; /* FINISH: all of them in order; LIST: those once confirmed */
	uint32_t n_parts;
	/* The object's words of the journal that belong to the store, in and out; what it sets in
	 * CREATE is kept for it. What they mean is the store's: see directory.c. */
	uint64_t words[STORE_WORDS];
	/* ---- out ---- */
	int result;
	char reason[256];            /* "" when result is 0 */
	uint64_t wait_ns;            /* with -EAGAIN: the store asks for so long, 0: it did not say */
	char etag[JOURNAL_ETAG_MAX]; /* PART */
	char upload_made[JOURNAL_UPLOAD_MAX + 1];  /* CREATE; never "" */
	char token_found[JOURNAL_TOKEN_BYTES + 1]; /* FIND: "" when the object has none */
	uint64_t bytes_found;                      /* FIND */
	struct store_part *found;                  /* LIST: malloced, the caller frees it */
	uint32_t n_found;
	/* ---- the store's own while it works ---- */
	struct store_request *next;
	void *own;
};

struct store; /* opaque */

/* What a store can do; the same for its whole life. */
struct store_traits {
	const char *name; /* for people: "s3://bucket", "directory /var/lib/objects" */
	uint64_t
	        /* bytes of every part but the last: 5 MiB of S3, 1 MiB of Azure, 1 of a
	         * directory */
	        part_min;
	uint64_t part_max;
	uint32_t parts_max;
	uint64_t object_max;    /* bytes */
	size_t name_max;        /* bytes of an object's name */
	size_t component_max;   /* bytes between two slashes of it; 0: as long as the name */
	unsigned requests;      /* at a time */
	uint64_t upload_max_ns; /* it forgets an upload after that; 0: never */
	bool keeps_token;       /* FIND tells it */
	bool late_name;         /* FINISH alone takes the name, so it can be another one than CREATE's */
};

struct store_wait {
	int fd;
	short events; /* as poll(2) has them */
};

struct store_ops {
	const char *kind; /* "directory", "s3", "azure", "null" */
	/* Is it the one that the section asks for? */
	bool (*meant)(const struct config *config, const char *section);
	/* Reads the options, allocates; no request yet. section: "sinks[2]". Returns 0 or -errno
	 * with "KEY: WHAT" in error. */
	int (*open)(struct store **store, const struct config *config, const char *section,
	            struct shm_error *error);
	void (*close)(struct store *store); /* what is under way is given up, its requests forgotten */
	const struct store_traits *(*traits)(const struct store *store);
	/* Starts a request. False when as many as it can do are under way. */
	bool (*start)(struct store *store, struct store_request *request);
	/* A request that has ended, or NULL. Drives the work; never blocks. */
	struct store_request *(*next)(struct store *store, uint64_t now_ns);
	/* Descriptors to wait for (POLLIN, POLLOUT in events), at most n; returns how many.
	 * *timeout_ns is lowered to when `next` must be called. */
	unsigned (*wait)(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns);
	/* Bytes of ordinary memory that it can come to hold. */
	uint64_t (*memory_max)(const struct config *config, const char *section);
	/* --check: could it be opened? Makes and changes nothing and asks no server. As `open`;
	 * NULL: nothing to look at. */
	int (*check)(const struct config *config, const char *section, struct shm_error *error);
};

extern const struct store_ops store_directory, store_s3, store_azure, store_null;

/* The store that the section asks for: s3 when s3.bucket is set, azure when azure.container is,
 * null when store.discard is true, the directory when none is. -EINVAL with the reason when more
 * than one is. */
int store_choose(const struct store_ops **ops, const struct config *config, const char *section,
                 struct shm_error *error);

#endif
