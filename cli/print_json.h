/* JSON of the command's own making on its way to a terminal or a file. */
#ifndef CLI_PRINT_JSON_H
#define CLI_PRINT_JSON_H

#include <jansson.h>
#include <stdio.h>

/* Prints root and a newline; what a terminal would obey is escaped in strings (text_json). flags
 * are those of json_dumps. Returns 0, or -ENOMEM and nothing was printed; whether out took it is
 * found when it is flushed. */
int print_json(const json_t *root, size_t flags, FILE *out);

#endif
