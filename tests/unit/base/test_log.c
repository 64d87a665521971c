#include "base/log.h"
#include "base/mask.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64], content[4096];

static void setup(void)
{
    snprintf(path, sizeof(path), "/tmp/vmrun-log-%d", (int)getpid());
    unlink(path);
    ck_assert(vr_log_to(path, NULL));
    vr_log_set_level("info");
}

static void teardown(void)
{
    vr_log_to(NULL, NULL);
    vr_log_set_level("warn");
    unlink(path);
}

static const char *read_log(void)
{
    vr_log_flush();
    FILE *file = fopen(path, "r");
    size_t length = fread(content, 1, sizeof(content) - 1, file);
    content[length] = '\0';
    fclose(file);
    return content;
}

START_TEST(lines_have_a_time_and_a_level)
{
    vr_log(VR_LOG_WARN, "%d of %s", 3, "them");
    const char *line = read_log();
    ck_assert_uint_eq(strspn(line, "0123456789-:.TZ"), 24);
    ck_assert_str_eq(line + 24, " warning: 3 of them\n");
}
END_TEST

START_TEST(levels_below_are_dropped)
{
    vr_log(VR_LOG_DEBUG, "not shown");
    ck_assert_str_eq(read_log(), "");
    ck_assert(!vr_log_set_level("loud"));
    ck_assert(vr_log_set_level("debug"));
    vr_log(VR_LOG_DEBUG, "shown");
    ck_assert_ptr_nonnull(strstr(read_log(), "debug: shown\n"));
}
END_TEST

START_TEST(secrets_are_masked)
{
    vr_mask_secret("hunter22", 8);
    vr_log(VR_LOG_INFO, "it is hunter22");
    ck_assert_ptr_nonnull(strstr(read_log(), "info: it is (secret)\n"));
}
END_TEST

START_TEST(a_message_is_one_line)
{
    vr_log(VR_LOG_INFO, "a\nb\x1b[0m");
    ck_assert_ptr_nonnull(strstr(read_log(), "info: a\\nb\\x1b[0m\n"));
}
END_TEST

START_TEST(the_file_is_ours_alone)
{
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    struct vr_error err = {0};
    ck_assert(!vr_log_to("/no/such/folder/log", &err));
    ck_assert_str_eq(err.message,
                     "cannot write the log /no/such/folder/log: no such file or directory");
    vr_error_clear(&err);
}
END_TEST

Suite *log_suite(void);
Suite *log_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, lines_have_a_time_and_a_level);
    tcase_add_test(tcase, levels_below_are_dropped);
    tcase_add_test(tcase, secrets_are_masked);
    tcase_add_test(tcase, a_message_is_one_line);
    tcase_add_test(tcase, the_file_is_ours_alone);
    suite_add_tcase(suite, tcase);
    return suite;
}
