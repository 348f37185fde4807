/* NATS JetStream on loopback, kept in memory, by the C client: asynchronous publishing with up to
 * 4,096 messages that wait for their acknowledgement; a pull consumer that fetches a batch and
 * acknowledges its last message for all. */
#include "bench/hop.h"

#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/turns.h"

#define STREAM   "HOP"
#define SUBJECT  "hop"
#define CONSUMER "reader"
#define PENDING  4096

static pid_t server;
static char url[160];
static natsConnection *connection; /* of a child */
static jsCtx *context;
static natsSubscription *subscription;

static void check(natsStatus status)
{
	if (status != NATS_OK)
		hop_fail("nats", natsStatus_GetText(status));
}

/* The server writes {"nats":["nats://127.0.0.1:PORT"]} to a file of its folder. Returns
 * whether it is there. */
static bool read_url(void)
{
	char name[256], text[512];
	snprintf(name, sizeof name, "%s/nats-server_%d.ports", turns_directory(), (int)server);
	FILE *file = fopen(name, "re");
	if (file == NULL)
		return false;
	size_t n = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[n] = '\0';
	const char *at = strstr(text, "nats://");
	return at != NULL && sscanf(at, "%150[^\"]\"", url) == 1 && strchr(at, '"') != NULL;
}

static void connect_side(void)
{
	jsOptions options;
	jsOptions_Init(&options);
	options.PublishAsync.MaxPending = PENDING;
	options.PublishAsync.StallWait = 10000;
	check(natsConnection_ConnectTo(&connection, url));
	check(natsConnection_JetStream(&context, connection, &options));
}

/* Streams and consumers are made in a process of its own: the client's threads do not outlive
 * fork(2). */
static void make_stream(void)
{
	jsStreamConfig stream;
	jsConsumerConfig consumer;
	const char *subjects[] = {SUBJECT};
	connect_side();
	jsStreamConfig_Init(&stream);
	stream.Name = STREAM;
	stream.Subjects = subjects;
	stream.SubjectsLen = 1;
	stream.Storage = js_MemoryStorage;
	stream.Retention = js_LimitsPolicy; /* a work queue may not acknowledge a batch at once */
	stream.MaxMsgs = 131072;
	stream.Discard = js_DiscardOld;
	check(js_AddStream(NULL, context, &stream, NULL, NULL));
	jsConsumerConfig_Init(&consumer);
	consumer.Durable = CONSUMER;
	consumer.AckPolicy = js_AckAll;
	consumer.MaxAckPending = 2 * 65536;
	check(js_AddConsumer(NULL, context, STREAM, &consumer, NULL, NULL));
}

static const char *open_nats(void)
{
	char log[256], storage[256];
	snprintf(log, sizeof log, "%s/nats.log", turns_directory());
	snprintf(storage, sizeof storage, "%s/nats", turns_directory());
	const char *arguments[] = {
	        "nats-server", "--jetstream", "--addr",           "127.0.0.1",       "--port", "-1",
	        "--store_dir", storage,       "--ports_file_dir", turns_directory(), NULL};
	server = hop_start(arguments, log);
	for (unsigned i = 0; !read_url(); i++) {
		if (i == 1000 || waitpid(server, NULL, WNOHANG) != 0)
			return "nats-server is not installed, or did not start";
		usleep(5000);
	}
	pid_t pid = hop_fork();
	int status = 0;
	if (pid == 0) {
		make_stream();
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0 ? NULL : "the stream could not be made";
}

static void close_nats(void)
{
	hop_end(server);
}

static pid_t nats_pid(void)
{
	return server;
}

static void hand_in(const struct hop_message *message, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		check(js_PublishAsync(context, SUBJECT, &message[i], sizeof message[i], NULL));
}

static void flush(void)
{
	jsPubOptions options;
	jsPubOptions_Init(&options);
	options.MaxWait = 30000;
	check(js_PublishAsyncComplete(context, &options));
}

static void reader_begin(void)
{
	jsSubOptions options;
	connect_side();
	jsSubOptions_Init(&options);
	options.Stream = STREAM;
	options.Consumer = CONSUMER;
	check(js_PullSubscribe(&subscription, context, SUBJECT, CONSUMER, NULL, &options, NULL));
}

static unsigned take(struct hop_message *message)
{
	natsMsgList list;
	natsStatus status = natsSubscription_Fetch(&list, subscription, HOP_BATCH, 100, NULL);
	if (status == NATS_TIMEOUT)
		return 0;
	check(status);
	for (int i = 0; i < list.Count; i++) {
		if (natsMsg_GetDataLength(list.Msgs[i]) != (int)sizeof *message)
			hop_fail("nats", "a message of another length");
		memcpy(&message[i], natsMsg_GetData(list.Msgs[i]), sizeof *message);
	}
	if (list.Count > 0)
		check(natsMsg_Ack(list.Msgs[list.Count - 1], NULL));
	unsigned n = (unsigned)list.Count;
	natsMsgList_Destroy(&list);
	return n;
}

static void done(void)
{
	check(natsConnection_FlushTimeout(connection, 10000)); /* the last acknowledgement */
}

const struct hop_way hop_nats = {
        .name = "nats jetstream",
        .promise = "lost with nats (memory storage)",
        .open = open_nats,
        .close = close_nats,
        .server = nats_pid,
        .writer_begin = connect_side,
        .hand_in = hand_in,
        .writer_done = flush,
        .reader_begin = reader_begin,
        .take = take,
        .reader_done = done,
};
