"""Adding a stage is its folder and one row of the flow table."""
import os
import signal
import subprocess

import pytest

from harness import ROOT, wait_until
from http_help import LOG_EXAMPLE, ask, events, http_address, http_config, metric
from recipe_help import Tree

FILES = ["README.md", "build.mk", "main.c", "metrics.def", "options.def"]


def run(tree, *argv):
    done = subprocess.run(argv, cwd=tree.path, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.limit(300)
def test_a_stage_is_its_folder_and_one_row(instance, tmp_path, monkeypatch):
    tree = Tree(tmp_path / "tree")
    assert tree.add("stage") == ["flow/flow.def.row", *(f"logmeter/{name}" for name in FILES)]
    tree.make("all", f"{tree.build.name}/tools/document")
    tree.use(monkeypatch)

    # The rules of the tree and its documents know it.
    run(tree, "scripts/check-includes")
    run(tree, "scripts/check-generated", "--write", f"{tree.build.name}/tools/document")
    reference = (tree.path / "docs" / "REFERENCE.md").read_text(encoding="utf-8")
    assert "| `logmeter.metric` |" in reference and "| logmeter | `events` |" in reference
    assert "| logmeter | `events` |" not in (ROOT / "docs" / "REFERENCE.md").read_text(encoding="utf-8")

    # So does the command.
    config = http_config(tmp_path)
    config["logmeter"] = {"metric": "lines"}
    millrace = instance(config=config)
    drawn = millrace.millrace("check", "-c", millrace.config_file, "--flow").stdout
    assert "--> log, 1 lane --group logmeter--> logmeter x 1 --> metric (see above)" in drawn
    assert "topic metric: 2 lanes" in millrace.millrace("check", "-c", millrace.config_file).stdout

    # It works, through a death, and is drained with the others.
    address = http_address(millrace)
    assert ask(address, "POST", "/log", LOG_EXAMPLE).status == 200
    wait_until(lambda: len(events(millrace, "metric")) == 1, what="the event of the first life")
    os.kill(millrace.pid_of("logmeter.0"), signal.SIGKILL)
    for _ in range(4):
        assert ask(address, "POST", "/log", LOG_EXAMPLE).status == 200
    wait_until(lambda: metric(millrace, "events", "logmeter") == 5, what="five events")
    counted = events(millrace, "metric")
    assert [(e["username"], e["metric"], e["count"]) for e in counted] == [(str(LOG_EXAMPLE["client_id"]), "lines", 1)] * 5
    assert millrace.stop() == 0
