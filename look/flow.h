/* The flow of a running instance: which stage writes and reads which topics and queues. The same
 * that `millrace check --flow` draws of a configuration, with a node for each process.
 *
 *     {"nodes": [{"id": "ingest-udp.0", "kind": "stage", "program": "ingest-udp"}, {"id": "ip", "kind": "topic"},
 *                {"id": "postback", "kind": "queue"} ...],
 *      "edges": [{"from": "ingest-udp.0", "to": "ip"}, {"from": "ip", "to": "tally.0", "group": "tally"} ...]}
 *
 * Stages come in the order of the flow. Groups of outside programs and taps are no part of it, and
 * a topic that outside programs write has a lane without a role.
 */
#ifndef LOOK_FLOW_H
#define LOOK_FLOW_H

#include <jansson.h>

#include "look/snapshot.h"

/* The caller frees it with json_decref. NULL: no memory. */
json_t *look_flow(const struct snapshot *snapshot);

#endif
