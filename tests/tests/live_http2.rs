//! HTTP/2 and gRPC live: the peers of `replay_http2.rs`, each exchange seen from both of its ends.

use anyhow::{Result, ensure};
use spanwire_tests::agent::{Hooks, Options};
use spanwire_tests::calls::{self, Call, Peer, Request};
use spanwire_tests::child::Child;
use spanwire_tests::session::Session;
use spanwire_tests::span::Kind;

spanwire_tests::under_both_hook_sets!(http2_of_go_and_node, grpc);

/// Everyone with everyone, one call at a time and fifty.
const CONCURRENCY: [usize; 2] = [1, 50];

fn http2_of_go_and_node(hooks: Hooks) -> Result<()> {
    let servers = [Peer::NodeHttp, Peer::GoHttp].map(Peer::serve);
    let servers = servers.into_iter().collect::<Result<Vec<_>>>()?;
    let options = servers.iter().fold(Options::run(hooks), |options, server| {
        options.port(server.address.port())
    });
    let session = Session::start(options)?;
    let mut expected = Vec::new();
    for server in &servers {
        for client in [Peer::NodeHttp, Peer::GoHttp] {
            for concurrency in CONCURRENCY {
                let client = Child::spawn(client.call(server.address, 120, concurrency)?)?;
                let told: Vec<Request> = calls::told(&client.succeed()?)?;
                ensure!(told.len() == 120, "{}", told.len());
                for request in told {
                    expected.extend(request.spans(server.address)?);
                }
            }
        }
    }
    session.finish(expected.len())?.exactly_until_closed(&expected)
}

fn is_slow(method: &str) -> bool {
    method.ends_with("/Slow")
}

fn grpc(hooks: Hooks) -> Result<()> {
    for (server, clients) in [
        (Peer::GrpcGo, &[Peer::GrpcGo, Peer::Grpcio, Peer::GrpcJs][..]),
        (Peer::Grpcio, &[Peer::GrpcGo, Peer::Grpcio]),
    ] {
        let server = server.serve()?;
        let session = Session::start(Options::run(hooks).port(server.address.port()))?;
        let mut told: Vec<Call> = Vec::new();
        for client in clients {
            for concurrency in CONCURRENCY {
                let client = Child::spawn(client.call(server.address, 128, concurrency)?)?;
                told.extend(calls::told::<Call>(&client.succeed()?)?);
            }
        }
        let (slow, told): (Vec<_>, Vec<_>) = told.into_iter().partition(|call| is_slow(&call.path));
        let mut expected = Vec::new();
        for call in told {
            expected.extend(call.spans(server.address)?);
        }
        let seen = session.finish(expected.len() + 2 * slow.len())?;
        // Some were over before they were sent.
        let at = |kind| {
            seen.spans
                .iter()
                .filter(move |span| span.kind == kind && is_slow(span.subject()))
        };
        let [served, called] = [Kind::Server, Kind::Client].map(|kind| at(kind).count());
        ensure!(
            served <= called && called <= slow.len(),
            "{served} and {called} of {}",
            slow.len()
        );
        for span in seen.spans.iter().filter(|span| is_slow(span.subject())) {
            expected.push(slow[0].given_up(span, server.address));
        }
        seen.exactly_until_closed(&expected)?;
    }
    Ok(())
}
