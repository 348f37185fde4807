"""A small HTTP/1.1 server for tests of clients: strict like ingest-http, slow like Python, and as wicked as a test wants.

    with Server() as server:
        millrace("send", "http", server.address, ...)
    server.requests     [(method, target, headers, body), ...] in the order of their arrival
    server.numbers()    the unique numbers of the events in those that were answered 2xx
"""
import json
import socket
import threading
import urllib.parse

PATHS = {"/event", "/log", "/batch", "/ingest"}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


class Refused(Exception):
    """A request that is answered 4xx; with fatal nothing after it can be understood."""

    def __init__(self, status, fatal=False):
        super().__init__(status)
        self.status = status
        self.fatal = fatal


class Broken(Exception):
    """A handler raises it to break the connection without an answer."""


def refuse_unless(condition, status=400, fatal=False):
    if not condition:
        raise Refused(status, fatal)


def parse_head(head):
    """Method, target, headers, length of the body. What smuggles requests is refused."""
    refuse_unless(b"\n" not in head.replace(b"\r\n", b""), fatal=True)
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        refuse_unless(colon and name and not set(name) & set(" \t"), fatal=True)
        refuse_unless(name.lower() not in headers or name.lower() not in ("host", "content-length"), fatal=True)
        headers[name.lower()] = value.strip()
    refuse_unless(version == "HTTP/1.1" and "host" in headers, fatal=True)
    refuse_unless("transfer-encoding" not in headers, fatal=True)
    length = headers.get("content-length", "0")
    refuse_unless(length.isdigit(), fatal=True)
    return method, target, headers, int(length)


def is_number(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_text(value):
    return isinstance(value, str) and value != ""


def load(body):
    try:
        return json.loads(body.decode("utf-8"))
    except ValueError:
        raise Refused(400) from None


def numbers_of(method, target, body):
    """The numbers of the events in a request; Refused when it is not valid."""
    path, _, query = target.partition("?")
    path = path[path.index("/", 1) :] if path.startswith("/behind/") else path
    refuse_unless(method == ("POST" if path in PATHS else "GET"), 405)
    if path == "/event":
        event = load(body)
        refuse_unless(is_text(event.get("username")) and is_text(event.get("metric")) and is_number(event.get("count")))
        return [event["count"]]
    if path == "/log":
        event = load(body)
        refuse_unless(is_text(event.get("text")))
        refuse_unless(all(is_number(event.get(key)) and event[key] > 0 for key in ("content_id", "client_id", "timestamp")))
        return [event["content_id"]]
    if path == "/batch":
        events = load(body) if body[:1] == b"[" else [load(line) for line in body.split(b"\n") if line]
        refuse_unless(all(is_text(event.get("type")) and isinstance(event.get("params"), dict) for event in events))
        return [event["params"]["n"] for event in events]
    if path == "/ingest":
        posted = load(body)
        refuse_unless(posted["endpoint"]["method"] in ("GET", "POST", "PUT", "PATCH", "DELETE") and is_text(posted["endpoint"]["url"]))
        refuse_unless(isinstance(posted.get("data"), list) and posted["data"])
        return [int(element["n"]) for element in posted["data"]]
    refuse_unless(path.startswith("/t/"), 404)
    return [int(urllib.parse.parse_qs(query)["n"][0])]


def answer(status, body=b"", *fields):
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Server:
    """Takes connections in a thread, each in one of its own. handler(server, method, target, headers, body) returns the bytes of
    the answer, or raises Refused or Broken; by default what ingest-http would do."""

    def __init__(self, handler=None, path=None, lenient=False, pieces=None):
        self.handler = handler or Server.accept
        self.lenient = lenient
        self.pieces = pieces
        self.requests = []
        self.stored = []
        self.connections = 0
        self.lock = threading.Lock()
        self.threads = []
        self.open = set()
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.socket.bind(str(path) if path else ("127.0.0.1", 0))
        self.socket.listen(1024)
        self.address = f"unix:{path}" if path else "127.0.0.1:%d" % self.socket.getsockname()[1]

    def accept(self, method, target, _headers, body):
        """Checks the event and stores its numbers."""
        numbers = numbers_of(method, target, body)
        with self.lock:
            self.stored += numbers
        if target in ("/batch", "/ingest"):
            return answer(202, json.dumps({"accepted": len(numbers)}).encode())
        return OK

    def numbers(self):
        return sorted(self.stored)

    def __enter__(self):
        self.threads.append(threading.Thread(target=self._listen))
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.threads[0].join()
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join()
        self.socket.close()

    def _listen(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            self.open.add(connection)
            self.threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self.threads[-1].start()

    def _serve(self, connection):
        try:
            self._converse(connection)
        except (OSError, Broken):
            pass
        finally:
            self.open.discard(connection)
            connection.close()

    def _converse(self, connection):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            fatal = close = is_head = False
            try:
                method, target, headers, length = parse_head(head)
                close = headers.get("connection") == "close"
                is_head = method == "HEAD"
                while len(data) < length:
                    data += connection.recv(65536)
                body, data = data[:length], data[length:]
                with self.lock:
                    self.requests.append((method, target, headers, body))
                reply = self.handler(self, method, target, headers, body)
            except Refused as error:
                fatal = error.fatal
                reply = OK if self.lenient else answer(error.status, b"no")
            if close or fatal:
                reply = reply.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            if is_head:
                reply = reply.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            self._send(connection, reply)
            if close or fatal:
                return

    def _send(self, connection, reply):
        step = self.pieces or len(reply)
        for at in range(0, len(reply), step):
            connection.sendall(reply[at : at + step])
