/* Any bytes as an answer of S3 or STS and as a credentials file: read whole or refused, within the
 * bytes that there are. What is read must hold what the readers promise. */
#include "sink/objects/credentials_text.h"
#include "sink/objects/s3_list.h"
#include "sink/objects/xml.h"
#include "tests/fuzz/fuzz.h"

struct walk {
	size_t text_bytes;
	size_t elements;
};

static void each(void *argument, const char *path, const char *text)
{
	struct walk *walk = argument;
	unsigned depth = 1;
	for (const char *at = path; *at != '\0'; at++)
		depth += *at == '/';
	must(path[0] != '\0' && depth <= XML_DEPTH_MAX);
	walk->elements++;
	walk->text_bytes += text != NULL ? strlen(text) : 0;
}

static void try_xml(const char *text, size_t bytes)
{
	struct walk walk = {.elements = 0};
	/* nothing expands: an element takes four bytes at least, and text is never longer than it
	 * was */
	if (xml_read(text, bytes, each, &walk) == 0)
		must(walk.elements > 0 && walk.elements * 4 + walk.text_bytes <= bytes);
	struct xml_error error;
	(void)xml_error(&error, text, bytes);
	struct s3_parts parts = {.n = 0};
	if (s3_read_parts(&parts, text, bytes) == 0)
		for (uint32_t i = 0; i < parts.n; i++) {
			must(parts.part[i].number > (i > 0 ? parts.part[i - 1].number : 0));
			must(parts.part[i].number <= S3_PARTS_MAX && parts.part[i].etag[0] != '\0');
		}
	free(parts.part);
	struct s3_upload upload;
	if (s3_read_uploads(&upload, "a", 1, text, bytes) == 0)
		must(strlen(upload.id) <= JOURNAL_UPLOAD_MAX);
}

/* What goes into a header has no line end and no end before its own. */
static void must_be_plain(const char *text, size_t size)
{
	size_t n = strnlen(text, size);
	must(n < size);
	for (size_t i = 0; i < n; i++)
		must(text[i] > ' ' && text[i] <= '~');
}

static void look_at(int result, const struct credentials_keys *keys)
{
	must_be_plain(keys->access_key, sizeof keys->access_key);
	must_be_plain(keys->secret_key, sizeof keys->secret_key);
	must_be_plain(keys->session_token, sizeof keys->session_token);
	must((result == 0) == (keys->access_key[0] != '\0' && keys->secret_key[0] != '\0'));
	must(keys->expires_s >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	char *text = fuzz_copy(data, bytes), reason[64];
	static struct credentials_keys keys;
	try_xml(text, bytes);
	look_at(credentials_of_file(&keys, text, bytes, "default", reason, sizeof reason), &keys);
	look_at(credentials_of_json(&keys, text, bytes, reason, sizeof reason), &keys);
	look_at(credentials_of_sts(&keys, text, bytes, reason, sizeof reason), &keys);
	free(text);
	return 0;
}
