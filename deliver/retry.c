#include "deliver/retry.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "config/value.h"

#define HORIZON_LEAST_NS (24 * 3600 * NS_PER_SEC)

/* ---- reading ---- */

static int read_schedule(struct retry *retry, const struct config *config, const char *section,
                         struct shm_error *error)
{
	static const struct config_option wait = {.key = "wait",
	                                          .type = "duration",
	                                          .kind = CONFIG_DURATION,
	                                          .min_text = "1ms",
	                                          .max_text = "365d"};
	size_t n = config_count(config, "%s.retry.schedule", section);
	for (size_t i = 0; i < n && i < RETRY_SCHEDULE_MAX; i++) {
		const char *text = config_item(config, i, "%s.retry.schedule", section);
		struct config_why why = {""};
		if (config_value_check(&wait, text, &why) != 0) {
			shm_explain(error, "%s.retry.schedule[%zu]: %s", section, i, why.text);
			return -EINVAL;
		}
		(void)config_value_parse(&wait, text, &retry->wait_ns[i]);
		retry->n = (unsigned)i + 1;
	}
	return 0;
}

/* Whether somebody wrote another list than the default one: a running instance's configuration says
 * all values, so that one cannot ask who did. */
static bool has_own_schedule(const struct config *config, const char *section)
{
	char text[RETRY_SCHEDULE_MAX * 16] = "";
	size_t n, used = 0;
	for (size_t i = 0; i < config_count(config, "%s.retry.schedule", section) && used < sizeof text; i++)
		used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? " " : "",
		                         config_item(config, i, "%s.retry.schedule", section));
	const struct config_option *options = config_options(&n);
	for (size_t i = 0; i < n; i++)
		if (strcmp(options[i].key, "deliver.retry.schedule") == 0)
			return strcmp(options[i].default_text, text) != 0;
	abort(); /* it is in options.def */
}

/* A number as text, all of it: no suffix, no hexadecimal, no name. */
static int read_number(double *number, const struct config *config, const char *section, const char *name,
                       double least, double most, struct shm_error *error)
{
	const char *text = config_string(config, "%s.retry.%s", section, name);
	char *end;
	*number = strtod(text, &end);
	if (text[0] != '\0' && text[strspn(text, "0123456789.")] == '\0' && *end == '\0' &&
	    *number >= least && *number <= most)
		return 0;
	shm_explain(error,
	            "%s.retry.%s: \"%.40s\" is not a number in its range; allowed: %g to %g, such as %g",
	            section, name, text, least, most, least + 0.5);
	return -EINVAL;
}

static void make_schedule(struct retry *retry, uint64_t base_ns, double factor, uint64_t cap_ns,
                          unsigned attempts)
{
	double wait = (double)base_ns;
	for (retry->n = 0; retry->n + 1 < attempts && retry->n < RETRY_SCHEDULE_MAX; retry->n++) {
		retry->wait_ns[retry->n] = wait < (double)cap_ns ? (uint64_t)wait : cap_ns;
		/* Stays where it is from the cap on, so that no number of attempts overflows. */
		if (wait < (double)cap_ns)
			wait *= factor;
	}
}

static void set_final(struct retry *retry, unsigned status)
{
	retry->final[(status - RETRY_STATUS) / 8] |= (uint8_t)(1u << (status - RETRY_STATUS) % 8);
}

static bool is_final(const struct retry *retry, unsigned status)
{
	return status >= RETRY_STATUS && status < RETRY_STATUS_END &&
	       (retry->final[(status - RETRY_STATUS) / 8] >> (status - RETRY_STATUS) % 8 & 1) != 0;
}

static bool read_status(struct retry *retry, const char *text)
{
	if (strlen(text) != 3 || text[0] < '3' || text[0] > '5')
		return false;
	unsigned hundred = (unsigned)(text[0] - '0') * 100;
	if (strcmp(text + 1, "xx") == 0) {
		for (unsigned i = 0; i < 100; i++)
			set_final(retry, hundred + i);
		return true;
	}
	if (strspn(text, "0123456789") != 3)
		return false;
	set_final(retry, (unsigned)atoi(text));
	return true;
}

static int read_final(struct retry *retry, const struct config *config, const char *section,
                      struct shm_error *error)
{
	size_t n = config_count(config, "%s.final", section);
	for (size_t i = 0; i < n; i++) {
		const char *text = config_item(config, i, "%s.final", section);
		if (read_status(retry, text))
			continue;
		shm_explain(error,
		            "%s.final[%zu]: \"%.40s\" is no answer; allowed: 300 to 599, 3xx, 4xx, 5xx",
		            section, i, text);
		return -EINVAL;
	}
	return 0;
}

int retry_init(struct retry *retry, const struct config *config, const char *section, struct shm_error *error)
{
	double factor;
	*retry =
	        (struct retry){.retry_after_most_ns = config_ns(config, "%s.retry.retry_after_most", section),
	                       .gone = config_ns(config, "%s.gone", section) != 0};
	uint64_t base_ns = config_ns(config, "%s.retry.base", section);
	int result = read_number(&factor, config, section, "factor", 1, 100, error);
	if (result == 0)
		result = read_number(&retry->jitter, config, section, "jitter", 0, 1, error);
	if (result == 0)
		result = read_final(retry, config, section, error);
	if (result == 0 && base_ns == 0)
		result = read_schedule(retry, config, section, error);
	if (result == 0 && base_ns != 0 && has_own_schedule(config, section)) {
		shm_explain(error, "%s.retry.base: %s.retry.schedule is there too; allowed: one of them",
		            section, section);
		result = -EINVAL;
	}
	if (result == 0 && base_ns != 0)
		make_schedule(retry, base_ns, factor, config_ns(config, "%s.retry.cap", section),
		              (unsigned)config_u64(config, "%s.retry.attempts", section));
	return result;
}

/* ---- judging ---- */

enum retry_outcome retry_judge(const struct retry *retry, int result, unsigned status)
{
	/* The guard's refusal, and a URL or header that no request can have: no other attempt ends
	 * otherwise. */
	if (result == -EACCES || result == -EINVAL)
		return RETRY_DEAD;
	if (result != 0)
		return RETRY_AGAIN;
	if (status >= 200 && status < 300)
		return RETRY_DELIVERED;
	if (status == 410 && retry->gone)
		return RETRY_GONE;
	return is_final(retry, status) ? RETRY_DEAD : RETRY_AGAIN;
}

uint64_t retry_wait_ns(const struct retry *retry, unsigned attempts, int64_t retry_after_s, uint64_t chance)
{
	if (attempts == 0 || attempts > retry->n)
		return UINT64_MAX;
	/* From -1 to 1; 53 bits are all that a double holds. */
	double part = ldexp((double)(chance >> 11), -52) - 1;
	double wait = (double)retry->wait_ns[attempts - 1] * (1 + retry->jitter * part);
	uint64_t wait_ns = (uint64_t)wait;
	if (retry_after_s <= 0)
		return wait_ns;
	uint64_t most_ns = retry->retry_after_most_ns;
	uint64_t asked_ns = (uint64_t)retry_after_s > most_ns / NS_PER_SEC
	                            ? most_ns
	                            : (uint64_t)retry_after_s * NS_PER_SEC;
	return asked_ns > wait_ns ? asked_ns : wait_ns;
}

uint64_t retry_horizon_ns(const struct retry *retry)
{
	uint64_t horizon_ns = 0;
	for (unsigned i = 0; i < retry->n; i++) {
		uint64_t longest_ns = (uint64_t)((double)retry->wait_ns[i] * (1 + retry->jitter));
		horizon_ns +=
		        longest_ns > retry->retry_after_most_ns ? longest_ns : retry->retry_after_most_ns;
	}
	return horizon_ns > HORIZON_LEAST_NS ? horizon_ns : HORIZON_LEAST_NS;
}
