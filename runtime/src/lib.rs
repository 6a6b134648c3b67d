//! The `caisson` command as a library: the CLI, the state store, the probe of the host, and one module a verb.
//!
//! The flow of a `create`: `main` → [`cli`] (arguments) → [`bundle`] (config.json) → [`probe`] (facts of the host) →
//! `caisson_plan::plan` (pure) → [`store`] (state directory, lock, intent) → `caisson_exec::create` → [`store`] (state.json).
//! Nothing here decides how a container is made: that is the plan's; nothing here makes one: that is exec's.

pub mod amount;
pub mod bundle;
pub mod bundle_check;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod context;
pub mod criu;
pub mod doctor;
pub mod foreground;
pub mod live;
pub mod log;
pub mod make;
pub mod notify_socket;
pub mod planning;
pub mod poststart;
pub mod probe;
pub mod process_wishes;
pub mod procs;
pub mod report;
pub mod sockets;
pub mod spec_template;
pub mod spec_wishes;
pub mod status;
pub mod store;
pub mod teardown;
pub mod timings;
pub mod union;
