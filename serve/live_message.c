#include "serve/live_message.h"

#include <stdlib.h>

struct live_message *live_message_new(struct live_budget *budget, size_t bytes)
{
	if (bytes > budget->max || budget->held > budget->max - bytes)
		return NULL;
	struct live_message *message = malloc(sizeof *message + bytes);
	if (message == NULL)
		return NULL;
	*message = (struct live_message){.budget = budget, .references = 1, .bytes = bytes};
	budget->held += bytes;
	return message;
}

struct live_message *live_message_hold(struct live_message *message)
{
	message->references++;
	return message;
}

void live_message_release(struct live_message *message)
{
	if (message == NULL || --message->references > 0)
		return;
	message->budget->held -= message->bytes;
	free(message);
}
