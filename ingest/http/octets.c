#include "ingest/http/octets.h"

#define T OCTET_TOKEN
#define F OCTET_FIELD
#define G OCTET_TARGET
#define H OCTET_HOST

/* What is not listed is in no class: the control characters. */
const uint8_t octet_class[256] = {
        ['\t'] = F,
        [' '] = F,
        ['!'] = T | F | G | H,
        ['"'] = F | G,
        ['#'] = T | F,
        ['$'] = T | F | G | H,
        ['%'] = T | F | G | H,
        ['&'] = T | F | G | H,
        ['\''] = T | F | G | H,
        ['('] = F | G | H,
        [')'] = F | G | H,
        ['*'] = T | F | G | H,
        ['+'] = T | F | G | H,
        [','] = F | G | H,
        ['-'] = T | F | G | H,
        ['.'] = T | F | G | H,
        ['/'] = F | G,
        ['0' ... '9'] = T | F | G | H,
        [':'] = F | G,
        [';'] = F | G | H,
        ['<'] = F | G,
        ['='] = F | G | H,
        ['>'] = F | G,
        ['?'] = F | G,
        ['@'] = F | G,
        ['A' ... 'Z'] = T | F | G | H,
        ['['] = F | G,
        ['\\'] = F | G,
        [']'] = F | G,
        ['^'] = T | F | G,
        ['_'] = T | F | G | H,
        ['`'] = T | F | G,
        ['a' ... 'z'] = T | F | G | H,
        ['{'] = F | G,
        ['|'] = T | F | G,
        ['}'] = F | G,
        ['~'] = T | F | G | H,
        [0x80 ... 0xff] = F,
};
