#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "base/output.h"

#define PAIRS_MAX 16
/* Between pairs while they are formatted: a space may be part of a value. */
#define SEPARATOR '\x1f'

static const char *log_name = "millrace";
static enum log_level log_least = LOG_INFO;
static enum log_format log_form = LOG_TEXT;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_init(const char *name, enum log_level level, enum log_format format)
{
	log_name = name;
	log_least = level;
	log_form = format;
}

void log_init_words(const char *name, const char *level, const char *format)
{
	enum log_level least = LOG_INFO;
	for (unsigned i = 0; i < sizeof level_names / sizeof level_names[0]; i++)
		if (strcmp(level, level_names[i]) == 0)
			least = (enum log_level)i;
	log_init(name, least, strcmp(format, "json") == 0 ? LOG_JSON : LOG_TEXT);
}

/* The caller's format with SEPARATOR for the spaces between pairs; those in double quotes are part
 * of a value. */
static void separate(char *separated, size_t size, const char *pairs)
{
	bool quoted = false;
	size_t used = 0;
	for (; *pairs != '\0' && used + 1 < size; pairs++) {
		if (*pairs == '"')
			quoted = !quoted;
		separated[used++] = *pairs == ' ' && !quoted ? SEPARATOR : *pairs;
	}
	separated[used] = '\0';
}

/* Text form: a control character would end the line or move the cursor. */
static void put_text(struct text *line, const char *bytes, size_t length)
{
	text_plain(line, (const unsigned char *)bytes, length);
}

/* Calls put for each pair of formatted, "key=value" SEPARATOR "key=value". */
static void each_pair(struct text *line, char *formatted,
                      void (*put)(struct text *line, const char *key, size_t key_bytes, const char *value,
                                  size_t value_bytes))
{
	for (char *at = formatted; at != NULL && *at != '\0';) {
		char *end = strchr(at, SEPARATOR);
		size_t bytes = end == NULL ? strlen(at) : (size_t)(end - at);
		const char *equals = memchr(at, '=', bytes);
		size_t key_bytes = equals == NULL ? bytes : (size_t)(equals - at);
		size_t skip = equals == NULL ? bytes : key_bytes + 1;
		put(line, at, key_bytes, at + skip, bytes - skip);
		at = end == NULL ? NULL : end + 1;
	}
}

static void put_text_pair(struct text *line, const char *key, size_t key_bytes, const char *value,
                          size_t value_bytes)
{
	text_literal(line, " ");
	put_text(line, key, key_bytes);
	text_literal(line, "=");
	put_text(line, value, value_bytes);
}

static void put_json_pair(struct text *line, const char *key, size_t key_bytes, const char *value,
                          size_t value_bytes)
{
	if (value_bytes >= 2 && value[0] == '"' && value[value_bytes - 1] == '"') {
		value++;
		value_bytes -= 2;
	}
	char *before = line->at;
	text_literal(line, ",");
	text_string(line, (const unsigned char *)key, key_bytes);
	text_literal(line, ":");
	text_string(line, (const unsigned char *)value, value_bytes);
	if (line->full)
		line->at = before; /* half a member would spoil the object */
}

static void put_string(struct text *line, const char *text)
{
	text_string(line, (const unsigned char *)text, strlen(text));
}

static void begin_text(struct text *line, enum log_level level, const char *text)
{
	text_put(line, level_names[level], strlen(level_names[level]));
	text_literal(line, " ");
	put_text(line, log_name, strlen(log_name));
	text_literal(line, "[");
	text_unsigned(line, (uint64_t)getpid());
	text_literal(line, "] ");
	put_text(line, text, strlen(text));
}

static void begin_json(struct text *line, enum log_level level, const char *text)
{
	struct timespec now;
	struct tm utc;
	char date[32], stamp[48];
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(stamp, sizeof stamp, "%s.%03uZ", date, (unsigned)(now.tv_nsec / 1000000));
	text_literal(line, "{\"ts\":");
	put_string(line, stamp);
	text_literal(line, ",\"level\":");
	put_string(line, level_names[level]);
	text_literal(line, ",\"stage\":");
	put_string(line, log_name);
	text_literal(line, ",\"pid\":");
	text_unsigned(line, (uint64_t)getpid());
	text_literal(line, ",\"text\":");
	put_string(line, text);
}

/* ---- out ---- */

static uint64_t n_dropped, n_dropped_untold;
static bool cut; /* the last line went out in part: the next one begins with its end */

static void drop(uint64_t n)
{
	n_dropped += n;
	n_dropped_untold += n;
}

uint64_t log_dropped(void)
{
	return n_dropped;
}

/* bytes[-1] is there to be written. Returns false when the line did not go out. */
static bool write_line(char *bytes, size_t length)
{
	if (cut) {
		*--bytes = '\n';
		length++;
	}
	size_t used = output_write(STDERR_FILENO, bytes, length);
	if (used == 0)
		return false;
	cut = bytes[used - 1] != '\n';
	return used == length;
}

/* formatted is what each_pair takes. Returns false when the line did not go out. */
static bool put_line(enum log_level level, const char *text, char *formatted)
{
	char buffer[1 + LOG_LINE_MAX];
	/* What does not fit is left out, and there is always room for the end of the line. */
	struct text line = {.at = buffer + 1, .end = buffer + sizeof buffer - 2};
	if (log_form == LOG_JSON)
		begin_json(&line, level, text);
	else
		begin_text(&line, level, text);
	each_pair(&line, formatted, log_form == LOG_JSON ? put_json_pair : put_text_pair);
	if (log_form == LOG_JSON)
		*line.at++ = '}';
	*line.at++ = '\n';
	return write_line(buffer + 1, (size_t)(line.at - buffer - 1));
}

/* Once there is room again. */
static void tell_dropped(void)
{
	char formatted[40];
	if (n_dropped_untold == 0 || LOG_WARN < log_least)
		return;
	snprintf(formatted, sizeof formatted, "lines=%llu", (unsigned long long)n_dropped_untold);
	if (put_line(LOG_WARN, "lines before this one were dropped: standard error did not take them",
	             formatted))
		n_dropped_untold = 0;
}

void log_line(enum log_level level, const char *text, const char *pairs, ...)
{
	if (level < log_least)
		return;
	int kept_errno = errno;
	char formatted[LOG_LINE_MAX] = "";
	if (pairs != NULL) {
		char separated[512];
		separate(separated, sizeof separated, pairs);
		va_list arguments;
		va_start(arguments, pairs);
		vsnprintf(formatted, sizeof formatted, separated, arguments);
		va_end(arguments);
	}
	tell_dropped();
	if (!put_line(level, text, formatted))
		drop(1);
	errno = kept_errno;
}

void log_text(int fd, const char *text)
{
	while (*text != '\0') {
		size_t length = strcspn(text, "\n");
		length += text[length] == '\n' ? 1 : 0;
		size_t piece = length < OUTPUT_PIECE_MAX ? length : OUTPUT_PIECE_MAX;
		if (output_write(fd, text, piece) != piece)
			drop(1);
		text += piece;
	}
}
