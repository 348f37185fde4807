/* The configuration's part is alone in this file, as in ports_listed.c. */
#include "stage/sieve.h"

#include <errno.h>

#include "flow/flow.h"

static int compile_one(struct sieve *sieve, const char *section, const char *topic, const char *const *text,
                       size_t n, struct shm_error *error)
{
	struct filters_why why = {""};
	struct filters *filters = &sieve->filters[sieve->n_topics++];
	if (filters_init(filters, flow_topic_type(topic), topic, text, n, &why) == 0)
		return 0;
	shm_explain(error, "%s.filter: %s", section, why.text);
	return -EINVAL;
}

int sieve_compile(struct sieve *sieve, const struct config *config, const char *section,
                  const char *const *topics, struct shm_error *error)
{
	const char *text[FILTERS_MAX + 1];
	size_t n = config_count(config, "%s.filter", section);
	size_t n_named = config_count(config, "%s.topics", section);
	int result = 0;
	*sieve = (struct sieve){.any = n != 0};
	for (size_t i = 0; i < n && i < FILTERS_MAX + 1; i++)
		text[i] = config_item(config, i, "%s.filter", section);
	for (size_t i = 0; result == 0 && i < PORTS_READS_MAX; i++) {
		const char *topic = topics != NULL ? topics[i]
		                    : i < n_named  ? config_item(config, i, "%s.topics", section)
		                                   : NULL;
		if (topic == NULL)
			break;
		result = compile_one(sieve, section, topic, text, n, error);
	}
	return result;
}

void sieve_fini(struct sieve *sieve)
{
	for (unsigned i = 0; i < sieve->n_topics; i++)
		filters_fini(&sieve->filters[i]);
	*sieve = (struct sieve){.n_topics = 0};
}
