#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static void logged(struct fake *fake, const char *wanted)
{
    char *got = fake_take_log(fake);
    ck_assert_str_eq(got, wanted);
    free(got);
}

static void sound(struct fake *fake)
{
    char *strays = fake_strays(fake);
    ck_assert_str_eq(strays, "");
    ck_assert_msg(!fake->broken, "%s", fake->broken);
    free(strays);
}

static void did(struct fake *fake, const char *wanted)
{
    logged(fake, wanted);
    sound(fake);
}

START_TEST(creates_then_nothing)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a:\nb: a\nc: x=b.id n=1");
    shows(fake, "create t.x.a; create t.x.b; create t.x.c");
    struct vr_run_summary sum = fake_apply(fake);
    ck_assert_uint_eq(sum.added, 3);
    did(fake, "create t.x.a; create t.x.b; create t.x.c");
    shows(fake, "");
    ck_assert(vr_plan_empty(fake->plan));
    fake_reopen(fake);
    shows(fake, "");
    fake_apply(fake);
    did(fake, "");
    fake_free(fake);
}
END_TEST

START_TEST(updates_what_changed)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a: name=\"a\" n=1\nb: x=a.id");
    fake_run(fake);
    logged(fake, "create t.x.a; create t.x.b");
    fake_recipe(fake, "a: name=\"a\" n=2\nb: x=a.id");
    shows(fake, "update t.x.a");
    ck_assert_uint_eq(fake_apply(fake).changed, 1);
    did(fake, "update t.x.a");
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_array_get(fake->last_changes, 0), "old")), 1);
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_array_get(fake->last_changes, 0), "new")), 2);
    shows(fake, "");
    fake_free(fake);
}
END_TEST

START_TEST(deletes_in_reverse)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a:\nb: a\nc: b\nd:");
    fake_run(fake);
    logged(fake, "create t.x.a; create t.x.d; create t.x.b; create t.x.c");
    fake_recipe(fake, "d:");
    shows(fake, "delete t.x.a; delete t.x.b; delete t.x.c");
    ck_assert_uint_eq(fake_apply(fake).destroyed, 3);
    did(fake, "delete t.x.c; delete t.x.b; delete t.x.a");
    fake_recipe(fake, "");
    fake_plan_with(fake, (struct vr_plan_options){.destroy = true});
    fake_apply(fake);
    did(fake, "delete t.x.d");
    ck_assert_uint_eq(vr_state_count(fake->state), 0);
    fake_free(fake);
}
END_TEST

START_TEST(lets_go_before_it_deletes)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a:\nb:\nu: x=a");
    fake_run(fake);
    logged(fake, "create t.x.a; create t.x.b; create t.x.u");
    fake_recipe(fake, "b:\nu: x=b");
    fake_run(fake);
    did(fake, "update t.x.u; delete t.x.a");
    fake_free(fake);
}
END_TEST

START_TEST(replaces_with_what_lives_on_it)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a: name=\"a\"\nb: on=a\nc: on=b\nd: x=a");
    fake_run(fake);
    logged(fake, "create t.x.a; create t.x.b; create t.x.d; create t.x.c");
    fake->broken = NULL;
    fake_recipe(fake, "a: name=\"A\"\nb: on=a\nc: on=b\nd: x=a");
    shows(fake, "replace t.x.a; replace t.x.b; replace t.x.c; update t.x.d");
    ck_assert_str_eq(vr_plan_find(fake->plan, "t.x.a")->reason,
                     "field `name` changed: a -> A, forces replacement");
    ck_assert_str_eq(vr_plan_find(fake->plan, "t.x.b")->reason, "`t.x.a` is replaced");
    struct vr_run_summary sum = fake_apply(fake);
    ck_assert_uint_eq(sum.added, 3);
    ck_assert_uint_eq(sum.destroyed, 3);
    ck_assert_uint_eq(sum.changed, 1);
    logged(fake, "delete t.x.c; delete t.x.b; delete t.x.a; create t.x.a; create t.x.b; update "
                 "t.x.d; create t.x.c");
    shows(fake, "");
    fake_free(fake);
}
END_TEST

START_TEST(creates_before_it_destroys)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a: name=\"a\"\nd: x=a");
    fake_run(fake);
    logged(fake, "create t.x.a; create t.x.d");
    fake_recipe(fake, "a: name=\"A\"\nd: x=a");
    graph_text_find(fake->text, "a")->create_before_destroy = true;
    fake_run(fake);
    did(fake, "create t.x.a; update t.x.d; delete t.x.a");
    shows(fake, "");
    fake_free(fake);
}
END_TEST

START_TEST(chain_takes_one_commit_more)
{
    enum { N = 50 };
    struct fake *fake = fake_new(1);
    struct vr_buf text = {0};
    for (int i = 0; i < N; i++)
        i ? vr_buf_printf(&text, "n%d: x=n%d.id\n", i, i - 1) : vr_buf_printf(&text, "n0:\n");
    fake_recipe(fake, text.data);
    fake_plan(fake);
    uint64_t before = vr_state_commits(fake->state);
    fake_apply(fake);
    ck_assert_uint_eq(vr_state_commits(fake->state) - before, N + 1);
    sound(fake);
    ck_assert_double_eq_tol(vr_run_summary(fake->run).critical_path, N * fake->seconds, 0.01);
    fake_plan(fake);
    before = vr_state_commits(fake->state);
    fake_apply(fake);
    ck_assert_uint_eq(vr_state_commits(fake->state) - before, 0);
    fake_plan_with(fake, (struct vr_plan_options){.destroy = true});
    before = vr_state_commits(fake->state);
    fake_apply(fake);
    ck_assert_uint_eq(vr_state_commits(fake->state) - before, N + 1);
    ck_assert_uint_eq(fake_count(fake), 0);
    vr_buf_free(&text);
    fake_free(fake);
}
END_TEST

START_TEST(failure_stops_only_what_depends_on_it)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a:\nb: a\nc: b\nd: a\ne: d");
    fake->fail_address = "t.x.b";
    struct vr_run_summary sum = fake_run(fake);
    ck_assert_uint_eq(sum.failed, 1);
    ck_assert_uint_eq(sum.skipped, 1);
    ck_assert_uint_eq(sum.added, 3);
    ck_assert_uint_eq(vr_run_failure_count(fake->run), 1);
    ck_assert_str_eq(vr_run_failure_at(fake->run, 0)->address, "t.x.b");
    ck_assert_str_eq(vr_plan_find(fake->plan, "t.x.c")->error.message,
                     "t.x.c was not done: t.x.b failed");
    logged(fake, "create t.x.a; create t.x.b; create t.x.d; create t.x.e");
    fake->fail_address = NULL;
    shows(fake, "create t.x.b; create t.x.c");
    ck_assert_str_eq(vr_plan_find(fake->plan, "t.x.b")->reason, "an earlier run did not finish it");
    fake_apply(fake);
    did(fake, "create t.x.b; create t.x.c");
    fake_free(fake);
}
END_TEST

START_TEST(half_done_create_is_adopted)
{
    for (uint64_t seed = 0; seed < 8; seed++) { /* the effect of a failing step happens or not */
        struct fake *fake = fake_new(seed);
        fake->random = true;
        fake_recipe(fake, "a: name=\"a\"\nb: a");
        fake->fail_address = "t.x.a";
        ck_assert_uint_eq(fake_run(fake).failed, 1);
        fake->fail_address = NULL;
        bool there = fake_find(fake, "t.x.a") != NULL;
        shows(fake, there ? "adopt t.x.a; create t.x.b" : "create t.x.a; create t.x.b");
        fake_apply(fake);
        sound(fake);
        fake_free(fake);
    }
}
END_TEST

START_TEST(cancel_ends_in_order)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a:\nb: a\nc: b");
    fake->cancel_after = 2;
    fake->cancel_how = VR_CANCEL_GRACEFUL;
    struct vr_run_summary sum = fake_run(fake);
    ck_assert(sum.cancelled);
    ck_assert_uint_eq(sum.added, 1);
    ck_assert_uint_eq(sum.skipped, 2);
    ck_assert_uint_eq(sum.failed, 0);
    fake->cancel_after = -1;
    fake_run(fake);
    did(fake, "create t.x.a; create t.x.b; create t.x.c");
    fake_free(fake);
}
END_TEST

START_TEST(cancel_now_leaves_the_intent)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a:\nb: a");
    fake->cancel_after = 1;
    fake->cancel_how = VR_CANCEL_NOW;
    struct vr_run_summary sum = fake_run(fake);
    ck_assert_uint_eq(sum.added, 0);
    ck_assert_uint_eq(sum.skipped, 2);
    ck_assert_str_eq(vr_state_find(fake->state, "t.x.a")->intent, "create");
    fake->cancel_after = -1;
    fake_run(fake);
    sound(fake);
    fake_free(fake);
}
END_TEST

START_TEST(notes_are_durable_and_come_back)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a: name=\"a\"");
    fake->record = true;
    fake->fail_address = "t.x.a";
    fake_run(fake);
    ck_assert_uint_eq(fake->recorded, 1);
    ck_assert_str_eq(vr_state_find(fake->state, "t.x.a")->recorded, "{\"note\":\"t.x.a\"}");
    fake->fail_address = NULL;
    fake_run(fake);
    ck_assert_str_eq(json_string_value(json_object_get(fake->last_recorded, "note")), "t.x.a");
    ck_assert_ptr_null(vr_state_find(fake->state, "t.x.a")->recorded);
    sound(fake);
    fake_free(fake);
}
END_TEST

START_TEST(longest_path_goes_first)
{
    struct fake *fake = fake_new(1);
    fake->each = 1;
    fake_recipe(fake, "a:\nb:\nc: b\nd: c");
    fake_run(fake);
    did(fake, "create t.x.b; create t.x.c; create t.x.a; create t.x.d");
    fake_free(fake);
}
END_TEST

START_TEST(sync_runner)
{
    struct fake *fake = fake_new(1);
    fake->sync = true;
    fake_recipe(fake, "a:\nb: a\nc: b");
    fake_run(fake);
    did(fake, "create t.x.a; create t.x.b; create t.x.c");
    shows(fake, "");
    fake_free(fake);
}
END_TEST

/* Collections. */

START_TEST(members_and_their_instances)
{
    struct fake *fake = fake_new(1);
    const char *text = "w[]: name=\"w\" count=%d\nj@w: ip=item.ip\nk@w: j\nall: ids=*j.id";
    char *two = vr_format(text, 2), *four = vr_format(text, 4), *one = vr_format(text, 1);
    fake_recipe(fake, two);
    shows(fake, "create t.set.w; add t.set.w.items[+1]; add t.set.w.items[+2]; "
                "create t.set.w.items[+1]/t.x.j; create t.set.w.items[+2]/t.x.j; "
                "create t.set.w.items[+1]/t.x.k; create t.set.w.items[+2]/t.x.k; create t.x.all");
    fake_apply(fake);
    did(fake, "create t.set.w; add t.set.w; create t.set.w.items[m2]/t.x.j; create "
              "t.set.w.items[m3]/t.x.j; "
              "create t.set.w.items[m2]/t.x.k; create t.set.w.items[m3]/t.x.k; create t.x.all");
    shows(fake, "");
    fake_recipe(fake, four);
    shows(fake, "add t.set.w; add t.set.w.items[+1]; add t.set.w.items[+2]; create "
                "t.set.w.items[+1]/t.x.j; "
                "create t.set.w.items[+2]/t.x.j; create t.set.w.items[+1]/t.x.k; create "
                "t.set.w.items[+2]/t.x.k; "
                "update t.x.all");
    ck_assert_int_eq(vr_plan_find(fake->plan, "t.x.all")->certainty, VR_LATER);
    ck_assert_uint_eq(vr_plan_summary(fake->plan).add, 6);
    fake_apply(fake);
    free(fake_take_log(fake));
    sound(fake);
    shows(fake, "");
    fake_recipe(fake, one);
    fake_run(fake);
    char *log = fake_take_log(fake);
    ck_assert(!strstr(log, "items[m2]"));
    ck_assert(strstr(log, "remove t.set.w.items[m3]") >
              strstr(log, "delete t.set.w.items[m3]/t.x.j"));
    ck_assert(strstr(log, "delete t.set.w.items[m3]/t.x.j") >
              strstr(log, "delete t.set.w.items[m3]/t.x.k"));
    free(log);
    sound(fake);
    shows(fake, "");
    fake_plan_with(fake, (struct vr_plan_options){.destroy = true});
    fake_apply(fake);
    did(fake, "delete t.set.w.items[m2]/t.x.k; delete t.x.all; delete t.set.w.items[m2]/t.x.j; "
              "delete t.set.w");
    ck_assert_uint_eq(vr_state_count(fake->state), 0);
    free(one);
    free(two);
    free(four);
    fake_free(fake);
}
END_TEST

START_TEST(one_member_is_enough_for_some)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "w[]: count=2\nj@w: ip=item.ip\ninit: on=*j[1] id1=*j[1].id\nk@w: init");
    fake_run(fake);
    sound(fake);
    shows(fake, "");
    fake_recipe(fake, "w[]: count=3\nj@w: ip=item.ip\ninit: on=*j[1] id1=*j[1].id\nk@w: init");
    shows(fake, "add t.set.w; add t.set.w.items[+1]; create t.set.w.items[+1]/t.x.j; create "
                "t.set.w.items[+1]/t.x.k");
    fake_apply(fake);
    sound(fake);
    fake_free(fake);
}
END_TEST

/* "1": of so many that may fail; "any": the first is enough. */
static bool is_met(const char *failing, const char *join)
{
    struct fake *fake = fake_new(1);
    char *text = vr_format("w[]: count=3\nj@w: ip=item.ip\nm: ~%s !*j !*j[1]\nz: !m",
                           strcmp(join, "any") == 0 ? "0" : join);
    fake_recipe(fake, text);
    free(text);
    fake->ids_again = true;
    graph_text_find(fake->text, "m")->any = strcmp(join, "any") == 0;
    fake->fail_address = failing;
    fake_run(fake);
    bool met = fake_find(fake, "t.x.z") != NULL;
    fake->fail_address = NULL;
    fake_run(fake);
    sound(fake);
    ck_assert_ptr_nonnull(fake_find(fake, "t.x.z"));
    fake_free(fake);
    return met;
}

START_TEST(a_join_counts_each_instance)
{
    const char *first = "t.set.w.items[m1]/t.x.j";
    ck_assert(!is_met(first, "0"));
    ck_assert(is_met(first, "1"));
    ck_assert(is_met(first, "any"));
    ck_assert(!is_met("t.set.w", "1"));
    ck_assert(is_met("t.set.w", "3"));
    ck_assert(!is_met("t.set.w", "any"));
}
END_TEST

START_TEST(dead_members_go_first_and_vanished_ones_are_made_up_for)
{
    struct fake *fake = fake_new(1);
    fake->members_at_once = true;
    fake_recipe(fake, "w[]: count=3\nj@w: ip=item.ip");
    fake_run(fake);
    free(fake_take_log(fake));
    struct fake_thing *set = fake_find(fake, "t.set.w");
    json_object_set_new(json_array_get(set->members, 0), "status", json_string("evicted"));
    fake_recipe(fake, "w[]: count=2\nj@w: ip=item.ip");
    shows(fake, "remove t.set.w.items[m3]; delete t.set.w.items[m3]/t.x.j");
    ck_assert_str_eq(vr_plan_find(fake->plan, "t.set.w.items[m3]")->reason,
                     "`t.set.w` shrinks; this one is evicted");
    fake_apply(fake);
    did(fake, "delete t.set.w.items[m3]/t.x.j; remove t.set.w.items[m3]");
    json_array_remove(set->members, 0);
    struct fake_thing *lost = fake_find(fake, "t.set.w.items[m4]/t.x.j");
    lost->unreachable = true;
    shows(fake, "forget t.set.w.items[m4]; forget t.set.w.items[m4]/t.x.j; add t.set.w; add "
                "t.set.w.items[+1]; "
                "create t.set.w.items[+1]/t.x.j");
    fake_apply(fake);
    ck_assert_ptr_null(vr_state_find(fake->state, "t.set.w.items[m4]"));
    ck_assert_ptr_null(vr_state_find(fake->state, "t.set.w.items[m4]/t.x.j"));
    shows(fake, "");
    fake_free(fake);
}
END_TEST

/* The old set's members still have the names when the new one is made: none is added twice. */
START_TEST(members_of_the_same_name_are_not_added_twice)
{
    struct fake *fake = fake_new(1);
    fake->members_at_once = fake->ids_again = true;
    for (int i = 0; i < 2; i++) {
        fake_recipe(fake, i == 0 ? "w[]: name=\"a\" count=2\nj@w: ip=item.ip\nk@w: on=j"
                                 : "w[]: name=\"b\" count=2\nj@w: ip=item.ip\nk@w: on=j");
        graph_text_find(fake->text, "w")->create_before_destroy = true;
        fake_run(fake);
    }
    ck_assert_str_eq(vr_plan_find(fake->plan, "t.set.w")->error.code, "members");
    fake_run(fake);
    fake_run(fake);
    ck_assert(vr_plan_empty(fake->plan));
    ck_assert_uint_eq(json_array_size(fake_find(fake, "t.set.w")->members), 2);
    sound(fake);
    fake_free(fake);
}
END_TEST

START_TEST(members_that_came_before_a_crash_are_found)
{
    struct fake *fake = fake_new(3);
    fake->random = true;
    fake_recipe(fake, "w[]: name=\"w\" count=3\nj@w: ip=item.ip");
    fake->fail_address = "t.set.w";
    fake_run(fake);
    fake->fail_address = NULL;
    for (int i = 0; i < 2; i++)
        fake_run(fake);
    sound(fake);
    ck_assert_uint_eq(json_array_size(fake_find(fake, "t.set.w")->members), 3);
    fake_free(fake);
}
END_TEST

/* Random worlds: whatever happens, the end is what was declared. */

static char *random_recipe(struct fake *fake, size_t count)
{
    struct vr_buf text = {0};
    bool sets[40] = {false};
    size_t of[40] = {0}, counts[40] = {0};
    for (size_t i = 0; i < count; i++) {
        sets[i] = fake_random(fake, 8) == 0;
        size_t set = fake_random(fake, count);
        of[i] = !sets[i] && set < i && sets[set] ? set + 1 : 0;
        vr_buf_printf(&text, "n%zu%s", i, sets[i] ? "[]" : "");
        if (of[i])
            vr_buf_printf(&text, "@n%zu", of[i] - 1);
        vr_buf_puts(&text, ":");
        if (!of[i] && fake_random(fake, 2))
            vr_buf_printf(&text, " name=\"n%zu%s\"", i, fake_random(fake, 5) ? "" : "x");
        counts[i] = sets[i] ? fake_random(fake, 4) : 0;
        if (sets[i])
            vr_buf_printf(&text, " count=%zu", counts[i]);
        vr_buf_printf(&text, " v=%zu", (size_t)fake_random(fake, 3));
        for (size_t e = fake_random(fake, 4); i > 0 && e-- > 0;) {
            size_t to = fake_random(fake, i);
            const char *star = of[to] && of[to] != of[i] ? "*" : "";
            switch (fake_random(fake, 6)) {
            case 4:
                vr_buf_printf(&text, " h%zu=%sn%zu.etag", e, star, to);
                break;
            case 5:
                if (counts[of[to] ? of[to] - 1 : 0] > 0 && *star)
                    vr_buf_printf(&text, " on=*n%zu[1] q=*n%zu[1].id", to, to);
                break;
            case 0:
                vr_buf_printf(&text, " f%zu=%sn%zu.id", e, star, to);
                break;
            case 1:
                vr_buf_printf(&text, " %s=%sn%zu", *star ? "w" : "on", star, to);
                break;
            case 2:
                vr_buf_printf(&text, " g%zu=%sn%zu", e, star, to);
                break;
            default:
                vr_buf_printf(&text, " !%sn%zu", star, to);
            }
        }
        vr_buf_puts(&text, "\n");
    }
    return vr_buf_steal(&text);
}

static void drift(struct fake *fake)
{
    for (struct fake_thing *thing = fake->things, *next; thing; thing = next) {
        next = thing->next;
        bool used = false;
        for (struct fake_thing *other = fake->things; other; other = other->next) {
            char *text = json_dumps(other->fields, 0);
            used = used || strstr(text, thing->id) ||
                   strncmp(other->address, thing->address, strlen(thing->address)) == 0;
            free(text);
        }
        if (fake_random(fake, 10) == 0)
            json_object_set_new(thing->fields, "v", json_integer(9));
        else if (fake_random(fake, 10) == 0 && !used)
            fake_lose(fake, thing->address);
    }
}

static bool plan_and_apply(struct fake *fake)
{
    fake_plan(fake);
    for (size_t i = 0; i < vr_plan_error_count(fake->plan); i++)
        ck_abort_msg("%s", vr_plan_error_at(fake->plan, i)->message);
    bool empty = vr_plan_empty(fake->plan), loud = getenv("VMRUN_SEED");
    char *planned = fake_show(fake->plan);
    fake_apply(fake);
    char *log = fake_take_log(fake);
    if (loud)
        printf("plan %s\ndone %s%s\n", planned, log, fake->crashed ? "; crash" : "");
    free(planned);
    free(log);
    return empty;
}

static void live_through(uint64_t seed)
{
    struct fake *fake = fake_new(seed);
    fake->random = true;
    fake->each = 1 + fake_random(fake, 6);
    fake->predict = fake_random(fake, 2);
    fake->members_at_once = fake_random(fake, 2);
    fake->record = fake_random(fake, 4) == 0;
    fake->predict_wrong = fake_random(fake, 4) == 0;
    for (int round = 0; round < 3; round++) {
        char *text = round == 2 ? vr_strdup("") : random_recipe(fake, 1 + fake_random(fake, 14));
        fake_recipe(fake, text);
        for (size_t i = 0; i < vr_decls_count(fake->text->decls); i++)
            vr_decls_at(fake->text->decls, i)->create_before_destroy = fake_random(fake, 6) == 0;
        for (struct fake_thing *thing = fake->things; thing; thing = thing->next)
            thing->unreachable = fake_random(fake, 10) == 0;
        fake->fail_percent = (unsigned)fake_random(fake, 3) * 10;
        if (fake_random(fake, 2))
            fake->crash_after = (long)fake_random(fake, 12);
        if (fake_random(fake, 4) == 0)
            fake->cancel_after = (long)fake_random(fake, 8);
        fake->cancel_how = fake_random(fake, 2) ? VR_CANCEL_NOW : VR_CANCEL_GRACEFUL;
        if (getenv("VMRUN_SEED"))
            printf("round %d\n%s", round, text);
        plan_and_apply(fake);
        fake->fail_percent = 0;
        fake->crash_after = fake->cancel_after = -1;
        for (struct fake_thing *thing = fake->things; thing; thing = thing->next)
            thing->unreachable = false;
        drift(fake);
        bool empty = false;
        for (int tries = 0; tries < 8 && !empty && !fake->broken; tries++)
            empty = plan_and_apply(fake);
        char *strays = fake_strays(fake), *left = fake_show(fake->plan);
        ck_assert_msg(!fake->broken && empty && !*strays,
                      "seed %llu, round %d: %s; strays %s; left %s\n%s", (unsigned long long)seed,
                      round, fake->broken ? fake->broken : "", strays, left, text);
        free(strays);
        free(left);
        free(text);
    }
    ck_assert_uint_eq(fake_count(fake), 0);
    fake_free(fake);
}

START_TEST(random_worlds)
{
    fake_seeds(live_through, 200);
}
END_TEST

/* Time that grows with the number of nodes alone, and no recursion on depth. VMRUN_NODES=100000
 * prints how long it took. */

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void many(const char *shape, size_t count, bool print)
{
    struct fake *fake = fake_new(1);
    struct vr_buf text = {0};
    fake->sync = true;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(shape, "chain") == 0 && i > 0)
            vr_buf_printf(&text, "n%zu: on=n%zu\n", i, i - 1);
        else if (strcmp(shape, "tree") == 0 && i > 0)
            vr_buf_printf(&text, "n%zu: x=n%zu.id\n", i, (i - 1) / 4);
        else
            vr_buf_printf(&text, "n%zu: v=1\n", i);
    }
    fake_recipe(fake, text.data);
    const char *what[] = {"create", "no-op", "destroy"};
    for (int i = 0; i < 3; i++) {
        double start = seconds_now();
        fake_plan_with(fake, (struct vr_plan_options){.destroy = i == 2});
        double planned = seconds_now();
        fake_apply(fake);
        free(fake_take_log(fake));
        if (print)
            printf("%s %zu %s: plan %.3f s, apply %.3f s\n", shape, count, what[i], planned - start,
                   seconds_now() - planned);
    }
    ck_assert_uint_eq(vr_state_count(fake->state), 0);
    ck_assert_uint_eq(fake_count(fake), 0);
    vr_buf_free(&text);
    fake_free(fake);
}

START_TEST(many_nodes)
{
    const char *given = getenv("VMRUN_NODES");
    size_t count = given ? strtoull(given, NULL, 10) : 3000;
    many("wide", count, given);
    many("tree", count, given);
    many("chain", count, given);
}
END_TEST

Suite *run_suite(void);
Suite *run_suite(void)
{
    Suite *suite = suite_create("run");
    TCase *basic = tcase_create("basic");
    tcase_add_test(basic, creates_then_nothing);
    tcase_add_test(basic, updates_what_changed);
    tcase_add_test(basic, deletes_in_reverse);
    tcase_add_test(basic, lets_go_before_it_deletes);
    tcase_add_test(basic, replaces_with_what_lives_on_it);
    tcase_add_test(basic, creates_before_it_destroys);
    tcase_add_test(basic, chain_takes_one_commit_more);
    tcase_add_test(basic, failure_stops_only_what_depends_on_it);
    tcase_add_test(basic, half_done_create_is_adopted);
    tcase_add_test(basic, cancel_ends_in_order);
    tcase_add_test(basic, cancel_now_leaves_the_intent);
    tcase_add_test(basic, notes_are_durable_and_come_back);
    tcase_add_test(basic, longest_path_goes_first);
    tcase_add_test(basic, sync_runner);
    suite_add_tcase(suite, basic);
    TCase *members = tcase_create("members");
    tcase_add_test(members, members_and_their_instances);
    tcase_add_test(members, one_member_is_enough_for_some);
    tcase_add_test(members, a_join_counts_each_instance);
    tcase_add_test(members, dead_members_go_first_and_vanished_ones_are_made_up_for);
    tcase_add_test(members, members_of_the_same_name_are_not_added_twice);
    tcase_add_test(members, members_that_came_before_a_crash_are_found);
    suite_add_tcase(suite, members);
    TCase *worlds = tcase_create("worlds");
    tcase_set_timeout(worlds, 60);
    tcase_add_test(worlds, random_worlds);
    suite_add_tcase(suite, worlds);
    TCase *size = tcase_create("size");
    tcase_set_timeout(size, 120);
    tcase_add_test(size, many_nodes);
    suite_add_tcase(suite, size);
    return suite;
}
