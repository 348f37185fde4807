/* Numbers as text that is quick to read: three digits that count, and a unit.
 *
 *     short_count    0  950  12.3k  4.56M         short_age    20ms  1.2s  12m05s  3h20m  2d03h
 *     short_rate     0  0.4  950  12.3k           short_bytes  0B  512B  1.5KiB  64MiB
 *
 * Each writes at most SHORT_MAX bytes, the final 0 included, and returns text.
 */
#ifndef CLI_TOP_SHORT_H
#define CLI_TOP_SHORT_H

#define SHORT_MAX 12u

/* Whole numbers up to 9,999 as they are, larger ones in thousands (k), millions (M) and so on. */
const char *short_count(char text[SHORT_MAX], double n);

/* The same; below 10 with one decimal, unless it is 0. */
const char *short_rate(char text[SHORT_MAX], double per_second);

/* In units of 1,024. */
const char *short_bytes(char text[SHORT_MAX], double bytes);

const char *short_age(char text[SHORT_MAX], double seconds);

/* 0.3, 12, 100: one decimal below 10. */
const char *short_percent(char text[SHORT_MAX], double percent);

#endif
