/* Any bytes as an answer of a store: what S3's and Azure's readers make of it, and
 * the reader of tokens. The headers are read
 * a second time here, and the results are those that store.h allows for the action; a store may ask
 * for a wait, but for no longer than the caller takes.
 *
 * Input: action, status (two bytes), flags, then the head up to an empty line, then the body. */
#include <ctype.h>
#include <errno.h>
#include <strings.h>

#include "base/clock.h"
#include "sink/objects/azure_answer.h"
#include "sink/objects/azure_token.h"
#include "sink/objects/s3_answer.h"
#include "tests/fuzz/fuzz.h"

#define WAIT_MOST_NS (3600 * NS_PER_SEC)
#define NOW_S        1795000000

enum { FLAG_CUT = 1, FLAG_NO_BODY = 2, FLAG_SENT = 4, FLAG_SILENT = 8 };

/* ---- the head, read line by line ---- */

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The value of the first line of that name; NULL when there is none. To be freed. */
static char *value_of(const char *head, const char *name)
{
	size_t length = strlen(name);
	char *lines = fuzz_string(head, strlen(head)), *rest = lines, *line, *value = NULL;
	while (value == NULL && (line = strsep(&rest, "\n")) != NULL) {
		if (strlen(line) <= length || line[length] != ':' || strncasecmp(line, name, length) != 0)
			continue;
		char *from = line + length + 1, *end = from + strlen(from);
		while (from < end && blank(*from))
			from++;
		while (end > from && blank(end[-1]))
			end--;
		value = fuzz_string(from, (size_t)(end - from));
	}
	free(lines);
	return value;
}

static void check_header(const struct http_request *answer, const char *name, size_t size)
{
	char *wanted = answer->answer != NULL ? value_of(answer->answer, name) : NULL;
	char *value = malloc(size);
	must(value != NULL);
	int n = http_header(answer, name, value, size);
	if (wanted == NULL)
		must(n == -ENOENT);
	else if (strlen(wanted) >= size)
		must(n == -ENOSPC);
	else
		must(n == (int)strlen(wanted) && strcmp(value, wanted) == 0);
	free(value);
	free(wanted);
}

static void check_retry_after(const struct http_request *answer)
{
	uint64_t wait_ns = http_retry_after_ns(answer, WAIT_MOST_NS);
	char *value = answer->answer != NULL ? value_of(answer->answer, "retry-after") : NULL;
	must(wait_ns <= WAIT_MOST_NS && wait_ns % NS_PER_SEC == 0);
	if (value == NULL || value[0] == '\0' || strlen(value) >= 64) {
		must(wait_ns == 0);
	} else if (strspn(value, "0123456789") == strlen(value)) {
		const char *digits = value + strspn(value, "0");
		bool longer = strlen(digits) > 4 || atol(digits) > 3600;
		must(wait_ns == (longer ? WAIT_MOST_NS : (uint64_t)atol(digits) * NS_PER_SEC));
	}
	free(value);
}

/* ---- what it means ---- */

static void check_meaning(const struct cloud_meaning *meaning, const struct http_request *answer,
                          enum store_action action)
{
	int result = meaning->result;
	must(result == -EEXIST || result == -ENOENT || result == -EAGAIN || result == -EINPROGRESS ||
	     result == -EACCES || result == -EINVAL);
	must(result != -EEXIST || action == STORE_PUT);
	must(meaning->wait_ns == 0 || result == -EAGAIN || result == -EINPROGRESS);
	must(meaning->wait_ns <= 24 * 3600 * NS_PER_SEC);
	must(memchr(meaning->code, '\0', sizeof meaning->code) != NULL);
	must(memchr(meaning->reason, '\0', sizeof meaning->reason) != NULL);
	/* nobody may take a request for done or undone that may have changed something */
	if (answer->result != 0 && answer->sent && answer->result != -EINVAL && cloud_is_final(action))
		must(result == -EINPROGRESS);
	if (answer->result != 0)
		must(meaning->remedy == CLOUD_NO_REMEDY && meaning->code[0] == '\0');
	else
		must(atol(meaning->reason) == answer->status);
	must(meaning->remedy == CLOUD_NO_REMEDY || result == -EACCES);
}

static void check_answer(const struct http_request *answer, enum store_action action)
{
	static const char *const names[] = {"Date", "retry-after",     "x-amz-bucket-region",
	                                    "ETag", "x-ms-error-code", "content-length"};
	struct cloud_meaning meaning;
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		check_header(answer, names[i], 64);
		check_header(answer, names[i], 1);
	}
	check_retry_after(answer);
	must(http_date(answer) >= 0);
	s3_judge(&meaning, answer, action, "eu-north-1");
	check_meaning(&meaning, answer, action);
	azure_judge(&meaning, answer, action, NOW_S);
	check_meaning(&meaning, answer, action);
}

/* The same bytes as an answer of a managed identity. */
static void check_token(const struct http_request *answer)
{
	static struct azure_token token, before;
	char words[64];
	memset(token.text, 'x', sizeof token.text);
	before = token;
	if (!azure_token_read(&token, answer->body, answer->body_bytes, NOW_S)) {
		must(memcmp(&before, &token, sizeof token) == 0);
	} else {
		size_t n = strnlen(token.text, sizeof token.text);
		must(n > 0 && n < sizeof token.text && answer->body != NULL);
		for (size_t i = 0; i < n; i++)
			must(isgraph((unsigned char)token.text[i]));
		must(token.left_s > AZURE_TOKEN_SPARE_S && token.left_s <= AZURE_TOKEN_LIFE_MAX);
	}
	azure_token_refusal(words, sizeof words, answer->body, answer->body_bytes);
	must(memchr(words, 0, sizeof words) != NULL);
}

/* As http.c keeps it: lines that end with a newline. */
static char *make_head(const uint8_t **data, size_t *bytes)
{
	const uint8_t *end = *bytes > 0 ? memmem(*data, *bytes, "\n\n", 2) : NULL;
	size_t n = end != NULL ? (size_t)(end - *data) : *bytes;
	char *head = fuzz_string(*data, n + 1 <= *bytes ? n + 1 : n);
	*data += end != NULL ? n + 2 : n;
	*bytes -= end != NULL ? n + 2 : n;
	return head;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes < 4)
		return 0;
	enum store_action action = data[0] % (STORE_PUT + 1u);
	uint8_t flags = data[3];
	struct http_request answer = {.status = 100 + (data[1] | data[2] << 8) % 500,
	                              .sent = (flags & FLAG_SENT) != 0,
	                              .body_cut = (flags & FLAG_CUT) != 0,
	                              .reason = "connection lost"};
	data += 4, bytes -= 4;
	answer.answer = make_head(&data, &bytes);
	if ((flags & FLAG_NO_BODY) == 0) {
		answer.body = fuzz_string(data, bytes);
		answer.body_bytes = bytes;
	}
	if ((flags & FLAG_SILENT) != 0) {
		answer.result = (flags & 16) != 0 ? -EIO : (flags & 32) != 0 ? -EPROTO : -EINVAL;
		answer.status = 0;
	}
	check_answer(&answer, action);
	check_token(&answer);
	http_request_fini(&answer);
	return 0;
}
