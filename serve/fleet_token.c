/* The token with which peers are asked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/auth.h"
#include "serve/fleet.h"

#define SPACES " \t\r\n"

/* The first word of the first line that has one. */
static char *first_word(FILE *file)
{
	char line[TOKEN_BYTES_MAX + 512], *word = NULL, *rest;
	while (word == NULL && fgets(line, sizeof line, file) != NULL) {
		line[strcspn(line, "#")] = '\0';
		word = strtok_r(line + (strncmp(line, "\xef\xbb\xbf", 3) == 0 ? 3 : 0), SPACES, &rest);
	}
	return word != NULL ? strdup(word) : NULL;
}

int fleet_load_token(const struct config *config, const char *path, void **loaded, struct shm_error *error)
{
	struct tokens *tokens = malloc(sizeof *tokens);
	(void)config;
	if (tokens == NULL)
		return -ENOMEM;
	int result = tokens_load(tokens, path, auth_read_name, 1, error);
	free(tokens);
	if (result != 0)
		return result;
	FILE *file = fopen(path, "re");
	char *token = file != NULL ? first_word(file) : NULL;
	if (file != NULL)
		fclose(file);
	if (token == NULL || strlen(token) > TOKEN_BYTES_MAX) {
		free(token);
		shm_explain(error, "%s: changed while it was read", path);
		return -EAGAIN;
	}
	*loaded = token;
	return 0;
}
