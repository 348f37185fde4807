#include "config/credential.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"

#define NAME_MAX_BYTES    255u   /* of a file's name, and so of systemd's credentials */
#define CONTENT_MAX_BYTES 65536u /* more than any SECRET may have */

static const enum config_type kinds[] = {CONFIG_FILE, CONFIG_PATH, CONFIG_SECRET};

/* ---- names ---- */

const char *config_credential(const char *value)
{
	size_t n = strlen(CONFIG_CREDENTIAL);
	return strncmp(value, CONFIG_CREDENTIAL, n) == 0 ? value + n : NULL;
}

static bool is_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t n = strlen(name);
	return n > 0 && n <= NAME_MAX_BYTES && strspn(name, allowed) == n && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

int config_credential_check(const char *text, struct config_why *why)
{
	const char *name = config_credential(text);
	if (name == NULL || is_name(name))
		return 0;
	snprintf(why->text, sizeof why->text,
	         "begins with " CONFIG_CREDENTIAL
	         ", and no name of a credential follows; allowed: letters, digits, - _ ., at most %u",
	         NAME_MAX_BYTES);
	return -EINVAL;
}

/* ---- replaced by what it stands for ---- */

struct taking {
	const char *folder; /* NULL: none */
	bool must;
	struct config_errors *errors;
};

__attribute__((format(printf, 3, 4))) static void refuse(const struct taking *taking, const char *key,
                                                         const char *format, ...)
{
	static const struct config_origin origin = {.source = PATH_CREDENTIALS,
	                                            .rank = CONFIG_RANK_ENVIRONMENT};
	char text[1000];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	config_error(taking->errors, &origin, key, "%s", text);
}

static void refuse_missing(const struct taking *taking, const char *key, const char *name)
{
	if (taking->folder == NULL)
		refuse(taking, key,
		       "there is no credential %s, and the variable names no folder; allowed: LoadCredential=%s:FILE in the unit of this process",
		       name, name);
	else
		refuse(taking, key,
		       "there is no credential %s in %s; allowed: LoadCredential=%s:FILE in the unit of this process",
		       name, taking->folder, name);
}

/* Reads all of it into content, which has room for one byte more than it may have. Returns the
 * bytes or -errno. */
static ssize_t read_content(int fd, char *content)
{
	size_t bytes = 0;
	while (bytes <= CONTENT_MAX_BYTES) {
		ssize_t n = read(fd, content + bytes, CONTENT_MAX_BYTES + 1 - bytes);
		if (n == 0)
			return (ssize_t)bytes;
		if (n > 0)
			bytes += (size_t)n;
		else if (errno != EINTR)
			return -errno;
	}
	return -EFBIG;
}

/* What is wrong with a secret, or NULL. */
static const char *judge(const struct config_option *option, const char *secret, size_t bytes,
                         struct config_why *why)
{
	if (bytes == 0)
		return "is empty";
	if (!config_tree_is_plain((const unsigned char *)secret, bytes))
		return "has control characters, a line break within, or is not UTF-8";
	if (config_credential(secret) != NULL)
		return "begins with " CONFIG_CREDENTIAL ", as if it named another";
	return config_value_check(option, secret, why) != 0 ? why->text : NULL;
}

static void take_secret(const struct taking *taking, const char *key, const struct config_place *place,
                        const char *path, int fd)
{
	struct config_why why = {""};
	char *content = config_alloc(CONTENT_MAX_BYTES + 2);
	ssize_t n = fd < 0 ? -errno : read_content(fd, content);
	size_t bytes = n < 0 ? 0 : (size_t)n;
	bytes -= bytes > 0 && content[bytes - 1] == '\n' ? 1 : 0;
	content[bytes] = '\0';
	const char *wrong = n < 0 ? strerror((int)-n) : judge(place->schema->option, content, bytes, &why);
	if (wrong != NULL) {
		refuse(taking, key, "%s: %s", path, wrong);
	} else {
		char *secret = config_alloc(bytes + 1);
		memcpy(secret, content, bytes);
		free(config_data_put(place, secret));
	}
	explicit_bzero(content, CONTENT_MAX_BYTES + 2);
	free(content);
}

/* Whoever reads the file says what is wrong with it. */
static void take_path(const struct taking *taking, const char *key, const struct config_place *place,
                      const char *path)
{
	struct config_why why = {""};
	char *copy = strdup(path);
	if (copy == NULL)
		abort();
	if (config_value_check(place->schema->option, path, &why) == 0) {
		free(config_data_put(place, copy));
		return;
	}
	refuse(taking, key, "%s", why.text);
	free(copy);
}

static void take_one(void *argument, const char *key, const struct config_place *place)
{
	const struct taking *taking = argument;
	const char *name = config_credential(place->cell->data);
	char *path = NULL;
	if (name == NULL)
		return;
	if (taking->folder != NULL && asprintf(&path, "%s/%s", taking->folder, name) < 0)
		abort();
	/* O_NONBLOCK: a pipe without a writer must not hold up the start. */
	int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (path == NULL || (fd < 0 && errno == ENOENT)) {
		if (taking->must)
			refuse_missing(taking, key, name);
	} else if (place->schema->option->kind == CONFIG_SECRET) {
		take_secret(taking, key, place, path, fd);
	} else {
		take_path(taking, key, place, path);
	}
	if (fd >= 0)
		close(fd);
	free(path);
}

static void each_kind(const struct config_data *data, const char *section, config_data_fn *each,
                      void *argument)
{
	struct config_place place;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (config_data_find(data, section, &place))
			config_data_each(&place, section, kinds[i], each, argument);
}

void config_credentials_take(const struct config_data *data, const char *section, bool must,
                             struct config_errors *errors)
{
	struct taking taking = {path_credentials(), must, errors};
	each_kind(data, section, take_one, &taking);
}

/* ---- which there are ---- */

struct telling {
	config_file_fn *each;
	void *argument;
};

static void tell(void *argument, const char *key, const struct config_place *place)
{
	const struct telling *telling = argument;
	const char *name = config_credential(place->cell->data);
	if (name != NULL)
		telling->each(telling->argument, key, name);
}

void config_credentials_each(const struct config_data *data, const char *section, config_file_fn *each,
                             void *argument)
{
	struct telling telling = {each, argument};
	each_kind(data, section, tell, &telling);
}
