package bowline;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.UUID;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Assumptions;

/**
 * A Bowline process of the tests' own, or what runs already: BOWLINE_BIN names the binary; BOWLINE_AMQP=host:port and
 * BOWLINE_KAFKA=host:port point the tests at a running broker (any RabbitMQ or Kafka) instead.
 */
final class Broker implements AutoCloseable {
  final String amqp;
  final String kafka;
  private final Path dir;
  private final List<String> options;
  private Process process;

  private Broker(String amqp, String kafka, Path dir, String... options) {
    this.amqp = amqp;
    this.kafka = kafka;
    this.dir = dir;
    this.options = List.of(options);
  }

  /** One for all tests; it ends with them. */
  private static Broker shared;

  static synchronized Broker shared() {
    if (shared == null) {
      String amqp = System.getenv("BOWLINE_AMQP");
      String kafka = System.getenv("BOWLINE_KAFKA");
      shared = amqp != null || kafka != null ? new Broker(amqp, kafka, null) : started();
      Runtime.getRuntime().addShutdownHook(new Thread(shared::close));
    }
    return shared;
  }

  /** One that the test may kill. */
  static Broker own(String... options) {
    Assumptions.assumeTrue(System.getenv("BOWLINE_AMQP") == null && System.getenv("BOWLINE_KAFKA") == null);
    return started(options);
  }

  private static Broker started(String... options) {
    try {
      Broker broker = new Broker(freeAddress(), freeAddress(), Files.createTempDirectory("bowline-java-"), options);
      broker.start();
      return broker;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String freeAddress() throws IOException {
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      return "127.0.0.1:" + socket.getLocalPort();
    }
  }

  private void start() throws IOException {
    List<String> command = new ArrayList<>(List.of(
        System.getenv("BOWLINE_BIN"), "serve", "--no-probe", "--log-level", "warn",
        "--data-dir", dir.resolve("data").toString(), "--amqp-addr", amqp, "--kafka-addr", kafka));
    command.addAll(options);
    process = new ProcessBuilder(command)
        .redirectError(ProcessBuilder.Redirect.INHERIT)
        .start();
    BufferedReader lines = new BufferedReader(new InputStreamReader(process.getInputStream()));
    // The first line is printed when the listeners are up.
    String first = lines.readLine();
    if (first == null || !first.contains("is ready")) {
      throw new IOException("bowline did not start: " + first);
    }
    Thread drain = new Thread(() -> lines.lines().forEach(line -> {}));
    drain.setDaemon(true);
    drain.start();
  }

  void killAndRestart() throws IOException, InterruptedException {
    process.destroyForcibly().waitFor();
    start();
  }

  @Override
  public void close() {
    if (process == null) {
      return;
    }
    process.destroy();
    try {
      process.waitFor();
      try (var files = Files.walk(dir)) {
        files.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
      }
    } catch (IOException | InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  static String unique(String what) {
    return "java-" + what + "-" + UUID.randomUUID();
  }

  /** Polls until it is true. */
  static void eventually(BooleanSupplier check) throws InterruptedException {
    long end = System.nanoTime() + 30_000_000_000L;
    while (!check.getAsBoolean()) {
      Assertions.assertTrue(System.nanoTime() < end, "it never came true");
      Thread.sleep(20);
    }
  }
}
