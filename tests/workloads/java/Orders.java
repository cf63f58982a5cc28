import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Grpc;
import io.grpc.HandlerRegistry;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.ServerCall;
import io.grpc.ServerMethodDefinition;
import io.grpc.Status;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Orders serve PORT | Orders call ADDRESS COUNT CONCURRENCY [KIND...]: gRPC by grpc-java; see go/orders.
 *
 * <p>The server reads and writes by Netty's own epoll, the client by NIO.
 */
final class Orders {
    private static final List<String> ALL = List.of("One", "List", "Send", "Chat", "Fail", "None", "One", "Slow");

    private static final int[] SIZES = {0, 1, 100, 4_096, 16_379, 16_384, 65_536, 200_000, 1 << 20};

    record Line(long at, String path, int code, int sent, int received) {}

    /** Messages that are bytes already. */
    private static final class Raw implements MethodDescriptor.Marshaller<byte[]> {
        @Override
        public InputStream stream(byte[] message) {
            return new ByteArrayInputStream(message);
        }

        @Override
        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException failure) {
                throw new UncheckedIOException(failure);
            }
        }
    }

    private static String kind(String path) {
        return path.substring(path.lastIndexOf('/') + 1);
    }

    /** `path` has no slash at its begin here. */
    private static MethodDescriptor<byte[], byte[]> method(String path) {
        var type = switch (kind(path)) {
            case "List" -> MethodType.SERVER_STREAMING;
            case "Send" -> MethodType.CLIENT_STREAMING;
            case "Chat" -> MethodType.BIDI_STREAMING;
            default -> MethodType.UNARY;
        };
        return MethodDescriptor.newBuilder(new Raw(), new Raw()).setType(type).setFullMethodName(path).build();
    }

    private static final class Methods extends HandlerRegistry {
        @Override
        public ServerMethodDefinition<?, ?> lookupMethod(String path, String authority) {
            if (kind(path).equals("None") || !ALL.contains(kind(path))) {
                return null;
            }
            return ServerMethodDefinition.create(method(path), (call, fields) -> new Answer(call));
        }
    }

    private static final class Answer extends ServerCall.Listener<byte[]> {
        private final ServerCall<byte[], byte[]> call;
        private final String kind;
        private byte[] first;
        private boolean begun;

        Answer(ServerCall<byte[], byte[]> call) {
            this.call = call;
            kind = kind(call.getMethodDescriptor().getFullMethodName());
            call.request(Integer.MAX_VALUE);
        }

        @Override
        public void onMessage(byte[] message) {
            if (first == null) {
                first = message;
            }
            if (kind.equals("Chat")) {
                send(message);
            }
        }

        @Override
        public void onHalfClose() {
            switch (kind) {
                case "One", "Send" -> send(first);
                case "List" -> {
                    for (var at = 0; at < 3; at++) {
                        send(first);
                    }
                }
                case "Fail" -> {
                    var status = Status.fromCodeValue(Integer.parseInt(new String(first)));
                    call.close(status.withDescription("as asked: 100 %"), new Metadata());
                    return;
                }
                case "Slow" -> {
                    return;
                }
                default -> { }
            }
            call.close(Status.OK, new Metadata());
        }

        private void send(byte[] message) {
            if (!begun) {
                call.sendHeaders(new Metadata());
                begun = true;
            }
            call.sendMessage(message);
        }
    }

    private static byte[] bulk(int number) {
        var place = number / 8;
        var message = new byte[place % 500 == 3 ? 10 << 20 : SIZES[place % SIZES.length]];
        for (var at = 0; at < message.length; at++) {
            message[at] = (byte) ((number + at) % 251);
        }
        return message;
    }

    private static Line call(Channel channel, List<String> kinds, int number) {
        var at = Told.now();
        var kind = kinds.get(number % kinds.size());
        var path = "shop.Orders/" + kind;
        var sent = switch (kind) {
            case "Send" -> 4;
            case "Chat" -> 5;
            default -> 1;
        };
        // The large one is more than one frame, and more than a window.
        var text = kind.equals("Fail") ? String.valueOf(number / 8 % 16 + 1)
            : kinds == ALL && number % 8 == 6 ? "large ".repeat(15_000) : "order";
        var message = kind.equals("Bulk") ? bulk(number) : text.getBytes();
        var options = CallOptions.DEFAULT.withDeadlineAfter(kind.equals("Slow") ? 60 : 60_000, TimeUnit.MILLISECONDS);
        ClientCall<byte[], byte[]> call = channel.newCall(method(path), options);
        var told = new CompletableFuture<Line>();
        call.start(new ClientCall.Listener<byte[]>() {
            private int received;

            @Override
            public void onMessage(byte[] message) {
                received++;
            }

            @Override
            public void onClose(Status status, Metadata fields) {
                told.complete(new Line(at, "/" + path, status.getCode().value(), sent, received));
            }
        }, new Metadata());
        call.request(Integer.MAX_VALUE);
        for (var part = 0; part < sent; part++) {
            call.sendMessage(message);
        }
        call.halfClose();
        return told.join();
    }

    private static void serve(int port) throws Exception {
        var builder = Grpc.newServerBuilderForPort(port, InsecureServerCredentials.create());
        builder.fallbackHandlerRegistry(new Methods()).build().start().awaitTermination();
    }

    private static void calls(String address, int count, int concurrency, List<String> kinds) throws Exception {
        System.setProperty("io.grpc.netty.shaded.io.netty.transport.noNative", "true");
        var channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
        var lines = new Line[count + 1];
        Told.inParts(concurrency, part -> {
            for (var number = part; number < count; number += concurrency) {
                Told.pace(1);
                lines[number] = call(channel, kinds, number);
            }
        });
        lines[count] = call(channel, kinds, 0);
        channel.shutdown().awaitTermination(1, TimeUnit.MINUTES);
        Told.print(Arrays.asList(lines));
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("serve")) {
            serve(Integer.parseInt(arguments[1]));
            return;
        }
        var kinds = arguments.length > 4 ? new ArrayList<>(Arrays.asList(arguments).subList(4, arguments.length)) : ALL;
        calls(arguments[1], Integer.parseInt(arguments[2]), Integer.parseInt(arguments[3]), kinds);
    }
}
