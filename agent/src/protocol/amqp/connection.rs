//! The two readers of a connection, and what goes on in its channels.

use super::channel::Channel;
use super::frame::{Frame, Kind, Reader};
use super::life::{Life, text};
use super::method::{self, Method};
use super::pending::{Origin, Told};
use super::search::Search;
use super::{Content, Delivery, Ending, Flow, Limits, Malformed, Outcome, Reason};
use crate::connection::Close;
use crate::connection::piece::Piece;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::mem;

mod contents;
mod reading;

use contents::{Incoming, What};

/// Where a direction is.
#[derive(Debug)]
enum State {
    /// In front of its first frame: the client's protocol header, as far as it came.
    Opening(usize),
    /// Between frames, or in one.
    Frames,
    /// Behind a loss: the next frame's beginning has to be found.
    Searching,
    /// It has closed the connection, or agreed to.
    Ended,
}

/// One direction.
#[derive(Debug)]
struct Side<S> {
    state: State,
    reader: Reader<S>,
    search: Search<S>,
    /// The kernel's mark, for the next message that begins.
    mark: Option<u64>,
    /// Number of the next message.
    ordinals: u64,
    /// Messages in progress, one a channel.
    incoming: HashMap<u16, Incoming<S>>,
    /// Bytes of their properties.
    held: usize,
}

impl<S: Copy> Side<S> {
    fn new(limits: Limits) -> Self {
        Self {
            state: State::Opening(0),
            reader: Reader::new(limits.header),
            search: Search::new(),
            mark: None,
            ordinals: 0,
            incoming: HashMap::new(),
            held: 0,
        }
    }

    /// Number of a message that begins with the frame at hand.
    fn ordinal(&mut self) -> u64 {
        let ordinal = self.mark.take().unwrap_or(self.ordinals);
        self.ordinals = ordinal.saturating_add(1);
        ordinal
    }

    /// What was half seen is lost.
    fn lose(&mut self, reason: Reason, out: &mut Vec<Outcome<S>>) {
        self.held = 0;
        let lost = mem::take(&mut self.incoming)
            .into_values()
            .filter(|it| it.what.is_counted());
        out.extend(lost.map(|_| Outcome::Lost(reason)));
    }
}

/// One AMQP connection: pieces of both directions in, outcomes out.
///
/// Each direction's pieces come in order; the directions may run ahead of each other. Where bytes were lost, from there
/// on pieces have to come in the order in which they were on the wire, and a loss right before the piece behind it.
///
/// [`Piece::Elided`] is what is left of a frame, its end octet included, or part of that. A mark says that a frame
/// begins, and which number the next basic.publish, basic.deliver or basic.get-ok has.
#[derive(Debug)]
pub struct Connection<S> {
    limits: Limits,
    requests: Side<S>,
    responses: Side<S>,
    /// In order: what comes out at the end must not depend on anything but what was read.
    channels: BTreeMap<u16, Channel<S>>,
    /// Bytes of what is pending in them.
    cost: usize,
    /// Something was lost.
    is_lossy: bool,
    /// Reply code of a connection.close, if it is an error.
    closed: Option<(u16, S)>,
    done: bool,
}

impl<S: Copy> Connection<S> {
    /// A connection from its first byte. Where it is joined later, begin both directions with a [`Piece::Gap`] of
    /// length 0.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            requests: Side::new(limits),
            responses: Side::new(limits),
            channels: BTreeMap::new(),
            cost: 0,
            is_lossy: false,
            closed: None,
            done: false,
        }
    }

    /// Messages that have not come out yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let incoming = [&self.requests, &self.responses].map(|side| side.incoming.len());
        self.channels.values().map(Channel::in_flight).sum::<usize>() + incoming.iter().sum::<usize>()
    }

    /// The content that was published or delivered from a stamp on of which `is_it` holds, and has not come out.
    pub fn request(&self, is_it: impl Fn(S) -> bool) -> Option<&Content> {
        self.channels.values().find_map(|channel| channel.request(&is_it))
    }

    /// Whether both sides have closed the connection, or it never was one: what is read is ignored.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Reads one piece of one direction. `stamp` goes to every message that begins or ends in it.
    pub fn read(&mut self, flow: Flow, stamp: S, piece: Piece<'_>, out: &mut Vec<Outcome<S>>) {
        if self.done {
            return;
        }
        match piece {
            Piece::Bytes { data, starts } => {
                if starts.is_some() {
                    self.marked(flow, starts, data, out);
                }
                self.bytes(flow, stamp, data, out);
            }
            Piece::Elided { wire, .. } => self.skip(flow, stamp, wire, out),
            // In the middle of a frame, where the next one begins is still known.
            Piece::Gap { length } if length > 0 => self.skip(flow, stamp, length, out),
            Piece::Gap { .. } => self.search(flow, out),
        }
    }

    /// The connection is over: whatever is in flight comes out.
    pub fn close(&mut self, stamp: S, how: Close, out: &mut Vec<Outcome<S>>) {
        if self.done {
            return;
        }
        for flow in [Flow::Request, Flow::Response] {
            self.side_mut(flow).lose(Reason::Incomplete, out);
            if let State::Searching = self.side(flow).state {
                // What settles may be among what was lost.
                self.regain(flow, out);
            }
        }
        self.finish(Some((stamp, how)), out);
    }

    fn finish(&mut self, close: Option<(S, Close)>, out: &mut Vec<Outcome<S>>) {
        let closed = self.closed;
        for channel in self.channels.values_mut() {
            for life in channel.lives() {
                if let Some((code, stamp)) = closed {
                    for flow in [Flow::Request, Flow::Response] {
                        life.end(flow, Some(code), stamp, out);
                    }
                }
                life.finish(close, out);
            }
        }
        self.channels.clear();
        self.cost = 0;
        self.done = true;
        self.requests = Side::new(self.limits);
        self.responses = Side::new(self.limits);
    }

    fn side(&self, flow: Flow) -> &Side<S> {
        match flow {
            Flow::Request => &self.requests,
            Flow::Response => &self.responses,
        }
    }

    fn side_mut(&mut self, flow: Flow) -> &mut Side<S> {
        match flow {
            Flow::Request => &mut self.requests,
            Flow::Response => &mut self.responses,
        }
    }

    /// Some of `flow` is not seen.
    fn gap(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        self.is_lossy = true;
        for channel in self.channels.values_mut() {
            channel.gap(flow, out);
        }
        self.cost = self.channels.values().map(Channel::cost).sum();
    }

    /// Takes a frame that is complete.
    fn frame(&mut self, flow: Flow, frame: &Frame<'_, S>, out: &mut Vec<Outcome<S>>) {
        match frame.head.kind {
            Kind::Method => match method::read(flow, &frame.payload) {
                Ok((method, _)) => self.method(flow, frame, method, out),
                Err(_) if !frame.is_whole => {
                    // Its arguments were lost, and nothing is known of what it did.
                    self.search(flow, out);
                    self.regain(flow, out);
                }
                Err(malformed) => {
                    out.push(Outcome::Lost(Reason::Unparsed(malformed)));
                    self.search(flow, out);
                    self.regain(flow, out);
                }
            },
            Kind::Header => self.header(flow, frame, out),
            Kind::Body => self.body(flow, frame, out),
            Kind::Heartbeat if flow == Flow::Response => {
                for life in self.channels.values_mut().flat_map(Channel::lives) {
                    life.heartbeat(out);
                }
                self.cost = self.channels.values().map(Channel::cost).sum();
            }
            Kind::Heartbeat => {}
        }
    }

    /// Does `act` with the life that `flow` is in on a channel.
    fn with<R>(
        &mut self,
        flow: Flow,
        number: u16,
        out: &mut Vec<Outcome<S>>,
        act: impl FnOnce(&mut Life<S>, &mut Vec<Outcome<S>>) -> R,
    ) -> R
    where
        R: Default,
    {
        let channel = self.channel(number, true, out);
        let before = channel.cost();
        let mut done = R::default();
        let life = channel.life(flow, out);
        if let Some(life) = life {
            done = act(life, out);
        }
        let after = channel.cost();
        self.cost = (self.cost + after).saturating_sub(before);
        while self.cost > self.limits.in_flight
            && let Some(channel) = self.channels.get_mut(&number)
        {
            let before = channel.cost();
            let evicted = channel.lives().any(|life| life.evict(out));
            self.cost = (self.cost + channel.cost()).saturating_sub(before);
            if !evicted {
                break;
            }
        }
        done
    }

    /// The channel of this number; where there is none yet, a new one, or one that `is_late`.
    fn channel(&mut self, number: u16, is_late: bool, out: &mut Vec<Outcome<S>>) -> &mut Channel<S> {
        if self.channels.len() >= self.limits.channels && !self.channels.contains_key(&number) {
            for (_, mut channel) in mem::take(&mut self.channels) {
                channel.finish(None, out);
            }
            self.cost = 0;
            self.is_lossy = true;
        }
        self.channels.entry(number).or_insert_with(|| match is_late {
            true => Channel::late(out),
            false => Channel::new(),
        })
    }

    fn method(&mut self, flow: Flow, frame: &Frame<'_, S>, method: Method<'_>, out: &mut Vec<Outcome<S>>) {
        let (number, stamp) = (frame.head.channel, frame.last);
        if self.side(flow).incoming.contains_key(&number) {
            // Its content did not come.
            self.drop_incoming(flow, number, Reason::Unparsed(Malformed::Content), out);
        }
        match method {
            Method::ConnectionClose { code } => {
                if code >= 300 {
                    self.closed.get_or_insert((code, stamp));
                }
                self.ended(flow, out);
            }
            Method::ConnectionCloseOk => self.ended(flow, out),
            Method::ChannelOpen | Method::ChannelOpenOk => {
                let is_lossy = self.is_lossy;
                let channel = self.channel(number, false, out);
                channel.open(flow, is_lossy, out);
                self.cost = self.channels.values().map(Channel::cost).sum();
            }
            Method::ChannelClose { code } => {
                self.with(flow, number, out, |life, out| {
                    life.end(flow, Some(code), stamp, out)
                });
            }
            Method::ChannelCloseOk => {
                self.with(flow, number, out, |life, out| life.end(flow, None, stamp, out));
            }
            Method::QueueDeclare { queue, no_wait } => {
                self.with(flow, number, out, |life, _| life.declare(queue, no_wait));
            }
            Method::QueueDeclareOk { queue } => {
                self.with(flow, number, out, |life, _| life.declare_ok(queue));
            }
            Method::Consume(consume) => {
                self.with(flow, number, out, |life, out| life.consume(consume, out));
            }
            Method::ConsumeOk { tag } => self.with(flow, number, out, |life, out| life.consume_ok(tag, out)),
            Method::Get { queue, no_ack } => {
                self.with(flow, number, out, |life, out| life.get(queue, no_ack, out));
            }
            Method::GetEmpty => self.with(flow, number, out, |life, _| life.got_nothing()),
            Method::ConfirmSelect => self.with(flow, number, out, |life, _| life.select()),
            Method::Publish { to, mandatory } => {
                let publish = self.with(flow, number, out, |life, _| life.number());
                let ordinal = self.side_mut(flow).ordinal();
                let what = What::Publish {
                    ordinal,
                    number: publish,
                    mandatory,
                };
                self.announce(flow, frame, what, to, out);
            }
            Method::Deliver {
                consumer,
                tag,
                redelivered,
                to,
            } => {
                let origin = self.with(flow, number, out, |life, _| Some(life.origin(consumer)));
                let consumer = Some(text(consumer));
                let delivery = Delivery {
                    tag,
                    redelivered,
                    consumer,
                };
                let ordinal = self.side_mut(flow).ordinal();
                let what = What::Delivery {
                    ordinal,
                    delivery,
                    origin: origin.unwrap_or(Origin::Consumer(None)),
                };
                self.announce(flow, frame, what, to, out);
            }
            Method::GetOk { tag, redelivered, to } => {
                let delivery = Delivery {
                    tag,
                    redelivered,
                    consumer: None,
                };
                let ordinal = self.side_mut(flow).ordinal();
                let what = What::Delivery {
                    ordinal,
                    delivery,
                    origin: Origin::Get,
                };
                self.announce(flow, frame, what, to, out);
            }
            Method::Return { code, to } => self.announce(flow, frame, What::Return { code }, to, out),
            Method::Ack { tag, multiple } => self.told(flow, frame, [tag, multiple.into()], Ending::Ack, out),
            Method::Nack {
                tag,
                multiple,
                requeue,
            } => self.told(flow, frame, [tag, multiple.into()], Ending::Nack { requeue }, out),
            Method::Reject { tag, requeue } => {
                self.told(flow, frame, [tag, 0], Ending::Reject { requeue }, out);
            }
            Method::Recover => self.told(flow, frame, [0, 1], Ending::Recover, out),
            Method::Other => {}
        }
    }

    /// `flow` has closed the connection, or agreed to.
    fn ended(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        self.side_mut(flow).lose(Reason::Incomplete, out);
        self.side_mut(flow).state = State::Ended;
        if [&self.requests, &self.responses]
            .iter()
            .all(|side| matches!(side.state, State::Ended))
        {
            self.finish(None, out);
        }
    }

    /// The client settles deliveries, or the server publishes.
    fn told(
        &mut self,
        flow: Flow,
        frame: &Frame<'_, S>,
        [tag, multiple]: [u64; 2],
        ending: Ending,
        out: &mut Vec<Outcome<S>>,
    ) {
        let told = Told {
            tag,
            multiple: multiple != 0,
            ending,
            stamp: frame.last,
        };
        self.with(flow, frame.head.channel, out, |life, out| match flow {
            Flow::Request => life.settle(told, out),
            Flow::Response => life.confirm(told, out),
        });
    }
}
