//! The store's file: every object's bytes, and the revision of the last change.
//!
//! A redb database with two tables. Its memory is small on purpose: all objects are in memory anyway.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{ChangeKind, FIRST_REVISION, Key, Recorded, Revision, StoredObject};

/// Objects by resource, namespace and name.
const OBJECTS: TableDefinition<(&str, &str, &str), &[u8]> = TableDefinition::new("objects");
const FACTS: TableDefinition<&str, u64> = TableDefinition::new("facts");
/// The form of the two tables.
const FORMAT: &str = "format";
const KNOWN_FORMAT: u64 = 1;
const REVISION: &str = "revision";

const FILE_NAME: &str = "objects.redb";
const CACHE: usize = 1 << 20;

/// A file shorter than this is not compacted.
const WORTH_COMPACTING: u64 = 16 << 20;
/// A file is compacted when less than this part of it is in use.
const LEAST_USE: u64 = 4;
/// Whether the file should be compacted is looked at once in so many commits.
const COMMITS_BETWEEN_LOOKS: u32 = 1024;

/// Why a server's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another server has the file open.
    #[error("{} is in use by another process: end that one, or choose another folder", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what this program wrote.
    #[error(
        "{} is damaged ({why}): restore it from a backup, or move it away to start with no objects",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file is of a later version of this program.
    #[error(
        "{} was written by a newer version (format {found}, this version knows {KNOWN_FORMAT}): use that version, or \
         move the file away to start with no objects",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format that it states.
        found: u64,
    },
    /// The file or its folder cannot be read or written.
    #[error("{} cannot be used: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written: {source}", path.display())]
pub(super) struct WriteError {
    path: PathBuf,
    source: Box<redb::Error>,
}

/// What a file held when it was opened.
pub(super) struct Loaded {
    pub(super) revision: Revision,
    pub(super) objects: Vec<(&'static str, Arc<StoredObject>)>,
}

type OpenDatabase = Box<dyn Fn(&Path) -> Result<Database, DatabaseError> + Send>;

/// The open file.
pub(super) struct Disk {
    path: PathBuf,
    /// `None` after a failure, until it is opened anew: redb does not go on after one.
    database: Option<Database>,
    open: OpenDatabase,
    commits: u32,
}

impl Disk {
    /// Opens or creates the file in `folder` and gives what it holds.
    pub(super) fn open(
        folder: &Path,
        read: impl FnMut(&str, &[u8]) -> Option<Result<(&'static str, StoredObject), String>>,
    ) -> Result<(Self, Loaded), OpenError> {
        prepare(folder).map_err(|source| OpenError::Io { path: folder.to_owned(), source })?;
        let path = folder.join(FILE_NAME);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(&path)?,
            // It came to be by a rename, complete: what is empty was emptied.
            Ok(found) if found.len() == 0 => {
                let why =
                    "it is empty; put a copy of it back, or remove it to begin without objects".to_owned();
                return Err(OpenError::Damaged { path, why });
            }
            _ => {}
        }
        Self::open_with(path, Box::new(open_file), read)
    }

    pub(super) fn open_with(
        path: PathBuf,
        open: OpenDatabase,
        read: impl FnMut(&str, &[u8]) -> Option<Result<(&'static str, StoredObject), String>>,
    ) -> Result<(Self, Loaded), OpenError> {
        let database = open(&path).map_err(|error| opening(&path, error.into()))?;
        let mut disk = Self { path, database: Some(database), open, commits: 0 };
        let loaded = disk.load(read)?;
        disk.compact_if_sparse();
        Ok((disk, loaded))
    }

    fn load(
        &mut self,
        mut read: impl FnMut(&str, &[u8]) -> Option<Result<(&'static str, StoredObject), String>>,
    ) -> Result<Loaded, OpenError> {
        let failed = |error: redb::Error| opening(&self.path, error);
        let facts = self.facts().map_err(failed)?;
        let Some((format, revision)) = facts else {
            self.begin().map_err(failed)?;
            return Ok(Loaded { revision: FIRST_REVISION, objects: Vec::new() });
        };
        if format > KNOWN_FORMAT {
            return Err(OpenError::Newer { path: self.path.clone(), found: format });
        }
        let mut objects = Vec::new();
        self.each(|(resource, namespace, name), bytes| {
            match read(resource, bytes) {
                None => tracing::warn!(resource, namespace, name, "an object of an unknown resource is kept"),
                Some(Ok((resource, object))) => objects.push((resource, Arc::new(object))),
                Some(Err(why)) => return Err(format!("{resource} {namespace}/{name} cannot be read: {why}")),
            }
            Ok(())
        })
        .map_err(failed)?
        .map_err(|why| OpenError::Damaged { path: self.path.clone(), why })?;
        Ok(Loaded { revision, objects })
    }

    /// The file's format and revision; `None` where there is nothing in it yet.
    fn facts(&self) -> Result<Option<(u64, Revision)>, redb::Error> {
        let reading = self.database()?.begin_read()?;
        let facts = match reading.open_table(FACTS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            facts => facts?,
        };
        let get = |name| Ok::<_, redb::Error>(facts.get(name)?.map(|value| value.value()));
        match (get(FORMAT)?, get(REVISION)?) {
            (Some(format), Some(revision)) => Ok(Some((format, revision))),
            (format, _) if format.is_none_or(|format| format <= KNOWN_FORMAT) => {
                Err(redb::Error::Corrupted("the facts are incomplete".to_owned()))
            }
            (format, _) => Ok(format.map(|format| (format, 0))),
        }
    }

    fn each(
        &self,
        mut visit: impl FnMut((&str, &str, &str), &[u8]) -> Result<(), String>,
    ) -> Result<Result<(), String>, redb::Error> {
        let reading = self.database()?.begin_read()?;
        for entry in reading.open_table(OBJECTS)?.iter()? {
            let (key, value) = entry?;
            if let Err(why) = visit(key.value(), value.value()) {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }

    /// Makes the tables.
    fn begin(&self) -> Result<(), redb::Error> {
        let writing = self.database()?.begin_write()?;
        writing.open_table(OBJECTS)?;
        writing.open_table(FACTS)?.insert(FORMAT, KNOWN_FORMAT)?;
        writing.open_table(FACTS)?.insert(REVISION, FIRST_REVISION)?;
        Ok(writing.commit()?)
    }

    /// Makes the changes durable, all or none. After a failure it must be [reopened](Disk::reopen).
    pub(super) fn write(&mut self, batch: &[Recorded]) -> Result<(), WriteError> {
        let Some(last) = batch.last() else { return Ok(()) };
        let changes = batch.iter().map(|Recorded { resource, change }| {
            let object = (change.kind != ChangeKind::Deleted).then_some(&change.object);
            (*resource, &change.object.key, object)
        });
        let written = self.commit(changes, last.change.object.revision, false);
        self.commits = self.commits.wrapping_add(1);
        if written.is_ok() && self.commits.is_multiple_of(COMMITS_BETWEEN_LOOKS) {
            self.compact_if_sparse();
        }
        self.checked(written)
    }

    /// Brings these objects to the state given.
    pub(super) fn restore(
        &mut self,
        objects: &[(&'static str, &Key, Option<Arc<StoredObject>>)],
        revision: Revision,
    ) -> Result<(), WriteError> {
        let objects = objects.iter().map(|(resource, key, object)| (*resource, *key, object.as_ref()));
        let written = self.commit(objects, revision, false);
        self.checked(written)
    }

    /// Puts these objects in the place of all that the file holds.
    pub(super) fn replace(
        &mut self,
        objects: &[(&'static str, Arc<StoredObject>)],
        revision: Revision,
    ) -> Result<(), WriteError> {
        let objects = objects.iter().map(|(resource, object)| (*resource, &object.key, Some(object)));
        let written = self.commit(objects, revision, true);
        self.checked(written)
    }

    fn commit<'a>(
        &self,
        objects: impl Iterator<Item = (&'static str, &'a Key, Option<&'a Arc<StoredObject>>)>,
        revision: Revision,
        alone: bool,
    ) -> Result<(), redb::Error> {
        let writing = self.database()?.begin_write()?;
        if alone {
            writing.delete_table(OBJECTS)?;
        }
        {
            let mut table = writing.open_table(OBJECTS)?;
            for (resource, key, object) in objects {
                let place = (resource, key.namespace.as_str(), key.name.as_str());
                match object {
                    Some(object) => table.insert(place, &*object.encoded)?,
                    None => table.remove(place)?,
                };
            }
            let mut facts = writing.open_table(FACTS)?;
            facts.insert(FORMAT, KNOWN_FORMAT)?;
            facts.insert(REVISION, revision)?;
        }
        Ok(writing.commit()?)
    }

    /// Opens the file anew after a failure; gives the revision that it states (0 where it is another file).
    pub(super) fn reopen(&mut self) -> Result<Revision, WriteError> {
        self.database = None;
        let opened = (self.open)(&self.path).map_err(redb::Error::from);
        match opened {
            Ok(database) => self.database = Some(database),
            Err(error) => return self.checked(Err(error)).map(|()| 0),
        }
        let facts = self.facts();
        let revision = facts.map(|facts| facts.map_or(0, |(_, revision)| revision));
        revision.map_err(|error| self.failure(error))
    }

    /// Closes the file in order, so that the next start has nothing to check.
    pub(super) fn close(mut self) {
        if let Some(Err(error)) = self.database.take().map(Database::close) {
            tracing::warn!(%error, path = %self.path.display(), "the file was not closed in order");
        }
    }

    /// Gives the file's free space back where most of it is free.
    fn compact_if_sparse(&mut self) {
        match self.sparse_bytes() {
            Ok(Some(length)) => {
                let compacted = self.database.as_mut().map(Database::compact);
                tracing::debug!(length, ?compacted, path = %self.path.display(), "the file was compacted");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "whether the file is worth compacting cannot be told"),
        }
    }

    /// The file's length, if it is long and mostly free.
    fn sparse_bytes(&self) -> Result<Option<u64>, redb::Error> {
        let length = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if length < WORTH_COMPACTING {
            return Ok(None);
        }
        let writing = self.database()?.begin_write()?;
        let statistics = writing.stats()?;
        writing.abort()?;
        let used = statistics.stored_bytes() + statistics.metadata_bytes();
        Ok((used < length / LEAST_USE).then_some(length))
    }

    fn database(&self) -> Result<&Database, redb::Error> {
        self.database.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    fn checked(&self, written: Result<(), redb::Error>) -> Result<(), WriteError> {
        written.map_err(|error| self.failure(error))
    }

    fn failure(&self, source: redb::Error) -> WriteError {
        WriteError { path: self.path.clone(), source: Box::new(source) }
    }
}

/// The folder, for its owner only.
fn prepare(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Makes the file under another name first: a file of the right name is whole, whenever this ends.
fn create(path: &Path) -> Result<(), OpenError> {
    let unfinished = path.with_extension("new");
    let failed = |source| OpenError::Io { path: unfinished.clone(), source };
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let database = open_file(&unfinished).map_err(|error| opening(&unfinished, error.into()))?;
    let disk =
        Disk { path: unfinished.clone(), database: Some(database), open: Box::new(open_file), commits: 0 };
    disk.begin().map_err(|error| opening(&unfinished, error))?;
    disk.close();
    fs::rename(&unfinished, path).and_then(|()| sync_entry(path)).map_err(failed)
}

/// Opens or creates the file, for its owner only, and checks every page of it.
fn open_file(path: &Path) -> Result<Database, DatabaseError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    builder().create_with_backend(FileBackend::new(file)?)
}

/// A damaged page could make redb panic later; reading all of so small a file is cheap.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

/// A new file is only there after a power loss if its folder was written too.
fn sync_entry(path: &Path) -> io::Result<()> {
    for folder in path.ancestors().skip(1).take(2).filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn opening(path: &Path, error: redb::Error) -> OpenError {
    let path = path.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::InUse { path },
        redb::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => {
            OpenError::Io { path, source }
        }
        redb::Error::UpgradeRequired(version) => {
            OpenError::Damaged { path, why: format!("its database format, {version}, is not supported") }
        }
        other => OpenError::Damaged { path, why: other.to_string() },
    }
}
