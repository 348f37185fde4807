"""Which benchmarks there are, how each is run, and which figures of its JSON stand in the report.

A Figure is one row of a table: ours, a reference measured in turns with it in the same run, and what one ratio of the two means.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    what: str  # the row
    ours: str  # where our number lies in the JSON: names, joined by dots; a number picks from a list
    reference: str  # the same of the reference; "": none
    against: str  # what the reference is
    unit: str = "/s"  # "/s", "/CPU s", "us" (less is better)
    unit_of_reference: str = ""  # where it is another


@dataclass(frozen=True)
class Benchmark:
    name: str
    title: str
    command: tuple  # the program in libexec/millrace and its arguments; --json is added
    figures: tuple = ()


CONNECTIONS = (1, 4, 16, 64, 256)


def http_figures():
    rows = []
    for at, connections in enumerate(CONNECTIONS):
        what = "1 connection" if connections == 1 else f"{connections} connections"
        rows.append(Figure(what, f"loads.{at}.per_s", f"loads.{at}.reference_per_s", "nginx that answers 204"))
        rows.append(Figure(f"{what}, by processor time", f"loads.{at}.per_cpu_s", f"loads.{at}.reference_per_cpu_s", "nginx", "/CPU s"))
    return tuple(rows)


BENCHMARKS = (
    Benchmark("stream", "A stream: one writer, one reader", ("bench-stream", "--turns", "7", "--duration", "0.4"), (
        Figure("100-byte records, batches of 64", "batch_64_per_s", "ck_ring_per_s", "ck_ring (SPSC)"),
        Figure("100-byte records, batches of 512", "batch_512_per_s", "ck_ring_per_s", "ck_ring (SPSC)"),
    )),
    Benchmark("queue", "A queue: many to many", ("bench-queue", "--turns", "7"), (
        Figure("112-byte messages, one producer, one taker", "queue_per_s", "ck_ring_mpmc_per_s", "ck_ring (MPMC)"),
    )),
    Benchmark("hop", "From one process to another", ("bench-hop", "--turns", "1", "--duration", "1")),
    Benchmark("udp", "Datagrams", ("bench-udp", "--turns", "3", "--turn-duration", "1", "--duration", "4", "--rate", "2000000"), (
        Figure("with GRO, highest rate without loss", "gro.highest_lossless_per_s", "", "", "/s"),
        Figure("one datagram a message", "single.per_s", "single.bare_recvmmsg_per_s", "a loop of recvmmsg that only receives"),
    )),
    Benchmark("http", "POST /event", ("bench-http", "--connections", ",".join(map(str, CONNECTIONS)), "--pairs", "1", "--duration", "2", "--shallow"),
              http_figures()),
    Benchmark("enrich", "Tracking calls enriched", ("bench-enrich", "--turns", "5", "--agents", "200000"), (
        Figure("User-Agents in Zipf order", "zipf.per_s", "zipf.copy_per_s", "the same loop that only copies"),
        Figure("User-Agents never seen before", "never_seen.per_s", "never_seen.all_rules_per_s", "all rules in order"),
    )),
    Benchmark("objects", "Lines of a log into objects", ("bench-objects", "--turns", "5"), (
        Figure("to a store that keeps nothing", "null.per_s", "null.isal_members_per_s", "ISA-L alone on the same bytes", "/CPU s"),
        Figure("the same beside zlib -1", "null.per_s", "zlib_1_per_s", "zlib -1", "/CPU s"),
        Figure("the same beside pigz -1", "null.per_s", "pigz_1_per_s", "pigz -1 on all processors, by the clock", "/CPU s", "/s"),
        Figure("to a directory", "directory_per_s", "", ""),
        Figure("to a receiver that speaks S3", "s3_receiver_per_s", "", ""),
    )),
    Benchmark("kafka", "Messages to Kafka (librdkafka's mock cluster)", ("bench-kafka", "--turns", "3"), (
        Figure("100-byte messages confirmed", "per_s", "producev_per_s", "a bare rd_kafka_producev loop"),
    )),
    Benchmark("deliver", "Postbacks delivered", ("bench-deliver", "--turns", "3"), (
        Figure("requests", "deliver stage.per_s", "bare loop.per_s", "a bare loop of epoll, send and recv"),
        Figure("requests", "deliver stage.per_s", "libcurl multi.per_s", "a plain loop of libcurl"),
        Figure("requests", "deliver stage.per_s", "Go, all kept.per_s", "Go, a worker for each connection"),
        Figure("requests", "deliver stage.per_s", "Go, default.per_s", "Go, a goroutine for each request"),
        Figure("processor time of one", "deliver stage.cpu_us", "bare loop.cpu_us", "a bare loop of epoll, send and recv", "us"),
        Figure("processor time of one", "deliver stage.cpu_us", "libcurl multi.cpu_us", "a plain loop of libcurl", "us"),
        Figure("processor time of one", "deliver stage.cpu_us", "Go, default.cpu_us", "Go, a goroutine for each request", "us"),
    )),
    Benchmark("tally", "Metrics counted and committed", ("bench-tally", "--turns", "3", "--seconds", "2"), (
        Figure("events", "per_s", "inserts_per_s", "rows inserted into SQLite", "/CPU s"),
        Figure("events", "per_s", "upserts_per_s", "upserts into SQLite", "/CPU s"),
    )),
)


def pick(result, path):
    """The number at a path ("loads.0.per_s"); None when it is not there."""
    for name in path.split("."):
        try:
            result = result[int(name)] if isinstance(result, list) else result[name]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return result if isinstance(result, (int, float)) and not isinstance(result, bool) else None
