package bowline;

import static bowline.Broker.eventually;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListConfigResourcesOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidRequestException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Metrics that kafka-clients push by themselves (KIP-714), and who asks them to. */
@Timeout(120)
class TelemetryTest {
  private static final String TOPIC = "otlp_metrics";

  private static Admin admin(Broker broker) {
    return Admin.create(Map.of("bootstrap.servers", broker.kafka, "enable.metrics.push", false));
  }

  private static ConfigResource subscription(String name) {
    return new ConfigResource(ConfigResource.Type.CLIENT_METRICS, name);
  }

  /** A setting without a value is deleted. */
  private static void set(Admin admin, String name, Map<String, String> settings) throws Exception {
    Collection<AlterConfigOp> changes = new ArrayList<>();
    settings.forEach((key, value) -> changes.add(new AlterConfigOp(
        new ConfigEntry(key, value), value == null ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET)));
    admin.incrementalAlterConfigs(Map.of(subscription(name), changes)).all().get();
  }

  private static Map<String, ConfigEntry> described(Admin admin, String name) throws Exception {
    Map<String, ConfigEntry> found = new HashMap<>();
    var all = admin.describeConfigs(List.of(subscription(name))).all().get().get(subscription(name));
    all.entries().forEach(entry -> found.put(entry.name(), entry));
    return found;
  }

  private static KafkaProducer<String, String> producer(Broker broker, String clientId) {
    return new KafkaProducer<>(
        Map.of("bootstrap.servers", broker.kafka, "client.id", clientId), new StringSerializer(), new StringSerializer());
  }

  /** What is in the topic for metrics; reads on with each call. */
  private static final class Metrics implements AutoCloseable {
    private final KafkaConsumer<String, byte[]> consumer;
    final List<ConsumerRecord<String, byte[]>> records = new ArrayList<>();

    Metrics(Broker broker) {
      consumer = new KafkaConsumer<>(
          Map.of("bootstrap.servers", broker.kafka, "auto.offset.reset", "earliest", "enable.metrics.push", false),
          new StringDeserializer(), new ByteArrayDeserializer());
      consumer.assign(List.of(new TopicPartition(TOPIC, 0)));
    }

    boolean has(String clientId, String metric) {
      consumer.poll(Duration.ofMillis(200)).forEach(records::add);
      return records.stream().anyMatch(record ->
          header(record, "client_id").equals(clientId) && text(record).contains(metric));
    }

    @Override
    public void close() {
      consumer.close();
    }
  }

  private static String text(ConsumerRecord<String, byte[]> record) {
    return new String(record.value(), StandardCharsets.ISO_8859_1);
  }

  private static String header(ConsumerRecord<String, byte[]> record, String name) {
    return new String(record.headers().lastHeader(name).value(), StandardCharsets.UTF_8);
  }

  @Test
  void metricsOfClientsReachTheTopic() throws Exception {
    try (Broker broker = Broker.own(); Admin admin = admin(broker)) {
      set(admin, "all", Map.of("metrics", "*", "interval.ms", "500"));
      String id;
      try (var producer = producer(broker, "watched")) {
        producer.send(new ProducerRecord<>("t", "v")).get();
        id = producer.clientInstanceId(Duration.ofSeconds(20)).toString();
        try (Metrics metrics = new Metrics(broker)) {
          eventually(() -> metrics.has("watched", "org.apache.kafka.producer"));
          var record = metrics.records.get(0);
          assertEquals(id, record.key());
          assertEquals("apache-kafka-java", header(record, "client_software_name"));
          assertEquals("127.0.0.1", header(record, "client_source_address"));
          assertEquals("User:ANONYMOUS", header(record, "principal"));
          // MetricsData of OTLP: the field resource_metrics, over and over.
          assertEquals(0x0a, record.value()[0]);
          // It goes on, and the last push comes when the client is closed.
          int before = metrics.records.size();
          eventually(() -> metrics.has("watched", "") && metrics.records.size() > before);
        }
      }
      // A consumer has other ones.
      try (var consumer = new KafkaConsumer<>(
              Map.of("bootstrap.servers", broker.kafka, "group.id", "g", "client.id", "reading"),
              new StringDeserializer(), new StringDeserializer());
          Metrics metrics = new Metrics(broker)) {
        consumer.subscribe(List.of("t"));
        eventually(() -> {
          consumer.poll(Duration.ofMillis(100));
          return metrics.has("reading", "org.apache.kafka.consumer");
        });
      }
    }
  }

  @Test
  void onlyWhatIsWantedOfWhomItIsWanted() throws Exception {
    try (Broker broker = Broker.own("--client-metrics-topic", TOPIC); Admin admin = admin(broker)) {
      set(admin, "m", Map.of(
          "metrics", "org.apache.kafka.producer.record.", "interval.ms", "500",
          "match", "client_id=watched.*,client_software_name=apache-kafka-java"));
      try (var watched = producer(broker, "watched-1"); var other = producer(broker, "other")) {
        other.send(new ProducerRecord<>("t", "v")).get();
        watched.send(new ProducerRecord<>("t", "v")).get();
        try (Metrics metrics = new Metrics(broker)) {
          // Three pushes of the one, of which one at least was due for the other as well.
          eventually(() -> metrics.has("watched-1", "org.apache.kafka.producer.record.") && metrics.records.size() >= 3);
          for (var record : metrics.records) {
            assertEquals("watched-1", header(record, "client_id"));
            assertFalse(text(record).contains("org.apache.kafka.producer.connection."));
          }
        }
      }
    }
  }

  @Test
  void subscriptionsAreKeptCheckedAndDeleted() throws Exception {
    try (Broker broker = Broker.own(); Admin admin = admin(broker)) {
      assertEquals("300000", described(admin, "m").get("interval.ms").value());
      set(admin, "m", Map.of("metrics", "a.,b.", "interval.ms", "1000"));
      broker.killAndRestart();
      var kept = described(admin, "m");
      assertEquals("a.,b.", kept.get("metrics").value());
      assertEquals(ConfigEntry.ConfigSource.DYNAMIC_CLIENT_METRICS_CONFIG, kept.get("metrics").source());
      assertEquals(ConfigEntry.ConfigSource.DEFAULT_CONFIG, kept.get("match").source());
      var listed = admin.listConfigResources(
          Set.of(ConfigResource.Type.CLIENT_METRICS), new ListConfigResourcesOptions()).all().get();
      assertEquals(List.of(subscription("m")), List.copyOf(listed));
      assertInstanceOf(InvalidRequestException.class, refusal(admin, "interval.ms", "99"));
      assertInstanceOf(InvalidRequestException.class, refusal(admin, "interval", "1000"));
      assertInstanceOf(InvalidConfigurationException.class, refusal(admin, "match", "client_name=a"));
      Map<String, String> none = new HashMap<>();
      none.put("metrics", null);
      none.put("interval.ms", null);
      set(admin, "m", none);
      assertTrue(admin.listConfigResources(
          Set.of(ConfigResource.Type.CLIENT_METRICS), new ListConfigResourcesOptions()).all().get().isEmpty());
    }
  }

  private static Throwable refusal(Admin admin, String name, String value) {
    return assertThrows(ExecutionException.class, () -> set(admin, "m", Map.of(name, value))).getCause();
  }

  @Test
  void withoutATopicNobodyIsAsked() throws Exception {
    try (Broker broker = Broker.own("--client-metrics-topic", ""); Admin admin = admin(broker)) {
      var refusal = refusal(admin, "metrics", "*");
      assertInstanceOf(InvalidRequestException.class, refusal);
      assertTrue(refusal.getMessage().contains("--client-metrics-topic"));
      try (var producer = producer(broker, "unwatched")) {
        producer.send(new ProducerRecord<>("t", "v")).get();
      }
      assertEquals(Set.of("t"), admin.listTopics().names().get());
    }
  }
}
