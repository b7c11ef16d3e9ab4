/* A clock that is wrong, for the programs that are started with this library (LD_PRELOAD): a machine of the lab can't set
 * the kernel's clock, which is the host's. The file says by how many seconds, as ten digits with a sign. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *volatile written;

static long wrong_by(void)
{
    if (!written) {
        int file = open("/usr/local/lib/clock", O_RDONLY | O_CLOEXEC);
        void *map = file < 0 ? MAP_FAILED : mmap(0, 11, PROT_READ, MAP_SHARED, file, 0);
        if (file >= 0)
            close(file);
        if (map == MAP_FAILED)
            return 0;
        written = map;
    }
    long by = 0;
    for (int at = 1; at < 11; at++)
        by = by * 10 + (written[at] - '0');
    return written[0] == '-' ? -by : by;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int outcome = syscall(SYS_clock_gettime, clock, now);
    if (outcome == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += wrong_by();
    return outcome;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *also)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (also)
        *also = exact.tv_sec;
    return exact.tv_sec;
}
