#include "cli/catch/catch_account.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/siphash.h"

#define FIRST_SLOTS 1024u
#define ID_KEY      (1ull << 63) /* keys made from ids */
#define SHORT_TEXT  32u          /* bytes of a number as text, at most */

/* ---- the table ---- */

int catch_account_init(struct catch_account *account, uint64_t most)
{
	memset(account, 0, sizeof *account);
	account->most = most;
	account->slots = FIRST_SLOTS;
	account->table = calloc(account->slots, sizeof *account->table);
	return account->table != NULL ? 0 : -ENOMEM;
}

void catch_account_fini(struct catch_account *account)
{
	free(account->table);
	account->table = NULL;
}

/* A key for the table: strangers choose the numbers, and must not make the table slow. */
static uint64_t hash(const void *bytes, size_t n)
{
	static uint64_t key[2];
	if (key[0] == 0) { /* guessing it costs a test some speed, nothing else */
		key[0] = clock_real_ns() | 1;
		key[1] = clock_monotonic_ns() ^ (uint64_t)(uintptr_t)&key;
	}
	struct siphash state;
	siphash_init(&state, key, 1, 3);
	siphash_add(&state, bytes, n);
	return siphash_end(&state);
}

static struct catch_entry *find(const struct catch_account *account, uint64_t key)
{
	uint64_t mask = account->slots - 1, at = hash(&key, sizeof key) & mask;
	while (account->table[at].key != 0 && account->table[at].key != key)
		at = (at + 1) & mask;
	return &account->table[at];
}

/* Doubles the table. False without memory; the table stays as it is. */
static bool grow(struct catch_account *account)
{
	struct catch_entry *old = account->table;
	uint64_t slots = account->slots;
	struct catch_entry *table = calloc(slots * 2, sizeof *table);
	if (table == NULL)
		return false;
	account->table = table;
	account->slots = slots * 2;
	for (uint64_t i = 0; i < slots; i++)
		if (old[i].key != 0)
			*find(account, old[i].key) = old[i];
	free(old);
	return true;
}

/* The entry of a key, made when it is not there; NULL when the table is full. */
static struct catch_entry *entry(struct catch_account *account, uint64_t key)
{
	struct catch_entry *found = find(account, key);
	if (found->key == key)
		return found;
	if (account->entries >= account->most)
		return NULL;
	if (account->entries >= account->slots / 4 * 3) {
		if (!grow(account))
			return NULL;
		found = find(account, key);
	}
	account->entries++;
	found->key = key;
	return found;
}

/* ---- what a request says ---- */

/* Digits alone; 0 for what is no number from 1 to 2^63 - 1. */
static uint64_t parse_number(const char *text, size_t bytes)
{
	uint64_t number = 0;
	if (bytes == 0 || bytes > 19)
		return 0;
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		number = number * 10 + (uint64_t)(text[i] - '0');
	}
	return number < ID_KEY ? number : 0;
}

static void take_number(struct catch_postback *postback, uint64_t number)
{
	postback->key = number;
	postback->bad_number = number == 0;
}

/* a=1&n=2&t=3 */
static void read_form(struct catch_postback *postback, const char *at, const char *end)
{
	while (at < end) {
		const char *next = memchr(at, '&', (size_t)(end - at));
		const char *last = next != NULL ? next : end;
		if (last - at >= 2 && at[1] == '=' && at[0] == 'n')
			take_number(postback, parse_number(at + 2, (size_t)(last - at - 2)));
		else if (last - at >= 2 && at[1] == '=' && at[0] == 't')
			postback->sent_us = parse_number(at + 2, (size_t)(last - at - 2));
		at = last + 1;
	}
}

/* A number, or a text of digits; 0 for anything else. */
static uint64_t json_number(const json_t *value)
{
	if (json_is_integer(value))
		return json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
	return json_is_string(value) ? parse_number(json_string_value(value), json_string_length(value)) : 0;
}

static void read_json(struct catch_postback *postback, const char *at, size_t bytes)
{
	json_t *root = json_loadb(at, bytes, 0, NULL), *n = json_object_get(root, "n");
	if (n != NULL)
		take_number(postback, json_number(n));
	postback->sent_us = json_number(json_object_get(root, "t"));
	json_decref(root);
}

static bool is_json(const struct catch_request *request, const char *data)
{
	static const char name[] = "application/json";
	struct catch_part type = request->field[CATCH_CONTENT_TYPE];
	return type.bytes >= sizeof name - 1 && strncasecmp(data + type.at, name, sizeof name - 1) == 0;
}

struct catch_postback catch_postback_read(const struct catch_request *request, const char *data)
{
	struct catch_postback postback = {0};
	const char *target = data + request->target.at, *end = target + request->target.bytes;
	const char *query = memchr(target, '?', request->target.bytes), *body = data + request->body;
	if (query != NULL)
		read_form(&postback, query + 1, end);
	if (postback.key == 0 && !postback.bad_number && request->body_bytes > 0) {
		if (is_json(request, data))
			read_json(&postback, body, request->body_bytes);
		else
			read_form(&postback, body, body + request->body_bytes);
	}
	struct catch_part id = request->field[CATCH_IDEMPOTENCY_KEY];
	if (id.bytes == 0)
		id = request->field[CATCH_WEBHOOK_ID];
	if (id.bytes > 0)
		postback.id = hash(data + id.at, id.bytes) | 1;
	if (postback.key == 0 && postback.id != 0)
		postback.key = postback.id | ID_KEY;
	return postback;
}

/* ---- counting ---- */

void catch_account_take(struct catch_account *account, const struct catch_postback *postback)
{
	account->received++;
	account->bad_numbers += postback->bad_number;
	if (postback->key == 0) {
		account->unnamed++;
		return;
	}
	struct catch_entry *known = entry(account, postback->key);
	if (known == NULL) {
		account->untracked++;
		return;
	}
	account->duplicates += known->delivered;
	if (known->came == 0) {
		account->distinct++;
		known->id = postback->id;
	} else {
		account->other_id += known->id != postback->id;
	}
	known->came += known->came < UINT32_MAX;
}

void catch_account_answered(struct catch_account *account, const struct catch_postback *postback,
                            uint16_t status, uint64_t received_us)
{
	account->status[status]++;
	if (status < 200 || status > 299 || postback->key == 0)
		return;
	struct catch_entry *known = find(account, postback->key);
	if (known->key == 0 || known->delivered)
		return;
	known->delivered = true;
	account->delivered++;
	account->missing -= known->expected;
	if (postback->sent_us > 0)
		send_http_histogram_add(
		        &account->latency,
		        received_us > postback->sent_us ? (received_us - postback->sent_us) * NS_PER_US : 0);
}

int catch_account_expect(struct catch_account *account, FILE *numbers, uint64_t *line)
{
	char text[SHORT_TEXT];
	for (*line = 1; fgets(text, sizeof text, numbers) != NULL; ++*line) {
		uint64_t number = parse_number(text, strcspn(text, "\n"));
		if (number == 0)
			return -EINVAL;
		struct catch_entry *known = entry(account, number);
		if (known == NULL)
			return -E2BIG;
		if (known->expected)
			continue;
		known->expected = true;
		account->expected++;
		account->missing += !known->delivered;
	}
	return ferror(numbers) ? -EIO : 0;
}

static uint64_t bad_signatures(const struct catch_account *account)
{
	return account->signature[CATCH_UNSIGNED] + account->signature[CATCH_STALE] +
	       account->signature[CATCH_WRONG];
}

bool catch_account_good(const struct catch_account *account)
{
	return account->missing == 0 && bad_signatures(account) == 0;
}

/* ---- telling it ---- */

static const double percents[] = {50, 90, 99};
static const char *const percent_names[] = {"p50", "p90", "p99"};
#define PERCENTS (sizeof percents / sizeof percents[0])

static const char *const signature_names[CATCH_SIGNATURES] = {"unchecked", "good", "unsigned", "stale",
                                                              "wrong"};

static double latency_ms(const struct catch_account *account, double percent)
{
	return (double)send_http_histogram_percentile(&account->latency, percent) / 1e6;
}

void catch_account_print_line(const struct catch_account *account, FILE *out)
{
	fprintf(out, "sent %llu, delivered %llu, duplicates %llu, missing %llu",
	        (unsigned long long)account->expected,
	        (unsigned long long)(account->expected - account->missing),
	        (unsigned long long)account->duplicates, (unsigned long long)account->missing);
	if (account->latency.n > 0)
		fprintf(out, ", latency p50 %.3f ms, p99 %.3f ms", latency_ms(account, 50),
		        latency_ms(account, 99));
	fputc('\n', out);
}

static void line(FILE *out, const char *name, uint64_t n)
{
	fprintf(out, "  %-26s %12llu\n", name, (unsigned long long)n);
}

static void line_if(FILE *out, const char *name, uint64_t n)
{
	if (n > 0)
		line(out, name, n);
}

void catch_account_print(const struct catch_account *account, double seconds, FILE *out)
{
	fprintf(out, "received %llu requests, %.1f MB, over %llu connection%s in %.2f s\n",
	        (unsigned long long)account->received, (double)account->bytes / 1e6,
	        (unsigned long long)account->connections, account->connections == 1 ? "" : "s", seconds);
	line(out, "distinct postbacks", account->distinct);
	line(out, "delivered", account->delivered);
	line(out, "duplicates", account->duplicates);
	line_if(out, "came with another id", account->other_id);
	line_if(out, "without number and id", account->unnamed);
	line_if(out, "bad numbers", account->bad_numbers);
	line_if(out, "not tracked, table full", account->untracked);
	for (unsigned status = 0; status < CATCH_STATUS_MAX; status++)
		if (account->status[status] > 0)
			fprintf(out, "  answered %-17u %12llu\n", status,
			        (unsigned long long)account->status[status]);
	line_if(out, "closed without answer", account->closed);
	line_if(out, "left hanging", account->hung);
	line_if(out, "signatures good", account->signature[CATCH_GOOD]);
	line_if(out, "signatures bad", bad_signatures(account));
	for (unsigned i = CATCH_UNSIGNED; i < CATCH_SIGNATURES; i++)
		if (account->signature[i] > 0)
			fprintf(out, "    %-24s %12llu\n", signature_names[i],
			        (unsigned long long)account->signature[i]);
	if (account->bad_requests > 0)
		fprintf(out, "  %-26s %12llu   the last: %s\n", "bad requests",
		        (unsigned long long)account->bad_requests, account->bad_request);
	line_if(out, "cut off requests", account->cut);
	line_if(out, "connections refused", account->refused);
	line_if(out, "connections idle", account->idle);
	if (account->latency.n == 0)
		return;
	fputs("  latency, ms:", out);
	for (unsigned i = 0; i < PERCENTS; i++)
		fprintf(out, "  %s %.3f", percent_names[i], latency_ms(account, percents[i]));
	fprintf(out, "  max %.3f\n", (double)account->latency.max / 1e6);
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *statuses(const struct catch_account *account)
{
	json_t *object = json_object();
	for (unsigned status = 0; status < CATCH_STATUS_MAX; status++) {
		char name[8];
		snprintf(name, sizeof name, "%u", status);
		if (account->status[status] > 0)
			json_object_set_new(object, name, number(account->status[status]));
	}
	return object;
}

static json_t *signatures(const struct catch_account *account)
{
	json_t *object = json_pack("{s:o}", "bad", number(bad_signatures(account)));
	for (unsigned i = CATCH_GOOD; i < CATCH_SIGNATURES; i++)
		json_object_set_new(object, signature_names[i], number(account->signature[i]));
	return object;
}

static json_t *latencies(const struct catch_account *account)
{
	json_t *object = json_object();
	for (unsigned i = 0; i < PERCENTS; i++)
		json_object_set_new(object, percent_names[i], json_real(latency_ms(account, percents[i])));
	json_object_set_new(object, "max", json_real((double)account->latency.max / 1e6));
	return object;
}

json_t *catch_account_json(const struct catch_account *account, double seconds, bool with_expected)
{
	const struct {
		const char *name;
		json_t *value;
	} member[] = {
	        {"received", number(account->received)},
	        {"bytes", number(account->bytes)},
	        {"distinct", number(account->distinct)},
	        {"delivered", number(account->delivered)},
	        {"duplicates", number(account->duplicates)},
	        {"other_id", number(account->other_id)},
	        {"unnamed", number(account->unnamed)},
	        {"bad_numbers", number(account->bad_numbers)},
	        {"untracked", number(account->untracked)},
	        {"statuses", statuses(account)},
	        {"closed", number(account->closed)},
	        {"hung", number(account->hung)},
	        {"signatures", signatures(account)},
	        {"bad_requests", number(account->bad_requests)},
	        {"cut", number(account->cut)},
	        {"connections", number(account->connections)},
	        {"refused", number(account->refused)},
	        {"idle", number(account->idle)},
	        {"seconds", json_real(seconds)},
	        {"latency_ms", latencies(account)},
	};
	json_t *root = json_object();
	bool good = root != NULL;
	for (size_t i = 0; i < sizeof member / sizeof member[0]; i++)
		good &= json_object_set_new(root, member[i].name, member[i].value) == 0;
	if (with_expected)
		good &= json_object_set_new(root, "expected",
		                            json_pack("{s:o, s:o, s:o}", "sent", number(account->expected),
		                                      "delivered",
		                                      number(account->expected - account->missing), "missing",
		                                      number(account->missing))) == 0;
	if (good)
		return root;
	json_decref(root);
	return NULL;
}
