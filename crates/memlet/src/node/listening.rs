//! Who listens on a port of this machine, as `/proc` tells: for an error that names him.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A process that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: i32,
    pub(crate) name: String,
}

/// Who keeps `address` from being listened on; `None` where that cannot be seen, as for another user's process.
pub(crate) fn holder(address: SocketAddr) -> Option<Holder> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .find_map(|table| inode(&table, address))?;
    let link = format!("socket:[{inode}]");
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pid = pids.into_iter().find(|pid: &i32| holds(*pid, &link))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned();
    Some(Holder { pid, name })
}

fn holds(pid: i32, link: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| target == Path::new(link))
}

/// The socket in a table of `/proc/net` that listens on the address or on all addresses of its port.
fn inode(table: &str, wanted: SocketAddr) -> Option<u64> {
    /// `TCP_LISTEN`
    const LISTENS: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = address(fields.get(1)?)?;
        let collides = address.port() == wanted.port()
            && (address.ip() == wanted.ip() || address.ip().is_unspecified() || wanted.ip().is_unspecified());
        (collides && fields.get(3) == Some(&LISTENS)).then(|| fields.get(9)?.parse().ok())?
    })
}

/// `0100007F:192B`: words of four bytes in the machine's order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = ip
        .as_bytes()
        .chunks(8)
        .map(|word| Some(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes()))
        .collect();
    let bytes: Vec<u8> = words?.concat();
    let ip = match *bytes {
        [a, b, c, d] => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:192B 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn a_table_of_sockets() {
        let of = |address: &str| inode(TABLE, address.parse().unwrap());
        assert_eq!(of("127.0.0.1:6443"), Some(4711));
        assert_eq!(of("0.0.0.0:6443"), Some(4711));
        assert_eq!(of("10.0.0.1:22"), Some(4712));
        assert_eq!(of("127.0.0.1:8080"), None, "a connection is no listener");
        assert_eq!(of("10.0.0.1:6443"), None);
    }

    #[test]
    fn this_process_is_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let found = holder(listener.local_addr().unwrap()).unwrap();
            assert_eq!(found.pid, std::process::id().cast_signed());
        }
    }

    #[test]
    fn what_is_no_table_names_nobody() {
        for table in ["", "a\nb c d\n", "x\n 0: zz:1 a 0A\n"] {
            assert_eq!(inode(table, "127.0.0.1:1".parse().unwrap()), None);
        }
    }
}
