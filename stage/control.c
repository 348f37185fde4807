#include "stage/control.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/instance.h"

#define READ_TRIES 100u /* readings of a text until two agree on its version */

const char *stage_state_name(enum stage_state state)
{
	static const char *const names[STAGE_STATE_COUNT] = {
	        [STAGE_NONE] = "none",         [STAGE_STARTING] = "starting", [STAGE_RUNNING] = "running",
	        [STAGE_DRAINING] = "draining", [STAGE_ENDED] = "ended",       [STAGE_FAILED] = "failed",
	};
	return (unsigned)state < STAGE_STATE_COUNT ? names[state] : "unknown";
}

const char *metric_kind_name(uint32_t kind)
{
	return kind == METRIC_GAUGE ? "gauge" : kind == METRIC_HISTOGRAM ? "histogram" : "counter";
}

int control_alive(const char *directory, const char *role, int *pid)
{
	char file[SEGMENT_NAME_MAX];
	snprintf(file, sizeof file, "%s.role", role);
	return instance_locked(directory, file, pid);
}

static bool same_table(const struct control *control, const struct metric_description *table, unsigned n)
{
	return atomic_load_explicit(&control->n_metrics, memory_order_acquire) == n &&
	       memcmp(control->description, table, n * sizeof *table) == 0;
}

struct former {
	struct metric_description description[METRICS_MAX];
	uint64_t value[METRIC_WORDS_MAX];
	unsigned n;
};

/* The values that a former life left under this name, NULL when there are none. A gauge tells of
 * its own life alone. */
static const uint64_t *former_values(const struct former *former, const struct metric_description *wanted)
{
	unsigned word = 0;
	for (unsigned i = 0; i < former->n && wanted->kind != METRIC_GAUGE; i++) {
		const struct metric_description *description = &former->description[i];
		unsigned words = metric_words(description);
		if (word + words > METRIC_WORDS_MAX)
			break;
		if (description->kind == wanted->kind &&
		    strncmp(description->name, wanted->name, sizeof wanted->name) == 0 &&
		    memcmp(description->bound, wanted->bound, sizeof wanted->bound) == 0)
			return &former->value[word];
		word += words;
	}
	return NULL;
}

static void save_former(const struct control *control, struct former *former)
{
	uint64_t n = atomic_load_explicit(&control->n_metrics, memory_order_acquire);
	former->n = n <= METRICS_MAX ? (unsigned)n : 0;
	memcpy(former->description, control->description, sizeof former->description);
	for (unsigned i = 0; i < METRIC_WORDS_MAX; i++)
		former->value[i] = atomic_load_explicit(&control->metric[i], memory_order_relaxed);
}

/* How many rows of the table fit. */
static unsigned rows_that_fit(const struct metric_description *table, unsigned n)
{
	unsigned rows = 0;
	for (unsigned word = 0; rows < n && rows < METRICS_MAX; rows++) {
		word += metric_words(&table[rows]);
		if (word > METRIC_WORDS_MAX)
			break;
	}
	return rows;
}

void control_declare(struct control *control, const struct metric_description *table, unsigned n)
{
	struct former former;
	unsigned word = 0;
	n = rows_that_fit(table, n);
	save_former(control, &former);
	if (!same_table(control, table, n)) {
		/* Readers see none while the names change. */
		atomic_store_explicit(&control->n_metrics, 0, memory_order_release);
		if (n > 0)
			memcpy(control->description, table, n * sizeof *table);
	}
	for (unsigned i = 0; i < n; i++) {
		const uint64_t *value = former_values(&former, &table[i]);
		for (unsigned k = 0; k < metric_words(&table[i]); k++)
			metric_set(control, word++, value != NULL ? value[k] : 0);
	}
	while (word < METRIC_WORDS_MAX)
		metric_set(control, word++, 0);
	atomic_store_explicit(&control->n_metrics, n, memory_order_release);
}

const struct metric_description *metric_row(const struct metric_description *table, unsigned word)
{
	for (unsigned first = 0; first != word; table++)
		first += metric_words(table);
	return table;
}

unsigned control_stage_word(const struct metric_description *table, unsigned n)
{
	unsigned word = 0;
	for (unsigned i = 0; i < n; i++)
		word += metric_words(&table[i]);
	return word;
}

void control_declare_stage(struct control *control, const struct metric_description *table, unsigned n)
{
	static const struct metric_description common[] = {
#define METRIC METRIC_ROW
#include "stage/metrics.def"
#undef METRIC
	};
	struct metric_description all[METRICS_MAX];
	if (n > METRICS_MAX - STAGE_METRIC_COUNT ||
	    control_stage_word(table, n) > METRIC_WORDS_MAX - STAGE_METRIC_COUNT)
		abort(); /* a table that does not fit was never tried */
	if (n > 0)
		memcpy(all, table, n * sizeof *table);
	memcpy(all + n, common, sizeof common);
	control_declare(control, all, n + STAGE_METRIC_COUNT);
}

/* ---- texts under a sequence lock: the note, the files ---- */

static void load_words(const _Atomic uint64_t *shared, uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		words[i] = atomic_load_explicit(&shared[i], memory_order_relaxed);
}

/* Odd before the first word, even after the last; a life that died in between is followed by one
 * that writes. */
static void publish(_Atomic uint32_t *shared_version, _Atomic uint64_t *shared, const uint64_t *words,
                    size_t n)
{
	uint32_t version = atomic_load_explicit(shared_version, memory_order_relaxed) | 1;
	atomic_store_explicit(shared_version, version, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	for (size_t i = 0; i < n; i++)
		atomic_store_explicit(&shared[i], words[i], memory_order_relaxed);
	atomic_store_explicit(shared_version, version + 1, memory_order_release);
}

/* False when its writer died while it changed them. */
static bool read_whole(const _Atomic uint32_t *shared_version, const _Atomic uint64_t *shared,
                       uint64_t *words, size_t n)
{
	bool whole = false;
	for (unsigned i = 0; i < READ_TRIES && !whole; i++) {
		uint32_t version = atomic_load_explicit(shared_version, memory_order_acquire);
		load_words(shared, words, n);
		/* The words are read before the version is looked at again; pairs with the fence in
		 * publish. */
		atomic_thread_fence(memory_order_acquire);
		whole = version % 2 == 0 &&
		        atomic_load_explicit(shared_version, memory_order_relaxed) == version;
	}
	return whole;
}

static void make_printable(char *text, size_t size)
{
	text[size - 1] = '\0';
	for (char *c = text; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

void control_note(struct control *control, const char *format, ...)
{
	uint64_t words[CONTROL_NOTE_BYTES / 8] = {0}, present[CONTROL_NOTE_BYTES / 8];
	va_list arguments;
	va_start(arguments, format);
	(void)vsnprintf((char *)words, sizeof words, format, arguments);
	va_end(arguments);
	uint32_t version = atomic_load_explicit(&control->note_version, memory_order_relaxed);
	load_words(control->note, present, CONTROL_NOTE_BYTES / 8);
	if (version % 2 == 0 && memcmp(words, present, sizeof words) == 0)
		return;
	publish(&control->note_version, control->note, words, CONTROL_NOTE_BYTES / 8);
}

void control_read_note(const struct control *control, char note[CONTROL_NOTE_BYTES])
{
	uint64_t words[CONTROL_NOTE_BYTES / 8] = {0};
	bool whole = read_whole(&control->note_version, control->note, words, CONTROL_NOTE_BYTES / 8);
	memcpy(note, words, CONTROL_NOTE_BYTES);
	if (!whole)
		note[0] = '\0';
	make_printable(note, CONTROL_NOTE_BYTES);
}

void control_show_file(struct control *control, unsigned i, const struct control_file *file)
{
	uint64_t words[CONTROL_FILE_WORDS] = {0};
	if (file != NULL)
		memcpy(words, file, sizeof *file);
	publish(&control->file[i].version, control->file[i].word, words, CONTROL_FILE_WORDS);
}

bool control_read_file(const struct control *control, unsigned i, struct control_file *file)
{
	uint64_t words[CONTROL_FILE_WORDS];
	if (!read_whole(&control->file[i].version, control->file[i].word, words, CONTROL_FILE_WORDS))
		return false;
	memcpy(file, words, sizeof *file);
	make_printable(file->option, sizeof file->option);
	make_printable(file->path, sizeof file->path);
	make_printable(file->refusal, sizeof file->refusal);
	return file->option[0] != '\0';
}
