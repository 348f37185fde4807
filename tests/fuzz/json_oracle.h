/* Whether ingest/json and jansson see the same in a text: whether it is JSON, all its values, and
 * the event it is.
 *
 * jansson cannot judge what it does not take, so nothing is compared where it stops for one of
 * these reasons: a number over the range of a double, U+0000 in a key, more than SCAN_DEPTH_MAX
 * levels. Where only an integer is over the range of int64, or only a key repeats inside params, as
 * much is compared as jansson keeps. A raw zero byte makes a text refused without asking jansson,
 * which overlooks one after a number or a word.
 */
#ifndef TESTS_FUZZ_JSON_ORACLE_H
#define TESTS_FUZZ_JSON_ORACLE_H

#include <stddef.h>

enum json_agreement {
	JSON_DISAGREED, /* what differs is on standard error */
	JSON_ACCEPTED,  /* both take it, as the same */
	JSON_REFUSED,   /* neither does */
	JSON_UNDECIDED, /* jansson cannot tell */
};

/* The scanner's verdict and values. */
enum json_agreement json_oracle_scan(const char *data, size_t bytes);

/* The event, or the reason for none. */
enum json_agreement json_oracle_event(const char *data, size_t bytes);

#endif
