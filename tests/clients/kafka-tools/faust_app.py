"""Faust: counts words of one topic in a table, whose changelog is a compacted topic, and tells the counts in another.
FAUST_* name the broker, the application, and the topics."""

import os

import faust

app = faust.App(os.environ["FAUST_ID"], broker=f"kafka://{os.environ['FAUST_BROKER']}", topic_partitions=2,
                topic_replication_factor=1, web_enabled=False, datadir=os.environ["FAUST_DATADIR"])
words = app.topic(os.environ["FAUST_SOURCE"], key_type=str, value_type=str, value_serializer="raw", key_serializer="raw")
counted = app.topic(os.environ["FAUST_TARGET"], key_type=str, value_type=int, value_serializer="json", key_serializer="raw")
counts = app.Table("counts", default=int)


@app.agent(words)
async def count(stream):
    async for word in stream:
        counts[word] += 1
        await counted.send(key=word, value=counts[word])
