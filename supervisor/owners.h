/* Owners and modes of the files of an instance, and of its data.
 *
 *     users in force (users.h)                              owner      group             mode
 *     the folder in shared memory                           millrace   millrace          0750
 *       what a role writes (stage/written.h)                millrace   millrace-KIND     0664
 *       <queue>.queue                                       millrace   millrace-queues   0664
 *       all else: page, configuration, locks, lanes and
 *       groups of outside programs                          millrace   millrace          0640
 *     the folder of secrets beside it (in_force.h)          millrace   millrace          0750
 *       <role>: its secrets                                 millrace   millrace-KIND     0640
 *     data_dir, and folders of ours in it                   millrace   millrace-data     2770
 *       files of ours in it                                 millrace   millrace-data     as the owner may: 0660
 *     not in force: the starter's, the folders 0700, files as it may
 *
 * The group's right to write is the mark of the writer; the folder keeps strangers out, so 0664
 * lets the members of the group millrace read. An owner may give a file to any group that it is a
 * member of: no capability is needed where the starter is millrace.
 *
 * Which files get which owner follows from the page, so it is done after each change of it, and
 * also puts right what an instance without users, or with, has left. Files that are made in the
 * folder meanwhile are the folder's owner's (folder.h). Everything goes by descriptors, no link is
 * followed, and only files and folders that are one of the users' (or root's), with one name, are
 * given away.
 */
#ifndef SUPERVISOR_OWNERS_H
#define SUPERVISOR_OWNERS_H

#include "config/config.h"
#include "shm/instance.h"
#include "supervisor/users.h"

/* Gives the instance's folder, and that of its secrets when it is there, not what is in them.
 * Returns 0 or -errno with the reason. */
int owners_of_folder(const struct users *users, const char *directory, struct shm_error *error);

/* Makes the locks that roles of the page will want and that are missing, because their users can
 * make no file in the folder, and gives every file in it and in the folder of secrets. Returns 0 or
 * -errno with the reason. */
int owners_of_files(const struct users *users, const char *directory, const struct instance_page *page,
                    struct shm_error *error);

/* Whether data_dir is not there yet or has been given to the users: then what a stage's user may do
 * in it is what it may after the next start. */
bool owners_has_data(const struct users *users, const struct config *config);

/* Gives data_dir, which exists, and what is ours in it: databases, locks, the folders of sinks that
 * the configuration names. A folder of somebody else, or of root's with other things in it, stays
 * as it is. Then the users must be able to write there. Returns 0 or -errno with the reason and the
 * remedy. */
int owners_of_data(const struct users *users, const struct config *config, struct shm_error *error);

#endif
