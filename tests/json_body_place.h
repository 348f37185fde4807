/* Bodies and payloads that end where a page ends that nothing may touch, and every parser's outcome beside jansson's. */
#ifndef TESTS_JSON_BODY_PLACE_H
#define TESTS_JSON_BODY_PLACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/json/json_body.h"
#include "tests/fuzz/json_body_oracle.h"
#include "tests/page_end.h"

#define BODY_ROOM (1u << 19)
#define N(array)  (sizeof array / sizeof *array)

static char *body_text_end, *body_payload_end;

typedef bool body_parser(const char *data, size_t bytes, void *payload, uint32_t *length,
                         struct json_fault *fault);
typedef enum json_agreement body_oracle(const char *data, size_t bytes);

struct body_outcome {
	bool valid;
	uint32_t length;
	struct json_fault fault;
	const char *text; /* where it was put */
	char *payload;    /* full of 0xa5 but for what was written */
};

/* Of the group that all tests are in. */
static inline int body_pages(void **state)
{
	(void)state;
	body_text_end = page_end_make(BODY_ROOM);
	body_payload_end = page_end_make(4 * BODY_ROOM);
	return body_text_end && body_payload_end ? 0 : -1;
}

static inline char *body_put(const char *text, size_t bytes)
{
	assert_true(bytes <= BODY_ROOM);
	return memcpy(body_text_end - bytes, text, bytes);
}

/* `room` bytes and up to the next multiple of 8, at the end of the page. */
static inline char *body_payload(size_t room)
{
	size_t whole = (room + 7) & ~(size_t)7;
	assert_true(whole <= 4 * BODY_ROOM);
	return memset(body_payload_end - whole, 0xa5, whole);
}

static inline struct body_outcome body_parse(body_parser *parse, body_oracle *oracle, size_t room,
                                             const char *text, size_t bytes)
{
	struct body_outcome o = {.payload = body_payload(room), .text = body_put(text, bytes)};
	o.valid = parse(o.text, bytes, o.payload, &o.length, &o.fault);
	if (o.valid)
		assert_true(o.length <= room);
	assert_int_not_equal(oracle(o.text, bytes), JSON_DISAGREED);
	return o;
}

/* Refused, and for this. */
static inline void body_assert_fault(const struct json_fault *fault, const char *text,
                                     enum ledger_reason reason, const char *where, const char *what)
{
	if (fault->reason != reason || strcmp(fault->where, where) != 0 || strcmp(fault->what, what) != 0)
		fail_msg("%s: reason %u, \"%s\" %s; expected %u, \"%s\" %s", text, fault->reason,
		         fault->where, fault->what, reason, where, what);
}

/* Every beginning of a body that is valid as a whole is refused as truncated. */
static inline void body_assert_truncated(body_parser *parse, body_oracle *oracle, size_t room,
                                         const char *text)
{
	for (size_t bytes = 0; bytes < strlen(text); bytes++) {
		struct body_outcome o = body_parse(parse, oracle, room, text, bytes);
		assert_false(o.valid);
		body_assert_fault(&o.fault, text, LEDGER_TRUNCATED, "body", "text ends early");
		assert_int_equal(o.fault.at, bytes);
	}
	assert_true(body_parse(parse, oracle, room, text, strlen(text)).valid);
}

#endif
