#include "machine/answer.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int own;
static FILE *said;

static void listen_to_stdout(void)
{
    fflush(stdout);
    own = dup(STDOUT_FILENO);
    said = tmpfile();
    ck_assert_int_ge(dup2(fileno(said), STDOUT_FILENO), 0);
}

static void speak_again(void)
{
    fflush(stdout);
    dup2(own, STDOUT_FILENO);
    close(own);
    fclose(said);
}

/* The lines that were said, without what follows the last one. */
static void check_said(const char *want)
{
    char text[4096];
    rewind(said);
    text[fread(text, 1, sizeof(text) - 1, said)] = '\0';
    ck_assert_str_eq(text, want);
}

START_TEST(all_who_wait_are_told_the_same_failure)
{
    json_t *boot = json_integer(7), *go = json_integer(8), *nobody = NULL;
    struct vr_error err = {0};
    vr_error_set(&err, "machine", "its first process ended");
    vr_error_hint(&err, "look at it");
    vr_answer_once(&nobody, &err);
    vr_answer_once(&boot, &err);
    vr_answer_once(&go, &err);
    ck_assert_ptr_null(boot);
    ck_assert_ptr_null(go);
    ck_assert_str_eq(err.message, "its first process ended");
    vr_error_clear(&err);
    check_said(
        "{\"id\":7,\"error\":\"its first process ended\",\"code\":\"machine\",\"hint\":\"look at "
        "it\"}\n"
        "{\"id\":8,\"error\":\"its first process ended\",\"code\":\"machine\",\"hint\":\"look at "
        "it\"}\n");
}
END_TEST

START_TEST(who_waits_is_told_once)
{
    json_t *id = json_string("a");
    vr_answer_once(&id, NULL);
    vr_answer_once(&id, NULL);
    check_said("{\"id\":\"a\",\"ok\":true}\n");
}
END_TEST

START_TEST(a_failure_of_any_bytes_is_an_answer)
{
    json_t *id = json_integer(1);
    struct vr_error err = {0};
    vr_error_set(&err, NULL, "cannot read %s", "/x\xff");
    vr_answer_error(id, &err);
    ck_assert_ptr_null(err.message);
    json_decref(id);
    check_said("{\"id\":1,\"error\":\"(a message that is not UTF-8)\"}\n");
}
END_TEST

Suite *answer_suite(void);
Suite *answer_suite(void)
{
    Suite *suite = suite_create("answer");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, listen_to_stdout, speak_again);
    tcase_add_test(tcase, all_who_wait_are_told_the_same_failure);
    tcase_add_test(tcase, who_waits_is_told_once);
    tcase_add_test(tcase, a_failure_of_any_bytes_is_an_answer);
    suite_add_tcase(suite, tcase);
    return suite;
}
