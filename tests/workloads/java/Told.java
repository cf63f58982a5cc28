import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** What the workloads have in common: work in parts, and lines of JSON at their end. */
final class Told {
    private static final Gson GSON = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
    private static final int PACE = Integer.parseInt(System.getenv().getOrDefault("PACE", "0ms").replace("ms", ""));

    interface Part {
        void work(int part) throws Exception;
    }

    /** Each part in a thread of its own; one that fails ends the program. */
    static void inParts(int parts, Part part) throws Exception {
        var pool = Executors.newFixedThreadPool(parts);
        var all = new ArrayList<Future<?>>();
        for (var at = 0; at < parts; at++) {
            var number = at;
            all.add(pool.submit(() -> {
                part.work(number);
                return null;
            }));
        }
        for (var one : all) {
            try {
                one.get();
            } catch (Exception failure) {
                failure.printStackTrace();
                System.exit(1);
            }
        }
        pool.shutdown();
    }

    /** Nanoseconds since the Unix epoch. */
    static long now() {
        var now = Instant.now();
        return now.getEpochSecond() * 1_000_000_000 + now.getNano();
    }

    static void pace(int times) throws InterruptedException {
        Thread.sleep((long) PACE * times);
    }

    static void print(Collection<?> lines) {
        var text = new StringBuilder();
        for (var line : lines) {
            text.append(GSON.toJson(line)).append('\n');
        }
        System.out.print(text);
    }
}
