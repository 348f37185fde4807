/* What tally keeps of tracking events and metrics, from tally.db. */
#include "base/clock.h"
#include "serve/problem.h"
#include "serve/serve.h"
#include "sink/tally/accounts.h"
#include "sink/tally/consumers.h"
#include "sink/tally/distinct.h"
#include "sink/tally/hourly.h"

static const char *data_dir(const struct serve *serve)
{
	return config_string(serve->config, "data_dir");
}

static struct top_page page_of(const struct request *request)
{
	return (struct top_page){.limit = (uint64_t)request_number(request, "limit", TOP_LIMIT),
	                         .offset = (uint64_t)request_number(request, "offset", 0)};
}

/* The same, of routes that have averages. */
static struct top_page page_with_sums(const struct request *request)
{
	struct top_page page = page_of(request);
	page.sums = request_number(request, "sums", 0) != 0;
	return page;
}

/* ---- metrics ---- */

void handle_hourly_total(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result =
	        hourly_total_json(data_dir(serve), clock_real_ms(), page_with_sums(request), &json, &error);
	problem_or_json(answer, result, request->path, json, error.text);
}

void handle_hourly_per_user(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = hourly_per_user_json(data_dir(serve), clock_real_ms(), page_with_sums(request), &json,
	                                  NULL, &error);
	problem_or_json(answer, result, request->path, json, error.text);
}

void handle_distinct_daily(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = distinct_daily_json(data_dir(serve), request_text(request, "date"), clock_real_ms(),
	                                 page_of(request), &json, &error);
	problem_or_json(answer, result, request->path, json, error.text);
}

void handle_distinct_monthly(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = distinct_monthly_json(data_dir(serve), request_text(request, "month"), page_of(request),
	                                   &json, &error);
	problem_or_json(answer, result, request->path, json, error.text);
}

void handle_account(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = accounts_json(data_dir(serve), request_text(request, "username"), &json, &error);
	problem_or_json(answer, result, request->path, json, error.text);
}

/* ---- tracking events ---- */

void handle_consumers(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = consumers_json(data_dir(serve), &json, &error);
	problem_or_json(answer, result, request->path, json, error.text);
}

void handle_consumer(struct serve *serve, const struct request *request, struct answer *answer)
{
	struct shm_error error = {""};
	char *json = NULL;
	int result = consumer_json(data_dir(serve), request_text(request, "name"), page_with_sums(request),
	                           &json, &error);
	problem_or_json(answer, result, request->path, json, error.text);
}
