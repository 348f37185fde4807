/* Counts in memory: what is kept, what limits leave out, and that nobody can choose shas that make
 * it slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "sink/tally/counts.h"
#include "tests/fixture/draw.h"
#include "tests/fixture/tally.h"

static const struct counts_limits wide = {1000000, 65536, 4000000};
static const struct counts_expected nothing;

static void start(struct counts *counts, struct counts_limits limits)
{
	assert_int_equal(counts_init(counts, &limits, &nothing, 1), 0);
}

static void add(struct counts *counts, uint64_t application, uint32_t ip)
{
	struct event_ip event = tally_event(application, ip);
	const struct event_ip *run = &event;
	if (counts_full(counts))
		counts_clean(counts);
	counts_add(counts, &run, 1);
}

static const struct counts_application *find(const struct counts *counts, uint64_t application)
{
	uint8_t sha[32];
	tally_sha(sha, application);
	return counts_find(counts, sha);
}

static void every_message_is_counted_and_each_address_is_kept_once(void **state)
{
	(void)state;
	struct counts counts;
	start(&counts, wide);
	for (int i = 0; i < 3; i++)
		add(&counts, 1, 0x0a000001);
	add(&counts, 1, 0x0a00000f);
	add(&counts, 1, 0x0a000010);
	add(&counts, 2, 0xffffffff);
	const struct counts_application *one = find(&counts, 1);
	assert_int_equal(one->count, 5);
	assert_int_equal(one->addresses, 3);
	assert_false(one->truncated);
	assert_int_equal(counts_hosts(&counts, one, 0x0a000000), 1u << 1 | 1u << 15);
	assert_int_equal(counts_hosts(&counts, one, 0x0a000010), 1);
	assert_int_equal(counts_hosts(&counts, one, 0xffffffff), 0);
	assert_int_equal(counts_hosts(&counts, find(&counts, 2), 0xffffffff), 1u << 15);
	assert_null(find(&counts, 3));
	assert_int_equal(counts.addresses, 4);
	counts_fini(&counts);
}

static void a_run_may_hold_the_same_application_many_times(void **state)
{
	(void)state;
	struct counts counts;
	struct event_ip event[COUNTS_RUN];
	const struct event_ip *run[COUNTS_RUN];
	start(&counts, wide);
	for (unsigned i = 0; i < COUNTS_RUN; i++) {
		event[i] = tally_event(i % 3, i / 3);
		run[i] = &event[i];
	}
	counts_add(&counts, run, COUNTS_RUN);
	counts_add(&counts, run, COUNTS_RUN);
	assert_int_equal(counts.n_applications, 3);
	assert_int_equal(find(&counts, 0)->count + find(&counts, 1)->count + find(&counts, 2)->count,
	                 2 * COUNTS_RUN);
	assert_int_equal(counts.addresses, COUNTS_RUN);
	counts_fini(&counts);
}

static void over_the_limit_of_applications_messages_are_counted_together(void **state)
{
	(void)state;
	struct counts counts;
	start(&counts, (struct counts_limits){3, 10, 100});
	for (uint64_t i = 0; i < 5; i++)
		add(&counts, i, 1);
	add(&counts, 2, 2);
	add(&counts, 4, 1);
	assert_int_equal(counts.n_applications, 3);
	assert_int_equal(counts.beyond, 3);
	assert_true(counts.beyond_dirty);
	assert_int_equal(find(&counts, 2)->count, 2);
	assert_null(find(&counts, 3));
	counts_fini(&counts);
}

static void over_an_address_limit_the_count_rises_and_says_truncated(void **state)
{
	(void)state;
	struct counts counts;
	start(&counts, (struct counts_limits){10, 4, 6});
	for (uint32_t i = 0; i < 5; i++)
		add(&counts, 1, i * 100);
	assert_int_equal(find(&counts, 1)->count, 5);
	assert_int_equal(find(&counts, 1)->addresses, 4);
	assert_true(find(&counts, 1)->truncated);
	add(&counts, 1, 0); /* known ones are no further ones */
	assert_int_equal(find(&counts, 1)->addresses, 4);
	for (uint32_t i = 0; i < 3;
	     i++) /* the limit of all together: two are left, one network full of them */
		add(&counts, 2, i);
	assert_int_equal(find(&counts, 2)->count, 3);
	assert_int_equal(find(&counts, 2)->addresses, 2);
	assert_true(find(&counts, 2)->truncated);
	add(&counts, 3, 7);
	assert_int_equal(find(&counts, 3)->count, 1);
	assert_int_equal(find(&counts, 3)->addresses, 0);
	assert_int_equal(counts.addresses, 6);
	assert_int_equal(counts.n_truncated, 3);
	counts_fini(&counts);
}

static void an_application_at_its_limit_is_not_truncated_before_it_is_over(void **state)
{
	(void)state;
	struct counts counts;
	start(&counts, (struct counts_limits){10, 3, 100});
	for (uint32_t i = 0; i < 9; i++)
		add(&counts, 1, i % 3);
	assert_false(find(&counts, 1)->truncated);
	counts_fini(&counts);
}

static void what_changed_is_listed_once_and_forgotten_after_a_commit(void **state)
{
	(void)state;
	struct counts counts;
	uint64_t key;
	start(&counts, wide);
	for (uint64_t i = 0; i < 200; i++)
		add(&counts, i, (uint32_t)i);
	counts_clean(&counts);
	assert_int_equal(counts_dirty_rows(&counts), 0);
	assert_int_equal(counts_next_dirty(&counts, 0), -1);
	add(&counts, 64, 64);
	add(&counts, 130, 200);
	add(&counts, 130, 201);
	add(&counts, 130, 16);
	assert_int_equal(counts_dirty_rows(&counts), 4);
	assert_int_equal(counts_next_dirty(&counts, 0), 64);
	assert_int_equal(counts_next_dirty(&counts, 65), 130);
	assert_int_equal(counts_next_dirty(&counts, 131), -1);
	counts_sort_dirty(&counts);
	assert_int_equal(counts_dirty_hosts(&counts, 0, &key), 1);
	assert_int_equal(key, networks_key(130, 16));
	assert_int_equal(counts_dirty_hosts(&counts, 1, &key), 1u << 8 | 1u << 9);
	assert_int_equal(key, networks_key(130, 200));
	counts_fini(&counts);
}

/* Random messages against the plainest counting there is: an array. */
#define APPLICATIONS 300u
#define ADDRESSES    4096u

static void random_messages_are_counted_as_an_array_counts_them(void **state)
{
	(void)state;
	static uint32_t seen[APPLICATIONS][ADDRESSES];
	struct counts counts;
	unsigned long random = draw_seed(11);
	start(&counts, wide);
	for (unsigned i = 0; i < 2000000; i += COUNTS_RUN) {
		struct event_ip event[COUNTS_RUN];
		const struct event_ip *run[COUNTS_RUN];
		for (unsigned k = 0; k < COUNTS_RUN; k++) {
			unsigned long number = draw_next(&random);
			unsigned application = number % APPLICATIONS;
			unsigned address = (number >> 32) % ((application + 1) * ADDRESSES / APPLICATIONS);
			seen[application][address]++;
			event[k] = tally_event(application, address * 7);
			run[k] = &event[k];
		}
		if (counts_full(&counts))
			counts_clean(&counts);
		counts_add(&counts, run, COUNTS_RUN);
	}
	uint64_t addresses = 0;
	for (unsigned a = 0; a < APPLICATIONS; a++) {
		const struct counts_application *application = find(&counts, a);
		uint64_t messages = 0;
		for (unsigned i = 0; i < ADDRESSES; i++) {
			messages += seen[a][i];
			addresses += seen[a][i] != 0;
			unsigned hosts = counts_hosts(&counts, application, i * 7);
			assert_int_equal(hosts >> (i * 7 % 16) & 1, seen[a][i] != 0);
		}
		assert_int_equal(application->count, messages);
	}
	assert_int_equal(counts.addresses, addresses);
	counts_fini(&counts);
}

/* While the table of networks grows, keys lie in two tables; at no moment may one be in neither or
 * in both. */
static void growing_loses_nothing_at_any_step(void **state)
{
	(void)state;
	struct counts counts;
	struct event_ip event;
	const struct event_ip *run = &event;
	bool grew = false;
	start(&counts, (struct counts_limits){10, 100000, 100000});
	for (uint32_t i = 0; i < 60000; i++) {
		event = tally_event(1, i * 16);
		if (counts_full(&counts))
			counts_clean(&counts);
		counts_add(&counts, &run, 1);
		if (counts.networks.old != NULL && i % 7 == 0) {
			grew = true;
			for (uint32_t k = i % 97; k <= i; k += 1 + i / 50)
				assert_int_equal(counts_hosts(&counts, find(&counts, 1), k * 16), 1);
			assert_int_equal(counts_hosts(&counts, find(&counts, 1), (i + 1) * 16), 0);
		}
	}
	assert_true(grew);
	assert_int_equal(counts.networks.n, 60000);
	assert_int_equal(find(&counts, 1)->addresses, 60000);
	counts_fini(&counts);
}

static void tables_never_grow_over_what_the_limits_need(void **state)
{
	(void)state;
	struct counts counts;
	struct counts_limits limits = {5000, 65536, 100000};
	start(&counts, limits);
	for (uint32_t i = 0; i < 400000; i++)
		add(&counts, i % 7000, i * 16);
	assert_int_equal(counts.n_applications, 5000);
	assert_int_equal(counts.addresses, 100000);
	assert_true(counts.networks.n_slots <= 150001);
	assert_null(counts.networks.old);
	assert_in_range(counts_bytes_max(&limits), 2u << 20, 12u << 20);
	counts_fini(&counts);
}

/* Linear probing with a table n / slots full of random keys leaves them 0.5 (1 / (1 - full) - 1)
 * slots from home on average (Knuth, The Art of Computer Programming 3, 6.4). Keys that are chosen
 * must not do worse. */
static void check_way(uint64_t way, uint64_t n, uint64_t n_slots)
{
	double full = (double)n / (double)n_slots;
	double random = 0.5 * (1 / (1 - full) - 1);
	if ((double)way / (double)n > random * 1.4 + 0.05)
		fail_msg("%.2f slots from home on average, random keys: %.2f", (double)way / (double)n,
		         random);
}

static void check_applications(const struct counts *counts)
{
	uint64_t n_slots = 1ull << (32 - counts->slot_shift), way = 0;
	for (uint64_t i = 0; i < n_slots + 1000; i++)
		if (counts->slot[i].index_plus != 0)
			way += i - (counts->slot[i].tag >> counts->slot_shift);
	check_way(way, counts->n_applications, n_slots);
}

static void check_networks(const struct networks *networks)
{
	uint64_t way = 0;
	if (networks->old != NULL)
		return;
	for (uint64_t i = 0; i < networks->n_slots + NETWORKS_PROBE_MAX; i++)
		if (networks->slot[i].hosts != 0)
			way += i - networks_home(networks_hash(networks, network_key(&networks->slot[i])),
			                         networks->n_slots);
	check_way(way, networks->n, networks->n_slots);
}

static void make_hostile(uint8_t sha[32], unsigned kind, uint64_t i)
{
	uint64_t word[4] = {0};
	switch (kind) {
	case 0: /* a counter in the last word */
		word[3] = i;
		break;
	case 1: /* a counter in the top bits */
		word[0] = i << 44;
		break;
	case 2: /* two words that move against each other */
		word[0] = i;
		word[1] = 0 - i;
		break;
	case 3: /* products that are the same without secrets */
		word[0] = 1ull << i % 64;
		word[1] = 1ull << (63 - i % 64);
		word[2] = i / 64;
		break;
	default: /* large steps */
		word[1] = i * 0x9e3779b97f4a7c15ull;
		word[2] = i << 32;
		break;
	}
	memcpy(sha, word, sizeof word);
}

#define SECRETS 60u /* a hash that is weak with one set of secret words in fifty is weak */

static void hostile_shas_lie_no_worse_than_random_ones(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5 * SECRETS; i++) {
		struct counts counts;
		assert_int_equal(counts_init(&counts, &wide, &nothing, 1 + i / 5), 0);
		for (uint64_t k = 0; k < 10000; k++) {
			struct event_ip event = {.ip = 1};
			const struct event_ip *run = &event;
			make_hostile(event.sha, i % 5, k);
			counts_add(&counts, &run, 1);
		}
		assert_int_equal(counts.n_applications, 10000);
		check_applications(&counts);
		check_networks(&counts.networks);
		counts_fini(&counts);
	}
}

static void hostile_addresses_lie_no_worse_than_random_ones(void **state)
{
	(void)state;
	static const uint32_t step[] = {16, 1 << 14, 16 * 65537, 0x9e3779b0};
	for (unsigned i = 0; i < 4 * SECRETS; i++) {
		struct counts counts;
		struct event_ip event = tally_event(1, 0);
		const struct event_ip *run = &event;
		assert_int_equal(counts_init(&counts, &wide, &nothing, 1 + i / 4), 0);
		for (uint32_t k = 0; k < 20000; k++) {
			event.ip = k * step[i % 4];
			counts_add(&counts, &run, 1);
		}
		assert_int_equal(find(&counts, 1)->addresses, 20000);
		check_networks(&counts.networks);
		counts_fini(&counts);
	}
}

static void secrets_are_drawn_anew_for_each_life(void **state)
{
	(void)state;
	struct counts one, two;
	assert_int_equal(counts_init(&one, &wide, &nothing, 0), 0);
	assert_int_equal(counts_init(&two, &wide, &nothing, 0), 0);
	assert_memory_not_equal(one.secret, two.secret, sizeof one.secret);
	assert_memory_not_equal(one.networks.secret, two.networks.secret, sizeof one.networks.secret);
	counts_fini(&one);
	counts_fini(&two);
}

static void restored_counts_go_on_where_they_were(void **state)
{
	(void)state;
	struct counts counts;
	struct counts_expected expected = {2, 2};
	uint8_t sha[32];
	assert_int_equal(counts_init(&counts, &(struct counts_limits){1, 2, 2}, &expected, 1), 0);
	tally_sha(sha, 1);
	assert_int_equal(counts_restore_application(&counts, sha, 7, false), 0);
	assert_int_equal(counts_restore_application(&counts, sha, 7, false), -EEXIST);
	tally_sha(sha, 2);
	assert_int_equal(counts_restore_application(&counts, sha, 9, true),
	                 0); /* more than the limit is now: kept */
	tally_sha(sha, 3);
	assert_int_equal(counts_restore_application(&counts, sha, 9, true), -ENOSPC);
	assert_int_equal(counts_restore_network(&counts, networks_key(0, 32), 3), 0);
	assert_int_equal(counts_restore_network(&counts, networks_key(0, 32), 3), -EINVAL);
	assert_int_equal(counts_restore_network(&counts, networks_key(2, 32), 3), -EINVAL);
	assert_int_equal(counts_restore_network(&counts, networks_key(1, 32), 0), -EINVAL);
	assert_int_equal(counts_dirty_rows(&counts), 0);
	add(&counts, 1, 33);
	add(&counts, 1, 34);
	add(&counts, 3, 34);
	assert_int_equal(find(&counts, 1)->count, 9);
	assert_int_equal(find(&counts, 1)->addresses, 2);
	assert_true(find(&counts, 1)->truncated);
	assert_int_equal(counts.beyond, 1);
	assert_int_equal(counts.n_truncated, 2);
	counts_fini(&counts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_message_is_counted_and_each_address_is_kept_once),
	        cmocka_unit_test(a_run_may_hold_the_same_application_many_times),
	        cmocka_unit_test(over_the_limit_of_applications_messages_are_counted_together),
	        cmocka_unit_test(over_an_address_limit_the_count_rises_and_says_truncated),
	        cmocka_unit_test(an_application_at_its_limit_is_not_truncated_before_it_is_over),
	        cmocka_unit_test(what_changed_is_listed_once_and_forgotten_after_a_commit),
	        cmocka_unit_test(random_messages_are_counted_as_an_array_counts_them),
	        cmocka_unit_test(growing_loses_nothing_at_any_step),
	        cmocka_unit_test(tables_never_grow_over_what_the_limits_need),
	        cmocka_unit_test(hostile_shas_lie_no_worse_than_random_ones),
	        cmocka_unit_test(hostile_addresses_lie_no_worse_than_random_ones),
	        cmocka_unit_test(secrets_are_drawn_anew_for_each_life),
	        cmocka_unit_test(restored_counts_go_on_where_they_were),
	};
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
