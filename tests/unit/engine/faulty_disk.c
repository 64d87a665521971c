#include "faulty_disk.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a write replaced, until the file is synced. */
struct undo {
    struct undo *next;
    sqlite3_int64 offset, old_size;
    int length; /* of what was there */
    char data[];
};

struct file {
    sqlite3_file base;
    char *path;
    struct undo *undo; /* the newest first */
    struct file *next;
    sqlite3_file *real;
};

static sqlite3_vfs disk, *real_disk;
static sqlite3_io_methods methods;
static struct file *files;
static enum fault kind;
static int fault_at, count;
static bool broken;

static struct file *of(sqlite3_file *file)
{
    return (struct file *)file;
}

static void forget(struct file *file)
{
    for (struct undo *undo = file->undo, *next; undo; undo = next) {
        next = undo->next;
        free(undo);
    }
    file->undo = NULL;
}

static void cut_power(void)
{
    for (struct file *file = files; file; file = file->next) {
        int fd = open(file->path, O_RDWR | O_CLOEXEC);
        for (struct undo *undo = file->undo; fd >= 0 && undo; undo = undo->next) {
            if (pwrite(fd, undo->data, (size_t)undo->length, undo->offset) != undo->length ||
                ftruncate(fd, undo->old_size) != 0)
                _exit(1);
        }
        close(fd);
    }
    _exit(137);
}

/* Whether this operation fails. */
static bool fails(void)
{
    if (++count == fault_at) {
        if (kind == FAULT_POWER_CUT)
            cut_power();
        broken = true;
    }
    return broken;
}

static int disk_write(sqlite3_file *base, const void *data, int length, sqlite3_int64 offset)
{
    struct file *file = of(base);
    if (fails())
        return SQLITE_IOERR_WRITE;
    struct undo *undo = calloc(1, sizeof(*undo) + (size_t)length);
    struct stat st;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0) {
        ssize_t got = pread(fd, undo->data, (size_t)length, offset);
        undo->length = got > 0 ? (int)got : 0;
        undo->old_size = st.st_size;
    }
    close(fd);
    undo->offset = offset;
    undo->next = file->undo;
    file->undo = undo;
    return file->real->pMethods->xWrite(file->real, data, length, offset);
}

static int disk_sync(sqlite3_file *base, int flags)
{
    struct file *file = of(base);
    if (fails())
        return SQLITE_IOERR_FSYNC;
    int rc = file->real->pMethods->xSync(file->real, flags);
    if (rc == SQLITE_OK)
        forget(file);
    return rc;
}

static int disk_close(sqlite3_file *base)
{
    struct file *file = of(base);
    for (struct file **at = &files; *at; at = &(*at)->next) {
        if (*at == file) {
            *at = file->next;
            break;
        }
    }
    forget(file);
    free(file->path);
    int rc = file->real->pMethods->xClose(file->real);
    free(file->real);
    return rc;
}

#define FORWARD(name, declared, given)                                                             \
    static int disk_##name declared                                                                \
    {                                                                                              \
        sqlite3_file *real = of(base)->real;                                                       \
        return real->pMethods->x##name given;                                                      \
    }
FORWARD(Read, (sqlite3_file * base, void *data, int length, sqlite3_int64 offset),
        (real, data, length, offset))
FORWARD(Truncate, (sqlite3_file * base, sqlite3_int64 size), (real, size))
FORWARD(FileSize, (sqlite3_file * base, sqlite3_int64 *size), (real, size))
FORWARD(Lock, (sqlite3_file * base, int lock), (real, lock))
FORWARD(Unlock, (sqlite3_file * base, int lock), (real, lock))
FORWARD(CheckReservedLock, (sqlite3_file * base, int *result), (real, result))
FORWARD(FileControl, (sqlite3_file * base, int op, void *argument), (real, op, argument))
FORWARD(SectorSize, (sqlite3_file * base), (real))
FORWARD(DeviceCharacteristics, (sqlite3_file * base), (real))
FORWARD(ShmMap, (sqlite3_file * base, int page, int size, int extend, void volatile **at),
        (real, page, size, extend, at))
FORWARD(ShmLock, (sqlite3_file * base, int offset, int n, int flags), (real, offset, n, flags))
FORWARD(ShmUnmap, (sqlite3_file * base, int remove), (real, remove))

static void disk_shm_barrier(sqlite3_file *base)
{
    of(base)->real->pMethods->xShmBarrier(of(base)->real);
}

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out)
{
    (void)vfs;
    struct file *file = of(base);
    memset(file, 0, sizeof(*file));
    file->real = calloc(1, (size_t)real_disk->szOsFile);
    int rc = real_disk->xOpen(real_disk, name, file->real, flags, out);
    if (rc != SQLITE_OK) {
        free(file->real);
        return rc;
    }
    file->path = strdup(name ? name : "");
    file->next = files;
    files = file;
    file->base.pMethods = &methods;
    return SQLITE_OK;
}

void faulty_disk_install(enum fault fault, int at)
{
    real_disk = sqlite3_vfs_find(NULL);
    kind = fault;
    fault_at = at;
    disk = *real_disk;
    disk.zName = "faulty";
    disk.szOsFile = sizeof(struct file);
    disk.xOpen = disk_open;
    methods = (sqlite3_io_methods){.iVersion = 2,
                                   .xClose = disk_close,
                                   .xRead = disk_Read,
                                   .xWrite = disk_write,
                                   .xTruncate = disk_Truncate,
                                   .xSync = disk_sync,
                                   .xFileSize = disk_FileSize,
                                   .xLock = disk_Lock,
                                   .xUnlock = disk_Unlock,
                                   .xCheckReservedLock = disk_CheckReservedLock,
                                   .xFileControl = disk_FileControl,
                                   .xSectorSize = disk_SectorSize,
                                   .xDeviceCharacteristics = disk_DeviceCharacteristics,
                                   .xShmMap = disk_ShmMap,
                                   .xShmLock = disk_ShmLock,
                                   .xShmBarrier = disk_shm_barrier,
                                   .xShmUnmap = disk_ShmUnmap};
    sqlite3_vfs_register(&disk, 1);
}

void faulty_disk_heal(void)
{
    fault_at = 0;
    broken = false;
}

int faulty_disk_count(void)
{
    return count;
}
