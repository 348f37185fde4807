"""Secrets of a running instance: each lies in its own role's file, beside the instance's folder, and its memory, and nowhere
else; what restarts when one changes; what they outlive, and that nothing of them is left."""
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from harness import BUILD, SLOW, kill_pid, wait_until
from http_help import http_config
from serve_help import serve_address
from supervisor_help import alive

MARK = b"hush"
S3_KEY, TOKEN, PASSWORD, SAS = "hush-s3-secret-key", "hush-session-token", "hush \"sasl\": 'password'", "sv=1&sig=hush-signature"
SECRETS = {"objects.s3": [S3_KEY, TOKEN], "kafka.bus": [PASSWORD], "objects.azure": [SAS]}


def sinks(tmp_path, **changed):
    """Of three kinds, whose servers are not there: they keep trying. One without a secret among them."""
    values = {"secret_key": S3_KEY, "session_token": TOKEN, "password": PASSWORD, "sas": SAS, **changed}
    s3 = {"bucket": "bucket", "endpoint": "http://127.0.0.1:9", "credentials": "config", "access_key": "AKIDEXAMPLE",
          "secret_key": values["secret_key"], "session_token": values["session_token"]}
    azure = {"container": "container", "endpoint": "http://127.0.0.1:9/account", "credentials": "sas", "sas": values["sas"]}
    return [
        {"name": "s3", "topics": ["log"], "tails": "16MiB", "store": {"s3": s3}},
        {"name": "plain", "kind": "file", "topics": ["log"], "path": str(tmp_path / "log.ndjson")},
        {"name": "bus", "kind": "kafka", "topics": ["log"], "brokers": ["127.0.0.1:9"], "password": values["password"],
         "properties": ["security.protocol=sasl_plaintext", "sasl.mechanism=PLAIN", "sasl.username=u"] if values["password"] else []},
        {"name": "azure", "topics": ["log"], "tails": "16MiB", "store": {"azure": azure}},
    ]


def config_with(tmp_path, entries=None):
    return {**http_config(tmp_path), "deliver": {"processes": 1}, "sinks": entries or sinks(tmp_path), "serve": {"listen": ["127.0.0.1:0"]}}


def files_with_secrets(one):
    return {path for folder in (one.directory, one.secrets) for path in folder.rglob("*") if path.is_file() and MARK in path.read_bytes()}


def check_files(one, secrets=None):
    """Each secret is in its own role's file alone, which is its user's alone."""
    secrets = SECRETS if secrets is None else secrets
    assert one.secrets.exists() == (secrets != {}) and (not secrets or one.secrets.lstat().st_mode & 0o7777 == 0o700)
    for role, values in secrets.items():
        path = one.secrets / role
        assert path.lstat().st_mode & 0o7777 == 0o600
        document = json.loads(path.read_text())
        assert list(document) == [role] and sorted(document[role].values()) == sorted(values)
    assert files_with_secrets(one) == {one.secrets / role for role in secrets}
    assert set(one.secrets.glob("*")) == {one.secrets / role for role in secrets}  # with those whose names begin with a dot
    assert not list(one.directory.glob("*.secrets")) + list(one.directory.glob(".*"))
    masked = re.findall(r'(?:password|secret_key|session_token|sas): "(.+)"', (one.directory / "config.yaml").read_text())
    assert masked == ["***"] * sum(map(len, secrets.values()))


def pids(one):
    return {stage["name"]: stage["pid"] for stage in one.stat()["stages"]}


def memory_has_mark(pid):
    """Whether a secret is in memory of the process that is its own and can be written."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            words = line.split()
            begin, end = (int(word, 16) for word in words[0].split("-"))
            if words[1] != "rw-p" or end - begin > 64 << 20:
                continue
            memory.seek(begin)
            try:
                if MARK in memory.read(end - begin):
                    return True
            except OSError:
                pass
    return False


def ask_serve(one, route):
    with urllib.request.urlopen("http://{}:{}{}".format(*serve_address(one), route), timeout=10 * SLOW) as answer:
        return answer.read().decode()


def reload(one, tmp_path, entries, said):
    """Returns the roles whose processes changed, those that have come or gone among them."""
    before, count = pids(one), one.log().count(said)
    one.write_config(config_with(tmp_path, entries))
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: one.log().count(said) > count, 30, said)
    one.wait_running()
    after = pids(one)
    return {role for role in {**before, **after} if before.get(role) != after.get(role)}


def test_a_secret_is_with_its_own_role_and_nowhere_else(instance, tmp_path):
    one = instance(config=config_with(tmp_path))
    check_files(one)
    roles = pids(one)
    for pid in [one.process.pid, *roles.values()]:
        for file in ("cmdline", "environ"):
            if os.geteuid() == 0 or file == "cmdline":
                assert MARK not in Path("/proc", str(pid), file).read_bytes()
    shown = "".join(one.millrace(*words.split()).stdout for words in ("stat --json", "stat", "sinks --json", "sinks", "dead list", "consumers"))
    shown += "".join(ask_serve(one, route) for route in ("/api/stat", "/sinks", "/consumers", "/metrics"))
    assert "objects.s3" in shown and "hush" not in shown
    wait_until(lambda: "127.0.0.1:9" in one.log() + json.dumps(one.stat()), 20, "a try")
    assert "hush" not in one.log()
    if os.geteuid() == 0 and SLOW == 1:  # nobody else may look; a sanitizer remembers what was freed
        assert {role for role, pid in roles.items() if memory_has_mark(pid)} == set(SECRETS)


def test_the_supervisor_and_those_with_keys_cannot_be_looked_into(instance, tmp_path):
    if SLOW != 1:
        pytest.skip("a sanitizer needs to trace its own process")
    one = instance(config=config_with(tmp_path))
    roles = pids(one)
    hidden = [one.process.pid] + [roles[role] for role in SECRETS]
    for pid in hidden:
        assert Path("/proc", str(pid), "environ").stat().st_uid == 0
        look = ["cat", f"/proc/{pid}/environ"]
        if os.geteuid() == 0:  # as a stage: without the capabilities by which root may look
            look = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *look]
        found = subprocess.run(look, capture_output=True, timeout=10 * SLOW, check=False)
        assert found.returncode != 0 and found.stdout == b"", pid


def test_a_reload_restarts_whose_secret_changed_and_no_other(instance, tmp_path):
    one = instance(config=config_with(tmp_path))
    assert reload(one, tmp_path, sinks(tmp_path, password="hush another"), "all stages run") == {"kafka.bus"}
    check_files(one, {**SECRETS, "kafka.bus": ["hush another"]})
    # Another order changes nothing, and each still finds its own when it starts again.
    order = sinks(tmp_path, password="hush another")[::-1]
    assert reload(one, tmp_path, order, "no stage changes") == set()
    check_files(one, {**SECRETS, "kafka.bus": ["hush another"]})
    before = pids(one)
    for role in SECRETS:
        kill_pid(before[role])
    wait_until(lambda: all(pids(one)[role] not in (before[role], 0) for role in SECRETS), 20, "the next lives")
    one.wait_running()
    # One goes, one has no secret any more, one has others.
    kept = [sink for sink in sinks(tmp_path, session_token="", password="") if sink["name"] != "azure"]
    assert reload(one, tmp_path, kept, "all stages run") == {"kafka.bus", "objects.s3", "objects.azure"}
    check_files(one, {"objects.s3": [S3_KEY]})
    # None has any more, and one has again.
    none = [sink for sink in kept if sink["name"] != "s3"]
    assert reload(one, tmp_path, none, "all stages run") == {"objects.s3"}
    check_files(one, {})
    assert reload(one, tmp_path, kept, "all stages run") == {"objects.s3"}
    check_files(one, {"objects.s3": [S3_KEY]})


def test_the_files_outlive_kills_of_the_supervisor_and_are_not_left(instance, tmp_path):
    one = instance(config=config_with(tmp_path))
    for _ in range(2):
        one.kill()
        check_files(one)
        one.start()
        check_files(one)
    one.process.send_signal(signal.SIGTERM)
    assert one.wait_end(60) == 0, one.log()[-3000:]
    assert not one.directory.exists() and not one.secrets.exists()


def test_they_go_when_the_folder_of_the_instance_was_removed(instance, tmp_path):
    one = instance(config=config_with(tmp_path))
    shutil.rmtree(one.directory)
    assert one.wait_end(60) == 4
    assert not one.directory.exists() and not one.secrets.exists()
    one.start()
    # Nobody notices, and nobody is there any more: clean finds them.
    stages = pids(one)
    one.kill()
    for pid in stages.values():
        kill_pid(pid)
    wait_until(lambda: not any(alive(pid) for pid in stages.values()), 20, "the end of the stages")
    shutil.rmtree(one.directory)
    result = one.millrace("clean")
    assert result.returncode == 0 and f"removed {one.directory}: " in result.stdout, result
    assert not one.directory.exists() and not one.secrets.exists()
    assert "has left nothing" in one.millrace("clean").stderr and not one.directory.exists()
    one.start()  # the fixture ends it


def test_a_folder_of_secrets_that_is_no_folder_or_anybodys_is_refused(instance, tmp_path):
    one = instance(config=config_with(tmp_path), start=False)

    def refused(said):
        one.start(wait=False)
        assert one.wait_end() == 1 and said in one.log(), one.log()
        assert not one.directory.exists()
        checked = one.millrace("check", "-c", one.config_file)
        assert checked.returncode == 1 and said.replace("user 65534", "another user") in checked.stderr, checked.stderr

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    one.secrets.symlink_to(elsewhere)
    refused("is no folder (symbolic links are not followed)")
    assert not list(elsewhere.iterdir())
    one.secrets.unlink()
    one.secrets.mkdir()
    one.secrets.chmod(0o770)
    refused("may be written by others")
    one.secrets.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(one.secrets, 65534, 65534)
        refused("belongs to user 65534")
        # Who has no secrets has nothing to do with it.
        plain = [sink for sink in sinks(tmp_path) if sink["name"] == "plain"]
        one.write_config(config_with(tmp_path, plain))
        one.start()
        assert reload(one, tmp_path, plain, "no stage changes") == set()
        assert reload(one, tmp_path, [{**plain[0], "name": "other"}], "all stages run") == {"file.plain", "file.other"}
        assert one.stop() == 0 and one.secrets.lstat().st_uid == 65534
        os.chown(one.secrets, 0, 0)
        one.write_config(config_with(tmp_path))
    (one.secrets / "kafka.gone").write_text("hush")
    one.start()
    check_files(one)


def test_an_upgrade_and_the_next_supervisor_know_the_secrets(instance, tmp_path):
    one = instance(config=config_with(tmp_path))
    pid, before = one.process.pid, pids(one)
    result = one.millrace("upgrade", timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    assert one.process.poll() is None and one.process.pid == pid and not set(before.values()) & set(pids(one).values())
    check_files(one)
    # It compares with what it knew before: nothing has changed.
    assert reload(one, tmp_path, None, "no stage changes") == set()
    assert reload(one, tmp_path, sinks(tmp_path, sas="sig=hush2"), "all stages run") == {"objects.azure"}
    # As a supervisor of an earlier version left it: everything in config.yaml, and files in the folder; and what a death left
    # of a file.
    one.kill()
    path = one.directory / "config.yaml"
    text = path.read_text().replace('password: "***"', 'password: "hush"')
    assert "hush" in text
    path.write_text(text)
    (one.secrets / "kafka.bus").unlink()
    (one.secrets / ".kafka.bus").write_text("hush")
    (one.secrets / "kafka.gone").write_text("hush")
    (one.directory / ".kafka.bus.secrets").write_text("hush")
    (one.directory / "kafka.gone.secrets").write_text("hush")
    one.write_config(config_with(tmp_path))
    one.start()
    check_files(one)


def test_an_upgrade_of_an_older_program_moves_them(instance, tmp_path):
    """Its files lie in the folder of the instance: the stages of the new one, and then its supervisor, find them there."""
    one = instance(config=config_with(tmp_path))
    for path in one.secrets.iterdir():
        path.rename(one.directory / f"{path.name}.secrets")
    one.secrets.rmdir()
    for role in SECRETS:
        before = one.pid_of(role)
        kill_pid(before)
        wait_until(lambda role=role, before=before: one.pid_of(role) not in (before, 0) and one.stage(role)["state"] == "running", 20, role)
    pid = one.process.pid
    result = one.millrace("upgrade", timeout=60)
    assert result.returncode == 0 and one.process.poll() is None and one.process.pid == pid, result
    check_files(one)
    assert reload(one, tmp_path, None, "no stage changes") == set()


def test_a_stage_says_what_is_wrong_with_its_file_and_a_reload_writes_it_again(instance, tmp_path):
    one = instance(config=config_with(tmp_path))
    path, pid = one.secrets / "kafka.bus", one.pid_of("kafka.bus")
    path.unlink()
    kill_pid(pid)
    wait_until(lambda: f"{path}: cannot be read: No such file or directory; sinks[2] has secrets, which lie there" in one.log(), 20, "no file")
    path.write_bytes((one.secrets / "objects.azure").read_bytes())
    wait_until(lambda: f"{path}: is not the file of kafka.bus" in one.log(), 20, "another's file")
    wait_until(lambda: one.log().count("all stages run") > 0, 20, "the start")
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "no stage changes" in one.log(), 20, "the reload")
    one.wait_running()
    check_files(one)
    assert "hush" not in one.log()


def test_a_check_is_told_the_secrets_of_its_section_alone(instance, tmp_path):
    one = instance(config=config_with(tmp_path), start=False)
    libexec, told = tmp_path / "libexec", tmp_path / "told"
    libexec.mkdir()
    told.mkdir()
    for program in (BUILD / "libexec" / "millrace").iterdir():
        wrapper = libexec / program.name
        wrapper.write_text(f'#!/bin/sh\ncat /dev/stdin > "{told}/$2"\nexec "{program}" "$@" < "{told}/$2"\n')
        wrapper.chmod(0o755)
    result = subprocess.run([BUILD / "bin" / "millrace", "check", "-c", one.config_file], capture_output=True, text=True,
                            env={**one.environment(), "MILLRACE_LIBEXEC": str(libexec)}, timeout=60 * SLOW, check=False)
    assert result.returncode == 0, result.stderr
    found = {path.name: set(re.findall(r'(?:password|secret_key|session_token|sas): "(.+)"', path.read_text())) for path in told.iterdir()}
    assert len(found) > 5
    quoted = PASSWORD.replace('"', '\\"')
    own = {"sinks[0]": {S3_KEY, TOKEN}, "sinks[2]": {quoted}, "sinks[3]": {SAS}}
    for section, values in found.items():
        assert values == own.get(section, set()) | {"***"}, section


def test_parts_that_a_service_manager_runs_have_them_too(instance, tmp_path):
    one = instance(config=config_with(tmp_path), start=False)
    supervisor = str(BUILD / "libexec" / "millrace" / "supervisor")

    def segments(word):
        result = subprocess.run([supervisor, "--segments", word, "--instance", one.name, "-c", str(one.config_file)],
                                capture_output=True, text=True, env=one.environment(), timeout=30 * SLOW, check=False)
        assert result.returncode == 0, result.stderr

    segments("make")
    check_files(one)
    with open(tmp_path / "sink.log", "wb") as log, \
            subprocess.Popen([supervisor, "--sink", "bus", "--instance", one.name], env=one.environment(), stderr=log) as sink:
        wait_until(lambda: one.stage("kafka.bus")["state"] == "running", 20, "the sink")
        sink.send_signal(signal.SIGTERM)
        assert sink.wait(20 * SLOW) == 0
    segments("end")
    assert not one.directory.exists() and not one.secrets.exists()


def test_what_a_dead_instance_left_is_cleaned(instance, tmp_path):
    one = instance(config=config_with(tmp_path))
    stages = pids(one)
    one.kill()
    for pid in stages.values():
        kill_pid(pid)
    check_files(one)
    time.sleep(0.1)
    result = one.millrace("clean", "--force")
    assert result.returncode == 0 and not one.directory.exists() and not one.secrets.exists(), result.stderr
    one.start()  # the fixture ends it
