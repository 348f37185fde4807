/* Counts of one application, from tally.db; all forgotten, by tally. */
#include <errno.h>
#include <stdlib.h>

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

/* ---- forgetting ---- */

/* Somebody who waits until tally has forgotten. */
struct forgetter {
	struct later later;
	struct forgetter *next, **at; /* what points to it */
	struct forget forget;
	const struct request *request;
	struct answer *answer;
};

static void remove_forgetter(struct forgetter *forgetter)
{
	*forgetter->at = forgetter->next;
	if (forgetter->next != NULL)
		forgetter->next->at = forgetter->at;
	forget_end(&forgetter->forget);
	free(forgetter);
}

static void give_up(struct later *later)
{
	remove_forgetter((struct forgetter *)later);
}

static void refuse(const struct request *request, struct answer *answer, const char *why)
{
	problem(answer, 503, request->path, "%s", why);
	answer->retry_after_s = 1;
}

static void look(struct forgetter *forgetter)
{
	struct shm_error error = {""};
	struct forget_answer forgotten;
	int result = forget_look(&forgetter->forget, &forgotten, &error);
	if (result == -EAGAIN)
		return;
	if (result == 0)
		answer_json(forgetter->answer, 200,
		            json_pack("{s:I, s:I}", "applications", (json_int_t)forgotten.applications,
		                      "events", (json_int_t)forgotten.events));
	else
		refuse(forgetter->request, forgetter->answer, error.text);
	server_resume(&forgetter->later);
	remove_forgetter(forgetter);
}

bool serve_forget(struct serve *serve)
{
	for (struct forgetter *forgetter = serve->forgetters, *next; forgetter != NULL; forgetter = next) {
		next = forgetter->next;
		look(forgetter);
	}
	return serve->forgetters != NULL;
}

void handle_forget(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {"no memory"};
	struct forgetter *forgetter = malloc(sizeof *forgetter);
	if (forgetter == NULL || forget_begin(&forgetter->forget, serve->stage->instance.directory,
	                                      serve->query_ns, &error) != 0) {
		free(forgetter);
		refuse(request, answer, error.text);
		return;
	}
	forgetter->later = (struct later){.gone = give_up};
	forgetter->request = request;
	forgetter->answer = answer;
	forgetter->next = serve->forgetters;
	forgetter->at = &serve->forgetters;
	if (forgetter->next != NULL)
		forgetter->next->at = &forgetter->next;
	serve->forgetters = forgetter;
	answer_later(answer, &forgetter->later);
}
