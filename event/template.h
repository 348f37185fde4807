/* Templates: text with an event's fields in it, such as the key of an object.
 *
 *     "chat/{date}/content_logs_{date}_{client_id}"  + event -->  chat/2026-11-27/content_logs_2026-11-27_7
 *
 * Fields: those of the event (event.h: "type", "client_id"; "params.color" is the first parameter
 * of that name, decoded), and
 *
 *     {topic}              of the record
 *     {date} {hour}        YYYY-MM-DD and HH in UTC, of the event's own time: log's timestamp, otherwise its
 *                          arrival; "_" outside the years 1970 to 9999
 *     {host} {instance}    of this machine and of millrace; {host} is the event's own field where it has one
 *     {n}                  a number that the user of the template gives
 *
 * No event can leave its place. A value's bytes other than A-Z a-z 0-9 - _ ~ and . are
 * percent-encoded (RFC 3986, unreserved), a value of dots alone has them encoded too, an empty or
 * missing one becomes "_". A value longer than TEMPLATE_VALUE_MAX encoded bytes is cut to a prefix
 * and "~" with 16 hexadecimal digits of a hash of the whole (SipHash-2-4 of its bytes, the key
 * being zero), so that two long ones stay apart; an escape is never cut in two. The text around the
 * fields is the configuration's and stands as it is.
 *
 * Compiled once. Expanding allocates nothing.
 */
#ifndef EVENT_TEMPLATE_H
#define EVENT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/event.h"

#define TEMPLATE_VALUE_MAX 200u /* bytes of one expanded value */
#define TEMPLATE_PARTS_MAX 32u

struct template; /* opaque */

/* What the record does not say itself. A text that is NULL or empty becomes "_". */
struct template_place {
	const char *topic, *host, *instance;
	uint64_t n;
	/* CLOCK_REALTIME of records of outside programs, which say no time; 0: the present */
	uint64_t now_ns;
};

/* Compiles text for events of these types (0-ended; flow_topic_type of the sink's topics). NULL:
 * which events will come is not known, any field of any event is taken. Returns 0 with *made, to be
 * freed with template_free, or -EINVAL with what is wrong and what is allowed in reason: a field
 * that one of the types does not have, a brace without its other, more than TEMPLATE_PARTS_MAX
 * parts; -ENOMEM. Events of other types than these can be expanded all the same. */
int template_compile(struct template **made, const char *text, const uint16_t *types, char *reason,
                     size_t reason_bytes);

/* NULL is allowed. */
void template_free(struct template *template);

/* Writes the text for this event, without a final 0. Returns its length, or -ENOSPC, or -EINVAL
 * when event_check fails. */
int template_expand(const struct template *template, char *out, size_t size, const struct record *record,
                    const struct template_place *place);

/* The bytes of the longest text that template_expand can write. */
size_t template_most(const struct template *template);

/* A number made from the values of the fields, faster than the text. Events with different texts
 * have the same by a chance of about 2^-60 alone; events of one type with one text have the same.
 * key is secret words drawn at start, for events come from the network. 0 when event_check fails,
 * which no event has. */
uint64_t template_hash(const struct template *template, const struct record *record,
                       const struct template_place *place, const uint64_t key[2]);

/* Whether template_hash reads no more of events of this type than their struct: what follows it
 * need not be there. */
bool template_hash_fixed(const struct template *template, uint16_t type);

#define TEMPLATE_MARKS_MAX 2u

/* What the text of an event of one type is made from, for whoever remembers texts: events with the
 * same numbers (of 8 bytes, at these places of the struct) and times in the same unit have the same
 * text. */
struct template_marks {
	uint64_t unit_ms; /* a day or an hour since 1970, of the time that {date} has; 0: none matters */
	unsigned n;
	uint32_t at[TEMPLATE_MARKS_MAX];
};

/* False when the text has more in it than such marks can say. */
bool template_marks(const struct template *template, uint16_t type, struct template_marks *marks);

#endif
