/* OpenSSL 3 prefers its EVP functions, but those allocate for every digest, and a request may
 * not. */
#define OPENSSL_API_COMPAT 0x10100000L

#include "stage/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/path.h"

#define SPACES          " \t\r\n"
#define BYTE_ORDER_MARK "\xef\xbb\xbf" /* some editors put it at the start */

static void digest_of(uint8_t digest[32], const char *text, size_t bytes)
{
	SHA256_CTX hash;
	SHA256_Init(&hash);
	SHA256_Update(&hash, text, bytes);
	SHA256_Final(digest, &hash);
}

/* RFC 6750, 2.1: letters, digits and -._~+/ and then any number of "=". */
static bool is_token(const char *text, size_t bytes)
{
	size_t n = 0;
	while (n < bytes &&
	       ((text[n] >= 'a' && text[n] <= 'z') || (text[n] >= 'A' && text[n] <= 'Z') ||
	        (text[n] >= '0' && text[n] <= '9') || (text[n] != '\0' && strchr("-._~+/", text[n]) != NULL)))
		n++;
	bool begun = n > 0;
	while (n < bytes && text[n] == '=')
		n++;
	return begun && n == bytes;
}

/* ---- the file ---- */

struct reading {
	struct tokens *tokens;
	char *first; /* room for the first token's text; NULL: it is not wanted */
	const char *path;
	unsigned line;
	const char *const *names;
	unsigned n_names;
	struct shm_error *error;
};

static uint32_t all_routes(const char *const *names, unsigned n_names)
{
	uint32_t routes = 0;
	for (unsigned i = 0; i < n_names; i++)
		routes |= (uint32_t)(names[i] != NULL) << i;
	return routes;
}

static bool find_route(const struct reading *reading, const char *word, uint32_t *routes)
{
	for (unsigned i = 0; i < reading->n_names; i++) {
		if (reading->names[i] == NULL || strcmp(reading->names[i], word) != 0)
			continue;
		*routes |= 1u << i;
		return true;
	}
	return false;
}

static void list_names(const struct reading *reading, char *text, size_t room)
{
	size_t n = 0;
	for (unsigned i = 0; i < reading->n_names && n < room; i++)
		if (reading->names[i] != NULL)
			n += (size_t)snprintf(text + n, room - n, "%s%s", n == 0 ? "" : " ",
			                      reading->names[i]);
}

static int refuse_route(const struct reading *reading, const char *word)
{
	char names[256] = "";
	list_names(reading, names, sizeof names);
	/* A long word may be a token on the wrong line: it must not get into the log. */
	if (strlen(word) < TOKEN_BYTES_MIN)
		shm_explain(reading->error, "%s:%u: \"%s\" is not a route; allowed: %s", reading->path,
		            reading->line, word, names);
	else
		shm_explain(reading->error,
		            "%s:%u: what follows the token is not a route; allowed: %s, and one token a line",
		            reading->path, reading->line, names);
	return -EINVAL;
}

static int check_token(const struct reading *reading, const char *word)
{
	size_t bytes = strlen(word);
	if (bytes < TOKEN_BYTES_MIN || bytes > TOKEN_BYTES_MAX) {
		shm_explain(reading->error, "%s:%u: the token has %zu characters; allowed: %u to %u",
		            reading->path, reading->line, bytes, TOKEN_BYTES_MIN, TOKEN_BYTES_MAX);
		return -EINVAL;
	}
	if (!is_token(word, bytes)) {
		shm_explain(
		        reading->error,
		        "%s:%u: the token has a character that cannot be in one; allowed: letters, digits, - . _ ~ + / and = at the end",
		        reading->path, reading->line);
		return -EINVAL;
	}
	if (reading->tokens->n == TOKENS_MAX) {
		shm_explain(reading->error, "%s:%u: one token too many; allowed: %u", reading->path,
		            reading->line, TOKENS_MAX);
		return -EINVAL;
	}
	return 0;
}

static bool is_known(const struct tokens *tokens, const uint8_t digest[32])
{
	for (unsigned i = 0; i < tokens->n; i++)
		if (memcmp(tokens->token[i].digest, digest, 32) == 0)
			return true;
	return false;
}

static int read_line(const struct reading *reading, char *line)
{
	struct tokens *tokens = reading->tokens;
	struct token token = {.routes = 0};
	char *rest;
	line[strcspn(line, "#")] = '\0';
	const char *word = strtok_r(line, SPACES, &rest);
	if (word == NULL)
		return 0;
	int result = check_token(reading, word);
	if (result != 0)
		return result;
	if (tokens->n == 0 && reading->first != NULL)
		memcpy(reading->first, word, strlen(word) + 1);
	digest_of(token.digest, word, strlen(word));
	if (is_known(tokens, token.digest)) {
		shm_explain(reading->error,
		            "%s:%u: the token is on an earlier line already; list all its routes there",
		            reading->path, reading->line);
		return -EINVAL;
	}
	while ((word = strtok_r(NULL, SPACES, &rest)) != NULL)
		if (!find_route(reading, word, &token.routes))
			return refuse_route(reading, word);
	if (token.routes == 0)
		token.routes = all_routes(reading->names, reading->n_names);
	tokens->token[tokens->n++] = token;
	tokens->closed |= token.routes;
	return 0;
}

static int read_lines(struct reading *reading, FILE *file)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t bytes;
	int result = 0;
	errno = 0;
	while (result == 0 && (bytes = getline(&line, &room, file)) >= 0) {
		reading->line++;
		if (strlen(line) == (size_t)bytes) {
			bool mark = reading->line == 1 && strncmp(line, BYTE_ORDER_MARK, 3) == 0;
			result = read_line(reading, mark ? line + 3 : line);
			continue;
		}
		shm_explain(reading->error, "%s:%u: a byte 0; allowed: text", reading->path, reading->line);
		result = -EINVAL;
	}
	if (result == 0 && !feof(file)) {
		result = errno != 0 ? -errno : -EIO;
		shm_explain(reading->error, "%s: %s", reading->path, strerror(-result));
	}
	free(line);
	return result;
}

static void warn_of_mode(const char *path, const struct stat *about)
{
	/* systemd says by an access list who reads a credential: its mask looks like the group's
	 * mode. */
	if ((about->st_mode & 077) != 0 && !path_is_credential(path))
		log_warn("others can read the tokens; chmod 600 keeps them secret", "file=\"%s\" mode=%03o",
		         path, (unsigned)about->st_mode & 0777);
}

/* O_NONBLOCK: a pipe without a writer must not block a stage. */
static int open_file(FILE **file, const char *path, struct shm_error *error)
{
	struct stat about = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int result = fd < 0 || fstat(fd, &about) != 0 ? -errno : S_ISDIR(about.st_mode) ? -EISDIR : 0;
	if (result != 0) {
		shm_explain(error, "%s: %s", path, strerror(-result));
	} else if (!S_ISREG(about.st_mode) || about.st_size > TOKENS_FILE_MAX) {
		shm_explain(error, "%s: %s; allowed: a file of at most %u bytes", path,
		            S_ISREG(about.st_mode) ? "is too long" : "is not a file", TOKENS_FILE_MAX);
		result = -EINVAL;
	} else if ((*file = fdopen(fd, "r")) == NULL) {
		shm_explain(error, "no memory");
		result = -ENOMEM;
	}
	if (result != 0 && fd >= 0)
		close(fd);
	if (result == 0)
		warn_of_mode(path, &about);
	return result;
}

static int load(struct reading *reading)
{
	struct tokens *tokens = reading->tokens;
	memset(tokens, 0, sizeof *tokens);
	FILE *file = NULL;
	int result = open_file(&file, reading->path, reading->error);
	if (result != 0)
		return result;
	result = read_lines(reading, file);
	fclose(file);
	if (result == 0 && tokens->n == 0) {
		shm_explain(
		        reading->error,
		        "%s: has no token, so it would close nothing; allowed: a token a line, or no file",
		        reading->path);
		result = -EINVAL;
	}
	if (result != 0)
		memset(tokens, 0, sizeof *tokens);
	return result;
}

int tokens_load(struct tokens *tokens, const char *path, const char *const *names, unsigned n_names,
                struct shm_error *error)
{
	struct reading reading = {
	        .tokens = tokens, .path = path, .names = names, .n_names = n_names, .error = error};
	return load(&reading);
}

int tokens_load_first(char first[TOKEN_BYTES_MAX + 1], const char *path, const char *const *names,
                      unsigned n_names, struct shm_error *error)
{
	char text[TOKEN_BYTES_MAX + 1] = "";
	struct tokens tokens;
	struct reading reading = {.tokens = &tokens,
	                          .first = text,
	                          .path = path,
	                          .names = names,
	                          .n_names = n_names,
	                          .error = error};
	int result = load(&reading);
	if (result == 0)
		memcpy(first, text, sizeof text);
	return result;
}

void tokens_close(struct tokens *tokens, const char *const *names, unsigned n_names)
{
	memset(tokens, 0, sizeof *tokens);
	tokens->closed = all_routes(names, n_names);
	tokens->unread = true;
}

/* ---- a request ---- */

/* The token of "Bearer <token>", whose length becomes *bytes; NULL when the field is of another
 * scheme. */
static const char *bearer(const char *field, size_t *bytes)
{
	static const char scheme[] = "Bearer";
	size_t at = sizeof scheme - 1;
	if (field == NULL || *bytes < at || strncasecmp(field, scheme, at) != 0 ||
	    (*bytes > at && field[at] != ' '))
		return NULL;
	while (at < *bytes && field[at] == ' ')
		at++;
	*bytes -= at;
	return field + at;
}

/* All ones when the digests are the same, else 0; no branch depends on them. */
static uint32_t same_mask(const uint8_t a[32], const uint8_t b[32])
{
	return 0u - (uint32_t)(CRYPTO_memcmp(a, b, 32) == 0);
}

bool tokens_allow(const struct tokens *tokens, unsigned route, const char *field, size_t bytes,
                  bool *challenged)
{
	uint8_t digest[32];
	uint32_t routes = 0;
	*challenged = false;
	if (route >= 32 || (tokens->closed >> route & 1) == 0)
		return true;
	const char *token = bearer(field, &bytes);
	if (token == NULL)
		return false;
	*challenged = true;
	if (bytes > TOKEN_BYTES_MAX || !is_token(token, bytes))
		return false;
	digest_of(digest, token, bytes);
	for (unsigned i = 0; i < tokens->n; i++)
		routes |= tokens->token[i].routes & same_mask(tokens->token[i].digest, digest);
	*challenged = (routes >> route & 1) == 0;
	return !*challenged;
}
