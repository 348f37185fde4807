#include "sink/objects/abandoned.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "sink/objects/index.h"

#define LINE_BYTES (8u * (JOURNAL_KEY_MAX + JOURNAL_UPLOAD_MAX + 1024u))

static int append(const char *path, const char *line, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640), result = 0;
	if (fd < 0)
		return -errno;
	ssize_t written = write(fd, line, bytes);
	if (written < 0 || fsync(fd) != 0)
		result = -errno;
	else if ((size_t)written != bytes)
		result = -ENOSPC;
	close(fd);
	return result;
}

int abandoned_add(const char *data_dir, const char *sink, const char *store,
                  const struct journal_view *object, uint64_t bytes, const char *reason)
{
	char path[PATH_MAX], line[LINE_BYTES];
	struct text text = {.at = line, .end = line + sizeof line};
	text_literal(&text, "{\"time\": ");
	text_unsigned(&text, clock_real_ns() / NS_PER_SEC);
	index_put(&text, "store", store, strlen(store));
	index_put(&text, "key", object->key, object->key_bytes);
	index_put(&text, "name", object->name, object->name_bytes);
	index_put(&text, "upload", object->upload, object->upload_bytes);
	index_put(&text, "token", object->token, JOURNAL_TOKEN_BYTES);
	text_literal(&text, ", \"bytes\": ");
	text_unsigned(&text, bytes);
	index_put(&text, "reason", reason, strlen(reason));
	text_literal(&text, "}\n");
	if (text.full || snprintf(path, sizeof path, "%s/sinks", data_dir) >= (int)sizeof path)
		return -ENAMETOOLONG;
	if (mkdir(path, 0770) != 0 && errno != EEXIST)
		return -errno;
	if (snprintf(path, sizeof path, "%s/sinks/%s.abandoned", data_dir, sink) >= (int)sizeof path)
		return -ENAMETOOLONG;
	return append(path, line, (size_t)(text.at - line));
}
