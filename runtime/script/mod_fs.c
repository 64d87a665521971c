/* require "fs": files. What the page cache answers runs at once; what waits for the disk (a flush,
 * the removal of a tree) parks the task. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/file.h"
#include "engine/lease.h"
#include "script/value.h"
#include "script/work.h"

#define LOCK "vr.lock"

int luaopen_vr_fs(lua_State *L);

/* `nil, "cannot VERB PATH: why", code` for errno. */
static int fail(lua_State *L, const char *verb, const char *path)
{
    struct vr_error err = {0};
    vr_error_system(&err, errno, "cannot %s %s", verb, path);
    return vr_script_fail(L, &err);
}

static int done(lua_State *L)
{
    lua_pushboolean(L, true);
    return 1;
}

static bool option(lua_State *L, int index, const char *name)
{
    if (!lua_istable(L, index))
        return false;
    lua_getfield(L, index, name);
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* A number from 0 on among the options. */
static lua_Integer count_option(lua_State *L, int index, const char *name, lua_Integer usual)
{
    if (!lua_istable(L, index))
        return usual;
    lua_getfield(L, index, name);
    lua_Integer value = usual;
    if (!lua_isnil(L, -1)) {
        int whole;
        value = lua_tointegerx(L, -1, &whole);
        if (!whole || value < 0)
            luaL_argerror(L, index,
                          lua_pushfstring(L, "'%s' wants a whole number from 0 on, got %s", name,
                                          luaL_tolstring(L, -1, NULL)));
    }
    lua_pop(L, 1);
    return value;
}

/*** The content of a file.
 * @function read
 * @tparam string path
 * @tparam[opt] table options at, count: only so many bytes from there (0 is the first) */
static int fs_read(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    lua_Integer at = count_option(L, 2, "at", 0),
                left = count_option(L, 2, "count", LUA_MAXINTEGER);
    /* Opening a FIFO would wait for somebody who writes. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return fail(L, "read", path);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    struct vr_buf text = {0};
    char chunk[65536];
    ssize_t count = at > 0 && lseek(fd, (off_t)at, SEEK_SET) < 0 ? -1 : 0;
    bool ok = count == 0;
    while (ok && left > 0) {
        size_t most = left < (lua_Integer)sizeof(chunk) ? (size_t)left : sizeof(chunk);
        count = read(fd, chunk, most);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        vr_buf_add(&text, chunk, (size_t)count);
        left -= (lua_Integer)count;
    }
    int number = errno;
    close(fd);
    if (count < 0) {
        vr_buf_free(&text);
        errno = number;
        return fail(L, "read", path);
    }
    lua_pushlstring(L, text.data ? text.data : "", text.length);
    vr_buf_free(&text);
    return 1;
}

/* --- write --- */

struct write_work {
    struct vr_work work;
    char *path;
    char *data;
    size_t length;
    int mode; /* -1: what the file has, or 0600 */
    bool atomic, append, sync;
};

static void write_free(struct vr_work *work)
{
    struct write_work *w = (struct write_work *)work;
    free(w->path);
    free(w->data);
    free(w);
}

static bool write_in_place(struct write_work *w)
{
    int fd = open(w->path, O_WRONLY | O_CREAT | O_CLOEXEC | (w->append ? O_APPEND : O_TRUNC),
                  (mode_t)(w->mode < 0 ? 0600 : w->mode));
    bool ok = fd >= 0 && (w->mode < 0 || fchmod(fd, (mode_t)w->mode) == 0) &&
              vr_file_write_all(fd, w->data, w->length) && (!w->sync || fsync(fd) == 0);
    int number = errno;
    if (fd >= 0 && close(fd) != 0 && ok)
        return false;
    errno = number;
    return ok;
}

static void write_run(struct vr_work *work)
{
    struct write_work *w = (struct write_work *)work;
    if (!(w->atomic ? vr_file_replace(w->path, w->data, w->length, w->mode, w->sync)
                    : write_in_place(w)))
        vr_error_system(&work->error, errno, "cannot write %s", w->path);
}

static int work_finished(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct vr_work *work = vr_work_of(L);
    return work->error.message ? vr_script_fail(L, &work->error) : done(L);
}

/*** Writes a file; readers see the old content or the new one.
 * @function write
 * @tparam string path
 * @tparam string text
 * @tparam[opt] table options mode (an existing file's stays, else 0600); atomic=false: writes in
 * place; append: adds to the end; sync: returns when it is safe on the disk
 * @return true; or nil, message, code */
static int fs_write(lua_State *L)
{
    size_t length;
    const char *path = luaL_checkstring(L, 1);
    const char *data = luaL_checklstring(L, 2, &length);
    int mode = -1;
    bool atomic = true;
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        if (lua_getfield(L, 3, "mode") != LUA_TNIL)
            mode = (int)luaL_checkinteger(L, -1) & 07777;
        atomic = lua_getfield(L, 3, "atomic") == LUA_TNIL || lua_toboolean(L, -1);
    }
    struct write_work *w = vr_alloc(sizeof(*w));
    *w = (struct write_work){.work = {.run = write_run, .free = write_free}, .mode = mode};
    w->append = option(L, 3, "append");
    w->sync = option(L, 3, "sync");
    w->atomic = atomic && !w->append;
    w->path = vr_strdup(path);
    w->data = vr_strndup(data, length);
    w->length = length;
    if (w->sync)
        return vr_work(L, &w->work, work_finished);
    write_run(&w->work);
    struct vr_error err = w->work.error;
    write_free(&w->work);
    return err.message ? vr_script_fail(L, &err) : done(L);
}

/* --- folders --- */

/*** Makes a folder and those above it; one that exists is fine.
 * @function mkdir
 * @tparam string path
 * @tparam[opt=0o700] integer mode of the folders that are made, whatever the umask */
static int fs_mkdir(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    mode_t mode = (mode_t)luaL_optinteger(L, 2, 0700) & 07777;
    char *part = vr_strdup(path);
    bool ok = *path != '\0';
    errno = ENOENT;
    for (char *at = part; ok && at;) {
        char *slash = strchr(at + strspn(at, "/"), '/');
        if (slash)
            *slash = '\0';
        if (mkdir(part, mode) == 0)
            ok = chmod(part, mode) == 0;
        else
            ok = errno == EEXIST || errno == EISDIR || (slash && errno == EROFS);
        if (slash)
            *slash = '/';
        at = slash ? slash + 1 : NULL;
        if (at && *at == '\0')
            at = NULL;
    }
    struct stat st;
    if (ok && stat(path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        errno = ENOTDIR;
        ok = false;
    }
    free(part);
    return ok ? done(L) : fail(L, "make the folder", path);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/*** The names in a folder, sorted.
 * @function list
 * @tparam string path */
static int fs_list(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    DIR *dir = opendir(path);
    if (!dir)
        return fail(L, "list", path);
    struct vr_arena *arena = vr_arena_new();
    char **names = NULL;
    size_t count = 0, room = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (is_dots(entry->d_name))
            continue;
        if (count == room)
            names = vr_realloc(names, (room = room ? room * 2 : 32) * sizeof(*names));
        names[count++] = vr_arena_strdup(arena, entry->d_name);
    }
    closedir(dir);
    if (count)
        qsort(names, count, sizeof(*names), by_name);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, names[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    free(names);
    vr_arena_free(arena);
    return 1;
}

static const char *type_name(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "file";
    case S_IFDIR:
        return "directory";
    case S_IFLNK:
        return "link";
    case S_IFSOCK:
        return "socket";
    case S_IFIFO:
        return "fifo";
    default:
        return "device";
    }
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

/*** What a path is: type (file, directory, link, socket, fifo, device), size, mode, mtime, uid,
 * gid, dev, ino.
 * @function stat
 * @tparam string path
 * @tparam[opt] table options follow: what a link points to */
static int fs_stat(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct stat st;
    if ((option(L, 2, "follow") ? stat(path, &st) : lstat(path, &st)) != 0)
        return fail(L, "look at", path);
    lua_createtable(L, 0, 8);
    lua_pushstring(L, type_name(st.st_mode));
    lua_setfield(L, -2, "type");
    lua_pushnumber(L, (lua_Number)st.st_mtim.tv_sec + (lua_Number)st.st_mtim.tv_nsec / 1e9);
    lua_setfield(L, -2, "mtime");
    set_integer(L, "size", (lua_Integer)st.st_size);
    set_integer(L, "mode", (lua_Integer)(st.st_mode & 07777));
    set_integer(L, "uid", (lua_Integer)st.st_uid);
    set_integer(L, "gid", (lua_Integer)st.st_gid);
    set_integer(L, "dev", (lua_Integer)st.st_dev);
    set_integer(L, "ino", (lua_Integer)st.st_ino);
    return 1;
}

/* --- remove --- */

struct remove_work {
    struct vr_work work;
    char *path;
};

static void remove_free(struct vr_work *work)
{
    free(((struct remove_work *)work)->path);
    free(work);
}

static bool remove_at(int folder, const char *name, struct vr_buf *path, struct vr_error *err);

/* Empties an open folder; closes fd. A folder without permissions for us, but ours, is opened up
 * first by the caller. */
static bool empty(int fd, struct vr_buf *path, struct vr_error *err)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        vr_error_system(err, errno, "cannot list %s", path->data);
        close(fd);
        return false;
    }
    bool ok = true;
    for (struct dirent *entry; ok && (errno = 0, entry = readdir(dir));) {
        if (is_dots(entry->d_name))
            continue;
        size_t length = path->length;
        vr_buf_printf(path, "/%s", entry->d_name);
        ok = remove_at(dirfd(dir), entry->d_name, path, err);
        path->length = length;
        path->data[length] = '\0';
    }
    closedir(dir);
    return ok;
}

/* Links are removed, never followed. */
static bool remove_at(int folder, const char *name, struct vr_buf *path, struct vr_error *err)
{
    if (unlinkat(folder, name, 0) == 0)
        return true;
    if (errno != EISDIR && errno != EPERM)
        return vr_error_system(err, errno, "cannot remove %s", path->data);
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) &&
        (st.st_mode & 0700) != 0700)
        fchmodat(folder, name, 0700, 0);
    int fd = openat(folder, name, flags);
    if (fd < 0)
        return vr_error_system(err, errno == ENOTDIR ? EPERM : errno, "cannot remove %s",
                               path->data);
    if (!empty(fd, path, err))
        return false;
    if (unlinkat(folder, name, AT_REMOVEDIR) != 0)
        return vr_error_system(err, errno, "cannot remove %s", path->data);
    return true;
}

static void remove_run(struct vr_work *work)
{
    struct vr_buf path = {0};
    vr_buf_puts(&path, ((struct remove_work *)work)->path);
    char *name = vr_strdup(path.data);
    remove_at(AT_FDCWD, name, &path, &work->error);
    free(name);
    vr_buf_free(&path);
}

/*** Removes a file, a link or an empty folder.
 * @function remove
 * @tparam string path
 * @tparam[opt] table options recursive: a folder with all that is in it */
static int fs_remove(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    if (!option(L, 2, "recursive"))
        return remove(path) == 0 ? done(L) : fail(L, "remove", path);
    struct remove_work *w = vr_alloc(sizeof(*w));
    *w = (struct remove_work){.work = {.run = remove_run, .free = remove_free},
                              .path = vr_strdup(path)};
    return vr_work(L, &w->work, work_finished);
}

/* --- names --- */

/*** Renames, replacing what has the new name.
 * @function rename */
static int fs_rename(lua_State *L)
{
    const char *from = luaL_checkstring(L, 1), *to = luaL_checkstring(L, 2);
    return rename(from, to) == 0 ? done(L) : fail(L, "rename", from);
}

/*** Makes a symbolic link.
 * @function symlink
 * @tparam string target
 * @tparam string path */
static int fs_symlink(lua_State *L)
{
    const char *target = luaL_checkstring(L, 1), *path = luaL_checkstring(L, 2);
    return symlink(target, path) == 0 ? done(L) : fail(L, "make the link", path);
}

/*** What a symbolic link points to.
 * @function readlink */
static int fs_readlink(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof(target));
    if (length < 0)
        return fail(L, "read the link", path);
    lua_pushlstring(L, target, (size_t)length);
    return 1;
}

/*** The path without links, `.` and `..`.
 * @function realpath */
static int fs_realpath(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char *real = realpath(path, NULL);
    if (!real)
        return fail(L, "find", path);
    lua_pushstring(L, real);
    free(real);
    return 1;
}

/*** Sets the mode.
 * @function chmod */
static int fs_chmod(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    mode_t mode = (mode_t)luaL_checkinteger(L, 2) & 07777;
    return chmod(path, mode) == 0 ? done(L) : fail(L, "change the mode of", path);
}

/*** Makes a new folder, 0700: in $TMPDIR, or where a prefix with a `/` says.
 * @function mktemp
 * @tparam[opt="vmrun-"] string prefix */
static int fs_mktemp(lua_State *L)
{
    const char *prefix = luaL_optstring(L, 1, "vmrun-");
    const char *tmp = getenv("TMPDIR");
    char *path = strchr(prefix, '/') ? vr_format("%sXXXXXX", prefix)
                                     : vr_format("%s/%sXXXXXX", tmp && *tmp ? tmp : "/tmp", prefix);
    bool ok = mkdtemp(path) != NULL;
    if (ok)
        lua_pushstring(L, path);
    int count = ok ? 1 : fail(L, "make the folder", path);
    free(path);
    return count;
}

/*** The working folder.
 * @function cwd */
static int fs_cwd(lua_State *L)
{
    char path[PATH_MAX];
    if (!getcwd(path, sizeof(path)))
        return fail(L, "find", "the working folder");
    lua_pushstring(L, path);
    return 1;
}

/*** The file system that holds a path: size, free (for us), files, files_free.
 * @function statvfs */
static int fs_statvfs(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct statvfs st;
    if (statvfs(path, &st) != 0)
        return fail(L, "look at", path);
    lua_createtable(L, 0, 4);
    set_integer(L, "size", (lua_Integer)(st.f_blocks * st.f_frsize));
    set_integer(L, "free", (lua_Integer)(st.f_bavail * st.f_frsize));
    set_integer(L, "files", (lua_Integer)st.f_files);
    set_integer(L, "files_free", (lua_Integer)st.f_favail);
    return 1;
}

/* --- locks --- */

struct lock {
    int fd;
    bool lease; /* its file says who holds it */
};

static int lock_close(lua_State *L)
{
    struct lock *lock = luaL_checkudata(L, 1, LOCK);
    if (lock->lease)
        vr_lease_give(lock->fd);
    else if (lock->fd >= 0)
        close(lock->fd);
    lock->fd = -1;
    return 0;
}

static int take_lease(lua_State *L, struct lock *lock, const char *path, const char *what)
{
    struct vr_error err = {0};
    lock->lease = true;
    lock->fd = vr_lease_take(path, what, 0, &err);
    return lock->fd >= 0 ? 1 : vr_script_fail(L, &err);
}

/*** Locks a file (made if missing) against other processes until lock:close(), or until this
 * process ends.
 * @function lock
 * @tparam string path
 * @tparam[opt] string what the file stands for ("the state of stack 'x'"): then it is a lease,
 * whose file says who holds it, as does the message when it is another
 * @return the lock; or nil, message, "locked" */
static int fs_lock(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1), *what = luaL_optstring(L, 2, NULL);
    struct lock *lock = lua_newuserdatauv(L, sizeof(*lock), 0);
    *lock = (struct lock){.fd = -1};
    luaL_setmetatable(L, LOCK);
    if (what)
        return take_lease(L, lock, path, what);
    lock->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock->fd < 0)
        return fail(L, "lock", path);
    if (flock(lock->fd, LOCK_EX | LOCK_NB) == 0)
        return 1;
    if (errno != EWOULDBLOCK)
        return fail(L, "lock", path);
    lua_pushnil(L);
    lua_pushfstring(L, "%s is locked by another process", path);
    lua_pushliteral(L, "locked");
    return 3;
}

int luaopen_vr_fs(lua_State *L)
{
    static const luaL_Reg lock_meta[] = {
        {"__gc", lock_close}, {"__close", lock_close}, {NULL, NULL}};
    static const luaL_Reg lock_methods[] = {{"close", lock_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"read", fs_read},         {"write", fs_write},
        {"mkdir", fs_mkdir},       {"list", fs_list},
        {"stat", fs_stat},         {"remove", fs_remove},
        {"rename", fs_rename},     {"symlink", fs_symlink},
        {"readlink", fs_readlink}, {"realpath", fs_realpath},
        {"chmod", fs_chmod},       {"mktemp", fs_mktemp},
        {"lock", fs_lock},         {"cwd", fs_cwd},
        {"statvfs", fs_statvfs},   {NULL, NULL},
    };
    luaL_newmetatable(L, LOCK);
    luaL_setfuncs(L, lock_meta, 0);
    luaL_newlib(L, lock_methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
