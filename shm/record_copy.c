#include "shm/record_copy.h"

#include <stdlib.h>

#define ROOM_MIN 4096u /* most records fit */

static bool make_room(struct record_copy *copy, size_t bytes)
{
	if (bytes <= copy->bytes)
		return true;
	record_copy_fini(copy);
	bytes = bytes < ROOM_MIN ? ROOM_MIN : bytes;
	copy->record = malloc(bytes);
	copy->bytes = copy->record != NULL ? bytes : 0;
	return copy->record != NULL;
}

const struct record *record_copy(struct record_copy *copy, const void *payload, uint32_t length,
                                 uint16_t type)
{
	if (!make_room(copy, record_bytes(length)))
		return NULL;
	memcpy(record_put(copy->record, type, length), payload, length);
	return copy->record;
}

void record_copy_fini(struct record_copy *copy)
{
	free(copy->record);
	*copy = (struct record_copy){0};
}
