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

static int base64url_value(char digit)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *at = digit != '\0' ? strchr(digits, digit) : NULL;
	return at != NULL ? (int)(at - digits) : -1;
}

/* Returns the bytes written, or -1: it is none, or too long. A final 0 is added. */
static int decode_base64url(const char *text, size_t length, char *out, size_t size)
{
	unsigned bits = 0, n_bits = 0;
	size_t n = 0;
	for (size_t i = 0; i < length; i++) {
		int value = base64url_value(text[i]);
		if (value < 0)
			return -1;
		bits = bits << 6 | (unsigned)value;
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		if (n + 1 >= size)
			return -1;
		out[n++] = (char)(bits >> n_bits & 0xff);
	}
	out[n] = '\0';
	return (int)n;
}

const char *auth_from_protocols(const char *list, char field[AUTH_BEARER_BYTES])
{
	static const char prefix[] = "bearer.";
	const size_t length = sizeof prefix - 1;
	char *token = stpcpy(field, "Bearer ");
	while (list != NULL && *list != '\0') {
		list += strspn(list, " \t,");
		size_t item = strcspn(list, ", \t");
		if (item > length && strncmp(list, prefix, length) == 0)
			return decode_base64url(list + length, item - length, token, AUTH_BEARER_BYTES - 7) >
			                       0
			               ? field
			               : NULL;
		list += item;
	}
	return NULL;
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
