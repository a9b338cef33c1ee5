//! Looks at things from inside a container that busybox can't: `hull-probe WHAT [ARG]...`.
//!
//! Prints `key value` lines. Static, so that it runs in any root file system.

use std::fs;
use std::io::{self, Write};
use std::process::exit;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match args.first().map(String::as_str) {
        Some("args") => rest.iter().for_each(|a| println!("<{a}>")),
        Some("env") => std::env::vars_os().for_each(|(k, v)| println!("{}={}", k.display(), v.display())),
        Some("fds") => fds(),
        Some("syscall") => syscall(&rest),
        Some("syscall32") => syscall32(&rest),
        Some("status") => print!("{}", fs::read_to_string("/proc/self/status").unwrap_or_default()),
        Some("cwd") => cwd(),
        Some("sched") => sched(),
        Some("self") => own(),
        Some("clock") => clock(),
        Some("keyring") => keyring(),
        Some("label") => rest.iter().for_each(|path| label(path)),
        Some("eat") => eat(number(rest[0]) as usize),
        Some("forks") => forks(number(rest[0])),
        Some("open") => open(rest[0], rest[1]),
        Some("trap") => trap(&rest),
        Some("tty") => tty(),
        Some("notify") => notify(rest[0]),
        Some("stay") => std::thread::sleep(std::time::Duration::from_secs(1000)),
        Some("peek") => peek(number(rest[0]) as u64, rest[1]),
        Some("seize") => seize(),
        Some("leave") => leave(&rest),
        Some("fuse") => fuse(rest[0]),
        Some("exit") => exit(number(rest[0]) as i32),
        other => {
            eprintln!("hull-probe: unknown {other:?}");
            exit(99)
        }
    }
}

/// Leaves namespaces for new ones: `user`, `mnt`; with `again`, until the mount namespace has the number of the first. Then
/// makes what comes to be at /new writable, and writes to it.
fn leave(what: &[&str]) {
    let number = || fs::read_link("/proc/self/ns/mnt").expect("a number");
    let flags = |name| match name { "user" => libc::CLONE_NEWUSER, "mnt" => libc::CLONE_NEWNS, _ => 0 };
    let first = number();
    // SAFETY: plain system call without pointers.
    let unshare = |flags| unsafe { libc::unshare(flags) };
    println!("left {}", unshare(what.iter().fold(0, |all, name| all | flags(name))));
    for _ in 0..what.iter().filter(|w| **w == "again").count() * 500 {
        if number() == first {
            break;
        }
        unshare(libc::CLONE_NEWNS);
    }
    println!("same {}", number() == first);
    let _ = io::stdout().flush();
    while fs::metadata("/new/file").is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (flags, none) = (libc::MS_REMOUNT | libc::MS_BIND, std::ptr::null());
    // SAFETY: the target is a C string, and the kernel looks at nothing else for these flags.
    unsafe { libc::mount(none, c"/new".as_ptr(), none, flags, none.cast()) };
    println!("wrote {}", fs::write("/new/file", "by the container\n").is_ok());
    let _ = io::stdout().flush();
    std::thread::sleep(std::time::Duration::from_secs(1000));
}

/// Serves a file system at `path` that answers no question but the first.
fn fuse(path: &str) {
    use std::io::Read;
    let mut device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other\0", std::os::fd::AsRawFd::as_raw_fd(&device));
    fs::create_dir_all(path).expect("a directory");
    let target = std::ffi::CString::new(path).expect("a path");
    // SAFETY: all are C strings that outlive the call.
    let ret = unsafe { libc::mount(c"x".as_ptr(), target.as_ptr(), c"fuse".as_ptr(), 0, options.as_ptr().cast()) };
    println!("mounted {ret} {}", errno());
    let _ = io::stdout().flush();
    let mut request = vec![0u8; 1 << 18];
    loop {
        let Ok(n) = device.read(&mut request) else { continue };
        // struct fuse_in_header: length, operation, unique number; FUSE_INIT is 26.
        if n >= 16 && request[4..8] == 26u32.to_ne_bytes() {
            let mut answer = [0u8; 80];
            answer[..4].copy_from_slice(&80u32.to_ne_bytes());
            answer[8..16].copy_from_slice(&request[8..16]);
            answer[16..20].copy_from_slice(&7u32.to_ne_bytes());
            answer[20..24].copy_from_slice(&31u32.to_ne_bytes());
            answer[36..40].copy_from_slice(&4096u32.to_ne_bytes());
            answer[40..44].copy_from_slice(&1u32.to_ne_bytes());
            device.write_all(&answer).expect("an answer");
        }
    }
}

/// Sends a message to the service manager.
fn notify(message: &str) {
    let path = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET");
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("socket");
    match socket.send_to(message.as_bytes(), path) {
        Ok(_) => println!("sent"),
        Err(e) => println!("errno {}", e.raw_os_error().unwrap_or(0)),
    }
}

/// Decimal, or hexadecimal after `0x`; negative allowed.
fn number(text: &str) -> i64 {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).map(|n| n as i64),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Every open descriptor and what it is, without the one used to look.
fn fds() {
    for n in 0..1024 {
        if let Ok(link) = fs::read_link(format!("/proc/self/fd/{n}")) {
            println!("{n} {}", link.display());
        }
    }
}

/// Makes the system call and prints `ret` and `errno`.
fn syscall(args: &[&str]) {
    let mut a = [0i64; 7];
    for (slot, text) in a.iter_mut().zip(args) {
        *slot = number(text);
    }
    // SAFETY: the case that names the call chooses arguments that pass no live pointer.
    let ret = unsafe { libc::syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]) };
    println!("ret {ret}\nerrno {}", if ret == -1 { errno() } else { 0 });
}

/// The same through the 32-bit gate, with up to one argument.
fn syscall32(args: &[&str]) {
    let (number, argument) = (number(args[0]) as u32, args.get(1).map_or(0, |a| number(a) as u32));
    let ret: i32;
    // SAFETY: int 0x80 clobbers no register but eax (the kernel keeps the rest); rbx is saved around it because the
    // compiler reserves it; the argument is no pointer.
    unsafe {
        std::arch::asm!("xchg {b:r}, rbx", "int 0x80", "xchg {b:r}, rbx", b = inout(reg) u64::from(argument) => _,
            inlateout("eax") number => ret, in("ecx") 0, in("edx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    println!("ret {}\nerrno {}", if ret < 0 { -1 } else { ret }, if ret < 0 { -ret } else { 0 });
}

/// The working directory as the kernel tells it.
fn cwd() {
    let mut buffer = [0u8; 4096];
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    match n {
        -1 => println!("errno {}", errno()),
        n => println!("cwd {}", String::from_utf8_lossy(&buffer[..n as usize - 1])),
    }
}

fn sched() {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
        utils: [u32; 2],
    }
    let mut attr = Attr::default();
    // SAFETY: attr is valid for its own size.
    unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size_of::<Attr>(), 0) };
    println!("policy {}\nnice {}\npriority {}\nflags {}", attr.policy, attr.nice, attr.priority, attr.flags);
    println!("runtime {}\ndeadline {}\nperiod {}", attr.runtime, attr.deadline, attr.period);
    // SAFETY: plain system call without pointers. 1 is IOPRIO_WHO_PROCESS.
    let io = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) };
    println!("ioclass {}\niolevel {}", io >> 13, io & 0x1fff);
    // SAFETY: plain system call without pointers; 0xffffffff only asks.
    println!("personality {}", unsafe { libc::personality(0xffff_ffff) });
}

/// Identity and attributes of this process.
fn own() {
    // SAFETY: plain system calls without pointers, but for getgroups, whose buffer is as long as said.
    unsafe {
        let mask = libc::umask(0o77);
        println!("umask {mask:o}\npid {}\nppid {}", libc::getpid(), libc::getppid());
        println!("pgid {}\nsid {}", libc::getpgid(0), libc::getsid(0));
        println!("uid {} {}\ngid {} {}", libc::getuid(), libc::geteuid(), libc::getgid(), libc::getegid());
        let mut groups = [0u32; 128];
        let n = libc::getgroups(128, groups.as_mut_ptr()).max(0) as usize;
        println!("groups {:?}", &groups[..n]);
        println!("dumpable {}", libc::prctl(libc::PR_GET_DUMPABLE));
        println!("no_new_privs {}", libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
        println!("subreaper_parent {}", libc::prctl(libc::PR_GET_PDEATHSIG, &mut 0));
        println!("securebits {}", libc::prctl(libc::PR_GET_SECUREBITS));
    }
    println!("exe {}", fs::read_link("/proc/self/exe").unwrap_or_default().display());
    println!("comm {}", fs::read_to_string("/proc/self/comm").unwrap_or_default().trim());
}

fn clock() {
    for (name, id) in [("monotonic", libc::CLOCK_MONOTONIC), ("boottime", libc::CLOCK_BOOTTIME)] {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: t is a valid timespec.
        unsafe { libc::clock_gettime(id, &mut t) };
        println!("{name} {}", t.tv_sec);
    }
}

/// The SELinux label of a file.
fn label(path: &str) {
    let name = std::ffi::CString::new(path).expect("a path");
    let mut text = [0u8; 256];
    // SAFETY: both names are C strings, and the buffer is as long as said.
    let n = unsafe { libc::getxattr(name.as_ptr(), c"security.selinux".as_ptr(), text.as_mut_ptr().cast(), text.len()) };
    match n {
        -1 => println!("{path} errno {}", errno()),
        n => println!("{path} {}", String::from_utf8_lossy(&text[..n as usize]).trim_matches('\0')),
    }
}

/// Serial number, description and SELinux label of the session keyring.
fn keyring() {
    // KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING, then KEYCTL_DESCRIBE.
    // SAFETY: plain system call without pointers.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, 0, -3i64, 0) };
    let mut text = [0u8; 256];
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::syscall(libc::SYS_keyctl, 6, id, text.as_mut_ptr(), text.len()) };
    println!("id {id}\ndescription {}", String::from_utf8_lossy(&text[..n.clamp(0, 256) as usize]).trim_matches('\0'));
    // KEYCTL_GET_SECURITY.
    // SAFETY: the buffer is as long as said.
    let n = unsafe { libc::syscall(libc::SYS_keyctl, 17, id, text.as_mut_ptr(), text.len()) };
    println!("label {}", String::from_utf8_lossy(&text[..n.clamp(0, 256) as usize]).trim_matches('\0'));
}

/// Touches this many megabytes, one by one.
fn eat(megabytes: usize) {
    let mut held = Vec::new();
    for n in 1..=megabytes {
        held.push(vec![n as u8; 1 << 20]);
        println!("ate {n}");
        let _ = io::stdout().flush();
    }
}

/// Forks up to `most` children that stay, and prints how many there were.
fn forks(most: i64) {
    let mut children = Vec::new();
    for _ in 0..most {
        // SAFETY: this process has one thread, and the child only sleeps.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: plain system call.
                unsafe { libc::pause() };
            },
            -1 => {
                println!("errno {}", errno());
                break;
            }
            pid => children.push(pid),
        }
    }
    println!("children {}", children.len());
    for pid in children {
        // SAFETY: plain system call without pointers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// Opens a path with flags such as `rw`, and prints the errno.
fn open(path: &str, flags: &str) {
    let got = fs::OpenOptions::new().read(flags.contains('r')).write(flags.contains('w')).open(path);
    println!("errno {}", got.err().and_then(|e| e.raw_os_error()).unwrap_or(0));
}

/// Installs a handler for each named signal number, prints `ready`, then the number of each signal that comes.
fn trap(numbers: &[&str]) {
    extern "C" fn handler(n: libc::c_int) {
        let line = [b's', b'i', b'g', b' ', b'0' + (n / 10) as u8, b'0' + (n % 10) as u8, b'\n'];
        // SAFETY: write is async-signal-safe and the buffer is as long as said.
        unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
    }
    for n in numbers {
        // SAFETY: the handler only calls write.
        unsafe { libc::signal(number(n) as i32, handler as *const () as libc::sighandler_t) };
    }
    println!("ready");
    loop {
        // SAFETY: plain system call.
        unsafe { libc::pause() };
    }
}

/// Whether 0, 1, 2 are terminals, how large, and whether there is a controlling terminal.
fn tty() {
    for n in 0..3 {
        // SAFETY: plain system call without pointers.
        println!("isatty{n} {}", unsafe { libc::isatty(n) });
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: size is a valid winsize.
    unsafe { libc::ioctl(0, libc::TIOCGWINSZ, &mut size) };
    println!("size {} {}", size.ws_row, size.ws_col);
    println!("controlling {}", fs::File::open("/dev/tty").is_ok());
}

/// For so many milliseconds, looks at every other process in /proc and tries its descriptors and executable; `outside`
/// is a path that exists on the host alone.
fn peek(milliseconds: u64, outside: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_millis(milliseconds);
    let mut seen = std::collections::BTreeSet::new();
    let own = std::process::id();
    let caps = |pid: &str, set: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix(set)).unwrap_or("0");
        u64::from_str_radix(line.trim(), 16).unwrap_or(0)
    };
    let granted = caps("self", "CapBnd:");
    println!("ready");
    let _ = io::stdout().flush();
    while std::time::Instant::now() < end {
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            if pid == own {
                continue;
            }
            let rights = caps(&pid.to_string(), "CapPrm:");
            if rights & !granted != 0 {
                seen.insert(format!("rights {rights:x}"));
            }
            for fd in fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
                let link = fs::read_link(fd.path()).unwrap_or_default();
                seen.insert(format!("fd {} {}", fd.file_name().display(), link.display()));
                let up = fd.path().join("../../../../../../../..").join(outside.trim_start_matches('/'));
                if fd.path().join(outside.trim_start_matches('/')).exists() || up.exists() {
                    seen.insert(format!("escape {} {}", fd.path().display(), link.display()));
                }
            }
            for place in ["root", "cwd"] {
                if entry.path().join(place).join(outside.trim_start_matches('/')).exists() {
                    seen.insert(format!("escape {place}"));
                }
            }
            if let Ok(exe) = fs::read_link(entry.path().join("exe")) {
                seen.insert(format!("exe {}", exe.display()));
                if fs::OpenOptions::new().write(true).open(entry.path().join("exe")).is_ok() {
                    seen.insert(format!("writable {}", exe.display()));
                }
            }
        }
    }
    seen.iter().for_each(|line| println!("{line}"));
}

/// Waits for a process in another program than init's and this one's, holds on to its executable, ends it, and tries
/// to write to what it holds.
fn seize() {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let ours = ["busybox", "hull-probe"];
    println!("ready");
    let _ = io::stdout().flush();
    let (pid, file, link) = loop {
        let names: Vec<String> =
            fs::read_dir("/proc").into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into()).collect();
        let found = names.into_iter().filter(|n| n.parse::<u32>().is_ok()).find_map(|pid| {
            // A file of a mount that is attached nowhere has no name.
            let link = of(&pid);
            if link.as_os_str().is_empty() || ours.iter().any(|name| link.ends_with(name)) {
                return None;
            }
            let file = fs::File::open(format!("/proc/{pid}/exe")).ok()?;
            Some((pid, file, link))
        });
        match found {
            Some(found) => break found,
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    println!("held {}", link.display());
    // SAFETY: plain system call without pointers.
    unsafe { libc::kill(number(&pid) as i32, libc::SIGKILL) };
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    // Busy as long as it is executed, which ends soon.
    let mut last = 0;
    for _ in 0..200 {
        match fs::OpenOptions::new().append(true).open(&path) {
            Ok(mut open) => {
                println!("wrote {}", open.write_all(b"tampered").is_ok());
                break;
            }
            Err(e) => last = e.raw_os_error().unwrap_or(0),
        }
        if last != libc::ETXTBSY {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    println!("done {last}");
    let _ = io::stdout().flush();
    std::thread::sleep(std::time::Duration::from_secs(1000));
}
