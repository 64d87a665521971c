#include "script/value.h"

#include <check.h>
#include <lauxlib.h>
#include <stdlib.h>

#include "base/error.h"
#include "net/loop.h"
#include "script/host.h"

static struct vr_loop *loop;
static struct vr_script *script;
static lua_State *L;

static void setup(void)
{
    loop = vr_loop_new();
    script = vr_script_new(loop);
    L = vr_script_lua(script);
}

static void teardown(void)
{
    ck_assert_int_eq(lua_gettop(L), 0);
    vr_script_free(script);
    vr_loop_free(loop);
}

static void there_and_back(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    ck_assert_ptr_nonnull(value);
    vr_value_push(L, value);
    struct vr_error err = {0};
    json_t *back = vr_value_get(L, -1, &err);
    ck_assert_msg(back != NULL, "%s: %s", text, err.message ? err.message : "?");
    ck_assert_msg(json_equal(value, back), "%s", text);
    lua_pop(L, 1);
    json_decref(value);
    json_decref(back);
}

START_TEST(values_come_back_as_they_were)
{
    static const char *const texts[] = {
        "null",
        "true",
        "false",
        "0",
        "-9223372036854775808",
        "9223372036854775807",
        "1.0",
        "1e300",
        "\"\"",
        "\"\\u0000x\"",
        "[]",
        "{}",
        "[[],{},null,[1,[2]]]",
        "{\"a\":{\"b\":[{}]},\"\":1}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        there_and_back(texts[i]);
}
END_TEST

/* The value of a Lua expression as JSON text, or the error; the caller frees. */
static char *encode(const char *expression)
{
    lua_pushfstring(L, "local null, array = require('json').null, require('json').array return %s",
                    expression);
    ck_assert_msg(luaL_dostring(L, lua_tostring(L, -1)) == LUA_OK, "%s", lua_tostring(L, -1));
    struct vr_error err = {0};
    json_t *value = vr_value_get(L, -1, &err);
    lua_settop(L, 0);
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : err.message;
    err.message = NULL;
    json_decref(value);
    vr_error_clear(&err);
    return text;
}

START_TEST(keys_come_in_order)
{
    char *text = encode("{ b = 1, a = { d = 1, c = 2 }, ['_'] = null }");
    ck_assert_str_eq(text, "{\"_\":null,\"a\":{\"c\":2,\"d\":1},\"b\":1}");
    free(text);
}
END_TEST

START_TEST(failures_name_the_place)
{
    static const char *const cases[][2] = {
        {"print", "a function has no JSON form"},
        {"{ a = { 1, 2, { b = print } } }", "a[3].b: a function has no JSON form"},
        {"{ a = { 1, x = 1 } }", "a: a table that is both a list and an object"},
        {"{ [2] = 1 }", "a list with a hole in it (use json.null)"},
        {"{ [0] = 1 }", "a table with keys that are neither names nor 1, 2, 3, ..."},
        {"{ [1.5] = 1 }", "a table with keys that are neither names nor 1, 2, 3, ..."},
        {"array { 1, x = 1 }", "a table that is both a list and an object"},
        {"array { x = 1 }", "a list with names in it"},
        {"{ x = 0/0 }", "x: nan is not a JSON number"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = encode(cases[i][0]);
        ck_assert_str_eq(text, cases[i][1]);
        free(text);
    }
}
END_TEST

START_TEST(depth_has_an_end)
{
    char *text = encode("(function() local t = {} t.t = t return t end)()");
    ck_assert_str_eq(text, "nested more than 200 deep (does a table contain itself?)");
    free(text);
    text = encode("(function() local t = 1 for _ = 1, 200 do t = { t } end return t end)()");
    ck_assert_int_eq(text[0], '[');
    free(text);
}
END_TEST

START_TEST(a_failure_becomes_three_values)
{
    struct vr_error err = {0};
    vr_error_set(&err, "code", "what %d", 1);
    ck_assert_int_eq(vr_script_fail(L, &err), 3);
    ck_assert(lua_isnil(L, 1));
    ck_assert_str_eq(lua_tostring(L, 2), "what 1");
    ck_assert_str_eq(lua_tostring(L, 3), "code");
    ck_assert_ptr_null(err.message);
    lua_settop(L, 0);
}
END_TEST

Suite *value_suite(void);
Suite *value_suite(void)
{
    Suite *suite = suite_create("value");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, values_come_back_as_they_were);
    tcase_add_test(tcase, keys_come_in_order);
    tcase_add_test(tcase, failures_name_the_place);
    tcase_add_test(tcase, depth_has_an_end);
    tcase_add_test(tcase, a_failure_becomes_three_values);
    suite_add_tcase(suite, tcase);
    return suite;
}
