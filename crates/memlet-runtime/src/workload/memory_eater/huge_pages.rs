//! Memory in pieces of the size of a huge page: the kernel gives each at once, where it has one, and so as fast as memory
//! can be had at all.

use std::ptr::NonNull;

/// The size of a piece, which is x86's and arm64's huge page.
const PIECE: usize = 2 << 20;
/// The kernel gives huge pages only where they are whole.
const MAPPING: usize = 32 * PIECE;
/// What the machine calls a page, at the least.
const PAGE: usize = 4096;

/// Mappings, the last of them filled so far.
#[derive(Default)]
pub(super) struct HugePages {
    mappings: Vec<NonNull<u8>>,
    /// Of the last mapping, beyond its unaligned beginning.
    filled: usize,
    pieces: usize,
}

impl HugePages {
    /// Takes one more piece and touches it; whether there is one.
    pub(super) fn grow(&mut self) -> bool {
        if self.mappings.is_empty() || self.filled + PIECE > MAPPING - PIECE {
            let Some(mapping) = map() else { return false };
            self.mappings.push(mapping);
            self.filled = 0;
        }
        let Some(mapping) = self.mappings.last() else { return false };
        let unaligned = mapping.as_ptr().align_offset(PIECE);
        for page in (0..PIECE).step_by(PAGE) {
            // SAFETY: `align_offset` is less than PIECE, and `filled` + PIECE is at most MAPPING − PIECE: the place is within
            // the mapping, which is this struct's own and writable.
            unsafe { mapping.as_ptr().add(unaligned + self.filled + page).write_volatile(0x55) };
        }
        self.filled += PIECE;
        self.pieces += 1;
        true
    }

    /// So many have been taken.
    pub(super) fn pieces(&self) -> usize {
        self.pieces
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        self.pieces * PIECE
    }
}

fn map() -> Option<NonNull<u8>> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
    let mapped = unsafe { libc::mmap(std::ptr::null_mut(), MAPPING, access, kind, -1, 0) };
    if mapped == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the range was just mapped. A kernel without huge pages refuses, and gives small ones.
    unsafe { libc::madvise(mapped, MAPPING, libc::MADV_HUGEPAGE) };
    NonNull::new(mapped.cast())
}

impl Drop for HugePages {
    fn drop(&mut self) {
        for mapping in &self.mappings {
            // SAFETY: `map` made it with this size, and nobody else knows of it.
            unsafe { libc::munmap(mapping.as_ptr().cast(), MAPPING) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_on_over_mappings() {
        let mut pages = HugePages::default();
        for _ in 0..40 {
            assert!(pages.grow());
        }
        assert_eq!((pages.pieces(), pages.size(), pages.mappings.len()), (40, 80 << 20, 2));
    }
}
