#include <check.h>
#include <string.h>

#include "net/resolve.h"

struct answers {
    int count;
    bool failed;
    char first[64];
};

static void answered(void *payload, const char *addresses, const struct vr_error *err)
{
    struct answers *answers = payload;
    answers->count++;
    answers->failed = err != NULL;
    ck_assert((addresses == NULL) != (err == NULL));
    if (err)
        ck_assert_str_eq(err->code, "resolve");
    else
        strncpy(answers->first, addresses, sizeof answers->first - 1);
}

START_TEST(words)
{
    ck_assert(vr_resolve_is_address("10.0.0.4"));
    ck_assert(vr_resolve_is_address("::1"));
    ck_assert(vr_resolve_is_address("[fe80::1]"));
    ck_assert(!vr_resolve_is_address("10.0.0.4.example"));
    ck_assert(vr_resolve_is_loopback("127.200.3.4"));
    ck_assert(vr_resolve_is_loopback("localhost"));
    ck_assert(vr_resolve_is_loopback("[::1]"));
    ck_assert(!vr_resolve_is_loopback("128.0.0.1"));
    ck_assert(!vr_resolve_is_loopback("127.0.0.1.example"));
}
END_TEST

START_TEST(lookups_share_and_are_kept)
{
    struct vr_loop *loop = vr_loop_new();
    struct answers together = {0}, cancelled = {0}, later = {0};
    vr_resolve_start(loop, "localhost", answered, &together);
    vr_resolve_start(loop, "LocalHost", answered, &together);
    vr_resolve_cancel(vr_resolve_start(loop, "localhost", answered, &cancelled));
    ck_assert_int_eq(together.count, 0);
    vr_loop_run(loop);
    ck_assert_int_eq(together.count, 2);
    ck_assert(strstr(together.first, "127.0.0.1") || strstr(together.first, "[::1]"));
    vr_resolve_start(loop, "localhost", answered, &later);
    vr_resolve_cancel(vr_resolve_start(loop, "localhost", answered, &cancelled));
    ck_assert_int_eq(later.count, 0);
    vr_loop_run(loop);
    ck_assert_int_eq(later.count, 1);
    ck_assert_int_eq(cancelled.count, 0);
    vr_loop_free(loop);
}
END_TEST

START_TEST(what_is_not_there)
{
    struct vr_loop *loop = vr_loop_new();
    struct answers answers = {0};
    vr_resolve_start(loop, "nowhere.invalid", answered, &answers);
    vr_loop_run(loop);
    ck_assert_int_eq(answers.count, 1);
    ck_assert(answers.failed);
    vr_loop_free(loop);
}
END_TEST

Suite *resolve_suite(void);

Suite *resolve_suite(void)
{
    Suite *suite = suite_create("resolve");
    TCase *tests = tcase_create("resolve");
    tcase_add_test(tests, words);
    tcase_add_test(tests, lookups_share_and_are_kept);
    tcase_add_test(tests, what_is_not_there);
    suite_add_tcase(suite, tests);
    return suite;
}
