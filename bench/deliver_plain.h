/* The reference of bench-deliver: libcurl's multi interface on epoll as its documentation has it
 * (curl_multi_socket_action), handles used again, connections kept, and nothing else: one URL after
 * another, answers thrown away. */
#ifndef BENCH_DELIVER_PLAIN_H
#define BENCH_DELIVER_PLAIN_H

struct plain;

/* `connections` requests at a time, each with these two headers. Exits with a message when it
 * cannot. */
struct plain *plain_open(unsigned connections, const char *header[2]);
void plain_close(struct plain *plain);

/* GETs url_of(0) ... url_of(n - 1). Returns how many were answered 200. */
unsigned plain_run(struct plain *plain, unsigned n, const char *(*url_of)(unsigned i));

#endif
