//! The pure half of caisson: from a config.json and facts about the host to an ordered list of steps.
//!
//! Nothing here touches the host: no system call, no clock, no environment. All deciding happens here
//! (defaults, order, checks); `caisson-exec` only acts.
//!
//! ```text
//! Spec ──────┐
//! HostFacts ─┼─▶ plan() ─▶ Plan { steps } or Problems, each with the JSON pointer of the field that caused it
//! Options ───┘
//! ```
#![forbid(unsafe_code)]

pub mod facts;
pub mod ids;
pub mod problem;
pub mod step;
