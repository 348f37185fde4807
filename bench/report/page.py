"""The page docs/BENCHMARKS.md and its pictures, from what was measured.

Every figure is the median of the rounds; what stands in brackets is the least and the greatest. A ratio is the median of the ratios
within a round, so that both of its sides were measured within seconds of each other.
"""
from statistics import median

from figures import BENCHMARKS, pick
from picture import bars, short

HEAD = """# Benchmarks

Written by `make bench`: {rounds} through all benchmarks, {minutes:.0f} minutes, on {date}. Each benchmark measures its reference in turns with ours in the same
run. A figure is the median of the rounds, with the least and the greatest in brackets; a ratio is the median of the ratios of each round. Machines differ, and this one may have
been shared: compare ratios, not rates. What each benchmark does is in [bench/README.md](../bench/README.md).

| machine | |
| --- | --- |
{machine}
"""


def spread(values, unit=""):
    if not values:
        return ""
    text = short(median(values)) + unit
    return text if len(values) == 1 else f"{text} ({short(min(values))} to {short(max(values))})"


def ratio_text(ratios):
    if not ratios:
        return ""
    text = f"**{median(ratios):.2f}**"
    return text if len(ratios) == 1 else f"{text} ({min(ratios):.2f} to {max(ratios):.2f})"


def figure_row(figure, results):
    ours = [pick(result, figure.ours) for result in results]
    ours = [value for value in ours if value is not None]
    if not ours:
        return None
    if not figure.reference:
        return f"| {figure.what} | {spread(ours, figure.unit)} | | |"
    pairs = [(pick(result, figure.ours), pick(result, figure.reference)) for result in results]
    pairs = [pair for pair in pairs if pair[0] and pair[1]]
    if not pairs:
        return None
    unit, unit_of_reference = (" us" if one == "us" else one for one in (figure.unit, figure.unit_of_reference or figure.unit))
    return (f"| {figure.what} | {spread([a for a, _ in pairs], unit)} | {figure.against}: {spread([b for _, b in pairs], unit_of_reference)} | "
            f"{ratio_text([a / b for a, b in pairs])} |")


def table(benchmark, results):
    rows = [row for row in (figure_row(figure, results) for figure in benchmark.figures) if row]
    return ["| what | millrace | reference | ratio |", "| --- | --- | --- | --- |", *rows]


def round_trips(results):
    trips = [trip for trip in (pick(result, "line_round_trip_ns") for result in results) if trip]
    return [f"A cache line took {spread(trips, ' ns')} from one processor to the other and back."] if trips else []


# ---- one process to another ----


def ways_of(results):
    """{name: (promise, {figure: [of each round]})} of the ways that were measured, with the ratios of a topic to them, and why others were left out."""
    ways, left_out = {}, {}
    for result in results:
        of = {way["name"]: {key: median(way[key]) for key in ("per_s", "per_cpu_s", "p50_us", "p99_us")} for way in result["ways"] if "left_out" not in way}
        for way in result["ways"]:
            if "left_out" in way:
                left_out[way["name"]] = way["left_out"]
                continue
            _, figures = ways.setdefault(way["name"], (way["promise"], {}))
            ratios = {f"ratio_{key}": of["topic"][key] / of[way["name"]][key] for key in ("per_s", "per_cpu_s")}
            for key, value in (of[way["name"]] | ratios).items():
                figures.setdefault(key, []).append(value)
    return ways, left_out


def hop(results):
    ways, left_out = ways_of(results)
    lines = ["| way | messages/s | a topic is | messages by CPU second | a topic is | latency p50, p99 (us) | an accepted message is |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for name, (promise, of) in ways.items():
        times = [f"{median(of[key]):.1f} x" if name != "topic" else "" for key in ("ratio_per_s", "ratio_per_cpu_s")]
        lines.append(f"| {name} | {spread(of['per_s'])} | {times[0]} | {spread(of['per_cpu_s'])} | {times[1]} | {median(of['p50_us']):.0f}, {median(of['p99_us']):.0f} | {promise} |")
    lines += [""] + [f"Left out: {name} ({why})." for name, why in left_out.items()]
    rates = [(name, median(of["per_s"]), name == "topic") for name, (_, of) in ways.items()]
    costs = [(name, median(of["per_cpu_s"]), name == "topic") for name, (_, of) in ways.items()]
    return lines, {"hop": bars("100-byte messages a second from one process to another (logarithmic)", rates, "/s", logarithmic=True),
                   "hop-cpu": bars("the same by processor time of all that take part (logarithmic)", costs, "/CPU s", logarithmic=True)}


# ---- beside others ----


def syslog(results):
    results = [result for result in results if "left_out" not in result]
    if not results:
        return ["rsyslog is not installed; left out."], {}
    lines = ["| receiver | datagrams/s | by CPU second | of what was sent |", "| --- | --- | --- | --- |"]
    for name in ("millrace", "rsyslog"):
        of = [result[name] for result in results]
        share = [one["received"] / one["sent"] for one in of]
        lines.append(f"| {name} | {spread([one['per_s'] for one in of])} | {spread([one['per_cpu_s'] for one in of])} | {median(share):.0%} |")
    ratios = [[result["millrace"][key] / result["rsyslog"][key] for result in results] for key in ("per_s", "per_cpu_s")]
    lines.append(f"| ratio | {ratio_text(ratios[0])} | {ratio_text(ratios[1])} | |")
    return lines, {}


def idle(results):
    lines = ["| server | processes | memory | shared memory, made before it is needed | processor time |", "| --- | --- | --- | --- | --- |"]
    for name in [one["name"] for one in results[0]]:
        of = [one for result in results for one in result if one["name"] == name]
        memory, shared, cpu = (median([one[key] for one in of]) for key in ("memory", "shared", "cpu_percent"))
        lines.append(f"| {name} | {of[0]['processes']} | {memory / 2**20:.0f} MiB | {f'{shared / 2**20:.0f} MiB' if shared else ''} | {cpu:.2f} % of a core |")
    return lines, {}


def http_pictures(results):
    rows = []
    for figure in next(one for one in BENCHMARKS if one.name == "http").figures:
        if figure.unit == "/CPU s":
            for name, path in (("millrace", figure.ours), ("nginx", figure.reference)):
                values = [value for value in (pick(result, path) for result in results) if value]
                if values:
                    rows.append((f"{figure.what.split(',')[0]}, {name}", median(values), name == "millrace"))
    return {"http": bars("POST /event: requests by CPU second of the server", rows, "/CPU s")} if rows else {}


SECTIONS = {"hop": hop, "syslog": syslog, "idle": idle}
TITLES = {"syslog": "Datagrams beside rsyslog", "idle": "Who waits: memory and processor time with nothing to do"}
ABOUT = {
    "hop": "The hop that a broker would be: a writer hands in 64 messages at a time, a reader in another process takes and acknowledges them. Processor time counts both and the server. "
           "Redis is without persistence on a Unix socket; its list as it is used most (LPUSH, BRPOP, pipelined), with batches (LPUSH of 64, BLMPOP of 64), and as a stream (XADD, XREADGROUP, XACK).",
    "syslog": "The same generator sends JSON datagrams, one a message, as many as go, to millrace (checked, parsed, a third of them enriched, all counted) and to rsyslog (imudp, written to a file in memory as they are).",
    "idle": "Each started by itself with nothing coming in.",
    "http": "wrk on one processor, the server on the other, one request at a time on each connection.",
}


def render(report):
    """(text of the page, {name: SVG})"""
    machine = "\n".join(f"| {name} | {value} |" for name, value in report["machine"].items())
    lines = [HEAD.format(rounds="1 round" if report["rounds"] == 1 else f"{report['rounds']} rounds", minutes=report["seconds"] / 60, date=report["date"], machine=machine)]
    pictures = {}
    titles = {one.name: one.title for one in BENCHMARKS} | TITLES
    for name, results in report["results"].items():
        if not results:
            lines += [f"## {titles[name]}", "", f"Left out: {report['left_out'].get(name, 'no time was left')}.", ""]
            continue
        lines += [f"## {titles[name]}", ""]
        lines += [ABOUT[name], ""] if name in ABOUT else []
        if name in SECTIONS:
            body, made = SECTIONS[name](results)
        else:
            benchmark = next(one for one in BENCHMARKS if one.name == name)
            body, made = table(benchmark, results), http_pictures(results) if name == "http" else {}
        pictures |= made
        lines += body + [""] + [f"![{titles[name]}](bench/{picture}.svg)\n" for picture in made]
        trips = round_trips(results)
        lines += [*trips, ""] if trips else []
        lines += [f"Failed in a round: {report['left_out'][name]}.", ""] if name in report["left_out"] else []
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n", pictures
