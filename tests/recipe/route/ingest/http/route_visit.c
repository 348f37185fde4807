/* /visit/NAME: a metric event, one visit of the user NAME. */
#include <string.h>

#include "ingest/http/handlers.h"

static const char metric[] = "visit";

void handle_visit(struct exchange *exchange, const struct body *body)
{
	struct outlet *outlet = exchange->shared->outlet;
	unsigned place = exchange_place(exchange);
	const char *name = exchange->request->path.text + sizeof "/visit/" - 1;
	size_t bytes = exchange->request->path.bytes - (sizeof "/visit/" - 1);
	size_t length = sizeof(struct event_metric) + bytes + sizeof metric - 1;
	bool never = false;
	(void)body;
	if (bytes == 0) {
		outlet_reject(outlet, place, LEDGER_MISSING_FIELD);
		reply_error(exchange, 400, "has no name", "path");
		return;
	}
	struct event_metric *event = outlet_room_alone(outlet, place, length, &never);
	if (event == NULL) {
		outlet_refuse(outlet, place, 1);
		reply_full(exchange);
		return;
	}
	memset(event, 0, sizeof *event);
	event->count = 1;
	event->username_bytes = (uint16_t)bytes;
	event->metric_bytes = sizeof metric - 1;
	memcpy(event->text, name, bytes);
	memcpy(event->text + bytes, metric, sizeof metric - 1);
	outlet_keep(outlet, place, length, &exchange->peer->source);
	reply_json(exchange, 200, REPLY_OK, sizeof REPLY_OK - 1);
}
