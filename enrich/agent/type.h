/* What kind of thing an agent is: our own rules, over uap-core's answer and the words of the agent.
 * The first that holds:
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
 */
#ifndef ENRICH_AGENT_TYPE_H
#define ENRICH_AGENT_TYPE_H

#include "enrich/agent/agent.h"

/* uap-core's fields are there; said: the words of the text (words.h). */
enum agent_type type_of(const struct agent *agent, uint32_t said, const char *text, size_t bytes);

/* Whether the agent is a Mac's that speaks through CFNetwork, which uap-core takes for iOS as often
 * as not. */
bool type_is_mac_application(uint32_t said, const char *text, size_t bytes);

/* Whether a field of the agent is one of the texts, the last of which is NULL. */
bool type_is_one_of(const struct agent *agent, enum agent_field field, const char *const *texts);

#endif
