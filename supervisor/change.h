/* Change: what becomes of each role when another configuration is put in force.
 *
 *     config, plan, the page in force  --.
 *                                        +--> a role goes on as it is, must begin anew, or ends for good
 *     next_config, next_plan           --'
 *
 * The next plan has been merged with the page (plan_merge), so topics, lanes and queues have the
 * same places in all three. Sockets, and packets of interfaces, are not looked at: they are the
 * caller's.
 */
#ifndef SUPERVISOR_CHANGE_H
#define SUPERVISOR_CHANGE_H

#include "supervisor/supervisor.h"

/* Whether the role of the plan in force is gone from the next one, or must begin anew: its section
 * changed or an option that its row of the flow table names besides, the size or when_full of a
 * topic, the size of a queue that it uses, the number in whose name it claims slots there, a topic
 * that it reads and that comes or comes back. */
bool change_of_role(const struct supervisor *supervisor, const struct plan_role *now);

/* Whether any process of the section, of the next plan, begins with it; when not, nothing of theirs
 * depends on what is tried. */
bool change_of_section(const struct supervisor *supervisor, const char *section);

/* Whether no life of the role under the next plan takes up what this one leaves: it is gone, or
 * writes other topics. */
bool change_ends_role(const struct supervisor *supervisor, const char *role);

#endif
