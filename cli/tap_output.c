#include "cli/tap_output.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"

#define FLUSH_BYTES (128u * 1024u)

bool tap_wants_more(const struct tap_output *output)
{
	return output->left > 0 && output->error == 0 && !*output->stop;
}

bool tap_flush(struct tap_output *output)
{
	if (output->lines.used > 0 && output->error == 0)
		output->error =
		        command_write(STDOUT_FILENO, output->lines.text, output->lines.used, output->stop);
	output->lines.used = 0;
	return output->error == 0;
}

bool tap_output_gone(void)
{
	struct pollfd output = {.fd = STDOUT_FILENO};
	return poll(&output, 1, 0) == 1 && (output.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
}

void tap_print(struct tap_output *output, const struct record *record, unsigned lane, uint64_t position)
{
	int result = 0;
	if (!filters_hold(output->filters, record))
		return;
	if (strcmp(output->format, "raw") == 0)
		ndjson_append(&output->lines, record, record_bytes(record->length));
	else if (strcmp(output->format, "line") == 0)
		result = ndjson_add_line(&output->lines, record);
	else
		result = ndjson_add(&output->lines, record, lane, position);
	output->broken += result != 0;
	output->left--;
	if (output->lines.used >= FLUSH_BYTES)
		(void)tap_flush(output);
}

int tap_finish(struct tap_output *output, const char *what)
{
	(void)tap_flush(output);
	if (output->broken > 0)
		fprintf(stderr,
		        "millrace tap: %" PRIu64 " %s are not what their type says and were left out\n",
		        output->broken, what);
	if (output->error != 0 && output->error != -EPIPE && output->error != -EINTR)
		return command_fail("tap", "standard output: %s", strerror(-output->error));
	return 0;
}
