//! Standard output as a C program has it: written line by line, or through a block buffer that dies with it.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// glibc's buffer for a pipe: `st_blksize`, which Linux gives as one page.
const BLOCK: usize = 4096;

/// How lines reach the kernel.
pub(crate) struct Output {
    buffer: Vec<u8>,
    by_block: bool,
}

impl Output {
    /// Line by line with `flush`; without it as C's stdio does: by blocks, unless it is a terminal.
    pub(crate) fn new(flush: bool) -> Self {
        Self { buffer: Vec::with_capacity(BLOCK), by_block: !flush && !io::stdout().is_terminal() }
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, line: &str) {
        for byte in line.bytes().chain([b'\n']) {
            self.buffer.push(byte);
            if self.buffer.len() == BLOCK {
                self.flush();
            }
        }
        if !self.by_block {
            self.flush();
        }
    }

    /// Hands everything to the kernel, as a C program's `exit` does.
    pub(crate) fn flush(&mut self) {
        let stdout = io::stdout();
        let mut left = self.buffer.as_slice();
        while !left.is_empty() {
            match rustix::io::write(stdout.as_fd(), left) {
                Ok(written) => left = &left[written..],
                Err(rustix::io::Errno::INTR) => {}
                // Nobody reads: a C program that ignores printf's result goes on as well.
                Err(_) => break,
            }
        }
        self.buffer.clear();
    }

    /// Prints a line of error text.
    pub(crate) fn complain(line: &str) {
        let _ = writeln!(io::stderr(), "{line}");
    }
}
