"""bench/report: what it makes of measured figures. What is measured is not measured here."""
import json
import subprocess
import sys
from xml.etree import ElementTree

from harness import ROOT

WAYS = [{"name": "topic", "promise": "stays", "per_s": [40e6], "per_cpu_s": [60e6], "p50_us": [10], "p99_us": [20]},
        {"name": "pipe", "promise": "goes", "per_s": [8e6], "per_cpu_s": [20e6], "p50_us": [15], "p99_us": [30]},
        {"name": "kafka", "promise": "stays", "left_out": "no --kafka BROKERS given"}]


def loads(ours, reference):
    return {"loads": [{"per_s": ours, "reference_per_s": reference, "per_cpu_s": 2 * ours, "reference_per_cpu_s": reference}]}


def report(**results):
    return {"date": "2026-01-02", "machine": {"processors": "2 x A"}, "rounds": 3, "seconds": 600, "left_out": {"udp": "datagrams were lost"}, "results": results}


def render(tmp_path, one):
    source, page = tmp_path / "raw.json", tmp_path / "page.md"
    source.write_text(json.dumps(one))
    done = subprocess.run([sys.executable, ROOT / "bench" / "report", "--from", source, "--output", page], capture_output=True, text=True, check=False)
    return done, page.read_text() if page.exists() else "", tmp_path / "bench"


def test_a_ratio_is_the_median_of_the_ratios_of_each_round(tmp_path):
    """Medians of each side would say 1.00."""
    done, text, _ = render(tmp_path, report(queue=[{"queue_per_s": 1e6, "ck_ring_mpmc_per_s": 2e6, "line_round_trip_ns": 300},
                                                   {"queue_per_s": 2e6, "ck_ring_mpmc_per_s": 1e6, "line_round_trip_ns": 100},
                                                   {"queue_per_s": 4e6, "ck_ring_mpmc_per_s": 2.5e6, "line_round_trip_ns": 200}]))
    assert done.returncode == 1  # something was left out
    assert "| 2 M/s (1 M to 4 M) | ck_ring (MPMC): 2 M/s (1 M to 2.5 M) | **1.60** (0.50 to 2.00) |" in text
    assert "A cache line took 200 ns (100 to 300)" in text
    assert "3 rounds through all benchmarks, 10 minutes, on 2026-01-02" in text


def test_ways_from_one_process_to_another_are_compared_with_a_topic(tmp_path):
    _, text, pictures = render(tmp_path, report(hop=[{"ways": WAYS}]))
    assert "| pipe | 8 M | 5.0 x | 20 M | 3.0 x | 15, 30 | goes |" in text
    assert "Left out: kafka (no --kafka BROKERS given)." in text
    labels = ["".join(one.itertext()) for one in ElementTree.parse(pictures / "hop.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert "topic" in labels and "8 M/s" in labels
    assert "![From one process to another](bench/hop.svg)" in text


def test_a_topic_is_compared_with_a_way_round_by_round(tmp_path):
    """Medians of each side would say 2.5 x."""
    rounds = [{"ways": [dict(way, per_s=[rate]) for way, rate in zip(WAYS, rates)]} for rates in ((10e6, 10e6), (20e6, 5e6), (40e6, 8e6))]
    _, text, _ = render(tmp_path, report(hop=rounds))
    assert "| pipe | 8 M (5 M to 10 M) | 4.0 x |" in text


def test_bars_are_as_long_as_their_values(tmp_path):
    _, text, pictures = render(tmp_path, report(http=[loads(30000, 20000)]))
    assert "| 1 connection | 30 k/s | nginx that answers 204: 20 k/s | **1.50** |" in text
    bars = [float(one.get("width")) for one in ElementTree.parse(pictures / "http.svg").iter("{http://www.w3.org/2000/svg}rect") if one.get("class") != "back"]
    assert abs(bars[0] / bars[1] - 3) < 0.01


def test_what_failed_is_named(tmp_path):
    done, text, _ = render(tmp_path, report(udp=[]))
    assert done.returncode == 1 and "Left out: datagrams were lost." in text
    done, text, _ = render(tmp_path, report(udp=[{"gro": {"highest_lossless_per_s": 3e6}}]))
    assert done.returncode == 1 and "3 M/s" in text and "Failed in a round: datagrams were lost." in text


def test_an_unknown_name_is_refused(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "bench" / "report", "--only", "nothing", "--output", tmp_path / "x.md"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no benchmark nothing; there are: stream, queue, hop" in done.stderr
