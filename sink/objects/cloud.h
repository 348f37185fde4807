/* A store that is asked over HTTP: what s3.c and azure.c share. Each is a struct cloud_kind; its
 * struct store begins with a struct cloud, and its work with a struct cloud_work.
 *
 *     cloud_start --> begin --> [sums of the body] --> keys --> sent, signed at that moment --> take --> cloud_end, or the next HTTP request of the action
 *                       '- cloud_ask, cloud_add_header, cloud_add_body                           '- cloud_judge, cloud_refuse
 *
 * What is refused is asked once more where there is a remedy: other keys, or the store's time in
 * place of ours.
 */
#ifndef SINK_OBJECTS_CLOUD_H
#define SINK_OBJECTS_CLOUD_H

#include <openssl/evp.h>

#include "sink/objects/http.h"
#include "sink/objects/store.h"

#define CLOUD_URL_MAX        8192u /* a name percent-encoded, a query, a SAS */
#define CLOUD_LINES_MAX      6144u /* of headers */
#define CLOUD_KEY_MAX        80u
#define CLOUD_SIGNED_HEADERS 4u /* that signing may add */

enum cloud_state { CLOUD_FREE, CLOUD_DIGEST, CLOUD_READY, CLOUD_SENT, CLOUD_ENDED };

/* Sums of a body, a set. */
enum cloud_sum { CLOUD_SHA256 = 1, CLOUD_MD5 = 2, CLOUD_CRC32C = 4 };

/* A request of the caller under way. */
struct cloud_work {
	struct store *store;
	struct store_request *request;
	enum cloud_state state;
	int ask;                   /* the kind's: which HTTP request of the action */
	bool refreshed, reclocked; /* the two remedies help once */
	uint64_t generation;       /* of the keys that it is sent with */
	int sign_result;

	struct http_request http;
	char url[CLOUD_URL_MAX];
	size_t query_at;             /* of url */
	char lines[CLOUD_LINES_MAX]; /* the headers' text */
	size_t lines_bytes;

	/* the sums of the body, as far as they have got */
	unsigned sums; /* enum cloud_sum */
	unsigned piece;
	size_t piece_at;
	EVP_MD_CTX *sha256, *md5; /* made when first needed */
	uint32_t crc;

	char *body; /* a list of parts that is sent; malloced, or NULL */
	struct iovec body_piece;
};

/* What a kind of stores does itself. */
struct cloud_kind {
	const char *name; /* of its options: sinks[2].store.NAME */
	size_t store_bytes, work_bytes;
	size_t answer_max; /* bytes of an answer */
	/* Reads the options below key; sets name and traits. Returns 0 or -errno with the
	 * reason. */
	int (*open)(struct store *store, const struct config *config, const char *key,
	            struct shm_error *error);
	void (*close)(struct store *store); /* also what open left half done */
	/* Builds the first HTTP request: the work is then as cloud_ask leaves it, or has ended. */
	void (*begin)(struct cloud_work *work);
	void (*take_sums)(struct cloud_work *work); /* adds them to the headers */
	/* Just before sending. Returns 0; -EINPROGRESS: no keys yet, asked again; or what ends the
	 * work, with *reason. */
	int (*prepare)(struct cloud_work *work, uint64_t now_ns, const char **reason);
	/* Adds headers to work->http, now_s being the store's time. Returns 0 or -errno. */
	int (*sign)(struct cloud_work *work, int64_t now_s);
	/* Reads the answer to work->ask, a copy of work->http, which is built anew: the work has
	 * ended, or has its next HTTP request, or the same once more. */
	void (*take)(struct cloud_work *work, const struct http_request *answer);
	/* The keys of work->generation were refused: true when others are to be had, or may be. */
	bool (*refresh)(struct cloud_work *work);
	void (*drive)(struct store *store, uint64_t now_ns); /* what fetches the keys */
	unsigned (*wait)(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns);
	void (*clear)(struct cloud_work *work); /* frees what its part of the work holds; or NULL */
};

struct cloud {
	const struct cloud_kind *kind;
	struct store_traits traits;
	char name[320];
	char section[64];
	char probe_name[256]; /* next to where the objects go */
	struct http *http;
	char *work; /* n_work times kind->work_bytes */
	unsigned n_work;
	int64_t skew_s; /* what is added to our clock */
};

/* ---- opening, and the operations of store.h ---- */

/* The configured value, or if that is "" the environment's, or "". */
const char *cloud_first_set(const char *configured, const char *variable);

int cloud_open(struct store **opened, const struct cloud_kind *kind, const struct config *config,
               const char *section, struct shm_error *error);
int cloud_check(const struct cloud_kind *kind, const struct config *config, const char *section,
                struct shm_error *error);
/* Without the keys' memory. list_bytes: of a list of parts that a work sends or reads. */
uint64_t cloud_memory_max(const struct cloud_kind *kind, const struct config *config, const char *section,
                          uint64_t list_bytes);
void cloud_close(struct store *store);
const struct store_traits *cloud_traits(const struct store *store);
bool cloud_start(struct store *store, struct store_request *request);
struct store_request *cloud_next(struct store *store, uint64_t now_ns);
unsigned cloud_wait(struct store *store, struct store_wait *wait, unsigned n, uint64_t *timeout_ns);

/* ---- building an HTTP request ---- */

/* Begins one without headers and body: CLOUD_READY. The URL is the kind's to write. */
void cloud_ask(struct cloud_work *work, int ask, const char *method);

/* As printf has it. Ends the work when there is no room; nothing when it has ended. */
void cloud_add_header(struct cloud_work *work, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The body, and which sums of it are made before it is sent: CLOUD_DIGEST when there are any. */
void cloud_add_body(struct cloud_work *work, const struct iovec *piece, unsigned n, uint64_t bytes,
                    unsigned sums);

/* Ends the work: reason "" or what is wrong, as printf has it. */
void cloud_end(struct cloud_work *work, int result, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* ---- answers ---- */

/* Seconds since 1970 by the store's clock, as far as it is known. */
int64_t cloud_now_s(const struct store *store);

/* What can be done about an answer at once. */
enum cloud_remedy {
	CLOUD_NO_REMEDY,
	CLOUD_NEW_KEYS,  /* the store does not take them (any more) */
	CLOUD_NEW_CLOCK, /* our clock is wrong: the answer has a Date */
};

struct cloud_meaning {
	int result; /* store.h, "Results" */
	enum cloud_remedy remedy;
	uint64_t wait_ns; /* that the store asks for */
	char code[64];    /* "" when there is none */
	char reason[256]; /* "403 AccessDenied: Access Denied" */
};

/* A code that means something else than its status does. */
struct cloud_code {
	const char *code;
	int result;
	enum cloud_remedy remedy;
};

/* True of the two actions of which nobody knows afterwards whether they worked. */
bool cloud_is_final(enum store_action action);

/* Judges an answer to a request for `action` that was not plain success: another status than
 * wanted, 200 with an error in its body, or no answer at all. code, message: what the store
 * says. */
void cloud_judge(struct cloud_meaning *meaning, const struct http_request *answer, enum store_action action,
                 const struct cloud_code *codes, size_t n_codes, const char *code, const char *message);

/* Applies the remedy: the same request once more. Ends the work with the result where there is
 * none, or it has not helped. */
void cloud_refuse(struct cloud_work *work, const struct http_request *answer,
                  const struct cloud_meaning *meaning);

#endif
