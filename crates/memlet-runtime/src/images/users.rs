//! Who a container's process runs as: the image's or Pod's `user[:group]`, looked up in the container's own
//! `/etc/passwd` and `/etc/group`.
//!
//! The rules are those of the OCI runtimes (moby/sys/user, `GetExecUser`): a number need not exist in the
//! files, a name must; the groups of `/etc/group` are added only if no group is given.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::inside;

/// Larger tables than this are no honest image's.
const LARGEST_TABLE: u64 = 16 << 20;
/// More additional groups the kernel does not take (`NGROUPS_MAX`).
const MOST_GROUPS: usize = 65536;

/// A user, ready for setuid(2), setgid(2) and setgroups(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedUser {
    /// The user's number.
    pub uid: u32,
    /// The main group's number.
    pub gid: u32,
    /// Numbers of the additional groups, in the order of `/etc/group`.
    pub groups: Vec<u32>,
    /// The user's name, if `/etc/passwd` has one.
    pub name: Option<String>,
    /// The user's home folder, if `/etc/passwd` has one; what runtimes set `HOME` to.
    pub home: Option<PathBuf>,
}

/// Why a user could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name that the image does not know.
    #[error("no user {0:?} in the image's /etc/passwd; add it to the image or give a number")]
    UnknownUser(String),
    /// A group's name that the image does not know.
    #[error("no group {0:?} in the image's /etc/group; add it to the image or give a number")]
    UnknownGroup(String),
    /// A number that is no user or group id.
    #[error("{0} is not a user or group id; ids go from 0 to 2147483647")]
    OutOfRange(String),
    /// The file exists but cannot be used.
    #[error("cannot read the image's /{file}")]
    Unreadable {
        /// `etc/passwd` or `etc/group`.
        file: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The rootfs itself is not there.
    #[error("cannot open the root folder {}", path.display())]
    NoRoot {
        /// The root folder.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Resolves `user` (`""`, `name`, `uid`, `name:group`, `uid:gid`, ...) within `rootfs`; empty means root.
///
/// # Errors
/// If a name is unknown, a number is out of range, or a table cannot be read.
pub fn resolve(rootfs: &Path, user: &str) -> Result<ResolvedUser, UserError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, flags, Mode::empty())
        .map_err(|errno| UserError::NoRoot { path: rootfs.to_owned(), source: errno.into() })?;
    let passwd = read_table(&root, "etc/passwd")?;
    let group = read_table(&root, "etc/group")?;
    resolve_in(&passwd, &group, user)
}

/// The lines of a table; none if there is no such file, as in images made `FROM scratch`.
fn read_table(root: impl rustix::fd::AsFd, file: &'static str) -> Result<Vec<String>, UserError> {
    let unreadable = |source: io::Error| UserError::Unreadable { file, source };
    // The image may have made these links to anywhere, or pipes: IN_ROOT keeps links inside, NONBLOCK does not
    // wait for a pipe's writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let table = match inside::open(root, Path::new(file), flags, ResolveFlags::IN_ROOT) {
        Ok(table) => table,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(errno) => return Err(unreadable(errno.into())),
    };
    let stat = rustix::fs::fstat(&table).map_err(|errno| unreadable(errno.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(unreadable(io::Error::other("it is not a regular file")));
    }
    let reader = BufReader::new(std::fs::File::from(table).take(LARGEST_TABLE));
    let lines = reader.split(b'\n').map(|line| Ok(String::from_utf8_lossy(&line?).trim().to_owned()));
    lines.collect::<io::Result<_>>().map_err(unreadable)
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Lines that are not `name:password:uid:gid:comment:home:shell` are passed over, as libc does.
fn passwd_line(line: &str) -> Option<PasswdLine<'_>> {
    let mut fields = line.split(':');
    let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let home = fields.nth(1).unwrap_or("");
    Some(PasswdLine { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
}

fn group_line(line: &str) -> Option<GroupLine<'_>> {
    let mut fields = line.split(':');
    let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some(GroupLine { name, gid: gid.parse().ok()?, members: fields.next().unwrap_or("") })
}

fn resolve_in(passwd: &[String], group: &[String], user: &str) -> Result<ResolvedUser, UserError> {
    let (user, wanted_group) = user.split_once(':').unwrap_or((user, ""));
    let number = parse_id(user)?;
    let mut lines = passwd.iter().filter_map(|line| passwd_line(line));
    let line = match (user, number) {
        ("", _) => lines.find(|line| line.uid == 0),
        (_, Some(uid)) => lines.find(|line| line.uid == uid),
        (name, None) => Some(
            lines.find(|line| line.name == name).ok_or_else(|| UserError::UnknownUser(name.to_owned()))?,
        ),
    };
    let mut resolved = ResolvedUser {
        uid: line.as_ref().map_or(number.unwrap_or(0), |line| line.uid),
        gid: line.as_ref().map_or(0, |line| line.gid),
        groups: Vec::new(),
        name: line.as_ref().map(|line| line.name.to_owned()),
        home: line.as_ref().filter(|line| !line.home.is_empty()).map(|line| line.home.into()),
    };
    let mut groups = group.iter().filter_map(|line| group_line(line));
    if wanted_group.is_empty() {
        if let Some(line) = &line {
            let is_member =
                |group: &GroupLine<'_>| group.members.split(',').any(|member| member == line.name);
            resolved.groups = groups.filter(is_member).map(|group| group.gid).take(MOST_GROUPS).collect();
        }
    } else if let Some(gid) = parse_id(wanted_group)? {
        resolved.gid = gid;
    } else {
        let found = groups.find(|group| group.name == wanted_group);
        resolved.gid = found.ok_or_else(|| UserError::UnknownGroup(wanted_group.to_owned()))?.gid;
    }
    Ok(resolved)
}

/// `None` if it is a name; ids end where the OCI runtimes end them (2³¹ − 1).
fn parse_id(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse().ok().filter(|id| i32::try_from(*id).is_ok());
    id.map(Some).ok_or_else(|| UserError::OutOfRange(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn resolved(user: &str) -> Result<(u32, u32, Vec<u32>), String> {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken\nbob:x:1000:1001:Bob:/home/bob:/bin/sh\nalice:x:1002:1002::/:";
        let group = "root:x:0:root\nwheel:x:10:root,bob\nbob:x:1001:\naudio:x:29:alice,bob\nodd:x\n";
        let user = resolve_in(&lines(passwd), &lines(group), user);
        user.map(|user| (user.uid, user.gid, user.groups)).map_err(|error| error.to_string())
    }

    #[test]
    fn resolves_as_oci_runtimes_do() {
        let table = [
            ("", (0, 0, vec![0, 10])),
            ("0", (0, 0, vec![0, 10])),
            ("root", (0, 0, vec![0, 10])),
            ("bob", (1000, 1001, vec![10, 29])),
            ("1000", (1000, 1001, vec![10, 29])),
            ("bob:", (1000, 1001, vec![10, 29])),
            ("bob:audio", (1000, 29, vec![])),
            ("bob:29", (1000, 29, vec![])),
            ("1000:4242", (1000, 4242, vec![])),
            ("4242", (4242, 0, vec![])),
            (":audio", (0, 29, vec![])),
        ];
        for (user, expected) in table {
            assert_eq!(resolved(user), Ok(expected), "{user:?}");
        }
    }

    #[test]
    fn says_what_is_unknown() {
        insta::assert_snapshot!(resolved("eve").unwrap_err(), @r#"no user "eve" in the image's /etc/passwd; add it to the image or give a number"#);
        insta::assert_snapshot!(resolved("bob:staff").unwrap_err(), @r#"no group "staff" in the image's /etc/group; add it to the image or give a number"#);
        insta::assert_snapshot!(resolved("4294967295").unwrap_err(), @"4294967295 is not a user or group id; ids go from 0 to 2147483647");
    }

    #[test]
    fn tables_are_read_inside_the_rootfs_only() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("passwd"), "evil:x:7:7::/:\n").unwrap();
        let rootfs = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(rootfs.path().join("etc")).unwrap();
        let passwd = rootfs.path().join("etc/passwd");
        for target in [outside.path().join("passwd"), "../../../../../../etc/passwd".into()] {
            symlink(&target, &passwd).unwrap();
            assert!(resolve(rootfs.path(), "root").is_err(), "read {} through a link", target.display());
            assert!(resolve(rootfs.path(), "evil").is_err(), "read {} through a link", target.display());
            std::fs::remove_file(&passwd).unwrap();
        }
        std::fs::create_dir_all(rootfs.path().join("usr")).unwrap();
        std::fs::write(rootfs.path().join("usr/passwd"), "bob:x:5:6::/home/bob:\n").unwrap();
        symlink("/usr/passwd", &passwd).unwrap();
        let bob = resolve(rootfs.path(), "bob").unwrap();
        assert_eq!((bob.uid, bob.gid, bob.home), (5, 6, Some("/home/bob".into())));
    }

    #[test]
    fn a_pipe_in_place_of_a_table_is_refused_without_waiting() {
        let rootfs = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(rootfs.path().join("etc")).unwrap();
        let pipe = rootfs.path().join("etc/passwd");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(matches!(resolve(rootfs.path(), "root"), Err(UserError::Unreadable { .. })));
    }

    #[test]
    fn an_image_without_tables_knows_numbers_only() {
        let rootfs = tempfile::tempdir().unwrap();
        assert_eq!(resolve(rootfs.path(), "5:6").unwrap().gid, 6);
        assert_eq!(resolve(rootfs.path(), "").unwrap().uid, 0);
        assert!(resolve(rootfs.path(), "root").is_err());
    }
}
