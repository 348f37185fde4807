/* The live page: the files of serve/page/, which the program carries, and uPlot, which draws its
 * charts and is a file of the installation (serve.charts).
 *
 *     serve/page/NAME --.incbin--> page_open: gzip, ETag, once --page_answer--> GET /page/NAME, GET /
 *     uPlot.js, .css  --charts_load, at the start and at SIGHUP----^
 *
 * They hold no data, so that everybody may have them; what they show, they ask for.
 */
#ifndef SERVE_PAGE_H
#define SERVE_PAGE_H

#include "serve/answer.h"
#include "stage/file.h"

#define PAGE_CHARTS_MAX (1u << 20) /* bytes of a file of uPlot */

struct serve;
struct page; /* opaque */

/* NULL: no memory. */
struct page *page_open(void);

/* NULL is allowed. */
void page_close(struct page *page);

/* Answers with the file of this name. Returns false when there is none. */
bool page_answer(const struct serve *serve, const char *name, const struct request *request,
                 struct answer *answer);

/* uPlot: its JavaScript and its style sheet. */
struct charts; /* opaque */

/* How the stage reads it (stage/file.h). */
int charts_find(char *path, size_t size, const char *configured);
int charts_style(char *path, size_t size, const char *script);
int charts_load(const struct config *config, const char *path, void **loaded, struct shm_error *error);
void charts_free(void *charts);

/* Takes them over from now on; NULL: there are none. */
void page_set_charts(struct page *page, struct charts *charts);

#endif
