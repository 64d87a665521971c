#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "engine/expr.h"
#include "fake_runner.h"

static void set_up_fields(struct vr_kind *kind)
{
    vr_kind_add_field(kind, "rules", 0, "name");
    vr_kind_add_field(kind, "rules.port", 0, NULL);
    vr_kind_add_field(kind, "rules.proto", VR_FIELD_REPLACE, NULL);
    vr_kind_add_field(kind, "ours", VR_FIELD_OWNED, "name");
    vr_kind_add_field(kind, "bag", VR_FIELD_UNORDERED, NULL);
    vr_kind_add_field(kind, "mine", VR_FIELD_OWNED | VR_FIELD_UNORDERED, NULL);
    vr_kind_add_field(kind, "filled", VR_FIELD_COMPUTED, NULL);
    vr_kind_add_field(kind, "how", VR_FIELD_IGNORE, NULL);
    vr_kind_add_field(kind, "fixed", VR_FIELD_REPLACE, NULL);
    vr_kind_add_field(kind, "box", 0, NULL);
    vr_kind_add_field(kind, "box.filled", VR_FIELD_COMPUTED, NULL);
    vr_kind_add_field(kind, "box.key", VR_FIELD_SECRET, NULL);
}

static void declare(struct fake *fake, const char *fields)
{
    json_t *object = json_loads(fields, 0, NULL), *value;
    const char *key;
    ck_assert_msg(object != NULL, "not JSON: %s", fields);
    fake_recipe(fake, "a: name=\"a\"");
    set_up_fields(fake->text->plain);
    json_object_foreach(object, key, value)
    {
        vr_decl_set(fake->text->decls, graph_text_find(fake->text, "a"), key,
                    vr_expr_literal(vr_decls_exprs(fake->text->decls), json_incref(value)), "r.lua",
                    1);
    }
    json_decref(object);
}

static void add_value(struct vr_buf *buf, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : vr_strdup("-");
    vr_buf_puts(buf, strstr(text, "$digest") ? "(secret)" : text);
    free(text);
}

static char *describe(struct fake *fake)
{
    struct vr_buf buf = {0};
    const struct vr_node *node = vr_plan_find(fake->plan, "t.x.a");
    for (size_t i = 0; i < node->change_count; i++) {
        const struct vr_change *change = &node->changes[i];
        vr_buf_printf(&buf, "%s%s ", i ? "; " : "", change->path);
        add_value(&buf, change->before);
        vr_buf_puts(&buf, ">");
        add_value(&buf, change->after);
        vr_buf_printf(&buf, " %s%s", vr_why_name(change->why), change->replace ? "!" : "");
    }
    return vr_buf_steal(&buf);
}

/* What the plan says of fields that were applied, are seen (NULL: as applied) and are declared
 * (NULL: as applied) now; and that it says nothing more once it was carried out. */
static void gives(const char *recorded, const char *seen, const char *declared, const char *wanted)
{
    struct fake *fake = fake_new(1);
    declare(fake, recorded);
    fake_run(fake);
    struct fake_thing *thing = fake_find(fake, "t.x.a");
    if (seen) {
        json_decref(thing->fields);
        thing->fields = json_loads(seen, 0, NULL);
        json_object_set_new(thing->fields, "name", json_string("a"));
    }
    declare(fake, declared ? declared : recorded);
    fake_plan(fake);
    char *got = describe(fake);
    ck_assert_str_eq(got, wanted);
    free(got);
    fake_apply(fake);
    fake_plan(fake);
    if (!seen) {
        char *left = fake_show(fake->plan);
        ck_assert_str_eq(left, "");
        free(left);
    }
    fake_free(fake);
}

START_TEST(scalars)
{
    gives("{\"v\":1}", NULL, NULL, "");
    gives("{\"v\":1}", NULL, "{\"v\":2}", "v 1>2 recipe");
    gives("{\"v\":1}", "{\"v\":3}", NULL, "v 3>1 outside");
    gives("{\"v\":1}", "{\"v\":3}", "{\"v\":2}", "v 3>2 both");
    gives("{\"v\":1}", "{\"v\":3}", "{\"v\":3}", "");
    gives("{\"v\":1}", "{\"v\":1.0}", NULL, "");
    gives("{\"v\":true}", NULL, "{\"v\":\"true\"}", "v true>\"true\" recipe");
    gives("{}", NULL, "{\"v\":1}", "v ->1 recipe");
    gives("{\"v\":1}", NULL, "{}", "v 1>- recipe");
    gives("{\"fixed\":1}", NULL, "{\"fixed\":2}", "fixed 1>2 recipe!");
}
END_TEST

START_TEST(not_seen_is_compared_with_the_record)
{
    gives("{\"v\":1}", "{}", NULL, "");
    gives("{\"v\":1}", "{}", "{\"v\":2}", "v 1>2 recipe");
    gives("{\"box\":{\"a\":1,\"b\":2}}", "{}", "{\"box\":{\"a\":1}}", "box.b 2>- recipe");
}
END_TEST

START_TEST(computed_and_ignored)
{
    gives("{\"filled\":1}", NULL, "{}", "");
    gives("{\"filled\":1}", "{\"filled\":2}", "{}", "");
    gives("{\"filled\":1}", "{\"filled\":2}", NULL, "filled 2>1 outside");
    gives("{\"how\":1}", NULL, "{\"how\":2}", "");
    gives("{\"v\":1}", "{\"v\":1,\"theirs\":1}", NULL, "");
}
END_TEST

START_TEST(objects_by_declared_keys)
{
    gives("{\"box\":{\"a\":1}}", "{\"box\":{\"a\":1,\"b\":2}}", NULL, "");
    gives("{\"box\":{\"a\":1,\"b\":2}}", NULL, "{\"box\":{\"a\":2}}",
          "box.a 1>2 recipe; box.b 2>- recipe");
    gives("{\"box\":{\"a\":1,\"filled\":2}}", NULL, "{\"box\":{\"a\":1}}", "");
    gives("{\"box\":{\"a\":{\"b\":{\"c\":1}}}}", "{\"box\":{\"a\":{\"b\":{\"c\":2}}}}", NULL,
          "box.a.b.c 2>1 outside");
    gives("{\"box\":{}}", "{}", NULL, "");
    gives("{\"box\":{\"a\":[]}}", "{\"box\":{}}", NULL, "");
}
END_TEST

START_TEST(lists_by_position)
{
    gives("{\"l\":[1,2]}", NULL, "{\"l\":[1,3]}", "l[1] 2>3 recipe");
    gives("{\"l\":[1]}", NULL, "{\"l\":[1,2]}", "l[1] ->2 recipe");
    gives("{\"l\":[1,2]}", NULL, "{\"l\":[1]}", "l[1] 2>- recipe");
    gives("{\"l\":[1]}", "{\"l\":[1,2]}", NULL, "l[1] 2>- outside");
    gives("{\"l\":[{\"a\":1}]}", "{\"l\":[{\"a\":2,\"b\":1}]}", NULL, "l[0].a 2>1 outside");
}
END_TEST

START_TEST(lists_by_key)
{
    gives("{\"rules\":[{\"name\":\"x\",\"port\":1},{\"name\":\"y\",\"port\":2}]}",
          "{\"rules\":[{\"name\":\"y\",\"port\":2},{\"name\":\"x\",\"port\":1}]}", NULL, "");
    gives("{\"rules\":[{\"name\":\"x\",\"port\":1}]}", NULL,
          "{\"rules\":[{\"name\":\"new\",\"port\":5},{\"name\":\"x\",\"port\":2}]}",
          "rules[new] ->{\"name\":\"new\",\"port\":5} recipe; rules[x].port 1>2 recipe");
    gives("{\"rules\":[{\"name\":\"x\"},{\"name\":\"y\"}]}", NULL, "{\"rules\":[{\"name\":\"y\"}]}",
          "rules[x] {\"name\":\"x\"}>- recipe");
    gives("{\"rules\":[{\"name\":\"x\"}]}", "{\"rules\":[{\"name\":\"x\"},{\"name\":\"z\"}]}", NULL,
          "rules[z] {\"name\":\"z\"}>- outside");
    gives("{\"rules\":[{\"name\":\"x\",\"proto\":\"tcp\"}]}", NULL,
          "{\"rules\":[{\"name\":\"x\",\"proto\":\"udp\"}]}",
          "rules[x].proto \"tcp\">\"udp\" recipe!");
}
END_TEST

START_TEST(foreign_elements_are_left_alone)
{
    gives("{\"ours\":[{\"name\":\"x\"}]}", "{\"ours\":[{\"name\":\"x\"},{\"name\":\"theirs\"}]}",
          NULL, "");
    gives("{\"ours\":[{\"name\":\"x\"},{\"name\":\"y\"}]}",
          "{\"ours\":[{\"name\":\"x\"},{\"name\":\"y\"},{\"name\":\"theirs\"}]}",
          "{\"ours\":[{\"name\":\"x\"}]}", "ours[y] {\"name\":\"y\"}>- recipe");
    gives("{\"ours\":[{\"name\":\"x\"}]}", "{\"ours\":[{\"name\":\"theirs\"}]}", NULL,
          "ours[x] ->{\"name\":\"x\"} outside");
    gives("{\"mine\":[\"a\",\"b\"]}", "{\"mine\":[\"c\",\"b\",\"a\"]}", "{\"mine\":[\"a\"]}",
          "mine[b] \"b\">- recipe");
}
END_TEST

START_TEST(order_means_nothing)
{
    gives("{\"bag\":[1,2,2]}", "{\"bag\":[2,1,2]}", NULL, "");
    gives("{\"bag\":[\"a\"]}", "{\"bag\":[\"b\"]}", NULL,
          "bag[a] ->\"a\" outside; bag[b] \"b\">- outside");
}
END_TEST

START_TEST(secrets)
{
    gives("{\"box\":{\"key\":\"one\"}}", "{}", NULL, "");
    gives("{\"box\":{\"key\":\"one\"}}", "{}", "{\"box\":{\"key\":\"two\"}}",
          "box.key (secret)>(secret) recipe");
    gives("{\"box\":{\"key\":\"one\"}}", "{\"box\":{\"key\":\"one\"}}", NULL, "");
    gives("{\"box\":{\"key\":\"one\"}}", "{\"box\":{\"key\":\"other\"}}", NULL,
          "box.key (secret)>(secret) outside");
    gives("{\"v\":{\"$secret\":\"x\"}}", NULL, NULL, "");
    gives("{\"v\":{\"$secret\":\"x\"}}", NULL, "{\"v\":{\"$secret\":\"y\"}}",
          "v (secret)>(secret) recipe");
}
END_TEST

START_TEST(without_the_key_a_secret_is_unknown_not_changed)
{
    struct fake *fake = fake_new(1);
    declare(fake, "{\"pw\":\"one\"}");
    fake_run(fake);
    char *path = vr_format("%s/digest.key", fake->root);
    ck_assert_int_eq(remove(path), 0);
    free(path);
    fake_reopen(fake);
    declare(fake, "{\"pw\":\"two\"}");
    fake_plan(fake);
    char *got = describe(fake);
    ck_assert_str_eq(got, "");
    free(got);
    fake_free(fake);
}
END_TEST

START_TEST(a_kinds_own_diff)
{
    struct fake *fake = fake_new(1);
    declare(fake, "{\"v\":1,\"box\":{\"key\":\"k\"}}");
    fake_run(fake);
    fake->own_changes = json_loads("[{\"path\":\"files[a].text\",\"old\":\"x\",\"new\":\"y\"},"
                                   "{\"path\":\"box.key\",\"old\":\"k\",\"new\":\"l\"},"
                                   "{\"path\":\"fixed\",\"old\":1,\"new\":2}]",
                                   0, NULL);
    fake_plan(fake);
    char *got = describe(fake);
    ck_assert_str_eq(
        got,
        "files[a].text \"x\">\"y\" outside; box.key (secret)>(secret) outside; fixed 1>2 outside!");
    free(got);
    json_decref(fake->own_changes);
    fake->own_changes = json_array();
    json_object_set_new(fake_find(fake, "t.x.a")->fields, "v", json_integer(7));
    fake_plan(fake);
    got = fake_show(fake->plan);
    ck_assert_str_eq(got, "");
    free(got);
    fake_free(fake);
}
END_TEST

Suite *diff_suite(void);
Suite *diff_suite(void)
{
    Suite *suite = suite_create("diff");
    TCase *tests = tcase_create("diff");
    tcase_add_test(tests, scalars);
    tcase_add_test(tests, not_seen_is_compared_with_the_record);
    tcase_add_test(tests, computed_and_ignored);
    tcase_add_test(tests, objects_by_declared_keys);
    tcase_add_test(tests, lists_by_position);
    tcase_add_test(tests, lists_by_key);
    tcase_add_test(tests, foreign_elements_are_left_alone);
    tcase_add_test(tests, order_means_nothing);
    tcase_add_test(tests, secrets);
    tcase_add_test(tests, without_the_key_a_secret_is_unknown_not_changed);
    tcase_add_test(tests, a_kinds_own_diff);
    suite_add_tcase(suite, tests);
    return suite;
}
