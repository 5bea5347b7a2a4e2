"""Plays generated conversations against the real RabbitMQ and against Bowline, and compares what they answer.

    python3 run.py --program ../../target/release/bowline [--seed N] [--count N] [--only NUMBER] [--theme NAME]

A difference is known if a rule of known.json matches: `step`, `rabbitmq` and `bowline` are regular expressions for the step and
the events that only one of them sent; `theme` keeps it to one theme; where `ignoring` is, nothing but its matches may differ. With `"goes_on": true` the two agree about the state afterwards and the comparison
goes on; else the conversation ends there. Everything else is a failure, printed with the steps before it.
Before a difference counts, the conversation is played again with more time to answer.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import shutil
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))

import corpus  # noqa: E402
from harness import brokers, install  # noqa: E402
from peer import Peer  # noqa: E402

QUIET_SECONDS, SLOW_QUIET_SECONDS = 0.03, 0.3
AT_ONCE = 12
SKIPPED = 77


def main():
    options = parse()
    home = options.rabbitmq_home or install._debian_home()
    if not home or not shutil.which("epmd"):
        print("no RabbitMQ on this machine (Debian: rabbitmq-server)")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="bowline-differential-") as directory:
        directory = pathlib.Path(directory)
        try:
            rabbitmq = brokers.RabbitMq(directory / "rabbitmq", pathlib.Path(home)).start()
            bowline = brokers.Bowline(directory / "bowline", options.program, ["--no-probe"]).start()
            return compare_all(options, rabbitmq.amqp_port, bowline.amqp_port, bowline)
        finally:
            brokers.stop_all()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--rabbitmq-home")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=180)
    parser.add_argument("--only", type=int)
    parser.add_argument("--theme")
    return parser.parse_args()


def compare_all(options, rabbitmq, bowline, process):
    rules = json.loads((HERE / "known.json").read_text())
    numbers = range(options.count) if options.only is None else [options.only]
    began, failures, used, steps = time.monotonic(), [], {}, 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        jobs = [pool.submit(one, options, number, rabbitmq, bowline, rules) for number in numbers]
        for job in concurrent.futures.as_completed(jobs):
            compared, found, matched = job.result()
            steps += compared
            failures += [found] if found else []
            for rule in matched:
                used[rule] = used.get(rule, 0) + 1
    for failure in sorted(failures):
        print(failure[1])
    print(f"seed {options.seed}: {len(numbers)} conversations, {steps} steps alike or known, "
          f"{time.monotonic() - began:.0f} s; {len(failures)} with unknown differences")
    for index, rule in enumerate(rules):
        print(f"  known, met {used.get(index, 0):3} times: {rule['reason']}")
    if not process.alive():
        print("Bowline has ended by itself")
        return 1
    return 1 if failures else 0


def one(options, number, rabbitmq, bowline, rules):
    """(steps compared, the failure's (number, text) or None, rules met)"""
    theme, steps = corpus.conversation(options.seed, number, options.theme)
    for suffix, quiet in (("", QUIET_SECONDS), ("again-", SLOW_QUIET_SECONDS)):
        renamed = rename(steps, f"d{number}-", f"d{number}-{suffix}")
        try:
            theirs, ours = Peer(rabbitmq, quiet).play(renamed), Peer(bowline, quiet).play(renamed)
        except (OSError, RuntimeError, ValueError, KeyError, IndexError) as error:
            return 0, (number, f"--- {number} {theme}: {error!r}"), []
        applying = [rule for rule in rules if rule.get("theme", theme) == theme]
        at, difference, met = first_difference(steps, theirs, ours, applying)
        met = [rules.index(applying[rule]) for rule in met]
        if difference is None:
            return at, None, met
    lines = [f"--- {number} {theme}"] + [f"        {step}" for step in steps[max(0, at - 30):at]]
    lines += [f"    ==> {steps[at]}"]
    for stream, (only_theirs, only_ours) in difference.items():
        lines += [f"    RabbitMQ {stream}: {event}" for event in only_theirs]
        lines += [f"    Bowline  {stream}: {event}" for event in only_ours]
    return at, (number, "\n".join(lines)), met


def rename(steps, old, new):
    """Played again, a conversation must not find what its first playing left."""
    def renamed(value):
        if isinstance(value, str):
            return value.replace(old, new)
        if isinstance(value, dict):
            return {key: renamed(field) for key, field in value.items()}
        return [renamed(item) for item in value] if isinstance(value, list) else value
    if old == new:
        return steps
    return [corpus.Step(s.method, s.channel, s.connection, s.body, renamed(s.properties), s.delivery, **renamed(s.arguments))
            for s in steps]


def first_difference(steps, theirs, ours, rules):
    """(index of the step, its difference or None, rules met on the way)"""
    met = []
    for at, step in enumerate(steps):
        difference = {}
        for stream in sorted(set(theirs[at]) | set(ours[at])):
            a, b = theirs[at].get(stream, []), ours[at].get(stream, [])
            if a != b:
                common = 0
                while common < min(len(a), len(b)) and a[common] == b[common]:
                    common += 1
                difference[stream] = (a[common:], b[common:])
        if not difference:
            continue
        rule = known(step, difference, rules)
        if rule is None:
            return at, difference, met
        met.append(rule)
        if not rules[rule].get("goes_on"):
            return at, None, met
    return len(steps), None, met


def known(step, difference, rules):
    theirs = "\n".join(event for a, _ in difference.values() for event in a)
    ours = "\n".join(event for _, b in difference.values() for event in b)
    for index, rule in enumerate(rules):
        if "ignoring" in rule and re.sub(rule["ignoring"], "", theirs) != re.sub(rule["ignoring"], "", ours):
            continue
        if all(re.search(rule.get(part, ""), text, re.S) for part, text in
               (("step", str(step)), ("rabbitmq", theirs), ("bowline", ours))):
            return index
    return None


if __name__ == "__main__":
    sys.exit(main())
