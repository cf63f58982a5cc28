//! Content: a message's header and bodies behind the method that announces it (section 4.2.6), one at a time a channel.

use super::super::content::Content;
use super::super::frame::Frame;
use super::super::life::route;
use super::super::method::Route;
use super::super::pending::{Origin, Pending, Returned};
use super::super::{Delivery, Ending, Exchange, Flow, Malformed, Operation, Outcome, Reason};
use super::Connection;
use smol_str::SmolStr;

/// A message of which not all has come.
#[derive(Debug)]
pub(super) struct Incoming<S> {
    pub(super) what: What,
    pub(super) exchange: SmolStr,
    pub(super) routing_key: SmolStr,
    pub(super) first: S,
    pub(super) content: Option<Content>,
    /// Bytes of the body that came.
    pub(super) received: u64,
}

/// What announced a message.
#[derive(Debug)]
pub(super) enum What {
    Publish {
        ordinal: u64,
        number: Option<u64>,
        mandatory: bool,
    },
    Delivery {
        ordinal: u64,
        delivery: Delivery,
        origin: Origin,
    },
    Return {
        code: u16,
    },
}

impl What {
    /// Whether it is an exchange of its own.
    pub(super) fn is_counted(&self) -> bool {
        !matches!(self, Self::Return { .. })
    }
}

impl<S: Copy> Connection<S> {
    /// A method that content follows.
    pub(super) fn announce(
        &mut self,
        flow: Flow,
        frame: &Frame<'_, S>,
        what: What,
        to: Route<'_>,
        out: &mut Vec<Outcome<S>>,
    ) {
        let most = self.limits.channels;
        let side = self.side_mut(flow);
        if side.incoming.len() >= most {
            side.lose(Reason::TooManyInFlight, out);
        }
        let [exchange, routing_key] = route(to);
        let incoming = Incoming {
            what,
            exchange,
            routing_key,
            first: frame.first,
            content: None,
            received: 0,
        };
        side.incoming.insert(frame.head.channel, incoming);
    }

    pub(super) fn header(&mut self, flow: Flow, frame: &Frame<'_, S>, out: &mut Vec<Outcome<S>>) {
        let (channel, limit) = (frame.head.channel, self.limits.in_flight);
        let side = self.side_mut(flow);
        let Some(incoming) = side.incoming.get_mut(&channel) else {
            return self.unannounced(flow, channel, out);
        };
        let content = Content::read(&frame.payload, frame.is_whole);
        let Some(content) = content.filter(|_| incoming.content.is_none()) else {
            let reason = match frame.is_whole {
                true => Reason::Unparsed(Malformed::Content),
                false => Reason::Incomplete,
            };
            return self.drop_incoming(flow, channel, reason, out);
        };
        side.held += content.cost();
        let is_empty = content.body_size == 0;
        incoming.content = Some(content);
        if is_empty {
            self.complete(flow, frame, out);
        } else if side.held > limit {
            side.lose(Reason::TooManyInFlight, out);
        }
    }

    pub(super) fn body(&mut self, flow: Flow, frame: &Frame<'_, S>, out: &mut Vec<Outcome<S>>) {
        let channel = frame.head.channel;
        let Some(incoming) = self.side_mut(flow).incoming.get_mut(&channel) else {
            return;
        };
        incoming.received += u64::from(frame.head.size);
        let expected = incoming.content.as_ref().map(|content| content.body_size);
        match expected {
            Some(expected) if incoming.received < expected => {}
            Some(expected) if incoming.received == expected => self.complete(flow, frame, out),
            _ => self.drop_incoming(flow, channel, Reason::Unparsed(Malformed::Content), out),
        }
    }

    /// A content header that no method announced: behind a loss it was lost with that.
    fn unannounced(&mut self, flow: Flow, channel: u16, out: &mut Vec<Outcome<S>>) {
        let reason = match self.is_lossy {
            true => Reason::Incomplete,
            false => Reason::Unparsed(Malformed::Content),
        };
        out.push(Outcome::Lost(reason));
        self.with(flow, channel, out, |life, out| life.gap(flow, out));
    }

    /// The message in progress on this channel will not be whole.
    pub(super) fn drop_incoming(
        &mut self,
        flow: Flow,
        channel: u16,
        reason: Reason,
        out: &mut Vec<Outcome<S>>,
    ) {
        let side = self.side_mut(flow);
        if let Some(incoming) = side.incoming.remove(&channel) {
            side.held -= incoming.content.as_ref().map_or(0, Content::cost);
            if incoming.what.is_counted() {
                out.push(Outcome::Lost(reason));
            }
        }
        // What the numbers of this channel are may not be what was counted.
        self.with(flow, channel, out, |life, out| life.gap(flow, out));
    }

    /// All of a message is there.
    fn complete(&mut self, flow: Flow, frame: &Frame<'_, S>, out: &mut Vec<Outcome<S>>) {
        let channel = frame.head.channel;
        let side = self.side_mut(flow);
        let Some(incoming) = side.incoming.remove(&channel) else {
            return;
        };
        let Some(content) = incoming.content else { return };
        side.held -= content.cost();
        let (exchange, routing_key) = (incoming.exchange, incoming.routing_key);
        let (ordinal, operation, delivery) = match &incoming.what {
            What::Return { code } => {
                let returned = Returned {
                    code: *code,
                    exchange,
                    routing_key,
                    content,
                };
                return self.with(flow, channel, out, |life, out| life.returned(returned, out));
            }
            What::Publish { ordinal, .. } => (*ordinal, Operation::Publish, None),
            What::Delivery {
                ordinal,
                delivery,
                origin: Origin::Get,
            } => (*ordinal, Operation::Get, Some(delivery.clone())),
            What::Delivery {
                ordinal, delivery, ..
            } => (*ordinal, Operation::Deliver, Some(delivery.clone())),
        };
        let exchange = Exchange {
            ordinal,
            channel,
            operation,
            exchange,
            routing_key,
            queue: None,
            delivery,
            content,
            returned: None,
            first: incoming.first,
            last: frame.last,
            ending: Ending::Unseen,
            ended: frame.last,
        };
        self.with(flow, channel, out, |life, out| match incoming.what {
            What::Publish {
                number, mandatory, ..
            } => {
                life.published(number, Pending::new(exchange, Origin::Publish, mandatory), out);
            }
            What::Delivery { delivery, origin, .. } => {
                life.delivered(delivery.tag, Pending::new(exchange, origin, false), out);
            }
            What::Return { .. } => {}
        });
    }
}
