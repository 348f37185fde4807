#include "deliver/names_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"

#define SPACE " \t\r\f\v"

struct entry {
	const char *name; /* in text */
	size_t order;
	uint8_t address[16];
};

struct names_file {
	char *path;
	char *text; /* names end with 0 in it */
	struct entry *entry;
	size_t n;
	struct stat was; /* zero: it was not there */
};

/* ---- reading ---- */

/* All of a file, with a final 0. */
static int read_all(int fd, char **text, size_t *bytes)
{
	size_t room = 4096, n = 0;
	char *made = malloc(room + 1);
	while (made != NULL) {
		ssize_t got = read(fd, made + n, room - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int result = -errno;
			free(made);
			return result;
		}
		n += (size_t)got;
		if (got == 0 || n == NAMES_FILE_BYTES_MAX)
			break;
		if (n < room)
			continue;
		room = room * 2 < NAMES_FILE_BYTES_MAX ? room * 2 : NAMES_FILE_BYTES_MAX;
		char *grown = realloc(made, room + 1);
		if (grown == NULL)
			free(made);
		made = grown;
	}
	if (made == NULL)
		return -ENOMEM;
	made[n] = '\0';
	*text = made;
	*bytes = n;
	return 0;
}

static bool parse_address(uint8_t address[16], char *text)
{
	char *zone = strchr(text, '%');
	if (zone != NULL)
		*zone = '\0';
	return address_host_parse(address, text);
}

static bool add(struct names_file *file, size_t *room, const char *name, const uint8_t address[16])
{
	if (file->n == *room) {
		*room = *room == 0 ? 16 : *room * 2;
		struct entry *grown = realloc(file->entry, *room * sizeof *grown);
		if (grown == NULL)
			return false;
		file->entry = grown;
	}
	struct entry *entry = &file->entry[file->n];
	*entry = (struct entry){.name = name, .order = file->n++};
	memcpy(entry->address, address, sizeof entry->address);
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct entry *one = a, *other = b;
	int order = strcasecmp(one->name, other->name);
	return order != 0 ? order : (one->order > other->order) - (one->order < other->order);
}

/* Fills file in from its text. False when there is no memory. */
static bool parse(struct names_file *file)
{
	size_t room = 0;
	char *line, *lines = file->text;
	while ((line = strsep(&lines, "\n")) != NULL) {
		uint8_t address[16];
		char *word, *rest = line;
		line[strcspn(line, "#")] = '\0';
		while ((word = strsep(&rest, SPACE)) != NULL && *word == '\0')
			;
		if (word == NULL || !parse_address(address, word))
			continue;
		while ((word = strsep(&rest, SPACE)) != NULL)
			if (*word != '\0' && !add(file, &room, word, address))
				return false;
	}
	if (file->n > 0)
		qsort(file->entry, file->n, sizeof *file->entry, compare);
	return true;
}

/* ---- the whole ---- */

static void replace(struct names_file *file, struct names_file *with)
{
	free(file->text);
	free(file->entry);
	file->text = with->text;
	file->entry = with->entry;
	file->n = with->n;
	file->was = with->was;
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int names_file_refresh(struct names_file *file)
{
	struct names_file made = {0};
	size_t bytes;
	struct stat now;
	if (file->path[0] == '\0')
		return 0;
	if (stat(file->path, &now) == 0 && same(&now, &file->was))
		return 0;
	/* a pipe in its place must not hold us up */
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		replace(file, &made);
		return 0;
	}
	if (fd < 0)
		return -errno;
	int result = fstat(fd, &made.was) != 0 ? -errno : read_all(fd, &made.text, &bytes);
	close(fd);
	if (result == 0 && !parse(&made))
		result = -ENOMEM;
	if (result != 0) {
		free(made.text);
		free(made.entry);
		return result;
	}
	replace(file, &made);
	return 0;
}

int names_file_open(struct names_file **file, const char *path)
{
	struct names_file *made = calloc(1, sizeof *made);
	int result = -ENOMEM;
	if (made != NULL && (made->path = strdup(path)) != NULL)
		result = names_file_refresh(made);
	if (result == 0)
		*file = made;
	else
		names_file_close(made);
	return result;
}

void names_file_close(struct names_file *file)
{
	if (file == NULL)
		return;
	free(file->path);
	free(file->text);
	free(file->entry);
	free(file);
}

unsigned names_file_find(const struct names_file *file, const char *name, uint8_t (*address)[16],
                         unsigned most)
{
	size_t low = 0, high = file->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcasecmp(file->entry[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	unsigned n = 0;
	for (; low < file->n && n < most && strcasecmp(file->entry[low].name, name) == 0; low++)
		memcpy(address[n++], file->entry[low].address, 16);
	return n;
}
