/* Segments in a place of the test's own, made from a configuration as a supervisor does at its start. */
#ifndef TESTS_SEGMENTS_PLACE_H
#define TESTS_SEGMENTS_PLACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/segments.h"
#include "tests/shm_place.h"

static struct place place;

static inline int set_up(void **state)
{
	(void)state;
	return place_make(&place);
}

static inline int tear_down(void **state)
{
	(void)state;
	place_remove(&place);
	return 0;
}

static inline struct plan *make(const char *text)
{
	char *errors = NULL;
	const char *const set = "instance=test";
	struct config *config = config_load_text("test.yaml", text, strlen(text), &set, 1, &errors);
	struct plan *plan = config == NULL ? NULL : plan_make(config, &errors);
	if (plan == NULL)
		fail_msg("%s", errors);
	config_free(config);
	return plan;
}

/* What a supervisor does at start. */
static inline void must_apply(struct segments *segments, const char *text)
{
	struct shm_error error = {""};
	struct plan *plan = make(text);
	if (segments_look(segments, place.directory, &error) != 0 ||
	    (segments->old != NULL && plan_merge(plan, segments->old, &error) != 0) ||
	    segments_check_room(segments, plan, &error) != 0 || segments_apply(segments, plan, &error) != 0)
		fail_msg("%s", error.text);
	plan_free(plan);
}

#endif
