/* Which words an agent has: those of marks.def, of which the matcher has noted the places that are
 * worth a look.
 *
 *     Mozilla/5.0 (Linux; Android 4.2.2; CUBOT ONE) ...    "bot" stands there, but after "cu": not said
 *     Mozilla/5.0 (compatible; Yeti-Bot/1.1; yeti.com)     "bot" DOES, ".com" HOST
 *
 * Most words count wherever they stand. Some count only with certain edges, and not after one of
 * the texts in not_after.
 */
#ifndef ENRICH_AGENT_WORDS_H
#define ENRICH_AGENT_WORDS_H

#include "enrich/agent/matcher.h"

enum says {
	/* what draws */
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
	/* programs */
	SAYS_BOT,  /* a name that only programs have */
	SAYS_DOES, /* what programs do: spider, monitor, checker */
	SAYS_URL,  /* an address of a page */
	SAYS_HOST, /* the name of a host */
	/* applications that a person uses */
	SAYS_APPLICATION,
	SAYS_CFNETWORK,
	SAYS_MAC, /* means a Mac when CFNETWORK is said, too */
	/* where it runs */
	SAYS_TV,
	SAYS_TABLET,
	SAYS_TABLET_PC,
	SAYS_MOBILE,
	SAYS_ANDROID,
	SAYS_CONSOLE,
	SAYS_DESKTOP,
	SAYS_KINDS
};
_Static_assert(SAYS_KINDS <= 32, "a bit each");

/* Where a word must stand to count. */
enum word_edges {
	WORD_ANY, /* anywhere */
	/* with no letter before it, or as a capital after a small letter: "Check" in SiteCheckup */
	WORD_BEGINS,
	WORD_ENDS, /* with no letter after it: "bot" in Googlebot/2.1 */
	WORD_HOST /* as the end of a host's name: ".com" in (Scope3, scope3.com) but not in com.example or a.company */
};

#define SAYS(said, kind) ((said) >> SAYS_##kind & 1)

/* Bits of several kinds at once: said & (SAID(TV) | SAID(TABLET)). */
#define SAID(kind) (1u << SAYS_##kind)

/* The words, as matcher_create wants them; *n is set to their number. */
const char *const *words_marks(uint32_t *n);

/* A bit (SAYS_...) for each kind of word that the text has. The matcher has passed over it. */
uint32_t words_said(const struct matcher *matcher, const char *text, size_t bytes);

#endif
