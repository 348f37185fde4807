/* A lane whose writer is hostile: any words put over its data, and over what says where its
 * records lie. A required and an optional reader read it as stages and libmillrace do. They come
 * to an end, never look outside the lane, hand out records that lie in their batch, and their
 * cursors say where they are; with sound data nothing is lost, nothing comes twice.
 *
 * Input: the first byte chooses how many records are written first; then patches of 11 bytes: what
 * is hit, where, and the value. */
#include <errno.h>

#include "event/event.h"
#include "shm/record_copy.h"
#include "shm/waypoint.h"
#include "tests/fixture/sandbox.h"
#include "tests/fuzz/fuzz.h"

#define SIZE        STREAM_SIZE_MIN
#define PATCH_BYTES 11u
#define STEPS_MAX   20000u

static struct {
	struct sandbox sandbox;
	struct stream_writer writer;
	struct stream_reader required, optional;
	struct stream_group group;
	struct stream_cursor tap;
	struct shm_error error;
} f;

static void make(void)
{
	must(sandbox_make(&f.sandbox) == 0);
	must(stream_create(f.sandbox.directory, "lane", 7, SIZE, &f.error) == 0);
	must(stream_writer_attach(&f.writer, f.sandbox.directory, "lane", 0, &f.error) == 0);
	must(stream_reader_map(&f.required, f.sandbox.directory, "lane", false, &f.error) == 0);
	must(stream_reader_map(&f.optional, f.sandbox.directory, "lane", true, &f.error) == 0);
	sandbox_remove(&f.sandbox); /* a fuzzer ends without asking */
}

/* The lane as it was made. */
static void empty(void)
{
	struct stream_shared *shared = f.writer.shared;
	uint64_t size = shared->size_bytes;
	memset(shared, 0, sizeof *shared);
	shared->size_bytes = size;
	memory_unpoison(f.writer.data, 2 * SIZE);
	memset(f.writer.data, 0, SIZE);
	f.writer.tail = f.writer.limit = f.writer.intent = f.writer.records = f.writer.next_waypoint = 0;
	memset(&f.group, 0, sizeof f.group);
	memset(&f.tap, 0, sizeof f.tap);
	stream_reader_begin(&f.required, &f.group.cursor[0], STREAM_FROM_CURSOR);
	stream_reader_begin(&f.optional, &f.tap, STREAM_FROM_OLDEST);
}

static void write_some(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t length = i * 37 % 300;
		char *at = stream_reserve(&f.writer, record_bytes(length));
		must(at != NULL);
		memset(record_put(at, (uint16_t)(i % 9), length), (int)i, length);
		stream_commit(&f.writer, record_bytes(length), 1);
	}
}

static void put(const uint8_t *patch)
{
	struct stream_shared *shared = f.writer.shared;
	uint64_t value;
	uint16_t index;
	memcpy(&index, patch + 1, sizeof index);
	memcpy(&value, patch + 3, sizeof value);
	switch (patch[0] % 8) {
	case 0:
		atomic_store(&shared->tail, value);
		break;
	case 1:
		atomic_store(&shared->intent, value);
		break;
	case 2:
		atomic_store(&shared->records, value);
		break;
	case 3:
		atomic_store(&shared->waypoint[index % STREAM_WAYPOINTS].position, value);
		break;
	case 4:
		atomic_store(&shared->waypoint[index % STREAM_WAYPOINTS].records, value);
		break;
	case 5:
		atomic_store(&shared->tail, atomic_load(&shared->tail) + value % (2 * SIZE));
		break;
	default:
		memcpy(f.writer.data + index % SIZE / 8 * 8, &value, sizeof value);
	}
}

static void look_at(const struct stream_reader *reader, const struct record_batch *batch,
                    const struct record *record, struct record_copy *copy)
{
	const char *from = reader->optional ? reader->copy : reader->data;
	size_t room = reader->optional ? reader->copy_bytes : 2 * SIZE;
	const char *payload = (const char *)record->payload;
	must(payload >= from && payload + batch->length <= from + room);
	must((uintptr_t)payload % 8 == 0);
	static char json[1u << 20];
	const struct record *whole = record_copy(copy, payload, batch->length, batch->type);
	must(whole != NULL && whole->length == batch->length);
	int n = event_json(json, sizeof json, whole, "0-t-0", batch->position);
	must((n >= 0 || n == -ENOSPC) == event_check(whole));
}

/* All there is, in a bounded number of steps. Returns the records that were handed out. */
static uint64_t read_all(struct stream_reader *reader)
{
	struct record_copy copy = {0};
	struct record_batch batch;
	uint64_t all = 0;
	unsigned steps = 0;
	while (stream_peek(reader, &batch)) {
		uint64_t n = 0, records = reader->records, missed = reader->missed;
		const struct record *record;
		must(steps++ < STEPS_MAX);
		while ((record = record_next(&batch)) != NULL) {
			look_at(reader, &batch, record, &copy);
			n++;
		}
		stream_advance(reader, &batch, n);
		must(reader->records - records - (reader->missed - missed) == n);
		must(atomic_load(&reader->cursor->position) == reader->position);
		must(atomic_load(&reader->cursor->records) == reader->records);
		must(reader->position % RECORD_ALIGN == 0);
		all += n;
	}
	record_copy_fini(&copy);
	return all;
}

/* By number and by position, as `millrace tap` and the API look for records. */
static void search(uint64_t position)
{
	(void)stream_waiting_records(&f.optional);
	(void)stream_waiting_bytes(&f.optional);
	(void)stream_reader_rewind(&f.optional, position % 1000);
	(void)read_all(&f.optional);
	if (stream_reader_find(&f.optional, position) == STREAM_FOUND) {
		struct record_batch batch;
		must(f.optional.position == position);
		(void)stream_peek(&f.optional, &batch);
	}
	(void)read_all(&f.optional);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (f.writer.shared == NULL)
		make();
	if (bytes < 1)
		return 0;
	unsigned n = data[0] % 128u;
	empty();
	write_some(n);
	uint64_t position = f.writer.tail / 2;
	memory_unpoison(f.writer.data, 2 * SIZE); /* it is hostile */
	bool sound = bytes < 1 + PATCH_BYTES;
	for (data++, bytes--; bytes >= PATCH_BYTES; data += PATCH_BYTES, bytes -= PATCH_BYTES) {
		memcpy(&position, data + 3, sizeof position);
		put(data);
	}
	uint64_t required = read_all(&f.required), optional = read_all(&f.optional);
	if (sound)
		must(required == n && optional == n && f.required.missed == 0 && f.optional.missed == 0);
	search(position);
	/* the next life of the reader, and of the writer */
	stream_reader_begin(&f.required, &f.group.cursor[0], STREAM_FROM_CURSOR);
	(void)read_all(&f.required);
	stream_reader_begin(&f.required, &f.group.cursor[0], STREAM_FROM_OLDEST);
	(void)read_all(&f.required);
	return 0;
}
