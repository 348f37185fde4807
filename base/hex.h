/* Hexadecimal digits. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

/* The value of a digit of either case, or -1. */
static inline int hex_value(char c)
{
	unsigned digit = (unsigned char)c - '0', letter = ((unsigned char)c & 0xdfu) - 'A';
	return digit <= 9 ? (int)digit : letter <= 5 ? (int)letter + 10 : -1;
}

/* The digit of the low four bits. */
static inline char hex_lower(unsigned value)
{
	return "0123456789abcdef"[value & 15];
}

static inline char hex_upper(unsigned value)
{
	return "0123456789ABCDEF"[value & 15];
}

#endif
