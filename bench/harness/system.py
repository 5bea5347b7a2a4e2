"""What the kernel tells: CPU time, memory, ports, a loopback round trip.

Everything is read from /proc (proc(5)); nothing here changes the machine.
"""

import os
import platform
import random
import resource
import socket
import subprocess
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Those that matter to a log.
MOUNT_OPTIONS = {"relatime", "noatime", "discard", "sync", "nobarrier", "barrier=0", "data=journal", "data=writeback"}
KERNEL_THREADS_PARENT = 2  # kthreadd
# Below Linux's usual range of source ports, so that a client's connection does not take a port we have chosen.
PORTS = range(20000, 32000)


def _read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _stat(pid):
    """Fields of /proc/PID/stat after the command, which may hold spaces; empty when the process is gone."""
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _pids():
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def cpu_seconds(pid):
    """CPU time of a process so far, all threads."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND if fields else 0.0


def idle_cores(pid, seconds):
    """CPU use over a time, to the nanosecond while no thread comes or goes: idle brokers use less than a tick."""
    before, ticks, start = _threads_ns(pid), cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    after, spent = _threads_ns(pid), cpu_seconds(pid) - ticks
    if before and before.keys() == after.keys():
        spent = (sum(after.values()) - sum(before.values())) / 1e9
    return round(spent / (time.monotonic() - start), 6)


def _threads_ns(pid):
    """CPU time of each thread, where the kernel keeps schedstat."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return {}
    texts = {thread: _read(f"/proc/{pid}/task/{thread}/schedstat").split() for thread in threads}
    return {thread: int(words[0]) for thread, words in texts.items() if words}


def rss_bytes(pid):
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return None


def main_pid(session):
    """The largest process of a session: the broker itself, under whatever scripts started it."""
    members = [pid for pid in _pids() if (fields := _stat(pid)) and int(fields[3]) == session]
    return max(members, key=lambda pid: rss_bytes(pid) or 0, default=None)


class CpuWatch:
    """Who used the CPU between its making and `done`.

    `foreign` are user processes that are neither the broker, nor the client, nor this program. Kernel threads and
    interrupts are counted apart (`kernel`): they mostly serve the load that is being measured.
    """

    def __init__(self, broker_pid):
        self.broker_pid = broker_pid
        self.before = self._sample()

    def _sample(self):
        user, nice, system, _idle, _wait, irq, softirq, steal = map(
            int, _read("/proc/stat").split("\n", 1)[0].split()[1:9])
        kernel_threads = 0
        for pid in _pids():
            fields = _stat(pid)
            if fields and int(fields[1]) == KERNEL_THREADS_PARENT:
                kernel_threads += int(fields[11]) + int(fields[12])
        own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        children = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])  # the client, once waited for
        return {
            "time": time.monotonic(),
            "processes": (user + nice + system - kernel_threads) / TICKS_PER_SECOND,
            "kernel": (kernel_threads + irq + softirq) / TICKS_PER_SECOND,
            "steal": steal / TICKS_PER_SECOND,
            "ours": own + children + cpu_seconds(self.broker_pid),
        }

    def done(self):
        after = self._sample()
        spent = {key: after[key] - self.before[key] for key in after}
        seconds = max(spent["time"], 1e-3)
        return {
            "foreign_cores": round(max(spent["processes"] - spent["ours"], 0.0) / seconds, 3),
            "kernel_cores": round(spent["kernel"] / seconds, 3),
            "steal_cores": round(spent["steal"] / seconds, 3),
        }


def free_port():
    """A loopback port on which nobody listens now."""
    for _ in range(1000):
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no free port on loopback")


def more_files():
    """Raises the limit of open files as far as permitted, for us and what we start; returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def loopback_round_trip_ns(rounds=3000):
    """Median round trip of 64 bytes between two processes over loopback TCP; the interpreter adds about 1 µs."""
    listener = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if child == 0:
        try:
            peer, _ = listener.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            buffer = bytearray(64)
            while peer.recv_into(buffer):
                peer.send(buffer)
        finally:
            os._exit(0)
    times, buffer, clock = [], bytearray(64), time.perf_counter_ns
    with socket.create_connection(listener.getsockname(), timeout=10) as connection:
        listener.close()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(rounds):
            start = clock()
            connection.send(buffer)
            connection.recv_into(buffer)
            times.append(clock() - start)
    os.waitpid(child, 0)
    return sorted(times)[len(times) // 2]


def sync(directory):
    """Waits until what others wrote to this file system is on disk, so that it does not burden the next run."""
    try:
        subprocess.run(["sync", "-f", directory], timeout=30, check=False)
    except subprocess.TimeoutExpired:
        pass


def machine(directory):
    """The machine, in words."""
    model = next((line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines()
                  if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) for line in _read("/proc/meminfo").splitlines()
                   if line.startswith("MemTotal:")), 0)
    mount = ["?", "?", "?", "?"]
    for line in _read("/proc/mounts").splitlines():
        fields = line.split()
        inside = os.path.realpath(directory).startswith(fields[1].rstrip("/") + "/") or fields[1] == "/"
        if inside and (mount[1] == "?" or len(fields[1]) >= len(mount[1])):
            mount = fields
    system = next((line.partition("=")[2].strip('"') for line in _read("/etc/os-release").splitlines()
                   if line.startswith("PRETTY_NAME=")), platform.system())
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / (1 << 20), 1),
        "kernel": platform.release(),
        "system": system,
        "filesystem": f"{mount[2]} ({','.join(option for option in mount[3].split(',') if option in MOUNT_OPTIONS)})",
    }
