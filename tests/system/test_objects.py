"""Sinks of the kind objects with a directory as their store: what comes in by HTTP is in exactly one object, under the right
name, whatever dies, is full or is hostile."""
import json
import os
import shutil
import subprocess
import time

import pytest

from harness import kill_pid, namespace, own_bytes, wait_until
from http_help import Client, Load, http_address
from objects_help import (DAY, DAY_MS, STAMP, check_objects, flush, log_line, numbers_of, objects_config, open_parts, pid_of_sink, plain,
                          read_directory, reboot, send_logs, sink_metrics, sink_note)

KILLS = int(os.environ.get("MILLRACE_KILLS") or 30)


@pytest.fixture
def store_directory(tmp_path):
    return tmp_path / "data" / "objects"


# ---- what comes in is in an object ----


def test_lines_are_in_objects_named_by_day_and_client(instance, tmp_path, store_directory):
    millrace = instance(config=objects_config(tmp_path))
    send_logs(millrace, range(1000))
    send_logs(millrace, range(1000, 1010), client=77, stamp=STAMP + DAY_MS)
    flush(millrace)
    objects = read_directory(store_directory)
    assert sorted(objects) == [f"chat/{DAY}/content_logs_{DAY}_{client}" for client in range(1, 6)] + [
        "chat/2020-04-15/content_logs_2020-04-15_77"]
    assert numbers_of(objects) == list(range(1010))
    assert json.loads(objects[f"chat/{DAY}/content_logs_{DAY}_3"][0]) == log_line(2)
    metrics = sink_metrics(millrace)
    assert metrics["events"] == 1010 and metrics["objects"] == 6 and metrics["open_objects"] == 0 and metrics["waiting_bytes"] == 0
    assert not open_parts(store_directory)


def test_an_object_that_is_there_is_never_replaced(instance, tmp_path, store_directory):
    millrace = instance(config=objects_config(tmp_path))
    for turn in range(3):
        send_logs(millrace, range(turn * 10, turn * 10 + 10), client=1)
        flush(millrace)
    objects = read_directory(store_directory)
    bare = f"chat/{DAY}/content_logs_{DAY}_1"
    assert len(objects) == 3 and bare in objects
    assert sorted(json.loads(line)["content_id"] - 1 for line in objects[bare]) == list(range(10))
    generation = millrace.stat()["generation"]
    assert all(name == bare or name.startswith(f"{bare}_{millrace.name}-{generation}-log-0-") for name in objects), list(objects)
    assert numbers_of(objects) == list(range(30))


def test_an_end_completes_all_that_is_open(instance, tmp_path, store_directory):
    millrace = instance(config=objects_config(tmp_path))
    send_logs(millrace, range(2000))
    assert millrace.stop() == 0
    objects = read_directory(store_directory)
    assert numbers_of(objects) == list(range(2000)) and len(objects) == 5
    check_objects(objects)
    assert not open_parts(store_directory)


def test_objects_are_finished_by_size_and_by_age(instance, tmp_path, store_directory):
    millrace = instance(config=objects_config(tmp_path, compression="none", finish={"size": "64KiB", "after": "2s"}))
    for at in range(0, 3000, 300):  # an object may be larger by what the sink takes at once
        send_logs(millrace, range(at, at + 300), client=1)
        wait_until(lambda: millrace.group("log", "logs")["waiting_records"] == 0, 20, "it reads", pause=0.005)
    wait_until(lambda: numbers_of(read_directory(store_directory, plain)) == list(range(3000)), 20, "all objects, without a flush")
    sizes = sorted((store_directory / name).stat().st_size for name in read_directory(store_directory, plain))
    assert len(sizes) >= 3 and sizes[-1] < 2 * 65536 and sizes[1] >= 65536, sizes


def test_every_method_unpacks(instance, tmp_path):
    methods = {"none": None, "isal:0": ["gzip", "-dc"], "isal:3": ["gzip", "-dc"], "zlib:9": ["gzip", "-dc"], "zstd:3": ["zstd", "-dc"]}
    config = objects_config(tmp_path)
    sink = config["sinks"][0]
    config["sinks"] = [{**sink, "name": f"s{i}", "compression": method, "store": {**sink["store"], "directory": f"objects-{i}"}}
                       for i, method in enumerate(methods)]
    millrace = instance(config=config)
    send_logs(millrace, range(500), client=1)
    assert millrace.stop() == 0
    for i, command in enumerate(methods.values()):
        data = (tmp_path / "data" / f"objects-{i}" / "chat" / DAY / f"content_logs_{DAY}_1").read_bytes()
        if command and shutil.which(command[0]) is None:
            continue
        plain = subprocess.run(command, input=data, capture_output=True, check=True).stdout if command else data
        assert [json.loads(line)["content_id"] - 1 for line in plain.splitlines()] == list(range(500))


def test_filters_and_formats_choose_what_is_kept(instance, tmp_path, store_directory):
    config = objects_config(tmp_path, filter=["client_id=2"], format="json", key="only/{client_id}")
    tracks = {**config["sinks"][0], "name": "tracks", "topics": ["track"], "filter": [], "format": "line", "key": "{topic}/{type}/{country}"}
    config["sinks"].append(tracks)
    millrace = instance(config=config)
    send_logs(millrace, range(50))
    with Client(http_address(millrace)) as client:
        for _ in range(3):
            assert client.ask("GET", "/t/app_open?a=1").status == 200
    wait_until(lambda: sink_metrics(millrace, "objects.tracks")["events"] == 3, 20, "three tracking events")
    wait_until(lambda: sink_metrics(millrace)["filtered"] == 40, 20, "what is filtered is counted")
    metrics = sink_metrics(millrace)
    assert millrace.stop() == 0
    objects = read_directory(store_directory)
    assert sorted(objects) == ["only/2", "track/app_open/XX"]
    kept = [json.loads(line) for line in objects["only/2"]]
    assert len(kept) == 10 and all(event["client_id"] == 2 and "-log-0-" in event["id"] for event in kept)
    assert all(line.startswith("app_open type=") for line in objects["track/app_open/XX"])
    assert metrics["filtered"] == 40 and metrics["events"] == 10


def test_many_keys_stay_within_tails(instance, tmp_path, shm_root):
    """10,000 keys and places for 318 objects: those that got a line longest ago are finished first."""
    directory = shm_root / "objects-of-many-keys"
    millrace = instance(config=objects_config(tmp_path, topics={"log": {"size": "4MiB"}}, key="{client_id}/{content_id}",
                                              store={"directory": str(directory)}))
    try:
        send_logs(millrace, range(10000))
        highest = sink_metrics(millrace)["waiting_bytes"]
        flush(millrace)
        assert highest <= 16 << 20 and sink_metrics(millrace)["objects"] == 10000
        assert numbers_of(read_directory(directory)) == list(range(10000))
        resident = own_bytes(pid_of_sink(millrace))
        assert resident < 40000 << 10, f"{resident} bytes of memory of its own"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_a_key_that_is_too_long_is_shortened(instance, tmp_path, store_directory):
    config = objects_config(tmp_path, topics={"track": {"size": "4MiB"}, "track.raw": {"size": "4MiB"}})
    key = "/".join(f"{{params.{name}}}" for name in "abcdefgh")
    config["sinks"] = [{**config["sinks"][0], "name": "tracks", "topics": ["track"], "key": "in/" + key}]
    millrace = instance(config=config)
    with Client(http_address(millrace)) as client:
        for last in "xy":
            query = "&".join(f"{name}={name * 180}" for name in "abcdefg") + f"&h={last}"
            assert client.ask("GET", f"/t/open?{query}").status == 200
    wait_until(lambda: sink_metrics(millrace, "objects.tracks")["events"] == 2, 20, "two events")
    assert millrace.stop() == 0
    names = list(read_directory(store_directory))
    assert len(names) == 2 and all(name.startswith("in/aaa") and len(name) <= 800 for name in names), names


def test_wrong_options_are_refused_with_their_key(instance, tmp_path):
    wrong = {"sinks[0].format": {"format": "line"}, "sinks[0].compression": {"compression": "isal:4"}, "sinks[0].tails": {"member": "64MiB"},
             "sinks[0].key": {"key": "a/../{date}"}, "sinks[0].filter": {"filter": ["colour=red"]},
             "sinks[0].store": {"store": {"discard": True, "s3": {"bucket": "b"}}},
             "sinks[0].store.directory": {"store": {"directory": "/etc/passwd/objects"}}}
    for key, options in wrong.items():
        one = instance(start=False, config=objects_config(tmp_path, **options))
        result = one.millrace("check", "--config", one.config_file)
        assert result.returncode == 1 and f"{key}: " in result.stderr, f"{key}: {result.stderr}"


# ---- the operator ----


def test_sinks_shows_what_is_open_and_flush_ends_it(instance, tmp_path):
    millrace = instance(config=objects_config(tmp_path))
    send_logs(millrace, range(20))
    wait_until(lambda: sink_metrics(millrace)["events"] == 20, 20, "all events")
    wait_until(lambda: sinks_of(millrace)[0]["open_objects"] == 5, 20, "five open objects")
    one = sinks_of(millrace)[0]
    assert one["name"] == "logs" and one["program"] == "objects" and one["waiting_bytes"] > 0 and not one["failing"], one
    assert one["last_object_time"] == 0
    flush(millrace)
    one = sinks_of(millrace)[0]
    assert one["open_objects"] == 0 and one["waiting_bytes"] == 0 and one["objects"] == 5 and one["last_object_time"] > 0
    table = millrace.millrace("sinks").stdout
    assert "logs" in table and "FAILING SINCE" in table
    refused = millrace.millrace("flush", "nobody")
    assert refused.returncode == 1 and 'no sink "nobody"' in refused.stderr and "logs" in refused.stderr


def sinks_of(millrace):
    result = millrace.millrace("sinks", "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["sinks"]


def test_the_default_keeps_logs_and_tracking_calls(instance, tmp_path, store_directory):
    config = objects_config(tmp_path)
    config.pop("sinks")
    millrace = instance(start=False)
    millrace.write_config(json.dumps(config))
    millrace.start()
    send_logs(millrace, range(10), client=1)
    with Client(http_address(millrace)) as client:
        assert client.ask("GET", "/t/app_open?a=1").status == 200
    wait_until(lambda: sink_metrics(millrace, "objects.tracks")["events"] == 1, 20, "the tracking event")
    result = millrace.millrace("flush")
    assert result.returncode == 0, result.stderr
    names = [name.split("/") for name in read_directory(store_directory)]
    assert ["chat", DAY, f"content_logs_{DAY}_1"] in names and len(names) == 2
    assert next(name for name in names if name[0] == "track")[3] == millrace.name


# ---- values that would move a key ----

HOSTILE = ["..", ".", "../../../../etc/passwd", "a/../../b", "/etc/passwd", "..%2f..%2f", "%2e%2e", "a\x00b", "a\nb", "\\..\\..", "+open",
           "+open/x", "~", "", " ", "\u202e\u2066", "\u00fc", "a" * 10240, "%", "\u002e\u002e\u2215", "CON", "-rf", "$(id)"]


def test_no_value_moves_a_key(instance, tmp_path, store_directory):
    millrace = instance(config=objects_config(tmp_path, topics={"track": {"size": "4MiB"}, "track.raw": {"size": "4MiB"}}))
    config = objects_config(tmp_path)
    config["sinks"] = [{**config["sinks"][0], "name": "tracks", "topics": ["track"], "key": "in/{type}/{params.v}/end", "longest_line": "1MiB"}]
    assert millrace.stop() == 0
    millrace = instance(config=config)
    batch = [{"type": value or "x", "params": {"v": value, "n": str(i)}} for i, value in enumerate(HOSTILE)]
    with Client(http_address(millrace)) as client:
        taken = 0
        for event in batch:
            reply = client.ask("POST", "/batch", json.dumps([event]).encode(), "Content-Type: application/json")
            taken += reply.status == 200
    assert taken > 10
    wait_until(lambda: sink_metrics(millrace, "objects.tracks")["events"] == taken, 20, "all events")
    assert millrace.stop() == 0
    names = list(read_directory(store_directory))
    assert names and all(name.startswith("in/") and name.endswith("/end") and name.count("/") == 3 for name in names), names
    assert all(".." not in name.split("/") and len(max(name.split("/"), key=len)) <= 255 for name in names)
    everywhere = {path.name for path in tmp_path.iterdir()}
    assert everywhere <= {"data", *(f"{p}" for p in everywhere if p.startswith("test-"))}, everywhere
    assert sum(len(lines) for lines in read_directory(store_directory).values()) == taken


# ---- the disk ----


def test_a_full_disk_is_said_and_loses_nothing(instance, tmp_path):
    if namespace() is None:
        pytest.skip("no namespaces here")
    disk = tmp_path / "disk"
    disk.mkdir()
    config = objects_config(tmp_path, compression="none", store={"directory": str(disk / "objects")})
    # An ordinary user may not make the file system larger later; so something else fills it but for 256 KiB.
    script = f'mount -t tmpfs -o size=16m none {disk} && head -c {(16 << 20) - (256 << 10)} /dev/zero > {disk}/other && exec "$0" "$@"'
    millrace = instance(config=config, wrapper=[*namespace(), "sh", "-c", script])
    send_logs(millrace, range(5000), client=1)
    wait_until(lambda: sink_metrics(millrace)["failing"] == 1, 20, "failing")
    assert "No space left on device" in sink_note(millrace), sink_note(millrace)
    shown = sinks_of(millrace)[0]
    assert shown["failing"] and shown["failing_since"] > 0
    inside = ["nsenter", "-t", str(pid_of_sink(millrace)), "-m", *(["-U", "--preserve-credentials"] if os.geteuid() else [])]
    subprocess.run([*inside, "rm", str(disk / "other")], check=True)
    flush(millrace)
    data = subprocess.run([*inside, "sh", "-c", f"cat {disk}/objects/chat/*/*"], check=True, capture_output=True).stdout
    assert sorted(json.loads(line)["content_id"] - 1 for line in data.splitlines()) == list(range(5000))


def test_a_disk_below_min_free_is_not_written(instance, tmp_path, store_directory):
    millrace = instance(config={**objects_config(tmp_path, store={"min_free": 99}), "drain_timeout": "1s"})
    send_logs(millrace, range(10), client=1)
    wait_until(lambda: sink_metrics(millrace)["failing"] == 1, 20, "failing")
    assert "min_free" in sink_note(millrace)
    assert not read_directory(store_directory)
    millrace.write_config(objects_config(tmp_path))
    millrace.kill(1)  # SIGHUP
    wait_until(lambda: sink_metrics(millrace)["failing"] == 0 and sink_metrics(millrace)["refused"] >= 0, 30, "the new configuration")
    flush(millrace)
    assert numbers_of(read_directory(store_directory)) == list(range(10))


def test_what_a_failing_store_did_not_take_is_there_after_the_next_start(instance, tmp_path, store_directory):
    millrace = instance(config={**objects_config(tmp_path, store={"min_free": 99}), "drain_timeout": "1s"})
    send_logs(millrace, range(500))
    wait_until(lambda: sink_metrics(millrace)["failing"] == 1, 20, "failing")
    assert millrace.stop() == 3
    assert not read_directory(store_directory)
    millrace.write_config(objects_config(tmp_path))
    millrace.start()
    flush(millrace)
    assert numbers_of(read_directory(store_directory)) == list(range(500))


def test_a_spool_that_is_gone_at_the_start_is_not_made_anew(instance, tmp_path, store_directory):
    """Its parts are nowhere else. The sandbox, which makes the folders that options name, comes before the sink looks."""
    spool, elsewhere = tmp_path / "disk" / "spool", tmp_path / "elsewhere"
    config = objects_config(tmp_path, store={"min_free": 99}, compression="none", spool={"size": "1GiB", "directory": str(spool)})
    millrace = instance(config=config)
    for at in range(0, 250, 10):
        send_logs(millrace, range(at, at + 10), pipeline=4, client=1, text="x" * 60000)
        wait_until(lambda: millrace.group("log", "logs")["waiting_records"] == 0, 30, "all is read")
    wait_until(lambda: sink_metrics(millrace)["spool_parts"] > 0, 30, "parts in the spool")
    spool.rename(elsewhere)
    kill_pid(pid_of_sink(millrace))
    wait_until(lambda: "put it back" in millrace.log(), 20, "the next life refuses to start")
    assert not spool.exists()
    elsewhere.rename(spool)
    config["sinks"][0]["store"]["min_free"] = 0
    millrace.write_config(config)
    millrace.kill(1)  # SIGHUP
    wait_until(lambda: millrace.stage("objects.logs")["state"] == "running", 30, "a life that has it again")
    flush(millrace)
    assert numbers_of(read_directory(store_directory, plain)) == list(range(250))
    assert sink_metrics(millrace)["abandoned"] == 0


def test_a_directory_that_is_moved_away_is_noticed_and_taken_up_again(instance, tmp_path, store_directory):
    millrace = instance(config=objects_config(tmp_path, compression="none"))
    send_logs(millrace, range(2000), client=1)
    wait_until(lambda: sink_metrics(millrace)["parts"] > 0, 20, "a part")
    store_directory.rename(tmp_path / "elsewhere")
    send_logs(millrace, range(2000, 4000), client=1)
    wait_until(lambda: sink_metrics(millrace)["failing"] == 1, 20, "failing")
    assert "put it back" in sink_note(millrace)
    (tmp_path / "elsewhere").rename(store_directory)
    flush(millrace)
    assert numbers_of(read_directory(store_directory, plain)) == list(range(4000))


def test_old_objects_go_when_they_are_too_many(instance, tmp_path, store_directory):
    config = objects_config(tmp_path, store={"keep": {"size": 1}})
    (store_directory / "chat" / "old").mkdir(parents=True)
    (store_directory / "other").mkdir()
    (tmp_path / "outside").write_text("x" * 100)
    for path in (store_directory / "chat" / "old" / "object", store_directory / "other" / "object"):
        path.write_text("x" * 100)
    (store_directory / "chat" / "link").symlink_to(tmp_path / "outside")
    millrace = instance(config=config)
    wait_until(lambda: not (store_directory / "chat" / "old").exists(), 20, "the old object is gone, and its directory")
    assert (store_directory / "other" / "object").exists() and (tmp_path / "outside").exists()
    assert (store_directory / "chat" / "link").is_symlink()
    assert "old objects removed" in millrace.log()


# ---- the process dies ----


@pytest.mark.limit(60 + 6 * KILLS)
@pytest.mark.parametrize("key", ["one/{instance}", "many/{date}"])
def test_kills_under_load_lose_nothing_and_double_nothing(instance, tmp_path, store_directory, rng, key):
    config = objects_config(tmp_path, topics={"log": {"size": "16MiB"}}, finish={"after": "1s", "size": "256KiB"}, compression="none",
                            key=key)
    millrace = instance(config=config)
    load = Load(http_address(millrace), tmp_path, "--route", "log", "-c", 8, "-p", 4, "--rate", 6000, "--duration", 600)
    try:
        for kill in range(KILLS):
            pid = wait_until(lambda: pid_of_sink(millrace), 20, "a life", pause=0.002)
            time.sleep(rng.uniform(0, 0.25))
            kill_pid(pid)
            wait_until(lambda pid=pid: pid_of_sink(millrace) not in (None, pid), 20, f"the life after kill {kill}", pause=0.002)
    finally:
        load.end()
    status = millrace.stop()
    assert status == 0, millrace.log()[-5000:]
    sent = load.acknowledged()
    assert sent
    found = sorted(json.loads(line)["content_id"] for lines in read_directory(store_directory, plain).values() for line in lines)
    assert len(found) == len(set(found)), "an event is there twice"
    missing = set(sent) - set(found)
    assert not missing, f"{len(missing)} of {len(sent)} are missing, such as {sorted(missing)[:5]}"
    assert not open_parts(store_directory), "an upload is left open"


# ---- the machine starts again ----


def test_after_a_reboot_what_was_confirmed_is_in_an_object(instance, tmp_path, store_directory):
    millrace = instance(config=objects_config(tmp_path, compression="none"))
    for turn in range(8):  # a batch goes into one part whole
        send_logs(millrace, range(turn * 500, turn * 500 + 500), client=1)
        wait_until(lambda: sink_metrics(millrace)["events"] == turn * 500 + 500, 30, "all are taken")
    wait_until(lambda: sink_metrics(millrace)["parts"] >= 3, 30, "three confirmed parts")
    assert not read_directory(store_directory, plain) and len(open_parts(store_directory)) == 1
    reboot(millrace)
    wait_until(lambda: sink_metrics(millrace)["recovered"] == 1, 30, "the upload is complete")
    found = numbers_of(read_directory(store_directory, plain))
    assert len(found) > 1000 and found == list(range(len(found))) and not open_parts(store_directory)
    assert sink_metrics(millrace)["left_uploads"] == 0
