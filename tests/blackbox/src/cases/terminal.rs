//! `process.terminal`, `consoleSize`, the console socket, and terminals of exec.

use serde_json::json;

use crate::case::{Case, Done, Stop, case, check, same};
use crate::ctx::Ctx;
use crate::host::wait_for;
use crate::tty::{Inbox, Pty, Screen};

pub(crate) const CASES: &[Case] = &[
    case!(run_on_tty, "run on a terminal gives the program a terminal as standard input, output and error"),
    case!(run_exit_code, "run on a terminal passes the exit code"),
    case!(run_input, "what is typed reaches the program"),
    case!(run_interrupt, "the interrupt key reaches the program, not the runtime"),
    case!(run_size, "the terminal has the size of the caller's")
        .theirs("crun", "1.8.1 leaves it 0 by 0"),
    case!(run_resize, "a change of the caller's size reaches the program")
        .theirs("crun", "1.8.1 leaves it 0 by 0"),
    case!(run_restores, "run leaves the caller's terminal as it was"),
    case!(no_tty, "without terminal nothing is one"),
    case!(console_socket, "create hands the master of the terminal to the console socket"),
    case!(console_input, "what is written to the master reaches the program"),
    case!(console_size, "consoleSize sets the size"),
    case!(console_detach, "run --detach with a console socket works"),
    case!(dev_console, "/dev/console is the program's terminal"),
    case!(controlling, "the terminal controls the session of the program"),
    case!(owner, "another user can open the terminal of its own program"),
    case!(owner_of_the_callers, "the caller's own terminal keeps its owner when it is passed to another user's program"),
    case!(pts_is_own, "the terminal comes from the container's own devpts"),
    case!(no_socket, "create with a terminal and no console socket is refused"),
    case!(socket_without_terminal, "a console socket without a terminal is refused")
        .theirs("crun", "1.8.1 ignores the socket"),
    case!(socket_missing, "a console socket where nobody listens is an error"),
    case!(exec_tty, "exec --tty gives the process a terminal of its own"),
    case!(exec_console_socket, "exec --tty --console-socket --detach hands over the master"),
    case!(exec_without_tty, "exec without --tty has none, though the container has one"),
    case!(exec_process_terminal, "exec --process with terminal and consoleSize works"),
    case!(hangup, "closing the master sends the program a hang-up"),
    case!(userns, "a terminal works in a user namespace"),
    case!(unread_output, "a terminal that nobody reads doesn't keep a signal from the program")
        .theirs("crun", "1.8.1 waits in write(2)")
        .theirs("runc", "1.1.5 waits in write(2)"),
    case!(unread_input, "a program that doesn't read what is typed is still sent signals")
        .theirs("crun", "1.8.1 waits in write(2)"),
    case!(full_pipe, "a non-blocking pipe that is full is waited for without work, and all arrives")
        .theirs("crun", "1.8.1 wants a terminal of its own")
        .theirs("runc", "1.1.5 wants a terminal of its own"),
    case!(big_output, "a hundred kilobytes pass through the terminal"),
];

fn tty_bundle(ctx: &Ctx) -> crate::bundle::Bundle<'_> {
    ctx.bundle().set("/process/terminal", json!(true))
}

fn run_on_tty(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).probe(&["tty"]);
    let out = Pty::new()?.run(b.call("run"), "", b"")?.ok()?;
    for n in 0..3 {
        check!(out.out.contains(&format!("isatty{n} 1")), "{n} is none: {:?}", out.out);
    }
    Ok(())
}

fn run_exit_code(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).sh("exit 6");
    Pty::new()?.run(b.call("run"), "", b"")?.code(6)?;
    Ok(())
}

fn run_input(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).sh("echo ready; read x; echo got:$x; exit 7");
    let out = Pty::new()?.run(b.call("run"), "ready", b"typed\r")?.code(7)?;
    check!(out.out.contains("got:typed"), "shown: {:?}", out.out);
    Ok(())
}

fn run_interrupt(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).sh("trap 'exit 8' INT; echo ready; while :; do sleep 0.05; done");
    Pty::new()?.run(b.call("run"), "ready", b"\x03")?.code(8)?;
    Ok(())
}

fn run_size(ctx: &Ctx) -> Done {
    // It may be set while the program begins.
    let b = tty_bundle(ctx).sh("until hull-probe tty | grep '^size 33 77'; do sleep 0.05; done");
    Pty::new()?.run(b.call("run"), "", b"")?.ok()?;
    Ok(())
}

fn run_resize(ctx: &Ctx) -> Done {
    // The runtime may set the size while the program begins, which is a change to the program, too.
    let script = "trap 'hull-probe tty' WINCH; trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let b = tty_bundle(ctx).sh(script);
    let pty = Pty::new()?;
    let mut screen = Screen::new(pty.master.try_clone()?);
    let running = b.call("run").tty(pty.open_slave()?).spawn()?;
    screen.wait("ready", 8)?;
    let size = rustix::termios::Winsize { ws_row: 44, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&pty.master, size)?;
    screen.wait("size 44 99", 8)?;
    crate::host::signal(running.pid(), libc::SIGTERM);
    running.wait()?.ok()?;
    Ok(())
}

fn run_restores(ctx: &Ctx) -> Done {
    let pty = Pty::new()?;
    let slave = pty.open_slave()?;
    let before = rustix::termios::tcgetattr(&slave)?;
    let b = tty_bundle(ctx).sh("exit 0");
    pty.run(b.call("run"), "", b"")?.ok()?;
    let after = rustix::termios::tcgetattr(&slave)?;
    same!(after.local_modes, before.local_modes, "local modes");
    same!(after.input_modes, before.input_modes, "input modes");
    same!(after.output_modes, before.output_modes, "output modes");
    Ok(())
}

fn no_tty(ctx: &Ctx) -> Done {
    let out = ctx.bundle().probe(&["tty"]).run()?.ok()?;
    for key in ["isatty0", "isatty1", "isatty2"] {
        same!(out.field(key)?, "0", "{key}");
    }
    same!(out.field("controlling")?, "false", "controlling terminal");
    Ok(())
}

/// A container whose terminal's master came over the console socket, and what it shows.
fn with_socket<'a>(
    ctx: &'a Ctx,
    b: crate::bundle::Bundle<'a>,
) -> Result<(crate::bundle::Container<'a>, std::os::fd::OwnedFd, Screen), Stop> {
    let inbox = Inbox::new(&ctx.host_dir("console"))?;
    let c = b.option("--console-socket").option(inbox.text()).create()?;
    let (_, mut fds) = inbox.receive(8)?;
    check!(fds.len() == 1, "{} descriptors came", fds.len());
    let master = fds.remove(0);
    let screen = Screen::new(master.try_clone()?);
    Ok((c, master, screen))
}

fn console_socket(ctx: &Ctx) -> Done {
    let (c, _master, mut screen) = with_socket(ctx, tty_bundle(ctx).probe(&["tty"]))?;
    c.start()?;
    screen.wait("controlling true", 8)?;
    check!(screen.text.contains("isatty0 1"), "shown: {:?}", screen.text);
    Ok(())
}

fn console_input(ctx: &Ctx) -> Done {
    let (c, master, mut screen) = with_socket(ctx, tty_bundle(ctx).sh("echo ready; read x; echo got:$x"))?;
    c.start()?;
    screen.wait("ready", 8)?;
    rustix::io::write(&master, b"typed\r")?;
    screen.wait("got:typed", 8)
}

fn console_size(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).probe(&["tty"]).set("/process/consoleSize", json!({ "height": 21, "width": 83 }));
    let (c, _master, mut screen) = with_socket(ctx, b)?;
    c.start()?;
    screen.wait("size 21 83", 8)
}

fn console_detach(ctx: &Ctx) -> Done {
    let inbox = Inbox::new(&ctx.host_dir("console"))?;
    let b = tty_bundle(ctx).sh("echo up; sleep 1000").option("--console-socket").option(inbox.text());
    let running = b.option("--detach").call("run").spawn()?;
    let (_, mut fds) = inbox.receive(8)?;
    let mut screen = Screen::new(fds.remove(0));
    running.wait()?.ok()?;
    screen.wait("up", 8)
}

fn dev_console(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).sh("echo through > /dev/console; stat -c %F /dev/console");
    let (c, _master, mut screen) = with_socket(ctx, b)?;
    c.start()?;
    screen.wait("through", 8)?;
    screen.wait("character special file", 8)
}

fn controlling(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).sh("echo to-tty > /dev/tty; hull-probe self");
    let (c, _master, mut screen) = with_socket(ctx, b)?;
    c.start()?;
    screen.wait("to-tty", 8)?;
    screen.wait("sid 1", 8)
}

fn owner(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).sh("t=$(tty); echo opened > $t; stat -c 'owner %u' -L /proc/self/fd/1");
    let b = b.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let (c, _master, mut screen) = with_socket(ctx, b)?;
    c.start()?;
    screen.wait("opened", 8)?;
    screen.wait("owner 1000", 8)
}

fn owner_of_the_callers(ctx: &Ctx) -> Done {
    let pty = Pty::new()?;
    let owner = || rustix::fs::stat(&pty.slave).map(|st| (st.st_uid, st.st_gid));
    let before = owner()?;
    let b = ctx.bundle().set("/process/user", json!({ "uid": 1000, "gid": 1000 })).sh("echo shown; exit 3");
    let out = pty.run(b.call("run"), "", b"")?.code(3)?;
    check!(out.out.contains("shown"), "shown: {:?}", out.out);
    same!(owner()?, before, "owner");
    Ok(())
}

fn pts_is_own(ctx: &Ctx) -> Done {
    let (c, _master, mut screen) = with_socket(ctx, tty_bundle(ctx).sh("tty; ls /dev/pts; echo end; sleep 1000"))?;
    c.start()?;
    screen.wait("end", 8)?;
    check!(screen.text.contains("/dev/pts/0") || screen.text.contains("/dev/console"), "shown: {:?}", screen.text);
    check!(screen.text.lines().any(|l| l.split_whitespace().any(|w| w == "0")), "no terminal 0 in {:?}", screen.text);
    Ok(())
}

fn no_socket(ctx: &Ctx) -> Done {
    tty_bundle(ctx).refused(&["console", "terminal", "tty"])?;
    Ok(())
}

fn socket_without_terminal(ctx: &Ctx) -> Done {
    let inbox = Inbox::new(&ctx.host_dir("console"))?;
    ctx.bundle().option("--console-socket").option(inbox.text()).refused(&["console", "terminal", "tty"])?;
    Ok(())
}

fn socket_missing(ctx: &Ctx) -> Done {
    let path = ctx.host_dir("console").join("nobody");
    let b = tty_bundle(ctx).option("--console-socket").option(path.to_str().unwrap());
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn exec_tty(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let call = c.exec_call(&["--tty"], &["/bin/sh", "-c", "hull-probe tty; until hull-probe tty | grep '^size 33 77'; do sleep 0.05; done; exit 5"]);
    let out = Pty::new()?.run(call, "", b"")?.code(5)?;
    same!(out.field("isatty0")?, "1", "isatty(0)");
    same!(out.field("controlling")?, "true", "controlling terminal");
    Ok(())
}

fn exec_console_socket(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let inbox = Inbox::new(&ctx.host_dir("console"))?;
    let options = ["--tty", "--detach", "--console-socket", inbox.text()];
    let running = c.exec_call(&options, &["/bin/sh", "-c", "hull-probe tty; sleep 1000"]).spawn()?;
    let (_, mut fds) = inbox.receive(8)?;
    let mut screen = Screen::new(fds.remove(0));
    running.wait()?.ok()?;
    screen.wait("controlling true", 8)
}

fn exec_without_tty(ctx: &Ctx) -> Done {
    let (c, _master, _screen) = with_socket(ctx, tty_bundle(ctx).args(&crate::bundle::STAY))?;
    c.start()?;
    same!(c.exec(&["/bin/hull-probe", "tty"])?.ok()?.field("isatty0")?, "0", "isatty(0)");
    Ok(())
}

fn exec_process_terminal(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    // It may be set while the program begins.
    let mut p = c.process(&["/bin/sh", "-c", "until hull-probe tty | grep '^size 22 84'; do sleep 0.05; done"]);
    p["terminal"] = json!(true);
    p["consoleSize"] = json!({ "height": 22, "width": 84 });
    let inbox = Inbox::new(&ctx.host_dir("console"))?;
    let file = ctx.host_file("process.json", &p.to_string());
    let call = ctx.call(&["exec", "--detach", "--console-socket", inbox.text(), "--process"]).arg(&file).arg(&c.id);
    let running = call.spawn()?;
    let (_, mut fds) = inbox.receive(8)?;
    let mut screen = Screen::new(fds.remove(0));
    running.wait()?.ok()?;
    screen.wait("size 22 84", 8)
}

fn hangup(ctx: &Ctx) -> Done {
    let inbox = Inbox::new(&ctx.host_dir("console"))?;
    let dir = ctx.host_dir("mark");
    let path = dir.to_str().unwrap().to_owned();
    let b = tty_bundle(ctx).sh("trap 'echo hup > /mnt/mark; exit' HUP; echo up > /mnt/up; while :; do sleep 0.05; done");
    let b = b.tweak(|c| crate::config::Edit::mount(c, "/mnt", "bind", &path, &["bind"]));
    let c = b.option("--console-socket").option(inbox.text()).create()?;
    let (_, fds) = inbox.receive(8)?;
    c.start()?;
    wait_for("the program", 5, || dir.join("up").exists())?;
    drop(fds);
    wait_for("the hang-up", 5, || dir.join("mark").exists())
}

fn userns(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).tweak(crate::config::Edit::userns).probe(&["tty"]);
    let (c, _master, mut screen) = with_socket(ctx, b)?;
    c.start()?;
    screen.wait("controlling true", 8)
}

fn big_output(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).sh("head -c 100000 /dev/zero | tr '\\0' x; echo; echo end");
    let out = Pty::new()?.run(b.call("run"), "", b"")?.ok()?;
    same!(out.out.matches('x').count(), 100_000, "bytes shown");
    Ok(())
}

/// Sends SIGTERM, which the program is to answer with the exit code 9.
fn ends_by_signal(mut running: crate::call::Running) -> Done {
    crate::host::signal(running.pid(), libc::SIGTERM);
    if wait_for("its end", 8, || matches!(running.child.try_wait(), Ok(Some(_)))).is_ok() {
        running.wait()?.code(9)?;
        return Ok(());
    }
    running.child.kill()?;
    running.child.wait()?;
    Err("the signal didn't reach the program".into())
}

fn unread_output(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).sh("trap 'kill $!; exit 9' TERM; yes & wait");
    let pty = Pty::new()?;
    let running = b.call("run").tty(pty.open_slave()?).spawn()?;
    wait_for("output", 8, || rustix::io::ioctl_fionread(&pty.master).is_ok_and(|n| n > 0))?;
    // It takes no longer to fill a terminal.
    std::thread::sleep(std::time::Duration::from_millis(700));
    ends_by_signal(running)
}

fn unread_input(ctx: &Ctx) -> Done {
    let b = tty_bundle(ctx).sh("stty raw -echo; trap 'kill $!; exit 9' TERM; echo ready; sleep 1000 & wait");
    let pty = Pty::new()?;
    let mut screen = Screen::new(pty.master.try_clone()?);
    let running = b.call("run").tty(pty.open_slave()?).spawn()?;
    screen.wait("ready", 8)?;
    rustix::io::ioctl_fionbio(&pty.master, true)?;
    for _ in 0..100 {
        // More than both terminals hold; what they don't take is not typed.
        let _ = rustix::io::write(&pty.master, &[b'x'; 4096]);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    ends_by_signal(running)
}

fn full_pipe(ctx: &Ctx) -> Done {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&write, true)?;
    let b = tty_bundle(ctx).sh("head -c 300000 /dev/zero | tr '\\0' x; exit 5");
    let running = b.call("run").fd(1, write).spawn()?;
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum()
    };
    std::thread::sleep(std::time::Duration::from_millis(700));
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(1000));
    let used = ticks() - before;
    check!(used < 20, "hull used {used} hundredths of a second of the processor in a second");
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(read), &mut text)?;
    running.wait()?.code(5)?;
    same!(text.iter().filter(|b| **b == b'x').count(), 300_000, "bytes that arrived");
    Ok(())
}
