"""Sinks of the kind objects into moto and Azurite, read back by boto3 and by Azure's own library: gunzip takes each object, each
line parses, and each event is there exactly once, where its day and client belong."""
import json
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness import SLOW, kill_pid, processes, wait_until
from http_help import Client, http_address, request_bytes
from objects_help import DAY_MS, STAMP, flush, log_line, objects_config, pid_of_sink, send_logs, sink_metrics
from store_help import s3_client

MIB = 1 << 20
PLACE = "objects"
OUTAGE_S = 3


class S3Place:
    """A bucket of moto."""

    part_min = 5 * MIB

    def __init__(self, moto):
        self.client = s3_client(moto.about())
        self.client.create_bucket(Bucket=PLACE)
        self.peer = moto
        self.store = {"s3": {"bucket": PLACE, "endpoint": moto.url, "access_key": moto.access_key, "secret_key": moto.secret_key,
                             "stall_timeout": "1s"}}

    def names(self):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=PLACE)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]

    def read(self):
        """{name: bytes}"""
        return {name: self.client.get_object(Bucket=PLACE, Key=name)["Body"].read() for name in self.names()}

    def open_uploads(self):
        return self.client.list_multipart_uploads(Bucket=PLACE).get("Uploads", [])

    def clear(self):
        for one in self.open_uploads():
            self.client.abort_multipart_upload(Bucket=PLACE, Key=one["Key"], UploadId=one["UploadId"])
        for name in self.names():
            self.client.delete_object(Bucket=PLACE, Key=name)


class AzurePlace:
    """A container of Azurite."""

    part_min = MIB

    def __init__(self, azurite):
        self.container = azurite.service().get_container_client(PLACE)
        if not self.container.exists():
            self.container.create_container()
        self.peer = azurite
        self.store = {"azure": {"account": azurite.account, "container": PLACE, "endpoint": azurite.url, "key": azurite.key,
                                "stall_timeout": "1s"}}

    def read(self):
        return {one.name: self.container.download_blob(one.name, decompress=False).readall() for one in self.container.list_blobs()}

    def open_uploads(self):
        """Blobs of uncommitted blocks alone."""
        there = {one.name for one in self.container.list_blobs()}
        return [one.name for one in self.container.list_blobs(include=["uncommittedblobs"]) if one.name not in there]

    def clear(self):
        for one in self.container.list_blobs(include=["uncommittedblobs"]):
            if one.name in self.open_uploads():
                self.container.upload_blob(one.name, b"")  # what is not committed goes with it
            self.container.delete_blob(one.name)


@pytest.fixture(params=["moto", "azurite"])
def place(request):
    kind = {"moto": S3Place, "azurite": AzurePlace}[request.param]
    one = kind(request.getfixturevalue(request.param))
    one.clear()
    return one


def config_of(tmp_path, place, **sink):
    """A lane that holds what a sender sends while a store on a busy machine is slow: none of it may be refused."""
    return objects_config(tmp_path, topics={"log": {"size": "128MiB"}}, tails="64MiB", part_size=place.part_min, store=place.store, **sink)


def lines_of(name, data, program=("gunzip", "-c")):
    """Unpacked by a program that others wrote."""
    run = subprocess.run(program, input=data, capture_output=True, check=False, timeout=60 * SLOW)
    assert run.returncode == 0, f"{name}: {run.stderr.decode()}"
    assert run.stdout.endswith(b"\n"), f"{name} ends within a line"
    return run.stdout.decode().splitlines()


def day_of(event):
    return time.strftime("%Y-%m-%d", time.gmtime(event["timestamp"] / 1000))


def check_once(place, count, program=("gunzip", "-c")):
    """Each event of 0 .. count - 1 exactly once, in an object of its day and client. Returns the objects' bytes."""
    objects = place.read()
    seen = []
    for name, data in objects.items():
        for line in lines_of(name, data, program):
            event = json.loads(line)
            key = f"chat/{day_of(event)}/content_logs_{day_of(event)}_{event['client_id']}"
            assert name == key or name.startswith(key + "_"), f"{line[:200]} lies in {name}"
            seen.append(event["content_id"] - 1)
    missing, more = sorted(set(range(count)) - set(seen)), len(seen) - len(set(seen))
    assert not missing and not more and len(seen) == count, f"{len(missing)} missing: {missing[:10]}; {more} more than once; {len(seen)} in all"
    assert place.open_uploads() == []
    return objects


@pytest.mark.limit(120)
def test_each_event_is_in_one_object_of_its_day_and_client(instance, tmp_path, place):
    millrace = instance(config=config_of(tmp_path, place))
    send_logs(millrace, range(3000))
    send_logs(millrace, range(3000, 3100), client=77, stamp=STAMP + DAY_MS)
    flush(millrace)
    assert len(check_once(place, 3100)) == 6
    send_logs(millrace, range(3100, 4000))
    assert millrace.stop() == 0
    assert len(check_once(place, 4000)) == 11


@pytest.mark.limit(120)
@pytest.mark.parametrize("method, program", [("zlib:6", ("gunzip", "-c")), ("zstd:3", ("zstd", "-dc")), ("none", ("cat",))])
def test_every_method_is_read_back(instance, tmp_path, place, method, program):
    millrace = instance(config=config_of(tmp_path, place, compression=method))
    send_logs(millrace, range(2000))
    flush(millrace)
    check_once(place, 2000, program)


def send_big(millrace, numbers, rng):
    """4000 bytes each after compression, all of one client."""
    with Client(http_address(millrace)) as client:
        for number in numbers:
            client.send(request_bytes("POST", "/log", log_line(number, client=1, text=rng.randbytes(4000).hex())))
            assert client.reply().status == 200


@pytest.mark.limit(240)
def test_a_large_object_goes_up_in_parts(instance, tmp_path, place, rng):
    count = 3 * place.part_min // 4000
    millrace = instance(config=config_of(tmp_path, place))
    send_big(millrace, range(count), rng)
    flush(millrace, timeout=100)
    objects = check_once(place, count)
    assert len(objects) == 1 and sink_metrics(millrace)["parts"] >= 2, list(objects)


class Sender:
    """Sends in a thread of its own until it is told to stop."""

    def __init__(self, millrace, seed):
        self.millrace, self.rng, self.count, self.problem = millrace, random.Random(seed), 0, None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                send_logs(self.millrace, range(self.count, self.count + 50), text=self.rng.randbytes(1000).hex(), pipeline=10)
                self.count += 50
        except BaseException as error:  # pylint: disable=broad-except
            self.problem = error

    def stop(self):
        self.stopping.set()
        self.thread.join(60 * SLOW)
        assert self.problem is None and not self.thread.is_alive(), self.problem
        return self.count


@pytest.mark.limit(240)
def test_kills_neither_lose_nor_repeat(instance, tmp_path, place, rng):
    millrace = instance(config=config_of(tmp_path, place, finish={"after": "2s"}))
    sender = Sender(millrace, rng.random())
    for _ in range(10):
        time.sleep(rng.uniform(0.05, 0.7))
        kill_pid(wait_until(lambda: pid_of_sink(millrace), 20, "a life of the sink"))
    count = sender.stop()
    wait_until(lambda: pid_of_sink(millrace), 20, "a life of the sink")
    assert millrace.stop() == 0
    check_once(place, count)


@pytest.mark.limit(240)
def test_a_store_that_stands_still_costs_nothing(instance, tmp_path, place, rng):
    """It neither answers nor refuses, and then goes on as if nothing had been: what it did meanwhile counts."""
    millrace = instance(config=config_of(tmp_path, place, finish={"after": "1s"}))
    sender = Sender(millrace, rng.random())
    for _ in range(2):
        time.sleep(1.5)
        place.peer.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(OUTAGE_S)
        finally:
            processes.resume(place.peer.process.pid)
    count = sender.stop()
    flush(millrace, timeout=90)
    check_once(place, count)
    assert Path("/proc", str(pid_of_sink(millrace))).exists()
