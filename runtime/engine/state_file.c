/* The file: making, checking, migrating and reading it.
 *
 * A new file is made aside and renamed: an empty state.db is one that lost its content, never one
 * that is just begun. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "engine/lease.h"
#include "engine/state.h"
#include "engine/state_internal.h"

enum {
    FORMAT = 2,              /* of the tables; PRAGMA user_version */
    APPLICATION = 0x766d7273 /* PRAGMA application_id: "vmrs" */
};

/* Errors */

bool state_fail_corrupt(const struct vr_state *state, const char *why, struct vr_error *err)
{
    vr_error_set(err, "corrupt", "%s is damaged: %s (%s)", state->what, why, state->path);
    vr_error_hint(err, "put a copy of state.db back, or move it away and run `vmrun import --all` "
                       "to build it anew from what exists");
    return false;
}

bool state_fail_errno(const struct vr_state *state, const char *doing, int number,
                      struct vr_error *err)
{
    bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
    vr_error_set(err, full ? "disk" : "io", "%s: cannot %s in %s: %s", state->what, doing,
                 state->folder, full ? "no room left on the disk" : strerror(number));
    if (full)
        vr_error_hint(err,
                      "make room and run the same command again: it goes on from what was saved");
    return false;
}

bool state_fail_sqlite(const struct vr_state *state, sqlite3 *db, const char *doing,
                       struct vr_error *err)
{
    int last = errno; /* sqlite3_system_errno does not know of failed writes */
    int code = db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM,
        number = db ? sqlite3_system_errno(db) : 0;
    if (!number && (code & 0xff) == SQLITE_IOERR)
        number = last;
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* no such table or column */
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return state_fail_corrupt(state, sqlite3_errmsg(db), err);
    case SQLITE_FULL:
        return state_fail_errno(state, doing, ENOSPC, err);
    }
    if (number == ENOSPC || number == EDQUOT || number == EFBIG || code == SQLITE_IOERR_SHMSIZE)
        return state_fail_errno(state, doing, ENOSPC, err);
    return vr_error_set(err, "io", "%s: cannot %s in %s: %s%s%s", state->what, doing, state->folder,
                        sqlite3_errmsg(db), number ? ": " : "", number ? strerror(number) : "");
}

bool state_run_sql(struct vr_state *state, const char *sql, const char *doing, struct vr_error *err)
{
    return sqlite3_exec(state->db, sql, NULL, NULL, NULL) == SQLITE_OK ||
           state_fail_sqlite(state, state->db, doing, err);
}

bool state_prepare(struct vr_state *state, const char *sql, sqlite3_stmt **statement,
                   struct vr_error *err)
{
    return sqlite3_prepare_v3(state->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) ==
               SQLITE_OK ||
           state_fail_sqlite(state, state->db, "read", err);
}

/* Reading the file */

static const char *column(sqlite3_stmt *statement, int index)
{
    return (const char *)sqlite3_column_text(statement, index);
}

static bool load_row(struct vr_state *state, sqlite3_stmt *statement, bool sums,
                     struct vr_error *err)
{
    struct vr_row row = {
        .address = column(statement, 1),
        .kind = column(statement, 2),
        .member = column(statement, 3),
        .identity = column(statement, 4),
        .inputs = column(statement, 5),
        .outputs = column(statement, 6),
        .deps = column(statement, 7),
        .file = column(statement, 8),
        .intent = column(statement, 9),
        .recorded = column(statement, 10),
        .line = sqlite3_column_int(statement, 11),
        .duration = sqlite3_column_double(statement, 12),
    };
    if (!row.address || !row.kind)
        return state_fail_corrupt(state, "a row without an address", err);
    char *why = NULL;
    if (state_find_slot(state, row.address))
        why = vr_format("%s is in it twice", row.address);
    else if (sums && (uint64_t)sqlite3_column_int64(statement, 13) !=
                         state_sum_row(sqlite3_column_int64(statement, 0), &row))
        why = vr_format("the row of %s is not as it was written", row.address);
    if (why) {
        state_fail_corrupt(state, why, err);
        free(why);
        return false;
    }
    state_fill_slot(state, state_add_slot(state, row.address, sqlite3_column_int64(statement, 0)),
                    state_copy_row(&row));
    return true;
}

static bool load_rows(struct vr_state *state, bool sums, struct vr_error *err)
{
    sqlite3_stmt *statement = NULL;
    char *sql = vr_format("SELECT id, address, kind, member, identity, inputs, outputs, deps, "
                          "file, intent, recorded, line, duration%s FROM rows ORDER BY id",
                          sums ? ", sum" : "");
    bool ok = state_prepare(state, sql, &statement, err);
    free(sql);
    int code = SQLITE_DONE;
    while (ok && (code = sqlite3_step(statement)) == SQLITE_ROW)
        ok = load_row(state, statement, sums, err);
    if (ok && code != SQLITE_DONE)
        ok = state_fail_sqlite(state, state->db, "read", err);
    sqlite3_finalize(statement);
    return ok;
}

static bool load_meta(struct vr_state *state, uint64_t *total, struct vr_error *err)
{
    sqlite3_stmt *statement = NULL;
    bool ok = state_prepare(state, "SELECT name, value FROM meta", &statement, err);
    int code = SQLITE_DONE;
    while (ok && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *name = column(statement, 0), *text = column(statement, 1);
        if (name && text && strcmp(name, "digest") == 0) {
            *total = (uint64_t)strtoll(text, NULL, 10);
            continue;
        }
        json_t *value = name && text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
        if (!value) {
            ok = state_fail_corrupt(state, "a value of meta is not as it was written", err);
            break;
        }
        struct meta *meta = state_find_meta(state, name);
        meta->value = value;
        meta->sum = state_sum_meta(name, text);
        state->total ^= meta->sum;
    }
    if (ok && code != SQLITE_DONE)
        ok = state_fail_sqlite(state, state->db, "read", err);
    sqlite3_finalize(statement);
    json_t *serial = vr_state_meta(state, "serial");
    state->first_serial = (uint64_t)json_integer_value(serial);
    json_decref(serial);
    return ok;
}

static bool load(struct vr_state *state, bool sums, struct vr_error *err)
{
    uint64_t total = 0;
    if (!load_rows(state, sums, err) || !load_meta(state, &total, err))
        return false;
    return !sums || total == state->total ||
           state_fail_corrupt(state, "something that was written is missing", err);
}

static bool pragma(struct vr_state *state, const char *sql, char *value, size_t size,
                   struct vr_error *err)
{
    sqlite3_stmt *statement = NULL;
    bool ok = state_prepare(state, sql, &statement, err);
    if (ok && sqlite3_step(statement) == SQLITE_ROW)
        snprintf(value, size, "%s", column(statement, 0) ? column(statement, 0) : "");
    else if (ok)
        ok = state_fail_sqlite(state, state->db, "read", err);
    sqlite3_finalize(statement);
    return ok;
}

/* Formats */

static const char schema[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, address TEXT NOT NULL, kind TEXT NOT NULL,"
    " member TEXT, identity TEXT, inputs TEXT, outputs TEXT, deps TEXT, file TEXT,"
    " line INTEGER NOT NULL, duration REAL NOT NULL, intent TEXT, recorded TEXT,"
    " sum INTEGER NOT NULL);";

/* Format 1 had no sums. */
static bool migrate_1(struct vr_state *state, struct vr_error *err)
{
    struct statements all = {0};
    bool ok = state_run_sql(state, "ALTER TABLE rows ADD COLUMN sum INTEGER NOT NULL DEFAULT 0",
                            "migrate", err) &&
              load(state, false, err) && state_prepare_all(state, &all, err);
    for (size_t i = 0; ok && i < state->slot_count; i++) {
        struct slot *slot = state->slots[i];
        struct record record = {.id = slot->id, .sum = slot->sum, .row = &slot->row};
        ok = state_write_row(&all, &record) || state_fail_sqlite(state, state->db, "migrate", err);
    }
    char total[24];
    snprintf(total, sizeof(total), "%lld", (long long)state->total);
    ok = ok && (state_write_meta(&all, "digest", total) ||
                state_fail_sqlite(state, state->db, "migrate", err));
    state_finalize_all(&all);
    return ok;
}

/* migrations[n - 1] makes format n + 1 out of format n, inside of a transaction. */
static bool (*const migrations[FORMAT - 1])(struct vr_state *state,
                                            struct vr_error *err) = {migrate_1};

static bool copy_database(struct vr_state *state, sqlite3 *to, sqlite3 *from, struct vr_error *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (backup)
        sqlite3_backup_step(backup, -1);
    if (backup && sqlite3_backup_finish(backup) == SQLITE_OK)
        return true;
    return state_fail_sqlite(state, to, "make a copy", err);
}

static bool make_file(const struct vr_state *state, const char *path, struct vr_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && fchmod(fd, 0600) == 0;
    if (!ok)
        state_fail_errno(state, "make a file", errno, err);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool back_up(struct vr_state *state, int format, struct vr_error *err)
{
    char *path = vr_format("%s.format-%d", state->path, format);
    sqlite3 *copy = NULL;
    bool ok = make_file(state, path, err);
    if (ok && sqlite3_open_v2(path, &copy, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        ok = state_fail_sqlite(state, copy, "make a copy", err);
    ok = ok && copy_database(state, copy, state->db, err);
    sqlite3_close(copy);
    free(path);
    return ok;
}

/* What is read only is migrated in memory. */
static bool into_memory(struct vr_state *state, struct vr_error *err)
{
    sqlite3 *copy = NULL;
    bool ok = sqlite3_open_v2(":memory:", &copy, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                              NULL) == SQLITE_OK &&
              copy_database(state, copy, state->db, err);
    if (!ok) {
        sqlite3_close(copy);
        return false;
    }
    sqlite3_close(state->db);
    state->db = copy;
    return true;
}

static bool migrate(struct vr_state *state, int format, struct vr_error *err)
{
    if (!(state->read_only ? into_memory(state, err) : back_up(state, format, err)))
        return false;
    bool ok = state_run_sql(state, "BEGIN IMMEDIATE", "migrate", err);
    for (int at = format; ok && at < FORMAT; at++) {
        ok = migrations[at - 1](state, err);
        state_forget_rows(state);
    }
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA user_version = %d; COMMIT", FORMAT);
    return ok && state_run_sql(state, sql, "migrate", err);
}

static bool check_format(struct vr_state *state, struct vr_error *err)
{
    char text[32];
    if (!pragma(state, "PRAGMA application_id", text, sizeof(text), err))
        return false;
    if (atoi(text) != APPLICATION)
        return state_fail_corrupt(state, "it was not written by vmrun", err);
    if (!pragma(state, "PRAGMA user_version", text, sizeof(text), err))
        return false;
    int format = atoi(text);
    if (format > FORMAT) {
        vr_error_set(err, "newer", "%s was written by a newer vmrun (format %d; this one knows %d)",
                     state->what, format, FORMAT);
        vr_error_hint(err, "use that vmrun, or a later one");
        return false;
    }
    if (format < 1)
        return state_fail_corrupt(state, "it has no format", err);
    return format == FORMAT || migrate(state, format, err);
}

/* Pages and indexes; the content has its sums. */
static bool check_pages(struct vr_state *state, struct vr_error *err)
{
    char text[256];
    if (!pragma(state, "PRAGMA quick_check(1)", text, sizeof(text), err))
        return false;
    return strcmp(text, "ok") == 0 || state_fail_corrupt(state, text, err);
}

/* Opening */

char *state_in_folder(const struct vr_state *state, const char *name)
{
    return vr_format("%s/%s", state->folder, name);
}

/* Folders that are made are 0700, whatever the umask; the last one is made so. */
static bool make_folder(const struct vr_state *state, struct vr_error *err)
{
    assert(*state->folder);
    char *path = vr_strdup(state->folder);
    bool ok = true;
    for (char *at = path + 1; ok && at;) {
        at = strchr(at, '/');
        if (at)
            *at = '\0';
        if (mkdir(path, 0700) == 0)
            ok = chmod(path, 0700) == 0;
        else
            ok = errno == EEXIST || errno == EROFS || (at && errno == EACCES);
        if (at)
            *at++ = '/';
    }
    struct stat info;
    if (ok && stat(path, &info) != 0) {
        ok = false;
    } else if (ok && !S_ISDIR(info.st_mode)) {
        errno = ENOTDIR;
        ok = false;
    }
    if (ok && info.st_mode & 077 && chmod(path, info.st_mode & 0700) != 0)
        errno = 0; /* another's folder */
    free(path);
    return ok || state_fail_errno(state, "make the folder", errno, err);
}

static bool make_tables(struct vr_state *state, const char *path, struct vr_error *err)
{
    char sql[200];
    snprintf(sql, sizeof(sql),
             "PRAGMA application_id = %d; PRAGMA user_version = %d; INSERT INTO meta VALUES "
             "('digest', '0');",
             APPLICATION, FORMAT);
    bool ok = sqlite3_open_v2(path, &state->db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK;
    if (!ok)
        state_fail_sqlite(state, state->db, "make a file", err);
    ok = ok && state_run_sql(state, "PRAGMA synchronous = EXTRA; BEGIN", "make a file", err) &&
         state_run_sql(state, schema, "make a file", err) &&
         state_run_sql(state, sql, "make a file", err) &&
         state_run_sql(state, "COMMIT", "make a file", err);
    sqlite3_close(state->db);
    state->db = NULL;
    return ok;
}

/* A write-ahead log without its database belongs to one that was moved away. */
static bool make_database(struct vr_state *state, struct vr_error *err)
{
    static const char *const left[] = {"state.db-wal", "state.db-shm", "state.db.new-journal",
                                       "state.db.new"};
    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        char *path = state_in_folder(state, left[i]);
        unlink(path);
        free(path);
    }
    char *fresh = state_in_folder(state, "state.db.new");
    bool ok = make_file(state, fresh, err) && make_tables(state, fresh, err);
    if (ok && rename(fresh, state->path) != 0)
        ok = state_fail_errno(state, "make a file", errno, err);
    if (ok)
        vr_file_sync_folder(state->path);
    else
        unlink(fresh);
    free(fresh);
    return ok;
}

/* In a folder that cannot be written there is no shared memory for the write-ahead log; but without
 * a log the file is whole, and nobody changes it. */
static bool open_unwritable(struct vr_state *state)
{
    char *log = state_in_folder(state, "state.db-wal");
    bool whole = access(log, F_OK) != 0;
    free(log);
    if (!whole)
        return false;
    char *escaped = sqlite3_mprintf("%s", ""), *uri;
    for (const char *at = state->path; *at; at++) {
        char *more = strchr("%?#", *at) ? sqlite3_mprintf("%s%%%02X", escaped, *at)
                                        : sqlite3_mprintf("%s%c", escaped, *at);
        sqlite3_free(escaped);
        escaped = more;
    }
    uri = sqlite3_mprintf("file:%s?immutable=1", escaped);
    sqlite3_close(state->db);
    state->db = NULL;
    bool ok =
        sqlite3_open_v2(uri, &state->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) == SQLITE_OK;
    sqlite3_free(escaped);
    sqlite3_free(uri);
    return ok;
}

static bool begin_reading(struct vr_state *state, struct vr_error *err)
{
    static const char sql[] = "BEGIN; SELECT count(*) FROM sqlite_schema";
    if (sqlite3_exec(state->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    int code = sqlite3_errcode(state->db) & 0xff;
    if (state->read_only && (code == SQLITE_CANTOPEN || code == SQLITE_READONLY) &&
        open_unwritable(state))
        return state_run_sql(state, sql, "read", err);
    return state_fail_sqlite(state, state->db, "read", err);
}

static bool read_database(struct vr_state *state, struct vr_error *err)
{
    struct stat info;
    if (stat(state->path, &info) != 0)
        return state_fail_errno(state, "read", errno, err);
    if (info.st_size == 0)
        return state_fail_corrupt(state, "the file is empty", err);
    if (!state->read_only && chmod(state->path, 0600) != 0)
        errno = 0;
    int flags = state->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    if (sqlite3_open_v2(state->path, &state->db, flags, NULL) != SQLITE_OK)
        return state_fail_sqlite(state, state->db, "open a file", err);
    sqlite3_extended_result_codes(state->db, 1);
    sqlite3_busy_timeout(state->db, 10000);
    if (!state->read_only &&
        !state_run_sql(state, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", "open a file",
                       err))
        return false;
    /* who only reads does so in one transaction: the state of one moment */
    if (state->read_only && !begin_reading(state, err))
        return false;
    return check_pages(state, err) && check_format(state, err) && load(state, true, err);
}

static uint64_t number_from(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

bool state_open_for_writing(struct vr_state *state, double wait, struct vr_error *err)
{
    if (!make_folder(state, err))
        return false;
    if (access(state->folder, W_OK | X_OK) != 0)
        return state_fail_errno(state, "write", errno, err);
    char *lock = state_in_folder(state, "lock");
    state->lease = vr_lease_take(lock, state->what, wait, err);
    free(lock);
    if (state->lease < 0)
        return false;
    state->crash_at = number_from("VMRUN_CRASH_AT_COMMIT");
    state->crash_before = number_from("VMRUN_CRASH_BEFORE_COMMIT");
    return (access(state->path, F_OK) == 0 || make_database(state, err)) &&
           read_database(state, err) && state_start_writer(state, err);
}

bool state_open_for_reading(struct vr_state *state, struct vr_error *err)
{
    if (access(state->path, F_OK) != 0)
        return errno == ENOENT || errno == ENOTDIR || state_fail_errno(state, "read", errno, err);
    bool ok = read_database(state, err);
    sqlite3_close(state->db);
    state->db = NULL;
    return ok;
}
