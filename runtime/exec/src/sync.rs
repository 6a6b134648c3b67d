//! What runtime and init say to each other: one SOCK_SEQPACKET pair, short bounded messages.
//!
//! ```text
//! runtime                         init
//!    ├── Pid(n) ───────────────────▶│   only with a seccomp agent, which wants init's pid
//!    ├── Reached(Mapped) ──────────▶│   id maps are written
//!    ├── Reached(Confined) ────────▶│   scope made, devices moved, limits set
//!    │◀─────────── Reached(HooksDue)┤   only with prestart or createRuntime hooks
//!    ├── Reached(HooksDone) ───────▶│
//!    │◀──────────── Reached(Created)┤   everything stands; init waits for `start`
//!    ├── Committed ────────────────▶│   the state is on disk: outlive the runtime
//!    │◀──────────────── Failed(json)┤   at any time instead
//!    │◀─────────────────── Pid(n)───┤   from the stage process only
//!    │◀──────────────── Timings(…)──┤   with --timings
//! ```
//! Committed is what `Await(Recorded)` (`run`) and `Await(Start)` (`create`) wait for first.
//! In `run` and `exec` init closes its end with execve(2): end of file means the user's program runs.

use std::os::fd::{AsFd, OwnedFd};

use caisson_plan::step::Barrier;
use caisson_sys::{Errno, socket};

use crate::error::{Act, Context, Failure, StepError};
use crate::timings::Timing;

/// No message is longer: the text of an error is cut before it is sent.
const MAX_MESSAGE: usize = 32 * 1024;

/// One message.
#[derive(Debug)]
pub(crate) enum Message {
    /// The sender has come so far.
    Reached(Barrier),
    /// Init gives up.
    Failed(Box<StepError>),
    /// The state is on disk.
    Committed,
    /// What init has measured since the last such message.
    Timings(Vec<Timing>),
    /// The stage process has cloned init.
    Pid(i32),
    /// The other end is closed.
    Closed,
}

const BARRIERS: [Barrier; 7] = [
    Barrier::Mapped,
    Barrier::Confined,
    Barrier::HooksDue,
    Barrier::HooksDone,
    Barrier::Created,
    Barrier::Start,
    Barrier::Recorded,
];

/// One end of the pair.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub(crate) fn pair() -> Act<(Self, Self)> {
        let (ours, theirs) = socket::pair_seqpacket().on(|| "make the sync socket pair")?;
        Ok((Self(ours), Self(theirs)))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Another handle of this end.
    pub(crate) fn try_clone(&self) -> Act<Self> {
        self.0.try_clone().map(Self).on(|| "duplicate the sync socket")
    }

    /// Sends; the other end being gone is an error.
    pub(crate) fn send(&self, message: &Message) -> Act {
        let bytes = encode(message);
        socket::send(self.0.as_fd(), &bytes, &[]).on(|| "send on the sync socket")?;
        Ok(())
    }

    /// Waits for the next message.
    pub(crate) fn receive(&self) -> Act<Message> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let received = match socket::recv(self.0.as_fd(), &mut buffer) {
            // The other end closed with a message of ours unread. That is told once, before its own last message.
            Err(Errno::ECONNRESET) => socket::recv(self.0.as_fd(), &mut buffer),
            received => received,
        };
        match received {
            Ok((0, _)) => Ok(Message::Closed),
            Ok((n, _)) => decode(&buffer[..n]),
            Err(Errno::ECONNRESET) => Ok(Message::Closed),
            Err(errno) => Err(Failure::errno("receive on the sync socket", errno)),
        }
    }
}

fn encode(message: &Message) -> Vec<u8> {
    match message {
        Message::Reached(barrier) => {
            let index = BARRIERS.iter().position(|b| b == barrier).unwrap_or_default();
            vec![b'R', u8::try_from(index).unwrap_or_default()]
        }
        Message::Failed(error) => {
            let mut error = error.clone();
            cut(&mut error.failure.what);
            for text in error.failure.detail.iter_mut().chain(error.failure.hint.iter_mut()) {
                let mut longer = std::mem::take(text).into_string();
                cut(&mut longer);
                *text = longer.into_boxed_str();
            }
            let mut bytes = vec![b'F'];
            bytes.extend(serde_json::to_vec(&error).unwrap_or_default());
            bytes
        }
        Message::Committed => vec![b'C'],
        Message::Pid(pid) => {
            let mut bytes = vec![b'P'];
            bytes.extend(pid.to_le_bytes());
            bytes
        }
        Message::Timings(list) => {
            let mut bytes = vec![b'T'];
            bytes.extend(serde_json::to_vec(list).unwrap_or_default());
            bytes
        }
        Message::Closed => Vec::new(),
    }
}

/// Keeps a text short enough that the message holds it, whatever JSON escaping does.
fn cut(text: &mut String) {
    const LIMIT: usize = 4000;
    if text.len() > LIMIT {
        let end = (0..=LIMIT).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

fn decode(bytes: &[u8]) -> Act<Message> {
    let unknown = || Failure::new("understand a message on the sync socket");
    match bytes {
        [b'R', index] => BARRIERS.get(usize::from(*index)).map(|b| Message::Reached(*b)).ok_or_else(unknown),
        [b'C'] => Ok(Message::Committed),
        [b'P', rest @ ..] => {
            let pid: [u8; 4] = rest
                .try_into()
                .map_err(|e: std::array::TryFromSliceError| unknown().detail(e.to_string()))?;
            Ok(Message::Pid(i32::from_le_bytes(pid)))
        }
        [b'T', json @ ..] => {
            serde_json::from_slice(json).map(Message::Timings).map_err(|e| unknown().detail(e.to_string()))
        }
        [b'F', json @ ..] => serde_json::from_slice(json)
            .map(|e| Message::Failed(Box::new(e)))
            .map_err(|e| unknown().detail(e.to_string())),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caisson_plan::ids::Pointer;
    use caisson_plan::step::Actor;

    #[test]
    fn every_message_survives_the_wire() {
        for barrier in BARRIERS {
            let back = decode(&encode(&Message::Reached(barrier))).unwrap();
            assert!(matches!(back, Message::Reached(b) if b == barrier));
        }
        assert!(matches!(decode(&encode(&Message::Pid(70_000))).unwrap(), Message::Pid(70_000)));
    }

    #[test]
    fn long_error_text_is_cut_to_fit() {
        let error = Failure::new("é\u{1}".repeat(40_000)).at(1, 1, Actor::Init, &Pointer::default());
        let bytes = encode(&Message::Failed(Box::new(error)));
        assert!(bytes.len() < MAX_MESSAGE);
        assert!(matches!(decode(&bytes).unwrap(), Message::Failed(_)));
    }

    #[test]
    fn the_last_word_is_heard_although_ours_was_not() {
        let (ours, theirs) = Channel::pair().unwrap();
        ours.send(&Message::Committed).unwrap();
        theirs.send(&Message::Pid(1)).unwrap();
        drop(theirs);
        assert!(matches!(ours.receive().unwrap(), Message::Pid(1)));
        assert!(matches!(ours.receive().unwrap(), Message::Closed));
    }

    #[test]
    fn garbage_is_an_error() {
        for bytes in [&b"R\xff"[..], b"P12", b"F{", b"?"] {
            assert!(decode(bytes).is_err());
        }
    }
}
