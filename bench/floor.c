/* The kernel's floor: a process in the namespaces, mounts, devices and cgroup of the bench's bundle, made by as few
 * system calls as will do and without reading a configuration. Nothing is checked that a runtime has to check, so no
 * runtime can be as fast; it shows how much of a start is the kernel's own work.
 *
 * usage: floor ROOTFS CGROUP|- PROGRAM [ARGUMENT...]      CGROUP: a directory of cgroup v2 to make, enter and remove
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what) {
    perror(what);
    exit(1);
}

#define DO(call)                    \
    do {                            \
        if ((call) < 0) die(#call); \
    } while (0)

static void node(const char *path, int minor_number, int major_number) {
    DO(mknod(path, S_IFCHR | 0666, makedev(major_number, minor_number)));
}

static void inside(const char *rootfs, char **program) {
    const unsigned long usual = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    static const char *const masked[] = {"proc/acpi", "proc/kcore", "proc/keys", "proc/timer_list", "proc/scsi"};
    static const char *const readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{0}};

    DO(mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL));
    DO(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL));
    DO(chdir(rootfs));
    DO(mount("proc", "proc", "proc", 0, NULL));
    DO(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    DO(mkdir("dev/pts", 0755));
    DO(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    DO(mkdir("dev/shm", 0755));
    DO(mount("shm", "dev/shm", "tmpfs", usual, "mode=1777,size=65536k"));
    DO(mkdir("dev/mqueue", 0755));
    DO(mount("mqueue", "dev/mqueue", "mqueue", usual, NULL));
    DO(mount("sysfs", "sys", "sysfs", usual | MS_RDONLY, NULL));
    DO(mount("cgroup", "sys/fs/cgroup", "cgroup2", usual | MS_RDONLY, NULL));
    umask(0);
    node("dev/null", 3, 1), node("dev/zero", 5, 1), node("dev/full", 7, 1);
    node("dev/random", 8, 1), node("dev/urandom", 9, 1), node("dev/tty", 0, 5);
    DO(symlink("/proc/self/fd", "dev/fd"));
    DO(symlink("/proc/self/fd/0", "dev/stdin"));
    DO(symlink("/proc/self/fd/1", "dev/stdout"));
    DO(symlink("/proc/self/fd/2", "dev/stderr"));
    DO(symlink("pts/ptmx", "dev/ptmx"));
    for (unsigned i = 0; i < sizeof readonly / sizeof *readonly; i++) {
        if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) == 0)
            DO(mount(NULL, readonly[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | usual, NULL));
    }
    for (unsigned i = 0; i < sizeof masked / sizeof *masked; i++) {
        struct stat st;
        if (stat(masked[i], &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode))
            DO(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, NULL));
        else
            DO(mount("/dev/null", masked[i], NULL, MS_BIND, NULL));
    }
    DO(mount(NULL, rootfs, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL));
    DO(syscall(SYS_pivot_root, ".", "."));
    DO(umount2(".", MNT_DETACH));
    DO(sethostname("floor", 5));
    DO(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    DO(syscall(SYS_capset, &header, sets));
    execv(program[0], program);
    die(program[0]);
}

int main(int argc, char **argv) {
    struct clone_args args = {0};
    int cgroup = -1, status, own_cgroup;

    if (argc < 4)
        return 2;
    own_cgroup = strcmp(argv[2], "-") != 0;
    args.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    args.exit_signal = SIGCHLD;
    if (own_cgroup) {
        DO(mkdir(argv[2], 0755));
        DO(cgroup = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC));
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup;
    }
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid < 0)
        die("clone3");
    if (pid == 0)
        inside(argv[1], argv + 3);
    DO(waitpid((pid_t)pid, &status, 0));
    if (own_cgroup)
        DO(rmdir(argv[2]));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
