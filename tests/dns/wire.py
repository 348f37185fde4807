"""DNS messages (RFC 1035, 4), as much of them as a name server of the tests needs."""
import ipaddress
import struct

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "AAAA": 28}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}
UDP_BYTES = 512
RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_WANTED, RECURSION = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080


class Question:
    """The question of a message. ValueError when there is none, or more than one."""

    def __init__(self, message):
        if len(message) < 12:
            raise ValueError("shorter than a head")
        self.id, self.flags, questions, *_ = struct.unpack(">6H", message[:12])
        if self.flags & RESPONSE or questions != 1:
            raise ValueError("not one question")
        labels, at = [], 12
        while True:
            if at >= len(message):
                raise ValueError("a name that does not end")
            size = message[at]
            if size == 0:
                break
            if size > 63 or at + 1 + size > len(message):
                raise ValueError("a label that is none")
            labels.append(message[at + 1:at + 1 + size].decode("ascii"))
            at += 1 + size
        if at + 5 > len(message):
            raise ValueError("a question without type")
        number = struct.unpack(">H", message[at + 1:at + 3])[0]
        self.raw = message[12:at + 5]
        self.name = ".".join(labels)
        self.type = TYPE_NAMES.get(number, str(number))


def encode_name(name):
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.rstrip(".").split(".") if label) + b"\0"


def encode_record(name, kind, ttl, value):
    """value: an address, or for CNAME a name."""
    data = encode_name(value) if kind == "CNAME" else ipaddress.ip_address(value).packed
    return encode_name(name) + struct.pack(">HHIH", TYPES[kind], 1, ttl, len(data)) + data


def encode_answer(question, rcode="NOERROR", records=(), truncated=False):
    """The message that answers a question. records: of encode_record."""
    flags = RESPONSE | AUTHORITATIVE | RECURSION | (question.flags & RECURSION_WANTED) | RCODES[rcode] | (TRUNCATED if truncated else 0)
    head = struct.pack(">6H", question.id, flags, 1, 0 if truncated else len(records), 0, 0)
    return head + question.raw + (b"" if truncated else b"".join(records))
