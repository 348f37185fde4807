/* Asking for cache lines before they are needed. It changes nothing and never faults, whatever the
 * address. */
#ifndef BASE_PREFETCH_H
#define BASE_PREFETCH_H

#include <stddef.h>
#include <stdint.h>

/* For the line `ahead` bytes after `at`, which will be written and which another processor has had:
 * asks for it with leave to write. On x86 __builtin_prefetch(at, 1) is not enough: unless the
 * compiler is told that the processor has prefetchw, it asks for a copy to read, and the leave is
 * fetched by the store, in a second round trip. Processors without it ignore it. */
static inline void prefetch_to_write(const void *at, size_t ahead)
{
	uintptr_t address = (uintptr_t)at + ahead; /* it may lie outside of the object */
#if defined(__x86_64__)
	__asm__ volatile("prefetchw (%0)" : : "r"(address));
#else
	__asm__ volatile("" : "+r"(address));
	__builtin_prefetch((const void *)address, 1);
#endif
}

#endif
