package clients

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

// kinds are the ways in which clients speak of transactions: with an epoch for each (KIP-890), and as before.
func kinds() map[string][]kgo.Opt {
	return map[string][]kgo.Opt{"version 2": nil, "version 1": {kgo.MaxVersions(kversion.V3_8_0())}}
}

// A transaction counts when it is committed; what was aborted never does.
func TestTransactions(t *testing.T) {
	for kind, options := range kinds() {
		t.Run(kind, func(t *testing.T) {
			topic := makeTopic(t, shared, "transactions", 3)
			producer := client(t, shared, append(options, kgo.TransactionalID(unique("id")), kgo.DefaultProduceTopic(topic))...)
			var expected []string
			for i := 0; i < 12; i++ {
				must(t, producer.BeginTransaction())
				var records []*kgo.Record
				for j := 0; j < 6; j++ {
					records = append(records, &kgo.Record{Key: []byte(fmt.Sprint(j)), Value: []byte(fmt.Sprint(i))})
				}
				must(t, producer.ProduceSync(deadline(t), records...).FirstErr())
				commit := kgo.TryCommit
				if i%3 == 1 {
					commit = kgo.TryAbort
				} else {
					for j := 0; j < 6; j++ {
						expected = append(expected, fmt.Sprint(i))
					}
				}
				must(t, producer.EndTransaction(deadline(t), commit))
			}
			reader := client(t, shared, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				kgo.FetchIsolationLevel(kgo.ReadCommitted()))
			count := map[string]int{}
			for _, text := range texts(poll(t, reader, len(expected))) {
				count[text]++
			}
			for i := 0; i < 12; i++ {
				if want := 6; i%3 == 1 && count[fmt.Sprint(i)] != 0 || i%3 != 1 && count[fmt.Sprint(i)] != want {
					t.Fatalf("%v", count)
				}
			}
		})
	}
}

// Whoever takes an id over fences the one before.
func TestAZombieIsFenced(t *testing.T) {
	for kind, options := range kinds() {
		t.Run(kind, func(t *testing.T) {
			topic, id := makeTopic(t, shared, "fenced", 1), unique("id")
			instance := func() *kgo.Client {
				return client(t, shared, append(options, kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic))...)
			}
			old := instance()
			must(t, old.BeginTransaction())
			must(t, old.ProduceSync(deadline(t), kgo.StringRecord("old")).FirstErr())
			next := instance()
			must(t, next.BeginTransaction())
			must(t, next.ProduceSync(deadline(t), kgo.StringRecord("new")).FirstErr())
			must(t, next.EndTransaction(deadline(t), kgo.TryCommit))
			err := old.EndTransaction(deadline(t), kgo.TryCommit)
			if !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) {
				t.Fatalf("%v", err)
			}
			reader := client(t, shared, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				kgo.FetchIsolationLevel(kgo.ReadCommitted()))
			if got := texts(poll(t, reader, 1)); !reflect.DeepEqual(got, []string{"new"}) {
				t.Fatalf("%v", got)
			}
		})
	}
}

// Consume, transform, produce, though the broker is killed in between: each value comes out once.
func TestExactlyOnceAcrossCrashes(t *testing.T) {
	for kind, options := range kinds() {
		t.Run(kind, func(t *testing.T) {
			broker := ownBroker(t)
			source, target := makeTopic(t, broker, "in", 2), makeTopic(t, broker, "out", 2)
			const total = 400
			produce(t, client(t, broker), source, values(0, total))
			session, err := kgo.NewGroupTransactSession(append(options,
				kgo.SeedBrokers(broker.Kafka), kgo.MetadataMinAge(200*time.Millisecond), kgo.TransactionalID(unique("id")),
				kgo.ConsumerGroup(unique("group")), kgo.ConsumeTopics(source), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(200), kgo.RequireStableFetchOffsets())...)
			must(t, err)
			defer session.Close()
			ctx, committed, rounds := deadline(t), 0, 0
			for committed < total && ctx.Err() == nil {
				fetches := session.PollRecords(ctx, 20)
				if fetches.NumRecords() == 0 {
					continue
				}
				must(t, session.Begin())
				fetches.EachRecord(func(r *kgo.Record) {
					session.Produce(ctx, &kgo.Record{Topic: target, Value: r.Value}, nil)
				})
				if rounds++; rounds%6 == 2 && rounds < 20 {
					must(t, broker.killAndRestart())
				}
				if done, err := session.End(ctx, kgo.TryCommit); done && err == nil {
					committed += fetches.NumRecords()
				}
			}
			reader := client(t, broker, kgo.ConsumeTopics(target), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				kgo.FetchIsolationLevel(kgo.ReadCommitted()))
			seen := map[string]int{}
			for _, text := range texts(poll(t, reader, total)) {
				seen[text]++
			}
			for _, value := range values(0, total) {
				if seen[value] != 1 {
					t.Fatalf("%s came %d times", value, seen[value])
				}
			}
		})
	}
}
