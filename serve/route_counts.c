/* What tally keeps of tracking events and metrics, from tally.db. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/problem.h"
#include "serve/serve.h"
#include "sink/tally/accounts.h"
#include "sink/tally/consumers.h"
#include "sink/tally/distinct.h"
#include "sink/tally/hourly.h"

/* What a reader of tally.db returned: its JSON, which goes, or the reason why there is none. */
static void answer_reader(const struct request *request, struct answer *answer, int result, char *json,
                          const struct shm_error *error)
{
	switch (result) {
	case 0:
		answer_body(answer, 200, "application/json", json, strlen(json));
		break;
	case -EINVAL:
		problem(answer, 400, request->path, "%s", error->text);
		break;
	case -ENOENT:
	case -ENODATA:
		problem(answer, 404, request->path, "%s", error->text);
		break;
	default:
		problem_of(answer, result, request->path, error->text);
	}
}

static const char *data_dir(const struct serve *serve)
{
	return config_string(serve->config, "data_dir");
}

static struct top_page page_of(const struct request *request)
{
	return (struct top_page){.limit = (uint64_t)request_number(request, "limit", TOP_LIMIT),
	                         .offset = (uint64_t)request_number(request, "offset", 0)};
}

static int64_t now_ms(void)
{
	return (int64_t)(clock_real_ns() / NS_PER_MS);
}

/* ---- metrics ---- */

void handle_hourly_total(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = hourly_total_json(data_dir(serve), now_ms(), page_of(request), &json, NULL, &error);
	answer_reader(request, answer, result, json, &error);
}

void handle_hourly_per_user(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = hourly_per_user_json(data_dir(serve), now_ms(), page_of(request), &json, NULL, &error);
	answer_reader(request, answer, result, json, &error);
}

void handle_distinct_daily(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = distinct_daily_json(data_dir(serve), request_text(request, "date"), now_ms(),
	                                 page_of(request), &json, &error);
	answer_reader(request, answer, result, json, &error);
}

void handle_distinct_monthly(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = distinct_monthly_json(data_dir(serve), request_text(request, "month"), page_of(request),
	                                   &json, &error);
	answer_reader(request, answer, result, json, &error);
}

void handle_account(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = accounts_json(data_dir(serve), request_text(request, "username"), &json, NULL, &error);
	answer_reader(request, answer, result, json, &error);
}

/* ---- tracking events ---- */

void handle_consumers(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = consumers_json(data_dir(serve), &json, &error);
	answer_reader(request, answer, result, json, &error);
}

void handle_consumer(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = consumer_json(data_dir(serve), request_text(request, "name"), page_of(request), &json,
	                           &error);
	answer_reader(request, answer, result, json, &error);
}
