"""Sinks of the kind objects with S3 and Azure as their stores, played by the fault server: what was acknowledged is in exactly one
object and no upload is left open, whenever the sink is killed and however the store fails."""
import json
import os
import threading
import time

import pytest

from harness import kill_pid, wait_until
from http_help import Client, http_address, request_bytes
from objects_help import (check_objects, flush, log_line, numbers_of, objects_config, pid_of_sink, plain, reboot, send_logs, sink_metrics, sink_note,
                          unpack)

KILLS = int(os.environ.get("MILLRACE_KILLS") or 30)
MIB = 1 << 20
LONG = "x" * 60000  # a part of 5 MiB is 88 such lines


class Kind:
    """A store of the fault server, and the names of its requests."""

    def __init__(self, server, options):
        self.server = server
        self.control = server.control
        self.options = {self.service: options}

    def objects(self, unpack=unpack):
        """{name: lines}"""
        return {one["key"]: unpack(self.control.data(one["key"], **self.where)) for one in self.control.objects()}


class S3(Kind):
    service, where = "s3", {}
    operations = ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject", "HeadObject"]
    finish, put = "CompleteMultipartUpload", "PutObject"

    def __init__(self, store):
        server = store("--s3")
        super().__init__(server, {
            "bucket": "bucket", "endpoint": server.urls["s3"], "region": server.about["region"], "credentials": "config",
            "access_key": server.keys["access_key"], "secret_key": server.keys["secret_key"], "stall_timeout": "1s"})


class Azure(Kind):
    service, where = "azure", {"bucket": "container", "service": "azure"}
    operations = ["PutBlock", "PutBlockList", "PutBlob", "GetBlobProperties"]
    finish, put = "PutBlockList", "PutBlob"

    def __init__(self, store):
        server = store("--azure")
        super().__init__(server, {
            "account": server.keys["account"], "container": "container", "endpoint": server.urls["azure_account"], "credentials": "key",
            "key": server.keys["account_key"], "stall_timeout": "1s"})


@pytest.fixture(params=[S3, Azure])
def kind(request, store):
    return request.param(store)


def config_for(tmp_path, kind, **sink):
    return objects_config(tmp_path, topics={"log": {"size": "16MiB"}}, tails="64MiB", longest_line="128KiB", part_size="5MiB", member="256KiB",
                          **{"store": kind.options, **sink})


class Sender(threading.Thread):
    """Long lines, one after the other, until it is told to end; knows which were acknowledged."""

    def __init__(self, millrace, rate, text=LONG):
        super().__init__()
        self.address = http_address(millrace)
        self.pause_s = 1 / rate
        self.text = text
        self.acknowledged = []
        self.stopping = threading.Event()
        self.failure = None

    def run(self):
        try:
            with Client(self.address) as client:
                number = 0
                while not self.stopping.wait(self.pause_s):
                    client.send(request_bytes("POST", "/log", log_line(number, client=1, text=self.text)))
                    if client.reply().status == 200:
                        self.acknowledged.append(number)
                    number += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()
        assert self.failure is None, self.failure


def plain_without_text(data):
    """The long lines of a long run would not all fit the test's memory."""
    return plain(data.replace(LONG.encode(), b""))


def check_all(kind, sent, unpack=plain):
    objects = kind.objects(unpack)
    found = numbers_of(objects)
    assert len(found) == len(set(found)), "an event is there twice"
    missing = sorted(set(sent) - set(found))
    assert not missing, f"{len(missing)} of {len(sent)} are missing, such as {missing[:5]}"
    check_objects(objects)
    assert not kind.control.uploads(), "an upload is left open"
    assert not kind.control.aborts()


# ---- what comes in is there ----


def test_small_and_large_objects_are_in_the_store(instance, tmp_path, kind):
    millrace = instance(config=config_for(tmp_path, kind, compression="none"))
    send_logs(millrace, range(10))
    send_logs(millrace, range(10, 260), pipeline=4, client=1, text=LONG)
    flush(millrace)
    objects = kind.objects(plain)
    assert len(objects) == 5
    check_all(kind, range(260))
    metrics = sink_metrics(millrace)
    assert metrics["parts"] >= 3 and metrics["objects"] == 5 and metrics["abandoned"] == 0 and metrics["failing"] == 0


def test_the_bare_name_is_taken_once(instance, tmp_path, kind):
    millrace = instance(config=config_for(tmp_path, kind))
    for turn in range(2):
        send_logs(millrace, range(turn * 10, turn * 10 + 10), client=1)
        flush(millrace)
    assert len(kind.objects()) == 2
    check_all(kind, range(20), unpack)


# ---- the sink dies ----


@pytest.mark.limit(120 + 8 * KILLS)
def test_kills_between_a_request_and_its_answer(instance, tmp_path, kind, rng):
    kind.control.set(packed=True)
    millrace = instance(config=config_for(tmp_path, kind, compression="none", finish={"after": "2s", "size": "12MiB"}))
    with Sender(millrace, 150) as sender:
        for kill in range(KILLS):
            pid = wait_until(lambda: pid_of_sink(millrace), 20, "a life", pause=0.005)
            rule = None
            if kill % 3 != 0:
                operation, when = rng.choice(kind.operations), rng.choice(["before", "after"])
                if operation == kind.put:
                    send_logs(millrace, [10**6 + kill], client=2)
                rule = kind.control.fault("hold", operation=operation, when=when, count=1)
                kind.control.wait_held(rule, timeout=30)
            else:
                time.sleep(rng.uniform(0, 0.5))
            kill_pid(pid)
            if rule is not None:
                kind.control.release(rule)
            wait_until(lambda pid=pid: pid_of_sink(millrace) not in (None, pid), 20, f"the life after kill {kill}", pause=0.005)
    status = millrace.stop()
    assert status == 0, millrace.log()[-4000:]
    check_all(kind, sender.acknowledged, plain_without_text)


# ---- the store fails ----

FAULTS = [("lose", {}), ("slow_down", {}), ("cut", {}), ("cut_answer", {}), ("conflict", {"acted": True}), ("internal", {"acted": True}),
          ("hang", {})]


@pytest.mark.parametrize("action, more", FAULTS, ids=lambda value: value if isinstance(value, str) else "-".join(value))
@pytest.mark.limit(90)
def test_each_fault_of_each_request_is_survived(instance, tmp_path, kind, action, more):
    millrace = instance(config=config_for(tmp_path, kind, compression="none"))
    for operation in kind.operations:
        kind.control.fault(action, operation=operation, count=1 if action == "hang" else 2, **more)
    send_logs(millrace, range(10))
    send_logs(millrace, range(10, 110), pipeline=4, client=1, text=LONG)
    flush(millrace, timeout=60)
    check_all(kind, range(110))
    assert len(kind.objects(plain)) == 5


def test_an_error_in_the_body_of_200_is_an_error(instance, tmp_path, kind):
    millrace = instance(config=config_for(tmp_path, kind, compression="none"))
    kind.control.fault("body_error", operation=kind.finish, count=3)
    send_logs(millrace, range(100), pipeline=4, client=1, text=LONG)
    flush(millrace, timeout=60)
    check_all(kind, range(100))
    assert sink_metrics(millrace)["retries"] >= 1


def test_no_such_upload_after_a_complete_that_worked_is_no_loss(instance, tmp_path, kind):
    millrace = instance(config=config_for(tmp_path, kind, compression="none"))
    kind.control.fault("no_upload", operation=kind.finish, acted=True, count=1)
    send_logs(millrace, range(100), pipeline=4, client=1, text=LONG)
    flush(millrace, timeout=60)
    check_all(kind, range(100))
    assert len(kind.objects(plain)) == 1 and sink_metrics(millrace)["abandoned"] == 0


def test_wrong_credentials_are_failing_with_the_stores_words_until_they_are_right(instance, tmp_path, kind):
    rule = kind.control.fault("denied", count=0)
    millrace = instance(config=config_for(tmp_path, kind))
    send_logs(millrace, range(20), client=1)
    wait_until(lambda: sink_metrics(millrace)["failing"] == 1, 20, "failing")
    note = sink_note(millrace)
    assert note.startswith("failing: ") and ("AccessDenied" in note or "Authorization" in note), note
    assert sink_metrics(millrace)["objects"] == 0 and not kind.control.objects()
    kind.control.clear(rule)
    flush(millrace)
    check_all(kind, range(20), unpack)
    assert sink_metrics(millrace)["failing"] == 0


@pytest.mark.limit(120)
def test_a_store_that_is_gone_for_a_while_loses_nothing(instance, tmp_path, kind):
    millrace = instance(config=config_for(tmp_path, kind, compression="none", finish={"after": "2s", "size": "12MiB"}))
    with Sender(millrace, 100) as sender:
        time.sleep(1)
        kind.control.refuse(kind.service)
        wait_until(lambda: sink_metrics(millrace)["failing"] == 1, 20, "failing")
        time.sleep(6)
        kind.control.refuse(kind.service, False)
        wait_until(lambda: sink_metrics(millrace)["failing"] == 0, 20, "the store works again")
    assert millrace.stop() == 0
    check_all(kind, sender.acknowledged)


def spool_files(tmp_path):
    return [path for path in (tmp_path / "data" / "spool" / "logs").iterdir() if path.name != "owner"]


@pytest.mark.limit(180)
def test_a_spool_takes_what_memory_does_not_hold_while_the_store_is_gone(instance, tmp_path, kind, rng):
    """Each request is answered 200 although several times `tails` comes in and the sink is killed meanwhile."""
    config = config_for(tmp_path, kind, compression="none", finish={"after": "1h", "size": "24MiB"}, spool={"size": "1GiB"})
    config["sinks"][0].update(tails="24MiB", member="64KiB")
    millrace = instance(config=config)
    sent = spooled = 0
    kind.control.refuse(kind.service)
    for _ in range(6):
        for client in (1, 2):
            send_logs(millrace, range(sent, sent + 120), pipeline=4, client=client, text=LONG)
            sent += 120
            time.sleep(rng.uniform(0, 0.1))
            pid = pid_of_sink(millrace)
            spooled += sink_metrics(millrace)["spooled"]  # of this life
            kill_pid(pid)
            wait_until(lambda pid=pid: pid_of_sink(millrace) not in (None, pid), 20, "the next life", pause=0.005)
            # the lane holds two of these: it need not hold what a dead sink does not read
            wait_until(lambda: millrace.group("log", "logs")["waiting_records"] < 120, 30, "it reads")
    wait_until(lambda: sink_metrics(millrace)["failing"] == 1 and millrace.group("log", "logs")["waiting_records"] == 0, 30, "all is read")
    wait_until(lambda: sink_metrics(millrace)["spool_parts"] == len(spool_files(tmp_path)), 30, "all is counted")
    assert sink_metrics(millrace)["spool_bytes"] > 36 * MIB and spooled + sink_metrics(millrace)["spooled"] > 0
    shown = json.loads(millrace.millrace("sinks", "--json").stdout)["sinks"][0]
    assert shown["spool_parts"] > 0 and shown["spool_bytes"] > 36 * MIB
    kind.control.refuse(kind.service, False)
    for _ in range(3):
        time.sleep(rng.uniform(0, 0.5))
        kill_pid(wait_until(lambda: pid_of_sink(millrace), 20, "a life", pause=0.005))
    flush(millrace, timeout=90)
    check_all(kind, range(sent))
    metrics = sink_metrics(millrace)
    assert metrics["spool_bytes"] == 0 and metrics["abandoned"] == 0 and not spool_files(tmp_path)


@pytest.mark.parametrize("kind", [S3], indirect=True)
def test_a_lost_upload_costs_what_was_confirmed_and_is_written_down(instance, tmp_path, kind):
    millrace = instance(config=config_for(tmp_path, kind, compression="none"))
    send_logs(millrace, range(100), pipeline=4, client=1, text=LONG)
    wait_until(lambda: sink_metrics(millrace)["parts"] == 1, 20, "a part in the store")
    kind.control.reset()
    send_logs(millrace, range(100, 300), pipeline=4, client=1, text=LONG)
    flush(millrace, timeout=60)
    found = numbers_of(kind.objects(plain))
    assert len(found) == len(set(found)) and set(range(100, 300)) <= set(found)
    assert 80 <= 300 - len(found) <= 95, "what one part had"
    assert sink_metrics(millrace)["abandoned"] == 1
    lines = (tmp_path / "data" / "sinks" / "logs.abandoned").read_text().splitlines()
    assert len(lines) == 1 and json.loads(lines[0])["upload"] and json.loads(lines[0])["bytes"] >= 5 * MIB


# ---- the machine starts again ----


def test_after_a_reboot_what_was_confirmed_is_in_an_object(instance, tmp_path, kind):
    millrace = instance(config=config_for(tmp_path, kind, compression="none"))
    send_logs(millrace, range(260), pipeline=4, client=1, text=LONG)
    wait_until(lambda: sink_metrics(millrace)["parts"] >= 2, 30, "two confirmed parts")
    assert not kind.objects(plain)
    reboot(millrace)
    wait_until(lambda: sink_metrics(millrace)["recovered"] == 1, 30, "the upload is complete")
    metrics = sink_metrics(millrace)
    assert metrics["left_uploads"] == 0 and metrics["abandoned"] == 0
    found = numbers_of(kind.objects(plain))
    assert len(found) >= 2 * 5 * MIB // (len(LONG) + 200) and found == list(range(len(found)))
    assert not kind.control.uploads() and not kind.control.aborts()
    reboot(millrace)
    send_logs(millrace, range(1000, 1010), client=1)
    flush(millrace)
    assert sink_metrics(millrace)["recovered"] == 0
    assert numbers_of(kind.objects(plain)) == found + list(range(1000, 1010))
