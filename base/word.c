#include "base/word.h"

#include <string.h>

#define BYTES_MAX 40u

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

/* Both at most BYTES_MAX bytes. */
static unsigned distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
	unsigned d[BYTES_MAX + 1][BYTES_MAX + 1];
	for (unsigned i = 0; i <= a_bytes; i++)
		d[i][0] = i;
	for (unsigned k = 0; k <= b_bytes; k++)
		d[0][k] = k;
	for (size_t i = 1; i <= a_bytes; i++) {
		for (size_t k = 1; k <= b_bytes; k++) {
			unsigned replaced = d[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
			d[i][k] = least(d[i - 1][k] + 1, d[i][k - 1] + 1, replaced);
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] &&
			    d[i - 2][k - 2] + 1 < d[i][k])
				d[i][k] = d[i - 2][k - 2] + 1;
		}
	}
	return d[a_bytes][b_bytes];
}

const char *word_nearest(const char *text, const char *const *word, size_t n)
{
	const char *best = NULL;
	size_t bytes = strlen(text);
	unsigned best_distance = 0;
	for (size_t i = 0; i < n && bytes <= BYTES_MAX; i++) {
		size_t word_bytes = strlen(word[i]);
		if (word_bytes > BYTES_MAX)
			continue;
		unsigned away = distance(text, bytes, word[i], word_bytes);
		if (away <= (word_bytes + 2) / 3 && away < bytes && (best == NULL || away < best_distance)) {
			best = word[i];
			best_distance = away;
		}
	}
	return best;
}
