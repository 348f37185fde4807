/* What a request can fail with: status, reason phrase and metric are one row.
 *
 *   F(A, name, statuses, help)   name: counted by route as <route>_failed_<name>; statuses: S(status, reason phrase) one or more times;
 *                                A: passed through
 *
 * S is defined where the rows are used. Adding an error is a row, or an S in a row. */
#ifndef INGEST_HTTP_FAILURES_H
#define INGEST_HTTP_FAILURES_H

#define FAILURES(F, A)                                                                                  \
	F(A, bad, S(400, "Bad Request"), "the request, or what is in it, is wrong")                     \
	F(A, token, S(401, "Unauthorized"), "no bearer token that opens the route")                     \
	F(A, route, S(404, "Not Found"), "no such route")                                               \
	F(A, method, S(405, "Method Not Allowed"), "the route has other methods")                       \
	F(A, late, S(408, "Request Timeout"), "head or body did not come in time")                      \
	F(A, large,                                                                                     \
	  S(413, "Content Too Large") S(414, "URI Too Long") S(431, "Request Header Fields Too Large"), \
	  "body, request line or header fields are over their limit")                                   \
	F(A, type, S(415, "Unsupported Media Type"), "the route does not take this type or coding")     \
	F(A, feature,                                                                                   \
	  S(417, "Expectation Failed") S(501, "Not Implemented") S(505, "HTTP Version Not Supported"),  \
	  "a part of HTTP that is not supported here")                                                  \
	F(A, refused, S(503, "Service Unavailable"),                                                    \
	  "a topic or queue is full, or memory is short: try later")

#endif
