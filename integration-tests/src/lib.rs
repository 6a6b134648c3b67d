//! A black-box harness for any OCI runtime whose command line is runc's.
//!
//! `RUNTIME=/usr/bin/crun cargo test -p caisson-integration-tests` runs the tests against a peer; without `RUNTIME` they run
//! against the workspace's own `caisson`. Only the runtime's command line, its output and the host are looked at, so
//! the tests link nothing of the runtime and the same test programs run in a virtual machine without a toolchain.
//!
//! A test is a short story:
//!
//! ```no_run
//! use caisson_integration_tests::prelude::*;
//!
//! fn run_passes_the_exit_code_on() {
//!     needs!(root);
//!     assert_eq!(Bundle::sh("exit 42").container().run().code, 42);
//! }
//! ```
//!
//! Environment: `RUNTIME` (program under test), `CAISSON_SKIPS` (file to which each skip is appended), `CAISSON_BUSYBOX`
//! (static busybox for the root file systems, default `/bin/busybox`), `CAISSON_LAB=1` (set in the lab's virtual machine),
//! `CYCLES` (length of the soak test), `CAISSON_ALL=1` (try also what Debian 12's peers are known to lack).

pub mod bundle;
pub mod cgroup;
pub mod container;
pub mod host_needs;
pub mod leak;
pub mod os;
pub mod output;
pub mod runtime_under_test;
pub mod scratch;
pub mod socket;
pub mod wait;

/// What nearly every test uses.
pub mod prelude {
    pub use crate::bundle::Bundle;
    pub use crate::container::Container;
    pub use crate::leak::HostSnapshot;
    pub use crate::output::Output;
    pub use crate::runtime_under_test::Runtime;
    pub use crate::scratch::Scratch;
    pub use crate::socket::{FdSocket, Pty};
    pub use crate::wait::{deadline, eventually};
    pub use crate::{needs, peer_lacks};
    pub use serde_json::{Value, json};
}
