/* What the oracles of scanner, events and bodies share: jansson's opinion of a text, and what a
 * query string should hold. */
#ifndef TESTS_FUZZ_JSON_OPINION_H
#define TESTS_FUZZ_JSON_OPINION_H

#include <jansson.h>
#include <stdbool.h>

#include "event/event.h"
#include "tests/fuzz/json_oracle.h"

/* What jansson says of a text. */
struct opinion {
	json_t *root;    /* NULL: refused, or undecided; the caller's to release */
	bool undecided;  /* neither accepted nor refused */
	bool accepted;   /* may be so with root NULL: an integer does not fit */
	bool duplicates; /* some object repeats a key */
};

/* Bytes of the byte-order mark in front of the text, which jansson does not take: 3 or 0. */
size_t opinion_mark(const char *data, size_t bytes);

struct opinion opinion_of(const char *data, size_t bytes);

/* Prints what differs and the text. Returns JSON_DISAGREED. */
enum json_agreement opinion_differs(const char *what, const char *data, size_t bytes);

/* True when the scanner itself finds the text nested too deep: jansson has another limit. */
bool opinion_too_deep(const char *data, size_t bytes);

/* Absent, or an empty string. */
bool opinion_is_empty(const json_t *value);

/* ---- query strings (json_query.c) ---- */

/* Values are scalars, or arrays of scalars. */
bool query_fits(json_t *params);

/* The least and the most bytes that the query of a text of `bytes` bytes can have; how numbers were
 * written jansson does not tell. */
void query_bounds(json_t *params, size_t bytes, size_t *least, size_t *most);

/* The query decodes to the object, in order, with as little percent-encoding as can be. */
bool query_is(const char *at, size_t bytes, json_t *params);

/* The record is that of the metric or tracking event in the tree. */
bool query_is_metric(const struct event_metric *event, uint32_t length, json_t *root);
bool query_is_track(const struct event_track_raw *event, uint32_t length, json_t *root, bool compare_query);

#endif
