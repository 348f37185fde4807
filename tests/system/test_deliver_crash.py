"""kill -9 under load: every postback that was accepted is delivered, and what comes twice has the same id."""
import os
import threading
import time

import pytest

from deliver_help import Database, Receiver, deliver_config, queue_counts
from harness import kill_pid, kill_supervisor, processes, wait_until
from http_help import Client, http_address

KILLS = int(os.environ.get("MILLRACE_KILLS") or 50)
WHOLE_KILLS = 5


class Load(threading.Thread):
    """Posts numbered postbacks, a few at a time, at about so many a second; notes those that were accepted, and those of which
    nobody can say (the connection died before the answer)."""

    def __init__(self, millrace, url, rate):
        super().__init__(daemon=True)
        self.millrace, self.url, self.rate = millrace, url, rate
        self.number, self.accepted, self.unknown = 0, set(), set()
        self.ended = threading.Event()
        self.failed = None

    def run(self):
        try:
            while not self.ended.is_set():
                self.connection()
        except Exception as error:  # pylint: disable=broad-except
            self.failed = error

    def connection(self):
        try:
            with Client(http_address(self.millrace)) as client:
                while not self.ended.is_set():
                    self.one(client)
                    time.sleep(10 / self.rate)
        except (OSError, EOFError, IndexError):
            time.sleep(0.02)

    def one(self, client):
        numbers = range(self.number, self.number + 10)
        self.number += 10
        self.unknown.update(numbers)
        reply = client.ask("POST", "/ingest", {"endpoint": {"method": "POST", "url": self.url}, "data": [{"n": n} for n in numbers]})
        assert reply.status in (202, 503), reply
        self.unknown.difference_update(numbers)
        if reply.status == 202:
            self.accepted.update(numbers)

    def end(self):
        self.ended.set()
        self.join(30)
        assert self.failed is None, self.failed
        return self


def numbers_of(receiver):
    """{number: [ids of its requests]}"""
    found = {}
    for request in receiver.seen():
        found.setdefault(int(request.path.rpartition("/")[2]), []).append(request.headers["idempotency-key"])
    return found


def check(receiver, load, most_twice):
    """Every accepted one came, under one id; how many came twice is bounded."""
    wait_until(lambda: load.accepted <= numbers_of(receiver).keys(), 60, "all that was accepted", pause=0.5)
    found = numbers_of(receiver)
    assert found.keys() <= load.accepted | load.unknown
    assert all(len(set(ids)) == 1 for ids in found.values())
    ids = [ids[0] for ids in found.values()]
    assert len(set(ids)) == len(ids)
    twice = sum(len(ids) - 1 for ids in found.values())
    print(f"accepted {len(load.accepted)}, came {len(found)}, duplicates {twice}")
    assert twice <= most_twice, (twice, most_twice)


@pytest.mark.limit(300)
def test_kills_of_the_stage_lose_nothing(instance, tmp_path, rng):
    """A tenth of the answers are failures, so that deliver.db is in use all the time."""
    chance = random_answers(rng)
    with Receiver(chance) as receiver:
        in_flight = 64
        millrace = instance(config=deliver_config(
            tmp_path, in_flight=in_flight, processes=2, retry={"schedule": ["100ms"] * 40, "jitter": "0.2"}, circuit={"failures": 0}))
        load = Load(millrace, receiver.url("/{n}"), 400)
        load.start()
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.02, 0.25))
            stat = millrace.try_stat()
            pids = [s["pid"] for s in (stat or {"stages": []})["stages"] if s["program"] == "deliver" and s["state"] == "running"]
            if pids:
                kill_pid(rng.choice(pids))
        load.end()
        check(receiver, load, most_twice=failures(receiver, chance) + KILLS * in_flight)
        wait_until(lambda: queue_counts(millrace)["free"] == 4096 and Database(tmp_path).waiting() == [], 40, "nothing left")
        assert Database(tmp_path).dead() == []


def random_answers(rng):
    def answer(request):
        if rng.random() < 0.1:
            answer.failed += 1
            return 503, {}, b""
        return 200, {}, b""

    answer.failed = 0
    return answer


def failures(receiver, answer):
    """Requests that were answered so that they come again."""
    assert receiver.answer is answer
    return answer.failed


@pytest.mark.limit(300)
def test_kills_of_the_whole_instance_lose_nothing(instance, tmp_path, rng):
    """The supervisor, alone or with all its stages; the next one takes up shared memory and deliver.db as they are."""
    chance = random_answers(rng)
    with Receiver(chance) as receiver:
        in_flight = 64
        config = deliver_config(
            tmp_path, in_flight=in_flight, retry={"schedule": ["100ms"] * 40, "jitter": "0.2"}, circuit={"failures": 0})
        millrace = instance(config=config)
        load = Load(millrace, receiver.url("/{n}"), 200)
        load.start()
        for _ in range(WHOLE_KILLS):
            time.sleep(rng.uniform(0.3, 1.0))
            kill_supervisor(millrace, rng, processes.children(of=millrace.process.pid), 20)
            millrace.wait_running()
        load.end()
        check(receiver, load, most_twice=failures(receiver, chance) + WHOLE_KILLS * in_flight)
        wait_until(lambda: queue_counts(millrace)["free"] == 4096 and Database(tmp_path).waiting() == [], 40, "nothing left")


@pytest.mark.limit(300)
def test_what_is_in_the_database_survives_the_loss_of_shared_memory(instance, tmp_path, rng):
    """As after a reboot: all processes are killed, the instance's folder goes. Five times; what was in deliver.db is delivered."""
    up = []
    with Receiver(lambda request: (200 if up else 503, {}, b"")) as receiver:
        config = deliver_config(tmp_path, retry={"schedule": ["300ms"] * 60, "jitter": "0"}, circuit={"failures": 0})
        millrace = instance(config=config)
        safe = set()
        for life in range(WHOLE_KILLS):
            numbers = [life * 100 + i for i in range(100)]
            with Client(http_address(millrace)) as client:
                reply = client.ask("POST", "/ingest", {"endpoint": {"method": "GET", "url": receiver.url("/{n}")},
                                                       "data": [{"n": n} for n in numbers]})
                assert reply.status == 202
            wait_until(lambda: queue_counts(millrace)["free"] == 4096, 20, "all in deliver.db")
            safe.update(numbers)
            time.sleep(rng.uniform(0, 0.5))
            millrace.discard()
            millrace.start()
        up.append(1)
        wait_until(lambda: Database(tmp_path).waiting() == [], 40, "all delivered")
        found = numbers_of(receiver)
        assert found.keys() == safe and all(len(set(ids)) == 1 for ids in found.values())
        assert Database(tmp_path).dead() == []
