//! The crate `regex` by the small engine of the same authors: no Unicode tables, no lazy DFA.
//!
//! oci-spec checks `execCPUAffinity` with one regular expression. The full engine for that is the largest single
//! part of a static binary.
#![forbid(unsafe_code)]

pub use regex_lite::*;
