package bowline;

import static bowline.Broker.eventually;
import static bowline.Broker.unique;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.amqp.AmqpRejectAndDontRequeueException;
import org.springframework.amqp.core.AcknowledgeMode;
import org.springframework.amqp.core.Binding;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.CustomExchange;
import org.springframework.amqp.core.DirectExchange;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageListener;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.core.TopicExchange;
import org.springframework.amqp.rabbit.config.RetryInterceptorBuilder;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory.ConfirmType;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.DirectMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;
import org.springframework.amqp.rabbit.retry.RepublishMessageRecoverer;

/** Spring AMQP without the container: admin, template, listeners with retries and dead letters, as Spring Boot wires them. */
@Timeout(60)
class SpringTest {
  private CachingConnectionFactory connections;
  private RabbitAdmin admin;
  private RabbitTemplate template;

  @BeforeEach
  void connect() {
    use(Broker.shared());
  }

  private void use(Broker broker) {
    if (connections != null) {
      connections.destroy();
    }
    connections = new CachingConnectionFactory(AmqpTest.factory(broker));
    connections.setPublisherConfirmType(ConfirmType.CORRELATED);
    connections.setPublisherReturns(true);
    admin = new RabbitAdmin(connections);
    template = new RabbitTemplate(connections);
    template.setMandatory(true);
    template.setReceiveTimeout(20_000);
  }

  @AfterEach
  void close() {
    connections.destroy();
  }

  private <C extends AbstractMessageListenerContainer> C listening(C container, Queue queue, MessageListener listener) {
    container.setQueues(queue);
    container.setMessageListener(listener);
    container.afterPropertiesSet();
    container.start();
    return container;
  }

  private Queue declared(Queue queue) {
    assertNotNull(admin.declareQueue(queue));
    return queue;
  }

  @Test
  void confirmsAndReturnsAreCorrelated() throws Exception {
    Queue queue = declared(QueueBuilder.durable(unique("confirms")).build());
    CorrelationData kept = new CorrelationData();
    template.convertAndSend("", queue.getName(), "kept", kept);
    assertTrue(kept.getFuture().get(20, TimeUnit.SECONDS).isAck());
    assertNull(kept.getReturned());
    CorrelationData lost = new CorrelationData();
    template.convertAndSend("", unique("nobody"), "lost", lost);
    assertTrue(lost.getFuture().get(20, TimeUnit.SECONDS).isAck());
    assertEquals(312, lost.getReturned().getReplyCode());
    assertEquals("kept", template.receiveAndConvert(queue.getName()));
    assertEquals(0, admin.getQueueInfo(queue.getName()).getMessageCount());
    assertTrue(admin.deleteQueue(queue.getName()));
    assertNull(admin.getQueueInfo(queue.getName()));
  }

  @Test
  void aListenerThatFailsDeadLetters() throws Exception {
    DirectExchange dlx = new DirectExchange(unique("dlx"));
    admin.declareExchange(dlx);
    Queue dead = declared(QueueBuilder.durable(unique("dead")).build());
    admin.declareBinding(BindingBuilder.bind(dead).to(dlx).with("dead"));
    for (boolean quorum : new boolean[] {false, true}) {
      QueueBuilder builder = QueueBuilder.durable(unique("work")).deadLetterExchange(dlx.getName()).deadLetterRoutingKey("dead");
      Queue work = declared(quorum ? builder.quorum().deliveryLimit(5).build() : builder.build());
      AtomicInteger attempts = new AtomicInteger();
      SimpleMessageListenerContainer container = new SimpleMessageListenerContainer(connections);
      container.setConcurrentConsumers(2);
      container.setPrefetchCount(10);
      // Spring retries in the client, then rejects; the broker dead-letters.
      container.setAdviceChain(RetryInterceptorBuilder.stateless().maxAttempts(3).backOffOptions(10, 2, 100)
          .recoverer((arguments, cause) -> {
            throw new AmqpRejectAndDontRequeueException("given up", cause);
          }).build());
      listening(container, work, message -> {
        attempts.incrementAndGet();
        throw new IllegalStateException("it does not work");
      });
      template.convertAndSend("", work.getName(), "job");
      Message letter = template.receive(dead.getName());
      container.stop();
      assertEquals("job", new String(letter.getBody()));
      assertEquals(3, attempts.get());
      List<Map<String, ?>> deaths = letter.getMessageProperties().getXDeathHeader();
      assertEquals(work.getName(), deaths.get(0).get("queue"));
      assertEquals("rejected", deaths.get(0).get("reason"));
      assertEquals(List.of(work.getName()), deaths.get(0).get("routing-keys"));
      assertEquals(1L, deaths.get(0).get("count"));
      admin.deleteQueue(work.getName());
    }
    admin.deleteQueue(dead.getName());
    admin.deleteExchange(dlx.getName());
  }

  @Test
  void aRecovererRepublishesWithTheCause() {
    Queue errors = declared(QueueBuilder.durable(unique("errors")).build());
    Queue work = declared(QueueBuilder.durable(unique("work")).build());
    DirectMessageListenerContainer container = new DirectMessageListenerContainer(connections);
    container.setAdviceChain(RetryInterceptorBuilder.stateless().maxAttempts(2).backOffOptions(10, 1, 10)
        .recoverer(new RepublishMessageRecoverer(template, "", errors.getName())).build());
    listening(container, work, message -> {
      throw new IllegalStateException("a long cause ".repeat(200));
    });
    template.convertAndSend("", work.getName(), "job");
    Message failed = template.receive(errors.getName());
    container.stop();
    String cause = String.valueOf(failed.getMessageProperties().<Object>getHeader("x-exception-message"));
    assertTrue(cause.startsWith("a long cause"), cause);
    assertEquals(work.getName(), failed.getMessageProperties().getHeader("x-original-routingKey"));
    admin.deleteQueue(errors.getName());
    admin.deleteQueue(work.getName());
  }

  @Test
  void requestsAreAnswered() {
    Queue requests = declared(new Queue(unique("requests"), false, false, true));
    SimpleMessageListenerContainer server = listening(new SimpleMessageListenerContainer(connections), requests, message ->
        template.convertAndSend("", message.getMessageProperties().getReplyTo(), new String(message.getBody()).toUpperCase(),
            reply -> {
              reply.getMessageProperties().setCorrelationId(message.getMessageProperties().getCorrelationId());
              return reply;
            }));
    template.setReplyTimeout(20_000);
    // Direct reply-to is Spring's default; a queue for each request the older way.
    assertEquals("HELLO", template.convertSendAndReceive("", requests.getName(), "hello"));
    template.setUseTemporaryReplyQueues(true);
    assertEquals("AGAIN", template.convertSendAndReceive("", requests.getName(), "again"));
    server.stop();
  }

  @Test
  void topicsAndTransactions() throws Exception {
    TopicExchange topics = new TopicExchange(unique("topics"), false, true);
    admin.declareExchange(topics);
    Queue queue = declared(new Queue(unique("interested"), false, false, true));
    admin.declareBinding(BindingBuilder.bind(queue).to(topics).with("orders.*.created"));
    BlockingQueue<String> got = new LinkedBlockingQueue<>();
    CachingConnectionFactory plain = new CachingConnectionFactory(AmqpTest.factory(Broker.shared()));
    RabbitTemplate transacted = new RabbitTemplate(plain);
    transacted.setChannelTransacted(true);
    SimpleMessageListenerContainer container = new SimpleMessageListenerContainer(plain);
    container.setChannelTransacted(true);
    container.setDefaultRequeueRejected(true);
    AtomicInteger failures = new AtomicInteger();
    listening(container, queue, message -> {
      // What a listener sends in its transaction goes out with its acknowledgement, or not at all.
      transacted.convertAndSend("", queue.getName() + ".out", new String(message.getBody()));
      if (failures.incrementAndGet() == 1) {
        throw new IllegalStateException("once");
      }
      got.add(new String(message.getBody()));
    });
    Queue out = declared(new Queue(queue.getName() + ".out", false, false, true));
    template.convertAndSend(topics.getName(), "orders.eu.created", "order");
    eventually(() -> got.size() == 1);
    eventually(() -> admin.getQueueInfo(out.getName()).getMessageCount() == 1);
    container.stop();
    plain.destroy();
    admin.deleteQueue(out.getName());
  }

  @Test
  void delayedMessages() {
    org.junit.jupiter.api.Assumptions.assumeTrue(System.getenv("BOWLINE_AMQP") == null);
    CustomExchange exchange =
        new CustomExchange(unique("delayed"), "x-delayed-message", true, false, Map.of("x-delayed-type", "direct"));
    admin.declareExchange(exchange);
    Queue queue = declared(QueueBuilder.nonDurable(unique("later")).build());
    admin.declareBinding(new Binding(queue.getName(), Binding.DestinationType.QUEUE, exchange.getName(), "k", null));
    // Delayed messages count as routed here: with the plugin, mandatory ones come back.
    template.setMandatory(false);
    long began = System.nanoTime();
    template.convertAndSend(exchange.getName(), "k", "later", message -> {
      message.getMessageProperties().setDelayLong(300L);
      return message;
    });
    assertEquals("later", template.receiveAndConvert(queue.getName()));
    assertTrue(System.nanoTime() - began > 290_000_000L);
    admin.deleteExchange(exchange.getName());
    admin.deleteQueue(queue.getName());
  }

  /** A listener container survives the loss of the broker, and declares again what was not durable. */
  @Test
  void listenersComeBackAfterAKill() throws Exception {
    try (Broker broker = Broker.own()) {
      use(broker);
      Queue queue = declared(QueueBuilder.durable("jobs").quorum().build());
      BlockingQueue<String> got = new LinkedBlockingQueue<>();
      SimpleMessageListenerContainer container = new SimpleMessageListenerContainer(connections);
      container.setAcknowledgeMode(AcknowledgeMode.AUTO);
      container.setRecoveryInterval(100);
      listening(container, queue, message -> got.add(new String(message.getBody())));
      template.convertAndSend("", "jobs", "before");
      assertEquals("before", got.poll(20, TimeUnit.SECONDS));
      broker.killAndRestart();
      eventually(() -> {
        try {
          template.convertAndSend("", "jobs", "after");
          return true;
        } catch (org.springframework.amqp.AmqpException gone) {
          return false;
        }
      });
      // The acknowledgement of the first may have been lost with the broker: then it comes once more.
      eventually(() -> "after".equals(got.poll()));
      container.stop();
    }
  }
}
