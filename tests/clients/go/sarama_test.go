package clients

import (
	"context"
	"fmt"
	"reflect"
	"sort"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
)

// What Sarama does follows from the release that it is told the broker has: the newest and an old one.
func saramaConfigs() map[string]*sarama.Config {
	configs := map[string]*sarama.Config{}
	for _, version := range []sarama.KafkaVersion{sarama.MaxVersion, sarama.V2_1_0_0} {
		config := sarama.NewConfig()
		config.Version = version
		config.Producer.Return.Successes = true
		config.Producer.RequiredAcks = sarama.WaitForAll
		config.Consumer.Offsets.Initial = sarama.OffsetOldest
		configs[version.String()] = config
	}
	return configs
}

func TestSaramaProducesAndConsumes(t *testing.T) {
	for version, config := range saramaConfigs() {
		for codec, name := range map[sarama.CompressionCodec]string{sarama.CompressionNone: "none", sarama.CompressionGZIP: "gzip",
			sarama.CompressionSnappy: "snappy", sarama.CompressionLZ4: "lz4", sarama.CompressionZSTD: "zstd"} {
			t.Run(version+" "+name, func(t *testing.T) {
				topic := makeTopic(t, shared, "sarama", 1)
				config := *config
				config.Producer.Compression = codec
				config.Producer.Idempotent = true
				config.Net.MaxOpenRequests = 1
				producer, err := sarama.NewSyncProducer([]string{shared.Kafka}, &config)
				must(t, err)
				var messages []*sarama.ProducerMessage
				for _, value := range values(0, 20) {
					messages = append(messages, &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder("k"),
						Value: sarama.StringEncoder(value), Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte(value)}}})
				}
				must(t, producer.SendMessages(messages))
				must(t, producer.Close())

				consumer, err := sarama.NewConsumer([]string{shared.Kafka}, &config)
				must(t, err)
				defer consumer.Close()
				partition, err := consumer.ConsumePartition(topic, 0, sarama.OffsetOldest)
				must(t, err)
				defer partition.Close()
				for i, value := range values(0, 20) {
					select {
					case message := <-partition.Messages():
						if string(message.Value) != value || message.Offset != int64(i) || string(message.Headers[0].Value) != value {
							t.Fatalf("%d: %v", i, message)
						}
					case <-deadline(t).Done():
						t.Fatalf("message %d did not come", i)
					}
				}
			})
		}
	}
}

// member collects what it consumes and marks it.
type member struct{ got chan string }

func (member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (member) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		session.MarkMessage(message, "")
		m.got <- string(message.Value)
	}
	return nil
}

func TestSaramaGroupResumes(t *testing.T) {
	for version, config := range saramaConfigs() {
		t.Run(version, func(t *testing.T) {
			topic, group := makeTopic(t, shared, "sarama-group", 3), unique("sarama-group")
			consume := func(n int) (got []string) {
				joined, err := sarama.NewConsumerGroup([]string{shared.Kafka}, group, config)
				must(t, err)
				ctx, stop := context.WithCancel(deadline(t))
				m, done := member{make(chan string, 1000)}, make(chan error)
				go func() { done <- joined.Consume(ctx, []string{topic}, m) }()
				for len(got) < n {
					select {
					case value := <-m.got:
						got = append(got, value)
					case <-ctx.Done():
						t.Fatalf("only %d of %d came", len(got), n)
					}
				}
				stop()
				must(t, <-done)
				must(t, joined.Close())
				sort.Strings(got)
				return got
			}
			c := client(t, shared)
			produce(t, c, topic, values(100, 130))
			if got := consume(30); !reflect.DeepEqual(got, values(100, 130)) {
				t.Fatal(got)
			}
			produce(t, c, topic, values(130, 140))
			if got := consume(10); !reflect.DeepEqual(got, values(130, 140)) {
				t.Fatal(got)
			}
		})
	}
}

func TestSaramaAdministers(t *testing.T) {
	for version, config := range saramaConfigs() {
		t.Run(version, func(t *testing.T) {
			admin, err := sarama.NewClusterAdmin([]string{shared.Kafka}, config)
			must(t, err)
			defer admin.Close()
			topic, hour := unique("sarama-admin"), "3600000"
			must(t, admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1,
				ConfigEntries: map[string]*string{"retention.ms": &hour}}, false))
			must(t, admin.CreatePartitions(topic, 3, nil, false))
			entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}})
			must(t, err)
			if len(entries) != 1 || entries[0].Value != hour {
				t.Fatal(entries)
			}
			topics, err := admin.ListTopics()
			must(t, err)
			if topics[topic].NumPartitions != 3 {
				t.Fatal(topics[topic])
			}
			must(t, admin.DeleteTopic(topic))
		})
	}
}

// segmentio's kafka-go, with its own implementation of the protocol.
func TestKafkaGoWritesAndReadsInAGroup(t *testing.T) {
	topic := makeTopic(t, shared, "kafka-go", 2)
	writer := &kafka.Writer{Addr: kafka.TCP(shared.Kafka), Topic: topic, Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll,
		Compression: kafka.Zstd, BatchTimeout: 10 * time.Millisecond}
	var messages []kafka.Message
	for _, value := range values(100, 150) {
		messages = append(messages, kafka.Message{Key: []byte(value), Value: []byte(value)})
	}
	must(t, writer.WriteMessages(deadline(t), messages...))
	must(t, writer.Close())

	group := unique("kafka-go")
	read := func(n int) (got []string) {
		reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{shared.Kafka}, GroupID: group, Topic: topic,
			StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond})
		defer reader.Close()
		for len(got) < n {
			message, err := reader.FetchMessage(deadline(t))
			must(t, err)
			got = append(got, string(message.Value))
			must(t, reader.CommitMessages(deadline(t), message))
		}
		return got
	}
	all := append(read(20), read(30)...)
	sort.Strings(all)
	if !reflect.DeepEqual(all, values(100, 150)) {
		t.Fatal(fmt.Sprint(all))
	}
}
