/* A receiver that speaks as much S3 as the objects sink asks for and keeps nothing: as fast as a
 * store can be on one machine. A process of its own; takes any signature.
 *
 *     POST ?uploads      an upload id           PUT           200 and an ETag
 *     POST ?uploadId=    200, completed         GET ?list..   an empty list
 *     HEAD               404                    others        200
 */
#ifndef BENCH_OBJECTS_RECEIVER_H
#define BENCH_OBJECTS_RECEIVER_H

#include <sys/types.h>

struct objects_receiver {
	pid_t pid;
	unsigned port; /* on 127.0.0.1 */
};

/* Returns 0 or -errno. It ends with its parent. */
int objects_receiver_start(struct objects_receiver *receiver);

void objects_receiver_stop(struct objects_receiver *receiver);

#endif
