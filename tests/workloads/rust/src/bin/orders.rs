//! orders serve PORT | orders call ADDRESS COUNT CONCURRENCY [KIND...]: gRPC by tonic; see go/orders.

use std::convert::Infallible;
use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::uri::PathAndQuery;
use serde::Serialize;
use spanwire_workloads::{now, pace, tell};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::service_fn;

/// A codec of messages that are bytes already.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

type Answer = Response<BoxStream<'static, Result<Bytes, Status>>>;

async fn answer(kind: String, request: Request<Streaming<Bytes>>) -> Result<Answer, Status> {
    let messages = request.into_inner();
    if kind == "Chat" {
        return Ok(Response::new(messages.boxed()));
    }
    let messages: Vec<Bytes> = messages.try_collect().await?;
    let first = messages.first().cloned().unwrap_or_default();
    let count = match &*kind {
        "One" | "Send" => 1,
        "List" => 3,
        "Fail" => {
            let code = std::str::from_utf8(&first)
                .ok()
                .and_then(|code| code.parse().ok());
            let code = Code::from_i32(code.unwrap_or_default());
            return Err(Status::new(code, "as asked: 100 %"));
        }
        "Slow" => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            0
        }
        _ => return Err(Status::unimplemented(kind)),
    };
    Ok(Response::new(stream::iter(vec![Ok(first); count]).boxed()))
}

async fn serve(port: u16) -> Result<(), tonic::transport::Error> {
    let orders = service_fn(|request: http::Request<tonic::body::Body>| async move {
        let kind = request
            .uri()
            .path()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        let method = service_fn(move |request| answer(kind.clone(), request));
        Ok::<_, Infallible>(tonic::server::Grpc::new(Raw).streaming(method, request).await)
    });
    Server::builder()
        .serve((Ipv4Addr::LOCALHOST, port).into(), orders)
        .await
}

const KINDS: [&str; 8] = ["One", "List", "Send", "Chat", "Fail", "None", "One", "Slow"];

#[derive(Serialize)]
struct Line {
    at: i64,
    path: String,
    code: i32,
    sent: usize,
    received: usize,
}

async fn call(channel: Channel, number: usize, kinds: &[String]) -> Line {
    let is_all = kinds.is_empty();
    let kind = if is_all {
        KINDS[number % KINDS.len()]
    } else {
        &kinds[number % kinds.len()]
    };
    let sent = match kind {
        "Send" => 4,
        "Chat" => 5,
        _ => 1,
    };
    let message = match kind {
        "Fail" => (number / 8 % 16 + 1).to_string(),
        // More than one frame, and more than a window.
        "One" if is_all && number % 8 == 6 => "large ".repeat(15_000),
        _ => "order".to_owned(),
    };
    let mut line = Line {
        at: now(),
        path: format!("/shop.Orders/{kind}"),
        code: 0,
        sent,
        received: 0,
    };
    let mut request = Request::new(stream::iter(vec![Bytes::from(message); sent]));
    request.set_timeout(Duration::from_millis(if kind == "Slow" { 60 } else { 60_000 }));
    if let Err(status) = exchange(channel, request, &mut line).await {
        line.code = status.code().into();
    }
    line
}

async fn exchange<S>(channel: Channel, request: Request<S>, line: &mut Line) -> Result<(), Status>
where
    S: stream::Stream<Item = Bytes> + Send + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| Status::unknown(error.to_string()))?;
    let path = PathAndQuery::try_from(&line.path).map_err(|error| Status::internal(error.to_string()))?;
    let mut answers = client.streaming(request, path, Raw).await?.into_inner();
    while answers.message().await?.is_some() {
        line.received += 1;
    }
    Ok(())
}

async fn calls(
    address: &str,
    count: usize,
    concurrency: usize,
    kinds: Vec<String>,
) -> Result<(), Box<dyn Error>> {
    let channel = Endpoint::try_from(format!("http://{address}"))?.connect().await?;
    let pace = pace();
    let mut parts = Vec::new();
    for part in 0..concurrency {
        let (channel, kinds) = (channel.clone(), kinds.clone());
        parts.push(tokio::spawn(async move {
            let mut lines = Vec::new();
            for number in (part..count).step_by(concurrency) {
                tokio::time::sleep(pace).await;
                lines.push(call(channel.clone(), number, &kinds).await);
            }
            lines
        }));
    }
    let mut told = Vec::new();
    for part in parts {
        told.extend(part.await?);
    }
    // Behind them all one more, after which the server has read all.
    told.push(call(channel, 0, &kinds).await);
    Ok(tell(&told)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or("orders serve PORT | orders call ADDRESS COUNT CONCURRENCY [KIND...]")
    };
    if next()? == "serve" {
        return Ok(serve(next()?.parse()?).await?);
    }
    let (address, count, concurrency) = (next()?, next()?.parse()?, next()?.parse()?);
    calls(&address, count, concurrency, arguments.collect()).await
}
