//! What every section of the plan may look at, and where its steps go.

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
