//! Network devices, by rtnetlink: the loopback device up, and a device moved into a container.

mod message;
mod route;

pub use route::{
    Address, MovedLink, global_addresses, link_index, link_up, loopback_up, move_link, move_link_back,
};

#[cfg(test)]
mod tests;
