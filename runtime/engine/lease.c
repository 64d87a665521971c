/* flock, not fcntl: it belongs to the open file, so it does not go away when somebody else in this
 * process closes the same file. The file itself stays: removing it would let two processes lock two
 * files of one name. */
#include "engine/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"

enum { RECHECK_MS = 200 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The program and its verb; never more, as parameters may follow. */
static char *command_text(void)
{
    char line[4096];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);
    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return vr_strdup("vmrun");
    line[length] = '\0';
    const char *slash = strrchr(line, '/'), *program = slash ? slash + 1 : line;
    size_t first = strlen(line) + 1;
    const char *verb = first < (size_t)length && !strchr(line + first, '=') ? line + first : "";
    return vr_format(*verb ? "%s %s" : "%s", program, verb);
}

static void write_holder(int fd)
{
    char host[256] = "?", since[32] = "";
    gethostname(host, sizeof(host) - 1);
    time_t time_now = time(NULL);
    struct tm utc;
    strftime(since, sizeof(since), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&time_now, &utc));
    const struct passwd *user = getpwuid(getuid());
    char *holder = vr_format("%s@%s", user ? user->pw_name : "?", host), *command = command_text();
    json_t *told = json_pack("{ss*, si, ss, ss*}", "holder", holder, "pid", (int)getpid(), "since",
                             since, "command", command);
    char *text = json_dumps(told, JSON_COMPACT);
    /* it only helps people: that it could not be written changes nothing */
    if (text && ftruncate(fd, 0) == 0 && pwrite(fd, text, strlen(text), 0) < 0)
        errno = 0;
    free(text);
    free(holder);
    free(command);
    json_decref(told);
}

static void tell_holder(int fd, const char *what, struct vr_error *err)
{
    char text[4096];
    ssize_t length = pread(fd, text, sizeof(text), 0);
    json_t *told = length > 0 ? json_loadb(text, (size_t)length, 0, NULL) : NULL;
    const char *holder = NULL, *since = "?", *command = "?";
    int pid = 0;
    if (json_unpack(told, "{s:s, s:i, s?s, s?s}", "holder", &holder, "pid", &pid, "since", &since,
                    "command", &command) == 0)
        vr_error_set(err, "locked", "%s is in use by %s (pid %d, since %s: %s)", what, holder, pid,
                     since, command);
    else
        vr_error_set(err, "locked", "%s is in use by another vmrun", what);
    vr_error_hint(
        err, "wait until it has ended, or pass --lock-timeout; if it hangs, end it: the lease goes "
             "with its process");
    json_decref(told);
}

static bool io_error(const char *what, const char *path, struct vr_error *err)
{
    bool full = errno == ENOSPC || errno == EDQUOT;
    return vr_error_set(err, full ? "disk" : "io", "%s: cannot lock %s: %s", what, path,
                        strerror(errno));
}

/* Closing the file is an event, but it comes a moment before the lock is gone: so look again soon
 * after. */
static bool wait_for(int fd, const char *path, double wait)
{
    double end = now() + wait;
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch >= 0)
        inotify_add_watch(watch, path, IN_CLOSE_WRITE);
    int locked = flock(fd, LOCK_EX | LOCK_NB);
    while (locked != 0 && errno == EWOULDBLOCK && now() < end) {
        double left = (end - now()) * 1000;
        struct pollfd event = {.fd = watch, .events = POLLIN};
        poll(&event, 1, left > RECHECK_MS ? RECHECK_MS : (int)left + 1);
        char events[1024];
        while (watch >= 0 && read(watch, events, sizeof(events)) > 0)
            continue;
        locked = flock(fd, LOCK_EX | LOCK_NB);
    }
    int failure = errno;
    if (watch >= 0)
        close(watch);
    errno = failure;
    return locked == 0;
}

int vr_lease_take(const char *path, const char *what, double wait, struct vr_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        io_error(what, path, err);
        return -1;
    }
    if (fchmod(fd, 0600) != 0)
        errno = 0; /* another's file: it can be locked all the same */
    if (!wait_for(fd, path, wait)) {
        if (errno == EWOULDBLOCK)
            tell_holder(fd, what, err);
        else
            io_error(what, path, err);
        close(fd);
        return -1;
    }
    write_holder(fd);
    return fd;
}

void vr_lease_give(int fd)
{
    if (fd < 0)
        return;
    if (ftruncate(fd, 0) != 0)
        errno = 0;
    close(fd);
}
