#include "sink/objects/credentials.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sink/objects/http.h"
#include "sink/objects/xml.h"

#define NEVER           UINT64_MAX
#define FILE_MAX        262144u /* bytes of a credentials file */
#define TOKEN_FILE_MAX  16384u  /* of a token file; STS takes 20,000 characters, most are below 4 KiB */
#define ANSWER_MAX      65536u
#define URL_MAX         2048u
#define EARLY_NS        (600 * NS_PER_SEC) /* at most so long before the end of their life keys are fetched */
#define FILE_AGAIN_NS   (60 * NS_PER_SEC)  /* a credentials file is read again, in case it was replaced */
#define RETRY_FIRST_NS  NS_PER_SEC
#define RETRY_MOST_NS   (60 * NS_PER_SEC)
#define JUST_FETCHED_NS NS_PER_SEC /* keys this young are not fetched again because they were refused */

#define INSTANCE_ENDPOINT  "http://169.254.169.254"
#define INSTANCE_TOKEN     "/latest/api/token"
#define INSTANCE_ROLES     "/latest/meta-data/iam/security-credentials/"
#define CONTAINER_ENDPOINT "http://169.254.170.2"

enum kind { CONFIG, ENVIRONMENT, WEB_IDENTITY, PROFILE, CONTAINER, INSTANCE, KINDS };
static const char *const kind_name[KINDS] = {"config", "environment", "web_identity",
                                             "file",   "container",   "instance"};

/* What is being asked. An instance is asked three times: for a session, its role, the role's
 * keys. */
enum step { IDLE, ASK_STS, ASK_CONTAINER, ASK_SESSION, ASK_ROLE, ASK_KEYS };

struct credentials {
	char section[128];
	enum kind kind;
	bool chosen;                   /* by auto */
	char profile[128], path[1024]; /* of a file; path also of a token file */
	char url[URL_MAX];             /* of the service; an instance's is the beginning */
	char role_arn[256], session_name[64];
	char token[SIGV4_TOKEN_MAX];
	struct http *http;

	enum step step;
	struct http_request request;
	char request_url[URL_MAX + 512], header[2][SIGV4_TOKEN_MAX + 64];
	char *form;
	struct iovec piece;

	struct credentials_keys keys;
	bool have;
	uint64_t generation, fetched_ns, expires_ns, due_ns; /* due: of the next fetch, after a failure too */
	int result;                                          /* of the last fetch; 0: good, or none yet */
	unsigned failures;                                   /* in a row */
	struct shm_error why;                                /* the last fetch failed; "" when it did not */
};

static const char *variable(const char *name)
{
	const char *value = getenv(name);
	return value != NULL ? value : "";
}

static const char *either(const char *one, const char *other)
{
	return one[0] != '\0' ? one : other;
}

/* ---- choosing ---- */

static const char *environment_access_key(void)
{
	return either(variable("AWS_ACCESS_KEY_ID"), variable("AWS_ACCESS_KEY"));
}

static const char *environment_secret_key(void)
{
	return either(variable("AWS_SECRET_ACCESS_KEY"), variable("AWS_ACCESS_SECRET"));
}

/* The shared file's path, "" when nobody has a home. */
static void find_file(char *path, size_t size)
{
	const char *named = variable("AWS_SHARED_CREDENTIALS_FILE"), *home = variable("HOME");
	if (home[0] == '\0') {
		const struct passwd *user = getpwuid(geteuid());
		home = user != NULL ? user->pw_dir : "";
	}
	path[0] = '\0';
	if (named[0] != '\0')
		snprintf(path, size, "%s", named);
	else if (home[0] != '\0')
		snprintf(path, size, "%s/.aws/credentials", home);
}

static bool is_set(enum kind kind, const struct credentials_options *options)
{
	char path[1024];
	switch (kind) {
	case CONFIG:
		return options->access_key[0] != '\0' || options->secret_key[0] != '\0';
	case ENVIRONMENT:
		return environment_access_key()[0] != '\0' || environment_secret_key()[0] != '\0';
	case WEB_IDENTITY:
		return variable("AWS_WEB_IDENTITY_TOKEN_FILE")[0] != '\0';
	case PROFILE:
		find_file(path, sizeof path);
		return options->profile[0] != '\0' || variable("AWS_PROFILE")[0] != '\0' ||
		       variable("AWS_SHARED_CREDENTIALS_FILE")[0] != '\0' || access(path, F_OK) == 0;
	case CONTAINER:
		return variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")[0] != '\0' ||
		       variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")[0] != '\0';
	default:
		return true;
	}
}

static enum kind choose(const struct credentials_options *options, bool *chosen)
{
	*chosen = false;
	for (int kind = 0; kind < KINDS; kind++)
		if (strcmp(options->kind, kind_name[kind]) == 0)
			return (enum kind)kind;
	*chosen = true;
	int kind = 0;
	while (!is_set((enum kind)kind, options))
		kind++;
	return (enum kind)kind;
}

/* ---- opening ---- */

/* Copies text; false when it is too long. */
static bool copy(char *out, size_t size, const char *text)
{
	return (size_t)snprintf(out, size, "%s", text) < size;
}

static int open_pair(struct credentials *c, const char *access_key, const char *secret_key, const char *token,
                     const char *names[2], struct shm_error *error)
{
	const char *text[2] = {access_key, secret_key};
	for (unsigned i = 0; i < 2; i++)
		if (text[i][0] == '\0') {
			shm_explain(error, "%s.credentials: %s is not set%s%s", c->section, names[i],
			            text[1 - i][0] != '\0' ? ", but the other half is: " : "",
			            text[1 - i][0] != '\0' ? names[1 - i] : "");
			return -EINVAL;
		}
	char *out[2] = {c->keys.access_key, c->keys.secret_key};
	for (unsigned i = 0; i < 2; i++)
		if (!credentials_take(out[i], SIGV4_KEY_MAX, text[i], strlen(text[i]))) {
			shm_explain(error, "%s.credentials: %s is no key", c->section, names[i]);
			return -EINVAL;
		}
	if (token[0] != '\0' &&
	    !credentials_take(c->keys.session_token, SIGV4_TOKEN_MAX, token, strlen(token))) {
		shm_explain(error, "%s.credentials: the session token is no token", c->section);
		return -EINVAL;
	}
	c->have = true;
	c->generation = 1;
	c->due_ns = NEVER;
	return 0;
}

static int open_web_identity(struct credentials *c, const struct credentials_options *options,
                             struct shm_error *error)
{
	const char *path = variable("AWS_WEB_IDENTITY_TOKEN_FILE"), *role = variable("AWS_ROLE_ARN");
	if (path[0] == '\0' || role[0] == '\0') {
		shm_explain(error, "%s.credentials: %s is not set", c->section,
		            path[0] == '\0' ? "AWS_WEB_IDENTITY_TOKEN_FILE" : "AWS_ROLE_ARN");
		return -EINVAL;
	}
	char endpoint[URL_MAX];
	bool china = strncmp(options->region, "cn-", 3) == 0;
	snprintf(endpoint, sizeof endpoint, "https://sts.%s.amazonaws.com%s", options->region,
	         china ? ".cn" : "");
	const char *named = either(variable("AWS_ENDPOINT_URL_STS"), variable("AWS_ENDPOINT_URL"));
	const char *url = either(either(options->sts_endpoint, named), endpoint);
	bool slash = url[strlen(url) - 1] == '/';
	if (!copy(c->path, sizeof c->path, path) || !copy(c->role_arn, sizeof c->role_arn, role) ||
	    !copy(c->session_name, sizeof c->session_name,
	          either(variable("AWS_ROLE_SESSION_NAME"), "millrace")) ||
	    (size_t)snprintf(c->url, sizeof c->url, "%s%s", url, slash ? "" : "/") >= sizeof c->url) {
		shm_explain(
		        error,
		        "%s.credentials: AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME or the URL of STS is too long",
		        c->section);
		return -EINVAL;
	}
	return 0;
}

/* Plain HTTP only to this machine and to the addresses where ECS and EKS offer it: a URL that
 * somebody slips in must not send the token over a network. */
static bool is_container_url(const char *url)
{
	static const char http[] = "http://", https[] = "https://";
	if (strncmp(url, https, sizeof https - 1) == 0)
		return true;
	if (strncmp(url, http, sizeof http - 1) != 0)
		return false;
	const char *host = url + sizeof http - 1;
	size_t authority = strcspn(host, "/?#");
	size_t bytes = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
	char name[64];
	if (bytes > authority || bytes >= sizeof name || memchr(host, '@', authority) != NULL)
		return false;
	memcpy(name, host, bytes);
	name[bytes] = '\0';
	static const char *const known[] = {"localhost", "169.254.170.2", "169.254.170.23", "[::1]",
	                                    "[fd00:ec2::23]"};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(name, known[i]) == 0)
			return true;
	struct in_addr address;
	return inet_pton(AF_INET, name, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

static int open_container(struct credentials *c, struct shm_error *error)
{
	const char *relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	const char *full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	if (relative[0] == '\0' && full[0] == '\0') {
		shm_explain(
		        error,
		        "%s.credentials: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set",
		        c->section);
		return -EINVAL;
	}
	int length = relative[0] != '\0' ? snprintf(c->url, sizeof c->url, CONTAINER_ENDPOINT "%s", relative)
	                                 : snprintf(c->url, sizeof c->url, "%s", full);
	bool good = relative[0] == '\0' ? is_container_url(full) : relative[0] == '/';
	if (length >= (int)sizeof c->url || !good) {
		shm_explain(
		        error,
		        "%s.credentials: the container's URI is not allowed: a path in AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, or https, or http to this machine, "
		        "169.254.170.2, 169.254.170.23 or [fd00:ec2::23] in AWS_CONTAINER_CREDENTIALS_FULL_URI",
		        c->section);
		return -EINVAL;
	}
	const char *token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
	if (!copy(c->path, sizeof c->path, variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")) ||
	    (token[0] != '\0' && !credentials_take_value(c->token, sizeof c->token, token, strlen(token)))) {
		shm_explain(
		        error,
		        "%s.credentials: AWS_CONTAINER_AUTHORIZATION_TOKEN or its _FILE is too long, or no value of a header",
		        c->section);
		return -EINVAL;
	}
	return 0;
}

static int open_instance(struct credentials *c, struct shm_error *error)
{
	if (strcasecmp(variable("AWS_EC2_METADATA_DISABLED"), "true") == 0) {
		shm_explain(
		        error, "%s.credentials: %s", c->section,
		        c->chosen ? "none: nothing is set for any kind, and AWS_EC2_METADATA_DISABLED is true"
		                  : "instance, but AWS_EC2_METADATA_DISABLED is true");
		return -EINVAL;
	}
	const char *url = either(variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"), INSTANCE_ENDPOINT);
	size_t bytes = strlen(url);
	if (!copy(c->url, sizeof c->url - 256, url)) {
		shm_explain(error, "%s.credentials: AWS_EC2_METADATA_SERVICE_ENDPOINT is too long",
		            c->section);
		return -EINVAL;
	}
	if (c->url[bytes - 1] == '/')
		c->url[bytes - 1] = '\0';
	return 0;
}

static int open_kind(struct credentials *c, const struct credentials_options *o, struct shm_error *error)
{
	static const char *config[] = {"access_key", "secret_key"};
	static const char *environment[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"};
	switch (c->kind) {
	case CONFIG:
		return open_pair(c, o->access_key, o->secret_key, o->session_token, config, error);
	case ENVIRONMENT:
		return open_pair(c, environment_access_key(), environment_secret_key(),
		                 variable("AWS_SESSION_TOKEN"), environment, error);
	case WEB_IDENTITY:
		return open_web_identity(c, o, error);
	case PROFILE:
		find_file(c->path, sizeof c->path);
		if (copy(c->profile, sizeof c->profile,
		         either(either(o->profile, variable("AWS_PROFILE")), "default")))
			return 0;
		shm_explain(error, "%s.profile: too long", c->section);
		return -EINVAL;
	case CONTAINER:
		return open_container(c, error);
	default:
		return open_instance(c, error);
	}
}

int credentials_open(struct credentials **credentials, const struct credentials_options *options,
                     struct shm_error *error)
{
	struct credentials *c = calloc(1, sizeof *c);
	if (c == NULL) {
		shm_explain(error, "%s: out of memory", options->section);
		return -ENOMEM;
	}
	snprintf(c->section, sizeof c->section, "%s", options->section);
	c->kind = choose(options, &c->chosen);
	c->expires_ns = NEVER;
	int result = open_kind(c, options, error);
	struct http_options http = {.connections = 1,
	                            .connect_timeout_ns = options->connect_timeout_ns,
	                            .stall_timeout_ns = options->request_timeout_ns,
	                            .total_timeout_ns = options->request_timeout_ns,
	                            .ca_file = options->ca_file,
	                            .answer_max = ANSWER_MAX};
	if (result == 0)
		result = http_open(&c->http, &http, error);
	if (result != 0) {
		credentials_close(c);
		return result;
	}
	*credentials = c;
	return 0;
}

static void drop_form(struct credentials *c)
{
	if (c->form != NULL) {
		OPENSSL_cleanse(c->form, strlen(c->form));
		free(c->form);
	}
	c->form = NULL;
}

void credentials_close(struct credentials *c)
{
	if (c == NULL)
		return;
	http_close(c->http);
	drop_form(c);
	OPENSSL_cleanse(c, sizeof *c);
	free(c);
}

const char *credentials_kind(const struct credentials *c)
{
	return kind_name[c->kind];
}

/* ---- the end of a fetch ---- */

static void fail(struct credentials *c, int result, uint64_t now_ns)
{
	c->step = IDLE;
	drop_form(c);
	c->result = result;
	uint64_t wait = RETRY_FIRST_NS << (c->failures < 6 ? c->failures : 6);
	c->due_ns = now_ns + (wait < RETRY_MOST_NS ? wait : RETRY_MOST_NS);
	if (c->failures++ == 0)
		log_warn("no fresh credentials", "section=%s kind=%s reason=\"%s\"", c->section,
		         credentials_kind(c), c->why.text);
}

/* lifetime_ns: of the new keys from now on. */
static void succeed(struct credentials *c, const struct credentials_keys *keys, uint64_t lifetime_ns,
                    uint64_t now_ns)
{
	c->step = IDLE;
	drop_form(c);
	bool same = c->generation > 0 && strcmp(c->keys.access_key, keys->access_key) == 0 &&
	            strcmp(c->keys.secret_key, keys->secret_key) == 0 &&
	            strcmp(c->keys.session_token, keys->session_token) == 0;
	c->keys = *keys;
	c->have = true;
	c->generation += !same;
	c->fetched_ns = now_ns;
	uint64_t early = lifetime_ns / 3 < EARLY_NS ? lifetime_ns / 3 : EARLY_NS;
	c->expires_ns = lifetime_ns == NEVER ? NEVER : now_ns + lifetime_ns;
	c->due_ns = c->kind == PROFILE     ? now_ns + FILE_AGAIN_NS
	            : lifetime_ns == NEVER ? NEVER
	                                   : c->expires_ns - early;
	if (c->failures > 0)
		log_info("credentials are fresh again", "section=%s kind=%s", c->section,
		         credentials_kind(c));
	c->failures = 0;
	c->result = 0;
	c->why.text[0] = '\0';
}

/* Whether the keys are over is a matter between the store's clock and their end: our clock may be
 * wrong, so the time of the answer counts when it has one. */
static void take_keys(struct credentials *c, struct credentials_keys *keys, const struct http_request *answer,
                      uint64_t now_ns)
{
	int64_t now_s = http_date(answer);
	if (now_s == 0)
		now_s = (int64_t)(clock_real_ns() / NS_PER_SEC);
	if (keys->expires_s == 0) {
		succeed(c, keys, NEVER, now_ns);
	} else if (keys->expires_s <= now_s) {
		shm_explain(&c->why, "credentials (%s): the ones given are over already",
		            credentials_kind(c));
		fail(c, -EACCES, now_ns);
	} else {
		succeed(c, keys, (uint64_t)(keys->expires_s - now_s) * NS_PER_SEC, now_ns);
	}
	OPENSSL_cleanse(keys, sizeof *keys);
}

/* ---- files ---- */

/* Reads a file of at most size - 1 bytes. Returns its length or -errno; a longer one is -EFBIG. */
static ssize_t read_file(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	struct stat status;
	ssize_t result = fstat(fd, &status) != 0 ? -errno : S_ISREG(status.st_mode) ? 0 : -EINVAL;
	size_t n = 0;
	while (result == 0 && n < size) {
		ssize_t got = read(fd, out + n, size - n);
		if (got == 0)
			break;
		if (got < 0 && errno != EINTR)
			result = -errno;
		n += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	if (result == 0 && n == size)
		result = -EFBIG;
	if (result == 0)
		out[n] = '\0';
	return result < 0 ? result : (ssize_t)n;
}

static void read_profile(struct credentials *c, uint64_t now_ns)
{
	struct credentials_keys keys;
	char wrong[256];
	char *text = malloc(FILE_MAX);
	ssize_t bytes = text != NULL ? read_file(c->path, text, FILE_MAX) : -ENOMEM;
	if (bytes < 0)
		shm_explain(&c->why, "credentials (file): %s: %s", c->path, strerror((int)-bytes));
	else if (credentials_of_file(&keys, text, (size_t)bytes, c->profile, wrong, sizeof wrong) != 0)
		shm_explain(&c->why, "credentials (file): %s: %s", c->path, wrong);
	else
		succeed(c, &keys, NEVER, now_ns);
	if (c->why.text[0] != '\0')
		fail(c, -EACCES, now_ns);
	if (text != NULL)
		OPENSSL_cleanse(text, FILE_MAX);
	free(text);
	OPENSSL_cleanse(&keys, sizeof keys);
}

/* ---- asking ---- */

static void ask(struct credentials *c, enum step step, const char *method, unsigned n_headers)
{
	struct http_request *request = &c->request;
	*request = (struct http_request){.method = method, .url = c->request_url, .n_headers = n_headers};
	for (unsigned i = 0; i < n_headers; i++)
		request->header[i] = c->header[i];
	if (c->form != NULL) {
		c->piece = (struct iovec){c->form, strlen(c->form)};
		request->piece = &c->piece;
		request->n_pieces = 1;
		request->bytes = c->piece.iov_len;
	}
	c->step = step;
	http_start(c->http, request); /* it has a connection of its own */
}

/* The token of a file into c->token. */
static bool read_token(struct credentials *c, char *token, size_t size, uint64_t now_ns)
{
	char text[TOKEN_FILE_MAX + 1];
	ssize_t bytes = read_file(c->path, text, sizeof text);
	bool good = bytes >= 0 && credentials_take_value(token, size, text, (size_t)bytes);
	if (!good) {
		shm_explain(&c->why, "credentials (%s): %s: %s", credentials_kind(c), c->path,
		            bytes < 0 ? strerror((int)-bytes) : "no token in it");
		fail(c, -EACCES, now_ns);
	}
	OPENSSL_cleanse(text, sizeof text);
	return good;
}

static void start_sts(struct credentials *c, uint64_t now_ns)
{
	char token[TOKEN_FILE_MAX + 1];
	if (!read_token(c, token, sizeof token, now_ns))
		return;
	size_t size = 3 * (strlen(token) + sizeof c->role_arn + sizeof c->session_name) + 256;
	char role[3 * sizeof c->role_arn], name[3 * sizeof c->session_name];
	sigv4_encode(role, sizeof role, c->role_arn, strlen(c->role_arn), false);
	sigv4_encode(name, sizeof name, c->session_name, strlen(c->session_name), false);
	c->form = malloc(size);
	if (c->form == NULL) {
		shm_explain(&c->why, "credentials (web_identity): out of memory");
		fail(c, -EAGAIN, now_ns);
		return;
	}
	int n = snprintf(
	        c->form, size,
	        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=%s&RoleSessionName=%s&WebIdentityToken=",
	        role, name);
	sigv4_encode(c->form + n, size - (size_t)n, token, strlen(token), false);
	OPENSSL_cleanse(token, sizeof token);
	snprintf(c->request_url, sizeof c->request_url, "%s", c->url);
	snprintf(c->header[0], sizeof c->header[0], "Content-Type: application/x-www-form-urlencoded");
	ask(c, ASK_STS, "POST", 1);
}

static void start_container(struct credentials *c, uint64_t now_ns)
{
	char token[SIGV4_TOKEN_MAX] = "";
	if (c->path[0] != '\0' && !read_token(c, token, sizeof token, now_ns))
		return;
	const char *used = c->path[0] != '\0' ? token : c->token;
	snprintf(c->request_url, sizeof c->request_url, "%s", c->url);
	snprintf(c->header[0], sizeof c->header[0], "Authorization: %s", used);
	ask(c, ASK_CONTAINER, "GET", used[0] != '\0');
}

static void start_instance(struct credentials *c)
{
	snprintf(c->request_url, sizeof c->request_url, "%s" INSTANCE_TOKEN, c->url);
	snprintf(c->header[0], sizeof c->header[0], "X-aws-ec2-metadata-token-ttl-seconds: 300");
	ask(c, ASK_SESSION, "PUT", 1);
}

static void start(struct credentials *c, uint64_t now_ns)
{
	c->why.text[0] = '\0';
	if (c->kind == PROFILE)
		read_profile(c, now_ns);
	else if (c->kind == WEB_IDENTITY)
		start_sts(c, now_ns);
	else if (c->kind == CONTAINER)
		start_container(c, now_ns);
	else
		start_instance(c);
}

/* ---- answers ---- */

static const char *service_name(const struct credentials *c)
{
	return c->kind == WEB_IDENTITY ? "STS"
	       : c->kind == CONTAINER  ? "the container's service"
	                               : "instance metadata";
}

static void fail_answer(struct credentials *c, const struct http_request *answer, uint64_t now_ns)
{
	const char *nothing = c->chosen && c->kind == INSTANCE ? "nothing is set for any kind, and " : "";
	if (answer->result != 0) {
		shm_explain(&c->why, "credentials (%s): %s%s was not reached: %s", credentials_kind(c),
		            nothing, service_name(c), answer->reason);
		fail(c, nothing[0] != '\0' || answer->result == -EPROTO ? -EACCES : -EAGAIN, now_ns);
		return;
	}
	struct xml_error error = {.code = ""};
	if (c->kind == WEB_IDENTITY && answer->body != NULL)
		xml_error(&error, answer->body, answer->body_bytes);
	shm_explain(&c->why, "credentials (%s): %s%s answered %ld%s%s%s%s", credentials_kind(c), nothing,
	            service_name(c), answer->status, error.code[0] != '\0' ? " " : "", error.code,
	            error.message[0] != '\0' ? ": " : "", error.message);
	if (c->step == ASK_ROLE && answer->status == 404)
		shm_explain(&c->why, "credentials (instance): %sthe instance has no role", nothing);
	fail(c, answer->status >= 500 || answer->status == 429 ? -EAGAIN : -EACCES, now_ns);
}

static void take_whole(struct credentials *c, const struct http_request *answer, uint64_t now_ns)
{
	struct credentials_keys keys;
	char wrong[128];
	int result =
	        c->step == ASK_STS
	                ? credentials_of_sts(&keys, answer->body, answer->body_bytes, wrong, sizeof wrong)
	                : credentials_of_json(&keys, answer->body, answer->body_bytes, wrong, sizeof wrong);
	if (result == 0) {
		take_keys(c, &keys, answer, now_ns);
		return;
	}
	shm_explain(&c->why, "credentials (%s): %s: %s", credentials_kind(c), service_name(c), wrong);
	fail(c, -EACCES, now_ns);
}

/* The instance's session token, then its role's name: the next question is made of it. */
static void go_on(struct credentials *c, const struct http_request *answer, uint64_t now_ns)
{
	char text[SIGV4_TOKEN_MAX], name[512];
	size_t bytes = c->step == ASK_ROLE ? strcspn(answer->body, "\r\n") : answer->body_bytes;
	if (!credentials_take(text, sizeof text, answer->body, bytes) ||
	    (c->step == ASK_ROLE && sigv4_encode(name, sizeof name, text, strlen(text), false) < 0)) {
		snprintf(c->why.text, sizeof c->why.text,
		         "credentials (instance): instance metadata: the answer is no %s",
		         c->step == ASK_ROLE ? "name of a role" : "token");
		fail(c, -EACCES, now_ns);
		return;
	}
	enum step next = c->step == ASK_ROLE ? ASK_KEYS : ASK_ROLE;
	if (next == ASK_ROLE)
		snprintf(c->header[0], sizeof c->header[0], "X-aws-ec2-metadata-token: %s", text);
	int length = snprintf(c->request_url, sizeof c->request_url, "%s" INSTANCE_ROLES "%s", c->url,
	                      next == ASK_KEYS ? name : "");
	if (length >= (int)sizeof c->request_url)
		abort(); /* both have limits */
	ask(c, next, "GET", 1);
}

/* The request is ours and may be asked again with another text, so its answer is taken off
 * first. */
static void take_answer(struct credentials *c, uint64_t now_ns)
{
	struct http_request answer = c->request;
	if (answer.result != 0 || answer.status != 200 || answer.body == NULL || answer.body_cut)
		fail_answer(c, &answer, now_ns);
	else if (c->step == ASK_SESSION || c->step == ASK_ROLE)
		go_on(c, &answer, now_ns);
	else
		take_whole(c, &answer, now_ns);
	if (answer.body != NULL)
		OPENSSL_cleanse(answer.body, answer.body_bytes);
	http_request_fini(&answer);
}

void credentials_drive(struct credentials *c, uint64_t now_ns)
{
	while (c->step != IDLE && http_next(c->http, now_ns) != NULL)
		take_answer(c, now_ns);
	if (c->step == IDLE && c->due_ns <= now_ns)
		start(c, now_ns);
}

int credentials_get(const struct credentials *c, uint64_t now_ns, const struct credentials_keys **keys,
                    uint64_t *generation, const char **reason)
{
	*reason = c->why.text;
	if (c->have && now_ns < c->expires_ns) {
		*keys = &c->keys;
		*generation = c->generation;
		return 0;
	}
	return c->step != IDLE || c->result == 0 ? -EINPROGRESS : c->result;
}

bool credentials_refused(struct credentials *c, uint64_t generation, uint64_t now_ns)
{
	if (generation != c->generation || !c->have)
		return true;
	if (c->kind == CONFIG || c->kind == ENVIRONMENT || now_ns - c->fetched_ns < JUST_FETCHED_NS)
		return false;
	c->have = false;
	if (c->step == IDLE && c->failures == 0)
		c->due_ns = now_ns;
	return true;
}

unsigned credentials_wait(const struct credentials *c, struct store_wait *wait, unsigned n,
                          uint64_t *timeout_ns)
{
	if (c->step != IDLE)
		return http_wait(c->http, wait, n, timeout_ns);
	uint64_t now = clock_monotonic_ns(), left = c->due_ns > now ? c->due_ns - now : 0;
	if (left < *timeout_ns)
		*timeout_ns = left;
	return 0;
}

uint64_t credentials_memory_max(void)
{
	struct http_options http = {.connections = 1, .answer_max = ANSWER_MAX};
	return sizeof(struct credentials) + FILE_MAX + 4 * TOKEN_FILE_MAX + http_memory_max(&http);
}
