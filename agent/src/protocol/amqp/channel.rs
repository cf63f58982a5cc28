//! One channel number: the lives that begin and end under it.
//!
//! A number is used again once it is closed, and one direction may be read further than the other. So each direction
//! has a life that it is in, and a life is over for good when both have left it.

use super::life::Life;
use super::{Content, Flow, Outcome};
use crate::connection::Close;
use std::collections::VecDeque;

/// Lives of one number at most: so far one direction may be read ahead of the other.
const LIVES: usize = 16;

/// What goes on under one channel number.
#[derive(Debug)]
pub(super) struct Channel<S> {
    lives: VecDeque<Life<S>>,
    /// Of each direction, the number of the life that it is in, from 1; 0 in front of the first.
    at: [usize; 2],
    /// The server's word for the last life may have been lost.
    is_unsure: bool,
}

impl<S: Copy> Channel<S> {
    /// One whose opening is still to come.
    pub(super) fn new() -> Self {
        Self {
            lives: VecDeque::new(),
            at: [0; 2],
            is_unsure: false,
        }
    }

    /// One that was open before anything was seen of it.
    pub(super) fn late(out: &mut Vec<Outcome<S>>) -> Self {
        let mut life = Life::new();
        life.gap(Flow::Request, out);
        life.gap(Flow::Response, out);
        Self {
            lives: VecDeque::from([life]),
            at: [1; 2],
            is_unsure: false,
        }
    }

    /// As [`super::Connection::request`].
    pub(super) fn request(&self, is_it: &impl Fn(S) -> bool) -> Option<&Content> {
        self.lives.iter().find_map(|life| life.request(is_it))
    }

    /// The life that `flow` is in.
    pub(super) fn life(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) -> Option<&mut Life<S>> {
        if flow == Flow::Response && std::mem::take(&mut self.is_unsure) {
            // It says something other than open-ok, so that was lost, if there was one.
            self.at[flow as usize] = self.lives.len();
            self.forget(out);
        }
        self.lives.get_mut(self.at[flow as usize].checked_sub(1)?)
    }

    /// `flow` opens the channel. `in_order` says that something was lost, and what is read is in order since: a client
    /// asks before the server agrees.
    pub(super) fn open(&mut self, flow: Flow, in_order: bool, out: &mut Vec<Outcome<S>>) {
        let [client, server] = [Flow::Request, Flow::Response].map(|flow| flow as usize);
        let all = self.lives.len();
        match flow {
            Flow::Request if in_order => self.at[client] = all + 1,
            Flow::Request => self.at[client] += 1,
            Flow::Response if in_order && self.at[server] < all => self.at[server] = all,
            Flow::Response => self.at[server] += 1,
        }
        if flow == Flow::Response {
            self.is_unsure = false;
        }
        if self.at[flow as usize] > all {
            if all == LIVES {
                // The other direction is not seen at all.
                self.finish(None, out);
                *self = Self::late(out);
                return;
            }
            self.lives.push_back(Life::new());
            if flow == Flow::Response && in_order {
                // The client's word for it was lost, and what it said before as well.
                self.at[client] = all + 1;
                for life in &mut self.lives {
                    life.gap(Flow::Request, out);
                }
            }
        }
        self.forget(out);
    }

    /// Some of `flow` is not seen.
    pub(super) fn gap(&mut self, flow: Flow, out: &mut Vec<Outcome<S>>) {
        match flow {
            Flow::Request => self.at[flow as usize] = self.lives.len(),
            Flow::Response => self.is_unsure = true,
        }
        self.forget(out);
        for life in &mut self.lives {
            life.gap(flow, out);
        }
    }

    /// Drops the lives that both directions have left.
    fn forget(&mut self, out: &mut Vec<Outcome<S>>) {
        while self.at.iter().all(|at| *at > 1)
            && let Some(mut life) = self.lives.pop_front()
        {
            life.finish(None, out);
            self.at = self.at.map(|at| at - 1);
        }
    }

    /// All of its lives, the oldest first.
    pub(super) fn lives(&mut self) -> impl Iterator<Item = &mut Life<S>> {
        self.lives.iter_mut()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lives.iter().map(Life::in_flight).sum()
    }

    pub(super) fn cost(&self) -> usize {
        self.lives.iter().map(Life::cost).sum()
    }

    /// Nothing more is to come.
    pub(super) fn finish(&mut self, close: Option<(S, Close)>, out: &mut Vec<Outcome<S>>) {
        for life in &mut self.lives {
            life.finish(close, out);
        }
    }
}
