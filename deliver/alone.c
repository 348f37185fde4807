#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "deliver/deliver.h"
#include "deliver/request.h"
#include "stage/records.h"

struct alone {
	const struct config *config;
	FILE *output;
	struct policies *policies;
	struct data data;
	char *url;
	size_t url_most;
	uint64_t n, refused;
};

static void print_request(FILE *output, const struct sender_request *request)
{
	fprintf(output, "%s %s\n", request->method, request->url);
	for (unsigned i = 0; i < request->n_headers; i++)
		fprintf(output, "%s\n", request->header[i]);
	fputc('\n', output);
	if (request->body_bytes > 0) {
		fwrite(request->body, 1, request->body_bytes, output);
		fputs("\n\n", output);
	}
}

static void print_postback(struct alone *alone, struct delivery *delivery)
{
	struct shm_error error = {"no memory"};
	const struct event_postback *postback = delivery->postback;
	struct attempt *attempt = delivery->attempt;
	alone->n++;
	int result = target_compile(&delivery->target, postback->text, postback->url_bytes, &error);
	if (result == 0) {
		delivery->policy = policies_for(alone->policies, delivery->target);
		result = request_make(delivery, &alone->data, alone->url, alone->url_most, &error);
	}
	if (result == 0)
		print_request(alone->output, &attempt->request);
	else {
		char id[EVENT_POSTBACK_ID_BYTES + 1] = "";
		event_postback_id(id, postback);
		alone->refused++;
		log_warn("no request", "postback=%s reason=\"%s\"", id, error.text);
	}
	target_free(delivery->target);
	free(attempt->url);
	free(attempt->body);
}

static int print_file(struct alone *alone, FILE *input)
{
	struct records records = {.file = input};
	struct record_batch batch;
	const struct record *record;
	struct delivery delivery;
	struct attempt *attempt = malloc(sizeof *attempt);
	uint64_t others = 0;
	while (attempt != NULL && records_read(&records, &batch))
		while ((record = record_next(&batch)) != NULL) {
			if (record->type != EVENT_POSTBACK || !event_check(record)) {
				others++;
				continue;
			}
			memset(attempt, 0, sizeof *attempt);
			delivery = (struct delivery){.attempt = attempt,
			                             .postback = (const void *)record->payload,
			                             .bytes = record->length,
			                             .begun_real_ns = clock_real_ns()};
			print_postback(alone, &delivery);
		}
	free(attempt);
	log_info("read", "postbacks=%llu refused=%llu others=%llu", (unsigned long long)alone->n,
	         (unsigned long long)alone->refused, (unsigned long long)others);
	return records_end(&records) != 0 || fflush(alone->output) != 0 ? 1 : 0;
}

int deliver_alone(const struct config *config, FILE *input, FILE *output)
{
	struct shm_error error = {""};
	struct alone alone = {.config = config, .output = output};
	int status = 1;
	alone.url_most = config_u64(config, "deliver.url_most");
	alone.url = malloc(alone.url_most + 1);
	if (alone.url == NULL || policies_open(&alone.policies, config, &error) != 0)
		log_error("cannot start", "reason=\"%s\"", error.text);
	else
		status = print_file(&alone, input);
	if (alone.policies != NULL)
		policies_close(alone.policies);
	data_free(&alone.data);
	free(alone.url);
	return status;
}
