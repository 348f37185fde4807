#include "sink/objects/azure_identity.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sink/objects/azure_token.h"
#include "sink/objects/http.h"

#define MACHINE_ENDPOINT "http://169.254.169.254"
#define MACHINE_PATH     "/metadata/identity/oauth2/token?api-version=2018-02-01"
#define SERVICE_VERSION  "api-version=2019-08-01"
#define RESOURCE         "&resource=https%3A%2F%2Fstorage.azure.com%2F"

#define URL_MAX        1024u
#define HEADER_MAX     1024u
#define ANSWER_MAX     (64u << 10)
#define CLIENT_MAX     128u
#define CLIENT_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"

/* Tokens last for hours: asked for again when a tenth of the time is left, at most five minutes
 * before the end, and as often as REPEAT_NS while the service still has the old one. A token that
 * ends within SPARE_NS is none any more. */
#define EARLY_MOST_NS (300 * NS_PER_SEC)
#define SPARE_NS      (AZURE_TOKEN_SPARE_S * NS_PER_SEC)
#define REPEAT_NS     (NS_PER_SEC)

#define WAIT_FIRST_NS NS_PER_SEC
#define WAIT_MOST_NS  (60 * NS_PER_SEC)

struct azure_identity {
	struct http *http;
	struct http_request request;
	char url[URL_MAX], header[HEADER_MAX];
	bool asking;
	struct azure_token token;
	uint64_t number;           /* 0: there has been none */
	uint64_t renew_ns, end_ns; /* CLOCK_MONOTONIC; 0: at once */
	uint64_t next_ns, wait_ns; /* not before then, after a failure */
	int result;                /* of the last try */
	char reason[256];
};

/* ---- opening ---- */

static int make_url(struct azure_identity *identity, const struct azure_identity_options *options,
                    struct shm_error *error)
{
	const char *service = getenv("IDENTITY_ENDPOINT"), *secret = getenv("IDENTITY_HEADER");
	bool machine = options->endpoint[0] != '\0' || service == NULL || secret == NULL;
	const char *client = options->client_id;
	if (strlen(client) > CLIENT_MAX || strspn(client, CLIENT_LETTERS) != strlen(client)) {
		shm_explain(error, "client_id: is none; allowed: letters, digits and -");
		return -EINVAL;
	}
	if (machine && options->endpoint[0] == '\0' && service != NULL && getenv("IMDS_ENDPOINT") != NULL) {
		shm_explain(
		        error,
		        "identity_endpoint: tokens of Azure Arc are not supported; allowed: another kind of credentials");
		return -EINVAL;
	}
	const char *base = !machine ? service : options->endpoint[0] ? options->endpoint : MACHINE_ENDPOINT;
	size_t length = strlen(base);
	while (machine && length > 0 && base[length - 1] == '/')
		length--;
	int n = snprintf(identity->url, sizeof identity->url, "%.*s%s%s%s%s", (int)length, base,
	                 machine             ? MACHINE_PATH
	                 : strchr(base, '?') ? "&" SERVICE_VERSION
	                                     : "?" SERVICE_VERSION,
	                 RESOURCE, client[0] ? "&client_id=" : "", client);
	int m = machine ? snprintf(identity->header, sizeof identity->header, "Metadata: true")
	                : snprintf(identity->header, sizeof identity->header, "X-IDENTITY-HEADER: %s",
	                           secret);
	if ((size_t)n < sizeof identity->url && (size_t)m < sizeof identity->header)
		return 0;
	shm_explain(error, "identity_endpoint: is too long, or the environment's IDENTITY_HEADER is");
	return -EINVAL;
}

static struct http_options http_options(const struct azure_identity_options *options)
{
	return (struct http_options){.connections = 1,
	                             .connect_timeout_ns = options->connect_timeout_ns,
	                             .stall_timeout_ns = options->request_timeout_ns,
	                             .total_timeout_ns = options->request_timeout_ns,
	                             .ca_file = "",
	                             .answer_max = ANSWER_MAX};
}

int azure_identity_open(struct azure_identity **opened, const struct azure_identity_options *options,
                        struct shm_error *error)
{
	struct http_options http = http_options(options);
	struct azure_identity *identity = calloc(1, sizeof *identity);
	if (identity == NULL) {
		shm_explain(error, "out of memory");
		return -ENOMEM;
	}
	int result = make_url(identity, options, error);
	if (result == 0)
		result = http_open(&identity->http, &http, error);
	if (result != 0) {
		azure_identity_close(identity);
		return result;
	}
	*opened = identity;
	return 0;
}

void azure_identity_close(struct azure_identity *identity)
{
	if (identity == NULL)
		return;
	http_close(identity->http);
	OPENSSL_cleanse(identity, sizeof *identity);
	free(identity);
}

uint64_t azure_identity_memory_max(void)
{
	struct http_options http = {.connections = 1, .answer_max = ANSWER_MAX};
	return sizeof(struct azure_identity) + http_memory_max(&http) + 4 * ANSWER_MAX;
}

/* ---- answers ---- */

/* Takes the token out of an answer. False when there is none in it, or one that has ended. */
static bool take_token(struct azure_identity *identity, const struct http_request *answer, uint64_t now_ns)
{
	/* by the service's clock, when it tells: ours may be wrong */
	uint64_t now_s = (uint64_t)http_date(answer);
	if (now_s == 0)
		now_s = clock_real_ns() / NS_PER_SEC;
	if (!azure_token_read(&identity->token, answer->body, answer->body_bytes, now_s))
		return false;
	uint64_t left_ns = identity->token.left_s * NS_PER_SEC, early = left_ns / 10 + SPARE_NS;
	identity->end_ns = now_ns + left_ns;
	identity->renew_ns = identity->end_ns - (early < EARLY_MOST_NS ? early : EARLY_MOST_NS);
	identity->next_ns = now_ns + REPEAT_NS;
	identity->wait_ns = 0;
	identity->number++;
	identity->result = 0;
	return true;
}

/* What the service says. */
static void take_refusal(struct azure_identity *identity, const struct http_request *answer)
{
	char words[224];
	azure_token_refusal(words, sizeof words, answer->body, answer->body_bytes);
	if (answer->result != 0)
		snprintf(identity->reason, sizeof identity->reason, "managed identity: %s", answer->reason);
	else if (answer->status == 200)
		snprintf(identity->reason, sizeof identity->reason,
		         "managed identity: the answer has no token that lasts");
	else
		snprintf(identity->reason, sizeof identity->reason, "managed identity: %ld %s",
		         answer->status, words);
	/* 404 and 410 come while a machine starts */
	bool person = answer->result == 0 && answer->status >= 400 && answer->status < 500 &&
	              answer->status != 404 && answer->status != 408 && answer->status != 410 &&
	              answer->status != 429;
	identity->result = person ? -EACCES : -EAGAIN;
}

static void fail(struct azure_identity *identity, const struct http_request *answer, uint64_t now_ns)
{
	take_refusal(identity, answer);
	identity->wait_ns = identity->wait_ns == 0 ? WAIT_FIRST_NS : identity->wait_ns * 2;
	if (identity->wait_ns > WAIT_MOST_NS)
		identity->wait_ns = WAIT_MOST_NS;
	uint64_t asked = answer->result == 0 ? http_retry_after_ns(answer, WAIT_MOST_NS) : 0;
	identity->next_ns = now_ns + (asked > identity->wait_ns ? asked : identity->wait_ns);
}

/* ---- the token ---- */

static void ask(struct azure_identity *identity)
{
	identity->request = (struct http_request){
	        .method = "GET", .url = identity->url, .header = {identity->header}, .n_headers = 1};
	identity->asking = http_start(identity->http, &identity->request);
}

void azure_identity_drive(struct azure_identity *identity, uint64_t now_ns)
{
	struct http_request *answer = http_next(identity->http, now_ns);
	if (answer == NULL)
		return;
	identity->asking = false;
	if (answer->result != 0 || answer->status != 200 || answer->body_cut ||
	    !take_token(identity, answer, now_ns))
		fail(identity, answer, now_ns);
	if (answer->body)
		OPENSSL_cleanse(answer->body, answer->body_bytes);
	http_request_fini(answer);
}

int azure_identity_get(struct azure_identity *identity, uint64_t now_ns, const char **token, uint64_t *number,
                       const char **reason)
{
	if (now_ns >= identity->renew_ns && now_ns >= identity->next_ns && !identity->asking)
		ask(identity);
	*token = identity->token.text;
	*number = identity->number;
	*reason = identity->reason;
	if (identity->number > 0 && now_ns + SPARE_NS < identity->end_ns)
		return 0;
	return identity->asking ? -EINPROGRESS : identity->result != 0 ? identity->result : -EAGAIN;
}

void azure_identity_renew(struct azure_identity *identity, uint64_t number)
{
	if (number != identity->number)
		return;
	identity->renew_ns = identity->end_ns = 0;
	if (identity->wait_ns == 0) /* the service has not failed */
		identity->next_ns = 0;
}

unsigned azure_identity_wait(struct azure_identity *identity, struct store_wait *wait, unsigned n,
                             uint64_t *timeout_ns)
{
	return http_wait(identity->http, wait, n, timeout_ns);
}
