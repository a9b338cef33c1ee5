/* The program of the cases about Wasm: what it is told to do by its first argument, it does and shows. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

__attribute__((export_name("other"))) void other(void) {
    puts("other");
    fflush(stdout);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    const char *path = argc > 2 ? argv[2] : "";
    if (!strcmp(what, "args")) {
        for (int i = 0; i < argc; i++) puts(argv[i]);
    } else if (!strcmp(what, "env")) {
        for (char **e = environ; *e; e++) puts(*e);
    } else if (!strcmp(what, "exit")) {
        return atoi(path);
    } else if (!strcmp(what, "cat")) {
        int fd = *path ? open(path, O_RDONLY) : 0;
        if (fd < 0) return fail(path);
        char buffer[4096];
        for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) != 0;) {
            if (n < 0) return fail(path);
            fwrite(buffer, 1, n, stdout);
        }
    } else if (!strcmp(what, "write")) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (fd < 0 || write(fd, "written\n", 8) != 8) return fail(path);
    } else if (!strcmp(what, "ls")) {
        DIR *dir = opendir(path);
        if (!dir) return fail(path);
        for (struct dirent *e; (e = readdir(dir));) puts(e->d_name);
    } else if (!strcmp(what, "link")) {
        if (link(path, argv[3])) return fail(path);
    } else if (!strcmp(what, "symlink")) {
        if (symlink(path, argv[3])) return fail(path);
    } else if (!strcmp(what, "rename")) {
        if (rename(path, argv[3])) return fail(path);
    } else if (!strcmp(what, "err")) {
        fputs("to stderr\n", stderr);
    } else if (!strcmp(what, "spin")) {
        puts("ready");
        fflush(stdout);
        for (volatile unsigned i = 0;; i++) {}
    } else if (!strcmp(what, "sleep")) {
        puts("ready");
        fflush(stdout);
        struct timespec t = {1000, 0};
        nanosleep(&t, 0);
    } else if (!strcmp(what, "read")) {
        puts("ready");
        fflush(stdout);
        return read(open(path, O_RDONLY), &(char){0}, 1) != 0;
    } else if (!strcmp(what, "trap")) {
        __builtin_trap();
    } else if (!strcmp(what, "grow")) {
        /* As many mebibytes as can be had, up to the number given. */
        int n = 0;
        for (volatile char *p; n < atoi(path) && (p = malloc(1 << 20)); n++) *p = 1;
        printf("%d\n", n);
    } else {
        puts("hello");
    }
    return 0;
}
