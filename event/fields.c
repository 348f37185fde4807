#include "event/fields.h"

#include "event/track.h"

#define NS_PER_MS 1000000u

#define FIELD(key, get)                      \
	{                                    \
		key, sizeof(key) - 1, get, 0 \
	}

/* A field that is a signed number of the layout as it stands there. */
#define NUMBER(key, get, layout, member)                            \
	{                                                           \
		key, sizeof(key) - 1, get, offsetof(layout, member) \
	}

/* Many JSON readers refuse an integer above 2^63 - 1; no honest event has one. */
static struct event_value unsigned_value(uint64_t number)
{
	return (struct event_value){.kind = EVENT_VALUE_UNSIGNED,
	                            .number = number > INT64_MAX ? INT64_MAX : number};
}

static struct event_value signed_value(int64_t number)
{
	return (struct event_value){.kind = EVENT_VALUE_SIGNED, .number = (uint64_t)number};
}

static struct event_value text_value(const char *bytes, size_t length)
{
	return (struct event_value){.kind = EVENT_VALUE_TEXT, .bytes = bytes, .length = length};
}

static const struct event_head *head_of(const struct event_payload *payload)
{
	return payload->at;
}

static const struct event_ip *ip_of(const struct event_payload *payload)
{
	return payload->at;
}

static const struct event_raw *raw_of(const struct event_payload *payload)
{
	return payload->at;
}

static const struct event_metric *metric_of(const struct event_payload *payload)
{
	return payload->at;
}

static const struct event_track_raw *track_of(const struct event_payload *payload)
{
	return payload->at;
}

static const struct event_log *log_of(const struct event_payload *payload)
{
	return payload->at;
}

static const struct event_postback *postback_of(const struct event_payload *payload)
{
	return payload->at;
}

/* ---- fields of every event that millrace takes in ---- */

static struct event_value get_ts(const struct event_payload *payload)
{
	return unsigned_value(head_of(payload)->arrival_ns / NS_PER_MS);
}

static struct event_value get_source(const struct event_payload *payload)
{
	return (struct event_value){
	        .kind = EVENT_VALUE_ADDRESS, .bytes = head_of(payload)->source, .length = 16};
}

static struct event_value get_source_port(const struct event_payload *payload)
{
	return unsigned_value(head_of(payload)->source_port);
}

/* Of what comes as datagrams; and of what a client sends, whose address it is rather than a
 * packet's. */
#define SENDER_FIELDS FIELD("ts", get_ts), FIELD("source", get_source), FIELD("source_port", get_source_port)
#define CLIENT_FIELDS FIELD("ts", get_ts), FIELD("ip", get_source)

/* ---- ip ---- */

static struct event_value get_sha(const struct event_payload *payload)
{
	return (struct event_value){
	        .kind = EVENT_VALUE_HEX, .bytes = ip_of(payload)->sha, .length = sizeof ip_of(payload)->sha};
}

static struct event_value get_ip(const struct event_payload *payload)
{
	return (struct event_value){.kind = EVENT_VALUE_IPV4, .number = ip_of(payload)->ip};
}

static const struct event_field ip_fields[] = {
        SENDER_FIELDS,
        FIELD("app_sha256", get_sha),
        FIELD("ip", get_ip),
};

/* ---- raw ---- */

static struct event_value get_listener(const struct event_payload *payload)
{
	return unsigned_value(raw_of(payload)->listener);
}

static struct event_value get_raw_length(const struct event_payload *payload)
{
	return unsigned_value(raw_of(payload)->length);
}

static struct event_value get_raw_data(const struct event_payload *payload)
{
	return (struct event_value){
	        .kind = EVENT_VALUE_BYTES, .bytes = raw_of(payload)->data, .length = raw_of(payload)->length};
}

static const struct event_field raw_fields[] = {
        SENDER_FIELDS,
        FIELD("listener", get_listener),
        FIELD("length", get_raw_length),
        FIELD("data", get_raw_data),
};

/* ---- metric ---- */

static struct event_value get_username(const struct event_payload *payload)
{
	return text_value(metric_of(payload)->text, metric_of(payload)->username_bytes);
}

static struct event_value get_count(const struct event_payload *payload)
{
	return signed_value(metric_of(payload)->count);
}

static struct event_value get_metric(const struct event_payload *payload)
{
	const struct event_metric *event = metric_of(payload);
	return text_value(event->text + event->username_bytes, event->metric_bytes);
}

static const struct event_field metric_fields[] = {
        CLIENT_FIELDS,
        FIELD("username", get_username),
        NUMBER("count", get_count, struct event_metric, count),
        FIELD("metric", get_metric),
};

/* ---- track.raw ---- */

static struct event_value get_type(const struct event_payload *payload)
{
	return text_value(track_of(payload)->text, track_of(payload)->type_bytes);
}

static struct event_value get_query(const struct event_payload *payload)
{
	const struct event_track_raw *event = track_of(payload);
	return text_value(event->text + event->type_bytes, event->query_bytes);
}

static struct event_value get_agent(const struct event_payload *payload)
{
	const struct event_track_raw *event = track_of(payload);
	return text_value(event->text + event->type_bytes + event->query_bytes, event->agent_bytes);
}

static struct event_value get_host(const struct event_payload *payload)
{
	const struct event_track_raw *event = track_of(payload);
	return text_value(event->text + event->type_bytes + event->query_bytes + event->agent_bytes,
	                  event->host_bytes);
}

static struct event_value get_client_ts(const struct event_payload *payload)
{
	struct event_value value = unsigned_value(track_of(payload)->client_ts_ms);
	if (value.number == 0)
		value.kind = EVENT_VALUE_ABSENT;
	return value;
}

static struct event_value get_dnt(const struct event_payload *payload)
{
	bool set = track_of(payload)->flags & EVENT_TRACK_DNT;
	return (struct event_value){.kind = set ? EVENT_VALUE_TRUE : EVENT_VALUE_ABSENT};
}

static const struct event_field track_fields[] = {
        CLIENT_FIELDS,
        FIELD("type", get_type),
        FIELD("query", get_query),
        FIELD("user_agent", get_agent),
        FIELD("host", get_host),
        FIELD("client_ts", get_client_ts),
        FIELD("dnt", get_dnt),
};

/* ---- track ---- */

static const struct event_track *enriched_of(const struct event_payload *payload)
{
	return payload->at;
}

static struct event_value part_value(const struct event_payload *payload, enum event_track_part part)
{
	struct event_track_slice slice = event_track_part(enriched_of(payload), part);
	return text_value(slice.text, slice.bytes);
}

#define GET_PART(name, part)                                                      \
	static struct event_value get_##name(const struct event_payload *payload) \
	{                                                                         \
		return part_value(payload, part);                                 \
	}

GET_PART(track_type, TRACK_TYPE)
GET_PART(track_host, TRACK_HOST)
GET_PART(track_pod, TRACK_POD)
GET_PART(track_device, TRACK_DEVICE)
GET_PART(track_browser, TRACK_BROWSER)
GET_PART(track_engine, TRACK_ENGINE)
GET_PART(track_version, TRACK_VERSION)
GET_PART(track_os, TRACK_OS)

static struct event_value get_track_city(const struct event_payload *payload)
{
	struct event_value value = part_value(payload, TRACK_CITY);
	return value.length > 0 ? value : text_value(EVENT_TRACK_UNKNOWN, 2);
}

static struct event_value get_track_params(const struct event_payload *payload)
{
	struct event_value value = part_value(payload, TRACK_QUERY);
	value.kind = EVENT_VALUE_QUERY;
	return value;
}

static struct event_value get_track_country(const struct event_payload *payload)
{
	struct event_track_slice country = event_track_country(enriched_of(payload));
	return text_value(country.text, country.bytes);
}

static struct event_value get_klag(const struct event_payload *payload)
{
	return unsigned_value(enriched_of(payload)->klag_ns / NS_PER_MS);
}

static struct event_value get_track_client_ts(const struct event_payload *payload)
{
	struct event_value value = unsigned_value(enriched_of(payload)->client_ts_ms);
	if (value.number == 0)
		value.kind = EVENT_VALUE_ABSENT;
	return value;
}

static struct event_value get_track_dnt(const struct event_payload *payload)
{
	bool set = enriched_of(payload)->flags & EVENT_TRACK_DNT;
	return (struct event_value){.kind = set ? EVENT_VALUE_TRUE : EVENT_VALUE_ABSENT};
}

static const struct event_field enriched_fields[] = {
        CLIENT_FIELDS,
        FIELD("type", get_track_type),
        FIELD("params", get_track_params),
        FIELD("host", get_track_host),
        FIELD("pod", get_track_pod),
        FIELD("klag", get_klag),
        FIELD("country", get_track_country),
        FIELD("city", get_track_city),
        FIELD("device", get_track_device),
        FIELD("browser", get_track_browser),
        FIELD("engine", get_track_engine),
        FIELD("version", get_track_version),
        FIELD("os", get_track_os),
        FIELD("client_ts", get_track_client_ts),
        FIELD("dnt", get_track_dnt),
};

/* ---- log ---- */

static struct event_value get_client_id(const struct event_payload *payload)
{
	return signed_value(log_of(payload)->client_id);
}

static struct event_value get_content_id(const struct event_payload *payload)
{
	return signed_value(log_of(payload)->content_id);
}

static struct event_value get_timestamp(const struct event_payload *payload)
{
	return signed_value(log_of(payload)->timestamp_ms);
}

static struct event_value get_text(const struct event_payload *payload)
{
	const struct event_log *event = log_of(payload);
	return (struct event_value){.kind = EVENT_VALUE_STRING,
	                            .bytes = event->object + event->text_offset,
	                            .length = event->text_bytes};
}

static const struct event_field log_fields[] = {
        CLIENT_FIELDS,
        NUMBER("client_id", get_client_id, struct event_log, client_id),
        NUMBER("content_id", get_content_id, struct event_log, content_id),
        NUMBER("timestamp", get_timestamp, struct event_log, timestamp_ms),
        FIELD("text", get_text),
};

/* ---- postback ---- */

static struct event_value get_method(const struct event_payload *payload)
{
	const char *name = postback_method_name(postback_of(payload)->method);
	return text_value(name, strlen(name));
}

static struct event_value get_url(const struct event_payload *payload)
{
	return text_value(postback_of(payload)->text, postback_of(payload)->url_bytes);
}

static struct event_value get_data(const struct event_payload *payload)
{
	const struct event_postback *event = postback_of(payload);
	return (struct event_value){.kind = EVENT_VALUE_OBJECT,
	                            .bytes = event->text + event->url_bytes,
	                            .length = event->data_bytes};
}

static const struct event_field postback_fields[] = {
        CLIENT_FIELDS,
        FIELD("method", get_method),
        FIELD("url", get_url),
        FIELD("data", get_data),
};

/* ---- delivery ---- */

static const struct event_delivery *delivery_of(const struct event_payload *payload)
{
	return payload->at;
}

static struct event_value get_delivery_postback(const struct event_payload *payload)
{
	return (struct event_value){.kind = EVENT_VALUE_ID,
	                            .bytes = delivery_of(payload)->id,
	                            .length = sizeof delivery_of(payload)->id};
}

static struct event_value get_delivery_endpoint(const struct event_payload *payload)
{
	return text_value(delivery_of(payload)->text, delivery_of(payload)->endpoint_bytes);
}

static struct event_value get_delivery_method(const struct event_payload *payload)
{
	const char *name = postback_method_name(delivery_of(payload)->method);
	return text_value(name, strlen(name));
}

static struct event_value get_delivery_url(const struct event_payload *payload)
{
	const struct event_delivery *event = delivery_of(payload);
	return text_value(event->text + event->endpoint_bytes, event->url_bytes);
}

static struct event_value get_delivery_outcome(const struct event_payload *payload)
{
	const char *name = delivery_outcome_name(delivery_of(payload)->outcome);
	return text_value(name, strlen(name));
}

static struct event_value get_delivery_error(const struct event_payload *payload)
{
	const struct event_delivery *event = delivery_of(payload);
	struct event_value value =
	        text_value(event->text + event->endpoint_bytes + event->url_bytes, event->error_bytes);
	if (value.length == 0)
		value.kind = EVENT_VALUE_ABSENT;
	return value;
}

static struct event_value get_delivery_body(const struct event_payload *payload)
{
	const struct event_delivery *event = delivery_of(payload);
	return (struct event_value){.kind = EVENT_VALUE_BYTES,
	                            .bytes = event->text + event->endpoint_bytes + event->url_bytes +
	                                     event->error_bytes,
	                            .length = event->body_bytes};
}

static struct event_value get_delivery_next(const struct event_payload *payload)
{
	struct event_value value = signed_value(delivery_of(payload)->next_ms);
	if (value.number == 0)
		value.kind = EVENT_VALUE_ABSENT;
	return value;
}

static struct event_value get_delivery_postback_ts(const struct event_payload *payload)
{
	return unsigned_value(delivery_of(payload)->postback_ns / NS_PER_MS);
}

#define GET_COUNT(member)                                                                    \
	static struct event_value get_delivery_##member(const struct event_payload *payload) \
	{                                                                                    \
		return unsigned_value(delivery_of(payload)->member);                         \
	}

GET_COUNT(attempt)
GET_COUNT(status)
GET_COUNT(dns_us)
GET_COUNT(connect_us)
GET_COUNT(tls_us)
GET_COUNT(first_byte_us)
GET_COUNT(total_us)

static const struct event_field delivery_fields[] = {
        CLIENT_FIELDS,
        FIELD("postback", get_delivery_postback),
        FIELD("endpoint", get_delivery_endpoint),
        FIELD("method", get_delivery_method),
        FIELD("url", get_delivery_url),
        FIELD("attempt", get_delivery_attempt),
        FIELD("outcome", get_delivery_outcome),
        FIELD("status", get_delivery_status),
        FIELD("error", get_delivery_error),
        FIELD("dns_us", get_delivery_dns_us),
        FIELD("connect_us", get_delivery_connect_us),
        FIELD("tls_us", get_delivery_tls_us),
        FIELD("first_byte_us", get_delivery_first_byte_us),
        FIELD("total_us", get_delivery_total_us),
        FIELD("next_ts", get_delivery_next),
        FIELD("postback_ts", get_delivery_postback_ts),
        FIELD("body", get_delivery_body),
};

/* ---- records of outside programs: millrace knows nothing of what is in them ---- */

static struct event_value get_record_type(const struct event_payload *payload)
{
	return unsigned_value(payload->type);
}

static struct event_value get_record_length(const struct event_payload *payload)
{
	return unsigned_value(payload->length);
}

static struct event_value get_record_data(const struct event_payload *payload)
{
	return (struct event_value){
	        .kind = EVENT_VALUE_BYTES, .bytes = payload->at, .length = payload->length};
}

static const struct event_field outside_fields[] = {
        FIELD("record_type", get_record_type),
        FIELD("length", get_record_length),
        FIELD("data", get_record_data),
};

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

const struct event_field *event_fields(uint16_t type, size_t *n)
{
	switch (type) {
	case EVENT_IP:
		*n = COUNT_OF(ip_fields);
		return ip_fields;
	case EVENT_RAW:
		*n = COUNT_OF(raw_fields);
		return raw_fields;
	case EVENT_METRIC:
		*n = COUNT_OF(metric_fields);
		return metric_fields;
	case EVENT_TRACK_RAW:
		*n = COUNT_OF(track_fields);
		return track_fields;
	case EVENT_LOG:
		*n = COUNT_OF(log_fields);
		return log_fields;
	case EVENT_TRACK:
		*n = COUNT_OF(enriched_fields);
		return enriched_fields;
	case EVENT_DELIVERY:
		*n = COUNT_OF(delivery_fields);
		return delivery_fields;
	case EVENT_POSTBACK:
		*n = COUNT_OF(postback_fields);
		return postback_fields;
	default:
		*n = type >= EVENT_OUTSIDE ? COUNT_OF(outside_fields) : 0;
		return outside_fields;
	}
}

static const struct event_field *named(uint16_t type, const char *key)
{
	size_t n;
	const struct event_field *field = event_fields(type, &n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(field[i].key, key) == 0)
			return &field[i];
	return NULL;
}

const struct event_field *event_fields_find(uint16_t type, const char *key)
{
	/* The documents say "sha" throughout; a filter for it means this field. */
	if (type == EVENT_IP && strcmp(key, "sha") == 0)
		key = "app_sha256";
	/* One name for the parameters, before enrichment and after. */
	if (type == EVENT_TRACK && strcmp(key, "query") == 0)
		key = "params";
	if (type == EVENT_TRACK_RAW && strcmp(key, "params") == 0)
		key = "query";
	const struct event_field *field = named(type, key);
	if (field == NULL && type < EVENT_OUTSIDE && strcmp(key, "source") == 0)
		return named(type, "ip");
	return field;
}
