"""Runs every benchmark in rounds and writes what came out: a page with tables, and pictures.

    python3 bench/report [--build DIR] [--rounds 3] [--minutes 20] [--only NAME,NAME] [--output docs/BENCHMARKS.md] [--raw FILE] [--from FILE]

A round runs them one after the other; so each is measured several times, minutes apart. A round is begun only when the longest of
those before fits into what is left of the minutes; --minutes is never exceeded by more than one benchmark (its limit is 180 s).
--raw keeps what was measured as JSON, --from makes the page anew from that and measures nothing.
Exit status: 0 written, 1 a benchmark failed (it is named; the page says so), 2 usage.
"""
import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from figures import BENCHMARKS  # noqa: E402
from page import render  # noqa: E402

LIMIT_S = 180  # of one benchmark


def arguments():
    parser = argparse.ArgumentParser(prog="bench/report", description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", default="build", type=Path)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--minutes", default=20, type=float)
    parser.add_argument("--only", default="", help="names, with commas between")
    parser.add_argument("--output", default="docs/BENCHMARKS.md", type=Path)
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--from", dest="source", type=Path)
    return parser.parse_args()


def machine():
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    hypervisor = "hypervisor" in Path("/proc/cpuinfo").read_text()
    return {"processors": f"{os.cpu_count()} x {model}{' (virtual machine)' if hypervisor else ''}", "memory": f"{memory:.0f} GiB",
            "system": f"{release}, Linux {platform.release()}"}


def run_program(build, benchmark, more):
    command = [build / "libexec" / "millrace" / benchmark.command[0], *benchmark.command[1:], *more, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return json.loads(done.stdout)


def run_hop(build, benchmark):
    """Beside a Kafka, where there is one."""
    import rivals  # pylint: disable=import-outside-toplevel

    with rivals.folder() as where, rivals.kafka(where) as broker:
        more = [] if broker is None else ["--kafka", broker.bootstrap, "--kafka-pid", str(broker.process.pid)]
        return run_program(build, benchmark, more)


def jobs(build):
    """{name: what measures it once}"""
    import rivals  # pylint: disable=import-outside-toplevel

    found = {one.name: (lambda one=one: run_program(build, one, [])) for one in BENCHMARKS}
    found["hop"] = lambda: run_hop(build, next(one for one in BENCHMARKS if one.name == "hop"))
    return found | {"syslog": lambda: rivals.syslog(build), "idle": rivals.idle}


def measure_round(todo, report, end):
    """Returns whether all of them were measured."""
    for name, job in todo.items():
        if time.monotonic() > end:
            return False
        print(f"{name} ...", end=" ", flush=True)
        begun = time.monotonic()
        try:
            report["results"][name].append(job())
            print(f"{time.monotonic() - begun:.0f} s", flush=True)
        except (RuntimeError, OSError, AssertionError, ValueError, subprocess.SubprocessError) as error:
            report["left_out"][name] = " ".join(str(error).split())[:200]
            print(f"failed: {error}", flush=True)
    return True


def measure(options):
    todo = jobs(options.build)
    if options.only:
        unknown = set(options.only.split(",")) - set(todo)
        if unknown:
            print(f"bench/report: no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(todo)}", file=sys.stderr)
            sys.exit(2)
        todo = {name: todo[name] for name in options.only.split(",")}
    begun = time.monotonic()
    end = begun + options.minutes * 60
    report = {"date": datetime.date.today().isoformat(), "machine": machine(), "rounds": 0, "left_out": {}, "results": {name: [] for name in todo}}
    longest = 0
    while report["rounds"] < options.rounds and time.monotonic() + longest < end:
        round_begun = time.monotonic()
        whole = measure_round(todo, report, end)
        longest = max(longest, time.monotonic() - round_begun)
        report["rounds"] += whole
    report["seconds"] = time.monotonic() - begun
    return report


def main():
    options = arguments()
    os.environ["MILLRACE_BUILD"] = str(options.build.resolve())
    report = json.loads(options.source.read_text()) if options.source else measure(options)
    if options.raw:
        options.raw.write_text(json.dumps(report, indent=1) + "\n")
    text, pictures = render(report)
    folder = options.output.parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        (folder / f"{name}.svg").write_text(picture)
    options.output.write_text(text)
    print(f"wrote {options.output} and {len(pictures)} pictures in {folder}")
    return 1 if report["left_out"] else 0


if __name__ == "__main__":
    sys.exit(main())
