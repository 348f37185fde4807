#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/word.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "base/output.h"

static void overview(FILE *out)
{
	fprintf(out,
	        "Usage: millrace COMMAND [OPTION]...\n\n"
	        "Takes in events over UDP and HTTP, carries them through shared memory, enriches and counts them,\nand loses nothing that it has acknowledged.\n\n"
	        "Commands:\n");
	size_t n;
	const struct command *table = command_table(&n);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "  %-10s %s\n", table[i].name, table[i].help);
	fprintf(out, "  %-10s %s\n\n", "help", "this overview, or the help of one command");
	fprintf(out,
	        "Every command takes --help, and --instance NAME (or MILLRACE_INSTANCE in the environment).\n"
	        "Exit codes: 0 done, 1 failed, 2 wrong use; more in the help of some commands.\n\n"
	        "Begin with: millrace run\n");
}

static const struct command *find(const char *name)
{
	size_t n;
	const struct command *table = command_table(&n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(table[i].name, name) == 0)
			return &table[i];
	return NULL;
}

static int unknown_command(const char *name)
{
	const char *names[32] = {"help"};
	size_t n, known = 1;
	const struct command *table = command_table(&n);
	for (size_t i = 0; i < n && known < 32; i++)
		names[known++] = table[i].name;
	const char *nearest = word_nearest(name, names, known);
	fprintf(stderr, "millrace: unknown command \"%s\"", name);
	if (nearest != NULL)
		fprintf(stderr, "; did you mean %s?", nearest);
	fprintf(stderr, "; see: millrace help\n");
	return EXIT_USAGE;
}

static int help(int argc, char **argv)
{
	if (argc < 2) {
		overview(stdout);
		return 0;
	}
	const struct command *command = find(argv[1]);
	if (command == NULL)
		return unknown_command(argv[1]);
	char *arguments[] = {argv[1], (char[]){"--help"}, NULL};
	return command->run(2, arguments);
}

static int run(int argc, char **argv)
{
	if (argc < 2) {
		overview(stderr);
		return EXIT_USAGE;
	}
	const char *word = argv[1];
	if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
		printf("millrace %s\n", MILLRACE_VERSION);
		return 0;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
		return help(argc - 1, argv + 1);
	if (word[0] == '-') {
		fprintf(stderr,
		        "millrace: unknown option %s; options come after the command; see: millrace help\n",
		        word);
		return EXIT_USAGE;
	}
	const struct command *command = find(word);
	return command != NULL ? command->run(argc - 1, argv + 1) : unknown_command(word);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write(2), handled at the call */
	output_no_size_signal();
	int status = run(argc, argv);
	int finished = output_finish("millrace");
	return status != 0 ? status : finished;
}
