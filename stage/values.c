#include "stage/values.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 256

/* What a value is given to. */
typedef void key_fn(const struct values_place *place, const char *key, enum config_type kind, values_fn *each,
                    void *argument);

/* "sinks[2].path" is of the option "sinks[].path". */
static enum config_type kind_of(const char *key)
{
	char plain[KEY_MAX];
	size_t n = 0, n_options;
	const struct config_option *option = config_options(&n_options);
	for (const char *at = key; *at != '\0' && n + 1 < sizeof plain; at++) {
		plain[n++] = *at;
		if (*at == '[')
			at += strcspn(at, "]") - 1;
	}
	plain[n] = '\0';
	for (size_t i = 0; i < n_options; i++)
		if (strcmp(option[i].key, plain) == 0)
			return option[i].kind;
	fprintf(stderr, "a table names an option that there is not: %s\n", key);
	abort();
}

/* One key of the table; "endpoints[].sign" is one for each entry. */
static void each_key(const struct values_place *place, const char *name, key_fn *do_key, values_fn *each,
                     void *argument)
{
	char key[KEY_MAX], list[KEY_MAX];
	const char *entries = strstr(name, "[]");
	if (entries == NULL) {
		snprintf(key, sizeof key, "%s.%s", place->section, name);
		if (config_has(place->config, "%s", key))
			do_key(place, key, kind_of(key), each, argument);
		return;
	}
	snprintf(list, sizeof list, "%s.%.*s", place->section, (int)(entries - name), name);
	size_t n = config_count(place->config, "%s", list);
	for (size_t i = 0; i < n; i++) {
		snprintf(key, sizeof key, "%s.%.*s[%zu]%s", place->section, (int)(entries - name), name, i,
		         entries + 2);
		do_key(place, key, kind_of(key), each, argument);
	}
}

static void do_values(const struct values_place *place, const char *key, enum config_type kind,
                      values_fn *each, void *argument)
{
	if (kind != CONFIG_LIST) {
		each(argument, config_string(place->config, "%s", key));
		return;
	}
	size_t n = config_count(place->config, "%s", key);
	for (size_t i = 0; i < n; i++)
		each(argument, config_item(place->config, i, "%s", key));
}

void values_each(const struct values_place *place, const char *const *keys, values_fn *each, void *argument)
{
	for (; keys != NULL && *keys != NULL; keys++)
		each_key(place, *keys, do_values, each, argument);
}

static void give_path(const char *text, values_fn *each, void *argument)
{
	const char *equals = strchr(text, '=');
	if (equals == NULL)
		return;
	const char *value = equals + 1 + strspn(equals + 1, " \t");
	if (value[0] == '/')
		each(argument, value);
}

static void do_paths(const struct values_place *place, const char *key, enum config_type kind,
                     values_fn *each, void *argument)
{
	if (kind == CONFIG_LIST) {
		size_t n = config_count(place->config, "%s", key);
		for (size_t i = 0; i < n; i++)
			give_path(config_item(place->config, i, "%s", key), each, argument);
		return;
	}
	FILE *file = fopen(config_string(place->config, "%s", key), "re");
	char *line = NULL;
	size_t size = 0;
	if (file == NULL)
		return;
	while (getline(&line, &size, file) >= 0) {
		line[strcspn(line, "\r\n")] = '\0';
		if (line[strspn(line, " \t")] != '#')
			give_path(line, each, argument);
	}
	free(line);
	fclose(file);
}

void values_each_path(const struct values_place *place, const char *const *keys, values_fn *each,
                      void *argument)
{
	for (; keys != NULL && *keys != NULL; keys++)
		each_key(place, *keys, do_paths, each, argument);
}

uint16_t values_port(const char *text)
{
	const char *scheme = strstr(text, "://"), *host = scheme == NULL ? text : scheme + 3;
	size_t n = strcspn(host, "/?#");
	const char *colon = NULL;
	for (size_t i = 0; i < n; i++)
		if (host[i] == ':')
			colon = host + i;
		else if (host[i] == ']')
			colon = NULL;
	if (colon != NULL && colon + 1 < host + n)
		return (uint16_t)strtoul(colon + 1, NULL, 10);
	return scheme == NULL ? 0 : strncmp(text, "https:", 6) == 0 ? 443 : 80;
}
