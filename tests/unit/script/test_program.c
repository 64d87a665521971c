#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/loop.h"
#include "script/program.h"

static struct vr_loop *loop;
static struct vr_script *script;

static void begin(void)
{
    loop = vr_loop_new();
    script = vr_script_new(loop);
}

static void end(void)
{
    ck_assert(vr_script_wind_up(script, 5));
    vr_script_free(script);
    vr_loop_free(loop);
}

/* Runs Lua text as a file. */
static bool run_text(const char *text, struct vr_error *err)
{
    char path[] = "/tmp/vmrun-program-XXXXXX";
    int fd = mkstemp(path);
    ck_assert(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fputs(text, file);
    fclose(file);
    char *argv[] = {path, "one", NULL};
    bool ok = vr_script_run_file(script, 2, argv, err);
    unlink(path);
    return ok;
}

START_TEST(functions_of_modules_are_called)
{
    struct vr_error err = {0};
    json_t *result = vr_script_call(script, "json", "encode", json_pack("[i, s]", 1, "x"), &err);
    ck_assert_msg(result != NULL, "%s", err.message);
    ck_assert_str_eq(json_string_value(result), "[1,\"x\"]");
    json_decref(result);
    result = vr_script_call_now(script, "crypto", "base64", "abc");
    ck_assert_str_eq(json_string_value(result), "YWJj");
    json_decref(result);
    ck_assert(vr_script_has(script, "json", "encode"));
    ck_assert(!vr_script_has(script, "json", "no_such"));
    ck_assert(!vr_script_has(script, "no_such", "encode"));
}
END_TEST

START_TEST(failures_are_told)
{
    struct vr_error err = {0};
    ck_assert_ptr_null(vr_script_call(script, "no_such", "f", NULL, &err));
    ck_assert_ptr_nonnull(err.message);
    vr_error_clear(&err);
    ck_assert_ptr_null(vr_script_call_now(script, "no_such", "f", "x"));
    ck_assert(!run_text("error('it broke', 0)", &err));
    ck_assert_str_eq(err.message, "it broke");
    vr_error_clear(&err);
}
END_TEST

START_TEST(a_file_gets_its_arguments)
{
    struct vr_error err = {0};
    ck_assert_msg(
        run_text("assert(... == 'one' and arg[1] == 'one'); require('task').sleep(0.001)", &err),
        "%s", err.message);
    ck_assert(!vr_script_interrupt(script, "nobody is there"));
}
END_TEST

START_TEST(what_nobody_wakes_is_ended)
{
    struct vr_error err = {0};
    ck_assert(!run_text("require('task').event():wait()", &err));
    ck_assert_str_eq(err.code, "deadlock");
    vr_error_clear(&err);
}
END_TEST

static void interrupt(void *payload)
{
    (void)payload;
    ck_assert(vr_script_interrupt(script, "enough"));
}

START_TEST(what_runs_can_be_interrupted)
{
    struct vr_error err = {0};
    vr_timer_start(loop, 0.01, interrupt, NULL);
    ck_assert(!run_text("require('task').sleep(30)", &err));
    ck_assert_str_eq(err.code, "cancelled");
    ck_assert_str_eq(err.message, "enough");
    vr_error_clear(&err);
}
END_TEST

Suite *program_suite(void);
Suite *program_suite(void)
{
    Suite *suite = suite_create("program");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, functions_of_modules_are_called);
    tcase_add_test(tcase, failures_are_told);
    tcase_add_test(tcase, a_file_gets_its_arguments);
    tcase_add_test(tcase, what_nobody_wakes_is_ended);
    tcase_add_test(tcase, what_runs_can_be_interrupted);
    suite_add_tcase(suite, tcase);
    return suite;
}
