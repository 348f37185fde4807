/* millrace roles: the roles of a running instance, one a line. */
#include <stdio.h>

#include "cli/arguments.h"
#include "cli/command.h"

static const char *name;
static bool programs;

static const struct argument table[] = {
        {"programs", 0, ARGUMENT_FLAG, NULL, "print the program of each role too", &programs, 0, 0, NULL},
        {"instance", 0, ARGUMENT_STRING, "NAME", "which instance (default: $MILLRACE_INSTANCE or default)",
         &name, 0, 0, NULL},
};

static const struct arguments arguments = {
        .command = "roles",
        .usage = "[--programs] [--instance NAME]",
        .purpose = "Prints the roles of a running instance.",
        .example = "  millrace roles",
        .table = table,
        .n = sizeof table / sizeof table[0],
};

int command_roles(int argc, char **argv)
{
	struct operands operands;
	struct instance instance;
	name = command_instance();
	int status = arguments_parse(&arguments, argc, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	status = command_attach("roles", &instance, name, SEGMENT_READ);
	if (status != 0)
		return status;
	for (unsigned i = 0; i < instance.page->n_roles; i++)
		printf("%s%s%s\n", instance.page->role[i].name, programs ? " " : "",
		       programs ? instance.page->role[i].program : "");
	instance_detach(&instance);
	return 0;
}
