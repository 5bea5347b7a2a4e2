package bowline;

import static bowline.Broker.eventually;
import static bowline.Broker.unique;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Share groups (KIP-932), with kafka-clients' share consumer, and beside it AMQP's consumers of the same group. */
@Timeout(90)
class ShareTest {
  private static final Duration SOON = Duration.ofMillis(200);

  private static Admin admin(Broker broker) {
    return Admin.create(Map.of("bootstrap.servers", broker.kafka));
  }

  private static String makeTopic(Broker broker, String what, int partitions) throws Exception {
    String topic = unique(what);
    try (Admin admin = admin(broker)) {
      admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
    }
    return topic;
  }

  /** A group that begins with the first record, and has these settings. */
  private static String makeGroup(Broker broker, Map<String, String> settings) throws Exception {
    String group = unique("share");
    Map<String, String> all = new HashMap<>(settings);
    all.put("share.auto.offset.reset", "earliest");
    Collection<AlterConfigOp> changes =
        all.entrySet().stream()
            .map(e -> new AlterConfigOp(new ConfigEntry(e.getKey(), e.getValue()), AlterConfigOp.OpType.SET))
            .toList();
    try (Admin admin = admin(broker)) {
      admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.GROUP, group), changes)).all().get();
    }
    return group;
  }

  private static List<String> produce(Broker broker, String topic, int from, int to) throws Exception {
    List<String> values = IntStream.range(from, to).mapToObj(Integer::toString).toList();
    Map<String, Object> options = Map.of("bootstrap.servers", broker.kafka);
    try (var producer = new KafkaProducer<>(options, new StringSerializer(), new StringSerializer())) {
      for (String value : values) {
        producer.send(new ProducerRecord<>(topic, null, value));
      }
      producer.flush();
    }
    return values;
  }

  private static KafkaShareConsumer<String, String> consumer(Broker broker, String group, boolean explicit, String topic) {
    Map<String, Object> options = new HashMap<>();
    options.put("bootstrap.servers", broker.kafka);
    options.put("group.id", group);
    options.put("share.acknowledgement.mode", explicit ? "explicit" : "implicit");
    options.put("max.poll.records", 10);
    var consumer = new KafkaShareConsumer<>(options, new StringDeserializer(), new StringDeserializer());
    consumer.subscribe(List.of(topic));
    return consumer;
  }

  /** Records as they come, at least n of them. */
  private static List<ConsumerRecord<String, String>> poll(KafkaShareConsumer<String, String> consumer, int n)
      throws InterruptedException {
    List<ConsumerRecord<String, String>> got = new ArrayList<>();
    eventually(() -> {
      consumer.poll(SOON).forEach(got::add);
      return got.size() >= n;
    });
    return got;
  }

  private static List<String> values(Collection<ConsumerRecord<String, String>> records) {
    return records.stream().map(ConsumerRecord::value).toList();
  }

  @Test
  void consumersShareAPartitionAndAcknowledgeImplicitly() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "share-implicit", 1);
    String group = makeGroup(broker, Map.of());
    try (var one = consumer(broker, group, false, topic); var other = consumer(broker, group, false, topic)) {
      // A batch is dealt out whole, so there have to be several.
      List<String> sent = new ArrayList<>();
      for (int from = 0; from < 200; from += 10) {
        sent.addAll(produce(broker, topic, from, from + 10));
      }
      List<String> got = new ArrayList<>();
      Set<String> byOne = new HashSet<>();
      eventually(() -> {
        one.poll(SOON).forEach(record -> byOne.add(record.value()));
        other.poll(SOON).forEach(record -> got.add(record.value()));
        return byOne.size() + got.size() >= 200;
      });
      assertTrue(!byOne.isEmpty() && !got.isEmpty(), "both work on one partition");
      got.addAll(byOne);
      assertEquals(200, got.size());
      assertEquals(new TreeSet<>(sent), new TreeSet<>(got));
      one.commitSync();
      other.commitSync();
    }
    // Nothing is left.
    try (var third = consumer(broker, group, false, topic)) {
      produce(broker, topic, 200, 201);
      assertEquals(List.of("200"), values(poll(third, 1)));
    }
  }

  @Test
  void recordsAreAcceptedReleasedAndRejected() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "share-explicit", 1);
    String group = makeGroup(broker, Map.of());
    produce(broker, topic, 0, 3);
    try (var consumer = consumer(broker, group, true, topic)) {
      var records = new ArrayList<ConsumerRecord<String, String>>();
      for (var record : poll(consumer, 3)) {
        assertEquals((short) 1, record.deliveryCount().get());
        records.add(record);
      }
      consumer.acknowledge(records.get(0), AcknowledgeType.ACCEPT);
      consumer.acknowledge(records.get(1), AcknowledgeType.RELEASE);
      consumer.acknowledge(records.get(2), AcknowledgeType.REJECT);
      var results = consumer.commitSync();
      assertTrue(results.values().stream().allMatch(java.util.Optional::isEmpty), results.toString());
      var again = poll(consumer, 1);
      assertEquals(List.of("1"), values(again));
      assertEquals((short) 2, again.get(0).deliveryCount().get());
      consumer.acknowledge(again.get(0));
      consumer.commitSync();
      produce(broker, topic, 3, 4);
      var last = poll(consumer, 1);
      assertEquals(List.of("3"), values(last), "what was accepted or rejected does not come back");
      consumer.acknowledge(last.get(0));
    }
  }

  @Test
  void whatIsReleasedTooOftenIsArchived() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "share-limit", 1);
    String group = makeGroup(broker, Map.of("share.delivery.count.limit", "2"));
    produce(broker, topic, 0, 1);
    try (var consumer = consumer(broker, group, true, topic)) {
      for (short delivery = 1; delivery <= 2; delivery++) {
        var record = poll(consumer, 1).get(0);
        assertEquals(delivery, record.deliveryCount().get());
        consumer.acknowledge(record, AcknowledgeType.RELEASE);
        consumer.commitSync();
      }
      produce(broker, topic, 1, 2);
      var next = poll(consumer, 1);
      assertEquals(List.of("1"), values(next));
      consumer.acknowledge(next.get(0));
    }
  }

  /** KIP-1191: what is rejected, and what comes back too often, is written to the dead-letter topic once. */
  @Test
  void theDeadGoToTheTopicOfTheGroup() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "share-dead", 1);
    String dead = "dlq." + topic;
    try (Admin admin = admin(broker)) {
      var takesDead = Map.of("errors.deadletterqueue.group.enable", "true");
      admin.createTopics(List.of(new NewTopic(dead, 1, (short) 1).configs(takesDead))).all().get();
    }
    String group = makeGroup(broker, Map.of(
        "errors.deadletterqueue.topic.name", dead,
        "errors.deadletterqueue.copy.record.enable", "true",
        "share.delivery.count.limit", "2"));
    produce(broker, topic, 0, 3);
    try (var consumer = consumer(broker, group, true, topic)) {
      int left = 4;
      while (left > 0) {
        for (var record : poll(consumer, 1)) {
          var fate = List.of(AcknowledgeType.ACCEPT, AcknowledgeType.REJECT, AcknowledgeType.RELEASE);
          consumer.acknowledge(record, fate.get(Integer.parseInt(record.value())));
          left--;
        }
        var results = consumer.commitSync();
        assertTrue(results.values().stream().allMatch(java.util.Optional::isEmpty), results.toString());
      }
    }
    String readers = makeGroup(broker, Map.of());
    try (var reader = consumer(broker, readers, false, dead)) {
      Map<String, Map<String, String>> letters = new HashMap<>();
      for (var letter : poll(reader, 2)) {
        Map<String, String> headers = new HashMap<>();
        letter.headers().forEach(header -> headers.put(header.key(), new String(header.value())));
        assertTrue(letters.put(letter.value(), headers) == null, "once");
      }
      assertEquals(Set.of("1", "2"), letters.keySet());
      for (var letter : letters.entrySet()) {
        boolean rejected = letter.getKey().equals("1");
        assertEquals(Map.of(
            "__dlq.errors.topic", topic,
            "__dlq.errors.partition", "0",
            "__dlq.errors.offset", letter.getKey(),
            "__dlq.errors.group", group,
            "__dlq.errors.delivery.count", rejected ? "1" : "2",
            "__dlq.errors.message", rejected ? "Offset rejected by client." : "Offset delivery count exceeded the threshold."),
            letter.getValue());
      }
    }
  }

  @Test
  void aLockEndsUnlessItIsRenewed() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "share-lock", 1);
    String group = makeGroup(broker, Map.of("share.record.lock.duration.ms", "2000"));
    produce(broker, topic, 0, 1);
    try (var holder = consumer(broker, group, true, topic); var other = consumer(broker, group, true, topic)) {
      var held = poll(holder, 1).get(0);
      long until = System.nanoTime() + 5_000_000_000L;
      while (System.nanoTime() < until) {
        holder.acknowledge(held, AcknowledgeType.RENEW);
        holder.commitSync();
        var renewed = holder.poll(SOON);
        assertEquals(1, renewed.count(), "a renewed record is given to the application again");
        held = renewed.iterator().next();
        assertEquals(0, other.poll(Duration.ofMillis(300)).count(), "it is in other hands");
      }
      var taken = poll(other, 1).get(0);
      assertEquals((short) 2, taken.deliveryCount().get());
      other.acknowledge(taken);
      other.commitSync();
    }
  }

  @Test
  void nothingAcceptedComesBackAfterAKillAndAllElseDoes() throws Exception {
    try (Broker broker = Broker.own()) {
      String topic = makeTopic(broker, "share-kill", 2);
      // What is released is delivered again first, so the same records come back again and again.
      String group = makeGroup(broker, Map.of("share.delivery.count.limit", "1000"));
      List<String> sent = produce(broker, topic, 0, 300);
      Set<String> accepted = new HashSet<>();
      for (int round = 0; round < 3; round++) {
        try (var consumer = consumer(broker, group, true, topic)) {
          for (int turn = 0; turn < 3; turn++) {
            Set<String> these = new HashSet<>();
            for (var record : poll(consumer, 1)) {
              assertTrue(!accepted.contains(record.value()), record.value() + " was accepted before");
              if (record.offset() % 3 != 0) {
                consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                these.add(record.value());
              } else {
                consumer.acknowledge(record, AcknowledgeType.RELEASE);
              }
            }
            var results = consumer.commitSync();
            if (results.values().stream().allMatch(java.util.Optional::isEmpty)) {
              accepted.addAll(these);
            }
          }
          broker.killAndRestart();
        }
      }
      Set<String> rest = new TreeSet<>();
      try (var consumer = consumer(broker, group, false, topic)) {
        eventually(() -> {
          consumer.poll(SOON).forEach(record -> rest.add(record.value()));
          return rest.size() + accepted.size() >= sent.size();
        });
      }
      Set<String> expected = new TreeSet<>(sent);
      expected.removeAll(accepted);
      assertEquals(expected, rest);
    }
  }

  @Test
  void aShareConsumerAndAnAmqpConsumerShareTheWork() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "share-across", 1);
    String group = makeGroup(broker, Map.of());
    ConnectionFactory factory = new ConnectionFactory();
    String[] address = broker.amqp.split(":");
    factory.setHost(address[0]);
    factory.setPort(Integer.parseInt(address[1]));
    ConcurrentLinkedQueue<String> overAmqp = new ConcurrentLinkedQueue<>();
    try (Connection connection = factory.newConnection(); var consumer = consumer(broker, group, false, topic)) {
      Channel channel = connection.createChannel();
      channel.basicQos(5);
      channel.basicConsume(topic, false, "", false, false, Map.of("x-group", group, "x-stream-offset", "first"),
          (tag, delivery) -> {
            overAmqp.add(new String(delivery.getBody()));
            channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
          },
          tag -> {});
      List<String> overKafka = new ArrayList<>();
      int sent = 0;
      while (overKafka.isEmpty() || overAmqp.isEmpty() || sent < 300) {
        assertTrue(sent < 10_000, "both get something");
        produce(broker, topic, sent, sent + 100);
        sent += 100;
        consumer.poll(SOON).forEach(record -> overKafka.add(record.value()));
      }
      int all = sent;
      eventually(() -> {
        consumer.poll(SOON).forEach(record -> overKafka.add(record.value()));
        return overKafka.size() + overAmqp.size() >= all;
      });
      Set<String> got = new TreeSet<>(overKafka);
      got.addAll(overAmqp);
      assertEquals(all, overKafka.size() + overAmqp.size(), "each record once");
      assertEquals(all, got.size());
    }
  }

  @Test
  void groupsAreListedDescribedResetAndDeleted() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "share-admin", 1);
    String group = makeGroup(broker, Map.of());
    TopicPartition partition = new TopicPartition(topic, 0);
    produce(broker, topic, 0, 10);
    try (Admin admin = admin(broker)) {
      try (var consumer = consumer(broker, group, false, topic)) {
        poll(consumer, 10);
        consumer.commitSync();
        var described = admin.describeShareGroups(List.of(group)).describedGroups().get(group).get();
        assertEquals(GroupState.STABLE, described.groupState());
        var assigned = described.members().iterator().next().assignment().topicPartitions();
        assertEquals(Set.of(partition), assigned);
      }
      eventually(() -> {
        try {
          return admin.describeShareGroups(List.of(group)).describedGroups().get(group).get().groupState() == GroupState.EMPTY;
        } catch (Exception e) {
          throw new AssertionError(e);
        }
      });
      var listed = admin.listGroups(ListGroupsOptions.forShareGroups()).all().get();
      assertTrue(listed.stream().anyMatch(g -> g.groupId().equals(group) && g.type().equals(java.util.Optional.of(GroupType.SHARE))));
      var all = Map.of(group, new ListShareGroupOffsetsSpec());
      var at = admin.listShareGroupOffsets(all).partitionsToOffsetInfo(group).get().get(partition);
      assertEquals(10, at.startOffset());
      admin.alterShareGroupOffsets(group, Map.of(partition, 7L)).all().get();
      try (var consumer = consumer(broker, group, false, topic)) {
        assertEquals(List.of("7", "8", "9"), values(poll(consumer, 3)));
      }
      admin.deleteShareGroupOffsets(group, Set.of(topic)).all().get();
      try (var consumer = consumer(broker, group, false, topic)) {
        assertEquals(10, poll(consumer, 10).size(), "it begins anew");
      }
      admin.deleteShareGroups(List.of(group)).all().get();
      var left = admin.listGroups(ListGroupsOptions.forShareGroups()).all().get();
      assertTrue(left.stream().noneMatch(g -> g.groupId().equals(group)), left.stream().map(Object::toString).collect(Collectors.joining()));
    }
  }
}
