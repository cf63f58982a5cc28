import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.CountDownLatch;

/**
 * Parcels ADDRESS COUNT CONCURRENCY: messages of every outcome through RabbitMQ's Java client.
 *
 * <p>Each of CONCURRENCY connections, one by blocking sockets and the next by Netty, publishes its part of COUNT
 * messages on two threads, each with a channel of its own and each message after PACE: the one waits for each confirm,
 * the other for all at its end. They are consumed on a third. At the end a line of JSON for each message published,
 * delivered and got, and when that began: of a delivery, when it was published.
 */
final class Parcels {
    private static final String EXCHANGE = "parcels";
    private static final int KINDS = 7;
    private static final Queue<Line> TOLD = new ConcurrentLinkedQueue<>();

    record Line(long at, String operation, String exchange, String key, String queue, String id, int size, Long tag,
            boolean redelivered, String settled, String error) {
        static Line published(long at, String exchange, String key, String id, int size, String error) {
            return new Line(at, "publish", exchange, key, null, id, size, null, false, null, error);
        }

        /** How what was delivered or got is told, but for what is done with it. */
        static Line received(long at, String operation, Envelope envelope, String queue, String id, int size) {
            return new Line(at, operation, envelope.getExchange(), envelope.getRoutingKey(), queue, id, size,
                envelope.getDeliveryTag(), envelope.isRedeliver(), null, null);
        }

        Line settled(String how) {
            return new Line(at, operation, exchange, key, queue, id, size, tag, redelivered, how, error);
        }

        Line failed(String error) {
            return new Line(at, operation, exchange, key, queue, id, size, tag, redelivered, settled, error);
        }
    }

    private final int part;
    private final String queue;
    private final String key;
    private final String full;

    private Parcels(int part) {
        this.part = part;
        queue = "java-" + part;
        key = "java-key-" + part;
        full = "java-full-" + part;
    }

    private static int kind(String id) {
        return Integer.parseInt(id.split("-")[2]) % KINDS;
    }

    /** Publishes, and tells when it is confirmed. */
    private static final class Sender {
        private final Channel channel;
        private final Map<Long, Line> unconfirmed = new ConcurrentSkipListMap<>();
        private final Set<String> returned = ConcurrentHashMap.newKeySet();

        Sender(Channel channel) throws IOException {
            this.channel = channel;
            channel.confirmSelect();
            channel.addReturnListener(back -> returned.add(back.getProperties().getMessageId()));
            channel.addConfirmListener((tag, multiple) -> confirmed(tag, multiple, null),
                (tag, multiple) -> confirmed(tag, multiple, "nack"));
        }

        private void confirmed(long last, boolean multiple, String error) {
            for (var tag : List.copyOf(unconfirmed.keySet())) {
                if (tag == last || multiple && tag < last) {
                    var line = unconfirmed.remove(tag);
                    TOLD.add(line.failed(returned.contains(line.id) ? "312" : error));
                }
            }
        }

        void publish(String exchange, String key, String id, int size, boolean mandatory) throws IOException {
            var at = Told.now();
            var line = Line.published(at, exchange, key, id, size, null);
            unconfirmed.put(channel.getNextPublishSeqNo(), line);
            channel.basicPublish(exchange, key, mandatory, properties(id, at), new byte[size]);
        }
    }

    /** With fields of every type. */
    private static AMQP.BasicProperties properties(String id, long at) {
        var headers = new HashMap<String, Object>(Map.of("at", at, "text", "x", "int", 1, "short", (short) 2,
            "byte", (byte) 3, "decimal", new BigDecimal("1.50"), "float", 1.5f, "double", 2.5, "bool", true,
            "bytes", new byte[] {0, (byte) 0xce}));
        headers.put("time", new Date(0));
        headers.put("nothing", null);
        headers.put("list", List.of(1L, "x", Map.of("deep", List.of())));
        return new AMQP.BasicProperties.Builder().messageId(id).correlationId(id).headers(headers).build();
    }

    private void send(Channel channel, List<Integer> calls, String box, boolean waits) throws Exception {
        var sender = new Sender(channel);
        for (var call : calls) {
            // The other thread waits as long.
            Told.pace(2);
            var id = "java-%d-%d".formatted(part, call);
            switch (call % KINDS) {
                case 0 -> sender.publish(EXCHANGE, key, id, 10, false);
                case 1 -> sender.publish(EXCHANGE, key, id, 10_000, false);
                case 2 -> sender.publish(EXCHANGE, "nobody", id, 0, true);
                case 3 -> sender.publish("", box, id, 3, false);
                case 4 -> sender.publish("", full, id, 100, false);
                default -> sender.publish(EXCHANGE, key, id, 20, false);
            }
            if (waits) {
                channel.waitForConfirms();
            }
        }
        channel.waitForConfirms();
        channel.close();
    }

    /** Settles what is delivered in every way; the last one settles all. */
    private final class Receiver extends DefaultConsumer {
        private final List<Line> held = new ArrayList<>();
        private final CountDownLatch due;

        Receiver(Channel channel, int due) {
            super(channel);
            this.due = new CountDownLatch(due);
        }

        @Override
        public void handleDelivery(String consumer, Envelope envelope, AMQP.BasicProperties properties, byte[] body)
                throws IOException {
            var tag = envelope.getDeliveryTag();
            var kind = kind(properties.getMessageId());
            var at = (long) properties.getHeaders().get("at");
            var line = Line.received(at, "deliver", envelope, queue, properties.getMessageId(), body.length);
            var isLast = due.getCount() == 1;
            if (kind == 5 && !envelope.isRedeliver()) {
                getChannel().basicNack(tag, false, true);
                TOLD.add(line.settled("nack"));
                return;
            }
            if (kind == 1 && !isLast) {
                held.add(line);
            } else if (kind == 0 && !isLast) {
                getChannel().basicAck(tag, false);
                TOLD.add(line.settled("ack"));
            } else if (kind == 6 && !isLast) {
                getChannel().basicReject(tag, false);
                TOLD.add(line.settled("reject"));
            } else {
                getChannel().basicAck(tag, true);
                held.add(line);
                held.forEach(one -> TOLD.add(one.settled("ack")));
                held.clear();
            }
            due.countDown();
        }
    }

    /** Every other one is acknowledged. */
    private static void takeOut(Channel channel, String box) throws IOException {
        for (var isAutomatic = true;; isAutomatic = !isAutomatic) {
            var at = Told.now();
            var message = channel.basicGet(box, isAutomatic);
            if (message == null) {
                return;
            }
            var line = Line.received(at, "get", message.getEnvelope(), box, message.getProps().getMessageId(),
                message.getBody().length);
            if (!isAutomatic) {
                channel.basicAck(message.getEnvelope().getDeliveryTag(), false);
            }
            TOLD.add(line.settled(isAutomatic ? null : "ack"));
        }
    }

    /** Where there is no exchange of that name, the channel is closed. */
    private void fail(Channel channel) throws Exception {
        channel.confirmSelect();
        var closed = new CompletableFuture<ShutdownSignalException>();
        channel.addShutdownListener(closed::complete);
        var id = "java-%d-nowhere".formatted(part);
        var at = Told.now();
        channel.basicPublish("nowhere", key, properties(id, at), new byte[5]);
        var code = ((AMQP.Channel.Close) closed.get().getReason()).getReplyCode();
        TOLD.add(Line.published(at, "nowhere", key, id, 5, String.valueOf(code)));
    }

    private void calls(String address, int count, int concurrency) throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri("amqp://guest:guest@" + address);
        factory.setAutomaticRecoveryEnabled(false);
        factory.setRequestedFrameMax(8192);
        if (part % 2 == 1) {
            factory.netty();
        }
        try (var connection = factory.newConnection()) {
            var channel = connection.createChannel();
            channel.exchangeDeclare(EXCHANGE, "direct");
            channel.queueDeclare(queue, false, true, false, null);
            channel.queueBind(queue, EXCHANGE, key);
            channel.queueDeclare(full, false, true, false, Map.of("x-max-length", 1, "x-overflow", "reject-publish"));
            var box = channel.queueDeclare().getQueue();
            var halves = List.of(new ArrayList<Integer>(), new ArrayList<Integer>());
            var due = 0;
            for (var call = part; call < count; call += concurrency) {
                halves.get(call / concurrency % 2).add(call);
                due += List.of(0, 1, 5, 6).contains(call % KINDS) ? 1 : 0;
            }
            var receiver = new Receiver(channel, due);
            channel.basicConsume(queue, false, receiver);
            var senders = List.of(connection.createChannel(), connection.createChannel());
            Told.inParts(2, half -> send(senders.get(half), halves.get(half), box, half == 0));
            receiver.due.await();
            takeOut(channel, box);
            fail(connection.createChannel());
        }
    }

    public static void main(String[] arguments) throws Exception {
        var count = Integer.parseInt(arguments[1]);
        var concurrency = Integer.parseInt(arguments[2]);
        Told.inParts(concurrency, part -> new Parcels(part).calls(arguments[0], count, concurrency));
        Told.print(TOLD);
    }
}
