"""HTTP/1.1 as a server: a thread for each connection, and every way in which a request can go wrong on purpose.

    client --> Listener --> Connection --> service.label(request)     which operation is it
                                |              faults.take(label)       what goes wrong this time
                                |          service.begin(request)     all that the head alone can tell (signatures)
                                |              the body is read
                                |          service.act(request)
                                '              the answer is sent, held, or lost

A service has these three methods, of which the last two may raise Refusal with an answer; error(name, request, ...) for the answers
that a fault asks for; and watched: whether faults and the log are for it. RFC 9112 is what is spoken: keep-alive, Expect: 100-continue, Content-Length and chunked bodies.
"""
import email.utils
import re
import select
import socket
import ssl
import struct
import threading
import time
import urllib.parse
import zlib
from dataclasses import dataclass, field

from store import checksums

HEAD_MAX_BYTES = 64 << 10
PIECE_BYTES = 256 << 10
IDLE_S = 120.0
HANDSHAKE_S = 10.0
DRAIN_S = 2.0
TICK_S = 0.05
REASONS = {100: "Continue", 200: "OK", 201: "Created", 204: "No Content", 206: "Partial Content", 400: "Bad Request",
           401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 411: "Length Required",
           412: "Precondition Failed", 413: "Content Too Large", 416: "Range Not Satisfiable", 429: "Too Many Requests",
           500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"}


class Gone(Exception):
    """The client has closed, or must be closed on: no answer."""


class Refusal(Exception):
    """Ends the handling of a request with this answer."""

    def __init__(self, answer):
        super().__init__(answer.status)
        self.answer = answer


@dataclass
class Answer:
    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    code: str = ""
    close: bool = False


@dataclass
class Label:
    """What a request is about, for the log and for the faults that match it."""

    service: str
    operation: str
    bucket: str = ""
    key: str = ""
    upload: str = ""
    part: object = None


class Body:
    """The bytes of a request, and the digests that are asked for. Without keep only length and digests stay."""

    def __init__(self, keep=True, digests=("md5",)):
        self.keep = keep
        self.pieces = []
        self.packed = None  # instead of pieces
        self.length = 0
        self.running = {name: checksums.ALGORITHMS[name]() for name in digests}

    def add(self, data):
        self.length += len(data)
        for one in self.running.values():
            one.update(data)
        if self.keep:
            self.pieces.append(data)

    def pack(self):
        """Keeps the bytes compressed."""
        self.packed = zlib.compress(self.bytes(), 1)
        self.pieces = []

    def memory(self):
        if self.packed is not None:
            return len(self.packed)
        return self.length if self.keep else 0

    def bytes(self):
        if self.packed is not None:
            return zlib.decompress(self.packed)
        if len(self.pieces) > 1:
            self.pieces = [b"".join(self.pieces)]
        return self.pieces[0] if self.pieces else b""

    def digest(self, name):
        return self.running[name].digest()


class Request:
    def __init__(self, method, target, headers, connection):
        self.method = method
        self.target = target
        self.raw_path, _, self.raw_query = target.partition("?")
        self.header_list = headers
        self.headers = {}
        for name, value in headers:
            known = self.headers.get(name.lower())
            self.headers[name.lower()] = value if known is None else f"{known},{value}"
        # (name, value) as sent but decoded; a plus sign is a space, as in a form.
        pairs = [part.partition("=") for part in self.raw_query.split("&") if part]
        self.query_list = [(urllib.parse.unquote_plus(name), urllib.parse.unquote_plus(value)) for name, _, value in pairs]
        self.query = dict(self.query_list)
        self.connection = connection
        self.body = Body()
        self.entry = {}  # its line of the log
        self.label = None

    def header(self, name, default=""):
        return self.headers.get(name, default)

    def host(self):
        """Host without the port, in lower case."""
        host = self.header("host").lower()
        return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]


class Stream:
    """A socket that is read in lines and pieces."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""

    def fill(self):
        more = self.sock.recv(PIECE_BYTES)
        if not more:
            raise Gone
        self.data += more

    def head(self):
        """All lines up to the empty one, or None when the client closed between requests."""
        while b"\r\n\r\n" not in self.data:
            if len(self.data) > HEAD_MAX_BYTES:
                raise ValueError("the head is too long")
            try:
                self.fill()
            except Gone:
                if self.data.strip():
                    raise
                return None
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        return head.decode("latin-1").lstrip("\r\n").split("\r\n")

    def line(self):
        while b"\r\n" not in self.data:
            if len(self.data) > HEAD_MAX_BYTES:
                raise ValueError("a line is too long")
            self.fill()
        line, _, self.data = self.data.partition(b"\r\n")
        return line.decode("latin-1")

    def piece(self, most):
        if not self.data:
            self.fill()
        piece, self.data = self.data[:most], self.data[most:]
        return piece


def parse_head(lines, connection):
    method, target, version = lines[0].split(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0") or not target.startswith("/"):
        raise ValueError("not a request line")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"not a header: {line!r}")
        headers.append((name, value.strip(" \t")))
    request = Request(method, target, headers, connection)
    if version == "HTTP/1.1" and "host" not in request.headers:
        raise ValueError("no Host")
    length = request.header("content-length", None)
    if length is not None and not re.fullmatch(r"\d{1,18}", length):
        raise ValueError("not a length")
    if length is not None and "transfer-encoding" in request.headers:
        raise ValueError("both Content-Length and Transfer-Encoding")
    if request.header("transfer-encoding", "chunked").lower() != "chunked":
        raise ValueError("an unknown transfer coding")
    request.chunked = "transfer-encoding" in request.headers
    request.length = int(length or 0)
    request.has_length = length is not None
    connection_words = [word.strip().lower() for word in request.header("connection").split(",")]
    request.keep_alive = version == "HTTP/1.1" and "close" not in connection_words
    return request


class Connection:
    """One client: reads requests and answers them, until either side has enough."""

    def __init__(self, listener, sock, number):
        self.listener = listener
        self.world = listener.world
        self.service = listener.service
        self.sock = sock
        self.number = number
        self.stream = None
        self.open = True

    # ---- its life ----

    def run(self):
        try:
            if self.listener.tls:
                self.sock.settimeout(HANDSHAKE_S)
                self.sock = self.listener.tls.wrap_socket(self.sock, server_side=True)
            self.sock.settimeout(IDLE_S)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.stream = Stream(self.sock)
            while self.open and self.one_request():
                pass
        except (Gone, OSError, ssl.SSLError):
            pass
        finally:
            self.close()

    def close(self, reset=False):
        """May be called by any thread; the one that serves the connection then fails to read or write."""
        self.open = False
        try:
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.forget(self)

    def end(self):
        """The last of its life: by its own thread alone."""
        try:
            self.sock.close()
        except OSError:
            pass

    def linger(self):
        """After an early answer: what the client still sends is read for a moment, or a reset would overtake the answer."""
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
            deadline = time.monotonic() + DRAIN_S
            self.sock.settimeout(DRAIN_S)
            while time.monotonic() < deadline and self.sock.recv(PIECE_BYTES):
                pass
        except OSError:
            pass

    # ---- one request ----

    def one_request(self):
        """False ends the connection."""
        try:
            lines = self.stream.head()
            if lines is None:
                return False
            request = parse_head(lines, self)
        except ValueError as error:
            self.send(Answer(400, {}, f"{error}\n".encode(), close=True), None)
            return False
        request.label = self.service.label(request)
        fault = None
        if self.service.watched:
            fault = self.world.faults.take(request.label)
            request.entry = self.world.log.begin(request, fault, self.number)
        try:
            return self.serve(request, fault)
        except (Gone, OSError):
            self.world.log.update(request.entry, outcome=request.entry.get("outcome") or "gone")
            return False

    def serve(self, request, fault):
        action = fault.action if fault else ""
        if action == "hang":
            return self.leave(request, "hung", wait=fault)
        early = self.before_body(request, fault)
        if early:
            early.close = early.close or request.length > 0 or request.chunked
            return self.reply(request, early, fault)
        if request.header("expect").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            self.read_body(request, fault)
        except ValueError as error:
            return self.reply(request, Answer(400, {}, f"{error}\n".encode(), close=True), fault)
        except Refusal as refusal:
            refusal.answer.close = True
            return self.reply(request, refusal.answer, fault)
        if action == "drop":
            return self.leave(request, "dropped")
        if action == "hold" and fault.when == "before" and not self.hold(request, fault):
            return self.leave(request, "dropped")
        if action == "error" and not fault.acted:
            return self.reply(request, self.fault_answer(request, fault), fault)
        answer = self.act(request)
        if action == "error":
            self.world.log.update(request.entry, true_status=answer.status, true_code=answer.code)
            answer = self.fault_answer(request, fault)
        self.world.log.update(request.entry, status=answer.status, code=answer.code)
        if action == "lose" or (action == "hold" and fault.when == "after" and not self.hold(request, fault)):
            return self.leave(request, "lost")
        return self.reply(request, answer, fault)

    def before_body(self, request, fault):
        """An answer that does not wait for the body, or None."""
        if fault and fault.action == "error" and fault.early:
            return self.fault_answer(request, fault)
        if fault and fault.action == "error" and not fault.acted:
            return None  # the fault's answer, whatever the request is
        try:
            self.service.begin(request)
            return None
        except Refusal as refusal:
            return refusal.answer

    def act(self, request):
        try:
            answer = self.service.act(request)
            self.world.log.update(request.entry, acted=answer.status < 300)
            return answer
        except Refusal as refusal:
            return refusal.answer

    def fault_answer(self, request, fault):
        return self.service.error(fault.error, request, **fault.answer)

    def hold(self, request, fault):
        """Waits until the test lets go. False: the connection is to be closed without an answer."""
        self.world.log.update(request.entry, outcome="held")
        answered = self.world.faults.wait_release(fault, request.entry)
        self.world.log.update(request.entry, outcome="")
        return answered and self.open

    def leave(self, request, outcome, wait=None):
        """No answer, and the end of the connection."""
        self.world.log.update(request.entry, outcome=outcome)
        if wait:
            self.world.faults.wait_release(wait, request.entry, until=self.client_closed)
        return False

    def client_closed(self):
        """True when the client has closed, even with bytes left that nobody read."""
        poll = select.poll()
        try:
            poll.register(self.sock, select.POLLRDHUP)
            return not self.open or bool(poll.poll(0))
        except (OSError, ValueError):
            return True

    # ---- bodies and answers ----

    def read_body(self, request, fault):
        length = request.length
        if fault and fault.action == "cut":
            if request.chunked:
                raise Gone
            self.take(request, length // 2, fault)
            self.world.log.update(request.entry, outcome="cut", length=request.body.length)
            self.close(reset=fault.reset)
            raise Gone
        if not request.chunked:
            self.take(request, length, fault)
        else:
            self.read_chunks(request, fault)
        self.world.log.update(request.entry, length=request.body.length, md5=request.body.digest("md5").hex())

    def read_chunks(self, request, fault):
        while True:
            size = self.stream.line().partition(";")[0].strip()
            if not re.fullmatch(r"[0-9a-fA-F]{1,12}", size):
                raise ValueError("not the size of a chunk")
            if int(size, 16) == 0:
                break
            self.take(request, int(size, 16), fault)
            if self.stream.line():
                raise ValueError("a chunk is longer than it says")
        while self.stream.line():
            pass

    def take(self, request, length, fault):
        slow = fault.rate if fault and fault.action == "slow" else 0
        while length:
            piece = self.stream.piece(min(length, max(1, int(slow * TICK_S)) if slow else PIECE_BYTES))
            self.world.check_room(request, len(piece))
            request.body.add(piece)
            length -= len(piece)
            if slow:
                time.sleep(len(piece) / slow)

    def reply(self, request, answer, fault):
        """The log says what is sent before it is sent: who has read the answer finds it there."""
        close = answer.close or not request.keep_alive
        self.world.log.update(request.entry, status=answer.status, code=answer.code, outcome="answered")
        try:
            self.send(answer, request, fault, close)
        except Gone:
            return False  # cut on purpose
        except OSError:
            self.world.log.update(request.entry, outcome="gone")
            return False
        if answer.close:
            self.linger()
        return not close

    def send(self, answer, request, fault=None, close=True):
        head = {"Date": email.utils.formatdate(self.world.now(), usegmt=True), "Server": self.service.server}
        head.update(answer.headers)
        if answer.status != 204:
            head.setdefault("Content-Length", str(len(answer.body)))
        head["Connection"] = "close" if close else "keep-alive"
        lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Status')}", *(f"{k}: {v}" for k, v in head.items())]
        data = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        if request is None or request.method != "HEAD":
            data += answer.body
        if fault and fault.action == "cut_answer":
            self.sock.sendall(data[: len(data) - max(1, len(answer.body) // 2)])
            self.world.log.update(request.entry, outcome="cut")
            raise Gone
        if not (fault and fault.action == "slow"):
            self.sock.sendall(data)
            return
        step = max(1, int(fault.rate * TICK_S))
        for start in range(0, len(data), step):
            self.sock.sendall(data[start : start + step])
            time.sleep(step / fault.rate)


class Listener:
    """A port of 127.0.0.1 for one service. It keeps its number while it refuses connections."""

    def __init__(self, world, service, port=0, tls=None, most=256):
        self.world = world
        self.service = service
        self.tls = tls
        self.most = most
        self.lock = threading.Lock()
        self.connections = {}
        self.accepted = 0
        self.port = port
        self.sock = None
        self.bind()
        self.listen()

    def bind(self):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", self.port))
        self.port = self.sock.getsockname()[1]
        self.listening = False

    def listen(self):
        if self.listening:
            return
        self.sock.listen(128)
        self.listening = True
        threading.Thread(target=self.accept_all, args=(self.sock,), daemon=True).start()

    def refuse(self):
        """Connections are refused from now on, those that are open are cut. A bound socket that does not listen keeps the port."""
        if self.listening:
            self.stop()
            self.bind()

    def stop(self):
        sock, self.listening = self.sock, False
        try:
            sock.shutdown(socket.SHUT_RDWR)  # wakes accept
        except OSError:
            pass
        sock.close()
        self.cut_all()

    def cut_all(self):
        with self.lock:
            connections = list(self.connections.values())
        for one in connections:
            one.close()

    def forget(self, connection):
        with self.lock:
            self.connections.pop(connection.number, None)

    def accept_all(self, sock):
        while True:
            try:
                client, _ = sock.accept()
            except OSError:
                return
            with self.lock:
                self.accepted += 1
                connection = Connection(self, client, self.accepted)
                room = len(self.connections) < self.most
                if room:
                    self.connections[connection.number] = connection
            if not room:
                client.close()
                continue
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        try:
            connection.run()
        finally:
            connection.end()
