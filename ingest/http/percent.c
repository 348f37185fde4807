#include "ingest/http/request.h"

/* The value of a hexadecimal digit, or -1. */
static inline int hex_value(char c)
{
	unsigned digit = (unsigned char)c - '0', letter = ((unsigned char)c & 0xdfu) - 'A';
	return digit <= 9 ? (int)digit : letter <= 5 ? (int)letter + 10 : -1;
}

long percent_decode(char *out, const char *text, size_t bytes)
{
	long length = 0;
	for (size_t i = 0; i < bytes; i++) {
		if (text[i] != '%') {
			out[length++] = text[i];
			continue;
		}
		if (bytes - i < 3)
			return -1;
		int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
		if (high < 0 || low < 0)
			return -1;
		out[length++] = (char)(high << 4 | low);
		i += 2;
	}
	return length;
}
