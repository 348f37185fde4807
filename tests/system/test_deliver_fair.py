"""One endpoint that hangs, one that fails, one whose name is never answered: the others do not notice."""
import os
import time

import pytest

from deliver_help import Database, Receiver, Silent, accept, deliver_config, pause, stage_metric, wait_stage_metric
from harness import SLOW, own_bytes, wait_until
from http_help import Client, http_address

GOOD = 7
SECONDS = 12  # so long that a disk that is slow once is no tenth of it
ROUNDS_A_SECOND = 20
EACH = 3  # postbacks to each endpoint in a round


def offer(millrace, urls):
    """So many rounds a second to each URL. Returns the postbacks to each."""
    begun = time.monotonic()
    rounds = SECONDS * ROUNDS_A_SECOND
    with Client(http_address(millrace)) as client:
        for n in range(rounds):
            for url in urls:
                reply = client.ask("POST", "/ingest", {"endpoint": {"method": "GET", "url": url}, "data": [{"n": n}] * EACH})
                assert reply.status == 202, reply
            time.sleep(max(0.0, begun + SLOW * (n + 1) / ROUNDS_A_SECOND - time.monotonic()))
    return rounds * EACH


def arriving(receivers, millrace, urls):
    """How many come to each while so many are offered, and half a second after. What comes later is waited for."""
    before = [len(receiver.seen()) for receiver in receivers]
    n = offer(millrace, urls)
    pause(0.5)
    came = [len(receiver.seen()) - had for receiver, had in zip(receivers, before)]
    for receiver, had in zip(receivers, before):
        receiver.wait(had + n, timeout=30)
    return came


@pytest.mark.limit(120)
def test_seven_of_ten_endpoints_keep_their_rate_while_three_are_bad(instance, tmp_path, dns):
    """in_flight is small, so that each bad one alone could fill it."""
    dns.answer("silent.example", silent=True)
    with Silent() as silent, Receiver(lambda request: (500, {}, b"")) as failing:
        good = [Receiver() for _ in range(GOOD)]
        try:
            millrace = instance(config=deliver_config(
                tmp_path, in_flight=200, retry={"schedule": ["1s", "2s", "4s", "8s"], "jitter": "0.2"}, circuit={"failures": 10},
                dns={"servers": [dns.server], "timeout": "5s", "tries": 3}))
            urls = [receiver.url("/{n}?good") for receiver in good]
            bad = [silent.url("/{n}?hangs"), failing.url("/{n}?fails"), "http://silent.example/{n}?name"]
            alone, both = arriving(good, millrace, urls), arriving(good, millrace, urls + bad)
            print(f"alone {alone}, with three bad ones {both}")
            for n, before in zip(both, alone):
                assert n >= 0.9 * before, (alone, both)
            assert len(failing.seen()) > 0 and silent.url and dns.questions()
            wait_until(lambda: stage_metric(millrace, "circuits_open") >= 1, 10, "the failing one's circuit is open")
        finally:
            for receiver in good:
                receiver.close()


N = int(os.environ.get("MILLRACE_OUTAGE_POSTBACKS") or 3000)
# Bytes: 16 MiB of pages of the database, 8 KiB for each of the 1,024 in flight, 64 KiB for each of 64 connections; not the 200,000 that
# wait. A sanitizer keeps what was freed.
FLAT = (16 << 20) + 1024 * (8 << 10) + 64 * (64 << 10) if SLOW == 1 else 1e9
DOWN_S = float(os.environ.get("MILLRACE_OUTAGE_S") or 5)


@pytest.mark.limit(90 + 3 * DOWN_S + N / 300)
def test_a_receiver_that_is_down_for_a_while_gets_all_of_it_later_and_memory_stays_flat(instance, tmp_path):
    """MILLRACE_OUTAGE_POSTBACKS and MILLRACE_OUTAGE_S make it longer: make outage-deliver."""
    port = Silent()
    url = port.url("/{n}")
    port.socket.close()  # connections are refused until somebody listens there again
    millrace = instance(config=deliver_config(
        tmp_path, queue={"slots": 16384, "slot_size": 512}, retry={"schedule": ["1s", "2s", "5s", "10s", "20s", "20s", "20s"] + ["1m"] * 20},
        in_flight=1024, circuit={"failures": 10, "pause": "500ms", "pause_most": "2s"}))
    pid = millrace.pid_of("deliver.0")
    accept(millrace, url, [{"n": 0}])
    wait_stage_metric(millrace, "attempts", 1)
    begun, sent, most, first = time.monotonic(), 1, 0, own_bytes(pid)
    with Client(http_address(millrace)) as client:
        while sent < N or time.monotonic() - begun < DOWN_S:
            n = min(100, N - sent)
            if n > 0:
                reply = client.ask("POST", "/ingest",
                                   {"endpoint": {"method": "GET", "url": url}, "data": [{"n": sent + i} for i in range(n)]})
                assert reply.status in (202, 503)
                sent += n if reply.status == 202 else 0
            time.sleep(0.1 if n == 0 or reply.status == 503 else 0.002)
            most = max(most, own_bytes(pid))
    wait_until(lambda: stage_metric(millrace, "waiting_parked") + stage_metric(millrace, "waiting_later") >= N - 1024, 60, "all in deliver.db")
    assert most - first < FLAT, (first, most)
    with Receiver(port=port.port) as receiver:
        wait_until(lambda: Database(tmp_path).waiting() == [] and stage_metric(millrace, "delivered") == N, 60 + N / 300, "all delivered", pause=0.5)
        assert len({request.path for request in receiver.seen()}) == N
        most = max(most, own_bytes(pid))
        print(f"{N} postbacks, {len(receiver.seen())} requests, memory {first} at first, {most} at most")
        assert most - first < FLAT, (first, most)
    assert Database(tmp_path).dead() == []
