/* Sums of 128 bits as decimal text: JSON's integers end at 64. */
#ifndef BASE_WIDE_H
#define BASE_WIDE_H

#include <stdbool.h>
#include <string.h>

#define WIDE_TEXT_BYTES 41u /* the smallest has 39 digits and a sign */

static inline const char *wide_print(char text[WIDE_TEXT_BYTES], __int128 number)
{
	unsigned __int128 rest = number < 0 ? -(unsigned __int128)number : (unsigned __int128)number;
	char digits[WIDE_TEXT_BYTES], *at = digits + sizeof digits;
	*--at = '\0';
	do
		*--at = (char)('0' + (unsigned)(rest % 10));
	while ((rest /= 10) != 0);
	if (number < 0)
		*--at = '-';
	memcpy(text, at, (size_t)(digits + sizeof digits - at));
	return text;
}

/* False, and nothing is set, for what wide_print does not write: the number is in no other form. */
static inline bool wide_parse(const char *text, __int128 *number)
{
	bool negative = text[0] == '-';
	const char *at = text + negative;
	unsigned __int128 sum = 0, most = ((unsigned __int128)1 << 127) - !negative;
	if (*at == '\0' || (*at == '0' && (negative || at[1] != '\0')))
		return false;
	for (; *at >= '0' && *at <= '9'; at++) {
		unsigned digit = (unsigned)(*at - '0');
		if (sum > (most - digit) / 10)
			return false;
		sum = sum * 10 + digit;
	}
	if (*at != '\0')
		return false;
	*number = negative ? (__int128)(-sum) : (__int128)sum;
	return true;
}

#endif
