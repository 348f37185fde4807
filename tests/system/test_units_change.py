"""`millrace reload`, `restart` and `upgrade` of an instance that systemd runs, with stand-ins for systemd and systemctl (units_help.py)."""
import contextlib
import copy
import re
import subprocess

import pytest

from harness import MILLRACE, SLOW, wait_until
from http_help import EXAMPLE, LOG_EXAMPLE, Knocker, ask
from stored_help import StoredLoad, check_nothing_lost
from units_help import address, managed_instance

RESTARTS = 5
PROCESS = re.compile(r"^(\S+): process (?:(\d+) -> )?(\d+), \d+ ms$", re.MULTILINE)


@pytest.fixture
def managed(instance, tmp_path):
    yield from managed_instance(instance, tmp_path)


def unit_of(role):
    stage, _, name = role.partition(".")
    return f"millrace-{stage}.service" if stage in ("tally", "serve") else \
        f"millrace-sink@{name}.service" if stage in ("objects", "file") else f"millrace-{stage}@{name}.service"


def done(managed, *arguments):
    """What the command says of each role: {role: (old pid or "", new pid)}; all is well."""
    result = managed.millrace(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr + managed.one.log_file.read_text()[-3000:]
    said = {role: (old, int(new)) for role, old, new in PROCESS.findall(result.stdout)}
    assert all(managed.process[unit_of(role)].pid == new for role, (_, new) in said.items()), (said, result.stdout)
    return said, result.stdout


def refused(managed, *arguments):
    before = state(managed)
    result = managed.millrace(*arguments)
    assert result.returncode == 1, result
    assert state(managed) == before
    return result.stdout + result.stderr


def state(managed):
    directory = managed.one.directory
    return ({name: p.pid for name, p in managed.process.items()}, (directory / "instance").stat().st_ino, (directory / "config.yaml").read_bytes())


def change(managed, **sections):
    """Writes the configuration of the start with these sections changed: tally={"commit_interval": "50ms"}."""
    config = copy.deepcopy(managed.config)
    for name, section in sections.items():
        if isinstance(section, dict):
            config.setdefault(name, {}).update(section)
        else:
            config[name] = section
    managed.one.write_config(config)


@contextlib.contextmanager
def flood(managed, tmp_path):
    """HTTP requests while something is done; after it each that was acknowledged is there, once, and no connection was refused or broken."""
    where = address(managed, "http")
    with StoredLoad(managed.one, where, tmp_path, "-c", 8, "-p", 1, "--rate", 5000) as load, Knocker(where) as knocker:
        wait_until(lambda: load.file.exists() and load.file.stat().st_size, 20, "answers")
        yield
    assert load.account["unanswered"] == load.account["connections"]["broken"] == 0, load.account
    assert (knocker.refused, knocker.broken) == (0, 0) and knocker.taken > 0
    assert len(load.stored) == load.taken > 0
    check_nothing_lost(managed.one, "metric", len(load.stored))


@pytest.mark.limit(180)
def test_restarts_and_upgrades_refuse_no_connection_and_lose_nothing(managed, tmp_path):
    managed.start()
    roles = ["serve.0", "tally.0", "objects.logs", "enrich.0", "deliver.0", "ingest-udp.0", "ingest-http.0"]
    with flood(managed, tmp_path):
        for _ in range(RESTARTS):
            said, _ = done(managed, "restart", "ingest-http")
            assert list(said) == ["ingest-http.0"] and str(said["ingest-http.0"][1]) != said["ingest-http.0"][0]
        before = {unit_of(role): managed.process[unit_of(role)].pid for role in roles}
        managed.commands.clear()
        said, _ = done(managed, "upgrade")
    assert set(said) == set(roles) and all(int(old) == before[unit_of(role)] != new for role, (old, new) in said.items()), said
    order = list(said)
    assert max(map(order.index, roles[:3])) < min(map(order.index, roles[3:5])) and set(order[-2:]) == set(roles[5:]), order
    assert managed.commands[:2] == [("daemon-reload",), ("reload", "millrace-segments.service")]
    assert managed.commands[2:] == [("restart", unit_of(role)) for role in order]
    assert set(managed.stop().values()) == {0} and not managed.one.directory.exists()


@pytest.mark.limit(180)
def test_a_reload_changes_only_what_changed_and_loses_nothing(managed, tmp_path):
    """A stage before and one after the topic begin again, a sink ends, another is new; what arrives at the socket meanwhile waits."""
    managed.start()
    one = managed.one
    with flood(managed, tmp_path):
        assert ask(address(managed, "http"), "POST", "/log", LOG_EXAMPLE).status == 200
        before, page = state(managed)[0], (one.directory / "instance").stat().st_ino
        listener = dict(managed.config["ingest"]["http"][0], max_connections=500)
        change(managed, tally={"commit_interval": "50ms"}, ingest={"http": [listener]},
               sinks=[{"name": "all", "kind": "objects", "topics": ["log"], "tails": "16MiB"}])
        managed.commands.clear()
        said, text = done(managed, "reload")
        assert ask(address(managed, "http"), "POST", "/log", LOG_EXAMPLE).status == 200
    assert list(said)[-1] == "ingest-http.0" and set(said) == {"ingest-http.0", "tally.0", "objects.all"}, text
    assert "objects.logs: ends" in text and "tally.0: starts again" in text
    assert managed.commands[:2] == [("reload", "millrace-segments.service"), ("stop", "millrace-ingest-http@0.service")]
    assert {c for c in managed.commands[2:4]} == {("stop", "millrace-tally.service"), ("stop", "millrace-sink@logs.service")}
    assert ("disable", "millrace-sink@logs.service") in managed.commands and ("enable", "millrace-sink@all.service") in managed.commands
    after = state(managed)[0]
    changed = {"millrace-ingest-http@0.service", "millrace-tally.service", "millrace-sink@all.service"}
    assert {name for name in after if after[name] != before.get(name)} == changed and "millrace-sink@logs.service" not in after
    assert (one.directory / "instance").stat().st_ino != page and one.stat()["supervisor"]["managed"]
    effective = subprocess.run([str(MILLRACE), "check", "--effective", "-c", str(one.directory / "config.yaml")], stdin=subprocess.DEVNULL,
                               capture_output=True, text=True, timeout=30 * SLOW, check=True).stdout
    assert "50ms" in effective
    statuses = managed.stop()
    assert set(statuses.values()) == {0} and not one.directory.exists(), statuses
    objects = [p for p in (tmp_path / "data" / "objects").rglob("*") if p.is_file()]
    assert len(objects) >= 2, "a log event of each sink is in an object"


def test_a_reload_that_changes_no_stage_ends_none(managed):
    managed.start()
    reloads = managed.one.directory / "tally.0.stage"
    before, pids = reloads.read_bytes()[4096 + 24:4096 + 32], state(managed)[0]
    change(managed, stage_timeout="50s")
    said, text = done(managed, "reload")
    assert said == {} and "no stage starts again" in text and state(managed)[0] == pids
    assert int.from_bytes(reloads.read_bytes()[4096 + 24:4096 + 32], "little") == int.from_bytes(before, "little") + 1
    assert managed.commands == [("reload", "millrace-segments.service")]


def test_a_reload_that_changes_a_secret_restarts_whose_it_is(managed):
    """It compares with the secrets in force, which config.yaml does not have."""
    def sinks(key):
        return [{"name": "logs", "topics": ["log"], "tails": "16MiB", "store": {"s3": {"secret_key": key}}}]

    change(managed, sinks=sinks("hush-1"))
    managed.start()
    said, text = done(managed, "reload")
    assert said == {} and "no stage starts again" in text
    change(managed, sinks=sinks("hush-2"))
    said, text = done(managed, "reload")
    assert list(said) == ["objects.logs"], text
    one, directory = managed.one, managed.one.directory
    assert "hush-2" in (one.secrets / "objects.logs").read_text() and b"hush" not in (directory / "config.yaml").read_bytes()
    assert set(managed.stop().values()) == {0} and not directory.exists() and not one.secrets.exists()


def test_what_is_wrong_changes_nothing(managed):
    managed.start()
    change(managed, tally={"commit_interval": "never"})
    assert "tally.commit_interval" in refused(managed, "reload")
    change(managed, tally={"commit_interval": "50ms"}, data_dir="/elsewhere")
    assert "data_dir: changes when" in refused(managed, "reload")
    assert all(verb == "reload" for verb, *_ in managed.commands)


def test_a_socket_of_another_address_is_refused(managed):
    managed.start()
    change(managed, ingest={"http": [{"listen": ["127.0.0.1:1"]}]})
    text = refused(managed, "reload")
    assert "ingest.http[0].listen" in text and "in its .socket unit" in text


def test_without_who_stops_the_units_a_reload_gives_up_and_says_which(managed):
    change(managed, drain_timeout="1s")
    managed.config["drain_timeout"] = "1s"
    managed.start()
    before = state(managed)
    change(managed, tally={"commit_interval": "50ms"})
    assert managed.run_once("millrace-segments.service", "ExecReload") == 1
    assert state(managed) == before
    log = managed.one.log_file.read_text()
    assert "waiting for roles that must end first first=tally.0" in log and "a role has not ended role=tally.0" in log


def test_a_role_that_does_not_come_up_is_reported(managed):
    managed.start()
    managed.units["millrace-tally.service"]["ExecStart"][-1] = "tally.9"
    result = managed.millrace("restart", "tally")
    assert result.returncode == 1 and "tally.0 does not come up: systemctl status millrace-tally.service" in result.stderr, result
    managed.units["millrace-tally.service"]["ExecStart"][-1] = "tally.0"
    managed.process.pop("millrace-tally.service").wait()
    assert managed.do_start("millrace-tally.service")
    assert 'no role "taly"' in managed.millrace("restart", "taly").stderr
    assert ask(address(managed, "http"), "POST", "/event", EXAMPLE).status == 200


def test_who_may_not_use_systemctl_is_told_the_commands(managed):
    managed.start()
    if managed.one.millrace("restart", "tally").returncode == 0:
        pytest.skip("systemd runs here")
    result = managed.one.millrace("upgrade")
    units = re.findall(r"systemctl restart (\S+)", result.stderr)
    assert result.returncode == 1 and sorted(units) == sorted(managed.process) and units[-1].startswith("millrace-ingest"), result
    assert re.findall(r"systemctl restart (\S+)", managed.one.millrace("restart", "tally").stderr) == ["millrace-tally.service"]
    assert "millrace reload" in managed.one.millrace("reload").stderr
