#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/expr.h"
#include "fake_runner.h"

static void planned(struct fake *fake, const char *wanted)
{
    char *got = fake_show(fake->plan);
    for (size_t i = 0; i < vr_plan_error_count(fake->plan); i++)
        ck_abort_msg("%s", vr_plan_error_at(fake->plan, i)->message);
    ck_assert_str_eq(got, wanted);
    free(got);
}

static void shows(struct fake *fake, const char *wanted)
{
    fake_plan(fake);
    planned(fake, wanted);
}

static struct vr_node *node(struct fake *fake, const char *address)
{
    struct vr_node *found = vr_plan_find(fake->plan, address);
    ck_assert_msg(found != NULL, "no %s in the plan", address);
    return found;
}

static void fails(struct fake *fake, const char *code, const char *message)
{
    fake_plan(fake);
    ck_assert_uint_eq(vr_plan_error_count(fake->plan), 1);
    ck_assert_str_eq(vr_plan_error_at(fake->plan, 0)->message, message);
    ck_assert_str_eq(vr_plan_error_at(fake->plan, 0)->code, code);
}

/* A recipe that is applied already. */
static struct fake *applied(const char *text)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, text);
    fake_run(fake);
    free(fake_take_log(fake));
    ck_assert_msg(!fake->broken, "%s", fake->broken);
    return fake;
}

START_TEST(says_who_changed_it)
{
    struct fake *fake = applied("a: v=1 w=1 x=1");
    json_t *fields = fake_find(fake, "t.x.a")->fields;
    json_object_set_new(fields, "w", json_integer(5));
    json_object_set_new(fields, "x", json_integer(5));
    fake_recipe(fake, "a: v=2 w=1 x=2");
    shows(fake, "update t.x.a");
    const struct vr_node *a = node(fake, "t.x.a");
    ck_assert_uint_eq(a->change_count, 3);
    ck_assert_int_eq(a->changes[0].why, VR_WHY_RECIPE);
    ck_assert_int_eq(a->changes[1].why, VR_WHY_OUTSIDE);
    ck_assert_int_eq(a->changes[2].why, VR_WHY_BOTH);
    ck_assert_str_eq(a->reason, "field `v` changed: 1 -> 2; and 2 more");
    ck_assert_int_eq(a->certainty, VR_EXACT);
    fake_recipe(fake, "a: v=1 w=1 x=5");
    shows(fake, "update t.x.a");
    ck_assert_str_eq(node(fake, "t.x.a")->reason, "field `w` changed outside: 5 -> 1");
    fake_free(fake);
}
END_TEST

START_TEST(gone_things_are_made_again)
{
    struct fake *fake = applied("a: name=\"a\"\nb: on=a\nc: a");
    fake_lose(fake, "t.x.b");
    shows(fake, "create t.x.b");
    ck_assert_str_eq(node(fake, "t.x.b")->reason, "was deleted outside");
    fake_lose(fake, "t.x.a");
    shows(fake, "create t.x.a; create t.x.b; update t.x.c");
    ck_assert_str_eq(node(fake, "t.x.b")->reason, "`t.x.a` is made anew");
    fake_free(fake);
}
END_TEST

START_TEST(what_exists_is_adopted)
{
    struct fake *fake =
        applied("a: name=\"a\" v=1\nb: name=\"b\" on=a v=1\nw[]: name=\"w\" count=2");
    struct fake_thing *things = fake->things;
    fake->things = NULL;
    struct fake *other = fake_new(2);
    other->things = things;
    for (struct fake_thing *thing = things; thing; thing = thing->next) {
        vr_map_set(&other->by_id, thing->id, thing);
        vr_map_set(&other->by_address, thing->address, thing);
    }
    fake_recipe(other, "a: name=\"a\" v=1\nb: name=\"b\" on=a v=2\nw[]: name=\"w\" count=2");
    shows(other, "adopt t.x.a; update t.x.b; adopt t.set.w; adopt t.set.w.items[m4]; adopt "
                 "t.set.w.items[m5]");
    ck_assert_str_eq(node(other, "t.x.b")->reason,
                     "exists already and is taken over; field `v` changed: 1 -> 2");
    ck_assert_int_eq(node(other, "t.x.b")->changes[0].why, VR_WHY_ADOPTED);
    fake_apply(other);
    shows(other, "");
    char *strays = fake_strays(other);
    ck_assert_str_eq(strays, "");
    free(strays);
    fake_recipe(other, "z: name=\"z\"");
    other->text->plain->refuse_existing = true;
    shows(other, "delete t.x.a; delete t.x.b; delete t.set.w; forget t.set.w.items[m4]; forget "
                 "t.set.w.items[m5]; create t.x.z");
    fake_free(fake);
    fake_free(other);
}
END_TEST

START_TEST(renamed_in_the_recipe_is_a_move)
{
    struct fake *fake = applied("a: name=\"a\"\nb: on=a");
    fake_recipe(fake, "z: name=\"a\"\nb: on=z");
    shows(fake, "");
    ck_assert_str_eq(node(fake, "t.x.z")->moved_from, "t.x.a");
    fake_apply(fake);
    ck_assert_ptr_nonnull(vr_state_find(fake->state, "t.x.z"));
    ck_assert_ptr_null(vr_state_find(fake->state, "t.x.a"));
    ck_assert_str_eq(vr_state_find(fake->state, "t.x.b")->deps, "[\"t.x.z\"]");
    shows(fake, "");
    ck_assert_ptr_null(node(fake, "t.x.z")->moved_from);
    fake_free(fake);
}
END_TEST

START_TEST(moved_and_removed)
{
    struct fake *fake = applied("a: v=1\nb:\nw[]: count=1\nj@w: ip=item.ip");
    fake_recipe(fake, "z: v=1\nv[]: count=1\nj@v: ip=item.ip");
    vr_decls_moved(fake->text->decls, "t.x.a", "t.x.z");
    vr_decls_moved(fake->text->decls, "t.set.w", "t.set.v");
    vr_decls_removed(fake->text->decls, "t.x.b");
    shows(fake, "forget t.x.b");
    ck_assert_str_eq(node(fake, "t.x.z")->moved_from, "t.x.a");
    fake_apply(fake);
    ck_assert_ptr_null(vr_state_find(fake->state, "t.x.b"));
    ck_assert_ptr_nonnull(fake_find(fake, "t.x.b"));
    shows(fake, "");
    ck_assert_uint_eq(vr_state_count(fake->state), 4);
    fake_free(fake);
}
END_TEST

START_TEST(unreachable_is_neither_drift_nor_absence)
{
    struct fake *fake = applied("a: v=1\nb: a\nc: v=1\nd: a v=1");
    fake->lost_address = "t.x.a";
    fake_recipe(fake, "a: v=2\nb: a\nc: v=2\nd: a v=2\ne: a");
    shows(fake, "unknown t.x.a; update t.x.c; unknown t.x.d; unknown t.x.e");
    ck_assert_str_eq(node(fake, "t.x.a")->error.code, "unreachable");
    ck_assert_str_eq(node(fake, "t.x.d")->reason, "needs `t.x.a`, which is not reachable");
    ck_assert_uint_eq(vr_plan_summary(fake->plan).unknown, 3);
    struct vr_run_summary sum = fake_apply(fake);
    ck_assert_uint_eq(sum.changed, 1);
    ck_assert_uint_eq(sum.skipped, 0);
    fake_recipe(fake, "c: v=2");
    shows(fake, "delete t.x.b; delete t.x.d; unknown t.x.a");
    fake->lost_address = "t.x.b"; /* what it stands on stays, too */
    shows(fake, "delete t.x.d; unknown t.x.a; unknown t.x.b");
    ck_assert_str_eq(node(fake, "t.x.a")->reason,
                     "stays, for `t.x.b` stands on it and is not reachable");
    fake_free(fake);
}
END_TEST

START_TEST(volatile_outputs_are_known_after_apply)
{
    struct fake *fake = applied("a: v=1\nb: x=a.etag\nc: x=b.id");
    fake_recipe(fake, "a: v=2\nb: x=a.etag\nc: x=b.id");
    vr_kind_add_output(fake->text->plain, "etag", VR_OUTPUT_VOLATILE);
    shows(fake, "update t.x.a; update t.x.b");
    ck_assert_int_eq(node(fake, "t.x.b")->certainty, VR_LATER);
    ck_assert(vr_is_unknown(node(fake, "t.x.b")->changes[0].after));
    ck_assert_int_eq(node(fake, "t.x.b")->changes[0].why, VR_WHY_UPSTREAM);
    struct vr_run_summary sum = fake_apply(fake);
    ck_assert_uint_eq(sum.changed, 1); /* it stayed as it was */
    ck_assert_uint_eq(sum.failed, 0);
    shows(fake, "");
    fake_free(fake);
}
END_TEST

START_TEST(secrets_are_compared_by_digest)
{
    struct fake *fake = applied("a:\nb: pw=\"one\" x=a.secret");
    const struct vr_row *row = vr_state_find(fake->state, "t.x.b");
    ck_assert(!strstr(row->inputs, "one") && !strstr(row->inputs, "s3cret"));
    ck_assert(strstr(row->inputs, "\"$from\":[\"t.x.a\",\"secret\"]"));
    ck_assert(!strstr(vr_state_find(fake->state, "t.x.a")->outputs, "s3cret"));
    shows(fake, "");
    fake_recipe(fake, "a:\nb: pw=\"one\" x=a.secret\nc: on=a pw=\"one\"");
    shows(fake, "create t.x.c"); /* what it is on has a secret, but that is none of this field's */
    ck_assert(!node(fake, "t.x.c")->changes[0].secret && node(fake, "t.x.c")->changes[1].secret);
    fake_recipe(fake, "a:\nb: pw=\"two\" x=a.secret");
    shows(fake, "update t.x.b");
    ck_assert_str_eq(node(fake, "t.x.b")->reason, "field `pw` changed: (secret)");
    ck_assert(node(fake, "t.x.b")->changes[0].secret);
    json_t *json = vr_plan_json(fake->plan);
    char *text = json_dumps(json, 0);
    ck_assert(!strstr(text, "one") && !strstr(text, "two") && !strstr(text, "s3cret"));
    free(text);
    json_decref(json);
    fake_apply(fake);
    ck_assert_str_eq(vr_secret_text(json_object_get(fake->last_fields, "pw")), "two");
    shows(fake, "");
    fake_recipe(fake, "a:");
    fake_run(fake);
    json_t *live = json_object_get(fake->last_fields, "x"); /* the delete had the secret again */
    ck_assert(vr_is_secret(live) && strncmp(vr_secret_text(live), "s3cret", 6) == 0);
    fake_free(fake);
}
END_TEST

START_TEST(deletes_have_the_secrets_that_the_recipe_still_says)
{
    struct fake *fake =
        applied("a: name=\"a\" pw=\"one\"\nw[]: count=1\nj@w: ip=item.ip\nk@w: on=j pw=\"two\"");
    fake_plan_with(fake, (struct vr_plan_options){.destroy = true,
                                                  .targets = (const char *[]){"t.x.a"},
                                                  .target_count = 1});
    fake_apply(fake);
    ck_assert_str_eq(vr_secret_text(json_object_get(fake->last_fields, "pw")), "one");
    fake_recipe(fake, "w[]: count=0\nj@w: ip=item.ip\nk@w: on=j pw=\"two\"");
    fake_plan(fake);
    const struct vr_node *member = vr_plan_at(fake->plan, 0);
    ck_assert_int_eq(member->action, VR_ACTION_REMOVE);
    char *address = vr_format("%s/t.x.k", member->address);
    json_t *value = vr_plan_value(fake->plan, node(fake, address));
    ck_assert_str_eq(vr_secret_text(json_object_get(value, "pw")), "two");
    json_decref(value);
    free(address);
    fake_apply(fake);
    ck_assert_msg(!fake->broken, "%s", fake->broken);
    ck_assert_uint_eq(fake_count(fake), 1);
    fake_free(fake);
}
END_TEST

/* A plan of the recipe, or of a target alone, tells so many secrets and has nothing to do. */
static void tells(struct fake *fake, size_t wanted, const char *recipe, const char *target)
{
    fake_recipe(fake, recipe);
    fake->told = 0;
    fake_plan_with(fake,
                   (struct vr_plan_options){.targets = &target, .target_count = target != NULL});
    planned(fake, "");
    ck_assert_uint_eq(fake->told, wanted);
}

START_TEST(secrets_are_read_for_who_needs_them)
{
    const char *recipe = "a:\nb: x=a.secret\nw[]: count=1\nj@w: x=b.secret";
    struct fake *fake = applied(recipe);
    char *was = vr_strdup(vr_state_find(fake->state, "t.x.a")->outputs);
    tells(fake, 2 + 1, recipe, NULL); /* what j reads is not asked for: it is an instance */
    tells(fake, 0, recipe, "t.x.a");
    tells(fake, 1, recipe, "t.x.b");
    const json_t *member = json_array_get(fake_find(fake, "t.set.w")->members, 0);
    char *j =
        vr_format("t.set.w.items[%s]/t.x.j", json_string_value(json_object_get(member, "id")));
    tells(fake, 2 + 1, recipe, j);
    free(j);
    ck_assert_str_eq(vr_state_find(fake->state, "t.x.a")->outputs, was);
    fake_recipe(fake, "a:\nb: x=a.secret\nw[]: count=1\nj@w: x=b.secret\no = a.secret");
    fake_plan_with(
        fake, (struct vr_plan_options){.targets = (const char *[]){"t.x.a"}, .target_count = 1});
    struct vr_error err = {0};
    json_t *value = vr_plan_output(fake->plan, vr_decls_output_at(fake->text->decls, 0), &err);
    ck_assert(vr_is_secret(value));
    json_decref(value);
    /* who was made with it goes: it is told once more */
    fake_recipe(fake, "a:\nw[]: count=0\nj@w:");
    fake_run(fake);
    ck_assert_msg(!fake->broken, "%s", fake->broken);
    tells(fake, 0, "a:\nw[]: count=0\nj@w:", NULL);
    fake_recipe(fake, "a:\nw[]: count=0\nj@w:\nb: x=a.secret"); /* nothing of it is recorded yet */
    fake_run(fake);
    ck_assert(vr_is_secret(json_object_get(fake->last_fields, "x")));
    free(was);
    fake_free(fake);
}
END_TEST

START_TEST(protected_things_stay)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a: name=\"a\"\nb:");
    graph_text_find(fake->text, "a")->protect = true;
    fake_run(fake);
    fake_plan_with(fake, (struct vr_plan_options){.destroy = true});
    ck_assert_uint_eq(vr_plan_error_count(fake->plan), 1);
    ck_assert_str_eq(vr_plan_error_at(fake->plan, 0)->message,
                     "t.x.a is protected and would be deleted");
    fake_recipe(fake, "b:");
    fails(fake, "protected", "t.x.a is protected and would be deleted");
    fake_recipe(fake, "a: name=\"c\"\nb:");
    graph_text_find(fake->text, "a")->protect = true;
    fails(fake, "protected",
          "t.x.a is protected and would be replaced (field `name` changed: a -> c, forces "
          "replacement)");
    fake_free(fake);
}
END_TEST

START_TEST(ignored_changes_and_triggers)
{
    struct fake *fake = applied("a: v=1 w=1\nb: v=1");
    fake_recipe(fake, "a: v=2 w=1\nb: v=1");
    vr_decl_ignore(fake->text->decls, graph_text_find(fake->text, "a"), "v");
    shows(fake, "");
    fake_recipe(fake, "a: v=1 w=1\nb: v=1");
    struct vr_exprs *exprs = vr_decls_exprs(fake->text->decls);
    struct vr_decl *a = graph_text_find(fake->text, "a"), *b = graph_text_find(fake->text, "b");
    vr_decl_trigger(fake->text->decls, b, vr_expr_ref(exprs, a, json_pack("[s]", "v")));
    fake_run(fake);
    fake_recipe(fake, "a: v=2 w=1\nb: v=1");
    exprs = vr_decls_exprs(fake->text->decls);
    a = graph_text_find(fake->text, "a");
    b = graph_text_find(fake->text, "b");
    vr_decl_trigger(fake->text->decls, b, vr_expr_ref(exprs, a, json_pack("[s]", "v")));
    shows(fake, "replace t.x.b; update t.x.a");
    ck_assert_str_eq(node(fake, "t.x.b")->reason,
                     "a value of `replace_triggered_by` changed, forces replacement");
    fake_free(fake);
}
END_TEST

START_TEST(targets_and_excludes)
{
    struct fake *fake = fake_new(1);
    fake_recipe(fake, "a:\nb: a\nc: b\nd:");
    const char *target[] = {"t.x.b"};
    fake_plan_with(fake, (struct vr_plan_options){.targets = target, .target_count = 1});
    planned(fake, "create t.x.a; create t.x.b");
    ck_assert_uint_eq(vr_plan_summary(fake->plan).left_out, 2);
    fake_plan_with(fake, (struct vr_plan_options){.excludes = target, .exclude_count = 1});
    planned(fake, "create t.x.a; create t.x.d");
    fake_run(fake);
    fake_recipe(fake, "d: v=1");
    fake_plan_with(fake, (struct vr_plan_options){.targets = target, .target_count = 1});
    planned(fake, "delete t.x.b");
    fake_recipe(fake, "a:\nb: a\nc: b\nd:");
    fake_plan_with(fake,
                   (struct vr_plan_options){.destroy = true, .targets = target, .target_count = 1});
    planned(fake, "delete t.x.b; delete t.x.c");
    fake_free(fake);
}
END_TEST

START_TEST(asked_to_replace_and_only_to_look)
{
    struct fake *fake = applied("a: v=1\nb: on=a");
    const char *replace[] = {"t.x.b"};
    fake_plan_with(fake, (struct vr_plan_options){.replace = replace, .replace_count = 1});
    planned(fake, "replace t.x.b");
    ck_assert_str_eq(node(fake, "t.x.b")->reason, "asked for");
    json_object_set_new(fake_find(fake, "t.x.a")->fields, "v", json_integer(7));
    fake_lose(fake, "t.x.b");
    fake_plan_with(fake, (struct vr_plan_options){.refresh_only = true});
    planned(fake, "forget t.x.b");
    ck_assert_uint_eq(node(fake, "t.x.a")->change_count, 1);
    fake_apply(fake);
    free(fake_take_log(fake));
    shows(fake, "update t.x.a; create t.x.b");
    fake_free(fake);
}
END_TEST

START_TEST(a_read_only_kind)
{
    struct fake *fake = applied("a: name=\"a\"\nb: v=1");
    fake_recipe(fake, "a: name=\"a\"\nb: v=1");
    fake->text->plain->verbs = 1u << VR_VERB_READ;
    shows(fake, "");
    fake_lose(fake, "t.x.a");
    fails(fake, "absent", "t.x.a does not exist, and its kind cannot make it");
    fake_free(fake);
}
END_TEST

START_TEST(saved_plans)
{
    struct fake *fake = fake_new(1);
    struct vr_error err = {0};
    fake_recipe(fake, "a: name=\"a\" v=1\nb: on=a x=a.id");
    json_t *saved = vr_plan_json(fake_plan(fake));
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(saved, "summary"), "add")),
                     2);
    fake_plan(fake);
    ck_assert(vr_plan_matches(fake->plan, saved, &err));
    fake_recipe(fake, "a: name=\"a\" v=2\nb: on=a x=a.id");
    ck_assert(!vr_plan_matches(fake_plan(fake), saved, &err));
    ck_assert_str_eq(err.message, "plan no longer holds: t.x.a differs in its changes now");
    vr_error_clear(&err);
    fake_recipe(fake, "a: name=\"a\" v=1");
    ck_assert(!vr_plan_matches(fake_plan(fake), saved, &err));
    ck_assert_str_eq(err.message, "plan no longer holds: t.x.b has nothing to do now");
    vr_error_clear(&err);
    json_decref(saved);
    fake_free(fake);
}
END_TEST

START_TEST(outputs_and_values)
{
    struct fake *fake = fake_new(1);
    struct vr_error err = {0};
    fake_recipe(fake, "a: name=\"a\"\nb: on=a\no = b\np = a.id");
    fake_plan(fake);
    json_t *value = vr_plan_output(fake->plan, vr_decls_output_at(fake->text->decls, 1), &err);
    ck_assert(vr_is_unknown(value));
    json_decref(value);
    fake_apply(fake);
    value = vr_plan_output(fake->plan, vr_decls_output_at(fake->text->decls, 1), &err);
    ck_assert_str_eq(json_string_value(value), "/t.x/a");
    json_decref(value);
    value = vr_plan_output(fake->plan, vr_decls_output_at(fake->text->decls, 0), &err);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(value, "on"), "id")),
                     "/t.x/a");
    ck_assert_ptr_null(json_object_get(json_object_get(value, "on"), "$ref"));
    json_decref(value);
    value = vr_plan_value(fake->plan, node(fake, "t.x.a"));
    ck_assert_str_eq(json_string_value(json_object_get(value, "name")), "a");
    json_decref(value);
    fake_free(fake);
}
END_TEST

START_TEST(cancelled_plans_end)
{
    struct fake *fake = applied("a:\nb: a\nw[]: count=1\nj@w: ip=item.ip");
    fake->cancel_plan = true;
    fake_plan(fake);
    ck_assert_uint_eq(vr_plan_error_count(fake->plan), 1);
    ck_assert_str_eq(vr_plan_error_at(fake->plan, 0)->code, "cancelled");
    fake->cancel_plan = false;
    fake_free(fake);
}
END_TEST

START_TEST(a_state_that_moved_on_is_refused)
{
    struct fake *fake = fake_new(1);
    struct vr_error err = {0};
    fake_recipe(fake, "a:");
    fake_plan(fake);
    vr_state_set_meta(fake->state, "x", json_true());
    ck_assert(vr_state_sync(fake->state, &err));
    struct vr_run_options options = {
        .plan = fake->plan, .runner = &fake->runner, .host = &fake->host};
    ck_assert_ptr_null(vr_run_new(&options, &err));
    ck_assert_str_eq(err.code, "moved");
    vr_error_clear(&err);
    fake_free(fake);
}
END_TEST

START_TEST(a_chain_that_did_not_change_is_read_at_once)
{
    struct fake *fake =
        applied("a: name=\"a\"\nb: x=a.id\nc: x=b.id\nd: x=c.id\ns: x=a.secret\nt: x=s.id");
    double start = fake->clock;
    size_t reads = fake->reads;
    shows(fake, "");
    ck_assert_uint_eq(fake->reads - reads, 6);
    ck_assert_double_lt(fake->clock - start, 0.0025); /* only who needs a secret waits for it */
    json_object_set_new(fake_find(fake, "t.x.a")->fields, "name", json_string("z"));
    fake_recipe(fake, "a: name=\"y\"\nb: x=a.id\nc: x=b.id\nd: x=c.id\ns: x=a.secret\nt: x=s.id");
    shows(fake, "replace t.x.a; update t.x.b; update t.x.s");
    fake_free(fake);
}
END_TEST

Suite *plan_suite(void);
Suite *plan_suite(void)
{
    Suite *suite = suite_create("plan");
    TCase *tests = tcase_create("plan");
    tcase_add_test(tests, says_who_changed_it);
    tcase_add_test(tests, gone_things_are_made_again);
    tcase_add_test(tests, what_exists_is_adopted);
    tcase_add_test(tests, renamed_in_the_recipe_is_a_move);
    tcase_add_test(tests, moved_and_removed);
    tcase_add_test(tests, unreachable_is_neither_drift_nor_absence);
    tcase_add_test(tests, volatile_outputs_are_known_after_apply);
    tcase_add_test(tests, secrets_are_compared_by_digest);
    tcase_add_test(tests, deletes_have_the_secrets_that_the_recipe_still_says);
    tcase_add_test(tests, secrets_are_read_for_who_needs_them);
    tcase_add_test(tests, protected_things_stay);
    tcase_add_test(tests, ignored_changes_and_triggers);
    tcase_add_test(tests, targets_and_excludes);
    tcase_add_test(tests, asked_to_replace_and_only_to_look);
    tcase_add_test(tests, a_read_only_kind);
    tcase_add_test(tests, saved_plans);
    tcase_add_test(tests, outputs_and_values);
    tcase_add_test(tests, a_chain_that_did_not_change_is_read_at_once);
    tcase_add_test(tests, cancelled_plans_end);
    tcase_add_test(tests, a_state_that_moved_on_is_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
