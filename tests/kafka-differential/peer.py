"""One side of a conversation: plays its steps against one broker and notes each answer as lines that can be compared.

What differs from broker to broker without meaning anything is made alike: ids that brokers make up get numbers in the
order in which they are seen, hosts and the node's number stand as words, error texts are left out, and lists have an
order of their own.
"""

import socket
import struct
import time

import records
import wire

PATIENCE_SECONDS = 20
# Clients try again by themselves: loading, not available, not the coordinator; the transaction before is being ended.
TRY_AGAIN = {14, 15, 16, 51}
TRY_AGAIN_SECONDS = 15
# After these the answer may be there before everything knows of it.
SETTLING = {"CreateTopics", "DeleteTopics", "CreatePartitions", "IncrementalAlterConfigs", "AlterConfigs", "CreateAcls",
            "DeleteAcls", "AlterClientQuotas", "AlterUserScramCredentials", "DeleteGroups", "UpdateFeatures", "EndTxn", "ConsumerGroupHeartbeat",
            "ShareGroupHeartbeat"}


class Step:
    """A request. `keep`: names for parts of the answer, which later steps can refer to: {name: path}.
    `later`: its answer is taken by a step `collect` on the same connection. `silent`: it has no answer; whether the
    connection still lives is noted. `cut`: so many octets are missing at its end; negative: zeros follow. `unseen`:
    its answer is for `keep` alone, as it depends on time. API "sleep": waits `milliseconds`; "close": ends the connection."""

    def __init__(self, api, version=0, body=None, connection="a", keep=None, later=False, silent=False, milliseconds=0, cut=0,
                 unseen=False):
        self.api, self.version, self.body, self.connection = api, version, body or {}, connection
        self.keep, self.later, self.silent, self.milliseconds = keep or {}, later, silent, milliseconds
        self.cut, self.unseen = cut, unseen

    def __str__(self):
        place = "" if self.connection == "a" else f"{self.connection}: "
        if self.api in ("sleep", "close", "collect"):
            return f"{place}{self.api} {self.milliseconds or ''}"
        return f"{place}{self.api} v{self.version} {self.body}{f', cut {self.cut}' if self.cut else ''}{' …' if self.later else ''}"


class Ref:
    """A part of an earlier answer, or `default` when there is none."""

    def __init__(self, name, default, plus=0):
        self.name, self.default, self.plus = name, default, plus

    def __repr__(self):
        return f"<{self.name}{f'{self.plus:+}' if self.plus else ''}>"


class TopicId:
    """The id of a topic of that name, or one that no topic has."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"<id of {self.name}>"


class Peer:
    """Connections are opened when a step first needs them, and again after the broker has closed one. `clock`: what
    time 0 of the conversation is. `prefix`: how its names begin. `configs`: topic configs that are compared when a new
    topic's are told unasked."""

    def __init__(self, port, prefix, clock, quiet_seconds, configs=()):
        self.port, self.prefix, self.clock, self.quiet_seconds = port, prefix, clock, quiet_seconds
        self.configs = configs
        self.connections, self.kept, self.topic_ids = {}, {}, {}
        self.numbers = {}
        self.node = None

    def play(self, steps):
        """The lines of the answer to each step."""
        self._learn()
        try:
            return [self._told(step) for step in steps]
        finally:
            for connection in self.connections.values():
                connection.close()

    def _told(self, step):
        try:
            return self._step(step)
        except (OSError, ValueError, KeyError, IndexError, AssertionError) as error:
            raise RuntimeError(f"{error!r} at {step}, port {self.port}") from error

    def _step(self, step):
        if step.api == "sleep":
            time.sleep(step.milliseconds / 1000)
            return []
        if step.api == "close":
            if step.connection in self.connections:
                self.connections.pop(step.connection).close()
            return []
        connection = self.connections.get(step.connection)
        if connection is None:
            connection = self.connections[step.connection] = Connection(self.port)
        if step.api == "collect":
            waiting, answer = connection.waiting.pop(0), None
            answer = connection.receive(*waiting[1:])
            return self._note(waiting[0], answer, connection)
        end, again = time.monotonic() + TRY_AGAIN_SECONDS, True
        while again:
            body = self._resolve(step.body)
            connection.send(step.api, step.version, body, step.cut)
            if step.later:
                connection.waiting.append((step, step.api, step.version))
                time.sleep(self.quiet_seconds)
                return []
            if step.silent:
                alive = connection.is_alive()
                if not alive:
                    del self.connections[step.connection]
                return ["no answer" if alive else "closed"]
            answer = connection.receive(step.api, step.version)
            again = answer and time.monotonic() < end and _codes(answer) & TRY_AGAIN
            if again:
                time.sleep(0.05)
        if answer and step.api in SETTLING:
            self._settle(step, answer)
        return self._note(step, answer, connection)

    def _note(self, step, answer, connection):
        if answer is None:
            self.connections = {name: it for name, it in self.connections.items() if it is not connection}
            return ["closed"]
        # A producer that was refused has no id and no epoch.
        keep = {} if answer.get("ProducerId") == -1 else step.keep
        for name, path in keep.items():
            value = answer
            try:
                for part in path:
                    value = value[part]
                self.kept[name] = value
            except (KeyError, IndexError, TypeError):
                pass
        if step.unseen:
            return []
        lines = []
        _flatten("", self._alike(step, "", answer), lines)
        return lines

    def _resolve(self, value):
        if isinstance(value, Ref):
            found = self.kept.get(value.name, value.default)
            return found + value.plus if value.plus else found
        if isinstance(value, TopicId):
            return self.topic_ids.get(value.name, "00000000-0000-4000-8000-0000000000aa")
        if isinstance(value, (records.Batch, records.MessageSet, records.Row)):
            return value.octets(self._resolve, self.clock)
        if isinstance(value, dict):
            return {key: self._resolve(field) for key, field in value.items()}
        if isinstance(value, At):
            return self.clock + value.milliseconds
        return [self._resolve(item) for item in value] if isinstance(value, list) else value

    # What the broker is, and what its topics' ids are.

    def _learn(self, topics=()):
        with Connection(self.port) as connection:
            connection.send("Metadata", 10, {"Topics": [{"Name": name} for name in topics],
                                             "AllowAutoTopicCreation": False})
            answer = connection.receive("Metadata", 10)
        self.node = answer["Brokers"][0]["NodeId"]
        return {topic["Name"]: topic for topic in answer["Topics"]}

    def _settle(self, step, answer):
        """Waits until metadata say what the answer has said, and a moment more."""
        if step.api in ("CreateTopics", "DeleteTopics"):
            results = answer.get("Topics") or answer.get("Responses") or []
            names = [one["Name"] for one in results if one["Name"] and one["ErrorCode"] == 0]
            if names and not step.body.get("ValidateOnly"):
                end = time.monotonic() + PATIENCE_SECONDS
                while time.monotonic() < end:
                    found = self._learn(names)
                    led = [one for one in found.values() if one["ErrorCode"] == 0 and one["Partitions"]
                           and all(part["LeaderId"] >= 0 for part in one["Partitions"])]
                    if step.api == "CreateTopics" and len(led) == len(names):
                        self.topic_ids |= {one["Name"]: one["TopicId"] for one in led}
                        break
                    if step.api == "DeleteTopics" and all(one["ErrorCode"] == 3 for one in found.values()):
                        break
                    time.sleep(0.01)
        time.sleep(self.quiet_seconds)

    # Making answers alike.

    def _alike(self, step, name, value):
        if isinstance(value, dict):
            if value.get("AbortedTransactions"):
                # Those that begin behind what may be read make no difference; Kafka tells some of them.
                value = value | {"AbortedTransactions": [one for one in value["AbortedTransactions"] if one["FirstOffset"] < value["LastStableOffset"]]}
            alike = {key: self._alike(step, key, field) for key, field in value.items() if key not in IGNORED}
            if value.get("ErrorCode") == 0 and "ErrorMessage" in value:
                # What an error says is not compared, but clients see whether success comes with null or an empty text.
                alike["ErrorMessage"] = value["ErrorMessage"] and "a text"
            return alike
        if name == "Records":
            # A batch that is cut off at the end is as good as none: clients are used to both.
            return [self._alike(step, "Batch", batch) for batch in records.split(value) if "cut" not in batch]
        if isinstance(value, list):
            items = [self._alike(step, name, item) for item in value if self._is_ours(step, item)]
            return sorted(items, key=repr)
        if name in EPOCHS and value > 0:
            return self._number(step, name, value)
        if name in IDS and value not in ("", -1, wire.NO_ID) and not (name == "Leader" and isinstance(value, int)):
            return self._number(step, name, value)
        if name in NODES and value == self.node:
            return "the node"
        if name == "SubscribedTopicRegex":
            # Kafka keeps none as an empty one.
            return value or None
        if name in PLACES:
            return "*" if value not in (None, "", -1) else value
        if isinstance(value, int) and value > 10 ** 12 and ("Time" in name):
            off = value - self.clock
            return f"T{off:+}" if off % 30_000 < 10 or off % 30_000 == 29_900 else "now"
        return value.hex() if isinstance(value, bytes) else value

    def _number(self, step, name, value):
        if name == "TopicId" and step.body.get("ValidateOnly"):
            return "made up"
        if name == "TopicId":
            for topic, known in self.topic_ids.items():
                if known == value:
                    return f"id of {topic}"
        group = {"Leader": "member", "MemberId": "member", **dict.fromkeys(EPOCHS, "epoch")}.get(name, name)
        # What the script itself made up stands as it is.
        if isinstance(value, str) and value.startswith("made-up"):
            return value
        known = self.numbers.setdefault(group, {})
        if name == "ProducerId" and step.api != "InitProducerId" and value not in known:
            return value
        return f"{group} {known.setdefault(value, len(known) + 1)}"

    def _is_ours(self, step, item):
        """Lists of everything that there is also have what other conversations have made."""
        if not isinstance(item, dict):
            return True
        if step.api == "CreateTopics" and "IsSensitive" in item:
            return item["Name"] in self.configs
        for key in ("Name", "GroupId", "Topic", "TopicName", "TransactionalId", "ResourceName"):
            it = item.get(key)
            if it == "" and step.api == "ListGroups":
                return False
            if isinstance(it, str) and it:
                return self.prefix in it or f"'{it}'" in repr(step.body) or key == "Name" and step.api in NAMED
        return True


class At:
    """A time of the conversation, in milliseconds from its beginning."""

    def __init__(self, milliseconds):
        self.milliseconds = milliseconds

    def __repr__(self):
        return f"T{self.milliseconds:+}"


# Texts are for people and each broker's own. What APIs and features there are is for others to compare.
IGNORED = {"ErrorMessage", "BatchIndexErrorMessage", "AcknowledgeErrorMessage", "Documentation", "ClusterId", "Rack", "ClientHost", "LogDir",
           "TotalBytes", "UsableBytes", "ApiKeys", "SupportedFeatures", "FinalizedFeatures", "FinalizedFeaturesEpoch"}
IDS = {"MemberId", "Leader", "ProducerId", "TopicId", "SessionId"}
# Of groups, which only ever grow.
EPOCHS = {"MemberEpoch", "GroupEpoch", "AssignmentEpoch"}
NODES = {"NodeId", "LeaderId", "BrokerId", "ControllerId", "ReplicaNodes", "IsrNodes", "Replicas", "Isr"}
PLACES = {"Host", "Port"}
# Names here are of configs or features, not of topics.
NAMED = {"DescribeConfigs", "IncrementalAlterConfigs", "CreateTopics", "ApiVersions"}


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation, self.due, self.waiting = 0, [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, api, version, body, cut=0):
        self.correlation += 1
        self.due.append(self.correlation)
        try:
            if version in wire.REQUESTS[api].versions:
                self.socket.sendall(wire.request(api, version, self.correlation, body, cut=cut))
            else:
                raw = struct.pack(">hhih", wire.REQUESTS[api].key, version, self.correlation, 0) + bytes(8)
                self.socket.sendall(struct.pack(">i", len(raw)) + raw)
        except OSError:
            pass

    def receive(self, api, version):
        """The answer to the oldest request, or None: the broker closed."""
        try:
            raw = self._exactly(struct.unpack(">i", self._exactly(4))[0])
        except (ConnectionError, EOFError):
            return None
        if api == "ApiVersions" and raw[4:6] == b"\0\x23":
            version = 0
        correlation, value, left = wire.response(api, version, raw)
        assert correlation == self.due.pop(0), f"{api}: the answer to another request"
        return value | ({"octets left over": left} if left else {})

    def is_alive(self):
        """After a request without an answer."""
        self.due.pop()
        self.send("ApiVersions", 0, {})
        return self.receive("ApiVersions", 0) is not None

    def _exactly(self, count):
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


def _codes(value):
    """All error codes in an answer."""
    if isinstance(value, dict):
        own = {value["ErrorCode"]} if "ErrorCode" in value else set()
        return own.union(*(_codes(field) for field in value.values()))
    return set().union(*(_codes(item) for item in value)) if isinstance(value, list) else set()


def _flatten(path, value, lines):
    if isinstance(value, dict):
        for key, field in value.items():
            _flatten(f"{path}.{key}" if path else key, field, lines)
    elif isinstance(value, list):
        if not value:
            lines.append(f"{path} = []")
        for index, item in enumerate(value):
            _flatten(f"{path}[{index}]", item, lines)
    else:
        lines.append(f"{path} = {value}")
