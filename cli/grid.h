/* A table of text with aligned columns.
 *
 *     grid_init(&grid, "<STAGE <STATE >PID");      '<' left, '>' right
 *     grid_cell(&grid, "%s", name); ...            cell after cell; the row is full after the last column
 *     grid_print(&grid, stdout);                   prints the table and empties it
 */
#ifndef CLI_GRID_H
#define CLI_GRID_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define GRID_COLUMNS_MAX 12u
#define GRID_CELL_MAX    160u /* bytes, the final 0 included; longer text is cut */

struct grid {
	unsigned columns;
	char right[GRID_COLUMNS_MAX]; /* 1: align right */
	char (*cell)[GRID_CELL_MAX];  /* row after row, the titles first */
	size_t n, room;               /* cells */
};

/* titles: words, each after '<' or '>'; '_' in them stands for a space. */
void grid_init(struct grid *grid, const char *titles);

/* Appends one cell, cut to GRID_CELL_MAX - 1 bytes, with control characters escaped (text_plain).
 * Aborts when out of memory. */
void grid_cell(struct grid *grid, const char *text, ...) __attribute__((format(printf, 2, 3)));

/* A number with thousands separators: 1,234,567. */
void grid_number(struct grid *grid, uint64_t number);

/* Bytes in a suitable unit: 64 MiB, 1.5 GiB. */
void grid_bytes(struct grid *grid, uint64_t bytes);

/* A rate per second: 1.23 M/s, 980/s. */
void grid_rate(struct grid *grid, double per_second);

/* Nanoseconds in suitable units: 120 ms, 3.4 s, 2 h 05 min. */
void grid_time(struct grid *grid, uint64_t ns);

/* Writes the table, two spaces between columns, and frees it. Writes nothing when there are only
 * titles. */
void grid_print(struct grid *grid, FILE *out);

#endif
