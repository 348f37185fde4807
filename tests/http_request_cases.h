/* Heads for http_request_test.c: what must be taken, with all that is read from it, and what must be refused. */
#ifndef TESTS_HTTP_REQUEST_CASES_H
#define TESTS_HTTP_REQUEST_CASES_H

#include "ingest/http/request.h"

/* Texts are NULL where the slice must be; the connection is kept, HTTP is 1.1 and there is no body where nothing else is said. */
struct taken {
	const char *head;
	const char *method, *path, *query, *host;
	enum request_method as;
	bool http_1_0, closes, expect_continue, chunked, do_not_track;
	uint8_t minor; /* 2 and more */
	enum request_coding coding;
	uint64_t content_length;
	const char *content_type, *user_agent, *authorization, *origin;
	const char *push_ip, *forwarded_for, *real_ip, *forwarded;
	const char *request_method, *request_headers;
};

/* The head ends where the wrong line ends at the latest, for by then it must be noticed. */
struct refused {
	const char *head;
	size_t bytes;
	unsigned status;
	const char *where;
};

// clang-format off

#define GET(text) .head = "GET " text, .method = "GET", .as = REQUEST_GET
#define POST(text) .head = "POST " text, .method = "POST", .as = REQUEST_POST
#define OPTIONS(text) .head = "OPTIONS " text, .method = "OPTIONS", .as = REQUEST_OPTIONS
#define OTHER(name, text) .head = name " " text, .method = name, .as = REQUEST_OTHER
/* GET / with these fields behind Host. */
#define FIELDS(text) GET("/ HTTP/1.1\r\nHost: a\r\n" text "\r\n"), .path = "/", .host = "a"
#define FIELDS_1_0(text) GET("/ HTTP/1.0\r\n" text "\r\n"), .path = "/", .http_1_0 = true

static const struct taken taken[] = {
	/* what wrk, curl and browsers send */
	{POST("/event HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: 62\r\n\r\n"),
	 .path = "/event", .host = "127.0.0.1:8080", .content_type = "application/json", .content_length = 62},
	{GET("/t/app_open?deviceid=abcdf&ts=123456 HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/7.88.1\r\n"
	     "Accept: */*\r\n\r\n"),
	 .path = "/t/app_open", .query = "deviceid=abcdf&ts=123456", .host = "localhost:8080", .user_agent = "curl/7.88.1"},
	{POST("/batch HTTP/1.1\r\nHost: c.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0\r\n"
	      "Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nContent-Type: text/plain;charset=UTF-8\r\n"
	      "Content-Length: 0\r\nOrigin: https://www.example.com\r\nDNT: 1\r\nConnection: keep-alive\r\nSec-Fetch-Mode: no-cors\r\n\r\n"),
	 .path = "/batch", .host = "c.example", .user_agent = "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0",
	 .content_type = "text/plain;charset=UTF-8", .origin = "https://www.example.com", .do_not_track = true},
	{OPTIONS("/batch HTTP/1.1\r\nHost: a\r\nOrigin: null\r\nAccess-Control-Request-Method: POST\r\n"
	         "Access-Control-Request-Headers: content-type,x-y\r\n\r\n"),
	 .path = "/batch", .host = "a", .origin = "null", .request_method = "POST", .request_headers = "content-type,x-y"},
	/* methods */
	{.head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", .method = "HEAD", .as = REQUEST_HEAD, .path = "/", .host = "a"},
	{OTHER("PUT", "/ HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/", .host = "a"},
	{OTHER("get", "/ HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/", .host = "a"},
	{OTHER("GETS", "/ HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/", .host = "a"},
	{OTHER("!#$%&'*+-.^_`|~09azAZ", "/ HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/", .host = "a"},
	/* versions */
	{FIELDS_1_0(""), .closes = true},
	{FIELDS_1_0("Host: a:1\r\n"), .host = "a:1", .closes = true},
	{GET("/ HTTP/1.2\r\nHost: a\r\n\r\n"), .path = "/", .host = "a", .minor = 2},
	{GET("/ HTTP/1.9\r\nHost: a\r\nConnection: close\r\n\r\n"), .path = "/", .host = "a", .minor = 9, .closes = true},
	/* empty lines in front */
	{.head = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .method = "GET", .as = REQUEST_GET, .path = "/", .host = "a"},
	{.head = "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .method = "GET", .as = REQUEST_GET, .path = "/", .host = "a"},
	/* targets */
	{GET("/a/b;c=1,2/%2F%zz/~x:@!$&'()*+=-._ HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/a/b;c=1,2/%2F%zz/~x:@!$&'()*+=-._", .host = "a"},
	{GET("/\"<>[]\\^`{|} HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/\"<>[]\\^`{|}", .host = "a"},
	{GET("/? HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/", .query = "", .host = "a"},
	{GET("/a??b?c=/d?? HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/a", .query = "?b?c=/d??", .host = "a"},
	{GET("/long/path/of/more/than/sixteen?and=a&query=that&is=longer&than={thirty-two} HTTP/1.1\r\nHost: a\r\n\r\n"),
	 .path = "/long/path/of/more/than/sixteen", .query = "and=a&query=that&is=longer&than={thirty-two}", .host = "a"},
	{GET("//a//b HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "//a//b", .host = "a"},
	{GET("http://b.example:81/x/y?z HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/x/y", .query = "z", .host = "b.example:81"},
	{GET("HTTPS://[2001:db8::1]:443/ HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/", .host = "[2001:db8::1]:443"},
	{GET("http://b HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/", .host = "b"},
	{GET("http://b?x=/y HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/", .query = "x=/y", .host = "b"},
	{GET("http://b:/x HTTP/1.0\r\n\r\n"), .path = "/x", .host = "b:", .http_1_0 = true, .closes = true},
	{OPTIONS("* HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "*", .host = "a"},
	{OPTIONS("http://b HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "*", .host = "b"},
	{OPTIONS("http://b? HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "/", .query = "", .host = "b"},
	{OTHER("CONNECT", "b.example:443 HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "", .host = "b.example:443"},
	{OTHER("CONNECT", "[::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n"), .path = "", .host = "[::1]:443"},
	/* Host */
	{GET("/ HTTP/1.1\r\nHost:\r\n\r\n"), .path = "/", .host = ""},
	{GET("/ HTTP/1.1\r\nHost: \t [::1] \t \r\n\r\n"), .path = "/", .host = "[::1]"},
	{GET("/ HTTP/1.1\r\nhOST:[v1.a:b]:80\r\n\r\n"), .path = "/", .host = "[v1.a:b]:80"},
	{GET("/ HTTP/1.1\r\nHost: a_b-c.%41~!$&'()*+,;=:\r\n\r\n"), .path = "/", .host = "a_b-c.%41~!$&'()*+,;=:"},
	/* fields */
	{FIELDS("x:\r\nY:1\r\n!#$%&'*+-.^_`|~: \t z\t \r\nLong-Name-Of-A-Field-That-No-Route-Wants: \x80\xff \"()<>@,;:\\/[]?={}#\t1\r\n")},
	{FIELDS("User-Agent:\r\nOrigin: \t\r\n"), .user_agent = "", .origin = ""},
	{FIELDS("USER-AGENT: A  b\r\nuser-agent: B\r\n"), .user_agent = "A  b"},
	{FIELDS("X-Push-IP: 10.0.0.1, x\r\nX-Forwarded-For: 10.0.0.2,10.0.0.3\r\nX-Forwarded-For: 10.0.0.4\r\nX-Real-IP: ::1\r\n"),
	 .push_ip = "10.0.0.1, x", .forwarded_for = "10.0.0.2,10.0.0.3", .real_ip = "::1"},
	{FIELDS("forwarded: for=a;by=b\r\nFORWARDED: for=c\r\n"), .forwarded = "for=a;by=b"},
	{FIELDS("Authorization: Bearer abc.def==\r\nAuthorization: Basic x\r\n"), .authorization = "Bearer abc.def=="},
	{FIELDS("Hos: 1\r\nHosts: 2\r\nHost-: 3\r\nContent-Lengt: 4\r\nContent-Length-: 5\r\nTransfer-Encodin: x\r\nC\x4fntent_Length: 9\r\n")},
	{FIELDS("User-Agent: an agent of more than sixteen bytes, of more than thirty-two, with a tab\t\x80 and \xc3\xa9 at the end \xff\r\n"),
	 .user_agent = "an agent of more than sixteen bytes, of more than thirty-two, with a tab\t\x80 and \xc3\xa9 at the end \xff"},
	{FIELDS("DNT: 0\r\nSec-GPC: 1\r\n"), .do_not_track = true},
	{FIELDS("DNT: 0\r\nSec-GPC: 11\r\nDNT:\r\n")},
	/* length and codings */
	{FIELDS("Content-Length: 0\r\n")},
	{FIELDS("content-length:\t007 \r\n"), .content_length = 7},
	{FIELDS("Content-Length: 9223372036854775807\r\n"), .content_length = INT64_MAX},
	{FIELDS("Content-Length: 000000000000000000000000000000000000000009223372036854775807\r\n"), .content_length = INT64_MAX},
	{FIELDS("Transfer-Encoding: chunked\r\n"), .chunked = true},
	{FIELDS("transfer-encoding:CHUNKED \r\n"), .chunked = true},
	{FIELDS("Content-Encoding: gzip\r\n"), .coding = REQUEST_GZIP},
	{FIELDS("Content-Encoding: X-GZip\r\n"), .coding = REQUEST_GZIP},
	{FIELDS("Content-Encoding: Deflate\r\n"), .coding = REQUEST_DEFLATE},
	{FIELDS("Content-Encoding: identity\r\n")},
	{FIELDS("Content-Encoding:\r\n")},
	{FIELDS("Content-Encoding: identity , ,gzip\r\nContent-Encoding: identity\r\n"), .coding = REQUEST_GZIP},
	{FIELDS("Content-Encoding: br\r\n"), .coding = REQUEST_CODING_OTHER},
	{FIELDS("Content-Encoding: gzip;q=1\r\n"), .coding = REQUEST_CODING_OTHER},
	{FIELDS("Content-Encoding: gzip,gzip\r\n"), .coding = REQUEST_CODING_OTHER},
	{FIELDS("Content-Encoding: gzip\r\nContent-Encoding: deflate\r\n"), .coding = REQUEST_CODING_OTHER},
	{FIELDS("Content-Encoding: br\r\nContent-Encoding: gzip\r\n"), .coding = REQUEST_CODING_OTHER},
	/* Connection */
	{FIELDS("Connection: close\r\n"), .closes = true},
	{FIELDS("Connection: Keep-Alive\r\n")},
	{FIELDS("Connection: x ,\tCLOSE , y\r\n"), .closes = true},
	{FIELDS("Connection: keep-alive, close\r\n"), .closes = true},
	{FIELDS("Connection: closed, close-\r\nConnection:\r\nConnection: ,,\r\n")},
	{FIELDS("Connection: upgrade\r\nConnection: close\r\nUpgrade: websocket\r\n"), .closes = true},
	{FIELDS("Proxy-Connection: close\r\nConnectio: close\r\n")},
	{FIELDS_1_0("Connection: keep-alive\r\n")},
	{FIELDS_1_0("Connection: x, KEEP-alive\t\r\n")},
	{FIELDS_1_0("Connection: keep-alive\r\nConnection: close\r\n"), .closes = true},
	{FIELDS_1_0("Connection: upgrade\r\n"), .closes = true},
	/* Expect */
	{FIELDS("Expect: 100-Continue\r\n"), .expect_continue = true},
	{FIELDS("Expect: 100-continue, 100-continue\r\n"), .expect_continue = true},
	{FIELDS("Expect:\r\n")},
	{FIELDS_1_0("Expect: 100-continue\r\n"), .closes = true},
	{FIELDS_1_0("Expect: something else\r\n"), .closes = true},
};

#define R(status, where, text) {text, sizeof text - 1, status, where}
#define LINE "request line"
#define NAME "field name"
#define VALUE "field value"
#define START "GET / HTTP/1.1\r\nHost: a\r\n"

static const struct refused refused[] = {
	/* the request line */
	R(400, LINE, "\r\n\r\n\r\n"), R(400, LINE, "\n"), R(400, LINE, "\r\r"), R(400, LINE, "\r\n\n"), R(400, LINE, " "),
	R(400, LINE, " GET / HTTP/1.1\r\n"), R(400, LINE, "\tGET"), R(400, LINE, "\0"), R(400, LINE, "G\0T"), R(400, LINE, "\x16\x03\x01"),
	R(400, LINE, "GE(T / HTTP/1.1\r\n"), R(400, LINE, "GET@ "), R(400, LINE, "GET\t/"), R(400, LINE, "GET\r\n"), R(400, LINE, "GET\n"),
	R(400, LINE, "G\xc3\x89T "), R(400, LINE, "GET: / HTTP/1.1\r\n"),
	R(400, LINE, "GET  / HTTP/1.1\r\n"), R(400, LINE, "GET /  HTTP/1.1\r\n"), R(400, LINE, "GET / HTTP/1.1 \r\n"),
	R(400, LINE, "GET /\tHTTP/1.1\r\n"), R(400, LINE, "GET / \tHTTP/1.1\r\n"), R(400, LINE, "GET / /x HTTP/1.1\r\n"),
	R(400, LINE, "GET /\r\n"), R(400, LINE, "GET / \r\n"), R(400, LINE, "GET /\n"), R(400, LINE, "GET \r\n"),
	R(400, LINE, "GET / HTTP/1.1\n"), R(400, LINE, "GET / HTTP/1.1\r "), R(400, LINE, "GET / HTTP/1.1\rH"), R(400, LINE, "GET / HTTP/1.1\r\r\n"),
	R(400, LINE, "GET / http/1.1\r\n"), R(400, LINE, "GET / HTTp/1.1\r\n"), R(400, LINE, "GET / HTTP 1.1\r\n"), R(400, LINE, "GET / HTTP/11\r\n"),
	R(400, LINE, "GET / HTTP/1\r\n"), R(400, LINE, "GET / HTTP/1.\r\n"), R(400, LINE, "GET / HTTP/.1\r\n"), R(400, LINE, "GET / HTTP/1.11\r\n"),
	R(400, LINE, "GET / HTTP/01.1\r\n"), R(400, LINE, "GET / HTTP/1,1\r\n"), R(400, LINE, "GET / HTTP/x.1\r\n"), R(400, LINE, "GET / HTTP/1.x\r\n"),
	R(400, LINE, "GET / HTTP/2\r\n"), R(400, LINE, "GET / XTTP/1.1\r\n"), R(400, LINE, "GET / ICY/1.1\r\n"),
	R(505, LINE, "GET / HTTP/2.0\r\n"), R(505, LINE, "GET / HTTP/0.9\r\n"), R(505, LINE, "GET / HTTP/3.1\r\n"), R(505, LINE, "PRI * HTTP/2.0\r\n"),
	/* targets */
	R(400, LINE, "GET /a#b HTTP/1.1\r\n"), R(400, LINE, "GET /?a#b HTTP/1.1\r\n"), R(400, LINE, "GET # HTTP/1.1\r\n"),
	R(400, LINE, "GET /a\0b HTTP/1.1\r\n"), R(400, LINE, "GET /a\x7f" "b HTTP/1.1\r\n"), R(400, LINE, "GET /a\x01 HTTP/1.1\r\n"),
	R(400, LINE, "GET /\xc3\xa9 HTTP/1.1\r\n"), R(400, LINE, "GET /?\xff HTTP/1.1\r\n"), R(400, LINE, "GET /a\rb HTTP/1.1\r\n"),
	R(400, LINE, "GET a HTTP/1.1\r\n"), R(400, LINE, "GET ?a HTTP/1.1\r\n"), R(400, LINE, "GET a.example:80 HTTP/1.1\r\n"),
	R(400, LINE, "GET * HTTP/1.1\r\n"), R(400, LINE, "OPTIONS ** HTTP/1.1\r\n"), R(400, LINE, "OPTIONS *?a HTTP/1.1\r\n"), R(400, LINE, "POST *a HTTP/1.1\r\n"),
	R(400, LINE, "GET ftp://a/ HTTP/1.1\r\n"), R(400, LINE, "GET http:/a HTTP/1.1\r\n"), R(400, LINE, "GET http:a HTTP/1.1\r\n"),
	R(400, LINE, "GET http HTTP/1.1\r\n"), R(400, LINE, "GET http: HTTP/1.1\r\n"), R(400, LINE, "GET http:// HTTP/1.1\r\n"),
	R(400, LINE, "GET http:///a HTTP/1.1\r\n"), R(400, LINE, "GET http://:80/ HTTP/1.1\r\n"), R(400, LINE, "GET http://?a HTTP/1.1\r\n"),
	R(400, LINE, "GET httpss://a/ HTTP/1.1\r\n"), R(400, LINE, "GET http://u@a/ HTTP/1.1\r\n"), R(400, LINE, "GET http://u:p@a/ HTTP/1.1\r\n"),
	R(400, LINE, "GET http://a:x/ HTTP/1.1\r\n"), R(400, LINE, "GET http://[::1/ HTTP/1.1\r\n"), R(400, LINE, "GET http://a\\b/ HTTP/1.1\r\n"),
	R(400, LINE, "CONNECT / HTTP/1.1\r\n"), R(400, LINE, "CONNECT a HTTP/1.1\r\n"), R(400, LINE, "CONNECT a: HTTP/1.1\r\n"),
	R(400, LINE, "CONNECT :80 HTTP/1.1\r\n"), R(400, LINE, "CONNECT [::1] HTTP/1.1\r\n"), R(400, LINE, "CONNECT http://a:80/ HTTP/1.1\r\n"),
	R(400, LINE, "CONNECT a:80?x HTTP/1.1\r\n"), R(400, LINE, "CONNECT ?x HTTP/1.1\r\n"), R(400, LINE, "CONNECT a:8x HTTP/1.1\r\n"),
	/* names */
	R(400, NAME, "GET / HTTP/1.1\r\n Host: a\r\n"), R(400, NAME, "GET / HTTP/1.1\r\n\tHost: a\r\n"), R(400, NAME, "GET / HTTP/1.1\r\n\n"),
	R(400, NAME, "GET / HTTP/1.1\r\n\rHost"), R(400, NAME, "GET / HTTP/1.1\r\nHost : a\r\n"), R(400, NAME, START "X\t: y\r\n"),
	R(400, NAME, START "Content-Length : 5\r\n"), R(400, NAME, START "Transfer-Encoding : chunked\r\n"),
	R(400, NAME, START ": x\r\n"), R(400, NAME, START "X\r\n"), R(400, NAME, START "X\n"), R(400, NAME, START "X y: z\r\n"),
	R(400, NAME, START "\n"), R(400, NAME, START "X(: y\r\n"), R(400, NAME, START "X\0: y\r\n"), R(400, NAME, START "X\x7f: y\r\n"),
	R(400, NAME, START "\xc3\xa9: y\r\n"), R(400, NAME, START "X/Y: z\r\n"), R(400, NAME, START "\"X\": z\r\n"), R(400, NAME, START "\r\r\n"),
	R(400, NAME, START "User\rAgent: z\r\n"), R(400, NAME, START "Content\rLength: 5\r\n"), R(400, NAME, START "C@ntent-Length: 5\r\n"),
	R(400, NAME, START "\0Host: b\r\n"), R(400, NAME, START "\r\0"), R(400, NAME, START "Some-Name-Of-Sixteen-Bytes-Or-Mor\x80: z\r\n"),
	/* folded lines */
	R(400, NAME, START "X: y\r\n z\r\n"), R(400, NAME, START "X: y\r\n\tz\r\n"), R(400, NAME, START "X:\r\n y\r\n"), R(400, NAME, START " \r\n"),
	R(400, NAME, START "Connection:\r\n close\r\n"),
	/* values */
	R(400, VALUE, START "X: y\n"), R(400, VALUE, START "X: y\n\r\n"), R(400, VALUE, START "X: y\rz\r\n"), R(400, VALUE, START "X: y\r\r\n"),
	R(400, VALUE, START "X: \r\r\n"), R(400, VALUE, START "X: a\0b\r\n"), R(400, VALUE, START "X:\0\r\n"), R(400, VALUE, START "X: \x7f\r\n"),
	R(400, VALUE, START "X: \x1b[0m\r\n"), R(400, VALUE, START "X: \x0b\r\n"), R(400, VALUE, START "X: more than sixteen bytes\x08\r\n"),
	R(400, VALUE, START "X:\n"), R(400, VALUE, START "Transfer-Encoding: chunked\n"), R(400, VALUE, START "Transfer-Encoding: \x0b" "chunked\r\n"),
	/* Host */
	R(400, "Host", "GET / HTTP/1.1\r\n\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nX: y\r\n\r\n"), R(400, "Host", "GET http://a/ HTTP/1.1\r\n\r\n"),
	R(400, "Host", START "Host: a\r\n"), R(400, "Host", START "host: b\r\n"), R(400, "Host", "GET / HTTP/1.0\r\nHost:\r\nHost:\r\n"),
	R(400, "Host", "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n"), R(400, "Host", "GET http://a/ HTTP/1.1\r\nHost: a/b\r\n"),
	R(400, "Host", "GET / HTTP/1.1\r\nHost: a b\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: a, b\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: u@a\r\n"),
	R(400, "Host", "GET / HTTP/1.1\r\nHost: a/\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: a?b\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: a:b\r\n"),
	R(400, "Host", "GET / HTTP/1.1\r\nHost: a:8 0\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: a:80:80\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: ::1\r\n"),
	R(400, "Host", "GET / HTTP/1.1\r\nHost: [::1\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: []\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: [\r\n"),
	R(400, "Host", "GET / HTTP/1.1\r\nHost: [::1]a\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n"),
	R(400, "Host", "GET / HTTP/1.1\r\nHost: a%\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: a%4\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: a%4g\r\n"),
	R(400, "Host", "GET / HTTP/1.1\r\nHost: \xc3\xa9.example\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: a\"b\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: a\\b\r\n"),
	R(400, "Host", "GET / HTTP/1.1\r\nHost: <a>\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: http://a\r\n"), R(400, "Host", "GET / HTTP/1.1\r\nHost: a\tb\r\n"),
	/* Content-Length */
	R(400, "Content-Length", START "Content-Length:\r\n"), R(400, "Content-Length", START "Content-Length: \t \r\n"),
	R(400, "Content-Length", START "Content-Length: 5\r\nContent-Length: 5\r\n"), R(400, "Content-Length", START "Content-Length: 5\r\ncontent-length: 6\r\n"),
	R(400, "Content-Length", START "Content-Length: 0\r\nContent-Length: 0\r\n"),
	R(400, "Content-Length", START "Content-Length: 5, 5\r\n"), R(400, "Content-Length", START "Content-Length: 5,5\r\n"), R(400, "Content-Length", START "Content-Length: 5,\r\n"),
	R(400, "Content-Length", START "Content-Length: +5\r\n"), R(400, "Content-Length", START "Content-Length: -5\r\n"), R(400, "Content-Length", START "Content-Length: -0\r\n"),
	R(400, "Content-Length", START "Content-Length:  5x\r\n"), R(400, "Content-Length", START "Content-Length: 5 x\r\n"), R(400, "Content-Length", START "Content-Length: 5 5\r\n"),
	R(400, "Content-Length", START "Content-Length: 0x5\r\n"), R(400, "Content-Length", START "Content-Length: 5.0\r\n"), R(400, "Content-Length", START "Content-Length: 5e1\r\n"),
	R(400, "Content-Length", START "Content-Length: 1_000\r\n"), R(400, "Content-Length", START "Content-Length: \"5\"\r\n"), R(400, "Content-Length", START "Content-Length: five\r\n"),
	R(400, "Content-Length", START "Content-Length: \xef\xbc\x95\r\n"), R(400, "Content-Length", START "Content-Length: 5;\r\n"),
	R(400, "Content-Length", START "Content-Length: 9223372036854775808\r\n"), R(400, "Content-Length", START "Content-Length: 18446744073709551615\r\n"),
	R(400, "Content-Length", START "Content-Length: 18446744073709551616\r\n"), R(400, "Content-Length", START "Content-Length: 18446744073709551621\r\n"),
	R(400, "Content-Length", START "Content-Length: 99999999999999999999999999\r\n"), R(400, "Content-Length", START "Content-Length: 92233720368547758070\r\n"),
	R(400, "Content-Length", "GET / HTTP/1.0\r\nContent-Length: 1\r\nContent-Length: 1\r\n"),
	/* Transfer-Encoding */
	R(400, "Transfer-Encoding", START "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), R(400, "Content-Length", START "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
	R(400, "Transfer-Encoding", START "Content-Length: 0\r\nTransfer-Encoding: identity\r\n"), R(400, "Content-Length", START "Transfer-Encoding: x\r\nContent-Length: 5\r\n"),
	R(400, "Transfer-Encoding", "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"),
	R(400, "Transfer-Encoding", START "Transfer-Encoding: chunked, chunked\r\n"), R(400, "Transfer-Encoding", START "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
	R(400, "Transfer-Encoding", START "Transfer-Encoding: chunked, gzip\r\n"), R(400, "Transfer-Encoding", START "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n"),
	R(400, "Transfer-Encoding", START "Transfer-Encoding: chunked, identity\r\n"), R(400, "Transfer-Encoding", START "Transfer-Encoding: chunked,\r\n"),
	R(400, "Transfer-Encoding", START "Transfer-Encoding: ,chunked\r\n"), R(400, "Transfer-Encoding", START "Transfer-Encoding:\r\n"),
	R(400, "Transfer-Encoding", START "Transfer-Encoding: chunked;q=1\r\n"), R(400, "Transfer-Encoding", START "Transfer-Encoding: chunked x\r\n"),
	R(400, "Transfer-Encoding", START "Transfer-Encoding: \"chunked\"\r\n"), R(400, "Transfer-Encoding", START "Transfer-Encoding: chunked\"\r\n"),
	R(400, "Transfer-Encoding", START "Transfer-Encoding: chun\x80ked\r\n"), R(400, "Transfer-Encoding", START "Transfer-Encoding: 'chunked', gzip/x\r\n"),
	R(400, "Transfer-Encoding", START "Transfer-Encoding: gzip\r\n\r\n"), R(400, "Transfer-Encoding", START "Transfer-Encoding: identity\r\n\r\n"),
	R(400, "Transfer-Encoding", START "Transfer-Encoding: xchunked\r\n\r\n"), R(400, "Transfer-Encoding", START "Transfer-Encoding: chunkedx\r\n\r\n"),
	R(501, "Transfer-Encoding", START "Transfer-Encoding: gzip, chunked\r\n\r\n"), R(501, "Transfer-Encoding", START "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"),
	R(501, "Transfer-Encoding", START "Transfer-Encoding: identity, chunked\r\n\r\n"), R(501, "Transfer-Encoding", START "Transfer-Encoding: x;q=\"a\" , Chunked\r\n\r\n"),
	/* Expect */
	R(417, "Expect", START "Expect: 100-continued\r\n"), R(417, "Expect", START "Expect: 200-ok\r\n"), R(417, "Expect", START "Expect: 100-continue, x\r\n"),
	R(417, "Expect", START "Expect: 100-continue x\r\n"), R(417, "Expect", START "Expect: 100-continue;q=1\r\n"),
};

// clang-format on

#undef NAME
#undef VALUE
#undef LINE

#endif
