"""The name server of the tests, asked by messages made here."""
import ipaddress
import socket
import struct
import time

import pytest

TYPES = {"A": 1, "CNAME": 5, "AAAA": 28}


def message(name, kind):
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split("."))
    return struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", TYPES[kind], 1)


def name_at(reply, at):
    labels = []
    while reply[at]:
        labels.append(reply[at + 1:at + 1 + reply[at]].decode())
        at += 1 + reply[at]
    return ".".join(labels), at + 1


def read(reply):
    """(rcode, truncated, [(name, type, ttl, value)])"""
    number, flags, questions, answers, _, _ = struct.unpack(">6H", reply[:12])
    assert number == 0x1234 and flags & 0x8000 and questions == 1
    _, at = name_at(reply, 12)
    at += 4
    records = []
    for _ in range(answers):
        name, at = name_at(reply, at)
        kind, _, ttl, size = struct.unpack(">HHIH", reply[at:at + 10])
        at += 10
        value = name_at(reply, at)[0] if kind == 5 else str(ipaddress.ip_address(reply[at:at + size]))
        at += size
        records.append((name, next(one for one, n in TYPES.items() if n == kind), ttl, value))
    assert at == len(reply)
    return flags & 15, bool(flags & 0x0200), records


def ask(dns, name, kind="A", wait=5.0):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(wait)
        sock.sendto(message(name, kind), ("127.0.0.1", dns.port))
        return read(sock.recv(65536))


def ask_tcp(dns, name, kind="A"):
    with socket.create_connection(("127.0.0.1", dns.port), timeout=5) as sock, sock.makefile("rb") as stream:
        question = message(name, kind)
        sock.sendall(struct.pack(">H", len(question)) + question)
        return read(stream.read(struct.unpack(">H", stream.read(2))[0]))


def test_addresses_go_into_answers_of_their_type(dns):
    dns.answer("a.test", ["192.0.2.1", "2001:db8::1", "192.0.2.2"], ttl=7)
    assert ask(dns, "a.test") == (0, False, [("a.test", "A", 7, "192.0.2.1"), ("a.test", "A", 7, "192.0.2.2")])
    assert ask(dns, "A.TEST", "AAAA") == (0, False, [("a.test", "AAAA", 7, "2001:db8::1")])


def test_a_name_of_one_type_has_an_empty_answer_for_the_other_and_an_unknown_one_is_nxdomain(dns):
    dns.answer("a.test", ["192.0.2.1"], types=["A"])
    assert ask(dns, "a.test", "AAAA") == (0, False, [])
    assert ask(dns, "b.test") == (3, False, [])
    dns.forget("a.test")
    assert ask(dns, "a.test") == (3, False, [])


def test_answers_change_between_look_ups_and_the_last_one_stays(dns):
    dns.script("a.test", ["192.0.2.1", "::1"], {"rcode": "SERVFAIL"}, ["192.0.2.3"])
    assert [ask(dns, "a.test")[::2] for _ in range(4)] == [
        (0, [("a.test", "A", 60, "192.0.2.1")]), (2, []), (0, [("a.test", "A", 60, "192.0.2.3")]), (0, [("a.test", "A", 60, "192.0.2.3")])]
    assert ask(dns, "a.test", "AAAA")[2] == [("a.test", "AAAA", 60, "::1")]


def test_a_chain_of_names_comes_whole(dns):
    dns.answer("a.test", cname="b.test", ttl=9)
    dns.answer("b.test", cname="c.test", ttl=8)
    dns.answer("c.test", ["192.0.2.1"], ttl=3)
    assert ask(dns, "a.test")[2] == [("a.test", "CNAME", 9, "b.test"), ("b.test", "CNAME", 8, "c.test"), ("c.test", "A", 3, "192.0.2.1")]
    dns.answer("d.test", cname="nowhere.test")
    assert ask(dns, "d.test") == (3, False, [("d.test", "CNAME", 60, "nowhere.test")])


def test_a_truncated_answer_is_whole_over_tcp_and_is_one_look_up(dns):
    dns.script("a.test", {"addresses": ["192.0.2.1"], "truncated": True}, ["192.0.2.2"])
    assert ask(dns, "a.test") == (0, True, [])
    assert ask_tcp(dns, "a.test")[2] == [("a.test", "A", 60, "192.0.2.1")]
    assert ask(dns, "a.test")[2] == [("a.test", "A", 60, "192.0.2.2")]
    dns.answer("many.test", [f"192.0.2.{n}" for n in range(100)])
    assert ask(dns, "many.test") == (0, True, [])
    assert len(ask_tcp(dns, "many.test")[2]) == 100


def test_an_answer_is_late_or_never_comes(dns):
    dns.answer("never.test", silent=True)
    dns.answer("late.test", ["192.0.2.1"], delay=0.3)
    with pytest.raises(TimeoutError):
        ask(dns, "never.test", wait=0.2)
    begun = time.monotonic()
    assert ask(dns, "late.test")[2] == [("late.test", "A", 60, "192.0.2.1")]
    assert time.monotonic() - begun >= 0.3


def test_it_keeps_account_of_what_was_asked(dns):
    dns.answer("a.test", ["192.0.2.1"])
    ask(dns, "a.test")
    ask(dns, "a.test", "AAAA")
    ask(dns, "b.test")
    ask_tcp(dns, "a.test")
    told = [(one.name, one.type, one.transport, one.outcome, one.addresses) for one in dns.wait_questions(4)]
    assert told == [("a.test", "A", "udp", "NOERROR", ["192.0.2.1"]), ("a.test", "AAAA", "udp", "NOERROR", []), ("b.test", "A", "udp", "NXDOMAIN", []),
                    ("a.test", "A", "tcp", "NOERROR", ["192.0.2.1"])]
    assert len(dns.questions("a.test", "A")) == 2
    assert dns.wait_questions(2, timeout=0.05, name="b.test") == dns.questions("b.test")


def test_what_is_no_question_is_not_answered(dns):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        for bad in (b"", b"x" * 5, message("a.test", "A")[:-3], b"\0" * 12, message("a.test", "A")[:12] + b"\x3fa"):
            sock.sendto(bad, ("127.0.0.1", dns.port))
        with pytest.raises(TimeoutError):
            sock.recv(512)
    assert ask(dns, "a.test")[0] == 3
