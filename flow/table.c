/* The rows. They are alone in this file so that a test can link others. */
#include "event/event.h"
#include "flow/flow.h"
#include "shm/private.h"

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct flow_format udp_formats[] = {
#define FORMAT(name, parse, room, ...) {#name, NAMES(__VA_ARGS__)},
#include "ingest/udp/formats.def"
#undef FORMAT
        {NULL, NULL},
};

static const struct flow_stage stages[] = {
#define STAGE(stage_name, stage_folder, ...) \
	{.name = (stage_name), .folder = (stage_folder), .program = (stage_name), __VA_ARGS__},
#include "flow/flow.def"
#undef STAGE
};

static const struct flow_topic topics[] = {
#define TOPIC(name, type, when_full, help) {name, type, false, when_full, help},
#define QUEUE(name, type, help)            {name, type, true, "", help},
#include "flow/topics.def"
#undef TOPIC
#undef QUEUE
};

const struct flow_stage *flow_stages(size_t *n)
{
	*n = sizeof stages / sizeof stages[0];
	return stages;
}

const struct flow_topic *flow_topics(size_t *n)
{
	*n = sizeof topics / sizeof topics[0];
	return topics;
}
