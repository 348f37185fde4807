#include "sink/objects/s3_list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sink/objects/xml.h"

#define ROOM_STEP 1000u

bool s3_is_etag(const char *etag)
{
	size_t n = 0;
	for (; etag[n] != '\0'; n++)
		if (etag[n] <= ' ' || etag[n] > '~' || strchr("<>&", etag[n]) != NULL)
			return false;
	return n > 0;
}

/* What does not fit is left out: it is then no part, or no upload, of ours. */
static void keep(char *out, size_t size, const char *text)
{
	if ((size_t)snprintf(out, size, "%s", text) >= size)
		out[0] = '\0';
}

/* True for "FOLDER/name". */
static bool is_in(const char *path, const char *folder, const char **name)
{
	size_t n = strlen(folder);
	if (strncmp(path, folder, n) != 0 || path[n] != '/')
		return false;
	*name = path + n + 1;
	return true;
}

/* ---- parts ---- */

struct part_reader {
	struct s3_parts *parts;
	uint64_t number, bytes; /* of the part that is open */
	char etag[JOURNAL_ETAG_MAX], crc[32];
	uint32_t n;
	int wrong;
	bool root;
};

static bool has_room(struct s3_parts *parts)
{
	if (parts->n < parts->room)
		return true;
	struct store_part *grown = realloc(parts->part, (size_t)(parts->room + ROOM_STEP) * sizeof *grown);
	if (grown == NULL)
		return false;
	parts->part = grown;
	parts->room += ROOM_STEP;
	return true;
}

static int add_part(struct part_reader *reader)
{
	struct s3_parts *parts = reader->parts;
	bool crc = reader->crc[0] != '\0';
	if (!s3_is_etag(reader->etag) || (crc && !s3_is_etag(reader->crc)) || reader->number <= parts->last ||
	    reader->number > S3_PARTS_MAX)
		return -EPROTO;
	if (!has_room(parts))
		return -ENOMEM;
	struct store_part *part = &parts->part[parts->n];
	int n = snprintf(part->etag, sizeof part->etag, "%s%s%s", reader->etag, crc ? " " : "", reader->crc);
	if ((size_t)n >= sizeof part->etag)
		return -EPROTO;
	part->number = parts->last = (uint32_t)reader->number;
	part->bytes = reader->bytes;
	parts->n++;
	reader->n++;
	reader->etag[0] = reader->crc[0] = '\0';
	reader->number = reader->bytes = 0;
	return 0;
}

/* The path below the root element, "" for the root itself, NULL when it is another. S3 names it
 * ListPartsResult, moto ListPartsResponse, and SDKs take either. */
static const char *below_root(const char *path)
{
	static const char *const root[] = {"ListPartsResult", "ListPartsResponse"};
	for (size_t i = 0; i < sizeof root / sizeof *root; i++) {
		size_t n = strlen(root[i]);
		if (strncmp(path, root[i], n) == 0 && (path[n] == '\0' || path[n] == '/'))
			return path + n;
	}
	return NULL;
}

static void each_part(void *argument, const char *path, const char *text)
{
	struct part_reader *reader = argument;
	const char *below = below_root(path), *name;
	if (below == NULL)
		return;
	if (below[0] == '\0')
		reader->root = true;
	else if (strcmp(below, "/IsTruncated") == 0)
		reader->parts->truncated = text != NULL && strcmp(text, "true") == 0;
	else if (strcmp(below, "/Part") == 0 && reader->wrong == 0)
		reader->wrong = add_part(reader);
	else if (text == NULL || !is_in(below, "/Part", &name))
		return;
	else if (strcmp(name, "PartNumber") == 0)
		reader->number = strtoull(text, NULL, 10);
	else if (strcmp(name, "Size") == 0)
		reader->bytes = strtoull(text, NULL, 10);
	else if (strcmp(name, "ETag") == 0)
		keep(reader->etag, sizeof reader->etag, text);
	else if (strcmp(name, "ChecksumCRC32C") == 0)
		keep(reader->crc, sizeof reader->crc, text);
}

int s3_read_parts(struct s3_parts *parts, const char *text, size_t bytes)
{
	struct part_reader reader = {.parts = parts};
	parts->truncated = false;
	int result = xml_read(text, bytes, each_part, &reader);
	if (result != 0 || !reader.root)
		return result != 0 ? result : -EINVAL;
	return reader.wrong == 0 && parts->truncated && reader.n == 0 ? -EPROTO : reader.wrong;
}

/* ---- uploads ---- */

struct upload_reader {
	struct s3_upload *best;
	const char *name;
	size_t name_bytes;
	char key[JOURNAL_KEY_MAX + 1], time[32], best_time[32]; /* of the upload that is open */
	struct s3_upload upload;
	bool root;
};

static void add_upload(struct upload_reader *reader)
{
	bool same = strlen(reader->key) == reader->name_bytes &&
	            memcmp(reader->key, reader->name, reader->name_bytes) == 0;
	if (same && reader->upload.id[0] != '\0' && strcmp(reader->time, reader->best_time) >= 0) {
		memcpy(reader->best_time, reader->time, sizeof reader->time);
		*reader->best = reader->upload;
	}
	reader->key[0] = reader->time[0] = reader->upload.id[0] = reader->upload.checksum[0] = '\0';
}

static void each_upload(void *argument, const char *path, const char *text)
{
	struct upload_reader *reader = argument;
	const char *name;
	if (strcmp(path, "ListMultipartUploadsResult") == 0)
		reader->root = true;
	else if (strcmp(path, "ListMultipartUploadsResult/Upload") == 0)
		add_upload(reader);
	else if (text == NULL || !is_in(path, "ListMultipartUploadsResult/Upload", &name))
		return;
	else if (strcmp(name, "Key") == 0)
		keep(reader->key, sizeof reader->key, text);
	else if (strcmp(name, "UploadId") == 0)
		keep(reader->upload.id, sizeof reader->upload.id, text);
	else if (strcmp(name, "Initiated") == 0)
		keep(reader->time, sizeof reader->time, text);
	else if (strcmp(name, "ChecksumAlgorithm") == 0)
		keep(reader->upload.checksum, sizeof reader->upload.checksum, text);
}

int s3_read_uploads(struct s3_upload *upload, const char *name, size_t name_bytes, const char *text,
                    size_t bytes)
{
	struct upload_reader reader = {.best = upload, .name = name, .name_bytes = name_bytes};
	upload->id[0] = upload->checksum[0] = '\0';
	int result = xml_read(text, bytes, each_upload, &reader);
	return result != 0 ? result : reader.root ? 0 : -EINVAL;
}
