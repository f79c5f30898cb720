/* Faults of disk and clock, injected into a program by LD_PRELOAD.
 *
 * $FAULT_FOLDER   files below it are watched
 * $FAULT_CONTROL  while this file holds a number > 0, writing there fails with that errno
 * $FAULT_CLOCK    seconds in this file are added to the wall clock
 * $FAULT_JOURNAL  folder: what writes overwrite is kept there until it is flushed, so that a
 *                 power cut can be played: see power_cut.py
 */
#include "preload.h"
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

static ssize_t real_pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    return real(fd, data, size, at);
}

static long number_in(const char *variable) {
    const char *path = getenv(variable);
    char text[32] = {0};
    if (!path) return 0;
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 ? atol(text) : 0;
}

/* The path of a watched file; 0: it is not watched. */
static int watched(int fd, char *path, size_t room) {
    const char *folder = getenv("FAULT_FOLDER");
    char link[64];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, room - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int fails(int fd) {
    char path[4096];
    long code;
    if (!getenv("FAULT_CONTROL") || !watched(fd, path, sizeof path)) return 0;
    code = number_in("FAULT_CONTROL");
    if (code > 0) errno = (int)code;
    return code > 0;
}

/* --- what was overwritten --- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct entry { /* then the path, then the bytes as they were */
    uint64_t when;
    uint32_t kind; /* 0: write, 1: flush, 2: cut to `size` */
    uint32_t path_length;
    int64_t at;
    int64_t size;     /* that were written */
    int64_t before;   /* bytes of the old content that follow */
    int64_t file_size; /* before the write */
};

static void note(int fd, uint32_t kind, int64_t at, int64_t size) {
    static int journal = -1;
    static pid_t owner;
    const char *folder = getenv("FAULT_JOURNAL");
    char path[4096], name[4200];
    struct stat found;
    struct timespec now;
    if (!folder || !watched(fd, path, sizeof path)) return;
    size_t length = strlen(path);
    if (length > 4 && strcmp(path + length - 4, "-shm") == 0) return;
    pthread_mutex_lock(&lock);
    if (journal < 0 || owner != getpid()) {
        owner = getpid();
        snprintf(name, sizeof name, "%s/%d", folder, (int)owner);
        journal = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    fstat(fd, &found);
    int64_t before = 0;
    char *old = NULL;
    if (kind != 1 && at < found.st_size) {
        before = found.st_size - at;
        if (kind == 0 && before > size) before = size;
        old = malloc((size_t)before);
        int again = open(path, O_RDONLY | O_CLOEXEC);
        if (again < 0 || pread(again, old, (size_t)before, at) != before) before = 0;
        if (again >= 0) close(again);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct entry entry = {
        (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, kind,
        (uint32_t)length, at, size, before, found.st_size,
    };
    size_t total = sizeof entry + length + (size_t)before;
    char *whole = malloc(total);
    memcpy(whole, &entry, sizeof entry);
    memcpy(whole + sizeof entry, path, length);
    if (before) memcpy(whole + sizeof entry + length, old, (size_t)before);
    REAL(ssize_t, "write", int, const void *, size_t);
    if (real(journal, whole, total) != (ssize_t)total) abort();
    free(whole);
    free(old);
    pthread_mutex_unlock(&lock);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
    if (fails(fd)) return -1;
    note(fd, 0, at, (int64_t)size);
    return real_pwrite(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return pwrite64(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (fd > 2 && fails(fd)) return -1;
    if (fd > 2 && getenv("FAULT_JOURNAL")) {
        off_t at = lseek(fd, 0, SEEK_CUR);
        if (at >= 0) note(fd, 0, at, (int64_t)size);
    }
    return real(fd, data, size);
}

int ftruncate64(int fd, off_t size) {
    REAL(int, "ftruncate64", int, off_t);
    if (fails(fd)) return -1;
    note(fd, 2, size, size);
    return real(fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int fsync(int fd) {
    REAL(int, "fsync", int);
    if (fails(fd)) return -1;
    int done = real(fd);
    note(fd, 1, 0, 0);
    return done;
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    if (fails(fd)) return -1;
    int done = real(fd);
    note(fd, 1, 0, 0);
    return done;
}

/* --- the clock --- */

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int done = real(clock, now);
    if (clock == CLOCK_REALTIME && getenv("FAULT_CLOCK")) now->tv_sec += number_in("FAULT_CLOCK");
    return done;
}
