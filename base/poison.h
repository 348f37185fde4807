/* Memory that must not be touched although it is mapped: AddressSanitizer is told, so that a read
 * or write past a part of a mapping is found at once instead of reaching what lies next to it.
 *
 *     | a buffer, filled so far | the rest of it | the next buffer
 *                               |<-- poisoned -->|
 *
 * Without the sanitizer there is nothing of this. What the kernel writes it does not see; a call
 * that the sanitizer intercepts (recvmmsg, read) may not be given poisoned memory. Memory must be
 * whole again (memory_unpoison) before it is unmapped or freed. */
#ifndef BASE_POISON_H
#define BASE_POISON_H

#include <stddef.h>

#define MEMORY_POISON 0
#ifdef __SANITIZE_ADDRESS__ /* gcc */
#undef MEMORY_POISON
#define MEMORY_POISON 1
#elif defined __has_feature /* clang */
#if __has_feature(address_sanitizer)
#undef MEMORY_POISON
#define MEMORY_POISON 1
#endif
#endif

#if MEMORY_POISON
#include <sanitizer/asan_interface.h>
/* A function that may touch poisoned memory. */
#define MEMORY_TOUCHES_POISON __attribute__((no_sanitize_address))
#else
#define MEMORY_TOUCHES_POISON
#endif

static inline void memory_poison(const void *at, size_t bytes)
{
#if MEMORY_POISON
	__asan_poison_memory_region(at, bytes);
#else
	(void)at, (void)bytes;
#endif
}

static inline void memory_unpoison(const void *at, size_t bytes)
{
#if MEMORY_POISON
	__asan_unpoison_memory_region(at, bytes);
#else
	(void)at, (void)bytes;
#endif
}

#endif
