/* Whose processor does the server's receiving.
 *
 *     loopback as it is     the sender's: wrk's core runs the TCP receive path of the server's sockets, and is the limit
 *     steered               the server's: as with a client on another machine and a network card that interrupts the server's core
 *
 * Steering is RPS (kernel: Documentation/networking/scaling.rst) on the loopback device of a
 * network namespace of our own.
 */
#ifndef BENCH_HTTP_STEER_H
#define BENCH_HTTP_STEER_H

/* Moves the calling process, and those that it starts from here on, into such a namespace; it needs
 * root. Exits with one line that says why when that does not go. */
void http_steer(void);

#endif
