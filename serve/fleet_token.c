/* The token with which peers are asked. */
#include <errno.h>
#include <stdlib.h>

#include "serve/auth.h"
#include "serve/fleet.h"

int fleet_load_token(const struct config *config, const char *path, void **loaded, struct shm_error *error)
{
	char *token = malloc(TOKEN_BYTES_MAX + 1);
	(void)config;
	if (token == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	int result = tokens_load_first(token, path, auth_read_name, 1, error);
	if (result == 0)
		*loaded = token;
	else
		free(token);
	return result;
}
