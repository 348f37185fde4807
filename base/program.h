/* Where the programs and the data of this installation are.
 *
 *     ROOT/bin/millrace   ROOT/libexec/millrace/<stage>   ROOT/share/millrace/<data>
 *
 * ROOT is what the running program was started from: /usr/local, or the build folder.
 */
#ifndef BASE_PROGRAM_H
#define BASE_PROGRAM_H

#include <stddef.h>

/* ROOT of the running program, which is in ROOT/libexec/millrace or in ROOT/<any folder>. Returns 0
 * or -errno: of reading /proc/self/exe, or -ENAMETOOLONG. */
int program_root(char *root, size_t size);

/* The folder of the stages and of other programs that millrace starts: $MILLRACE_LIBEXEC, or
 * ROOT/libexec/millrace when that is not set or empty. Returns 0 or -errno as program_root. */
int program_libexec(char *folder, size_t size);

#endif
