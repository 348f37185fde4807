#include "base/log.h"

#include <errno.h>
#include <printf.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "base/output.h"

#define PAIR_FORMAT_MAX    256u /* of one pair, as the caller writes it */
#define PAIR_ARGUMENTS_MAX 8u

static const char *log_name = "millrace";
static enum log_level log_least = LOG_INFO;
static enum log_format log_form = LOG_TEXT;
static bool journal; /* standard error is the journal's: a line begins with its priority */

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const level_priorities[] = {"<7>", "<6>", "<4>", "<3>"}; /* sd-daemon(3) */

/* systemd.exec(5): JOURNAL_STREAM is the device and inode of the stream that it set up. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat status;
	if (stream == NULL || fstat(STDERR_FILENO, &status) != 0)
		return false;
	snprintf(ours, sizeof ours, "%llu:%llu", (unsigned long long)status.st_dev,
	         (unsigned long long)status.st_ino);
	return strcmp(stream, ours) == 0;
}

void log_init(const char *name, enum log_level level, enum log_format format)
{
	journal = is_journal();
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

/* Text form: a control character would end the line or move the cursor. */
static void put_text(struct text *line, const char *bytes, size_t length)
{
	text_plain(line, (const unsigned char *)bytes, length);
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

/* Bytes of the first pair of the caller's format: up to a space that is not in double quotes. */
static size_t pair_length(const char *pairs)
{
	bool quoted = false;
	size_t n = 0;
	for (; pairs[n] != '\0' && (quoted || pairs[n] != ' '); n++)
		quoted ^= pairs[n] == '"';
	return n;
}

static void skip_integer(va_list *arguments, int flags)
{
	if ((flags & PA_FLAG_LONG_LONG) != 0)
		(void)va_arg(*arguments, long long);
	else if ((flags & PA_FLAG_LONG) != 0)
		(void)va_arg(*arguments, long);
	else
		(void)va_arg(*arguments, int);
}

/* Past the arguments that this format takes. */
static void skip_arguments(va_list *arguments, const char *format)
{
	int type[PAIR_ARGUMENTS_MAX];
	size_t n = parse_printf_format(format, PAIR_ARGUMENTS_MAX, type);
	if (n > PAIR_ARGUMENTS_MAX)
		abort();
	for (size_t i = 0; i < n; i++) {
		switch (type[i] & ~PA_FLAG_MASK) {
		case PA_INT:
		case PA_CHAR:
			skip_integer(arguments, type[i] & PA_FLAG_MASK);
			break;
		case PA_STRING:
		case PA_POINTER:
			(void)va_arg(*arguments, void *);
			break;
		case PA_DOUBLE:
			(void)va_arg(*arguments, double);
			break;
		default:
			abort(); /* nobody logs such */
		}
	}
}

/* Each pair is formatted by itself: whatever a value holds, it cannot begin another pair. */
static void put_pairs(struct text *line, const char *pairs, va_list *arguments)
{
	char format[PAIR_FORMAT_MAX], pair[LOG_LINE_MAX];
	while (pairs != NULL && *pairs != '\0') {
		size_t n = pair_length(pairs);
		if (n >= sizeof format)
			abort();
		memcpy(format, pairs, n);
		format[n] = '\0';
		va_list now;
		va_copy(now, *arguments);
		vsnprintf(pair, sizeof pair, format, now);
		va_end(now);
		skip_arguments(arguments, format);
		size_t key = strcspn(pair, "="), skip = pair[key] == '=' ? key + 1 : key;
		(log_form == LOG_JSON ? put_json_pair : put_text_pair)(line, pair, key, pair + skip,
		                                                       strlen(pair + skip));
		pairs += n;
		pairs += *pairs == ' ' ? 1 : 0;
	}
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

/* Returns false when the line did not go out. */
static bool put_line(enum log_level level, const char *text, const char *pairs, va_list *arguments)
{
	char buffer[1 + LOG_LINE_MAX];
	/* What does not fit is left out, and there is always room for the end of the line. */
	struct text line = {.at = buffer + 1, .end = buffer + sizeof buffer - 2};
	if (journal)
		text_put(&line, level_priorities[level], strlen(level_priorities[level]));
	if (log_form == LOG_JSON)
		begin_json(&line, level, text);
	else
		begin_text(&line, level, text);
	put_pairs(&line, pairs, arguments);
	if (log_form == LOG_JSON)
		*line.at++ = '}';
	*line.at++ = '\n';
	return write_line(buffer + 1, (size_t)(line.at - buffer - 1));
}

static bool put(enum log_level level, const char *text, const char *pairs, ...)
{
	va_list arguments;
	va_start(arguments, pairs);
	bool out = put_line(level, text, pairs, &arguments);
	va_end(arguments);
	return out;
}

/* Once there is room again. */
static void tell_dropped(void)
{
	if (n_dropped_untold == 0 || LOG_WARN < log_least)
		return;
	if (put(LOG_WARN, "lines before this one were dropped: standard error did not take them",
	        "lines=%llu", (unsigned long long)n_dropped_untold))
		n_dropped_untold = 0;
}

void log_line(enum log_level level, const char *text, const char *pairs, ...)
{
	if (level < log_least)
		return;
	int kept_errno = errno;
	tell_dropped();
	va_list arguments;
	va_start(arguments, pairs);
	if (!put_line(level, text, pairs, &arguments))
		drop(1);
	va_end(arguments);
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
