#include "ingest/udp/buffers.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

static unsigned buffers_that_fit(size_t body_bytes)
{
	size_t each = sizeof(struct mmsghdr) + sizeof(struct buffer);
	size_t n = body_bytes < BUFFERS_HEAD_BYTES ? 0 : (body_bytes - BUFFERS_HEAD_BYTES) / each;
	/* buffers are aligned to lines, the messages before them are one line each */
	return n > BUFFERS_MAX ? BUFFERS_MAX : (unsigned)n;
}
_Static_assert(sizeof(struct mmsghdr) == SHM_LINE, "the buffers after the messages are aligned");

static void lay_out(struct buffers *buffers)
{
	for (unsigned i = 0; i < buffers->n_buffers; i++)
		buffers_prepare(buffers, i);
	buffers->head->about.n = buffers->n_buffers;
	buffers->head->about.mark_bytes = (uint64_t)((char *)buffers->buffer - (char *)buffers->head);
	buffers->head->about.stride_bytes = sizeof(struct buffer);
	/* Last: a life killed before this lays it out again. */
	atomic_store_explicit(&buffers->head->about.layout, BUFFERS_LAYOUT, memory_order_release);
}

int buffers_init(struct buffers *buffers, void *body, size_t body_bytes, struct shm_error *error)
{
	unsigned n = buffers_that_fit(body_bytes);
	if (n < BUFFERS_MIN) {
		shm_explain(error,
		            "private segment: %zu bytes hold %u receive buffers, at least %u are needed",
		            body_bytes, n, BUFFERS_MIN);
		return -EINVAL;
	}
	struct buffers_head *head = body;
	uint64_t layout = atomic_load_explicit(&head->about.layout, memory_order_acquire);
	if (layout != 0 && (layout != BUFFERS_LAYOUT || head->about.n != n)) {
		shm_explain(
		        error,
		        "private segment: laid out by another build (layout %llx with %llu buffers, this program has %llx with %u); drain the instance with its own build first",
		        (unsigned long long)layout, (unsigned long long)head->about.n,
		        (unsigned long long)BUFFERS_LAYOUT, n);
		return -EPROTO;
	}
	struct mmsghdr *message = (void *)((char *)body + BUFFERS_HEAD_BYTES);
	*buffers = (struct buffers){
	        .head = head,
	        .message = message,
	        .buffer = (void *)(message + n),
	        .n_buffers = n,
	};
	if (layout == 0)
		lay_out(buffers);
	return 0;
}

unsigned buffers_filled(const struct buffers *buffers, unsigned *next, uint16_t *index, unsigned max)
{
	unsigned n = 0;
	while (n < max && *next < buffers->n_buffers) {
		if (buffer_filled(&buffers->buffer[*next]))
			index[n++] = (uint16_t)*next;
		(*next)++;
	}
	return n;
}

void buffers_prepare(struct buffers *buffers, unsigned i)
{
	struct mmsghdr *message = &buffers->message[i];
	message->msg_hdr.msg_namelen = BUFFER_NAME_BYTES;
	message->msg_hdr.msg_controllen = BUFFER_CONTROL_BYTES;
	message->msg_hdr.msg_flags = 0;
	atomic_signal_fence(memory_order_seq_cst); /* the next life trusts the rest once msg_len is set */
	*(volatile unsigned *)&message->msg_len = BUFFER_UNFILLED;
}

/* A mark before it is stored. */
union mark {
	uint64_t word;
	struct {
		uint32_t name_bytes, control_bytes;
	};
};

bool buffers_adopt(struct buffers *buffers, unsigned i)
{
	struct mmsghdr *message = &buffers->message[i];
	struct buffer *buffer = &buffers->buffer[i];
	uint32_t bytes = *(volatile unsigned *)&message->msg_len;
	if (bytes == BUFFER_UNFILLED)
		return false;
	if (!buffer_filled(buffer)) {
		buffer->payload_bytes = bytes;
		buffer->flags = (uint32_t)message->msg_hdr.msg_flags;
		union mark mark = {.name_bytes = message->msg_hdr.msg_namelen,
		                   .control_bytes = (uint32_t)message->msg_hdr.msg_controllen};
		/* From here on the buffer is filled; dying before the next line leaves both signs,
		 * and the mark counts. */
		atomic_store_explicit(&buffer->mark, mark.word, memory_order_release);
	}
	atomic_signal_fence(memory_order_seq_cst);
	buffers_prepare(buffers, i);
	return true;
}

static void describe_source(const struct buffer *buffer, struct burst *burst)
{
	struct sockaddr_storage name;
	memset(&name, 0, sizeof name);
	memcpy(&name, buffer->name, sizeof buffer->name);
	memset(burst->source, 0, sizeof burst->source);
	burst->source_port = 0;
	if (name.ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)&name;
		burst->source[10] = burst->source[11] = 0xff;
		memcpy(burst->source + 12, &v4->sin_addr, 4);
		burst->source_port = ntohs(v4->sin_port);
	} else if (name.ss_family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&name;
		memcpy(burst->source, &v6->sin6_addr, 16);
		burst->source_port = ntohs(v6->sin6_port);
	}
}

/* The size of the datagrams that the kernel put together, or 0 when there is but one. */
static uint32_t find_segment(const struct buffer *buffer)
{
	uint32_t left = buffer->control_bytes;
	if (left > BUFFER_CONTROL_BYTES)
		left = BUFFER_CONTROL_BYTES;
	for (const unsigned char *at = buffer->control; left >= CMSG_LEN(0);) {
		struct cmsghdr head;
		memcpy(&head, at, sizeof head);
		if (head.cmsg_len < CMSG_LEN(0) || head.cmsg_len > left)
			return 0;
		if (head.cmsg_level == SOL_UDP && head.cmsg_type == UDP_GRO &&
		    head.cmsg_len >= CMSG_LEN(sizeof(uint16_t))) {
			int segment = 0;
			size_t bytes = head.cmsg_len - CMSG_LEN(0);
			memcpy(&segment, at + CMSG_LEN(0), bytes < sizeof segment ? bytes : sizeof segment);
			return segment > 0 ? (uint32_t)segment : 0;
		}
		size_t step = CMSG_ALIGN(head.cmsg_len);
		if (step >= left)
			return 0;
		at += step;
		left -= (uint32_t)step;
	}
	return 0;
}

/* Leaves the datagrams that are committed out. There is always one that is not: the mark of a
 * buffer without is 0. */
static void skip_done(struct burst *burst, uint32_t done)
{
	if (done >= burst->n_datagrams)
		return;
	burst->done = done;
	burst->n_datagrams -= done;
	burst->data += (size_t)done * burst->segment_bytes;
	burst->bytes -= done * burst->segment_bytes;
	burst->room -= done * burst->segment_bytes;
}

void buffer_describe(const struct buffer *buffer, struct burst *burst)
{
	uint32_t bytes = buffer->payload_bytes;
	burst->truncated = (buffer->flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || bytes > BUFFER_DATA_BYTES;
	burst->data = buffer->data;
	burst->room = BUFFER_DATA_BYTES;
	burst->bytes = bytes < BUFFER_DATA_BYTES ? bytes : BUFFER_DATA_BYTES;
	uint32_t segment = find_segment(buffer);
	if (segment == 0 || segment >= burst->bytes)
		segment = burst->bytes == 0 ? 1 : burst->bytes;
	burst->segment_bytes = segment;
	burst->n_datagrams = burst->bytes == 0 ? 1 : (burst->bytes + segment - 1) / segment;
	burst->done = 0;
	describe_source(buffer, burst);
	uint32_t done = buffer->name_bytes >> BUFFER_DONE_SHIFT;
	if (__builtin_expect(done != 0, 0))
		skip_done(burst, done);
}

uint64_t buffer_mark_done(const struct buffer *buffer, uint32_t done)
{
	union mark mark = {.word = atomic_load_explicit(&buffer->mark, memory_order_relaxed)};
	mark.name_bytes = (mark.name_bytes & ((1u << BUFFER_DONE_SHIFT) - 1)) | done << BUFFER_DONE_SHIFT;
	return mark.word;
}
