/* Whether the parsers of bodies (ingest/json/event.h) and jansson see the same in a text: is it
 * accepted under the same rules, with which payload; if not, for which reason and at which place.
 * What jansson cannot judge is not compared: see json_oracle.h. */
#ifndef TESTS_FUZZ_JSON_BODY_ORACLE_H
#define TESTS_FUZZ_JSON_BODY_ORACLE_H

#include "tests/fuzz/json_oracle.h"

enum json_agreement json_oracle_metric(const char *data, size_t bytes);
enum json_agreement json_oracle_log(const char *data, size_t bytes);
enum json_agreement json_oracle_track(const char *data, size_t bytes);
enum json_agreement json_oracle_params(const char *data, size_t bytes);

/* All elements, each payload in memory of the size that json_postback_room says. */
enum json_agreement json_oracle_postback(const char *data, size_t bytes);

/* An array: its elements are cut apart as jansson reads them. Otherwise lines: as a plain loop cuts
 * them. Each is given to json_oracle_track, too. */
enum json_agreement json_oracle_batch(const char *data, size_t bytes);

#endif
