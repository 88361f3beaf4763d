//! The few modules that a guest needs before it sees its disk, in the order in which they must be loaded.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lzma_rust2::XzReader;

use super::kernels::Kernel;

/// A module as the kernel takes it.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// `wanted` and all that they depend on, each after what it needs. What the kernel has built in is left out.
pub(crate) fn load_order(kernel: &Kernel, wanted: &[&str]) -> Result<Vec<Module>> {
    let builtin = fs::read_to_string(kernel.modules.join("modules.builtin"))
        .with_context(|| format!("kernel {} has no list of what is built in", kernel.release))?;
    let mut search = Search { kernel, builtin: names(&builtin), files: Vec::new(), order: Vec::new() };
    collect(&kernel.modules.join("kernel"), &mut search.files)?;
    for name in wanted {
        search.add(name)?;
    }
    Ok(search.order)
}

struct Search<'a> {
    kernel: &'a Kernel,
    builtin: Vec<String>,
    files: Vec<PathBuf>,
    order: Vec<Module>,
}

impl Search<'_> {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.builtin.iter().any(|it| it == name) || self.order.iter().any(|it| it.name == name) {
            return Ok(());
        }
        let file = self.files.iter().find(|file| name_of(file).as_deref() == Some(name));
        let file = file.with_context(|| format!("kernel {} has no module {name}", self.kernel.release))?;
        let bytes = read(file)?;
        for needed in depends(&bytes) {
            self.add(&needed)?;
        }
        self.order.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

fn names(builtin: &str) -> Vec<String> {
    builtin.lines().filter_map(|line| name_of(Path::new(line))).collect()
}

/// Files are named with either dash, modules with one only.
fn name_of(file: &Path) -> Option<String> {
    let (name, ending) = file.file_name()?.to_str()?.split_once('.')?;
    ending.starts_with("ko").then(|| name.replace('-', "_"))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    match file.extension().and_then(|it| it.to_str()) {
        Some("ko") => Ok(bytes),
        Some("xz") => {
            let mut plain = Vec::new();
            XzReader::new(&bytes[..], true).read_to_end(&mut plain)?;
            Ok(plain)
        }
        ending => {
            ensure!(ending == Some("zst"), "{}: unknown compression", file.display());
            Ok(zstd::decode_all(&bytes[..])?)
        }
    }
}

/// What a module says of itself that it needs: `depends=a,b` among its NUL-terminated words.
fn depends(module: &[u8]) -> Vec<String> {
    let mut words = module.split(|&byte| byte == 0);
    let needed = words.find_map(|word| std::str::from_utf8(word).ok()?.strip_prefix("depends="));
    needed.unwrap_or_default().split(',').filter(|it| !it.is_empty()).map(|it| it.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_needs() {
        assert_eq!(
            depends(b"x\0license=GPL\0depends=virtio,virtio-ring\0name=a\0"),
            ["virtio", "virtio_ring"]
        );
        assert!(depends(b"\0depends=\0").is_empty() && depends(b"").is_empty());
    }

    #[test]
    fn files_are_known_by_the_modules_name() {
        let name = |file: &str| name_of(Path::new(file));
        assert_eq!(name("kernel/lib/crc32c-intel.ko.xz").as_deref(), Some("crc32c_intel"));
        assert_eq!(name("kernel/mm/zsmalloc.ko").as_deref(), Some("zsmalloc"));
        assert_eq!(name("modules.builtin"), None);
    }
}
