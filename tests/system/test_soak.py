"""All at once for a while: every route and sink under load, everything that can break breaks, and in the end nothing is missing, nothing is
there twice, and nobody holds more than at the beginning. `make soak SOAK_SECONDS=600` is the long form."""
import collections
import json
import os
import time

import pytest

from harness import SLOW, rows, wait_until
from objects_help import check_objects, flush, numbers_of, read_directory, unpack
from soak_help import DISK_BYTES, Chaos, Load, come_to_rest, holds, small_disk, soak_config
from test_catch import Catch
from test_enrich import make_databases
from test_file import events_of

LASTS_S = 180  # scripts/run-tests begins with the file that says the most
SECONDS = int(os.environ.get("MILLRACE_SOAK_S") or LASTS_S)
WARM_S = 5
MEMORY_MORE = 4 << 20  # what a process may hold more at the end than when it was warm, and a quarter of that
SOCKETS_MORE = 32  # connections are kept, as many as were of use at a time
OTHERS_MORE = 2


def counted(disk, query):
    return rows(disk / "data" / "tally.db", query)


def check_udp(one, load, disk):
    expected = load.udp.expected
    ledger = one.ledger("ip")
    assert (ledger["received"], ledger["kernel_dropped"], ledger["dropped"]) == (expected.sent, 0, 0), ledger
    assert {reason: n for reason, n in ledger["rejected"].items() if n} == expected.rejected
    assert dict(counted(disk, "SELECT sha, count FROM report")) == expected.count
    for sha in load.udp.shas:
        assert one.report(sha) == expected.report(sha)


def check_metrics(one, load, disk, server):
    objects = {entry["key"]: unpack(server.control.data(entry["key"])) for entry in server.control.objects()}
    found = [json.loads(line)["count"] for lines in objects.values() for line in lines]
    load.event.numbers.check(found, "metrics in S3")
    assert one.ledger("metric")["written"] == len(found)
    assert not server.control.uploads() and not server.control.aborts(), "an upload is left open"
    shown = dict(counted(disk, "SELECT CAST(key AS TEXT), sum(count) FROM top_counter JOIN top ON top.id = list WHERE name LIKE 'metric/day/%' GROUP BY key"))
    assert shown == collections.Counter(f"m{number % 5}" for number in found), "tally counts what is stored"


def check_logs(one, load, disk):
    objects = read_directory(disk / "objects")
    found = numbers_of(objects)
    load.log.numbers.check(found, "logs in the directory")
    check_objects(objects)
    assert one.ledger("log")["written"] == len(found)


def check_tracks(one, load, disk):
    events = events_of(disk / "tracks")
    by_type = collections.defaultdict(list)
    for event in events:
        by_type[event["type"]].append(int(event["params"]["n"]))
    load.track.numbers.check(by_type["call"], "calls in the file")
    load.batch.numbers.check(by_type["batch"], "batches in the file")
    assert one.ledger("track.raw")["written"] == one.ledger("track")["written"] == len(events)
    shown = dict(counted(disk, "SELECT CAST(key AS TEXT), sum(count) FROM top_counter JOIN top ON top.id = list WHERE name = 'track/type' GROUP BY key"))
    assert shown == {name: len(numbers) for name, numbers in by_type.items()}


def check_postbacks(load, log, disk):
    """At least once, and what comes again has the same id."""
    ids = collections.defaultdict(set)
    for line in log.read_text().splitlines():
        request = json.loads(line)
        ids[int(request["target"].rpartition("n=")[2])].add(dict(request["headers"])["idempotency-key"])
    assert all(len(some) == 1 for some in ids.values()), "a postback has two ids"
    load.ingest.numbers.check(list(ids), "postbacks")
    waiting, dead = deliver_rows(disk, "waiting"), deliver_rows(disk, "dead")
    assert waiting == dead == 0, (waiting, dead)


def deliver_rows(disk, table):
    return rows(disk / "data" / "deliver.db", f"SELECT count(*) FROM {table}")[0][0]


def check_held(before, after):
    """Nobody has grown: bytes of its own, and descriptors."""
    assert before.keys() == after.keys()
    for role, held in after.items():
        print(f"{role}: bytes, sockets, other descriptors {before[role]} when warm, {held} at the end")
    for role, (own, sockets, others) in after.items():
        warm, had_sockets, had_others = before[role]
        # a sanitizer keeps what was freed
        assert SLOW > 1 or own <= warm * 5 // 4 + MEMORY_MORE, f"{role} holds {own} bytes, {warm} when it was warm"
        assert sockets <= had_sockets + SOCKETS_MORE, f"{role} has {sockets} sockets open, {had_sockets} when it was warm"
        assert others <= had_others + OTHERS_MORE, f"{role} has {others} other descriptors open, {had_others} when it was warm"


@pytest.fixture
def disk(tmp_path):
    """(folder, whether it can be filled)"""
    with small_disk(tmp_path / "disk", DISK_BYTES) as small:
        yield tmp_path / "disk", small


def soak(one, load, chaos):
    """Warm, then broken again and again, then at rest. Returns what processes held when they were warm, and in the end."""
    load.go()
    time.sleep(WARM_S * SLOW)
    load.rest()
    come_to_rest(one)
    warm, files = holds(one), {path.name for path in one.directory.iterdir()}
    load.go()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        chaos.one_thing()
        for sender in load.all:
            sender.check()
    chaos.mend()
    load.rest()
    come_to_rest(one)
    for sink in ("logs", "metrics"):
        flush(one, sink, 60)
    come_to_rest(one)
    left = {path.name for path in one.directory.iterdir()} - files
    assert not left, f"files in shared memory that were not there at the beginning: {sorted(left)}"
    return warm, holds(one)


@pytest.mark.limit(SECONDS + 400)
def test_everything_at_once_and_everything_that_can_break(store, disk, instance, tmp_path, rng):
    server = store("--s3")
    folder, small = disk
    database, log = tmp_path / "country.mmdb", tmp_path / "caught"
    databases = make_databases(tmp_path, 4)
    database.write_bytes(databases[0])
    config = soak_config(tmp_path, folder, server, database)
    one = instance(config=config)
    with Catch("--answer", "200:0.95,503:0.05", "--log", log) as catch:
        load = Load(one, catch, rng)
        chaos = Chaos(one, config, server, databases, database, folder if small else None, rng)
        try:
            warm, held = soak(one, load, chaos)
        finally:
            load.end()
            print(dict(chaos.done), load.sent(), load.udp.expected.sent)
        wait_until(lambda: deliver_rows(folder, "waiting") == 0, 60, "all postbacks", pause=0.2)
        check_udp(one, load, folder)
        check_metrics(one, load, folder, server)
        check_logs(one, load, folder)
        check_tracks(one, load, folder)
        catch.account()
        check_postbacks(load, log, folder)
        check_held(warm, held)
        assert one.stop(60) == 0
