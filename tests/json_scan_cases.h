/* Texts for json_scan_test.c, by what the scanner says of them. */
#ifndef TESTS_JSON_SCAN_CASES_H
#define TESTS_JSON_SCAN_CASES_H

#include <stddef.h>

/* A text that may hold zero bytes, from a literal. */
struct text {
	const char *data;
	size_t bytes;
};
#define T(literal) {literal, sizeof literal - 1}

// clang-format off

static const struct text valid[] = {
	T("{}"), T("[]"), T("[[]]"), T("[[] ]"), T("[\"\"]"), T("[null, 1, \"1\", {}]"), T("[1,null,null,null,2]"),
	T(" [1] "), T("[1]\n"), T("\t\r\n [\t\r\n 1\t\r\n ,\t\r\n 2\t\r\n ]\t\r\n "), T("{\"a\":1}"),
	T("{\"a\":{\"b\":{\"c\":[]}}}"), T("{\"a\" : \"b\" , \"c\" : \"d\"}"), T("{\"a\":\"b\",\"a\":\"c\"}"),
	T("{\"\":0}"), T("{\"foo\\u0000bar\":42}"), T("{\"a\":[]}"), T("{\n\"a\": \"b\"\n}"),
	/* values alone */
	T("0"), T("-0"), T("42"), T("-1"), T("true"), T("false"), T("null"), T("\"\""), T("\"a\""), T("-0.1"),
	T(" 7 "),
	/* numbers */
	T("[123e65]"), T("[0e+1]"), T("[0e1]"), T("[20e1]"), T("[1E22]"), T("[1E-2]"), T("[1E+2]"), T("[123.456e78]"),
	T("[-123]"), T("[-0.0]"), T("[0.0000001]"), T("[1.5e00]"),
	T("[-0.000000000000000000000000000000000000000000000000000000000000000000000001]"),
	T("[9223372036854775807]"), T("[-9223372036854775808]"), T("[9223372036854775808]"),
	T("[123456789012345678901234567890]"), T("[1e400]"), T("[-1e400]"), T("[1e-400]"),
	T("[1e999999999999999999999]"), T("[0.4e00669999999999999999999999999999999999999999999999999999]"),
	/* strings */
	T("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"), T("[\"\\u0041\"]"), T("[\"\\u0000\"]"), T("[\"\\u00e9\\u00E9\"]"),
	T("[\"\\u20ac\"]"), T("[\"\\ud83d\\ude00\"]"), T("[\"\\uD800\\uDC00\"]"), T("[\"\\uDBFF\\uDFFF\"]"),
	T("[\"\\uFFFF\"]"), T("[\"\\ud7ff\\ue000\"]"), T("[\"\\\\u0000\"]"), T("[\"\x7f\"]"), T("[\"\xc2\x80\"]"),
	T("[\"\xdf\xbf\"]"), T("[\"\xe0\xa0\x80\"]"), T("[\"\xed\x9f\xbf\"]"), T("[\"\xee\x80\x80\"]"),
	T("[\"\xef\xbf\xbf\"]"), T("[\"\xf0\x90\x80\x80\"]"), T("[\"\xf4\x8f\xbf\xbf\"]"),
	T("[\"\xe2\x82\xac\xf0\x9f\x98\x80 aa \xc3\xa9\"]"), T("[\"\xef\xbb\xbf\"]"), T("[\"a/*b*/c\"]"),
	T("\xef\xbb\xbf{}"), T("\xef\xbb\xbf \n[\"\xef\xbb\xbf\",7]"), T("\xef\xbb\xbf\"0123456789abcdefghi\""),
	T("[\"0123456789abcdef\"]"), T("[\"0123456789abcdefghijklmnopqrstuvwxyz\\n0123456789abcdefg\xc3\xa9\"]"),
};

static const struct text wrong[] = {
	/* structure */
	T("]"), T("}"), T(","), T(":"), T("[,]"), T("[1,]"), T("[,1]"), T("[1,,2]"), T("[1 2]"), T("[1:2]"),
	T("[1;2]"), T("[}"), T("{]"), T("[1}"), T("{\"a\":1]"), T("{,}"), T("{\"a\"}"), T("{\"a\",\"b\"}"),
	T("{\"a\":}"), T("{\"a\":1,}"), T("{\"a\":1,,\"b\":2}"), T("{\"a\"::1}"), T("{\"a\" 1}"), T("{:1}"),
	T("{a:1}"), T("{'a':1}"), T("{1:1}"), T("{null:1}"), T("{[]:1}"), T("{\"a\":1 \"b\":2}"),
	T("{\"a\":\"b\":\"c\"}"), T("{\"a\":/**/1}"),
	/* something behind */
	T("{}}"), T("[]]"), T("{}{}"), T("[1]x"), T("1 2"), T("1,"), T("\"a\"\"b\""), T("true false"),
	T("{\"a\":1}#"), T("[1]//"), T("[]\0"), T("{}\0\0"),
	/* words */
	T("nul1"), T("truE"), T("True"), T("TRUE"), T("falsy"), T("nan"), T("NaN"), T("Infinity"), T("-Infinity"),
	T("undefined"), T("truex"), T("[truefalse]"),
	/* numbers */
	T("01"), T("-01"), T("00"), T("012"), T("+1"), T(".5"), T("-.5"), T("1.e1"), T("1.]"), T("[1.]"), T("[1e]"),
	T("[1e+]"), T("[1e1.5]"), T("[1ee2]"), T("[0x1]"), T("[1_000]"), T("[-]"), T("[--1]"), T("[- 1]"), T("[1+2]"),
	T("[1.2.3]"), T("[-a]"), T("[1a]"), T("[0e]"), T("[\xef\xbc\x91]"), T("[1e\xe5]"),
	/* strings and escapes */
	T("'a'"), T("a"), T("[\"\\x00\"]"), T("[\"\\a\"]"), T("[\"\\v\"]"), T("[\"\\0\"]"), T("[\"\\U0041\"]"),
	T("[\"\\u00g0\"]"), T("[\"\\u 041\"]"), T("[\"\\u004\"]"), T("[\"\\u\"]"), T("[\"\\'\"]"), T("[\"\\\n\"]"),
	T("[\"\n\"]"), T("[\"\t\"]"), T("[\"\x1f\"]"), T("[\"a\0b\"]"), T("[\"\0\"]"), T("[\\n]"),
	T("[\"\\ud83d\\u12\"]"),
	/* outside strings */
	T("\0"), T("[\0]"), T("[1\0]"), T("\f[]"), T("[\v1]"), T("\xc2\xa0[]"), T("\xe2\x81\xa0"), T("[\xc3\xa9]"),
	T("\xef\xbb{}"), T("\xef{}"), T("\xef\xbb\xbe{}"), T("\xef\xbb\xbf\xef\xbb\xbf{}"), T(" \xef\xbb\xbf{}"),
	T("{}\xef\xbb\xbf"), T("[\xef\xbb\xbf]"), T("{\xef\xbb\xbf\"a\":1}"), T("\xef\xbb\xbf\xff"), T("\xfe\xff"), T("\xff\xfe[\0]\0"), T("<html>"), T("# 1"), T("*"), T("@"),
	T("[\x7f]"), T("\xff"),
};

static const struct text not_utf8[] = {
	/* stray, short, overlong, surrogates, over U+10FFFF, lead bytes that are none */
	T("\"\x80\""), T("\"\xbf\""), T("\"a\xc3\""), T("\"\xc3(\""), T("\"\xe2\x82\""), T("\"\xe2(\xac\""),
	T("\"\xe2\x82(\""), T("\"\xf0\x9f\x98\""), T("\"\xf0(\x8c\xbc\""), T("\"\xf0\x90(\xbc\""),
	T("\"\xf0\x90\x8c(\""), T("\"\xc0\xaf\""), T("\"\xc1\xbf\""), T("\"\xe0\x80\xaf\""), T("\"\xe0\x9f\xbf\""),
	T("\"\xf0\x80\x80\xaf\""), T("\"\xf0\x8f\xbf\xbf\""), T("\"\xc0\x80\""), T("\"\xed\xa0\x80\""),
	T("\"\xed\xbf\xbf\""), T("\"\xed\xa0\xbd\xed\xb8\x80\""), T("\"\xf4\x90\x80\x80\""),
	T("\"\xf5\x80\x80\x80\""), T("\"\xf8\x88\x80\x80\x80\""), T("\"\xfc\x84\x80\x80\x80\x80\""), T("\"\xfe\""),
	T("\"\xff\""), T("\"\xe9\""), T("[\"0123456789abcdef\xc3\"]"), T("{\"\xff\":1}"), T("\"\xc3\xa9\xa9\""),
	T("\"\xc3\\n\""),
};

static const struct text half_pairs[] = {
	T("\"\\udc00\\udc00\""), T("\"\\ud800\\ue000\""), T("\"\\ud800\""), T("\"\\udc00\""), T("\"\\udfff\""),
	T("\"\\ud800\\ud800\""), T("\"\\ud800\\n\""),
	T("\"\\ud800abc\""), T("\"\\udc00\\ud800\""), T("\"\\ud800\\u0041\""), T("\"\\ud83d\\ude00\\ud83d\""),
	T("{\"\\uDBFF\":1}"), T("\"\\ud800\\\\udc00\""),
};

static const struct text truncated[] = {
	T(""), T(" "), T("\n\n"), T("["), T("[1"), T("[1,"), T("[ "), T("{"), T("{\"a"), T("{\"a\""), T("{\"a\":"),
	T("{\"a\":1"), T("{\"a\":1,"), T("\""), T("\"a"), T("\"\\"), T("\"\\u"), T("\"\\u12"), T("\"\\ud83d"),
	T("\"\\ud83d\\"), T("\"\\ud83d\\u"), T("\"\\ud83d\\ude0"), T("-"), T("1."), T("1e"), T("1e+"), T("t"),
	T("tru"), T("fals"), T("n"), T("\"\xc3"), T("\"\xe2\x82"), T("\"\xf0\x9f\x98"), T("[\"0123456789abcdef"),
	T("[[[[[["), T("{\"a\":[{"),
};

// clang-format on

#endif
