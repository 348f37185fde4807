#include "enrich/agent/type.h"

#include <string.h>
#include <strings.h>

#include "enrich/agent/words.h"

#define SAID_TELEPHONE (SAID(MOBILE) | SAID(NETFRONT))
#define SAID_NOT_DESK  (SAID(TV) | SAID(TABLET) | SAID(MOBILE) | SAID(ANDROID) | SAID(CONSOLE))
/* Who says one of these says where it runs, or is excused. */
#define SAID_WHERE (SAID_NOT_DESK | SAID(DESKTOP) | SAID(NETFRONT) | SAID(CFNETWORK) | SAID(APPLICATION))

static bool is(const struct agent *agent, enum agent_field field, const char *text)
{
	size_t bytes;
	const char *value = agent_text(agent, field, &bytes);
	return bytes == strlen(text) && memcmp(value, text, bytes) == 0;
}

bool type_is_one_of(const struct agent *agent, enum agent_field field, const char *const *texts)
{
	for (; *texts; texts++)
		if (is(agent, field, *texts))
			return true;
	return false;
}

static bool starts(const char *text, size_t bytes, const char *with)
{
	size_t n = strlen(with);
	return bytes >= n && memcmp(text, with, n) == 0;
}

/* A device that is no computer on a desk. */
static bool has_device(const struct agent *agent, uint32_t said)
{
	static const char *const none[] = {"Other", "Mac", "Spider", NULL};
	if (is(agent, AGENT_DEVICE_FAMILY, "Generic Feature Phone"))
		return said & SAID_TELEPHONE;
	return !type_is_one_of(agent, AGENT_DEVICE_FAMILY, none);
}

/* A browser called ...bot, as in PingdomBot and msnbot. */
static bool is_called_bot(const struct agent *agent)
{
	size_t bytes;
	const char *family = agent_text(agent, AGENT_FAMILY, &bytes);
	return bytes >= 3 && strncasecmp(family + bytes - 3, "bot", 3) == 0;
}

static bool is_bot(const struct agent *agent, uint32_t said, size_t bytes)
{
	if (is(agent, AGENT_DEVICE_FAMILY, "Spider") || is_called_bot(agent))
		return true;
	if (SAYS(said, BOT) || SAYS(said, URL))
		return true;
	if (SAYS(said, DOES) && !SAYS(said, CFNETWORK))
		return true;
	/* Applications on telephones name packages, carriers, and the accounts of their users. */
	if (SAYS(said, HOST) && !(said & SAID_NOT_DESK) && !SAYS(said, CFNETWORK))
		return true;
	return bytes > 0 && !(said & SAID_WHERE) && is(agent, AGENT_OS_FAMILY, "Other") &&
	       !has_device(agent, said);
}

static bool is_tv(const struct agent *agent, uint32_t said)
{
	/* The systems of televisions that uap-core names after their makers are here because it
	 * does so for HbbTV alone. */
	static const char *const systems[] = {"GoogleTV", "tvOS",      "ATV OS X",  "Roku", "Chromecast",
	                                      "WebTV",    "Web0S",     "Samsung",   "LG",   "Philips",
	                                      "Sony",     "Panasonic", "FireHbbTV", NULL};
	return SAYS(said, TV) || is(agent, AGENT_BRAND, "Generic_Inettv") ||
	       type_is_one_of(agent, AGENT_OS_FAMILY, systems);
}

/* On iOS Safari calls itself MobileSafari. */
bool type_is_mac_application(uint32_t said, const char *text, size_t bytes)
{
	return SAYS(said, CFNETWORK) && !SAYS(said, MOBILE) && !SAYS(said, TABLET) &&
	       (SAYS(said, MAC) || starts(text, bytes, "Safari"));
}

static bool is_tablet(const struct agent *agent, uint32_t said, const char *text, size_t bytes)
{
	if (is(agent, AGENT_BRAND, "Generic_Android_Tablet"))
		return true;
	if (SAYS(said, TABLET) && !SAYS(said, TABLET_PC))
		return true;
	/* Applications on telephones need not say "mobile"; browsers do. */
	bool browser = (SAYS(said, WEBKIT) || SAYS(said, GECKO)) && starts(text, bytes, "Mozilla/");
	return SAYS(said, ANDROID) && browser && !SAYS(said, MOBILE);
}

static bool is_mobile(const struct agent *agent, uint32_t said)
{
	static const char *const systems[] = {
	        "iOS",  "Android", "Windows Phone", "Windows Mobile", "BlackBerry OS",
	        "BREW", "Brew MP", "Symbian OS",    "Firefox OS",     "KaiOS",
	        "Bada", "Tizen",   "WatchOS",       "Sailfish",       NULL};
	return SAYS(said, MOBILE) || SAYS(said, ANDROID) || type_is_one_of(agent, AGENT_OS_FAMILY, systems) ||
	       has_device(agent, said);
}

static bool is_desktop(const struct agent *agent, uint32_t said)
{
	static const char *const systems[] = {"Windows",   "Mac OS X", "Mac OS", "Linux",
	                                      "Chrome OS", "BSD",      NULL};
	return SAYS(said, DESKTOP) || type_is_one_of(agent, AGENT_OS_FAMILY, systems);
}

enum agent_type type_of(const struct agent *agent, uint32_t said, const char *text, size_t bytes)
{
	if (is_bot(agent, said, bytes))
		return AGENT_BOT;
	if (is_tv(agent, said))
		return AGENT_TV;
	if (SAYS(said, CONSOLE))
		return AGENT_OTHER;
	if (type_is_mac_application(said, text, bytes))
		return AGENT_DESKTOP;
	if (is_tablet(agent, said, text, bytes))
		return AGENT_TABLET;
	if (is_mobile(agent, said))
		return AGENT_MOBILE;
	return is_desktop(agent, said) ? AGENT_DESKTOP : AGENT_OTHER;
}
