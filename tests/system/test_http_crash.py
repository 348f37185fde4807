"""kill -9 of ingest-http and of the supervisor at random moments, under load: what was acknowledged is there, once.

The load remembers the number of every event that was answered 2xx; a required group reads all that is in the topic. A request
whose answer was lost with a connection is not sent again, so a number that is there twice was stored twice.
"""
import collections
import contextlib
import os
import re
import socket
import time

import pytest

from harness import SLOW, kill_pid, kill_supervisor, processes, wait_until
from http_help import Client, Knocker, Load, ask, events, http_address, http_config, metric, request_bytes
from stored_help import StoredLoad, check_account, check_nothing_lost

POSTBACKS_WAIT = 3  # exit status of a supervisor that leaves messages in a queue
KILLS = 15
STEADY = ("-c", 8, "-p", 4, "--rate", 30000)
CLOSED = ("-c", 64, "-p", 1)  # each client asks when it is answered: connections are polled


def stages_of(millrace):
    """pids of the HTTP stages that live."""
    found = processes.children(of=millrace.process.pid)
    return sorted(pid for pid, command in found.items() if command and os.path.basename(command.split()[0]) == "ingest-http")


def hold(pid, rng):
    """Lets work gather for a stage, so that the kill comes in the middle of it."""
    try:
        processes.pause(pid)
        time.sleep(rng.uniform(0.01, 0.05))
        processes.resume(pid)
        time.sleep(rng.uniform(0, 0.003) * SLOW)
    except ProcessLookupError:
        pass


def kill_a_stage(millrace, rng, answered):
    """Waits until a stage is at work, then kills it at a random moment."""
    before = answered()
    wait_until(lambda: stages_of(millrace) and answered() > before, 30, "answers of the next life", pause=0.005)
    time.sleep(rng.uniform(0, 0.05))
    pid = rng.choice(stages_of(millrace) or [0])
    if pid and rng.random() < 0.5:
        hold(pid, rng)
    return bool(pid) and kill_pid(pid)


def lines_of(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def run_load(millrace, load, rng, kills, supervisors=0):
    """Kills until there were so many. Returns how many were of the supervisor."""
    killed = [0, 0]
    while sum(killed) < kills:
        assert load.running(), load.out.read_text()
        left = kills - sum(killed)
        if killed[1] < supervisors and rng.random() < (supervisors - killed[1]) / left:
            before = lines_of(load.file)
            wait_until(lambda n=before: lines_of(load.file) > n, 30, "answers")
            kill_supervisor(millrace, rng, stages_of(millrace), 20)
            killed[1] += 1
        elif kill_a_stage(millrace, rng, lambda: lines_of(load.file)):
            killed[0] += 1
        assert millrace.process.poll() is None, millrace.log()[-3000:]
    millrace.wait_running(60)
    return killed


@pytest.mark.limit(180)
@pytest.mark.parametrize("processes_, load_", [(1, STEADY), (2, STEADY), (1, CLOSED)],
                         ids=["of_one_process", "of_two_processes", "of_one_that_polls"])
def test_kills_lose_no_event_that_was_acknowledged_and_refuse_no_connection(instance, tmp_path, rng, backend, processes_, load_):
    millrace = instance(config=http_config(tmp_path, backend, processes=processes_, topics={"metric": {"size": "256MiB"}}))
    with StoredLoad(millrace, http_address(millrace), tmp_path, *load_) as load:
        with Knocker(http_address(millrace)) as knocker:
            run_load(millrace, load, rng, KILLS)
        if backend == "uring" and load_ is CLOSED:  # a life has to last a tick for it to be seen
            wait_until(lambda: metric(millrace, "polls") > 0, 30, "connections that are polled under this load")
    assert knocker.refused == 0 and knocker.taken > 0
    check_nothing_lost(millrace, "metric", len(load.stored))
    stat = millrace.stat()
    print(f"{load.taken} acknowledged, {load.account['unanswered']} unanswered, {len(load.stored)} stored, {load.account['connections']}, "
          f"recovered {metric(millrace, 'recovered_notes')}, polls {metric(millrace, 'polls')}")
    assert sum(stage["restarts"] for stage in stat["stages"]) == KILLS


@pytest.mark.limit(180)
def test_kills_of_the_supervisor_too_lose_nothing_when_somebody_else_holds_the_socket(instance, tmp_path, rng, backend):
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as held:
        config = http_config(tmp_path, backend, listen=f"127.0.0.1:{held.getsockname()[1]}", topics={"metric": {"size": "64MiB"}})
        millrace = instance(config=config, sockets=[held])
        with StoredLoad(millrace, held.getsockname(), tmp_path, "-c", 8, "-p", 4, "--rate", 30000) as load:
            killed = run_load(millrace, load, rng, KILLS, supervisors=5)
            load.collector.start()
        assert killed[1] == 5
        print(f"{load.taken} acknowledged, {load.account['unanswered']} unanswered, {len(load.stored)} stored")
        check_nothing_lost(millrace, "metric", len(load.stored))
        assert millrace.stop() == 0


@pytest.mark.limit(180)
@pytest.mark.parametrize("each", [5, 50])
def test_kills_lose_no_postback_that_was_acknowledged_and_leave_no_request_in_part(instance, tmp_path, rng, backend, each):
    slots = 1 << 17
    config = http_config(tmp_path, backend, processes=2, queue={"slots": slots, "slot_size": 256})
    millrace = instance(config=config)
    endpoint = "http://127.0.0.1:9/data"
    load = Load(http_address(millrace), tmp_path, "--route", "ingest", "-b", each, "-c", 8, "-p", 2, "--rate", 1000,
                "--endpoint", endpoint, "-n", slots // each)
    try:
        run_load(millrace, load, rng, KILLS)
        account = load.end()
    finally:
        load.discard()
    found = events(millrace, "postback")
    account["events_each"] = each
    taken = check_account(account, load, [int(event["data"]["n"]) for event in found])
    print(f"{taken} acknowledged, {account['unanswered']} requests unanswered, {len(found)} in the queue")
    assert len({event["id"] for event in found}) == len(found)
    whole = collections.Counter((int(event["data"]["n"]) - 1) // each for event in found)
    assert set(whole.values()) == {each}, "of a request, answered or not, all postbacks are there or none"
    shape = {(tuple(event), event["method"], event["url"], tuple(event["data"]), event["ip"]) for event in found}
    assert len(shape) == 1 and next(iter(shape))[2].startswith(endpoint), "every one is whole"
    queue = millrace.stat()["queues"][0]
    assert (queue["filling"], queue["ready"], queue["taken"]) == (0, len(found), 0)
    assert ask(http_address(millrace), "GET", "/readyz").status == 200
    assert millrace.stop() == POSTBACKS_WAIT


@pytest.mark.limit(180)
def test_a_request_whose_stage_is_killed_in_the_middle_of_it_is_stored_whole_or_not_at_all(instance, tmp_path, rng, backend):
    """Large requests one after the other, so that a kill often comes between the first commit of one and its last."""
    each, requests, tries = 500, 12, 30
    millrace = instance(config=http_config(tmp_path, backend, queue={"slots": 1 << 18, "slot_size": 128}))
    body = request_bytes("POST", "/ingest", {"endpoint": {"method": "GET", "url": "http://h/"}, "data": [{"n": n} for n in range(each)]})

    def stored():
        queue = millrace.stat()["queues"][0]
        return queue["ready"] if queue["filling"] == queue["taken"] == 0 else None

    def send(kill_after=None):
        """Returns the pid of the stage, requests that were answered, and how long it took."""
        pid, = wait_until(lambda: len(found := stages_of(millrace)) == 1 and found, 20, "a stage")
        answered = 0
        with Client(http_address(millrace)) as client:
            client.send(request_bytes("GET", "/healthz"))
            assert client.reply().status == 200
            processes.pause(pid)
            client.send(requests * body)
            begun = time.monotonic()
            processes.resume(pid)
            if kill_after is not None:
                time.sleep(kill_after)
                assert kill_pid(pid)
            with contextlib.suppress(EOFError, ConnectionError):
                for _ in range(requests):
                    assert client.reply("POST").status == 202
                    answered += 1
            return pid, answered, time.monotonic() - begun

    took = min(send()[2] for _ in range(3))
    before, cut = 3 * requests * each, 0
    for _ in range(tries):
        pid, answered, _ = send(kill_after=rng.uniform(0, took))
        wait_until(lambda p=pid: stages_of(millrace) not in ([], [p]), 20, "the next life")
        now = wait_until(lambda: stored() or None, 20, "a queue without claims")
        whole, rest = divmod(now - before, each)
        assert rest == 0, f"{rest} of {each} are in the queue"
        assert answered <= whole <= requests
        cut += whole < requests
        before = now
    finished = sum(int(n) > 0 for n in re.findall(r"published=(\d+)", millrace.log()))
    print(f"{requests} requests take {took * 1000:.1f} ms; killed before the last {cut} times, {finished} times in the middle of one's commits")
    assert millrace.stop() == POSTBACKS_WAIT


@pytest.mark.limit(120)
def test_a_life_that_is_killed_with_requests_half_sent_leaves_a_clean_next_one(instance, tmp_path, backend):
    millrace = instance(config=http_config(tmp_path, backend))
    address = http_address(millrace)
    data = request_bytes("POST", "/event", {"username": "a", "count": 1, "metric": "m"})
    for cut in (1, 30, len(data) - 1, len(data)):
        with socket.create_connection(address) as client:
            client.sendall(data[:cut])
            pid = stages_of(millrace)[0]
            assert kill_pid(pid)
            wait_until(lambda p=pid: stages_of(millrace) not in ([], [p]), 20, "the next life")
            assert ask(address, "GET", "/healthz").status == 200
    written = millrace.ledger("metric")["written"]
    assert written <= 1 and len(events(millrace, "metric")) == written
    wait_until(lambda: millrace.ledger("metric")["balanced"], 20, "the ledger to add up")
