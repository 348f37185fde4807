#include "serve/page.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/program.h"
#include "serve/problem.h"
#include "serve/serve.h"

/* The files lie in this program, so that it needs no folder. */
#define FILE_OF_PAGE(symbol, name)                                    \
	__asm__(".section .rodata\n"                                  \
	        "page_" #symbol ": .incbin \"serve/page/" name "\"\n" \
	        "page_" #symbol "_end:\n"                             \
	        ".previous\n");                                       \
	extern const char page_##symbol[], page_##symbol##_end[];
#include <page.list> /* generated: every file of serve/page (build.mk) */
#undef FILE_OF_PAGE

static const struct {
	const char *name, *begin, *end;
} files[] = {
#define FILE_OF_PAGE(symbol, name) {name, page_##symbol, page_##symbol##_end},
#include <page.list>
#undef FILE_OF_PAGE
};
#define FILES (sizeof files / sizeof files[0])

struct charts {
	char *script, *style;
	struct answer_kept kept_script, kept_style;
};

struct page {
	struct answer_kept kept[FILES];
	struct charts *charts;
};

struct page *page_open(void)
{
	struct page *page = calloc(1, sizeof *page);
	for (size_t i = 0; page != NULL && i < FILES; i++) {
		page->kept[i].body = files[i].begin;
		page->kept[i].bytes = (size_t)(files[i].end - files[i].begin);
		answer_keep(&page->kept[i]);
	}
	return page;
}

void page_close(struct page *page)
{
	if (page == NULL)
		return;
	for (size_t i = 0; i < FILES; i++)
		free(page->kept[i].gzip);
	charts_free(page->charts);
	free(page);
}

/* ---- answering ---- */

static const char *type_of(const char *name)
{
	static const struct {
		const char *ending, *type;
	} types[] = {
	        {".html", "text/html; charset=utf-8"},
	        {".js", "text/javascript; charset=utf-8"},
	        {".css", "text/css; charset=utf-8"},
	        {".svg", "image/svg+xml"},
	        {".png", "image/png"},
	};
	const char *dot = strrchr(name, '.');
	for (size_t i = 0; dot != NULL && i < sizeof types / sizeof types[0]; i++)
		if (strcmp(dot, types[i].ending) == 0)
			return types[i].type;
	return "application/octet-stream";
}

static const struct answer_kept *find(const struct page *page, const char *name)
{
	if (page->charts != NULL && strcmp(name, "uPlot.js") == 0)
		return &page->charts->kept_script;
	if (page->charts != NULL && strcmp(name, "uPlot.css") == 0)
		return &page->charts->kept_style;
	for (size_t i = 0; i < FILES; i++)
		if (strcmp(files[i].name, name) == 0)
			return &page->kept[i];
	return NULL;
}

/* Other charts can come while an answer is sent, so theirs is a copy. */
static void copy_charts(const char *name, const struct answer_kept *kept, bool gzip, struct answer *answer)
{
	bool packed = gzip && kept->gzip != NULL;
	size_t bytes = packed ? kept->gzip_bytes : kept->bytes;
	char *copy = malloc(bytes + 1);
	if (copy == NULL) {
		problem(answer, 503, "", "no memory");
		return;
	}
	memcpy(copy, packed ? kept->gzip : kept->body, bytes);
	answer_body(answer, 200, type_of(name), copy, bytes);
	memcpy(answer->etag, kept->etag, sizeof answer->etag);
	answer->gzip = packed;
}

bool page_answer(const struct serve *serve, const char *name, const struct request *request,
                 struct answer *answer)
{
	const struct answer_kept *kept = find(serve->page, name);
	bool gzip = request_accepts(request_field(request, REQUEST_ACCEPT_ENCODING), "gzip");
	if (kept == NULL)
		return false;
	if (strncmp(name, "uPlot.", 6) == 0)
		copy_charts(name, kept, gzip, answer);
	else
		answer_borrow(answer, type_of(name), kept, gzip);
	answer->public = true;
	answer->page = true;
	return true;
}

void handle_page(struct serve *serve, const struct request *request, struct answer *answer)
{
	const char *name = request_text(request, "name");
	if (!page_answer(serve, name, request, answer))
		problem(answer, 404, request->path,
		        strncmp(name, "uPlot.", 6) == 0
		                ? "there are no charts: `make data` fetches uPlot (serve.charts)"
		                : "the live page has no such file");
}

/* ---- uPlot ---- */

static int look(char *path, size_t size, const char *root)
{
	if (snprintf(path, size, "%s/share/millrace/uPlot.js", root) >= (int)size)
		return -ENAMETOOLONG;
	return access(path, R_OK) == 0 ? 0 : -ENOENT;
}

int charts_find(char *path, size_t size, const char *configured)
{
	char root[PATH_MAX];
	if (configured != NULL && configured[0] != '\0')
		return snprintf(path, size, "%s", configured) < (int)size ? 0 : -ENAMETOOLONG;
	int result = program_root(root, sizeof root);
	if (result == 0)
		result = look(path, size, root);
	if (result == -ENOENT)
		result = look(path, size, MILLRACE_PREFIX);
	return result == -ENOENT ? look(path, size, root) : result;
}

static int read_file(const char *path, char **text, struct answer_kept *kept, struct shm_error *error)
{
	char *room = malloc(PAGE_CHARTS_MAX + 1);
	if (room == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is not waited for */
	ssize_t n = fd < 0 ? -1 : read(fd, room, PAGE_CHARTS_MAX + 1);
	int result = n < 0 ? -errno : n == 0 || n > (ssize_t)PAGE_CHARTS_MAX ? -EFBIG : 0;
	if (fd >= 0)
		close(fd);
	if (result != 0) {
		free(room);
		shm_explain(error, "%s: %s", path,
		            result == -EFBIG ? "it is empty, or longer than 1 MiB: not uPlot"
		                             : strerror(-result));
		return result;
	}
	size_t bytes = (size_t)n;
	char *less = realloc(room, bytes);
	if (less != NULL)
		room = less;
	*text = room;
	*kept = (struct answer_kept){.body = *text, .bytes = bytes};
	answer_keep(kept);
	return 0;
}

int charts_style(char *path, size_t size, const char *script)
{
	size_t bytes = strlen(script);
	if (bytes < 3 || bytes + 2 > size || strcmp(script + bytes - 3, ".js") != 0)
		return -EINVAL;
	snprintf(path, size, "%.*scss", (int)(bytes - 2), script);
	return 0;
}

int charts_load(const struct config *config, const char *path, void **loaded, struct shm_error *error)
{
	char style[PATH_MAX];
	(void)config;
	if (charts_style(style, sizeof style, path) != 0) {
		shm_explain(error, "%s: not a file of JavaScript, NAME.js", path);
		return -EINVAL;
	}
	struct charts *charts = calloc(1, sizeof *charts);
	if (charts == NULL) {
		shm_explain(error, "no memory");
		return -ENOMEM;
	}
	int result = read_file(path, &charts->script, &charts->kept_script, error);
	if (result == 0)
		result = read_file(style, &charts->style, &charts->kept_style, error);
	if (result == 0)
		*loaded = charts;
	else
		charts_free(charts);
	return result;
}

void charts_free(void *argument)
{
	struct charts *charts = argument;
	if (charts == NULL)
		return;
	free(charts->script);
	free(charts->style);
	free(charts->kept_script.gzip);
	free(charts->kept_style.gzip);
	free(charts);
}

void page_set_charts(struct page *page, struct charts *charts)
{
	charts_free(page->charts);
	page->charts = charts;
}
