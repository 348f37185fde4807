/* The plan: from configurations to topics, lanes, roles and bytes; and how it fits what a former
 * life left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/udp/buffers.h"
#include "stage/control.h"
#include "supervisor/plan.h"
#include "tests/fixture/sandbox.h"

/* Nobody keeps what a test does not say somebody keeps. */
static const char *const sets[] = {"sinks=[]", "serve.listen=[]"};

static struct plan *make(const char *text, char **errors)
{
	struct config *config = config_load_text("test.yaml", text, strlen(text), sets, 2, errors);
	if (config == NULL)
		return NULL;
	struct plan *plan = plan_make(config, errors);
	config_free(config);
	return plan;
}

static struct plan *must_make(const char *text)
{
	char *errors = NULL;
	struct plan *plan = make(text, &errors);
	if (plan == NULL)
		fail_msg("%s", errors);
	return plan;
}

static const struct plan_topic *topic_of(const struct plan *plan, const char *name)
{
	int index = plan_topic_index(plan, name);
	assert_true(index >= 0);
	return &plan->topic[index];
}

static void assert_error(const char *text, const char *part)
{
	char *errors = NULL;
	struct plan *plan = make(text, &errors);
	assert_null(plan);
	assert_non_null(errors);
	if (strstr(errors, part) == NULL)
		fail_msg("\"%s\" is not in:\n%s", part, errors);
	free(errors);
}

static void the_embedded_default_is_udp_http_enrich_deliver_tally_and_serve(void **state)
{
	(void)state;
	char *errors = NULL;
	struct config *config = config_load(NULL, sets, 1, &errors);
	assert_non_null(config);
	struct plan *plan = plan_make(config, &errors);
	assert_non_null(plan);
	assert_string_equal(plan->instance, "default");
	assert_int_equal(plan->n_roles, 6);
	assert_string_equal(plan->role[0].page.name, "ingest-udp.0");
	assert_string_equal(plan->role[0].section, "ingest.udp[0]");
	assert_int_equal(plan->role[0].rank, 0);
	assert_int_equal(plan->role[0].n_queues, 0);
	assert_string_equal(plan->role[1].page.name, "ingest-http.0");
	assert_string_equal(plan->role[1].page.program, "ingest-http");
	assert_string_equal(plan->role[1].section, "ingest.http[0]");
	assert_int_equal(plan->role[1].rank, 0);
	assert_int_equal(plan->role[1].number, 2);
	assert_int_equal(plan->role[1].n_queues, 1);
	assert_string_equal(plan->role[1].queue[0], "postback");
	assert_string_equal(plan->role[2].page.name, "enrich.0");
	assert_string_equal(plan->role[2].section, "enrich");
	assert_int_equal(plan->role[2].rank, 1);
	assert_int_equal(plan->role[2].private_bytes, PRIVATE_NOTE_BYTES);
	assert_string_equal(plan->role[3].page.name, "deliver.0");
	assert_string_equal(plan->role[3].section, "deliver");
	assert_int_equal(plan->role[3].rank, 1);
	assert_string_equal(plan->role[3].queue[0], "postback");
	assert_int_equal(plan->role[3].private_bytes, PRIVATE_NOTE_BYTES);
	assert_string_equal(plan->role[4].page.name, "tally.0");
	assert_int_equal(plan->role[4].rank, 2); /* after enrich and deliver */
	assert_int_equal(plan->role[4].listener, -1);
	/* It starts first and ends last. */
	assert_string_equal(plan->role[5].page.name, "serve.0");
	assert_int_equal(plan->role[5].rank, flow_ranks() - 1);
	assert_int_equal(plan->role[5].private_bytes, 0);
	assert_int_equal(plan->n_listeners, 2);
	assert_int_equal(plan->listener[1].sockets, PLAN_CONNECTIONS);
	assert_int_equal(plan->listener[1].backlog, 4096);
	assert_int_equal(plan->n_topics, 6);
	assert_string_equal(topic_of(plan, "delivery")->page.lane_role[0], "deliver.0");
	assert_int_equal(topic_of(plan, "delivery")->page.when_full, WHEN_FULL_DROP);
	assert_string_equal(topic_of(plan, "track.raw")->page.lane_role[0], "ingest-http.0");
	assert_string_equal(topic_of(plan, "track.raw")->required[0], "enrich");
	assert_int_equal(topic_of(plan, "track.raw")->n_required, 1);
	assert_string_equal(topic_of(plan, "metric")->required[0], "tally");
	assert_string_equal(topic_of(plan, "track")->required[0], "tally");
	assert_string_equal(topic_of(plan, "delivery")->required[0], "tally");
	assert_string_equal(topic_of(plan, "track")->page.lane_role[0], "enrich.0");
	assert_int_equal(topic_of(plan, "log")->page.when_full, WHEN_FULL_REFUSE);
	assert_int_equal(topic_of(plan, "log")->n_required, 0);
	assert_int_equal(plan->n_queues, 1);
	assert_string_equal(plan->queue[0].page.name, "postback");
	assert_int_equal(plan->queue[0].page.slots, 16384);
	assert_int_equal(plan->queue[0].page.slot_bytes, 4096);
	assert_string_equal(plan->topic[0].page.name, "ip");
	assert_int_equal(plan->topic[0].page.size_bytes, 64 << 20);
	assert_int_equal(plan->topic[0].page.n_lanes, 1);
	assert_string_equal(plan->topic[0].page.lane_role[0], "ingest-udp.0");
	assert_int_equal(plan->topic[0].n_required, 1);
	assert_string_equal(plan->topic[0].required[0], "tally");
	assert_true(plan_writes(&plan->topic[0], "ingest-udp.0"));
	assert_false(plan_writes(&plan->topic[0], "tally.0"));
	assert_true(plan_reads(&plan->topic[0], "tally.0"));
	assert_false(plan_reads(&plan->topic[0], "tallyman.0"));
	plan_free(plan);
	config_free(config);
}

static void frames_of_packets_lie_in_whole_pages_after_the_buffers(void **state)
{
	(void)state;
	struct plan *plan = must_make(
	        "ingest: {udp: [{buffers: 16, processes: 2}, {listen: ':1', buffers: 16, backend: xdp, interface: eth0, frames: 1024}]}");
	size_t buffers = udp_private_bytes(16);
	assert_int_equal(plan->role[1].private_bytes, buffers);
	assert_int_equal(plan->role[2].private_bytes, (buffers + 4095) / 4096 * 4096 + 4096 + 1024 * 2048);
	assert_int_equal(plan->role[2].private_bytes % 4096, 0);
	assert_string_equal(plan->listener[0].interface, "");
	assert_string_equal(plan->listener[1].interface, "eth0");
	assert_string_equal(plan->listener[1].queues, "all");
	plan_free(plan);
}

static void a_queue_of_an_interface_is_for_one_listener(void **state)
{
	(void)state;
#define TWO(one, other)                                                                                      \
	"ingest: {udp: [{listen: ':1', backend: xdp, interface: eth0" one "}, {listen: ':2', backend: xdp, " \
	"interface: eth0" other "}]}"
	static const char taken[] =
	        "ingest.udp[1].queues: ingest.udp[0] takes packets of eth0 too; allowed: ";
	assert_error(TWO("", ""), taken);
	assert_error(TWO("", ", queues: 3"), taken);
	assert_error(TWO(", queues: [0, 3]", ", queues: [1, 3]"), taken);
	assert_error(TWO(", queues: 0", ", queues: 1, xdp_mode: copy"),
	             "ingest.udp[1].xdp_mode: not that of ingest.udp[0], which takes packets of eth0 too");
	plan_free(must_make(TWO(", queues: 0", ", queues: [1, 3]")));
	plan_free(must_make(
	        "ingest: {udp: [{listen: ':1', backend: xdp, interface: eth0}, {listen: ':2', backend: xdp, interface: eth1}]}"));
#undef TWO
}

static struct plan *make_listening(const char *set, char **errors)
{
	const char *const own[] = {"sinks=[]", "ingest.http[0].listen=127.0.0.1:8080", set};
	struct config *config = config_load(NULL, own, 3, errors);
	struct plan *plan = config == NULL ? NULL : plan_make(config, errors);
	config_free(config);
	return plan;
}

static void what_listens_by_itself_exists_with_an_address_that_no_listener_has(void **state)
{
	(void)state;
	char *errors = NULL;
	struct plan *plan = make_listening("serve.listen=[]", &errors);
	assert_non_null(plan);
	assert_int_equal(plan_role_index(plan, "serve.0"), -1);
	plan_free(plan);
	plan = make_listening("serve.listen=['127.0.0.1:4003', 'unix:/tmp/s']", &errors);
	assert_non_null(plan);
	assert_true(plan_role_index(plan, "serve.0") >= 0);
	plan_free(plan);
	assert_null(make_listening("serve.listen=['127.0.0.1:4003', '127.0.0.1:8080']", &errors));
	assert_non_null(strstr(errors, "serve.listen: 127.0.0.1:8080 and 127.0.0.1:8080 would want"));
	free(errors);
	errors = NULL;
	assert_null(make_listening("serve.listen=['127.0.0.1:4003', '127.0.0.1:4003']", &errors));
	assert_non_null(strstr(errors, "serve.listen[1]: \"127.0.0.1:4003\" takes what serve.listen[0]"));
	free(errors);
	errors = NULL;
	assert_null(make_listening("serve.listen=nowhere", &errors));
	assert_non_null(strstr(errors, "serve.listen[0]: \"nowhere\" is not an address"));
	free(errors);
}

static void roles_are_numbered_through_the_entries(void **state)
{
	(void)state;
	struct plan *plan = must_make(
	        "ingest: {udp: [{listen: '127.0.0.1:0', format: ipevent, processes: 2}, {listen: ['127.0.0.1:0', '[::1]:0'], format: json, processes: 3}]}");
	assert_int_equal(plan->n_listeners, 2);
	assert_int_equal(plan->n_roles, 7);
	assert_int_equal(plan->role[1].listener, 0);
	assert_int_equal(plan->role[2].listener, 1);
	assert_int_equal(plan->listener[1].n_addresses, 2);
	assert_string_equal(plan->role[4].page.name, "ingest-udp.4");
	assert_string_equal(plan->role[4].section, "ingest.udp[1]");
	assert_int_equal(plan->role[4].process, 2);
	assert_int_equal(topic_of(plan, "ip")->page.n_lanes, 2);
	assert_int_equal(topic_of(plan, "metric")->page.n_lanes, 3);
	assert_string_equal(topic_of(plan, "track.raw")->page.lane_role[2], "ingest-udp.4");
	assert_int_equal(plan_topic_index(plan, "raw"), -1);
	plan_free(plan);
}

static void udp_and_http_listeners_share_topics_and_have_numbers_of_their_own(void **state)
{
	(void)state;
	struct plan *plan = must_make(
	        "ingest: {udp: [{listen: ':5000', format: json}], http: [{listen: [':5000', 'unix:/run/a'], processes: 2}, {listen: 'unix:/run/b', backlog: 7}]}");
	assert_int_equal(plan->n_listeners, 3);
	assert_int_equal(plan->n_addresses, 4);
	assert_int_equal(plan->n_roles, 7);
	assert_string_equal(plan->role[0].page.name, "ingest-udp.0");
	assert_string_equal(plan->role[3].page.name, "ingest-http.2");
	assert_string_equal(plan->role[3].section, "ingest.http[1]");
	assert_int_equal(plan->role[3].listener, 2);
	assert_int_equal(plan->listener[2].backlog, 7);
	assert_string_equal(plan->listener[1].writes, "metric, log, track.raw, postback");
	assert_int_equal(topic_of(plan, "metric")->page.n_lanes, 4);
	assert_string_equal(topic_of(plan, "metric")->page.lane_role[0], "ingest-udp.0");
	assert_string_equal(topic_of(plan, "metric")->page.lane_role[3], "ingest-http.2");
	assert_int_equal(topic_of(plan, "log")->page.n_lanes, 3);
	assert_int_equal(plan->n_queues, 1);
	plan_free(plan);
}

static void processes_that_share_a_topic_have_a_lane_each_and_one_group(void **state)
{
	(void)state;
	struct plan *plan =
	        must_make("ingest: {http: [{listen: ':1', processes: 2}]}\nenrich: {processes: 3}");
	assert_string_equal(plan->role[4].page.name, "enrich.2");
	assert_int_equal(topic_of(plan, "track.raw")->n_required, 1);
	assert_int_equal(topic_of(plan, "track")->page.n_lanes, 3);
	assert_true(plan_reads(topic_of(plan, "track.raw"), "enrich.2"));
	assert_true(plan_writes(topic_of(plan, "track"), "enrich.2"));
	plan_free(plan);
}

static void a_queue_exists_only_when_a_role_uses_it(void **state)
{
	(void)state;
	struct plan *plan = must_make("ingest: {udp: [{listen: ':5000', format: json}]}\n"
	                              "queues: {postback: {slots: 8}}");
	assert_int_equal(plan->n_queues, 0);
	plan_free(plan);
}

static void tally_exists_only_with_one_of_its_topics(void **state)
{
	(void)state;
	struct plan *plan = must_make("ingest: {udp: [{listen: '127.0.0.1:0', format: raw}]}");
	assert_int_equal(plan->n_roles, 1);
	assert_int_equal(topic_of(plan, "raw")->n_required, 0);
	plan_free(plan);
	static const char *const topics[] = {"ip", "metric", "track", "delivery"};
	for (unsigned i = 0; i < 4; i++) {
		char text[100];
		snprintf(text, sizeof text, "ingest: {}\ntopics: {%s: {outside_lanes: 1}}", topics[i]);
		plan = must_make(text);
		assert_int_equal(plan->n_topics, 1);
		assert_int_equal(plan->n_roles, 1);
		assert_string_equal(plan->role[0].page.name, "tally.0");
		assert_true(plan_reads(&plan->topic[0], "tally.0"));
		plan_free(plan);
	}
}

static void outside_lanes_make_topics_and_come_after_the_stages(void **state)
{
	(void)state;
	struct plan *plan = must_make(
	        "topics: {ip: {outside_lanes: 2}, orders: {size: 1MiB, when_full: refuse, outside_lanes: 3}, unused: {size: 1MiB, outside_lanes: 0}}");
	const struct plan_topic *ip = topic_of(plan, "ip"), *orders = topic_of(plan, "orders");
	assert_int_equal(ip->page.n_lanes, 3);
	assert_string_equal(ip->page.lane_role[0], "ingest-udp.0");
	assert_string_equal(ip->page.lane_role[2], "");
	assert_int_equal(orders->page.n_lanes, 3);
	assert_int_equal(orders->page.size_bytes, 1 << 20);
	assert_int_equal(orders->page.when_full, WHEN_FULL_REFUSE);
	assert_int_equal(plan_topic_index(plan, "unused"), -1);
	plan_free(plan);
}

static void mistakes_are_all_told(void **state)
{
	(void)state;
	assert_error("ingest: {udp: [{listen: '127.0.0.1'}]}", "127.0.0.1");
	assert_error("ingest: {udp: [{listen: ['127.0.0.1:5000', '127.0.0.1:5000']}]}", "127.0.0.1:5000");
	assert_error("ingest: {udp: [{listen: '[::]:5000'}, {listen: '127.0.0.1:5000'}]}", "127.0.0.1:5000");
	assert_error("instance: a/b", "a/b");
	assert_error(
	        "ingest: {udp: [{processes: 32}, {listen: ':1', processes: 31}, {listen: ':2', processes: 32}]}",
	        "ingest.udp");
	assert_error("topics: {ip: {outside_lanes: 16}}\ningest: {udp: [{processes: 32}]}", "lanes");
	assert_error("ingest: {http: [{listen: 'unix:/a'}, {listen: 'unix:/a'}]}", "unix:/a");
	assert_error("ingest: {udp: [{listen: ':1', format: json}], http: [{processes: 32}]}",
	             "topics.metric");
}

/* The supervisor may not include the stages' headers; what it has in its table must be what they
 * say. */
static void private_memory_is_what_the_stage_declares(void **state)
{
	(void)state;
	struct plan *plan = must_make(
	        "ingest: {udp: [{listen: ':5000', buffers: 16}, {listen: ':5001', buffers: 1024}]}");
	assert_int_equal(plan->role[0].private_bytes, udp_private_bytes(16));
	assert_int_equal(plan->role[1].private_bytes, udp_private_bytes(1024));
	assert_int_equal(plan->role[2].private_bytes, 0);
	plan_free(plan);
	plan = must_make("ingest: {http: [{listen: ':5000'}]}");
	assert_int_equal(plan->role[0].private_bytes, PRIVATE_NOTE_BYTES);
	plan_free(plan);
}

struct listing {
	unsigned n;
	uint64_t bytes;
	bool has_lane, has_queue, has_errand;
};

static void list(void *argument, const char *name, uint64_t file_bytes)
{
	struct listing *listing = argument;
	listing->n++;
	listing->bytes += file_bytes;
	assert_int_equal(file_bytes % 4096, 0);
	listing->has_queue |= strcmp(name, "postback.queue") == 0 && file_bytes == queue_file_bytes(256, 512);
	listing->has_errand |= strcmp(name, "tally.0.errand") == 0;
	listing->has_lane |= strcmp(name, "ip.lane.1") == 0 && file_bytes == stream_file_bytes(1 << 20);
}

static void every_segment_is_listed_with_its_bytes(void **state)
{
	(void)state;
	struct plan *plan = must_make(
	        "ingest: {udp: [{listen: ':5000', processes: 2, buffers: 16}], http: [{listen: ['unix:/run/a', ':5001']}]}\n"
	        "topics: {ip: {size: 1MiB}, metric: {size: 64KiB}}\n"
	        "queues: {postback: {slots: 256, slot_size: 512}}");
	struct listing listing = {0};
	plan_each_segment(plan, list, &listing);
	/* page, drops; six topics with 16 groups each, ip with two lanes; the queue; six
	 * stages, five of them with private memory and one that takes errands */
	assert_int_equal(listing.n, 2 + 6 * STREAM_GROUPS_MAX + 7 + 1 + 6 + 5 + 1);
	assert_true(listing.has_lane);
	assert_true(listing.has_errand);
	assert_true(listing.has_queue);
	assert_int_equal(plan_bytes(plan), listing.bytes);
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	plan_print(plan, out);
	fclose(out);
	char sum[40];
	snprintf(sum, sizeof sum, "%llu  in all", (unsigned long long)listing.bytes);
	assert_non_null(strstr(text, sum));
	assert_non_null(strstr(text, "ip.lane.1"));
	assert_non_null(strstr(text, "udp :5000 ipevent -> ip\n  2 processes, receive buffer 64 MiB"));
	assert_non_null(strstr(text, "http unix:/run/a -> metric, log, track.raw, postback\n"));
	assert_non_null(
	        strstr(text, "http :5001 -> metric, log, track.raw, postback\n  1 process, up to 4096"));
	assert_non_null(strstr(text, "queue postback: 256 slots of 512 bytes\n"));
	free(text);
	plan_free(plan);
}

/* ---- what a former life left ---- */

static struct instance_page *page_of(const char *text)
{
	struct plan *plan = must_make(text);
	struct instance_page *page = calloc(1, sizeof *page);
	assert_non_null(page);
	plan_fill_page(plan, page);
	assert_true(plan_fits_page(plan, page));
	plan_free(plan);
	return page;
}

static struct plan *merged(const char *text, struct instance_page *old)
{
	struct shm_error error;
	struct plan *plan = must_make(text);
	if (plan_merge(plan, old, &error) != 0)
		fail_msg("%s", error.text);
	return plan;
}

static void the_same_configuration_fits_the_page_that_was_left(void **state)
{
	(void)state;
	const char *text = "ingest: {udp: [{listen: ':1', processes: 2}, {listen: ':2', format: json}]}";
	struct instance_page *old = page_of(text);
	struct plan *plan = merged(text, old);
	assert_true(plan_fits_page(plan, old));
	for (unsigned i = 0; i < plan->n_topics; i++)
		for (unsigned lane = 0; lane < plan->topic[i].page.n_lanes; lane++)
			assert_false(plan->topic[i].retired[lane]);
	plan_free(plan);
	free(old);
}

static void topics_and_lanes_keep_their_places_and_new_ones_follow(void **state)
{
	(void)state;
	struct instance_page *old = page_of("ingest: {udp: [{listen: ':1', format: json}]}");
	struct plan *plan = merged(
	        "ingest: {udp: [{listen: ':2', format: ipevent}, {listen: ':1', format: json, processes: 2}]}",
	        old);
	assert_string_equal(plan->topic[0].page.name, "metric");
	assert_string_equal(plan->topic[1].page.name, "track.raw");
	assert_string_equal(plan->topic[2].page.name, "track");
	assert_string_equal(plan->topic[3].page.name, "ip");
	/* ingest-udp.0 writes ip now; its lane in metric is retired, 1 and 2 are new there */
	assert_int_equal(plan->topic[0].page.n_lanes, 3);
	assert_true(plan->topic[0].retired[0]);
	assert_string_equal(plan->topic[0].page.lane_role[1], "ingest-udp.1");
	assert_false(plan->topic[0].retired[2]);
	assert_false(plan_writes(&plan->topic[0], "ingest-udp.0"));
	assert_false(plan_fits_page(plan, old));
	plan_free(plan);
	free(old);
}

static void a_retired_lane_is_taken_up_when_its_role_comes_back(void **state)
{
	(void)state;
	struct instance_page *old = page_of("ingest: {udp: [{listen: ':1', processes: 3}]}");
	struct plan *plan = merged("ingest: {udp: [{listen: ':1', processes: 1}]}", old);
	assert_int_equal(plan->topic[0].page.n_lanes, 3);
	assert_true(plan->topic[0].retired[2]);
	plan_fill_page(plan, old);
	plan_free(plan);
	plan = merged("ingest: {udp: [{listen: ':1', processes: 4}]}", old);
	assert_int_equal(plan->topic[0].page.n_lanes, 4);
	for (unsigned lane = 0; lane < 4; lane++)
		assert_false(plan->topic[0].retired[lane]);
	plan_free(plan);
	free(old);
}

static void outside_lanes_that_are_gone_cannot_be_taken(void **state)
{
	(void)state;
	struct instance_page *old = page_of("ingest: {}\ntopics: {orders: {outside_lanes: 3}}");
	struct plan *plan = merged("ingest: {}\ntopics: {orders: {outside_lanes: 1}}", old);
	assert_string_equal(plan->topic[0].page.lane_role[0], "");
	assert_string_equal(plan->topic[0].page.lane_role[2], PLAN_RETIRED_LANE);
	plan_fill_page(plan, old);
	plan_free(plan);
	plan = merged("ingest: {}\ntopics: {orders: {outside_lanes: 2}}", old);
	assert_int_equal(plan->topic[0].page.n_lanes, 3);
	assert_string_equal(plan->topic[0].page.lane_role[1], "");
	assert_string_equal(plan->topic[0].page.lane_role[2], PLAN_RETIRED_LANE);
	plan_free(plan);
	free(old);
}

static void a_topic_without_writers_stays_as_long_as_the_instance(void **state)
{
	(void)state;
	struct instance_page *old = page_of("ingest: {udp: [{listen: ':1', format: raw}]}");
	struct plan *plan = merged("ingest: {udp: [{listen: ':1', format: ipevent}]}", old);
	assert_string_equal(plan->topic[0].page.name, "raw");
	assert_true(plan->topic[0].retired[0]);
	assert_string_equal(plan->topic[1].page.name, "ip");
	plan_free(plan);
	free(old);
}

static void roles_keep_their_numbers_when_others_come(void **state)
{
	(void)state;
	struct instance_page *old = page_of("ingest: {udp: [{listen: ':1'}], http: [{listen: ':1'}]}");
	struct plan *plan =
	        merged("ingest: {udp: [{listen: ':1', processes: 3}], http: [{listen: ':1'}]}", old);
	static const char *const names[] = {"ingest-udp.0", "ingest-http.0", "enrich.0",    "deliver.0",
	                                    "tally.0",      "ingest-udp.1",  "ingest-udp.2"};
	assert_int_equal(plan->n_roles, 7);
	for (unsigned i = 0; i < 7; i++) {
		assert_string_equal(plan->role[i].page.name, names[i]);
		assert_int_equal(plan->role[i].number, i + 1);
	}
	assert_int_equal(plan->role[6].process, 2);
	assert_int_equal(plan->role[1].listener, 1);
	plan_fill_page(plan, old);
	plan_free(plan);
	/* of seven roles five are left: those that had a place among the first five keep it */
	plan = merged("ingest: {udp: [{listen: ':1'}], http: [{listen: ':1'}]}", old);
	for (unsigned i = 0; i < 5; i++)
		assert_string_equal(plan->role[i].page.name, names[i]);
	plan_free(plan);
	plan = merged("ingest: {http: [{listen: ':1', processes: 2}]}\ntopics: {ip: {outside_lanes: 1}}",
	              old);
	assert_string_equal(plan->role[0].page.name, "ingest-http.1");
	assert_string_equal(plan->role[1].page.name, "ingest-http.0");
	assert_string_equal(plan->role[2].page.name, "enrich.0");
	assert_string_equal(plan->role[3].page.name, "deliver.0");
	assert_string_equal(plan->role[4].page.name, "tally.0");
	assert_int_equal(plan->role[0].number, 1);
	plan_free(plan);
	free(old);
}

static void a_queue_that_nobody_uses_stays_as_long_as_the_instance(void **state)
{
	(void)state;
	struct instance_page *old = page_of("ingest: {http: [{listen: ':1'}]}");
	struct plan *plan = merged("ingest: {udp: [{listen: ':1'}]}", old);
	assert_int_equal(plan->n_queues, 1);
	assert_true(plan->queue[0].retired);
	assert_string_equal(plan->queue[0].page.name, "postback");
	assert_true(plan->queue[0].page.slots < 16384);
	assert_false(plan_fits_page(plan, old));
	plan_fill_page(plan, old);
	assert_true(plan_fits_page(plan, old));
	plan_free(plan);
	plan = merged("ingest: {http: [{listen: ':1'}]}", old);
	assert_false(plan->queue[0].retired);
	assert_int_equal(plan->queue[0].page.slots, 16384);
	plan_free(plan);
	for (unsigned i = 0; i < INSTANCE_QUEUES_MAX; i++)
		snprintf(old->queue[i].name, SHM_NAME_MAX, "q%u", i);
	old->n_queues = INSTANCE_QUEUES_MAX;
	struct shm_error error;
	plan = must_make("ingest: {http: [{listen: ':1'}]}");
	assert_int_equal(plan_merge(plan, old, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "queues"));
	plan_free(plan);
	free(old);
}

static void tables_that_overflow_are_refused(void **state)
{
	(void)state;
	struct shm_error error;
	struct instance_page *old = page_of("ingest: {}\ntopics: {orders: {outside_lanes: 16}}");
	snprintf(old->topic[0].name, SHM_NAME_MAX, "ip");
	for (unsigned lane = 0; lane < 16; lane++)
		snprintf(old->topic[0].lane_role[lane], SHM_NAME_MAX, "gone.%u", lane);
	struct plan *plan = must_make("ingest: {udp: [{listen: ':1', processes: 17}]}");
	assert_int_equal(plan_merge(plan, old, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "ip"));
	plan_free(plan);
	free(old);
}

static void sizes_are_told_in_whole_units(void **state)
{
	(void)state;
	char text[32];
	assert_string_equal(plan_size_text(text, 64 << 20), "64 MiB");
	assert_string_equal(plan_size_text(text, 4097), "4097 bytes");
	assert_string_equal(plan_size_text(text, 0), "0 bytes");
	assert_string_equal(plan_size_text(text, 1ull << 40), "1 TiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_embedded_default_is_udp_http_enrich_deliver_tally_and_serve),
	        cmocka_unit_test(what_listens_by_itself_exists_with_an_address_that_no_listener_has),
	        cmocka_unit_test(roles_are_numbered_through_the_entries),
	        cmocka_unit_test(udp_and_http_listeners_share_topics_and_have_numbers_of_their_own),
	        cmocka_unit_test(processes_that_share_a_topic_have_a_lane_each_and_one_group),
	        cmocka_unit_test(a_queue_exists_only_when_a_role_uses_it),
	        cmocka_unit_test(tally_exists_only_with_one_of_its_topics),
	        cmocka_unit_test(outside_lanes_make_topics_and_come_after_the_stages),
	        cmocka_unit_test(mistakes_are_all_told),
	        cmocka_unit_test(private_memory_is_what_the_stage_declares),
	        cmocka_unit_test(every_segment_is_listed_with_its_bytes),
	        cmocka_unit_test(the_same_configuration_fits_the_page_that_was_left),
	        cmocka_unit_test(topics_and_lanes_keep_their_places_and_new_ones_follow),
	        cmocka_unit_test(a_retired_lane_is_taken_up_when_its_role_comes_back),
	        cmocka_unit_test(outside_lanes_that_are_gone_cannot_be_taken),
	        cmocka_unit_test(a_topic_without_writers_stays_as_long_as_the_instance),
	        cmocka_unit_test(roles_keep_their_numbers_when_others_come),
	        cmocka_unit_test(a_queue_that_nobody_uses_stays_as_long_as_the_instance),
	        cmocka_unit_test(tables_that_overflow_are_refused),
	        cmocka_unit_test(frames_of_packets_lie_in_whole_pages_after_the_buffers),
	        cmocka_unit_test(a_queue_of_an_interface_is_for_one_listener),
	        cmocka_unit_test(sizes_are_told_in_whole_units),
	};
	alarm(20);
	unsetenv("MILLRACE_INSTANCE");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
