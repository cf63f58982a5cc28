//! What the requests of each chain come to. A line that begins with `? ` is what nobody can tell the parent of yet: a bench
//! counts it, a test allows it.

use anyhow::Result;

use super::{Loop, Pools, Runtime, Server, Way};
use crate::truth::Shape;

const THREADS: &str = "
CLIENT load GET: /order/ID
  SERVER FRONT GET: /order/ID
    CLIENT FRONT GET: /stock/ID/first
      STOCK first
    CLIENT FRONT SQL 'ID'
    CLIENT FRONT GET: /stock/ID/second
      STOCK second
";

const FLASK: &str = "
CLIENT load GET: /order/ID
  SERVER FRONT GET: /order/ID
    CLIENT FRONT GET: /stock/ID/first
      STOCK first
    CLIENT FRONT SQL 'ID'
    CLIENT FRONT GET: /stock/ID/second
      STOCK second
    CLIENT FRONT SQL 'ID last'
";

/// Sequential calls, and calls side by side.
const LOOP: &str = "
CLIENT load GET: /order/ID
  SERVER FRONT GET: /order/ID
    ? CLIENT FRONT GET: /stock/ID/first
      STOCK first
    ? CLIENT FRONT GET: /stock/ID/left
      STOCK left
    ? CLIENT FRONT GET: /stock/ID/right
      STOCK right
    ? CLIENT FRONT SQL 'ID'
    ? CLIENT FRONT SQL 'ID last'
";

/// The same, behind who asks by HTTP/2: who is asked on one connection for several at a time cannot tell them apart.
const RELAYED: &str = "
CLIENT load GET: /look/ID
  SERVER relay GET: /look/ID
    CLIENT relay GET: /look/ID
      SERVER FRONT GET: /look/ID
        ? CLIENT FRONT SQL 'ID'
        ? CLIENT FRONT GET: /stock/ID/only
          STOCK only
";

const LOOK: &str = "
CLIENT load GET: /look/ID
  SERVER FRONT GET: /look/ID
    ? CLIENT FRONT SQL 'ID'
    ? CLIENT FRONT GET: /stock/ID/only
      STOCK only
";

const CALLS: &str = "
CLIENT load GET: /calls/ID
  SERVER FRONT GET: /calls/ID
    ? CLIENT FRONT GET: /stock/ID/named
      STOCK named
    ? CLIENT FRONT SQL 'ID asked'
    ? CLIENT FRONT GET: /stock/ID/late
      STOCK late
";

const WAITS: &str = "
CLIENT load GET: /waits/ID
  SERVER FRONT GET: /waits/ID
    ? CLIENT FRONT GET: /stock/ID/slept
      STOCK slept
    ? CLIENT FRONT SQL 'ID file'
    ? CLIENT FRONT GET: /stock/ID/read
      STOCK read
    ? CLIENT FRONT GET: /stock/ID/again
      STOCK again
    ? CLIENT FRONT GET: /stock/ID/then
      STOCK then
";

const HOLDS: &str = "
CLIENT load GET: /holds/ID
  SERVER FRONT GET: /holds/ID
    ? CLIENT FRONT SQL 'ID first'
    ? CLIENT FRONT SQL 'ID second'
    ? CLIENT FRONT SQL 'ID third'
    ? CLIENT FRONT GET: /stock/ID/released
      STOCK released
";

const LIMITED: &str = "
CLIENT load GET: /limited/ID
  SERVER FRONT GET: /limited/ID
    ? CLIENT FRONT GET: /stock/ID/alone
      STOCK alone
    ? CLIENT FRONT GET: /stock/ID/free
      STOCK free
";

const BATCHED: &str = "
CLIENT load GET: /batched/ID
  SERVER FRONT GET: /batched/ID
    ? CLIENT FRONT GET: /stock/ID/together
      STOCK together
";

const GO: &str = "
CLIENT load GET: /order/ID
  SERVER FRONT GET: /order/ID
    CLIENT FRONT GET: /stock/ID/first
      STOCK first
    CLIENT FRONT GET: /stock/ID/left
      STOCK left
    CLIENT FRONT shop.Stock/ID: shop.Stock/ID
      SERVER stock shop.Stock/ID: shop.Stock/ID
        CLIENT stock SQL 'ID call'
    CLIENT FRONT SQL 'ID'
    CLIENT FRONT SQL 'ID last'
";

const GO_LOOK: &str = "
CLIENT load GET: /look/ID
  SERVER FRONT GET: /look/ID
    CLIENT FRONT SQL 'ID'
    CLIENT FRONT shop.Stock/ID: shop.Stock/ID
      SERVER stock shop.Stock/ID: shop.Stock/ID
        CLIENT stock SQL 'ID call'
";

const TASKS: &str = "
CLIENT load GET: /order/ID
  SERVER FRONT GET: /order/ID
    CLIENT FRONT GET: /stock/ID/first
      SERVER stock GET: /stock/ID/first
    CLIENT FRONT SQL 'ID'
    CLIENT FRONT GET: /stock/ID/second
      SERVER stock GET: /stock/ID/second
    CLIENT FRONT GET: /stock/ID/third
      SERVER stock GET: /stock/ID/third
";

const GOROUTINES: &str = "
CLIENT load GET: /order/ID
  SERVER FRONT GET: /order/ID
    CLIENT FRONT GET: /stock/ID/first
      SERVER stock GET: /stock/ID/first
    CLIENT FRONT SQL 'ID'
    CLIENT FRONT GET: /stock/ID/second
      SERVER stock GET: /stock/ID/second
    CLIENT FRONT shelf/ID: shelf/ID
      SERVER shelf shelf/ID: shelf/ID
";

const STREAMS: &str = "
CLIENT load GET: /order/ID
  SERVER FRONT GET: /order/ID
    CLIENT FRONT call/ID: call/ID
      SERVER call call/ID: call/ID
        CLIENT call GET: /stock/ID/first
          SERVER stock GET: /stock/ID/first
        CLIENT call SQL 'ID'
        CLIENT call GET: /store/ID
          SERVER store GET: /store/ID
            CLIENT store GET: /stock/ID/store
              SERVER stock GET: /stock/ID/store
        CLIENT call GET: /attic/ID
          SERVER attic GET: /attic/ID
            CLIENT attic GET: /stock/ID/attic
              SERVER stock GET: /stock/ID/attic
        CLIENT call deep/ID: deep/ID
          SERVER deep deep/ID: deep/ID
            CLIENT deep SQL 'ID deep'
    CLIENT FRONT watch/ID: watch/ID
      SERVER call watch/ID: watch/ID
        CLIENT call SQL 'ID 0'
        CLIENT call SQL 'ID 1'
        CLIENT call SQL 'ID 2'
";

/// A server of gRPC that is not followed.
const CALLED: &str = "
CLIENT load GET: /order/ID
  SERVER FRONT GET: /order/ID
    CLIENT FRONT call/ID: call/ID
      SERVER calls call/ID: call/ID
        ? CLIENT calls GET: /stock/ID/first
          STOCK first
        ? CLIENT calls SQL 'ID'
    CLIENT FRONT watch/ID: watch/ID
      SERVER calls watch/ID: watch/ID
        ? CLIENT calls SQL 'ID 0'
        ? CLIENT calls SQL 'ID 1'
        ? CLIENT calls SQL 'ID 2'
";

/// What is tidied up is still for the call.
const BROKEN_OFF: &str = "
CLIENT load GET: /broken/ID
  SERVER FRONT GET: /broken/ID
    CLIENT FRONT given/ID: given/ID
      SERVER call given/ID: given/ID
        CLIENT call SQL 'ID given'
        CLIENT call SQL 'ID given over'
    CLIENT FRONT late/ID: late/ID
      SERVER call late/ID: late/ID
        CLIENT call SQL 'ID late'
        CLIENT call SQL 'ID late over'
";

const PROXY: &str = "
CLIENT load GET: /PATH/ID
  SERVER FRONT GET: /PATH/ID
    CLIENT FRONT GET: /PATH/ID
      SERVER stock GET: /PATH/ID
";

const UNTOLD: &str = "
CLIENT load GET: /order/ID
  SERVER FRONT GET: /order/ID
    ? CLIENT FRONT GET: /stock/ID
      SERVER stock GET: /stock/ID
";

const KEPT: &str = "
CLIENT load GET: /kept/ID
  SERVER FRONT GET: /kept/ID
";

const MESSAGE: &str = "
PRODUCER publish publish shop:placed.ID: ID
  ? CONSUMER consume deliver shop:placed.ID: ID
    CLIENT consume GET: /stock/ID
      SERVER stock GET: /stock/ID
";

/// The paths of a chain that is asked by HTTP, and what a request to each comes to.
pub(super) fn of(runtime: Runtime) -> Result<Vec<(&'static str, Shape)>> {
    let paths: &[(&str, &str)] = match runtime {
        Runtime::Threads => &[("order", THREADS)],
        Runtime::Flask => &[("order", FLASK), ("look", LOOK)],
        Runtime::Go => &[("order", GO), ("look", GO_LOOK)],
        Runtime::Aiohttp | Runtime::FastApi => &[("order", LOOP), ("look", LOOK)],
        Runtime::Node(Pools::Ample) => &[
            ("order", LOOP),
            ("look", LOOK),
            ("calls", CALLS),
            ("waits", WAITS),
            ("holds", HOLDS),
        ],
        Runtime::Node(Pools::Exhausted) => &[
            ("order", LOOP),
            ("look", LOOK),
            ("calls", CALLS),
            ("holds", HOLDS),
        ],
        Runtime::Node(Pools::HandedOver) => &[("limited", LIMITED), ("batched", BATCHED), ("look", LOOK)],
        Runtime::Tasks(..) => &[("order", TASKS)],
        Runtime::Goroutines => &[("order", GOROUTINES)],
        Runtime::Streams => &[("order", STREAMS)],
        Runtime::BrokenOff => &[("broken", BROKEN_OFF)],
        Runtime::Hypercorn | Runtime::NodeBy(Way::Http2) => &[("look", RELAYED)],
        Runtime::NodeBy(Way::Worker | Way::Workers) => &[("order", LOOP), ("look", LOOK)],
        Runtime::NodeBy(Way::Grpc) | Runtime::Grpcio(_) => &[("order", CALLED)],
        Runtime::Nginx | Runtime::HaProxy => &[("proxy", PROXY), ("once", PROXY)],
        Runtime::HandedOver | Runtime::EventLoop => &[("order", UNTOLD)],
        Runtime::Epoll => &[("order", UNTOLD), ("kept", KEPT)],
        Runtime::Messages | Runtime::Deliveries(..) => &[],
    };
    let shape = |(path, text): &(&'static str, &str)| {
        let text = text.replace("PATH", path);
        let text = match runtime {
            // A thread and a task serve one request at a time.
            Runtime::Flask | Runtime::Aiohttp | Runtime::FastApi => text.replace("? ", ""),
            // The first request on a connection may do without its children.
            Runtime::Tasks(Server::Aiohttp, Loop::Uvloop) => {
                text.replace("    CLIENT FRONT", "    ? CLIENT FRONT")
            }
            _ => text,
        };
        Ok((*path, Shape::parse(&written_out(&text, runtime.name()))?))
    };
    paths.iter().map(shape).collect()
}

/// How statements begin that pools send by themselves: asyncpg's when a connection comes back, pgx's when one has not been used
/// for a second. No id is in them, so nobody can hold them against a request.
pub(super) const BESIDES: [&str; 2] = ["SELECT pg_advisory_unlock_all();", "-- ping"];

/// What a message comes to. Who takes several at a time may not be able to tell them apart.
pub(super) fn message(runtime: Runtime) -> Result<Shape> {
    match runtime {
        Runtime::Deliveries(..) => {
            Shape::parse(&MESSAGE.replace("    CLIENT consume", "    ? CLIENT consume"))
        }
        _ => Shape::parse(MESSAGE),
    }
}

/// `text` with each line for what it stands for: `SQL 'x'` is a statement at its client, which the database serves, and
/// `STOCK what` is a request that stock serves with a statement.
fn written_out(text: &str, front: &str) -> String {
    let mut lines = Vec::new();
    for line in text.replace("FRONT", front).lines() {
        let margin = " ".repeat(line.len() - line.trim_start().len());
        if let Some(what) = line.trim_start().strip_prefix("STOCK ") {
            lines.push(format!("{margin}SERVER stock GET: /stock/ID/{what}"));
            statement(
                &mut lines,
                &format!("{margin}  CLIENT stock "),
                &format!("'ID {what}'"),
            );
        } else if let Some((client, literal)) = line.split_once("SQL ") {
            statement(&mut lines, client, literal);
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

fn statement(lines: &mut Vec<String>, client: &str, literal: &str) {
    let margin = " ".repeat(client.len() - client.trim_start().len());
    let text = format!("SELECT: SELECT {literal}::text");
    lines.push(format!("{client}{text}"));
    lines.push(format!("{margin}  SERVER postgres {text}"));
}
