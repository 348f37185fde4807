/* The servers that HTTP benchmarks measure: a millrace of its own, and nginx that answers 204.
 *
 *     bench --- fork, exec ---> supervisor ---> ingest-http.0      on processor 0, a port that the kernel chose
 *       '------ fork, exec ---> nginx      ---> its worker         likewise
 *
 * Both live in turns_directory() and end with the benchmark.
 */
#ifndef BENCH_HTTP_SERVER_H
#define BENCH_HTTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_SERVER_CPU 0u
#define HTTP_CLIENT_CPU 1u

struct http_server {
	const char *name; /* "millrace", "nginx" */
	pid_t parent;     /* what was started */
	pid_t worker;     /* the process that serves */
	unsigned port;    /* on 127.0.0.1 */
	bool is_millrace;
};

/* Starts a millrace with one ingest-http process and nothing else that takes in. entry: what stands
 * in its entry of ingest.http next to the address ("header_timeout: 5s, ..."); further: lines of
 * the configuration besides those; "" for nothing. Exits with a message when it does not start. */
void http_server_start_millrace(struct http_server *server, const char *entry, const char *further);

/* Starts nginx with one worker that answers 204 to everything. server_lines: what stands in its
 * server block ("keepalive_timeout 5s;"). */
void http_server_start_nginx(struct http_server *server, const char *server_lines);

/* Ends it and waits. */
void http_server_stop(struct http_server *server);

/* Processor time of the worker, all its threads, seconds. */
double http_server_cpu(const struct http_server *server);

/* Bytes of memory that the worker has for itself (PSS: what it shares counts in parts). */
uint64_t http_server_memory(const struct http_server *server);

/* Connections that are open, both ways, as the kernel lists them. */
unsigned http_server_connections(const struct http_server *server);

/* Events written to the topic metric, and a metric of the stage by name; 0 for nginx. */
uint64_t http_server_written(const struct http_server *server);
uint64_t http_server_metric(const struct http_server *server, const char *name);

/* Of any stage of millrace ("deliver.0"): its process, once it runs; a metric, 0 when there is
 * none. */
pid_t http_server_stage_pid(const char *stage);
uint64_t http_server_stage_metric(const char *stage, const char *metric);

/* Where its value lies, for one who looks often: the function above looks at all of millrace, which
 * takes a good millisecond. Until http_server_stop. */
const _Atomic uint64_t *http_server_stage_word(const char *stage, const char *metric);

/* Sends one event, reads the answer, exits with a message unless it is 2xx. */
void http_server_try(const struct http_server *server);

/* A TCP connection to it, or -errno. */
int http_server_connect(const struct http_server *server);

/* The descriptors that this process and those that it starts may have: as many as wanted, or what
 * the hard limit allows. */
unsigned http_server_descriptors(unsigned wanted);

#endif
