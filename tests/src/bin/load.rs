//! Load for `cargo xtask bench protocols`: a real service and a real client of one protocol.
//!
//! `load PROTOCOL` starts the service and says `ready PORT`. For each line on its standard input it makes one run of a fixed
//! amount of work, and says `done SECONDS`, and behind that what else the client measured. It ends with its input.

use anyhow::{Context as _, Result, bail};
use spanwire_tests::calls::Peer;
use spanwire_tests::child::Child;
use spanwire_tests::messages::Library;
use spanwire_tests::service::Service;
use spanwire_tests::service::nginx::Nginx;
use spanwire_tests::service::postgres::Postgres;
use spanwire_tests::service::rabbitmq::RabbitMq;
use spanwire_tests::{child, workload};
use std::io::{BufRead as _, stdin};
use std::process::Command;
use std::time::Instant;

/// The service under load. Dropped, it is stopped.
enum Server {
    /// Asked as fast as it goes, and at a fixed rate.
    Paced(Nginx),
    Calls(Peer, Service),
    /// With arguments of pgbench.
    Postgres(&'static [&'static str], Postgres),
    RabbitMq(RabbitMq),
}

impl Server {
    fn start(protocol: &str) -> Result<Self> {
        let calls = |peer: Peer| Ok(Self::Calls(peer, peer.serve()?));
        let statements = |work| {
            let server = Postgres::start()?;
            let mut prepare = server.client("pgbench");
            // As many branches as there are clients: each transaction updates one of them.
            prepare.args(["-i", "-q", "-s", "8", "shop"]);
            Child::spawn(prepare)?.succeed()?;
            Ok(Self::Postgres(work, server))
        };
        match protocol {
            "http1" => Ok(Self::Paced(Nginx::start(None)?)),
            "http2" => calls(Peer::GoHttp),
            "grpc" => calls(Peer::GrpcGo),
            "postgres" => statements(&["-t", "500"]),
            "postgres-simple" => statements(&["-S", "-t", "4000"]),
            "postgres-prepared" => statements(&["-S", "-M", "prepared", "-t", "4000"]),
            "amqp" => Ok(Self::RabbitMq(RabbitMq::start()?)),
            other => bail!("no load for {other}"),
        }
    }

    fn port(&self) -> u16 {
        let service = match self {
            Self::Paced(server) => &server.service,
            Self::Calls(_, service) => service,
            Self::Postgres(_, server) => &server.service,
            Self::RabbitMq(server) => &server.service,
        };
        service.address.port()
    }

    /// One run of the client.
    fn client(&self) -> Result<Command> {
        match self {
            Self::Paced(server) => {
                let mut client = child::command(&workload::go_program("pace")?.to_string_lossy());
                let address = format!("{}/nothing", server.service.address);
                client.args(["call", &address, "20000", "16", "2000"]);
                Ok(client)
            }
            Self::Calls(peer, service) => peer.call(service.address, 10_000, 50),
            Self::Postgres(work, server) => {
                let mut client = server.client("pgbench");
                // The tests want every statement logged; nobody else does.
                client.env("PGOPTIONS", "-c log_statement=none");
                client.args(["-n", "-c", "8"]).args(*work).arg("shop");
                Ok(client)
            }
            Self::RabbitMq(server) => Library::Amqp091.work(server, 20_000, 4),
        }
    }
}

fn main() -> Result<()> {
    let protocol = std::env::args().nth(1).context("which protocol?")?;
    let server = Server::start(&protocol)?;
    println!("ready {}", server.port());
    for line in stdin().lock().lines() {
        line?;
        let client = server.client()?;
        let started = Instant::now();
        let said = Child::spawn(client)?.succeed()?;
        match (&server, said.last()) {
            (Server::Paced(_), Some(measured)) => println!("done {measured}"),
            _ => println!("done {}", started.elapsed().as_secs_f64()),
        }
    }
    Ok(())
}
