"""Clients of /live: WebSockets frame by frame, so that they can send what they like, and streams of server-sent events.

    with Live(address, "topic=track&filter=app_open") as live:
        live.hello, live.until("events")
"""
import base64
import json
import os
import socket
import struct
import time

from harness import SLOW
from http_help import Client, connect
from serve_help import HOST

PATIENCE_S = 20
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def handshake(query="", *fields, path="/live", host=HOST):
    lines = [f"GET {path}{'?' + query if query else ''} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
             f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13", *fields, "", ""]
    return "\r\n".join(lines).encode()


def frame(opcode, payload=b"", final=True, mask=b"\x01\x02\x03\x04", length=None):
    """One frame; mask None: without one; length: what the frame says, whatever follows."""
    size = len(payload) if length is None else length
    head = bytes([(0x80 if final else 0) | opcode])
    marked = 0x80 if mask is not None else 0
    if size < 126:
        head += bytes([marked | size])
    elif size < 65536:
        head += bytes([marked | 126]) + struct.pack(">H", size)
    else:
        head += bytes([marked | 127]) + struct.pack(">Q", size)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


class Socket:
    """A WebSocket, frame by frame."""

    def __init__(self, address, query="", *fields, receive_buffer=None, **how):
        self.socket = connect(address)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S * SLOW)
        self.data = b""
        self.socket.sendall(handshake(query, *fields, **how))
        while b"\r\n\r\n" not in self.data:
            self.more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            raise EOFError
        self.data += got

    def take(self, n):
        while len(self.data) < n:
            self.more()
        taken, self.data = self.data[:n], self.data[n:]
        return taken

    def frame(self):
        """(opcode, payload) of a message whose fragments are put together; pings are answered."""
        whole, kind = b"", None
        while True:
            first, second = self.take(2)
            assert not second & 0x80, "a server does not mask"
            size = second & 0x7F
            if size == 126:
                size = struct.unpack(">H", self.take(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self.take(8))[0]
            payload, opcode = self.take(size), first & 0x0F
            if opcode == PING:
                self.socket.sendall(frame(PONG, payload))
                continue
            if opcode in (CLOSE, PONG):
                return opcode, payload
            whole, kind = whole + payload, opcode or kind
            if first & 0x80:
                return kind, whole

    def close_code(self):
        """What the server ends the connection with; None: it just ends."""
        try:
            while True:
                opcode, payload = self.frame()
                if opcode == CLOSE:
                    self.socket.sendall(frame(CLOSE, payload[:2]))
                    return struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else 1005
        except (EOFError, ConnectionError):
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Live(Socket):
    """One that was let in: its messages."""

    def __init__(self, address, query="", *fields, **how):
        super().__init__(address, query, *fields, **how)
        assert self.status == 101, (self.status, self.headers, self.data)
        self.hello = self.message()
        assert self.hello["type"] == "hello", self.hello

    def message(self):
        opcode, payload = self.frame()
        assert opcode == TEXT, (opcode, payload[:100])
        return json.loads(payload)

    def until(self, kind, holds=lambda message: True):
        """The first message of the kind for which it holds."""
        deadline = time.monotonic() + PATIENCE_S * SLOW
        while time.monotonic() < deadline:
            message = self.message()
            if message["type"] == kind and holds(message):
                return message
        raise AssertionError(f"no such message of type {kind}")

    def events(self, seen):
        """The last message of events, once `seen` have been seen, and all events up to it."""
        gathered = []

        def enough(message):
            gathered.extend(message["events"])
            return message["seen"] + message["missed"] >= seen

        return self.until("events", enough), gathered


class Stream:
    """Server-sent events."""

    def __init__(self, address, query="", *fields):
        self.client = Client(address)
        self.client.socket.settimeout(PATIENCE_S * SLOW)
        lines = [f"GET /live{'?' + query if query else ''} HTTP/1.1", f"Host: {HOST}", *fields, "", ""]
        self.client.send("\r\n".join(lines).encode())
        self.head = self.part(b"\r\n\r\n").decode()

    def part(self, end):
        while end not in self.client.data:
            self.client.more()
        part, _, self.client.data = self.client.data.partition(end)
        return part

    def event(self):
        """(name, data) of the next one; (None, text) of a comment."""
        text = self.part(b"\n\n").decode()
        fields = dict(line.split(": ", 1) for line in text.split("\n") if ": " in line)
        return (fields["event"], json.loads(fields["data"])) if "event" in fields else (None, text)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.socket.close()


__all__ = ["BINARY", "CLOSE", "Live", "PING", "PONG", "Socket", "Stream", "TEXT", "frame", "handshake"]
