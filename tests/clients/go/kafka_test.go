package clients

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sort"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// recent is an hour ago in milliseconds: told apart from now, and too young for any retention.
var recent = time.Now().UnixMilli() - 3_600_000

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func client(t *testing.T, broker *Broker, options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(broker.Kafka), kgo.MetadataMinAge(200 * time.Millisecond)}, options...)...)
	must(t, err)
	t.Cleanup(client.Close)
	return client
}

func administrator(t *testing.T, broker *Broker) *kadm.Client {
	return kadm.NewClient(client(t, broker))
}

func makeTopic(t *testing.T, broker *Broker, what string, partitions int32) string {
	topic := unique(what)
	_, err := administrator(t, broker).CreateTopic(deadline(t), partitions, 1, nil, topic)
	must(t, err)
	return topic
}

func values(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func produce(t *testing.T, c *kgo.Client, topic string, values []string) {
	var records []*kgo.Record
	for _, value := range values {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(value)})
	}
	must(t, c.ProduceSync(deadline(t), records...).FirstErr())
}

func poll(t *testing.T, c *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx, got := deadline(t), []*kgo.Record(nil)
	for len(got) < n {
		fetches := c.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("only %d of %d came", len(got), n)
		}
		fetches.EachError(func(topic string, partition int32, err error) { t.Logf("%s/%d: %v", topic, partition, err) })
		got = append(got, fetches.Records()...)
	}
	return got
}

func texts(records []*kgo.Record) (out []string) {
	for _, record := range records {
		out = append(out, string(record.Value))
	}
	return out
}

func TestProduceAndConsume(t *testing.T) {
	topic := makeTopic(t, shared, "tutorial", 1)
	producer := client(t, shared)
	record := &kgo.Record{Topic: topic, Key: []byte("k"), Value: nil, Timestamp: time.UnixMilli(recent + 123),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{0, 255}}, {Key: "h", Value: nil}}}
	must(t, producer.ProduceSync(deadline(t), record).FirstErr())
	produce(t, producer, topic, values(0, 500))
	got := poll(t, client(t, shared, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 501)
	first := got[0]
	if string(first.Key) != "k" || first.Value != nil || !first.Timestamp.Equal(record.Timestamp) || !reflect.DeepEqual(first.Headers, record.Headers) {
		t.Fatalf("%+v", first)
	}
	if !reflect.DeepEqual(texts(got[1:]), values(0, 500)) || got[500].Offset != 500 {
		t.Fatal("other values")
	}
}

func TestCompression(t *testing.T) {
	for name, codec := range map[string]kgo.CompressionCodec{
		"gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			topic := makeTopic(t, shared, name, 1)
			produce(t, client(t, shared, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond)), topic, values(0, 1000))
			got := poll(t, client(t, shared, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 1000)
			if !reflect.DeepEqual(texts(got), values(0, 1000)) {
				t.Fatal("other values")
			}
		})
	}
}

func TestAcks(t *testing.T) {
	for name, acks := range map[string]kgo.Acks{"none": kgo.NoAck(), "leader": kgo.LeaderAck()} {
		t.Run(name, func(t *testing.T) {
			topic := makeTopic(t, shared, name, 1)
			produce(t, client(t, shared, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()), topic, values(0, 50))
			got := poll(t, client(t, shared, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 50)
			if !reflect.DeepEqual(texts(got), values(0, 50)) {
				t.Fatal("other values")
			}
		})
	}
}

func TestAGroupSharesCommitsAndResumes(t *testing.T) {
	topic, group := makeTopic(t, shared, "group", 4), unique("group")
	ctx := deadline(t)
	join := func() *kgo.Client {
		return client(t, shared, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.DisableAutoCommit(), kgo.HeartbeatInterval(200*time.Millisecond), kgo.Balancers(kgo.CooperativeStickyBalancer()))
	}
	produce(t, client(t, shared), topic, values(0, 200))
	one, two := join(), join()
	admin := administrator(t, shared)
	assigned := func() (counts []int) {
		described, err := admin.DescribeGroups(ctx, group)
		must(t, err)
		for _, member := range described[group].Members {
			if assignment, ok := member.Assigned.AsConsumer(); ok {
				for _, topic := range assignment.Topics {
					counts = append(counts, len(topic.Partitions))
				}
			}
		}
		return counts
	}
	seen := map[string]bool{}
	eventually(t, func() bool {
		for _, member := range []*kgo.Client{one, two} {
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			for _, record := range member.PollFetches(short).Records() {
				seen[string(record.Value)] = true
			}
			cancel()
		}
		if !reflect.DeepEqual(assigned(), []int{2, 2}) || len(seen) < 200 {
			return false
		}
		// What one read before two came, and did not commit, two reads again. A commit in a rebalance is repeated.
		if one.CommitUncommittedOffsets(ctx) != nil || two.CommitUncommittedOffsets(ctx) != nil {
			return false
		}
		offsets, err := admin.FetchOffsets(ctx, group)
		must(t, err)
		total := int64(0)
		offsets.Each(func(offset kadm.OffsetResponse) { total += offset.At })
		return total == 200
	})
	two.Close()
	one.Close()
	produce(t, client(t, shared), topic, values(200, 210))
	got := texts(poll(t, join(), 10))
	sort.Strings(got)
	if !reflect.DeepEqual(got, values(200, 210)) {
		t.Fatal(got)
	}
}

func TestTopicsAndOffsets(t *testing.T) {
	ctx, admin := deadline(t), administrator(t, shared)
	topic, retention := unique("admin"), "3600000"
	_, err := admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &retention}, topic)
	must(t, err)
	if _, err = admin.CreateTopic(ctx, 2, 1, nil, topic); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatal(err)
	}
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	must(t, err)
	told := ""
	for _, config := range configs[0].Configs {
		if config.Key == "retention.ms" {
			told = config.MaybeValue()
		}
	}
	if told != retention {
		t.Fatal(told)
	}
	_, err = admin.UpdatePartitions(ctx, 3, topic)
	must(t, err)
	eventually(t, func() bool {
		topics, err := admin.ListTopics(ctx, topic)
		return err == nil && len(topics[topic].Partitions) == 3
	})
	producer := client(t, shared, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 10 {
		record := &kgo.Record{Topic: topic, Value: []byte("x"), Timestamp: time.UnixMilli(recent + int64(i)*1000)}
		must(t, producer.ProduceSync(ctx, record).FirstErr())
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	must(t, err)
	if end, _ := ends.Lookup(topic, 0); end.Offset != 10 {
		t.Fatal(end)
	}
	after, err := admin.ListOffsetsAfterMilli(ctx, recent+4_500, topic)
	must(t, err)
	if found, _ := after.Lookup(topic, 0); found.Offset != 5 || found.Timestamp != recent+5_000 {
		t.Fatal(found)
	}
	deletion := kadm.Offsets{}
	deletion.AddOffset(topic, 0, 4, -1)
	_, err = admin.DeleteRecords(ctx, deletion)
	must(t, err)
	starts, err := admin.ListStartOffsets(ctx, topic)
	must(t, err)
	if start, _ := starts.Lookup(topic, 0); start.Offset != 4 {
		t.Fatal(start)
	}
	_, err = admin.DeleteTopics(ctx, topic)
	must(t, err)
	eventually(t, func() bool {
		topics, err := admin.ListTopics(ctx)
		return err == nil && !topics.Has(topic)
	})
}

// A topic that was deleted and made again has another id; clients that know the old one must find the new one.
func TestARecreatedTopicIsANewTopic(t *testing.T) {
	ctx, admin := deadline(t), administrator(t, shared)
	topic := makeTopic(t, shared, "again", 1)
	producer := client(t, shared)
	produce(t, producer, topic, values(0, 5))
	before, err := admin.ListTopics(ctx, topic)
	must(t, err)
	_, err = admin.DeleteTopics(ctx, topic)
	must(t, err)
	eventually(t, func() bool {
		_, err := admin.CreateTopic(ctx, 1, 1, nil, topic)
		return err == nil
	})
	// The client remembers metadata for a moment.
	eventually(t, func() bool {
		after, err := admin.ListTopics(ctx, topic)
		return err == nil && after[topic].ID != before[topic].ID && after[topic].ID != (kadm.TopicID{})
	})
	produce(t, client(t, shared), topic, values(5, 10))
	got := poll(t, client(t, shared, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 5)
	if !reflect.DeepEqual(texts(got), values(5, 10)) || got[0].Offset != 0 {
		t.Fatal(texts(got))
	}
}

func TestIdempotentProducerRidesThroughAKill(t *testing.T) {
	broker := ownBroker(t)
	topic := makeTopic(t, broker, "kept", 1)
	producer := client(t, broker, kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	produce(t, producer, topic, values(0, 100))
	failed := make(chan error, 1000)
	for i := 100; i < 1000; i++ {
		producer.Produce(context.Background(), &kgo.Record{Topic: topic, Value: []byte(fmt.Sprint(i))}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed <- err
			}
		})
	}
	must(t, broker.killAndRestart())
	must(t, producer.Flush(deadline(t)))
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	produce(t, producer, topic, values(1000, 1010))
	got := poll(t, client(t, broker, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 1010)
	if !reflect.DeepEqual(texts(got), values(0, 1010)) {
		t.Fatal("lost, twice or out of order")
	}
}

// Partitions assigned by the broker (KIP-848).
func TestAGroupWithBrokerSideAssignment(t *testing.T) {
	topic, group := makeTopic(t, shared, "next", 4), unique("next")
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	t.Cleanup(cancel)
	join := func() *kgo.Client {
		return client(t, shared, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.DisableAutoCommit(), kgo.Balancers(kgo.CooperativeStickyBalancer(), kgo.StickyBalancer()), kgo.ServerSideBalancer())
	}
	produce(t, client(t, shared, kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), topic, values(0, 200))
	one, two := join(), join()
	admin := administrator(t, shared)
	assigned := func() (counts []int) {
		described, err := admin.DescribeConsumerGroups(ctx, group)
		must(t, err)
		for _, member := range described[group].Members {
			for _, partitions := range member.Assignment {
				counts = append(counts, len(partitions))
			}
		}
		return counts
	}
	seen := map[string]bool{}
	var last []int
	for !reflect.DeepEqual(last, []int{2, 2}) || len(seen) < 200 {
		if ctx.Err() != nil {
			t.Fatalf("assigned: %v, seen: %d", last, len(seen))
		}
		for _, member := range []*kgo.Client{one, two} {
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			for _, record := range member.PollFetches(short).Records() {
				seen[string(record.Value)] = true
			}
			cancel()
		}
		last = assigned()
	}
	listed, err := admin.ListGroupsByType(ctx, []string{"consumer"})
	must(t, err)
	if _, ok := listed[group]; !ok {
		t.Fatal("not listed as of that type")
	}
	must(t, one.CommitUncommittedOffsets(ctx))
	must(t, two.CommitUncommittedOffsets(ctx))
	two.Close()
	one.Close()
	produce(t, client(t, shared), topic, values(200, 210))
	got := texts(poll(t, join(), 10))
	sort.Strings(got)
	if !reflect.DeepEqual(got, values(200, 210)) {
		t.Fatal(got)
	}
}
