/* The port that the kernel chose for a listener, from what its program prints. */
#ifndef BENCH_PORT_H
#define BENCH_PORT_H

#include <stdint.h>

/* Reads from the descriptor until the text that stands before the port ("127.0.0.1:"), the port and
 * a character after it have come. Returns the port; 0 when they have not come within timeout_ns, in
 * the first 8 KiB, or before the end. The descriptor stays open. */
unsigned port_read(int in, const char *before, uint64_t timeout_ns);

#endif
