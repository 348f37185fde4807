/* What a User-Agent is: uap-core's fields and, derived from them and from the agent itself, those
 * of the tracking line.
 *
 *     Mozilla/5.0 (Macintosh; Intel Mac OS X 10.13; rv:56.0) Gecko/20100101 Firefox/56.0
 *
 *     uap-core   Firefox 56 0 - -     Mac OS X 10 13 - -     Mac, Apple, Mac
 *     derived    type=Desktop  browser=Firefox  engine=Gecko  version=56.0  os=Mac
 *
 * How the derived ones come about (the words are those of marks.def, in any case):
 *
 *     browser   uap-core's family
 *     version   its major, minor, patch and patch minor as far as they are defined, with points: "56.0". Undefined with the major
 *     os        uap-core's family of the system, but "Mac" for Mac OS X and Mac OS, and for a Mac that speaks through CFNetwork
 *     engine    what the agent says it is drawn by, the first of these that holds:
 *                   Trident    Trident/ or MSIE, without Opera
 *                   EdgeHTML   Edge/ (later Edges say Edg/)
 *                   Presto     Presto/ or Opera, without WebKit and Chrome/
 *                   Blink      Chrome/ or Chromium/ of version 28 or later, with or without WebKit
 *                   WebKit     WebKit
 *                   Goanna, Servo, LibWeb (Ladybird/), KHTML, NetFront, Gecko    their names with a slash
 *               else Other. Chrome on iOS says CriOS/ and is WebKit.
 *     type      what kind of thing it is: our own rules over all of these, below
 *
 * The type is the first of these that holds:
 *
 *     Bot      uap-core calls the device Spider or the browser "...bot"
 *              a program by its name, or by what it does (spider, crawler, preview, monitor, fetcher ...), whatever browser it pretends to
 *                  be; of an application that speaks through CFNetwork the name says nothing: "Heart Monitor/2 CFNetwork/..."
 *              the address of a page; on a desk also the name of a host or a mail address: programs say where to ask, browsers do not
 *              a system, a device, an engine of a handset, an application that is known: none of them said, in an agent that is not empty.
 *                  Browsers always say what they run on
 *     TV       a television, a box or a stick by its words, system or model
 *     Other    a console
 *     Desktop  a Mac that speaks through CFNetwork: it names its processor, its model, its Safari, or a kernel that only Macs had
 *     Tablet   iPad, Kindle, "tablet" (but "Tablet PC" is Windows on a desk), a tablet's model, or a browser (Mozilla/) on Android that does not
 *              say "mobile"
 *     Mobile   a telephone's system or words, or any other device that uap-core knows
 *     Desktop  Windows, Mac, Linux, BSD, Chrome OS ...
 *     Other    the rest: applications that say nothing of where they run (okhttp, Outlook); no agent at all
 *
 * uap-core calls whatever begins with four letters of some old telephone's name a "Generic Feature
 * Phone" (httperf, Blackbox Exporter, SendGrid). That is taken for a device only when the agent
 * also says something that telephones say: MIDP, UP.Browser, NetFront.
 *
 * An agent longer than the engine's longest is taken for its beginning.
 */
#ifndef ENRICH_AGENT_AGENT_H
#define ENRICH_AGENT_AGENT_H

#include "enrich/agent/matcher.h"

#define AGENT_LONGEST_MIN 64u
#define AGENT_LONGEST_MAX 8192u
#define AGENT_LONGEST     1024u /* when nothing else is configured */
#define AGENT_FIELD_MAX   255u  /* bytes; a longer field is cut between characters */

enum agent_field {
	/* uap-core's, in the order of its lists */
	AGENT_FAMILY,
	AGENT_MAJOR,
	AGENT_MINOR,
	AGENT_PATCH,
	AGENT_PATCH_MINOR,
	AGENT_OS_FAMILY,
	AGENT_OS_MAJOR,
	AGENT_OS_MINOR,
	AGENT_OS_PATCH,
	AGENT_OS_PATCH_MINOR,
	AGENT_DEVICE_FAMILY,
	AGENT_BRAND,
	AGENT_MODEL,
	/* derived */
	AGENT_BROWSER,
	AGENT_VERSION,
	AGENT_OS,
	AGENT_FIELDS
};

/* TYPE(symbol, name) */
#define AGENT_TYPES(TYPE)        \
	TYPE(OTHER, "Other")     \
	TYPE(DESKTOP, "Desktop") \
	TYPE(MOBILE, "Mobile")   \
	TYPE(TABLET, "Tablet")   \
	TYPE(TV, "TV")           \
	TYPE(BOT, "Bot")

/* ENGINE(symbol, name) */
#define AGENT_ENGINES(ENGINE)        \
	ENGINE(OTHER, "Other")       \
	ENGINE(BLINK, "Blink")       \
	ENGINE(EDGEHTML, "EdgeHTML") \
	ENGINE(GECKO, "Gecko")       \
	ENGINE(GOANNA, "Goanna")     \
	ENGINE(KHTML, "KHTML")       \
	ENGINE(LIBWEB, "LibWeb")     \
	ENGINE(NETFRONT, "NetFront") \
	ENGINE(PRESTO, "Presto")     \
	ENGINE(SERVO, "Servo")       \
	ENGINE(TRIDENT, "Trident")   \
	ENGINE(WEBKIT, "WebKit")

enum agent_type {
#define TYPE(symbol, name) AGENT_##symbol,
	AGENT_TYPES(TYPE)
#undef TYPE
	        AGENT_TYPE_COUNT
};

enum agent_draws {
#define ENGINE(symbol, name) AGENT_DRAWS_##symbol,
	AGENT_ENGINES(ENGINE)
#undef ENGINE
	        AGENT_DRAWS_COUNT
};

struct agent_place {
	uint16_t at, bytes; /* in text */
};

/* An answer. Only its first `used` bytes count, so that caches can keep it short. */
struct agent {
	uint16_t used;
	uint8_t type;  /* enum agent_type */
	uint8_t draws; /* enum agent_draws: the engine */
	struct agent_place field[AGENT_FIELDS];
	char text[AGENT_FIELDS * AGENT_FIELD_MAX];
};

/* A field's text, not zero-terminated; *bytes is 0 when it is undefined (families and os never
 * are). Good as long as the agent is. */
static inline const char *agent_text(const struct agent *agent, enum agent_field field, size_t *bytes)
{
	*bytes = agent->field[field].bytes;
	return agent->text + agent->field[field].at;
}

/* Whether the field is one of the texts, the last of which is NULL. */
bool agent_is_one_of(const struct agent *agent, enum agent_field field, const char *const *texts);

/* "Desktop", "Gecko" and so on. */
const char *agent_type_name(enum agent_type type);
const char *agent_draws_name(enum agent_draws draws);

struct agent_engine;

/* Reads and compiles the rules at path; it takes about 0.1 s. NULL: no rules; every agent's
 * families are "Other" then, its other fields undefined, and the derived ones come from its words
 * alone. longest: of an agent, in bytes, within AGENT_LONGEST_MIN and _MAX. Returns NULL with one
 * line in error (rules.h, matcher.h). One thread at a time may use an engine; nothing is allocated
 * after this. */
struct agent_engine *agent_engine_create(const char *path, size_t longest, char error[RULES_ERROR_BYTES]);
void agent_engine_destroy(struct agent_engine *engine);

/* Sets all of the agent that counts. text may hold any bytes. */
void agent_parse(struct agent_engine *engine, const char *text, size_t bytes, struct agent *agent);

/* The engine's parts, for tests and figures. */
struct matcher *agent_engine_matcher(struct agent_engine *engine);
const struct rules *agent_engine_rules(const struct agent_engine *engine);

#endif
