"""The enrich stage in a running instance: what tracking calls become, under kill -9, reloads and databases that are replaced.

Calls carry a number each (n=...). The topic track must equal the topic track.raw one to one: each number once in both, with the same type and
arrival, and in the order in which its lane of track.raw has them.
"""
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

from harness import BUILD, MILLRACE, SLOW, kill_pid, processes, wait_until
from http_help import Client, Load, ask, check_ledger, events, http_address, http_config, request_bytes
from stored_help import Collector

FIREFOX = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.13; rv:56.0) Gecko/20100101 Firefox/56.0"
MMDB_TOOL = BUILD / "tests" / "mmdb_tool"
ENRICH = BUILD / "libexec" / "millrace" / "enrich"
VERSION_0_BUILT_S = 1700000000  # tests/tool/mmdb_tool.c
NETWORKS = 256
KILLS = 50
REPLACEMENTS = 100
CALLS_MOST = 80000  # in one test: what its lanes hold, whichever of them takes them all


def enrich_config(tmp_path, http_processes=1, raw="32MiB", track="64MiB", **enrich):
    """Lanes that hold all that a test sends, so that tap finds every event."""
    topics = {"track.raw": {"size": raw}, "track": {"size": track}}
    config = http_config(tmp_path, topics=topics, processes=http_processes)
    config["enrich"] = {"pod": "10.0.0.7", **enrich}
    return config


def metrics(millrace, role="enrich.0"):
    return millrace.stage(role)["metrics"]


def wait_enriched(millrace):
    """Waits until every call has become an event. Returns how many there are."""

    def done():
        ledger = millrace.ledger("track")
        return ledger["written"] and ledger["received"] == millrace.ledger("track.raw")["written"] and ledger["written"]

    return wait_until(done, 30, "all calls enriched")


def lane_and_position(event):
    _, _, lane, position = event["id"].rsplit("-", 3)
    return int(lane), int(position)


def check_one_to_one(raw, track):
    """Nothing lost, nothing twice, nothing changed; the calls of one lane of track.raw in order in each lane of track."""
    called = {}
    for event in raw:
        number = int(re.search(r"\bn=(\d+)", event["query"])[1])
        assert number not in called
        called[number] = event
    made = {}
    last = {}
    for event in sorted(track, key=lane_and_position):
        number = int(event["params"]["n"])
        assert number in called, f"nobody called {event}"
        assert number not in made, f"twice: {event} and {made[number]}"
        made[number] = event
        call = called[number]
        assert (event["type"], event["ts"], event["ip"]) == (call["type"], call["ts"], call["ip"])
        lane, position = lane_and_position(call)
        between = (lane, lane_and_position(event)[0])
        assert position > last.get(between, -1), f"out of order: {event}"
        last[between] = position
    missing = sorted(set(called) - set(made))
    assert not missing, f"{len(missing)} missing, the first {called[missing[0]]}"


def check_whole(millrace, track=None):
    """track, or what a tap finds in it, equals track.raw, and both ledgers add up."""
    n = wait_enriched(millrace)
    raw = events(millrace, "track.raw")
    track = events(millrace, "track") if track is None else track
    check_one_to_one(raw, track)
    assert len(raw) == n
    check_ledger(millrace, "track.raw", received=n, rejected=0, written=n)
    check_ledger(millrace, "track", received=n, rejected=0, written=n)
    return n


# ---- what an event says ----


def lines(millrace):
    result = millrace.millrace("tap", "track", "--last", "1G", "--no-follow", "--format", "line")
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return result.stdout.splitlines()


def test_a_call_comes_out_as_the_tracking_line(instance, tmp_path):
    millrace = instance(config=enrich_config(tmp_path))
    began_ms = time.time_ns() // 10**6
    reply = ask(http_address(millrace), "GET", "/t/app_open?deviceid=abcdf&ts=123456&referrer=website", None,
                f"User-Agent: {FIREFOX}", "X-Forwarded-For: 172.17.0.1")
    assert reply.status == 200
    assert ask(http_address(millrace), "GET", "/").status == 200
    wait_enriched(millrace)
    first, second = lines(millrace)
    found = re.fullmatch(
        r"app_open type=Desktop&browser=Firefox&engine=Gecko&version=56\.0&os=Mac&host=millrace\.test&pod=10\.0\.0\.7&ts=(\d+)&"
        r"ip=ffffac110001&klag=(\d+)&country=XX&city=XX deviceid=abcdf&ts=123456&referrer=website", first)
    assert found and began_ms <= int(found[1]) <= time.time_ns() // 10**6 and int(found[2]) < 60000 * SLOW, first
    assert second.startswith("/ type=Other&") and second.endswith("&country=XX&city=XX e"), second


def enriched(millrace, target, *fields):
    """The event of one call."""
    assert ask(http_address(millrace), "GET", target, None, *fields).status == 200
    wait_enriched(millrace)
    return events(millrace, "track")[-1]


def make_databases(tmp_path, n=1):
    """n country databases that tell which they are (tests/tool/mmdb_tool.c)."""
    folder = tmp_path / "databases"
    folder.mkdir()
    subprocess.run([str(MMDB_TOOL), str(folder), str(n)], check=True)
    return [(folder / f"{i}.mmdb").read_bytes() for i in range(n)]


def test_privacy_options_leave_out_what_they_name(instance, tmp_path):
    (tmp_path / "country.mmdb").write_bytes(make_databases(tmp_path)[0])
    config = enrich_config(tmp_path, country_database=str(tmp_path / "country.mmdb"))
    target, client = "/t/x?uid=7&a=1&%75id=8&mail=m", ("X-Forwarded-For: 11.2.3.77", f"User-Agent: {FIREFOX}", "DNT: 1")
    millrace = instance(config=config)
    event = enriched(millrace, target, *client)
    assert (event["ip"], event["country"], event["dnt"]) == ("11.2.3.77", "AC", True)
    assert event["params"] == {"uid": ["7", "8"], "a": "1", "mail": "m"}

    config["enrich"].update(truncate_addresses=True, drop_parameters=["uid", "mail"])
    millrace.write_config(config)
    pid = millrace.pid_of("enrich.0")
    millrace.kill(signal.SIGHUP)
    wait_until(lambda: millrace.pid_of("enrich.0") != pid and millrace.stage("enrich.0")["state"] == "running", 20, "the new options")
    event = enriched(millrace, target, *client)
    assert (event["ip"], event["country"], event["params"]) == ("11.2.3.0", "AC", {"a": "1"})

    config["enrich"].update(honour_dnt=True)
    millrace.write_config(config)
    pid = millrace.pid_of("enrich.0")
    millrace.kill(signal.SIGHUP)
    wait_until(lambda: millrace.pid_of("enrich.0") != pid and millrace.stage("enrich.0")["state"] == "running", 20, "the new options")
    event = enriched(millrace, target, *client)
    assert (event["ip"], event["country"], event["city"], event["params"]) == (None, "AC", "XX", {})
    assert (event["browser"], event["host"]) == ("Firefox", "millrace.test")
    event = enriched(millrace, target, *client[:2])
    assert (event["ip"], event["params"]) == ("11.2.3.0", {"a": "1"})


def test_stat_tells_type_and_age_of_the_database(instance, tmp_path):
    database = tmp_path / "country.mmdb"
    millrace = instance(config=enrich_config(tmp_path, country_database=str(database)))
    none = "no country database, all are XX; "
    wait_until(lambda: millrace.stage("enrich.0")["note"].startswith(none), 20, "the note, which the first tick writes")
    assert metrics(millrace)["country_database_loaded"] == 0
    database.write_bytes(make_databases(tmp_path)[0])
    wait_until(lambda: metrics(millrace)["country_database_loaded"] == 1, 30, "the database in use")
    days = (int(time.time()) - VERSION_0_BUILT_S) // 86400
    note = wait_until(lambda: re.fullmatch(r"countries: Test-Version of 2023-11-14, (\d+) days old; (\d+) agent rules",
                                           millrace.stage("enrich.0")["note"]), 20, "the note")
    assert int(note[1]) - days in (0, 1) and int(note[2]) == metrics(millrace)["agent_rules"]
    assert metrics(millrace)["country_database_age_seconds"] // 86400 - days in (0, 1)
    assert ["enrich.0", note[0]] in [line.split(None, 1) for line in millrace.millrace("stat").stdout.splitlines()]
    assert "countries" not in millrace.stage("ingest-http.0")["note"]
    database.write_bytes(b"garbage")
    wait_until(lambda: metrics(millrace)["country_database_refusals"] == 1, 30, "the refusal")
    wait_until(lambda: "; refused a new file: " in millrace.stage("enrich.0")["note"], 20, "the note")
    assert note[0] in millrace.stage("enrich.0")["note"]
    assert metrics(millrace)["country_database_loaded"] == 1


def test_the_stage_alone_makes_the_same_events(instance, tmp_path):
    millrace = instance(config=enrich_config(tmp_path))
    load = Load(http_address(millrace), tmp_path, "--route", "track", "--count", 300, "--seed", 7)
    load.end(interrupt=False)
    wait_enriched(millrace)
    raw = tmp_path / "raw"
    with open(raw, "wb") as out:
        subprocess.run([str(MILLRACE), "tap", "track.raw", "--last", "1G", "--no-follow", "--format", "raw"], stdout=out, check=True,
                       env=millrace.environment(), timeout=30 * SLOW)
    data = raw.read_bytes()
    alone = subprocess.run([str(ENRICH), "--input", str(raw), "--set", "enrich.pod=10.0.0.7"], capture_output=True,
                           check=True, timeout=30 * SLOW)
    here = subprocess.run([str(MILLRACE), "tap", "track", "--last", "1G", "--no-follow", "--format", "raw"], capture_output=True, check=True,
                          env=millrace.environment(), timeout=30 * SLOW)
    klag = slice(40, 48)  # of a record: how long it took is not the same

    def records(text):
        found = []
        while text:
            n = 8 + int.from_bytes(text[:4], "little")
            found.append(text[: klag.start] + text[klag.stop : n])
            text = text[(n + 7) & ~7 :]
        return found

    assert len(records(here.stdout)) == 300 and records(alone.stdout) == records(here.stdout)
    for spoiled, said in ((data[:-3], "ends within a record"), (data + b"\x01", "ends within a record"),
                          (data + b"\x08\0\0\0\x04\0\0\0" + b"\xff" * 8, "records=1")):
        raw.write_bytes(spoiled)
        alone = subprocess.run([str(ENRICH), "--input", str(raw)], capture_output=True, text=False, timeout=30 * SLOW, check=False)
        assert said in alone.stderr.decode() and alone.returncode == (0 if "records=1" in said else 1), alone.stderr


# ---- kill -9 ----


def enrich_pids(millrace):
    found = processes.children(of=millrace.process.pid)
    return sorted(pid for pid, command in found.items() if command and os.path.basename(command.split()[0]) == "enrich")


def kill_one(millrace, rng, killed):
    """Half of the victims are held for a moment first: what waits then keeps them busy, and the kill comes in the midst of it.

    Those that were killed before may still be there: nobody has buried them yet.
    """
    pids = [pid for pid in enrich_pids(millrace) if pid not in killed]
    if not pids:
        return
    pid = rng.choice(pids)
    if rng.random() < 0.5:
        try:
            processes.pause(pid)
            time.sleep(rng.uniform(0.02, 0.1))
            processes.resume(pid)
        except ProcessLookupError:
            return
        time.sleep(rng.uniform(0, 0.003) * SLOW)
    if kill_pid(pid):
        killed.add(pid)


def start_load(millrace, tmp_path, per_second):
    return Load(http_address(millrace), tmp_path, "--route", "track", "--connections", 16, "--rate", int(per_second / SLOW),
                "--count", CALLS_MOST)


@pytest.mark.limit(120)
def test_fifty_kills_under_load_lose_and_repeat_nothing(instance, tmp_path, rng):
    millrace = instance(config=enrich_config(tmp_path, http_processes=2, processes=2))
    load = start_load(millrace, tmp_path, 1500)
    killed = set()
    try:
        while len(killed) < KILLS:
            time.sleep(rng.choice([rng.uniform(0, 0.05), rng.uniform(0.1, 0.4)]) * SLOW)
            kill_one(millrace, rng, killed)
            assert load.running() and millrace.process.poll() is None, millrace.log()[-3000:]
        account = load.end()
    finally:
        load.discard()
    millrace.wait_running(60)
    n = check_whole(millrace)
    stat = millrace.stat()
    roles = [millrace.stage(f"enrich.{i}", stat) for i in range(2)]
    recovered = sum(role["metrics"]["recovered_notes"] for role in roles)
    print(f"{len(killed)} kills, {n} calls, restarts {[role['restarts'] for role in roles]}, {recovered} notes finished by the next life")
    assert sum(role["restarts"] for role in roles) == len(killed) and all(role["restarts"] for role in roles)
    # What was answered 2xx is there; nothing was refused: the lanes are large.
    assert n >= len(load.acknowledged()) > 1000 and account["unexpected"] == 0, account
    assert all(lane["written_records"] > 100 for lane in millrace.topic("track", stat)["lanes"])


# ---- another number of processes ----


@pytest.mark.limit(120)
def test_more_and_fewer_processes_under_load_lose_and_repeat_nothing(instance, tmp_path):
    config = enrich_config(tmp_path, http_processes=2)
    millrace = instance(config=config)
    collector = Collector(millrace, "track", tmp_path)
    load = start_load(millrace, tmp_path, 3000)
    try:
        for n in (2, 1, 2, 1):
            config["enrich"]["processes"] = n
            millrace.write_config(config)
            before = set(enrich_pids(millrace))
            millrace.kill(signal.SIGHUP)
            wait_until(lambda: len(enrich_pids(millrace)) == n and not before & set(enrich_pids(millrace)), 30, f"{n} processes")
            millrace.wait_running(30)
            collector.start()  # another page of the instance may have ended it
            enough = millrace.ledger("track")["written"] + 2000 / SLOW
            wait_until(lambda: millrace.ledger("track")["written"] > enough, 30, "calls enriched by them")
            assert [s["name"] for s in millrace.stat()["stages"] if s["program"] == "enrich"] == [f"enrich.{i}" for i in range(n)]
        load.end()
        written = wait_enriched(millrace)
        track = collector.stop()
    finally:
        load.discard()
        collector.discard()
    assert len(track) == written
    n = check_whole(millrace, track)
    assert {lane_and_position(event)[0] for event in track} == {0, 1}
    print(f"{n} calls through 1, 2, 1, 2, 1 processes")


# ---- databases that are replaced ----


class Caller(threading.Thread):
    """Calls from network after network, 50 requests at a time, and reads all answers."""

    def __init__(self, address, pause_s):
        super().__init__()
        self.address = address
        self.pause_s = pause_s
        self.stopping = threading.Event()
        self.n = 0
        self.problem = None

    def run(self):
        try:
            with Client(self.address) as client:
                while not self.stopping.is_set() and self.n < CALLS_MOST:
                    asked = range(self.n, self.n + 50)
                    client.send(b"".join(request_bytes("GET", f"/t/x?n={n}", None, f"X-Forwarded-For: 11.{n % NETWORKS}.0.9") for n in asked))
                    for _ in asked:
                        assert client.reply().status == 200
                    self.n += 50
                    time.sleep(self.pause_s)
        except (OSError, AssertionError, EOFError) as error:
            self.problem = error

    def end(self):
        self.stopping.set()
        self.join()


def spoil(data, rng):
    """One of the ways in which files break."""
    kind = rng.randrange(3)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        return rng.randbytes(len(data))
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


def put(path, data, rng):
    """By rename, whole in place, or in place and in pieces."""
    how = rng.randrange(3)
    if how == 0:
        side = path.with_suffix(".new")
        side.write_bytes(data)
        side.rename(path)
        return
    with open(path, "r+b") as file:
        for at in range(0, len(data), 1000 if how == 1 else len(data)):
            file.write(data[at : at + (1000 if how == 1 else len(data))])
            file.flush()
        file.truncate(len(data))


def version_in_use(millrace):
    """By its age: each is a day younger than the one before."""
    built_s = time.time() - metrics(millrace)["country_database_age_seconds"]
    return round((built_s - VERSION_0_BUILT_S) / 86400)


def wait_judged(millrace, version, whole, refused, caller):
    """Until the file is in use and has answered calls, or one has been refused."""
    if not whole:
        wait_until(lambda: metrics(millrace)["country_database_refusals"] > refused, 30, "a refusal")
        return
    wait_until(lambda: version_in_use(millrace) == version, 30, f"version {version} in use")
    enough = caller.n + 200
    wait_until(lambda: caller.n >= enough, 30, "more calls")


def replace_databases(millrace, path, versions, rng, caller):
    """100 files, half of them broken, in quick succession; some, good (40, 80) and broken, stay until they are judged.

    Returns the versions that were good, in order.
    """
    good = [0]
    for i in range(1, REPLACEMENTS + 1):
        rest = i % 20 == 0
        refused = metrics(millrace)["country_database_refusals"] if rest else 0
        whole = i % 40 == 0 if rest else rng.random() < 0.5
        put(path, versions[i] if whole else spoil(versions[i], rng), rng)
        if whole:
            good.append(i)
        if rest:
            wait_judged(millrace, i, whole, refused, caller)
        time.sleep(rng.uniform(0, 0.12))
    return good


def letter_of(version):
    return chr(ord("A") + version % 26)


def check_countries(track, good):
    """Each country is that of its network in a database that was good, and they come into use in their order.

    Returns the letters of those that were used; one in 26 has the same.
    """
    at = 0
    used = set()
    for event in sorted(track, key=lane_and_position):
        network = int(event["params"]["n"]) % NETWORKS
        version, place = event["country"]
        assert ord(place) - ord("A") == network % 26, event
        while letter_of(good[at]) != version:
            at += 1
            assert at < len(good), f"a country of no good database after version {good[-1]}: {event}"
        used.add(version)
    return used


@pytest.mark.limit(120)
def test_a_database_replaced_a_hundred_times_under_load_makes_no_country_wrong(instance, tmp_path, rng):
    versions = make_databases(tmp_path, REPLACEMENTS + 1)
    path = tmp_path / "country.mmdb"
    path.write_bytes(versions[0])
    millrace = instance(config=enrich_config(tmp_path, country_database=str(path)))
    pid = millrace.pid_of("enrich.0")
    caller = Caller(http_address(millrace), 0.05 * SLOW)
    caller.start()
    try:
        good = replace_databases(millrace, path, versions, rng, caller)
    finally:
        caller.end()
    assert caller.problem is None
    stage = millrace.stage("enrich.0")
    assert (stage["pid"], stage["restarts"], stage["state"]) == (pid, 0, "running")
    n = check_whole(millrace)
    assert n == caller.n
    used = check_countries(events(millrace, "track"), good)
    shown = {name: value for name, value in stage["metrics"].items() if name.startswith("country_database_")}
    print(f"{len(good) - 1} of {REPLACEMENTS} good, {n} calls, letters of those used {sorted(used)}, {shown}")
    assert used >= {letter_of(version) for version in (0, 40, 80)} and shown["country_database_refusals"] >= 3 and n > 500


# ---- the end ----


def test_at_the_end_a_slow_reader_of_track_gets_all_there_is(instance, tmp_path):
    """track is full and track.raw has more: the instance ends when the reader has made room for all of it."""
    millrace = instance(config=enrich_config(tmp_path, track="64KiB"))
    file, gate = tmp_path / "read", tmp_path / "gate"
    reader = subprocess.Popen(
        [str(MILLRACE), "consume", "track", "--group", "slow", "--from", "oldest", "--batch", "100", "--", "sh", "-c",
         f"while [ ! -e {gate} ]; do sleep 0.05; done; sleep 0.02; cat >> {file}"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=millrace.environment())
    try:
        wait_until(lambda: "read_records" in millrace.group("track", "slow"), 20, "the group")
        load = Load(http_address(millrace), tmp_path, "--route", "track", "--count", 3000)
        load.end(interrupt=False)
        assert millrace.group("track.raw", "enrich")["waiting_records"] > 2000
        gate.touch()
        assert millrace.stop(timeout=60) == 0, millrace.log()[-3000:]
        assert reader.wait(timeout=30 * SLOW) in (0, 1)
    finally:
        if reader.poll() is None:
            reader.kill()
        reader.wait()
    numbers = [int(json.loads(line)["params"]["n"]) for line in file.read_text().splitlines()]
    assert sorted(numbers) == sorted(load.acknowledged()) and len(numbers) == 3000
