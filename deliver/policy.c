#include "deliver/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The entry of `deliver` itself is the last of the list and matches all. */
struct entry {
	char section[48];     /* "deliver", "deliver.endpoints[3]" */
	struct target *match; /* NULL: matches all */
	bool is_host;
	bool any_port;
	size_t match_bytes; /* of a URL's beginning */
	struct policy policy;
};

/* A file of secrets; entries that name the same one share it. */
struct secrets {
	const char *path;
	struct sign *sign;
	bool told; /* that it cannot be read */
};

struct policies {
	struct entry *entry; /* the one that counts first, first */
	size_t n;
	struct secrets *secrets;
	size_t n_secrets;
};

/* ---- what an entry matches ---- */

/* HOST or HOST:PORT, as the host of an https URL. A port that is https's own is one that was said,
 * which the compiled target cannot show. */
static int read_host(struct entry *entry, const char *match, struct shm_error *error)
{
	char url[2100];
	const char *after = match[0] == '[' ? strchr(match, ']') : match;
	const char *port = after == NULL ? NULL : strchr(after, ':');
	int bytes = snprintf(url, sizeof url, "https://%s/", match);
	entry->is_host = true;
	entry->any_port = port == NULL;
	if (strpbrk(match, "/?#@{} ") != NULL || bytes < 0 || (size_t)bytes >= sizeof url) {
		shm_explain(error, "\"%.80s\" is neither a host nor the beginning of a URL", match);
		return -EINVAL;
	}
	return target_compile(&entry->match, url, (size_t)bytes, error);
}

static int read_url(struct entry *entry, const char *match, struct shm_error *error)
{
	int result = target_compile(&entry->match, match, strlen(match), error);
	if (result != 0)
		return result;
	entry->match_bytes = strlen(entry->match->endpoint);
	if (strpbrk(match, "?#@") != NULL) {
		shm_explain(error, "a user, query or fragment is no part of an endpoint");
		return -EINVAL;
	}
	/* Names of endpoints are cut somewhat below this, and end with a hash then. */
	if (entry->match_bytes > TARGET_ENDPOINT_MAX - 32) {
		shm_explain(error, "the URL's beginning has %zu bytes", entry->match_bytes);
		return -EINVAL;
	}
	return 0;
}

static int read_match(struct entry *entry, const char *match, struct shm_error *error)
{
	struct shm_error why = {""};
	int result =
	        strstr(match, "://") != NULL ? read_url(entry, match, &why) : read_host(entry, match, &why);
	if (result != 0)
		shm_explain(
		        error,
		        "%s.match: %.300s; allowed: HOST, HOST:PORT, or the beginning of a URL of at most %u bytes",
		        entry->section, why.text, TARGET_ENDPOINT_MAX - 32);
	return result;
}

static bool matches_host(const struct entry *entry, const char *host, uint16_t port)
{
	return entry->match == NULL || (entry->is_host && strcmp(entry->match->host, host) == 0 &&
	                                (entry->any_port || entry->match->port == port));
}

/* The endpoint begins with it, and a segment ends there. */
static bool matches(const struct entry *entry, const struct target *target)
{
	if (entry->match == NULL || entry->is_host)
		return matches_host(entry, target->host, target->port);
	const char *endpoint = target->endpoint;
	size_t n = entry->match_bytes;
	return strncmp(entry->match->endpoint, endpoint, n) == 0 &&
	       (endpoint[n] == '\0' || endpoint[n] == '/' || endpoint[n - 1] == '/');
}

/* Beginnings of URLs, the longest first, then HOST:PORT, HOST, and what matches all. */
static int compare_entries(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;
	if ((left->match == NULL) != (right->match == NULL))
		return left->match == NULL ? 1 : -1;
	if (left->match == NULL)
		return 0;
	if (left->is_host != right->is_host)
		return left->is_host ? 1 : -1;
	if (left->match_bytes != right->match_bytes)
		return left->match_bytes > right->match_bytes ? -1 : 1;
	if (left->any_port != right->any_port)
		return left->any_port ? 1 : -1;
	if (left->is_host && left->match->port != right->match->port)
		return left->match->port < right->match->port ? -1 : 1;
	return strcmp(left->is_host ? left->match->host : left->match->endpoint,
	              right->is_host ? right->match->host : right->match->endpoint);
}

static bool same_match(const struct entry *a, const struct entry *b)
{
	return a->match != NULL && b->match != NULL && compare_entries(a, b) == 0;
}

/* ---- settings ---- */

static struct sign *secrets_of(struct policies *policies, const char *section, const char *path,
                               struct shm_error *error)
{
	struct shm_error why = {""};
	for (size_t i = 0; i < policies->n_secrets; i++)
		if (strcmp(policies->secrets[i].path, path) == 0)
			return policies->secrets[i].sign;
	struct secrets *secrets = &policies->secrets[policies->n_secrets];
	int result = sign_open(&secrets->sign, path, &why);
	if (result != 0) {
		shm_explain(error, "%s.sign: %.400s", section, why.text);
		errno = -result;
		return NULL;
	}
	secrets->path = path;
	policies->n_secrets++;
	return secrets->sign;
}

static void read_limits(struct policy *policy, const struct config *config, const char *section)
{
	policy->host = (struct policy_host){
	        .connections = (unsigned)config_u64(config, "%s.per_host.connections", section),
	        .rate = config_u64(config, "%s.per_host.rate", section),
	        .burst = config_u64(config, "%s.per_host.burst", section),
	        .waiting = (unsigned)config_u64(config, "%s.per_host.waiting", section)};
	policy->circuit = (struct policy_circuit){
	        .failures = (unsigned)config_u64(config, "%s.circuit.failures", section),
	        .pause_ns = config_ns(config, "%s.circuit.pause", section),
	        .pause_most_ns = config_ns(config, "%s.circuit.pause_most", section)};
}

static int read_policy(struct policies *policies, struct entry *entry, const struct config *config,
                       struct shm_error *error)
{
	struct policy *policy = &entry->policy;
	const char *section = entry->section, *path = config_string(config, "%s.sign", section);
	*policy =
	        (struct policy){.connect_timeout_ns = config_ns(config, "%s.connect_timeout", section),
	                        .first_byte_timeout_ns = config_ns(config, "%s.first_byte_timeout", section),
	                        .timeout_ns = config_ns(config, "%s.timeout", section),
	                        .unmatched = config_string(config, "%s.unmatched", section),
	                        .json = strcmp(config_string(config, "%s.body", section), "json") == 0,
	                        .http2 = config_u64(config, "%s.http2", section) != 0,
	                        .redirects = (unsigned)config_u64(config, "%s.redirects", section),
	                        .gone_ns = config_ns(config, "%s.gone", section)};
	read_limits(policy, config, section);
	if (policy->circuit.pause_ns > policy->circuit.pause_most_ns) {
		shm_explain(error, "%s.circuit.pause: longer than pause_most; allowed: as long or shorter",
		            section);
		return -EINVAL;
	}
	/* --check may not see what is deliver's own process's alone. */
	bool seen = path[0] != '\0' && config_credential(path) == NULL;
	if (seen && (policy->sign = secrets_of(policies, section, path, error)) == NULL)
		return -errno;
	return retry_init(&policy->retry, config, section, error);
}

static bool same_limits(const struct policy_host *a, const struct policy_host *b)
{
	return a->connections == b->connections && a->rate == b->rate && a->burst == b->burst &&
	       a->waiting == b->waiting;
}

/* Gives the entries of URLs the limits of their hosts. Those of an entry that says nothing of them
 * are deliver's. */
static int share_limits(struct policies *policies, struct shm_error *error)
{
	const struct policy_host *all = &policies->entry[policies->n - 1].policy.host;
	for (size_t i = 0; i < policies->n; i++) {
		struct entry *entry = &policies->entry[i];
		if (entry->match == NULL || entry->is_host)
			continue;
		const struct policy_host *host =
		        policies_for_host(policies, entry->match->host, entry->match->port);
		if (!same_limits(&entry->policy.host, all) && !same_limits(&entry->policy.host, host)) {
			shm_explain(
			        error,
			        "%s.per_host: limits are a host's, which its endpoints share; allowed: in an entry with match: \"%.255s\"",
			        entry->section, entry->match->host);
			return -EINVAL;
		}
		entry->policy.host = *host;
	}
	return 0;
}

static int check_twice(const struct policies *policies, struct shm_error *error)
{
	for (size_t i = 1; i < policies->n; i++) {
		const struct entry *a = &policies->entry[i - 1], *b = &policies->entry[i];
		if (!same_match(a, b))
			continue;
		shm_explain(error, "%s.match: that of %s too; allowed: each once", b->section, a->section);
		return -EINVAL;
	}
	return 0;
}

static int read_entries(struct policies *policies, const struct config *config, struct shm_error *error)
{
	int result = 0;
	for (size_t i = 0; i < policies->n && result == 0; i++) {
		struct entry *entry = &policies->entry[i];
		if (i + 1 == policies->n) {
			snprintf(entry->section, sizeof entry->section, "deliver");
		} else {
			snprintf(entry->section, sizeof entry->section, "deliver.endpoints[%zu]", i);
			result = read_match(entry, config_string(config, "%s.match", entry->section), error);
		}
		if (result == 0)
			result = read_policy(policies, entry, config, error);
	}
	return result;
}

int policies_open(struct policies **out, const struct config *config, struct shm_error *error)
{
	size_t n = config_count(config, "deliver.endpoints") + 1;
	struct policies *policies = calloc(1, sizeof *policies);
	if (policies != NULL) {
		policies->entry = calloc(n, sizeof *policies->entry);
		policies->secrets = calloc(n, sizeof *policies->secrets);
		policies->n = n;
	}
	if (policies == NULL || policies->entry == NULL || policies->secrets == NULL) {
		shm_explain(error, "deliver.endpoints: no memory for %zu", n);
		policies_close(policies);
		return -ENOMEM;
	}
	int result = read_entries(policies, config, error);
	if (result == 0) {
		qsort(policies->entry, n, sizeof *policies->entry, compare_entries);
		result = check_twice(policies, error);
	}
	if (result == 0)
		result = share_limits(policies, error);
	if (result != 0) {
		policies_close(policies);
		return result;
	}
	*out = policies;
	return 0;
}

void policies_close(struct policies *policies)
{
	if (policies == NULL)
		return;
	for (size_t i = 0; policies->entry != NULL && i < policies->n; i++)
		target_free(policies->entry[i].match);
	for (size_t i = 0; i < policies->n_secrets; i++)
		sign_close(policies->secrets[i].sign);
	free(policies->entry);
	free(policies->secrets);
	free(policies);
}

/* ---- asking ---- */

const struct policy *policies_for(const struct policies *policies, const struct target *target)
{
	size_t i = 0;
	while (!matches(&policies->entry[i], target))
		i++;
	return &policies->entry[i].policy;
}

const struct policy_host *policies_for_host(const struct policies *policies, const char *host, uint16_t port)
{
	size_t i = 0;
	while (!matches_host(&policies->entry[i], host, port))
		i++;
	return &policies->entry[i].policy.host;
}

int policies_refresh(struct policies *policies, unsigned *changed, struct shm_error *error)
{
	int first = 0;
	*changed = 0;
	for (size_t i = 0; i < policies->n_secrets; i++) {
		struct secrets *secrets = &policies->secrets[i];
		struct shm_error why = {""};
		int result = sign_refresh(secrets->sign, &why);
		*changed += result > 0;
		if (result < 0 && !secrets->told && first == 0) {
			first = result;
			*error = why;
			secrets->told = true;
		} else if (result >= 0) {
			secrets->told = false;
		}
	}
	return first;
}
