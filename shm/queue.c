#include "shm/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/prefetch.h"

/* The crash test is compiled with this file and dies in every gap
 * (tests/shm/queue_crash_test.c). */
#ifdef QUEUE_TEST_HOOKS
#define QUEUE_GAP(name) queue_test_gap(name)
#else
#define QUEUE_GAP(name) ((void)0)
#endif

#define PHASE_MASK 3u
#define ROLE_SHIFT 2
#define ROLE_MASK  QUEUE_ROLE_MAX
#define PASSED     (1ull << 16) /* FILLING: a taker has passed it. READY: its announcement may still be owed. */

#define COUNT_SHIFT   24 /* of shared->returned; the slot is below */
#define COUNT_MASK    (UINT64_MAX >> COUNT_SHIFT)
#define ANNOUNCE_ALL  2u /* counts two: a taker that sees more than one looks at everything */
#define ANNOUNCE_SLOT 1u

/* What the other side has used last comes from its cache, and a compare-and-swap waits for all
 * stores before it. So lines are asked for so many slots before they are needed. */
#define SLOTS_AHEAD    4u
#define LINES_AHEAD    2u /* of each slot; the processor sees a longer run of lines by itself */
#define WORDS_PER_LINE (SHM_LINE / sizeof(uint64_t))

static uint64_t word_make(uint64_t lap, uint64_t role, enum queue_phase phase)
{
	return lap << QUEUE_LAP_SHIFT | role << ROLE_SHIFT | phase;
}

static bool word_owned_by(uint64_t word, uint64_t role)
{
	enum queue_phase phase = queue_word_phase(word);
	return (phase == QUEUE_FILLING || phase == QUEUE_TAKEN) && (word >> ROLE_SHIFT & ROLE_MASK) == role;
}

static bool swap(_Atomic uint64_t *word, uint64_t *expected, uint64_t desired, memory_order order)
{
	return atomic_compare_exchange_strong_explicit(word, expected, desired, order, memory_order_relaxed);
}

static void ring(struct bell *bell)
{
	if (bell != NULL)
		bell_ring(bell);
}

/* ---- creating and joining ---- */

static bool sizes(struct queue_shared *wanted, uint64_t slots, uint64_t slot_bytes, size_t *bytes)
{
	if (slots < QUEUE_SLOTS_MIN || slots > QUEUE_SLOTS_MAX || (slots & (slots - 1)) != 0 ||
	    slot_bytes == 0 || slot_bytes > QUEUE_SLOT_BYTES_MAX)
		return false;
	wanted->slots = slots;
	wanted->slot_bytes = slot_bytes;
	wanted->stride_bytes = (QUEUE_LENGTH_BYTES + slot_bytes + SHM_LINE - 1) / SHM_LINE * SHM_LINE;
	uint64_t words = (slots * sizeof(uint64_t) + SHM_LINE - 1) / SHM_LINE * SHM_LINE;
	wanted->data_offset = sizeof(struct queue_shared) + words;
	*bytes = wanted->data_offset + slots * wanted->stride_bytes;
	return true;
}

size_t queue_bytes(uint64_t slots, uint64_t slot_bytes)
{
	struct queue_shared wanted;
	size_t bytes;
	return sizes(&wanted, slots, slot_bytes, &bytes) ? bytes : 0;
}

size_t queue_file_bytes(uint64_t slots, uint64_t slot_bytes)
{
	size_t bytes = queue_bytes(slots, slot_bytes);
	return bytes == 0 ? 0 : segment_file_bytes(bytes);
}

/* Words of zero are free slots of lap 0: nothing else need be stored. */
static void store_sizes(void *body, void *wanted)
{
	struct queue_shared *shared = body;
	const struct queue_shared *from = wanted;
	shared->slots = from->slots;
	shared->slot_bytes = from->slot_bytes;
	shared->stride_bytes = from->stride_bytes;
	shared->data_offset = from->data_offset;
}

int queue_init(struct queue_shared *shared, size_t bytes, uint64_t slots, uint64_t slot_bytes)
{
	struct queue_shared wanted;
	size_t needed;
	if (!sizes(&wanted, slots, slot_bytes, &needed) || needed > bytes ||
	    (uintptr_t)shared % SHM_LINE != 0)
		return -EINVAL;
	store_sizes(shared, &wanted);
	return 0;
}

int queue_create(const char *directory, const char *name, uint64_t generation, uint64_t slots,
                 uint64_t slot_bytes, struct shm_error *error)
{
	struct queue_shared wanted;
	size_t bytes;
	if (!sizes(&wanted, slots, slot_bytes, &bytes)) {
		shm_explain(
		        error,
		        "%s: %llu slots of %llu bytes: slots must be a power of two of %u to %u, bytes 1 to %u",
		        name, (unsigned long long)slots, (unsigned long long)slot_bytes, QUEUE_SLOTS_MIN,
		        QUEUE_SLOTS_MAX, QUEUE_SLOT_BYTES_MAX);
		return -EINVAL;
	}
	return segment_create(directory, name, SEGMENT_QUEUE, generation, bytes, store_sizes, &wanted, error);
}

int queue_join(struct queue *queue, struct queue_shared *shared, size_t bytes, unsigned role)
{
	struct queue_shared wanted;
	size_t needed;
	if (role > QUEUE_ROLE_MAX)
		return -EINVAL;
	if (bytes < sizeof *shared || !sizes(&wanted, shared->slots, shared->slot_bytes, &needed) ||
	    needed > bytes || shared->stride_bytes != wanted.stride_bytes ||
	    shared->data_offset != wanted.data_offset)
		return -EPROTO;
	unsigned patience =
	        wanted.slots < 4 * QUEUE_PATIENCE ? (unsigned)(wanted.slots + 3) / 4 : QUEUE_PATIENCE;
	*queue = (struct queue){
	        .shared = shared,
	        .word = shared->word,
	        .data = (char *)shared + wanted.data_offset,
	        .slots = wanted.slots,
	        .slot_bytes = wanted.slot_bytes,
	        .stride_bytes = wanted.stride_bytes,
	        .lap_shift = (unsigned)__builtin_ctzll(wanted.slots),
	        .patience = patience,
	        .role = role,
	        .returned = atomic_load_explicit(&shared->returned, memory_order_acquire),
	};
	return 0;
}

int queue_attach(struct queue *queue, const char *directory, const char *name, enum segment_access access,
                 unsigned role, struct shm_error *error)
{
	struct segment segment = {0};
	int result = segment_attach(&segment, directory, name, SEGMENT_QUEUE, access, error);
	if (result != 0)
		return result;
	result = queue_join(queue, segment.body, segment.body_bytes, access == SEGMENT_READ ? 0 : role);
	if (result != 0) {
		shm_explain(error,
		            result == -EINVAL ? "%s/%s: no such role"
		                              : "%s/%s: sizes of the queue do not fit together",
		            directory, name);
		segment_detach(&segment);
		return result;
	}
	queue->segment = segment;
	if (access == SEGMENT_WRITE)
		queue_use_bells(queue);
	return 0;
}

void queue_detach(struct queue *queue)
{
	segment_detach(&queue->segment);
	memset(queue, 0, sizeof *queue);
}

void queue_use_bells(struct queue *queue)
{
	queue->pushed = &queue->shared->pushed;
	queue->released = &queue->shared->released;
}

/* ---- announcing ---- */

/* Release: a taker that acquires the new value sees the word that this is about. */
static void announce(struct queue *queue, uint64_t index, unsigned count)
{
	_Atomic uint64_t *returned = &queue->shared->returned;
	uint64_t old = atomic_load_explicit(returned, memory_order_relaxed);
	while (!swap(returned, &old, ((old >> COUNT_SHIFT) + count) << COUNT_SHIFT | index,
	             memory_order_release))
		;
}

/* A word changes hands from its owner (this role) to `phase`, in the lap that is found there:
 * producers may have raised it. */
static int leave(struct queue *queue, const struct queue_slot *slot, enum queue_phase from,
                 enum queue_phase to, uint64_t *found)
{
	_Atomic uint64_t *word = &queue->word[slot->index];
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t next;
	do {
		if (queue_word_phase(old) != from || !word_owned_by(old, queue->role))
			return -EPERM;
		next = word_make(queue_word_lap(old) + (to == QUEUE_FREE), 0, to);
		if (to == QUEUE_READY)
			next |= from == QUEUE_TAKEN ? PASSED : old & PASSED;
	} while (!swap(word, &old, next, memory_order_release));
	*found = next;
	return 0;
}

/* ---- producing ---- */

static void slot_at(const struct queue *queue, struct queue_slot *slot, uint64_t index)
{
	slot->data = queue->data + index * queue->stride_bytes + QUEUE_LENGTH_BYTES;
	slot->index = (uint32_t)index;
}

/* The slot is READY from an older lap. If takers had passed it and its maker died before it
 * announced it, no other user will ever look there: announce it here. */
static void pay_debt(struct queue *queue, uint64_t index, uint64_t word)
{
	if ((word & PASSED) == 0)
		return;
	announce(queue, index, ANNOUNCE_SLOT);
	QUEUE_GAP("reserve: debt announced");
	(void)swap(&queue->word[index], &word, word & ~PASSED, memory_order_relaxed);
	ring(queue->pushed);
}

/* Asks for the words after the line that a claim has just begun. Both sides write them. */
static void ask_for_words(const struct queue *queue, uint64_t index)
{
	if (index % WORDS_PER_LINE == 0)
		prefetch_to_write(&queue->word[(index + WORDS_PER_LINE) & (queue->slots - 1)], 0);
}

/* Asks for the data of a slot that this producer will soon claim, if it goes on as it does. */
static void ask_for_room(const struct queue *queue, uint64_t index)
{
	const char *at = queue->data + ((index + SLOTS_AHEAD) & (queue->slots - 1)) * queue->stride_bytes;
	for (unsigned i = 0; i < LINES_AHEAD; i++)
		prefetch_to_write(at, (size_t)i * SHM_LINE);
}

bool queue_reserve(struct queue *queue, struct queue_slot *slot)
{
	uint64_t position = queue->reserve_position;
	if (queue->role == 0)
		abort();
	/* Gone round all of them: every slot is claimed. Other steps need no count: a slot that
	 * others have used is met once, and again only when they got on; so is a compare-and-swap
	 * that fails. */
	for (uint64_t gone_round = 0; gone_round < queue->slots;) {
		uint64_t index = position & (queue->slots - 1);
		uint64_t lap = position >> queue->lap_shift;
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
		if (queue_word_lap(word) == lap && queue_word_phase(word) == QUEUE_FREE) {
			if (!swap(&queue->word[index], &word, word_make(lap, queue->role, QUEUE_FILLING),
			          memory_order_acquire))
				continue;
			QUEUE_GAP("reserve: claimed");
			queue->reserve_position = position + 1;
			ask_for_words(queue, index);
			ask_for_room(queue, index);
			slot_at(queue, slot, index);
			return true;
		}
		if (queue_word_lap(word) >= lap) { /* used by others, which may be laps ahead */
			position = queue_word_used_after(word, index, queue->lap_shift) + 1 - queue->slots;
		} else if (queue_word_phase(word) == QUEUE_READY) { /* full */
			pay_debt(queue, index, word);
			break;
		} else { /* an owner from an older lap (FREE cannot be: all places before ours are used) */
			uint64_t raised =
			        word_make(lap, word >> ROLE_SHIFT & ROLE_MASK, queue_word_phase(word));
			if (!swap(&queue->word[index], &word, raised, memory_order_relaxed))
				continue;
			QUEUE_GAP("reserve: went round");
			position++;
			gone_round++;
		}
	}
	queue->reserve_position = position;
	slot->data = NULL;
	return false;
}

/* The way of queue_reserve, with empty hands. */
bool queue_has_room(const struct queue *queue, uint64_t n)
{
	uint64_t position = queue->reserve_position;
	for (uint64_t looked = 0; n > 0 && looked < 2 * queue->slots; looked++) {
		uint64_t index = position & (queue->slots - 1);
		uint64_t lap = position >> queue->lap_shift;
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
		if (queue_word_lap(word) == lap && queue_word_phase(word) == QUEUE_FREE) {
			n--;
			position++;
		} else if (queue_word_lap(word) >= lap) {
			position = queue_word_used_after(word, index, queue->lap_shift) + 1 - queue->slots;
		} else if (queue_word_phase(word) == QUEUE_READY) {
			return false;
		} else {
			position++;
		}
	}
	return n == 0;
}

int queue_commit(struct queue *queue, const struct queue_slot *slot, uint32_t length)
{
	if (length > queue->slot_bytes)
		abort();
	/* Whatever lap the word has by now: the slot's next message will find a later one. */
	uint64_t word = atomic_load_explicit(&queue->word[slot->index], memory_order_relaxed);
	struct queue_prefix prefix = {.length = length, .lap = (uint32_t)queue_word_lap(word)};
	memcpy((char *)slot->data - QUEUE_LENGTH_BYTES, &prefix, sizeof prefix);
	QUEUE_GAP("commit: filled");
	int result = leave(queue, slot, QUEUE_FILLING, QUEUE_READY, &word);
	if (result != 0)
		return result;
	QUEUE_GAP("commit: published");
	if ((word & PASSED) != 0)
		announce(queue, slot->index, ANNOUNCE_SLOT);
	QUEUE_GAP("commit: announced");
	ring(queue->pushed);
	return 0;
}

/* Where others find it when this process is dead by then. */
static void store_length(const struct queue *queue, const struct queue_slot *slot)
{
	if (slot->length > queue->slot_bytes)
		abort();
	memcpy((char *)slot->data - QUEUE_LENGTH_BYTES + offsetof(struct queue_prefix, length), &slot->length,
	       sizeof slot->length);
}

int queue_commit_all(struct queue *queue, const struct queue_slot *slot, uint32_t n,
                     _Atomic uint64_t *decided)
{
	int result = 0;
	if (n == 1) /* is one as it is */
		return queue_commit(queue, slot, slot->length);
	for (uint32_t i = 0; i < n; i++)
		store_length(queue, &slot[i]);
	QUEUE_GAP("commit_all: filled");
	/* Release: whoever sees it sees the messages and their lengths. */
	atomic_store_explicit(decided, 1, memory_order_release);
	QUEUE_GAP("commit_all: decided");
	for (uint32_t i = 0; i < n; i++) {
		int one = queue_commit(queue, &slot[i], slot[i].length);
		result = one != 0 ? one : result;
		QUEUE_GAP("commit_all: one");
	}
	atomic_store_explicit(decided, 0, memory_order_release);
	QUEUE_GAP("commit_all: done");
	return result;
}

int queue_cancel(struct queue *queue, const struct queue_slot *slot)
{
	uint64_t word;
	int result = leave(queue, slot, QUEUE_FILLING, QUEUE_FREE, &word);
	QUEUE_GAP("cancel: freed");
	if (result == 0)
		ring(queue->released);
	return result;
}

bool queue_push(struct queue *queue, const void *data, uint32_t length)
{
	struct queue_slot slot;
	if (!queue_reserve(queue, &slot))
		return false;
	if (length <= queue->slot_bytes)
		memcpy(slot.data, data, length);
	return queue_commit(queue, &slot, length) == 0;
}

/* ---- taking ---- */

/* The one step that makes a message ours. False: the word has changed, *word is the new one. */
static bool claim(struct queue *queue, struct queue_slot *slot, uint64_t index, uint64_t *word)
{
	uint64_t taken = word_make(queue_word_lap(*word), queue->role, QUEUE_TAKEN);
	if (!swap(&queue->word[index], word, taken, memory_order_acquire))
		return false;
	QUEUE_GAP("take: claimed");
	ask_for_words(queue, index);
	slot_at(queue, slot, index);
	return true;
}

/* A slot that takers had passed became ready. Returns true when it was one slot and the message in
 * it is now ours. */
static bool heed(struct queue *queue, uint64_t returned, struct queue_slot *slot)
{
	uint64_t more = ((returned >> COUNT_SHIFT) - (queue->returned >> COUNT_SHIFT)) & COUNT_MASK;
	uint64_t index = returned & ((1ull << COUNT_SHIFT) - 1) & (queue->slots - 1);
	queue->returned = returned;
	if (more == ANNOUNCE_SLOT) {
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
		while (queue_word_phase(word) == QUEUE_READY)
			if (claim(queue, slot, index, &word))
				return true;
		return false;
	}
	/* All that is ready lies less than a lap before the last used place, so one lap back is
	 * enough. */
	queue->take_position = queue->take_position > queue->slots ? queue->take_position - queue->slots : 0;
	return false;
}

/* Passes slots that are still being filled, from take_position up to `end`: their producers will
 * announce them. Stops where one has become ready. */
static void pass_slow(struct queue *queue, uint64_t end)
{
	uint64_t position = queue->take_position;
	while (position < end) {
		uint64_t index = position & (queue->slots - 1);
		uint64_t lap = position >> queue->lap_shift;
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
		if (queue_word_lap(word) == lap && queue_word_phase(word) == QUEUE_READY)
			break;
		if (queue_word_lap(word) == lap && queue_word_phase(word) == QUEUE_FILLING &&
		    (word & PASSED) == 0 &&
		    !swap(&queue->word[index], &word, word | PASSED, memory_order_relaxed))
			continue;
		QUEUE_GAP("take: passed");
		position++;
	}
	queue->take_position = position;
}

/* Looks from take_position to the end of the queue. */
static bool find(struct queue *queue, struct queue_slot *slot)
{
	uint64_t look = queue->take_position;
	bool gap = false; /* take_position stays at a slot that is being filled, we look beyond */
	/* A lap back, a lap to the end, and both again for what happens meanwhile. */
	for (uint64_t looked = 0; looked < 4 * queue->slots; looked++) {
		uint64_t index = look & (queue->slots - 1);
		uint64_t lap = look >> queue->lap_shift;
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
		if (queue_word_lap(word) == lap && queue_word_phase(word) == QUEUE_READY) {
			if (gap && look - queue->take_position >= queue->patience) {
				pass_slow(queue, look + 1 - queue->patience);
				look = queue->take_position;
				gap = false;
				continue;
			}
			if (!claim(queue, slot, index, &word))
				continue;
			if (!gap)
				queue->take_position = look + 1;
			return true;
		}
		if (queue_word_lap(word) < lap ||
		    (queue_word_lap(word) == lap && queue_word_phase(word) == QUEUE_FREE))
			break; /* the end */
		if (queue_word_lap(word) == lap && queue_word_phase(word) == QUEUE_FILLING &&
		    (word & PASSED) == 0) {
			gap = true;
			look++;
			continue;
		}
		/* Taken, passed or of a later lap; what is ready lies less than a lap before the
		 * last used place. */
		uint64_t used = queue_word_used_after(word, index, queue->lap_shift);
		look = used > look + 2 * queue->slots ? used - 2 * queue->slots + 1 : look + 1;
		if (!gap)
			queue->take_position = look;
	}
	return false;
}

/* Reads the length. One that cannot be: the slot was overwritten; the message is counted and thrown
 * away. */
static bool damaged(struct queue *queue, struct queue_slot *slot)
{
	struct queue_prefix prefix;
	memcpy(&prefix, (char *)slot->data - QUEUE_LENGTH_BYTES, sizeof prefix);
	slot->length = prefix.length;
	if (slot->length <= queue->slot_bytes)
		return false;
	queue->damaged++;
	return true;
}

bool queue_take(struct queue *queue, struct queue_slot *slot)
{
	if (queue->role == 0)
		abort();
	for (;;) {
		uint64_t returned = atomic_load_explicit(&queue->shared->returned, memory_order_acquire);
		bool found = returned != queue->returned && heed(queue, returned, slot);
		if (!found && !find(queue, slot)) {
			slot->data = NULL;
			return false;
		}
		if (!damaged(queue, slot))
			return true;
		(void)queue_done(queue, slot); /* just claimed, so it is ours */
	}
}

int queue_done(struct queue *queue, const struct queue_slot *slot)
{
	QUEUE_GAP("done: before");
	uint64_t word;
	int result = leave(queue, slot, QUEUE_TAKEN, QUEUE_FREE, &word);
	QUEUE_GAP("done: freed");
	if (result == 0)
		ring(queue->released);
	return result;
}

int queue_give_back(struct queue *queue, const struct queue_slot *slot)
{
	uint64_t word;
	int result = leave(queue, slot, QUEUE_TAKEN, QUEUE_READY, &word);
	if (result != 0)
		return result;
	QUEUE_GAP("give_back: ready");
	announce(queue, slot->index, ANNOUNCE_SLOT);
	QUEUE_GAP("give_back: announced");
	ring(queue->pushed);
	return 0;
}

/* ---- after a death ---- */

/* The dead may have owed an announcement or a ring, of slots that no longer name them. */
static void settle(struct queue *queue)
{
	announce(queue, 0, ANNOUNCE_ALL);
	QUEUE_GAP("repair: announced");
	ring(queue->pushed);
	ring(queue->released);
}

struct queue_repaired queue_repair(struct queue *queue, unsigned role)
{
	struct queue_repaired repaired = {0};
	for (uint64_t index = 0; index < queue->slots && role != 0; index++) {
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
		while (word_owned_by(word, role)) {
			bool taken = queue_word_phase(word) == QUEUE_TAKEN;
			uint64_t next = taken ? word_make(queue_word_lap(word), 0, QUEUE_READY) | PASSED
			                      : word_make(queue_word_lap(word) + 1, 0, QUEUE_FREE);
			if (!swap(&queue->word[index], &word, next, memory_order_acq_rel))
				continue;
			QUEUE_GAP("repair: slot");
			repaired.given_back += taken;
			repaired.dropped += !taken;
			break;
		}
	}
	settle(queue);
	return repaired;
}

uint64_t queue_commit_filled(struct queue *queue, unsigned role)
{
	uint64_t n = 0;
	for (uint64_t index = 0; index < queue->slots && role != 0; index++) {
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
		while (word_owned_by(word, role) && queue_word_phase(word) == QUEUE_FILLING) {
			/* As queue_commit does it; settle announces it. */
			uint32_t lap = (uint32_t)queue_word_lap(word);
			memcpy(queue->data + index * queue->stride_bytes + offsetof(struct queue_prefix, lap),
			       &lap, sizeof lap);
			uint64_t next = word_make(queue_word_lap(word), 0, QUEUE_READY) | (word & PASSED);
			if (!swap(&queue->word[index], &word, next, memory_order_acq_rel))
				continue;
			QUEUE_GAP("commit_filled: slot");
			n++;
			break;
		}
	}
	settle(queue);
	return n;
}

bool queue_resume(struct queue *queue, uint32_t *next, struct queue_slot *slot)
{
	while (*next < queue->slots && queue->role != 0) {
		uint32_t index = (*next)++;
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_acquire);
		if (!word_owned_by(word, queue->role))
			continue;
		slot_at(queue, slot, index);
		if (queue_word_phase(word) == QUEUE_FILLING)
			(void)queue_cancel(queue, slot);
		else if (damaged(queue, slot))
			(void)queue_done(queue, slot);
		else
			return true;
	}
	settle(queue);
	slot->data = NULL;
	return false;
}

/* ---- looking and waiting ---- */

void queue_count(const struct queue *queue, struct queue_counts *counts)
{
	uint64_t n[PHASE_MASK + 1] = {0};
	uint64_t used_after = 0;
	for (uint64_t index = 0; index < queue->slots; index++) {
		uint64_t word = atomic_load_explicit(&queue->word[index], memory_order_relaxed);
		uint64_t after = queue_word_used_after(word, index, queue->lap_shift);
		n[queue_word_phase(word)]++;
		used_after = after > used_after ? after : used_after;
	}
	*counts =
	        (struct queue_counts){.slots = queue->slots,
	                              .free = n[QUEUE_FREE],
	                              .filling = n[QUEUE_FILLING],
	                              .ready = n[QUEUE_READY],
	                              .taken = n[QUEUE_TAKEN],
	                              .used = used_after < queue->slots ? 0 : used_after + 1 - queue->slots};
}

bool queue_take_wait(struct queue *queue, struct queue_slot *slot, uint64_t timeout_ns)
{
	uint32_t seen = bell_value(queue->pushed);
	if (queue_take(queue, slot))
		return true;
	bell_wait(queue->pushed, seen, timeout_ns);
	return queue_take(queue, slot);
}

bool queue_reserve_wait(struct queue *queue, struct queue_slot *slot, uint64_t timeout_ns)
{
	uint32_t seen = bell_value(queue->released);
	if (queue_reserve(queue, slot))
		return true;
	bell_wait(queue->released, seen, timeout_ns);
	return queue_reserve(queue, slot);
}
