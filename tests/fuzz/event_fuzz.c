/* Any bytes as a record of any type, as a reader meets it: a record that event_check takes becomes
 * one line of JSON that jansson reads, with the fields that event_field gives; any other is refused
 * by all. No bytes outside the record are read.
 *
 * Input: type (two bytes), a byte that chooses a filter, the payload; its lengths are as they come,
 * or, when the high bit of the type is set, put right by giving what is left to its last part. */
#include <errno.h>
#include <jansson.h>

#include "base/text.h"
#include "event/encode.h"
#include "event/event.h"
#include "event/filter.h"
#include "event/line.h"
#include "tests/fuzz/fuzz.h"

#define OUT_BYTES (1u << 20)
#define BYTES_MAX 8192u

static char out[OUT_BYTES], field[OUT_BYTES], again[OUT_BYTES];

static struct record *make(uint16_t type, const uint8_t *data, size_t bytes)
{
	struct record *record = aligned_alloc(8, record_bytes(bytes));
	must(record != NULL);
	void *payload = record_put(record, type, (uint32_t)bytes);
	if (bytes > 0)
		memcpy(payload, data, bytes);
	return record;
}

#define SET_REST(kind, last, others)                                                                    \
	do {                                                                                            \
		struct kind *event = (void *)record->payload;                                           \
		if (record->length >= sizeof *event && (others) <= record->length - sizeof *event)      \
			event->last = (typeof(event->last))(record->length - sizeof *event - (others)); \
	} while (0)

static void put_right(struct record *record)
{
	switch (record->type) {
	case EVENT_RAW:
		SET_REST(event_raw, length, 0u);
		break;
	case EVENT_METRIC:
		SET_REST(event_metric, metric_bytes, event->username_bytes);
		break;
	case EVENT_TRACK_RAW:
		SET_REST(event_track_raw, query_bytes,
		         (uint32_t)event->type_bytes + event->agent_bytes + event->host_bytes);
		break;
	case EVENT_TRACK:
		SET_REST(event_track, query_bytes,
		         (uint32_t)event->type_bytes + event->host_bytes + event->pod_bytes +
		                 event->device_bytes + event->browser_bytes + event->engine_bytes +
		                 event->version_bytes + event->os_bytes + event->city_bytes);
		break;
	case EVENT_LOG:
		SET_REST(event_log, object_bytes, 0u);
		break;
	case EVENT_POSTBACK:
		SET_REST(event_postback, data_bytes, event->url_bytes);
		break;
	case EVENT_DELIVERY:
		SET_REST(event_delivery, body_bytes,
		         (uint64_t)event->endpoint_bytes + event->url_bytes + event->error_bytes);
		break;
	default:
		break;
	}
}

/* jansson refuses numbers beyond a double, halves of pairs and names with a zero byte, which JSON
 * of others that a payload carries may have; and queries' names. */
static bool carries_json(const struct record *record)
{
	return record->type == EVENT_LOG || record->type == EVENT_POSTBACK || record->type == EVENT_TRACK;
}

static void check_fields(const struct record *record, json_t *root)
{
	for (unsigned i = 0; event_field_name(record->type, i) != NULL; i++) {
		const char *name = event_field_name(record->type, i);
		int n = event_field(field, sizeof field, record, name);
		must(event_field_known(record->type, name) && (n >= 0 || n == -ENOENT));
		if (n >= 0) {
			must(event_field(again, (size_t)n, record, name) == n &&
			     memcmp(again, field, (size_t)n) == 0);
			must(n == 0 || event_field(again, (size_t)n - 1, record, name) == -ENOSPC);
		}
		json_t *value = json_object_get(root, name);
		if (json_is_string(value) && n >= 0 && text_valid((const unsigned char *)field, (size_t)n) &&
		    strcmp(name, "query") != 0 && strcmp(name, "text") != 0 && strcmp(name, "params") != 0)
			must(json_string_length(value) == (size_t)n &&
			     memcmp(json_string_value(value), field, (size_t)n) == 0);
		if (json_is_integer(value) && n >= 0) {
			field[n] = '\0';
			must(strtoll(field, NULL, 10) == json_integer_value(value));
		}
	}
}

static void check_good(const struct record *record, int n)
{
	must(n > 2 && out[0] == '{' && out[n - 1] == '}');
	must(memchr(out, '\n', (size_t)n) == NULL && memchr(out, '\0', (size_t)n) == NULL);
	json_t *root = json_loadb(out, (size_t)n, JSON_ALLOW_NUL, NULL);
	must(root != NULL || carries_json(record));
	if (root != NULL)
		check_fields(record, root);
	json_decref(root);
	must(event_json(again, (size_t)n, record, "0-t-0", 8) == -ENOSPC ||
	     memcmp(again, out, (size_t)n) == 0);
	must(event_json(again, (size_t)n / 2, record, "0-t-0", 8) == -ENOSPC);
	for (int format = ENCODE_AUTO; format <= ENCODE_RECORD; format++) {
		int encoded =
		        encode_event(again, sizeof again, (enum encode_format)format, record, "0-t-0", 8);
		must((encoded >= 0) == encode_possible((enum encode_format)format, record->type));
		size_t bytes;
		const void *place = encode_in_place((enum encode_format)format, record, &bytes);
		must(place == NULL || (bytes == (size_t)encoded && memcmp(place, again, bytes) == 0));
		must(format == ENCODE_RECORD || encoded < 0 || memchr(again, '\n', (size_t)encoded) == NULL);
	}
}

/* What a field says is what a filter for it finds. */
static void check_filter(const struct record *record, unsigned which)
{
	struct filters filters;
	struct filters_why why;
	unsigned n_names = 0;
	while (event_field_name(record->type, n_names) != NULL)
		n_names++;
	if (n_names == 0)
		return;
	const char *name = event_field_name(record->type, which % n_names);
	int n = event_field(field, sizeof field, record, name);
	if (n < 0 || memchr(field, '\0', (size_t)n) != NULL || strcmp(name, "params") == 0)
		return;
	int written = snprintf(again, sizeof again, "%s=%.*s", name, n, field);
	must(written > 0 && (size_t)written < sizeof again);
	const char *text = again;
	if (filters_init(&filters, record->type, "t", &text, 1, &why) == 0)
		must(filters_hold(&filters, record));
	filters_fini(&filters);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes < 3 || bytes > BYTES_MAX)
		return 0;
	uint16_t type = data[0] % 10u == 9 ? (uint16_t)(EVENT_OUTSIDE + data[1] % 16) : data[0] % 10u;
	struct record *record = make(type, data + 3, bytes - 3);
	if (data[1] >= 0x80)
		put_right(record);
	int n = event_json(out, sizeof out, record, "0-t-0", 8);
	if (event_check(record)) {
		check_good(record, n);
		check_filter(record, data[2]);
	} else {
		must(n == -EINVAL && event_line(again, sizeof again, record) == -EINVAL);
		must(event_field(again, sizeof again, record, "ts") == -EINVAL);
		must(encode_event(again, sizeof again, ENCODE_AUTO, record, "0-t-0", 8) == -EINVAL);
	}
	free(record);
	return 0;
}
