//! ledger URL COUNT CONCURRENCY: statements of every outcome through tokio-postgres.
//!
//! At the end a line of JSON for each statement: its text, rows returned (null where it returns none by its nature),
//! SQLSTATE of its failure.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt, future};
use serde::Serialize;
use spanwire_workloads::tell;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

const KINDS: usize = 8;

#[derive(Serialize)]
struct Line {
    statement: &'static str,
    rows: Option<usize>,
    code: Option<String>,
}

/// A connection, and what was done with it.
struct Ledger {
    client: Client,
    told: Vec<Line>,
}

impl Ledger {
    fn tell(&mut self, statement: &'static str, outcome: Result<Option<usize>, Error>) -> Result<(), Error> {
        let (rows, code) = match outcome {
            Ok(rows) => (rows, None),
            Err(error) => (None, Some(sqlstate(error)?)),
        };
        self.told.push(Line {
            statement,
            rows,
            code,
        });
        Ok(())
    }

    /// Prepared, executed, closed.
    async fn query(&mut self, statement: &'static str, values: &[&(dyn ToSql + Sync)]) -> Result<(), Error> {
        let rows = self.client.query(statement, values).await;
        self.tell(statement, rows.map(|rows| Some(rows.len())))
    }

    async fn work(&mut self, number: i32) -> Result<(), Error> {
        match number as usize % KINDS {
            0 => {
                let text = "SELECT id, name FROM accounts WHERE id = $1";
                self.query(text, &[&(number % 100 + 1)]).await
            }
            1 => {
                self.query("SELECT id FROM accounts ORDER BY id LIMIT 7", &[])
                    .await
            }
            2 => self.transaction(number).await,
            3 => self.query("SELECT 1 / ($1::int)", &[&0]).await,
            4 => {
                let text = "INSERT INTO accounts (id, name) VALUES (1, $1)";
                let outcome = self.client.execute(text, &[&"it's"]).await;
                self.tell(text, outcome.map(|_| None))
            }
            5 => self.pipeline().await,
            6 => {
                let done = "SELECT 1; SELECT 'two' AS word; UPDATE accounts SET balance = 0 WHERE id = 7";
                self.several(done).await?;
                self.several("SELECT 1; SELECT 1 / 0; SELECT 'never'").await
            }
            _ => self.copy().await,
        }
    }

    /// A change, and a portal that is executed in pieces.
    async fn transaction(&mut self, number: i32) -> Result<(), Error> {
        let [update, select] = [
            "UPDATE accounts SET balance = balance + 1 WHERE id = $1",
            "SELECT generate_series(1, $1)",
        ];
        let transaction = self.client.transaction().await?;
        transaction.execute(update, &[&(number % 100 + 1)]).await?;
        let portal = transaction.bind(select, &[&12]).await?;
        let mut pieces = Vec::new();
        for _ in 0..3 {
            pieces.push(transaction.query_portal(&portal, 5).await?.len());
        }
        drop(portal);
        transaction.commit().await?;
        for statement in ["START TRANSACTION", update, "COMMIT"] {
            self.tell(statement, Ok(None))?;
        }
        for rows in pieces {
            self.tell(select, Ok(Some(rows)))?;
        }
        Ok(())
    }

    /// Three at once, the one in the middle fails; each has a Sync of its own.
    async fn pipeline(&mut self) -> Result<(), Error> {
        let texts = [
            "SELECT $1::int + 1",
            "SELECT 2 / $1::int",
            "SELECT id FROM accounts WHERE id < $1",
        ];
        let prepared = future::try_join_all(texts.map(|text| self.client.prepare(text))).await?;
        let values: [&[&(dyn ToSql + Sync)]; 3] = [&[&1], &[&0], &[&5]];
        let asked = prepared.iter().zip(values);
        let answers =
            future::join_all(asked.map(|(statement, values)| self.client.query(statement, values))).await;
        for (text, rows) in texts.into_iter().zip(answers) {
            self.tell(text, rows.map(|rows| Some(rows.len())))?;
        }
        Ok(())
    }

    /// Several statements in one message.
    async fn several(&mut self, text: &'static str) -> Result<(), Error> {
        let mut answer = pin!(self.client.simple_query_raw(text).await?);
        let mut rows = 0;
        let failure = loop {
            match answer.try_next().await {
                Ok(Some(SimpleQueryMessage::Row(_))) => rows += 1,
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        // The rows before a failure have come.
        self.told.push(Line {
            statement: text,
            rows: Some(rows),
            code: failure.map(sqlstate).transpose()?,
        });
        Ok(())
    }

    async fn copy(&mut self) -> Result<(), Error> {
        let text = "COPY slips FROM STDIN";
        let mut sink = pin!(self.client.copy_in(text).await?);
        for line in ["1\tone\n", "2\ttwo\n"] {
            sink.send(Bytes::from(line)).await?;
        }
        sink.finish().await?;
        self.tell(text, Ok(None))?;
        let text = "COPY accounts (id) TO STDOUT";
        let lines: Vec<Bytes> = self.client.copy_out(text).await?.try_collect().await?;
        self.tell(text, Ok(Some(lines.len())))?;
        let mut sink = pin!(self.client.copy_in("COPY slips FROM STDIN (FORMAT csv)").await?);
        sink.send(Bytes::from("no number,three\n")).await?;
        let failed = sink.finish().await.map(|_| None);
        self.tell("COPY slips FROM STDIN (FORMAT csv)", failed)
    }
}

/// SQLSTATE of a failure of the server's.
fn sqlstate(error: Error) -> Result<String, Error> {
    error.code().map(|code| code.code().to_owned()).ok_or(error)
}

async fn calls(url: String, numbers: impl Iterator<Item = i32>) -> Result<Vec<Line>, Error> {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    let connection = tokio::spawn(connection);
    let mut ledger = Ledger {
        client,
        told: Vec::new(),
    };
    for number in numbers {
        ledger.work(number).await?;
    }
    drop(ledger.client);
    connection.await.expect("the connection's task does not panic")?;
    Ok(ledger.told)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, count, concurrency] = &*arguments else {
        return Err("ledger URL COUNT CONCURRENCY".into());
    };
    let (count, concurrency): (i32, usize) = (count.parse()?, concurrency.parse()?);
    let parts = (0..).take(concurrency);
    let parts = parts.map(|part| calls(url.clone(), (part..count).step_by(concurrency)));
    for told in future::try_join_all(parts).await? {
        tell(&told)?;
    }
    Ok(())
}
