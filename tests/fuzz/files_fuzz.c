/* Any bytes as one of the small files that stages read: the hosts file, a file of tokens, the index
 * of uploads, a part in the spool. Each is read a second time here, line by line.
 *
 * The first byte says which; for tokens a line of the Authorization field comes before the file. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deliver/names_file.h"
#include "sink/objects/index.h"
#include "sink/objects/spool_file.h"
#include "stage/tokens.h"
#include "tests/fixture/sandbox.h"
#include "tests/fuzz/fuzz.h"

#define SPACE "\t\v\f\r "

/* Made for each input and removed with it: a fuzzer ends without asking. */
static char folder[40], path[96];

static void make(void)
{
	strcpy(folder, "/dev/shm/millrace-fuzz-XXXXXX");
	must(mkdtemp(folder) != NULL);
	snprintf(path, sizeof path, "%s/file", folder);
}

static void write_file(const char *name, const void *data, size_t bytes)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
	close(fd);
}

/* ---- hosts ---- */

static bool read_address(uint8_t address[16], const char *word)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[128];
	if (strcspn(word, "%") >= sizeof text)
		return false;
	snprintf(text, sizeof text, "%.*s", (int)strcspn(word, "%"), word);
	memcpy(address, mapped, sizeof mapped);
	return inet_pton(AF_INET, text, address + 12) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* How many addresses the name has in the file; the first 16 are put there. */
static unsigned addresses_of(const uint8_t *data, size_t bytes, const char *wanted, uint8_t found[16][16])
{
	unsigned n = 0;
	size_t zero = bytes > 0 && memchr(data, 0, bytes) != NULL
	                      ? (size_t)((const uint8_t *)memchr(data, 0, bytes) - data)
	                      : bytes;
	char *text = fuzz_string(data, zero), *rest = text, *line, *save;
	while ((line = strsep(&rest, "\n")) != NULL) {
		uint8_t address[16];
		line[strcspn(line, "#")] = '\0';
		char *word = strtok_r(line, SPACE, &save);
		if (word == NULL || !read_address(address, word))
			continue;
		while ((word = strtok_r(NULL, SPACE, &save)) != NULL)
			if (strcasecmp(word, wanted) == 0 && n < 16)
				memcpy(found[n++], address, 16);
	}
	free(text);
	return n;
}

static void check_hosts(const uint8_t *data, size_t bytes)
{
	static const char *const names[] = {"localhost", "a", "b.test", "A.b"};
	struct names_file *file = NULL;
	write_file(path, data, bytes);
	must(names_file_open(&file, path) == 0);
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		uint8_t found[16][16], wanted[16][16];
		unsigned n = addresses_of(data, bytes, names[i], wanted);
		must(names_file_find(file, names[i], found, 16) == n &&
		     memcmp(found, wanted, n * sizeof *found) == 0);
	}
	names_file_close(file);
}

/* ---- tokens ---- */

static bool token_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("-._~+/", c) != NULL);
}

static bool is_token(const char *word)
{
	size_t n = strlen(word), i = 0;
	while (i < n && token_character(word[i]))
		i++;
	size_t letters = i;
	while (i < n && word[i] == '=')
		i++;
	return letters > 0 && i == n && n >= TOKEN_BYTES_MIN && n <= TOKEN_BYTES_MAX;
}

enum { EVENT, LOG, TRACK, N_ROUTES };
static const char *const routes[N_ROUTES] = {"event", "log", "track"};

/* The routes that the file gives to a token; -1: it is no file of tokens. *closed: those of all. */
static int routes_of(const uint8_t *data, size_t bytes, const char *token, unsigned *closed)
{
	static char seen[TOKENS_MAX][TOKEN_BYTES_MAX + 1];
	int opened = 0;
	unsigned n = 0;
	bool good = bytes == 0 || memchr(data, 0, bytes) == NULL;
	size_t mark = bytes >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	char *text = fuzz_string(data + mark, bytes - mark), *rest = text, *line, *save;
	*closed = 0;
	while (good && (line = strsep(&rest, "\n")) != NULL) {
		unsigned here = 0;
		line[strcspn(line, "#")] = '\0';
		char *word = strtok_r(line, " \t\r", &save), *route;
		if (word == NULL)
			continue;
		good = is_token(word) && n < TOKENS_MAX;
		for (unsigned i = 0; good && i < n; i++)
			good = strcmp(seen[i], word) != 0;
		while (good && (route = strtok_r(NULL, " \t\r", &save)) != NULL) {
			unsigned i = 0;
			while (i < N_ROUTES && strcmp(routes[i], route) != 0)
				i++;
			good = i < N_ROUTES;
			here |= 1u << i;
		}
		if (!good)
			break;
		here = here == 0 ? (1u << N_ROUTES) - 1 : here;
		strcpy(seen[n++], word);
		*closed |= here;
		if (token != NULL && strcmp(token, word) == 0)
			opened = (int)here;
	}
	free(text);
	return good && n > 0 ? opened : -1;
}

/* The token of the field, or NULL. */
static const char *token_of(const char *field)
{
	if (strncasecmp(field, "bearer", 6) != 0 || (field[6] != ' ' && field[6] != '\0'))
		return NULL;
	return field + 6 + strspn(field + 6, " ");
}

static void check_tokens(const uint8_t *data, size_t bytes)
{
	struct tokens tokens;
	struct shm_error error = {""};
	unsigned closed;
	char *field = fuzz_piece(&data, &bytes, '\n');
	const char *token = token_of(field);
	write_file(path, data, bytes);
	int wanted = routes_of(data, bytes, token, &closed),
	    result = tokens_load(&tokens, path, routes, N_ROUTES, &error);
	must((result == 0) == (wanted >= 0));
	must(result == 0 ? tokens.closed == closed : error.text[0] != '\0' && tokens.n == 0);
	for (unsigned i = 0; i < N_ROUTES && result == 0; i++) {
		bool challenged, open = (closed >> i & 1) == 0;
		bool allowed = tokens_allow(&tokens, i, field, strlen(field), &challenged);
		must(allowed == (open || (wanted >> i & 1) != 0));
		must(challenged == (!allowed && token != NULL));
	}
	if (result != 0 && token != NULL && strlen(token) >= TOKEN_BYTES_MIN)
		must(strstr(error.text, token) == NULL || strstr(path, token) != NULL);
	free(field);
}

/* ---- the index ---- */

static void check_index(const uint8_t *data, size_t bytes)
{
	struct index *index = NULL;
	struct shm_error error = {""};
	char name[192];
	snprintf(name, sizeof name, "%s/sinks", folder);
	must(mkdir(name, 0700) == 0 || errno == EEXIST);
	snprintf(name, sizeof name, "%s/sinks/sink.0.open", folder);
	write_file(name, data, bytes);
	must(index_open(&index, folder, "sink.0", &error) == 0);
	for (unsigned i = 0; index_left(index, i) != NULL; i++) {
		const struct index_entry *entry = index_left(index, i);
		must(strlen(entry->token) == JOURNAL_TOKEN_BYTES && entry->name[0] != '\0');
		must(strlen(entry->name) <= JOURNAL_KEY_MAX && strlen(entry->upload) <= JOURNAL_UPLOAD_MAX);
		for (uint32_t k = 0; k < entry->n_parts; k++)
			must(entry->part[k].number > (k > 0 ? entry->part[k - 1].number : 0) &&
			     entry->part[k].number <= JOURNAL_PARTS_MAX && entry->part[k].bytes > 0);
		for (unsigned k = 0; k < i; k++)
			must(strcmp(index_left(index, k)->token, entry->token) != 0);
	}
	index_close(index);
}

/* ---- the spool ---- */

/* A part is written, its file is then changed by patches (place, value), cut or lengthened: it is
 * read as it was written, or it is not there. The rest of the input is the name of a file. */
static void check_spool(const uint8_t *data, size_t bytes)
{
	static const char token[] = "0123456789abcdef0123456789abcdef";
	struct spool_file file = {.number = 7, .bytes = 100, .sequence = 3}, named;
	char part[100], read[100], name[64];
	const char *reason = "";
	int directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(directory >= 0);
	memcpy(file.token, token, sizeof file.token);
	memset(part, 'x', sizeof part);
	struct iovec piece[2] = {{part, 60}, {part + 60, 40}};
	must(spool_file_write(directory, &file, piece, 2) == 0);
	snprintf(name, sizeof name, "%s.7", token);
	must(spool_file_named(&named, name) && named.number == 7 && strcmp(named.token, token) == 0);
	uint8_t before[256], after[256];
	int fd = openat(directory, name, O_RDWR | O_CLOEXEC);
	ssize_t was = pread(fd, before, sizeof before, 0);
	must(was == 100 + SPOOL_TRAILER_BYTES);
	for (size_t i = 0; i + 1 < bytes && data[i] < was; i += 2)
		must(pwrite(fd, &data[i + 1], 1, data[i]) == 1);
	if (bytes > 1 && data[0] >= was)
		must(ftruncate(fd, data[1]) == 0);
	ssize_t is = pread(fd, after, sizeof after, 0);
	bool same = is == was && memcmp(before, after, (size_t)was) == 0;
	close(fd);
	int result = spool_file_read(directory, &file, read, &reason);
	must(result == (same ? 0 : -ENOENT));
	must(same ? memcmp(read, part, sizeof part) == 0 : reason[0] != '\0');
	must(!same || spool_file_sequence(directory, &file) == 3);
	must(spool_file_remove(directory, &file) == 0);
	must(spool_file_read(directory, &file, read, &reason) == -ENOENT);
	close(directory);
	char *other = fuzz_string(data, bytes);
	if (spool_file_named(&named, other)) {
		must(named.number >= 1 && named.number <= JOURNAL_PARTS_MAX);
		snprintf(name, sizeof name, "%s.%u", named.token, named.number);
		must(strcmp(name, other) == 0);
	}
	free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes < 2 || bytes > 8192)
		return 0;
	make();
	data++, bytes--;
	switch (data[-1] % 4) {
	case 0:
		check_hosts(data, bytes);
		break;
	case 1:
		check_tokens(data, bytes);
		break;
	case 2:
		check_index(data, bytes);
		break;
	default:
		check_spool(data, bytes);
	}
	tree_remove(folder);
	return 0;
}
