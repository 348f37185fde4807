#include "tests/fuzz/json_verdict.h"

#include <stdlib.h>
#include <string.h>

bool verdict_lacks(json_t *object, const char *prefix, const char *const *names, struct verdict *verdict)
{
	for (; *names; names++) {
		if (opinion_is_empty(json_object_get(object, *names + strlen(prefix)))) {
			*verdict = (struct verdict){LEDGER_MISSING_FIELD, *names};
			return true;
		}
	}
	return false;
}

struct verdict verdict_wrong(const char *where)
{
	return (struct verdict){LEDGER_WRONG_TYPE, where};
}

size_t verdict_squeeze(char *out, const char *text, size_t bytes)
{
	bool inside = false;
	size_t n = 0;
	for (size_t i = 0; i < bytes; i++) {
		if (!inside && strchr(" \t\r\n", text[i]))
			continue;
		out[n++] = text[i];
		if (inside && text[i] == '\\')
			out[n++] = text[++i];
		else if (text[i] == '"')
			inside = !inside;
	}
	return n;
}

const char *verdict_differs(const struct parsed *parsed, struct verdict verdict)
{
	if (parsed->valid != (verdict.reason == LEDGER_VALID))
		return parsed->valid ? "valid" : parsed->fault.what;
	if (parsed->valid)
		return NULL;
	if (parsed->fault.reason != verdict.reason)
		return "reason";
	if (strcmp(parsed->fault.where, verdict.where) != 0)
		return "where";
	return parsed->fault.what && *parsed->fault.what ? NULL : "what";
}

/* What a parser has to say of a text that jansson refuses, or that is no object. */
static const char *compare_refused(const struct parsed *parsed, json_t *root)
{
	if (parsed->valid)
		return root ? "taken, but no object" : "taken, but no JSON";
	if (strcmp(parsed->fault.where, "body") != 0)
		return "where";
	if (root)
		return parsed->fault.reason == LEDGER_UNKNOWN_EVENT ? NULL : "reason of no object";
	return parsed->fault.reason == LEDGER_MALFORMED || parsed->fault.reason == LEDGER_TRUNCATED
	               ? NULL
	               : "reason of no JSON";
}

enum json_agreement verdict_agree(const char *data, size_t bytes, verdict_parse_fn *parse, size_t room,
                                  verdict_compare_fn *compare)
{
	if (opinion_too_deep(data, bytes))
		return JSON_UNDECIDED;
	struct opinion opinion = opinion_of(data, bytes);
	if (opinion.undecided || (opinion.accepted && !opinion.root))
		return JSON_UNDECIDED;
	struct parsed parsed = {.payload = malloc(room)};
	parsed.valid = parse(data, bytes, parsed.payload, &parsed.length, &parsed.fault);
	const char *difference = json_is_object(opinion.root) ? compare(&parsed, &opinion, data, bytes)
	                                                      : compare_refused(&parsed, opinion.root);
	json_decref(opinion.root);
	free(parsed.payload);
	if (difference)
		return opinion_differs(difference, data, bytes);
	return parsed.valid ? JSON_ACCEPTED : JSON_REFUSED;
}
