/* What the layout hash of segments takes from payloads (shm/segment.h). */
#include "event/event.h"
#include "shm/segment.h"

const size_t segment_payload_layout[] = {
        sizeof(struct event_metric),
        sizeof(struct event_track_raw),
        offsetof(struct event_track_raw, flags),
        sizeof(struct event_log),
        offsetof(struct event_log, text_offset),
        sizeof(struct event_postback),
        offsetof(struct event_postback, id),
        POSTBACK_METHOD_COUNT,
        sizeof(struct event_delivery),
        offsetof(struct event_delivery, endpoint_bytes),
        OUTCOME_COUNT,
};
const size_t segment_payload_layouts = sizeof segment_payload_layout / sizeof segment_payload_layout[0];
