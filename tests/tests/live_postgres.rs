//! PostgreSQL live: the clients of `replay_postgres.rs`, each statement seen from both of its ends.

use anyhow::{Context, Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::calls;
use spanwire_tests::child::Child;
use spanwire_tests::database::{self, Driver};
use spanwire_tests::service::postgres::Postgres;
use spanwire_tests::session::Session;

spanwire_tests::under_both_hook_sets!(drivers);

/// One connection at a time, and fifty.
const CONCURRENCY: [usize; 2] = [1, 50];

fn drivers(hooks: Hooks) -> Result<()> {
    let server = Postgres::start()?;
    let address = server.service.address;
    let session = Session::start(Options::run(hooks).port(address.port()))?;
    let mut told = Vec::new();
    for driver in Driver::ALL {
        for concurrency in CONCURRENCY {
            let command = driver.work(&server, 300, concurrency)?;
            let lines = Child::spawn(command)?
                .succeed()
                .with_context(|| format!("{driver:?}"))?;
            told.extend(calls::told(&lines)?);
        }
    }
    ensure!(told.len() > 3000, "{}", told.len());
    let expected = database::spans(&server.logged()?, &told, address);
    session.finish(expected.len())?.exactly(&expected)
}
