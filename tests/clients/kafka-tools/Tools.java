import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command line tools one after the other in one JVM, because starting one for each takes seconds.
 *
 * A line in: standard input, main class and arguments, each in base64, with spaces between. A line out: exit status,
 * standard output and standard error, likewise.
 */
public class Tools {
    /** What the running tool wants done at its end. */
    private static final List<Runnable> HOOKS = new ArrayList<>();
    /** The status of a tool that ended by an exception. */
    private static final int THREW = 99;
    private static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true);

    public static void main(String[] ignored) throws Exception {
        Exit.setExitProcedure(Tools::exit);
        Exit.setHaltProcedure(Tools::exit);
        Exit.setShutdownHookAdder((name, hook) -> HOOKS.add(hook));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = Arrays.stream(line.split(" ", -1)).map(Tools::decoded).toArray(String[]::new);
            run(words[0], words[1], Arrays.copyOfRange(words, 2, words.length));
        }
        Runtime.getRuntime().halt(0);
    }

    /** How the tool wanted to end first: some catch what is thrown here and take it for a failure. */
    private static Exited first;

    private static void exit(int status, String message) {
        Exited exited = new Exited(status, message);
        if (first == null) {
            first = exited;
            if (message != null) {
                System.err.println(message);
            }
        }
        throw exited;
    }

    private static void run(String input, String tool, String[] arguments) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        ByteArrayOutputStream err = new ByteArrayOutputStream();
        InputStream stdin = System.in;
        System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
        System.setOut(new PrintStream(out, true));
        System.setErr(new PrintStream(err, true));
        first = null;
        int status = 0;
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException e) {
            status = THREW;
            if (first == null) {
                e.getCause().printStackTrace();
            }
        } catch (Throwable e) {
            status = THREW;
            e.printStackTrace();
        }
        if (first != null) {
            status = first.status;
        }
        // Producers send what they still hold when the program ends.
        for (Runnable hook : HOOKS) {
            try {
                hook.run();
            } catch (Throwable e) {
                e.printStackTrace();
            }
        }
        HOOKS.clear();
        System.setIn(stdin);
        OUT.println(status + " " + encoded(out) + " " + encoded(err));
    }

    private static String decoded(String word) {
        return new String(Base64.getDecoder().decode(word), StandardCharsets.UTF_8);
    }

    private static String encoded(ByteArrayOutputStream bytes) {
        return Base64.getEncoder().encodeToString(bytes.toByteArray());
    }

    private static class Exited extends RuntimeException {
        final int status;

        Exited(int status, String message) {
            super(message);
            this.status = status;
        }
    }
}
