/* The program of the cases that every isolation runs: one source, built for each of them. Its first argument says what
   to do; what it finds goes to standard output, what fails to standard error, with exit code 1. Where WASI has no such
   call, there is none here. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifndef __wasi__
#include <arpa/inet.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#endif

extern char **environ;

static int fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

static void say(const char *text) {
    puts(text);
    fflush(stdout);
}

static void nap(long milliseconds) {
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&t, 0);
}

static int copy(int from) {
    static char buffer[65536];
    for (ssize_t n; (n = read(from, buffer, sizeof buffer)) != 0;) {
        if (n < 0) return fail("read");
        for (ssize_t done = 0, m; done < n; done += m)
            if ((m = write(1, buffer + done, n - done)) < 0) return fail("write");
    }
    return 0;
}

static int put(const char *path, int flags, const char *text) {
    int fd = open(path, O_WRONLY | flags, 0666);
    ssize_t length = strlen(text);
    if (fd < 0 || write(fd, text, length) != length || close(fd)) return fail(path);
    return 0;
}

/* All that can be done to files, each step as it has to be. */
static int files(const char *dir) {
    char a[256], b[256], d[256];
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/d/b", dir);
    snprintf(d, sizeof d, "%s/d", dir);
    struct stat st;
    if (put(a, O_CREAT | O_EXCL, "12345")) return 1;
    if (!put(a, O_CREAT | O_EXCL, "")) return fputs("made twice\n", stderr), 1;
    if (put(a, O_APPEND, "678")) return 1;
    if (stat(a, &st) || st.st_size != 8 || !S_ISREG(st.st_mode)) return fail("stat");
    if (truncate(a, 3) || stat(a, &st) || st.st_size != 3) return fail("truncate");
    if (mkdir(d, 0777) || rename(a, b)) return fail("rename");
    if (!stat(a, &st) || errno != ENOENT) return fail("the old name");
    if (symlink("b", (snprintf(a, sizeof a, "%s/d/link", dir), a)) || stat(a, &st) || st.st_size != 3) return fail("symlink");
    if (!rmdir(d)) return fputs("removed a full directory\n", stderr), 1;
    int count = 0;
    DIR *open = opendir(d);
    if (!open) return fail(d);
    for (struct dirent *e; (e = readdir(open));) count += e->d_name[0] != '.';
    closedir(open);
    printf("%d\n", count);
    if (unlink(a) || unlink(b) || rmdir(d)) return fail("unlink");
    return 0;
}

#ifndef __wasi__
static void on(int number) {
    _exit(128 + number);
}

static int loopback(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof at;
    int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server, (void *)&at, length) || listen(server, 1) || getsockname(server, (void *)&at, &length)) return fail("bind");
    if (connect(client, (void *)&at, length)) return fail("connect");
    char got[8] = "";
    if (write(client, "across", 6) != 6 || read(accept(server, 0, 0), got, 6) != 6) return fail("read");
    say(got);
    return 0;
}

static int forks(int most) {
    int count = 0;
    for (pid_t pid; count < most && (pid = fork()) != -1; count++)
        if (!pid) for (;;) pause();
    printf("%d\n", count);
    fflush(stdout);
    kill(0, SIGKILL);
    return 0;
}
#endif

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "", *path = argc > 2 ? argv[2] : "", *more = argc > 3 ? argv[3] : "";
#ifndef __wasi__
    /* The first process of a PID namespace has no default of its own. */
    signal(SIGTERM, on), signal(SIGINT, on), signal(SIGHUP, on), signal(SIGUSR1, on);
#endif
    if (!strcmp(what, "exit")) return atoi(path);
    if (!strcmp(what, "args")) {
        for (int i = 2; i < argc; i++) printf("<%s>\n", argv[i]);
    } else if (!strcmp(what, "env")) {
        for (char **e = environ; *e; e++) puts(*e);
    } else if (!strcmp(what, "cwd")) {
        char buffer[4096];
        say(getcwd(buffer, sizeof buffer) ? buffer : "none");
    } else if (!strcmp(what, "cat")) {
        int fd = *path ? open(path, O_RDONLY) : 0;
        return fd < 0 ? fail(path) : copy(fd);
    } else if (!strcmp(what, "put")) {
        return put(path, O_CREAT | O_TRUNC, more);
    } else if (!strcmp(what, "keep")) {
        /* Written and read again. */
        if (put(path, O_CREAT | O_TRUNC, more)) return 1;
        int fd = open(path, O_RDONLY);
        return fd < 0 ? fail(path) : copy(fd);
    } else if (!strcmp(what, "mkdir")) {
        if (mkdir(path, 0777)) return fail(path);
    } else if (!strcmp(what, "files")) {
        return files(path);
    } else if (!strcmp(what, "both")) {
        say("to output");
        fputs("to error\n", stderr);
    } else if (!strcmp(what, "much")) {
        char line[80];
        for (int i = 0; i < atoi(path); i++) {
            snprintf(line, sizeof line, "%07d%.56s", i, "............................................................");
            puts(line);
        }
    } else if (!strcmp(what, "tty")) {
        printf("isatty %d %d %d\n", isatty(0), isatty(1), isatty(2));
    } else if (!strcmp(what, "echo")) {
        char line[256];
        say("ready");
        if (fgets(line, sizeof line, stdin)) printf("got %s", line);
    } else if (!strcmp(what, "spin")) {
        say("ready");
        for (volatile unsigned i = 0;; i++) {}
    } else if (!strcmp(what, "stay")) {
        say("ready");
        nap(1000000);
    } else if (!strcmp(what, "tick")) {
        for (int i = 0;; i++) {
            say("tick");
            nap(20);
        }
    } else if (!strcmp(what, "eat")) {
        for (int n = 1; n <= atoi(path); n++) {
            volatile char *p = malloc(1 << 20);
            if (!p) break;
            for (int i = 0; i < 1 << 20; i += 1024) p[i] = n;
            printf("%d\n", n);
            fflush(stdout);
        }
    } else if (!strcmp(what, "clocks")) {
        struct timespec real, before, after;
        clock_gettime(CLOCK_REALTIME, &real);
        clock_gettime(CLOCK_MONOTONIC, &before);
        nap(50);
        clock_gettime(CLOCK_MONOTONIC, &after);
        printf("%lld %lld\n", (long long)real.tv_sec, (after.tv_sec - before.tv_sec) * 1000LL + (after.tv_nsec - before.tv_nsec) / 1000000);
    } else if (!strcmp(what, "random")) {
        unsigned char bytes[32];
        if (getentropy(bytes, sizeof bytes)) return fail("getentropy");
        for (unsigned i = 0; i < sizeof bytes; i++) printf("%02x", bytes[i]);
        puts("");
#ifndef __wasi__
    } else if (!strcmp(what, "size")) {
        struct winsize size;
        if (ioctl(0, TIOCGWINSZ, &size)) return fail("size");
        printf("size %d %d\n", size.ws_row, size.ws_col);
    } else if (!strcmp(what, "hostname")) {
        struct utsname name;
        uname(&name);
        say(name.nodename);
    } else if (!strcmp(what, "loopback")) {
        return loopback();
    } else if (!strcmp(what, "forks")) {
        return forks(atoi(path));
#endif
    } else {
        fprintf(stderr, "no such thing: %s\n", what);
        return 99;
    }
    return 0;
}
