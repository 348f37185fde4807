#include "sink/kafka/properties.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/check.h"

#define LINE_MAX_BYTES 65536u /* a certificate with its key, in PEM with \n */

static const char promise[] = "the sink's promises need the value that it sets";
static const char option[] = "an option of the sink says it";
static const char inside[] = "the sink needs the value that it sets";

static const struct {
	const char *name, *reason;
} reserved[] = {
        {"enable.idempotence", promise},
        {"enable.gapless.guarantee", promise},
        {"acks", promise},
        {"request.required.acks", promise},
        {"message.timeout.ms", promise},
        {"delivery.timeout.ms", promise},
        {"retries", promise},
        {"message.send.max.retries", promise},
        {"queuing.strategy", promise},
        {"isolation.level", promise},
        {"bootstrap.servers", option},
        {"metadata.broker.list", option},
        {"transactional.id", option},
        {"transaction.timeout.ms", option},
        {"queue.buffering.max.messages", option},
        {"queue.buffering.max.kbytes", option},
        {"sasl.password", "the option password says it, or properties_file"},
        {"delivery.report.only.error", inside},
        {"log.queue", inside},
        {"enable.partition.eof", inside},
        {"fetch.wait.max.ms", inside},
};

const char *property_reserved(const char *name)
{
	for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
		if (strcmp(name, reserved[i].name) == 0)
			return reserved[i].reason;
	return NULL;
}

bool property_secret(const char *name)
{
	const char *secret;
	for (size_t i = 0; (secret = config_check_barred(i)) != NULL; i++)
		if (strcmp(name, secret) == 0)
			return true;
	return false;
}

/* The text without white space at its ends, malloced. */
static char *trimmed(const char *text, size_t bytes)
{
	while (bytes != 0 && isspace((unsigned char)text[bytes - 1]))
		bytes--;
	while (bytes != 0 && isspace((unsigned char)*text)) {
		text++;
		bytes--;
	}
	return strndup(text, bytes);
}

static int add(struct properties *properties, char *name, char *value)
{
	struct property *larger = realloc(properties->property, (properties->n + 1) * sizeof *larger);
	if (larger == NULL || name == NULL || value == NULL) {
		properties->property = larger != NULL ? larger : properties->property;
		free(name);
		free(value);
		return -ENOMEM;
	}
	properties->property = larger;
	larger[properties->n++] = (struct property){name, value};
	return 0;
}

/* from_file: secrets are allowed there. */
static int add_text(struct properties *properties, const char *text, bool from_file, struct shm_error *error)
{
	const char *equals = strchr(text, '=');
	if (equals == NULL || equals == text) {
		shm_explain(error, "NAME=VALUE is wanted");
		return -EINVAL;
	}
	char *name = trimmed(text, (size_t)(equals - text));
	if (name == NULL)
		return -ENOMEM;
	const char *reason = property_reserved(name);
	if (from_file && property_secret(name))
		reason = NULL;
	else if (reason == NULL && property_secret(name))
		reason = "a secret belongs into properties_file";
	if (reason != NULL) {
		shm_explain(error, "%s: %s", name, reason);
		free(name);
		return -EINVAL;
	}
	return add(properties, name, trimmed(equals + 1, strlen(equals + 1)));
}

int properties_add(struct properties *properties, const char *text, struct shm_error *error)
{
	return add_text(properties, text, false, error);
}

int properties_read(struct properties *properties, const char *path, struct shm_error *error)
{
	FILE *file = fopen(path, "re");
	if (file == NULL) {
		int result = -errno;
		shm_explain(error, "%s", strerror(-result));
		return result;
	}
	char *line = malloc(LINE_MAX_BYTES);
	int result = line == NULL ? -ENOMEM : 0;
	for (unsigned n = 1; result == 0 && fgets(line, LINE_MAX_BYTES, file) != NULL; n++) {
		struct shm_error why = {""};
		size_t blank = strspn(line, " \t\r\n");
		if (strchr(line, '\n') == NULL && !feof(file)) {
			shm_explain(&why, "longer than %u bytes", LINE_MAX_BYTES - 1);
			result = -EINVAL;
		} else if (line[blank] != '\0' && line[blank] != '#')
			result = add_text(properties, line, true, &why);
		if (result != 0)
			shm_explain(error, "%u: %s", n, why.text);
	}
	if (result == 0 && ferror(file)) {
		result = -EIO;
		shm_explain(error, "cannot be read");
	}
	if (line != NULL)
		explicit_bzero(line, LINE_MAX_BYTES);
	free(line);
	fclose(file);
	return result;
}

void properties_fini(struct properties *properties)
{
	for (size_t i = 0; i < properties->n; i++) {
		free(properties->property[i].name);
		explicit_bzero(properties->property[i].value, strlen(properties->property[i].value));
		free(properties->property[i].value);
	}
	free(properties->property);
	*properties = (struct properties){0};
}
