#include "enrich/agent/derive.h"

#include <string.h>

#include "enrich/agent/type.h"
#include "enrich/agent/words.h"

#define BLINK_SINCE 28u /* Chrome's version: https://www.chromium.org/blink/ */

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
	uint32_t said = words_said(matcher, text, bytes);
	agent->draws = (uint8_t)engine_of(said, text, bytes);
	agent->type = (uint8_t)type_of(agent, said, text, bytes);
	agent->field[AGENT_BROWSER] = agent->field[AGENT_FAMILY];
	join_version(agent);
	if (type_is_one_of(agent, AGENT_OS_FAMILY, macs) || type_is_mac_application(said, text, bytes))
		derive_append(agent, AGENT_OS, "Mac", 3);
	else
		agent->field[AGENT_OS] = agent->field[AGENT_OS_FAMILY];
}
