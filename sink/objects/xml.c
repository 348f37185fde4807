#include "sink/objects/xml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/escape.h"
#include "base/hex.h"

#define BYTE_ORDER_MARK "\xef\xbb\xbf"
#define CODE_POINT_END  0x110000u

struct reader {
	const char *at, *end;
	char path[XML_DEPTH_MAX * XML_NAME_MAX];
	size_t path_bytes[XML_DEPTH_MAX + 1]; /* of the path at each depth */
	bool has_elements[XML_DEPTH_MAX + 1];
	unsigned depth;
	char *text; /* of the element that is open, with room for the whole document */
	size_t text_bytes;
	xml_fn *each;
	void *argument;
};

static bool is_white(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_white(struct reader *reader)
{
	while (reader->at < reader->end && is_white(*reader->at))
		reader->at++;
}

static bool take(struct reader *reader, const char *literal)
{
	size_t length = strlen(literal);
	if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, literal, length) != 0)
		return false;
	reader->at += length;
	return true;
}

/* Moves after the next `literal`. */
static bool skip_to(struct reader *reader, const char *literal)
{
	const char *found = memmem(reader->at, (size_t)(reader->end - reader->at), literal, strlen(literal));
	if (found == NULL)
		return false;
	reader->at = found + strlen(literal);
	return true;
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("_-.:", c) != NULL);
}

/* Length of the name that begins here; 0 when there is none or it is too long. */
static size_t name_length(const struct reader *reader)
{
	size_t n = 0, left = (size_t)(reader->end - reader->at);
	while (n < left && is_name(reader->at[n]))
		n++;
	return n < XML_NAME_MAX ? n : 0;
}

/* The character of &#10; or &#xA; whose digits begin at the reader. */
static bool numeric(struct reader *reader, unsigned *code)
{
	unsigned base = take(reader, "x") ? 16 : 10, digits = 0;
	*code = 0;
	for (; reader->at < reader->end && *reader->at != ';'; reader->at++, digits++) {
		int digit = hex_value(*reader->at);
		if (digit < 0 || (unsigned)digit >= base || digits == 8)
			return false;
		*code = *code * base + (unsigned)digit;
	}
	bool surrogate = *code >= JSON_HIGH_HALF && *code < JSON_HALVES_END;
	return digits > 0 && take(reader, ";") && *code != 0 && *code < CODE_POINT_END && !surrogate;
}

static bool entity(struct reader *reader)
{
	static const struct {
		const char *name;
		char is;
	} known[] = {{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (take(reader, known[i].name)) {
			reader->text[reader->text_bytes++] = known[i].is;
			return true;
		}
	unsigned code;
	if (!take(reader, "#") || !numeric(reader, &code))
		return false;
	reader->text_bytes += json_utf8(reader->text + reader->text_bytes, code);
	return true;
}

/* Text up to the next tag. */
static bool read_text(struct reader *reader)
{
	while (reader->at < reader->end && *reader->at != '<') {
		char c = *reader->at++;
		if (c == '\0' || (c == '&' && !entity(reader)))
			return false;
		if (c != '&')
			reader->text[reader->text_bytes++] = c;
	}
	return true;
}

/* No text but white space. */
static bool is_blank(const struct reader *reader)
{
	for (size_t i = 0; i < reader->text_bytes; i++)
		if (!is_white(reader->text[i]))
			return false;
	return true;
}

/* Attributes, up to the end of the tag. */
static bool skip_attributes(struct reader *reader)
{
	for (;;) {
		const char *before = reader->at;
		skip_white(reader);
		size_t length = name_length(reader);
		if (length == 0)
			return true;
		if (reader->at == before)
			return false;
		reader->at += length;
		skip_white(reader);
		if (!take(reader, "="))
			return false;
		skip_white(reader);
		char quote[2] = {reader->at < reader->end ? *reader->at : '\0', '\0'};
		if ((quote[0] != '"' && quote[0] != '\'') || !take(reader, quote))
			return false;
		const char *value = reader->at;
		if (!skip_to(reader, quote) || memchr(value, '<', (size_t)(reader->at - value)) != NULL ||
		    memchr(value, '\0', (size_t)(reader->at - value)) != NULL)
			return false;
	}
}

static bool close_element(struct reader *reader)
{
	if (reader->has_elements[reader->depth] && !is_blank(reader))
		return false;
	reader->text[reader->text_bytes] = '\0';
	reader->each(reader->argument, reader->path,
	             reader->has_elements[reader->depth] ? NULL : reader->text);
	reader->path[reader->path_bytes[--reader->depth]] = '\0';
	reader->text_bytes = 0;
	return true;
}

/* After "<". */
static bool open_tag(struct reader *reader)
{
	size_t length = name_length(reader), before = reader->path_bytes[reader->depth];
	if (length == 0 || reader->depth == XML_DEPTH_MAX || !is_blank(reader))
		return false;
	reader->text_bytes = 0;
	reader->has_elements[reader->depth++] = true;
	reader->has_elements[reader->depth] = false;
	char *name = reader->path + before;
	if (before > 0)
		*name++ = '/';
	memcpy(name, reader->at, length);
	name[length] = '\0';
	reader->path_bytes[reader->depth] = (size_t)(name + length - reader->path);
	reader->at += length;
	if (!skip_attributes(reader))
		return false;
	if (take(reader, "/>"))
		return close_element(reader);
	return take(reader, ">");
}

/* After "</". */
static bool close_tag(struct reader *reader)
{
	const char *slash = strrchr(reader->path, '/');
	if (reader->depth == 0 || !take(reader, slash != NULL ? slash + 1 : reader->path))
		return false;
	skip_white(reader);
	return take(reader, ">") && close_element(reader);
}

/* Comments are skipped wherever they stand. */
static bool read_tag(struct reader *reader)
{
	if (take(reader, "<!--"))
		return skip_to(reader, "-->");
	if (take(reader, "</"))
		return close_tag(reader);
	return take(reader, "<") && open_tag(reader);
}

static bool read_document(struct reader *reader)
{
	take(reader, BYTE_ORDER_MARK);
	skip_white(reader);
	if (take(reader, "<?xml ") && !skip_to(reader, "?>"))
		return false;
	do {
		if (reader->depth == 0)
			skip_white(reader);
		if (!read_tag(reader) || (reader->depth > 0 && !read_text(reader)))
			return false;
	} while (reader->depth > 0 || !reader->has_elements[0]);
	skip_white(reader);
	while (take(reader, "<!--") && skip_to(reader, "-->"))
		skip_white(reader);
	return reader->at == reader->end;
}

int xml_read(const char *text, size_t bytes, xml_fn *each, void *argument)
{
	/* no entity is shorter than what it stands for: "&#1;" against one byte, "&#x800;" against
	 * three */
	struct reader reader = {.at = text, .end = text + bytes, .each = each, .argument = argument};
	reader.text = malloc(bytes + 1);
	if (reader.text == NULL)
		return -ENOMEM;
	bool good = read_document(&reader);
	free(reader.text);
	return good ? 0 : -EINVAL;
}

/* Text of others becomes part of a line for people: cut, and without control characters. */
static void keep(char *out, size_t size, const char *text)
{
	size_t n = 0;
	for (; n < size - 1 && text[n] != '\0'; n++)
		out[n] = (unsigned char)text[n] < ' ' || text[n] == 0x7f ? ' ' : text[n];
	out[n] = '\0';
}

static void take_error(void *argument, const char *path, const char *text)
{
	struct xml_error *error = argument;
	if (strchr(path, '/') == NULL)
		keep(error->root, sizeof error->root, path);
	if (text == NULL)
		return;
	/* STS puts it one level deeper: ErrorResponse/Error/Code */
	static const char deeper[] = "ErrorResponse/";
	if (strncmp(path, deeper, sizeof deeper - 1) == 0)
		path += sizeof deeper - 1;
	if (strcmp(path, "Error/Code") == 0)
		keep(error->code, sizeof error->code, text);
	else if (strcmp(path, "Error/Message") == 0)
		keep(error->message, sizeof error->message, text);
	else if (strcmp(path, "Error/Region") == 0)
		keep(error->region, sizeof error->region, text);
	else if (strcmp(path, "Error/Endpoint") == 0)
		keep(error->endpoint, sizeof error->endpoint, text);
}

int xml_error(struct xml_error *error, const char *text, size_t bytes)
{
	memset(error, 0, sizeof *error);
	int result = xml_read(text, bytes, take_error, error);
	if (result != 0)
		memset(error, 0, sizeof *error);
	return result;
}
