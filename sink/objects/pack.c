#include "sink/objects/pack.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* With each call ISA-L copies what it may refer back to (32 KiB), and as much again of the input,
 * unless the call has all of the member: so short pieces are gathered, and a long one waits until
 * it is known whether it is the last. */
#define GATHER_BYTES (128u * 1024u)

/* Bytes that are to be compressed, and where they go: a step moves all four. */
struct flow {
	const unsigned char *in;
	size_t in_bytes;
	unsigned char *out;
	size_t out_bytes;
};

enum step { STEP_GO_ON, STEP_DONE };

/* A library. */
struct method {
	const char *name, *encoding, *suffix;
	int least, most;
	int (*open)(struct pack *pack);
	void (*close)(struct pack *pack);
	void (*begin)(struct pack *pack);
	/* Compresses some of what there is. last: nothing comes after it; DONE when all of the
	 * member is written, otherwise when all of the input is taken. Wants room when GO_ON. */
	enum step (*step)(struct pack *pack, struct flow *flow, bool last);
	size_t (*bound)(const struct pack *pack, size_t raw_bytes);
	uint64_t (*memory)(const struct pack *pack);
};

struct pack {
	const struct method *method;
	int level;
	pack_room *room;
	void *argument;
	unsigned char *out; /* room that was given and is not full */
	size_t out_bytes;
	uint64_t packed;
	bool failed; /* no room: the member is given up */
	struct isal_zstream isal;
	uint8_t *isal_level;
	unsigned char *gathered; /* NULL: pieces go to the library as they come */
	size_t gathered_bytes;
	const unsigned char *held; /* a long piece that waits; nothing is gathered then */
	size_t held_bytes;
	z_stream zlib;
	uint64_t zlib_bytes; /* what it allocated */
	ZSTD_CCtx *zstd;
};

/* ---- none ---- */

static int none_open(struct pack *pack)
{
	(void)pack;
	return 0;
}

static void none_nothing(struct pack *pack)
{
	(void)pack;
}

static enum step none_step(struct pack *pack, struct flow *flow, bool last)
{
	(void)pack;
	(void)last;
	size_t n = flow->in_bytes < flow->out_bytes ? flow->in_bytes : flow->out_bytes;
	if (n > 0)
		memcpy(flow->out, flow->in, n);
	flow->in += n;
	flow->in_bytes -= n;
	flow->out += n;
	flow->out_bytes -= n;
	return flow->in_bytes == 0 ? STEP_DONE : STEP_GO_ON;
}

static size_t none_bound(const struct pack *pack, size_t raw_bytes)
{
	(void)pack;
	return raw_bytes;
}

static uint64_t none_memory(const struct pack *pack)
{
	(void)pack;
	return 0;
}

/* ---- ISA-L ---- */

static uint32_t isal_level_bytes(int level)
{
	static const uint32_t bytes[] = {ISAL_DEF_LVL0_DEFAULT, ISAL_DEF_LVL1_DEFAULT, ISAL_DEF_LVL2_DEFAULT,
	                                 ISAL_DEF_LVL3_DEFAULT};
	return bytes[level];
}

static int isal_open(struct pack *pack)
{
	uint32_t bytes = isal_level_bytes(pack->level);
	isal_deflate_init(&pack->isal);
	pack->gathered = malloc(GATHER_BYTES);
	if (pack->gathered == NULL || (bytes > 0 && (pack->isal_level = malloc(bytes)) == NULL))
		return -ENOMEM;
	pack->isal.level = (uint32_t)pack->level;
	pack->isal.level_buf = pack->isal_level;
	pack->isal.level_buf_size = bytes;
	return 0;
}

static void isal_close(struct pack *pack)
{
	free(pack->isal_level);
	free(pack->gathered);
}

static void isal_begin(struct pack *pack)
{
	isal_deflate_reset(&pack->isal);
	pack->isal.gzip_flag = IGZIP_GZIP; /* it changes this itself once it has written the header */
	pack->isal.flush = NO_FLUSH;
	pack->isal.end_of_stream = 0;
}

static enum step isal_step(struct pack *pack, struct flow *flow, bool last)
{
	struct isal_zstream *stream = &pack->isal;
	uint32_t in = flow->in_bytes < UINT32_MAX ? (uint32_t)flow->in_bytes : UINT32_MAX;
	uint32_t out = flow->out_bytes < UINT32_MAX ? (uint32_t)flow->out_bytes : UINT32_MAX;
	stream->next_in = (uint8_t *)(uintptr_t)flow->in; /* only read */
	stream->avail_in = in;
	stream->next_out = flow->out;
	stream->avail_out = out;
	stream->end_of_stream = last && in == flow->in_bytes;
	if (isal_deflate(stream) != COMP_OK)
		abort(); /* our own parameters: level, buffer, flush */
	flow->in += in - stream->avail_in;
	flow->in_bytes -= in - stream->avail_in;
	flow->out += out - stream->avail_out;
	flow->out_bytes -= out - stream->avail_out;
	if (last)
		return stream->internal_state.state == ZSTATE_END ? STEP_DONE : STEP_GO_ON;
	return flow->in_bytes == 0 ? STEP_DONE : STEP_GO_ON;
}

/* Level 0 has one code for all texts, whose longest words have 15 bits; the others make one for
 * each block, or store it. */
static size_t isal_bound(const struct pack *pack, size_t raw_bytes)
{
	return raw_bytes + (pack->level == 0 ? raw_bytes : raw_bytes / 8) + 1024;
}

static uint64_t isal_memory(const struct pack *pack)
{
	return isal_level_bytes(pack->level) + GATHER_BYTES;
}

/* ---- zlib ---- */

static void *zlib_alloc(void *pack, unsigned n, unsigned bytes)
{
	((struct pack *)pack)->zlib_bytes += (uint64_t)n * bytes;
	return calloc(n, bytes);
}

static void zlib_free(void *pack, void *memory)
{
	(void)pack;
	free(memory);
}

static int zlib_open(struct pack *pack)
{
	pack->zlib = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free, .opaque = pack};
	/* 16: with the head and the tail of gzip */
	int error = deflateInit2(&pack->zlib, pack->level, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
	return error == Z_OK ? 0 : -ENOMEM;
}

static void zlib_close(struct pack *pack)
{
	(void)deflateEnd(&pack->zlib); /* an error says that a member was given up */
}

static void zlib_begin(struct pack *pack)
{
	if (deflateReset(&pack->zlib) != Z_OK)
		abort();
}

static enum step zlib_step(struct pack *pack, struct flow *flow, bool last)
{
	z_stream *stream = &pack->zlib;
	uInt in = flow->in_bytes < UINT_MAX ? (uInt)flow->in_bytes : UINT_MAX;
	uInt out = flow->out_bytes < UINT_MAX ? (uInt)flow->out_bytes : UINT_MAX;
	stream->next_in = (Bytef *)(uintptr_t)flow->in; /* only read */
	stream->avail_in = in;
	stream->next_out = flow->out;
	stream->avail_out = out;
	int result = deflate(stream, last && in == flow->in_bytes ? Z_FINISH : Z_NO_FLUSH);
	if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) /* it asks for room */
		abort();
	flow->in += in - stream->avail_in;
	flow->in_bytes -= in - stream->avail_in;
	flow->out += out - stream->avail_out;
	flow->out_bytes -= out - stream->avail_out;
	if (last)
		return result == Z_STREAM_END ? STEP_DONE : STEP_GO_ON;
	return flow->in_bytes == 0 ? STEP_DONE : STEP_GO_ON;
}

/* Twice what stored blocks add; a stream of Huffman blocks is longer by less (deflateBound). */
static size_t zlib_bound(const struct pack *pack, size_t raw_bytes)
{
	(void)pack;
	return raw_bytes + raw_bytes / 1024 + 64;
}

static uint64_t zlib_memory(const struct pack *pack)
{
	return pack->zlib_bytes;
}

/* ---- zstd ---- */

static void zstd_begin(struct pack *pack)
{
	(void)ZSTD_CCtx_reset(pack->zstd, ZSTD_reset_session_only);
}

static enum step zstd_step(struct pack *pack, struct flow *flow, bool last)
{
	ZSTD_inBuffer in = {flow->in, flow->in_bytes, 0};
	ZSTD_outBuffer out = {flow->out, flow->out_bytes, 0};
	size_t left = ZSTD_compressStream2(pack->zstd, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
	if (ZSTD_isError(left))
		abort(); /* all that it needs was allocated when it was opened */
	flow->in += in.pos;
	flow->in_bytes -= in.pos;
	flow->out += out.pos;
	flow->out_bytes -= out.pos;
	if (last)
		return left == 0 ? STEP_DONE : STEP_GO_ON;
	return flow->in_bytes == 0 ? STEP_DONE : STEP_GO_ON;
}

/* Its memory is allocated when the first bytes come: they come here. */
static int zstd_open(struct pack *pack)
{
	char out[64];
	pack->zstd = ZSTD_createCCtx();
	if (pack->zstd == NULL)
		return -ENOMEM;
	if (ZSTD_isError(ZSTD_CCtx_setParameter(pack->zstd, ZSTD_c_compressionLevel, pack->level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(pack->zstd, ZSTD_c_checksumFlag, 1)))
		return -EINVAL;
	ZSTD_inBuffer in = {"", 1, 0};
	ZSTD_outBuffer to = {out, sizeof out, 0};
	return ZSTD_isError(ZSTD_compressStream2(pack->zstd, &to, &in, ZSTD_e_flush)) ? -ENOMEM : 0;
}

static void zstd_close(struct pack *pack)
{
	ZSTD_freeCCtx(pack->zstd);
}

static size_t zstd_bound(const struct pack *pack, size_t raw_bytes)
{
	(void)pack;
	return ZSTD_compressBound(raw_bytes) + 64;
}

static uint64_t zstd_memory(const struct pack *pack)
{
	return ZSTD_sizeof_CCtx(pack->zstd);
}

/* ---- all ---- */

static const struct method methods[] = {
        {"none", "identity", "", 0, 0, none_open, none_nothing, none_nothing, none_step, none_bound,
         none_memory},
        {"isal", "gzip", ".gz", 0, 3, isal_open, isal_close, isal_begin, isal_step, isal_bound, isal_memory},
        {"zlib", "gzip", ".gz", 1, 9, zlib_open, zlib_close, zlib_begin, zlib_step, zlib_bound, zlib_memory},
        {"zstd", "zstd", ".zst", 1, 19, zstd_open, zstd_close, zstd_begin, zstd_step, zstd_bound,
         zstd_memory},
};

/* The level after the colon, one or two digits, or -1. */
static int read_level(const char *text)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 2 || text[digits] != '\0' || (digits == 2 && text[0] == '0'))
		return -1;
	return digits == 1 ? text[0] - '0' : (text[0] - '0') * 10 + text[1] - '0';
}

static const struct method *read_method(const char *text, int *level)
{
	size_t name = strcspn(text, ":");
	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
		const struct method *method = &methods[i];
		if (strlen(method->name) != name || memcmp(text, method->name, name) != 0)
			continue;
		*level = 0;
		if (method->most == 0)
			return text[name] == '\0' ? method : NULL;
		*level = text[name] == ':' ? read_level(text + name + 1) : -1;
		return *level >= method->least && *level <= method->most ? method : NULL;
	}
	return NULL;
}

bool pack_known(const char *method)
{
	int level;
	return read_method(method, &level) != NULL;
}

int pack_open(struct pack **pack, const char *text)
{
	int level;
	const struct method *method = read_method(text, &level);
	if (method == NULL)
		return -EINVAL;
	struct pack *made = calloc(1, sizeof *made);
	if (made == NULL)
		return -ENOMEM;
	made->method = method;
	made->level = level;
	int error = method->open(made);
	if (error != 0) {
		pack_close(made);
		return error;
	}
	*pack = made;
	return 0;
}

void pack_close(struct pack *pack)
{
	if (pack == NULL)
		return;
	pack->method->close(pack);
	free(pack);
}

uint64_t pack_memory(const char *text)
{
	struct pack *pack;
	if (pack_open(&pack, text) != 0)
		return 0;
	uint64_t bytes = sizeof *pack + pack->method->memory(pack);
	pack_close(pack);
	return bytes;
}

const char *pack_encoding(const struct pack *pack)
{
	return pack->method->encoding;
}

const char *pack_suffix(const struct pack *pack)
{
	return pack->method->suffix;
}

size_t pack_most(const struct pack *pack, size_t raw_bytes)
{
	return pack->method->bound(pack, raw_bytes);
}

void pack_begin(struct pack *pack, pack_room *room, void *argument)
{
	pack->room = room;
	pack->argument = argument;
	pack->out = NULL;
	pack->out_bytes = 0;
	pack->packed = 0;
	pack->failed = false;
	pack->gathered_bytes = 0;
	pack->held_bytes = 0;
	pack->method->begin(pack);
}

static int run(struct pack *pack, const void *raw, size_t bytes, bool last)
{
	if (pack->failed)
		return -ENOSPC;
	if (last && pack->method->most == 0) /* none: nothing is written at the end */
		return 0;
	struct flow flow = {raw, bytes, pack->out, pack->out_bytes};
	for (;;) {
		if (flow.out_bytes == 0)
			flow.out = pack->room(pack->argument, &flow.out_bytes);
		if (flow.out == NULL) {
			pack->failed = true;
			return -ENOSPC;
		}
		const unsigned char *from = flow.out;
		enum step step = pack->method->step(pack, &flow, last);
		pack->packed += (uint64_t)(flow.out - from);
		if (step == STEP_DONE)
			break;
	}
	pack->out = flow.out;
	pack->out_bytes = flow.out_bytes;
	return 0;
}

static void gather(struct pack *pack, const unsigned char *from, size_t bytes)
{
	memcpy(pack->gathered + pack->gathered_bytes, from, bytes);
	pack->gathered_bytes += bytes;
	if (pack->gathered_bytes == GATHER_BYTES) {
		(void)run(pack, pack->gathered, GATHER_BYTES, false);
		pack->gathered_bytes = 0;
	}
}

int pack_add(struct pack *pack, const void *raw, size_t bytes)
{
	const unsigned char *from = raw;
	if (pack->gathered == NULL && bytes > 0)
		return run(pack, raw, bytes, false);
	if (pack->held_bytes > 0 && bytes > 0) {
		(void)run(pack, pack->held, pack->held_bytes, false);
		pack->held_bytes = 0;
	}
	while (bytes > 0 && !pack->failed) {
		size_t n = GATHER_BYTES - pack->gathered_bytes;
		if (n == GATHER_BYTES && bytes >= GATHER_BYTES) {
			pack->held = from;
			pack->held_bytes = bytes;
			break;
		}
		n = n < bytes ? n : bytes;
		gather(pack, from, n);
		from += n;
		bytes -= n;
	}
	return pack->failed ? -ENOSPC : 0;
}

int pack_end(struct pack *pack, uint64_t *packed)
{
	int error = pack->held_bytes > 0 ? run(pack, pack->held, pack->held_bytes, true)
	                                 : run(pack, pack->gathered, pack->gathered_bytes, true);
	if (error == 0)
		*packed = pack->packed;
	return error;
}
