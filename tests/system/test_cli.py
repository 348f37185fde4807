"""The millrace command: help, errors, completion, reports, and the programs that it becomes."""
import json
import os
import re
import shutil
import subprocess

import pytest

from cli_help import millrace, RATE, COMMANDS, check_help, check_page
from harness import BUILD, MILLRACE, ROOT
from load import Expected, mixture, send_paced


# ---- help, errors ----


def test_every_command_has_help_and_a_manual_page_that_knows_all_its_options():
    for command in COMMANDS:
        check_help(MILLRACE, command, ROOT / "docs" / "man")
    assert re.fullmatch(r"millrace \d+\.\d+\.\d+\n", millrace("--version").stdout)
    assert millrace().returncode == 2


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_manual_pages_are_clean():
    pages = sorted((ROOT / "docs" / "man").glob("millrace*.1"))
    assert len(pages) == len(COMMANDS) + 1
    for page in pages:
        check_page(page)


@pytest.mark.parametrize(
    "arguments, suggestion",
    [
        (["stta"], "stat"), (["stat", "--jsn"], "--json"), (["run", "--intsance", "x"], "--instance"),
        (["consume", "ip", "--gruop", "g"], "--group"), (["bench", "steam"], "stream"), (["tap", "ip", "--fomat", "raw"], "--format"),
    ],
)
def test_a_mistyped_word_is_named_and_the_nearest_one_suggested(arguments, suggestion):
    result = millrace(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert f"did you mean {suggestion}" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["stat", "extra"], ["stat", "--watch"], ["stat", "--watch", "soon"], ["tap"], ["tap", "ip", "--format", "xml"],
        ["tap", "ip", "--count", "0"], ["tap", "ip", "--filter", "noequals"], ["tap", "ip", "--filter", "color=red"],
        ["consume", "ip"], ["consume", "ip", "--group", "g"], ["consume", "ip", "--group", "g", "--"], ["report"], ["report", "metrics"],
        ["report", "metrics", "week"], ["report", "metrics", "day"], ["report", "metrics", "hour", "x"], ["report", "account"],
        ["stat", "--count", "3"], ["consume", "ip", "--group", "g", "--forget", "--", "cat"], ["send"], ["send", "tcp"], ["send", "udp", "--gso", "65"],
        ["send", "udp", "--corrupt", "101"], ["send", "udp", "--format", "raw", "--corrupt", "1"], ["bench"], ["bench", "disk"],
        ["check", "--format", "dot"], ["check", "--flow", "--format", "png"], ["--frobnicate"], ["help", "nothing"],
    ],
)
def test_wrong_use_is_two_and_one_line(arguments):
    result = millrace(*arguments)
    assert result.returncode == 2, (arguments, result)
    assert result.stderr.count("\n") == 1 and "millrace" in result.stderr


@pytest.mark.parametrize("arguments", [["stat"], ["tap", "ip"], ["consume", "ip", "--group", "g", "--", "cat"]])
def test_an_instance_that_does_not_run_is_named_with_the_remedy(arguments, shm_root):
    result = millrace(*arguments, "--instance", "nobody") if "--" not in arguments else millrace(
        *arguments[:4], "--instance", "nobody", *arguments[4:], env={"MILLRACE_SHM": str(shm_root)}
    )
    assert result.returncode == 1
    assert 'instance "nobody" is not running' in result.stderr
    assert "start it with: millrace run --instance nobody" in result.stderr
    assert millrace("stat", "--instance", "../up").returncode == 1


def test_the_completion_knows_commands_options_values_instances_and_topics(instance):
    one = instance()
    script = (
        f"source {ROOT}/cli/completion/millrace; "
        'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _millrace; echo "${COMPREPLY[*]}"; }; '
        f"m={MILLRACE}; try $m ''; try $m st; try $m stat --; try $m tap --format ''; try $m stat --instance ''; try $m tap ''; "
        "try $m consume ip --group g -- /bin/c; try $m consume ip --group ''; try $m run --set ''; "
        "try $m report ''; try $m report metrics ''; try $m report consumer ''; try $m check --format ''; try $m tap --count 3 track --filter ''; try $m tap --filter ''"
    )
    result = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, env=one.environment(), check=True)
    assert result.stderr == ""
    first, stat, options, formats, instances, topics, programs, groups, keys, reports, metrics, consumers, pictures, fields, no_topic = result.stdout.splitlines()
    assert set(COMMANDS) | {"help"} <= set(first.split())
    assert stat == "stat"
    assert {"--json", "--watch", "--count", "--metrics", "--prometheus", "--openmetrics", "--instance", "--help"} == set(options.split())
    assert formats == "json line raw"
    assert one.name in instances.split()
    assert topics == "ip"
    assert "/bin/cat" in programs.split()
    assert groups == "tally"
    assert {"data_dir=", "ingest.udp[0].listen=", "topics.track.raw.size=", "queues.postback.slots="} <= set(keys.split())
    assert {"metrics", "account"} <= set(reports.split()) and metrics == "hour user-hour day month"
    assert {"consumers", "consumer"} <= set(reports.split()) and consumers == "type pods addresses countries search timing"
    assert pictures == "text dot"
    assert {"country=", "params=", "dnt="} <= set(fields.split()) and no_topic == ""


# ---- report ----


def test_a_report_knows_the_running_instance_from_any_folder(instance, tmp_path, rng):
    one = instance()
    expected = Expected()
    send_paced(one.address(), mixture(rng, 2000, 4, 0, expected), RATE)
    one.settle("ip", 2000)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for sha in expected.count:
        here = one.millrace("report", sha.upper(), cwd=elsewhere)
        assert json.loads(here.stdout) == expected.report(sha)
        told = one.millrace("report", sha, "--set", f"data_dir={tmp_path}/data", cwd=elsewhere)
        assert told.stdout == here.stdout
    assert one.millrace("report", "0" * 64).returncode == 3
    assert one.millrace("report", "0" * 63).returncode == 4
    assert one.millrace("report", "g" * 64).returncode == 4
    assert one.millrace("report", "0" * 64, "--set", f"data_dir={elsewhere}").returncode == 1
    assert list(elsewhere.iterdir()) == []


# ---- run, bench ----


def test_run_and_bench_become_the_programs_of_libexec(tmp_path):
    shown = tmp_path / "libexec"
    shown.mkdir()
    for program in ("supervisor", "bench-stream"):
        script = shown / program
        script.write_text('#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@"\nexit 7\n')
        script.chmod(0o755)
    env = {"MILLRACE_LIBEXEC": str(shown)}
    result = millrace("run", "--set", "a=b c", "-c", "file", "--instance", "x", env=env)
    assert result.returncode == 7
    assert result.stdout.split("\n")[:-1] == ["supervisor", "-c", "file", "--set", "a=b c", "--instance", "x"]
    result = millrace("bench", "stream", "--json", "--records", "9", env=env)
    assert result.stdout.split() == ["bench-stream", "--json", "--records", "9"] and result.returncode == 7
    result = millrace("bench", "queue", env=env)
    assert result.returncode == 1 and f"{shown}/bench-queue" in result.stderr and "MILLRACE_LIBEXEC" in result.stderr


def test_the_command_finds_its_programs_from_where_it_lies(tmp_path):
    copy = tmp_path / "prefix" / "bin"
    copy.mkdir(parents=True)
    shutil.copy(MILLRACE, copy / "millrace")
    os.symlink(BUILD / "libexec", tmp_path / "prefix" / "libexec")
    result = subprocess.run([copy / "millrace", "run", "-c", "/nonexistent.yaml"], capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "/nonexistent.yaml" in result.stderr
