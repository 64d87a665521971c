#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "engine/decl.h"
#include "engine/expr.h"

static struct vr_kind *kind, *set;
static struct vr_decls *decls;
static struct vr_exprs *exprs;
static struct vr_decl *a, *w;
static struct vr_scope *scope;

/* What the lookup knows. */
static json_t *known;      /* of a; NULL: nothing */
static json_t *members;    /* of w: NULL: unknown */
static size_t current;     /* SIZE_MAX: outside */
static int depth, visited; /* enters without an out; enters */
static bool partly;

static json_t *look_ref(void *payload, const struct vr_decl *decl, bool whole, bool *partial)
{
    (void)payload;
    (void)whole;
    *partial = partly;
    if (decl->scope) /* a template's instance: its name is its member's */
        return json_pack("{sO}", "id", json_object_get(json_array_get(members, current), "name"));
    return known ? json_incref(known) : NULL;
}

static json_t *look_item(void *payload, const struct vr_scope *of, bool whole, bool *partial)
{
    (void)payload;
    (void)of;
    (void)whole;
    *partial = partly;
    return json_incref(json_array_get(members, current));
}

static size_t count_members(void *payload, const struct vr_scope *of)
{
    (void)payload;
    (void)of;
    return members ? json_array_size(members) : SIZE_MAX;
}

static void enter(void *payload, const struct vr_scope *of, size_t index)
{
    (void)payload;
    (void)of;
    depth += index == SIZE_MAX ? -1 : 1;
    visited += index != SIZE_MAX;
    current = index;
}

static const struct vr_lookup lookup = {look_ref, look_item, count_members, enter, NULL};

static void set_up(void)
{
    kind = vr_kind_new("t.x");
    vr_kind_add_output(kind, "id", 0);
    vr_kind_add_output(kind, "token", VR_OUTPUT_SECRET);
    set = vr_kind_new("t.set");
    vr_kind_set_collection(set, "items", NULL);
    decls = vr_decls_new();
    exprs = vr_decls_exprs(decls);
    a = vr_decls_add(decls, kind, "a", "t.x.a", NULL, "r.lua", 1, NULL);
    w = vr_decls_add(decls, set, "w", "t.set.w", NULL, "r.lua", 2, NULL);
    scope = vr_decls_scope(decls, w, NULL);
    known = json_loads("{\"id\": \"i-1\", \"port\": 6443, \"ratio\": 2.0, \"tags\": {\"k-1\": "
                       "\"v\"}, \"list\": [1, {\"x\": \"y\"}],"
                       "\"token\": \"t0k\", \"none\": null}",
                       0, NULL);
    members = json_loads("[{\"name\": \"m1\"}, {\"name\": \"m2\"}, {\"name\": \"m3\"}]", 0, NULL);
    current = SIZE_MAX;
    depth = visited = 0;
    partly = false;
}

static void tear_down(void)
{
    json_decref(known);
    json_decref(members);
    known = members = NULL;
    vr_decls_free(decls);
    vr_kind_free(kind);
    vr_kind_free(set);
}

static struct vr_expr *text(const char *value)
{
    return vr_expr_literal(exprs, json_string(value));
}

static struct vr_expr *secret(const char *value)
{
    return vr_expr_literal(exprs, json_pack("{ss}", "$secret", value));
}

/* a.KEY.KEY...; digits are positions from 0 */
static struct vr_expr *ref(const char *path)
{
    struct vr_expr *expr = vr_expr_ref(exprs, a, NULL);
    char *copy = vr_strdup(path), *rest = copy;
    for (char *part; (part = strsep(&rest, "."));)
        expr = vr_expr_index(
            exprs, expr, strspn(part, "0123456789") ? json_integer(atoi(part)) : json_string(part));
    free(copy);
    return expr;
}

static struct vr_expr *join(struct vr_expr *x, struct vr_expr *y)
{
    return vr_expr_join(exprs, (struct vr_expr *[]){x, y}, 2);
}

static struct vr_expr *call(const char *name, struct vr_expr *x)
{
    return vr_expr_call(exprs, name, &x, 1, NULL);
}

static void evaluates(const struct vr_expr *expr, const char *wanted)
{
    struct vr_error err = {0};
    json_t *value = vr_expr_eval(expr, &lookup, &err);
    ck_assert_msg(value != NULL, "%s", err.message);
    char *got = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    ck_assert_str_eq(got, wanted);
    ck_assert_int_eq(depth, 0);
    free(got);
    json_decref(value);
}

static void fails(const struct vr_expr *expr, const char *code, const char *message)
{
    struct vr_error err = {0};
    ck_assert_ptr_null(vr_expr_eval(expr, &lookup, &err));
    ck_assert_str_eq(err.code, code);
    ck_assert_str_eq(err.message, message);
    ck_assert_int_eq(depth, 0);
    vr_error_clear(&err);
}

static void prints(const struct vr_expr *expr, const char *wanted)
{
    char *got = vr_expr_text(expr);
    ck_assert_str_eq(got, wanted);
    free(got);
}

START_TEST(references_follow_their_path)
{
    evaluates(ref("id"), "\"i-1\"");
    evaluates(ref("tags.k-1"), "\"v\"");
    evaluates(ref("list.1.x"), "\"y\"");
    evaluates(ref("missing"), "null");
    evaluates(ref("tags.missing"), "null");
    fails(ref("none.x"), "path", "t.x.a.none is null and has no part 'x'");
    fails(ref("id.x"), "path", "t.x.a.id is a text and has no part 'x'");
    fails(ref("list.2"), "path", "t.x.a.list has 2 elements, so there is no [3]");
    fails(ref("tags.0"), "path", "t.x.a.tags is a table, not a list, so there is no [1]");
    fails(ref("token.x"), "path", "t.x.a.token is a text and has no part 'x'");
    partly = true;
    evaluates(ref("missing.x"), "{\"$unknown\":\"t.x.a.missing.x\"}");
    evaluates(ref("tags.missing"), "null");
}
END_TEST

START_TEST(unknown_goes_on)
{
    json_decref(known);
    known = NULL;
    evaluates(ref("id"), "{\"$unknown\":\"t.x.a.id\"}");
    evaluates(join(text("x"), ref("tags.k-1")), "{\"$unknown\":\"t.x.a.tags[\\\"k-1\\\"]\"}");
    evaluates(join(secret("s"), ref("id")), "{\"$unknown\":\"t.x.a.id\"}");
    evaluates(call("upper", ref("id")), "{\"$unknown\":\"t.x.a.id\"}");
    struct vr_expr *list = vr_expr_array(exprs, (struct vr_expr *[]){text("x"), ref("id")}, 2);
    evaluates(list, "[\"x\",{\"$unknown\":\"t.x.a.id\"}]");
    evaluates(call("json", list), "{\"$unknown\":\"t.x.a.id\"}");
    evaluates(call("length", list), "2"); /* only moves things about */
    evaluates(call("first", list), "\"x\"");
    evaluates(call("last", list), "{\"$unknown\":\"t.x.a.id\"}");
}
END_TEST

START_TEST(joins_make_text)
{
    evaluates(join(join(text("https://"), ref("id")), join(text(":"), ref("port"))),
              "\"https://i-1:6443\"");
    evaluates(join(text("x"), ref("ratio")), "\"x2.0\"");
    fails(join(text("x"), ref("list")), "join", "t.x.a.list is a list, which has no text to join");
    fails(join(text("x"), ref("missing")), "join",
          "t.x.a.missing is null, which has no text to join");
    fails(join(text("x"), vr_expr_ref(exprs, a, NULL)), "join",
          "t.x.a is a table, which has no text to join");
    struct vr_expr *expr = text("");
    for (int i = 0; i < 1000; i++)
        expr = join(expr, text("abc"));
    ck_assert_uint_lt(expr->depth, 100);
    json_t *value = vr_expr_eval(expr, NULL, NULL);
    ck_assert_uint_eq(json_string_length(value), 3000);
    json_decref(value);
}
END_TEST

START_TEST(secrets_taint)
{
    evaluates(join(text("x"), secret("s")), "{\"$secret\":\"xs\"}");
    evaluates(call("base64", secret("s")), "{\"$secret\":\"cw==\"}");
    evaluates(call("sha256", secret("")),
              "{\"$secret\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}");
    struct vr_expr *object = vr_expr_object(exprs, (const char *[]){"p", "q"},
                                            (struct vr_expr *[]){secret("s"), text("t")}, 2);
    evaluates(object, "{\"p\":{\"$secret\":\"s\"},\"q\":\"t\"}");
    evaluates(call("json", object), "{\"$secret\":\"{\\\"p\\\":\\\"s\\\",\\\"q\\\":\\\"t\\\"}\"}");
    evaluates(call("keys", object), "[\"p\",\"q\"]");
    evaluates(call("values", object), "[{\"$secret\":\"s\"},\"t\"]");
    evaluates(call("length", secret("abc")), "{\"$secret\":\"3\"}");
    evaluates(ref("token"), "{\"$secret\":\"t0k\"}"); /* its kind says so */
    evaluates(vr_expr_secret(exprs, ref("list")),
              "[{\"$secret\":\"1\"},{\"x\":{\"$secret\":\"y\"}}]");
    fails(call("json_decode", secret("{canary")), "function",
          "json_decode: refuses its arguments, which are secret");
    fails(vr_expr_index(exprs, secret("s"), json_string("x")), "path",
          "(secret) is a secret and has no part 'x'");
    ck_assert(vr_expr_tainted(join(text("x"), secret("s"))));
    ck_assert(vr_expr_tainted(ref("token")));
    ck_assert(!vr_expr_tainted(ref("id")));
    ck_assert(vr_expr_tainted(vr_expr_secret(exprs, ref("id"))));
}
END_TEST

START_TEST(index_picks_what_is_there)
{
    struct vr_expr *list = vr_expr_array(exprs, (struct vr_expr *[]){text("x"), ref("id")}, 2);
    ck_assert_ptr_eq(vr_expr_index(exprs, list, json_integer(1)), list->items[1]);
    struct vr_expr *object = vr_expr_object(exprs, (const char *[]){"p"}, &list, 1);
    ck_assert_ptr_eq(vr_expr_index(exprs, object, json_string("p")), list);
    struct vr_expr *literal = vr_expr_literal(exprs, json_pack("{s[i]}", "n", 4));
    evaluates(
        vr_expr_index(exprs, vr_expr_index(exprs, literal, json_string("n")), json_integer(0)),
        "4");
    evaluates(vr_expr_index(exprs, literal, json_string("none")), "null");
    struct vr_expr *decoded = call("yaml_decode", text("a: {b: 7}"));
    evaluates(
        vr_expr_index(exprs, vr_expr_index(exprs, decoded, json_string("a")), json_string("b")),
        "7");
    fails(vr_expr_index(exprs, list, json_integer(2)), "path",
          "{ \"x\", t.x.a.id } has 2 elements, so there is no [3]");
}
END_TEST

START_TEST(gathers_go_over_members)
{
    struct vr_expr *item = vr_expr_item(exprs, scope, json_pack("[s]", "name"));
    struct vr_expr *names = vr_expr_gather(exprs, scope, item);
    evaluates(names, "[\"m1\",\"m2\",\"m3\"]");
    struct vr_decl *j = vr_decls_add(decls, kind, "j", "t.x.j", scope, "r.lua", 3, NULL);
    struct vr_expr *nodes = vr_expr_gather(exprs, scope, vr_expr_ref(exprs, j, NULL));
    visited = 0;
    evaluates(vr_expr_index(exprs, vr_expr_index(exprs, nodes, json_integer(1)), json_string("id")),
              "\"m2\"");
    ck_assert_int_eq(visited, 1); /* the others are not looked at */
    fails(vr_expr_index(exprs, nodes, json_integer(3)), "path",
          "each(t.set.w.items, t.x.j) has 3 elements, so there is no [4]");
    fails(vr_expr_gather(exprs, scope, vr_expr_index(exprs, item, json_string("x"))), "path",
          "t.set.w.items[*].name is a text and has no part 'x'");
    evaluates(vr_expr_gather(exprs, scope, call("length", names)), "[3,3,3]"); /* nested */
    json_decref(members);
    members = NULL;
    evaluates(names, "{\"$unknown\":\"each(t.set.w.items, t.set.w.items[*].name)\"}");
    evaluates(vr_expr_index(exprs, names, json_integer(0)),
              "{\"$unknown\":\"each(t.set.w.items, t.set.w.items[*].name)[1]\"}");
}
END_TEST

START_TEST(text_is_as_people_write_it)
{
    prints(ref("tags.k-1"), "t.x.a.tags[\"k-1\"]");
    prints(ref("list.0.x"), "t.x.a.list[1].x");
    prints(join(ref("id"), text("/\"x\"")), "t.x.a.id .. \"/\\\"x\\\"\"");
    prints(call("upper", join(text("a"), secret("s"))), "upper(\"a\" .. (secret))");
    prints(vr_expr_secret(exprs, text("s")), "(secret)");
    prints(
        vr_expr_literal(exprs, json_loads("{\"a\": [1, 2.5, true, null], \"b-c\": {}}", 0, NULL)),
        "{ a = { 1, 2.5, true, null }, [\"b-c\"] = {} }");
    prints(vr_expr_object(exprs, (const char *[]){"k"}, (struct vr_expr *[]){ref("id")}, 1),
           "{ k = t.x.a.id }");
    prints(vr_expr_array(exprs, NULL, 0), "{}");
}
END_TEST

struct needs {
    char text[256];
};

static void note_need(void *payload, const struct vr_need *need)
{
    struct needs *needs = payload;
    char part[64];
    snprintf(part, sizeof(part), "%s%s%s", needs->text[0] ? " " : "", need->gathered ? "*" : "",
             need->decl ? need->decl->name : "item");
    strcat(needs->text, part);
    if (need->member != SIZE_MAX) {
        snprintf(part, sizeof(part), "[%zu]", need->member);
        strcat(needs->text, part);
    }
}

static void needs(const struct vr_expr *expr, const char *wanted)
{
    struct needs got = {""};
    vr_expr_refs(expr, note_need, &got);
    ck_assert_str_eq(got.text, wanted);
}

START_TEST(refs_are_what_is_needed)
{
    struct vr_decl *j = vr_decls_add(decls, kind, "j", "t.x.j", scope, "r.lua", 3, NULL);
    struct vr_expr *item = vr_expr_item(exprs, scope, NULL), *node = vr_expr_ref(exprs, j, NULL);
    needs(text("x"), "");
    needs(join(ref("id"), ref("port")), "a a");
    needs(item, "item");
    needs(node, "j");
    struct vr_expr *nodes = vr_expr_gather(exprs, scope, node);
    needs(nodes, "*j");
    needs(vr_expr_index(exprs, nodes, json_integer(2)), "*j[2]");
    needs(call("first", nodes), "*j");
    needs(vr_expr_gather(exprs, scope, item), "*item");
    needs(vr_expr_gather(exprs, scope, ref("id")), "a *item"); /* how many is needed all the same */
    needs(vr_expr_gather(exprs, scope, join(node, ref("id"))), "*j a");
    ck_assert(vr_expr_constant(call("upper", text("x"))));
    ck_assert(!vr_expr_constant(join(text("x"), ref("id"))));
    ck_assert(!vr_expr_constant(nodes));
}
END_TEST

START_TEST(errors_have_the_place_of_the_expression)
{
    struct vr_expr *expr = ref("id.x");
    expr->file = "r.lua";
    expr->line = 12;
    struct vr_error err = {0};
    ck_assert_ptr_null(vr_expr_eval(join(text("y"), expr), &lookup, &err));
    ck_assert_str_eq(err.file, "r.lua");
    ck_assert_int_eq(err.line, 12);
    vr_error_clear(&err);
}
END_TEST

START_TEST(values_tell_what_is_inside)
{
    json_t *value = json_loads("{\"a\": [1, {\"$unknown\": \"x\"}], \"b\": {\"c\": {\"$unknown\": "
                               "\"y\"}}, \"d\": {\"$secret\": \"s\"}}",
                               0, NULL);
    ck_assert(vr_has_unknown(value) && !vr_is_unknown(value));
    ck_assert(vr_has_secret(value) && !vr_is_secret(value));
    ck_assert_str_eq(vr_secret_text(json_object_get(value, "d")), "s");
    json_t *paths = vr_unknown_paths(value);
    char *got = json_dumps(paths, JSON_COMPACT);
    ck_assert_str_eq(got, "[[\"a\",1],[\"b\",\"c\"]]");
    free(got);
    json_decref(paths);
    json_decref(value);
    value = vr_unknown("%s.%d", "x", 7);
    ck_assert(vr_is_unknown(value));
    ck_assert_str_eq(json_string_value(json_object_get(value, "$unknown")), "x.7");
    json_decref(value);
}
END_TEST

START_TEST(too_deep_is_an_error)
{
    struct vr_expr *expr = text("x");
    for (int i = 0; i < 300000; i++)
        expr = call("upper", expr);
    struct vr_error err = {0};
    ck_assert_ptr_null(vr_expr_eval(expr, &lookup, &err));
    ck_assert_str_eq(err.code, "size");
    vr_error_clear(&err);
    prints(expr, "...");
    expr = text("x");
    for (int i = 0; i < VR_EXPR_DEEPEST - 1; i++)
        expr = call("upper", expr);
    evaluates(expr, "\"X\"");
}
END_TEST

static struct vr_expr *doubled(const char *function, struct vr_expr *expr, int times)
{
    for (int i = 0; i < times; i++) {
        struct vr_expr *both[] = {expr, expr};
        expr =
            function ? vr_expr_call(exprs, function, both, 2, NULL) : vr_expr_array(exprs, both, 2);
    }
    return expr;
}

START_TEST(doubling_ends)
{
    static const char size[] = "a value of more than 64 MiB or 4194304 elements";
    struct vr_expr *big = vr_expr_literal(exprs, json_string("0123456789abcdef"));
    struct vr_expr *refs = doubled(NULL, ref("id"), 80);
    fails(refs, "size", size);
    needs(refs, "");
    char *shown = vr_expr_text(refs);
    ck_assert_uint_eq(strlen(shown), 503);
    free(shown);
    struct vr_expr *list = doubled("concat", vr_expr_array(exprs, &big, 1), 20);
    fails(doubled("concat", list, 20), "size", size);
    fails(call("json", doubled("concat", vr_expr_array(exprs, &big, 1), 21)), "size", size);
    struct vr_expr *text_of_many =
        call("join", doubled("concat", vr_expr_array(exprs, &big, 1), 10));
    struct vr_expr *items[] = {text_of_many, text("0"), text_of_many};
    struct vr_expr *square = vr_expr_call(exprs, "replace", items, 3, NULL);
    struct vr_expr *more[] = {square, text("1"), square};
    fails(vr_expr_call(exprs, "replace", more, 3, NULL), "function",
          "replace: a text of more than 64 MiB");
}
END_TEST

Suite *expr_suite(void);
Suite *expr_suite(void)
{
    Suite *suite = suite_create("expr");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, references_follow_their_path);
    tcase_add_test(tcase, unknown_goes_on);
    tcase_add_test(tcase, joins_make_text);
    tcase_add_test(tcase, secrets_taint);
    tcase_add_test(tcase, index_picks_what_is_there);
    tcase_add_test(tcase, gathers_go_over_members);
    tcase_add_test(tcase, text_is_as_people_write_it);
    tcase_add_test(tcase, refs_are_what_is_needed);
    tcase_add_test(tcase, errors_have_the_place_of_the_expression);
    tcase_add_test(tcase, values_tell_what_is_inside);
    tcase_add_test(tcase, too_deep_is_an_error);
    tcase_add_test(tcase, doubling_ends);
    suite_add_tcase(suite, tcase);
    return suite;
}
