/* The journal against a model of it in ordinary memory: random operations and deaths, and after
 * each some of all that can be asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture/draw.h"
#include "tests/fixture/journal.h"

#define MEMBER       (40u * 1024)
#define BODY_BYTES   (40u * 53 * 1024)
#define OBJECTS_MAX  64u
#define PARTS_MAX    64u
#define KEYS         40u
#define N_OPERATIONS 60000u
#define LINE_MAX     (JOURNAL_BLOCK_BYTES + 2000)

static const struct journal_bounds bounds = {.open_most = MEMBER, .packed_most = MEMBER + 64};

/* ---- the model ---- */

struct text {
	char *at;
	size_t bytes;
};

static void text_add(struct text *text, const void *more, size_t bytes)
{
	text->at = realloc(text->at, text->bytes + bytes + 1);
	assert_non_null(text->at);
	memcpy(text->at + text->bytes, more, bytes);
	text->bytes += bytes;
}

static void text_empty(struct text *text)
{
	free(text->at);
	*text = (struct text){0};
}

struct model_part {
	struct text bytes;
	uint64_t length, raw_bytes, lines, first_epoch, last_epoch;
	uint32_t state;
	bool spooled;
	char etag[JOURNAL_ETAG_MAX];
};

struct model_object {
	bool used;
	enum journal_phase phase;
	bool finishing;
	unsigned key;
	char name[JOURNAL_KEY_MAX + 1], upload[JOURNAL_UPLOAD_MAX + 1];
	uint64_t words[4];
	uint64_t opened_ns, touched_ns, position;
	uint64_t lines, raw_bytes, packed_lines, packed_raw_bytes, parts_lines, parts_raw_bytes;
	uint64_t open_epoch, packed_first_epoch, packed_last_epoch, last_epoch;
	struct text open, packed;
	struct model_part part[PARTS_MAX];
	uint32_t n_parts, n_confirmed;
	/* since the last commit */
	bool added;
	uint64_t new_lines, old_touched_ns;
	size_t new_bytes;
};

static struct {
	struct journal_body body;
	struct model_object object[OBJECTS_MAX]; /* by the journal's index */
	uint64_t epoch, now_ns, lives, full;
	bool uncommitted;
} m;

static const char *key_of(unsigned key)
{
	static char text[JOURNAL_KEY_MAX + 1];
	/* of all lengths up to the greatest */
	size_t bytes = 1 + (size_t)key * key * JOURNAL_KEY_MAX / KEYS / KEYS;
	memset(text, 'k', bytes);
	text[0] = (char)('0' + key);
	text[bytes] = '\0';
	return text;
}

static void model_forget(struct model_object *o)
{
	text_empty(&o->open);
	text_empty(&o->packed);
	for (uint32_t i = 0; i < o->n_parts; i++)
		text_empty(&o->part[i].bytes);
	memset(o, 0, sizeof *o);
}

static void model_commit(void)
{
	m.epoch++;
	m.uncommitted = false;
	for (unsigned i = 0; i < OBJECTS_MAX; i++) {
		struct model_object *o = &m.object[i];
		if (o->added && o->new_lines == 0) {
			model_forget(o);
			continue;
		}
		if (o->new_lines != 0)
			o->last_epoch = m.epoch;
		o->added = false;
		o->new_lines = o->new_bytes = 0;
	}
}

/* A death: what was not committed has never been. */
static void model_die(void)
{
	m.uncommitted = false;
	for (unsigned i = 0; i < OBJECTS_MAX; i++) {
		struct model_object *o = &m.object[i];
		if (o->added) {
			model_forget(o);
		} else if (o->new_lines != 0) {
			o->lines -= o->new_lines;
			o->raw_bytes -= o->new_bytes;
			o->open.bytes -= o->new_bytes;
			o->touched_ns = o->old_touched_ns;
			o->new_lines = o->new_bytes = 0;
		}
	}
}

/* The object that takes lines of the key. */
static journal_object model_find(unsigned key)
{
	for (unsigned i = 0; i < OBJECTS_MAX; i++)
		if (m.object[i].used && !m.object[i].finishing && m.object[i].key == key)
			return i;
	return JOURNAL_NONE;
}

static uint64_t model_waiting(void)
{
	uint64_t bytes = 0;
	for (unsigned i = 0; i < OBJECTS_MAX; i++) {
		const struct model_object *o = &m.object[i];
		bytes += o->open.bytes + o->packed.bytes;
		for (uint32_t k = 0; k < o->n_parts; k++)
			bytes += o->part[k].bytes.bytes;
	}
	return bytes;
}

static uint64_t blocks_of(size_t bytes)
{
	return (bytes + JOURNAL_BLOCK_BYTES - 1) / JOURNAL_BLOCK_BYTES;
}

static uint64_t model_blocks(void)
{
	uint64_t blocks = 0;
	for (unsigned i = 0; i < OBJECTS_MAX; i++) {
		const struct model_object *o = &m.object[i];
		blocks += blocks_of(o->open.bytes) + blocks_of(o->packed.bytes) + (o->n_parts + 127) / 128;
		for (uint32_t k = 0; k < o->n_parts; k++)
			blocks += blocks_of(o->part[k].bytes.bytes);
	}
	return blocks;
}

/* ---- comparing ---- */

static void compare_bytes(journal_object object, uint32_t number, const struct text *expected)
{
	size_t bytes;
	char *all = journal_body_gather(m.body.journal, object, number, 1 + draw_below(4), &bytes);
	assert_int_equal(bytes, expected->bytes);
	assert_memory_equal(all, bytes == 0 ? all : expected->at, bytes);
	free(all);
}

static void compare_part(journal_object object, uint32_t number)
{
	const struct model_part *expected = &m.object[object].part[number - 1];
	struct journal_part part;
	assert_true(journal_part(m.body.journal, object, number, &part));
	assert_int_equal(part.number, number);
	assert_int_equal(part.state, expected->state);
	assert_int_equal(part.spooled, expected->spooled);
	assert_int_equal(part.bytes, expected->length);
	assert_int_equal(part.raw_bytes, expected->raw_bytes);
	assert_int_equal(part.lines, expected->lines);
	assert_int_equal(part.first_epoch, expected->first_epoch);
	assert_int_equal(part.last_epoch, expected->last_epoch);
	assert_string_equal(part.etag, expected->etag);
	compare_bytes(object, number, &expected->bytes);
}

static void compare_object(journal_object object)
{
	const struct model_object *o = &m.object[object];
	struct journal_view view;
	uint64_t sent = 0, cut = 0;
	journal_look(m.body.journal, object, &view);
	for (uint32_t i = 0; i < o->n_parts; i++)
		*(o->part[i].state == JOURNAL_CUT ? &cut : &sent) += o->part[i].length;
	assert_int_equal(view.phase, o->phase);
	assert_int_equal(view.finishing, o->finishing);
	assert_string_equal(view.key, key_of(o->key));
	assert_int_equal(view.key_bytes, strlen(view.key));
	assert_string_equal(view.name, o->name);
	assert_int_equal(view.name_bytes, strlen(o->name));
	assert_string_equal(view.upload, o->upload);
	assert_memory_equal(view.words, o->words, sizeof o->words);
	assert_int_equal(view.opened_ns, o->opened_ns);
	assert_int_equal(view.touched_ns, o->touched_ns);
	assert_int_equal(view.first_position, o->position);
	assert_int_equal(view.lines, o->lines);
	assert_int_equal(view.raw_bytes, o->raw_bytes);
	assert_int_equal(view.open_bytes, o->open.bytes);
	assert_int_equal(view.packed_bytes, o->packed.bytes);
	assert_int_equal(view.sent_bytes, sent);
	assert_int_equal(view.cut_bytes, cut);
	assert_int_equal(view.n_parts, o->n_parts);
	assert_int_equal(view.n_confirmed, o->n_confirmed);
	struct text committed = {.at = o->open.at, .bytes = o->open.bytes - o->new_bytes};
	compare_bytes(object, JOURNAL_BODY_RAW, &committed);
	compare_bytes(object, 0, &o->packed);
	for (uint32_t i = 1; i <= o->n_parts; i++)
		compare_part(object, i);
}

static void compare_counts(void)
{
	struct journal_counts counts;
	uint64_t n = 0, finishing = 0;
	journal_count(m.body.journal, &counts);
	for (unsigned i = 0; i < OBJECTS_MAX; i++) {
		n += m.object[i].used ? 1 : 0;
		finishing += m.object[i].finishing ? 1 : 0;
	}
	assert_int_equal(counts.objects - counts.free_objects, n);
	assert_int_equal(counts.finishing, finishing);
	assert_int_equal(counts.blocks - counts.free_blocks, model_blocks());
	assert_int_equal(counts.waiting_bytes, model_waiting());
	assert_int_equal(counts.epoch, m.epoch);
	assert_int_equal(journal_uncommitted(m.body.journal), m.uncommitted);
}

static void compare_oldest(void)
{
	journal_object oldest = JOURNAL_NONE;
	for (unsigned i = 0; i < OBJECTS_MAX; i++)
		if (m.object[i].used && !m.object[i].finishing &&
		    (oldest == JOURNAL_NONE || m.object[i].touched_ns < m.object[oldest].touched_ns))
			oldest = i;
	assert_int_equal(journal_oldest(m.body.journal), oldest);
}

static void compare_all(void)
{
	compare_counts();
	journal_object next = journal_next(m.body.journal, JOURNAL_NONE);
	for (unsigned i = 0; i < OBJECTS_MAX; i++) {
		if (!m.object[i].used)
			continue;
		assert_int_equal(next, i);
		compare_object(i);
		next = journal_next(m.body.journal, next);
	}
	assert_int_equal(next, JOURNAL_NONE);
	for (unsigned key = 0; key < KEYS; key++)
		assert_int_equal(
		        journal_find(m.body.journal, draw_below(1000), key_of(key), strlen(key_of(key))),
		        model_find(key));
}

/* ---- operations ---- */

static void commit(void)
{
	journal_body_commit(&m.body, m.now_ns);
	model_commit();
}

static void add_line(void)
{
	static char line[LINE_MAX];
	unsigned key = draw_below(KEYS);
	const char *text = key_of(key);
	uint64_t hash = draw_one_in(50) ? draw() : key % 7; /* many have the same */
	journal_object object = journal_find(m.body.journal, hash, text, strlen(text));
	assert_int_equal(object, model_find(key));
	if (object == JOURNAL_NONE) {
		m.now_ns++;
		object = journal_add(m.body.journal, hash, text, strlen(text), JOURNAL_BODY_TOKEN, 1, 2,
		                     m.now_ns - 1, m.now_ns);
		if (object == JOURNAL_NONE) {
			m.full++;
			return;
		}
		assert_true(object < OBJECTS_MAX && !m.object[object].used);
		m.object[object] = (struct model_object){.used = true,
		                                         .added = true,
		                                         .phase = JOURNAL_OPEN,
		                                         .key = key,
		                                         .position = m.now_ns - 1,
		                                         .opened_ns = m.now_ns,
		                                         .touched_ns = m.now_ns};
		m.uncommitted = true;
		if (draw_one_in(10))
			return;
	}
	struct model_object *o = &m.object[object];
	/* the order of the oldest is that of the first line in a commit */
	uint64_t now_ns = o->new_lines != 0 || o->added ? o->touched_ns : ++m.now_ns;
	size_t bytes = draw_one_in(30) ? draw_below(LINE_MAX) : draw_below(300);
	memset(line, 'a' + (int)(draw_below(26)), bytes);
	if (!journal_append(m.body.journal, object, line, bytes, now_ns)) {
		m.full++;
		return;
	}
	if (o->new_lines == 0)
		o->old_touched_ns = o->touched_ns;
	if (o->open.bytes == 0)
		o->open_epoch = m.epoch + 1;
	text_add(&o->open, line, bytes);
	text_add(&o->open, "\n", 1);
	o->lines++;
	o->new_lines++;
	o->raw_bytes += bytes + 1;
	o->new_bytes += bytes + 1;
	o->touched_ns = now_ns;
	m.uncommitted = true;
}

static bool pack(journal_object object)
{
	static char member[MEMBER + 64];
	struct model_object *o = &m.object[object];
	if (o->open.bytes == 0)
		return true;
	size_t bytes = 1 + (draw_one_in(3) ? o->open.bytes : draw_below((unsigned)o->open.bytes / 4 + 1));
	memset(member, 'A' + (int)draw_below(26), bytes);
	if (!journal_body_pack(m.body.journal, object, member, bytes))
		return false;
	if (o->packed.bytes == 0)
		o->packed_first_epoch = o->open_epoch;
	o->packed_last_epoch = o->last_epoch;
	text_add(&o->packed, member, bytes);
	text_empty(&o->open);
	o->packed_lines = o->lines;
	o->packed_raw_bytes = o->raw_bytes;
	return true;
}

static void cut(journal_object object)
{
	struct model_object *o = &m.object[object];
	if (o->n_parts == PARTS_MAX)
		return;
	uint32_t number = journal_cut(m.body.journal, object);
	if (o->packed.bytes == 0) {
		assert_int_equal(number, 0);
		return;
	}
	if (number == 0) /* no block for the list */
		return;
	struct model_part *part = &o->part[o->n_parts++];
	assert_int_equal(number, o->n_parts);
	*part = (struct model_part){.state = JOURNAL_CUT,
	                            .bytes = o->packed,
	                            .length = o->packed.bytes,
	                            .lines = o->packed_lines - o->parts_lines,
	                            .raw_bytes = o->packed_raw_bytes - o->parts_raw_bytes,
	                            .first_epoch = o->packed_first_epoch,
	                            .last_epoch = o->packed_last_epoch};
	o->parts_lines = o->packed_lines;
	o->parts_raw_bytes = o->packed_raw_bytes;
	o->packed = (struct text){0};
}

/* A cut part, 0 when there is none. */
static uint32_t any_cut(const struct model_object *o)
{
	uint32_t first = o->n_parts == 0 ? 0 : draw_below(o->n_parts);
	for (uint32_t i = 0; i < o->n_parts; i++)
		if (o->part[(first + i) % o->n_parts].state == JOURNAL_CUT)
			return (first + i) % o->n_parts + 1;
	return 0;
}

static void name(journal_object object)
{
	struct model_object *o = &m.object[object];
	if (o->phase > JOURNAL_NAMED)
		return;
	size_t bytes = 1 + draw_below(draw_one_in(5) ? JOURNAL_KEY_MAX : 20);
	memset(o->name, 'n', bytes);
	o->name[bytes] = '\0';
	o->phase = JOURNAL_NAMED;
	journal_set_name(m.body.journal, object, o->name, bytes);
}

static void upload(journal_object object)
{
	struct model_object *o = &m.object[object];
	if (o->phase < JOURNAL_NAMED || o->n_confirmed != 0)
		return;
	size_t bytes = 1 + draw_below(draw_one_in(5) ? JOURNAL_UPLOAD_MAX : 20);
	memset(o->upload, 'u', bytes);
	o->upload[bytes] = '\0';
	o->phase = JOURNAL_UPLOADING;
	journal_set_upload(m.body.journal, object, o->upload, bytes);
}

static void confirm(journal_object object)
{
	struct model_object *o = &m.object[object];
	uint32_t number = any_cut(o);
	if (number == 0 || o->phase != JOURNAL_UPLOADING)
		return;
	struct model_part *part = &o->part[number - 1];
	size_t bytes = draw_below(JOURNAL_ETAG_MAX);
	memset(part->etag, 'e', bytes);
	part->etag[bytes] = '\0';
	part->state = JOURNAL_CONFIRMED;
	part->spooled = false;
	o->n_confirmed++;
	text_empty(&part->bytes);
	journal_confirm(m.body.journal, object, number, part->etag);
}

static void spool(journal_object object)
{
	uint32_t number = any_cut(&m.object[object]);
	if (number == 0)
		return;
	struct model_part *part = &m.object[object].part[number - 1];
	part->spooled = true;
	text_empty(&part->bytes);
	journal_spooled(m.body.journal, object, number);
}

static void set_word(journal_object object)
{
	unsigned word = draw_below(4);
	m.object[object].words[word] = draw();
	journal_set_word(m.body.journal, object, word, m.object[object].words[word]);
}

static void finish(journal_object object)
{
	m.object[object].finishing = true;
	journal_finish(m.body.journal, object);
}

static void drop(journal_object object)
{
	model_forget(&m.object[object]);
	journal_remove(m.body.journal, object);
}

static void live_on(void)
{
	assert_int_equal(journal_body_live(&m.body), 0);
	model_die();
	m.lives++;
	compare_all();
}

static journal_object any_object(void)
{
	unsigned first = draw_below(OBJECTS_MAX);
	for (unsigned i = 0; i < OBJECTS_MAX; i++)
		if (m.object[(first + i) % OBJECTS_MAX].used)
			return (first + i) % OBJECTS_MAX;
	return JOURNAL_NONE;
}

static void step(void)
{
	commit();
	journal_object object = any_object();
	if (object == JOURNAL_NONE)
		return;
	switch (draw_below(14)) {
	case 0:
	case 1:
	case 2:
		(void)pack(object);
		break;
	case 3:
	case 4:
		cut(object);
		break;
	case 5:
	case 6:
	case 7:
		confirm(object);
		break;
	case 8:
		spool(object);
		break;
	case 9:
		name(object);
		break;
	case 10:
		upload(object);
		break;
	case 11:
		set_word(object);
		break;
	case 12:
		finish(object);
		break;
	default:
		if (m.object[object].finishing || draw_one_in(4))
			drop(object);
	}
	if (draw_one_in(8))
		compare_all();
}

static void random_operations_leave_what_the_model_has(void **state)
{
	(void)state;
	draw_init(20261127);
	assert_int_equal(journal_body_make(&m.body, BODY_BYTES, bounds), 0);
	assert_int_equal(journal_body_live(&m.body), 0);
	struct journal_counts counts;
	journal_count(m.body.journal, &counts);
	assert_true(counts.objects <= OBJECTS_MAX);
	for (unsigned i = 0; i < N_OPERATIONS; i++) {
		unsigned what = draw_below(100);
		if (what < 70)
			add_line();
		else if (what < 73)
			commit();
		else if (what < 99 || !draw_one_in(3))
			step();
		else
			live_on();
		if (draw_one_in(20)) {
			compare_counts();
			compare_oldest();
		}
	}
	live_on();
	print_message("%lu lives, %lu commits, full %lu times\n", (unsigned long)m.lives,
	              (unsigned long)m.epoch, (unsigned long)m.full);
	assert_true(m.lives > 50 && m.full > 100);
	for (unsigned i = 0; i < OBJECTS_MAX; i++)
		model_forget(&m.object[i]);
	journal_body_remove(&m.body);
}

int main(void)
{
	alarm(300);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(random_operations_leave_what_the_model_has),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
