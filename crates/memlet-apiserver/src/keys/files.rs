//! The folder of the keys: for its owner's eyes only, and each file there whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::KeysError;
use super::certified::{self, Certified};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Everybody but the owner.
const OTHERS: u32 = 0o077;

/// A folder that holds private keys.
pub(super) struct KeyFolder(PathBuf);

impl KeyFolder {
    /// Makes the folder where it is missing, and closes it to others.
    pub(super) fn open(path: &Path) -> Result<Self, KeysError> {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(path)
            .map_err(|source| KeysError::File { act: "make the folder", path: path.to_owned(), source })?;
        close(path, FOLDER_MODE)?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A key with its certificate; `None` where there is no such file.
    pub(super) fn read_certified(&self, name: &str) -> Result<Option<Certified>, KeysError> {
        self.read(name, Certified::from_pem)
    }

    /// A key; `None` where there is no such file.
    pub(super) fn read_key(&self, name: &str) -> Result<Option<rcgen::KeyPair>, KeysError> {
        self.read(name, certified::key_from_pem)
    }

    fn read<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, KeysError> {
        let path = self.path(name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeysError::File { act: "read the key file", path, source }),
        };
        close(&path, FILE_MODE)?;
        let text = String::from_utf8(bytes).map_err(|_| "it is not text".to_owned());
        match text.and_then(|text| parse(&text)) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(why) => Err(KeysError::Damaged { path, why }),
        }
    }

    /// Writes a file whole: whoever reads it, and whatever happens, finds the old one or the new one.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), KeysError> {
        let path = self.path(name);
        self.replace(name, &path, text).map_err(|source| KeysError::File {
            act: "write the key file",
            path,
            source,
        })
    }

    fn replace(&self, name: &str, path: &Path, text: &str) -> io::Result<()> {
        let draft = self.path(&format!(".{name}.new"));
        // One that a crash left behind.
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        File::open(&self.0)?.sync_all()
    }
}

/// Takes away what others may do with a file or folder of private keys.
fn close(path: &Path, mode: u32) -> Result<(), KeysError> {
    let failed = |source| KeysError::File { act: "close to others", path: path.to_owned(), source };
    let present = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if present & OTHERS == 0 {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), "was open to others; closed now");
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
}
