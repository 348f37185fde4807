#include "supervisor/request.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/folder.h"
#include "shm/instance.h"
#include "supervisor/maker.h"

#define AGAIN_NS NS_PER_SEC /* a signal that came before the supervisor could take it is sent again */

/* ---- the supervisor ---- */

void requests_init(struct requests *requests)
{
	*requests = (struct requests){.answer = -1};
}

int requests_open(const char *directory)
{
	int fd = folder_open(directory, REQUEST_FILE, O_WRONLY | O_CREAT, 0640);
	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static void append(const struct requests *requests, const char *word, const char *text)
{
	char line[REQUEST_LINE_MAX];
	int n = snprintf(line, sizeof line, "%s%s", word, text);
	if (n >= (int)sizeof line)
		n = sizeof line - 1;
	for (int i = 0; i < n; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[n] = '\n';
	if (write(requests->answer, line, (size_t)n + 1) != n + 1)
		log_warn("the answer to a command cannot be written", "error=\"%s\"", strerror(errno));
}

/* What the file says: "ID TEXT\n". */
static bool read_request(const char *directory, char id[REQUEST_ID_MAX], char text[REQUEST_TEXT_MAX])
{
	char line[REQUEST_ID_MAX + REQUEST_TEXT_MAX];
	int fd = folder_open(directory, REQUEST_FILE, O_RDONLY, 0);
	ssize_t n = fd < 0 ? -1 : pread(fd, line, sizeof line - 1, 0);
	if (fd >= 0)
		close(fd);
	char *end = n <= 0 ? NULL : memchr(line, '\n', (size_t)n);
	char *space = end == NULL ? NULL : memchr(line, ' ', (size_t)(end - line));
	if (space == NULL || space - line >= REQUEST_ID_MAX || end - space > REQUEST_TEXT_MAX)
		return false;
	snprintf(id, REQUEST_ID_MAX, "%.*s", (int)(space - line), line);
	snprintf(text, REQUEST_TEXT_MAX, "%.*s", (int)(end - space - 1), space + 1);
	return true;
}

bool requests_take(struct requests *requests, const char *directory, char text[REQUEST_TEXT_MAX])
{
	char id[REQUEST_ID_MAX];
	if (requests->answer >= 0 || instance_locked(directory, REQUEST_FILE, NULL) == 0 ||
	    !read_request(directory, id, text) || strcmp(id, requests->id) == 0)
		return false;
	(void)folder_unlink(directory, REQUEST_ANSWER);
	int fd = folder_open(directory, REQUEST_ANSWER, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0640);
	if (fd < 0) {
		log_error("a command's request cannot be answered", "error=\"%s\"", strerror(-fd));
		return false;
	}
	requests->answer = fd;
	memcpy(requests->id, id, sizeof requests->id);
	append(requests, id, "");
	log_info("a command asks", "request=\"%s\"", text);
	return true;
}

void requests_tell(struct requests *requests, const char *format, ...)
{
	char text[REQUEST_LINE_MAX];
	va_list list;
	if (requests->answer < 0)
		return;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	append(requests, "say ", text);
}

void requests_step(struct requests *requests, const char *word, const char *role)
{
	char text[REQUEST_TEXT_MAX];
	if (requests->answer < 0)
		return;
	snprintf(text, sizeof text, "%s%s%s", word, *role == '\0' ? "" : " ", role);
	append(requests, "step ", text);
}

void requests_say(struct requests *requests, const char *format, ...)
{
	char text[REQUEST_LINE_MAX];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	requests_tell(requests, "%s", text);
	if (requests->answer >= 0)
		log_info("told the command", "text=\"%s\"", text);
}

void requests_finish(struct requests *requests, const char *why)
{
	if (requests->answer < 0)
		return;
	if (why == NULL)
		append(requests, "done", "");
	else
		append(requests, "failed ", why);
	if (why == NULL)
		log_info("done as asked", NULL);
	else
		log_error("not done as asked", "reason=\"%s\"", why);
	close(requests->answer);
	requests->answer = -1;
}

/* ---- the command ---- */

static void tell(struct request *request, uint64_t now_ns)
{
	if (request->managed || request_taken(request) || now_ns - request->told_ns < AGAIN_NS)
		return;
	request->told_ns = now_ns;
	(void)kill((pid_t)request->supervisor, SIGUSR2); /* one that died is noticed by request_next */
}

static int write_request(struct request *request, const char *text)
{
	char line[REQUEST_ID_MAX + REQUEST_TEXT_MAX + 2];
	snprintf(request->id, sizeof request->id, "%d-%llu", (int)getpid(),
	         (unsigned long long)clock_real_ns());
	int n = snprintf(line, sizeof line, "%s %s\n", request->id, text);
	if (n >= (int)sizeof line)
		return -ENAMETOOLONG;
	if (ftruncate(request->lock, 0) != 0 || pwrite(request->lock, line, (size_t)n, 0) != n)
		return errno == 0 ? -EIO : -errno;
	return 0;
}

static int ask(struct request *request, const char *text)
{
	struct stat status;
	request->managed = maker_is_kept(request->directory);
	int result = request->managed ? 1 : instance_locked(request->directory, "lock", &request->supervisor);
	if (result < 0)
		return result;
	if (!request->managed && (result == 0 || request->supervisor <= 0))
		return -ESRCH;
	if (folder_stat(request->directory, REQUEST_FILE, &status) != 0)
		return -EOPNOTSUPP;
	if (!request->managed && kill((pid_t)request->supervisor, 0) != 0 && errno == EPERM)
		return -ECONNREFUSED;
	request->lock = instance_hold(request->directory, REQUEST_FILE);
	if (request->lock < 0)
		return request->lock;
	result = write_request(request, text);
	if (result == 0)
		tell(request, clock_monotonic_ns());
	return result;
}

int request_begin(struct request *request, const char *directory, const char *text)
{
	struct shm_error error;
	*request = (struct request){.lock = -1, .answer = -1};
	snprintf(request->directory, sizeof request->directory, "%s", directory);
	int result = folder_hold(directory, &error);
	if (result != 0)
		return result;
	result = ask(request, text);
	if (result != 0)
		request_end(request);
	return result;
}

/* The next whole line of the answer. */
static bool read_line(struct request *request, char line[REQUEST_LINE_MAX])
{
	ssize_t n = pread(request->answer, line, REQUEST_LINE_MAX, (off_t)request->read_bytes);
	char *end = n <= 0 ? NULL : memchr(line, '\n', (size_t)n);
	if (end == NULL)
		return false;
	*end = '\0';
	request->read_bytes += (size_t)(end - line) + 1;
	return true;
}

/* The answer to the request before may still be there. */
static void open_answer(struct request *request)
{
	char line[REQUEST_LINE_MAX];
	request->answer = folder_open(request->directory, REQUEST_ANSWER, O_RDONLY, 0);
	request->read_bytes = 0;
	if (request->answer < 0 || (read_line(request, line) && strcmp(line, request->id) == 0))
		return;
	close(request->answer);
	request->answer = -1;
}

enum request_event request_next(struct request *request, char line[REQUEST_LINE_MAX])
{
	/* Before the look: what it wrote before it died is not missed. */
	bool gone = request->managed ? request->ended
	                             : kill((pid_t)request->supervisor, 0) != 0 && errno == ESRCH;
	if (request->answer < 0)
		open_answer(request);
	if (request->answer < 0 || !read_line(request, line)) {
		tell(request, clock_monotonic_ns());
		return gone ? REQUEST_GONE : REQUEST_WAIT;
	}
	if (strcmp(line, "done") == 0)
		return REQUEST_DONE;
	static const struct {
		const char *word;
		enum request_event event;
	} word[] = {{"failed ", REQUEST_FAILED}, {"step ", REQUEST_STEP}, {"say ", REQUEST_SAYS}};
	for (unsigned i = 0; i < sizeof word / sizeof *word; i++) {
		size_t n = strlen(word[i].word);
		if (strncmp(line, word[i].word, n) != 0)
			continue;
		memmove(line, line + n, strlen(line + n) + 1);
		return word[i].event;
	}
	return REQUEST_SAYS;
}

void request_end(struct request *request)
{
	if (request->answer >= 0)
		close(request->answer);
	if (request->lock >= 0)
		close(request->lock);
	request->answer = request->lock = -1;
	folder_release(request->directory);
}
