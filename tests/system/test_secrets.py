"""Secrets of a running instance: each lies in its own role's file, and nowhere else; what restarts when one changes."""
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import yaml

from cli_help import millrace as run
from harness import SLOW, kill_pid, processes, wait_until
from http_help import http_config
from serve_help import serve_address
from test_renew import command, renew

S3_KEY, TOKEN, PASSWORD, SAS = "hush-s3-secret-key", "hush-session-token", "hush \"sasl\": 'password'", "sv=1&sig=hush-signature"
SECRETS = {"objects.s3": (S3_KEY, TOKEN), "kafka.bus": (PASSWORD,), "objects.azure": (SAS,)}
MARK = b"hush"


def sinks(**changed):
    """Of three kinds, whose servers are not there: they keep trying."""
    values = {"secret_key": S3_KEY, "session_token": TOKEN, "password": PASSWORD, "sas": SAS, **changed}
    s3 = {"bucket": "bucket", "endpoint": "http://127.0.0.1:9", "credentials": "config", "access_key": "AKIDEXAMPLE",
          "secret_key": values["secret_key"], "session_token": values["session_token"]}
    azure = {"container": "container", "endpoint": "http://127.0.0.1:9/account", "credentials": "sas", "sas": values["sas"]}
    return [
        {"name": "s3", "kind": "objects", "topics": ["log"], "tails": "16MiB", "store": {"s3": s3}},
        {"name": "plain", "kind": "file", "topics": ["log"], "path": values.get("path", "log.ndjson")},
        {"name": "bus", "kind": "kafka", "topics": ["log"], "brokers": ["127.0.0.1:9"], "password": values["password"],
         "properties": ["security.protocol=sasl_plaintext", "sasl.mechanism=PLAIN", "sasl.username=u"]},
        {"name": "azure", "kind": "objects", "topics": ["log"], "tails": "16MiB", "store": {"azure": azure}},
    ]


def config_with(tmp_path, entries=None, **more):
    return http_config(tmp_path, sinks=entries or sinks(path=str(tmp_path / "log.ndjson")), serve={"listen": ["127.0.0.1:0"]}, **more)


def files_with(one, text=MARK):
    """Names of the files in the instance's folder that have the text, as it is or as YAML and JSON escape it."""
    return {str(path.relative_to(one.directory)) for path in one.directory.rglob("*") if path.is_file() and text in path.read_bytes()}


def check_files(one, secrets=None):
    """Each secret is in its own role's file alone, and that is its user's alone."""
    for role, values in (SECRETS if secrets is None else secrets).items():
        path = one.directory / f"{role}.secrets"
        assert path.stat().st_mode & 0o7777 == 0o600
        document = yaml.safe_load(path.read_text())
        assert list(document) == [role] and sorted(document[role].values()) == sorted(values)
    assert files_with(one) == {f"{role}.secrets" for role in (SECRETS if secrets is None else secrets)}
    assert not [path for path in one.directory.iterdir() if path.name.startswith(".")]
    effective = yaml.safe_load((one.directory / "config.yaml").read_text())
    assert {sink["name"]: sink["password"] for sink in effective["sinks"] if "password" in sink} == {"bus": "***"}


def pids(one):
    return {stage["name"]: stage["pid"] for stage in one.stat()["stages"]}


def reload(one, entries, tmp_path, said):
    one.write_config(config_with(tmp_path, entries))
    before = one.log().count(said)
    one.process.send_signal(signal.SIGHUP)
    wait_until(lambda: one.log().count(said) > before, 20, "the reload")
    wait_until(lambda: one.log().count("all stages run") > 1 or "no stage changes" in said, 20, "the stages")


def test_a_secret_is_in_its_own_roles_file_and_nowhere_else(instance, tmp_path):
    one = instance(config=config_with(tmp_path))
    check_files(one)
    roles = pids(one)
    for pid in [one.process.pid, *roles.values()]:
        for file in ("cmdline", "environ"):
            assert MARK not in Path("/proc", str(pid), file).read_bytes()
    answers = "".join(command(one, *words.split()).stdout for words in ("stat --json", "stat", "sinks --json", "sinks", "dead list", "consumers"))
    assert "objects.s3" in answers and "hush" not in answers
    for route in ("/api/stat", "/sinks", "/consumers"):
        status, body = ask_serve(one, route)
        assert status == 200 and b"hush" not in body, route
    # The stages have them: both kinds try, and fail at the connection, not at the credentials.
    wait_until(lambda: all(any(stage["name"] == role and stage["note"] for stage in one.stat()["stages"]) for role in ("objects.s3",)), 20, "a try")
    assert "hush" not in one.log()
    check_files(one)
    directory = one.directory
    assert one.stop() == 0 and not directory.exists()


def ask_serve(one, route):
    import urllib.request  # pylint: disable=import-outside-toplevel
    with urllib.request.urlopen(f"http://{serve_address(one)}{route}", timeout=10 * SLOW) as answer:
        return answer.status, answer.read()
