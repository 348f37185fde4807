/* The stage in small, in simulated time: a flood of postbacks for ten hosts, of which one hangs,
 * one fails and one has no addresses. What is parked lies in a list for each endpoint, as in
 * deliver.db.
 */
#include "tests/deliver/hosts_world.h"

#include <unistd.h>

#include "tests/fixture/draw.h"

#define HOSTS_N    10u
#define DELIVERIES 4096u
#define STEP       (5 * MS)
#define ANSWER     (50 * MS)

enum kind { KIND_GOOD, KIND_HANGS, KIND_FAILS, KIND_SILENT };

struct site {
	enum kind kind;
	struct target target;
	uint64_t parked;             /* rows */
	uint64_t offered, good, bad; /* postbacks; attempts */
	uint64_t last_good_ns, longest_pause_ns;
};

static struct site site[HOSTS_N];
static struct hosts *hosts;

struct flight {
	struct delivery delivery;
	unsigned site;
	uint64_t ends_ns;
	unsigned next; /* in the wheel, or free */
};

static struct flight flight[DELIVERIES + 1]; /* 0 is none */
static unsigned free_first, n_free;

#define WHEEL 65536u
static unsigned wheel[WHEEL];

static void begin(const enum kind kinds[HOSTS_N])
{
	static const char *const names[] = {"good", "good", "good", "silent"};
	begin_world();
	memset(site, 0, sizeof site);
	memset(flight, 0, sizeof flight);
	memset(wheel, 0, sizeof wheel);
	hosts = new_hosts(DELIVERIES, 1024);
	for (unsigned i = 0; i < HOSTS_N; i++) {
		char host[64];
		snprintf(host, sizeof host, "%s%u.example.com", names[kinds[i]], i);
		site[i].kind = kinds[i];
		site[i].last_good_ns = world.now_ns;
		target_of(&site[i].target, host, "/hook");
	}
	free_first = 0;
	for (unsigned i = 1; i <= DELIVERIES; i++) {
		flight[i].next = free_first;
		free_first = i;
	}
	n_free = DELIVERIES;
}

static void give_back(unsigned i)
{
	hosts_release(hosts, &flight[i].delivery, world.now_ns);
	flight[i].next = free_first;
	free_first = i;
	n_free++;
}

static void park(unsigned i)
{
	site[flight[i].site].parked++;
	give_back(i);
}

/* A postback for that site: from the queue or a row. False when it was parked. */
static bool offer(unsigned at)
{
	enum guard_verdict why;
	unsigned i = free_first;
	assert_true(i != 0);
	free_first = flight[i].next;
	n_free--;
	flight[i] = (struct flight){.site = at};
	flight[i].delivery.target = &site[at].target;
	flight[i].delivery.policy = &world.policy;
	enum hosts_verdict verdict = hosts_offer(hosts, &flight[i].delivery, &why, world.now_ns);
	assert_true(verdict == HOSTS_HELD || verdict == HOSTS_PARK);
	if (verdict == HOSTS_PARK)
		park(i);
	return verdict == HOSTS_HELD;
}

static void claim_rows(void)
{
	static unsigned turn;
	for (unsigned looks = 0; looks < HOSTS_N && n_free > 0; looks++) {
		struct site *one = &site[turn++ % HOSTS_N];
		if (one->parked == 0)
			continue;
		uint64_t n = hosts_room(hosts, one->target.origin, one->target.endpoint, world.now_ns);
		n = n < one->parked ? n : one->parked;
		n = n < n_free ? n : n_free;
		for (; n > 0; n--) {
			one->parked--;
			assert_true(offer((unsigned)(one - site)));
		}
	}
}

static void start(unsigned i)
{
	static const uint64_t takes_ns[] = {[KIND_GOOD] = ANSWER, [KIND_HANGS] = 30 * S, [KIND_FAILS] = STEP};
	flight[i].ends_ns = world.now_ns + takes_ns[site[flight[i].site].kind];
	unsigned *slot = &wheel[flight[i].ends_ns / STEP % WHEEL];
	flight[i].next = *slot;
	*slot = i;
}

static unsigned number_of(const struct delivery *delivery)
{
	return (unsigned)((const struct flight *)(const void *)delivery - flight);
}

static void end(unsigned i)
{
	struct site *one = &site[flight[i].site];
	bool good = one->kind == KIND_GOOD;
	hosts_ended(hosts, &flight[i].delivery, good, !good, false, world.now_ns);
	if (!good) {
		one->bad++;
		park(i); /* again, as if it were due by then */
		return;
	}
	one->good++;
	if (world.now_ns - one->last_good_ns > one->longest_pause_ns)
		one->longest_pause_ns = world.now_ns - one->last_good_ns;
	one->last_good_ns = world.now_ns;
	give_back(i);
}

static void turn(unsigned offers)
{
	struct delivery *delivery;
	int result;
	enum guard_verdict why;
	const char *reason;
	unsigned ended = wheel[world.now_ns / STEP % WHEEL];
	wheel[world.now_ns / STEP % WHEEL] = 0;
	for (unsigned next; ended != 0; ended = next) {
		next = flight[ended].next;
		end(ended);
	}
	for (; offers > 0 && n_free > 0; offers--) {
		unsigned at = draw_below(HOSTS_N);
		site[at].offered++;
		offer(at);
	}
	claim_rows();
	while ((delivery = hosts_next(hosts, world.now_ns)) != NULL)
		start(number_of(delivery));
	while ((delivery = hosts_refused(hosts, &result, &why, &reason, world.now_ns)) != NULL)
		end(number_of(delivery));
	while ((delivery = hosts_overflow(hosts, world.now_ns)) != NULL)
		park(number_of(delivery));
}

static void run(uint64_t ns, unsigned offers)
{
	for (uint64_t until_ns = world.now_ns + ns; world.now_ns < until_ns; world.now_ns += STEP)
		turn(offers);
}

/* Good answers of the first seven. */
static uint64_t run_good(const enum kind kinds[HOSTS_N], unsigned offers)
{
	uint64_t good = 0;
	begin(kinds);
	run(120 * S, offers);
	for (unsigned i = 0; i < 7; i++) {
		good += site[i].good;
		assert_in_range(site[i].longest_pause_ns, 0, 2 * S);
	}
	return good;
}

static void three_bad_hosts_take_nothing_from_seven_good_ones_at(unsigned offers)
{
	static const enum kind all_good[HOSTS_N] = {0};
	static const enum kind bad[HOSTS_N] = {[7] = KIND_HANGS, [8] = KIND_FAILS, [9] = KIND_SILENT};
	uint64_t alone = run_good(all_good, offers);
	hosts_free(hosts);
	uint64_t beside = run_good(bad, offers);
	printf("%u offers a turn: %lu of %lu\n", offers, (unsigned long)beside, (unsigned long)alone);
	assert_true((double)beside >= 0.95 * (double)alone);
	/* The bad ones are tried, and not often. */
	for (unsigned i = 7; i < HOSTS_N; i++) {
		assert_true(site[i].bad >= 1 && site[i].good == 0);
		assert_true(site[i].bad < 3000);
	}
	/* They come back to life: what is parked flows, all of it. */
	for (unsigned i = 7; i < 9; i++)
		site[i].kind = KIND_GOOD;
	uint64_t parked = site[7].parked + site[8].parked;
	assert_true(parked > 10000);
	run(120 * S + parked * MS, 0);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(site[i].parked, 0);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(site[i].good, site[i].offered);
	hosts_free(hosts);
}

static void three_bad_hosts_take_nothing_from_seven_good_ones(void **state)
{
	(void)state;
	three_bad_hosts_take_nothing_from_seven_good_ones_at(20);
}

/* More than the good ones take: connections * 1 s / ANSWER = 1280/s each. */
static void nor_in_a_flood(void **state)
{
	(void)state;
	three_bad_hosts_take_nothing_from_seven_good_ones_at(60);
}

/* An hour of an open circuit has left 200,000 rows: after the first good probe they flow as fast as
 * the host's connections let them. */
static void a_backlog_flows_at_full_rate_once_a_probe_is_good(void **state)
{
	(void)state;
	static const enum kind kinds[HOSTS_N] = {KIND_HANGS};
	begin(kinds);
	site[0].parked = 200000;
	run(3600 * S, 0);
	assert_true(site[0].bad < 64 + 60);
	site[0].kind = KIND_GOOD;
	uint64_t waited_ns = world.now_ns;
	while (site[0].good == 0)
		run(STEP, 0);
	waited_ns = world.now_ns - waited_ns;
	/* A pause of a minute and a tenth, and a probe that still hung when it ended. */
	assert_true(waited_ns < 97 * S);
	uint64_t begun_ns = world.now_ns;
	while (site[0].parked > 0)
		run(STEP, 0);
	double ideal_s = 200000 * (ANSWER / 1e9) / 64;
	double took_s = (double)(world.now_ns - begun_ns) / 1e9;
	printf("200000 rows in %.1f s, %.1f at best\n", took_s, ideal_s);
	assert_true(took_s < 1.05 * ideal_s);
	hosts_free(hosts);
}

int main(void)
{
	draw_init(clock_real_ns());
	alarm(120);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(three_bad_hosts_take_nothing_from_seven_good_ones),
	        cmocka_unit_test(nor_in_a_flood),
	        cmocka_unit_test(a_backlog_flows_at_full_rate_once_a_probe_is_good),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
