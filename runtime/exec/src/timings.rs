//! When each step began and ended: CLOCK_MONOTONIC nanoseconds, the same clock for both actors.

use caisson_plan::step::Actor;
use serde::{Deserialize, Serialize};

use crate::error::Act;
use crate::sync::{Channel, Message};

/// One step's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Index in the plan, from 0.
    pub step: usize,
    /// Who did it.
    pub actor: Actor,
    /// Begin, ns of CLOCK_MONOTONIC.
    pub begin: u64,
    /// End, ns.
    pub end: u64,
}

/// Records steps, or nothing at all.
#[derive(Debug)]
pub(crate) struct Clock {
    actor: Actor,
    on: bool,
    pub(crate) list: Vec<Timing>,
}

impl Clock {
    pub(crate) fn off() -> Self {
        Self { actor: Actor::Init, on: false, list: Vec::new() }
    }

    pub(crate) fn for_actor(actor: Actor, on: bool) -> Self {
        Self { actor, on, list: Vec::new() }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    pub(crate) fn now(&self) -> u64 {
        if self.on { caisson_sys::clock::monotonic_ns() } else { 0 }
    }

    pub(crate) fn record(&mut self, step: usize, begin: u64) {
        if self.on {
            self.list.push(Timing { step, actor: self.actor, begin, end: self.now() });
        }
    }

    /// Init's way to hand over what it has; forgets it afterwards.
    pub(crate) fn send(&mut self, channel: &Channel) -> Act {
        if self.list.is_empty() {
            return Ok(());
        }
        channel.send(&Message::Timings(std::mem::take(&mut self.list)))
    }
}
