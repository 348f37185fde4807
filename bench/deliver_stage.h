/* The whole stage for bench-deliver: a millrace whose queue is filled by POST /ingest while its
 * deliver process stands still (SIGSTOP); then that process runs on the processor of the others'
 * senders until everything is delivered. */
#ifndef BENCH_DELIVER_STAGE_H
#define BENCH_DELIVER_STAGE_H

#include <stdbool.h>

/* Starts it, to send `most` postbacks a turn at most to 127.0.0.1:port, `connections` at a time;
 * curl: by libcurl. Exits with a message when it does not start. */
void deliver_stage_start(unsigned port, unsigned connections, unsigned most, bool curl);
void deliver_stage_stop(void);

/* Delivers n postbacks to http://127.0.0.1:PORT/hook?title=Gopher&n=<i>. Returns how many were
 * delivered at the first attempt; the seconds and the processor time of the deliver process, and
 * how many went through deliver.db, for which there should be no reason. */
struct deliver_stage_turn {
	unsigned good, parked;
	double seconds, cpu;
};
struct deliver_stage_turn deliver_stage_run(unsigned n);

#endif
