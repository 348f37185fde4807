#include "bench/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "event/event.h"

#define OBJECT_MAX 256u
#define DAY_MS     1764201600000u /* 2025-11-27 */
#define TEXT_LEAST 30u
#define TEXT_MOST  125u

/* What people write to each other, about as often as they do: the first are the most frequent. */
static const char *const words[] = {"the",
                                    "to",
                                    "you",
                                    "and",
                                    "a",
                                    "is",
                                    "it",
                                    "in",
                                    "that",
                                    "of",
                                    "for",
                                    "we",
                                    "on",
                                    "not",
                                    "be",
                                    "are",
                                    "have",
                                    "this",
                                    "with",
                                    "can",
                                    "will",
                                    "just",
                                    "what",
                                    "so",
                                    "at",
                                    "but",
                                    "if",
                                    "your",
                                    "thanks",
                                    "now",
                                    "there",
                                    "do",
                                    "was",
                                    "today",
                                    "when",
                                    "see",
                                    "please",
                                    "about",
                                    "time",
                                    "tomorrow",
                                    "send",
                                    "here",
                                    "still",
                                    "order",
                                    "meeting",
                                    "think",
                                    "work",
                                    "know",
                                    "back",
                                    "great",
                                    "call",
                                    "after",
                                    "before",
                                    "again",
                                    "check",
                                    "update",
                                    "ready",
                                    "minutes",
                                    "wait",
                                    "invoice",
                                    "morning",
                                    "evening",
                                    "message",
                                    "price",
                                    "delivery",
                                    "station",
                                    "office",
                                    "number",
                                    "question",
                                    "account",
                                    "maybe",
                                    "later",
                                    "friend",
                                    "weekend",
                                    "dinner",
                                    "ticket",
                                    "password",
                                    "problem",
                                    "support",
                                    "version",
                                    "server",
                                    "report",
                                    "picture",
                                    "address",
                                    "payment",
                                    "customer",
                                    "monday",
                                    "tuesday",
                                    "friday",
                                    "schedule",
                                    "document",
                                    "probably",
                                    "yesterday",
                                    "afternoon",
                                    "available",
                                    "confirm",
                                    "interesting",
                                    "difference",
                                    "experience",
                                    "understand",
                                    "restaurant",
                                    "conversation",
                                    "immediately",
                                    "unfortunately",
                                    "congratulations",
                                    "recommendation",
                                    "appointment"};

#define WORDS (sizeof words / sizeof words[0])

static uint64_t state = 88172645463325252u;

static uint32_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32);
}

/* Small numbers are more frequent. */
static const char *draw_word(void)
{
	uint64_t a = draw() % WORDS, b = draw() % WORDS;
	return words[a * b / WORDS];
}

static size_t write_text(char *out)
{
	size_t least = TEXT_LEAST + draw() % (TEXT_MOST - TEXT_LEAST - 15), n = 0;
	while (n < least) {
		const char *word = draw_word();
		n += (size_t)sprintf(out + n, "%s%s", word,
		                     draw() % 12 == 0   ? ", "
		                     : draw() % 15 == 0 ? "! "
		                                        : " ");
	}
	return n - 1;
}

/* Some write more than others, or their members would all be full at the same time. */
static int64_t draw_client(void)
{
	return 1 + (int64_t)((uint64_t)draw() % LINES_CLIENTS * (3 + (uint64_t)draw() % LINES_CLIENTS) /
	                     (LINES_CLIENTS + 3));
}

static size_t write_object(char *out, struct event_log *event, uint64_t i)
{
	char text[TEXT_MOST + 20];
	size_t n = write_text(text);
	event->client_id = draw_client();
	event->content_id = 40000 + draw() % 50000;
	event->timestamp_ms = (int64_t)(DAY_MS + i / 8);
	event->text_offset = 8;
	event->text_bytes = (uint32_t)n + 2;
	return (size_t)sprintf(
	        out, "{\"text\":\"%.*s\",\"content_id\":%lld,\"client_id\":%lld,\"timestamp\":%lld}", (int)n,
	        text, (long long)event->content_id, (long long)event->client_id,
	        (long long)event->timestamp_ms);
}

static void *room(size_t bytes)
{
	void *memory = malloc(bytes);
	if (memory == NULL) {
		fputs("bench: no memory for the lines\n", stderr);
		exit(1);
	}
	return memory;
}

static void copy_client(struct lines_made *lines, int64_t client)
{
	struct record_batch batch = {.at = lines->records, .end = lines->records + lines->records_bytes};
	size_t before = lines->raw_bytes;
	for (const struct record *record; (record = record_next(&batch)) != NULL;) {
		const struct event_log *event = (const void *)record->payload;
		if (event->client_id != client)
			continue;
		memcpy(lines->raw + lines->raw_bytes, event->object, event->object_bytes);
		lines->raw_bytes += event->object_bytes;
		lines->raw[lines->raw_bytes++] = '\n';
	}
	lines->client_bytes[client - 1] = lines->raw_bytes - before;
}

void lines_make(struct lines_made *lines, uint64_t n)
{
	*lines = (struct lines_made){.n = n};
	lines->records = room(n * record_bytes(sizeof(struct event_log) + OBJECT_MAX));
	lines->raw = room(n * (OBJECT_MAX + 1));
	for (uint64_t i = 0; i < n; i++) {
		char object[2 * OBJECT_MAX];
		struct event_log event = {.arrival_ns = (DAY_MS + i / 8) * 1000000};
		event.object_bytes = (uint32_t)write_object(object, &event, i);
		uint32_t length = (uint32_t)sizeof event + event.object_bytes;
		char *payload = record_put(lines->records + lines->records_bytes, EVENT_LOG, length);
		memcpy(payload, &event, sizeof event);
		memcpy(payload + sizeof event, object, event.object_bytes);
		lines->records_bytes += record_bytes(length);
	}
	for (unsigned client = 1; client <= LINES_CLIENTS; client++)
		copy_client(lines, client);
}
