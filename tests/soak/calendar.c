/* A calendar for programs that run faster than the days they live through, by LD_PRELOAD.
 *
 * $CALENDAR names a file, mapped into memory: a count, then so many pairs (real time from when,
 * what is added from then on), all int64, nanoseconds. The wall clock AND the monotonic clock are
 * moved alike, as if the time had passed: to a program nothing has jumped. Waits for a moment of
 * these clocks are given to the kernel as the moment it knows; file times are told as what the
 * clock said when the file was written.
 */
#include "preload.h"
#include <semaphore.h>
#include <sys/mman.h>

#define ROOM (1 << 20)
#define SECOND 1000000000LL

struct calendar {
    int64_t count;
    struct { int64_t from, offset; } step[];
};

static const struct calendar *calendar;

static int real_clock(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    return real(clock, now);
}

__attribute__((constructor)) static void open_calendar(void) {
    const char *path = getenv("CALENDAR");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *at = mmap(NULL, ROOM, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (at != MAP_FAILED) calendar = at;
}

static int64_t offset_now(void) {
    if (!calendar) return 0;
    int64_t count = __atomic_load_n(&calendar->count, __ATOMIC_ACQUIRE);
    return count ? calendar->step[count - 1].offset : 0;
}

static int64_t offset_at(int64_t real_ns) {
    if (!calendar) return 0;
    int64_t count = __atomic_load_n(&calendar->count, __ATOMIC_ACQUIRE);
    for (int64_t i = count - 1; i >= 0; i--)
        if (calendar->step[i].from <= real_ns) return calendar->step[i].offset;
    return 0;
}

static struct timespec plus(struct timespec moment, int64_t ns) {
    int64_t total = moment.tv_sec * SECOND + moment.tv_nsec + ns;
    if (total < 0) total = 0;
    return (struct timespec){total / SECOND, total % SECOND};
}

static int is_moved(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME ||
           clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_REALTIME_COARSE ||
           clock == CLOCK_MONOTONIC_COARSE;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = real_clock(clock, now);
    if (!done && is_moved(clock)) *now = plus(*now, offset_now());
    return done;
}

/* --- waits until a moment --- */

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    REAL(int, "clock_nanosleep", clockid_t, int, const struct timespec *, struct timespec *);
    if (!(flags & TIMER_ABSTIME) || !is_moved(clock)) return real(clock, flags, until, left);
    struct timespec known = plus(*until, -offset_now());
    return real(clock, flags, &known, left);
}

int sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until) {
    REAL(int, "sem_clockwait", sem_t *, clockid_t, const struct timespec *);
    struct timespec known = plus(*until, -offset_now());
    return real(sem, clock, &known);
}

int sem_timedwait(sem_t *sem, const struct timespec *until) {
    REAL(int, "sem_timedwait", sem_t *, const struct timespec *);
    struct timespec known = plus(*until, -offset_now());
    return real(sem, &known);
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    REAL_OF(int, "pthread_cond_timedwait", "GLIBC_2.3.2", pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec known = plus(*until, -offset_now());
    return real(cond, mutex, &known);
}

int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *until) {
    REAL(int, "pthread_cond_clockwait", pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    struct timespec known = plus(*until, -offset_now());
    return real(cond, mutex, clock, &known);
}

/* --- file times --- */

static struct timespec told(struct timespec moment) {
    return plus(moment, offset_at(moment.tv_sec * SECOND + moment.tv_nsec));
}

static int with_times(int done, struct stat64 *found) {
    if (!done) {
        found->st_atim = told(found->st_atim);
        found->st_mtim = told(found->st_mtim);
        found->st_ctim = told(found->st_ctim);
    }
    return done;
}

int stat64(const char *restrict path, struct stat64 *restrict found) {
    REAL(int, "stat64", const char *, struct stat64 *);
    return with_times(real(path, found), found);
}

int lstat64(const char *restrict path, struct stat64 *restrict found) {
    REAL(int, "lstat64", const char *, struct stat64 *);
    return with_times(real(path, found), found);
}

int fstat64(int file, struct stat64 *found) {
    REAL(int, "fstat64", int, struct stat64 *);
    return with_times(real(file, found), found);
}

int fstatat64(int folder, const char *restrict path, struct stat64 *restrict found, int flags) {
    REAL(int, "fstatat64", int, const char *, struct stat64 *, int);
    return with_times(real(folder, path, found, flags), found);
}
