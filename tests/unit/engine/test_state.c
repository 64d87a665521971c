#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "engine/digest.h"
#include "state_lab.h"

START_TEST(remembers_rows_and_values)
{
    struct vr_state *state = must_open(false);
    ck_assert_uint_eq(vr_state_serial(state), 0);
    put(state, "t.x.a", NULL);
    put(state, "t.x.b", "{\"id\":\"b\"}");
    put(state, "t.x.c", NULL);
    vr_state_put(state, &(struct vr_row){.address = "t.x.m",
                                         .kind = "t.x",
                                         .member = "m1",
                                         .identity = "/id",
                                         .deps = "[]",
                                         .intent = "create",
                                         .recorded = "{\"op\":1}"});
    vr_state_remove(state, "t.x.c");
    vr_state_set_meta(state, "target", json_pack("{ss}", "kind", "emulator"));
    vr_state_set_meta(state, "gone", json_true());
    vr_state_set_meta(state, "gone", NULL);
    uint64_t ticket = vr_state_commit(state);
    must_sync(state);
    ck_assert_uint_ge(vr_state_durable(state), ticket);
    uint64_t serial = vr_state_serial(state);
    ck_assert_uint_gt(serial, 0);
    vr_state_close(state);

    state = must_open(true);
    ck_assert_uint_eq(vr_state_serial(state), serial);
    ck_assert_str_eq(vr_state_stack(state), "main");
    ck_assert_uint_eq(vr_state_count(state), 3);
    ck_assert_str_eq(vr_state_at(state, 0)->address, "t.x.a");
    ck_assert_str_eq(vr_state_at(state, 1)->address, "t.x.b");
    ck_assert_str_eq(vr_state_at(state, 2)->address, "t.x.m");
    ck_assert_ptr_null(vr_state_find(state, "t.x.c"));
    const struct vr_row *row = vr_state_find(state, "t.x.b");
    ck_assert_str_eq(row->inputs, "{\"a\":1}");
    ck_assert_str_eq(row->file, "r.lua");
    ck_assert_int_eq(row->line, 7);
    ck_assert(row->duration > 1.4 && row->duration < 1.6);
    ck_assert_ptr_null(row->intent);
    json_t *value = vr_row_value(row), *wanted = json_pack("{si, ss}", "a", 1, "id", "b");
    ck_assert(json_equal(value, wanted));
    json_decref(value);
    json_decref(wanted);
    row = vr_state_find(state, "t.x.m");
    ck_assert_str_eq(row->member, "m1");
    ck_assert_str_eq(row->identity, "/id");
    ck_assert_str_eq(row->deps, "[]");
    ck_assert_str_eq(row->intent, "create");
    ck_assert_str_eq(row->recorded, "{\"op\":1}");
    json_t *target = vr_state_meta(state, "target");
    ck_assert_str_eq(json_string_value(json_object_get(target, "kind")), "emulator");
    json_decref(target);
    ck_assert_ptr_null(vr_state_meta(state, "gone"));
    vr_state_close(state);
}
END_TEST

START_TEST(put_replaces_in_place)
{
    struct vr_state *state = must_open(false);
    int mark;
    struct vr_row *row = put(state, "t.x.a", NULL);
    row->mark = &mark;
    put(state, "t.x.b", NULL);
    struct vr_row own = *row;
    own.intent = "update";
    own.mark = NULL;
    ck_assert_ptr_eq(vr_state_put(state, &own), row);
    ck_assert_str_eq(row->intent, "update");
    ck_assert_ptr_eq(row->mark, &mark);
    must_sync(state);
    row->intent = NULL;
    vr_state_put(state, row);
    vr_state_close(state);
    state = must_open(false);
    ck_assert_str_eq(vr_state_at(state, 0)->address, "t.x.a");
    ck_assert_ptr_null(vr_state_at(state, 0)->intent);
    vr_state_close(state);
}
END_TEST

START_TEST(moves_rows)
{
    struct vr_state *state = must_open(false);
    struct vr_error err = {0};
    put(state, "t.x.a", NULL);
    put(state, "t.x.b", NULL);
    ck_assert(!vr_state_move(state, "t.x.a", "t.x.b", &err));
    ck_assert_str_eq(err.code, "duplicate");
    ck_assert(!vr_state_move(state, "t.x.z", "t.x.y", &err));
    ck_assert_str_eq(err.code, "missing");
    vr_error_clear(&err);
    must_sync(state);
    ck_assert(vr_state_move(state, "t.x.a", "t.x.z", &err));
    put(state, "t.x.a", "{}"); /* its old name is free again */
    vr_state_close(state);
    state = must_open(true);
    ck_assert_uint_eq(vr_state_count(state), 3);
    ck_assert_str_eq(vr_state_at(state, 0)->address, "t.x.z");
    ck_assert_str_eq(vr_state_at(state, 2)->address, "t.x.a");
    vr_state_close(state);
}
END_TEST

START_TEST(removed_while_queued_never_arrives)
{
    struct vr_state *state = must_open(false);
    put(state, "t.x.a", NULL);
    vr_state_remove(state, "t.x.a");
    vr_state_remove(state, "t.x.never");
    put(state, "t.x.b", NULL);
    vr_state_remove(state, "t.x.b");
    put(state, "t.x.b", "{}");
    vr_state_close(state);
    state = must_open(true);
    ck_assert_uint_eq(vr_state_count(state), 1);
    ck_assert_ptr_nonnull(vr_state_find(state, "t.x.b"));
    vr_state_close(state);
}
END_TEST

START_TEST(commits_only_what_is_new)
{
    struct vr_state *state = must_open(false);
    ck_assert_uint_eq(vr_state_commit(state), 0);
    must_sync(state);
    ck_assert_uint_eq(vr_state_commits(state), 0);
    ck_assert_uint_eq(vr_state_serial(state), 0);
    put(state, "t.x.a", NULL);
    uint64_t ticket = vr_state_commit(state);
    ck_assert_uint_eq(vr_state_commit(state), ticket);
    must_sync(state);
    must_sync(state);
    ck_assert_uint_eq(vr_state_commits(state), 1);
    for (int i = 0; i < 2; i++) {
        vr_state_set_meta(state, "target", json_pack("{ss}", "kind", "emulator"));
        vr_state_set_meta(state, "never", NULL);
        vr_state_commit(state);
        must_sync(state);
        ck_assert_uint_eq(vr_state_commits(state), 2);
    }
    for (int i = 0; i < 2; i++) {
        vr_state_set_meta(state, "target", NULL);
        vr_state_commit(state);
        must_sync(state);
        ck_assert_uint_eq(vr_state_commits(state), 3);
    }
    vr_state_close(state);
}
END_TEST

static void count_call(void *payload)
{
    char byte = 1;
    ck_assert_int_eq(write(*(int *)payload, &byte, 1), 1);
}

START_TEST(tells_who_waits)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    struct vr_state *state = must_open(false);
    vr_state_on_commit(state, count_call, &ends[1]);
    put(state, "t.x.a", NULL);
    uint64_t ticket = vr_state_commit(state);
    struct pollfd event = {.fd = ends[0], .events = POLLIN};
    ck_assert_int_eq(poll(&event, 1, 5000), 1);
    ck_assert_uint_ge(vr_state_durable(state), ticket);
    vr_state_on_commit(state, NULL, NULL);
    put(state, "t.x.b", NULL);
    char byte;
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    vr_state_close(state);
    ck_assert_int_eq(poll(&event, 1, 0), 0);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

START_TEST(many_puts_are_few_commits)
{
    enum { MANY = 100000 };
    struct vr_state *state = must_open(false);
    char address[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(address, sizeof(address), "t.x.n%d", i);
        put(state, address, "{\"id\":\"x\"}");
        vr_state_commit(state);
    }
    must_sync(state);
    ck_assert_uint_lt(vr_state_commits(state), MANY / 4);
    vr_state_close(state);
    state = must_open(true);
    ck_assert_uint_eq(vr_state_count(state), MANY);
    ck_assert_str_eq(vr_state_at(state, MANY - 1)->address, address);
    vr_state_close(state);
}
END_TEST

static mode_t mode_of(const char *name)
{
    struct stat info;
    char *whole = vr_format("%s/%s", folder, name);
    ck_assert_msg(stat(whole, &info) == 0, "%s", name);
    free(whole);
    return info.st_mode & 07777;
}

START_TEST(modes_do_not_follow_the_umask)
{
    mode_t masks[] = {0, 0777};
    for (size_t i = 0; i < 2; i++) {
        mode_t before = umask(masks[i]);
        struct vr_state *state = must_open(false);
        put(state, "t.x.a", NULL);
        must_sync(state);
        umask(before);
        ck_assert_uint_eq(mode_of("."), 0700);
        ck_assert_uint_eq(mode_of(".."), 0700);
        ck_assert_uint_eq(mode_of("state.db"), 0600);
        ck_assert_uint_eq(mode_of("state.db-wal"), 0600);
        ck_assert_uint_eq(mode_of("state.db-shm"), 0600);
        ck_assert_uint_eq(mode_of("digest.key"), 0600);
        ck_assert_uint_eq(mode_of("lock"), 0600);
        vr_state_close(state);
        tear_down();
        set_up();
    }
}
END_TEST

START_TEST(a_missing_state_is_empty_for_readers)
{
    struct vr_state *state = must_open(true);
    ck_assert_uint_eq(vr_state_count(state), 0);
    ck_assert(!vr_state_has_key(state));
    put(state, "t.x.a", NULL); /* in memory only */
    must_sync(state);
    vr_state_close(state);
    ck_assert_int_ne(access(folder, F_OK), 0);
}
END_TEST

START_TEST(readers_see_what_is_durable_beside_a_writer)
{
    struct vr_state *writer = must_open(false);
    put(writer, "t.x.a", NULL);
    must_sync(writer);
    put(writer, "t.x.b", NULL);
    struct vr_state *reader = must_open(true);
    ck_assert_uint_eq(vr_state_count(reader), 1);
    vr_state_close(reader);
    vr_state_close(writer);
    reader = must_open(true);
    ck_assert_uint_eq(vr_state_count(reader), 2);
    vr_state_close(reader);
}
END_TEST

/* A child that holds the state, says so on the pipe, and waits to be killed (or ends after `ms`).
 */
static pid_t start_holder(int ms)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct vr_state *state = open_state(false, NULL);
        put(state, "t.x.held", NULL);
        vr_state_sync(state, NULL);
        put(state, "t.x.lost", NULL);
        if (write(ends[1], state ? "y" : "n", 1) != 1)
            _exit(1);
        poll(NULL, 0, ms);
        vr_state_close(state);
        _exit(0);
    }
    char byte = 0;
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 'y');
    close(ends[0]);
    close(ends[1]);
    return pid;
}

START_TEST(names_the_holder)
{
    pid_t pid = start_holder(60000);
    char *who = vr_format("(pid %d, since 2", pid);
    refuses("locked", who);
    refuses("locked", "the state of stack 'main' is in use by ");
    free(who);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

START_TEST(a_killed_holder_is_no_holder)
{
    pid_t pid = start_holder(60000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    struct vr_state *state = must_open(false);
    ck_assert_ptr_nonnull(vr_state_find(state, "t.x.held")); /* out of the log */
    ck_assert_ptr_null(vr_state_find(state, "t.x.lost"));
    vr_state_close(state);
}
END_TEST

START_TEST(waits_for_the_lease)
{
    pid_t pid = start_holder(150);
    struct vr_error err = {0};
    struct vr_state_options options = {.folder = folder, .stack = "main", .lock_timeout = 10};
    struct vr_state *state = vr_state_open(&options, &err);
    ck_assert_msg(state != NULL, "%s", err.message);
    ck_assert_ptr_nonnull(vr_state_find(state, "t.x.lost"));
    vr_state_close(state);
    waitpid(pid, NULL, 0);
    pid = start_holder(60000);
    options.lock_timeout = 0.1;
    ck_assert_ptr_null(vr_state_open(&options, &err));
    ck_assert_str_eq(err.code, "locked");
    vr_error_clear(&err);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
END_TEST

static void change(const char *sql)
{
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_msg(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

START_TEST(notices_what_another_hand_did)
{
    fill(3);
    change("UPDATE rows SET outputs = '{}' WHERE id = 2");
    refuses("corrupt", "the row of t.x.n1 is not as it was written");
    tear_down();
    set_up();
    fill(3);
    change("DELETE FROM rows WHERE id = 2");
    refuses("corrupt", "something that was written is missing");
    change("PRAGMA application_id = 1");
    refuses("corrupt", "it was not written by vmrun");
    write_file(path, "hello, this is a text and no database at all\n", 46);
    refuses("corrupt", "not a database");
}
END_TEST

START_TEST(refuses_a_newer_format)
{
    fill(1);
    change("PRAGMA user_version = 99");
    refuses("newer",
            "the state of stack 'main' was written by a newer vmrun (format 99; this one knows 2)");
}
END_TEST

static const char format_1[] =
    "PRAGMA journal_mode = WAL; PRAGMA application_id = 1986884211; PRAGMA user_version = 1;"
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, address TEXT NOT NULL, kind TEXT NOT NULL, member "
    "TEXT, identity TEXT,"
    " inputs TEXT, outputs TEXT, deps TEXT, file TEXT, line INTEGER NOT NULL, duration REAL NOT "
    "NULL, intent TEXT,"
    " recorded TEXT);"
    "INSERT INTO meta VALUES ('serial', '41'), ('target', '\"x\"');"
    "INSERT INTO rows VALUES (3, 't.x.a', 't.x', NULL, NULL, '{}', NULL, NULL, 'r.lua', 4, 0.25, "
    "NULL, NULL),"
    " (9, 't.x.b', 't.x', NULL, NULL, '{}', NULL, NULL, 'r.lua', 5, 0.5, NULL, NULL);";

START_TEST(migrates_an_older_format)
{
    fill(0);
    unlink(path);
    change(format_1);
    struct vr_state *state = must_open(true); /* leaves the file alone */
    ck_assert_uint_eq(vr_state_count(state), 2);
    vr_state_close(state);
    char *copy = vr_format("%s.format-1", path);
    ck_assert_int_ne(access(copy, F_OK), 0);
    state = must_open(false);
    ck_assert_uint_eq(vr_state_serial(state), 41);
    ck_assert_str_eq(vr_state_at(state, 1)->address, "t.x.b");
    put(state, "t.x.c", NULL);
    vr_state_close(state);
    ck_assert_uint_eq(mode_of("state.db.format-1"), 0600);
    state = must_open(false);
    ck_assert_uint_eq(vr_state_count(state), 3);
    ck_assert_uint_eq(vr_state_serial(state), 42);
    vr_state_close(state);
    ck_assert_int_eq(rename(copy, path), 0); /* the copy is whole: it migrates again */
    state = must_open(false);
    ck_assert_uint_eq(vr_state_count(state), 2);
    vr_state_close(state);
    free(copy);
}
END_TEST

START_TEST(a_file_moved_away_leaves_no_log_behind)
{
    pid_t pid = start_holder(60000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert_int_eq(unlink(path), 0); /* its log stays */
    struct vr_state *state = must_open(false);
    ck_assert_uint_eq(vr_state_count(state), 0);
    vr_state_close(state);
}
END_TEST

static bool folder_has(const char *text)
{
    DIR *list = opendir(folder);
    bool found = false;
    for (struct dirent *entry; (entry = readdir(list));) {
        char *name = vr_format("%s/%s", folder, entry->d_name);
        size_t size = 0;
        char *data = entry->d_type == DT_REG ? read_file(name, &size) : NULL;
        found |= data && memmem(data, size, text, strlen(text));
        free(data);
        free(name);
    }
    closedir(list);
    return found;
}

START_TEST(secrets_never_reach_a_file)
{
    struct vr_state *state = must_open(false);
    ck_assert(vr_state_has_key(state));
    struct vr_row *row =
        vr_state_put(state, &(struct vr_row){.address = "t.x.a",
                                             .kind = "t.x",
                                             .inputs = "{\"p\":{\"$secret\":\"canary-1\"},\"q\":1}",
                                             .outputs = "{\"k\":[{\"$secret\":\"canary-2\"}]}",
                                             .recorded = "{\"$secret\":\"canary-3\"}",
                                             .identity = "marker"});
    ck_assert_ptr_null(strstr(row->inputs, "canary"));
    vr_state_set_meta(state, "parameters", json_pack("{s{ss}}", "p", "$secret", "canary-4"));
    json_t *meta = vr_state_meta(state, "parameters");
    ck_assert(vr_is_digest(json_object_get(meta, "p")));
    json_decref(meta);
    must_sync(state);
    ck_assert(folder_has("marker"));
    ck_assert(!folder_has("canary"));
    vr_state_close(state);
    ck_assert(folder_has("marker"));
    ck_assert(!folder_has("canary"));
}
END_TEST

static json_t *redact_secret(const struct vr_state *state, const char *text)
{
    json_t *secret = json_pack("{ss}", "$secret", text), *digest = vr_state_redact(state, secret);
    json_decref(secret);
    return digest;
}

START_TEST(digests_show_change)
{
    struct vr_state *state = must_open(false);
    json_t *a = redact_secret(state, "one"), *b = redact_secret(state, "one"),
           *c = redact_secret(state, "two");
    ck_assert_int_eq(vr_digest_same(a, b), 1);
    ck_assert_int_eq(vr_digest_same(a, c), 0);
    vr_state_close(state);
    state = must_open(true);
    json_t *d = redact_secret(state, "one");
    ck_assert_int_eq(vr_digest_same(a, d), 1);
    vr_state_close(state);
    char *key = vr_format("%s/digest.key", folder);
    ck_assert_int_eq(unlink(key), 0);
    state = must_open(true); /* without the key nothing can be told */
    json_t *e = redact_secret(state, "one");
    ck_assert(json_is_null(json_object_get(e, "$digest")));
    ck_assert_int_eq(vr_digest_same(a, e), -1);
    vr_state_close(state);
    state = must_open(false); /* a new key: neither */
    json_t *f = redact_secret(state, "one");
    ck_assert_int_eq(vr_digest_same(a, f), -1);
    vr_state_close(state);
    write_file(key, "nonsense\n", 9);
    refuses("corrupt", "is not a digest key");
    free(key);
    json_t *all[] = {a, b, c, d, e, f};
    for (size_t i = 0; i < 6; i++)
        json_decref(all[i]);
}
END_TEST

Suite *state_suite(void);
Suite *state_suite(void)
{
    const TTest *tests[] = {
        remembers_rows_and_values,
        put_replaces_in_place,
        moves_rows,
        removed_while_queued_never_arrives,
        commits_only_what_is_new,
        tells_who_waits,
        many_puts_are_few_commits,
        modes_do_not_follow_the_umask,
        a_missing_state_is_empty_for_readers,
        readers_see_what_is_durable_beside_a_writer,
        names_the_holder,
        a_killed_holder_is_no_holder,
        waits_for_the_lease,
        notices_what_another_hand_did,
        refuses_a_newer_format,
        migrates_an_older_format,
        a_file_moved_away_leaves_no_log_behind,
        secrets_never_reach_a_file,
        digests_show_change,
    };
    return state_suite_of("state", tests, sizeof(tests) / sizeof(tests[0]));
}
