//! One file per command. A command takes what was typed and answers how the program ends.

pub(crate) mod explain;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod kubeconfig;
pub(crate) mod kubectl;
pub(crate) mod node;
pub(crate) mod ps;
pub(crate) mod reference;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod top;
