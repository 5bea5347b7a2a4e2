"""Plays generated conversations against a real Kafka and against Bowline, and compares their answers field by field.

    python3 run.py --program ../../target/release/bowline [--seed N] [--count N] [--only NUMBER] [--theme NAME]

A difference is known if a rule of known.json matches: `step`, `kafka` and `bowline` are regular expressions for the step
and for the lines that only one of them has; `theme` keeps it to one theme. With `"ends": true` the two are in different
states from there on, and the conversation ends. Everything else is a failure, printed with the steps before it.
Before a difference counts, the conversation is played again with more time between steps.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))

import corpus  # noqa: E402
import wire  # noqa: E402
from harness import brokers, install  # noqa: E402
from peer import Connection, Peer  # noqa: E402

QUIET_SECONDS, SLOW_QUIET_SECONDS = 0.05, 0.5
AT_ONCE = 8
SKIPPED = 77
CACHE = pathlib.Path.home() / ".cache/bowline-bench"
# Kafka as Bowline is by default, where a setting makes the difference.
SETTINGS = """\
group.initial.rebalance.delay.ms=0
group.consumer.assignment.interval.ms=0
group.share.assignment.interval.ms=0
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


class Kafka(brokers.Kafka):
    def prepare(self):
        brokers.KAFKA_PROPERTIES, usual = brokers.KAFKA_PROPERTIES + SETTINGS, brokers.KAFKA_PROPERTIES
        try:
            super().prepare()
        finally:
            brokers.KAFKA_PROPERTIES = usual


def main():
    options = parse()
    if not shutil.which("java") or not (shutil.which("mvn") or list(CACHE.glob("kafka-*/libs"))):
        print("no Java, or no Kafka and no Maven to fetch it")
        return SKIPPED
    libs = install.kafka(install.KAFKA_VERSION, CACHE)
    with tempfile.TemporaryDirectory(prefix="bowline-differential-") as directory:
        directory = pathlib.Path(directory)
        try:
            kafka = Kafka(directory / "kafka", libs).start()
            bowline = brokers.Bowline(directory / "bowline", options.program, settings(options.program)).start()
            return compare_all(options, kafka, bowline)
        finally:
            brokers.stop_all()


def settings(program):
    """With access rules, and us above them, as in SETTINGS; where the program knows them."""
    known = subprocess.run([program, "serve", "--help"], capture_output=True, text=True, timeout=60).stdout
    rules = ["--kafka-acls", "--kafka-super-user", "User:ANONYMOUS"] if "--kafka-acls" in known else []
    return ["--no-probe", *rules]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--only", type=int)
    parser.add_argument("--theme")
    parser.add_argument("--all", action="store_true", help="print every conversation that failed, not one of a kind")
    parser.add_argument("--through", action="store_true", help="go on behind a difference, and print them all")
    return parser.parse_args()


def compare_all(options, kafka, bowline):
    rules = json.loads((HERE / "known.json").read_text())
    offered = both(kafka.kafka_port, bowline.kafka_port)
    warm_up(kafka.kafka_port, offered)
    numbers = range(options.count) if options.only is None else [options.only]
    began, failures, used, steps, skipped = time.monotonic(), [], {}, 0, set()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(one, options, number, offered, kafka, bowline, rules) for number in numbers]
        for job in concurrent.futures.as_completed(jobs):
            compared, found, matched, left_out = job.result()
            steps += compared
            skipped |= left_out
            failures += found
            for rule in matched:
                used[rule] = used.get(rule, 0) + 1
    told = {}
    for number, kind, text in sorted(failures):
        if kind not in told or options.all:
            print(text)
        told[kind] = told.get(kind, 0) + 1
    for kind, times in sorted(told.items(), key=lambda pair: -pair[1]):
        print(f"{times:4} × {kind}")
    print(f"seed {options.seed}: {len(numbers)} conversations, {steps} answers alike or known, "
          f"{time.monotonic() - began:.0f} s; {len(failures)} with unknown differences")
    for index, rule in enumerate(rules):
        print(f"  known, met {used.get(index, 0):3} times: {rule['reason']}")
    if skipped:
        print(f"  left out, for want of APIs: {', '.join(sorted(skipped))}")
    if not bowline.alive():
        print("Bowline has ended by itself")
        return 1
    return 1 if failures else 0


def both(*ports):
    """API → (low, high) that all offer."""
    names = {message.key: api for api, message in wire.REQUESTS.items()}
    ranges = []
    for port in ports:
        with Connection(port) as connection:
            connection.send("ApiVersions", 0, {})
            rows = connection.receive("ApiVersions", 0)["ApiKeys"]
        ranges.append({names[row["ApiKey"]]: (row["MinVersion"], row["MaxVersion"]) for row in rows if row["ApiKey"] in names})
    shared = {}
    for api in ranges[0]:
        if all(api in one for one in ranges):
            low, high = max(one[api][0] for one in ranges), min(one[api][1] for one in ranges)
            known = wire.REQUESTS[api].versions
            shared[api] = (max(low, known.start), min(high, known.stop - 1))
    return shared


def warm_up(port, offered):
    """A Kafka makes its topics for offsets and transactions when it is first asked, which takes seconds."""
    end = time.monotonic() + 60
    for key_type in (0, 1):
        while time.monotonic() < end:
            with Connection(port) as connection:
                connection.send("FindCoordinator", 1, {"Key": "warm-up", "KeyType": key_type})
                if connection.receive("FindCoordinator", 1)["ErrorCode"] == 0:
                    break
            time.sleep(0.2)
    for index in range(100):
        while time.monotonic() < end:
            with Connection(port) as connection:
                connection.send("Heartbeat", 0, {"GroupId": f"warm-up-{index}", "GenerationId": 1, "MemberId": "m"})
                if connection.receive("Heartbeat", 0)["ErrorCode"] == 25:
                    break
            time.sleep(0.1)


def one(options, number, offered, kafka, bowline, rules):
    """(answers compared, failures as (number, kind, text), rules met, themes left out)"""
    clock = int(time.time()) * 1000
    for suffix, quiet in (("", QUIET_SECONDS), ("again-", SLOW_QUIET_SECONDS)):
        prefix = f"d{number}-{suffix}"
        theme, steps = corpus.conversation(options.seed, number, offered, prefix, options.theme)
        if steps is None:
            return 0, [], [], {theme}
        try:
            theirs = Peer(kafka.kafka_port, prefix, clock, quiet, corpus.TOLD_CONFIGS).play(steps)
            ours = Peer(bowline.kafka_port, prefix, clock, quiet, corpus.TOLD_CONFIGS).play(steps)
        except (OSError, RuntimeError, ValueError, KeyError, IndexError, AssertionError) as error:
            who = "Kafka" if str(kafka.kafka_port) in str(error) else "Bowline"
            return 0, [(number, f"{theme}: {who}: {error!r}"[:300], f"--- {number} {theme}: {who}: {error!r}")], [], set()
        applying = [rule for rule in rules if rule.get("theme", theme) == theme]
        at, found, met = differences(steps, theirs, ours, applying, options.through)
        met = [rules.index(applying[rule]) for rule in met]
        if not found:
            return at, [], met, set()
    failures = [told(number, theme, prefix, steps, *difference, 0 if options.through else 25) for difference in found]
    return at, failures, met, set()


def told(number, theme, prefix, steps, at, only_theirs, only_ours, before):
    """A difference for people: its conversation's number, its kind, and all of it with so many steps before it."""
    lines = [f"--- {number} {theme}"] + [f"        {step}" for step in steps[max(0, at - before):at]]
    lines += [f"    ==> {steps[at]}"]
    lines += [f"    Kafka   {line}" for line in only_theirs] + [f"    Bowline {line}" for line in only_ours]
    unnumbered = lambda part: ", ".join(re.sub(r"\[\d+\]", "", line).replace(prefix, "") for line in part[:3])  # noqa: E731
    kind = f"{theme}: {steps[at].api}: {unnumbered(only_theirs)} / {unnumbered(only_ours)}"
    return number, kind[:300], "\n".join(lines)


def differences(steps, theirs, ours, rules, through):
    """(answers compared; of each unknown difference the index of the step and the lines that only one of the two has; rules
    met on the way). Ends at the first, unless it goes `through`."""
    met, found = [], []
    for at, step in enumerate(steps):
        a, b = theirs[at], ours[at]
        if a == b:
            continue
        difference = [line for line in a if line not in b], [line for line in b if line not in a]
        if difference == ([], []):
            difference = a, b
        rule = known(steps[:at], step, difference, rules)
        if rule is None:
            found.append((at, *difference))
            if not through:
                return at, found, met
            continue
        met.append(rule)
        if rules[rule].get("ends"):
            return at, found, met
    return len(steps), found, met


def known(before, step, difference, rules):
    """The first rule whose expressions are all found: in the step, in what only one of the two answered, and (`after`) in
    the steps before it, one a line."""
    theirs, ours = ("\n".join(part) for part in difference)
    told = "\n".join(map(str, before))
    for index, rule in enumerate(rules):
        if all(re.search(rule.get(part, ""), text, re.S) for part, text in
               (("step", str(step)), ("kafka", theirs), ("bowline", ours), ("after", told))):
            return index
    return None


if __name__ == "__main__":
    sys.exit(main())
