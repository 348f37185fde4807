/* The least that bench-deliver can be done with: a loop of epoll, send and recv over connections
 * that are kept, which knows that an answer of nginx has no body and comes in one piece. */
#ifndef BENCH_DELIVER_BARE_H
#define BENCH_DELIVER_BARE_H

struct bare;

/* `connections` to 127.0.0.1:port, for requests with these lines of the head ("Name: value\r\n"
 * each). Exits with a message when it cannot. */
struct bare *bare_open(unsigned port, unsigned connections, const char *lines);
void bare_close(struct bare *bare);

/* GETs path_of(0) ... path_of(n - 1). Returns how many were answered 200. */
unsigned bare_run(struct bare *bare, unsigned n, const char *(*path_of)(unsigned i));

#endif
