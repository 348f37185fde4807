#include "deliver/sign.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/path.h"
#include "stage/signature.h"

#define PREFIX           "whsec_"
#define SECRET_BYTES_MIN 24u
#define SECRET_BYTES_MAX 64u
#define FILE_BYTES_MAX   65536u
#define MAC_BYTES        32u
#define MAC_TEXT         45u /* base64 of it, with a final 0 */
#define SPACES           " \t\r"

/* What a file holds: a computation per secret, its key set. */
struct secrets {
	unsigned n;
	EVP_MAC_CTX *mac[SIGN_SECRETS_MAX];
};

struct sign {
	EVP_MAC *hmac;
	char *path;
	struct signature signature; /* of the file when it was read */
	struct secrets secrets;
};

/* OpenSSL wipes the keys. */
static void secrets_fini(struct secrets *secrets)
{
	for (unsigned i = 0; i < secrets->n; i++)
		EVP_MAC_CTX_free(secrets->mac[i]);
	secrets->n = 0;
}

/* ---- the file ---- */

struct reading {
	EVP_MAC *hmac;
	const char *path;
	unsigned line;
	struct secrets *secrets;
	struct shm_error *error;
};

static int refuse(const struct reading *reading, const char *what)
{
	shm_explain(reading->error, "%s:%u: %s", reading->path, reading->line, what);
	return -EINVAL;
}

/* Standard base64 with its "=" (RFC 4648, 4). Returns its bytes, 0 when it is none. */
static size_t decode(uint8_t *out, size_t room, const char *text, size_t length)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t bits = 0;
	size_t n = 0, equals = 0;
	while (length > 0 && text[length - 1] == '=' && equals < 2)
		length--, equals++;
	if ((length + equals) % 4 != 0 || length % 4 == 1)
		return 0;
	for (size_t i = 0; i < length; i++) {
		const char *digit = text[i] != '\0' ? strchr(digits, text[i]) : NULL;
		if (digit == NULL)
			return 0;
		bits = bits << 6 | (uint32_t)(digit - digits);
		if (i % 4 == 0)
			continue;
		if (n == room)
			return 0;
		out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	return n;
}

static int add_secret(const struct reading *reading, const uint8_t *key, size_t bytes)
{
	struct secrets *secrets = reading->secrets;
	char digest[] = "SHA256";
	OSSL_PARAM parameter[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	                          OSSL_PARAM_construct_end()};
	EVP_MAC_CTX *mac = EVP_MAC_CTX_new(reading->hmac);
	if (mac == NULL || EVP_MAC_init(mac, key, bytes, parameter) != 1) {
		EVP_MAC_CTX_free(mac);
		shm_explain(reading->error, "%s: OpenSSL's HMAC-SHA256 does not work", reading->path);
		return -ENOMEM;
	}
	secrets->mac[secrets->n++] = mac;
	return 0;
}

static int read_line(const struct reading *reading, const char *line, size_t length)
{
	uint8_t key[SECRET_BYTES_MAX + 3];
	while (length > 0 && strchr(SPACES, line[length - 1]) != NULL)
		length--;
	while (length > 0 && strchr(SPACES, line[0]) != NULL)
		line++, length--;
	if (length == 0 || line[0] == '#')
		return 0;
	if (reading->secrets->n == SIGN_SECRETS_MAX)
		return refuse(reading, "too many secrets; allowed: 8");
	if (length < strlen(PREFIX) || memcmp(line, PREFIX, strlen(PREFIX)) != 0)
		return refuse(reading, "a secret begins with whsec_");
	size_t bytes = decode(key, sizeof key, line + strlen(PREFIX), length - strlen(PREFIX));
	int r = bytes < SECRET_BYTES_MIN || bytes > SECRET_BYTES_MAX
	                ? refuse(reading, "what follows whsec_ is not the base64 of 24 to 64 bytes")
	                : add_secret(reading, key, bytes);
	OPENSSL_cleanse(key, sizeof key);
	return r;
}

static int read_lines(struct reading *reading, const char *text, size_t bytes)
{
	const char *at = text, *end = text + bytes;
	int r = 0;
	while (r == 0 && at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		if (stop == NULL)
			stop = end;
		reading->line++;
		r = read_line(reading, at, (size_t)(stop - at));
		at = stop + 1;
	}
	if (r == 0 && reading->secrets->n == 0) {
		shm_explain(reading->error, "%s: there is no secret in it; allowed: whsec_..., one a line",
		            reading->path);
		r = -EINVAL;
	}
	return r;
}

/* Returns the bytes read, or -errno. */
static ssize_t read_all(int fd, char *text, size_t room)
{
	size_t n = 0;
	while (n < room) {
		ssize_t got = read(fd, text + n, room - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static int read_open_file(struct reading *reading, int fd)
{
	char *text = malloc(FILE_BYTES_MAX + 1);
	ssize_t bytes = text == NULL ? -ENOMEM : read_all(fd, text, FILE_BYTES_MAX + 1);
	int r = bytes < 0 ? (int)bytes : bytes > (ssize_t)FILE_BYTES_MAX ? -EFBIG : 0;
	if (r != 0)
		shm_explain(reading->error, "%s: %s", reading->path, strerror(-r));
	else
		r = read_lines(reading, text, (size_t)bytes);
	if (bytes > 0)
		OPENSSL_cleanse(text, (size_t)bytes);
	free(text);
	return r;
}

/* O_NONBLOCK: a pipe without a writer must not block a stage. */
static int load(const struct sign *sign, struct secrets *secrets, struct signature *signature,
                struct shm_error *error)
{
	struct reading reading = {.hmac = sign->hmac, .path = sign->path, .secrets = secrets, .error = error};
	struct stat about = {0};
	int fd = open(sign->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int r = fd < 0 || fstat(fd, &about) != 0 ? -errno : S_ISREG(about.st_mode) ? 0 : -EINVAL;
	if (r != 0) {
		shm_explain(error, "%s: %s", sign->path, r == -EINVAL ? "not a regular file" : strerror(-r));
	} else {
		signature_of(signature, &about);
		r = read_open_file(&reading, fd);
	}
	/* systemd says by an access list who reads a credential: its mask looks like the group's
	 * mode. */
	if (r == 0 && (about.st_mode & 077) != 0 && !path_is_credential(sign->path))
		log_warn("others can read the secrets; chmod 600 keeps them secret", "file=\"%s\" mode=%03o",
		         sign->path, (unsigned)about.st_mode & 0777);
	if (fd >= 0)
		close(fd);
	if (r != 0)
		secrets_fini(secrets);
	return r;
}

int sign_open(struct sign **opened, const char *path, struct shm_error *error)
{
	const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
	if (strncmp(name, PREFIX, strlen(PREFIX)) == 0) { /* which no message may repeat */
		shm_explain(error, "a secret stands where the name of a file with secrets belongs");
		return -EINVAL;
	}
	struct sign *sign = calloc(1, sizeof *sign);
	if (sign != NULL) {
		sign->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
		sign->path = strdup(path);
	}
	if (sign == NULL || sign->hmac == NULL || sign->path == NULL) {
		shm_explain(error, "%s: %s", path, strerror(ENOMEM));
		sign_close(sign);
		return -ENOMEM;
	}
	int r = load(sign, &sign->secrets, &sign->signature, error);
	if (r != 0)
		sign_close(sign);
	else
		*opened = sign;
	return r;
}

void sign_close(struct sign *sign)
{
	if (sign == NULL)
		return;
	secrets_fini(&sign->secrets);
	EVP_MAC_free(sign->hmac);
	free(sign->path);
	free(sign);
}

int sign_refresh(struct sign *sign, struct shm_error *error)
{
	struct signature now;
	struct secrets secrets = {0};
	int r = signature_take(&now, sign->path);
	if (r != 0) {
		shm_explain(error, "%s: %s", sign->path, strerror(-r));
		return r;
	}
	if (signature_same(&now, &sign->signature))
		return 0;
	r = load(sign, &secrets, &now, error);
	if (r != 0)
		return r;
	secrets_fini(&sign->secrets);
	sign->secrets = secrets;
	sign->signature = now;
	return 1;
}

/* ---- signatures ---- */

/* "v1," is not in it. Empty when OpenSSL has no memory. */
static void sign_one(EVP_MAC_CTX *mac, const char *head, size_t head_bytes, const void *body, size_t bytes,
                     char out[MAC_TEXT])
{
	unsigned char digest[MAC_BYTES];
	size_t length;
	out[0] = '\0';
	/* without a key: that of the last time */
	if (EVP_MAC_init(mac, NULL, 0, NULL) == 1 &&
	    EVP_MAC_update(mac, (const unsigned char *)head, head_bytes) == 1 &&
	    EVP_MAC_update(mac, body, bytes) == 1 && EVP_MAC_final(mac, digest, &length, sizeof digest) == 1)
		EVP_EncodeBlock((unsigned char *)out, digest, MAC_BYTES);
}

#define HEAD_MAX 256u

/* What is signed before the body: "id.timestamp." */
static size_t head_of(char out[HEAD_MAX], const char *id, int64_t timestamp_s)
{
	int n = snprintf(out, HEAD_MAX, "%s.%" PRId64 ".", id, timestamp_s);
	return n < (int)HEAD_MAX ? (size_t)n : HEAD_MAX - 1;
}

size_t sign_header(const struct sign *sign, const char *id, int64_t timestamp_s, const void *body,
                   size_t bytes, char out[SIGN_HEADER_MAX])
{
	char head[HEAD_MAX], text[MAC_TEXT];
	size_t head_bytes = head_of(head, id, timestamp_s);
	size_t n = (size_t)snprintf(out, SIGN_HEADER_MAX, "webhook-signature:");
	for (unsigned i = 0; i < sign->secrets.n; i++) {
		sign_one(sign->secrets.mac[i], head, head_bytes, body, bytes, text);
		n += (size_t)snprintf(out + n, SIGN_HEADER_MAX - n, " v1,%s", text);
	}
	return n;
}

bool sign_verify(const struct sign *sign, const char *id, int64_t timestamp_s, const void *body, size_t bytes,
                 const char *value)
{
	char head[HEAD_MAX], text[MAC_TEXT];
	size_t head_bytes = head_of(head, id, timestamp_s);
	bool good = false;
	for (unsigned i = 0; i < sign->secrets.n; i++) {
		sign_one(sign->secrets.mac[i], head, head_bytes, body, bytes, text);
		for (const char *at = value; *at != '\0'; at += strspn(at, " ")) {
			size_t length = strcspn(at, " ");
			if (length == 3 + MAC_TEXT - 1 && memcmp(at, "v1,", 3) == 0 && text[0] != '\0')
				good |= CRYPTO_memcmp(at + 3, text, MAC_TEXT - 1) == 0;
			at += length;
		}
	}
	return good;
}
