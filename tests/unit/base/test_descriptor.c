#include <check.h>
#include <limits.h>
#include <sys/resource.h>

#include "base/descriptor.h"

static struct rlimit limit(void)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    return limit;
}

START_TEST(room_is_made_as_far_as_it_may_be)
{
    struct rlimit was = limit(), few = {.rlim_cur = 40, .rlim_max = was.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    vr_descriptor_room(50);
    ck_assert_uint_eq(limit().rlim_cur, 50);
    vr_descriptor_room(30); /* what is there stays */
    ck_assert_uint_eq(limit().rlim_cur, 50);
    vr_descriptor_room(ULONG_MAX);
    ck_assert_uint_eq(limit().rlim_cur, was.rlim_max);
    setrlimit(RLIMIT_NOFILE, &was);
}
END_TEST

Suite *descriptor_suite(void);
Suite *descriptor_suite(void)
{
    Suite *suite = suite_create("descriptor");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, room_is_made_as_far_as_it_may_be);
    suite_add_tcase(suite, tcase);
    return suite;
}
