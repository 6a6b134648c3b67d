//! All features of an OCI runtime, one module a feature. One program, so that it links once and is copied once.
mod lifecycle;
