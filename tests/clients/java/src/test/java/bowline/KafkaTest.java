package bowline;

import static bowline.Broker.eventually;
import static bowline.Broker.unique;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What Kafka users do, with kafka-clients. */
@Timeout(90)
class KafkaTest {
  /** An hour ago, in milliseconds: told apart from now, and too young for any retention. */
  private static final long RECENT = System.currentTimeMillis() - 3_600_000;

  private static Map<String, Object> with(Broker broker, Map<String, Object> options) {
    Map<String, Object> all = new java.util.HashMap<>(options);
    all.put("bootstrap.servers", broker.kafka);
    return all;
  }

  private static KafkaProducer<String, String> producer(Broker broker, Map<String, Object> options) {
    return new KafkaProducer<>(with(broker, options), new StringSerializer(), new StringSerializer());
  }

  private static KafkaConsumer<String, String> consumer(Broker broker, Map<String, Object> options) {
    Map<String, Object> all = with(broker, options);
    all.put("auto.offset.reset", "earliest");
    return new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
  }

  private static Map<String, Object> group(String id) {
    return Map.of("group.id", id, "enable.auto.commit", false, "session.timeout.ms", 10_000, "heartbeat.interval.ms", 300);
  }

  private static Admin admin(Broker broker) {
    return Admin.create(with(broker, Map.of()));
  }

  private static String makeTopic(Broker broker, String what, int partitions) throws Exception {
    String topic = unique(what);
    try (Admin admin = admin(broker)) {
      admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
    }
    return topic;
  }

  private static List<ConsumerRecord<String, String>> take(KafkaConsumer<String, String> consumer, int n) {
    List<ConsumerRecord<String, String>> got = new ArrayList<>();
    long end = System.nanoTime() + 60_000_000_000L;
    while (got.size() < n) {
      assertTrue(System.nanoTime() < end, "only " + got.size() + " of " + n);
      consumer.poll(Duration.ofMillis(200)).forEach(got::add);
    }
    return got;
  }

  private static List<ConsumerRecord<String, String>> takeAll(Broker broker, String topic, int n) {
    try (KafkaConsumer<String, String> consumer = consumer(broker, Map.of())) {
      consumer.assign(List.of(new TopicPartition(topic, 0)));
      consumer.seekToBeginning(consumer.assignment());
      return take(consumer, n);
    }
  }

  private static List<String> values(List<ConsumerRecord<String, String>> records) {
    return records.stream().map(ConsumerRecord::value).toList();
  }

  private static List<String> numbers(int from, int to) {
    return IntStream.range(from, to).mapToObj(Integer::toString).toList();
  }

  /** The default producer: idempotent, acks=all, on a topic that its first use creates. */
  @Test
  void tutorial() throws Exception {
    String topic = unique("tutorial");
    try (KafkaProducer<String, String> producer = producer(Broker.shared(), Map.of())) {
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (String value : numbers(0, 1000)) {
        sent.add(producer.send(new ProducerRecord<>(topic, value)));
      }
      for (int i = 0; i < 1000; i++) {
        assertEquals(i, sent.get(i).get().offset());
      }
    }
    assertEquals(numbers(0, 1000), values(takeAll(Broker.shared(), topic, 1000)));
  }

  @Test
  void keysHeadersTimestampsAndNulls() throws Exception {
    String topic = makeTopic(Broker.shared(), "nulls", 1);
    try (KafkaProducer<String, String> producer = producer(Broker.shared(), Map.of())) {
      producer.send(new ProducerRecord<>(topic, 0, RECENT + 123, "k", null,
          List.of(new RecordHeader("h", new byte[] {0, -1}), new RecordHeader("h", null)))).get();
    }
    ConsumerRecord<String, String> got = takeAll(Broker.shared(), topic, 1).get(0);
    assertEquals("k", got.key());
    assertNull(got.value());
    assertEquals(RECENT + 123, got.timestamp());
    assertEquals(List.of(new RecordHeader("h", new byte[] {0, -1}), new RecordHeader("h", null)), List.of(got.headers().toArray()));
  }

  @ParameterizedTest
  @ValueSource(strings = {"gzip", "snappy", "lz4", "zstd"})
  void compression(String codec) throws Exception {
    String topic = makeTopic(Broker.shared(), codec, 1);
    try (KafkaProducer<String, String> producer = producer(Broker.shared(), Map.of("compression.type", codec, "linger.ms", 20))) {
      numbers(0, 2000).forEach(value -> producer.send(new ProducerRecord<>(topic, value)));
    }
    assertEquals(numbers(0, 2000), values(takeAll(Broker.shared(), topic, 2000)));
  }

  private static long position(KafkaConsumer<?, ?> consumer) {
    return consumer.assignment().stream().mapToLong(consumer::position).sum();
  }

  @Test
  void aGroupSharesCommitsAndResumes() throws Exception {
    String topic = makeTopic(Broker.shared(), "group", 4);
    String group = unique("group");
    try (KafkaProducer<String, String> producer = producer(Broker.shared(), Map.of());
        KafkaConsumer<String, String> one = consumer(Broker.shared(), group(group));
        KafkaConsumer<String, String> two = consumer(Broker.shared(), group(group))) {
      for (int i = 0; i < 100; i++) {
        producer.send(new ProducerRecord<>(topic, i % 4, null, Integer.toString(i)));
      }
      producer.flush();
      one.subscribe(List.of(topic));
      two.subscribe(List.of(topic));
      Set<String> seen = new HashSet<>();
      eventually(() -> {
        one.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.value()));
        two.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.value()));
        // What one read before two came, and did not commit, two reads again.
        return one.assignment().size() == 2 && two.assignment().size() == 2 && position(one) + position(two) == 100;
      });
      assertEquals(100, seen.size());
      one.commitSync();
      two.commitSync();
    }
    try (Admin admin = admin(Broker.shared()); KafkaProducer<String, String> producer = producer(Broker.shared(), Map.of())) {
      Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
      assertEquals(100, committed.values().stream().mapToLong(OffsetAndMetadata::offset).sum());
      assertEquals("Empty", admin.describeConsumerGroups(List.of(group)).all().get().get(group).groupState().toString());
      producer.send(new ProducerRecord<>(topic, 2, null, "new")).get();
      try (KafkaConsumer<String, String> again = consumer(Broker.shared(), group(group))) {
        again.subscribe(List.of(topic));
        assertEquals(List.of("new"), values(take(again, 1)));
      }
      admin.deleteConsumerGroups(List.of(group)).all().get();
    }
  }

  @Test
  void offsetsAndSeeking() throws Exception {
    String topic = makeTopic(Broker.shared(), "offsets", 1);
    TopicPartition partition = new TopicPartition(topic, 0);
    try (KafkaProducer<String, String> producer = producer(Broker.shared(), Map.of())) {
      for (int i = 0; i < 30; i++) {
        producer.send(new ProducerRecord<>(topic, 0, RECENT + i * 1000, null, Integer.toString(i)));
      }
    }
    try (KafkaConsumer<String, String> consumer = consumer(Broker.shared(), Map.of())) {
      consumer.assign(List.of(partition));
      assertEquals(Map.of(partition, 0L), consumer.beginningOffsets(List.of(partition)));
      assertEquals(Map.of(partition, 30L), consumer.endOffsets(List.of(partition)));
      assertEquals(13, consumer.offsetsForTimes(Map.of(partition, RECENT + 12_500)).get(partition).offset());
      consumer.seek(partition, 27);
      assertEquals(numbers(27, 30), values(take(consumer, 3)));
      assertEquals(0, consumer.currentLag(partition).orElse(-1));
    }
    try (Admin admin = admin(Broker.shared())) {
      assertEquals(29, admin.listOffsets(Map.of(partition, OffsetSpec.maxTimestamp())).partitionResult(partition).get().offset());
      assertEquals(5, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(5))).lowWatermarks().get(partition).get().lowWatermark());
    }
    assertEquals(numbers(5, 30), values(takeAll(Broker.shared(), topic, 25)));
  }

  @Test
  void administration() throws Exception {
    String topic = unique("admin");
    try (Admin admin = admin(Broker.shared())) {
      admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1).configs(Map.of("retention.ms", "3600000")))).all().get();
      ExecutionException exists = assertThrows(ExecutionException.class,
          () -> admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1))).all().get());
      assertInstanceOf(TopicExistsException.class, exists.getCause());
      ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
      assertEquals("3600000", admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms").value());
      admin.incrementalAlterConfigs(Map.of(resource, List.of(
          new AlterConfigOp(new ConfigEntry("retention.ms", "7200000"), AlterConfigOp.OpType.SET)))).all().get();
      eventually(() -> {
        try {
          return admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms").value().equals("7200000");
        } catch (InterruptedException | ExecutionException e) {
          throw new IllegalStateException(e);
        }
      });
      admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
      eventually(() -> {
        try {
          return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size() == 3;
        } catch (InterruptedException | ExecutionException e) {
          throw new IllegalStateException(e);
        }
      });
      assertEquals(1, admin.describeCluster().nodes().get().size());
      assertTrue(admin.describeCluster().clusterId().get().length() > 10);
      admin.deleteTopics(List.of(topic)).all().get();
      eventually(() -> {
        try {
          return !admin.listTopics().names().get().contains(topic);
        } catch (InterruptedException | ExecutionException e) {
          throw new IllegalStateException(e);
        }
      });
    }
  }

  @Test
  void aRecordTooLarge() throws Exception {
    String topic = makeTopic(Broker.shared(), "large", 1);
    try (KafkaProducer<String, String> producer = producer(Broker.shared(), Map.of("max.request.size", 8_000_000))) {
      ExecutionException refused = assertThrows(ExecutionException.class,
          () -> producer.send(new ProducerRecord<>(topic, "x".repeat(3_000_000))).get());
      assertInstanceOf(RecordTooLargeException.class, refused.getCause());
      assertEquals(0, producer.send(new ProducerRecord<>(topic, "small")).get().offset());
    }
  }

  @Test
  void anIdempotentProducerRidesThroughAKill() throws Exception {
    try (Broker broker = Broker.own();
        KafkaProducer<String, String> producer = producer(broker, Map.of("retry.backoff.ms", 50, "reconnect.backoff.max.ms", 500))) {
      String topic = makeTopic(broker, "kept", 1);
      producer.send(new ProducerRecord<>(topic, "0")).get();
      List<Future<RecordMetadata>> sent = new ArrayList<>();
      for (String value : numbers(1, 1000)) {
        sent.add(producer.send(new ProducerRecord<>(topic, value)));
      }
      broker.killAndRestart();
      for (String value : numbers(1000, 1100)) {
        sent.add(producer.send(new ProducerRecord<>(topic, value)));
      }
      for (Future<RecordMetadata> each : sent) {
        each.get();
      }
      assertEquals(numbers(0, 1100), values(takeAll(broker, topic, 1100)));
    }
  }

  private static Map<String, Object> brokerSide(String id) {
    return Map.of("group.id", id, "enable.auto.commit", false, "group.protocol", "consumer");
  }

  /** KIP-848: the broker assigns; a pattern is matched by the broker as well; a kill changes nothing for anybody. */
  @Test
  void aGroupWithBrokerSideAssignment() throws Exception {
    String group = unique("next");
    try (Broker broker = Broker.own();
        Admin admin = admin(broker);
        KafkaProducer<String, String> producer = producer(broker, Map.of());
        KafkaConsumer<String, String> one = consumer(broker, brokerSide(group));
        KafkaConsumer<String, String> two = consumer(broker, brokerSide(group))) {
      admin.createTopics(List.of(new NewTopic("next-a", 4, (short) 1), new NewTopic("other", 4, (short) 1))).all().get();
      for (int i = 0; i < 100; i++) {
        producer.send(new ProducerRecord<>("next-a", i % 4, null, Integer.toString(i)));
      }
      producer.flush();
      one.subscribe(new SubscriptionPattern("next-.*"));
      two.subscribe(new SubscriptionPattern("next-.*"));
      Set<String> seen = new HashSet<>();
      eventually(() -> {
        one.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.value()));
        two.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.value()));
        return one.assignment().size() == 2 && two.assignment().size() == 2 && position(one) + position(two) == 100;
      });
      assertEquals(100, seen.size());
      one.commitSync();
      two.commitSync();
      Set<TopicPartition> before = one.assignment();
      broker.killAndRestart();
      producer.send(new ProducerRecord<>("next-a", 0, null, "100")).get();
      eventually(() -> {
        one.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.value()));
        two.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.value()));
        return seen.size() == 101;
      });
      assertEquals(before, one.assignment());
      one.commitSync();
      two.commitSync();
      var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
      assertEquals(GroupType.CONSUMER, described.type());
      assertEquals(2, described.members().size());
      // A topic that comes later matches as well.
      admin.createTopics(List.of(new NewTopic("next-b", 2, (short) 1))).all().get();
      eventually(() -> {
        one.poll(Duration.ofMillis(50));
        two.poll(Duration.ofMillis(50));
        return one.assignment().size() + two.assignment().size() == 6;
      });
    }
  }
}
