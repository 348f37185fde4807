#include "serve/fleet_form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/merge.h"
#include "serve/problem.h"
#include "serve/router.h"
#include "sink/tally/attempts.h"

static void put_escaped(struct fleet_form *form, const char *text, const char *allowed)
{
	for (; *text != '\0' && form->n + 4 < sizeof form->target; text++) {
		unsigned char byte = (unsigned char)*text;
		bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
		             (byte >= '0' && byte <= '9') || strchr(allowed, byte) != NULL;
		form->n += (size_t)sprintf(form->target + form->n, plain ? "%c" : "%%%02X", byte);
	}
}

static void put_parameter(struct fleet_form *form, const char *name, const char *value)
{
	char text[REQUEST_QUERY_ROOM];
	snprintf(text, sizeof text, "%s=%s", name, value);
	request_add_query(&form->request, text, strlen(text));
	form->n += (size_t)sprintf(form->target + form->n, "%c%s=", form->query ? '&' : '?', name);
	form->query = true;
	put_escaped(form, value, "-._~");
}

static void put_number(struct fleet_form *form, const char *name, int64_t number)
{
	char text[24];
	snprintf(text, sizeof text, "%lld", (long long)number);
	put_parameter(form, name, text);
}

static void put_time(struct fleet_form *form, const char *name, int64_t ms, bool up)
{
	put_number(form, name, (ms + (up ? ATTEMPTS_STEP_MS - 1 : 0)) / ATTEMPTS_STEP_MS * ATTEMPTS_STEP_MS);
}

static void put_parameters(struct fleet_form *form, const struct request *asked)
{
	const struct route_parameter *row = asked->route->parameter;
	int64_t now_ms = clock_real_ms();
	for (unsigned i = 0; row[i].name != NULL; i++) {
		if (row[i].in_path)
			continue;
		if (strcmp(row[i].name, "limit") == 0)
			put_number(form, "limit", MERGE_LIMIT);
		else if (strcmp(row[i].name, "sums") == 0)
			put_number(form, "sums", 1);
		else if (strcmp(row[i].name, "peers") == 0)
			put_number(form, "peers", 0);
		else if (strcmp(row[i].name, "since") == 0)
			put_time(form, "since", request_number(asked, "since", now_ms - ATTEMPTS_SPAN_MS),
			         false);
		else if (strcmp(row[i].name, "until") == 0)
			put_time(form, "until", request_number(asked, "until", now_ms), true);
		else if (strcmp(row[i].name, "offset") != 0 && asked->value[i] != NULL)
			put_parameter(form, row[i].name, asked->value[i]);
	}
}

struct fleet_form *fleet_form(const struct request *asked, struct answer *answer)
{
	struct fleet_form *form = calloc(1, sizeof *form);
	char wrong[512] = "";
	unsigned methods;
	if (form == NULL) {
		problem(answer, 503, asked->path, "no memory");
		return NULL;
	}
	request_init(&form->request, REQUEST_GET);
	request_set_path(&form->request, asked->path, strlen(asked->path));
	put_escaped(form, asked->path, "/-._~");
	put_parameters(form, asked);
	if (form->request.fault != NULL)
		problem(answer, form->request.fault_status, asked->path, "%s", form->request.fault);
	else if (router_find(&form->request, &methods) == NULL ||
	         !router_read(&form->request, clock_real_ms(), wrong, sizeof wrong))
		problem(answer, 400, asked->path, "%s", wrong);
	else
		return form;
	free(form);
	return NULL;
}
