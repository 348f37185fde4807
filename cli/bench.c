/* millrace bench stream|queue|udp|enrich|objects|kafka|deliver|tally: becomes the benchmark
 * program. */
#include <stdio.h>
#include <string.h>

#include "base/word.h"
#include "cli/arguments.h"
#include "cli/command.h"

static const char *const parts[] = {"stream",  "queue", "udp",     "enrich",
                                    "objects", "kafka", "deliver", "tally"};
#define PARTS (sizeof parts / sizeof parts[0])

int command_bench(int argc, char **argv)
{
	const struct arguments arguments = {
	        .command = "bench",
	        .usage = "stream|queue|udp|enrich|objects|kafka|deliver|tally [OPTION]...",
	        .purpose =
	                "Measures one part against a reference in the same run and prints both and their ratio:\n"
	                "  stream   one writer, one reader, two processes, against ck_ring (SPSC)\n"
	                "  queue    many to many, against ck_ring (MPMC)\n"
	                "  udp      datagrams received, parsed, streamed and counted, against a bare recvmmsg loop;\n"
	                "           with --backend xdp, as root: frames taken in by AF_XDP, against a bare loop of that\n"
	                "  enrich   tracking calls through the enrich stage, one core, against a loop that only copies\n"
	                "  objects  lines of a log through the objects sink, one core, against ISA-L alone\n"
	                "  kafka    messages from a lane to a broker and confirmed, against a bare rd_kafka_producev loop\n"
	                "  deliver  postbacks from the queue to a server, against a plain loop of libcurl's multi interface\n"
	                "  tally    metrics counted and committed to disk, one core, against rows and upserts in SQLite\n"
	                "What follows the part is for the benchmark: millrace bench stream --help lists its options.",
	        .example = "  millrace bench stream --json",
	        .operands_min = 1,
	        .operands_max = 1,
	};
	/* Only options before the part are for this command. */
	struct operands operands;
	int status = arguments_parse(&arguments, argc < 2 ? argc : 2, argv, &operands);
	if (status != ARGUMENTS_GO_ON)
		return status;
	for (size_t i = 0; i < PARTS; i++)
		if (strcmp(argv[1], parts[i]) == 0) {
			char program[32];
			snprintf(program, sizeof program, "bench-%s", parts[i]);
			return command_exec("bench", program, (const char *const *)argv + 2,
			                    (size_t)argc - 2);
		}
	const char *nearest = word_nearest(argv[1], parts, PARTS);
	return arguments_error(
	        &arguments, "there is no benchmark \"%s\"%s%s", argv[1],
	        nearest != NULL ? "; did you mean "
	                        : "; there are: stream, queue, udp, enrich, objects, kafka, deliver, tally",
	        nearest != NULL ? nearest : "");
}
