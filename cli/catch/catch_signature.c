#include "cli/catch/catch_signature.h"

#include <string.h>

#define ID_MAX 256u /* bytes */

/* Copies a field as a string. False when it is missing or does not fit. */
static bool copy(char *out, size_t room, const char *data, struct catch_part field)
{
	if (field.bytes == 0 || field.bytes >= room)
		return false;
	memcpy(out, data + field.at, field.bytes);
	out[field.bytes] = '\0';
	return true;
}

/* Seconds since 1970; -1 when the text is no number of at most 12 digits. */
static int64_t parse_time(const char *data, struct catch_part field)
{
	int64_t time = 0;
	if (field.bytes > 12)
		return -1;
	for (uint32_t i = 0; i < field.bytes; i++) {
		char c = data[field.at + i];
		if (c < '0' || c > '9')
			return -1;
		time = time * 10 + (c - '0');
	}
	return time;
}

enum catch_signature catch_signature_check(const struct sign *sign, uint64_t tolerance_s,
                                           const struct catch_request *request, const char *data,
                                           int64_t now_s)
{
	char id[ID_MAX], value[2 * SIGN_HEADER_MAX];
	struct catch_part time = request->field[CATCH_WEBHOOK_TIMESTAMP];
	if (sign == NULL)
		return CATCH_UNCHECKED;
	if (time.bytes == 0 || !copy(id, sizeof id, data, request->field[CATCH_WEBHOOK_ID]) ||
	    !copy(value, sizeof value, data, request->field[CATCH_WEBHOOK_SIGNATURE]))
		return CATCH_UNSIGNED;
	int64_t sent_s = parse_time(data, time);
	uint64_t away_s = (uint64_t)(sent_s > now_s ? sent_s - now_s : now_s - sent_s);
	if (sent_s < 0 || away_s > tolerance_s)
		return CATCH_STALE;
	return sign_verify(sign, id, sent_s, data + request->body, request->body_bytes, value) ? CATCH_GOOD
	                                                                                       : CATCH_WRONG;
}
