"""Runs the workloads: interleaved round by round, one broker loaded at a time, unclean runs repeated."""

import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import figures, plan, system

# A broker still busy with what the last run left (deleting, collecting) is given so long.
SETTLE_SECONDS_MAX = 4
SETTLE_CORES = 0.10
# Beyond the time that the load itself takes: connecting, the drain, the tear-down.
BENCH_PATIENCE_SECONDS = 150
BENCH_COUNT_PATIENCE_SECONDS = 600
NAMES = itertools.count(1)


@dataclass
class Options:
    program: Path
    work: Path
    rounds: int = 3
    retries: int = 2
    seconds: float = 3
    warmup: float = 1
    repeat_until: float = float("inf")  # on time.monotonic(): beyond it nothing is repeated
    quick: bool = False
    counts: dict = field(default_factory=dict)  # other counts than the plan's, by workload

    def count(self, workload):
        return self.counts.get(workload.id) or (workload.quick_count if self.quick else workload.count)


def say(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def run_group(workloads, made, options, results, keep):
    """Runs workloads that share brokers. `made`: kind → a function that makes such a broker, unstarted. `keep` is called
    after each, so that an interruption loses little."""
    policies = [policy for workload in workloads for policy in workload.policies]
    kinds = list(dict.fromkeys(plan.BROKER[target] for workload in workloads for target in workload.targets))
    running = {}
    meant = [workload for workload in workloads if not workload.half_of]

    def serving(target):
        # All run all the time, idle but for one; one that died is started afresh.
        for kind in kinds:
            if kind not in running or not running[kind].alive():
                running[kind] = made[kind]().start(policies)
                if not policies:
                    results["starts"].setdefault(kind, []).append(round(running[kind].start_seconds, 4))
        return running[plan.BROKER[target]]

    try:
        for target in () if workloads[0].feature or not meant else meant[0].targets:
            # Unmeasured: the JVM compiles, logs lay out their files.
            _one(meant[0], target, serving(target), options)
        for workload in workloads:
            runs = []
            results["workloads"][workload.id] = {"count": options.count(workload), "runs": runs}
            for number in range(min(options.rounds, workload.rounds_max)):
                for target in workload.targets:
                    rate = None
                    if workload.half_of and not (rate := _half(results, workload, target)):
                        say(f"{workload.id} {target}: left out, for there is no run of {workload.half_of}")
                        continue
                    runs.extend(_until_clean(workload, target, number, serving(target), options, rate))
            keep()
    finally:
        for broker in running.values():
            broker.stop(remove=True)


def _half(results, workload, target):
    """Half of what the broker reached, messages a second."""
    whole = next(each for each in plan.WORKLOADS if each.id == workload.half_of)
    (stage, key), = whole.stages.items()
    found = figures.rate(results, whole.id, target, stage, key)
    return found and round(found.mid / 2)


def _until_clean(workload, target, number, broker, options, rate):
    attempts = []
    for attempt in range(options.retries + 1):
        run = _one(workload, target, broker, options, rate)
        run.update(target=target, round=number, attempt=attempt)
        attempts.append(run)
        say(_line(workload, run))
        if run["clean"] or not broker.alive() or time.monotonic() > options.repeat_until:
            break
    best = min(attempts, key=lambda run: (bool(run["wrong"]), run.get("foreign_cores", 99)))
    best["counts"] = True
    return attempts


def _one(workload, target, broker, options, rate=None):
    _settle(broker, options)
    name = f"compare-{next(NAMES)}"
    command = [str(options.program), "bench", "--json", "-w", workload.id, "--broker-pid", str(broker.pid),
               "--probe-dir", str(options.work), "--name", name]
    if workload.proto == "amqp":
        command += ["--amqp-addr", f"127.0.0.1:{broker.amqp_port}"]
    else:
        command += ["--kafka-addr", f"127.0.0.1:{broker.kafka_port}"]
    if workload.timed:
        command += ["--duration", f"{options.seconds:g}s", "--warmup", f"{int(options.warmup * 1000)}ms"]
    else:
        command += ["--count", str(options.count(workload))]
    if workload.keyed:
        command += ["--keys", str(options.count(workload) // 2)]
    if rate:
        command += ["--rate", str(rate)]
    if workload.latency_stage == "catch-up" and os.geteuid() == 0:
        command += ["--drop-caches"]
    if target in plan.QUEUE_TYPE:
        command += ["--type", plan.QUEUE_TYPE[target]]
    cold = workload.cold and os.geteuid() == 0
    run = _bench(command + (["--keep"] if cold else []), broker, workload)
    if cold:
        system.sync(str(options.work))
        second = _bench(command + ["--mode", "drain", "--drop-caches"], broker, workload)
        for stage in second.get("stages", []):
            stage["name"] = "cold drain"
        run["stages"] = run.get("stages", []) + second.get("stages", [])
        run["wrong"] += second["wrong"]
        run["foreign_cores"] = max(run["foreign_cores"], second["foreign_cores"])
        run["commands"] += second["commands"]
    run["clean"] = not run["wrong"] and run["foreign_cores"] <= plan.FOREIGN_CORES_MAX
    return run


def _bench(command, broker, workload):
    """One call of `bowline bench`, its report without the series, and who used the CPU meanwhile."""
    run = {"commands": [_shown(command)], "wrong": [], "unix_time": int(time.time()),
           "round_trip_ns": system.loopback_round_trip_ns()}
    is_long = workload.feature or not workload.timed
    patience = BENCH_COUNT_PATIENCE_SECONDS if is_long else BENCH_PATIENCE_SECONDS
    watch = system.CpuWatch(broker.pid)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience)
        report = json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else None
    except (subprocess.TimeoutExpired, ValueError) as error:
        run["wrong"].append(f"the client gave no result: {type(error).__name__}")
        run.update(watch.done())
        return run
    run.update(watch.done())
    if report is None:
        run["wrong"].append(f"the client failed: {done.stderr.strip()[-300:]}")
        return run
    if not broker.alive():
        run["wrong"].append("the broker died")
    for stage in report["stages"]:
        stage.pop("series", None)
        for latency in ("confirm", "end_to_end"):
            if stage.get(latency):
                stage[latency].pop("mean_ns", None)
        wrong = {key: stage["check"].get(key) for key in
                 ("refused", "unanswered", "lost", "duplicates", "out_of_order", "foreign")}
        run["wrong"] += [f"{stage['name']}: {count} {key}" for key, count in wrong.items() if count]
    if done.returncode and not run["wrong"]:
        run["wrong"].append(f"the client's exit status was {done.returncode}")
    run["flush_probe"] = report["flush_probe"]
    run["set_up_seconds"] = report["set_up_seconds"]
    run["stages"] = report["stages"]
    return run


def _shown(command):
    """The command as a reader would type it: without what differs from run to run."""
    anonymous = {"--broker-pid": "PID", "--probe-dir": "DIR", "--name": "NAME",
                 "--amqp-addr": "HOST:PORT", "--kafka-addr": "HOST:PORT"}
    words = ["bowline", *command[1:]]
    for index, word in enumerate(words[:-1]):
        if word in anonymous:
            words[index + 1] = anonymous[word]
    return " ".join(words)


def _settle(broker, options):
    """Earlier writes reach the disk, and the broker comes to rest."""
    system.sync(str(options.work))
    end = time.monotonic() + SETTLE_SECONDS_MAX
    while time.monotonic() < end:
        before = system.cpu_seconds(broker.pid)
        time.sleep(0.25)
        if (system.cpu_seconds(broker.pid) - before) / 0.25 <= SETTLE_CORES:
            return


def _line(workload, run):
    rates = []
    for stage in run.get("stages", []):
        rate = stage.get(workload.stages.get(stage["name"], ""))
        unit = " s" if workload.stages.get(stage["name"]) == "seconds" else "/s"
        rates.append(f"{stage['name']} {rate:,.0f}{unit}" if rate else stage["name"])
    verdict = "" if run["clean"] else "  " + ("; ".join(run["wrong"]) or "others were busy")
    return (f"{workload.id:10} {run['round'] + 1}.{run['attempt']} {run['target']:17} {', '.join(rates):44} "
            f"others {run['foreign_cores']:.2f}{verdict}")
