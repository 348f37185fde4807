/* What the reader of S3's answers takes, and what it refuses. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sink/objects/xml.h"

struct seen {
	char text[2048];
};

static void note(void *argument, const char *path, const char *text)
{
	struct seen *seen = argument;
	size_t n = strlen(seen->text);
	snprintf(seen->text + n, sizeof seen->text - n, "%s=%s|", path, text != NULL ? text : "*");
}

/* From memory that ends where the text does, so that reading on is found by the sanitizer. */
static int read_exactly(const char *text, size_t bytes, struct seen *seen)
{
	char *copy = malloc(bytes > 0 ? bytes : 1);
	memcpy(copy, text, bytes);
	seen->text[0] = '\0';
	int result = xml_read(copy, bytes, note, seen);
	free(copy);
	return result;
}

static void assert_reads(const char *text, const char *expected)
{
	struct seen seen;
	assert_int_equal(read_exactly(text, strlen(text), &seen), 0);
	assert_string_equal(seen.text, expected);
}

static void assert_refused(const char *text)
{
	struct seen seen;
	if (read_exactly(text, strlen(text), &seen) != -EINVAL)
		fail_msg("taken: %s", text);
}

static void reads_elements_with_their_path_and_text(void **state)
{
	(void)state;
	assert_reads(
	        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<A xmlns=\"http://s3/doc/\" b = 'c>d'>\n <B>1</B>\n <C><D>x y</D><E/></C></A >\n",
	        "A/B=1|A/C/D=x y|A/C/E=|A/C=*|A=*|");
	assert_reads("  \n <A> </A>", "A= |");
	assert_reads("\xef\xbb\xbf<A></A>", "A=|");
	assert_reads("<?xml version='1.0'?>\n \n \n<!-- a --><A><!-- < --><B>1<!---->2</B></A><!-- z -->",
	             "A/B=12|A=*|");
	assert_reads("<A/>", "A=|");
}

static void resolves_the_five_entities_and_numbers(void **state)
{
	(void)state;
	assert_reads("<A>&lt;&gt;&amp;&quot;&apos;&#65;&#x41;&#xe4;&#8364;&#x1F600;</A>",
	             "A=<>&\"'AA\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80|");
	assert_refused("<A>&copy;</A>");
	assert_refused("<A>&amp</A>");
	assert_refused("<A>&#0;</A>");
	assert_refused("<A>&#xd800;</A>");
	assert_refused("<A>&#x110000;</A>");
	assert_refused("<A>&#;</A>");
	assert_refused("<A>&#xg;</A>");
	assert_refused("<A>&#a;</A>");
	assert_refused("<A>&#000000065;</A>");
	assert_refused("<A>&</A>");
}

static void refuses_what_is_not_such_a_document(void **state)
{
	(void)state;
	static const char *const bad[] = {
	        "",
	        " ",
	        "text",
	        "<",
	        "<A",
	        "<A>",
	        "<A></B>",
	        "<A></A",
	        "<A></AB>",
	        "<AB></A>",
	        "<A></A><B></B>",
	        "<A></A>x",
	        "x<A></A>",
	        "<A>x<B></B></A>",
	        "<A><B></B>x</A>",
	        "</A>",
	        "<A><![CDATA[x]]></A>",
	        "<!DOCTYPE A [<!ENTITY a \"aaaa\">]><A>&a;</A>",
	        "<A><?php x?></A>",
	        "<?xml version='1.0'",
	        "<A b></A>",
	        "<A b=c></A>",
	        "<A b='c></A>",
	        "<A b='<'></A>",
	        "<A b='1'c='2'></A>",
	        "<A><!-- </A>",
	        "<?xml version='1.0'?><?xml version='1.0'?><A/>",
	        "<a><b><c><d><e><f><g><h><i></i></h></g></f></e></d></c></b></a>",
	        "<html><body>502 Bad Gateway</body>",
	        "{\"a\": 1}",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_refused(bad[i]);
	struct seen seen;
	assert_int_equal(read_exactly("<A>\0</A>", 8, &seen), -EINVAL);
	assert_int_equal(read_exactly("<A b='\0'/>", 10, &seen), -EINVAL);
	assert_refused("<aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg/>");
	assert_reads(
	        "<a><b><c><d><e><f><g><h/></g></f></e></d></c></b></a>",
	        "a/b/c/d/e/f/g/h=|a/b/c/d/e/f/g=*|a/b/c/d/e/f=*|a/b/c/d/e=*|a/b/c/d=*|a/b/c=*|a/b=*|a=*|");
}

static void every_cut_of_an_answer_is_refused(void **state)
{
	(void)state;
	static const char whole[] =
	        "<?xml version=\"1.0\"?>\n<Error a='b'><Code>NoSuchUpload</Code><!-- c --><Message>a &amp; &#10;</Message><X/></Error>";
	struct seen seen;
	for (size_t cut = 0; cut < sizeof whole - 1; cut++)
		assert_int_equal(read_exactly(whole, cut, &seen), -EINVAL);
	assert_int_equal(read_exactly(whole, sizeof whole - 1, &seen), 0);
}

static void tells_the_error_of_an_answer(void **state)
{
	(void)state;
	struct xml_error error;
	static const char redirect[] =
	        "<Error><Code>PermanentRedirect</Code><Message>use\nthe endpoint</Message><Endpoint>b.s3-eu.amazonaws.com</Endpoint><Region>eu-west-1</Region></Error>";
	assert_int_equal(xml_error(&error, redirect, strlen(redirect)), 0);
	assert_string_equal(error.root, "Error");
	assert_string_equal(error.code, "PermanentRedirect");
	assert_string_equal(error.message, "use the endpoint");
	assert_string_equal(error.endpoint, "b.s3-eu.amazonaws.com");
	assert_string_equal(error.region, "eu-west-1");
	static const char sts[] =
	        "<ErrorResponse xmlns='x'><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>m</Message></Error><RequestId>1</RequestId></ErrorResponse>";
	assert_int_equal(xml_error(&error, sts, strlen(sts)), 0);
	assert_string_equal(error.root, "ErrorResponse");
	assert_string_equal(error.code, "ExpiredToken");
	static const char good[] =
	        "<CompleteMultipartUploadResult><ETag>&quot;x&quot;</ETag></CompleteMultipartUploadResult>";
	assert_int_equal(xml_error(&error, good, strlen(good)), 0);
	assert_string_equal(error.root, "CompleteMultipartUploadResult");
	assert_string_equal(error.code, "");
	assert_int_equal(xml_error(&error, "<Error><Code>A</Code>", 21), -EINVAL);
	assert_string_equal(error.code, "");
}

static void a_long_message_is_cut(void **state)
{
	(void)state;
	char text[1024];
	struct xml_error error;
	int length = snprintf(text, sizeof text, "<Error><Message>%0900d</Message></Error>", 7);
	assert_int_equal(xml_error(&error, text, (size_t)length), 0);
	assert_int_equal(strlen(error.message), sizeof error.message - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(reads_elements_with_their_path_and_text),
	        cmocka_unit_test(resolves_the_five_entities_and_numbers),
	        cmocka_unit_test(refuses_what_is_not_such_a_document),
	        cmocka_unit_test(every_cut_of_an_answer_is_refused),
	        cmocka_unit_test(tells_the_error_of_an_answer),
	        cmocka_unit_test(a_long_message_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
