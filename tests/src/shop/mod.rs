//! The shop of `cargo xtask demo`, whose sources are in `workloads/shop`: front (Node), pricing (Python's asyncio), stock (Go,
//! gRPC), shipping (Python), PostgreSQL and RabbitMQ, all with ports and folders of their own.

pub mod customers;

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Error, Result, anyhow, ensure};

use crate::child::{self, Child};
use crate::service::Service;
use crate::service::postgres::{self, Postgres};
use crate::service::rabbitmq::RabbitMq;
use crate::{port, workload};

/// What its programs are called, as spanwire's filter has it.
pub const PROGRAMS: [&str; 4] = ["node", "python3*", "stock", "postgres"];

/// How much of a log an error shows.
const LAST_LINES: usize = 15;

/// A shop that is open. Dropped, it ends from the front to the back.
#[derive(Debug)]
pub struct Shop {
    services: Vec<(&'static str, Child)>,
    front: SocketAddr,
    ports: Vec<u16>,
    broker: RabbitMq,
    database: Postgres,
}

/// Builds what has to be built, and says so.
///
/// # Errors
/// A compiler or a registry refuses.
pub fn prepare(say: impl Fn(&str)) -> Result<()> {
    say("building what is not there yet: npm packages, and stock in Go");
    workload::node_modules()?;
    stock_program()?;
    Ok(())
}

fn stock_program() -> Result<String> {
    let program = workload::go_with_modules("stock", "shop/stock.go")?;
    Ok(program.to_string_lossy().into_owned())
}

impl Shop {
    /// Opens one, and says each part before it starts it. `is_over` says whether to give up.
    ///
    /// # Errors
    /// A part does not start. The message has the last lines of what it wrote.
    pub fn open(say: impl Fn(&str), is_over: impl Fn() -> bool) -> Result<Self> {
        let step = |what: &str| {
            ensure!(!is_over(), "stopped before {what} was started");
            say(what);
            Ok(())
        };
        step("PostgreSQL")?;
        let database = Postgres::start().map_err(|error| shortened("PostgreSQL", &error))?;
        database.execute(&std::fs::read_to_string(workload::file("shop/tables.sql")?)?)?;
        step("RabbitMQ")?;
        let broker = RabbitMq::start().map_err(|error| shortened("RabbitMQ", &error))?;
        let url = postgres::url(database.service.address);
        let broker_address = broker.service.address.to_string();
        let mut services = Vec::new();
        let mut ports = vec![database.service.address.port(), broker.service.address.port()];
        let mut serve =
            |name: &'static str, mut command: Command, arguments: &[&str]| -> Result<SocketAddr> {
                let port = port::free()?;
                command.env("OTEL_SERVICE_NAME", name);
                command.arg(port.to_string()).args(arguments);
                let service = Child::spawn(command).and_then(|child| Service::listening(child, port));
                let Service { child, address } = service.map_err(|error| shortened(name, &error))?;
                services.push((name, child));
                ports.push(port);
                Ok(address)
            };
        step("pricing: Python, aiohttp and asyncpg")?;
        let pricing = serve("pricing", python("pricing.py")?, &[&url])?.to_string();
        step("stock: Go, gRPC and pgx")?;
        let stock = serve("stock", child::command(&stock_program()?), &[&url])?.to_string();
        step("front: Node, http, grpc-js and amqplib")?;
        let mut command = child::command("node");
        command.env("NODE_PATH", workload::node_modules()?);
        command.arg(workload::file("shop/front.js")?);
        let front = serve("front", command, &[&pricing, &stock, &broker_address])?;
        step("shipping: Python, pika and psycopg2")?;
        let mut command = python("shipping.py")?;
        command.env("OTEL_SERVICE_NAME", "shipping");
        command.args([&broker_address, &url]);
        let mut shipping = Child::spawn(command)?;
        shipping
            .line("listening")
            .map_err(|error| shortened("shipping", &error))?;
        services.push(("shipping", shipping));
        // The first to be ended is who asks the others.
        services.reverse();
        Ok(Self {
            services,
            front,
            ports,
            broker,
            database,
        })
    }

    /// Where orders are taken.
    #[must_use]
    pub fn front(&self) -> SocketAddr {
        self.front
    }

    /// Where all of its parts listen.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Each of its parts is running.
    ///
    /// # Errors
    /// One has ended. The message has the last lines of what it wrote.
    pub fn ensure_open(&mut self) -> Result<()> {
        let servers = [
            ("RabbitMQ", &mut self.broker.service.child),
            ("PostgreSQL", &mut self.database.service.child),
        ];
        let services = self.services.iter_mut().map(|(name, child)| (*name, child));
        for (name, child) in services.chain(servers) {
            child.ensure_running().map_err(|error| shortened(name, &error))?;
        }
        Ok(())
    }
}

/// `script` of the shop, in the environment of Python.
fn python(script: &str) -> Result<Command> {
    let mut command = child::command(&workload::environment("python")?.to_string_lossy());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(workload::file("shop")?.join(script));
    Ok(command)
}

/// What went wrong with the part `name`: the first line of the message, and the last ones, which its log ends with.
fn shortened(name: &str, error: &Error) -> Error {
    let text = format!("{error:#}");
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(LAST_LINES).max(1);
    let last: String = lines
        .iter()
        .skip(skipped)
        .map(|line| format!("\n  {line}"))
        .collect();
    anyhow!("{name}: {}{last}", lines.first().unwrap_or(&"no message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_its_first_line_and_its_last() {
        let lines: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
        let said = shortened("front", &anyhow!("it ended with status 1:\n{}", lines.join("\n"))).to_string();
        assert!(
            said.starts_with("front: it ended with status 1:\n  line 85\n"),
            "{said}"
        );
        assert!(said.ends_with("\n  line 99"), "{said}");
        assert_eq!(
            shortened("front", &anyhow!("no node")).to_string(),
            "front: no node"
        );
    }
}
