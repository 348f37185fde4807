/* The formats of Prometheus, read back by a strict parser: each line, family and sample as the
 * documents of both formats want them. */
#include "look/prometheus.h"

#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* ---- the parser ---- */

#define SAMPLES_MAX  20000u
#define FAMILIES_MAX 600u

struct parsed {
	bool openmetrics;
	char *text;
	char family[FAMILIES_MAX][128]; /* the last one is the present one */
	unsigned n_families;
	char type[32];
	bool has_help;
	const char *sample[SAMPLES_MAX];  /* "name{labels} value" */
	size_t series_bytes[SAMPLES_MAX]; /* of these "name{labels}" */
	unsigned n;
	bool ended;
};

static bool is_name(const char *name, size_t n)
{
	if (n == 0 || isdigit((unsigned char)name[0]))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && name[i] != '_')
			return false;
	return true;
}

/* "# HELP name text", "# TYPE name type", "# UNIT name unit". */
static void parse_about(struct parsed *parsed, const char *line)
{
	char what[8], name[128];
	int n = 0;
	if (sscanf(line, "# %7s %127s %n", what, name, &n) != 2 || n == 0)
		fail_msg("%s", line);
	const char *rest = line + n;
	assert_true(is_name(name, strlen(name)));
	if (strcmp(what, "HELP") == 0) {
		for (unsigned i = 0; i < parsed->n_families; i++)
			if (strcmp(parsed->family[i], name) == 0)
				fail_msg("family %s twice", name);
		assert_true(parsed->n_families < FAMILIES_MAX);
		snprintf(parsed->family[parsed->n_families++], 128, "%s", name);
		parsed->type[0] = '\0';
		if (rest[0] == '\0')
			fail_msg("no help: %s", line);
		return;
	}
	if (parsed->n_families == 0 || strcmp(parsed->family[parsed->n_families - 1], name) != 0)
		fail_msg("not after its help: %s", line);
	if (strcmp(what, "TYPE") == 0) {
		assert_string_equal(parsed->type, "");
		snprintf(parsed->type, sizeof parsed->type, "%s", rest);
		bool counter = strcmp(rest, "counter") == 0;
		bool total = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0;
		if (total != (counter && !parsed->openmetrics))
			fail_msg("%s", line);
		return;
	}
	assert_string_equal(what, "UNIT");
	assert_true(parsed->openmetrics);
	size_t unit = strlen(rest);
	assert_true(strlen(name) > unit && strcmp(name + strlen(name) - unit, rest) == 0);
}

/* What follows the family's name in names of its samples. */
static void check_ending(const struct parsed *parsed, const char *ending, size_t n)
{
	static const struct {
		const char *type, *ending;
		bool openmetrics, text;
	} allowed[] = {{"counter", "_total", true, false},
	               {"counter", "", false, true},
	               {"gauge", "", true, true},
	               {"info", "_info", true, false},
	               {"histogram", "_bucket", true, true},
	               {"histogram", "_sum", true, true},
	               {"histogram", "_count", true, true}};
	for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
		if (strcmp(parsed->type, allowed[i].type) == 0 && strlen(allowed[i].ending) == n &&
		    strncmp(ending, allowed[i].ending, n) == 0 &&
		    (parsed->openmetrics ? allowed[i].openmetrics : allowed[i].text))
			return;
	fail_msg("a %s with samples ...%.*s", parsed->type, (int)n, ending);
}

/* {a="b",c="d"}; returns what follows. */
static const char *parse_labels(const char *at)
{
	do {
		at++;
		size_t n = strcspn(at, "=");
		assert_true(is_name(at, n) && at[n] == '=' && at[n + 1] == '"');
		for (at += n + 2; *at != '"'; at++) {
			assert_true(*at >= ' ' && *at <= '~');
			if (*at == '\\')
				assert_non_null(strchr("\\\"n", *++at));
		}
		at++;
	} while (*at == ',');
	assert_int_equal(*at, '}');
	return at + 1;
}

static void parse_sample(struct parsed *parsed, const char *line)
{
	size_t name = strcspn(line, "{ ");
	const char *family = parsed->n_families > 0 ? parsed->family[parsed->n_families - 1] : "";
	if (!is_name(line, name) || strncmp(line, family, strlen(family)) != 0 || parsed->type[0] == '\0')
		fail_msg("a sample outside its family: %s", line);
	check_ending(parsed, line + strlen(family), name - strlen(family));
	const char *at = line[name] == '{' ? parse_labels(line + name) : line + name;
	size_t series = (size_t)(at - line);
	assert_int_equal(*at, ' ');
	size_t digits = strspn(at + 1, "0123456789");
	const char *end = at + 1 + digits;
	if (digits > 0 && *end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	if (digits == 0 || *end != '\0' || end[-1] == '.')
		fail_msg("no number: %s", line);
	for (unsigned i = parsed->n; i-- > 0 && strncmp(parsed->sample[i], family, strlen(family)) == 0;)
		if (parsed->series_bytes[i] == series && strncmp(parsed->sample[i], line, series) == 0)
			fail_msg("twice: %s", line);
	assert_true(parsed->n < SAMPLES_MAX);
	parsed->sample[parsed->n] = line;
	parsed->series_bytes[parsed->n++] = series;
}

static struct parsed *parse(const struct prometheus *prometheus)
{
	size_t bytes;
	char *text = prometheus_text(prometheus, &bytes);
	struct parsed *parsed = calloc(1, sizeof *parsed);
	assert_true(text != NULL && parsed != NULL && bytes > 0 && text[bytes - 1] == '\n');
	assert_null(memchr(text, '\0', bytes));
	text[bytes - 1] = '\0';
	parsed->text = text;
	parsed->openmetrics = prometheus->openmetrics;
	for (char *line = text, *next; line != NULL; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		if (parsed->ended)
			fail_msg("after the end: %s", line);
		if (strcmp(line, "# EOF") == 0)
			parsed->ended = true;
		else if (line[0] == '#')
			parse_about(parsed, line);
		else
			parse_sample(parsed, line);
	}
	assert_int_equal(parsed->ended, parsed->openmetrics);
	return parsed;
}

/* The value of a series as text, or NULL. */
static const char *find(const struct parsed *parsed, const char *series)
{
	for (unsigned i = 0; i < parsed->n; i++)
		if (parsed->series_bytes[i] == strlen(series) &&
		    strncmp(parsed->sample[i], series, strlen(series)) == 0)
			return parsed->sample[i] + strlen(series) + 1;
	return NULL;
}

static void assert_value(const struct parsed *parsed, const char *series, const char *value)
{
	const char *found = find(parsed, series);
	if (found == NULL || strcmp(found, value) != 0)
		fail_msg("%s is %s, not %s", series, found == NULL ? "not there" : found, value);
}

static unsigned count(const struct parsed *parsed, const char *beginning)
{
	unsigned n = 0;
	for (unsigned i = 0; i < parsed->n; i++)
		n += strncmp(parsed->sample[i], beginning, strlen(beginning)) == 0;
	return n;
}

static void done(struct parsed *parsed)
{
	free(parsed->text);
	free(parsed);
}

/* ---- the snapshot ---- */

static struct snapshot *snapshot;
static struct prometheus about;

static int make(void **state)
{
	(void)state;
	snapshot = calloc(1, sizeof *snapshot);
	static const struct metric_description supervisor[] = {
#define METRIC METRIC_ROW
#include "stage/supervisor_metrics.def"
#undef METRIC
	};
	about = (struct prometheus){.snapshot = snapshot, .instance = "test"};
	for (unsigned i = 0; snapshot != NULL && i < SUPERVISOR_METRIC_COUNT; i++)
		snapshot->supervisor_metric[i].about = supervisor[i];
	return snapshot == NULL ? -1 : 0;
}

static int unmake(void **state)
{
	(void)state;
	free(snapshot);
	return 0;
}

static struct snapshot_stage *add_role(const char *name, const char *program)
{
	struct snapshot_stage *stage = &snapshot->stage[snapshot->n_stages++];
	snprintf(stage->name, sizeof stage->name, "%s", name);
	snprintf(stage->program, sizeof stage->program, "%s", program);
	stage->present = stage->alive = true;
	stage->state = STAGE_RUNNING;
	return stage;
}

static struct snapshot_metric *add_metric(struct snapshot_stage *stage, struct metric_description metric,
                                          uint64_t value)
{
	struct snapshot_metric *added = &stage->metric[stage->n_metrics++];
	*added = (struct snapshot_metric){.about = metric, .value = value};
	return added;
}

#define ROW(...) ((const struct metric_description[]){__VA_ARGS__})[0]

static struct snapshot_topic *add_topic(const char *name, unsigned n_lanes)
{
	struct snapshot_topic *topic = &snapshot->topic[snapshot->n_topics++];
	snprintf(topic->name, sizeof topic->name, "%s", name);
	topic->n_lanes = n_lanes;
	for (unsigned i = 0; i < n_lanes; i++) {
		topic->lane[i].present = true;
		topic->lane[i].size_bytes = 1 << 20;
		snprintf(topic->lane[i].role, sizeof topic->lane[i].role, "ingest-udp.%u", i);
	}
	return topic;
}

static struct snapshot_group *add_group(struct snapshot_topic *topic, const char *name)
{
	for (unsigned i = 0; i < topic->n_lanes; i++) {
		struct snapshot_group *group = &topic->lane[i].group[topic->lane[i].n_groups++];
		*group = (struct snapshot_group){.required = true};
		snprintf(group->name, sizeof group->name, "%s", name);
	}
	return &topic->lane[0].group[topic->lane[0].n_groups - 1];
}

/* ---- tests ---- */

static void an_instance_without_anything_is_well_formed_in_both_formats(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		about.openmetrics = i == 1;
		struct parsed *parsed = parse(&about);
		assert_value(parsed, "millrace_instance_info{name=\"test\",version=\"" MILLRACE_VERSION "\"}",
		             "1");
		done(parsed);
	}
}

static void names_are_made_of_tables_by_rule(void **state)
{
	(void)state;
	static const struct {
		const char *program, *name;
		struct metric_description metric;
	} cases[] = {
	        {"tally", "millrace_tally_events_total", METRIC_ROW(events, COUNTER, "h")},
	        {"tally", "millrace_tally_log_bytes", METRIC_ROW(log_bytes, GAUGE, "h")},
	        {"ingest-http", "millrace_ingest_http_received_bytes_total",
	         METRIC_ROW(received_bytes, COUNTER, "h")},
	        {"tally", "millrace_tally_commit_seconds", HISTOGRAM_ROW(commit_us, "h", 1)},
	        {"kafka", "millrace_kafka_oldest_seconds", METRIC_ROW(oldest_ms, GAUGE, "h")},
	        {"ingest-http", "millrace_ingest_http_time_min_seconds", METRIC_ROW(time_min_ns, GAUGE, "h")},
	        {"ingest-http", "millrace_ingest_http_time_seconds",
	         ROUTE_HISTOGRAM_ROW(track, time_ns, "h", 1)},
	        {"ingest-http", "millrace_ingest_http_failed_bad_total",
	         ROUTE_METRIC_ROW(track, failed_bad, COUNTER, "h")},
	        {NULL, "millrace_stage_log_lines_dropped_total", METRIC_ROW(log_lines_dropped, COUNTER, "h")},
	        {"a-b", "millrace_a_b_odd___name", {.name = "odd-\x80 name", .kind = METRIC_GAUGE}},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char name[PROMETHEUS_NAME_MAX];
		prometheus_name(name, cases[i].program, &cases[i].metric);
		assert_string_equal(name, cases[i].name);
	}
}

static void a_family_is_one_piece_over_roles_with_different_tables(void **state)
{
	(void)state;
	struct snapshot_stage *first = add_role("deliver.0", "deliver"),
	                      *other = add_role("tally.0", "tally"),
	                      *second = add_role("deliver.1", "deliver");
	add_metric(first, ROW(METRIC_ROW(taken, COUNTER, "were taken")), 1);
	add_metric(first, ROW(METRIC_ROW(dead, COUNTER, "died")), 2);
	add_metric(first, ROW(METRIC_ROW(log_lines_dropped, COUNTER, "lines")), 11);
	add_metric(other, ROW(METRIC_ROW(taken, COUNTER, "of tally")), 3);
	add_metric(other, ROW(METRIC_ROW(log_lines_dropped, COUNTER, "lines")), 12);
	add_metric(second, ROW(METRIC_ROW(newer, GAUGE, "of a newer version")), 4);
	add_metric(second, ROW(METRIC_ROW(dead, GAUGE, "has become a gauge")), 5);
	add_metric(second, ROW(METRIC_ROW(taken, COUNTER, "were taken")), 6);
	for (unsigned i = 0; i < 2; i++) {
		about.openmetrics = i == 1;
		struct parsed *parsed = parse(&about);
		assert_value(parsed, "millrace_deliver_taken_total{role=\"deliver.0\"}", "1");
		assert_value(parsed, "millrace_deliver_taken_total{role=\"deliver.1\"}", "6");
		assert_value(parsed, "millrace_tally_taken_total{role=\"tally.0\"}", "3");
		assert_value(parsed, "millrace_deliver_newer{role=\"deliver.1\"}", "4");
		assert_value(parsed, "millrace_stage_log_lines_dropped_total{role=\"tally.0\"}", "12");
		/* a family has one type: the other role's has no sample */
		assert_value(parsed, "millrace_deliver_dead_total{role=\"deliver.0\"}", "2");
		assert_int_equal(count(parsed, "millrace_deliver_dead"), 1);
		assert_value(parsed, "millrace_stage_up{role=\"deliver.1\"}", "1");
		assert_value(parsed, "millrace_stage_state{role=\"tally.0\",state=\"running\"}", "1");
		assert_value(parsed, "millrace_stage_state{role=\"tally.0\",state=\"dead\"}", "0");
		done(parsed);
	}
}

static void what_each_route_has_is_one_family_with_a_label(void **state)
{
	(void)state;
	struct snapshot_stage *stage = add_role("ingest-http.0", "ingest-http");
	add_metric(stage, ROW(ROUTE_METRIC_ROW(track, requests, COUNTER, "requests")), 7);
	add_metric(stage, ROW(ROUTE_METRIC_ROW(track, failed_bad, COUNTER, "bad")), 8);
	add_metric(stage, ROW(ROUTE_METRIC_ROW(log, requests, COUNTER, "requests")), 9);
	add_metric(stage, ROW(ROUTE_METRIC_ROW(log, failed_bad, COUNTER, "bad")), 10);
	struct parsed *parsed = parse(&about);
	assert_value(parsed, "millrace_ingest_http_requests_total{role=\"ingest-http.0\",route=\"track\"}",
	             "7");
	assert_value(parsed, "millrace_ingest_http_requests_total{role=\"ingest-http.0\",route=\"log\"}",
	             "9");
	assert_value(parsed, "millrace_ingest_http_failed_bad_total{role=\"ingest-http.0\",route=\"log\"}",
	             "10");
	done(parsed);
}

static void a_histogram_is_in_seconds_and_its_buckets_add_up(void **state)
{
	(void)state;
	struct snapshot_stage *stage = add_role("tally.0", "tally");
	struct snapshot_metric *metric = add_metric(
	        stage,
	        ROW(HISTOGRAM_ROW(commit_us, "took, microseconds", 30, 100, 2500, 1000000, 360000000000)),
	        15);
	for (unsigned i = 0; i < 6; i++)
		metric->bucket[i] = i;
	metric->sum = 1234567890123;
	static const struct {
		const char *text, *openmetrics;
	} bounds[] = {{"3e-05", "3e-05"}, {"0.0001", "0.0001"},   {"0.0025", "0.0025"},
	              {"1", "1.0"},       {"360000", "360000.0"}, {"+Inf", "+Inf"}};
	for (unsigned i = 0; i < 2; i++) {
		about.openmetrics = i == 1;
		struct parsed *parsed = parse(&about);
		for (unsigned k = 0, within = 0; k < 6; k++) {
			char series[128], value[24];
			within += k;
			snprintf(series, sizeof series,
			         "millrace_tally_commit_seconds_bucket{role=\"tally.0\",le=\"%s\"}",
			         i == 0 ? bounds[k].text : bounds[k].openmetrics);
			snprintf(value, sizeof value, "%u", within);
			assert_value(parsed, series, value);
		}
		assert_value(parsed, "millrace_tally_commit_seconds_count{role=\"tally.0\"}", "15");
		assert_value(parsed, "millrace_tally_commit_seconds_sum{role=\"tally.0\"}", "1234567.890123");
		done(parsed);
	}
}

/* What Go and Python make of the numbers is fixed text; from 10^6 on they write an exponent. */
static void large_bounds_have_an_exponent(void **state)
{
	(void)state;
	struct snapshot_stage *stage = add_role("x.0", "x");
	add_metric(stage, ROW(HISTOGRAM_ROW(size_bytes, "size", 0, 999999, 1000000, 1234567, 20000000000)),
	           0);
	struct parsed *parsed = parse(&about);
	static const char *const bounds[] = {"0", "999999", "1e+06", "1.234567e+06", "2e+10", "+Inf"};
	for (unsigned i = 0; i < 6; i++) {
		char series[128];
		snprintf(series, sizeof series, "millrace_x_size_bytes_bucket{role=\"x.0\",le=\"%s\"}",
		         bounds[i]);
		assert_value(parsed, series, "0");
	}
	done(parsed);
}

static void labels_and_help_are_escaped_and_what_is_damaged_comes_out_as_ascii(void **state)
{
	(void)state;
	struct snapshot_stage *stage = add_role("a\"b\\c\nd\xff", "tally");
	add_metric(stage, ROW(METRIC_ROW(events, COUNTER, "a \"quoted\" \\ and a\nline")), 1);
	struct metric_description damaged = {
	        .name = "x\xf0{", .kind = 77, .route_bytes = 60000, .help = "\x01"};
	add_metric(stage, damaged, 2);
	for (unsigned i = 0; i < 2; i++) {
		about.openmetrics = i == 1;
		size_t bytes;
		char *text = prometheus_text(&about, &bytes);
		text[bytes - 1] = '\0';
		assert_non_null(strstr(text, i == 0 ? "_total a \"quoted\" \\\\ and a?line\n"
		                                    : "tally_events a \\\"quoted\\\" \\\\ and a?line\n"));
		free(text);
		struct parsed *parsed = parse(&about);
		assert_value(parsed, "millrace_tally_events_total{role=\"a\\\"b\\\\c?d?\"}", "1");
		assert_value(parsed, "millrace_tally_x___total{role=\"a\\\"b\\\\c?d?\"}", "2");
		done(parsed);
	}
}

static void the_ledger_has_a_place_for_each_lane(void **state)
{
	(void)state;
	struct snapshot_topic *topic = add_topic("ip", 4);
	topic->lane[1].ledger = (struct snapshot_ledger){
	        .received = 10, .kernel_dropped = 1, .dropped = 2, .refused = 3, .written = 4};
	topic->lane[1].ledger.rejected[LEDGER_BAD_SHA] = 1;
	topic->lane[2].role[0] = '\0';
	strcpy(topic->lane[3].role, "-");
	struct parsed *parsed = parse(&about);
#define LANE_1 "topic=\"ip\",lane=\"1\",role=\"ingest-udp.1\""
	assert_value(parsed, "millrace_topic_events_total{" LANE_1 ",outcome=\"received\"}", "10");
	assert_value(parsed, "millrace_topic_events_total{" LANE_1 ",outcome=\"kernel_dropped\"}", "1");
	assert_value(parsed, "millrace_topic_events_total{" LANE_1 ",outcome=\"dropped\"}", "2");
	assert_value(parsed, "millrace_topic_events_total{" LANE_1 ",outcome=\"refused\"}", "3");
	assert_value(parsed, "millrace_topic_events_total{" LANE_1 ",outcome=\"written\"}", "4");
	assert_value(parsed, "millrace_topic_rejected_total{" LANE_1 ",reason=\"bad_sha\"}", "1");
	assert_value(parsed, "millrace_topic_size_bytes{topic=\"ip\",lane=\"2\",role=\"outside\"}",
	             "1048576");
	assert_value(parsed, "millrace_topic_size_bytes{topic=\"ip\",lane=\"3\",role=\"retired\"}",
	             "1048576");
	assert_value(parsed, "millrace_topic_kept{topic=\"ip\"}", "0");
	done(parsed);
}

static void a_group_tells_what_waits_and_a_tap_tells_nothing(void **state)
{
	(void)state;
	struct snapshot_topic *topic = add_topic("ip", 2);
	struct snapshot_group *group = add_group(topic, "tally");
	group->waiting_records = 3;
	group->waiting_bytes = 216;
	group->missed_records = 5;
	group->oldest_age_ns = 1500 * NS_PER_MS;
	group->reader_pid = 77;
	topic->lane[1].group[0].oldest_age_ns = 250 * NS_PER_MS;
	add_group(topic, "tap.4711");
	topic->lane[0].group[1].required = topic->lane[1].group[1].required = false;
	add_group(topic, "outside");
	topic->lane[0].group[2].oldest_age_ns = topic->lane[1].group[2].oldest_age_ns = SNAPSHOT_NO_AGE;
	struct parsed *parsed = parse(&about);
#define GROUP "topic=\"ip\",lane=\"0\",group=\"tally\""
	assert_value(parsed, "millrace_group_waiting_records{" GROUP "}", "3");
	assert_value(parsed, "millrace_group_waiting_bytes{" GROUP "}", "216");
	assert_value(parsed, "millrace_group_missed_records_total{" GROUP "}", "5");
	assert_value(parsed, "millrace_group_oldest_age_seconds{topic=\"ip\",group=\"tally\"}", "1.5");
	assert_value(parsed, "millrace_group_reader_up{topic=\"ip\",group=\"tally\"}", "1");
	assert_null(find(parsed, "millrace_group_oldest_age_seconds{topic=\"ip\",group=\"outside\"}"));
	assert_value(parsed, "millrace_group_required{topic=\"ip\",group=\"outside\"}", "1");
	for (unsigned i = 0; i < parsed->n; i++)
		assert_null(strstr(parsed->sample[i], "4711"));
	assert_int_equal(count(parsed, "millrace_group_waiting_peak_bytes"), 0);
	done(parsed);
}

static void a_queue_tells_its_slots_by_state(void **state)
{
	(void)state;
	struct snapshot_queue *queue = &snapshot->queue[snapshot->n_queues++];
	*queue = (struct snapshot_queue){
	        .name = "postback",
	        .present = true,
	        .slot_bytes = 4096,
	        .counts = {.slots = 10, .free = 4, .filling = 1, .ready = 3, .taken = 2}};
	struct parsed *parsed = parse(&about);
	assert_value(parsed, "millrace_queue_slots{queue=\"postback\",state=\"ready\"}", "3");
	assert_value(parsed, "millrace_queue_slots{queue=\"postback\",state=\"free\"}", "4");
	assert_value(parsed, "millrace_queue_slot_bytes{queue=\"postback\"}", "4096");
	done(parsed);
}

/* More than the first buffer holds: written again into a larger one. */
static void the_largest_instance_fits(void **state)
{
	(void)state;
	while (snapshot->n_topics < INSTANCE_TOPICS_MAX) {
		char name[8];
		snprintf(name, sizeof name, "t%u", snapshot->n_topics);
		struct snapshot_topic *topic = add_topic(name, STREAM_LANES_MAX);
		(void)add_group(topic, "one");
		(void)add_group(topic, "two");
	}
	struct parsed *parsed = parse(&about);
	assert_true(count(parsed, "millrace_topic_events_total{") == 16 * 32 * 5);
	assert_true(count(parsed, "millrace_group_waiting_bytes{") == 16 * 32 * 2);
	done(parsed);
}

static void what_a_client_asks_for_decides_the_format(void **state)
{
	(void)state;
	static const struct {
		const char *accept;
		bool openmetrics;
	} cases[] = {
	        {NULL, false},
	        {"", false},
	        {"*/*", false},
	        {"text/plain", false},
	        {"application/openmetrics-text", true},
	        {"Application/OpenMetrics-Text; version=1.0.0; charset=utf-8", true},
	        {"application/openmetrics-text; version=\"1.0.0\"", true},
	        {"application/openmetrics-text;version=0.0.1", false},
	        {"application/openmetrics-text;version=1.0.01", false},
	        {"application/openmetrics-text;version=2.0.0", false},
	        {"application/openmetrics-text;q=0", false},
	        {"application/openmetrics-text;q=0.000", false},
	        {"application/openmetrics-text;q=0.2,text/plain;q=0.1", true},
	        {"application/openmetrics-text;q=0.25,text/plain;q=0.3", false},
	        {"text/plain;q=0.5 , application/openmetrics-text ; q=0.5", true},
	        {"application/openmetrics-textual", false},
	        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
	         true},
	        {";;,,q=,;q=;version=", false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		if (prometheus_asks_openmetrics(cases[i].accept) != cases[i].openmetrics)
			fail_msg("%s", cases[i].accept);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
	const struct CMUnitTest tests[] = {
	        TEST(an_instance_without_anything_is_well_formed_in_both_formats),
	        TEST(names_are_made_of_tables_by_rule),
	        TEST(a_family_is_one_piece_over_roles_with_different_tables),
	        TEST(what_each_route_has_is_one_family_with_a_label),
	        TEST(a_histogram_is_in_seconds_and_its_buckets_add_up),
	        TEST(large_bounds_have_an_exponent),
	        TEST(labels_and_help_are_escaped_and_what_is_damaged_comes_out_as_ascii),
	        TEST(the_ledger_has_a_place_for_each_lane),
	        TEST(a_group_tells_what_waits_and_a_tap_tells_nothing),
	        TEST(a_queue_tells_its_slots_by_state),
	        TEST(the_largest_instance_fits),
	        TEST(what_a_client_asks_for_decides_the_format),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
