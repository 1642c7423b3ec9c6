"""Turns measured runs into RESULTS.md. Every number in it comes from the runs."""

import os
import pathlib
import platform
import statistics
import subprocess
import time

PEERS = ("restic", "borg")
UNITS = {"wall": "s", "cpu": "s", "stored": "MiB"}

# (figure, step, measure, [(compared with, at most this factor)])
ROWS = (
    ("first full: wall", "first", "wall", (("best", 0.5),)),
    ("first full: CPU", "first", "cpu", (("best", 1.0), ("restic", 0.5))),
    ("first full: stored", "first", "stored", (("best", 1.02),)),
    ("unchanged image again, whole read: CPU", "unchanged", "cpu", (("best", 0.6),)),
    ("a day of scattered changes: stored", "day", "stored", (("best", 0.62),)),
    ("a day of scattered changes: CPU", "day", "cpu", (("best", 0.6),)),
    ("sibling machine: stored", "sibling", "stored", (("best", 0.95),)),
    ("re-installed sibling: stored", "reinstalled", "stored", (("best", 0.95),)),
    ("full restore: wall", "restore", "wall", (("best", 0.5),)),
    ("full restore: CPU", "restore", "cpu", (("best", 0.6),)),
    ("one MiB from the middle of a disk, cold process: wall", "read", "wall", (("best", 0.5),)),
)
MEMORY_LIMIT_MIB = 512
SPARSE_FACTOR = 1.5


def median(runs, tool, step, measure):
    values = [run[tool][step][measure] for run in runs if step in run.get(tool, {})]
    return statistics.median(values) if values else None


def scaled(value, measure):
    return None if value is None else value / (1 << 20) if measure in ("stored", "memory") else value


def shown(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict(value, limits):
    if value is None or None in limits:
        return "not measured"
    return "met" if all(value <= limit for limit in limits) else "**missed**"


def comparison_row(runs, figure, step, measure, targets):
    values = {tool: scaled(median(runs, tool, step, measure), measure) for tool in ("stillpoint", *PEERS)}
    peers = [values[peer] for peer in PEERS if values[peer] is not None]
    bases = {**values, "best": min(peers, default=None)}
    limits = [None if bases[base] is None else bases[base] * factor for base, factor in targets]
    ratio = "–" if None in (values["stillpoint"], bases["best"]) else f"{values['stillpoint'] / bases['best']:.2f}"
    target = ", ".join(f"≤ {factor} × {base}" for base, factor in targets)
    cells = [f"{figure}, {UNITS[measure]}", target, *(shown(values[tool]) for tool in ("stillpoint", *PEERS)), ratio,
             verdict(values["stillpoint"], limits)]
    return cells


def identical_row(runs):
    cells = []
    for tool in ("stillpoint", *PEERS):
        found = [run[tool]["restore"]["identical"] for run in runs if "restore" in run.get(tool, {})]
        cells.append("–" if not found else "yes" if all(found) else "no")
    state = {"–": "not measured", "yes": "met", "no": "**missed**"}[cells[0]]
    return ["full restore: byte-identical", "yes", *cells, "", state]


def memory_row(runs):
    peaks = {}
    for tool in ("stillpoint", *PEERS):
        values = [(step["memory"] / (1 << 20), name) for run in runs for name, step in run.get(tool, {}).items()]
        peaks[tool] = max(values, default=(None, ""))
    value, name = peaks["stillpoint"]
    figure = "peak memory of every command" + (f" (highest: {name})" if name else "") + ", MiB"
    return [figure, f"≤ {MEMORY_LIMIT_MIB}", *(shown(peaks[tool][0]) for tool in ("stillpoint", *PEERS)), "",
            verdict(value, [MEMORY_LIMIT_MIB])]


def sparse_row(runs, measure, label):
    large = median(runs, "stillpoint", "sparse-1t", measure)
    small = median(runs, "stillpoint", "sparse-64g", measure)
    ratio = None if None in (large, small) else large / small
    text = "–" if ratio is None else f"{shown(large)} against {shown(small)}: {ratio:.2f}"
    return [f"1 TiB sparse disk against 64 GiB, same 1 GiB of data: {label}", f"≤ {SPARSE_FACTOR} ×", text, "", "", "",
            verdict(ratio, [SPARSE_FACTOR])]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def raw_table(runs):
    """Every command of every run, so that the spread can be seen."""
    rows = []
    for tool in ("stillpoint", *PEERS):
        steps = list(dict.fromkeys(step for run in runs for step in run.get(tool, {})))
        for step in steps:
            found = [run[tool][step] for run in runs if step in run.get(tool, {})]
            cells = [" / ".join(shown(scaled(one.get(measure), measure)) for one in found)
                     for measure in ("wall", "cpu", "memory", "stored")]
            requests = " / ".join(str(one["requests"]) for one in found if "requests" in one)
            rows.append([tool, step, *(cell if set(cell) - set("–/ ") else "" for cell in cells), requests])
    return table(["tool", "command", "wall, s", "CPU, s", "peak memory, MiB", "stored, MiB", "requests"], rows)


def disk_kind(folder):
    source = subprocess.run(["findmnt", "-no", "SOURCE,FSTYPE", "-T", folder], capture_output=True, text=True).stdout.split()
    if len(source) < 2:
        return "unknown disk"
    device = os.path.basename(os.path.realpath(source[0]))
    for name in (device, device.rstrip("0123456789"), device.rstrip("0123456789").rstrip("p")):
        flag = pathlib.Path(f"/sys/block/{name}/queue/rotational")
        if flag.exists():
            return f"{source[1]} on {name} (rotational: {flag.read_text().strip()})"
    return f"{source[1]} on {source[0]}"


def machine(folder):
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    return (f"{len(os.sched_getaffinity(0))} cores, {model}, {memory:.0f} GiB of memory, Linux {platform.release()},"
            f" {disk_kind(folder)}, load {os.getloadavg()[0]:.1f} at the start")


def describe_disks(disks):
    lines = [f"- {name}: {disk['data_bytes'] >> 20:,} MiB of data in {disk['size_bytes'] >> 30:,} GiB, content"
             f" `{disk['fingerprint'][:12]}`" for name, disk in disks["disks"].items()]
    return "\n".join(lines + [f"- {disks['packages']} packages, {len(disks['updated'])} of them updated by the day"])


def write(path, results):
    runs = results["runs"]
    number = max(sum(tool in run for run in runs) for tool in results["versions"])
    rows = [comparison_row(runs, *row) for row in ROWS[:9]]
    rows += [comparison_row(runs, *ROWS[9]), identical_row(runs), comparison_row(runs, *ROWS[10]), memory_row(runs),
             sparse_row(runs, "cpu", "CPU, s"), sparse_row(runs, "requests", "requests")]
    versions = ", ".join(f"{tool} {version}" for tool, version in results["versions"].items())
    notes = "".join(f"- {note}\n" for note in results["notes"])
    text = f"""# Benchmark results

Written by `tests/bench/run` on {results['date']}; not to be edited. Medians of {number} run(s); all tools with encryption, warm page
cache, taking turns in every run. "Best" is the better of restic and borg in that row. Stored bytes are the sum of the repository's
file sizes, or what they grew by. Borg: fixed chunks of 4 MiB, zstd 3, repokey (AES-256, HMAC-SHA-256); restic: its defaults.

- Machine: {results['machine']}
- Versions: {versions}
{notes}
{table(["figure", "must be", "stillpoint", *PEERS, "ratio to best", "result"], rows)}

## The disks

{describe_disks(results['disks'])}

## Every command, run by run

{raw_table(runs)}
"""
    pathlib.Path(path).write_text(text)


def now():
    return time.strftime("%Y-%m-%d", time.gmtime())
