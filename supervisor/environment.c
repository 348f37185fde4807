#include "supervisor/environment.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"
#include "stage/sandbox.h"

/* Names, and beginnings of names that end with "*". Not NOTIFY_SOCKET and WATCHDOG_*: what one stage
 * says of itself (stage/notify.h) is not true of the whole instance. */
static const char *const everybodys[] = {"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TERM", "TZ", "LANG",
                                         "LANGUAGE", "LC_*", "MILLRACE_*", "JOURNAL_STREAM", /* base/log.c */
                                         PATH_CREDENTIALS,
                                         /* of the C library and of OpenSSL */
                                         "LD_*", "MALLOC_*", "GLIBC_*", "RES_OPTIONS", "LOCALDOMAIN",
                                         "HOSTALIASES", "SSL_CERT_*", "OPENSSL_*", "SQLITE_TMPDIR",
                                         /* of what measures and checks programs */
                                         "ASAN_*", "LSAN_*", "UBSAN_*", "TSAN_*", "GCOV_*", "LLVM_*", NULL};

static bool listed(const char *const *names, const char *variable)
{
	size_t n = strcspn(variable, "=");
	for (; names != NULL && *names != NULL; names++) {
		size_t bytes = strlen(*names);
		bool begins = (*names)[bytes - 1] == '*';
		if (begins ? n >= bytes - 1 && strncmp(*names, variable, bytes - 1) == 0
		           : n == bytes && strncmp(*names, variable, n) == 0)
			return true;
	}
	return false;
}

char **environment_of(const char *program)
{
	const struct sandbox_row *row = sandbox_find(program);
	size_t n = 0, kept = 0;
	while (environ[n] != NULL)
		n++;
	char **given = calloc(n + 1, sizeof *given);
	for (size_t i = 0; i < n && given != NULL; i++)
		if (listed(everybodys, environ[i]) || (row != NULL && listed(row->variables, environ[i])))
			given[kept++] = environ[i];
	return given;
}
