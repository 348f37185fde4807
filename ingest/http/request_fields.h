/* What the fields of a head mean. The part of request_parse that begins where a line is cut into
 * name and value.
 *
 *     name: value  --fields_take, for each line-->  request, fields  --fields_finish, once-->  request
 *
 * A line that is wrong in itself is refused when it is taken; what only the whole head can tell (no
 * Host, a coding without the final chunked) when it has ended.
 */
#ifndef INGEST_HTTP_REQUEST_FIELDS_H
#define INGEST_HTTP_REQUEST_FIELDS_H

#include "ingest/http/request.h"

enum field {
	FIELD_OTHER,
	FIELD_ACCESS_CONTROL_REQUEST_HEADERS,
	FIELD_ACCESS_CONTROL_REQUEST_METHOD,
	FIELD_AUTHORIZATION,
	FIELD_CONNECTION,
	FIELD_CONTENT_ENCODING,
	FIELD_CONTENT_LENGTH,
	FIELD_CONTENT_TYPE,
	FIELD_DNT,
	FIELD_EXPECT,
	FIELD_FORWARDED,
	FIELD_HOST,
	FIELD_ORIGIN,
	FIELD_SEC_GPC,
	FIELD_TRANSFER_ENCODING,
	FIELD_USER_AGENT,
	FIELD_X_FORWARDED_FOR,
	FIELD_X_PUSH_IP,
	FIELD_X_REAL_IP,
};

/* What the fields so far have said and request does not keep. All false at the start. */
struct fields {
	bool host, length;      /* there was one */
	bool close, keep_alive; /* in Connection */
	bool coded;             /* Transfer-Encoding was there */
	bool foreign;           /* it named a coding that is not chunked */
};

/* Sets status, error and where. Returns REQUEST_BAD. */
static inline enum request_result request_refuse(struct request *request, unsigned status, const char *error,
                                                 const char *where)
{
	request->status = status;
	request->error = error;
	request->where = where;
	return REQUEST_BAD;
}

/* Which field the name is, without regard to case. One that is not FIELD_OTHER is a token. */
enum field field_named(const char *name, size_t bytes);

/* Takes one line. value has no white space around it and only octets of a field. request->minor is
 * set, and host when the target has an authority. REQUEST_WHOLE or REQUEST_BAD. */
enum request_result fields_take(struct fields *fields, struct request *request, enum field field,
                                struct slice value);

/* When the head has ended. REQUEST_WHOLE or REQUEST_BAD. */
enum request_result fields_finish(const struct fields *fields, struct request *request);

/* uri-host [ ":" port ] (RFC 9110, 7.2; RFC 3986, 3.2.2), which may be empty. */
bool host_valid(struct slice host);

#endif
