/* store-tool CONFIG: the store of sinks[0], driven by commands on standard input, one a line,
 * fields separated by tabs. Each is done before the next is read; its result is a line of JSON.
 *
 *     probe
 *     find    NAME
 *     create  NAME  TOKEN  [again]
 *     part    NAME  UPLOAD  NUMBER  BYTES           bytes are made from the number: see fill
 *     parts   NAME  UPLOAD  FIRST  LAST  BYTES      all at once, as many as the store takes; one line for each, as they end
 *     list    NAME  UPLOAD
 *     finish  NAME  UPLOAD  NUMBER=ETAG ...
 *     put     NAME  TOKEN  BYTES
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sink/objects/store.h"

#define FIELDS_MAX 10010
#define PIECE      1000003u /* bytes of a piece: bodies come in several */
#define PARTS_MAX  64u

static const struct store_ops *ops;
static struct store *store;

static const char *result_name(int result)
{
	static const struct {
		int result;
		const char *name;
	} names[] = {{0, "done"},        {-EEXIST, "exists"},       {-ENOENT, "missing"},
	             {-EAGAIN, "again"}, {-EINPROGRESS, "unknown"}, {-EACCES, "denied"},
	             {-EINVAL, "never"}};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (names[i].result == result)
			return names[i].name;
	return "?";
}

/* The bytes of a body, as the tests make them too: byte i of part n is (i * 31 + n * 7) % 251. */
static void fill(unsigned char *bytes, size_t length, unsigned number)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)((i * 31 + number * 7) % 251);
}

static void print(const struct store_request *request)
{
	json_t *parts = json_array();
	for (uint32_t i = 0; i < request->n_found; i++)
		json_array_append_new(parts,
		                      json_pack("{s:i, s:I, s:s}", "number", (int)request->found[i].number,
		                                "bytes", (json_int_t)request->found[i].bytes, "etag",
		                                request->found[i].etag));
	json_t *line = json_pack(
	        "{s:s, s:s, s:f, s:s, s:s, s:s, s:I, s:i, s:o}", "result", result_name(request->result),
	        "reason", request->reason, "wait", (double)request->wait_ns / 1e9, "etag", request->etag,
	        "upload", request->upload_made, "token", request->token_found, "bytes",
	        (json_int_t)request->bytes_found, "number", (int)request->number, "parts", parts);
	json_dumpf(line, stdout, JSON_COMPACT);
	printf("\n");
	fflush(stdout);
	json_decref(line);
}

static void wait_for_store(void)
{
	struct store_wait wait[8];
	struct pollfd fd[8];
	uint64_t timeout_ns = 10 * NS_PER_SEC;
	unsigned n = ops->wait(store, wait, 8, &timeout_ns);
	for (unsigned i = 0; i < n; i++)
		fd[i] = (struct pollfd){.fd = wait[i].fd, .events = wait[i].events};
	struct timespec timeout = {(time_t)(timeout_ns / NS_PER_SEC), (long)(timeout_ns % NS_PER_SEC)};
	ppoll(fd, n, &timeout, NULL);
}

static struct store_request *await(void)
{
	for (;;) {
		struct store_request *request = ops->next(store, clock_monotonic_ns());
		if (request != NULL)
			return request;
		wait_for_store();
	}
}

/* Gives a request a body in pieces; the caller frees the first piece. */
static void give_body(struct store_request *request, size_t bytes, unsigned number, struct iovec **piece)
{
	unsigned char *body = malloc(bytes + 1);
	unsigned n = (unsigned)(bytes / PIECE + 1);
	*piece = calloc(n, sizeof **piece);
	fill(body, bytes, number);
	for (unsigned i = 0; i < n; i++) {
		size_t from = (size_t)i * PIECE;
		(*piece)[i] = (struct iovec){body + from, bytes - from < PIECE ? bytes - from : PIECE};
	}
	request->piece = *piece;
	request->n_pieces = n;
	request->bytes = bytes;
	request->number = number;
}

static void drop_body(struct iovec *piece)
{
	if (piece != NULL)
		free(piece[0].iov_base);
	free(piece);
}

static void run(struct store_request *request)
{
	if (!ops->start(store, request))
		abort();
	if (await() != request)
		abort();
	print(request);
	free(request->found);
}

static void run_parts(const struct store_request *like, unsigned first, unsigned last, size_t bytes)
{
	static struct store_request request[PARTS_MAX];
	static struct iovec *piece[PARTS_MAX];
	unsigned started = 0, ended = 0, n = last - first + 1;
	if (n > PARTS_MAX)
		abort();
	while (ended < n) {
		for (; started < n; started++) {
			request[started] = *like;
			give_body(&request[started], bytes, first + started, &piece[started]);
			if (!ops->start(store, &request[started])) {
				drop_body(piece[started]);
				break;
			}
		}
		const struct store_request *one = await();
		print(one);
		drop_body(piece[one - request]);
		ended++;
	}
}

static void read_parts(struct store_request *request, char **field, unsigned n)
{
	struct store_part *part = calloc(n + 1, sizeof *part);
	for (unsigned i = 0; i < n; i++) {
		char *equals = strchr(field[i], '=');
		if (equals == NULL)
			abort();
		part[i].number = (uint32_t)strtoul(field[i], NULL, 10);
		snprintf(part[i].etag, sizeof part[i].etag, "%s", equals + 1);
	}
	request->part = part;
	request->n_parts = n;
}

static size_t number(const char *text)
{
	return text != NULL ? strtoull(text, NULL, 10) : 0;
}

static void obey(char **field, unsigned n)
{
	const char *what = field[0];
	struct store_request request = {.encoding = "gzip", .type = "application/x-ndjson"};
	struct iovec *piece = NULL;
	request.name = n > 1 ? field[1] : "";
	request.name_bytes = strlen(request.name);
	request.token = request.upload = n > 2 ? field[2] : "";
	if (strcmp(what, "probe") == 0) {
		request.action = STORE_PROBE;
	} else if (strcmp(what, "find") == 0) {
		request.action = STORE_FIND;
	} else if (strcmp(what, "create") == 0) {
		request.action = STORE_CREATE;
		request.again = n > 3;
	} else if (strcmp(what, "part") == 0) {
		request.action = STORE_PART;
		give_body(&request, number(field[4]), (unsigned)number(field[3]), &piece);
	} else if (strcmp(what, "parts") == 0) {
		request.action = STORE_PART;
		run_parts(&request, (unsigned)number(field[3]), (unsigned)number(field[4]), number(field[5]));
		return;
	} else if (strcmp(what, "list") == 0) {
		request.action = STORE_LIST;
	} else if (strcmp(what, "finish") == 0) {
		request.action = STORE_FINISH;
		read_parts(&request, field + 3, n - 3);
	} else if (strcmp(what, "put") == 0) {
		request.action = STORE_PUT;
		give_body(&request, number(field[3]), 1, &piece);
	} else {
		abort();
	}
	run(&request);
	drop_body(piece);
	free((void *)(uintptr_t)request.part);
}

/* Between commands the store goes on: keys are refreshed in the background. */
static bool read_command(char **line, size_t *room)
{
	for (;;) {
		struct store_wait wait[8];
		struct pollfd fd[9] = {{.fd = 0, .events = POLLIN}};
		uint64_t timeout_ns = 10 * NS_PER_SEC;
		(void)ops->next(store, clock_monotonic_ns());
		unsigned n = ops->wait(store, wait, 8, &timeout_ns);
		for (unsigned i = 0; i < n; i++)
			fd[i + 1] = (struct pollfd){.fd = wait[i].fd, .events = wait[i].events};
		if (poll(fd, n + 1, (int)(timeout_ns / NS_PER_MS) + 1) > 0 && fd[0].revents != 0)
			return getline(line, room, stdin) > 0;
	}
}

int main(int argc, char **argv)
{
	char *errors = NULL, *line = NULL;
	size_t room = 0;
	struct shm_error error = {.text = ""};
	struct config *config = argc == 2 ? config_load(argv[1], NULL, 0, &errors) : NULL;
	if (config == NULL) {
		fprintf(stderr, "%s", errors != NULL ? errors : "usage: store-tool CONFIG\n");
		free(errors);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdin, NULL, _IONBF, 0); /* poll must see what is not read yet */
	int result = store_choose(&ops, config, "sinks[0]", &error);
	if (result == 0)
		result = ops->open(&store, config, "sinks[0]", &error);
	if (result != 0) {
		fprintf(stderr, "%s\n", error.text);
		config_free(config);
		return 1;
	}
	while (read_command(&line, &room)) {
		static char *field[FIELDS_MAX];
		unsigned n = 0;
		char *rest = line;
		line[strcspn(line, "\n")] = '\0';
		memset(field, 0, sizeof field);
		while (n < FIELDS_MAX && rest != NULL)
			field[n++] = strsep(&rest, "\t");
		obey(field, n);
	}
	free(line);
	ops->close(store);
	config_free(config);
	return 0;
}
