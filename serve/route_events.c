/* Counts of one application, from tally.db. */
#include <errno.h>

#include "serve/problem.h"
#include "serve/serve.h"
#include "sink/tally/report.h"

void handle_events(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = report_json(config_string(serve->config, "data_dir"), request_text(request, "sha"),
	                         &json, NULL, &error);
	if (result == -EINVAL) /* what is no sha is no application either */
		result = -ENOENT;
	problem_or_json(answer, result, request->path, json, error.text);
}
