package bowline;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.InvalidRequestException;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.errors.ThrottlingQuotaExceededException;
import org.apache.kafka.common.errors.TopicAuthorizationException;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.quota.ClientQuotaFilterComponent;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourcePatternFilter;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Access rules and quotas, with kafka-clients. */
@Timeout(90)
class AclTest {
  private static Admin admin(Broker broker) {
    return Admin.create(Map.of("bootstrap.servers", broker.kafka));
  }

  private static KafkaProducer<byte[], byte[]> producer(Broker broker, String clientId) {
    Map<String, Object> options = Map.of(
        "bootstrap.servers", broker.kafka, "client.id", clientId, "enable.idempotence", false, "linger.ms", 0);
    return new KafkaProducer<>(options, new ByteArraySerializer(), new ByteArraySerializer());
  }

  private static Throwable causeOf(Future<?> future) {
    return assertThrows(ExecutionException.class, future::get).getCause();
  }

  private static AclBinding rule(
      String name, PatternType pattern, String who, AclOperation operation, AclPermissionType permission) {
    return new AclBinding(
        new ResourcePattern(ResourceType.TOPIC, name, pattern),
        new AccessControlEntry(who, "*", operation, permission));
  }

  private static AclBindingFilter filter(String name, PatternType pattern) {
    return new AclBindingFilter(
        new ResourcePatternFilter(ResourceType.TOPIC, name, pattern), AccessControlEntryFilter.ANY);
  }

  @Test
  void rulesHoldAndSurviveAKill() throws Exception {
    try (Broker broker = Broker.own("--kafka-acls", "--kafka-open-without-acls"); Admin admin = admin(broker)) {
      admin.createTopics(List.of(new NewTopic("open", 1, (short) 1), new NewTopic("secret", 1, (short) 1))).all().get();
      AclBinding secret =
          rule("sec", PatternType.PREFIXED, "User:alice", AclOperation.ALL, AclPermissionType.ALLOW);
      AclBinding denial =
          rule("open", PatternType.LITERAL, "User:ANONYMOUS", AclOperation.WRITE, AclPermissionType.DENY);
      admin.createAcls(List.of(secret, denial)).all().get();
      for (int start = 0; start < 2; start++) {
        assertEquals(
            Set.of(secret, denial), Set.copyOf(admin.describeAcls(AclBindingFilter.ANY).values().get()));
        Collection<AclBinding> matching = admin.describeAcls(filter("secret", PatternType.MATCH)).values().get();
        assertEquals(List.of(secret), List.copyOf(matching));
        try (var producer = producer(broker, "p")) {
          for (String topic : List.of("open", "secret")) {
            Throwable cause = causeOf(producer.send(new ProducerRecord<>(topic, new byte[1])));
            assertInstanceOf(TopicAuthorizationException.class, cause, topic);
          }
        }
        broker.killAndRestart();
      }
      Collection<AclBinding> gone = admin.deleteAcls(List.of(filter("open", PatternType.LITERAL))).all().get();
      assertEquals(List.of(denial), List.copyOf(gone));
      try (var producer = producer(broker, "p")) {
        producer.send(new ProducerRecord<>("open", new byte[1])).get();
      }
    }
  }

  @Test
  void withoutAnAuthorizerThereAreNoRules() throws Exception {
    try (Broker broker = Broker.own(); Admin admin = admin(broker)) {
      AclBinding rule = rule("t", PatternType.LITERAL, "User:alice", AclOperation.ALL, AclPermissionType.ALLOW);
      assertInstanceOf(SecurityDisabledException.class, causeOf(admin.createAcls(List.of(rule)).all()));
      assertInstanceOf(
          SecurityDisabledException.class, causeOf(admin.describeAcls(AclBindingFilter.ANY).values()));
    }
  }

  private static void set(Admin admin, Map<String, String> entity, String key, Double value) throws Exception {
    var operation = new ClientQuotaAlteration.Op(key, value);
    var alteration = new ClientQuotaAlteration(new ClientQuotaEntity(entity), List.of(operation));
    admin.alterClientQuotas(List.of(alteration)).all().get();
  }

  private static double metric(KafkaProducer<?, ?> producer, String name) {
    return producer.metrics().entrySet().stream()
        .filter(entry -> entry.getKey().name().equals(name) && entry.getKey().group().equals("producer-metrics"))
        .mapToDouble(entry -> (double) entry.getValue().metricValue())
        .findFirst()
        .orElseThrow();
  }

  /** The one over its quota is told to wait; the other is not held up. Both get everything through. */
  @Test
  void aThrottledProducerWaitsAndAnotherDoesNot() throws Exception {
    try (Broker broker = Broker.own(); Admin admin = admin(broker)) {
      admin.createTopics(List.of(new NewTopic("t", 1, (short) 1))).all().get();
      set(admin, Map.of("client-id", "slow"), "producer_byte_rate", 100_000.0);
      broker.killAndRestart();
      try (var slow = producer(broker, "slow"); var quick = producer(broker, "quick")) {
        // A second's worth is saved up ten times; the next hundred kB take a second.
        for (int n = 0; n < 12; n++) {
          slow.send(new ProducerRecord<>("t", new byte[100_000])).get();
          quick.send(new ProducerRecord<>("t", new byte[100_000])).get();
        }
        double longest = metric(slow, "produce-throttle-time-max");
        assertTrue(longest > 500 && longest < 5_000, "told to wait " + longest + " ms");
        assertEquals(0.0, metric(quick, "produce-throttle-time-max"));
      }
    }
  }

  @Test
  void quotasAreDescribedAsTheyWereSet() throws Exception {
    try (Broker broker = Broker.own(); Admin admin = admin(broker)) {
      set(admin, Map.of("user", "alice"), "consumer_byte_rate", 5000.0);
      Map<String, String> byDefault = new java.util.HashMap<>();
      byDefault.put("client-id", null);
      set(admin, byDefault, "producer_byte_rate", 7000.0);
      set(admin, Map.of("ip", "10.0.0.1"), "connection_creation_rate", 3.0);
      broker.killAndRestart();
      var all = admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get();
      assertEquals(3, all.size());
      assertEquals(Map.of("producer_byte_rate", 7000.0), all.get(new ClientQuotaEntity(byDefault)));
      var alice = ClientQuotaFilter.containsOnly(List.of(ClientQuotaFilterComponent.ofEntity("user", "alice")));
      assertEquals(
          Map.of(new ClientQuotaEntity(Map.of("user", "alice")), Map.of("consumer_byte_rate", 5000.0)),
          admin.describeClientQuotas(alice).entities().get());
      set(admin, Map.of("user", "alice"), "consumer_byte_rate", null);
      assertEquals(2, admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get().size());
      set(admin, Map.of("user", "alice"), "request_percentage", 12.5);
      assertEquals(
          Map.of(new ClientQuotaEntity(Map.of("user", "alice")), Map.of("request_percentage", 12.5)),
          admin.describeClientQuotas(alice).entities().get());
      Throwable cause = assertThrows(
          ExecutionException.class, () -> set(admin, Map.of("ip", "10.0.0.1"), "request_percentage", 50.0)).getCause();
      assertInstanceOf(InvalidRequestException.class, cause);
    }
  }

  @Test
  void aFloodOfRequestsIsHeldBack() throws Exception {
    try (Broker broker = Broker.own(); Admin admin = admin(broker)) {
      admin.createTopics(List.of(new NewTopic("t", 1, (short) 1))).all().get();
      // A tenth of a percent of a thread: ten milliseconds may be saved up.
      set(admin, Map.of("client-id", "flood"), "request_percentage", 0.1);
      set(admin, Map.of("client-id", "modest"), "request_percentage", 100.0);
      try (var flood = producer(broker, "flood"); var modest = producer(broker, "modest")) {
        long end = System.nanoTime() + 60_000_000_000L;
        // Whether a request is held back is told in its own answer. Before the first answer it is not a number.
        while (!(metric(flood, "produce-throttle-time-max") > 0.0)) {
          assertTrue(System.nanoTime() < end, "never held back");
          flood.send(new ProducerRecord<>("t", new byte[100])).get();
          modest.send(new ProducerRecord<>("t", new byte[100])).get();
        }
        assertTrue(metric(flood, "produce-throttle-time-max") <= 1_000);
        assertEquals(0.0, metric(modest, "produce-throttle-time-max"));
      }
    }
  }

  @Test
  void topicsAreMadeAtTheQuotasRate() throws Exception {
    try (Broker broker = Broker.own(); Admin admin = admin(broker)) {
      set(admin, Map.of("user", "ANONYMOUS"), "controller_mutation_rate", 1.0);
      var once = new org.apache.kafka.clients.admin.CreateTopicsOptions().retryOnQuotaViolation(false);
      admin.createTopics(List.of(new NewTopic("first", 20, (short) 1)), once).all().get();
      var second = admin.createTopics(List.of(new NewTopic("second", 1, (short) 1)), once).all();
      ThrottlingQuotaExceededException refusal =
          assertInstanceOf(ThrottlingQuotaExceededException.class, causeOf(second));
      assertTrue(refusal.throttleTimeMs() > 0 && refusal.throttleTimeMs() <= 10_000);
      set(admin, Map.of("user", "ANONYMOUS"), "controller_mutation_rate", null);
      admin.createTopics(List.of(new NewTopic("third", 1, (short) 1))).all().get();
    }
  }
}
