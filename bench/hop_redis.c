/* Redis on a Unix socket, without persistence, by hiredis:
 *
 *     list     LPUSH of one message and BRPOP of one, pipelined by the batch
 *     lists    LPUSH of a batch and BLMPOP of a batch (Redis 7)
 *     stream   XADD, pipelined by the batch; XREADGROUP of a batch, XACK of a batch
 *
 * A batch's answers are read after the next batch is sent, so that the writer does not wait for a
 * round trip; the reader of the list keeps a batch of BRPOP under way.
 */
#include "bench/hop.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/turns.h"

static pid_t server;
static unsigned users;
static char path[256];
static redisContext *context; /* of a child */
static unsigned unanswered;

static _Noreturn void fail(const char *what)
{
	hop_fail("redis", context != NULL && context->err != 0 ? context->errstr : what);
}

/* ---- the server ---- */

static bool connect_once(void)
{
	context = redisConnectUnix(path);
	if (context != NULL && context->err == 0)
		return true;
	if (context != NULL)
		redisFree(context);
	context = NULL;
	return false;
}

static void connect_side(void)
{
	if (!connect_once())
		hop_fail("redis", "cannot connect");
}

static const char *open_redis(void)
{
	char log[256];
	if (users++ > 0)
		return server > 0 ? NULL : "redis-server did not start";
	snprintf(path, sizeof path, "%s/redis.sock", turns_directory());
	snprintf(log, sizeof log, "%s/redis.log", turns_directory());
	const char *arguments[] = {"redis-server", "--port", "0",     "--unixsocket",    path, "--save", "",
	                           "--appendonly", "no",     "--dir", turns_directory(), NULL};
	server = hop_start(arguments, log);
	for (unsigned i = 0; i < 1000; i++) {
		if (connect_once()) {
			redisFree(context);
			context = NULL;
			return NULL;
		}
		if (waitpid(server, NULL, WNOHANG) != 0)
			break;
		usleep(5000);
	}
	server = 0;
	return "redis-server is not installed, or did not start";
}

static void close_redis(void)
{
	if (--users == 0)
		hop_end(server);
}

static pid_t redis_pid(void)
{
	return server;
}

/* ---- both ends ---- */

static redisReply *answer(void)
{
	redisReply *reply = NULL;
	if (redisGetReply(context, (void **)&reply) != REDIS_OK)
		fail("no answer");
	if (reply->type == REDIS_REPLY_ERROR)
		hop_fail("redis", reply->str);
	return reply;
}

static void answers(unsigned n)
{
	for (; n > 0; n--)
		freeReplyObject(answer());
}

/* Sends what was appended, n commands, then reads the answers of those before. */
static void pipelined(unsigned n)
{
	int done = 0;
	while (!done)
		if (redisBufferWrite(context, &done) != REDIS_OK)
			fail("cannot write");
	answers(unanswered);
	unanswered = n;
}

static void redis_flush(void)
{
	answers(unanswered);
	unanswered = 0;
}

static void append(unsigned n, const char **argument, const size_t *bytes)
{
	if (redisAppendCommandArgv(context, (int)n, argument, bytes) != REDIS_OK)
		fail("no memory");
}

/* The text of a reply is a message. */
static void keep(struct hop_message *message, const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_STRING || reply->len != sizeof *message)
		hop_fail("redis", "an answer that is no message");
	memcpy(message, reply->str, sizeof *message);
}

/* ---- list, one at a time ---- */

static void list_hand_in(const struct hop_message *message, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *argument[] = {"LPUSH", "hop1", (const char *)&message[i]};
		append(3, argument, (const size_t[]){5, 4, sizeof *message});
	}
	pipelined(n);
}

static unsigned pops; /* under way; each ends with a message, or after 0.1 s with nothing */

/* Waits for the first pop alone: a message does not wait for those after it. */
static unsigned list_take(struct hop_message *message)
{
	const char *argument[] = {"BRPOP", "hop1", "0.1"};
	unsigned got = 0;
	for (; pops < HOP_BATCH; pops++)
		append(3, argument, (const size_t[]){5, 4, 3});
	for (redisReply *reply = answer(); reply != NULL; pops--) {
		if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2)
			keep(&message[got++], reply->element[1]);
		freeReplyObject(reply);
		reply = NULL;
		if (redisGetReplyFromReader(context, (void **)&reply) != REDIS_OK)
			fail("no answer");
	}
	return got;
}

const struct hop_way hop_redis_list = {
        .name = "redis list",
        .promise = "lost with redis, or with a reader that has taken it",
        .open = open_redis,
        .close = close_redis,
        .server = redis_pid,
        .writer_begin = connect_side,
        .hand_in = list_hand_in,
        .writer_done = redis_flush,
        .reader_begin = connect_side,
        .take = list_take,
};

/* ---- list, a batch at a time ---- */

static void lists_hand_in(const struct hop_message *message, unsigned n)
{
	const char *argument[2 + HOP_BATCH] = {"LPUSH", "hop2"};
	size_t bytes[2 + HOP_BATCH] = {5, 4};
	for (unsigned i = 0; i < n; i++) {
		argument[2 + i] = (const char *)&message[i];
		bytes[2 + i] = sizeof *message;
	}
	append(2 + n, argument, bytes);
	pipelined(1);
}

static unsigned lists_take(struct hop_message *message)
{
	unsigned n = 0;
	redisAppendCommand(context, "BLMPOP 0.1 1 hop2 RIGHT COUNT %u", HOP_BATCH);
	redisReply *reply = answer();
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2)
		for (; n < reply->element[1]->elements; n++)
			keep(&message[n], reply->element[1]->element[n]);
	freeReplyObject(reply);
	return n;
}

const struct hop_way hop_redis_lists = {
        .name = "redis batches",
        .promise = "lost with redis, or with a reader that has taken it",
        .open = open_redis,
        .close = close_redis,
        .server = redis_pid,
        .writer_begin = connect_side,
        .hand_in = lists_hand_in,
        .writer_done = redis_flush,
        .reader_begin = connect_side,
        .take = lists_take,
};

/* ---- stream ---- */

static const char *open_stream(void)
{
	const char *why = open_redis();
	if (why != NULL)
		return why;
	connect_side();
	redisAppendCommand(context, "XGROUP CREATE hop3 reader $ MKSTREAM");
	freeReplyObject(answer());
	redisFree(context);
	context = NULL;
	return NULL;
}

/* Kept short, as whoever uses a stream as a queue has to. */
static void stream_hand_in(const struct hop_message *message, unsigned n)
{
	static const size_t bytes[] = {4, 4, 6, 1, 6, 1, 1, sizeof *message};
	for (unsigned i = 0; i < n; i++) {
		const char *argument[] = {"XADD",   "hop3", "MAXLEN", "~",
		                          "131072", "*",    "m",      (const char *)&message[i]};
		append(8, argument, bytes);
	}
	pipelined(n);
}

/* Appends an XACK of the entries; its answer comes before that of the next read. */
static void acknowledge(const redisReply *entries)
{
	const char *argument[3 + HOP_BATCH] = {"XACK", "hop3", "reader"};
	size_t bytes[3 + HOP_BATCH] = {4, 4, 6};
	for (unsigned i = 0; i < entries->elements; i++) {
		argument[3 + i] = entries->element[i]->element[0]->str;
		bytes[3 + i] = entries->element[i]->element[0]->len;
	}
	append(3 + (unsigned)entries->elements, argument, bytes);
	unanswered = 1;
}

static unsigned stream_take(struct hop_message *message)
{
	unsigned n = 0;
	redisAppendCommand(context, "XREADGROUP GROUP reader one COUNT %u BLOCK 100 STREAMS hop3 >",
	                   HOP_BATCH);
	redis_flush();
	redisReply *reply = answer();
	if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1) {
		const redisReply *entries = reply->element[0]->element[1];
		for (; n < entries->elements; n++)
			keep(&message[n], entries->element[n]->element[1]->element[1]);
		acknowledge(entries);
	}
	freeReplyObject(reply);
	return n;
}

const struct hop_way hop_redis_stream = {
        .name = "redis stream",
        .promise = "lost with redis",
        .open = open_stream,
        .close = close_redis,
        .server = redis_pid,
        .writer_begin = connect_side,
        .hand_in = stream_hand_in,
        .writer_done = redis_flush,
        .reader_begin = connect_side,
        .take = stream_take,
        .reader_done = redis_flush,
};
