#include "enrich/agent/words.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

struct word {
	const char *text;
	const char *not_after; /* texts with bars between, "" none */
	uint8_t kind;          /* enum says */
	uint8_t edges;         /* enum word_edges */
};

#define WORD(kind, text) WORD_AT(kind, text, ANY, "")

static const struct word words[] = {
#define WORD_AT(kind_, text_, edges_, not_after_) \
	{.text = text_, .not_after = not_after_, .kind = SAYS_##kind_, .edges = WORD_##edges_},
#include "enrich/agent/marks.def"
#undef WORD_AT
};

static const char *const marks[] = {
#define WORD_AT(kind, text, edges, not_after) text,
#include "enrich/agent/marks.def"
#undef WORD_AT
};

#define N_WORDS ((uint32_t)(sizeof words / sizeof *words))

const char *const *words_marks(uint32_t *n)
{
	*n = N_WORDS;
	return marks;
}

/* The agent, and one place in it. */
struct place {
	const char *text;
	size_t bytes;
	size_t from, to;
};

static bool is_letter(char c)
{
	return isalpha((unsigned char)c);
}

static bool begins(const struct place *place)
{
	if (place->from == 0 || !is_letter(place->text[place->from - 1]))
		return true;
	return islower((unsigned char)place->text[place->from - 1]) &&
	       isupper((unsigned char)place->text[place->from]);
}

static bool ends(const struct place *place)
{
	return place->to == place->bytes || !is_letter(place->text[place->to]);
}

static bool is_of_host(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_';
}

/* Behind a label of two characters or more, one of them a letter: "v1.co" is none; not before
 * another label. */
static bool ends_host(const struct place *place)
{
	bool letter = false;
	size_t at = place->from;
	for (; at > 0 && is_of_host(place->text[at - 1]); at--)
		letter |= is_letter(place->text[at - 1]);
	if (!letter || place->from - at < 2)
		return false;
	at = place->to;
	if (at < place->bytes && place->text[at] == '.')
		at++; /* of a sentence, unless the name goes on */
	return at == place->bytes || !is_of_host(place->text[at]);
}

static bool is_behind(const struct place *place, const char *texts)
{
	while (*texts) {
		size_t n = strcspn(texts, "|");
		if (n <= place->from && strncasecmp(place->text + place->from - n, texts, n) == 0)
			return true;
		texts += n + (texts[n] == '|');
	}
	return false;
}

static bool counts(const struct word *word, const struct place *place)
{
	if (is_behind(place, word->not_after))
		return false;
	switch ((enum word_edges)word->edges) {
	case WORD_BEGINS:
		return begins(place);
	case WORD_ENDS:
		return ends(place);
	case WORD_HOST:
		return ends_host(place);
	case WORD_ANY:
		break;
	}
	return true;
}

/* Whether the word, which is in the text somewhere, stands at a place that counts. */
static bool stands(const struct word *word, const char *text, size_t bytes)
{
	size_t n = strlen(word->text);
	for (size_t at = 0; at + n <= bytes; at++) {
		if (tolower((unsigned char)text[at]) != word->text[0] ||
		    strncasecmp(text + at, word->text, n) != 0)
			continue;
		struct place place = {.text = text, .bytes = bytes, .from = at, .to = at + n};
		if (counts(word, &place))
			return true;
	}
	return false;
}

uint32_t words_said(const struct matcher *matcher, const char *text, size_t bytes)
{
	uint32_t said = 0;
	const uint32_t *there;
	uint32_t n = matcher_marks(matcher, &there);
	for (uint32_t i = 0; i < n; i++) {
		const struct word *word = &words[there[i]];
		if (said >> word->kind & 1)
			continue;
		bool anywhere = word->edges == WORD_ANY && word->not_after[0] == 0;
		if (anywhere || stands(word, text, bytes))
			said |= 1u << word->kind;
	}
	return said;
}
