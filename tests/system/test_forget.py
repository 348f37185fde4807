"""DELETE /events: tally forgets all addresses, once for each answer of 200, whoever is killed meanwhile."""
import os
import select
import socket
import struct
import threading
import time

import pytest

from harness import SLOW, default_config, kill_pid, processes, rows, wait_until
from http_help import Client, ask, http_address, request_bytes
from load import Expected, ipevent, mixture, send_paced
from serve_help import problem, serve_address, serve_addresses, serve_config

KILLS = int(os.environ.get("MILLRACE_KILLS", "25"))
A_SECOND = 3000 / SLOW
READER, ADMIN = "reader-token-0123456789", "admin-token-0123456789"


def give(one, rng, n, sent):
    send_paced(one.address(), mixture(rng, n, 20, 10, sent), A_SECOND)


def forget(address, *fields):
    return ask(address, "DELETE", "/events", None, *fields)


def last(tmp_path):
    """(errand, events) of the last time that was forgotten."""
    total = dict(rows(tmp_path / "data" / "tally.db", "SELECT name, value FROM total"))
    return total.get("forget_errand", 0), total.get("forget_events", 0)


def kill_tally(one, last_pid):
    """The life after `last_pid`, as soon as there is one."""
    pid = wait_until(lambda: one.stage("tally.0")["pid"] not in (0, last_pid) and one.stage("tally.0")["pid"], 30, "tally is there")
    assert kill_pid(pid)
    return pid


@pytest.mark.limit(120)
def test_all_addresses_are_forgotten_and_nothing_else(instance, tmp_path, rng):
    config = default_config(tmp_path)
    config["ingest"]["http"] = [{"listen": "127.0.0.1:0"}]
    config["topics"].update({topic: {"size": "1MiB"} for topic in ("metric", "log", "track.raw", "track")})
    for name, token in (("read", READER), ("admin", ADMIN)):
        (tmp_path / name).write_text(token + "\n")
        (tmp_path / name).chmod(0o600)
    one = instance(config=serve_config(tmp_path, config, read_tokens=str(tmp_path / "read"), admin_tokens=str(tmp_path / "admin")))
    address, admin = serve_address(one), f"Authorization: Bearer {ADMIN}"
    assert ask(http_address(one), "POST", "/event", {"username": "ann", "count": 3, "metric": "m"}).status == 200
    first, second = Expected(), Expected()
    give(one, rng, 500, first)
    one.settle("ip", first.sent)
    one.settle("metric", 1)
    assert one.counts() == first.count

    problem(forget(address), 401)
    problem(forget(address, f"Authorization: Bearer {READER}"), 401)
    assert ask(address, "GET", "/events", None, admin).status == 405
    assert one.counts() == first.count

    assert forget(address, admin).json() == {"applications": len(first.count), "events": first.n_valid()}
    assert one.counts() == {}
    problem(ask(address, "GET", f"/events/{sorted(first.count)[0]}", None, admin), 404)
    gauges = one.stage("tally.0")["metrics"]
    assert gauges["applications"] == gauges["addresses"] == gauges["networks"] == 0 and gauges["accounts"] == 1
    assert ask(address, "GET", "/accounts/ann", None, admin).status == 200
    assert forget(address, admin).json() == {"applications": 0, "events": 0}

    # What comes later counts anew, of old applications too, and that stays over a life of tally.
    again = [(sha, 7) for sha in sorted(first.count)[:3]]
    for sha, ip in again:
        second.valid(sha, ip)
    send_paced(one.address(), [ipevent(sha, ip) for sha, ip in again], A_SECOND)
    give(one, rng, 500, second)
    kill_pid(one.pid_of("tally.0"))
    one.settle("ip", first.sent + second.sent)
    assert one.counts() == second.count
    assert all(one.report(sha) == second.report(sha) for sha in second.count)
    assert "all addresses were forgotten" in one.log()


@pytest.mark.limit(120)
def test_while_tally_does_not_take_it_up_nothing_is_forgotten_and_never_will_be(instance, tmp_path, rng):
    one = instance(config=serve_config(tmp_path, query_timeout="500ms"))
    address, sent = serve_address(one), Expected()
    give(one, rng, 200, sent)
    one.settle("ip", sent.sent)
    pid = one.pid_of("tally.0")
    processes.pause(pid)
    try:
        reply = forget(address)
        assert "nothing was forgotten" in problem(reply, 503) and reply.headers["retry-after"]
    finally:
        processes.resume(pid)
    give(one, rng, 200, sent)
    one.settle("ip", sent.sent)
    assert one.counts() == sent.count and last(tmp_path) == (0, 0)


@pytest.mark.limit(120)
def test_others_are_answered_while_somebody_waits_for_tally(instance, tmp_path, rng):
    one = instance(config=serve_config(tmp_path, query_timeout="60s"))
    address, sent = serve_address(one), Expected()
    give(one, rng, 200, sent)
    one.settle("ip", sent.sent)
    tally, serve = one.pid_of("tally.0"), one.pid_of("serve.0")
    processes.pause(tally)
    try:
        with Client(address) as leaving, Client(address) as waiting:
            for client in (leaving, waiting):
                client.send(request_bytes("DELETE", "/events"))
                assert ask(address, "GET", "/healthz").status == 200
            leaving.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            leaving.socket.close()
            assert ask(address, "GET", "/healthz").status == 200
            assert not select.select([waiting.socket], [], [], 0.2)[0]
            processes.resume(tally)
            first = waiting.reply()
    finally:
        processes.resume(tally)
    assert first.status == 200, first
    assert forget(address).status == 200
    wait_until(lambda: one.counts() == {}, 20, "nothing to be left")
    assert one.pid_of("serve.0") == serve and one.stage("serve.0")["restarts"] == 0


@pytest.mark.limit(120)
def test_one_whose_asker_is_killed_is_done_whole_or_not_at_all(instance, tmp_path, rng):
    one = instance(config=serve_config(tmp_path))
    sent, forgotten = Expected(), {}
    for _ in range(5):
        give(one, rng, 200, sent)
        address = serve_address(one)
        with Client(address) as client:
            client.send(b"DELETE /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            time.sleep(rng.uniform(0, 0.02))
            pid = one.pid_of("serve.0")
            assert kill_pid(pid)
        wait_until(lambda: one.pid_of("serve.0") not in (0, pid) and serve_addresses(one), 20, "another life")
        time.sleep(1.2)  # its time is over
        forgotten.update([last(tmp_path)])
    one.settle("ip", sent.sent)
    assert sum(one.counts().values()) + sum(forgotten.values()) == sent.n_valid()
    print(f"{len(forgotten)} of 5 were done")


@pytest.mark.limit(300)
def test_each_event_is_forgotten_once_or_counted_whenever_tally_is_killed(instance, tmp_path, rng):
    config = serve_config(tmp_path, query_timeout="10s")
    config["topics"]["ip"] = {"size": "16MiB"}
    config["tally"] = {"commit_interval": "20ms"}
    one = instance(config=config)
    address, sent, forgotten, answers = serve_address(one), Expected(), {}, []
    pid = None
    for _ in range(KILLS):
        give(one, rng, 300, sent)
        asker = threading.Thread(target=lambda: answers.append(forget(address)))
        asker.start()
        if rng.random() < 0.7:
            time.sleep(rng.uniform(0, 0.01) * SLOW)
            pid = kill_tally(one, pid)
        give(one, rng, 300, sent)
        asker.join()
        reply = answers[-1]
        assert reply.status == 200, reply
        errand, events = last(tmp_path)
        assert errand not in forgotten and reply.json()["events"] == events
        forgotten[errand] = events
    one.settle("ip", sent.sent, timeout=60)
    stage = one.stage("tally.0")
    print(f"{stage['restarts']} kills, {len(forgotten)} times forgotten, {sum(forgotten.values())} of {sent.n_valid()} events")
    assert one.ledger("ip")["kernel_dropped"] == one.ledger("ip")["dropped"] == stage["metrics"]["lost_records"] == 0
    assert stage["restarts"] > KILLS / 3 and len(forgotten) == KILLS
    assert sum(one.counts().values()) + sum(forgotten.values()) == sent.n_valid()
