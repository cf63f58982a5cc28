//! Starting the services of a chain.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Chain, Entry, Grpcio, Library, Loop, Pools, Runtime, Server, Way, environment, python, shapes};
use crate::child::{self, Child};
use crate::service::Service;
use crate::service::haproxy::HaProxy;
use crate::service::nginx::Nginx;
use crate::service::postgres::{self, Postgres};
use crate::service::rabbitmq::RabbitMq;
use crate::{port, workload};

/// What runs for a chain. Services are ended before what they are connected to.
#[derive(Debug, Default)]
pub(super) struct Parts {
    services: Vec<Service>,
    nginx: Option<Nginx>,
    haproxy: Option<HaProxy>,
    broker: Option<RabbitMq>,
    /// Who takes messages, and how many at a time; pika and one where it is nobody else.
    consumer: Option<(Library, u16)>,
    database: Option<Postgres>,
}

impl Parts {
    fn database(&mut self) -> Result<String> {
        let database = Postgres::start()?;
        let url = postgres::url(database.service.address);
        self.database = Some(database);
        Ok(url)
    }

    fn serve(&mut self, command: Command, port: u16) -> Result<SocketAddr> {
        let service = Service::listening(Child::spawn(command)?, port)?;
        let address = service.address;
        self.services.push(service);
        Ok(address)
    }

    /// stock.py, with a database of its own pool where there is one.
    fn stock(&mut self) -> Result<SocketAddr> {
        let port = port::free()?;
        let mut command = python("stock.py", "stock")?;
        command.arg(port.to_string());
        command.args(self.database.as_ref().map(Postgres::local_url));
        self.serve(command, port)
    }

    /// streams as `name`, which asks `target` over one connection.
    fn streams(&mut self, name: &str, target: SocketAddr) -> Result<SocketAddr> {
        let port = port::free()?;
        let mut command = child::command(&workload::go_program("streams")?.to_string_lossy());
        command.args([name, &port.to_string(), &target.to_string()]);
        command.env("OTEL_SERVICE_NAME", name);
        self.serve(command, port)
    }

    fn broker_port(&self) -> Result<String> {
        let broker = self.broker.as_ref().context("a broker")?;
        Ok(broker.service.address.port().to_string())
    }

    /// What publishes `count` messages.
    pub(super) fn publish(&self, count: usize) -> Result<Command> {
        let mut command = python("messages.py", "publish")?;
        command.args(["publish", &self.broker_port()?, &count.to_string()]);
        Ok(command)
    }

    /// What consumes as many, and asks the first of the services for each.
    pub(super) fn consume(&self, count: usize) -> Result<Command> {
        let mut command = match self.consumer.map(|(library, _)| library) {
            None => {
                let mut command = python("messages.py", "consume")?;
                command.arg("consume");
                command
            }
            Some(Library::AioPika) => python("consume.py", "consume")?,
            Some(Library::Amqplib) => {
                let mut command = child::command("node");
                command.env("NODE_PATH", workload::node_modules()?);
                command.arg(workload::file("node/consume.js")?);
                command
            }
            Some(Library::Amqp091) => child::command(&workload::go_program("consume")?.to_string_lossy()),
        };
        command.env("OTEL_SERVICE_NAME", "consume");
        command.args([self.broker_port()?, count.to_string()]);
        command.arg(self.services.first().context("a service")?.address.to_string());
        command.args(self.consumer.map(|(_, at_a_time)| at_a_time.to_string()));
        Ok(command)
    }

    /// What the services wrote, for a message.
    pub(super) fn said(&self) -> String {
        let said = self.services.iter().map(|service| service.child.text());
        said.filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn processes(&self) -> Result<Vec<u32>> {
        let mut processes: Vec<u32> = Vec::new();
        for service in &self.services {
            processes.push(service.child.pid());
        }
        if let Some(nginx) = &self.nginx {
            processes.extend(child::children(nginx.service.child.pid(), 2)?);
        }
        processes.extend(self.haproxy.iter().map(|it| it.service.child.pid()));
        processes.extend(self.database.iter().map(|it| it.service.child.pid()));
        Ok(processes)
    }
}

pub(super) fn chain(runtime: Runtime) -> Result<Chain> {
    let mut parts = Parts::default();
    let name = runtime.name();
    let port = port::free()?;
    let mut more = Vec::new();
    let entry = match runtime {
        Runtime::Threads | Runtime::Flask => {
            let database = parts.database()?;
            let stock = parts.stock()?;
            let application = if runtime == Runtime::Flask {
                "flask_front"
            } else {
                "front"
            };
            let mut command = environment("gunicorn", name)?;
            command.env("STOCK", stock.to_string()).env("DATABASE", database);
            command.args([
                "--workers",
                "1",
                "--threads",
                "256",
                "--keep-alive",
                "60",
                "--bind",
            ]);
            command.args([
                &format!("127.0.0.1:{port}"),
                &format!("{application}:application"),
            ]);
            let address = parts.serve(command, port)?;
            let master = parts.services.last().context("gunicorn")?.child.pid();
            more = child::children(master, 1)?;
            Entry::Http(address, shapes::of(runtime)?)
        }
        Runtime::Go => {
            let database = parts.database()?;
            let [http, grpc] = [port::free()?, port::free()?];
            let mut command = child::command(&workload::go_program("warehouse")?.to_string_lossy());
            command.env("OTEL_SERVICE_NAME", "stock");
            command.args([http.to_string(), grpc.to_string(), database.clone()]);
            let stock = parts.serve(command, http)?;
            let mut command = child::command(&workload::go_program("storefront")?.to_string_lossy());
            command.env("OTEL_SERVICE_NAME", name);
            command.args([
                port.to_string(),
                stock.to_string(),
                format!("127.0.0.1:{grpc}"),
                database,
            ]);
            Entry::Http(parts.serve(command, port)?, shapes::of(runtime)?)
        }
        Runtime::Aiohttp => {
            let database = parts.database()?;
            let stock = parts.stock()?;
            let mut command = python("aiohttp_front.py", name)?;
            command.args([port.to_string(), stock.to_string(), database]);
            Entry::Http(parts.serve(command, port)?, shapes::of(runtime)?)
        }
        Runtime::FastApi => {
            let database = parts.database()?;
            let stock = parts.stock()?;
            let mut command = environment("uvicorn", name)?;
            command.env("STOCK", stock.to_string()).env("DATABASE", database);
            command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
            command.args([
                "--log-level",
                "warning",
                "--timeout-keep-alive",
                "60",
                "fastapi_front:app",
            ]);
            Entry::Http(parts.serve(command, port)?, shapes::of(runtime)?)
        }
        Runtime::Hypercorn => {
            let database = parts.database()?;
            let stock = parts.stock()?;
            let mut command = environment("hypercorn", name)?;
            command.env("STOCK", stock.to_string()).env("DATABASE", database);
            command.args([
                "--workers",
                "0",
                "--bind",
                &format!("127.0.0.1:{port}"),
                "fastapi_front:app",
            ]);
            let front = parts.serve(command, port)?;
            Entry::Http(parts.streams("relay", front)?, shapes::of(runtime)?)
        }
        Runtime::Tasks(server, event_loop) => {
            let stock = parts.stock()?;
            let database = parts.database()?;
            let mut command = python("tasks.py", name)?;
            command.arg(match server {
                Server::Aiohttp => "aiohttp",
                Server::Uvicorn => "uvicorn",
            });
            command.arg(match event_loop {
                Loop::Asyncio => "asyncio",
                Loop::Uvloop => "uvloop",
            });
            command.args([port.to_string(), stock.to_string(), database]);
            Entry::Http(parts.serve(command, port)?, shapes::of(runtime)?)
        }
        Runtime::Goroutines => {
            let stock = parts.stock()?;
            let database = parts.database()?;
            let program = workload::go_program("chain")?;
            let chain = |name: &str, port: u16| {
                let mut command = child::command(&program.to_string_lossy());
                command.args([name, &port.to_string()]);
                command.env("OTEL_SERVICE_NAME", name);
                command
            };
            let shelf = port::free()?;
            let shelf = parts.serve(chain("shelf", shelf), shelf)?;
            let mut command = chain(name, port);
            command.args([stock.to_string(), database, shelf.to_string()]);
            Entry::Http(parts.serve(command, port)?, shapes::of(runtime)?)
        }
        Runtime::Streams | Runtime::BrokenOff => {
            let stock = parts.stock()?.to_string();
            let database = parts.database()?;
            let program = workload::go_program("streams")?;
            let mut serve = |name: &str, arguments: &[&str]| {
                let port = port::free()?;
                let mut command = child::command(&program.to_string_lossy());
                command.args([name, &port.to_string()]).args(arguments);
                command.env("OTEL_SERVICE_NAME", name);
                Ok::<_, anyhow::Error>(parts.serve(command, port)?.to_string())
            };
            let store = serve("store", &[&stock])?;
            let attic = serve("attic", &[&stock])?;
            let deep = serve("deep", &[&database])?;
            let call = serve("call", &[&stock, &database, &store, &attic, &deep])?;
            let front = serve(name, &[&call])?;
            Entry::Http(front.parse()?, shapes::of(runtime)?)
        }
        Runtime::Node(pools) => {
            let database = parts.database()?;
            let stock = parts.stock()?;
            let mut command = child::command("node");
            command.env("NODE_PATH", workload::node_modules()?);
            command.env("OTEL_SERVICE_NAME", name);
            command.arg(workload::file("node/storefront.js")?);
            let connections = if pools == Pools::Exhausted { "4" } else { "512" };
            command.args([&port.to_string(), &stock.to_string(), &database, connections]);
            Entry::Http(parts.serve(command, port)?, shapes::of(runtime)?)
        }
        Runtime::NodeBy(way) => {
            let database = parts.database()?;
            let stock = parts.stock()?;
            let mut command = child::command("node");
            command.env("NODE_PATH", workload::node_modules()?);
            command.arg(workload::file("node/storefront.js")?);
            command.args([&port.to_string(), &stock.to_string(), &database, "100"]);
            let (way, name, asked_by) = match way {
                Way::Http2 => ("http2", name, Some("relay")),
                Way::Grpc => ("grpc", "calls", Some("front")),
                Way::Worker => ("worker", name, None),
                Way::Workers => ("workers", name, None),
            };
            command.arg(way).env("OTEL_SERVICE_NAME", name);
            let node = parts.serve(command, port)?;
            let address = match asked_by {
                Some(asked_by) => parts.streams(asked_by, node)?,
                None => node,
            };
            Entry::Http(address, shapes::of(runtime)?)
        }
        Runtime::Grpcio(server) => {
            let database = parts.database()?;
            let stock = parts.stock()?;
            let mut command = python("calls.py", "calls")?;
            command.arg(match server {
                Grpcio::Threads => "threads",
                Grpcio::Aio => "aio",
            });
            command.args([port.to_string(), stock.to_string(), database]);
            let calls = parts.serve(command, port)?;
            Entry::Http(parts.streams("front", calls)?, shapes::of(runtime)?)
        }
        Runtime::Nginx => {
            let stock = parts.stock()?;
            let nginx = Nginx::with_workers(2, Some(stock))?;
            let address = nginx.service.address;
            parts.nginx = Some(nginx);
            Entry::Http(address, shapes::of(runtime)?)
        }
        Runtime::HaProxy => {
            let stock = parts.stock()?;
            let haproxy = HaProxy::start(2, stock)?;
            let address = haproxy.service.address;
            parts.haproxy = Some(haproxy);
            Entry::Http(address, shapes::of(runtime)?)
        }
        Runtime::Messages | Runtime::Deliveries(..) => {
            if let Runtime::Deliveries(library, at_a_time) = runtime {
                parts.consumer = Some((library, at_a_time));
            }
            parts.broker = Some(RabbitMq::start()?);
            parts.stock()?;
            Entry::Broker(shapes::message(runtime)?)
        }
        Runtime::HandedOver | Runtime::EventLoop | Runtime::Epoll => {
            let stock = parts.stock()?;
            let mut command = python(&format!("{name}.py"), name)?;
            command.args([port.to_string(), stock.to_string()]);
            Entry::Http(parts.serve(command, port)?, shapes::of(runtime)?)
        }
    };
    let mut processes = parts.processes()?;
    processes.extend(more);
    Ok(Chain {
        parts,
        processes,
        entry,
    })
}
