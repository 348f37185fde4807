"""credential:NAME: what a service manager hands to one unit alone. Here whoever starts the instance says where it is."""
import base64
import json
import os
import signal
import time
from pathlib import Path

import pytest

from deliver_help import accept, deliver_config, wait_stage_metric
from harness import kill_pid, wait_until
from http_help import LOG_EXAMPLE, ask, http_address
from serve_help import HOST, serve_address
from test_catch import Catch
from test_objects_stores import Azure
from test_sandbox import PATHS, in_force, roles
from test_secrets import pids

KEY = base64.b64encode(b"hush" * 8).decode()
TOKEN, LATER = "reader-token-0123456789", "later-token-0123456789"
BEARER = "Authorization: Bearer "


@pytest.fixture
def credentials(tmp_path, monkeypatch):
    """A folder as systemd makes it; files of a name and a content."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))

    def put(**contents):
        for name, content in contents.items():
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(content)
        return folder

    return put


def config_of(tmp_path, **store):
    """Each of its stages that takes a secret has it as a credential."""
    azure = {"account": "account", "container": "container", "endpoint": "http://127.0.0.1:9/account", "credentials": "key", **store,
             "key": "credential:key"}
    return {**deliver_config(tmp_path, sign="credential:sign"),
            "sinks": [{"name": "azure", "topics": ["log"], "tails": "16MiB", "store": {"azure": azure}}],
            "serve": {"listen": ["127.0.0.1:0"], "hosts": [HOST], "read_tokens": "credential:tokens"}}


def secret():
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


def read(one, token):
    return ask(serve_address(one), "GET", "/sinks", None, BEARER + token).status


def test_each_stage_has_its_own_and_nobody_else_any(instance, tmp_path, credentials, store):
    azure = Azure(store)
    key = azure.options["azure"]["key"]
    folder = credentials(sign=secret() + "\n", key=key + "\n", tokens=TOKEN + "\n")
    with Catch("--secrets", folder / "sign") as catch:
        one = instance(config=config_of(tmp_path, **azure.options["azure"]))
        url = f"http://127.0.0.1:{catch.port}/postback?n={{n}}"
        accept(one, url, [{"n": 1}])
        assert ask(http_address(one), "POST", "/log", LOG_EXAMPLE).status == 200
        assert read(one, TOKEN) == 200 and read(one, LATER) == 401
        document = (one.directory / "config.yaml").read_text()
        assert '"credential:sign"' in document and '"credential:tokens"' in document and ' key: "***"' in document
        # After a death, and in the programs of an upgrade, which the same supervisor starts.
        before = pids(one)
        kill_pid(before["deliver.0"])
        wait_until(lambda: pids(one)["deliver.0"] not in (before["deliver.0"], 0), 20, "the next life")
        one.wait_running()
        accept(one, url, [{"n": 2}])
        result = one.millrace("upgrade", timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr
        accept(one, url, [{"n": 3}])
        assert read(one, TOKEN) == 200
        wait_stage_metric(one, "delivered", 3)
        contents = [key.encode(), TOKEN.encode(), (folder / "sign").read_bytes().strip()]
        assert json.loads((one.secrets / "objects.azure").read_text()) == {"objects.azure": {"store.azure.key": "credential:key"}}
        for path in [*filter(Path.is_file, one.directory.rglob("*")), one.log_file]:
            assert not any(content in path.read_bytes() for content in contents), path
        assert one.stop() == 0, one.log()
        account = catch.account()
    assert len(azure.objects()) == 1  # which the server took, because the key was right
    assert account["signatures"]["good"] == account["received"] == 3 and account["signatures"]["bad"] == 0, account


def test_what_a_check_cannot_see_it_takes_as_set_and_says_so(instance, tmp_path, credentials, monkeypatch):
    folder = credentials(sign="no secret\n", key="hush!\n")
    one = instance(config=config_of(tmp_path), start=False)

    def check():
        result = one.millrace("check", "-c", one.config_file)
        return result.returncode, sorted(line for line in result.stderr.splitlines() if line.startswith("millrace check: "))

    status, said = check()
    assert status == 1 and len(said) == 3, said
    assert any(f"deliver.sign: {folder}/sign:1:" in line for line in said) and not any("hush" in line for line in said), said
    assert any("serve.read_tokens: the credential tokens is not here" in line for line in said), said
    assert any("sinks[0].store.azure.key: is none; allowed: " in line for line in said), said
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    status, said = check()
    assert status == 0 and [line.split(": ")[-2] for line in said] == ["deliver.sign", "serve.read_tokens", "sinks[0].store.azure.key"], said
    assert all(line.endswith("is not here, so nobody has looked at it (it is for the stage's own unit)") for line in said), said
    shown = one.millrace("check", "--effective", "-c", one.config_file).stdout
    assert 'sign: "credential:sign"' in shown or "sign: credential:sign" in shown, shown
    # What is still judged: tokens are set, but a file that is written is none.
    one.write_config({**config_of(tmp_path), "sinks": [{"name": "f", "kind": "file", "topics": ["log"], "path": "credential:f"}]})
    result = one.millrace("check", "-c", one.config_file)
    assert result.returncode == 1 and "sinks[0].path: a credential can only be read" in result.stderr, result.stderr


def test_a_missing_one_keeps_its_own_stage_from_starting(instance, tmp_path, credentials):
    folder = credentials(sign=secret(), key=KEY, tokens=TOKEN)
    config = config_of(tmp_path)
    config["ingest"]["http"][0]["tokens"] = "credential:clients"
    one = instance(config=config, start=False)
    one.start(wait=False)
    said = (f"CREDENTIALS_DIRECTORY: ingest.http[0].tokens: there is no credential clients in {folder}; "
            "allowed: LoadCredential=clients:FILE in the unit of this process")
    wait_until(lambda: said in one.log(), 20, "the error")
    others = ["deliver.0", "serve.0", "objects.azure", "enrich.0", "tally.0"]
    wait_until(lambda: {s["name"] for s in one.stat()["stages"] if s["state"] == "running"} == set(others), 20, "the others run")
    assert read(one, TOKEN) == 200
    credentials(clients=LATER)
    one.wait_running()
    assert [ask(http_address(one), "POST", "/log", {}, *token).status for token in ([], [BEARER + LATER])] == [401, 400]


def test_a_reload_reads_what_has_changed_and_tries_it_before(instance, tmp_path, credentials):
    folder = credentials(sign=secret(), key=KEY, tokens=TOKEN)
    one = instance(config=config_of(tmp_path))
    before = pids(one)
    credentials(tokens=LATER)
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: read(one, LATER) == 200, 20, "the new token")
    assert read(one, TOKEN) == 401 and pids(one) == before
    # A file that takes the place of another: its stage starts again where Landlock lets it read the old one alone.
    restarted = {"serve.0"} if in_force(roles(one)["serve.0"]) & PATHS else set()
    (folder / "next").write_text(TOKEN)
    (folder / "next").rename(folder / "tokens")
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not restarted or pids(one)["serve.0"] not in (before["serve.0"], 0), 20, "its next life")
    one.wait_running()
    wait_until(lambda: read(one, TOKEN) == 200, 20, "the first token")
    assert {role for role, pid in pids(one).items() if pid != before[role]} == restarted
    credentials(tokens="short")
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "a stage could not restart with the new files" in one.log(), 20, "the finding")
    time.sleep(0.3)
    assert read(one, TOKEN) == 200
