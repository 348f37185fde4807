/* The log: one line to standard error per change of state, never one per record.
 *
 *     info tally[812] started role=tally.0 topic=ip
 *     {"ts":"2026-11-21T10:00:00.123Z","level":"info","stage":"tally","pid":812,"text":"started","role":"tally.0","topic":"ip"}
 *
 * Anything frequent is a metric. One write(2) a line, so lines of several processes do not mix.
 *
 * The log never waits for its reader (output.h): a line that standard error does not take at once
 * is dropped and counted, and a line before the next one that goes out says how many.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

#define LOG_LINE_MAX 4000 /* below PIPE_BUF, so a line in a pipe stays whole */

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

/* Once at start. name is kept, not copied. Before this call: name "millrace", info, text. */
void log_init(const char *name, enum log_level level, enum log_format format);

/* The same with the words of the configuration: level "debug", "info", "warn" or "error", format
 * "text" or "json"; other words mean info and text. log_init_words(name, config_string(c,
 * "log.level"), config_string(c, "log.format")) */
void log_init_words(const char *name, const char *level, const char *format);

/* text is a fixed phrase; pairs are "key=%s ..." as in printf, separated by single spaces, or
 * NULL. A value with spaces, quotes or control characters is put in double quotes by the
 * caller's format, for the reader of the text form; in JSON each pair becomes a member whatever
 * its value holds, a text without those quotes. Control characters come out as \xNN in text. A
 * line of more than LOG_LINE_MAX bytes is cut (JSON: whole members are left out). errno is kept. */
void log_line(enum log_level level, const char *text, const char *pairs, ...)
        __attribute__((format(printf, 3, 4)));

/* Text for people that is not a log (what listens where, errors of a configuration): line by line
 * to standard output or standard error, and like the log without waiting. A line that is not taken
 * counts as dropped. */
void log_text(int fd, const char *text);

/* Lines that this process has dropped. */
uint64_t log_dropped(void);

#define log_debug(text, ...) log_line(LOG_DEBUG, text, __VA_ARGS__)
#define log_info(text, ...)  log_line(LOG_INFO, text, __VA_ARGS__)
#define log_warn(text, ...)  log_line(LOG_WARN, text, __VA_ARGS__)
#define log_error(text, ...) log_line(LOG_ERROR, text, __VA_ARGS__)

#endif
