#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

bool vr_file_write_all(int fd, const void *data, size_t length)
{
    const char *at = data;
    while (length > 0) {
        ssize_t count = write(fd, at, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return false;
        at += count;
        length -= (size_t)count;
    }
    return true;
}

bool vr_file_sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash ? vr_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : vr_strdup(".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static int mode_of(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? (int)(st.st_mode & 07777) : 0600;
}

static bool fill(int fd, const void *data, size_t length, int mode, bool sync)
{
    bool ok = fchmod(fd, (mode_t)mode) == 0 && vr_file_write_all(fd, data, length) &&
              (!sync || fsync(fd) == 0);
    int number = errno;
    if (close(fd) != 0 && ok)
        return false;
    errno = number;
    return ok;
}

bool vr_file_replace(const char *path, const void *data, size_t length, int mode, bool sync)
{
    char *aside = vr_format("%s.XXXXXX", path);
    int fd = mkostemp(aside, O_CLOEXEC);
    bool ok = fd >= 0 && fill(fd, data, length, mode < 0 ? mode_of(path) : mode, sync) &&
              rename(aside, path) == 0 && (!sync || vr_file_sync_folder(path));
    if (!ok && fd >= 0) {
        int number = errno;
        unlink(aside);
        errno = number;
    }
    free(aside);
    return ok;
}
