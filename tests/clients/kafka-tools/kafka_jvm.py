"""Kafka's programs out of its published jars: one JVM for many tools, or one each."""

import base64
import os
import pathlib
import subprocess
import threading

import pytest

HERE = pathlib.Path(__file__).parent
LIBS = os.environ.get("KAFKA_LIBS", str(HERE.parents[2] / "target/clients/kafka-tools/libs"))
TOOL_SECONDS = 90


def java(program, *arguments):
    """The command for a class of the jars, or for a source file beside this one."""
    return ["java", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBS}/*", str(program), *map(str, arguments)]


class Shell:
    """One JVM in which the tools run one after the other (Tools.java)."""

    def __init__(self):
        self.process = subprocess.Popen(java(HERE / "Tools.java"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)

    def run(self, tool, *arguments, text=""):
        line = " ".join(base64.b64encode(str(word).encode()).decode() for word in (text, tool, *arguments))
        # A tool that hangs takes the JVM with it; the test fails then rather than the suite.
        alarm = threading.Timer(TOOL_SECONDS, self.process.kill)
        alarm.start()
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        finally:
            alarm.cancel()
        if not answer:
            self.__init__()
            raise AssertionError(f"{tool} {' '.join(map(str, arguments))} did not end")
        status, out, err = answer.rstrip("\n").split(" ")
        # What tools print of records may be no text.
        return int(status), *(base64.b64decode(printed).decode(errors="replace") for printed in (out, err))

    def alone(self, tool, *arguments, text=""):
        """In a JVM of its own: for tools that do their work at its end."""
        done = subprocess.run(java(tool, *arguments), input=text, capture_output=True, text=True, timeout=TOOL_SECONDS)
        return done.returncode, done.stdout, done.stderr

    def end(self):
        self.process.stdin.close()
        self.process.wait(20)


@pytest.fixture(scope="session")
def shell():
    shell = Shell()
    yield shell
    shell.end()


@pytest.fixture
def tool(shell, broker):
    """Runs a tool by its class; `tool(...)` is what it printed."""

    def run(name, *arguments, text="", status=0, server="--bootstrap-server", alone=False):
        where = [server, broker.kafka] if server else []
        start = shell.alone if alone else shell.run
        done, out, err = start(name, *where, *arguments, text=text)
        assert done == status, f"{name} {arguments}: status {done}\n{out}\n{err}"
        return out if status == 0 else out + err

    return run
