"""A name server for tests: on loopback, a port that the kernel chooses, UDP and TCP, answers as a test scripts them.

    with NameServer() as dns:
        dns.answer("a.test", ["192.0.2.1", "2001:db8::1"], ttl=5)
        ... a client with the server 127.0.0.1:{dns.port} ...
        dns.questions("a.test")

README.md beside it has the calls.
"""
import ipaddress
import socket
import struct
import threading
import time
from dataclasses import asdict, dataclass, field

from dns.wire import UDP_BYTES, Question, encode_answer, encode_record

CHAIN_MAX = 32
BIND_TRIES = 50


@dataclass
class Answer:
    """What a name's question of one type gets."""
    addresses: list = field(default_factory=list)
    ttl: int = 60
    cname: str = ""          # the name that has the addresses; what the server knows of it comes along
    rcode: str = "NOERROR"
    truncated: bool = False  # over UDP; over TCP it comes whole
    silent: bool = False     # never answered
    delay: float = 0.0       # seconds


@dataclass
class Asked:
    time: float
    name: str
    type: str
    transport: str  # "udp" or "tcp"
    outcome: str    # "NOERROR", "NXDOMAIN", ..., "truncated", "silent"
    addresses: list


class NameServer:
    def __init__(self, address="127.0.0.1"):
        self.address = address
        self.lock = threading.Condition()
        self.scripts = {}  # (name, type): answers that are left; the last one stays
        self.asked = []
        self.closing = threading.Event()
        self.threads = []
        self.udp, self.tcp = self._bind()
        self.port = self.udp.getsockname()[1]
        self.server = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        self._start(self._serve_udp)
        self._start(self._serve_tcp)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- what a test says ----

    def answer(self, name, addresses=(), types=("A", "AAAA"), **how):
        """From now on the name has these addresses, each with the type that it is of. how: fields of Answer."""
        self.script(name, {"addresses": list(addresses), **how}, types=types)

    def script(self, name, *answers, types=("A", "AAAA")):
        """Successive look-ups get successive answers (dicts of Answer's fields, or lists of addresses); the last one stays. Each type has its
        own count, so a look-up of both A and AAAA is one step."""
        made = [Answer(**one) if isinstance(one, dict) else Answer(list(one)) for one in answers]
        if not made:
            raise ValueError("no answers")
        with self.lock:
            for kind in types:
                self.scripts[self._key(name), kind] = list(made)

    def forget(self, name=None):
        """The name (or every one) is NXDOMAIN again."""
        with self.lock:
            for key in [key for key in self.scripts if name is None or key[0] == self._key(name)]:
                del self.scripts[key]

    def questions(self, name=None, kind=None):
        """What was asked, in order."""
        with self.lock:
            return [one for one in self.asked if (name is None or one.name == self._key(name)) and kind in (None, one.type)]

    def wait_questions(self, count=1, timeout=20.0, **match):
        """Waits for so many questions. Returns those that there are: fewer when the time is over."""
        end = time.monotonic() + timeout
        with self.lock:
            while len(self.questions(**match)) < count and self.lock.wait(max(0.0, end - time.monotonic())):
                pass
            return self.questions(**match)

    def close(self):
        self.closing.set()
        # a blocked accept or recvfrom ends by a shutdown or a datagram
        for sock in (self.udp, self.tcp):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join()
        self.udp.close()
        self.tcp.close()

    # ---- what it does ----

    @staticmethod
    def _key(name):
        return name.lower().rstrip(".")

    def _bind(self):
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        for _ in range(BIND_TRIES):
            udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_STREAM)
            try:
                udp.bind((self.address, 0))
                tcp.bind((self.address, udp.getsockname()[1]))
                tcp.listen(64)
                for sock in (udp, tcp):
                    sock.settimeout(0.2)
                return udp, tcp
            except OSError:  # somebody has the port for TCP
                udp.close()
                tcp.close()
        raise OSError("no port that is free for both UDP and TCP")

    def _start(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _next(self, name, kind):
        answers = self.scripts.get((name, kind))
        if answers is None:
            return None
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _records(self, name, kind, answer):
        """The records of an answer, along its CNAMEs, and the addresses among them; the rcode of the last name."""
        records, addresses, rcode = [], [], answer.rcode
        for _ in range(CHAIN_MAX):
            for one in answer.addresses:
                if (ipaddress.ip_address(one).version == 6) == (kind == "AAAA") and kind in ("A", "AAAA"):
                    records.append(encode_record(name, kind, answer.ttl, one))
                    addresses.append(one)
            if not answer.cname:
                break
            records.append(encode_record(name, "CNAME", answer.ttl, answer.cname))
            name = self._key(answer.cname)
            answer = self._next(name, kind)
            if answer is None:
                rcode = rcode if any(key[0] == name for key in self.scripts) else "NXDOMAIN"
                break
            rcode = answer.rcode
        return records, addresses, rcode

    def _reply(self, message, transport):
        """(bytes or None, seconds to wait)"""
        try:
            question = Question(message)
        except ValueError:
            return None, 0
        name = self._key(question.name)
        with self.lock:
            # a truncated answer is one look-up with what TCP gets after it: only TCP moves on
            answers = self.scripts.get((name, question.type))
            cut = bool(answers) and answers[0].truncated and transport == "udp"
            answer = answers[0] if cut else self._next(name, question.type)
            if answer is None:
                known = any(key[0] == name for key in self.scripts)
                answer = Answer(rcode="NOERROR" if known else "NXDOMAIN")
            records, addresses, rcode = self._records(name, question.type, answer) if not cut else ([], [], "NOERROR")
            reply = encode_answer(question, rcode, records, cut)
            if transport == "udp" and len(reply) > UDP_BYTES:
                cut, reply = True, encode_answer(question, rcode, (), True)
            outcome = "silent" if answer.silent else "truncated" if cut else rcode
            self.asked.append(Asked(time.monotonic(), name, question.type, transport, outcome, addresses))
            self.lock.notify_all()
        return (None if answer.silent else reply), answer.delay

    def _send_udp(self, reply, delay, peer):
        if delay > 0 and self.closing.wait(delay):
            return
        try:
            self.udp.sendto(reply, peer)
        except OSError:  # the client is gone
            pass

    def _serve_udp(self):
        while not self.closing.is_set():
            try:
                message, peer = self.udp.recvfrom(4096)
            except OSError:  # nothing came, or an earlier client is gone
                continue
            reply, delay = self._reply(message, "udp")
            if reply is not None and delay > 0:
                self._start(self._send_udp, reply, delay, peer)
            elif reply is not None:
                self._send_udp(reply, 0, peer)

    def _serve_tcp(self):
        while not self.closing.is_set():
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                continue
            self._start(self._serve_connection, connection)

    def _serve_connection(self, connection):
        buffer = b""
        with connection:
            connection.settimeout(0.2)
            while not self.closing.is_set():
                while len(buffer) >= 2 and len(buffer) >= 2 + struct.unpack(">H", buffer[:2])[0]:
                    size = struct.unpack(">H", buffer[:2])[0]
                    reply, delay = self._reply(buffer[2:2 + size], "tcp")
                    buffer = buffer[2 + size:]
                    if delay > 0 and self.closing.wait(delay):
                        return
                    if reply is not None:
                        try:
                            connection.sendall(struct.pack(">H", len(reply)) + reply)
                        except OSError:
                            return
                try:
                    more = connection.recv(65536)
                except TimeoutError:
                    continue
                except OSError:
                    return
                if not more:
                    return
                buffer += more

    def describe(self):
        """The account as plain values, for messages of tests."""
        with self.lock:
            return [asdict(one) for one in self.asked]
