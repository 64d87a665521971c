/* Rolls of collections: in what order, within what bounds, and after whatever stops them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fake_runner.h"

static void shows(struct fake *fake, const char *wanted)
{
    char *got = fake_show(fake_plan(fake));
    for (size_t i = 0; i < vr_plan_error_count(fake->plan); i++)
        ck_abort_msg("%s", vr_plan_error_at(fake->plan, i)->message);
    ck_assert_str_eq(got, wanted);
    free(got);
}

static void did(struct fake *fake, const char *wanted)
{
    char *got = fake_take_log(fake), *strays = fake_strays(fake);
    ck_assert_str_eq(got, wanted);
    ck_assert_str_eq(strays, "");
    ck_assert_msg(!fake->broken, "%s", fake->broken);
    free(got);
    free(strays);
}

/* A set of `count` members of size 1, each with j and k on it, then the recipe with size 2. */
static struct fake *grown(uint64_t seed, size_t count, const char *roll)
{
    struct fake *fake = fake_new(seed);
    for (int size = 1; size <= 2; size++) {
        char *text = vr_format("w[]: name=\"w\" count=%zu size=%d roll=%s\n"
                               "j@w: ip=item.ip\nk@w: on=j\n",
                               count, size, roll);
        fake_recipe(fake, text);
        free(text);
        if (size == 1)
            fake_run(fake);
    }
    free(fake_take_log(fake));
    fake->added = fake->removed = 0;
    return fake;
}

static const struct vr_node *planned(struct fake *fake, const char *address)
{
    const struct vr_node *node = vr_plan_find(fake->plan, address);
    ck_assert_msg(node != NULL, "no %s", address);
    return node;
}

START_TEST(one_goes_then_one_comes)
{
    struct fake *fake = grown(1, 2, "{}");
    shows(fake, "remove t.set.w.items[m2]; remove t.set.w.items[m3]; "
                "delete t.set.w.items[m2]/t.x.j; delete t.set.w.items[m3]/t.x.j; "
                "delete t.set.w.items[m2]/t.x.k; delete t.set.w.items[m3]/t.x.k; "
                "update t.set.w; add t.set.w.items[+1]; add t.set.w.items[+2]; "
                "create t.set.w.items[+1]/t.x.j; create t.set.w.items[+2]/t.x.j; "
                "create t.set.w.items[+1]/t.x.k; create t.set.w.items[+2]/t.x.k");
    const struct vr_node *old = planned(fake, "t.set.w.items[m2]");
    ck_assert_str_eq(old->stale, "size");
    ck_assert_str_eq(old->reason, "stale: size; [+1] comes for it, 1 of 2");
    ck_assert_str_eq(old->partner->address, "t.set.w.items[+1]");
    ck_assert_str_eq(old->partner->reason, "for [m2]");
    fake_apply(fake);
    did(fake, "update t.set.w; "
              "delete t.set.w.items[m2]/t.x.k; delete t.set.w.items[m2]/t.x.j; "
              "remove t.set.w.items[m2]; add t.set.w; "
              "create t.set.w.items[m12]/t.x.j; create t.set.w.items[m12]/t.x.k; "
              "delete t.set.w.items[m3]/t.x.k; delete t.set.w.items[m3]/t.x.j; "
              "remove t.set.w.items[m3]; add t.set.w; "
              "create t.set.w.items[m17]/t.x.j; create t.set.w.items[m17]/t.x.k");
    shows(fake, "");
    fake_free(fake);
}
END_TEST

START_TEST(with_surge_one_comes_first)
{
    struct fake *fake = grown(1, 2, "{\"max_unavailable\":0,\"max_surge\":1}");
    fake_run(fake);
    did(fake, "update t.set.w; add t.set.w; "
              "create t.set.w.items[m12]/t.x.j; create t.set.w.items[m12]/t.x.k; "
              "delete t.set.w.items[m2]/t.x.k; delete t.set.w.items[m2]/t.x.j; "
              "remove t.set.w.items[m2]; add t.set.w; "
              "create t.set.w.items[m17]/t.x.j; create t.set.w.items[m17]/t.x.k; "
              "delete t.set.w.items[m3]/t.x.k; delete t.set.w.items[m3]/t.x.j; "
              "remove t.set.w.items[m3]");
    shows(fake, "");
    fake_free(fake);
}
END_TEST

START_TEST(left_alone_they_are_listed)
{
    struct fake *fake = grown(1, 2, "false");
    shows(fake, "update t.set.w");
    ck_assert_str_eq(planned(fake, "t.set.w.items[m2]")->stale, "size");
    fake_apply(fake);
    did(fake, "update t.set.w");
    shows(fake, "");
    ck_assert(vr_plan_empty(fake->plan));
    ck_assert_str_eq(planned(fake, "t.set.w.items[m2]")->stale, "size");
    json_t *json = vr_plan_json(fake->plan),
           *first = json_array_get(json_object_get(json, "actions"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(first, "stale")), "size");
    ck_assert_str_eq(json_string_value(json_object_get(first, "action")), "no-op");
    json_decref(json);
    fake_free(fake);
}
END_TEST

START_TEST(when_it_shrinks_stale_ones_go)
{
    struct fake *fake = grown(1, 3, "{}");
    fake_recipe(fake, "w[]: name=\"w\" count=1 size=2\nj@w: ip=item.ip\nk@w: on=j\n");
    fake_run(fake);
    ck_assert_uint_eq(fake->removed, 3);
    ck_assert_uint_eq(fake->added, 1);
    shows(fake, "");
    fake_free(fake);
}
END_TEST

START_TEST(none_begins_after_one_has_failed)
{
    struct fake *fake = grown(1, 3, "{}");
    fake->fail_address = "t.set.w.items[m3]/t.x.j"; /* the second's: it cannot be undone */
    for (int i = 0; i < 2; i++) {
        fake_run(fake);
        ck_assert_uint_eq(fake->removed, 1);
        ck_assert_uint_eq(fake->added, 1);
        ck_assert_ptr_nonnull(fake_find(fake, "t.set.w.items[m4]/t.x.j"));
    }
    fake->fail_address = NULL;
    fake_run(fake);
    ck_assert_uint_eq(fake->removed, 3);
    ck_assert_uint_eq(fake->added, 3);
    shows(fake, "");
    fake_free(fake);
}
END_TEST

/* Of two that go at once one cannot: the other gets its successor all the same. */
START_TEST(as_many_come_as_went)
{
    struct fake *fake = grown(1, 4, "{\"max_unavailable\":\"50%\"}");
    fake->fail_address = "t.set.w.items[m2]/t.x.j";
    fake_run(fake);
    ck_assert_uint_eq(fake->removed, 1);
    ck_assert_uint_eq(fake->added, 1);
    ck_assert_uint_eq(json_array_size(fake_find(fake, "t.set.w")->members), 4);
    fake->fail_address = NULL;
    fake_run(fake);
    ck_assert_uint_eq(fake->added, 4);
    shows(fake, "");
    fake_free(fake);
}
END_TEST

static void none_comes_after_the_first_went(struct fake *fake)
{
    if (fake->removed == 1)
        fake->fail_address = "t.set.w";
}

/* What others are told of the phases: how many come, or go, in each. */
static void phases(const char *roll, const char *wanted)
{
    struct fake *fake = grown(1, 3, roll);
    fake_plan(fake);
    json_t *row = vr_node_json(planned(fake, "t.set.w"));
    char *text = json_dumps(json_object_get(row, "roll"), JSON_COMPACT);
    ck_assert_str_eq(text, wanted);
    free(text);
    json_decref(row);
    fake_free(fake);
}

START_TEST(phases_are_told)
{
    phases("{}", "[-1,1,-1,1,-1,1]");
    phases("{\"max_surge\":2}", "[2,-3,1]");
    phases("{\"max_surge\":1,\"max_unavailable\":0}", "[1,-1,1,-1,1,-1]");
}
END_TEST

static void is_next(struct fake *fake, const char *address)
{
    const struct vr_node *next = vr_plan_next_roll(fake->plan);
    ck_assert_str_eq(next ? next->address : "none", address);
}

/* What is alone and stale is no difference; a plan replaces the one that it is told to. */
START_TEST(who_is_alone_is_replaced_when_told)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a: name=\"a\"\nb: name=\"b\"\nc: name=\"c\"\nd: on=c\n");
    graph_text_find(fake->text, "b")->protect = true;
    fake_run(fake);
    free(fake_take_log(fake));
    for (const char *name = "abc"; *name; name++) {
        char *address = vr_format("t.x.%c", *name);
        fake_find(fake, address)->stale = vr_strdup("image");
        free(address);
    }
    shows(fake, "");
    is_next(fake, "t.x.a");
    ck_assert_str_eq(planned(fake, "t.x.c")->stale, "image");
    const char *held[] = {"t.x.a"};
    fake_plan_with(fake, (struct vr_plan_options){.holds = held, .hold_count = 1});
    is_next(fake, "t.x.c");

    fake_plan_with(fake, (struct vr_plan_options){.roll = "t.x.c"});
    char *got = fake_show(fake->plan);
    ck_assert_str_eq(got, "replace t.x.c; replace t.x.d");
    free(got);
    ck_assert_str_eq(planned(fake, "t.x.c")->reason, "stale: image");
    is_next(fake, "t.x.a");
    fake_apply(fake);
    did(fake, "delete t.x.d; delete t.x.c; create t.x.c; create t.x.d");
    shows(fake, "");
    ck_assert_ptr_null(planned(fake, "t.x.c")->stale);

    fake_plan_with(fake, (struct vr_plan_options){.roll = "t.x.c"});
    ck_assert_msg(vr_plan_empty(fake->plan), "it is not stale any more");
    fake_recipe(fake, "a: name=\"a\" size=2\nb: name=\"b\"\nc: name=\"c\"\nd: on=c\n");
    shows(fake, "update t.x.a");
    is_next(fake, "t.x.a");
    fake_free(fake);
}
END_TEST

/* A roll within a range remembers how many there were; a recipe that says how many has the word. */
START_TEST(what_is_remembered_gives_way)
{
    static const char *const later[] = {"4", "2", "{\"min\":0,\"max\":2}", "{\"min\":0,\"max\":9}"};
    static const size_t wanted[] = {4, 2, 2, 3};
    for (size_t i = 0; i < 4; i++) {
        struct fake *fake = fake_new(1);
        fake_recipe(fake, "w[]: name=\"w\" count={\"min\":3,\"max\":9} size=1\nj@w: ip=item.ip\n");
        fake_run(fake);
        free(fake_take_log(fake));
        fake_recipe(fake, "w[]: name=\"w\" count={\"min\":0,\"max\":9} size=2\nj@w: ip=item.ip\n");
        fake->watch = none_comes_after_the_first_went;
        fake_run(fake);
        ck_assert_uint_eq(json_array_size(fake_find(fake, "t.set.w")->members), 2);
        fake->watch = NULL;
        fake->fail_address = NULL;
        char *text = vr_format("w[]: name=\"w\" count=%s size=2\nj@w: ip=item.ip\n", later[i]);
        fake_recipe(fake, text);
        free(text);
        fake_run(fake);
        ck_assert_uint_eq(json_array_size(fake_find(fake, "t.set.w")->members), wanted[i]);
        shows(fake, "");
        fake_free(fake);
    }
}
END_TEST

/* One that was never whole goes first: another would be missing beside it. */
START_TEST(who_is_half_goes_first)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "w[]: name=\"w\" count=3 size=1\nj@w: ip=item.ip\nk@w: on=j\n");
    fake->fail_address = "t.set.w.items[m4]/t.x.k";
    fake_run(fake);
    fake->fail_address = NULL;
    free(fake_take_log(fake));
    fake_recipe(fake, "w[]: name=\"w\" count=3 size=2\nj@w: ip=item.ip\nk@w: on=j\n");
    fake_plan(fake);
    ck_assert_str_eq(planned(fake, "t.set.w.items[m4]")->reason,
                     "stale: size; [+1] comes for it, 1 of 3");
    fake_apply(fake);
    ck_assert_uint_eq(fake->removed, 3);
    shows(fake, "");
    fake_free(fake);
}
END_TEST

START_TEST(out_of_reach_counts_as_missing)
{
    struct fake *fake = grown(1, 3, "{}");
    fake_recipe(fake, "w[]: name=\"w\" count=3 size=1\nj@w: ip=item.ip\nk@w: on=j\n");
    json_t *first = json_array_get(fake_find(fake, "t.set.w")->members, 0);
    json_object_set_new(first, "size", json_integer(9)); /* stale; the others are not */
    fake_find(fake, "t.set.w.items[m3]/t.x.k")->unreachable = true;
    fake_run(fake);
    ck_assert_uint_eq(fake->removed, 0);
    ck_assert_str_eq(planned(fake, "t.set.w")->error.message,
                     "t.set.w does not roll: t.set.w.items[m3] cannot be reached, and no more may "
                     "be missing");
    fake_find(fake, "t.set.w.items[m3]/t.x.k")->unreachable = false;
    fake_run(fake);
    ck_assert_uint_eq(fake->removed, 1);
    fake_free(fake);
}
END_TEST

/* What needs all members cannot stand between the phases, and gets them all. */
START_TEST(what_needs_all_waits_for_all)
{
    struct fake *fake = fake_new(1);
    for (int size = 1; size <= 2; size++) {
        char *text = vr_format("w[]: name=\"w\" count=2 size=%d\nj@w: ip=item.ip\n"
                               "all: ips=*w.ip js=*j.id\nl@w: on=all ip=item.ip\n",
                               size);
        fake_recipe(fake, text);
        free(text);
        fake_run(fake);
        ck_assert_msg(!fake->broken, "%s", fake->broken);
        shows(fake, "");
    }
    ck_assert_uint_eq(fake->removed, 2);
    fake_free(fake);
}
END_TEST

START_TEST(a_target_rolls_nothing_that_it_leaves_out)
{
    struct fake *fake = grown(1, 2, "{}");
    const char *only[] = {"t.set.w"}, *all[] = {"t.set.w*", "t.x.*"};
    fake_plan_with(fake, (struct vr_plan_options){.targets = only, .target_count = 1});
    fake_apply(fake);
    did(fake, "update t.set.w");
    fake_plan_with(fake, (struct vr_plan_options){.targets = all, .target_count = 2});
    fake_apply(fake);
    ck_assert_uint_eq(fake->removed, 2);
    shows(fake, "");
    fake_free(fake);
}
END_TEST

/* Made at random, and stopped at each step: never fewer than may be missing, never more than may be
 * too many, none twice. */

enum { WANT, UNAVAILABLE, SURGE, WATCHING };

static void watch(struct fake *fake)
{
    struct fake_thing *set = fake_find(fake, "t.set.w");
    size_t whole = 0, there = set ? json_array_size(set->members) : 0;
    for (size_t i = 0; i < there; i++) {
        const char *id = json_string_value(json_object_get(json_array_get(set->members, i), "id"));
        char *j = vr_format("t.set.w.items[%s]/t.x.j", id);
        char *k = vr_format("t.set.w.items[%s]/t.x.k", id);
        whole += fake_find(fake, j) && fake_find(fake, k);
        free(j);
        free(k);
    }
    if (fake->limit[WATCHING] && !fake->broken &&
        (whole + fake->limit[UNAVAILABLE] < fake->limit[WANT] ||
         there > fake->limit[WANT] + fake->limit[SURGE]))
        fake->broken = vr_format("%zu members, %zu of them whole", there, whole);
}

static void stop_at_random(struct fake *fake)
{
    fake->fail_percent = (unsigned)fake_random(fake, 3) * 8;
    if (fake_random(fake, 2))
        fake->crash_after = (long)fake_random(fake, 40);
    if (fake_random(fake, 3) == 0)
        fake->cancel_after = (long)fake_random(fake, 40);
    fake->cancel_how = fake_random(fake, 2) ? VR_CANCEL_NOW : VR_CANCEL_GRACEFUL;
}

static void live_through(uint64_t seed)
{
    struct fake *fake = fake_new(seed);
    size_t want = 1 + fake_random(fake, 6), unavailable = fake_random(fake, 3),
           surge = fake_random(fake, 3), at_once = fake_random(fake, 3);
    char *turn = at_once ? vr_format("g@w: ~k/%zu\n", at_once) : vr_strdup("");
    const char *meet = fake_random(fake, 2) ? "m: ~1 !*k\nz: !m\n" : "";
    bool ranged = fake_random(fake, 3) == 0;
    fake->random = true;
    fake->record = fake_random(fake, 3) == 0;
    for (int size = 1; size <= 2; size++) {
        char *count = ranged ? vr_format("{\"min\":%d,\"max\":9}", size == 1 ? (int)want : 0)
                             : vr_format("%zu", want);
        char *text = vr_format(
            "w[]: name=\"w\" count=%s size=%d roll={\"max_unavailable\":%zu,\"max_surge\":%zu}\n"
            "%sj@w: ip=item.ip%s\nk@w: on=j\n%s",
            count, size, unavailable, surge, turn, at_once ? " !g" : "", meet);
        fake_recipe(fake, text);
        free(text);
        free(count);
        if (size == 1)
            fake_run(fake);
    }
    free(turn);
    fake->added = fake->removed = 0;
    fake->watch = watch;
    fake->limit[WANT] = want;
    fake->limit[UNAVAILABLE] = unavailable + surge == 0 ? 1 : unavailable;
    fake->limit[SURGE] = surge;
    fake->limit[WATCHING] = 1;
    bool empty = false;
    for (int tries = 0; tries < 60 && !empty && !fake->broken; tries++) {
        stop_at_random(fake);
        if (tries > 40)
            fake->fail_percent = 0, fake->crash_after = fake->cancel_after = -1;
        fake_plan(fake);
        empty = vr_plan_empty(fake->plan);
        char *shown = fake_show(fake->plan);
        fake_apply(fake);
        char *log = fake_take_log(fake);
        if (getenv("VMRUN_SEED"))
            printf("plan %s\ndone %s%s\n", shown, log, fake->crashed ? "; crash" : "");
        free(shown);
        free(log);
    }
    ck_assert_msg(!fake->broken && empty, "seed %llu: %zu, -%zu +%zu: %s", (unsigned long long)seed,
                  want, unavailable, surge, fake->broken ? fake->broken : "does not end");
    ck_assert_msg(json_array_size(fake_find(fake, "t.set.w")->members) == want &&
                      fake->added == want && fake->removed == want,
                  "seed %llu: %zu, -%zu +%zu: %zu added, %zu removed", (unsigned long long)seed,
                  want, unavailable, surge, fake->added, fake->removed);
    fake_free(fake);
}

START_TEST(random_rolls)
{
    fake_seeds(live_through, 120);
}
END_TEST

Suite *roll_suite(void);
Suite *roll_suite(void)
{
    Suite *suite = suite_create("roll");
    TCase *basic = tcase_create("basic");
    tcase_add_test(basic, one_goes_then_one_comes);
    tcase_add_test(basic, with_surge_one_comes_first);
    tcase_add_test(basic, left_alone_they_are_listed);
    tcase_add_test(basic, when_it_shrinks_stale_ones_go);
    tcase_add_test(basic, none_begins_after_one_has_failed);
    tcase_add_test(basic, as_many_come_as_went);
    tcase_add_test(basic, who_is_half_goes_first);
    tcase_add_test(basic, out_of_reach_counts_as_missing);
    tcase_add_test(basic, what_needs_all_waits_for_all);
    tcase_add_test(basic, what_is_remembered_gives_way);
    tcase_add_test(basic, a_target_rolls_nothing_that_it_leaves_out);
    tcase_add_test(basic, phases_are_told);
    tcase_add_test(basic, who_is_alone_is_replaced_when_told);
    suite_add_tcase(suite, basic);
    TCase *rolls = tcase_create("rolls");
    tcase_set_timeout(rolls, 60);
    tcase_add_test(rolls, random_rolls);
    suite_add_tcase(suite, rolls);
    return suite;
}
