package bowline;

import static bowline.Broker.unique;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.Signature;
import java.security.interfaces.RSAPublicKey;
import java.time.Duration;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import javax.security.auth.callback.Callback;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialDeletion;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ResourceNotFoundException;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.UnacceptableCredentialException;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerTokenCallback;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Logins with kafka-clients. */
@Timeout(90)
class SaslTest {
  private static Map<String, Object> login(Broker broker, String mechanism, String user, String password) {
    String module = mechanism.equals("PLAIN") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
    String jaas = "org.apache.kafka.common.security.%s required username=\"%s\" password=\"%s\";";
    return with(broker, mechanism, jaas.formatted(module, user, password));
  }

  private static Map<String, Object> with(Broker broker, String mechanism, String jaas) {
    return new HashMap<>(Map.of(
        "bootstrap.servers", broker.kafka, "security.protocol", "SASL_PLAINTEXT", "sasl.mechanism", mechanism,
        "sasl.jaas.config", jaas, "default.api.timeout.ms", 20_000, "request.timeout.ms", 10_000));
  }

  /** Sends a message and reads it back. */
  private static void tour(Map<String, Object> login) throws Exception {
    String topic = unique("sasl");
    try (var producer = new KafkaProducer<>(login, new StringSerializer(), new StringSerializer())) {
      producer.send(new ProducerRecord<>(topic, "hello")).get();
    }
    try (var consumer = new KafkaConsumer<>(login, new StringDeserializer(), new StringDeserializer())) {
      consumer.assign(List.of(new TopicPartition(topic, 0)));
      consumer.seekToBeginning(consumer.assignment());
      var records = consumer.poll(Duration.ofSeconds(15));
      assertEquals("hello", records.iterator().next().value());
    }
  }

  private static void refused(Map<String, Object> login) {
    try (Admin admin = Admin.create(login)) {
      var error = assertThrows(ExecutionException.class, () -> admin.listTopics().names().get());
      assertInstanceOf(SaslAuthenticationException.class, error.getCause());
    }
  }

  @Test
  void passwords() throws Exception {
    try (Broker broker = Broker.own("--anonymous", "off", "--user", "ann:secret")) {
      for (String mechanism : List.of("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")) {
        tour(login(broker, mechanism, "ann", "secret"));
        refused(login(broker, mechanism, "ann", "wrong"));
        refused(login(broker, mechanism, "nobody", "secret"));
      }
    }
  }

  @Test
  void scramCredentialsAreAlteredAndOutliveAKill() throws Exception {
    try (Broker broker = Broker.own("--anonymous", "off", "--user", "ann:secret")) {
      var info = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096);
      try (Admin admin = Admin.create(login(broker, "SCRAM-SHA-512", "ann", "secret"))) {
        admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion("kim", info, "kims"))).all().get();
        assertEquals(Set.of("kim"), admin.describeUserScramCredentials().all().get().keySet());
        var few = new UserScramCredentialUpsertion("kim", new ScramCredentialInfo(info.mechanism(), 10), "x");
        var error = assertThrows(
            ExecutionException.class, () -> admin.alterUserScramCredentials(List.of(few)).all().get());
        assertInstanceOf(UnacceptableCredentialException.class, error.getCause());
      }
      broker.killAndRestart();
      tour(login(broker, "SCRAM-SHA-256", "kim", "kims"));
      refused(login(broker, "SCRAM-SHA-256", "kim", "x"));
      refused(login(broker, "PLAIN", "kim", "kims"));
      try (Admin admin = Admin.create(login(broker, "PLAIN", "ann", "secret"))) {
        var described = admin.describeUserScramCredentials(List.of("kim")).description("kim").get();
        assertEquals(List.of(info), described.credentialInfos());
        var deletion = new UserScramCredentialDeletion("kim", info.mechanism());
        admin.alterUserScramCredentials(List.of(deletion)).all().get();
        var error = assertThrows(
            ExecutionException.class, () -> admin.alterUserScramCredentials(List.of(deletion)).all().get());
        assertInstanceOf(ResourceNotFoundException.class, error.getCause());
      }
      refused(login(broker, "SCRAM-SHA-256", "kim", "kims"));
    }
  }

  /** The client logs in again on its connection, which goes on. */
  @Test
  void loginsAreRenewed() throws Exception {
    try (Broker broker = Broker.own("--anonymous", "off", "--user", "ann:secret", "--kafka-reauth", "2000");
        var producer = new KafkaProducer<>(
            login(broker, "SCRAM-SHA-512", "ann", "secret"), new StringSerializer(), new StringSerializer())) {
      String topic = unique("renewed");
      while (total(producer, "successful-reauthentication-total") < 2) {
        producer.send(new ProducerRecord<>(topic, "x")).get();
      }
      assertEquals(0, total(producer, "failed-reauthentication-total"));
    }
  }

  private static double total(KafkaProducer<?, ?> producer, String name) {
    return producer.metrics().values().stream()
        .filter(metric -> metric.metricName().name().equals(name))
        .mapToDouble(metric -> (double) metric.metricValue()).sum();
  }

  @Test
  void tokens(@TempDir Path dir) throws Exception {
    KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
    generator.initialize(2048);
    KeyPair pair = generator.generateKeyPair();
    RSAPublicKey key = (RSAPublicKey) pair.getPublic();
    Path keys = dir.resolve("jwks.json");
    Files.writeString(keys, "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}]}".formatted(
        text(key.getModulus().toByteArray()), text(key.getPublicExponent().toByteArray())));
    try (Broker broker = Broker.own(
        "--anonymous", "off", "--oauth-jwks", keys.toString(), "--oauth-issuer", "us", "--oauth-audience", "kafka")) {
      String jaas = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;";
      Map<String, Object> login = with(broker, "OAUTHBEARER", jaas);
      login.put("sasl.login.callback.handler.class", Tokens.class.getName());
      Tokens.value = token(pair, "kafka");
      tour(login);
      Tokens.value = token(pair, "other");
      refused(login);
    }
  }

  private static String text(byte[] octets) {
    int zeros = octets.length > 1 && octets[0] == 0 ? 1 : 0;
    return Base64.getUrlEncoder().withoutPadding().encodeToString(java.util.Arrays.copyOfRange(octets, zeros, octets.length));
  }

  private static String token(KeyPair pair, String audience) throws GeneralSecurityException {
    long expires = System.currentTimeMillis() / 1000 + 300;
    String claims = "{\"iss\":\"us\",\"aud\":\"%s\",\"sub\":\"svc\",\"exp\":%d}".formatted(audience, expires);
    String message = text("{\"alg\":\"RS256\"}".getBytes(StandardCharsets.UTF_8)) + "."
        + text(claims.getBytes(StandardCharsets.UTF_8));
    Signature signature = Signature.getInstance("SHA256withRSA");
    signature.initSign(pair.getPrivate());
    signature.update(message.getBytes(StandardCharsets.UTF_8));
    return message + "." + Base64.getUrlEncoder().withoutPadding().encodeToString(signature.sign());
  }

  /** Hands out the token of the test. */
  public static final class Tokens implements AuthenticateCallbackHandler {
    static volatile String value;

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}

    @Override
    public void close() {}

    @Override
    public void handle(Callback[] callbacks) {
      for (Callback callback : callbacks) {
        if (callback instanceof OAuthBearerTokenCallback wanted) {
          wanted.token(new Token(value));
        }
      }
    }
  }

  private record Token(String value) implements OAuthBearerToken {
    @Override
    public Set<String> scope() {
      return Set.of();
    }

    @Override
    public long lifetimeMs() {
      return System.currentTimeMillis() + 300_000;
    }

    @Override
    public String principalName() {
      return "svc";
    }

    @Override
    public Long startTimeMs() {
      return null;
    }
  }
}
