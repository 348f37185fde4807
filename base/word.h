/* Mistyped words: "did you mean ...?" */
#ifndef BASE_WORD_H
#define BASE_WORD_H

#include <stddef.h>

/* The one of n words that is nearest to text, the first of those that are equally near; NULL when
 * none is near. The distance is the number of insertions, deletions, replacements and swaps of
 * neighbours (optimal string alignment). Near is at most a third of the word, rounded up, and less
 * than all of text. Nothing is near what is longer than 40 bytes. */
const char *word_nearest(const char *text, const char *const *word, size_t n);

#endif
