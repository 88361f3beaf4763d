//! A unit's properties as D-Bus writes them.

use rustbus::dbus_variant_sig;

/// A name and its value.
pub(crate) type Property = (String, Value);

/// What is asked for in one go with a unit; systemd wants this list with each new one, and it is empty here.
pub(crate) type Auxiliary = (String, Vec<Property>);

dbus_variant_sig!(Value, Text => String; Flag => bool; Number => u64; Pids => Pids);

/// Processes.
pub(crate) type Pids = Vec<u32>;

pub(crate) fn text(name: &str, value: &str) -> Property {
    (name.to_owned(), Value::Text(value.to_owned()))
}

pub(crate) fn flag(name: &str, value: bool) -> Property {
    (name.to_owned(), Value::Flag(value))
}
