//! The mounts that this process sees, as /proc/self/mountinfo tells (proc(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number, which tells it from all others there are at the time.
    pub id: u64,
    /// What of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// Options of the mount, such as "rw,nosuid".
    pub options: String,
    /// Whether what is mounted on it appears elsewhere too.
    pub shared: bool,
    /// Type of the file system.
    pub kind: String,
    /// Options of the file system.
    pub data: String,
}

/// The mounts, in the order in which they were made.
///
/// # Errors
/// Where procfs is not mounted at /proc.
pub fn own() -> io::Result<Vec<Mount>> {
    std::fs::read("/proc/self/mountinfo").map(|text| parse(&text))
}

/// Reads the text of such a file; lines that are none of its kind are passed over.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/root rw,errors=continue`, with any number of tags before
/// the dash.
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let mut fields = fields.skip(2);
    let mut path = || fields.next().map(|field| PathBuf::from(OsString::from_vec(plain(field))));
    let (root, point) = (path()?, path()?);
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let options = text(fields.next()?);
    let shared = fields.by_ref().take_while(|field| *field != b"-").fold(false, |shared, tag| shared | tag.starts_with(b"shared:"));
    let kind = text(fields.next()?);
    let data = text(fields.nth(1).unwrap_or_default());
    Some(Mount { id, root, point, options, shared, kind, data })
}

/// Blanks and the like are written in octal.
fn plain(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let digits = more.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => (plain.push(byte), rest = &more[3..]),
            None => (plain.push(*first), rest = more),
        };
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn lines_are_read() {
        let text = b"36 35 98:0 / /mnt/my\\040disk\\134040 rw,noatime shared:2 master:1 - ext4 /dev/sda rw,quota\nrubbish\n\
            37 36 0:5 /a /caf\xe9 ro - tmpfs tmpfs rw";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].id, mounts[1].id), (36, 37));
        assert_eq!((mounts[0].shared, mounts[1].shared), (true, false));
        assert_eq!(mounts[0].point, PathBuf::from("/mnt/my disk\\040"));
        let words = [&mounts[0].options, &mounts[0].kind, &mounts[0].data];
        assert_eq!(words, ["rw,noatime", "ext4", "rw,quota"]);
        assert_eq!(mounts[1].root, PathBuf::from("/a"));
        assert_eq!(mounts[1].point.as_os_str().as_bytes(), b"/caf\xe9");
    }

    #[test]
    fn this_process_sees_procfs() {
        assert!(own().unwrap().iter().any(|m| m.kind == "proc"));
    }
}
