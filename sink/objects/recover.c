#include "sink/objects/recover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sink/objects/name.h"

#define HOLD_NS       (2 * NS_PER_SEC)  /* before an upload is looked for again */
#define INVALID_NS    (30 * NS_PER_SEC) /* before a refused request is sent again */
#define MISSING_TRIES 3u                /* times in a row that an upload must not be there to be lost */

enum step { STEP_FIND, STEP_LIST, STEP_FINISH };

struct recover {
	struct index *index;
	const struct store_ops *ops;
	struct store *store;
	const struct store_traits *traits;
	recover_told *told;
	void *argument;
	unsigned current; /* of the entries that are left */
	bool busy;
	uint64_t hold_until_ns;
	/* of the current one */
	enum step step;
	unsigned missing;
	unsigned attempt;        /* 0: the name of the index; otherwise with the token after it */
	struct store_part *part; /* that the store lists */
	uint32_t n_parts;
	char name[JOURNAL_KEY_MAX + 1];
	struct store_request request;
};

int recover_open(struct recover **made, struct index *index, const struct store_ops *ops, struct store *store,
                 recover_told *told, void *argument)
{
	struct recover *recover = calloc(1, sizeof *recover);
	*made = recover;
	if (recover == NULL)
		return -ENOMEM;
	*recover = (struct recover){.index = index,
	                            .ops = ops,
	                            .store = store,
	                            .traits = ops->traits(store),
	                            .told = told,
	                            .argument = argument};
	return 0;
}

void recover_close(struct recover *recover)
{
	if (recover == NULL)
		return;
	free(recover->part);
	free(recover);
}

unsigned recover_left(const struct recover *recover)
{
	unsigned n = 0;
	while (index_left(recover->index, n) != NULL)
		n++;
	return n;
}

static void begin_next(struct recover *recover)
{
	free(recover->part);
	recover->part = NULL;
	recover->n_parts = 0;
	recover->step = STEP_FIND;
	recover->missing = recover->attempt = 0;
}

static const struct index_entry *current(struct recover *recover)
{
	const struct index_entry *entry = index_left(recover->index, recover->current);
	if (entry == NULL && recover->current != 0) {
		recover->current = 0;
		entry = index_left(recover->index, 0);
	}
	return entry;
}

static uint64_t parts_bytes(const struct store_part *part, uint32_t n)
{
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < n; i++)
		bytes += part[i].bytes;
	return bytes;
}

/* It is dealt with: complete, or lost for a reason. */
static void end(struct recover *recover, const struct index_entry *entry, uint64_t bytes, const char *lost)
{
	char token[JOURNAL_TOKEN_BYTES + 1];
	struct recover_end end = {.entry = entry, .bytes = bytes, .lost = lost};
	memcpy(token, entry->token, sizeof token);
	recover->told(recover->argument, &end);
	index_done(recover->index, token);
	index_drop_left(recover->index, token);
	begin_next(recover);
}

/* ---- asking ---- */

static size_t make_name(struct recover *recover, const struct index_entry *entry)
{
	size_t bytes = strlen(entry->name);
	if (recover->attempt == 0)
		memcpy(recover->name, entry->name, bytes);
	else
		bytes = name_make(recover->name, recover->traits, entry->name, bytes, entry->token,
		                  recover->attempt);
	recover->name[bytes] = '\0';
	return bytes;
}

bool recover_work(struct recover *recover, uint64_t now_ns)
{
	static const enum store_action action[] = {STORE_FIND, STORE_LIST, STORE_FINISH};
	const struct index_entry *entry;
	if (recover->busy || now_ns < recover->hold_until_ns || (entry = current(recover)) == NULL)
		return false;
	size_t name_bytes = make_name(recover, entry);
	bool finish = recover->step == STEP_FINISH;
	recover->request = (struct store_request){
	        .action = action[recover->step],
	        .owner = recover,
	        .name = recover->name,
	        .name_bytes = name_bytes,
	        .token = entry->token,
	        .upload = entry->upload,
	        .encoding = entry->encoding,
	        .type = entry->type,
	        .part = finish ? recover->part : entry->part,
	        .n_parts = finish ? recover->n_parts : entry->n_parts,
	};
	memcpy(recover->request.words, entry->words, sizeof entry->words);
	recover->busy = recover->ops->start(recover->store, &recover->request);
	return recover->busy;
}

/* ---- answers ---- */

static void handle_found(struct recover *recover, const struct index_entry *entry,
                         const struct store_request *request, uint64_t now_ns)
{
	bool there = request->result == 0;
	if (there && recover->traits->keeps_token &&
	    strncmp(request->token_found, entry->token, JOURNAL_TOKEN_BYTES) == 0) {
		end(recover, entry, request->bytes_found, NULL);
	} else if (there && recover->traits->late_name) {
		recover->attempt++;
	} else if (there) {
		end(recover, entry, parts_bytes(entry->part, entry->n_parts), "another object has the name");
	} else if (recover->missing == 0) {
		recover->step = STEP_LIST;
	} else if (recover->missing < MISSING_TRIES) {
		recover->step = STEP_LIST;
		recover->hold_until_ns = now_ns + HOLD_NS;
	} else {
		end(recover, entry, parts_bytes(entry->part, entry->n_parts),
		    "the store knows neither the upload nor its object");
	}
}

static void handle_listed(struct recover *recover, const struct index_entry *entry,
                          struct store_request *request)
{
	free(recover->part);
	recover->part = request->found;
	recover->n_parts = request->n_found;
	request->found = NULL;
	recover->step = STEP_FINISH;
	if (recover->n_parts == 0)
		end(recover, entry, 0, "the store has no part of it");
}

static void refuse(struct recover *recover, uint64_t now_ns)
{
	recover->current++;
	recover->hold_until_ns = now_ns + INVALID_NS;
	begin_next(recover);
}

void recover_answer(struct recover *recover, struct store_request *request, uint64_t now_ns)
{
	const struct index_entry *entry = current(recover);
	enum step step = recover->step;
	int result = request->result;
	recover->busy = false;
	if (entry == NULL) {
		abort(); /* nothing was asked: our own bug */
	} else if (result == -EINVAL) {
		refuse(recover, now_ns);
	} else if (step == STEP_FIND && (result == 0 || result == -ENOENT)) {
		handle_found(recover, entry, request, now_ns);
	} else if (step == STEP_LIST && result == 0) {
		handle_listed(recover, entry, request);
	} else if (step == STEP_FINISH && result == 0) {
		end(recover, entry, parts_bytes(recover->part, recover->n_parts), NULL);
	} else if (step != STEP_FIND && (result == -ENOENT || result == -EEXIST || result == -EINPROGRESS)) {
		/* of LIST only -ENOENT says something of the upload */
		recover->missing += result == -ENOENT;
		if (step == STEP_FINISH || result == -ENOENT)
			recover->step = STEP_FIND;
	}
	free(request->found);
	request->found = NULL;
}
