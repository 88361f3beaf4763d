//! An error with its causes in one line, for places that carry only a text: CRI's statuses, the supervisor's
//! events.

use std::error::Error;

/// The error and its causes, each once: some libraries repeat their causes in their own text.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot do it")]
        struct Outer(#[source] io::Error);

        assert_eq!(chain(&Outer(io::Error::other("disk on fire"))), "cannot do it: disk on fire");
        assert_eq!(chain(&io::Error::other("alone")), "alone");
    }
}
