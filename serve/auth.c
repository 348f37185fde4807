#include "serve/auth.h"

#include <string.h>
#include <strings.h>

const char *const auth_read_name[1] = {"read"}, *const auth_admin_name[1] = {"admin"};

static bool opens(const struct tokens *tokens, const char *field, bool *challenged)
{
	bool wrong = false;
	bool allowed = tokens_allow(tokens, 0, field, field != NULL ? strlen(field) : 0, &wrong);
	*challenged |= wrong;
	return allowed;
}

enum auth_verdict auth_judge(const struct auth *auth, enum route_who who, const char *field)
{
	bool challenged = false, reads = false, rules = false;
	if (who == ROUTE_EVERYBODY)
		return AUTH_ALLOWED;
	if (who == ROUTE_READER && !auth->has_read)
		return AUTH_ALLOWED;
	if (who == ROUTE_ADMIN && !auth->has_admin)
		return auth->loopback && !auth->has_read ? AUTH_ALLOWED : AUTH_CLOSED;
	/* Both are looked at whatever the first says. */
	if (auth->has_read)
		reads = opens(&auth->read, field, &challenged);
	if (auth->has_admin)
		rules = opens(&auth->admin, field, &challenged);
	if (rules || (reads && who == ROUTE_READER))
		return AUTH_ALLOWED;
	if ((auth->has_read && auth->read.unread && who == ROUTE_READER) ||
	    (auth->has_admin && auth->admin.unread))
		return AUTH_UNREAD;
	return challenged ? AUTH_BAD_TOKEN : AUTH_NO_TOKEN;
}

bool auth_origin_named(const struct auth *auth, const char *origin)
{
	for (unsigned i = 0; i < auth->n_origins; i++)
		if (strcmp(auth->origin[i], "*") == 0 || strcasecmp(auth->origin[i], origin) == 0)
			return true;
	return false;
}

bool auth_origin_own(const char *origin, const char *host)
{
	const char *name = strncasecmp(origin, "http://", 7) == 0    ? origin + 7
	                   : strncasecmp(origin, "https://", 8) == 0 ? origin + 8
	                                                             : NULL;
	return name != NULL && host != NULL && strcasecmp(name, host) == 0;
}
