"""Quix Streams: doubles numbers from one topic into another and keeps their sum by key in a state store, whose changelog
is a compacted topic. Arguments: bootstrap servers, group, input, output, state directory, processing guarantee."""

import sys

from quixstreams import Application

servers, group, source, target, state_dir, guarantee = sys.argv[1:]
app = Application(broker_address=servers, consumer_group=group, auto_offset_reset="earliest", state_dir=state_dir,
                  processing_guarantee=guarantee, commit_interval=0.2)


def summed(value, state):
    total = state.get("sum", 0) + value["n"]
    state.set("sum", total)
    return {"twice": 2 * value["n"], "sum": total}


frame = app.dataframe(app.topic(source, value_deserializer="json"))
frame = frame.apply(summed, stateful=True)
frame.to_topic(app.topic(target, value_serializer="json"))
app.run()
