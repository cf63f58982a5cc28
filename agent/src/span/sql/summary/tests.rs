use super::*;

fn check(text: &str, expect: &str) {
    assert_eq!(summary(text, false).text, expect, "{text}");
}

#[test]
fn examples_of_the_conventions() {
    check(
        "SELECT *\nFROM   wuser_table\nWHERE  username = ?",
        "SELECT wuser_table",
    );
    check(
        "INSERT INTO shipping_details (order_id, address) SELECT order_id, address FROM orders WHERE order_id = ?",
        "INSERT shipping_details SELECT orders",
    );
    check(
        "SELECT * FROM songs, artists WHERE songs.artist_id == artists.id",
        "SELECT songs artists",
    );
    check(
        "SELECT order_date FROM (SELECT * FROM orders o JOIN customers c ON o.customer_id = c.customer_id)",
        "SELECT SELECT orders customers",
    );
    check(
        "SELECT * FROM \"song list\", artists",
        "SELECT \"song list\" artists",
    );
    check("call some_stored_procedure", "call some_stored_procedure");
}

#[test]
fn queries() {
    check("select 1", "select");
    check(
        "SELECT a, (SELECT max(x) FROM u) FROM s.t AS q (c, d), ONLY \"S\".\"T\" LEFT JOIN v USING (a), w",
        "SELECT SELECT u s.t \"S\".\"T\" v w",
    );
    check(
        "SELECT extract(year FROM d), a IS DISTINCT FROM b FROM t ORDER BY a, b",
        "SELECT t",
    );
    check("SELECT * FROM generate_series(1, 10) g, t", "SELECT t");
    check("SELECT * FROM t FOR UPDATE", "SELECT t");
    check(
        "(SELECT a FROM t) UNION ALL (SELECT b FROM u)",
        "SELECT t SELECT u",
    );
    check(
        "WITH RECURSIVE a (x) AS (SELECT 1 FROM t), b AS MATERIALIZED (DELETE FROM u USING v RETURNING *) INSERT INTO w SELECT * FROM a, b",
        "SELECT t DELETE u v INSERT w SELECT",
    );
    check(
        "INSERT INTO t(a, b) VALUES ($1, $2) ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a",
        "INSERT t",
    );
    check("UPDATE t SET a = u.a FROM u WHERE t.i = u.i", "UPDATE t u");
    check(
        "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET b = 1 WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
        "MERGE t s",
    );
    check(
        "DELETE FROM only t WHERE a IN (SELECT a FROM u)",
        "DELETE t SELECT u",
    );
    check("SELECT a INTO TEMP x FROM t", "SELECT x t");
    check("EXPLAIN ANALYZE SELECT * FROM t", "EXPLAIN SELECT t");
    check("COPY t (a, b) FROM STDIN", "COPY t");
    check("COPY (SELECT * FROM t) TO STDOUT", "COPY SELECT t");
    check("DECLARE c CURSOR FOR SELECT * FROM t", "DECLARE SELECT t");
    check("values (1), (2)", "values");
    check("TABLE t", "TABLE t");
}

#[test]
fn commands() {
    check("BEGIN", "BEGIN");
    check("COMMIT;", "COMMIT");
    check(
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "START TRANSACTION",
    );
    check("SET search_path TO a, b", "SET");
    check(
        "CREATE TEMP TABLE IF NOT EXISTS a.b (c int REFERENCES d ON DELETE CASCADE ON UPDATE SET NULL)",
        "CREATE TABLE a.b",
    );
    check("CREATE TABLE a AS SELECT * FROM b", "CREATE TABLE a SELECT b");
    check(
        "CREATE OR REPLACE VIEW v AS SELECT 1 FROM t",
        "CREATE VIEW v SELECT t",
    );
    check(
        "CREATE MATERIALIZED VIEW v AS SELECT 1 FROM t",
        "CREATE MATERIALIZED VIEW v SELECT t",
    );
    check("CREATE UNIQUE INDEX CONCURRENTLY ON t (a)", "CREATE INDEX");
    check("DROP TABLE IF EXISTS t", "DROP TABLE t");
    check("ALTER TABLE ONLY t ADD COLUMN a int", "ALTER TABLE t");
    check("CREATE USER bob PASSWORD 'x'", "CREATE USER");
    check("GRANT SELECT, UPDATE ON t TO u", "GRANT");
    check("TRUNCATE TABLE a, b", "TRUNCATE a b");
    check("VACUUM ANALYZE a", "VACUUM a");
    check("DO $$ BEGIN DELETE FROM t; END $$", "DO");
    check("-- hello\n/* SELECT */ SHOW server_version", "SHOW");
    check("", "");
    check(";;", "");
}

#[test]
fn several_statements_are_all_named() {
    check(
        "BEGIN; UPDATE a SET b = 1; SELECT * FROM c; COMMIT",
        "BEGIN UPDATE a SELECT c COMMIT",
    );
    let all = summary("INSERT INTO a VALUES (1); INSERT INTO a VALUES (2)", false);
    assert_eq!((all.operation, all.collection.as_deref()), (None, Some("a")));
    let one = summary("insert into a values (1)", false);
    assert_eq!(
        (one.operation.as_deref(), one.collection.as_deref()),
        (Some("insert"), Some("a"))
    );
}

#[test]
fn it_is_short_and_ends_with_a_whole_name() {
    let text = format!("SELECT * FROM {}", vec!["abcdefghi"; 40].join(", "));
    assert_eq!(summary(&text, false).text.len(), 6 + 24 * 10);
    assert_eq!(summary("SELECT * FROM custom", true).text, "SELECT");
    assert_eq!(summary("SELECT * FROM custom ", true).text, "SELECT custom");
    assert_eq!(summary("SELECT * FROM a.custom", true).text, "SELECT a.");
}

#[test]
fn any_text_has_one() {
    for text in [
        "(",
        ")",
        "FROM",
        "UPDATE",
        "INSERT INTO",
        "WITH",
        "CREATE",
        "CREATE TABLE",
        "call",
        "a.",
        "SELECT . FROM .",
        "WITH WITH (",
    ] {
        let _ = summary(text, false);
    }
}
