/* Hosts, endpoints, circuits and addresses, one rule at a time, in time of the test's own. */
#include "tests/deliver/hosts_world.h"

#include <unistd.h>

#include "tests/fixture/draw.h"

static struct hosts *hosts;

struct postback {
	struct delivery delivery;
	struct target target;
	enum guard_verdict why;
};

static int set_up(void **state)
{
	(void)state;
	begin_world();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	hosts_free(hosts);
	hosts = NULL;
	return 0;
}

static void make(struct postback *postback, const char *host, const char *path)
{
	memset(postback, 0, sizeof *postback);
	target_of(&postback->target, host, path);
	postback->delivery.target = &postback->target;
	postback->delivery.policy = &world.policy;
}

static enum hosts_verdict offer_again(struct postback *postback)
{
	return hosts_offer(hosts, &postback->delivery, &postback->why, world.now_ns);
}

static enum hosts_verdict offer(struct postback *postback, const char *host, const char *path)
{
	make(postback, host, path);
	return offer_again(postback);
}

static struct postback *next(void)
{
	struct delivery *delivery = hosts_next(hosts, world.now_ns);
	if (delivery != NULL)
		assert_int_equal(delivery->state, DELIVERY_STARTED);
	return (struct postback *)(void *)delivery;
}

static struct postback *refused(int *result, const char **reason)
{
	enum guard_verdict why;
	struct postback *postback = (void *)hosts_refused(hosts, result, &why, reason, world.now_ns);
	if (postback != NULL)
		postback->why = why;
	return postback;
}

static bool end(struct postback *postback, bool good)
{
	bool opened = hosts_ended(hosts, &postback->delivery, good, !good, false, world.now_ns);
	hosts_release(hosts, &postback->delivery, world.now_ns);
	return opened;
}

static void release(struct postback *postback)
{
	hosts_release(hosts, &postback->delivery, world.now_ns);
	assert_null(postback->delivery.host);
	assert_null(postback->delivery.endpoint);
}

/* One that is offered, started and ended so. */
static bool attempt(const char *host, const char *path, bool good)
{
	struct postback postback;
	assert_int_equal(offer(&postback, host, path), HOSTS_HELD);
	assert_ptr_equal(next(), &postback);
	return end(&postback, good);
}

static unsigned room(const char *host, const char *path)
{
	struct target target;
	target_of(&target, host, path);
	return hosts_room(hosts, target.origin, target.endpoint, world.now_ns);
}

static enum circuit_state circuit_of(const struct postback *postback)
{
	return postback->delivery.endpoint->circuit.state;
}

/* ---- connections, turns, room ---- */

static void hosts_take_turns_and_endpoints_within_them(void **state)
{
	(void)state;
	static const char *const want[] = {"/a", "/x", "/b", "/x", "/a", "/x", "/b", "/a"};
	struct postback postback[8];
	hosts = new_hosts(64, 64);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(offer(&postback[i], "good1", "/a"), HOSTS_HELD);
	for (unsigned i = 3; i < 5; i++)
		assert_int_equal(offer(&postback[i], "good1", "/b"), HOSTS_HELD);
	for (unsigned i = 5; i < 8; i++)
		assert_int_equal(offer(&postback[i], "good2", "/x"), HOSTS_HELD);
	for (unsigned i = 0; i < 8; i++) {
		struct postback *one = next();
		assert_non_null(one);
		assert_string_equal(strrchr(one->target.endpoint, '/'), want[i]);
	}
	assert_null(next());
	assert_int_equal(hosts_counts(hosts).started, 8);
	for (unsigned i = 0; i < 8; i++)
		end(&postback[i], true);
	assert_int_equal(hosts_counts(hosts).started, 0);
	assert_int_equal(hosts_counts(hosts).held, 0);
}

static void no_more_than_its_connections_are_under_way(void **state)
{
	(void)state;
	struct postback postback[5];
	world.policy.host.connections = 2;
	hosts = new_hosts(64, 64);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(offer(&postback[i], "good", "/"), HOSTS_HELD);
	assert_ptr_equal(next(), &postback[0]);
	assert_ptr_equal(next(), &postback[1]);
	assert_null(next());
	assert_true(hosts_due_ns(hosts, world.now_ns) == UINT64_MAX);
	end(&postback[1], true);
	assert_int_equal(hosts_due_ns(hosts, world.now_ns), world.now_ns);
	assert_ptr_equal(next(), &postback[2]);
	assert_null(next());
	/* One that is taken back makes room too, held or started. */
	release(&postback[3]);
	release(&postback[0]);
	assert_ptr_equal(next(), &postback[4]);
	assert_null(next());
}

static void a_host_that_is_full_parks(void **state)
{
	(void)state;
	enum { HELD = 8 };
	struct postback postback[HELD + 1];
	world.policy.host.connections = 2;
	world.policy.host.waiting = 6;
	hosts = new_hosts(1000, 64);
	assert_int_equal(room("good", "/a"), HELD / 2);
	for (unsigned i = 0; i < HELD; i++)
		assert_int_equal(offer(&postback[i], "good", "/a"), HOSTS_HELD);
	assert_int_equal(offer(&postback[HELD], "good", "/b"), HOSTS_PARK);
	assert_null(postback[HELD].delivery.host);
	assert_int_equal(room("good", "/a"), 0);
	assert_int_equal(room("good2", "/a"), HELD / 2);
	assert_ptr_equal(next(), &postback[0]);
	assert_ptr_equal(next(), &postback[1]);
	end(&postback[0], true);
	end(&postback[1], true);
	assert_int_equal(room("good", "/b"), 1);
	assert_int_equal(offer(&postback[HELD], "good", "/b"), HOSTS_HELD);
}

/* However many hosts hang, the next one finds deliveries free: what the others hold is parked. */
static void no_number_of_hosts_takes_all_deliveries(void **state)
{
	(void)state;
	enum { DELIVERIES = 1000, HANGING = 50 };
	static struct postback postback[DELIVERIES * 5];
	struct delivery *delivery;
	char name[32];
	unsigned n = 0, parked = 0;
	world.policy.host.connections = 4;
	hosts = new_hosts(DELIVERIES, 64);
	for (unsigned i = 0; i < HANGING; i++) {
		snprintf(name, sizeof name, "good%u", i);
		for (unsigned k = 0; k < 100; k++)
			n += offer(&postback[n], name, "/") == HOSTS_HELD;
		while (next() != NULL)
			continue;
		for (; (delivery = hosts_overflow(hosts, world.now_ns)) != NULL; parked++)
			hosts_release(hosts, delivery, world.now_ns);
		assert_true(n - parked < DELIVERIES);
	}
	/* Each has its connections, and some that it holds. */
	assert_int_equal(hosts_counts(hosts).started, HANGING * 4);
	for (unsigned i = 0; i < n; i++)
		if (postback[i].delivery.host != NULL)
			assert_in_range(postback[i].delivery.host->held, 5, DELIVERIES / 10);
	/* What hosts_room says is what offers take. */
	for (unsigned i = 0; i < n; i += 2)
		hosts_release(hosts, &postback[i].delivery, world.now_ns);
	for (unsigned i = 0, at = 0; i < HANGING; i++) {
		snprintf(name, sizeof name, "good%u", i);
		for (unsigned left = room(name, "/"); left > 0; left--, at += 2)
			assert_int_equal(offer(&postback[at], name, "/"), HOSTS_HELD);
	}
}

/* ---- rate ---- */

static void a_host_keeps_to_its_rate(void **state)
{
	(void)state;
	static struct postback postback[700];
	unsigned offered = 0, started = 0;
	world.policy.host =
	        (struct policy_host){.connections = 64, .rate = 100, .burst = 10, .waiting = 1024};
	hosts = new_hosts(4096, 64);
	for (; offered < 650; offered++)
		assert_int_equal(offer(&postback[offered], "good", "/"), HOSTS_HELD);
	uint64_t begun_ns = world.now_ns;
	for (struct postback *one; started < offered;) {
		while ((one = next()) != NULL) {
			started++;
			end(one, true);
		}
		uint64_t due_ns = hosts_due_ns(hosts, world.now_ns);
		if (started == offered)
			break;
		assert_true(due_ns > world.now_ns);
		world.now_ns = due_ns;
		assert_in_range(started, 10 + (world.now_ns - begun_ns) / (10 * MS) - 1,
		                10 + (world.now_ns - begun_ns) / (10 * MS));
	}
	assert_in_range(world.now_ns - begun_ns, 6390 * MS, 6410 * MS);
}

/* ---- circuits ---- */

static void open_circuit(const char *host, const char *path)
{
	for (unsigned i = 0; i < world.policy.circuit.failures; i++)
		assert_true(attempt(host, path, false) == (i + 1 == world.policy.circuit.failures));
}

static void failures_in_a_row_open_a_circuit(void **state)
{
	(void)state;
	struct postback postback;
	hosts = new_hosts(64, 64);
	for (unsigned i = 0; i < 100; i++)
		assert_false(attempt("good", "/a", i % 10 == 9));
	open_circuit("good", "/a");
	assert_int_equal(hosts_counts(hosts).open, 1);
	assert_int_equal(hosts_counts(hosts).opened, 1);
	assert_int_equal(offer(&postback, "good", "/a"), HOSTS_PARK);
	assert_int_equal(room("good", "/a"), 0);
	/* The other endpoint of the host goes on. */
	assert_false(attempt("good", "/b", true));
	world.policy.circuit.failures = 0;
	for (unsigned i = 0; i < 100; i++)
		assert_false(attempt("good", "/c", false));
}

static void one_probe_at_a_time_and_pauses_that_double(void **state)
{
	(void)state;
	struct postback probe, other;
	uint64_t pause_ns = world.policy.circuit.pause_ns;
	hosts = new_hosts(64, 64);
	open_circuit("good", "/");
	for (unsigned i = 0; i < 10; i++) {
		uint64_t due_ns = hosts_due_ns(hosts, world.now_ns);
		assert_in_range(due_ns - world.now_ns, pause_ns * 9 / 10 - 1, pause_ns * 11 / 10 + 1);
		world.now_ns = due_ns - 1;
		assert_int_equal(room("good", "/"), 0);
		assert_int_equal(offer(&probe, "good", "/"), HOSTS_PARK);
		world.now_ns = due_ns;
		assert_int_equal(room("good", "/"), 1);
		assert_int_equal(offer(&probe, "good", "/"), HOSTS_HELD);
		assert_true(probe.delivery.probe);
		assert_int_equal(room("good", "/"), 0);
		assert_int_equal(offer(&other, "good", "/"), HOSTS_PARK);
		assert_ptr_equal(next(), &probe);
		assert_int_equal(circuit_of(&probe), CIRCUIT_PROBING);
		assert_int_equal(hosts_counts(hosts).open, 1);
		assert_false(end(&probe, false));
		pause_ns = pause_ns * 2 < 60 * S ? pause_ns * 2 : 60 * S;
	}
	world.now_ns += 66 * S + 1;
	assert_false(attempt("good", "/", true));
	assert_int_equal(hosts_counts(hosts).open, 0);
	assert_int_equal(room("good", "/"), 64 / 8 * 7 / 2);
	/* The next time it begins with the first pause. */
	open_circuit("good", "/");
	assert_in_range(hosts_due_ns(hosts, world.now_ns) - world.now_ns, 900 * MS - 1, 1100 * MS + 1);
}

static void a_probe_that_never_ends_leaves_the_next_one_due(void **state)
{
	(void)state;
	struct postback probe;
	hosts = new_hosts(64, 64);
	open_circuit("good", "/");
	world.now_ns += 2 * S;
	/* Parked while it is held; taken back while it is under way; ended without anything
	 * learnt. */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(room("good", "/"), 1);
		assert_int_equal(offer(&probe, "good", "/"), HOSTS_HELD);
		if (i > 0)
			assert_ptr_equal(next(), &probe);
		if (i == 2)
			assert_false(hosts_ended(hosts, &probe.delivery, false, false, false, world.now_ns));
		release(&probe);
		assert_null(next());
	}
	assert_false(attempt("good", "/", true));
	assert_int_equal(hosts_counts(hosts).open, 0);
}

static void a_probe_that_is_parked_for_want_of_room_leaves_the_next_one_due(void **state)
{
	(void)state;
	enum { DELIVERIES = 32 };
	static struct postback crowd[DELIVERIES];
	struct postback probe;
	struct delivery *delivery;
	bool parked = false;
	char name[32];
	unsigned n = 0;
	world.policy.host.connections = 1;
	hosts = new_hosts(DELIVERIES, 64);
	open_circuit("good", "/");
	world.now_ns += 2 * S;
	/* Its host is full of others, and so is all else. */
	assert_int_equal(offer(&crowd[n++], "good", "/b"), HOSTS_HELD);
	assert_ptr_equal(next(), &crowd[0]);
	assert_int_equal(offer(&probe, "good", "/"), HOSTS_HELD);
	assert_true(probe.delivery.probe);
	while (n < 20 && offer(&crowd[n], "good", "/b") == HOSTS_HELD)
		n++;
	for (unsigned i = 0; n < DELIVERIES - 1; i++) {
		snprintf(name, sizeof name, "good%u", i);
		n += offer(&crowd[n], name, "/") == HOSTS_HELD;
	}
	while ((delivery = hosts_overflow(hosts, world.now_ns)) != NULL) {
		parked = parked || delivery == &probe.delivery;
		hosts_release(hosts, delivery, world.now_ns);
	}
	assert_true(parked);
	for (unsigned i = 0; i < n; i++)
		hosts_release(hosts, &crowd[i].delivery, world.now_ns);
	assert_int_equal(offer(&probe, "good", "/"), HOSTS_HELD);
	assert_true(probe.delivery.probe);
}

static void what_was_held_when_it_opened_is_to_be_parked(void **state)
{
	(void)state;
	struct postback failing[10], held[5], other, *one;
	unsigned n = 0;
	world.policy.host.connections = 10;
	hosts = new_hosts(64, 64);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(offer(&failing[i], "good", "/a"), HOSTS_HELD);
		assert_ptr_equal(next(), &failing[i]);
	}
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(offer(&held[i], "good", "/a"), HOSTS_HELD);
	assert_int_equal(offer(&other, "good", "/b"), HOSTS_HELD);
	for (unsigned i = 0; i < 10; i++)
		assert_true(hosts_ended(hosts, &failing[i].delivery, false, true, false, world.now_ns) ==
		            (i == 9));
	/* Freed connections went to them while it was closed, and to the other endpoint. */
	while ((one = next()) != NULL)
		assert_ptr_equal(one, &other);
	for (struct delivery *delivery; (delivery = hosts_overflow(hosts, world.now_ns)) != NULL; n++) {
		assert_ptr_equal(delivery, &held[n].delivery);
		assert_int_equal(delivery->endpoint->circuit.state, CIRCUIT_OPEN);
		hosts_release(hosts, delivery, world.now_ns);
	}
	assert_int_equal(n, 5);
	assert_int_equal(hosts_counts(hosts).held, 0);
	for (unsigned i = 0; i < 10; i++)
		release(&failing[i]);
	end(&other, true);
	assert_int_equal(hosts_counts(hosts).started, 0);
}

static void any_success_closes_it_with_what_it_still_held(void **state)
{
	(void)state;
	struct postback late, held;
	hosts = new_hosts(64, 64);
	world.policy.host.connections = 1;
	assert_int_equal(offer(&late, "good", "/"), HOSTS_HELD);
	assert_ptr_equal(next(), &late);
	assert_int_equal(offer(&held, "good", "/"), HOSTS_HELD);
	hosts_set_gone(hosts, held.target.endpoint, world.now_ns + S, world.now_ns);
	assert_int_equal(hosts_counts(hosts).gone, 1);
	end(&late, true);
	assert_int_equal(hosts_counts(hosts).gone, 0);
	assert_null(hosts_overflow(hosts, world.now_ns));
	assert_ptr_equal(next(), &held);
	end(&held, true);
}

static void an_endpoint_that_is_gone_gets_nothing_until_it_is_probed(void **state)
{
	(void)state;
	struct postback postback;
	hosts = new_hosts(64, 64);
	assert_int_equal(offer(&postback, "good", "/"), HOSTS_HELD);
	assert_ptr_equal(next(), &postback);
	assert_false(hosts_ended(hosts, &postback.delivery, false, false, true, world.now_ns));
	release(&postback);
	assert_int_equal(hosts_counts(hosts).gone, 1);
	assert_int_equal(offer(&postback, "good", "/"), HOSTS_GONE);
	assert_int_equal(room("good", "/"), 64);
	world.now_ns += 86400 * S;
	assert_int_equal(room("good", "/"), 1);
	assert_false(attempt("good", "/", true));
	assert_int_equal(hosts_counts(hosts).gone, 0);
	/* Another process has heard it; dead letters are replayed. */
	hosts_set_gone(hosts, "https://good/x", world.now_ns + S, world.now_ns);
	assert_int_equal(offer(&postback, "good", "/x"), HOSTS_GONE);
	hosts_close_circuit(hosts, "https://good/x", world.now_ns);
	assert_false(attempt("good", "/x", true));
}

/* ---- addresses ---- */

static void addresses_are_asked_once_for_many(void **state)
{
	(void)state;
	struct postback postback[20];
	hosts = new_hosts(64, 64);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(offer(&postback[i], "slow", "/"), HOSTS_HELD);
	assert_null(next());
	assert_int_equal(world.asked, 1);
	world.now_ns += 20 * MS;
	world.answer_slow = true;
	for (unsigned i = 0; i < 20; i++) {
		assert_ptr_equal(next(), &postback[i]);
		assert_int_equal(postback[i].delivery.dns_us, 20000);
		assert_int_equal(postback[i].delivery.host->place.n, 1);
	}
	for (unsigned i = 0; i < 20; i++)
		end(&postback[i], true);
	assert_int_equal(offer(&postback[0], "slow", "/"), HOSTS_HELD);
	assert_ptr_equal(next(), &postback[0]);
	assert_int_equal(postback[0].delivery.dns_us, 0);
	assert_int_equal(world.asked, 1);
}

static void expired_addresses_serve_on_while_a_new_answer_comes(void **state)
{
	(void)state;
	hosts = new_hosts(64, 64);
	world.answer_slow = true;
	attempt("slow", "/", true);
	world.answer_slow = false;
	world.now_ns += world.ttl_ns + S;
	attempt("slow", "/", true);
	attempt("slow", "/", true);
	assert_int_equal(world.asked, 2);
	assert_null(hosts_moved(hosts));
	world.answer_slow = true;
	world.last_byte = 7;
	assert_null(next());
	const struct sender_place *place = hosts_moved(hosts);
	assert_non_null(place);
	assert_int_equal(place->address[0][15], 7);
	assert_null(hosts_moved(hosts));
	/* Not for ever. */
	struct postback postback;
	world.answer_slow = false;
	world.now_ns += world.ttl_ns + 61 * S;
	assert_int_equal(offer(&postback, "slow", "/"), HOSTS_HELD);
	assert_null(next());
	world.answer_slow = true;
	assert_ptr_equal(next(), &postback);
}

static void they_serve_on_while_servers_are_down_and_no_longer(void **state)
{
	(void)state;
	struct postback postback;
	int result;
	const char *reason;
	unsigned served = 0;
	hosts = new_hosts(64, 64);
	attempt("good", "/", true);
	world.servers_down = true;
	world.now_ns += world.ttl_ns;
	for (; served < 200; served++, world.now_ns += S) {
		assert_int_equal(offer(&postback, "good", "/"), HOSTS_HELD);
		if (next() == NULL)
			break;
		end(&postback, true);
		assert_null(next());
	}
	assert_in_range(served, 58, 62);
	/* A failure is kept, and asked about again after that. */
	assert_in_range(world.asked, 5, 9);
	struct postback *one = refused(&result, &reason);
	if (one == NULL) {
		world.now_ns += 5 * S;
		assert_null(next());
		one = refused(&result, &reason);
	}
	assert_ptr_equal(one, &postback);
	assert_int_equal(result, -ETIMEDOUT);
	assert_string_equal(reason, "as the test wants it");
	end(one, false);
	world.servers_down = false;
	world.now_ns += 5 * S;
	attempt("good", "/", true);
}

static void a_name_without_addresses_gives_back_what_it_held(void **state)
{
	(void)state;
	struct postback postback[3], late;
	int result;
	const char *reason;
	hosts = new_hosts(64, 64);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(offer(&postback[i], "missing", i == 1 ? "/b" : "/a"), HOSTS_HELD);
	assert_null(next());
	for (unsigned i = 0; i < 3; i++) {
		struct postback *one = refused(&result, &reason);
		assert_non_null(one);
		assert_int_equal(result, -ENOENT);
		assert_int_equal(one->why, GUARD_PASSES);
		end(one, false);
	}
	assert_null(refused(&result, &reason));
	/* For a while the same is true of those that come, without another look-up. */
	assert_int_equal(offer(&late, "missing", "/a"), HOSTS_HELD);
	assert_null(next());
	assert_ptr_equal(refused(&result, &reason), &late);
	end(&late, false);
	assert_int_equal(world.asked, 1);
	world.now_ns += 5 * S;
	assert_int_equal(offer(&late, "missing", "/a"), HOSTS_HELD);
	assert_null(next());
	assert_int_equal(world.asked, 2);
}

static void one_forbidden_address_forbids_the_name(void **state)
{
	(void)state;
	struct postback postback, late;
	int result;
	const char *reason;
	hosts = new_hosts(64, 64);
	assert_int_equal(offer(&postback, "inside", "/"), HOSTS_HELD);
	assert_null(next());
	assert_ptr_equal(refused(&result, &reason), &postback);
	assert_int_equal(result, -EACCES);
	assert_int_equal(postback.why, GUARD_PRIVATE);
	assert_string_equal(reason, "10.0.0.1 is a private address");
	assert_false(hosts_ended(hosts, &postback.delivery, false, false, false, world.now_ns));
	release(&postback);
	assert_int_equal(offer(&late, "inside", "/"), HOSTS_REFUSED);
	assert_int_equal(late.why, GUARD_PRIVATE);
	assert_int_equal(offer(&late, "forbidden", "/"), HOSTS_REFUSED);
	assert_int_equal(late.why, GUARD_DENIED);
	assert_int_equal(room("forbidden", "/"), 64);
	/* A name that the configuration allows may have it. */
	attempt("inside-allowed", "/", true);
}

static void a_name_that_turns_inwards_is_not_served_on(void **state)
{
	(void)state;
	struct postback postback;
	int result;
	const char *reason;
	hosts = new_hosts(64, 64);
	world.answer_slow = true;
	attempt("slow", "/", true);
	world.now_ns += world.ttl_ns;
	world.answer_slow = false;
	assert_int_equal(offer(&postback, "slow", "/"), HOSTS_HELD);
	/* It is being asked again, and the answer is of another kind. */
	snprintf(world.query[0].host, sizeof world.query[0].host, "inside");
	world.query[0].due_ns = 0;
	assert_ptr_equal(next(), &postback);
	end(&postback, true);
	assert_null(next());
	assert_non_null(hosts_moved(hosts));
	assert_int_equal(offer(&postback, "slow", "/"), HOSTS_REFUSED);
	assert_null(refused(&result, &reason));
}

static void names_that_are_full_are_asked_later_in_order(void **state)
{
	(void)state;
	enum { ASKERS = 10 };
	struct postback postback[ASKERS];
	char name[32];
	world.most = 3;
	hosts = new_hosts(64, 64);
	for (unsigned i = 0; i < ASKERS; i++) {
		snprintf(name, sizeof name, "good%u", i);
		assert_int_equal(offer(&postback[i], name, "/"), HOSTS_HELD);
	}
	assert_int_equal(world.asked, 3);
	unsigned started = 0;
	for (struct postback *one; (one = next()) != NULL; started++)
		end(one, true);
	assert_int_equal(started, ASKERS);
	assert_int_equal(world.asked, ASKERS);
}

/* ---- redirects ---- */

static void a_redirected_one_moves_to_its_new_host_and_keeps_its_endpoint(void **state)
{
	(void)state;
	struct postback postback, other;
	struct target target;
	hosts = new_hosts(64, 64);
	world.policy.host.connections = 1;
	assert_int_equal(offer(&postback, "good1", "/a"), HOSTS_HELD);
	assert_ptr_equal(next(), &postback);
	assert_int_equal(offer(&other, "good2", "/b"), HOSTS_HELD);
	target_of(&target, "forbidden", "/c");
	postback.delivery.target = &target;
	assert_int_equal(hosts_redirect(hosts, &postback.delivery, &postback.why, world.now_ns),
	                 HOSTS_REFUSED);
	assert_int_equal(postback.why, GUARD_DENIED);
	target_of(&target, "good2", "/c");
	assert_int_equal(hosts_redirect(hosts, &postback.delivery, &postback.why, world.now_ns), HOSTS_HELD);
	assert_string_equal(postback.delivery.endpoint->name, "https://good1/a");
	assert_string_equal(postback.delivery.host->origin, "https://good2:443");
	assert_ptr_equal(next(), &postback);
	assert_null(next());
	assert_false(end(&postback, false));
	assert_ptr_equal(next(), &other);
	end(&other, true);
	assert_int_equal(hosts_counts(hosts).started, 0);
	attempt("good1", "/a", true);
}

/* ---- bounds ---- */

static void what_was_idle_for_longest_makes_room(void **state)
{
	(void)state;
	struct postback postback, busy;
	char name[32];
	hosts = new_hosts(8, 16);
	open_circuit("good-open", "/");
	assert_int_equal(offer(&busy, "good-busy", "/"), HOSTS_HELD);
	assert_ptr_equal(next(), &busy);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "%s%u", i % 3 == 0 ? "slow" : "good", i);
		assert_int_equal(offer(&postback, name, "/"), HOSTS_HELD);
		if (i % 3 != 0)
			assert_ptr_equal(next(), &postback);
		release(&postback); /* a host that is forgotten while it asks forgets the question */
		assert_true(hosts_counts(hosts).hosts <= 16 && hosts_counts(hosts).endpoints <= 16);
	}
	assert_true(world.n <= 16);
	/* An open circuit is kept before closed ones, and what is in use stays. */
	assert_int_equal(offer(&postback, "good-open", "/"), HOSTS_PARK);
	end(&busy, true);
	/* When all are open, the oldest of those. */
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "https://x/%u", i);
		hosts_set_gone(hosts, name, world.now_ns + S, world.now_ns);
	}
	assert_int_equal(hosts_counts(hosts).endpoints, 16);
	assert_int_equal(hosts_counts(hosts).gone + hosts_counts(hosts).open, 16);
}

static void count_one(void *argument, const struct endpoint *endpoint)
{
	assert_true(endpoint->circuit.state != CIRCUIT_CLOSED);
	(*(unsigned *)argument)++;
}

static void circuits_that_are_not_closed_are_told(void **state)
{
	(void)state;
	unsigned n = 0;
	hosts = new_hosts(64, 64);
	open_circuit("good1", "/");
	open_circuit("good2", "/");
	attempt("good3", "/", true);
	hosts_each_open(hosts, 10, count_one, &n);
	assert_int_equal(n, 2);
	hosts_each_open(hosts, 1, count_one, &n);
	assert_int_equal(n, 3);
}

/* 10,000 hosts with work, all blocked but a few: what it costs does not grow with them. */
static uint64_t time_of_starts(unsigned blocked, bool by_rate)
{
	enum { STARTS = 20000 };
	static struct postback postback[10100];
	char name[32];
	begin_world();
	world.most = QUERIES_MAX;
	hosts = new_hosts(65536, 16384);
	world.policy.host = (struct policy_host){
	        .connections = by_rate ? 10 : 1, .rate = by_rate ? 1 : 0, .burst = 1, .waiting = 1024};
	for (unsigned i = 0; i < blocked; i++) {
		struct postback *one = &postback[i];
		snprintf(name, sizeof name, "good%u", i);
		assert_int_equal(offer(one, name, "/"), HOSTS_HELD);
	}
	for (struct postback *one; (one = next()) != NULL;) {
		if (by_rate)
			end(one, true);
	}
	static struct postback more[10100];
	for (unsigned i = 0; i < blocked; i++) {
		snprintf(name, sizeof name, "good%u", i);
		assert_int_equal(offer(&more[i], name, "/"), HOSTS_HELD);
	}
	assert_null(next());
	struct policy_host fast = {.connections = 64, .burst = 1, .waiting = 1024};
	/* hosts read theirs when they are settled */
	world.policy.host = by_rate ? world.policy.host : fast;
	uint64_t begun_ns = clock_monotonic_ns();
	static struct policy_host own;
	own = fast;
	struct postback one;
	assert_int_equal(offer(&one, "good-free", "/"), HOSTS_HELD);
	one.delivery.host->policy = &own;
	for (unsigned i = 0; i < STARTS; i++) {
		struct postback *started = next();
		assert_ptr_equal(started, &one);
		end(started, true);
		assert_int_equal(offer_again(&one), HOSTS_HELD);
	}
	uint64_t took_ns = clock_monotonic_ns() - begun_ns;
	hosts_free(hosts);
	hosts = NULL;
	return took_ns / STARTS;
}

static void hosts_that_may_not_start_cost_nothing(void **state)
{
	(void)state;
	for (unsigned by_rate = 0; by_rate < 2; by_rate++) {
		uint64_t few_ns = time_of_starts(10, by_rate), many_ns = time_of_starts(10000, by_rate);
		printf("%lu ns a start with 10 blocked hosts, %lu with 10000\n", (unsigned long)few_ns,
		       (unsigned long)many_ns);
		/* A walk over them would be a thousand times as much. */
		assert_true(many_ns < few_ns * 10 + 2000);
	}
}

int main(void)
{
	draw_init(clock_real_ns());
	alarm(120);
#define RULE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        RULE(hosts_take_turns_and_endpoints_within_them),
	        RULE(no_more_than_its_connections_are_under_way),
	        RULE(a_host_that_is_full_parks),
	        RULE(no_number_of_hosts_takes_all_deliveries),
	        RULE(a_host_keeps_to_its_rate),
	        RULE(failures_in_a_row_open_a_circuit),
	        RULE(one_probe_at_a_time_and_pauses_that_double),
	        RULE(a_probe_that_never_ends_leaves_the_next_one_due),
	        RULE(a_probe_that_is_parked_for_want_of_room_leaves_the_next_one_due),
	        RULE(what_was_held_when_it_opened_is_to_be_parked),
	        RULE(any_success_closes_it_with_what_it_still_held),
	        RULE(an_endpoint_that_is_gone_gets_nothing_until_it_is_probed),
	        RULE(addresses_are_asked_once_for_many),
	        RULE(expired_addresses_serve_on_while_a_new_answer_comes),
	        RULE(they_serve_on_while_servers_are_down_and_no_longer),
	        RULE(a_name_without_addresses_gives_back_what_it_held),
	        RULE(one_forbidden_address_forbids_the_name),
	        RULE(a_name_that_turns_inwards_is_not_served_on),
	        RULE(names_that_are_full_are_asked_later_in_order),
	        RULE(a_redirected_one_moves_to_its_new_host_and_keeps_its_endpoint),
	        RULE(what_was_idle_for_longest_makes_room),
	        RULE(circuits_that_are_not_closed_are_told),
	        RULE(hosts_that_may_not_start_cost_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
