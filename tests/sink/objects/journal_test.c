/* The journal, every step in one thread: what one life leaves, the next finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/private.h"
#include "sink/objects/journal_line.h"
#include "tests/fixture/journal.h"

#define BODY_BYTES (4u << 20)
#define MEMBER     (256u * 1024)

static const struct journal_bounds bounds = {.open_most = MEMBER, .packed_most = MEMBER + 100};

static struct journal_body f;

static void next_life(void)
{
	assert_int_equal(journal_body_live(&f), 0);
}

static int set_up(void **state)
{
	(void)state;
	return journal_body_make(&f, BODY_BYTES, bounds) == 0 ? journal_body_live(&f) : -1;
}

static int tear_down(void **state)
{
	(void)state;
	journal_body_remove(&f);
	return 0;
}

/* ---- words for the tests ---- */

static uint64_t hash_of(const char *key)
{
	return journal_body_hash(0, key, strlen(key));
}

static journal_object find(const char *key)
{
	return journal_find(f.journal, hash_of(key), key, strlen(key));
}

static journal_object add(const char *key)
{
	return journal_add(f.journal, hash_of(key), key, strlen(key), JOURNAL_BODY_TOKEN, 3, 2, 720, 1000);
}

static bool append(journal_object object, const char *line)
{
	return journal_append(f.journal, object, line, strlen(line), 2000);
}

static struct journal_view look(journal_object object)
{
	struct journal_view view;
	journal_look(f.journal, object, &view);
	return view;
}

static struct journal_counts count(void)
{
	struct journal_counts counts;
	journal_count(f.journal, &counts);
	return counts;
}

/* An object with these lines, committed. */
static journal_object make(const char *key, const char *line)
{
	journal_object object = find(key);
	if (object == JOURNAL_NONE)
		object = add(key);
	assert_int_not_equal(object, JOURNAL_NONE);
	assert_true(append(object, line));
	journal_commit(f.journal, NULL);
	return object;
}

/* Its raw lines become a member of these bytes. */
static void pack(journal_object object, const void *member, size_t bytes)
{
	assert_true(journal_body_pack(f.journal, object, member, bytes));
}

#define RAW JOURNAL_BODY_RAW
static void assert_bytes(journal_object object, uint32_t number, const char *expected, size_t expected_bytes)
{
	size_t bytes;
	char *all = journal_body_gather(f.journal, object, number, 7, &bytes);
	assert_int_equal(bytes, expected_bytes);
	assert_memory_equal(all, expected, bytes);
	free(all);
}

#define assert_text(object, number, text) assert_bytes(object, number, text, strlen(text))

static char *pattern(size_t bytes, unsigned seed)
{
	char *text = malloc(bytes + 1);
	assert_non_null(text);
	for (size_t i = 0; i < bytes; i++)
		text[i] = (char)('a' + (i * 7 + i / 251 + seed) % 26);
	text[bytes] = '\0';
	return text;
}

/* ---- lines ---- */

static void a_committed_line_is_there_in_the_next_life_and_one_that_was_not_is_gone(void **state)
{
	(void)state;
	journal_object object = make("a", "one");
	assert_true(append(object, "two"));
	assert_true(journal_uncommitted(f.journal));
	assert_text(object, RAW, "one\n");
	next_life();
	object = find("a");
	assert_int_not_equal(object, JOURNAL_NONE);
	assert_text(object, RAW, "one\n");
	struct journal_view view = look(object);
	assert_int_equal(view.lines, 1);
	assert_int_equal(view.raw_bytes, 4);
	assert_int_equal(view.open_bytes, 4);
	assert_int_equal(view.phase, JOURNAL_OPEN);
	assert_int_equal(view.first_topic, 3);
	assert_int_equal(view.first_lane, 2);
	assert_int_equal(view.first_position, 720);
	assert_int_equal(view.opened_ns, 1000);
	assert_int_equal(view.touched_ns, 2000);
	assert_memory_equal(view.token, JOURNAL_BODY_TOKEN, JOURNAL_TOKEN_BYTES);
	assert_int_equal(view.key_bytes, 1);
	assert_string_equal(view.key, "a");
	assert_true(append(object, "three"));
	journal_commit(f.journal, NULL);
	next_life();
	assert_text(find("a"), RAW, "one\nthree\n");
	assert_int_equal(count().epoch, 2);
}

static void what_was_not_committed_does_not_come_to_life_with_a_later_commit(void **state)
{
	(void)state;
	make("a", "one");
	assert_true(append(find("a"), "lost"));
	/* killed after the slot was filled and before the note was published */
	struct journal_slot *slot = f.journal->place[find("a")].slot;
	struct journal_slot *other = slot[0].epoch == 1 ? &slot[1] : &slot[0];
	other->open_bytes = 9;
	other->open_first = (slot[0].epoch == 1 ? &slot[0] : &slot[1])->open_first;
	other->lines = 2;
	other->epoch = 2;
	next_life();
	assert_text(find("a"), RAW, "one\n");
	make("b", "two"); /* commit 2 */
	next_life();
	assert_text(find("a"), RAW, "one\n");
	assert_text(find("b"), RAW, "two\n");
}

static void one_commit_covers_all_objects(void **state)
{
	(void)state;
	char key[16];
	for (unsigned i = 0; i < 50; i++) {
		snprintf(key, sizeof key, "key%u", i);
		assert_true(append(add(key), key));
	}
	journal_commit(f.journal, NULL);
	assert_int_equal(count().epoch, 1);
	for (unsigned i = 0; i < 50; i += 2) {
		snprintf(key, sizeof key, "key%u", i);
		assert_true(append(find(key), "more"));
	}
	journal_commit(f.journal, NULL);
	next_life();
	for (unsigned i = 0; i < 50; i++) {
		char text[32];
		snprintf(key, sizeof key, "key%u", i);
		snprintf(text, sizeof text, i % 2 == 0 ? "key%u\nmore\n" : "key%u\n", i);
		assert_text(find(key), RAW, text);
	}
	assert_int_equal(count().objects - count().free_objects, 50);
}

static void an_object_without_a_line_is_dropped_by_the_commit_and_by_a_death(void **state)
{
	(void)state;
	uint64_t objects = count().free_objects;
	assert_int_not_equal(add("a"), JOURNAL_NONE);
	assert_int_not_equal(find("a"), JOURNAL_NONE);
	journal_commit(f.journal, NULL);
	assert_int_equal(find("a"), JOURNAL_NONE);
	assert_int_equal(count().free_objects, objects);
	assert_int_not_equal(add("a"), JOURNAL_NONE);
	assert_true(append(find("a"), "x"));
	next_life();
	assert_int_equal(find("a"), JOURNAL_NONE);
	assert_int_equal(count().free_objects, objects);
	assert_int_equal(count().free_blocks, count().blocks);
}

static void lines_of_any_length_run_over_the_ends_of_blocks(void **state)
{
	(void)state;
	static const size_t lengths[] = {0,
	                                 1,
	                                 JOURNAL_BLOCK_BYTES - 4,
	                                 JOURNAL_BLOCK_BYTES - 1,
	                                 0,
	                                 JOURNAL_BLOCK_BYTES - 2,
	                                 JOURNAL_BLOCK_BYTES,
	                                 3 * JOURNAL_BLOCK_BYTES + 5,
	                                 1};
	char *expected = malloc(MEMBER);
	size_t bytes = 0;
	journal_object object = add("a");
	for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		char *line = pattern(lengths[i], i);
		assert_true(journal_append(f.journal, object, line, lengths[i], 1));
		memcpy(expected + bytes, line, lengths[i]);
		bytes += lengths[i];
		expected[bytes++] = '\n';
		free(line);
		journal_commit(f.journal, NULL);
		if (i % 2 == 0)
			next_life();
		object = find("a");
		assert_bytes(object, RAW, expected, bytes);
	}
	assert_int_equal(count().waiting_bytes, bytes);
	assert_int_equal(count().blocks - count().free_blocks, journal_blocks(bytes));
	free(expected);
}

static void an_object_of_others_memory_is_copied_whole_when_it_is_one_line(void **state)
{
	(void)state;
	enum { LENGTHS = 260 };
	char expected[LENGTHS * LENGTHS / 2 + LENGTHS];
	size_t bytes = 0;
	journal_object object = add("a");
	assert_false(journal_append_object(f.journal, object, "{7890123456789012345}", 21, 1)); /* no block */
	assert_true(append(object, "x"));
	memcpy(expected, "x\n", 2);
	bytes = 2;
	for (size_t n = 1; n < LENGTHS; n++) {
		char *line = pattern(n, (unsigned)n);
		line[0] = '{';
		line[n - 1] = '}';
		bool fits = n < JOURNAL_BLOCK_BYTES - bytes % JOURNAL_BLOCK_BYTES;
		assert_int_equal(journal_append_object(f.journal, object, line, n, 1), n >= 16 && fits);
		if (n >= 16) {
			assert_true(fits || journal_append(f.journal, object, line, n, 1));
			memcpy(expected + bytes, line, n);
			bytes += n;
			expected[bytes++] = '\n';
		}
		for (size_t i = 0; n >= 16 && i < n; i++) {
			char was = line[i];
			line[i] = i % 2 == 0 ? '\n' : '\t';
			assert_false(journal_append_object(f.journal, object, line, n, 1));
			line[i] = was;
		}
		free(line);
	}
	assert_false(journal_append_object(f.journal, object, "{789012345678901234x", 20, 1));
	assert_false(journal_append_object(f.journal, object, "x789012345678901234}", 20, 1));
	assert_int_equal(look(object).lines, 1 + LENGTHS - 16);
	journal_commit(f.journal, NULL);
	next_life();
	object = find("a");
	assert_bytes(object, RAW, expected, bytes);
	assert_int_equal(count().waiting_bytes, bytes);
}

static void an_object_of_others_memory_does_not_run_over_the_end_of_a_block(void **state)
{
	(void)state;
	char *line = pattern(JOURNAL_BLOCK_BYTES - 100, 1);
	journal_object object = add("a");
	assert_true(append(object, line)); /* 99 bytes are left */
	free(line);
	line = pattern(99, 2);
	line[0] = '{';
	line[98] = line[97] = '}';
	assert_false(journal_append_object(f.journal, object, line, 99, 1));
	assert_true(journal_append_object(f.journal, object, line, 98, 1));
	assert_false(journal_append_object(f.journal, object, line, 98, 1));
	assert_int_equal(look(object).open_bytes, JOURNAL_BLOCK_BYTES);
	journal_commit(f.journal, NULL);
	journal_finish(f.journal, object);
	assert_false(journal_append_object(f.journal, object, line, 98, 1));
	free(line);
}

static void chains_that_grow_by_turns_lie_in_a_row_each(void **state)
{
	(void)state;
	char *line = pattern(JOURNAL_BLOCK_BYTES - 1, 3);
	journal_object a = add("a"), b = add("b");
	for (unsigned i = 0; i < MEMBER / JOURNAL_BLOCK_BYTES; i++)
		assert_true(append(a, line) && append(b, line));
	journal_commit(f.journal, NULL);
	assert_int_equal(journal_raw(f.journal, a, 0, NULL, 0), 1);
	assert_int_equal(journal_raw(f.journal, b, 0, NULL, 0), 1);
	free(line);
}

/* A member and what it is packed to are one piece each, as long as there are rows that are free. */
static void members_lie_in_a_row_in_a_large_journal(void **state)
{
	(void)state;
	const unsigned member_blocks = JOURNAL_ROW_GROUPS * JOURNAL_GROUP_BLOCKS;
	const struct journal_bounds large = {.open_most = member_blocks * JOURNAL_BLOCK_BYTES,
	                                     .packed_most = member_blocks * JOURNAL_BLOCK_BYTES};
	char *line = pattern(JOURNAL_BLOCK_BYTES - 1, 3);
	journal_body_remove(&f);
	assert_int_equal(journal_body_make(&f, 32u << 20, large), 0);
	next_life();
	journal_object all[] = {add("a"), add("b"), add("c")};
	for (unsigned turn = 0; turn < 3; turn++) {
		for (unsigned i = 0; i < member_blocks; i++)
			for (unsigned k = 0; k < 3; k++)
				assert_true(append(all[k], line));
		journal_commit(f.journal, NULL);
		for (unsigned k = 0; k < 3; k++) {
			assert_int_equal(journal_raw(f.journal, all[k], 0, NULL, 0), 1);
			pack(all[k], f.memory, 20 * JOURNAL_BLOCK_BYTES);
			assert_int_equal(journal_bytes(f.journal, all[k], 0, 0, NULL, 0), 1);
		}
	}
	/* a list of parts begins no row */
	uint32_t rows = f.journal->free.rows.n;
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(journal_cut(f.journal, all[k]), 1);
	assert_int_equal(f.journal->free.rows.n, rows);
	free(line);
}

static void an_open_member_takes_no_more_than_the_bound(void **state)
{
	(void)state;
	char *line = pattern(MEMBER, 1);
	journal_object object = add("a");
	assert_false(journal_append(f.journal, object, line, MEMBER, 1));
	assert_false(journal_append(f.journal, object, line, SIZE_MAX, 1));
	assert_true(journal_append(f.journal, object, line, MEMBER - 3, 1));
	assert_false(append(object, "xy"));
	assert_true(append(object, "x"));
	assert_false(append(object, ""));
	journal_commit(f.journal, NULL);
	next_life();
	assert_false(append(find("a"), ""));
	assert_int_equal(look(find("a")).open_bytes, MEMBER);
	pack(find("a"), "m", 1);
	assert_true(append(find("a"), ""));
	free(line);
}

/* ---- finding ---- */

static void an_object_is_found_by_its_hash_alone_once_its_key_was_asked_for(void **state)
{
	(void)state;
	journal_object a = make("a", "x"), b = make("b", "y");
	assert_int_equal(journal_find(f.journal, hash_of("a"), NULL, 0), a);
	next_life();
	assert_int_equal(journal_find(f.journal, hash_of("a"), NULL, 0), JOURNAL_NONE);
	assert_int_equal(journal_find(f.journal, 17, "a", 1), a);
	assert_int_equal(journal_find(f.journal, 17, NULL, 0), a);
	/* the same hash for two keys: the key decides */
	assert_int_equal(journal_find(f.journal, 17, "b", 1), b);
	assert_int_equal(journal_find(f.journal, 17, "a", 1), a);
	/* another hash for the same key */
	assert_int_equal(journal_find(f.journal, UINT64_MAX, "b", 1), b);
	assert_int_equal(journal_find(f.journal, UINT64_MAX, NULL, 0), b);
	assert_int_equal(journal_find(f.journal, 17, NULL, 0), a);
	assert_int_equal(journal_find(f.journal, 17, "c", 1), JOURNAL_NONE);
	journal_finish(f.journal, a);
	assert_int_equal(journal_find(f.journal, 17, NULL, 0), JOURNAL_NONE);
	assert_int_equal(find("a"), JOURNAL_NONE);
	journal_object again = make("a", "z");
	assert_int_not_equal(again, a);
	next_life();
	assert_int_equal(find("a"), again);
	assert_true(look(a).finishing);
	assert_text(a, RAW, "x\n");
}

static void the_oldest_is_the_one_that_got_a_line_longest_ago(void **state)
{
	(void)state;
	assert_int_equal(journal_oldest(f.journal), JOURNAL_NONE);
	journal_object o[3];
	const char *const keys[] = {"a", "b", "c"};
	for (unsigned i = 0; i < 3; i++) {
		o[i] = add(keys[i]);
		assert_true(journal_append(f.journal, o[i], "x", 1, 100 + i));
		journal_commit(f.journal, NULL);
	}
	assert_int_equal(journal_oldest(f.journal), o[0]);
	assert_true(journal_append(f.journal, o[0], "x", 1, 200));
	assert_int_equal(journal_oldest(f.journal), o[1]);
	journal_commit(f.journal, NULL);
	next_life();
	assert_int_equal(journal_oldest(f.journal), o[1]);
	journal_finish(f.journal, o[1]);
	assert_int_equal(journal_oldest(f.journal), o[2]);
	next_life();
	assert_int_equal(journal_oldest(f.journal), o[2]);
	journal_remove(f.journal, o[2]);
	assert_int_equal(journal_oldest(f.journal), o[0]);
}

/* ---- steps ---- */

static void raw_lines_become_members_and_members_parts(void **state)
{
	(void)state;
	journal_object object = make("a", "one");
	make("a", "two");
	pack(object, "<one two>", 9);
	next_life();
	assert_text(object, 0, "<one two>");
	assert_text(object, RAW, "");
	struct journal_view view = look(object);
	assert_int_equal(view.open_bytes, 0);
	assert_int_equal(view.packed_bytes, 9);
	assert_int_equal(view.raw_bytes, 8);
	assert_int_equal(view.lines, 2);

	make("a", "three");
	char *member = pattern(2 * JOURNAL_BLOCK_BYTES, 4);
	pack(object, member, 2 * JOURNAL_BLOCK_BYTES);
	make("a", "four");
	next_life();
	assert_int_equal(look(object).packed_bytes, 9 + 2 * JOURNAL_BLOCK_BYTES);
	assert_int_equal(journal_cut(f.journal, object), 1);
	assert_int_equal(journal_cut(f.journal, object), 0); /* no member is left */
	next_life();
	struct journal_part part;
	assert_false(journal_part(f.journal, object, 0, &part));
	assert_false(journal_part(f.journal, object, 2, &part));
	assert_true(journal_part(f.journal, object, 1, &part));
	assert_int_equal(part.state, JOURNAL_CUT);
	assert_int_equal(part.bytes, 9 + 2 * JOURNAL_BLOCK_BYTES);
	assert_int_equal(part.lines, 3);
	assert_int_equal(part.raw_bytes, 14);
	assert_int_equal(part.first_epoch, 1);
	assert_int_equal(part.last_epoch, 3);
	assert_string_equal(part.etag, "");
	size_t bytes;
	char *all = journal_body_gather(f.journal, object, 1, 7, &bytes);
	assert_int_equal(bytes, part.bytes);
	assert_memory_equal(all, "<one two>", 9);
	assert_memory_equal(all + 9, member, bytes - 9);
	free(all);
	free(member);

	pack(object, "<four>", 6);
	assert_int_equal(journal_cut(f.journal, object), 2);
	journal_set_name(f.journal, object, "the/name", 8);
	journal_set_upload(f.journal, object, "u1", 2);
	journal_confirm(f.journal, object, 2, "\"etag2\""); /* in any order */
	next_life();
	view = look(object);
	assert_int_equal(view.n_parts, 2);
	assert_int_equal(view.n_confirmed, 1);
	assert_int_equal(view.sent_bytes, 6);
	assert_int_equal(view.cut_bytes, 9 + 2 * JOURNAL_BLOCK_BYTES);
	assert_true(journal_part(f.journal, object, 2, &part));
	assert_int_equal(part.state, JOURNAL_CONFIRMED);
	assert_string_equal(part.etag, "\"etag2\"");
	assert_int_equal(part.first_epoch, 4);
	assert_int_equal(part.last_epoch, 4);
	assert_int_equal(journal_bytes(f.journal, object, 2, 0, NULL, 0), 0);
	journal_confirm(f.journal, object, 1, "\"etag1\"");
	assert_int_equal(count().blocks - count().free_blocks, 1); /* the list of parts */
	assert_int_equal(count().waiting_bytes, 0);
	next_life();
	assert_int_equal(count().blocks - count().free_blocks, 1);
	journal_remove(f.journal, object);
	assert_int_equal(count().free_blocks, count().blocks);
	assert_int_equal(count().free_objects, count().objects);
	next_life();
	assert_int_equal(count().free_blocks, count().blocks);
	assert_int_equal(journal_next(f.journal, JOURNAL_NONE), JOURNAL_NONE);
}

static void a_spooled_part_has_no_blocks_and_is_confirmed_later(void **state)
{
	(void)state;
	journal_object object = make("a", "one");
	pack(object, "<one>", 5);
	assert_int_equal(journal_cut(f.journal, object), 1);
	journal_spooled(f.journal, object, 1);
	assert_int_equal(count().waiting_bytes, 0);
	assert_int_equal(count().blocks - count().free_blocks, 1);
	next_life();
	struct journal_part part;
	assert_true(journal_part(f.journal, object, 1, &part));
	assert_true(part.spooled);
	assert_int_equal(part.state, JOURNAL_CUT);
	assert_int_equal(part.bytes, 5);
	assert_int_equal(look(object).cut_bytes, 5);
	assert_int_equal(journal_bytes(f.journal, object, 1, 0, NULL, 0), 0);
	journal_set_name(f.journal, object, "n", 1);
	journal_set_upload(f.journal, object, "u", 1);
	journal_confirm(f.journal, object, 1, "e");
	next_life();
	assert_true(journal_part(f.journal, object, 1, &part));
	assert_false(part.spooled);
	assert_int_equal(part.state, JOURNAL_CONFIRMED);
}

static void name_upload_words_and_decision_stay(void **state)
{
	(void)state;
	journal_object object = make("a", "one");
	char *longest = pattern(JOURNAL_KEY_MAX, 3);
	journal_set_name(f.journal, object, "first", 5);
	journal_set_name(f.journal, object, longest, JOURNAL_KEY_MAX);
	journal_set_word(f.journal, object, 0, 17);
	journal_set_word(f.journal, object, 3, UINT64_MAX);
	next_life();
	struct journal_view view = look(object);
	assert_int_equal(view.phase, JOURNAL_NAMED);
	assert_int_equal(view.name_bytes, JOURNAL_KEY_MAX);
	assert_string_equal(view.name, longest);
	assert_string_equal(view.upload, "");
	assert_int_equal(view.words[0], 17);
	assert_int_equal(view.words[1], 0);
	assert_true(view.words[3] == UINT64_MAX);
	journal_set_upload(f.journal, object, "lost", 4);
	journal_set_upload(f.journal, object, longest, JOURNAL_UPLOAD_MAX);
	journal_finish(f.journal, object);
	journal_finish(f.journal, object);
	next_life();
	view = look(object);
	assert_int_equal(view.phase, JOURNAL_UPLOADING);
	assert_string_equal(view.upload, longest);
	assert_true(view.finishing);
	assert_int_equal(count().finishing, 1);
	journal_remove(f.journal, object);
	assert_int_equal(count().finishing, 0);
	/* the next in this place has nothing of it */
	assert_int_equal(make("b", "two"), object);
	view = look(object);
	assert_int_equal(view.phase, JOURNAL_OPEN);
	assert_string_equal(view.name, "");
	assert_int_equal(view.words[0], 0);
	next_life();
	view = look(object);
	assert_int_equal(view.lines, 1);
	assert_int_equal(view.n_parts, 0);
	assert_string_equal(view.upload, "");
	free(longest);
}

static void a_member_that_is_given_up_leaves_nothing(void **state)
{
	(void)state;
	journal_object object = make("a", "one");
	pack(object, "<one>", 5);
	make("a", "two");
	uint64_t free_blocks = count().free_blocks;
	struct journal_filling filling;
	size_t room;
	journal_fill(f.journal, object, &filling);
	char *piece = journal_fill_room(&filling, &room); /* where the last member ended, and on in a row */
	assert_int_equal(room % JOURNAL_BLOCK_BYTES, JOURNAL_BLOCK_BYTES - 5);
	assert_true(room > 3 * JOURNAL_BLOCK_BYTES);
	uint64_t taken = room / JOURNAL_BLOCK_BYTES;
	memset(piece, 'x', room);
	assert_non_null(journal_fill_room(&filling, &room));
	assert_int_equal(room % JOURNAL_BLOCK_BYTES, 0);
	taken += room / JOURNAL_BLOCK_BYTES;
	assert_int_equal(count().free_blocks, free_blocks - taken);
	journal_fill_drop(&filling);
	assert_int_equal(count().free_blocks, free_blocks);
	assert_text(object, 0, "<one>");
	assert_text(object, RAW, "two\n");
	/* room that the member did not come to is given back */
	journal_fill(f.journal, object, &filling);
	piece = journal_fill_room(&filling, &room);
	memcpy(piece, "<two>", 5);
	assert_non_null(journal_fill_room(&filling, &room));
	journal_packed(f.journal, object, &filling, 5);
	assert_int_equal(count().free_blocks, free_blocks + 1);
	assert_text(object, 0, "<one><two>");
	next_life();
	assert_text(object, 0, "<one><two>");
	assert_int_equal(count().free_blocks, free_blocks + 1);
}

static void an_object_has_as_many_parts_as_its_lists_hold(void **state)
{
	(void)state;
	journal_object object = make("a", "one");
	journal_set_name(f.journal, object, "n", 1);
	journal_set_upload(f.journal, object, "u", 1);
	char text[32];
	for (uint32_t i = 1; i <= JOURNAL_PARTS_MAX; i++) {
		if (i != 1)
			make("a", "more");
		pack(object, text, (size_t)snprintf(text, sizeof text, "<%u>", i));
		assert_int_equal(journal_cut(f.journal, object), i);
		if (i % 1000 == 0)
			next_life();
		if (i % 3 != 0)
			journal_confirm(f.journal, object, i, text);
		else
			journal_spooled(f.journal, object, i);
	}
	make("a", "more");
	pack(object, "x", 1);
	assert_int_equal(journal_cut(f.journal, object), 0);
	next_life();
	assert_int_equal(look(object).n_parts, JOURNAL_PARTS_MAX);
	for (uint32_t i = 1; i <= JOURNAL_PARTS_MAX; i += 77) {
		struct journal_part part;
		assert_true(journal_part(f.journal, object, i, &part));
		snprintf(text, sizeof text, "<%u>", i);
		assert_int_equal(part.bytes, strlen(text));
		assert_string_equal(part.etag, i % 3 != 0 ? text : "");
		assert_int_equal(part.last_epoch, i);
	}
	journal_remove(f.journal, object);
	assert_int_equal(count().free_blocks, count().blocks);
}

/* ---- full ---- */

static void a_full_journal_can_always_make_room(void **state)
{
	(void)state;
	char *line = pattern(9999, 1), *member = pattern(MEMBER + 100, 2);
	/* objects of a whole member each, and then small ones, until lines are refused */
	char key[16];
	unsigned n = 0;
	bool full = false;
	for (; !full && n < count().objects; n++) {
		snprintf(key, sizeof key, "k%u", n);
		journal_object object = add(key);
		full = object == JOURNAL_NONE;
		while (!full && look(object).open_bytes + 10000 <= MEMBER) {
			full = !journal_append(f.journal, object, line, 9999, n);
			if (n >= 12)
				break;
		}
		journal_commit(f.journal, NULL);
	}
	assert_true(full);
	assert_int_equal(count().free_blocks, count().kept_blocks);
	assert_int_equal(count().kept_blocks, journal_blocks(MEMBER + 100) + 2);
	assert_int_equal(add("another"), JOURNAL_NONE);
	next_life();
	assert_int_equal(count().free_blocks, count().kept_blocks);
	/* the worst: each member takes more than its lines did, and only what is sent makes room */
	unsigned sent = 0;
	for (journal_object object; (object = journal_oldest(f.journal)) != JOURNAL_NONE; sent++) {
		uint64_t open = look(object).open_bytes;
		assert_true(open > 0);
		pack(object, member, open + 100 < MEMBER + 100 ? open + 100 : MEMBER + 100);
		journal_set_name(f.journal, object, "n", 1);
		journal_set_upload(f.journal, object, "u", 1);
		assert_int_equal(journal_cut(f.journal, object), 1);
		journal_confirm(f.journal, object, 1, "e");
		journal_finish(f.journal, object); /* its list of parts stays */
		assert_true(count().free_blocks >= count().kept_blocks);
	}
	assert_true(sent >= 12);
	assert_int_equal(count().blocks - count().free_blocks, sent);
	free(line);
	free(member);
}

static void packing_leaves_a_block_for_the_list_of_parts(void **state)
{
	(void)state;
	struct journal_filling filling;
	size_t room;
	journal_object object = make("a", "one"), other = make("b", "two");
	pack(object, "<one>", 5);
	journal_fill(f.journal, other, &filling);
	while (journal_fill_room(&filling, &room) != NULL)
		;
	assert_int_equal(count().free_blocks, 1);
	journal_packed(f.journal, other, &filling, filling.bytes);
	assert_int_equal(count().free_blocks, 2);
	assert_int_equal(journal_cut(f.journal, other), 1);
	assert_int_equal(journal_cut(f.journal, object), 1);
	assert_int_equal(count().free_blocks, 0);
	journal_finish(f.journal, object);
	next_life();
	assert_int_equal(count().free_blocks, 0);
	journal_remove(f.journal, other);
	next_life();
	assert_int_equal(count().blocks - count().free_blocks, 2);
}

static void a_member_of_an_earlier_life_with_larger_bounds_can_still_be_packed(void **state)
{
	(void)state;
	char *line = pattern(MEMBER - 1, 1);
	journal_object object = make("a", "x");
	pack(object, "m", 1);
	assert_true(journal_append(f.journal, object, line, MEMBER - 1, 1));
	journal_commit(f.journal, NULL);
	journal_close(f.journal);
	struct journal_bounds smaller = {.open_most = 10000, .packed_most = 10100};
	assert_int_equal(journal_over(&f.journal, &f.redo, f.memory, BODY_BYTES, &f.error), 0);
	assert_int_equal(journal_open(f.journal, &smaller, &f.error), 0);
	assert_false(append(object, "x"));
	assert_true(count().kept_blocks * JOURNAL_BLOCK_BYTES >= MEMBER + MEMBER / 100);
	free(line);
}

/* ---- opening ---- */

static void sizes_that_cannot_be_are_refused(void **state)
{
	(void)state;
	struct journal *journal;
	struct redo redo = {0};
	assert_int_equal(journal_over(&journal, &redo, f.memory, 8192, &f.error), -EINVAL);
	assert_null(journal);
	assert_int_equal(journal_over(&journal, &redo, f.memory, JOURNAL_BYTES_MAX + 1, &f.error), -EINVAL);
	assert_int_equal(journal_over(&journal, &redo, f.memory, BODY_BYTES / 2, &f.error), -EPROTO);
	assert_non_null(strstr(f.error.text, "another build"));
	assert_int_equal(journal_open_memory(&journal, 512 * 1024, &bounds, &f.error), -EINVAL);
	assert_non_null(strstr(f.error.text, "too few"));
	assert_null(journal);
	uint64_t least = journal_tails_least(&bounds);
	assert_int_equal(journal_open_memory(&journal, least, &bounds, &f.error), 0);
	journal_object object = journal_add(journal, 1, "k", 1, JOURNAL_BODY_TOKEN, 0, 0, 0, 0);
	char *line = pattern(MEMBER - 1, 1);
	assert_true(journal_append(journal, object, line, MEMBER - 1, 0));
	journal_close(journal);
	journal_close(NULL);
	free(line);
	assert_true(journal_memory(512u << 20) < 8u << 20);
}

static void the_default_size_has_room_for_ten_thousand_keys(void **state)
{
	(void)state;
	struct journal *journal;
	struct journal_counts counts;
	char key[32];
	static const struct journal_bounds usual = {.open_most = 2u << 20, .packed_most = (2u << 20) + 4096};
	assert_int_equal(journal_open_memory(&journal, 512u << 20, &usual, &f.error), 0);
	for (unsigned i = 0; i < 10000; i++) {
		int n = snprintf(key, sizeof key, "key/%u", i);
		journal_object object =
		        journal_add(journal, i, key, (size_t)n, JOURNAL_BODY_TOKEN, 0, 0, i, i);
		assert_int_not_equal(object, JOURNAL_NONE);
		assert_true(journal_append(journal, object, key, (size_t)n, i));
	}
	journal_commit(journal, NULL);
	for (unsigned i = 0; i < 10000; i++)
		assert_int_not_equal(journal_find(journal, i, NULL, 0), JOURNAL_NONE);
	journal_count(journal, &counts);
	assert_true(counts.objects >= 10000);
	journal_close(journal);
	/* a smaller one: the oldest are finished to make room */
	assert_int_equal(journal_open_memory(&journal, 64u << 20, &usual, &f.error), 0);
	unsigned finished = 0;
	for (unsigned i = 0; i < 10000; i++) {
		int n = snprintf(key, sizeof key, "key/%u", i);
		journal_object object;
		while ((object = journal_add(journal, i, key, (size_t)n, JOURNAL_BODY_TOKEN, 0, 0, i, i)) ==
		       JOURNAL_NONE) {
			struct journal_view view;
			journal_object oldest = journal_oldest(journal);
			journal_look(journal, oldest, &view);
			assert_int_equal(view.first_position, finished++);
			journal_finish(journal, oldest);
			journal_remove(journal, oldest);
		}
		assert_true(journal_append(journal, object, key, (size_t)n, i));
		journal_commit(journal, NULL);
	}
	assert_true(finished > 8000 && finished < 9500);
	journal_close(journal);
}

static void others_can_count_the_objects_of_a_dead_role(void **state)
{
	(void)state;
	struct segment segment = {.body = f.memory, .body_bytes = BODY_BYTES};
	assert_int_equal(private_filled(&segment), 0);
	make("a", "x");
	make("b", "y");
	assert_int_equal(private_filled(&segment), 2);
	journal_remove(f.journal, find("a"));
	assert_int_equal(private_filled(&segment), 1);
}

int main(void)
{
	alarm(120);
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(a_committed_line_is_there_in_the_next_life_and_one_that_was_not_is_gone),
	        TEST(what_was_not_committed_does_not_come_to_life_with_a_later_commit),
	        TEST(one_commit_covers_all_objects),
	        TEST(an_object_without_a_line_is_dropped_by_the_commit_and_by_a_death),
	        TEST(lines_of_any_length_run_over_the_ends_of_blocks),
	        TEST(an_object_of_others_memory_is_copied_whole_when_it_is_one_line),
	        TEST(an_object_of_others_memory_does_not_run_over_the_end_of_a_block),
	        TEST(chains_that_grow_by_turns_lie_in_a_row_each),
	        TEST(members_lie_in_a_row_in_a_large_journal),
	        TEST(an_open_member_takes_no_more_than_the_bound),
	        TEST(an_object_is_found_by_its_hash_alone_once_its_key_was_asked_for),
	        TEST(the_oldest_is_the_one_that_got_a_line_longest_ago),
	        TEST(raw_lines_become_members_and_members_parts),
	        TEST(a_spooled_part_has_no_blocks_and_is_confirmed_later),
	        TEST(name_upload_words_and_decision_stay),
	        TEST(a_member_that_is_given_up_leaves_nothing),
	        TEST(an_object_has_as_many_parts_as_its_lists_hold),
	        TEST(a_full_journal_can_always_make_room),
	        TEST(packing_leaves_a_block_for_the_list_of_parts),
	        TEST(a_member_of_an_earlier_life_with_larger_bounds_can_still_be_packed),
	        TEST(sizes_that_cannot_be_are_refused),
	        TEST(the_default_size_has_room_for_ten_thousand_keys),
	        TEST(others_can_count_the_objects_of_a_dead_role),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
