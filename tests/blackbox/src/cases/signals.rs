//! kill, signals that run passes on, pause and resume.



use crate::case::{Case, Done, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, alive, wait_for};

pub(crate) const CASES: &[Case] = &[
    case!(kill_default_is_term, "kill without a signal sends SIGTERM"),
    case!(kill_names, "signals are named with and without SIG, and by number"),
    case!(kill_bad_signal, "kill with an unknown signal fails and sends nothing")
        .theirs("crun", "1.8.1 takes an unknown name for signal 0, and 9x for 9"),
    case!(kill_created, "kill of a created container works"),
    case!(term_created, "TERM ends a created container").theirs("crun", "1.8.1 does not hear it"),
    case!(kill_stopped, "kill with TERM of a stopped container fails"),
    case!(kill_all, "kill --all reaches every process of a container without pid namespace"),
    case!(init_takes_all_along, "with init of a pid namespace every process of the container ends"),
    case!(no_pid_ns_strays, "delete --force ends what a container without pid namespace left running"),
    case!(forwards_signals, "run in the foreground passes signals on to the program"),
    case!(pause_and_resume, "pause stops the processes, resume lets them go on"),
    case!(pause_stopped, "pause of a stopped container fails"),
    case!(resume_running, "resume of a container that isn't paused fails")
        .theirs("crun", "1.8.1 thaws whatever it is given"),
];

fn kill_default_is_term(ctx: &Ctx) -> Done {
    let c = ctx.bundle().probe(&["trap", "15", "1"]).up()?;
    c.wait_out("ready")?;
    ctx.rt(&["kill", &c.id])?.ok()?;
    c.wait_out("sig 15")
}

fn kill_names(ctx: &Ctx) -> Done {
    let c = ctx.bundle().probe(&["trap", "1", "2", "10", "12", "28", "34"]).up()?;
    c.wait_out("ready")?;
    for (name, number) in [("HUP", 1), ("SIGINT", 2), ("SIGUSR1", 10), ("12", 12), ("WINCH", 28), ("34", 34)] {
        c.kill(name)?;
        c.wait_out(&format!("sig {number:02}"))?;
    }
    Ok(())
}

fn kill_bad_signal(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    for name in ["NOSUCH", "SIG", "9x", "-1x"] {
        ctx.rt(&["kill", &c.id, name])?.fails()?;
    }
    same!(c.status()?, "running", "status");
    Ok(())
}

fn term_created(ctx: &Ctx) -> Done {
    let c = ctx.bundle().create()?;
    c.kill("TERM")?;
    c.wait("stopped")
}

fn kill_created(ctx: &Ctx) -> Done {
    let c = ctx.bundle().create()?;
    c.kill("KILL")?;
    c.wait("stopped")
}

fn kill_stopped(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&["/bin/true"]).create()?;
    c.start()?;
    c.wait("stopped")?;
    ctx.rt(&["kill", &c.id, "TERM"])?.fails()?;
    Ok(())
}

fn kill_all(ctx: &Ctx) -> Done {
    let c = ctx
        .bundle()
        .tweak(|c| c.leave("pid"))
        .sh("/bin/sleep 1000 & echo $!; exec /bin/sleep 1000")
        .up()?;
    c.wait_out("\n")?;
    let child: i32 = c.out().trim().parse()?;
    let init = c.pid()?;
    check!(alive(child), "the child isn't there");
    ctx.rt(&["kill", "--all", &c.id, "KILL"])?.ok()?;
    wait_for("the end of both processes", 5, || !alive(child) && !alive(init))
}

fn init_takes_all_along(ctx: &Ctx) -> Done {
    let c = ctx.bundle().sh("sleep 1000 & sleep 1000 & exec sleep 1000").up()?;
    let init = c.pid()?;
    wait_for("two children", 8, || host::descendants(init).len() == 2)?;
    let mut all: Vec<i32> = host::descendants(init).iter().map(|(pid, _)| *pid).collect();
    all.push(init);
    c.kill("KILL")?;
    wait_for("the end of all", 5, || all.iter().all(|p| !alive(*p)))
}

fn no_pid_ns_strays(ctx: &Ctx) -> Done {
    let c = ctx.bundle().tweak(|c| c.leave("pid")).sh("/bin/sleep 1000 & echo $!").up()?;
    c.wait_out("\n")?;
    let child: i32 = c.out().trim().parse()?;
    c.wait("stopped")?;
    c.delete_force()?;
    check!(!alive(child), "a process of the deleted container is alive");
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    Ok(())
}

fn forwards_signals(ctx: &Ctx) -> Done {
    let (_c, running) = ctx.bundle().sh("trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done").spawn()?;
    wait_for("the program", 8, || running.so_far().contains("up"))?;
    host::signal(running.pid(), libc::SIGTERM);
    running.wait()?.code(42)?;
    Ok(())
}

fn pause_and_resume(ctx: &Ctx) -> Done {
    let c = ctx.bundle().sh("while :; do echo .; sleep 0.02; done").up()?;
    c.wait_out(".")?;
    c.pause()?;
    same!(c.status()?, "paused", "status after pause");
    std::thread::sleep(std::time::Duration::from_millis(50));
    let before = c.out().len();
    std::thread::sleep(std::time::Duration::from_millis(250));
    same!(c.out().len(), before, "output while paused");
    c.resume()?;
    same!(c.status()?, "running", "status after resume");
    wait_for("more output", 5, || c.out().len() > before)
}

fn pause_stopped(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&["/bin/true"]).create()?;
    c.start()?;
    c.wait("stopped")?;
    ctx.rt(&["pause", &c.id])?.fails()?;
    Ok(())
}

fn resume_running(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    ctx.rt(&["resume", &c.id])?.fails()?;
    Ok(())
}
