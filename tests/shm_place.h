/* A private place for segments in tests: a directory below /dev/shm that goes with the test.
 *
 *     place_make(&place)   sets MILLRACE_SHM to it, so that instance names resolve inside
 *     place_remove(&place) removes it with all files and folders in it
 */
#ifndef TESTS_SHM_PLACE_H
#define TESTS_SHM_PLACE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
	char root[64];
	char directory[96]; /* root/test, where segments go */
};

static inline int place_make(struct place *place)
{
	snprintf(place->root, sizeof place->root, "/dev/shm/millrace-test-XXXXXX");
	if (mkdtemp(place->root) == NULL)
		return -1;
	snprintf(place->directory, sizeof place->directory, "%s/test", place->root);
	return setenv("MILLRACE_SHM", place->root, 1) != 0 || mkdir(place->directory, 0700) != 0 ? -1 : 0;
}

static inline void place_clear(const char *directory)
{
	DIR *open_directory = opendir(directory);
	if (open_directory == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(open_directory)) != NULL;) {
		char path[1024];
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) >= (int)sizeof path)
			continue;
		if (unlink(path) != 0)
			place_clear(path);
	}
	closedir(open_directory);
	rmdir(directory);
}

static inline void place_remove(struct place *place)
{
	place_clear(place->root);
}

/* $MILLRACE_SEED, or the given number; printed, so that a failure can be repeated. */
static inline unsigned long test_seed(unsigned long otherwise)
{
	const char *given = getenv("MILLRACE_SEED");
	unsigned long seed = given != NULL ? strtoul(given, NULL, 0) : otherwise;
	printf("seed %lu (MILLRACE_SEED repeats it)\n", seed);
	fflush(stdout);
	return seed;
}

/* xorshift64*: a small generator that gives the same numbers everywhere. */
static inline unsigned long test_random(unsigned long *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dul;
}

#endif
