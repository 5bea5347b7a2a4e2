"""From raw runs to figures: medians, ranges, ratios, and whether an aim is met."""

from dataclasses import dataclass
from statistics import median

from . import plan


@dataclass(frozen=True)
class Spread:
    """Median and range over the counted runs. `clean`: none of them was disturbed."""
    mid: float
    low: float
    high: float
    count: int
    clean: bool = True

    @staticmethod
    def of(values, clean=True):
        values = [value for value in values if value is not None]
        return Spread(median(values), min(values), max(values), len(values), clean) if values else None


def counted(results, workload, target):
    """The run of each round that counts; void ones (something lost, doubled, refused) do not."""
    runs = results["workloads"].get(workload, {}).get("runs", [])
    return [run for run in runs if run["target"] == target and run.get("counts") and not run["wrong"]]


def stage_of(run, name):
    return next((stage for stage in run.get("stages", []) if stage["name"] == name), None)


def spread(results, workload, target, stage, pick):
    """`pick`: from the stage and its run to a number or None."""
    runs = counted(results, workload, target)
    values = [pick(found, run) for run in runs if (found := stage_of(run, stage))]
    return Spread.of(values, all(run["clean"] for run in runs))


def rate(results, workload, target, stage, key):
    return spread(results, workload, target, stage, lambda found, _: found.get(key))


def ratio(results, workload, stage, key, peer, own=plan.BOWLINE):
    """Ratio of the medians; its range is that of the rounds, each side by side."""
    ours, theirs = (rate(results, workload, target, stage, key) for target in (own, peer))
    if not ours or not theirs or not theirs.mid:
        return None
    rounds = {}
    for target in (own, peer):
        for run in counted(results, workload, target):
            found = stage_of(run, stage)
            if found and found.get(key):
                rounds.setdefault(run["round"], {})[target] = found[key]
    pairs = [pair[own] / pair[peer] for pair in rounds.values() if len(pair) == 2]
    mid = ours.mid / theirs.mid
    return Spread(mid, min([*pairs, mid]), max([*pairs, mid]), len(pairs), ours.clean and theirs.clean)


def latency(kind, quantile):
    return lambda found, _: (found.get(kind) or {}).get(quantile)


def _over_the_disk(quantile, of="p50_ns", workload="W4"):
    """Confirm latency over what the disk and the network alone take.

    These are the medians over the probes before all of the workload's runs, of every broker: one probe of 0.3 s says
    little on a disk with neighbours.
    """
    def look(results):
        runs = [run for run in results["workloads"].get(workload, {}).get("runs", []) if run.get("flush_probe")]
        if not runs:
            return None
        alone = median(run["flush_probe"][of] for run in runs) + median(run["round_trip_ns"] for run in runs)

        def pick(found, _):
            return found["confirm"][quantile] / alone if found.get("confirm") else None
        return spread(results, workload, plan.BOWLINE, "pair", pick)
    return look


def _broker(key, workload, stage="pair", scale=1.0):
    def pick(found, _):
        value = (found.get("broker") or {}).get(key)
        return value and value * scale
    return lambda results: spread(results, workload, plan.BOWLINE, stage, pick)


def _backlog_rss(results):
    peaks = [max((stage.get("broker") or {}).get("rss_peak_bytes") or 0 for stage in run["stages"]) / 1e6
             for run in counted(results, "W8", plan.BOWLINE) if run.get("stages")]
    return Spread.of(peaks)


def _kafka_rss(results):
    """The worst of all stages of all workloads; its range is over workloads."""
    peaks = [(stage.get("broker") or {}).get("rss_peak_bytes")
             for workload in plan.WORKLOADS if workload.proto == "kafka"
             for run in counted(results, workload.id, plan.BOWLINE) for stage in run.get("stages", [])]
    worst = max((peak / 1e6 for peak in peaks if peak), default=None)
    return worst and Spread.of([worst])


def _standing(*path, scale=1.0):
    def look(results):
        value, calm = results["standing"].get("bowline", {}), True
        for key in path:
            calm = calm and (value or {}).get("foreign_cores", 0) <= plan.FOREIGN_CORES_MAX
            value = (value or {}).get(key)
        return None if value is None else Spread.of([value * scale], calm)
    return look


def _restart(results):
    seconds = (results.get("restart") or {}).get("kill -9", {}).get("first_message_seconds")
    return None if seconds is None else Spread.of([seconds])


FIGURES = {
    "confirm_p50": _over_the_disk("p50_ns"),
    "confirm_p99": _over_the_disk("p99_ns"),
    "confirm_p99_of_p99": _over_the_disk("p99_ns", of="p99_ns"),
    "half_p99": _over_the_disk("p99_ns", workload="K1-half"),
    "half_p99_of_p99": _over_the_disk("p99_ns", of="p99_ns", workload="K1-half"),
    "kafka_rss": _kafka_rss,
    "idle_cores": _standing("idle_cores"),
    "cores_1k": _broker("cores", "W5-1k"),
    "written": _broker("written_per_payload_byte", "W1"),
    "backlog_rss": _backlog_rss,
    "idle_rss": _standing("idle_rss_bytes", scale=1e-6),
    "start_ms": lambda results: Spread.of([1000 * start for start in results["starts"].get("bowline", [])]),
    "restart_s": _restart,
    "amqp_connection_kb": _standing("amqp_connections", "bytes_each", scale=1e-3),
    "kafka_connection_kb": _standing("kafka_connections", "bytes_each", scale=1e-3),
    "declares": _standing("declares", "per_second"),
}
# An idle broker's housekeeping below this counts as no CPU: a tenth of a percent of a core.
NOTHING_CORES = 0.001


def judge(aim, results):
    """The measured spread and whether the aim is met; (None, None) when it was not measured."""
    if isinstance(aim, plan.Ratio):
        workload = next(each for each in plan.WORKLOADS if each.id == aim.workload)
        found = ratio(results, aim.workload, aim.stage, workload.stages[aim.stage], aim.peer)
        return (found, found.mid >= aim.least) if found else (None, None)
    found = FIGURES[aim.measure](results)
    if not found:
        return None, None
    if aim.at_least:
        return found, found.mid >= aim.limit
    return found, found.mid <= (aim.limit or NOTHING_CORES)
