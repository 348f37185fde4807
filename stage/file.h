/* Files that options name: tokens, databases, rules. All of them are tried, read, read again and
 * shown in one way.
 *
 *     OPTION("ingest.http[].tokens", FILE, ...)       options.def: there is such a file
 *     struct stage_file {"tokens", load, replace}     stage_ops.files: how the stage reads it
 *
 *     before:   PROGRAM --check SECTION  --load, discard-->  findings, for `millrace check` and the supervisor (supervisor/trial.h)
 *     start:    init reads it by stage_file_load
 *     SIGHUP:   the supervisor has tried all; then control->reloads goes up
 *     tick:     reloads went up, and the file has changed --load--> good:   replace, in force from now on
 *                                                               '-> broken: the old one stays, and `millrace stat` says why
 *
 * The control block says what is in force and since when (control_show_file). While nothing of a
 * file is in force, it is tried again every second. A file that the stage watches by itself (the
 * country database) has no replace; the stage reports on it.
 *
 * --check reads the complete configuration on standard input and prints one line for each finding:
 *
 *     refused KEY: WHAT      the stage cannot start
 *     without KEY: WHAT      it would start, but without what is in the file
 *     missing KEY: WHAT      the file is not there yet; it is taken when it comes
 *     unseen KEY: WHAT       credential:NAME, which only the stage's own unit has: taken as set, and as good
 *     memory BYTES           no finding: what a process can come to hold (stage_ops.memory_max)
 */
#ifndef STAGE_FILE_H
#define STAGE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "shm/segment.h"
#include "config/config.h"

struct stage;
struct stage_ops;

/* How a stage reads one of its files. */
struct stage_file {
	const char *option; /* the key's last part: "tokens" */
	bool dispensable;   /* the stage can start without it */
	/* Where the file is when the option says `configured`. Returns 0, -ENOENT when there is
	 * none (path is then where one may come), or another -errno. NULL: it is where the option
	 * says, and "" means none. */
	int (*find)(char *path, size_t size, const char *configured);
	/* The path of a second file that is read with it. Returns 0 or -errno; NULL: there is
	 * none. */
	int (*beside)(char *path, size_t size, const char *file);
	/* Reads and checks all of it. Returns 0 with what it holds in *loaded, or -errno with
	 * "PATH: what is wrong" in error. */
	int (*load)(const struct config *config, const char *path, void **loaded, struct shm_error *error);
	void (*discard)(void *loaded);
	/* Puts it in force in place of the old one, and owns it from now on. NULL: the stage
	 * watches the file by itself. */
	void (*replace)(struct stage *stage, void *loaded);
};

/* Loads the file that the option names now. *loaded is NULL when it names none and there is none
 * where it is looked for. Returns 0, or -errno with "KEY: PATH: what is wrong" in error. */
int stage_file_load(const struct stage_file *file, const struct config *config, const char *key,
                    void **loaded, struct shm_error *error);

/* Calls each with the path of every file that options of the section name or that a stage_file
 * finds, and of the one beside it, also of one that is not there yet. */
void stage_files_each(const struct stage_ops *ops, const struct config *config, const char *section,
                      void (*each)(void *argument, const char *path), void *argument);

/* Before init: notes which files the role's options name and what they are now. Returns 0 or -errno
 * with the reason. */
int stage_files_begin(struct stage *stage, struct shm_error *error);

/* After init: what was read is in force. */
void stage_files_started(struct stage *stage);

/* At every tick: reads what has to be read again. */
void stage_files_tick(struct stage *stage);

void stage_files_end(struct stage *stage);

/* Reports on a file that the stage watches by itself, or that init could not read (refusal as from
 * stage_file_load). in_force: something new is in force from now on; refusal: why what is there now
 * is not, NULL or "" if it is. */
void stage_file_report(struct stage *stage, const char *option, bool in_force, const char *refusal);

/* --layout: whether segments with this layout hash (hexadecimal) are this build's. When not, that
 * is the finding. */
bool stage_layout_fits(const char *hash, FILE *out);

/* --check: takes the credentials of the section ("ingest.http[0]") that are here, tries all its files,
 * then what else the stage opens (stage_ops.check), and prints the findings. Returns 0, or -errno
 * when out cannot be written. */
int stage_files_check(const struct stage_ops *ops, struct config *config, const char *section, FILE *out);

#endif
