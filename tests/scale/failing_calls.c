/* File systems as people have them: the calls named in FAILING ("chmod=1 fsync=22") fail with that error number.
   With FAILING_BELOW they fail only on what is below that folder. To be preloaded: gcc -shared -fPIC ... -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(const char *name, const char *path, int fd) {
    const char *failing = getenv("FAILING"), *below = getenv("FAILING_BELOW");
    char key[32], at[32], real[4096];
    snprintf(key, sizeof key, "%s=", name);
    const char *found = failing ? strstr(failing, key) : NULL;
    if (!found || (found > failing && found[-1] != ' ')) return 0;
    if (below) {
        ssize_t length = -1;
        if (path && *path != '/') {
            if (!getcwd(real, sizeof real / 2)) return 0;
            length = strlen(real);
            length += snprintf(real + length, sizeof real - length, "/%s", path);
        } else if (path) {
            length = snprintf(real, sizeof real, "%s", path);
        } else {
            snprintf(at, sizeof at, "/proc/self/fd/%d", fd);
            length = readlink(at, real, sizeof real - 1);
        }
        if (length < 0 || length >= (ssize_t)sizeof real) return 0;
        real[length] = 0;
        if (strncmp(real, below, strlen(below))) return 0;
    }
    errno = atoi(found + strlen(key));
    return 1;
}

#define FAILING(type, name, args, call, path, fd) \
    type name args { \
        static type (*real) args; \
        if (fails(#name, path, fd)) return -1; \
        if (!real) real = (type(*) args)dlsym(RTLD_NEXT, #name); \
        return real call; \
    }

FAILING(int, chmod, (const char *a, mode_t m), (a, m), a, 0)
FAILING(int, fchmod, (int f, mode_t m), (f, m), NULL, f)
FAILING(int, fchmodat, (int d, const char *a, mode_t m, int f), (d, a, m, f), a, 0)
FAILING(int, symlink, (const char *a, const char *b), (a, b), b, 0)
FAILING(int, symlinkat, (const char *a, int d, const char *b), (a, d, b), b, 0)
FAILING(int, link, (const char *a, const char *b), (a, b), b, 0)
FAILING(int, linkat, (int c, const char *a, int d, const char *b, int f), (c, a, d, b, f), b, 0)
FAILING(int, rename, (const char *a, const char *b), (a, b), b, 0)
FAILING(int, mkdir, (const char *a, mode_t m), (a, m), a, 0)
FAILING(int, utimensat, (int d, const char *a, const struct timespec t[2], int f), (d, a, t, f), a, 0)
FAILING(int, fsync, (int f), (f), NULL, f)
FAILING(int, fdatasync, (int f), (f), NULL, f)
FAILING(int, flock, (int f, int op), (f, op), NULL, f)
FAILING(ssize_t, write, (int f, const void *b, size_t n), (f, b, n), NULL, f)
FAILING(ssize_t, pwrite64, (int f, const void *b, size_t n, off_t o), (f, b, n, o), NULL, f)
