//! Network devices: raising loopback, and moving a device into another network namespace (rtnetlink).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// Has the C library look names up in files and by DNS, with what it has of its own: whatever /etc/nsswitch.conf says, no
/// library is loaded, and no daemon (nscd) is asked. To be called before the first look-up.
///
/// # Errors
/// Where the C library can't.
#[cfg(target_env = "gnu")]
pub fn look_up_plainly() -> io::Result<()> {
    unsafe extern "C" {
        /// glibc's, for tests of name services (getent -s).
        fn __nss_configure_lookup(database: *const libc::c_char, services: *const libc::c_char) -> libc::c_int;
    }
    let databases = [c"hosts", c"networks", c"services", c"protocols", c"passwd", c"group", c"initgroups", c"shadow", c"netgroup"];
    for database in databases {
        let services = if database == c"hosts" { c"files dns" } else { c"files" };
        // SAFETY: two strings that end with NUL; there is one thread.
        if unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Brings the loopback device of the caller's network namespace up.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN there.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: the kernel just made this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: ifreq is plain data for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into()).map(drop)
}

/// An rtnetlink socket in the caller's network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// An address of a device: family, prefix length, scope and the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// AF_INET or AF_INET6.
    pub family: u8,
    /// Prefix length.
    pub prefix: u8,
    /// Scope (0 is global).
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// The address.
    pub bytes: Vec<u8>,
}

const NLMSG_HDR: usize = 16;

impl Netlink {
    /// Opens the socket.
    ///
    /// # Errors
    /// EMFILE and the like.
    pub fn open() -> io::Result<Netlink> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is passed.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) }.into())?;
        // SAFETY: the kernel just made this descriptor.
        Ok(Netlink { socket: unsafe { OwnedFd::from_raw_fd(fd as i32) }, sequence: 0 })
    }

    /// Sends one request and returns the bodies of the answers, each with its message type.
    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<(u16, Vec<u8>)>> {
        self.sequence += 1;
        let mut msg = Vec::with_capacity(NLMSG_HDR + body.len());
        msg.extend(((NLMSG_HDR + body.len()) as u32).to_ne_bytes());
        msg.extend(kind.to_ne_bytes());
        msg.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        msg.extend(self.sequence.to_ne_bytes());
        msg.extend(0u32.to_ne_bytes());
        msg.extend(body);
        rustix::net::send(&self.socket, &msg, rustix::net::SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut buf = vec![0u8; 65536];
        loop {
            let (n, _) = rustix::net::recv(&self.socket, buf.as_mut_slice(), rustix::net::RecvFlags::empty())?;
            let mut rest = &buf[..n];
            while rest.len() >= NLMSG_HDR {
                let len = u32::from_ne_bytes(rest[..4].try_into().unwrap_or_default()) as usize;
                let kind = u16::from_ne_bytes([rest[4], rest[5]]);
                if len < NLMSG_HDR || len > rest.len() {
                    return Err(io::Error::from_raw_os_error(libc::EBADMSG));
                }
                let body = &rest[NLMSG_HDR..len];
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(answers),
                    libc::NLMSG_ERROR => {
                        let errno = i32::from_ne_bytes(body[..4].try_into().unwrap_or_default());
                        return if errno == 0 { Ok(answers) } else { Err(io::Error::from_raw_os_error(-errno)) };
                    }
                    _ => answers.push((kind, body.to_vec())),
                }
                rest = &rest[(len.next_multiple_of(4)).min(rest.len())..];
            }
        }
    }

    /// The index of a device by name.
    ///
    /// # Errors
    /// ENODEV where there is none.
    pub fn index_of(&mut self, name: &str) -> io::Result<i32> {
        let mut body = link_header(0, 0, 0);
        attribute(&mut body, libc::IFLA_IFNAME, &zero_ended(name));
        let answers = self.request(libc::RTM_GETLINK, libc::NLM_F_ACK as u16, &body)?;
        let answer = answers.first().ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        Ok(i32::from_ne_bytes(answer.1[4..8].try_into().unwrap_or_default()))
    }

    /// Moves a device into the network namespace `ns`, under `name` there.
    ///
    /// # Errors
    /// EEXIST where the name is taken there; EINVAL for a device that can't leave its namespace.
    pub fn move_device(&mut self, index: i32, ns: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let mut body = link_header(index, 0, 0);
        attribute(&mut body, libc::IFLA_NET_NS_FD, &(ns.as_raw_fd() as u32).to_ne_bytes());
        attribute(&mut body, libc::IFLA_IFNAME, &zero_ended(name));
        self.request(libc::RTM_NEWLINK, libc::NLM_F_ACK as u16, &body).map(drop)
    }

    /// Brings a device up.
    ///
    /// # Errors
    /// Those of RTM_NEWLINK.
    pub fn set_up(&mut self, index: i32) -> io::Result<()> {
        let body = link_header(index, libc::IFF_UP as u32, libc::IFF_UP as u32);
        self.request(libc::RTM_NEWLINK, libc::NLM_F_ACK as u16, &body).map(drop)
    }

    /// The permanent addresses of a device.
    ///
    /// # Errors
    /// Those of RTM_GETADDR.
    pub fn addresses(&mut self, index: i32) -> io::Result<Vec<Address>> {
        const IFA_F_PERMANENT: u32 = 0x80;
        let answers = self.request(libc::RTM_GETADDR, libc::NLM_F_DUMP as u16, &[0u8; 8])?;
        let mut found = Vec::new();
        for (_, body) in answers.iter().filter(|(kind, b)| *kind == libc::RTM_NEWADDR && b.len() >= 8) {
            if i32::from_ne_bytes(body[4..8].try_into().unwrap_or_default()) != index {
                continue;
            }
            let mut address =
                Address { family: body[0], prefix: body[1], scope: body[3], flags: body[2].into(), bytes: Vec::new() };
            for (kind, value) in attributes(&body[8..]) {
                match kind {
                    libc::IFA_LOCAL => address.bytes = value.to_vec(),
                    libc::IFA_ADDRESS if address.bytes.is_empty() => address.bytes = value.to_vec(),
                    libc::IFA_FLAGS if value.len() == 4 => {
                        address.flags = u32::from_ne_bytes(value.try_into().unwrap_or_default());
                    }
                    _ => {}
                }
            }
            if address.flags & IFA_F_PERMANENT != 0 {
                found.push(address);
            }
        }
        Ok(found)
    }

    /// Gives a device an address.
    ///
    /// # Errors
    /// EEXIST where it has it.
    pub fn add_address(&mut self, index: i32, address: &Address) -> io::Result<()> {
        let mut body = vec![address.family, address.prefix, 0, address.scope];
        body.extend((index as u32).to_ne_bytes());
        attribute(&mut body, libc::IFA_LOCAL, &address.bytes);
        attribute(&mut body, libc::IFA_ADDRESS, &address.bytes);
        let flags = (libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
        self.request(libc::RTM_NEWADDR, flags, &body).map(drop)
    }
}

fn zero_ended(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// struct ifinfomsg.
fn link_header(index: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![libc::AF_UNSPEC as u8, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(change.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        if rest.len() < 4 {
            return None;
        }
        let len = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        if len < 4 || len > rest.len() {
            return None;
        }
        let item = (u16::from_ne_bytes([rest[2], rest[3]]), &rest[4..len]);
        rest = &rest[len.next_multiple_of(4).min(rest.len())..];
        Some(item)
    })
}
