/* Counts of one application, from tally.db. */
#include <errno.h>
#include <string.h>

#include "serve/problem.h"
#include "serve/serve.h"
#include "sink/tally/report.h"

void handle_events(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = report_json(config_string(serve->config, "data_dir"), request_text(request, "sha"),
	                         &json, NULL, &error);
	switch (result) {
	case 0:
		answer_body(answer, 200, "application/json", json, strlen(json));
		break;
	case -EINVAL:
	case -ENOENT:
	case -ENODATA:
		problem(answer, 404, request->path, "%s", error.text);
		break;
	default:
		problem_of(answer, result, request->path, error.text);
	}
}
