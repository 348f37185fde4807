/* Which files of an instance its roles write, and which role which: what the owners of files
 * (supervisor/owners.h) follow from, and what a sandbox can grant file by file.
 *
 *     <topic>.lane.<n>                 the role of the lane
 *     <topic>.group.<k>                the roles that read the topic as this group
 *     <topic>.reader.<k>[.<share>]     the same, a lock
 *     <role>.stage, <role>.private     the role
 *     <role>.role                      the same, a lock
 *     <role>.errand                    the roles that may ask errands of the role (flow.h)
 *     <queue>.queue                    every role that puts or takes
 *     drops                            every role that receives datagrams
 *
 * It follows from the instance's page, the flow table, and the names of the groups, which are in
 * their pages. Whatever is not listed no role writes: the page, the configuration, lanes and groups
 * of outside programs.
 */
#ifndef STAGE_WRITTEN_H
#define STAGE_WRITTEN_H

#include "flow/flow.h"
#include "shm/instance.h"

struct written {
	char name[SEGMENT_NAME_MAX];
	const struct flow_stage *stage; /* of the role that writes it */
	bool queue;                     /* roles of several stages may; it is listed for each of them */
	bool lock;                      /* an empty file that its role holds locked; may be missing */
};

typedef void written_each_fn(void *argument, const struct written *file);

/* Calls each for every file that the role writes. directory is the instance's. */
void written_each(const struct instance_page *page, const char *directory, const char *role,
                  written_each_fn *each, void *argument);

/* The same for all roles of the page, role by role. */
void written_each_role(const struct instance_page *page, const char *directory, written_each_fn *each,
                       void *argument);

#endif
