"""A configuration with every kind of mistake: each gets a line that names file, line and key, and nothing is started."""
import subprocess

import pytest

import harness

ONE_UDP = "ingest:\n  udp:\n    - {listen: ['127.0.0.1:0'], format: ipevent}\n"

# The text of a file, the line and the words that the message about it must have.
MISTAKES = {
    "an unknown key": (ONE_UDP + "tally:\n  comit_interval: 1s\n", 5, ["comit_interval", "commit_interval"]),
    "an unknown section": (ONE_UDP + "tallly: {}\n", 4, ["tallly"]),
    "a wrong type": (ONE_UDP + "tally:\n  applications: [1, 2]\n", 5, ["tally.applications"]),
    "no number": (ONE_UDP + "tally:\n  applications: many\n", 5, ["tally.applications", "many"]),
    "below the least": (ONE_UDP + "tally:\n  applications: 0\n", 5, ["tally.applications"]),
    "a negative count": (ONE_UDP + "tally:\n  applications: -5\n", 5, ["tally.applications"]),
    "too large for any number": (ONE_UDP + "tally:\n  applications: 99999999999999999999999\n", 5, ["tally.applications"]),
    "a size without a unit that exists": (ONE_UDP + "topics:\n  ip: {size: 64MB?}\n", 5, ["topics.ip.size"]),
    "a size that is too small": (ONE_UDP + "topics:\n  ip:\n    size: 12\n", 6, ["topics.ip.size"]),
    "a duration without a unit that exists": (ONE_UDP + "drain_timeout: 5 parsecs\n", 4, ["drain_timeout", "parsecs"]),
    "a format that does not exist": ("ingest:\n  udp:\n    - listen: 127.0.0.1:0\n      format: ipevnt\n", 4, ["format", "ipevnt", "ipevent"]),
    "a choice that does not exist": (ONE_UDP + "log:\n  level: loud\n", 5, ["log.level", "loud", "info"]),
    "an address without a port": ("ingest:\n  udp:\n    - listen: [127.0.0.1]\n", 3, ["listen", "127.0.0.1"]),
    "a port out of range": ("ingest:\n  udp:\n    - listen: ['127.0.0.1:70000']\n", 3, ["listen", "70000"]),
    "an address that is none": ("ingest:\n  udp:\n    - listen: ['nowhere:5000']\n", 3, ["listen", "nowhere"]),
    "too many processes": ("ingest:\n  udp:\n    - listen: 127.0.0.1:0\n      processes: 100000\n", 4, ["processes"]),
    "a key twice": (ONE_UDP + "log: {level: info}\nlog: {level: debug}\n", 5, ["log"]),
    "a section where a value belongs": (ONE_UDP + "drain_timeout: {seconds: 5}\n", 4, ["drain_timeout"]),
    "a value where a section belongs": (ONE_UDP + "tally: 5\n", 4, ["tally"]),
    "a list where a map belongs": (ONE_UDP + "topics: [ip]\n", 4, ["topics"]),
    "a value where a list belongs": ("ingest:\n  udp: 4002\n", 2, ["ingest.udp"]),
    "no YAML": (ONE_UDP + "tally: {a: [\n", None, []),
    "tabs": ("ingest:\n\tudp: []\n", 2, ["a tab indents the line"]),
    "a topic that nobody writes": (ONE_UDP + "topics:\n  ipp: {size: 1MiB}\n", 5, ["nobody writes ipp", "did you mean ip?"]),
    "a scalar for a file": ("hello\n", 1, []),
}


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_config_with(name, instance):
    text, line, words = MISTAKES[name]
    millrace = instance(start=False, config=text)
    for command in (["check", "-c"], ["run", "-c"]):
        result = millrace.millrace(*command, millrace.config_file, timeout=10)
        assert result.returncode == 1, f"{command[0]}: {result.returncode} {result.stdout} {result.stderr}"
        said = result.stderr
        where = f"{millrace.config_file}:{line}:" if line else f"{millrace.config_file}:"
        matching = [one for one in said.splitlines() if where in one]
        assert matching, f"{command[0]}: no line begins {where}\n{said}"
        for word in words:
            assert word in said, f"{command[0]}: {word!r} is missing in\n{said}"
    assert not millrace.directory.exists()


def test_an_instance_name_that_leaves_its_folder_is_refused(instance):
    millrace = instance(start=False, config=ONE_UDP + "instance: ../x\n")
    for options in ({}, {"MILLRACE_INSTANCE": "a/b"}, {"MILLRACE_INSTANCE": ".x"}):
        environment = {k: v for k, v in millrace.environment().items() if k != "MILLRACE_INSTANCE"}
        for command in ("check", "run"):
            result = subprocess.run(
                [harness.MILLRACE, command, "-c", millrace.config_file], env=environment | options, capture_output=True, text=True,
                timeout=10,
            )
            assert result.returncode in (1, 2), (command, options, result.stdout)
            assert (options.get("MILLRACE_INSTANCE") or "../x") in result.stderr, result.stderr


def test_all_mistakes_of_a_file_are_reported_at_once(instance):
    text = ONE_UDP + "tally:\n  applications: none\n  comit_interval: 1s\nlog: {level: loud}\n"
    millrace = instance(start=False, config=text)
    said = millrace.millrace("check", "-c", millrace.config_file).stderr
    for line in (5, 6, 7):
        assert f"{millrace.config_file}:{line}:" in said, said


def test_set_overrides_the_file_and_its_mistakes_are_named(instance, tmp_path):
    millrace = instance(sets=["ingest.udp[0].listen=127.0.0.3:0", "tally.commit_interval=77ms", "log.format=json"])
    assert millrace.address()[0] == "127.0.0.3"
    effective = (millrace.directory / "config.yaml").read_text()
    assert "127.0.0.3" in effective and "77ms" in effective
    for wrong in ("tally.commit_interval=soon", "tally.nothing=1", "ingest.udp[7].format=raw", "nonsense", "tally.applications=[1"):
        result = millrace.millrace("check", "-c", millrace.config_file, "--set", wrong)
        assert result.returncode in (1, 2) and "--set" in result.stderr, (wrong, result.stderr)


def test_a_missing_file_is_named(instance, tmp_path):
    millrace = instance(start=False)
    result = millrace.millrace("run", "-c", tmp_path / "nothing.yaml")
    assert result.returncode == 1 and "nothing.yaml" in result.stderr


def test_the_embedded_default_checks_and_names_every_segment(instance):
    millrace = instance(start=False)
    result = millrace.millrace("check")
    assert result.returncode == 0, result.stderr
    assert "64" in result.stdout and "bytes" in result.stdout
