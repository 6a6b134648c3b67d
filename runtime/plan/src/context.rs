//! What every section of the plan may look at, and where its steps go.

use std::collections::HashMap;

use oci_spec::runtime::{Linux, Process, Spec};

use crate::facts::HostFacts;
use crate::ids::Pointer;
use crate::namespaces::Shape;
use crate::options::{Options, Rootless};
use crate::step::{Action, Actor, Step};

/// The inputs of `plan`, and what is derived from them once.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub spec: &'a Spec,
    pub facts: &'a HostFacts,
    pub options: &'a Options,
    /// The namespaces made and joined.
    pub shape: Shape,
}

impl<'a> Context<'a> {
    pub fn linux(&self) -> Option<&'a Linux> {
        self.spec.linux().as_ref()
    }

    pub fn process(&self) -> Option<&'a Process> {
        self.spec.process().as_ref()
    }

    /// Whether errors that an unprivileged user cannot avoid are forgiven (`--rootless`).
    pub fn rootless(&self) -> bool {
        match self.options.rootless {
            Rootless::Auto => self.facts.is_rootless(),
            Rootless::True => true,
            Rootless::False => false,
        }
    }

    /// Whether the container lives in a user namespace other than the initial one: its own, a joined one, or the
    /// runtime's. mknod(2) of devices and mounts of some file systems are refused there.
    pub fn in_user_namespace(&self) -> bool {
        use crate::step::namespaces::NamespaceKind::User;
        self.facts.in_userns || self.shape.has(User)
    }

    /// Whether the runtime can clone host mounts for init (open_tree(2) asks for CAP_SYS_ADMIN). An ordinary user
    /// cannot, and need not: init of its user namespace reaches what the user reaches.
    pub fn opens_for_init(&self) -> bool {
        const CAP_SYS_ADMIN: u64 = 1 << 21;
        self.facts.capabilities & CAP_SYS_ADMIN != 0
            && self.shape.has(crate::step::namespaces::NamespaceKind::User)
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&'a str> {
        self.spec.annotations().as_ref()?.get(key).map(String::as_str)
    }
}

/// The list under construction.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub list: Vec<Step>,
}

impl Steps {
    pub fn runtime(&mut self, action: Action, from: &str) {
        self.push(Actor::Runtime, action, Pointer::new(from));
    }

    pub fn init(&mut self, action: Action, from: &str) {
        self.push(Actor::Init, action, Pointer::new(from));
    }

    pub fn push(&mut self, actor: Actor, action: Action, from: Pointer) {
        self.list.push(Step { actor, action, from });
    }
}

/// The elements of an optional list.
pub(crate) fn each<T>(list: &Option<Vec<T>>) -> impl Iterator<Item = &T> {
    list.iter().flatten()
}

/// The entries of a map in the order of their keys: the same config gives the same plan and the same list of problems.
pub(crate) fn sorted<T>(map: &HashMap<String, T>) -> impl Iterator<Item = (&String, &T)> {
    let mut entries: Vec<(&String, &T)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter()
}
