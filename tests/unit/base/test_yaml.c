#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/yaml.h"

static void same(const char *yaml, const char *json)
{
    struct vr_error err = {0};
    json_t *value = vr_yaml_decode(yaml, strlen(yaml), &err);
    ck_assert_msg(value != NULL, "%s: %s", yaml, err.message);
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    ck_assert_str_eq(text, json);
    char *again = vr_yaml_encode(value);
    json_t *back = vr_yaml_decode(again, strlen(again), &err);
    ck_assert_msg(back != NULL, "%s: %s", again, err.message);
    ck_assert_msg(json_equal(value, back), "%s became %s", json, again);
    free(again);
    free(text);
    json_decref(value);
    json_decref(back);
}

static void wrong(const char *yaml, const char *message)
{
    struct vr_error err = {0};
    ck_assert_ptr_null(vr_yaml_decode(yaml, strlen(yaml), &err));
    ck_assert_str_eq(err.code, "syntax");
    ck_assert_str_eq(err.message, message);
    vr_error_clear(&err);
}

START_TEST(scalars)
{
    same("6443", "6443");
    same("0644", "420");
    same("0x1F", "31");
    same("-1.5e3", "-1500.0");
    same("1.20", "1.2");
    same("v1.20", "\"v1.20\"");
    same("\"6443\"", "\"6443\"");
    same("yes", "\"yes\"");
    same("~", "null");
    same("", "null");
    same("!!str 12", "\"12\"");
    same("10:30", "\"10:30\"");
    same("2026-01-02T03:04:05Z", "\"2026-01-02T03:04:05Z\"");
}
END_TEST

START_TEST(shapes)
{
    same("a: [1, {b: c}]\nd: {}\ne: []\n", "{\"a\":[1,{\"b\":\"c\"}],\"d\":{},\"e\":[]}");
    same("base: &x {k: 1, l: 2}\nother:\n  <<: *x\n  l: 3\n",
         "{\"base\":{\"k\":1,\"l\":2},\"other\":{\"l\":3,\"k\":1}}");
    same("text: |\n  one\n  two\n", "{\"text\":\"one\\ntwo\\n\"}");
    same("a: \"trailing \\n space\"\n", "{\"a\":\"trailing \\n space\"}");
}
END_TEST

START_TEST(documents_are_told_apart)
{
    struct vr_error err = {0};
    const char *text = "a: 1\n---\n---\nb: 2\n";
    json_t *list = vr_yaml_decode_all(text, strlen(text), &err);
    ck_assert_uint_eq(json_array_size(list), 3);
    ck_assert(json_is_null(json_array_get(list, 1)));
    json_decref(list);
    wrong("a: 1\n---\nb: 2\n", "1:1: there are 2 documents where one was expected");
}
END_TEST

START_TEST(failures_have_a_place)
{
    wrong("a: 1\na: 2\n", "2:1: key 'a' is given twice");
    wrong("a: *nobody\n", "1:4: alias without an anchor");
    wrong("[1, 2\n", "2:1: did not find expected ',' or ']' while parsing a flow sequence");
    wrong("[a, b]: c\n", "1:1: a key must be a text");
}
END_TEST

START_TEST(a_bomb_of_aliases_is_refused)
{
    char text[4096] = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
    for (int i = 1; i < 10; i++) {
        char line[200];
        snprintf(line, sizeof(line),
                 "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1,
                 i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
        strcat(text, line);
    }
    struct vr_error err = {0};
    ck_assert_ptr_null(vr_yaml_decode(text, strlen(text), &err));
    ck_assert_ptr_nonnull(strstr(err.message, "aliases make the document too large"));
    vr_error_clear(&err);
}
END_TEST

START_TEST(encoding_is_sorted_and_readable)
{
    json_t *value = json_pack("{s:s, s:{s:s, s:s}, s:[i, b]}", "kind", "X", "data", "b", "no", "a",
                              "one\ntwo\n", "list", 1, 1);
    char *text = vr_yaml_encode(value);
    ck_assert_str_eq(text,
                     "data:\n  a: |\n    one\n    two\n  b: \"no\"\nkind: X\nlist:\n- 1\n- true\n");
    free(text);
    json_decref(value);
}
END_TEST

Suite *yaml_suite(void);
Suite *yaml_suite(void)
{
    Suite *suite = suite_create("yaml");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, scalars);
    tcase_add_test(tcase, shapes);
    tcase_add_test(tcase, documents_are_told_apart);
    tcase_add_test(tcase, failures_have_a_place);
    tcase_add_test(tcase, a_bomb_of_aliases_is_refused);
    tcase_add_test(tcase, encoding_is_sorted_and_readable);
    suite_add_tcase(suite, tcase);
    return suite;
}
