//! Device rules as an eBPF program.
