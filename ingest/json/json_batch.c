#include "ingest/json/json_cut.h"
#include "ingest/json/json_event.h"
#include "ingest/json/object.h"

bool json_batch_open(struct json_batch *batch, const char *data, size_t bytes, struct json_fault *fault)
{
	const char *end = data + bytes, *first = json_skip_space(json_skip_mark(data, end), end);
	if (bytes > JSON_EVENT_BYTES_MAX)
		return json_fail(fault, LEDGER_TOO_LARGE, "body", "is too long");
	*batch = (struct json_batch){.at = data, .end = end};
	if (first == end || *first != '[')
		return true;
	struct scan scan;
	enum scan_token token;
	scan_init(&scan, data, bytes);
	do
		token = scan_next(&scan);
	while (token > SCAN_END);
	if (token == SCAN_ERROR)
		return json_fail_scan(fault, &scan);
	batch->array = true;
	batch->at = first + 1;
	return true;
}

/* `at` is behind the opening bracket or behind an element. */
static bool next_element(struct json_batch *batch, const char **data, size_t *bytes)
{
	const char *at = json_skip_space(batch->at, batch->end);
	if (at < batch->end && *at == ',')
		at = json_skip_space(at + 1, batch->end);
	if (at == batch->end || *at == ']') {
		batch->at = batch->end;
		return false;
	}
	batch->at = json_value_end(at, batch->end);
	*data = at;
	*bytes = (size_t)(batch->at - at);
	batch->number++;
	return true;
}

static bool next_line(struct json_batch *batch, const char **data, size_t *bytes)
{
	while (batch->at < batch->end) {
		const char *line = batch->at;
		const char *newline = memchr(line, '\n', (size_t)(batch->end - line));
		const char *line_end = newline ? newline : batch->end;
		batch->at = newline ? newline + 1 : batch->end;
		batch->number++;
		if (line_end > line && line_end[-1] == '\r')
			line_end--;
		if (json_skip_space(json_skip_mark(line, line_end), line_end) < line_end) {
			*data = line;
			*bytes = (size_t)(line_end - line);
			return true;
		}
	}
	return false;
}

bool json_batch_next(struct json_batch *batch, const char **data, size_t *bytes)
{
	return batch->array ? next_element(batch, data, bytes) : next_line(batch, data, bytes);
}
