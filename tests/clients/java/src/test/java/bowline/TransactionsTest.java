package bowline;

import static bowline.Broker.eventually;
import static bowline.Broker.unique;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Transactions with kafka-clients, which raises its epoch with each (KIP-890). */
@Timeout(120)
class TransactionsTest {
  private static KafkaProducer<String, String> producer(Broker broker, String id) {
    KafkaProducer<String, String> producer = new KafkaProducer<>(
        Map.of("bootstrap.servers", broker.kafka, "transactional.id", id, "transaction.timeout.ms", 20_000),
        new StringSerializer(), new StringSerializer());
    producer.initTransactions();
    return producer;
  }

  private static KafkaConsumer<String, String> consumer(Broker broker, String group) {
    Map<String, Object> options = new HashMap<>(Map.of(
        "bootstrap.servers", broker.kafka, "group.id", group, "enable.auto.commit", false, "max.poll.records", 20,
        "auto.offset.reset", "earliest", "isolation.level", "read_committed", "session.timeout.ms", 10_000));
    return new KafkaConsumer<>(options, new StringDeserializer(), new StringDeserializer());
  }

  private static String makeTopic(Broker broker, String what, int partitions) throws Exception {
    String topic = unique(what);
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", broker.kafka))) {
      admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
    }
    return topic;
  }

  /** What readers of what is committed see of a partition, up to its end. */
  private static List<String> committed(Broker broker, String topic, int partition) {
    try (KafkaConsumer<String, String> consumer = consumer(broker, unique("reader"))) {
      TopicPartition at = new TopicPartition(topic, partition);
      consumer.assign(List.of(at));
      consumer.seekToBeginning(List.of(at));
      long end = consumer.endOffsets(List.of(at)).get(at);
      List<String> values = new ArrayList<>();
      while (consumer.position(at) < end) {
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
          values.add(record.value());
        }
      }
      return values;
    }
  }

  @Test
  void commitAndAbort() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "transactions", 2);
    try (KafkaProducer<String, String> producer = producer(broker, unique("id"))) {
      for (int i = 0; i < 10; i++) {
        producer.beginTransaction();
        for (int partition = 0; partition < 2; partition++) {
          producer.send(new ProducerRecord<>(topic, partition, null, "" + i));
        }
        if (i % 3 == 1) {
          producer.flush();
          producer.abortTransaction();
        } else {
          producer.commitTransaction();
        }
      }
    }
    List<String> expected = IntStream.range(0, 10).filter(i -> i % 3 != 1).mapToObj(i -> "" + i).toList();
    for (int partition = 0; partition < 2; partition++) {
      assertEquals(expected, committed(broker, topic, partition));
    }
  }

  @Test
  void aZombieIsFenced() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "fenced", 1);
    String id = unique("id");
    try (KafkaProducer<String, String> old = producer(broker, id)) {
      old.beginTransaction();
      old.send(new ProducerRecord<>(topic, "old")).get();
      try (KafkaProducer<String, String> next = producer(broker, id)) {
        next.beginTransaction();
        next.send(new ProducerRecord<>(topic, "new")).get();
        next.commitTransaction();
      }
      KafkaException refused = assertThrows(KafkaException.class, old::commitTransaction);
      assertTrue(refused instanceof ProducerFencedException || refused instanceof InvalidProducerEpochException, "" + refused);
    }
    assertEquals(List.of("new"), committed(broker, topic, 0));
  }

  @Test
  void administratorsSeeAndEndTransactions() throws Exception {
    Broker broker = Broker.shared();
    String topic = makeTopic(broker, "hanging", 1);
    String id = unique("id");
    TopicPartition at = new TopicPartition(topic, 0);
    try (KafkaProducer<String, String> producer = producer(broker, id);
        Admin admin = Admin.create(Map.of("bootstrap.servers", broker.kafka))) {
      producer.beginTransaction();
      producer.send(new ProducerRecord<>(topic, "open")).get();
      var described = admin.describeTransactions(List.of(id)).description(id).get();
      assertEquals(TransactionState.ONGOING, described.state());
      assertEquals(java.util.Set.of(at), described.topicPartitions());
      assertTrue(admin.listTransactions().all().get().stream().anyMatch(t -> t.transactionalId().equals(id)));
      ProducerState state = admin.describeProducers(List.of(at)).partitionResult(at).get().activeProducers().get(0);
      assertEquals(0, state.currentTransactionStartOffset().getAsLong());
      assertEquals(described.producerId(), state.producerId());
      admin.abortTransaction(new AbortTransactionSpec(at, state.producerId(), (short) state.producerEpoch(), 0)).all().get();
      var after = admin.describeProducers(List.of(at)).partitionResult(at).get().activeProducers();
      assertTrue(after.stream().noneMatch(p -> p.currentTransactionStartOffset().isPresent()));
      producer.abortTransaction();
    }
    assertEquals(List.of(), committed(broker, topic, 0));
  }

  /** Consume, transform, produce, though the broker is killed in between: each value comes out once, in order. */
  @Test
  void exactlyOnceAcrossCrashes() throws Exception {
    try (Broker broker = Broker.own()) {
      String source = makeTopic(broker, "in", 1);
      String target = makeTopic(broker, "out", 1);
      int total = 300;
      try (KafkaProducer<String, String> plain = new KafkaProducer<>(
          Map.of("bootstrap.servers", broker.kafka), new StringSerializer(), new StringSerializer())) {
        for (int i = 0; i < total; i++) {
          plain.send(new ProducerRecord<>(source, "" + i));
        }
      }
      String id = unique("id");
      String group = unique("group");
      int done = 0;
      int rounds = 0;
      while (done < total) {
        try (KafkaProducer<String, String> producer = producer(broker, id);
            KafkaConsumer<String, String> consumer = consumer(broker, group)) {
          consumer.subscribe(List.of(source));
          while (done < total) {
            var records = consumer.poll(Duration.ofMillis(300));
            if (records.isEmpty()) {
              done = committed(broker, target, 0).size();
              continue;
            }
            producer.beginTransaction();
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            for (ConsumerRecord<String, String> record : records) {
              producer.send(new ProducerRecord<>(target, record.value()));
              offsets.put(new TopicPartition(source, record.partition()), new OffsetAndMetadata(record.offset() + 1));
            }
            if (++rounds % 5 == 2 && rounds < 20) {
              broker.killAndRestart();
            }
            producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
            producer.commitTransaction();
            done += records.count();
          }
        } catch (KafkaException e) {
          // Whatever it was: start over as the same producer, from what was committed.
          done = committed(broker, target, 0).size();
        }
      }
      assertEquals(IntStream.range(0, total).mapToObj(i -> "" + i).toList(), committed(broker, target, 0));
    }
  }
}
