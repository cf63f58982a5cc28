import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Publish ADDRESS COUNT LARGE NAME [netty]: the messages of propagation/publish.py through RabbitMQ's Java client, by sockets
 * that block, or by Netty.
 *
 * <p>On one connection, from three threads with a channel each, of which each waits for all confirms at its end.
 */
final class Publish {
    private static final String OWN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    private static final int[] SIZES = {0, 1, 100, 5_000, 20, 4_096, 0, 131_064, 300, 3, 131_065, 60_000, 200_000};
    private static final int PERIOD = 251;
    private static final int CHANNELS = 3;
    private static final long PATIENCE = 60_000;

    /** In this order, so that the same table is the same bytes. */
    private static Map<String, Object> table(Object... entries) {
        var table = new LinkedHashMap<String, Object>();
        for (var at = 0; at < entries.length; at += 2) {
            table.put((String) entries[at], entries[at + 1]);
        }
        return table;
    }

    private static Map<String, Object> all() {
        return table("true", true, "byte", (byte) 1, "short", (short) -300, "int", 70_000, "long", 1L << 40, "float", 0.5f,
            "double", 1.5, "text", "ü", "bytes", "\0x".getBytes(StandardCharsets.UTF_8), "nothing", null,
            "decimal", new BigDecimal("1.5"), "time", new Date(1_000), "list", Arrays.asList(1, "two", null),
            "table", table("traceparent", OWN, "deep", table("deeper", table())));
    }

    private static Map<String, Object> many() {
        var table = table();
        for (var at = 0; at < 40; at++) {
            table.put("x-" + at, at);
        }
        return table;
    }

    private static BasicProperties properties(int number) {
        var of = new BasicProperties.Builder();
        switch (number % 10) {
            case 1 -> of.contentType("text/plain").headers(table("a", 1, "b", "x".repeat(number % 200)));
            case 2 -> of.contentType("t").contentEncoding("gzip").messageId(String.valueOf(number)).priority(3);
            case 3 -> of.headers(table("n", table("m", List.of(1, true)), "traceparent", OWN));
            case 4 -> of.headers(all()).deliveryMode(2);
            case 5 -> of.headers(many());
            case 6 -> of.contentEncoding("e".repeat(255)).headers(table("a", "b")).deliveryMode(1).priority(9)
                .correlationId("c".repeat(255)).replyTo("r").expiration("60000").messageId("m").timestamp(new Date(1_000))
                .type("t").userId("guest").appId("a");
            case 7 -> of.headers(table("traceparent", OWN)).appId("a");
            case 8 -> of.headers(table("long", "l".repeat(5_000)));
            case 9 -> of.headers(table()).contentType("");
            default -> { }
        }
        return of.build();
    }

    private static byte[] body(int number, int large) {
        var body = new byte[number < large ? 10 << 20 : SIZES[number / 10 % SIZES.length]];
        for (var at = 0; at < body.length; at++) {
            body[at] = (byte) ((number + at) % PERIOD);
        }
        return body;
    }

    public static void main(String[] arguments) throws Exception {
        var count = Integer.parseInt(arguments[1]);
        var large = Integer.parseInt(arguments[2]);
        var factory = new ConnectionFactory();
        factory.setUri("amqp://guest:guest@" + arguments[0]);
        if (arguments.length > 4) {
            factory.netty();
        }
        try (var connection = factory.newConnection()) {
            Told.inParts(CHANNELS, part -> {
                try (Channel channel = connection.createChannel()) {
                    channel.confirmSelect();
                    for (var number = part; number < count; number += CHANNELS) {
                        channel.basicPublish("amq.topic", arguments[3] + "." + number, properties(number), body(number, large));
                    }
                    channel.waitForConfirmsOrDie(PATIENCE);
                }
            });
        }
        // Netty would wait for more to do.
        System.exit(0);
    }
}
