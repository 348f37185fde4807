#include "enrich/agent/derive.h"

#include <string.h>
#include <strings.h>

#define BLINK_SINCE 28u /* Chrome's version: https://www.chromium.org/blink/ */

enum says {
	SAYS_CHROME,
	SAYS_WEBKIT,
	SAYS_GECKO,
	SAYS_GOANNA,
	SAYS_SERVO,
	SAYS_LADYBIRD,
	SAYS_KHTML,
	SAYS_NETFRONT,
	SAYS_PRESTO,
	SAYS_OPERA,
	SAYS_MSIE,
	SAYS_EDGE,
	SAYS_BOT,
	SAYS_TV,
	SAYS_TABLET,
	SAYS_TABLET_PC,
	SAYS_MOBILE,
	SAYS_ANDROID,
	SAYS_CONSOLE,
	SAYS_DESKTOP,
};

static const char *const words[] = {
#define WORD(kind, text) text,
#include "enrich/agent/marks.def"
#undef WORD
};

static const uint8_t kinds[] = {
#define WORD(kind, text) SAYS_##kind,
#include "enrich/agent/marks.def"
#undef WORD
};

#define N_WORDS          ((uint32_t)(sizeof words / sizeof *words))
#define SAYS(said, kind) ((said) >> SAYS_##kind & 1)

const char *const *derive_marks(uint32_t *n)
{
	*n = N_WORDS;
	return words;
}

/* A bit for each kind of word that the agent has. */
static uint32_t what_it_says(const struct matcher *matcher)
{
	uint32_t said = 0;
	for (uint32_t i = 0; i < N_WORDS; i++)
		said |= (uint32_t)matcher_mark(matcher, i) << kinds[i];
	return said;
}

void derive_append(struct agent *agent, enum agent_field field, const char *text, size_t bytes)
{
	if (bytes > AGENT_FIELD_MAX) {
		bytes = AGENT_FIELD_MAX;
		for (unsigned i = 0; i < 3 && ((uint8_t)text[bytes] & 0xc0) == 0x80; i++)
			bytes--; /* text[bytes] would go on with a character of UTF-8 */
	}
	size_t at = agent->used - offsetof(struct agent, text);
	memcpy(agent->text + at, text, bytes);
	agent->field[field] = (struct agent_place){.at = (uint16_t)at, .bytes = (uint16_t)bytes};
	agent->used = (uint16_t)(agent->used + bytes);
}

static bool is(const struct agent *agent, enum agent_field field, const char *text)
{
	size_t bytes;
	const char *value = agent_text(agent, field, &bytes);
	return bytes == strlen(text) && memcmp(value, text, bytes) == 0;
}

static bool is_one_of(const struct agent *agent, enum agent_field field, const char *const *texts)
{
	for (; *texts; texts++)
		if (is(agent, field, *texts))
			return true;
	return false;
}

/* ---- engine ---- */

/* Chrome's major version in the agent; UINT32_MAX when there is none that can be read. */
static uint32_t chrome_version(const char *text, size_t bytes)
{
	static const char name[] = "Chrome/";
	const char *end = text + bytes;
	const char *at = memmem(text, bytes, name, sizeof name - 1);
	if (!at)
		return UINT32_MAX;
	uint32_t version = 0;
	for (at += sizeof name - 1; at < end && *at >= '0' && *at <= '9' && version < 10000; at++)
		version = version * 10 + (uint32_t)(*at - '0');
	return version == 0 ? UINT32_MAX : version;
}

static enum agent_draws engine_of(uint32_t said, const char *text, size_t bytes)
{
	if (SAYS(said, MSIE) && !SAYS(said, OPERA))
		return AGENT_DRAWS_TRIDENT;
	if (SAYS(said, EDGE))
		return AGENT_DRAWS_EDGEHTML;
	if ((SAYS(said, PRESTO) || SAYS(said, OPERA)) && !SAYS(said, WEBKIT) && !SAYS(said, CHROME))
		return AGENT_DRAWS_PRESTO;
	if (SAYS(said, CHROME))
		return chrome_version(text, bytes) >= BLINK_SINCE ? AGENT_DRAWS_BLINK : AGENT_DRAWS_WEBKIT;
	static const struct {
		enum says word;
		enum agent_draws draws;
	} rest[] = {{SAYS_WEBKIT, AGENT_DRAWS_WEBKIT}, {SAYS_GOANNA, AGENT_DRAWS_GOANNA},
	            {SAYS_SERVO, AGENT_DRAWS_SERVO},   {SAYS_LADYBIRD, AGENT_DRAWS_LIBWEB},
	            {SAYS_KHTML, AGENT_DRAWS_KHTML},   {SAYS_NETFRONT, AGENT_DRAWS_NETFRONT},
	            {SAYS_GECKO, AGENT_DRAWS_GECKO}};
	for (unsigned i = 0; i < sizeof rest / sizeof *rest; i++)
		if (said >> rest[i].word & 1)
			return rest[i].draws;
	return AGENT_DRAWS_OTHER;
}

/* ---- type ---- */

/* A browser called ...bot, as in PingdomBot and msnbot. */
static bool is_called_bot(const struct agent *agent)
{
	size_t bytes;
	const char *family = agent_text(agent, AGENT_FAMILY, &bytes);
	return bytes >= 3 && strncasecmp(family + bytes - 3, "bot", 3) == 0;
}

static bool is_tv(const struct agent *agent, uint32_t said)
{
	/* The systems of televisions that uap-core names after their makers are here because it does so for HbbTV alone. */
	static const char *const systems[] = {"GoogleTV", "tvOS",      "ATV OS X",  "Roku", "Chromecast",
	                                      "WebTV",    "Web0S",     "Samsung",   "LG",   "Philips",
	                                      "Sony",     "Panasonic", "FireHbbTV", NULL};
	return SAYS(said, TV) || is(agent, AGENT_BRAND, "Generic_Inettv") ||
	       is_one_of(agent, AGENT_OS_FAMILY, systems);
}

static bool is_tablet(const struct agent *agent, uint32_t said, const char *text, size_t bytes)
{
	static const char mozilla[] = "Mozilla/";
	if (is(agent, AGENT_BRAND, "Generic_Android_Tablet"))
		return true;
	if (SAYS(said, TABLET) && !SAYS(said, TABLET_PC))
		return true;
	/* Applications on telephones need not say "mobile"; browsers do. */
	bool browser = (SAYS(said, WEBKIT) || SAYS(said, GECKO)) && bytes >= sizeof mozilla - 1 &&
	               memcmp(text, mozilla, sizeof mozilla - 1) == 0;
	return SAYS(said, ANDROID) && browser && !SAYS(said, MOBILE);
}

static bool is_mobile(const struct agent *agent, uint32_t said)
{
	static const char *const systems[] = {
	        "iOS",  "Android", "Windows Phone", "Windows Mobile", "BlackBerry OS",
	        "BREW", "Brew MP", "Symbian OS",    "Firefox OS",     "KaiOS",
	        "Bada", "Tizen",   "WatchOS",       "Sailfish",       NULL};
	static const char *const desks[] = {"Other", "Mac", NULL};
	return SAYS(said, MOBILE) || SAYS(said, ANDROID) || is_one_of(agent, AGENT_OS_FAMILY, systems) ||
	       !is_one_of(agent, AGENT_DEVICE_FAMILY, desks);
}

static bool is_desktop(const struct agent *agent, uint32_t said)
{
	static const char *const systems[] = {"Windows",   "Mac OS X", "Mac OS", "Linux",
	                                      "Chrome OS", "BSD",      NULL};
	return SAYS(said, DESKTOP) || is_one_of(agent, AGENT_OS_FAMILY, systems);
}

static enum agent_type type_of(const struct agent *agent, uint32_t said, const char *text, size_t bytes)
{
	if (SAYS(said, BOT) || is_called_bot(agent) || is(agent, AGENT_DEVICE_FAMILY, "Spider"))
		return AGENT_BOT;
	if (is_tv(agent, said))
		return AGENT_TV;
	if (SAYS(said, CONSOLE))
		return AGENT_OTHER;
	if (is_tablet(agent, said, text, bytes))
		return AGENT_TABLET;
	if (is_mobile(agent, said))
		return AGENT_MOBILE;
	return is_desktop(agent, said) ? AGENT_DESKTOP : AGENT_OTHER;
}

/* ---- all ---- */

static void join_version(struct agent *agent)
{
	char version[4 * (AGENT_FIELD_MAX + 1)];
	size_t at = 0;
	for (unsigned field = AGENT_MAJOR; field <= AGENT_PATCH_MINOR; field++) {
		size_t bytes;
		const char *part = agent_text(agent, field, &bytes);
		if (bytes == 0)
			break;
		if (at > 0)
			version[at++] = '.';
		memcpy(version + at, part, bytes);
		at += bytes;
	}
	derive_append(agent, AGENT_VERSION, version, at);
}

void derive(const struct matcher *matcher, const char *text, size_t bytes, struct agent *agent)
{
	static const char *const macs[] = {"Mac OS X", "Mac OS", "macOS", NULL};
	uint32_t said = what_it_says(matcher);
	agent->draws = (uint8_t)engine_of(said, text, bytes);
	agent->type = (uint8_t)type_of(agent, said, text, bytes);
	agent->field[AGENT_BROWSER] = agent->field[AGENT_FAMILY];
	join_version(agent);
	if (is_one_of(agent, AGENT_OS_FAMILY, macs))
		derive_append(agent, AGENT_OS, "Mac", 3);
	else
		agent->field[AGENT_OS] = agent->field[AGENT_OS_FAMILY];
}
