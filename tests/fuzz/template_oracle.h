/* What template_expand must write, found by other means: the fields by event_field, dates by the C
 * library, the encoding by the letter of event/template.h. */
#ifndef TESTS_FUZZ_TEMPLATE_ORACLE_H
#define TESTS_FUZZ_TEMPLATE_ORACLE_H

#include "event/template.h"

/* As template_expand, for a template that template_compile takes. Aborts when out is too small. */
int template_oracle(char *out, size_t size, const char *text, const struct record *record,
                    const struct template_place *place);

/* True when template_expand writes what the oracle does, within template_most and in exactly as
 * much room, and when no component of the path between slashes is empty, "." or ".." because of the
 * event, nor one more or less than the template has. What is wrong is on standard error. */
bool template_agrees(const char *text, const struct record *record, const struct template_place *place);

#endif
