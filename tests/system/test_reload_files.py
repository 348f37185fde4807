"""Files that options name: tried before anything depends on them, read again on SIGHUP, shown in stat; a broken one never takes a place."""
import contextlib
import os
import signal
import sqlite3
import subprocess
import time

import pytest
from harness import MILLRACE, default_config, namespace, processes, wait_until
from http_help import Client, ask, events, http_address, http_config
from supervisor_help import FakeInstance, http_listeners, listeners

OLD, NEW = "0123456789abcdef-old", "0123456789abcdef-new"
EVENT = {"username": "u", "metric": "m", "count": 1}
RULES = "user_agent_parsers:\n  - regex: '(Zeppelin)/(\\d+)'\n"


def write_tokens(tmp_path, *lines):
    """As an editor does it: a new file under the old name."""
    new = tmp_path / "tokens.new"
    new.write_text("".join(f"{line}\n" for line in lines))
    new.chmod(0o600)
    new.rename(tmp_path / "tokens")
    return tmp_path / "tokens"


def status(millrace, token):
    return ask(http_address(millrace), "POST", "/event", EVENT, f"Authorization: Bearer {token}").status


def shown(millrace, role, option):
    return next(file for file in millrace.stage(role)["files"] if file["option"] == option)


def reload(millrace):
    """SIGHUP; returns what the log says from there on, once it says how the reload went."""
    before = len(millrace.log())
    millrace.kill(signal.SIGHUP)
    return lambda: millrace.log()[before:]


def refused(millrace, said, *words):
    wait_until(lambda: "configuration rejected" in said(), 30, "a refusal")
    for word in words:
        assert word in said(), (word, said())


def taken(said):
    wait_until(lambda: "configuration taken, no stage changes" in said() or "all stages run" in said(), 30, "the reload")


@pytest.fixture(name="closed")
def fixture_closed(instance, tmp_path):
    """An instance whose /event needs the token OLD."""
    tokens = write_tokens(tmp_path, f"{OLD} event")
    return instance(config=http_config(tmp_path, tokens=str(tokens), processes=2))


def test_a_token_that_was_taken_out_is_refused_after_a_reload_and_a_new_one_accepted(closed, tmp_path):
    first = {role: shown(closed, role, "ingest.http[0].tokens") for role in ("ingest-http.0", "ingest-http.1")}
    pids = {role: closed.pid_of(role) for role in first}
    assert all(file["path"] == str(tmp_path / "tokens") and file["refusal"] == "" for file in first.values())
    with Client(http_address(closed)) as client:
        assert client.ask("POST", "/event", EVENT, f"Authorization: Bearer {OLD}").status == 200
        write_tokens(tmp_path, f"{NEW} event")
        assert (status(closed, OLD), status(closed, NEW)) == (200, 401), "before SIGHUP the old file is in force"
        taken(reload(closed))
        wait_until(lambda: all(shown(closed, role, "ingest.http[0].tokens")["in_force_since_ms"] > first[role]["in_force_since_ms"] for role in first),
                   20, "the new tokens in force")
        assert [status(closed, NEW) for _ in range(8)] == [200] * 8 and [status(closed, OLD) for _ in range(8)] == [401] * 8
        assert client.ask("POST", "/event", EVENT, f"Authorization: Bearer {OLD}").status == 401, "on a connection that was open before, too"
    assert pids == {role: closed.pid_of(role) for role in first}, "no process was ended for it"
    since = shown(closed, "ingest-http.0", "ingest.http[0].tokens")["in_force_since_ms"]
    taken(reload(closed))
    time.sleep(0.7)
    assert shown(closed, "ingest-http.0", "ingest.http[0].tokens")["in_force_since_ms"] == since, "what did not change stays in force"
    table = closed.millrace("stat").stdout
    assert "IN FORCE SINCE" in table and str(tmp_path / "tokens") in table
    assert NEW not in closed.log() + table


def broken(millrace, said, key, text):
    """The reload is taken, and of the file that goes on being used it says that it is broken, as the stages do that use it."""
    wait_until(lambda: "a stage could not restart with the new files; it keeps those in force" in said(), 30, "a warning")
    assert f"{key}: {text}" in said(), said()
    taken(said)
    section = key.rsplit(".", 1)[0]
    roles = [stage["name"] for stage in millrace.stat()["stages"] if any(file["option"].startswith(section) for file in stage["files"])]
    assert roles
    for role in roles:
        wait_until(lambda: text in shown(millrace, role, key)["refusal"], 20, "the refusal")  # pylint: disable=cell-var-from-loop


def test_tokens_that_are_broken_at_a_reload_leave_all_as_it_is(closed, tmp_path):
    for lines in ([f"{NEW} evnt"], ["short"], []):
        write_tokens(tmp_path, *lines)
        checked = closed.millrace("check", "-c", closed.config_file)
        assert checked.returncode == 1 and f"ingest.http[0].tokens: {tmp_path}/tokens:" in checked.stderr, checked.stderr
        broken(closed, reload(closed), "ingest.http[0].tokens", f"{tmp_path}/tokens:")
        assert [(status(closed, OLD), status(closed, NEW)) for _ in range(8)] == [(200, 401)] * 8
    (tmp_path / "tokens").unlink()
    broken(closed, reload(closed), "ingest.http[0].tokens", f"{tmp_path}/tokens: No such file")
    assert [status(closed, OLD) for _ in range(8)] == [200] * 8
    assert ask(http_address(closed), "GET", "/readyz").status == 200
    write_tokens(tmp_path, f"{NEW} event")
    taken(reload(closed))
    wait_until(lambda: status(closed, NEW) == 200 and status(closed, OLD) == 401, 20, "the good file in force")


def test_what_is_broken_elsewhere_does_not_keep_a_reload_from_what_it_is_meant_for(instance, tmp_path):
    """A revoked token must go, whatever somebody did meanwhile to the rules, the countries and the database of counts."""
    tokens = write_tokens(tmp_path, f"{OLD} event")
    rules, countries = tmp_path / "regexes.yaml", tmp_path / "country.mmdb"
    rules.write_text(RULES)
    config = http_config(tmp_path, tokens=str(tokens))
    config["ingest"]["udp"] = default_config(tmp_path)["ingest"]["udp"]
    config["enrich"] = {"agent_rules": str(rules), "country_database": str(countries)}
    config["drain_timeout"] = "1s"
    millrace = instance(config=config)
    pids = {stage["name"]: stage["pid"] for stage in millrace.stat()["stages"]}
    wait_until((tmp_path / "data" / "tally.db").exists, 10, "the database")
    rules.write_text("nonsense: [\n")
    countries.write_bytes(b"nonsense")
    for file in (tmp_path / "data").iterdir():
        if file.name != "tally.lock":
            file.unlink()
    (tmp_path / "data" / "tally.db").write_text("a letter, and a long one as letters go, not a database\n")
    write_tokens(tmp_path, f"{NEW} event")
    said = reload(millrace)
    taken(said)
    for text in (f"enrich.agent_rules: {rules}:", f"enrich.country_database: {countries}:", f"data_dir: {tmp_path}/data/tally.db: not an SQLite database"):
        assert text in said(), said()
    assert "configuration rejected" not in said()
    wait_until(lambda: (status(millrace, NEW), status(millrace, OLD)) == (200, 401), 20, "the new tokens in force")
    assert {stage["name"]: stage["pid"] for stage in millrace.stat()["stages"]} == pids
    # The same reload with a change that would start one of them anew is refused.
    for section, option in (("enrich", {"agent_cache": 100}), ("tally", {"applications": 7})):
        changed = {**config, section: {**config.get(section, {}), **option}}
        millrace.write_config(changed)
        said = reload(millrace)
        refused(millrace, said, "enrich.agent_rules: " if section == "enrich" else "data_dir: ")
        assert {stage["name"]: stage["pid"] for stage in millrace.stat()["stages"]} == pids
    assert ask(http_address(millrace), "GET", "/readyz").status == 200
    millrace.kill()
    # The database takes no counts, and there is no supervisor to lose patience.
    wait_until(lambda: pids["tally.0"] not in processes.children(), 10, "the end of tally")


def spoil(database, way):
    for file in database.parent.glob("tally.db*"):
        file.unlink()
    if way == "a folder":
        database.mkdir()
    elif way == "a letter":
        database.write_text("a letter, and a long one as letters go, not a database\n")
    else:
        with contextlib.closing(sqlite3.connect(database)) as made:
            made.executescript("CREATE TABLE recipe (x);" if way == "another program's" else f"PRAGMA application_id={0x6d696c6c}; PRAGMA user_version=3;")


@pytest.mark.parametrize("way,words", [
    ("a folder", "Is a directory"), ("a letter", "not an SQLite database"), ("another program's", "not of millrace"), ("a newer one", "has version 3")])
def test_a_database_of_counts_that_cannot_be_opened_is_said_by_check_and_refuses_a_reload(instance, tmp_path, way, words):
    config = default_config(tmp_path)
    millrace = instance(config=config)
    pids = [stage["pid"] for stage in millrace.stat()["stages"]]
    data = tmp_path / "data"
    assert millrace.millrace("check", "-c", millrace.config_file).returncode == 0, "its own process counts there"
    spoil(data / "tally.db", way)
    before = sorted(data.iterdir())
    config["tally"]["applications"] = 7
    millrace.write_config(config)
    checked = millrace.millrace("check", "-c", millrace.config_file)
    finding = f"data_dir: {data}/tally.db: "
    assert checked.returncode == 1 and finding in checked.stderr and words in checked.stderr, checked.stderr
    refused(millrace, reload(millrace), finding, words)
    assert [stage["pid"] for stage in millrace.stat()["stages"]] == pids and sorted(data.iterdir()) == before
    millrace.kill()


def test_a_folder_for_the_counts_that_another_instance_uses_or_that_cannot_be_made_is_said_by_check(instance, tmp_path):
    config = default_config(tmp_path)
    millrace = instance(config=config)
    pid = millrace.pid_of("tally.0")
    checked = millrace.millrace("check", "-c", millrace.config_file, "--instance", f"{millrace.name}-2")
    assert checked.returncode == 1 and f"{tmp_path}/data/tally.db: process {pid} counts there" in checked.stderr, checked.stderr
    assert millrace.millrace("check", "-c", millrace.config_file, "--set", f"data_dir={tmp_path}/new/folder").returncode == 0
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        checked = millrace.millrace("check", "-c", millrace.config_file, "--set", f"data_dir={path}")
        assert checked.returncode == 1 and f"data_dir: {path}: cannot be written: Not a directory" in checked.stderr, checked.stderr


@pytest.mark.skipif(namespace() is None, reason="no right to mount in a namespace of its own")
def test_a_folder_for_the_counts_without_room_is_said_by_check(instance, tmp_path):
    millrace = instance(start=False)
    full = tmp_path / "full"
    full.mkdir()
    script = f'mount -t tmpfs -o size=64k none "{full}" && exec "$0" "$@"'
    done = subprocess.run([*namespace(), "sh", "-c", script, str(MILLRACE), "check", "-c", str(millrace.config_file), "--set", f"data_dir={full}"],
                          capture_output=True, text=True, timeout=60, check=False, env=millrace.environment())
    assert done.returncode == 1 and f"data_dir: {full}/tally.db: no room for it: 65536 bytes are free" in done.stderr, done.stderr


@pytest.mark.parametrize("what", ["tokens that are not there", "malformed tokens", "rules that are not there", "malformed rules", "a broken database"])
def test_a_reload_that_names_a_bad_file_is_refused_before_anything_stops(instance, tmp_path, what):
    (tmp_path / "bad").write_text("user_agent_parsers:\n  - regex: '(Firefox'\n")
    config = http_config(tmp_path)
    millrace = instance(config=config)
    pids = [stage["pid"] for stage in millrace.stat()["stages"]]
    path = str(tmp_path / ("nowhere" if "not there" in what else "bad"))
    key = "ingest.http[0].tokens" if "tokens" in what else "enrich.agent_rules" if "rules" in what else "enrich.country_database"
    if "tokens" in what:
        config["ingest"]["http"][0]["tokens"] = path
    else:
        config["enrich"] = {**config.get("enrich", {}), key.split(".")[1]: path}
    millrace.write_config(config)
    checked = millrace.millrace("check", "-c", millrace.config_file)
    assert checked.returncode == 1 and f"{key}: {path}:" in checked.stderr, checked.stderr
    refused(millrace, reload(millrace), f"{key}: {path}:")
    assert ask(http_address(millrace), "POST", "/event", EVENT).status == 200
    assert ask(http_address(millrace), "GET", "/readyz").status == 200
    assert [stage["pid"] for stage in millrace.stat()["stages"]] == pids


@pytest.mark.parametrize("kind", ["fifo", "folder", "endless"])
def test_a_tokens_file_that_is_no_file_is_refused_at_once(instance, tmp_path, kind):
    path = {"fifo": tmp_path / "fifo", "folder": tmp_path, "endless": "/dev/zero"}[kind]
    if kind == "fifo":
        os.mkfifo(path)
    millrace = instance(start=False, config=http_config(tmp_path, tokens=str(path)))
    for command in ("check", "run"):
        result = millrace.millrace(command, "-c", millrace.config_file, timeout=15)
        assert result.returncode == 1 and f"ingest.http[0].tokens: {path}:" in result.stderr, result.stderr
    assert not millrace.directory.exists()


def test_a_stage_that_dies_while_its_tokens_are_broken_keeps_its_port_and_its_routes_closed(closed, tmp_path):
    write_tokens(tmp_path, "broken")
    for role in ("ingest-http.0", "ingest-http.1"):
        pid = closed.pid_of(role)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: closed.pid_of(role) != pid and closed.stage(role)["state"] == "running", 20, "its next life")  # pylint: disable=cell-var-from-loop
    reply = ask(http_address(closed), "POST", "/event", EVENT, f"Authorization: Bearer {OLD}")
    assert reply.status == 503 and int(reply.headers["retry-after"]) >= 1 and "tokens" in reply.json()["error"]
    assert ask(http_address(closed), "GET", "/t/open").status == 503, "which routes are closed is in the file"
    assert ask(http_address(closed), "GET", "/readyz").status == 503
    assert ask(http_address(closed), "GET", "/healthz").status == 200
    file = shown(closed, "ingest-http.0", "ingest.http[0].tokens")
    assert file["in_force_since_ms"] is None and file["refused_ms"] and file["refusal"].startswith(f"{tmp_path}/tokens:1: ")
    write_tokens(tmp_path, f"{NEW} event")
    for role in ("ingest-http.0", "ingest-http.1"):
        wait_until(lambda: shown(closed, role, "ingest.http[0].tokens")["in_force_since_ms"], 20, "the file in force, without a signal")  # pylint: disable=cell-var-from-loop
    assert (status(closed, NEW), status(closed, OLD)) == (200, 401)
    assert ask(http_address(closed), "GET", "/readyz").status == 200


def test_rules_are_read_again_and_answers_of_the_old_ones_forgotten(instance, tmp_path):
    rules = tmp_path / "regexes.yaml"
    rules.write_text(RULES)
    config = http_config(tmp_path)
    config["enrich"] = {"agent_rules": str(rules)}
    millrace = instance(config=config)

    def browser():
        before = len(events(millrace, "track"))
        assert ask(http_address(millrace), "GET", "/t/x", None, "User-Agent: Zeppelin/7").status == 200
        return wait_until(lambda: events(millrace, "track")[before:], 20, "the event")[0]["browser"]

    assert browser() == "Zeppelin" and browser() == "Zeppelin"
    since, pid = shown(millrace, "enrich.0", "enrich.agent_rules")["in_force_since_ms"], millrace.pid_of("enrich.0")
    rules.write_text(RULES.replace("(Zeppelin)", "(Zeppelin)") + "    family_replacement: 'Airship'\n")
    taken(reload(millrace))
    wait_until(lambda: shown(millrace, "enrich.0", "enrich.agent_rules")["in_force_since_ms"] > since, 20, "the new rules")
    assert browser() == "Airship" and millrace.pid_of("enrich.0") == pid
    rules.write_text("nonsense: [\n")
    broken(millrace, reload(millrace), "enrich.agent_rules", f"{rules}:")
    assert browser() == "Airship"


def test_relative_paths_mean_the_folder_in_which_the_supervisor_was_started(instance, tmp_path):
    write_tokens(tmp_path, f"{OLD} event")
    millrace = instance(start=False, config=http_config(tmp_path, tokens="tokens"), wrapper=["env", "-C", str(tmp_path)])
    millrace.start()
    assert shown(millrace, "ingest-http.0", "ingest.http[0].tokens")["path"] == str(tmp_path / "tokens")
    assert str(tmp_path / "tokens") in (millrace.directory / "config.yaml").read_text()
    assert (status(millrace, OLD), status(millrace, NEW)) == (200, 401)


# ---- what the stages are asked before (fake stages) ----

def test_a_finding_of_a_stage_refuses_a_reload_and_at_the_start_only_what_it_cannot_do_without(tmp_path, shm_root):
    with FakeInstance(tmp_path, shm_root, config=http_listeners(["127.0.0.1:0"])) as fake:
        pids = {role: fake.pid(role) for role in ("ingest-http.0", "enrich.0")}
        findings = fake.libexec / "enrich.findings"
        for kind in ("refused", "without"):
            findings.write_text(f"{kind} enrich.agent_rules: /r: broken\x1b[2J\n")
            fake.write_config({**http_listeners(["127.0.0.1:0"]), "enrich": {"agent_longest": 100}})
            before = len(fake.output())
            fake.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "configuration rejected" in fake.output()[before:], 20, "a refusal")  # pylint: disable=cell-var-from-loop
            assert "enrich.agent_rules: /r: broken" in fake.output()[before:] and "\x1b" not in fake.output()
        assert pids == {role: fake.pid(role) for role in pids}
        findings.write_text("missing enrich.country_database: /d: No such file or directory\n")
        fake.process.send_signal(signal.SIGHUP)
        wait_until(lambda: fake.pid("enrich.0") != pids["enrich.0"], 20, "the change")
        fake.wait_running("enrich.0")
    fake.write_config({**http_listeners(["127.0.0.1:0"]), "enrich": {"agent_rules": "/r"}})
    findings.write_text("refused enrich.agent_rules: /r: broken\n")
    assert "millrace: enrich.agent_rules: /r: broken" in fake.run_refused() and not fake.directory.exists()
    findings.write_text("without enrich.country_database: /d: broken\n")
    with fake:
        assert "enrich.country_database: /d: broken" in fake.output()


@pytest.mark.parametrize("what", ["exec sleep 100", "kill -SEGV $$", "exit 3", "not a program"])
def test_a_stage_that_cannot_answer_refuses_the_reload(tmp_path, shm_root, what):
    with FakeInstance(tmp_path, shm_root, config={**listeners(["127.0.0.1:0"]), "stage_timeout": "1s" if "sleep" in what else "30s"}) as fake:
        pid = fake.pid("tally.0")
        (fake.libexec / "tally").unlink()
        (fake.libexec / "tally").write_text("nonsense" if what == "not a program" else f"#!/bin/bash\n{what}\n")
        (fake.libexec / "tally").chmod(0o755)
        fake.write_config({**listeners(["127.0.0.1:0"]), "tally": {"applications": 7}, "stage_timeout": "1s" if "sleep" in what else "30s"})
        fake.process.send_signal(signal.SIGHUP)
        fake.wait_for("configuration rejected")
        assert "tally: " in fake.output() and "--check" in fake.output()
        assert fake.pid("tally.0") == pid and fake.control("tally.0").state == "running"


def test_a_stage_that_is_being_asked_holds_up_neither_the_others_nor_the_end(tmp_path, shm_root):
    with FakeInstance(tmp_path, shm_root) as fake:
        (fake.libexec / "tally").unlink()
        (fake.libexec / "tally").write_text("#!/bin/bash\necho asked >&2\nexec sleep 100\n")
        (fake.libexec / "tally").chmod(0o755)
        fake.process.send_signal(signal.SIGHUP)
        fake.wait_for("asked\n")
        pid = fake.pid("ingest-udp.0")
        os.kill(pid, signal.SIGKILL)
        fake.wait_running("ingest-udp.0", not_pid=pid)
        assert fake.stop() == 0


def test_a_folder_of_tokens_that_is_replaced_is_read_from_after_a_reload(instance, tmp_path):
    """The sandbox is about the folder that was there: the stage starts again, which only a reload makes it do."""
    for name, token in (("now", OLD), ("next", NEW)):
        (tmp_path / name).mkdir()
        write_tokens(tmp_path / name, f"{token} event")
    millrace = instance(config=http_config(tmp_path, tokens=str(tmp_path / "now" / "tokens")))
    before = millrace.pid_of("ingest-http.0")
    (tmp_path / "now").rename(tmp_path / "before")
    (tmp_path / "next").rename(tmp_path / "now")
    time.sleep(0.7)
    assert (status(millrace, OLD), status(millrace, NEW), millrace.pid_of("ingest-http.0")) == (200, 401, before)
    taken(reload(millrace))
    wait_until(lambda: (status(millrace, OLD), status(millrace, NEW)) == (401, 200), 20, "the new tokens")
