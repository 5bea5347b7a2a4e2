"""Writes docs/benchmarks.md from the raw results. What stands between the notes' marks is kept as it is."""

from statistics import median

from . import brokers, figures, plan

NOTES_BEGIN, NOTES_END = "<!-- notes: written by hand, kept by bench/compare -->", "<!-- end of notes -->"
NO_NOTES = "*None yet.*"
DISTURBED = "†"


def write(path, results):
    notes = NO_NOTES
    if path.exists():
        old = path.read_text()
        if NOTES_BEGIN in old and NOTES_END in old:
            notes = old.split(NOTES_BEGIN)[1].split(NOTES_END)[0].strip()
    parts = [_head(results), _aims(results), f"## Notes\n\n{NOTES_BEGIN}\n{notes}\n{NOTES_END}", _rates(results),
             _features(results), _latencies(results), _standing(results), _conditions(results), _commands(results)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part for part in parts if part) + "\n")


def _head(results):
    meta = results["meta"]
    machine = meta["machine"]
    probes = _probes(results)
    flush = "not probed"
    if probes:
        p50s, p99s = ([probe[key] for probe in probes] for key in ("p50_ns", "p99_ns"))
        flush = (f"{len(probes)} probes of a durable 4 KiB write ({probes[0]['method']}), one before each run: "
                 f"p50 {_time(median(p50s))} [{_time(min(p50s))}–{_time(max(p50s))}], "
                 f"p99 {_time(median(p99s))} [{_time(min(p99s))}–{_time(max(p99s))}]")
    trips = [run["round_trip_ns"] for run in _runs(results)]
    preliminary = ""
    if meta["quick"]:
        preliminary = ("> **Preliminary.** A quick run to show the method: short stages, few rounds, small backlogs, on a "
                       "machine that others were using. Its figures are not to be quoted; a machine short of CPU flatters "
                       "the broker that needs less of it.\n\n")
    disturbed = [run for run in _runs(results) if run.get("counts") and not run["clean"]]
    if disturbed:
        preliminary += (f"> {len(disturbed)} of {sum(1 for run in _runs(results) if run.get('counts'))} counted runs were "
                        f"disturbed by other processes (more than {plan.FOREIGN_CORES_MAX} core; the most "
                        f"{max(run['foreign_cores'] for run in disturbed):.2f}){', even when repeated' if meta['retries'] else ''}; "
                        f"they are marked {DISTURBED}.\n\n")
    lines = [
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {machine['system']}, "
                    f"Linux {machine['kernel']}; data on {machine['filesystem']}"),
        ("date", f"{meta['begun']} to {meta['ended']} (UTC)"),
        *((name, text) for name, text in meta["versions"].items()),
        ("disk", flush),
        ("loopback", f"round trip of 64 bytes between two processes: {_time(median(trips))}" if trips else "–"),
        ("rounds", f"{meta['rounds']}, interleaved; {meta['seconds']:g} s measured after {meta['warmup']:g} s of warm-up"),
    ]
    for error in meta.get("errors", []):
        preliminary += f"> A part was given up: {_cell(error)}\n\n"
    return ("# Benchmarks\n\n" + preliminary +
            "Bowline beside the real RabbitMQ and the real Kafka: the same client (`bowline bench`), the same machine, the same "
            "disk, side by side in one run. Absolute figures move with the machine and its neighbours; the ratios are what "
            "counts. Written by [`bench/compare`](../bench/README.md); run it on your own machine.\n\n" +
            _table(["", ""], [[f"**{name}**", _cell(text)] for name, text in lines]))


def _aims(results):
    rows = []
    for aim in plan.AIMS:
        found, met = figures.judge(aim, results)
        verdict = "not measured" if found is None else "met" if met else "**missed**"
        if isinstance(aim, plan.Ratio):
            text, goal = f"{aim.text} ({aim.workload})", f"≥ {aim.least:g}× {aim.peer}"
            measured = found and _spread(found, lambda value: f"{value:.1f}×")
        else:
            backlog = (results.get("restart") or {}).get("messages", 0)
            text = aim.text.format(restart_messages=f"{backlog:,} messages")
            goal = f"{'≥' if aim.at_least else '≤'} {aim.limit:,g} {aim.unit}"
            digits = (lambda value: f"{value:.4f}") if aim.unit == "core" else _figure
            measured = found and _spread(found, digits, f" {aim.unit}")
        rows.append([text, goal, measured or "–", verdict])
    met = sum(row[3] == "met" for row in rows)
    return (f"## Aims\n\n{met} of {len(rows)} met. Median and [range]; the range of a ratio is that of the rounds, side by "
            f"side; {DISTURBED}: disturbed. Bowline syncs before every confirm in all rows but the transient one.\n\n" +
            _table(["what", "aim", "measured", ""], rows))


def _rates(results):
    rows = []
    for workload in plan.WORKLOADS:
        entry = results["workloads"].get(workload.id)
        if not entry or workload.feature:
            continue
        about = workload.about.format(count=f"{entry['count']:,}")
        for stage, key in workload.stages.items():
            name = f"**{workload.id} {stage}**" if len(workload.stages) > 1 else f"**{workload.id}**"
            for target in workload.targets:
                rows.append(_rate_row(results, workload, f"{name} {about}".strip(), stage, key, target))
                name = about = ""
    text = ("## Throughput\n\nBroker and client CPU in cores, of the machine's "
            f"{results['meta']['machine']['cores']}; *others* are processes that are neither (median; the idle brokers beside "
            "are among them); *kernel* threads and interrupts mostly serve the load. *Written*: bytes that the broker sent "
            "towards the disk per byte of payload. RSS is the peak during the run.\n\n")
    head = ["workload", "broker", "rate", "ratio", "broker", "client", "others", "kernel", "RSS peak", "written",
            "safe when confirmed"]
    return text + _table(head, rows) if rows else ""


def _features(results):
    """Workloads of one feature each, on brokers just started."""
    rows = []
    for workload in plan.WORKLOADS:
        entry = results["workloads"].get(workload.id)
        if not entry or not workload.feature:
            continue
        name = f"**{workload.id}** {workload.about.format(count=format(entry['count'], ','))}"
        for target in workload.targets:
            rows.append([name, target, *_feature_cells(results, workload, entry, target)])
            name = ""
    head = ["workload", "broker", "set-up", "rate", "ratio", "RSS after", "RSS peak"]
    text = ("## Features\n\nEach on brokers just started. RSS after the first stage: with everything pending in a publish stage. "
            "Late: after a message's time had come. Compacted: from the last confirm until the topic was within 10 % of what the last "
            "records of all keys take; Kafka looks every 15 s (its default). Debian's RabbitMQ has neither delays nor duplicate "
            "detection.\n\n")
    return text + _table(head, rows) if rows else ""


def _feature_cells(results, workload, entry, target):
    def of(stage, pick, show):
        found = figures.spread(results, workload.id, target, stage, pick)
        return show(found.mid) if found else "–"

    def use(name):
        return lambda found, _: (found.get("broker") or {}).get(name)

    def megabytes(value):
        return f"{value / 1e6:,.0f} MB"

    made = ""
    if workload.made:
        count, things = workload.made
        made = of(next(iter(workload.stages)), lambda _, run: count / run["set_up_seconds"],
                  lambda value: f"{value:,.0f} {things}/s")
    rates, ratios = [], []
    for stage, key in workload.stages.items():
        prefix = f"{stage} " if len(workload.stages) > 1 else ""
        late = figures.spread(results, workload.id, target, stage, figures.latency("end_to_end", "p99_ns"))
        if key == "seconds":
            sizes = [of(stage, lambda found, _, end=end: (found.get("topic_bytes") or {}).get(end), megabytes)
                     for end in ("before", "after")]
            rates.append(f"{stage}ed in {of(stage, lambda found, _: found['seconds'], lambda value: f'{value:,.1f} s')}, "
                         f"{sizes[0]} to {sizes[1]}")
            continue
        if stage == "drain" and late:
            rates.append(f"late: p99 {_time(late.mid)}")
            continue
        measured = figures.rate(results, workload.id, target, stage, key)
        rates.append(prefix + (_spread(measured, lambda value: f"{value:,.0f}", "/s") if measured else "–"))
        found = target != plan.BOWLINE and figures.ratio(results, workload.id, stage, key, target)
        if found:
            ratios.append(prefix + f"{found.mid:.1f}×")
    first = next(iter(workload.stages))
    peak = max((value for stage in workload.stages
                if (found := figures.spread(results, workload.id, target, stage, use("rss_peak_bytes")))
                for value in [found.mid]), default=None)
    return [made, "; ".join(rates) + _failures(results, workload.id, target),
            "Bowline " + "; ".join(ratios) if ratios else "", of(first, use("rss_bytes"), megabytes),
            megabytes(peak) if peak else "–"]


def _rate_row(results, workload, name, stage, key, target):
    def of(pick, show):
        found = figures.spread(results, workload.id, target, stage, pick)
        return show(found.mid) if found else "–"

    def use(name):
        return lambda found, _: (found.get("broker") or {}).get(name)

    measured = figures.rate(results, workload.id, target, stage, key)
    relative = ""
    if target == plan.ROOMY:
        found = figures.ratio(results, workload.id, stage, key, plan.KAFKA, own=target)
        relative = f"this {_spread(found, lambda value: f'{value:.1f}×')} Kafka" if found else "–"
    elif target != plan.BOWLINE:
        found = figures.ratio(results, workload.id, stage, key, target)
        relative = f"Bowline {_spread(found, lambda value: f'{value:.1f}×')}" if found else "–"
    failed = _failures(results, workload.id, target)
    read = ""
    if workload.proto == "kafka" and (stage, key) == ("pair", "confirmed_per_second"):
        received = figures.rate(results, workload.id, target, stage, "received_per_second")
        read = f", {received.mid:,.0f} read" if received else ""
    return [
        name, target,
        (_spread(measured, lambda value: f"{value:,.0f}", f" {workload.unit}") if measured else "–") + read + failed,
        relative,
        of(use("cores"), "{:.2f}".format),
        of(lambda found, _: found.get("client_cores"), "{:.2f}".format),
        of(lambda _, run: run["foreign_cores"], "{:.2f}".format),
        of(lambda _, run: run["kernel_cores"], "{:.2f}".format),
        of(use("rss_peak_bytes"), lambda value: f"{value / 1e6:,.0f} MB"),
        "" if stage.endswith("drain") else of(use("written_per_payload_byte"), "{:.2f}×".format),
        "" if stage.endswith("drain") else _durability(results, target) if workload.confirmed else plan.UNCONFIRMED,
    ]


def _durability(results, target):
    version = results["meta"]["versions"].get("rabbitmq", "RabbitMQ 0").split()[1].rstrip(",")
    if target == plan.CLASSIC and int(version.split(".")[0]) >= plan.CLASSIC_UNSYNCED_FROM:
        return plan.CLASSIC_UNSYNCED
    return plan.DURABILITY[target]


def _failures(results, workload, target):
    """Void runs, in words: they are not in the figures."""
    void = [run for run in results["workloads"][workload]["runs"] if run["target"] == target and run["wrong"]]
    if not void:
        return ""
    lost = "; ".join(dict.fromkeys(reason for run in void for reason in run["wrong"]))
    return f" ({len(void)} void: {_cell(lost[:200])})"


def _latencies(results):
    rows = []
    for workload in plan.WORKLOADS:
        stage = workload.latency_stage
        if workload.id not in results["workloads"] or stage not in workload.stages or workload.feature:
            continue
        for target in workload.targets:
            cells = []
            for kind in ("confirm", "end_to_end"):
                for quantile in ("p50_ns", "p99_ns", "p999_ns"):
                    found = figures.spread(results, workload.id, target, stage, figures.latency(kind, quantile))
                    wide = workload.wide and found
                    cells.append(_spread(found, _time) if wide else _time(found.mid) if found else "–")
            rows.append([f"**{workload.id}**", target, *cells])
    head = ["workload", "broker", "confirm p50", "p99", "p99.9", "end to end p50", "p99", "p99.9"]
    text = ("## Latency\n\nMedians of the rounds. At full speed a window of messages waits in the broker, so these figures "
            "say how deep its queues are; W4 and K1-single (one outstanding) and W5, K1-half and K8 (a fixed rate, counted from "
            "when a message was due) say how quick it is. A confirm of K8 is that of a transaction.\n\n")
    own = figures.FIGURES["confirm_p99_of_p99"](results)
    after = f"\n\nBowline's p99 in W4 is {_spread(own, _figure)} times the disk's own p99 plus a round trip." if own else ""
    half = figures.FIGURES["half_p99_of_p99"](results)
    after += f" In K1-half it is {_spread(half, _figure)} times as much." if half else ""
    return text + _table(head, rows) + after if rows else ""


_AT_REST = """## At rest

Each broker by itself, on a fresh directory, with nothing to do. What a connection takes is the growth of the resident size; a
JVM's heap hides a part of it.

"""


def _standing(results):
    rows = []
    for kind, starts in results["starts"].items():
        found = results["standing"].get(kind, {})
        rss, cores = found.get("idle_rss_bytes"), found.get("idle_cores")
        rows.append([
            kind, _spread(figures.Spread.of([1000 * start for start in starts]), lambda value: f"{value:,.0f}", " ms")
            if starts else "–",
            f"{rss / 1e6:,.1f} MB" if rss else "–", f"{cores:.4f}" if cores is not None else "–",
            _connections(found.get("amqp_connections")), _connections(found.get("kafka_connections")),
            f"{found['declares']['per_second']:,}/s ({found['declares']['count']:,})" if "declares" in found else "–",
        ])
    text = _AT_REST + _table(
        ["broker", "start until it answers", "RSS", "CPU, cores", "idle AMQP connections", "idle Kafka connections",
         "durable queues declared, one by one"], rows) if rows else ""
    back = results.get("restart") or {}
    lines = [f"- after {way}: listens in {found['listening_seconds']:.2f} s, first message delivered after "
             f"{found['first_message_seconds']:.2f} s, {found['ready']:,} of {back['messages']:,} messages ready, RSS "
             f"{(found['rss_bytes'] or 0) / 1e6:,.0f} MB"
             for way in ("kill -9", "SIGTERM") if (found := back.get(way))]
    if lines:
        text += f"\n\nBowline restarted with a backlog of {back['messages']:,} × 1 KiB:\n\n" + "\n".join(lines)
    return text.strip()


def _connections(found):
    if not found:
        return "–"
    short = f" ({_cell(found['error'])})" if found["error"] else ""
    return f"{found['bytes_each'] / 1e3:,.1f} KB each; {found['held']:,} held at {found['idle_cores_meanwhile']:.3f} core{short}"


def _conditions(results):
    retries = results["meta"]["retries"]
    settings = {
        "rabbitmq.conf": brokers.RABBITMQ_CONF.format(port="PORT"),
        "server.properties of Kafka": brokers.KAFKA_PROPERTIES.format(port="PORT", controller="PORT2", data="DIRECTORY"),
        "added for Kafka flushed": brokers.KAFKA_FLUSHED,
        "options of Kafka's JVM": " ".join(brokers.JVM) + "\n",
    }
    blocks = "\n\n".join(f"{name}:\n```\n{text}```" for name, text in settings.items())
    extra = " ".join(results["meta"].get("serve_options", [])) or "none"
    return f"""## How it is measured

- All brokers run on loopback, with fresh directories on the same disk. Only one is loaded at a time; the others of the group
  idle beside it. Rounds are interleaved: Bowline, peer, Bowline, peer …
- Before the first round each broker runs the group's first workload once, unmeasured: the JVM compiles, logs lay out their
  files.
- Before each run the file system is synced, the broker comes to rest, and the disk's flush and a loopback round trip are
  measured. A run is repeated, up to {retries} times, while other processes use more than {plan.FOREIGN_CORES_MAX} core; of
  the attempts the least disturbed counts. {DISTURBED} marks figures with a disturbed run among them.
- The figures at rest and of the restart are single measurements, not repeated when disturbed.
- Every message is numbered. A run in which one was lost, doubled, refused, left unanswered or out of order is void.
- Client and broker share the cores; the client's share is in the table.
- Bowline runs with its defaults (further options: {extra}), RabbitMQ with no plugins, on Debian's defaults but for the
  settings below; RabbitMQ's classic and quorum rows are the same broker. Debian's RabbitMQ is not the newest:
  `--rabbitmq-home` measures another. "RSS" of Kafka contains its 1 GiB Java heap.
- Kafka's bytes are those it wrote to the page cache; unflushed, they reach the disk when the kernel pleases.

{blocks}"""


def _commands(results):
    rows = []
    for workload in plan.WORKLOADS:
        entry = results["workloads"].get(workload.id, {"runs": []})
        for target in workload.targets:
            run = next((run for run in entry["runs"] if run["target"] == target), None)
            rows += [[workload.id, target, f"`{command}`"] for command in (run or {}).get("commands", [])]
    text = f"## Commands\n\nThis document: `{results['meta']['command']}`\n\n"
    return text + "<details><summary>each run's</summary>\n\n" + _table(["workload", "broker", "command"], rows) + \
        "\n\n</details>"


def _runs(results):
    return [run for entry in results["workloads"].values() for run in entry["runs"]]


def _probes(results):
    return [run["flush_probe"] for run in _runs(results) if run.get("flush_probe")]


def _spread(found, show, unit=""):
    """Median [low–high], without the range where there is only one."""
    text = show(found.mid)
    if found.count > 1:
        text += f" [{show(found.low)}–{show(found.high)}]"
    return text + unit + ("" if found.clean else f" {DISTURBED}")


def _figure(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _time(nanoseconds):
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{_figure(nanoseconds / size)} {unit}"
    return f"{_figure(nanoseconds / 1e3)} µs"


def _cell(text):
    return " ".join(str(text).split()).replace("|", "\\|")


def _table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "--|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])
