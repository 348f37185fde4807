#include "cli/grid.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static char *next_cell(struct grid *grid)
{
	if (grid->n == grid->room) {
		grid->room = grid->room == 0 ? 64 : 2 * grid->room;
		grid->cell = reallocarray(grid->cell, grid->room, sizeof *grid->cell);
		if (grid->cell == NULL)
			abort();
	}
	return grid->cell[grid->n++];
}

void grid_init(struct grid *grid, const char *titles)
{
	*grid = (struct grid){0};
	for (const char *at = titles; *at != 0 && grid->columns < GRID_COLUMNS_MAX;) {
		size_t length = strcspn(at, " ");
		grid->right[grid->columns++] = *at == '>';
		char *cell = next_cell(grid);
		snprintf(cell, GRID_CELL_MAX, "%.*s", (int)length - 1, at + 1);
		for (char *c = strchr(cell, '_'); c != NULL; c = strchr(c, '_'))
			*c = ' ';
		at += length;
		at += *at == ' ';
	}
}

void grid_cell(struct grid *grid, const char *text, ...)
{
	va_list list;
	char said[GRID_CELL_MAX];
	char *cell = next_cell(grid);
	va_start(list, text);
	vsnprintf(said, sizeof said, text, list);
	va_end(list);
	struct text out = {.at = cell, .end = cell + GRID_CELL_MAX - 1};
	text_plain(&out, (const unsigned char *)said, strlen(said));
	*out.at = 0;
}

void grid_number(struct grid *grid, uint64_t number)
{
	char digits[24];
	int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
	char *out = next_cell(grid);
	for (int i = 0; i < n; i++) {
		*out++ = digits[i];
		if (i + 1 < n && (n - i - 1) % 3 == 0)
			*out++ = ',';
	}
	*out = 0;
}

void grid_bytes(struct grid *grid, uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = (double)bytes;
	unsigned unit = 0;
	while (value >= 1024 && unit < 5) {
		value /= 1024;
		unit++;
	}
	double whole = (double)(uint64_t)value;
	grid_cell(grid, unit == 0 || value >= 100 || value == whole ? "%.0f %s" : "%.1f %s", value,
	          units[unit]);
}

void grid_rate(struct grid *grid, double per_second)
{
	if (per_second >= 1e6)
		grid_cell(grid, "%.2f M/s", per_second / 1e6);
	else if (per_second >= 1e4)
		grid_cell(grid, "%.1f k/s", per_second / 1e3);
	else
		grid_cell(grid, "%.0f/s", per_second);
}

void grid_time(struct grid *grid, uint64_t ns)
{
	uint64_t seconds = ns / 1000000000u, minutes = seconds / 60;
	if (seconds < 1)
		grid_cell(grid, "%llu ms", (unsigned long long)(ns / 1000000u));
	else if (minutes < 2)
		grid_cell(grid, "%.1f s", (double)ns / 1e9);
	else if (minutes < 120)
		grid_cell(grid, "%llu min %02llu s", (unsigned long long)minutes,
		          (unsigned long long)(seconds % 60));
	else if (minutes < 48 * 60)
		grid_cell(grid, "%llu h %02llu min", (unsigned long long)(minutes / 60),
		          (unsigned long long)(minutes % 60));
	else
		grid_cell(grid, "%llu d %02llu h", (unsigned long long)(minutes / 1440),
		          (unsigned long long)(minutes / 60 % 24));
}

void grid_print(struct grid *grid, FILE *out)
{
	int width[GRID_COLUMNS_MAX] = {0};
	for (size_t i = 0; i < grid->n; i++) {
		int length = (int)strlen(grid->cell[i]);
		int *column = &width[i % grid->columns];
		*column = length > *column ? length : *column;
	}
	for (size_t i = 0; grid->n > grid->columns && i < grid->n; i++) {
		unsigned column = (unsigned)(i % grid->columns);
		bool last = column + 1 == grid->columns;
		if (grid->right[column])
			fprintf(out, "%*s", width[column], grid->cell[i]);
		else
			fprintf(out, "%-*s", last ? 0 : width[column], grid->cell[i]);
		fputs(last ? "\n" : "  ", out);
	}
	free(grid->cell);
	*grid = (struct grid){0};
}
