/* Reads the few XML answers of S3, STS and Azure, strictly. One call for each element that ends,
 * with its path and, when no elements are in it, its text:
 *
 *     <?xml version="1.0"?>
 *     <Error><Code>SlowDown</Code>   --> ("Error/Code", "SlowDown")
 *            <Message>a &lt; b</Message> --> ("Error/Message", "a < b")
 *     </Error>                       --> ("Error", NULL)
 *
 * Attributes and comments are skipped, namespaces are not looked at. White space may stand before
 * the document: S3 sends it to keep a connection open while it completes an upload. Refused: a
 * document type, CDATA, processing instructions after the first, entities other than the five of
 * XML and numeric ones, text between elements, anything after the root element. Nothing expands, so
 * an answer takes as much memory as it has bytes.
 */
#ifndef SINK_OBJECTS_XML_H
#define SINK_OBJECTS_XML_H

#include <stddef.h>

#define XML_DEPTH_MAX 8u
#define XML_NAME_MAX  64u /* bytes of an element's name */

typedef void xml_fn(void *argument, const char *path, const char *text);

/* Returns 0, or -EINVAL when the text is not such a document, also when it is cut off: what was
 * called before is then of no worth. -ENOMEM. text need not end with 0; a NUL in it is refused. */
int xml_read(const char *text, size_t bytes, xml_fn *each, void *argument);

/* What an answer tells that is an error, or not; all "" at first. */
struct xml_error {
	char root[XML_NAME_MAX]; /* the root element's name: "Error", "CompleteMultipartUploadResult" */
	char code[64];
	char message[192];
	char region[64];    /* where the bucket is, when the store names it */
	char endpoint[128]; /* where to ask instead (PermanentRedirect) */
};

/* Reads an answer's error. Returns as xml_read; error is all "" on failure. */
int xml_error(struct xml_error *error, const char *text, size_t bytes);

#endif
