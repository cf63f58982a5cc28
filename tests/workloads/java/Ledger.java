import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.net.URI;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/**
 * Ledger URL COUNT CONCURRENCY: statements of every outcome through JDBC, by PostgreSQL's own driver; see go/ledger.
 *
 * <p>Every other call of a part is made over a second connection, in simple queries.
 */
final class Ledger {
    private static final String COPY_IN = "COPY accounts (id, name) FROM STDIN";
    private static final String COPY_OUT = "COPY accounts (id, name) TO STDOUT";
    private static final Queue<Line> TOLD = new ConcurrentLinkedQueue<>();

    record Line(String statement, Integer rows, String code) {}

    interface Statements {
        void execute() throws Exception;
    }

    private final Connection connection;
    private final boolean isSimple;

    private Ledger(Connection connection, boolean isSimple) {
        this.connection = connection;
        this.isSimple = isSimple;
    }

    private static void tell(String statement, Integer rows, String code) {
        TOLD.add(new Line(statement, rows, code));
    }

    /** Its text as the driver sends it: with literals, or with numbered parameters. */
    private String text(PreparedStatement statement, String sql) {
        if (isSimple) {
            return statement.toString();
        }
        for (var at = 1; sql.contains("?"); at++) {
            sql = sql.replaceFirst("\\?", "\\$" + at);
        }
        return sql;
    }

    private void execute(String sql, int... values) throws SQLException {
        try (var statement = connection.prepareStatement(sql)) {
            for (var at = 0; at < values.length; at++) {
                statement.setInt(at + 1, values[at]);
            }
            var text = text(statement, sql);
            try {
                tell(text, statement.execute() ? rows(statement) : null, null);
            } catch (SQLException failure) {
                tell(text, null, failure.getSQLState());
            }
        }
    }

    private static int rows(PreparedStatement statement) throws SQLException {
        try (var result = statement.getResultSet()) {
            var rows = 0;
            while (result.next()) {
                rows++;
            }
            return rows;
        }
    }

    /** The driver begins it with the first statement. */
    private void transaction(String end, Statements statements) throws Exception {
        connection.setAutoCommit(false);
        statements.execute();
        tell("BEGIN", null, null);
        try {
            if (end.equals("COMMIT")) {
                connection.commit();
            } else {
                connection.rollback();
            }
        } catch (SQLException rolledBack) {
            // The server says so of a transaction in which something failed: its answer to this COMMIT is no error.
        }
        tell(end, null, null);
        connection.setAutoCommit(true);
    }

    /** A portal in pieces, to its end and not. */
    private void pieces() throws SQLException {
        var sql = "SELECT generate_series(1, 12)";
        for (var pieces : new int[][] {{5, 5, 2}, {5}}) {
            try (var statement = connection.prepareStatement(sql)) {
                statement.setFetchSize(5);
                var result = statement.executeQuery();
                for (var piece : pieces) {
                    for (var row = 0; row < piece; row++) {
                        result.next();
                    }
                    tell(sql, piece, null);
                }
            }
        }
    }

    /** In one go, behind one Sync. What is behind one that fails is skipped. */
    private void batch(int... values) throws SQLException {
        var sql = "UPDATE accounts SET balance = 100 / ? WHERE id = 7";
        try (var statement = connection.prepareStatement(sql)) {
            for (var value : values) {
                statement.setInt(1, value);
                statement.addBatch();
            }
            try {
                statement.executeBatch();
            } catch (BatchUpdateException failure) {
                // Told by the value.
            }
            for (var value : values) {
                tell(text(statement, sql), null, value == 0 ? "22012" : null);
                if (value == 0) {
                    break;
                }
            }
        }
    }

    private CopyManager copies() throws SQLException {
        return connection.unwrap(PGConnection.class).getCopyAPI();
    }

    private void copyIn(String rows) throws Exception {
        try {
            copies().copyIn(COPY_IN, new StringReader(rows));
            tell(COPY_IN, null, null);
        } catch (SQLException failure) {
            tell(COPY_IN, null, failure.getSQLState());
        }
    }

    private void copyOut() throws Exception {
        var rows = copies().copyOut(COPY_OUT, new ByteArrayOutputStream());
        tell(COPY_OUT, (int) rows, null);
    }

    private void copyInAndGiveUp() throws SQLException {
        var copy = copies().copyIn(COPY_IN);
        copy.writeToCopy("2000\thalf".getBytes(), 0, 9);
        copy.cancelCopy();
        tell(COPY_IN, null, "57014");
    }

    private void call(int call) throws Exception {
        var id = call % 100 + 1;
        // Simple queries have neither portals nor a Sync.
        switch (call % (isSimple ? 9 : 11)) {
            case 0 -> execute("SELECT id, name FROM accounts WHERE id = ?", id);
            case 1 -> execute("SELECT id FROM accounts ORDER BY id LIMIT 7");
            case 2 -> transaction("COMMIT", () -> {
                execute("UPDATE accounts SET balance = balance + 1 WHERE id = ?", id);
            });
            case 3 -> execute("SELECT 1 / (?::int)", 0);
            case 4 -> transaction("COMMIT", () -> {
                execute("INSERT INTO accounts (id, name) VALUES (1, 'twice')");
                execute("SELECT name FROM accounts WHERE id = ?", id);
            });
            case 5 -> execute("SELECT nothing FROM nowhere");
            case 6 -> copyIn("1\ttwice\n");
            case 7 -> transaction("ROLLBACK", () -> {
                copyIn("%d\tnew\n%d\tnew\n".formatted(1000 + 2 * call, 1001 + 2 * call));
                copyOut();
            });
            case 8 -> copyInAndGiveUp();
            case 9 -> transaction("ROLLBACK", this::pieces);
            default -> {
                batch(1, 2, 4);
                batch(1, 0, 2);
            }
        }
    }

    private static void calls(URI server, int part, int count, int concurrency) throws Exception {
        var user = server.getUserInfo().split(":");
        for (var mode : new String[] {"extended", "simple"}) {
            var url = "jdbc:postgresql://%s:%d%s?%s&prepareThreshold=2&preferQueryMode=%s".formatted(
                server.getHost(), server.getPort(), server.getPath(), server.getQuery(), mode);
            try (var connection = DriverManager.getConnection(url, user[0], user[1])) {
                var isSimple = mode.equals("simple");
                var ledger = new Ledger(connection, isSimple);
                for (var call = isSimple ? part + concurrency : part; call < count; call += 2 * concurrency) {
                    ledger.call(call);
                }
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        var server = new URI(arguments[0]);
        var count = Integer.parseInt(arguments[1]);
        var concurrency = Integer.parseInt(arguments[2]);
        Told.inParts(concurrency, part -> calls(server, part, count, concurrency));
        Told.print(TOLD);
    }
}
