package bowline;

import static bowline.Broker.eventually;
import static bowline.Broker.unique;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What RabbitMQ users do, with amqp-client. */
@Timeout(60)
class AmqpTest {
  private Connection connection;
  private Channel channel;

  static ConnectionFactory factory(Broker broker) {
    ConnectionFactory factory = new ConnectionFactory();
    factory.setHost(broker.amqp.split(":")[0]);
    factory.setPort(Integer.parseInt(broker.amqp.split(":")[1]));
    factory.setAutomaticRecoveryEnabled(false);
    return factory;
  }

  @BeforeEach
  void connect() throws Exception {
    connection = factory(Broker.shared()).newConnection();
    channel = connection.createChannel();
  }

  @AfterEach
  void close() throws IOException {
    connection.abort();
  }

  private static List<Delivery> consume(Channel channel, String queue) throws IOException {
    List<Delivery> got = Collections.synchronizedList(new ArrayList<>());
    channel.basicConsume(queue, false, (tag, delivery) -> got.add(delivery), tag -> {});
    return got;
  }

  private static String text(Delivery delivery) {
    return new String(delivery.getBody());
  }

  @Test
  void tutorial() throws Exception {
    String queue = unique("tutorial");
    channel.queueDeclare(queue, true, false, false, null);
    channel.basicPublish("", queue, MessageProperties.PERSISTENT_TEXT_PLAIN, "hello".getBytes());
    List<Delivery> got = consume(channel, queue);
    eventually(() -> got.size() == 1);
    assertEquals("hello", text(got.get(0)));
    assertFalse(got.get(0).getEnvelope().isRedeliver());
    channel.basicAck(got.get(0).getEnvelope().getDeliveryTag(), false);
    assertEquals(0, channel.queueDelete(queue).getMessageCount());
  }

  @Test
  void confirms() throws Exception {
    String queue = unique("confirms");
    channel.queueDeclare(queue, true, false, false, null);
    channel.confirmSelect();
    for (int i = 0; i < 1000; i++) {
      channel.basicPublish("", queue, MessageProperties.MINIMAL_PERSISTENT_BASIC, Integer.toString(i).getBytes());
    }
    channel.waitForConfirmsOrDie(20_000);
    assertEquals(1000, channel.messageCount(queue));
    channel.basicQos(100);
    List<Delivery> got = Collections.synchronizedList(new ArrayList<>());
    channel.basicConsume(queue, false, (tag, delivery) -> {
      got.add(delivery);
      channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
    }, tag -> {});
    eventually(() -> got.size() == 1000);
    for (int i = 0; i < 1000; i++) {
      assertEquals(Integer.toString(i), text(got.get(i)));
    }
    channel.queueDelete(queue);
  }

  @Test
  void propertiesAndHeaders() throws Exception {
    String queue = channel.queueDeclare().getQueue();
    Map<String, Object> headers = new HashMap<>();
    headers.put("int", -7);
    headers.put("long", 1L << 40);
    headers.put("bool", true);
    headers.put("double", 1.5);
    headers.put("float", 0.5f);
    headers.put("byte", (byte) -3);
    headers.put("short", (short) 300);
    headers.put("decimal", new BigDecimal("3.14"));
    headers.put("time", new Date(1_700_000_000_000L));
    headers.put("void", null);
    headers.put("list", List.of(1, 2L, Map.of("three", 3)));
    headers.put("table", Map.of("deep", Map.of("er", false)));
    AMQP.BasicProperties sent = new AMQP.BasicProperties.Builder()
        .headers(headers).contentType("a/b").contentEncoding("utf-8").deliveryMode(1).priority(3).correlationId("c").replyTo("r")
        .messageId("m").timestamp(new Date(1_700_000_000_000L)).type("t").userId("guest").appId("a").build();
    channel.basicPublish("", queue, sent, new byte[0]);
    GetResponse[] got = new GetResponse[1];
    eventually(() -> {
      try {
        return (got[0] = channel.basicGet(queue, true)) != null;
      } catch (IOException e) {
        throw new IllegalStateException(e);
      }
    });
    assertEquals(sent, got[0].getProps());
    assertEquals(0, got[0].getMessageCount());
  }

  @Test
  void exchangesAndReturns() throws Exception {
    String exchange = unique("exchange");
    String queue = channel.queueDeclare().getQueue();
    channel.exchangeDeclare(exchange, BuiltinExchangeType.HEADERS, false, true, null);
    channel.queueBind(queue, exchange, "", Map.of("x-match", "any", "colour", "red", "size", 3));
    CompletableFuture<String> returned = new CompletableFuture<>();
    channel.addReturnListener(message -> returned.complete(message.getReplyCode() + " " + message.getReplyText()));
    channel.confirmSelect();
    for (Map<String, Object> headers : List.<Map<String, Object>>of(Map.of("colour", "red"), Map.of("size", 3L), Map.of("size", 4))) {
      channel.basicPublish(exchange, "k", true, new AMQP.BasicProperties.Builder().headers(headers).build(), headers.toString().getBytes());
    }
    channel.waitForConfirmsOrDie(10_000);
    assertEquals("312 NO_ROUTE", returned.get(10, TimeUnit.SECONDS));
    assertEquals(2, channel.messageCount(queue));
  }

  @Test
  void nackAndRecover() throws Exception {
    String queue = channel.queueDeclare().getQueue();
    for (int i = 0; i < 3; i++) {
      channel.basicPublish("", queue, null, new byte[] {(byte) i});
    }
    List<Delivery> got = consume(channel, queue);
    eventually(() -> got.size() == 3);
    channel.basicNack(got.get(2).getEnvelope().getDeliveryTag(), true, true);
    eventually(() -> got.size() == 6);
    channel.basicRecover(true);
    eventually(() -> got.size() == 9);
    for (int i = 3; i < 9; i++) {
      assertTrue(got.get(i).getEnvelope().isRedeliver());
      assertEquals(i % 3, got.get(i).getBody()[0]);
    }
  }

  @Test
  void errorsCloseTheChannel() {
    String queue = unique("missing");
    IOException refused = assertThrows(IOException.class, () -> channel.queueDeclarePassive(queue));
    AMQP.Channel.Close close = (AMQP.Channel.Close) ((ShutdownSignalException) refused.getCause()).getReason();
    assertEquals(404, close.getReplyCode());
    assertEquals("NOT_FOUND - no queue '" + queue + "' in vhost '/'", close.getReplyText());
    assertEquals(50, close.getClassId());
    assertEquals(10, close.getMethodId());
    assertTrue(connection.isOpen());
  }

  @Test
  void wrongPassword() {
    ConnectionFactory factory = factory(Broker.shared());
    factory.setPassword("wrong");
    assertThrows(AuthenticationFailureException.class, factory::newConnection);
  }

  @Test
  void cancelledWithTheQueue() throws Exception {
    String queue = unique("gone");
    channel.queueDeclare(queue, true, false, false, null);
    CompletableFuture<String> cancelled = new CompletableFuture<>();
    String tag = channel.basicConsume(queue, true, (t, delivery) -> {}, cancelled::complete);
    connection.createChannel().queueDelete(queue);
    assertEquals(tag, cancelled.get(10, TimeUnit.SECONDS));
  }

  @Test
  void largeBodiesAndManyChannels() throws Exception {
    byte[] body = new byte[2_000_000];
    for (int i = 0; i < body.length; i++) {
      body[i] = (byte) (i * 31);
    }
    List<Channel> channels = new ArrayList<>();
    for (int i = 0; i < 200; i++) {
      channels.add(connection.createChannel());
    }
    String queue = channels.get(7).queueDeclare().getQueue();
    channels.get(99).basicPublish("", queue, null, body);
    List<Delivery> got = consume(channels.get(199), queue);
    eventually(() -> got.size() == 1);
    assertArrayEquals(body, got.get(0).getBody());
    for (Channel each : channels) {
      each.close();
    }
  }

  /** The client's own recovery finds exclusive queue, binding and consumer again; confirmed messages are there. */
  @Test
  void automaticRecoveryAfterAKill() throws Exception {
    try (Broker broker = Broker.own()) {
      ConnectionFactory factory = factory(broker);
      factory.setAutomaticRecoveryEnabled(true);
      factory.setNetworkRecoveryInterval(200);
      try (Connection recovering = factory.newConnection()) {
        Channel listening = recovering.createChannel();
        listening.exchangeDeclare("events", BuiltinExchangeType.FANOUT, true);
        String mine = listening.queueDeclare().getQueue();
        listening.queueBind(mine, "events", "");
        List<Delivery> got = consume(listening, mine);
        listening.queueDeclare("kept", true, false, false, null);
        listening.confirmSelect();
        for (int i = 0; i < 100; i++) {
          listening.basicPublish("", "kept", MessageProperties.MINIMAL_PERSISTENT_BASIC, Integer.toString(i).getBytes());
        }
        listening.waitForConfirmsOrDie(10_000);
        broker.killAndRestart();
        try (Connection other = factory(broker).newConnection()) {
          Channel publishing = other.createChannel();
          eventually(() -> {
            try {
              publishing.basicPublish("events", "", null, "news".getBytes());
              return !got.isEmpty();
            } catch (IOException e) {
              throw new IllegalStateException(e);
            }
          });
          for (int i = 0; i < 100; i++) {
            assertEquals(Integer.toString(i), new String(publishing.basicGet("kept", true).getBody()));
          }
        }
      }
    }
  }
}
