/* What SQLite's shell calls and WASI does not have. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int chmod(const char *path, mode_t mode) {
    return 0;
}

int system(const char *command) {
    errno = ENOSYS;
    return -1;
}

char *realpath(const char *path, char *out) {
    return out ? strcpy(out, path) : strdup(path);
}
