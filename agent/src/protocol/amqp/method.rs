//! Methods and their arguments (AMQP 0-9-1, section 1.4 ff., and RabbitMQ's extensions), as far as they are used.

use super::{Flow, Malformed};

/// Bytes of a method's class and its own number.
pub(super) const ID: usize = 4;

/// A method. Names are bytes of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method<'a> {
    ConnectionClose {
        code: u16,
    },
    ConnectionCloseOk,
    ChannelOpen,
    ChannelOpenOk,
    ChannelClose {
        code: u16,
    },
    ChannelCloseOk,
    QueueDeclare {
        queue: &'a [u8],
        no_wait: bool,
    },
    QueueDeclareOk {
        queue: &'a [u8],
    },
    Consume(Consume<'a>),
    ConsumeOk {
        tag: &'a [u8],
    },
    Publish {
        to: Route<'a>,
        mandatory: bool,
    },
    Return {
        code: u16,
        to: Route<'a>,
    },
    Deliver {
        consumer: &'a [u8],
        tag: u64,
        redelivered: bool,
        to: Route<'a>,
    },
    Get {
        queue: &'a [u8],
        no_ack: bool,
    },
    GetOk {
        tag: u64,
        redelivered: bool,
        to: Route<'a>,
    },
    GetEmpty,
    Ack {
        tag: u64,
        multiple: bool,
    },
    Nack {
        tag: u64,
        multiple: bool,
        requeue: bool,
    },
    Reject {
        tag: u64,
        requeue: bool,
    },
    Recover,
    ConfirmSelect,
    /// One that changes nothing here.
    Other,
}

impl Method<'_> {
    /// Whether `rest` is what has to be behind the arguments that were read: a table where one ends them.
    pub(super) fn is_exact(self, rest: &[u8]) -> bool {
        match self {
            Self::QueueDeclare { .. } | Self::Consume(_) => {
                let mut fields = Fields(rest);
                fields.long().is_some() && fields.0.is_empty()
            }
            Self::Other => true,
            _ => rest.is_empty(),
        }
    }
}

/// Arguments of basic.consume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Consume<'a> {
    pub(super) queue: &'a [u8],
    pub(super) tag: &'a [u8],
    pub(super) no_ack: bool,
    pub(super) no_wait: bool,
}

/// Exchange and routing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    pub(super) exchange: &'a [u8],
    pub(super) key: &'a [u8],
}

/// Who sends a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
    Both,
}

impl Sender {
    /// Whether methods of this sender go in `flow`.
    pub(super) fn sends(self, flow: Flow) -> bool {
        match self {
            Self::Client => flow == Flow::Request,
            Self::Server => flow == Flow::Response,
            Self::Both => true,
        }
    }
}

/// Who sends this method; `None` where there is none of these numbers.
pub(super) fn sender(class: u16, method: u16) -> Option<Sender> {
    Some(match (class, method) {
        // connection
        (10, 10 | 20 | 30 | 41 | 71) => Sender::Server,
        (10, 11 | 21 | 31 | 40 | 70) => Sender::Client,
        (10, 50 | 51 | 60 | 61) => Sender::Both,
        // channel
        (20, 10) => Sender::Client,
        (20, 11) => Sender::Server,
        (20, 20 | 21 | 40 | 41) => Sender::Both,
        // access, of the version before
        (30, 10) => Sender::Client,
        (30, 11) => Sender::Server,
        // exchange
        (40, 10 | 20 | 30 | 40) => Sender::Client,
        (40, 11 | 21 | 31 | 51) => Sender::Server,
        // queue
        (50, 10 | 20 | 30 | 40 | 50) => Sender::Client,
        (50, 11 | 21 | 31 | 41 | 51) => Sender::Server,
        // basic; the server cancels as well, where the client allows it
        (60, 10 | 20 | 40 | 70 | 90 | 100 | 110) => Sender::Client,
        (60, 11 | 21 | 50 | 60 | 71 | 72 | 111) => Sender::Server,
        (60, 30 | 31 | 80 | 120) => Sender::Both,
        // confirm
        (85, 10) => Sender::Client,
        (85, 11) => Sender::Server,
        // tx
        (90, 10 | 20 | 30) => Sender::Client,
        (90, 11 | 21 | 31) => Sender::Server,
        _ => return None,
    })
}

/// Whether a method holds a password: connection.start-ok, secure-ok and update-secret.
pub(super) fn is_secret(id: [u8; ID]) -> bool {
    matches!(id, [0, 10, 0, 11 | 21 | 70])
}

/// Reads a method of `flow` from its payload, or as much of that as there is. Also returns what is left behind the
/// arguments that are used: nothing, unless it is a method whose last argument is a table or of no use.
pub(super) fn read(flow: Flow, payload: &[u8]) -> Result<(Method<'_>, &[u8]), Malformed> {
    let mut fields = Fields(payload);
    let known = fields.u16().zip(fields.u16());
    let Some((class, method)) = known else {
        return Err(Malformed::Method);
    };
    if sender(class, method).is_some_and(|sender| !sender.sends(flow)) {
        return Err(Malformed::Method);
    }
    let method = fields.method(class, method).ok_or(Malformed::Method)?;
    Ok((method, fields.0))
}

/// Arguments that are still to be read.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    fn method(&mut self, class: u16, method: u16) -> Option<Method<'a>> {
        Some(match (class, method) {
            (10, 50) => Method::ConnectionClose { code: self.close()? },
            (10, 51) => Method::ConnectionCloseOk,
            (20, 10) => {
                self.short()?;
                Method::ChannelOpen
            }
            (20, 11) => {
                self.long()?;
                Method::ChannelOpenOk
            }
            (20, 40) => Method::ChannelClose { code: self.close()? },
            (20, 41) => Method::ChannelCloseOk,
            (50, 10) => {
                self.u16()?;
                Method::QueueDeclare {
                    queue: self.short()?,
                    no_wait: self.bits()? & 16 != 0,
                }
            }
            (50, 11) => {
                let queue = self.short()?;
                self.take(8)?;
                Method::QueueDeclareOk { queue }
            }
            (60, 20) => {
                self.u16()?;
                let (queue, tag, bits) = (self.short()?, self.short()?, self.bits()?);
                Method::Consume(Consume {
                    queue,
                    tag,
                    no_ack: bits & 2 != 0,
                    no_wait: bits & 8 != 0,
                })
            }
            (60, 21) => Method::ConsumeOk { tag: self.short()? },
            (60, 40) => {
                self.u16()?;
                Method::Publish {
                    to: self.route()?,
                    mandatory: self.bits()? & 1 != 0,
                }
            }
            (60, 50) => {
                let code = self.u16()?;
                self.short()?;
                Method::Return {
                    code,
                    to: self.route()?,
                }
            }
            (60, 60) => Method::Deliver {
                consumer: self.short()?,
                tag: self.u64()?,
                redelivered: self.bits()? & 1 != 0,
                to: self.route()?,
            },
            (60, 70) => {
                self.u16()?;
                Method::Get {
                    queue: self.short()?,
                    no_ack: self.bits()? & 1 != 0,
                }
            }
            (60, 71) => {
                let (tag, redelivered, to) = (self.u64()?, self.bits()? & 1 != 0, self.route()?);
                self.take(4)?;
                Method::GetOk { tag, redelivered, to }
            }
            (60, 72) => {
                self.short()?;
                Method::GetEmpty
            }
            (60, 80) => Method::Ack {
                tag: self.u64()?,
                multiple: self.bits()? & 1 != 0,
            },
            (60, 90) => Method::Reject {
                tag: self.u64()?,
                requeue: self.bits()? & 1 != 0,
            },
            (60, 100 | 110) => {
                self.bits()?;
                Method::Recover
            }
            (60, 120) => {
                let (tag, bits) = (self.u64()?, self.bits()?);
                Method::Nack {
                    tag,
                    multiple: bits & 1 != 0,
                    requeue: bits & 2 != 0,
                }
            }
            (85, 10) => {
                self.bits()?;
                Method::ConfirmSelect
            }
            _ => Method::Other,
        })
    }

    /// Arguments of connection.close and channel.close: code, text, and which method failed.
    fn close(&mut self) -> Option<u16> {
        let code = self.u16()?;
        self.short()?;
        self.take(4)?;
        Some(code)
    }

    fn route(&mut self) -> Option<Route<'a>> {
        Some(Route {
            exchange: self.short()?,
            key: self.short()?,
        })
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Up to eight flags, of which the first is the lowest bit.
    pub(super) fn bits(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A text of up to 255 bytes.
    pub(super) fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.bits()?;
        self.take(length.into())
    }

    /// A text with a length of four bytes.
    pub(super) fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }
}
