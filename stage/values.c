#include "stage/values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 256

/* What a value is given to. */
typedef void key_fn(const struct values_place *place, const char *key, enum config_type kind, values_fn *each,
                    void *argument);

static void give_key(const struct values_place *place, const char *key, key_fn *do_key, values_fn *each,
                     void *argument)
{
	const struct config_option *option = config_option_at(place->config, "%s", key);
	if (option != NULL)
		do_key(place, key, option->kind, each, argument);
}

/* One key of the table; "endpoints[].sign" is one for each entry. */
static void each_key(const struct values_place *place, const char *name, key_fn *do_key, values_fn *each,
                     void *argument)
{
	char key[KEY_MAX];
	const char *entries = strstr(name, "[]");
	int before = entries == NULL ? (int)strlen(name) : (int)(entries - name);
	snprintf(key, sizeof key, "%s.%.*s", place->section, before, name);
	if (entries == NULL) {
		give_key(place, key, do_key, each, argument);
		return;
	}
	size_t n = config_count(place->config, "%s", key);
	for (size_t i = 0; i < n; i++) {
		snprintf(key, sizeof key, "%s.%.*s[%zu]%s", place->section, before, name, i, entries + 2);
		give_key(place, key, do_key, each, argument);
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
