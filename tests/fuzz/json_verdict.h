/* How an oracle of bodies judges: what a parser made of a text, against what it should have made of
 * jansson's tree. */
#ifndef TESTS_FUZZ_JSON_VERDICT_H
#define TESTS_FUZZ_JSON_VERDICT_H

#include "ingest/json/postback.h"
#include "tests/fuzz/json_opinion.h"

/* What a parser made of a text. */
struct parsed {
	bool valid;
	struct json_fault fault;
	void *payload;
	uint32_t length;
};

/* What it should make of the tree; reason LEDGER_VALID when it should take it. */
struct verdict {
	enum ledger_reason reason;
	const char *where;
};

static const struct verdict verdict_valid = {LEDGER_VALID, ""};

/* LEDGER_WRONG_TYPE there. */
struct verdict verdict_wrong(const char *where);

/* True when a field of the object is absent or empty; *verdict names the first. The names are told
 * with the prefix. */
bool verdict_lacks(json_t *object, const char *prefix, const char *const *names, struct verdict *verdict);

/* NULL when the parser came to this verdict and told the fault in full; otherwise what differs. */
const char *verdict_differs(const struct parsed *parsed, struct verdict verdict);

/* The text without white space outside strings, the slow way. Returns the length written, at most
 * `bytes`. */
size_t verdict_squeeze(char *out, const char *text, size_t bytes);

typedef bool verdict_parse_fn(const char *data, size_t bytes, void *payload, uint32_t *length,
                              struct json_fault *fault);
typedef const char *verdict_compare_fn(const struct parsed *parsed, const struct opinion *opinion,
                                       const char *data, size_t bytes);

/* Runs the parser with `room` bytes of payload and, when the text is an object, compares; otherwise
 * sees to it that it was refused as none. */
enum json_agreement verdict_agree(const char *data, size_t bytes, verdict_parse_fn *parse, size_t room,
                                  verdict_compare_fn *compare);

#endif
