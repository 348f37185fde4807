/* The supervisor's sockets, opened from a configuration. */
#ifndef TESTS_SOCKETS_PLACE_H
#define TESTS_SOCKETS_PLACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/sockets.h"

static inline struct plan *make(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline struct plan *make(const char *format, ...)
{
	char text[1024], *errors = NULL;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	struct config *config = config_load_text("test.yaml", text, strlen(text), NULL, 0, &errors);
	struct plan *plan = config == NULL ? NULL : plan_make(config, &errors);
	if (plan == NULL)
		fail_msg("%s", errors);
	config_free(config);
	return plan;
}

static inline struct sockets *new_sockets(void)
{
	struct sockets *sockets = calloc(1, sizeof *sockets);
	assert_non_null(sockets);
	return sockets;
}

static inline void must_open(struct sockets *sockets, const struct plan *plan)
{
	struct shm_error error = {""};
	if (sockets_open(sockets, plan, &error) != 0)
		fail_msg("%s", error.text);
}

static inline void end(struct sockets *sockets, struct plan *plan)
{
	sockets_close(sockets);
	free(sockets);
	plan_free(plan);
}

static inline int option_of(int fd, int level, int option)
{
	int value = 0;
	socklen_t length = sizeof value;
	assert_int_equal(getsockopt(fd, level, option, &value, &length), 0);
	return value;
}

#endif
