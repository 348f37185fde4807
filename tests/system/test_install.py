"""What `make install` lays down works from there: the command, the stages, the library for outside programs."""
import os
import re
import subprocess
import time

import pytest

import harness
from harness import BUILD, ROOT, SLOW, wait_until
from load import ipevent, random_sha, send_paced


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A tree under DESTDIR, as a package would be made of it."""
    destination = tmp_path_factory.mktemp("installed")
    command = ["make", "--no-print-directory", f"BUILD={os.path.relpath(BUILD, ROOT)}", "PREFIX=/usr", f"DESTDIR={destination}", "install"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return destination


def pkg_config(installed, *options):
    result = subprocess.run(
        ["pkg-config", *options, "millrace"], capture_output=True, text=True, timeout=10,
        env=dict(os.environ, PKG_CONFIG_PATH=f"{installed}/usr/lib/pkgconfig", PKG_CONFIG_SYSROOT_DIR=str(installed),
                 PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1", PKG_CONFIG_ALLOW_SYSTEM_LIBS="1"),
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_everything_has_its_place(installed):
    usr = installed / "usr"
    for path in (
        "bin/millrace", "libexec/millrace/supervisor", "libexec/millrace/ingest-udp", "libexec/millrace/tally",
        "include/millrace.h", "lib/libmillrace.so", "lib/libmillrace.so.0", "lib/pkgconfig/millrace.pc",
        "share/man/man1/millrace.1", "share/bash-completion/completions/millrace", "share/doc/millrace/README.md",
        "share/doc/millrace/LICENSE",
    ):
        assert (usr / path).exists(), path


def test_the_installed_command_runs_the_installed_stages(installed, instance, rng, monkeypatch):
    monkeypatch.setattr(harness, "MILLRACE", installed / "usr" / "bin" / "millrace")
    millrace = instance()
    for stage in millrace.stat()["stages"]:
        assert os.readlink(f"/proc/{stage['pid']}/exe").startswith(str(installed)), stage
    sha = random_sha(rng)
    send_paced(millrace.address(), [ipevent(sha, 1)] * 20, 2000)
    millrace.settle("ip", 20)
    assert millrace.report(sha)["count"] == 20


@pytest.mark.skipif(SLOW > 1, reason="the library needs the sanitizers' run-time in the outside program")
def test_an_outside_program_builds_with_pkg_config_and_reads_a_topic(installed, instance, tmp_path, rng):
    program = tmp_path / "count"
    subprocess.run(
        ["gcc", "-Wall", "-Werror", str(ROOT / "lib" / "examples" / "count.c"), "-o", str(program),
         *pkg_config(installed, "--cflags", "--libs"), f"-Wl,-rpath,{installed}/usr/lib"],
        check=True, timeout=60,
    )
    millrace = instance()
    output = tmp_path / "count.out"
    with open(output, "w") as out:
        counter = subprocess.Popen([program, "ip", "counter"], stdout=out, stderr=subprocess.STDOUT, env=millrace.environment())
    try:
        wait_until(lambda: millrace.group("ip", "counter"), 10, "the counter's group")
        sha = random_sha(rng)
        send_paced(millrace.address(), [ipevent(sha, i) for i in range(500)], 5000)
        millrace.settle("ip", 500)

        def counted():
            return sum(int(n) for n in re.findall(r"^(\d+) records", output.read_text(), re.MULTILINE))

        wait_until(lambda: counted() == 500, 10, "500 records counted")
        # Killed and started again, it goes on at its cursor; nothing is lost for its group.
        counter.kill()
        counter.wait()
        send_paced(millrace.address(), [ipevent(sha, 1)] * 70, 5000)
        wait_until(lambda: millrace.group("ip", "counter")["waiting_records"] == 70, 10, "70 waiting")
        with open(output, "w") as out:
            counter = subprocess.Popen([program, "ip", "counter"], stdout=out, stderr=subprocess.STDOUT, env=millrace.environment())
        wait_until(lambda: counted() == 70, 10, "70 records counted")
        time.sleep(0.1)
        group = millrace.group("ip", "counter")
        assert (group["read_records"], group["missed_records"]) == (570, 0)
        assert millrace.group("ip", "tally")["read_records"] == 570
    finally:
        counter.terminate()
        counter.wait(timeout=10)


BUILD_ESSENTIAL = {"gcc", "libc6-dev", "make", "linux-libc-dev"}


def test_debian_control_names_what_the_build_needs():
    """Those of scripts/packages: where they are not installed, make deb would fail."""
    sections = re.split(r"^\[(\w+(?:-\w+)*)\]$", (ROOT / "scripts" / "packages").read_text(), flags=re.MULTILINE)[1:]
    needed = {line.split()[0] for name, text in zip(sections[::2], sections[1::2]) if name in ("build", "xdp")
              for line in text.splitlines() if line and not line.startswith("#")} - BUILD_ESSENTIAL
    named = set(re.findall(r"[a-z0-9][a-z0-9+.-]+", (ROOT / "debian" / "control").read_text()))
    assert needed and not {p for p in needed if not set(p.split("|")) & named}
