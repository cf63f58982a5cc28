import com.google.gson.Gson;
import java.io.ByteArrayInputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

/** Ask LIBRARY ADDRESS PLAN CONCURRENCY: the requests of a plan, by HttpClient or HttpURLConnection; see propagation/ask.py. */
final class Ask {
    private static final int PERIOD = 251;

    record Planned(int index, String path, Integer size, boolean chunked) {
        byte[] body() {
            var body = new byte[size];
            for (var at = 0; at < size; at++) {
                body[at] = (byte) ((index + at) % PERIOD);
            }
            return body;
        }
    }

    interface Library {
        String answer(Planned request, URI target) throws Exception;
    }

    private static String byHttpClient(HttpClient client, Planned request, URI target) throws Exception {
        var asked = HttpRequest.newBuilder(target).header("X-Index", String.valueOf(request.index));
        if (request.size != null) {
            // The length of a stream is not known.
            asked.POST(request.chunked
                ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(request.body()))
                : BodyPublishers.ofByteArray(request.body()));
        }
        var answer = client.send(asked.build(), BodyHandlers.ofString());
        return answer.statusCode() + answer.body();
    }

    private static String byConnection(Planned request, URI target) throws Exception {
        var connection = (HttpURLConnection) target.toURL().openConnection();
        connection.setRequestProperty("X-Index", String.valueOf(request.index));
        if (request.size != null) {
            connection.setRequestMethod("POST");
            connection.setDoOutput(true);
            if (request.chunked) {
                connection.setChunkedStreamingMode(10_000);
            } else if (request.index % 2 == 0) {
                connection.setFixedLengthStreamingMode(request.size);
            }
            try (var body = connection.getOutputStream()) {
                body.write(request.body());
            }
        }
        try (var answer = connection.getInputStream()) {
            return connection.getResponseCode() + new String(answer.readAllBytes());
        }
    }

    public static void main(String[] arguments) throws Exception {
        var plan = Arrays.asList(new Gson().fromJson(Files.readString(Path.of(arguments[2])), Planned[].class));
        var concurrency = Integer.parseInt(arguments[3]);
        var client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        Library library = arguments[0].equals("HttpClient")
            ? (request, target) -> byHttpClient(client, request, target)
            : Ask::byConnection;
        Told.inParts(concurrency, part -> {
            for (var at = part; at < plan.size(); at += concurrency) {
                var request = plan.get(at);
                var answer = library.answer(request, URI.create("http://" + arguments[1] + request.path));
                if (!answer.equals("200ok")) {
                    throw new IllegalStateException(request + ": " + answer);
                }
            }
        });
        System.out.println("done " + plan.size());
    }
}
