#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "enrich/data/data_file.h"
#include "enrich/enrich.h"
#include "base/log.h"

void lookup_read_settings(struct lookup_settings *settings, const struct config *config)
{
	*settings = (struct lookup_settings){
	        .database = config_string(config, "enrich.country_database"),
	        .rules = config_string(config, "enrich.agent_rules"),
	        .agent_longest = config_u64(config, "enrich.agent_longest"),
	        .agent_cache = (uint32_t)config_u64(config, "enrich.agent_cache"),
	        .privacy = {.truncate = config_u64(config, "enrich.truncate_addresses") != 0,
	                    .honour_dnt = config_u64(config, "enrich.honour_dnt") != 0},
	};
	snprintf(settings->pod, sizeof settings->pod, "%s", config_string(config, "enrich.pod"));
	if (settings->pod[0] == 0 && gethostname(settings->pod, sizeof settings->pod - 1) != 0)
		settings->pod[0] = 0;
	size_t n = config_count(config, "enrich.drop_parameters");
	for (size_t i = 0; i < n && i < LOOKUP_DROP_MAX; i++)
		settings->drop[i] = config_item(config, i, "enrich.drop_parameters");
	settings->privacy.n_drop = (unsigned)n;
}

static int open_agents(struct lookup *lookup, struct shm_error *error)
{
	char path[PATH_MAX], reason[RULES_ERROR_BYTES];
	const struct lookup_settings *settings = &lookup->settings;
	int found = data_file_find(path, sizeof path, settings->rules, DATA_FILE_AGENTS);
	if (found != 0 && found != -ENOENT) {
		shm_explain(error, "enrich.agent_rules: %s", strerror(-found));
		return found;
	}
	if (found == -ENOENT)
		log_warn("no rules for User-Agents: a few words alone tell the device", "path=%s", path);
	lookup->engine = agent_engine_create(found == 0 ? path : NULL, settings->agent_longest, reason);
	if (lookup->engine == NULL) {
		shm_explain(error, "enrich.agent_rules: %s", reason);
		return -EINVAL;
	}
	lookup->cache = agent_cache_create(settings->agent_cache, 0);
	if (lookup->cache != NULL)
		return 0;
	shm_explain(error, "no memory for %u User-Agents", settings->agent_cache);
	return -ENOMEM;
}

int lookup_open(struct lookup *lookup, struct shm_error *error)
{
	char path[PATH_MAX];
	lookup->settings.privacy.drop = lookup->settings.drop;
	lookup->geo = NULL;
	lookup->engine = NULL;
	lookup->cache = NULL;
	int result = data_file_find(path, sizeof path, lookup->settings.database, DATA_FILE_COUNTRY);
	if (result != 0 && result != -ENOENT) {
		shm_explain(error, "enrich.country_database: %s", strerror(-result));
		return result;
	}
	/* It may appear later. */
	lookup->geo = geo_open(path);
	result = lookup->geo != NULL ? open_agents(lookup, error) : -ENOMEM;
	if (lookup->geo == NULL)
		shm_explain(error, "no memory");
	if (result != 0)
		lookup_close(lookup);
	return result;
}

void lookup_close(struct lookup *lookup)
{
	if (lookup->geo != NULL)
		geo_close(lookup->geo);
	if (lookup->cache != NULL)
		agent_cache_destroy(lookup->cache);
	if (lookup->engine != NULL)
		agent_engine_destroy(lookup->engine);
	lookup->geo = NULL;
	lookup->cache = NULL;
	lookup->engine = NULL;
}

static const struct agent *agent_of(struct lookup *lookup, const char *text, size_t bytes)
{
	const struct agent *known = agent_cache_get(lookup->cache, text, bytes);
	if (known != NULL)
		return known;
	agent_parse(lookup->engine, text, bytes, &lookup->parsed);
	return agent_cache_put(lookup->cache, text, bytes, &lookup->parsed);
}

static struct track_text field(const struct agent *agent, enum agent_field which)
{
	struct track_text text;
	text.text = agent_text(agent, which, &text.bytes);
	return text;
}

static struct track_text name(const char *text)
{
	return (struct track_text){.text = text, .bytes = strlen(text)};
}

uint32_t lookup_event(struct lookup *lookup, const struct event_track_raw *raw, uint64_t now_ns,
                      void *payload)
{
	const char *agent_at = raw->text + raw->type_bytes + raw->query_bytes;
	const struct agent *agent = agent_of(lookup, agent_at, raw->agent_bytes);
	struct track track = {
	        .raw = raw,
	        .pod = name(lookup->settings.pod),
	        .device = name(agent_type_name((enum agent_type)agent->type)),
	        .browser = field(agent, AGENT_BROWSER),
	        .engine = name(agent_draws_name((enum agent_draws)agent->draws)),
	        .version = field(agent, AGENT_VERSION),
	        .os = field(agent, AGENT_OS),
	        .now_ns = now_ns,
	};
	geo_lookup(lookup->geo, raw->source, &track.place);
	if (memcmp(track.place.country, GEO_UNKNOWN, 2) == 0)
		lookup->countries_unknown++;
	(void)track_put(payload, &track); /* privacy may shorten it */
	return privacy_apply(&lookup->settings.privacy, payload);
}
