/* Sieve: the filters of an entry, compiled for each of its topics. */
#include "stage/sieve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/fixture/config.h"
#include "tests/fixture/event_slot.h"

static struct record *ip_record(union slot *slot, uint32_t ip)
{
	struct event_ip event = {.arrival_ns = 5000000, .source_port = 1, .ip = ip};
	memcpy(event.source, loopback, sizeof loopback);
	memcpy(record_put(slot, EVENT_IP, sizeof event), &event, sizeof event);
	return &slot->record;
}

static void records_pass_that_match_all_filters_of_their_topic(void **state)
{
	(void)state;
	union slot slot;
	struct sieve sieve;
	struct shm_error error = {""};
	struct config *config = load(
	        "sinks: [{name: a, topics: [log, ip], filter: ['ip=10.0.0.1']}, {name: b, topics: ip}]", "");
	assert_int_equal(sieve_compile(&sieve, config, "sinks[0]", NULL, &error), 0);
	assert_int_equal(sieve.n_topics, 2);
	assert_true(sieve_keeps(&sieve, 1, ip_record(&slot, 0x0a000001)));
	assert_false(sieve_keeps(&sieve, 1, ip_record(&slot, 0x0a000002)));
	sieve_fini(&sieve);
	assert_int_equal(sieve_compile(&sieve, config, "sinks[1]", (const char *const[]){"ip", NULL}, &error),
	                 0);
	assert_true(sieve_keeps(&sieve, 0, ip_record(&slot, 0x0a000002)));
	sieve_fini(&sieve);
	config_free(config);
}

static void a_field_that_one_topic_does_not_have_is_an_error(void **state)
{
	(void)state;
	struct sieve sieve;
	struct shm_error error = {""};
	struct config *config = load("sinks: [{name: a, topics: [log, ip], filter: ['client_id=1']}]", "");
	assert_int_equal(sieve_compile(&sieve, config, "sinks[0]", NULL, &error), -EINVAL);
	const char *said = "sinks[0].filter: events of ip have no field \"client_id\"; they have: ts, ";
	assert_memory_equal(error.text, said, strlen(said));
	sieve_fini(&sieve);
	/* Only topics that are there count. */
	assert_int_equal(
	        sieve_compile(&sieve, config, "sinks[0]", (const char *const[]){"log", NULL}, &error), 0);
	sieve_fini(&sieve);
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(records_pass_that_match_all_filters_of_their_topic),
	        cmocka_unit_test(a_field_that_one_topic_does_not_have_is_an_error),
	};
	alarm(20);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
