/* The data element of a postback, taken apart: what templates are filled from and bodies are made
 * of.
 *
 *     {"mascot":"Gopher","id":12,"tags":["a","b"]}     JSON as POST /ingest checked it
 *        '--data_read--> members --data_find, data_text--> text of one value
 *                           '--data_form--> mascot=Gopher&id=12&tags=%5B%22a%22%2C%22b%22%5D
 *
 * The text of a value: of a string its characters, escapes resolved; of a number the digits as they
 * were sent (1.50 stays 1.50); true and false; of null nothing; of an array or object its JSON
 * without white space. Of several members with one key the last counts, at the place of the first
 * (RFC 8259, 4; json.loads of Python does the same).
 *
 * Nothing is copied: members point into the JSON, which stays. Looking one up takes the same time
 * however many there are, since keys are strangers' choice.
 */
#ifndef DELIVER_DATA_H
#define DELIVER_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct data_member {
	const char *key;   /* between the quotes */
	const char *value; /* of a string between the quotes */
	uint32_t key_bytes, value_bytes;
	bool key_escaped, value_escaped;
	char kind; /* 's'tring, 'n'umber, 't'rue, 'f'alse, '0' null, '[', '{' */
};

#define DATA_DEPTH_MAX 256u /* containers open at a time; POST /ingest takes no more */

/* Zero at first; data_free at the end. Memory is kept from one data_read to the next. */
struct data {
	struct data_member *member;
	uint32_t n, room;
	const char *json;
	size_t bytes;
	/* own: where members are by the hash of their keys, when there are many; 0: nowhere */
	uint32_t *place;
	uint32_t places, places_room; /* powers of two; places is 0 when there are few members */
	uint64_t secret[2];           /* of the hash; drawn when it is first needed */
};

/* Returns 0; -EINVAL when the text is no JSON object (a message of another build, a damaged row);
 * -ENOMEM, or what getrandom(2) says. After a failure there are no members. Escaped halves of
 * surrogate pairs are let through. */
int data_read(struct data *data, const char *json, size_t bytes);

void data_free(struct data *data);

/* The member of that key (its escapes resolved), or NULL. */
const struct data_member *data_find(const struct data *data, const char *key, size_t bytes);

/* Most bytes that data_text may write for the member. */
size_t data_text_room(const struct data_member *member);

/* Writes the text of a value, no final 0; out has data_text_room. Returns its bytes. An escaped
 * surrogate without its other half becomes U+FFFD. */
size_t data_text(const struct data_member *member, char *out);

/* Writes the text of a value percent-encoded, as data_percent does. Returns its bytes, or SIZE_MAX
 * when it has more than size; out then holds a part of it. */
size_t data_text_percent(const struct data_member *member, char *out, size_t size);

/* Percent-encodes: all but A-Z a-z 0-9 - . _ ~ becomes %XX (RFC 3986, 2.3), as quote(text, safe="")
 * of Python's urllib. out has room for three times as many. Returns the bytes written. */
size_t data_percent(char *out, const char *text, size_t bytes);

/* Most bytes that data_form may write. */
size_t data_form_room(const struct data *data);

/* Writes all members as application/x-www-form-urlencoded, in their order: names and texts with
 * %XX, a space as "+", as urlencode of Python's urllib. Returns the bytes written. */
size_t data_form(const struct data *data, char *out);

#endif
