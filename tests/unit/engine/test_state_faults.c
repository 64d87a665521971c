#include <check.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "faulty_disk.h"
#include "skip.h"
#include "state_lab.h"

/* What the child left, when it ended at (or before) its second commit. */
static size_t count_after_crash(const char *variable)
{
    pid_t pid = fork();
    if (pid == 0) {
        setenv(variable, "2", 1);
        struct vr_state *state = open_state(false, NULL);
        for (int i = 0; i < 4; i++) {
            char address[16];
            snprintf(address, sizeof(address), "t.x.%d", i);
            put(state, address, NULL);
            vr_state_sync(state, NULL);
        }
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 137);
    struct vr_state *state = must_open(false);
    size_t count = vr_state_count(state);
    vr_state_close(state);
    return count;
}

START_TEST(crashes_where_it_is_told_to)
{
    ck_assert_uint_eq(count_after_crash("VMRUN_CRASH_AT_COMMIT"), 2);
    tear_down();
    set_up();
    ck_assert_uint_eq(count_after_crash("VMRUN_CRASH_BEFORE_COMMIT"), 1);
}
END_TEST

enum { FAULTY_ROWS = 6 };

/* Puts rows, one a commit, on a disk that fails at its n-th write or sync: how many were told to be
 * durable is written to fd. Gives the exit code. */
static int put_on_faulty_disk(enum fault fault, int at, int fd)
{
    faulty_disk_install(fault, at);
    struct vr_error err = {0};
    struct vr_state *state = open_state(false, &err);
    unsigned char durable = 0;
    for (int i = 0; state && i < FAULTY_ROWS; i++) {
        char address[16];
        snprintf(address, sizeof(address), "t.x.%d", i);
        put(state, address, NULL);
        if (!vr_state_sync(state, &err))
            break;
        durable++;
        if (write(fd, &durable, 1) != 1)
            _exit(1);
    }
    if (!err.message)
        return 0; /* the disk did not fail */
    bool told = err.code && (strcmp(err.code, "io") == 0 || strcmp(err.code, "disk") == 0);
    faulty_disk_heal();
    vr_state_close(state);
    return told ? 2 : 1;
}

/* The disk fails at every write and sync in turn: what was told to be durable is there afterwards,
 * the state opens, and nothing is half there. */
static int fail_everywhere(enum fault fault, int wanted)
{
    int faults = 0;
    for (int at = 1; at < 400; at++) {
        int fds[2], status;
        ck_assert_int_eq(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0)
            _exit(put_on_faulty_disk(fault, at, fds[1]));
        close(fds[1]);
        unsigned char durable = 0;
        while (read(fds[0], &durable, 1) == 1)
            continue;
        close(fds[0]);
        waitpid(pid, &status, 0);
        ck_assert(WIFEXITED(status));
        if (WEXITSTATUS(status) == 0)
            break;
        ck_assert_msg(WEXITSTATUS(status) == wanted, "operation %d: exit code %d", at,
                      WEXITSTATUS(status));
        faults++;
        struct vr_state *state = must_open(false);
        ck_assert_msg(vr_state_count(state) >= durable, "operation %d: %zu rows of %d", at,
                      vr_state_count(state), durable);
        for (int i = 0; i < durable; i++) {
            char address[16];
            snprintf(address, sizeof(address), "t.x.%d", i);
            const struct vr_row *row = vr_state_find(state, address);
            ck_assert_ptr_nonnull(row);
            ck_assert_str_eq(row->inputs, "{\"a\":1}");
        }
        vr_state_close(state);
        tear_down();
        set_up();
    }
    return faults;
}

START_TEST(a_power_cut_loses_nothing_that_was_durable)
{
    ck_assert_int_gt(fail_everywhere(FAULT_POWER_CUT, 137), 20);
}
END_TEST

START_TEST(a_failing_disk_is_said_and_loses_nothing_that_was_durable)
{
    ck_assert_int_gt(fail_everywhere(FAULT_IO_ERROR, 2), 20);
}
END_TEST

START_TEST(notices_a_truncated_file)
{
    fill(200);
    size_t size = 0;
    char *data = read_file(path, &size);
    size_t cuts[] = {0, 1, 50, 99, 512, 4096, 8192, size / 2, size - 4096, size - 1};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        write_file(path, data, cuts[i]);
        refuses("corrupt", "the state of stack 'main' is damaged");
    }
    write_file(path, data, size);
    struct vr_state *state = must_open(false);
    ck_assert_uint_eq(vr_state_count(state), 200);
    vr_state_close(state);
    free(data);
}
END_TEST

START_TEST(notices_flipped_bits)
{
    fill(60);
    size_t size = 0, seen = 0, passed = 0;
    char *data = read_file(path, &size);
    for (size_t at = 0; at < size; at += 1 + at % 37 + (at > 4096 ? 60 : 0)) {
        data[at] ^= (char)(1 << (at % 8));
        write_file(path, data, size);
        data[at] ^= (char)(1 << (at % 8));
        struct vr_error err = {0};
        struct vr_state *state = open_state(true, &err);
        seen += !state;
        if (!state)
            ck_assert_msg(strcmp(err.code, "corrupt") == 0 || strcmp(err.code, "newer") == 0 ||
                              strcmp(err.code, "io") == 0,
                          "%s: %s", err.code, err.message);
        for (size_t i = 0; state && i < 60; i++) { /* free space: nothing was lost */
            char address[16];
            snprintf(address, sizeof(address), "t.x.n%zu", i);
            const struct vr_row *row = vr_state_find(state, address);
            ck_assert_msg(row != NULL, "byte %zu", at);
            ck_assert_str_eq(row->outputs, "{\"id\":\"/some/id/with/a/path\"}");
            ck_assert_str_eq(row->inputs, "{\"a\":1}");
            ck_assert_int_eq(row->line, 7);
        }
        passed += state != NULL;
        vr_state_close(state);
        vr_error_clear(&err);
    }
    ck_assert_uint_gt(seen, 50);
    ck_assert_uint_gt(passed, 50);
    free(data);
}
END_TEST

/* The outcome of a child whose disk has no more room: 0 as it should be. */
static int fill_the_disk(void)
{
    struct vr_error err = {0};
    struct vr_state *state = open_state(false, &err);
    if (!state)
        return fprintf(stderr, "%s: %s\n", err.code, err.message), 1;
    put(state, "t.x.small", NULL);
    if (!vr_state_sync(state, &err))
        return 2;
    char *large = vr_alloc(1 << 21);
    memset(large, ' ', (1 << 21) - 1);
    memcpy(large, "{}", 2);
    put(state, "t.x.large", large);
    if (vr_state_sync(state, &err))
        return 3;
    if (strcmp(err.code, "disk") != 0 || !strstr(err.message, "no room left on the disk") ||
        !err.hint)
        return fprintf(stderr, "%s: %s\n", err.code, err.message), 4;
    vr_error_clear(&err);
    put(state, "t.x.later", NULL);
    uint64_t ticket = vr_state_commit(state);
    if (vr_state_sync(state, &err) || vr_state_durable(state) >= ticket ||
        !vr_state_failed(state, NULL))
        return 5;
    vr_error_clear(&err);
    vr_state_close(state);
    free(large);
    state = open_state(true, &err); /* what was saved is there */
    int outcome = state && vr_state_find(state, "t.x.small") && vr_state_count(state) == 1 ? 0 : 6;
    vr_state_close(state);
    return outcome;
}

static int run_child(int (*child)(void))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(child());
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* What a child gives that was not let do what the test is about. */
enum { NOT_LET = 77 };

static int child_with_limit(void)
{
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, 1 << 20});
    return fill_the_disk();
}

static int child_on_small_disk(void)
{
    char uids[64], gids[64];
    bool user = geteuid() != 0;
    snprintf(uids, sizeof(uids), "0 %d 1\n", (int)getuid());
    snprintf(gids, sizeof(gids), "0 %d 1\n", (int)getgid());
    if (unshare(CLONE_NEWNS | (user ? CLONE_NEWUSER : 0)) != 0)
        return NOT_LET;
    if (user) {
        write_file("/proc/self/setgroups", "deny", 4);
        write_file("/proc/self/uid_map", uids, strlen(uids));
        write_file("/proc/self/gid_map", gids, strlen(gids));
    }
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", root, "tmpfs", 0, "size=1m") != 0)
        return NOT_LET;
    return fill_the_disk();
}

START_TEST(a_file_that_may_not_grow_is_said_and_nothing_is_lost)
{
    ck_assert_int_eq(run_child(child_with_limit), 0);
}
END_TEST

START_TEST(a_full_disk_is_said_and_nothing_is_lost)
{
    int outcome = run_child(child_on_small_disk);
    if (outcome == NOT_LET)
        unit_skip("a_full_disk_is_said_and_nothing_is_lost",
                  "a small disk cannot be mounted: that needs root, or user namespaces");
    else
        ck_assert_int_eq(outcome, 0);
}
END_TEST

static int child_without_rights(void)
{
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return NOT_LET;
    struct vr_error err = {0};
    struct vr_state *state = open_state(false, &err);
    if (state)
        return 1;
    if (strcmp(err.code, "io") != 0 || !strstr(err.message, "Permission denied"))
        return fprintf(stderr, "%s: %s\n", err.code, err.message), 2;
    vr_error_clear(&err);
    return 0;
}

static int child_that_reads(void)
{
    struct vr_error err = {0};
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        return NOT_LET;
    struct vr_state *state = open_state(true, &err);
    if (!state)
        fprintf(stderr, "%s: %s\n", err.code, err.message);
    int outcome = state ? vr_state_count(state) == 3 ? 0 : 1 : 2;
    vr_state_close(state);
    vr_error_clear(&err);
    return outcome;
}

START_TEST(a_folder_that_cannot_be_written)
{
    fill(3);
    char *command =
        vr_format("rm %s/digest.key && chmod -R a+rX %s && chmod a-w %s", folder, root, folder);
    ck_assert_int_eq(system(command), 0);
    free(command);
    int writes = run_child(child_without_rights), reads = run_child(child_that_reads);
    ck_assert_int_eq(chmod(folder, 0700), 0);
    if (writes == NOT_LET) {
        unit_skip("a_folder_that_cannot_be_written", "root may not become another user here");
        return;
    }
    ck_assert_int_eq(writes, 0);
    ck_assert_int_eq(reads, 0);
}
END_TEST

START_TEST(a_folder_that_is_a_file)
{
    char *stacks = vr_format("%s/stacks", root);
    write_file(stacks, "", 0);
    struct vr_error err = {0};
    ck_assert_ptr_null(open_state(false, &err));
    ck_assert_str_eq(err.code, "io");
    vr_error_clear(&err);
    free(stacks);
}
END_TEST

Suite *state_faults_suite(void);
Suite *state_faults_suite(void)
{
    const TTest *tests[] = {
        crashes_where_it_is_told_to,
        a_power_cut_loses_nothing_that_was_durable,
        a_failing_disk_is_said_and_loses_nothing_that_was_durable,
        notices_a_truncated_file,
        notices_flipped_bits,
        a_file_that_may_not_grow_is_said_and_nothing_is_lost,
        a_full_disk_is_said_and_nothing_is_lost,
        a_folder_that_cannot_be_written,
        a_folder_that_is_a_file,
    };
    return state_suite_of("state_faults", tests, sizeof(tests) / sizeof(tests[0]));
}
