/* Memory between two pages that nothing may touch: a read past the end of an input, or in front of it, crashes. */
#ifndef TESTS_PAGE_END_H
#define TESTS_PAGE_END_H

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Returns the end of room bytes (rounded up to whole pages), kept until the process ends; NULL on failure. An input of n bytes goes
 * to end - n, or, when what lies in front of it matters, to end - room. */
static inline void *page_end_make(size_t room)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = (room + page - 1) / page * page;
	char *memory = mmap(NULL, page + bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || mprotect(memory + page, bytes, PROT_READ | PROT_WRITE) != 0)
		return NULL;
	return memory + page + bytes;
}

#endif
