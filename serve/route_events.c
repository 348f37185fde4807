/* Counts of one application, from tally.db; all forgotten, by tally. */
#include <errno.h>

#include "serve/problem.h"
#include "serve/serve.h"
#include "sink/tally/forget.h"
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

/* Other requests wait meanwhile, as for a question to a database. */
void handle_forget(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	struct forget_answer forgotten;
	int result = forget_addresses(serve->stage->instance.directory, serve->query_ns, &forgotten, &error);
	if (result == 0) {
		answer_json(answer, 200,
		            json_pack("{s:I, s:I}", "applications", (json_int_t)forgotten.applications,
		                      "events", (json_int_t)forgotten.events));
		return;
	}
	problem(answer, 503, request->path, "%s", error.text);
	answer->retry_after_s = 1;
}
