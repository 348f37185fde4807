/* Credentials: files that a service manager puts into a folder for one unit alone, and that are
 * there while it runs (systemd.exec(5), LoadCredential=).
 *
 *     deliver.sign: credential:sign             in the unit of deliver: LoadCredential=sign:/etc/millrace/sign.keys
 *
 *     FILE, PATH   credential:NAME  ------->    $CREDENTIALS_DIRECTORY/NAME
 *     SECRET       credential:NAME  ------->    what is in that file, without a line break at its end
 *
 * Only the process that the section is for replaces one by what it stands for. To all others, and
 * in what is written of a configuration, it is the text that it is, which is no secret.
 */
#ifndef CONFIG_CREDENTIAL_H
#define CONFIG_CREDENTIAL_H

#include "config/data.h"
#include "config/value.h"

/* Checks the name where the text is credential:NAME. Returns 0, or -EINVAL with the reason in why,
 * which has nothing of the text: it may be a secret that begins so. */
int config_credential_check(const char *text, struct config_why *why);

/* Replaces each of the section whose file is there. Adds an error for each that is not, if it must
 * be, and for each that cannot be what its option takes; errors have nothing of a secret in
 * them. */
void config_credentials_take(const struct config_data *data, const char *section, bool must,
                             struct config_errors *errors);

/* Calls each with the key and NAME of every one that the section has. */
void config_credentials_each(const struct config_data *data, const char *section, config_file_fn *each,
                             void *argument);

#endif
