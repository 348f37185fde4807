/* Any bytes as a User-Agent, under rules of every shape: the literals that wake a rule must not
 * change which rule matches first (without them every rule is tried), and each field of the answer
 * lies in its text.
 *
 * The rules are those below; the input is the agent. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "enrich/agent/agent.h"
#include "enrich/agent/matcher.h"
#include "tests/fuzz/fuzz.h"

static const char rules_text[] = "user_agent_parsers:\n"
                                 "  - regex: '(Namoroka|Minefield|Shiretoko)/(\\d+)\\.(\\d+)(?:\\.(\\d+)|)'\n"
                                 "    family_replacement: 'Firefox ($1)'\n"
                                 "  - regex: '(?:Mobile/.{0,30}|)(Safari|CriOS)/(\\d+)'\n"
                                 "  - regex: '(?i)\\b(chrome|chromium)/(\\d+)\\.(\\d+)'\n"
                                 "  - regex: '([Bb]ot)[^a-z]?|(crawl|spid)er'\n"
                                 "    family_replacement: '$1$2'\n"
                                 "  - regex: '^(Opera)/(\\d+)(?!.*Mini)|(MSIE) (\\d+)'\n"
                                 "  - regex: 'x{3}(ab*c|d[ef]g)?h+$'\n"
                                 "os_parsers:\n"
                                 "  - regex: '(Windows (?:NT 5\\.2|NT 5\\.1))'\n"
                                 "    os_replacement: 'Windows'\n"
                                 "    os_v1_replacement: 'XP'\n"
                                 "  - regex: '(android)[ /]?(\\d+)(?:[.\\-](\\d+))?'\n"
                                 "    regex_flag: 'i'\n"
                                 "  - regex: '((?:Mac[ +]?|; )OS[ +]X)[\\s+/](?:(\\d+)[_.](\\d+)|Mach-O)'\n"
                                 "device_parsers:\n"
                                 "  - regex: '; *(SM-[A-Z0-9]{4,})(?: Build|\\))'\n"
                                 "    device_replacement: 'Samsung $1'\n"
                                 "    brand_replacement: 'Samsung'\n"
                                 "    model_replacement: '$1'\n"
                                 "  - regex: '(iPad|iPhone|iPod)(?:;|,)'\n"
                                 "  - regex: '(?:bot|spider)'\n"
                                 "    regex_flag: 'i'\n"
                                 "    device_replacement: 'Spider'\n";

static struct rules rules;
static struct matcher *matcher;
static struct agent_engine *engine;

static void make(void)
{
	char path[64], error[RULES_ERROR_BYTES] = "";
	int file = memfd_create("rules", MFD_CLOEXEC);
	must(file >= 0 && write(file, rules_text, sizeof rules_text - 1) == (ssize_t)sizeof rules_text - 1);
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	must(rules_load(&rules, path, error) == 0);
	matcher = matcher_create(&rules, NULL, 0, error);
	engine = agent_engine_create(path, 256, error);
	if (matcher == NULL || engine == NULL)
		fprintf(stderr, "%s\n", error);
	must(matcher != NULL && engine != NULL);
}

/* The rule, and where its groups are. */
static struct matcher_match look(enum rule_list list, size_t at[2 * MATCHER_GROUPS])
{
	struct matcher_match match = matcher_first(matcher, list);
	for (unsigned i = 0; match.rule != NULL && i < 2 * match.groups; i++)
		at[i] = match.at[i];
	return match;
}

static void check_first(const char *text, size_t bytes, enum rule_list list)
{
	size_t with[2 * MATCHER_GROUPS], without[2 * MATCHER_GROUPS];
	matcher_set_filter(matcher, true);
	matcher_pass(matcher, text, bytes);
	struct matcher_match some = look(list, with);
	matcher_set_filter(matcher, false);
	matcher_pass(matcher, text, bytes);
	struct matcher_match all = look(list, without);
	must(some.rule == all.rule);
	if (all.rule == NULL)
		return;
	must(some.groups == all.groups && memcmp(with, without, 2 * all.groups * sizeof *with) == 0);
	must(all.rule->list == list && all.groups <= MATCHER_GROUPS);
	for (unsigned i = 0; i < all.groups; i++)
		must(without[2 * i] == SIZE_MAX ||
		     (without[2 * i] <= without[2 * i + 1] && without[2 * i + 1] <= bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (matcher == NULL)
		make();
	if (bytes > 2048)
		return 0;
	char *text = fuzz_copy(data, bytes);
	static struct agent agent, again;
	for (enum rule_list list = 0; list < RULE_LISTS; list++)
		check_first(text, bytes < 256 ? bytes : 256, list);
	agent_parse(engine, text, bytes, &agent);
	agent_parse(engine, text, bytes < 256 ? bytes : 256, &again); /* no more is looked at */
	must(agent.used == again.used && memcmp(&agent, &again, agent.used) == 0);
	must(agent.type < AGENT_TYPE_COUNT && agent.draws < AGENT_DRAWS_COUNT);
	for (unsigned i = 0; i < AGENT_FIELDS; i++) {
		must(agent.field[i].bytes <= AGENT_FIELD_MAX);
		must(offsetof(struct agent, text) + agent.field[i].at + agent.field[i].bytes <= agent.used);
	}
	must(agent.field[AGENT_FAMILY].bytes > 0 && agent.field[AGENT_OS_FAMILY].bytes > 0);
	free(text);
	return 0;
}
