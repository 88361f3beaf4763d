//! One file per command. A command takes what was typed and answers how the program ends.

pub(crate) mod explain;
pub(crate) mod image;
pub(crate) mod reference;
pub(crate) mod run;
