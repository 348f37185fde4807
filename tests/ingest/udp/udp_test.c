/* The UDP stage over loopback, with both back-ends: what arrives, and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/fixture/udp_backends.h"

/* ---- receiving ---- */

#define GSO_N      40u
#define GSO_BURSTS 50u
#define GSO_TOTAL  (2 * GSO_N * GSO_BURSTS)

static void bursts_of_two_senders_arrive_at_two_sockets_each_event_once(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	struct udp_look look;
	uint16_t port[2];
	int listener[2], sender[2];
	static unsigned char data[GSO_N * UDP_EVENT_BYTES];
	static uint8_t seen[GSO_TOTAL];
	memset(seen, 0, sizeof seen);
	assert_int_equal(udp_fixture_make(&fixture, "ipevent", LANE_BYTES, N_BUFFERS, NULL), 0);
	for (int i = 0; i < 2; i++) {
		int family = i == 0 ? AF_INET : AF_INET6;
		listener[i] = udp_listen(family, 1 << 20, &port[i]);
		if (listener[i] < 0 && i == 1) /* a machine without IPv6 */
			listener[i] = udp_listen(family = AF_INET, 1 << 20, &port[i]);
		sender[i] = udp_connect(family, port[i]);
		assert_true(listener[i] >= 0 && sender[i] >= 0);
	}
	assert_int_equal(udp_fixture_open(&fixture, &udp, "ipevent", udp_backend, listener, 2), 0);
	for (uint32_t burst = 0; burst < 2 * GSO_BURSTS; burst++) {
		for (uint32_t i = 0; i < GSO_N; i++)
			make_event(data + i * UDP_EVENT_BYTES, burst * GSO_N + i);
		assert_int_equal(udp_send(sender[burst % 2], data, sizeof data, UDP_EVENT_BYTES),
		                 sizeof data);
		if (burst % 10 == 9)
			run_until(&fixture, &udp, (uint64_t)(burst + 1) * GSO_N);
	}
	assert_int_equal(udp_look_open(&look, &fixture, "ip"), 0);
	assert_int_equal(udp_look_events(&look, seen, GSO_TOTAL), 0);
	for (uint32_t i = 0; i < GSO_TOTAL; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(udp_metric_value(&fixture, UDP_gro_datagrams), GSO_TOTAL);
	assert_int_equal(udp_metric_value(&fixture, UDP_received_buffers), 2 * GSO_BURSTS);
	assert_true(udp_balanced(udp.ports.writer[0].stream.shared));
	stream_reader_detach(&look.reader);
	udp_close(&udp);
	for (int i = 0; i < 2; i++) {
		close(listener[i]);
		close(sender[i]);
	}
	udp_fixture_remove(&fixture);
}

static void raw_datagrams_keep_their_bytes_their_sender_and_their_time(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	struct udp_look look;
	struct record_batch batch;
	int listener, sender;
	struct sockaddr_in own = {0};
	socklen_t length = sizeof own;
	open_one(&fixture, &udp, "raw", &listener, &sender, N_BUFFERS, 1 << 20);
	uint64_t before_ns = clock_real_ns();
	assert_int_equal(udp_send(sender, "hello", 5, 0), 5);
	assert_int_equal(udp_send(sender, "", 0, 0), 0);
	assert_int_equal(udp_send(sender, "", 0, 0), 0);
	assert_int_equal(udp_send(sender, "end", 3, 0), 3);
	run_until(&fixture, &udp, 4);
	assert_int_equal(getsockname(sender, (struct sockaddr *)&own, &length), 0);
	assert_int_equal(udp_look_open(&look, &fixture, "raw"), 0);
	assert_true(stream_peek(&look.reader, &batch));
	static const char *const expected[] = {"hello", "", "", "end"};
	static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, 127, 0, 0, 1};
	for (unsigned i = 0; i < 4; i++) {
		const struct record *record = record_next(&batch);
		assert_non_null(record);
		const struct event_raw *event = (const void *)record->payload;
		assert_int_equal(record->type, EVENT_RAW);
		assert_int_equal(event->length, strlen(expected[i]));
		assert_int_equal(record->length, sizeof *event + event->length);
		assert_memory_equal(event->data, expected[i], event->length);
		assert_memory_equal(event->source, mapped, 16);
		assert_int_equal(event->source_port, ntohs(own.sin_port));
		assert_true(event->arrival_ns >= before_ns && event->arrival_ns <= clock_real_ns());
	}
	assert_null(record_next(&batch));
	stream_reader_detach(&look.reader);
	close_one(&fixture, &udp, listener, sender);
}

static void the_largest_datagram_arrives_uncut(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	struct udp_look look;
	struct record_batch batch;
	int listener, sender;
	static unsigned char data[65507];
	open_one(&fixture, &udp, "raw", &listener, &sender, N_BUFFERS, 1 << 20);
	for (size_t i = 0; i < sizeof data; i++)
		data[i] = (unsigned char)(i * 31);
	assert_int_equal(udp_send(sender, data, sizeof data, 0), sizeof data);
	run_until(&fixture, &udp, 1);
	assert_int_equal(udp_look_open(&look, &fixture, "raw"), 0);
	assert_true(stream_peek(&look.reader, &batch));
	const struct event_raw *event = (const void *)record_next(&batch)->payload;
	assert_int_equal(event->length, sizeof data);
	assert_memory_equal(event->data, data, sizeof data);
	assert_int_equal(udp_metric_value(&fixture, UDP_truncated_buffers), 0);
	stream_reader_detach(&look.reader);
	close_one(&fixture, &udp, listener, sender);
}

static void json_goes_to_the_lane_of_its_kind_and_bad_input_is_counted(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	int listener, sender;
	static const char *const object[] = {
	        "{\"username\": \"kodingbot\", \"count\": 12412414, \"metric\": \"kite_call\"}",
	        "{\"type\": \"app_open\", \"params\": {\"klag\": 3}}",
	        "{\"username\": \"\", \"count\": 1, \"metric\": \"m\"}",
	        "nonsense",
	};
	open_one(&fixture, &udp, "json", &listener, &sender, N_BUFFERS, 1 << 20);
	for (unsigned i = 0; i < 4; i++)
		assert_true(udp_send(sender, object[i], strlen(object[i]), 0) > 0);
	run_until(&fixture, &udp, 4);
	assert_int_equal(udp.ports.writer[0].stream.shared->records, 1);
	assert_int_equal(udp.ports.writer[1].stream.shared->records, 1);
	assert_int_equal(ledger_of(&udp, 0)->received, 3);
	assert_int_equal(ledger_of(&udp, 0)->rejected[LEDGER_MISSING_FIELD], 1);
	assert_int_equal(ledger_of(&udp, 0)->rejected[LEDGER_MALFORMED], 1);
	assert_int_equal(ledger_of(&udp, 1)->received, 1);
	struct udp_look look;
	struct record_batch batch;
	assert_int_equal(udp_look_open(&look, &fixture, "metric"), 0);
	assert_true(stream_peek(&look.reader, &batch));
	const struct event_metric *event = (const void *)record_next(&batch)->payload;
	assert_int_equal(event->count, 12412414);
	assert_int_equal(event->username_bytes, 9);
	assert_memory_equal(event->text, "kodingbotkite_call", 18);
	assert_int_equal(event->source[15], 1);
	assert_true(event->arrival_ns > 0 && event->source_port > 0);
	stream_reader_detach(&look.reader);
	close_one(&fixture, &udp, listener, sender);
}

static void a_burst_larger_than_all_buffers_waits_in_the_socket_and_nothing_is_lost(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	struct udp_look look;
	static uint8_t seen[200];
	unsigned char data[UDP_EVENT_BYTES];
	int listener, sender;
	memset(seen, 0, sizeof seen);
	open_one(&fixture, &udp, "ipevent", &listener, &sender, BUFFERS_MIN, 1 << 20);
	for (uint32_t i = 0; i < 200; i++) {
		make_event(data, i);
		assert_true(udp_send(sender, data, sizeof data, 0) > 0);
	}
	run_until(&fixture, &udp, 200);
	udp_tick(&udp);
	assert_int_equal(udp_look_open(&look, &fixture, "ip"), 0);
	assert_int_equal(udp_look_events(&look, seen, 200), 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(ledger_of(&udp, 0)->kernel_dropped, 0);
	if (udp_backend == RECEIVE_URING) {
		assert_true(udp_metric_value(&fixture, UDP_enobufs) >= 5);
		assert_true(udp_metric_value(&fixture, UDP_rearms) >= 5);
		assert_true(udp_metric_value(&fixture, UDP_rearms) < 50);
	}
	stream_reader_detach(&look.reader);
	close_one(&fixture, &udp, listener, sender);
}

/* ---- losses ---- */

static void what_the_kernel_drops_is_in_the_ledger_once_over_all_lives(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	unsigned char data[UDP_EVENT_BYTES];
	int listener, sender;
	uint64_t sent = 0;
	open_one(&fixture, &udp, "ipevent", &listener, &sender, N_BUFFERS, 4096);
	uint64_t before = 0;
	for (unsigned life = 0; life < 3; life++) {
		for (uint32_t i = 0; i < 100; i++, sent++) {
			make_event(data, i);
			assert_true(udp_send(sender, data, sizeof data, 0) > 0);
		}
		for (unsigned i = 0; i < 50; i++)
			if (!udp_poll(&udp))
				udp_idle(&udp, NS_PER_MS);
		udp_tick(&udp);
		const struct ledger *ledger = ledger_of(&udp, 0);
		assert_true(ledger->kernel_dropped > before);
		assert_int_equal(ledger->received + ledger->kernel_dropped, sent);
		before = ledger->kernel_dropped;
		udp_close(&udp);
		if (life == 1) { /* a new supervisor brings new sockets */
			uint16_t port;
			close(listener);
			close(sender);
			listener = udp_listen(AF_INET, 4096, &port);
			sender = udp_connect(AF_INET, port);
		}
		assert_int_equal(udp_fixture_open(&fixture, &udp, "ipevent", udp_backend, &listener, 1), 0);
		udp_tick(&udp);
		assert_int_equal(ledger_of(&udp, 0)->kernel_dropped, before);
	}
	close_one(&fixture, &udp, listener, sender);
}

static void flood(const int *sender, unsigned n_senders, uint32_t n)
{
	unsigned char data[UDP_EVENT_BYTES];
	for (uint32_t i = 0; i < n; i++) {
		make_event(data, i);
		for (unsigned k = 0; k < n_senders; k++)
			assert_true(udp_send(sender[k], data, sizeof data, 0) > 0);
	}
}

/* Listeners that change their order hand sockets to other roles, in another order. Such a role may
 * have a new private segment. */
static void what_the_kernel_drops_is_counted_once_whoever_gets_the_socket(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	struct shm_error error;
	char name[SEGMENT_NAME_MAX];
	int listener[3], sender[3];
	uint16_t port;
	assert_int_equal(udp_fixture_make(&fixture, "ipevent", 1 << 20, N_BUFFERS, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		listener[i] = udp_listen(AF_INET, 4096, &port);
		sender[i] = udp_connect(AF_INET, port);
	}
	flood(sender, 3, 100);
	uint64_t dropped = 0;
	const int order[][3] = {{0, 1, 2}, {2, 0, 1}, {1, 0, -1}, {1, 2, 0}};
	for (unsigned life = 0; life < 4; life++) {
		int fd[3];
		unsigned n = 0;
		for (unsigned i = 0; i < 3 && order[life][i] >= 0; i++)
			fd[n++] = listener[order[life][i]];
		assert_int_equal(udp_fixture_open(&fixture, &udp, "ipevent", udp_backend, fd, n), 0);
		udp_tick(&udp);
		if (life == 0)
			dropped = ledger_of(&udp, 0)->kernel_dropped;
		assert_true(dropped > 0);
		assert_int_equal(ledger_of(&udp, 0)->kernel_dropped, dropped);
		udp_close(&udp);
		if (life == 1) {
			(void)segment_destroy(fixture.sandbox.directory,
			                      instance_private_name(name, UDP_ROLE));
			assert_int_equal(segment_create(fixture.sandbox.directory, name, SEGMENT_PRIVATE,
			                                UDP_GENERATION, udp_private_bytes(N_BUFFERS), NULL,
			                                NULL, &error),
			                 0);
		}
	}
	for (unsigned i = 0; i < 3; i++) {
		close(listener[i]);
		close(sender[i]);
	}
	udp_fixture_remove(&fixture);
}

static void what_was_counted_of_closed_sockets_is_forgotten(void **state)
{
	(void)state;
	static struct drops_page page;
	for (uint64_t cookie = 1; cookie <= DROPS_SOCKETS_MAX; cookie++)
		atomic_store(&drops_find(&page, cookie)->counted, cookie);
	assert_int_equal(drops_find(&page, 7)->counted, 7);
	assert_null(drops_find(&page, 1000));
	drops_keep(&page, (const uint64_t[]){7, 9}, 2);
	assert_int_equal(drops_find(&page, 7)->counted, 7);
	assert_int_equal(drops_find(&page, 9)->counted, 9);
	assert_int_equal(drops_find(&page, 1000)->counted, 0);
	assert_int_equal(drops_find(&page, 8)->counted, 0);
}

#define SURPLUS 300u

static void a_full_lane_drops_and_counts_and_takes_again_when_it_is_read(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	struct shm_error error;
	struct topic_reader reader;
	struct record_batch batch;
	unsigned lane;
	uint16_t port;
	unsigned char data[UDP_EVENT_BYTES];
	uint64_t sent = 0;
	assert_int_equal(udp_fixture_make(&fixture, "ipevent", STREAM_SIZE_MIN, N_BUFFERS, "tally"), 0);
	int listener = udp_listen(AF_INET, 1 << 20, &port);
	int sender = udp_connect(AF_INET, port);
	assert_int_equal(udp_fixture_open(&fixture, &udp, "ipevent", udp_backend, &listener, 1), 0);
	assert_int_equal(topic_reader_attach_stage(&reader, &fixture.instance, "ip", "tally",
	                                           (struct topic_share){.n = 1}, &error),
	                 0);
	uint64_t fits = STREAM_SIZE_MIN / (sizeof(struct record) + sizeof(struct event_ip));
	for (unsigned round = 1; round <= 2; round++) {
		for (uint32_t i = 0; i < fits + SURPLUS; i++, sent++) {
			make_event(data, i);
			data[2] = i % 10 == 0 ? 'x' : '0'; /* what is invalid is rejected, room or not */
			assert_true(udp_send(sender, data, sizeof data, 0) > 0);
			if (i % 50 == 49)
				run_until(&fixture, &udp, sent + 1);
		}
		run_until(&fixture, &udp, sent);
		const struct stream_shared *shared = udp.ports.writer[0].stream.shared;
		assert_int_equal(shared->ledger.received, sent);
		assert_int_equal(shared->records, round * fits);
		assert_int_equal(shared->ledger.rejected[LEDGER_BAD_SHA],
		                 round * ((fits + SURPLUS + 9) / 10));
		assert_int_equal(shared->ledger.dropped,
		                 sent - shared->records - shared->ledger.rejected[LEDGER_BAD_SHA]);
		uint64_t read = 0;
		while (topic_peek(&reader, &lane, &batch)) {
			uint64_t records = 0;
			while (record_next(&batch) != NULL)
				records++;
			stream_advance(&reader.lane[lane], &batch, records);
			read += records;
		}
		assert_int_equal(read, fits);
	}
	topic_reader_detach(&reader);
	close_one(&fixture, &udp, listener, sender);
}

/* ---- aggregates ---- */

#define AGGREGATE_N 64u
#define AGGREGATES  20u
#define EACH_FITS \
	600u /* bytes of a datagram: an aggregate needs more than half of the smallest lane, and fits all of it */
#define EACH_LARGE 1020u /* an aggregate is larger than the smallest lane */

/* One aggregate, datagram k of `each` bytes numbered first + k. */
static void send_aggregate(int sender, const char *format, uint32_t first, uint16_t each)
{
	static unsigned char data[AGGREGATE_N * EACH_LARGE];
	char text[EACH_LARGE];
	memset(data, ' ', sizeof data);
	for (uint32_t k = 0; k < AGGREGATE_N; k++) {
		int n = strcmp(format, "raw") == 0
		                ? snprintf(text, sizeof text, "%08u", first + k)
		                : snprintf(text, sizeof text,
		                           "{\"count\": %u, \"username\": \"u\", \"metric\": \"%0*d\"}",
		                           first + k, each - 60, 0);
		assert_true(n > 0 && n <= each);
		memcpy(data + k * each, text, (size_t)n);
	}
	assert_int_equal(udp_send(sender, data, AGGREGATE_N * each, each), AGGREGATE_N * each);
}

static uint32_t number_of(const struct record *record)
{
	if (record->type == EVENT_METRIC)
		return (uint32_t)((const struct event_metric *)(const void *)record->payload)->count;
	assert_int_equal(record->type, EVENT_RAW);
	return (uint32_t)strtoul(
	        (const char *)((const struct event_raw *)(const void *)record->payload)->data, NULL, 10);
}

/* Reads all there is; the records must be numbered from `next` on. Returns the number that comes
 * next. */
static uint32_t read_in_order(struct topic_reader *reader, uint32_t next)
{
	struct record_batch batch;
	unsigned lane;
	while (topic_peek(reader, &lane, &batch)) {
		const struct record *record;
		uint64_t records = 0;
		for (; (record = record_next(&batch)) != NULL; records++)
			assert_int_equal(number_of(record), next++);
		stream_advance(&reader->lane[lane], &batch, records);
	}
	return next;
}

/* The lane is empty each time, holds all of it, and half of it does not. */
static void aggregates_are_kept_whole(const char *format)
{
	struct udp_fixture fixture;
	struct udp udp;
	struct shm_error error;
	struct topic_reader reader;
	uint16_t port;
	assert_int_equal(udp_fixture_make(&fixture, format, STREAM_SIZE_MIN, N_BUFFERS, "tally"), 0);
	int listener = udp_listen(AF_INET, 1 << 20, &port);
	int sender = udp_connect(AF_INET, port);
	assert_int_equal(udp_fixture_open(&fixture, &udp, format, udp_backend, &listener, 1), 0);
	assert_int_equal(topic_reader_attach_stage(&reader, &fixture.instance, format_find(format)->topics[0],
	                                           "tally", (struct topic_share){.n = 1}, &error),
	                 0);
	uint32_t next = 0;
	for (uint32_t i = 1; i <= AGGREGATES; i++) {
		send_aggregate(sender, format, next, EACH_FITS);
		run_until(&fixture, &udp, (uint64_t)i * AGGREGATE_N);
		assert_int_equal(ledger_of(&udp, 0)->dropped, 0);
		next = read_in_order(&reader, next);
		assert_int_equal(next, i * AGGREGATE_N);
	}
	assert_int_equal(udp_metric_value(&fixture, UDP_gro_datagrams), AGGREGATES * AGGREGATE_N);
	assert_int_equal(udp_metric_value(&fixture, UDP_received_buffers), AGGREGATES);
	assert_true(udp_metric_value(&fixture, UDP_commits) >= 2 * AGGREGATES);
	assert_true(udp_balanced(udp.ports.writer[0].stream.shared));
	topic_reader_detach(&reader);
	close_one(&fixture, &udp, listener, sender);
}

static void an_aggregate_that_needs_more_than_half_a_lane_is_kept_whole(void **state)
{
	(void)state;
	aggregates_are_kept_whole("raw");
	aggregates_are_kept_whole("json");
}

/* The smallest lane holds less than an aggregate: what a reader makes no room for is dropped, and
 * it is the end. */
static void of_an_aggregate_larger_than_the_lane_what_fits_is_kept_in_order(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	struct shm_error error;
	struct topic_reader reader;
	uint16_t port;
	assert_int_equal(udp_fixture_make(&fixture, "raw", STREAM_SIZE_MIN, N_BUFFERS, "tally"), 0);
	int listener = udp_listen(AF_INET, 1 << 20, &port);
	int sender = udp_connect(AF_INET, port);
	assert_int_equal(udp_fixture_open(&fixture, &udp, "raw", udp_backend, &listener, 1), 0);
	assert_int_equal(topic_reader_attach_stage(&reader, &fixture.instance, "raw", "tally",
	                                           (struct topic_share){.n = 1}, &error),
	                 0);
	uint32_t fits = STREAM_SIZE_MIN / record_bytes(sizeof(struct event_raw) + EACH_LARGE);
	assert_true(fits < AGGREGATE_N);
	send_aggregate(sender, "raw", 0, EACH_LARGE);
	run_until(&fixture, &udp, AGGREGATE_N);
	assert_int_equal(ledger_of(&udp, 0)->received, AGGREGATE_N);
	assert_int_equal(ledger_of(&udp, 0)->dropped, AGGREGATE_N - fits);
	assert_int_equal(read_in_order(&reader, 0), fits);
	assert_true(udp_balanced(udp.ports.writer[0].stream.shared));
	topic_reader_detach(&reader);
	close_one(&fixture, &udp, listener, sender);
}

static void a_socket_error_is_counted_and_receiving_goes_on(void **state)
{
	(void)state;
	struct udp_fixture fixture;
	struct udp udp;
	uint16_t port, peer_port;
	assert_int_equal(udp_fixture_make(&fixture, "raw", LANE_BYTES, N_BUFFERS, NULL), 0);
	int listener = udp_listen(AF_INET, 1 << 20, &port);
	int peer = udp_listen(AF_INET, 0, &peer_port);
	struct sockaddr_in address = {
	        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons(peer_port)};
	assert_int_equal(connect(listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(udp_fixture_open(&fixture, &udp, "raw", udp_backend, &listener, 1), 0);
	close(peer);
	assert_int_equal(send(listener, "x", 1, 0),
	                 1); /* no socket is there: ICMP comes back as ECONNREFUSED */
	for (unsigned i = 0; i < 5; i++)
		if (!udp_poll(&udp))
			udp_idle(&udp, 5 * NS_PER_MS);
	udp_tick(&udp);
	assert_int_equal(udp_metric_value(&fixture, UDP_receive_failures), 1);

	peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(peer, (struct sockaddr *)&address, sizeof address), 0);
	address.sin_port = htons(port);
	assert_int_equal(sendto(peer, "hello", 5, 0, (struct sockaddr *)&address, sizeof address), 5);
	run_until(&fixture, &udp, 1);
	assert_int_equal(ledger_of(&udp, 0)->received, 1);
	close_one(&fixture, &udp, listener, peer);
}

int main(void)
{
	alarm(60);
	log_init("udp_test", LOG_ERROR, LOG_TEXT);
	const struct CMUnitTest tests[] = {
	        BOTH(bursts_of_two_senders_arrive_at_two_sockets_each_event_once),
	        BOTH(raw_datagrams_keep_their_bytes_their_sender_and_their_time),
	        BOTH(the_largest_datagram_arrives_uncut),
	        BOTH(json_goes_to_the_lane_of_its_kind_and_bad_input_is_counted),
	        BOTH(a_burst_larger_than_all_buffers_waits_in_the_socket_and_nothing_is_lost),
	        BOTH(what_the_kernel_drops_is_in_the_ledger_once_over_all_lives),
	        BOTH(what_the_kernel_drops_is_counted_once_whoever_gets_the_socket),
	        cmocka_unit_test(what_was_counted_of_closed_sockets_is_forgotten),
	        BOTH(a_full_lane_drops_and_counts_and_takes_again_when_it_is_read),
	        BOTH(an_aggregate_that_needs_more_than_half_a_lane_is_kept_whole),
	        BOTH(of_an_aggregate_larger_than_the_lane_what_fits_is_kept_in_order),
	        BOTH(a_socket_error_is_counted_and_receiving_goes_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
