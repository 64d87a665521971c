#include "base/text.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const words[] = {"cidr", "name", "location", "subnet"};

START_TEST(the_nearest_name_is_found)
{
    ck_assert_str_eq(vr_text_nearest("cdir", words, 4), "cidr");
    ck_assert_str_eq(vr_text_nearest("locaton", words, 4), "location");
    ck_assert_str_eq(vr_text_nearest("Name", words, 4), "name");
    ck_assert_ptr_null(vr_text_nearest("capacity", words, 4));
    ck_assert_ptr_null(vr_text_nearest("", words, 4));
    ck_assert_ptr_null(vr_text_nearest("x", words, 0));
}
END_TEST

static char path[64];

static void write_file(const char *text)
{
    snprintf(path, sizeof(path), "/tmp/vmrun-text-XXXXXX");
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");
    fputs(text, file);
    fclose(file);
}

static void check_excerpt(int line, int column, int width, const char *expected)
{
    char *got = vr_text_excerpt(path, line, column, width);
    if (expected)
        ck_assert_str_eq(got, expected);
    else
        ck_assert_ptr_null(got);
    free(got);
}

START_TEST(carets_stand_under_the_word)
{
    write_file("one\n\tlocal cdir = \"\xc3\xa4\" x\r\nlast");
    check_excerpt(1, 1, 3, "    one\n    ^^^\n");
    check_excerpt(2, 8, 4, "    \tlocal cdir = \"\xc3\xa4\" x\n    \t      ^^^^\n");
    check_excerpt(2, 15, 4, "    \tlocal cdir = \"\xc3\xa4\" x\n    \t             ^^^\n");
    check_excerpt(3, 3, 99, "    last\n      ^^\n");
    check_excerpt(3, 0, 0, "    last\n");
    check_excerpt(3, 40, 1, "    last\n");
    check_excerpt(4, 1, 1, NULL);
    check_excerpt(0, 1, 1, NULL);
    unlink(path);
    check_excerpt(1, 1, 1, NULL);
}
END_TEST

START_TEST(durations)
{
    ck_assert(vr_text_seconds("90") == 90);
    ck_assert(vr_text_seconds("1.5s") == 1.5);
    ck_assert(vr_text_seconds("5m") == 300);
    ck_assert(vr_text_seconds("2h") == 7200);
    ck_assert(vr_text_seconds("1d") == 86400);
    static const char *const wrong[] = {"", "s", "-1", "5 m", "5x", "5mm", "inf", " 5"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        ck_assert(vr_text_seconds(wrong[i]) < 0);
}
END_TEST

START_TEST(versions)
{
    ck_assert_int_eq(vr_text_compare_versions("0.4.2", "0.4.2"), 0);
    ck_assert_int_eq(vr_text_compare_versions("0.4", "0.4.0"), 0);
    ck_assert_int_lt(vr_text_compare_versions("0.9.0", "0.10"), 0);
    ck_assert_int_gt(vr_text_compare_versions("1", "0.99.99"), 0);
    ck_assert_int_eq(vr_text_compare_versions("", ""), 0);
}
END_TEST

Suite *text_suite(void);
Suite *text_suite(void)
{
    Suite *suite = suite_create("text");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, durations);
    tcase_add_test(tcase, versions);
    tcase_add_test(tcase, the_nearest_name_is_found);
    tcase_add_test(tcase, carets_stand_under_the_word);
    suite_add_tcase(suite, tcase);
    return suite;
}
