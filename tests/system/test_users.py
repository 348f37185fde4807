"""A user for each kind of stage: who each process is, who owns each file, and what the kernel refuses."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess

import pytest

from harness import BUILD, ROOT, rows, wait_until
from http_help import LOG_EXAMPLE, ask
from load import ipevent, random_sha, send_paced
from serve_help import HOST, serve_address
from units_help import NAMES, Manager
from users_help import DATA, KINDS, OWNER, QUEUES, UID, World, credentials, groups_of, kind_of, run_as, unable

pytestmark = pytest.mark.skipif(unable() is not None, reason=str(unable()))

# Of a page of a group (shm/stream.h): its name, after the segment's header.
GROUP_NAME = slice(4096 + 16, 4096 + 48)
# By the names of the groups that stages have in whole_config and after its reload; pages of others are for outside programs.
GROUP_KIND = {"tally": "tally", "enrich": "enrich", "kept": "sink", "logs": "sink", "lines": "sink", "more": "sink", "bus": "sink"}
ADMIN = "admin-token-0123456789"
TRY_ALL = """
import json, os, sys
can = []
for name in os.listdir(sys.argv[1]):
    try:
        os.close(os.open(os.path.join(sys.argv[1], name), os.O_RDWR))
        can.append(name)
    except PermissionError:
        pass
    with open(os.path.join(sys.argv[1], name), "rb") as file:
        file.read(1)
for attempt in ("new", "chmod", "rename"):
    try:
        path = os.path.join(sys.argv[1], "instance")
        if attempt == "new":
            os.close(os.open(os.path.join(sys.argv[1], "new"), os.O_RDWR | os.O_CREAT))
        elif attempt == "chmod":
            os.chmod(path, 0o666)
        else:
            os.rename(path, path + ".gone")
        can.append(attempt)
    except PermissionError:
        pass
print(json.dumps(can))
"""


@pytest.fixture
def world():
    made = World()
    yield made
    made.discard()


def whole_config(world):
    lines = world.folder / "lines"
    lines.mkdir(exist_ok=True)
    os.chown(lines, UID["sink"], UID["sink"])
    return {
        "data_dir": str(world.folder / "data"),
        "drain_timeout": "20s",
        "ingest": {
            "udp": [{"listen": ["127.0.0.1:0"], "format": "ipevent", "receive_buffer": "4MiB"}],
            "http": [{"listen": ["127.0.0.1:0"]}],
        },
        "topics": {name: {"size": "1MiB"} for name in ("ip", "metric", "log", "track.raw", "track", "delivery")},
        "queues": {"postback": {"slots": 64}},
        "enrich": {"processes": 2},
        "deliver": {"processes": 1},
        "tally": {"commit_interval": "100ms"},
        "serve": {"listen": ["127.0.0.1:0"]},
        "sinks": [
            {"name": "kept", "kind": "objects", "topics": ["log"], "tails": "16MiB", "member": "64KiB", "longest_line": "64KiB"},
            {"name": "lines", "kind": "file", "topics": ["log"], "path": str(lines / "lines.ndjson")},
        ],
    }


def owner_of(folder, name):
    """(group, mode) that a file of an instance of whole_config has."""
    page = re.fullmatch(r"(.*)\.(?:group|reader)\.(\d+)(?:\.\d+)?", name)
    if page:
        group = (folder / f"{page[1]}.group.{page[2]}").read_bytes()[GROUP_NAME].partition(b"\0")[0].decode()
        return (UID[GROUP_KIND[group]], 0o664) if group in GROUP_KIND else (OWNER, 0o640)
    if name.endswith(".queue"):
        return QUEUES, 0o664
    lane = {"ip": "ingest", "metric": "ingest", "log": "ingest", "track.raw": "ingest", "track": "enrich", "delivery": "deliver"}
    if re.fullmatch(r".*\.lane\.\d+", name):
        return UID[lane[name.rpartition(".lane.")[0]]], 0o664
    if name == "tally.0.errand":
        return UID["serve"], 0o664
    if name == "maker":
        return OWNER, 0o500
    if name == "drops":
        return UID["ingest"], 0o664
    role = re.fullmatch(r"(.*)\.(stage|private|role)", name)
    return (UID[kind_of(role[1])], 0o664) if role else (OWNER, 0o640)


def files_of(folder):
    return {path.name: (path.lstat().st_uid, path.lstat().st_gid, stat.S_IMODE(path.lstat().st_mode)) for path in folder.iterdir()}


def check_files(one):
    folder = one.directory.stat()
    assert (folder.st_uid, folder.st_gid, stat.S_IMODE(folder.st_mode)) == (OWNER, OWNER, 0o750)
    files = files_of(one.directory)
    assert files == {name: (OWNER, *owner_of(one.directory, name)) for name in files}
    return files


def check_processes(one):
    for stage in one.stat()["stages"]:
        kind = kind_of(stage["name"])
        assert credentials(stage["pid"]) == ({UID[kind]}, {UID[kind]}, groups_of(kind)), stage["name"]
        assert f"Umask:\t0007" in open(f"/proc/{stage['pid']}/status").read()
    assert credentials(one.process.pid)[0] == {0}


def test_each_stage_is_its_user_and_can_write_what_is_its_own_alone(world):
    config = whole_config(world)
    tokens = world.folder / "admin"
    tokens.write_text(ADMIN + "\n")
    tokens.chmod(0o600)
    os.chown(tokens, UID["serve"], UID["serve"])
    config["serve"].update(admin_tokens=str(tokens), hosts=[HOST])
    one = world.instance(config)
    with one:
        assert "stages run as their own users" in one.log()
        check_processes(one)
        files = check_files(one)
        for kind in KINDS:
            can = set(json.loads(run_as(UID[kind], groups_of(kind), TRY_ALL, one.directory)))
            assert can == {name for name, (_, gid, mode) in files.items() if mode & 0o020 and gid in groups_of(kind)}
            assert can and all(files[name][1] in (UID[kind], QUEUES) for name in can), kind
        outside = set(json.loads(run_as(OWNER, {OWNER, QUEUES, DATA, *UID.values()}, TRY_ALL.partition("for attempt")[0] + "print(json.dumps(can))",
                                        one.directory)))
        assert outside == set(files)
        for name in ("tally.db", "tally.db-wal", "tally.db-shm", "deliver.db", "deliver.db-wal", "deliver.db-shm"):
            status = (world.folder / "data" / name).stat()
            assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (DATA, 0o660), name
        # What serve asks of tally, and does in the database of deliver, goes from user to user.
        authorized = f"Authorization: Bearer {ADMIN}"
        assert ask(serve_address(one), "DELETE", "/events", None, authorized).status == 200
        assert ask(serve_address(one), "POST", f"/dead/{'0' * 32}/replay", None, authorized).status == 404  # having looked there


def test_a_secret_is_read_by_its_own_kind_alone(world):
    """Also after reloads that write it anew, and the sink, which starts again, has it."""
    config = whole_config(world)
    bus = {"name": "bus", "kind": "kafka", "topics": ["log"], "brokers": ["127.0.0.1:9"], "password": "hush"}
    config["sinks"] = config["sinks"] + [bus]
    script = "import sys\ntry:\n    print(open(sys.argv[1]).read())\nexcept PermissionError:\n    print('refused')"
    one = world.instance(config)
    with one:
        for password, said in (("hush", "no stage changes"), ("hush2", "all stages run")):
            path, before = one.secrets / "kafka.bus", one.log().count(said)
            bus["password"] = password
            one.write_config(config)
            one.process.send_signal(signal.SIGHUP)
            wait_until(lambda: one.log().count(said) > before, 20, said)
            one.wait_running()
            check_secrets(one, {"kafka.bus"})
            readers = {kind for kind in KINDS if run_as(UID[kind], groups_of(kind), script, path).strip() != "refused"}
            assert readers == {"sink"} and password in path.read_text()
            assert b"hush" not in (one.directory / "config.yaml").read_bytes()
    assert not one.secrets.exists()


def check_secrets(one, roles_):
    folder = one.secrets.lstat()
    assert (folder.st_uid, folder.st_gid, stat.S_IMODE(folder.st_mode)) == (OWNER, OWNER, 0o750)
    assert files_of(one.secrets) == {role: (OWNER, UID["sink"], 0o640) for role in roles_}


def http_address(one):
    return re.search(r"^http 127\.0\.0\.1:(\d+)", one.log(), re.MULTILINE)[1]


class Sender:
    """Sends to the sockets of an instance, and knows what must be counted in the end."""

    def __init__(self, one, rng):
        self.one, self.rng = one, rng
        self.sha = random_sha(rng)
        self.datagrams, self.logs = 0, 0

    def send(self, n=200):
        send_paced(self.one.address(), [ipevent(self.sha, self.rng.getrandbits(32)) for _ in range(n)], 20000)
        self.datagrams += n
        for _ in range(5):
            status = ask(("127.0.0.1", int(http_address(self.one))), "POST", "/log", LOG_EXAMPLE)
            assert status.status == 200, status
            self.logs += 1


def test_kills_reloads_and_new_programs_keep_owners_and_counts(world, rng):
    config = whole_config(world)
    config["sinks"].append({"name": "bus", "kind": "kafka", "topics": ["metric"], "brokers": ["127.0.0.1:9"], "password": "hush"})
    one = world.instance(config)
    with one:
        check_secrets(one, {"kafka.bus"})
        sender = Sender(one, rng)
        sender.send()
        for stage in one.stat()["stages"]:
            os.kill(stage["pid"], signal.SIGKILL)
            wait_until(lambda role=stage["name"], pid=stage["pid"]: one.stage(role)["pid"] != pid and one.stage(role)["state"] == "running",
                       what=f"another life of {stage['name']}")
            sender.send(50)
        config["topics"]["orders"] = {"size": "64KiB", "outside_lanes": 1}
        config["sinks"].append({"name": "more", "kind": "file", "topics": ["ip", "orders"], "path": str(world.folder / "lines" / "more.ndjson")})
        one.write_config(config)
        one.process.send_signal(signal.SIGHUP)
        wait_until(lambda: any(s["name"] == "file.more" and s["state"] == "running" for s in one.stat()["stages"]), what="the new sink")
        check_processes(one)
        assert {"orders.lane.0", "file.more.stage", "file.more.role"} <= set(check_files_with_orders(one))
        sender.send()
        assert one.millrace("restart", "tally").returncode == 0
        sender.send()
        # Whoever owns the folder cannot make the next program start stages as root.
        in_force = one.directory / "config.yaml"
        in_force.write_text(in_force.read_text().replace("users: auto", 'users: "off"'))
        assert 'users: "off"' in in_force.read_text()
        result = one.millrace("upgrade", timeout=60)
        assert result.returncode == 0, result.stderr + one.log()[-3000:]
        check_secrets(one, {"kafka.bus"})
        check_processes(one)
        check_files_with_orders(one)
        sender.send()
    assert dict(rows(world.folder / "data" / "tally.db", "SELECT sha, count FROM report")) == {sender.sha: sender.datagrams}
    assert len((world.folder / "lines" / "lines.ndjson").read_text().splitlines()) == sender.logs


def check_files_with_orders(one):
    files = files_of(one.directory)
    outside = {name: files.pop(name) for name in list(files) if name.startswith("orders.lane")}
    assert set(outside.values()) == {(OWNER, OWNER, 0o640)}
    assert files == {name: (OWNER, *owner_of(one.directory, name)) for name in files}
    return {**files, **outside}


def test_an_instance_without_users_gets_them_and_loses_them_again(world, rng):
    config = whole_config(world)
    config["sinks"].append({"name": "bus", "kind": "kafka", "topics": ["delivery"], "brokers": ["127.0.0.1:9"], "password": "hush"})
    one = world.instance(config, users=False)
    one.start()
    sender = Sender(one, rng)
    sender.send()
    for users in (True, False):
        one.settle("ip", sender.datagrams)
        stages = [stage["pid"] for stage in one.stat()["stages"]]
        for pid in stages:  # with records and messages to take up
            os.kill(pid, signal.SIGSTOP)
        one.kill()
        for pid in stages:
            os.kill(pid, signal.SIGKILL)
        one.users = True
        one.write_config({**config, "users": "auto" if users else "off"})
        os.chown(world.folder / "lines", *(UID["sink"] if users else 0,) * 2)
        for path in (world.folder / "lines").iterdir():  # not ours to give: its folder is the administrator's
            os.chown(path, *(UID["sink"] if users else 0,) * 2)
        one.start()
        data = world.folder / "data"
        if users:
            check_files(one)
            check_secrets(one, {"kafka.bus"})
            check_processes(one)
            assert {path.stat().st_gid for path in [data, *data.rglob("*")]} == {DATA}
        else:
            assert {(uid, mode) for uid, _, mode in files_of(one.directory).values()} == {(0, 0o600)}
            assert files_of(one.secrets) == {"kafka.bus": (0, 0, 0o600)}
            assert all(stat.S_IMODE(folder.stat().st_mode) == 0o700 and folder.stat().st_uid == 0 for folder in (one.directory, one.secrets))
            assert {(path.stat().st_uid, path.stat().st_gid) for path in [data, *data.rglob("*")]} == {(0, 0)}
            assert all(credentials(stage["pid"])[0] == {0} for stage in one.stat()["stages"])
        sender.send()
    assert one.stop() == 0, one.log()[-3000:]
    assert dict(rows(world.folder / "data" / "tally.db", "SELECT sha, count FROM report")) == {sender.sha: sender.datagrams}
    assert len((world.folder / "lines" / "lines.ndjson").read_text().splitlines()) == sender.logs


def test_programs_that_a_user_cannot_reach_are_refused_at_once(world):
    one = world.instance(whole_config(world))
    world.folder.chmod(0o700)
    assert re.search(r"the user millrace-\w+ cannot execute it: Permission denied; chmod o\+x the folders", refusal(one))


def refusal(one):
    one.start(wait=False)
    assert one.wait_end() == 1, one.log()
    assert not one.directory.exists()
    return one.log()


def test_what_a_user_may_not_use_is_refused_with_the_user_and_the_remedy(world):
    config = whole_config(world)
    secret = world.folder / "secret"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    secret.chmod(0o600)
    config["ingest"]["http"][0]["tokens"] = str(secret)
    said = refusal(world.instance(config))
    assert str(secret) in said and "(the stage runs as millrace-ingest)" in said
    del config["ingest"]["http"][0]["tokens"]
    config["deliver"]["sign"] = str(secret)
    checked = world.instance(config)
    result = world.millrace("check", "-c", checked.config_file)
    assert result.returncode == 1 and str(secret) in result.stderr and "(the stage runs as millrace-deliver)" in result.stderr
    del config["deliver"]["sign"]
    # A folder with other things in it is not given away.
    data = world.folder / "data"
    (data / "precious").mkdir(parents=True, exist_ok=True)
    os.chown(data, 0, 0)
    data.chmod(0o755)
    said = refusal(world.instance(config))
    assert "the user millrace-deliver cannot write there" in said and "also holds precious" in said and "chmod 2770" in said
    assert (data.stat().st_uid, stat.S_IMODE(data.stat().st_mode)) == (0, 0o755)
    # A link in data_dir is given to nobody, nor is what it names, nor a file that has another name elsewhere.
    (data / "precious").rmdir()
    (data / "tally.db").unlink(missing_ok=True)
    (data / "sinks").symlink_to(world.databases)
    os.link(world.databases / "passwd", data / "deliver.old")
    one = world.instance({**config, "sinks": []})
    with one:
        assert (world.databases.stat().st_uid, (world.databases / "passwd").stat().st_uid) == (0, 0)
        assert (data / "sinks").lstat().st_uid == 0
    (data / "sinks").unlink()


class OwnManager(Manager):
    """Starts the units' commands as the users that the units name, as systemd does."""

    def __init__(self, world, one):
        super().__init__(one, world.folder, NAMES)
        os.chmod(self.notify_path, 0o777)
        self.world = world

    def command(self, name, key="ExecStart"):
        unit = self.units[name]
        number = {"millrace": OWNER, "millrace-queues": QUEUES, "millrace-data": DATA, **{f"millrace-{kind}": uid for kind, uid in UID.items()}}
        (user,), (group,) = unit["User"], unit["Group"]
        groups = ",".join(str(number[g]) for g in [group, *unit.get("SupplementaryGroups", [])])
        command = [w.replace(str(BUILD), str(self.world.programs)) for w in super().command(name, key)]
        return [*self.world.wrapper(), "setpriv", f"--reuid={number[user]}", f"--regid={number[group]}", f"--groups={groups}", "--inh-caps=-all",
                "sh", "-c", f"umask {unit['UMask'][0]}; exec \"$0\" \"$@\"", *command]


def make_folders(world, data):
    """As systemd-tmpfiles makes them, of conf/systemd/millrace.tmpfiles."""
    if shutil.which("systemd-tmpfiles") is None:
        pytest.skip("systemd-tmpfiles is missing (apt-get install systemd)")
    text = (ROOT / "conf/systemd/millrace.tmpfiles").read_text()
    for name, value in (("/dev/shm/millrace", world.shm_root), ("/var/lib/millrace", data), (r"\bmillrace-data\b", DATA), (r" millrace\b", f" {OWNER}")):
        text = re.sub(name, str(value), text)
    file = world.folder / "tmpfiles.conf"
    file.write_text(text)
    made = subprocess.run(["systemd-tmpfiles", "--create", file], check=False, capture_output=True, text=True)
    assert (made.returncode, made.stderr) == (0, "")


def test_under_systemd_no_process_is_root_and_the_files_are_the_same(world, rng):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    http = socket.create_server(("127.0.0.1", 0), backlog=100)
    config = whole_config(world)
    config["ingest"] = {"udp": [{"listen": ["127.0.0.1:%d" % udp.getsockname()[1]], "format": "ipevent"}],
                        "http": [{"listen": ["127.0.0.1:%d" % http.getsockname()[1]]}]}
    config["enrich"] = {"processes": 1}
    bus = {"name": "bus", "kind": "kafka", "topics": ["delivery"], "brokers": ["127.0.0.1:9"], "password": "hush"}
    config["sinks"] = [{**config["sinks"][0], "name": "logs"}]
    one = world.instance(config)
    data = world.folder / "data"
    (data / "sinks").mkdir(parents=True)
    older = [data / "tally.lock", data / "sinks" / "logs.index"]  # of a time when all ran as millrace
    for path in older:
        path.touch(0o600)
    for path in (data, data / "sinks", *older):
        os.chown(path, OWNER, OWNER)
    make_folders(world, data)
    manager = OwnManager(world, one)
    manager.sockets = {"millrace-ingest-udp@0.socket": udp, "millrace-ingest-http@0.socket": http}
    try:
        manager.start()
        assert "files of stages belong to the groups of their users" in one.log_file.read_text()
        for name, process in manager.process.items():
            (kind,) = [kind for kind in KINDS if manager.units[name]["User"] == [f"millrace-{kind}"]]
            assert credentials(process.pid) == ({UID[kind]}, {UID[kind]}, groups_of(kind)), name
        check_files(one)
        assert [(path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) for path in older] == [(DATA, 0o660)] * 2
        sha = random_sha(rng)
        send_paced(udp.getsockname(), [ipevent(sha, i) for i in range(500)], 20000)
        assert ask(http.getsockname(), "POST", "/log", LOG_EXAMPLE).status == 200
        one.settle("ip", 500)
        assert not one.secrets.exists()
        one.write_config({**config, "sinks": [*config["sinks"], bus, {"name": "more", "kind": "file", "topics": ["ip"],
                                                                      "path": str(world.folder / "lines" / "more.ndjson")}]})
        result = manager.millrace("reload")
        assert result.returncode == 0, result.stdout + result.stderr
        check_secrets(one, {"kafka.bus"})
        assert {"file.more.stage", "file.more.role"} <= set(check_files(one))
        assert credentials(manager.process["millrace-sink@more.service"].pid)[0] == {UID["sink"]}
        assert set(manager.stop().values()) == {0}
        assert not one.directory.exists() and not one.secrets.exists()
        assert dict(rows(data / "tally.db", "SELECT sha, count FROM report")) == {sha: 500}
    except Exception:
        print(one.log_file.read_text()[-4000:])
        raise
    finally:
        manager.discard()


def test_an_option_switches_them_off_and_a_reload_cannot(world):
    config = {**whole_config(world), "sinks": [], "users": "off"}
    one = world.instance(config)
    with one:
        assert "stages run as root" in one.log()
        assert all(credentials(stage["pid"])[0] == {0} for stage in one.stat()["stages"])
        one.write_config({**config, "users": "auto"})
        one.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "this key needs a restart of the instance" in one.log(), what="the refusal")


def test_without_users_the_log_says_how_to_make_them(instance):
    assert "millrace.sysusers makes them" in instance().log()


def test_systemd_makes_the_users_of_the_flow_table():
    """The file for systemd-sysusers, by the tables that the program goes by."""
    lines = [line.split() for line in (ROOT / "conf/systemd/millrace.sysusers").read_text().splitlines() if line[:1] in "gum" and line]
    flow = (ROOT / "flow/flow.def").read_text()
    rows_ = dict(re.findall(r'STAGE\("([^"]+)"[^)]*?\.user = "([^"]+)"', flow))
    texts = {text.partition('"')[0]: text for text in flow.split('STAGE("')[1:]}
    assert set(rows_.values()) == set(KINDS)
    assert {line[1] for line in lines if line[0] == "u"} == {"millrace", *(f"millrace-{kind}" for kind in KINDS)}
    members = {}
    for kind, user, group, *_ in (line for line in lines if line[0] == "m"):
        members.setdefault(group, set()).add(user)
    queue_users = {f"millrace-{rows_[name]}" for name, text in texts.items() if re.search(r"\.(puts|takes) =", text)}
    data_users = {f"millrace-{rows_[name]}" for name in re.findall(r'SANDBOX\("([^"]+)",[^,]*SANDBOX_DATA', (ROOT / "stage/sandbox.def").read_text())}
    assert members["millrace"] == {f"millrace-{kind}" for kind in KINDS}
    assert members["millrace-queues"] == {"millrace", *queue_users}
    assert members["millrace-data"] == {"millrace", *data_users}
    assert all(members[f"millrace-{kind}"] == {"millrace"} for kind in KINDS)


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed (Debian package systemd)")
def test_systemd_takes_the_file(tmp_path):
    (tmp_path / "etc").mkdir()
    result = subprocess.run(["systemd-sysusers", f"--root={tmp_path}", ROOT / "conf/systemd/millrace.sysusers"], capture_output=True, text=True,
                            timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    made = {line.split(":")[0]: set(filter(None, line.split(":")[3].split(","))) for line in (tmp_path / "etc/group").read_text().splitlines()}
    assert made["millrace-queues"] == {"millrace", "millrace-ingest", "millrace-deliver"}
    assert made["millrace"] == {f"millrace-{kind}" for kind in KINDS}
