//! How long a container's processes waited for memory before its end.

use std::time::Duration;

use crate::evidence::ContainerEnd;
use crate::verdict::{Fact, Topic};

/// Less is what any kill takes: the kernel looks for memory before it gives up.
const WORTH_TELLING: Duration = Duration::from_millis(100);

/// By the kernel's own account (PSI), where it keeps one.
pub(super) fn fact(end: &ContainerEnd) -> Option<Fact> {
    let stalled = end.container.as_ref()?.stalled.filter(|stalled| *stalled >= WORTH_TELLING)?;
    Some(Fact::new(
        Topic::Stalled,
        format!(
            "processes of this container had waited {:.1} s for memory in all, while the kernel took back what it could",
            stalled.as_secs_f64()
        ),
    ))
}
