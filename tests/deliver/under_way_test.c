#include "deliver/under_way.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "deliver/sender_limits.h"

#define N 4u

/* Requests with 1,000 ns each; what the sender has of each is the request itself. */
static struct under_way all;
static struct sender_request request[N];

static void begin_all(uint64_t now_ns)
{
	under_way_open(&all);
	for (unsigned i = 0; i < N; i++) {
		request[i] = (struct sender_request){.timeout_ns = 1000};
		under_way_begin(&all, &request[i], &request[i], now_ns);
	}
}

static void end(unsigned i)
{
	under_way_leave(&all, &request[i]);
	under_way_ended(&all, &request[i]);
}

static void what_ended_first_is_given_back_first(void **state)
{
	(void)state;
	begin_all(0);
	assert_int_equal(all.n_busy, N);
	assert_false(under_way_any_ended(&all));
	assert_null(under_way_next(&all));
	end(2);
	end(0);
	end(3);
	assert_int_equal(all.n_busy, 1);
	assert_ptr_equal(under_way_busy(&all), &request[1]);
	assert_true(under_way_any_ended(&all));
	assert_null(request[0].own);
	assert_ptr_equal(under_way_next(&all), &request[2]);
	assert_ptr_equal(under_way_next(&all), &request[0]);
	end(1);
	assert_ptr_equal(under_way_next(&all), &request[3]);
	assert_ptr_equal(under_way_next(&all), &request[1]);
	assert_null(under_way_next(&all));
	assert_null(under_way_busy(&all));
	assert_int_equal(all.n_busy, 0);
}

static void what_leaves_is_not_given_back(void **state)
{
	(void)state;
	for (unsigned left = 0; left < N; left++) {
		begin_all(0);
		for (unsigned i = 0; i < N; i++)
			end(i);
		under_way_leave(&all, &request[left]);
		under_way_leave(&all, &request[left]); /* nothing is left of it to leave */
		for (unsigned i = 0; i < N; i++)
			if (i != left)
				assert_ptr_equal(under_way_next(&all), &request[i]);
		assert_null(under_way_next(&all));
		under_way_begin(&all, &request[left], &all, 0);
		end(left);
		assert_ptr_equal(under_way_next(&all), &request[left]);
	}
	begin_all(0);
	for (unsigned i = 0; i < N; i++)
		end(i);
	under_way_close(&all);
	assert_null(under_way_next(&all));
	for (unsigned i = 0; i < N; i++)
		assert_false(list_has(&request[i].link));
}

static void nobody_has_longer_than_the_whole_request(void **state)
{
	(void)state;
	begin_all(50);
	under_way_due(&all, &request[0], 300, 100);
	assert_int_equal(request[0].due_ns, 400);
	under_way_due(&all, &request[0], 950, 100);
	assert_int_equal(request[0].due_ns, 1050);
	under_way_due(&all, &request[1], 951, 100);
	assert_int_equal(request[1].due_ns, 1050);
}

static void a_sender_sleeps_until_the_first_is_due(void **state)
{
	(void)state;
	begin_all(0);
	assert_int_equal(under_way_timeout(&all, 5000, 10), 5000);
	under_way_due(&all, &request[0], 700, 10);
	under_way_due(&all, &request[1], 300, 10);
	under_way_due(&all, &request[2], 500, 10);
	assert_int_equal(under_way_timeout(&all, 5000, 10), 300);
	assert_int_equal(under_way_timeout(&all, 200, 10), 200);
	assert_int_equal(under_way_timeout(&all, 5000, 310), 0);
	assert_int_equal(under_way_timeout(&all, 5000, 400), 0);
	end(3);
	assert_int_equal(under_way_timeout(&all, 5000, 10), 0);
	assert_ptr_equal(under_way_next(&all), &request[3]);
	for (unsigned i = 0; i < 3; i++)
		under_way_leave(&all, &request[i]);
	assert_int_equal(under_way_timeout(&all, 5000, 400), 5000);
}

/* ---- those that are late ---- */

static struct sender_request *was_late[N];
static unsigned n_late;

/* The first one gets more time, as one that has a further address to try. */
static void note(struct sender_request *late)
{
	was_late[n_late++] = late;
	if (late == &request[0])
		under_way_due(&all, late, 100, 400);
	else
		end((unsigned)(late - request));
}

static void only_what_is_late_ends_and_the_others_keep_their_time(void **state)
{
	(void)state;
	begin_all(0);
	n_late = 0;
	for (unsigned i = 0; i < N; i++)
		under_way_due(&all, &request[i], i < 2 ? 400 : i == 2 ? 401 : 600, 0);
	under_way_late(&all, 399, note);
	assert_int_equal(n_late, 0);
	under_way_late(&all, 400, note);
	assert_int_equal(n_late, 2);
	assert_ptr_equal(was_late[0], &request[0]);
	assert_ptr_equal(was_late[1], &request[1]);
	assert_ptr_equal(under_way_next(&all), &request[1]);
	assert_int_equal(under_way_timeout(&all, 5000, 400), 1); /* request 2 */
	under_way_leave(&all, &request[2]);
	/* its time stays: one look for nothing, then it is that of the first again */
	assert_int_equal(under_way_timeout(&all, 5000, 401), 0);
	under_way_late(&all, 401, note);
	assert_int_equal(n_late, 2);
	assert_int_equal(under_way_timeout(&all, 5000, 401), 99);
	under_way_leave(&all, &request[0]);
	under_way_late(&all, 500, note);
	assert_int_equal(under_way_timeout(&all, 5000, 500), 100);
	under_way_late(&all, 600, note);
	assert_int_equal(n_late, 3);
	assert_ptr_equal(was_late[2], &request[3]);
	assert_ptr_equal(under_way_next(&all), &request[3]);
	assert_int_equal(all.due_ns, SENDER_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_ended_first_is_given_back_first),
	        cmocka_unit_test(what_leaves_is_not_given_back),
	        cmocka_unit_test(nobody_has_longer_than_the_whole_request),
	        cmocka_unit_test(a_sender_sleeps_until_the_first_is_due),
	        cmocka_unit_test(only_what_is_late_ends_and_the_others_keep_their_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
