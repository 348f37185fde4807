/* Frames: that the kernel and the process never have a frame twice or lose one, over laps, wraps
 * and deaths. The kernel is tests/fixture/card.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixture/card.h"
#include "tests/fixture/draw.h"

#define N           64u
#define FRAME_BYTES 2048u

struct place {
	struct card *card;
	struct frames_head *head; /* the area */
	struct redo_note note;
	struct redo redo;
	struct frames frames;
	uint64_t sent, taken; /* packets, numbered */
};

static void open_place(struct place *place)
{
	struct shm_error error = {0};
	place->frames = (struct frames){.queue = &place->head->queue[0],
	                                .memory = frames_slice(place->head, 0, N, FRAME_BYTES),
	                                .frame_bytes = FRAME_BYTES};
	assert_int_equal(frames_map(&place->frames, place->card->socket, N, &error), 0);
	int result = frames_begin(&place->frames, place->card->cookie, &place->redo, 0, &error);
	assert_string_equal(error.text, "");
	assert_int_equal(result, 0);
}

static void make_place(struct place *place)
{
	size_t bytes = frames_area_bytes(N, FRAME_BYTES);
	memset(place, 0, sizeof *place);
	place->card = card_make(7, N, FRAME_BYTES);
	place->head = aligned_alloc(4096, bytes);
	assert_non_null(place->card);
	assert_non_null(place->head);
	memset(place->head, 0, bytes);
	place->redo.note = &place->note;
	place->redo.base[0] = (char *)place->head;
	place->card->memory = frames_slice(place->head, 0, N, FRAME_BYTES);
}

static void remove_place(struct place *place)
{
	card_remove(place->card);
	free(place->head);
}

static bool send_one(struct place *place)
{
	uint64_t data[8] = {place->sent, ~place->sent};
	bool delivered = card_deliver(place->card, data, sizeof data);
	place->sent += delivered;
	return delivered;
}

/* Takes n of those that are ready, which must be the next ones. */
static void take(struct place *place, uint32_t n)
{
	struct frame frame;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t data[2];
		assert_true(frames_look(&place->frames, i, &frame));
		assert_int_equal(frame.bytes, 64);
		memcpy(data, frame.data, sizeof data);
		assert_int_equal(data[0], place->taken + i);
		assert_int_equal(data[1], ~(place->taken + i));
	}
	frames_note(&place->frames, n, &place->redo, 0);
	redo_publish(&place->redo);
	redo_apply(&place->redo);
	place->taken += n;
}

static void check(const struct place *place)
{
	const char *wrong = card_check(place->card);
	assert_string_equal(wrong == NULL ? "" : wrong, "");
}

/* ---- the area ---- */

static void the_frames_of_a_process_are_divided_to_powers_of_two(void **state)
{
	(void)state;
	assert_int_equal(frames_each(8192, 1), 8192);
	assert_int_equal(frames_each(8192, 2), 4096);
	assert_int_equal(frames_each(8192, 3), 2048);
	assert_int_equal(frames_each(8192, 16), 512);
	assert_int_equal(frames_each(1024, 16), 64);
	assert_int_equal(frames_each(512, 16), 0);
	assert_int_equal(frames_each(0, 1), 0);
}

static void the_area_is_the_end_of_the_segment_and_its_slices_begin_at_pages(void **state)
{
	(void)state;
	static alignas(4096) char body[3 * 4096 + 256 * 2048 + 4096];
	struct frames_head *head = frames_area(body, sizeof body, 256, 2048);
	assert_ptr_equal(head, body + 3 * 4096);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal((uintptr_t)frames_slice(head, i, 64, 2048) % 4096, 0);
	assert_ptr_equal(frames_slice(head, 3, 64, 2048) + (size_t)64 * 2048, body + sizeof body);
	assert_null(frames_area(body, 4096 + 256 * 2048 - 1, 256, 2048));
}

/* ---- rings ---- */

static void a_new_socket_is_given_all_frames(void **state)
{
	(void)state;
	struct place place;
	make_place(&place);
	assert_string_equal(card_check(place.card), "a frame is lost");
	open_place(&place);
	check(&place);
	assert_int_equal(place.card->fill_producer, N);
	assert_int_equal(place.head->queue[0].cookie, 7);
	assert_int_equal(frames_ready(&place.frames), 0);
	open_place(&place);
	assert_int_equal(place.card->fill_producer, N);
	check(&place);
	remove_place(&place);
}

static void frames_go_round_and_none_is_lost_or_there_twice(void **state)
{
	(void)state;
	unsigned long seed = draw_seed(20261128);
	struct place place;
	make_place(&place);
	open_place(&place);
	/* and once more from where the indexes of 32 bits soon begin again */
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned turn = 0; turn < 20000; turn++) {
			for (uint64_t n = draw_next(&seed) % 40; n > 0; n--)
				if (draw_next(&seed) % 8 == 0)
					card_spill(place.card);
				else
					(void)send_one(&place);
			uint32_t ready = frames_ready(&place.frames);
			assert_int_equal(ready, place.sent - place.taken);
			take(&place, (uint32_t)(draw_next(&seed) % (ready + 1)));
			if (draw_next(&seed) % 4 != 0) /* several commits, one release */
				frames_release(&place.frames);
			if (draw_next(&seed) % 16 == 0)
				open_place(&place);
			if (turn % 16 == 0) {
				frames_release(&place.frames);
				check(&place);
			}
		}
		take(&place, frames_ready(&place.frames));
		card_renew(place.card, 7);
		card_wind(place.card, UINT32_MAX - 1000);
		atomic_store(&place.head->queue[0].consumed, UINT32_MAX - 1000ull);
	}
	assert_true(place.sent > 100000);
	remove_place(&place);
}

static void when_no_frame_is_free_packets_are_lost_and_the_ring_still_has_room(void **state)
{
	(void)state;
	struct place place;
	make_place(&place);
	open_place(&place);
	for (unsigned i = 0; i < N; i++)
		assert_true(send_one(&place));
	assert_false(send_one(&place));
	uint64_t loss[FRAMES_LOSS_COUNT];
	assert_true(frames_losses(place.card->socket, loss));
	assert_int_equal(loss[FRAMES_RX_DROPPED], 1);
	assert_int_equal(loss[FRAMES_RING_FULL], 0);
	take(&place, 1);
	assert_false(send_one(&place)); /* not before it is given back */
	frames_release(&place.frames);
	assert_true(send_one(&place));
	check(&place);
	remove_place(&place);
}

static void a_release_that_a_death_cut_short_is_finished_by_the_next_life(void **state)
{
	(void)state;
	/* what is stored before the death: nothing, some entries, all, the fill producer too */
	for (unsigned stores = 0; stores <= 10; stores++) {
		struct place place;
		make_place(&place);
		open_place(&place);
		for (unsigned i = 0; i < 40; i++)
			assert_true(send_one(&place));
		take(&place, 9);
		for (unsigned i = 0; i < stores && i < 9; i++)
			place.card->fill[i] = place.card->rx[i].addr & ~(uint64_t)(FRAME_BYTES - 1);
		if (stores == 10)
			place.card->fill_producer = N + 9;
		for (unsigned i = 0; i < 24; i++) /* the kernel goes on meanwhile */
			assert_true(send_one(&place));
		open_place(&place);
		check(&place);
		assert_int_equal(place.card->rx_consumer, 9);
		while (send_one(&place))
			;
		assert_int_equal(place.sent, N + 9);
		take(&place, frames_ready(&place.frames));
		assert_int_equal(place.taken, place.sent);
		remove_place(&place);
	}
}

static void another_socket_begins_anew(void **state)
{
	(void)state;
	struct place place;
	make_place(&place);
	open_place(&place);
	for (unsigned i = 0; i < 40; i++)
		assert_true(send_one(&place));
	take(&place, 30);
	atomic_store(&place.head->queue[0].counted[FRAMES_RX_DROPPED], 5);
	card_renew(place.card, 8);
	open_place(&place);
	check(&place);
	assert_int_equal(place.head->queue[0].consumed, 0);
	assert_int_equal(place.head->queue[0].cookie, 8);
	assert_int_equal(place.head->queue[0].counted[FRAMES_RX_DROPPED], 0);
	assert_int_equal(frames_ready(&place.frames), 0);
	remove_place(&place);
}

static void rings_that_contradict_the_segment_are_refused_and_left_alone(void **state)
{
	(void)state;
	static const struct {
		uint32_t fill_producer, rx_consumer, rx_producer;
		uint64_t cookie, consumed; /* of the segment */
	} cases[] = {
	        {N, 0, 0, 1, 0}, /* another socket, used before */
	        {0, 0, 5, 1, 0},         {2 * N + 1, 20, 20, 7, 20},      {N + 20, 21, 25, 7, 20},
	        {N + 20, 20, 19, 7, 20}, {N + 20, 20, 20 + N + 1, 7, 20}, {N + 20, 20, 20, 7, 20 + N + 1},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct place place;
		struct shm_error error = {0};
		make_place(&place);
		open_place(&place);
		place.card->fill_producer = cases[i].fill_producer;
		place.card->rx_consumer = cases[i].rx_consumer;
		place.card->rx_producer = cases[i].rx_producer;
		place.head->queue[0].cookie = cases[i].cookie;
		place.head->queue[0].consumed = cases[i].consumed;
		struct card before = *place.card;
		assert_int_equal(frames_begin(&place.frames, 7, &place.redo, 0, &error), -EPROTO);
		assert_non_null(strstr(error.text, "another segment"));
		assert_memory_equal(&before, place.card, sizeof before);
		assert_int_equal(place.head->queue[0].consumed, cases[i].consumed);
		remove_place(&place);
	}
}

static void a_descriptor_that_leads_out_of_the_slice_is_an_empty_frame(void **state)
{
	(void)state;
	struct place place;
	struct frame frame;
	make_place(&place);
	open_place(&place);
	const uint64_t all = (uint64_t)N * FRAME_BYTES;
	const struct xdp_desc bad[] = {
	        {.addr = all, .len = 1},        {.addr = all - 1, .len = 2},
	        {.addr = UINT64_MAX, .len = 1}, {.addr = UINT64_MAX, .len = UINT32_MAX},
	        {.addr = 0, .len = UINT32_MAX},
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		place.card->rx[0] = bad[i];
		assert_false(frames_look(&place.frames, 0, &frame));
		assert_int_equal(frame.bytes, 0);
		assert_ptr_equal(frame.data, place.frames.memory);
	}
	place.card->rx[0] = (struct xdp_desc){.addr = all - 1, .len = 1};
	assert_true(frames_look(&place.frames, 0, &frame));
	remove_place(&place);
}

static void the_kernel_says_when_it_wants_to_be_woken(void **state)
{
	(void)state;
	struct place place;
	make_place(&place);
	open_place(&place);
	assert_false(frames_want_wake(&place.frames));
	place.card->fill_flags = XDP_RING_NEED_WAKEUP;
	assert_true(frames_want_wake(&place.frames));
	remove_place(&place);
}

int main(void)
{
	alarm(60);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_frames_of_a_process_are_divided_to_powers_of_two),
	        cmocka_unit_test(the_area_is_the_end_of_the_segment_and_its_slices_begin_at_pages),
	        cmocka_unit_test(a_new_socket_is_given_all_frames),
	        cmocka_unit_test(frames_go_round_and_none_is_lost_or_there_twice),
	        cmocka_unit_test(when_no_frame_is_free_packets_are_lost_and_the_ring_still_has_room),
	        cmocka_unit_test(a_release_that_a_death_cut_short_is_finished_by_the_next_life),
	        cmocka_unit_test(another_socket_begins_anew),
	        cmocka_unit_test(rings_that_contradict_the_segment_are_refused_and_left_alone),
	        cmocka_unit_test(a_descriptor_that_leads_out_of_the_slice_is_an_empty_frame),
	        cmocka_unit_test(the_kernel_says_when_it_wants_to_be_woken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
