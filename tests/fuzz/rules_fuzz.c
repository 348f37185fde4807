/* Any text as the file of rules for user agents: it is refused with one line that names the file,
 * or becomes rules; these, written as such a file again, are read as the same. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "enrich/agent/rules.h"
#include "tests/fuzz/fuzz.h"

static const char *const keys[RULE_LISTS][RULE_FIELDS] = {
        {"family_replacement", "v1_replacement", "v2_replacement", "v3_replacement", "v4_replacement"},
        {"os_replacement", "os_v1_replacement", "os_v2_replacement", "os_v3_replacement",
         "os_v4_replacement"},
        {"device_replacement", "brand_replacement", "model_replacement", NULL, NULL},
};

static int read_rules(struct rules *rules, const void *data, size_t bytes, char error[RULES_ERROR_BYTES])
{
	char path[64];
	int file = memfd_create("rules", MFD_CLOEXEC);
	must(file >= 0 && pwrite(file, data, bytes, 0) == (ssize_t)bytes);
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	int result = rules_load(rules, path, error);
	close(file);
	return result;
}

/* UTF-8 alone comes out of YAML; what is no ASCII is written as its number. */
static void quote(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;
		if (byte >= 0x80) {
			unsigned more = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
			uint32_t number = byte & (0x3fu >> more);
			for (; more > 0; more--)
				number = number << 6 | ((unsigned char)*++text & 0x3f);
			fprintf(out, "\\U%08x", number);
		} else if (byte < ' ' || byte == 0x7f)
			fprintf(out, "\\x%02x", byte);
		else if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void write_rules(FILE *out, const struct rules *rules)
{
	for (enum rule_list list = 0; list < RULE_LISTS; list++) {
		if (rules->first[list] == rules->first[list + 1])
			continue;
		fprintf(out, "%s:\n", rules_list_name(list));
		for (uint32_t i = rules->first[list]; i < rules->first[list + 1]; i++) {
			const struct rule *rule = &rules->rule[i];
			fputs("  - regex: ", out);
			quote(out, rule->regex);
			if (rule->caseless)
				fputs("\n    regex_flag: 'i'", out);
			for (unsigned k = 0; k < rules_fields(list); k++)
				if (rule->replacement[k] != NULL) {
					fprintf(out, "\n    %s: ", keys[list][k]);
					quote(out, rule->replacement[k]);
				}
			fputc('\n', out);
		}
	}
}

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void check_same(const struct rules *rules, const struct rules *again)
{
	must(rules->n == again->n);
	for (enum rule_list list = 0; list <= RULE_LISTS; list++)
		must(rules->first[list] == again->first[list]);
	for (uint32_t i = 0; i < rules->n; i++) {
		const struct rule *a = &rules->rule[i], *b = &again->rule[i];
		must(strcmp(a->regex, b->regex) == 0 && a->caseless == b->caseless && a->list == b->list);
		must(a->number == b->number && a->number == i - rules->first[a->list] + 1);
		for (unsigned k = 0; k < RULE_FIELDS; k++)
			must(same_text(a->replacement[k], b->replacement[k]));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char error[RULES_ERROR_BYTES] = "", *text = NULL;
	struct rules rules, again;
	size_t length;
	if (bytes > 8192)
		return 0;
	if (read_rules(&rules, data, bytes, error) != 0) {
		must(rules.n == 0 && error[0] != '\0' && memchr(error, '\0', sizeof error) != NULL);
		must(strchr(error, '\n') == NULL && strstr(error, "/proc/self/fd/") != NULL);
		return 0;
	}
	must(rules.n > 0 && rules.first[0] == 0 && rules.first[RULE_LISTS] == rules.n);
	FILE *out = open_memstream(&text, &length);
	must(out != NULL);
	write_rules(out, &rules);
	must(fclose(out) == 0);
	int result = read_rules(&again, text, length, error);
	if (result != 0)
		fprintf(stderr, "%s\n%s\n", error, text);
	must(result == 0);
	check_same(&rules, &again);
	rules_fini(&rules);
	rules_fini(&again);
	free(text);
	return 0;
}
