/* Fills templates in: standard input has three lines for each, the URL, what stands for unmatched
 * keys, and the data; standard output gets two, the URL and the form, or "!" and why not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/target.h"

#define ROOM (1u << 20)

static char *read_line(size_t *bytes)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n = getline(&line, &room, stdin);
	if (n <= 0) {
		free(line);
		return NULL;
	}
	n -= line[n - 1] == '\n';
	line[n] = '\0';
	*bytes = (size_t)n;
	return line;
}

static void print_url(struct targets *targets, const char *url, size_t bytes, const char *unmatched,
                      const struct data *data)
{
	static char out[ROOM];
	struct shm_error error = {""};
	struct target *target;
	if (targets_find(targets, &target, url, bytes, &error) < 0) {
		printf("! %s\n", error.text);
		return;
	}
	long n = target_fill(target, data, unmatched, out, sizeof out, &error);
	if (n < 0)
		printf("! %s\n", n == -ENOSPC ? "too long" : error.text);
	else
		printf("%s\n", out);
	target_release(targets, target);
}

static void print_form(const struct data *data)
{
	char *form = malloc(data_form_room(data) + 1);
	if (form == NULL)
		abort();
	fwrite(form, 1, data_form(data, form), stdout);
	putchar('\n');
	free(form);
}

int main(void)
{
	struct targets *targets = targets_new(16);
	struct data data = {0};
	size_t url_bytes, unmatched_bytes, json_bytes;
	char *url;
	if (targets == NULL)
		return 1;
	while ((url = read_line(&url_bytes)) != NULL) {
		char *unmatched = read_line(&unmatched_bytes), *json = read_line(&json_bytes);
		if (unmatched == NULL || json == NULL) {
			fputs("target_tool: input ends within a case\n", stderr);
			return 1;
		}
		if (data_read(&data, json, json_bytes) < 0) {
			puts("! the data is no object\n!");
		} else {
			print_url(targets, url, url_bytes, unmatched, &data);
			print_form(&data);
		}
		free(url);
		free(unmatched);
		free(json);
	}
	data_free(&data);
	targets_free(targets);
	return 0;
}
