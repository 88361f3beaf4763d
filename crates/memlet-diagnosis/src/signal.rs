//! Signals by name, and what it means when one ends a container.

/// The signal's name, or `signal 40` for one without.
pub(crate) fn name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// What a death by this signal usually means, said as no more than that.
pub(crate) const fn meaning(signal: i32) -> &'static str {
    match signal {
        2 => "it was interrupted; that is not the OOM killer, which sends SIGKILL only",
        4 | 5 | 8 => "a fault in the program itself; the OOM killer sends SIGKILL only",
        6 => {
            "the program gave up by itself (abort), as many do when an allocation or an assertion fails; the OOM killer sends SIGKILL only"
        }
        7 => {
            "an access to mapped memory that nothing backs: a file cut short, or a full tmpfs; the OOM killer sends SIGKILL only"
        }
        11 => {
            "an access to an address it does not have: a fault in the program itself; the OOM killer sends SIGKILL only"
        }
        15 => "somebody asked it to stop, and it ended at once; the OOM killer sends SIGKILL only",
        _ => "the OOM killer sends SIGKILL only",
    }
}
