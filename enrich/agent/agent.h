/* What a User-Agent is: uap-core's fields, and the fields of the tracking line that are derived
 * from them and from the agent itself.
 *
 *     Mozilla/5.0 (Macintosh; Intel Mac OS X 10.13; rv:56.0) Gecko/20100101 Firefox/56.0
 *
 *     uap-core   Firefox 56 0 - -     Mac OS X 10 13 - -     Mac, Apple, Mac
 *     derived    type=Desktop  browser=Firefox  engine=Gecko  version=56.0  os=Mac
 *
 * The derived fields ("says" means that a word of marks.def is there, in any case):
 *
 *     browser   uap-core's family
 *     version   its major, minor, patch and patch minor as far as defined, with points: "56.0"
 *     os        uap-core's family of the system; "Mac" for Mac OS X, Mac OS, and a Mac that says CFNetwork
 *     engine    the first of these that holds:
 *                   Trident    says Trident/ or MSIE, and not Opera
 *                   EdgeHTML   says Edge/ (later Edges say Edg/)
 *                   Presto     says Presto/ or Opera, and neither WebKit nor Chrome/
 *                   Blink      says Chrome/ or Chromium/ of version 28 or later
 *                   WebKit     says WebKit (Chrome on iOS says CriOS/ and is WebKit)
 *                   Goanna, Servo, LibWeb, KHTML, NetFront, Gecko    say their name with a slash
 *                   Other
 *     type      the first of these that holds:
 *                   Bot      uap-core calls the device Spider or the browser "...bot"
 *                            says the name of a program, or what programs do (spider, monitor ...);
 *                              with CFNetwork that says nothing: "Heart Monitor/2 CFNetwork/..."
 *                            says the address of a page; on a desktop also a host or a mail address
 *                            says no system, device, handset's engine or application that is known,
 *                              and is not empty: browsers always say what they run on
 *                   TV       says a television, box or stick, or has such a system or model
 *                   Other    says a console
 *                   Desktop  a Mac that says CFNetwork and its processor, model or Safari, or a
 *                            kernel that only Macs had
 *                   Tablet   says iPad, Kindle or "tablet" ("Tablet PC" is a desktop); a tablet's
 *                            model; a browser (Mozilla/) on Android that does not say "mobile"
 *                   Mobile   has a telephone's system, says so, or is a device that uap-core knows
 *                   Desktop  Windows, Mac, Linux, BSD, Chrome OS ...
 *                   Other    applications that do not say where they run (okhttp, Outlook); no agent
 *
 * uap-core calls everything that begins with four letters of some old telephone's name a "Generic
 * Feature Phone" (httperf, Blackbox Exporter, SendGrid). That counts as a device only if the agent
 * also says something that telephones say: MIDP, UP.Browser, NetFront.
 *
 * An agent longer than the engine's longest is cut to that length.
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
