"""Gets the peers by ordinary package managers: RabbitMQ by apt, Kafka's published jars by Maven."""

import os
import shutil
import subprocess
from pathlib import Path

# The newest whose jars are all published and whose broker runs on Java 17.
KAFKA_VERSION = "4.3.1"
# Kafka's distribution adds a logging back end to its jars; without one it would be mute about its errors.
LOGGING_VERSION = "2.25.4"
RABBITMQ_HOMES = "/usr/lib/rabbitmq/lib"
# Debian starts a service as it installs it, unless this file says otherwise.
SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")
POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{logging}</version></dependency>
  </dependencies>
</project>
"""


def rabbitmq(home=None):
    """The directory of a RabbitMQ (`sbin/rabbitmq-server` in it), installing Debian's if there is none."""
    if home:
        if not (Path(home) / "sbin/rabbitmq-server").exists():
            raise SystemExit(f"{home} has no sbin/rabbitmq-server")
        return Path(home)
    if not _debian_home():
        _apt("rabbitmq-server")
    found = _debian_home()
    if not found:
        raise SystemExit(f"no RabbitMQ under {RABBITMQ_HOMES}; name one with --rabbitmq-home")
    return found


def rabbitmq_version(home):
    return next((app.name.removeprefix("rabbit-") for app in (home / "plugins").glob("rabbit-[0-9]*")),
                home.name.removeprefix("rabbitmq_server-")).removesuffix(".ez")


def _debian_home():
    homes = sorted(Path(RABBITMQ_HOMES).glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return homes[-1].parent.parent if homes else None


def kafka(version, cache):
    """The directory with Kafka's jars."""
    libs = cache / f"kafka-{version}" / "libs"
    installed = (libs / f"kafka_2.13-{version}.jar").exists() and (libs / f"log4j-slf4j-impl-{LOGGING_VERSION}.jar").exists()
    if installed and shutil.which("java"):
        return libs
    if not shutil.which("java"):
        _apt("openjdk-17-jre-headless")
    if not shutil.which("mvn"):
        _apt("maven")
    if installed:
        return libs
    print(f"Kafka {version}: fetching the published jars into {libs}")
    libs.parent.mkdir(parents=True, exist_ok=True)
    (libs.parent / "pom.xml").write_text(POM.format(version=version, logging=LOGGING_VERSION))
    partial = libs.with_name("libs.partial")
    shutil.rmtree(partial, ignore_errors=True)
    subprocess.run(["mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies", "-DincludeScope=runtime",
                    f"-DoutputDirectory={partial}"], cwd=libs.parent, check=True, timeout=900)
    shutil.rmtree(libs, ignore_errors=True)
    partial.rename(libs)
    return libs


def java_version():
    text = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=60).stderr
    return text.splitlines()[1].strip() if text.count("\n") > 1 else text.strip()


def _apt(package):
    if not shutil.which("apt-get"):
        raise SystemExit(f"{package} is missing and there is no apt-get; install it by hand")
    print(f"installing the Debian package {package}")
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    quiet = not sudo and not SERVICE_POLICY.exists()
    if quiet:
        SERVICE_POLICY.write_text("#!/bin/sh\nexit 101\n")
        SERVICE_POLICY.chmod(0o755)
    try:
        subprocess.run([*sudo, "apt-get", "update", "-qq"], check=False, timeout=300)
        subprocess.run([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq",
                        "--no-install-recommends", package], check=True, timeout=900)
    finally:
        if quiet:
            SERVICE_POLICY.unlink(missing_ok=True)
