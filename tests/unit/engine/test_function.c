#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/expr.h"
#include "engine/function.h"

/* Calls `name` with arguments written as JSON; the result as JSON, or "! " and the error. The
 * caller frees. */
static char *call(const char *name, const char *args)
{
    struct vr_exprs *exprs = vr_exprs_new();
    json_error_t where;
    json_t *list = json_loads(args, 0, &where);
    ck_assert_msg(list != NULL, "%s: %s", args, where.text);
    struct vr_expr *items[8];
    for (size_t i = 0; i < json_array_size(list); i++)
        items[i] = vr_expr_literal(exprs, json_incref(json_array_get(list, i)));
    struct vr_error err = {0};
    struct vr_expr *expr = vr_expr_call(exprs, name, items, json_array_size(list), &err);
    json_t *value = expr ? vr_expr_eval(expr, NULL, &err) : NULL;
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    if (!text && asprintf(&text, "! %s", err.message) < 0)
        abort();
    json_decref(value);
    json_decref(list);
    vr_error_clear(&err);
    vr_exprs_free(exprs);
    return text;
}

static const char *const cases[][3] = {
    {"base64", "[\"vmrun\\n\"]", "\"dm1ydW4K\""},
    {"base64_decode", "[\"dm1ydW4K\"]", "\"vmrun\\n\""},
    {"base64_decode", "[\"*\"]", "! base64_decode: argument 1 is not base64"},
    {"base64_decode", "[\"/w==\"]",
     "! base64_decode: argument 1 stands for bytes that are not UTF-8 text"},
    {"cidr_host", "[\"10.0.1.0/24\", 5]", "\"10.0.1.5\""},
    {"cidr_host", "[\"10.0.1.0/24\", -1]", "\"10.0.1.255\""},
    {"cidr_host", "[\"10.0.1.77/24\", 0]", "\"10.0.1.0\""},
    {"cidr_host", "[\"10.0.1.0/24\", 256]", "! cidr_host: 10.0.1.0/24 has no host 256"},
    {"cidr_host", "[\"10.0.1.0/24\", -257]", "! cidr_host: 10.0.1.0/24 has no host -257"},
    {"cidr_host", "[\"fd00::/64\", 258]", "\"fd00::102\""},
    {"cidr_host", "[\"::/0\", -1]", "\"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\""},
    {"cidr_host", "[\"10.0.0.0\", 1]",
     "! cidr_host: '10.0.0.0' is not an address range such as 10.0.0.0/16"},
    {"cidr_host", "[\"10.0.0.0/33\", 1]",
     "! cidr_host: '10.0.0.0/33' is not an address range such as 10.0.0.0/16"},
    {"cidr_host", "[\"10.0.0.0/8\", 1.5]",
     "! cidr_host: argument 2 wants an integer, got a number"},
    {"cidr_subnet", "[\"10.0.0.0/16\", 8, 3]", "\"10.0.3.0/24\""},
    {"cidr_subnet", "[\"10.0.0.0/16\", 0, 0]", "\"10.0.0.0/16\""},
    {"cidr_subnet", "[\"fd00::/48\", 16, 10]", "\"fd00:0:0:a::/64\""},
    {"cidr_subnet", "[\"0.0.0.0/0\", 32, 1]", "\"0.0.0.1/32\""},
    {"cidr_subnet", "[\"10.0.0.0/16\", 8, 256]",
     "! cidr_subnet: 10.0.0.0/16 has no subnet 256 with 8 more bits"},
    {"cidr_subnet", "[\"10.0.0.0/16\", 17, 0]",
     "! cidr_subnet: 10.0.0.0/16 has no room for 17 more bits of prefix"},
    {"concat", "[[1], [], null, [2, [3]]]", "[1,2,[3]]"},
    {"concat", "[[1], {}]", "! concat: argument 2 wants a list, got a table"},
    {"contains", "[[1, \"a\"], \"a\"]", "true"},
    {"contains", "[[1, \"a\"], \"b\"]", "false"},
    {"contains", "[\"haystack\", \"st\"]", "true"},
    {"contains", "[{\"a\": 1}, \"a\"]", "true"},
    {"distinct", "[[1, \"1\", 1, {\"a\": 1}, {\"a\": 1}]]", "[1,\"1\",{\"a\":1}]"},
    {"element", "[[\"a\", \"b\", \"c\"], 2]", "\"b\""},
    {"element", "[[\"a\", \"b\", \"c\"], 4]", "\"a\""},
    {"element", "[[\"a\"], 0]", "! element: positions begin with 1"},
    {"element", "[[], 1]", "! element: the list is empty"},
    {"first", "[[7, 8]]", "7"},
    {"first", "[[]]", "! first: the list is empty"},
    {"flatten", "[[1, [2, [3, []]], {\"a\": [4]}]]", "[1,2,3,{\"a\":[4]}]"},
    {"format",
     "[\"%s-%03d %x %.2f %5s|%-4s| %q 100%%\", \"a\", 7, 255, 1.5, true, \"b\", \"c\\\"\"]",
     "\"a-007 ff 1.50  true|b   | \\\"c\\\\\\\"\\\" 100%\""},
    {"format", "[\"%d\", 3.0]", "\"3\""},
    {"format", "[\"%d\", 3.5]", "! format: argument 2 wants an integer for %d"},
    {"format", "[\"%d\", \"3\"]", "! format: argument 2 wants a number for %d, got a text"},
    {"format", "[\"%s\", [1]]", "! format: argument 2 is a list, which has no text"},
    {"format", "[\"%s\"]", "! format: the format wants more than the 0 values given"},
    {"format", "[\"%s\", 1, 2]", "! format: the format wants 1 values, got 2"},
    {"format", "[\"%n\", 1]",
     "! format: '%n' is not a format; use %s %d %x %f %q, or %% for a percent sign"},
    {"format", "[\"50%\"]",
     "! format: '%' is not a format; use %s %d %x %f %q, or %% for a percent sign"},
    {"format", "[\"%99999d\", 1]",
     "! format: '%' is not a format; use %s %d %x %f %q, or %% for a percent sign"},
    {"indent", "[\"a\\n\\nb\\n\", 2]", "\"  a\\n\\n  b\\n\""},
    {"indent", "[\"\", 2]", "\"\""},
    {"join", "[[\"a\", 1, 2.5, true], \", \"]", "\"a, 1, 2.5, true\""},
    {"join", "[[]]", "\"\""},
    {"join", "[[\"a\", null], \"\"]", "! join: element 2 is null, which has no text"},
    {"json", "[{\"b\": [1, 2.5, null], \"a\": \"x\"}]",
     "\"{\\\"a\\\":\\\"x\\\",\\\"b\\\":[1,2.5,null]}\""},
    {"json", "[[1], 2]", "\"[\\n  1\\n]\""},
    {"json_decode", "[\"{\\\"a\\\": 6443}\"]", "{\"a\":6443}"},
    {"json_decode", "[\"{\"]",
     "! json_decode: not JSON: line 1, column 1: string or '}' expected near end of file"},
    {"keys", "[{\"b\": 1, \"a\": 2}]", "[\"a\",\"b\"]"},
    {"last", "[[7, 8]]", "8"},
    {"length", "[[1, 2]]", "2"},
    {"length", "[{\"a\": 1}]", "1"},
    {"length", "[\"h\u00e9\"]", "2"},
    {"length", "[1]", "! length: argument 1 wants a list, table or text, got a number"},
    {"lookup", "[{\"name\": 1}, \"name\"]", "1"},
    {"lookup", "[{\"name\": 1}, \"x\", 3]", "3"},
    {"lookup", "[{\"name\": 1}, \"nmae\"]", "! lookup: no key 'nmae'; did you mean 'name'?"},
    {"lower", "[\"AbC \u00c9\"]", "\"abc \u00c9\""},
    {"merge", "[{\"a\": 1, \"b\": 1}, null, {\"b\": 2}]", "{\"a\":1,\"b\":2}"},
    {"range", "[3]", "[1,2,3]"},
    {"range", "[0]", "[]"},
    {"range", "[2, 4]", "[2,3,4]"},
    {"range", "[5, 1, -2]", "[5,3,1]"},
    {"range", "[1, 5, 0]", "! range: a step of 0 never ends"},
    {"range", "[999999999]", "! range: more than 100000 elements"},
    {"range", "[9223372036854775806, 9223372036854775807]",
     "[9223372036854775806,9223372036854775807]"},
    {"replace", "[\"a.b.c\", \".\", \"--\"]", "\"a--b--c\""},
    {"replace", "[\"a\", \"\", \"b\"]", "! replace: argument 2 is empty: what is to be replaced?"},
    {"sha256", "[\"abc\"]", "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\""},
    {"sort", "[[\"b\", \"a\", \"B\"]]", "[\"B\",\"a\",\"b\"]"},
    {"sort", "[[3, 1.5, 2]]", "[1.5,2,3]"},
    {"sort", "[[1, \"a\"]]", "! sort: only a list of texts or a list of numbers has an order"},
    {"split", "[\"a,b,,c\", \",\"]", "[\"a\",\"b\",\"\",\"c\"]"},
    {"split", "[\"\", \",\"]", "[\"\"]"},
    {"template", "[\"${a} and {{ b.c }}: $${x} {{{{ $ { } $x\", {\"a\": 1, \"b\": {\"c\": \"z\"}}]",
     "\"1 and z: ${x} {{ $ { } $x\""},
    {"template", "[\"x\\n${nmae}\", {\"name\": 1}]",
     "! template: line 2: no value 'nmae'; did you mean 'name'?"},
    {"template", "[\"${a.b}\", {\"a\": 1}]", "! template: line 1: no value 'a.b'"},
    {"template", "[\"${x:-y} z\", {}]", "! template: line 1: '${x:-y}' is not a name in braces"},
    {"template", "[\"a {{ if x\", {}]", "! template: line 1: '{{ if x' is not a name in braces"},
    {"template", "[\"${a}\", {\"a\": [1]}]",
     "! template: line 1: 'a' is a list, which has no text"},
    {"template", "[\"${a}\", []]", "! template: argument 2 wants a table, got a list"},
    {"tonumber", "[\"42\"]", "42"},
    {"tonumber", "[\"-1.5\"]", "-1.5"},
    {"tonumber", "[\"ff\", 16]", "255"},
    {"tonumber", "[\"4x\"]", "! tonumber: argument 1 is not a number"},
    {"tonumber", "[\"\"]", "! tonumber: an empty text is not a number"},
    {"tonumber", "[\"nan\"]", "! tonumber: argument 1 is not a number"},
    {"tonumber", "[\"99999999999999999999\"]", "1e20"},
    {"tostring", "[2.0]", "\"2.0\""},
    {"tostring", "[6443]", "\"6443\""},
    {"tostring", "[null]", "! tostring: argument 1 is null, which has no text"},
    {"trim", "[\" \\ta b\\n\"]", "\"a b\""},
    {"trim", "[\"--a-\", \"-\"]", "\"a\""},
    {"upper", "[\"abc\"]", "\"ABC\""},
    {"values", "[{\"b\": 1, \"a\": 2}]", "[2,1]"},
    {"yaml", "[{\"b\": [1, \"1\"], \"a\": null}]", "\"a: null\\nb:\\n- 1\\n- \\\"1\\\"\\n\""},
    {"yaml_decode", "[\"a: 6443\\nb: [x]\"]", "{\"a\":6443,\"b\":[\"x\"]}"},
    {"upper", "[]", "! upper wants 1 argument, got 0"},
    {"lookup", "[1]", "! lookup wants 2 to 3 arguments, got 1"},
    {"format", "[]", "! format wants at least 1 argument, got 0"},
    {"uper", "[]", "! no function 'uper'; did you mean 'upper'?"},
};

START_TEST(gives)
{
    char *got = call(cases[_i][0], cases[_i][1]);
    ck_assert_msg(strcmp(got, cases[_i][2]) == 0, "%s%s\n  gives %s\n  wants %s", cases[_i][0],
                  cases[_i][1], got, cases[_i][2]);
    free(got);
}
END_TEST

START_TEST(list_is_sorted_and_each_has_a_line)
{
    size_t count;
    const struct vr_function *list = vr_function_list(&count);
    for (size_t i = 0; i < count; i++) {
        ck_assert(i == 0 || strcmp(list[i - 1].name, list[i].name) < 0);
        ck_assert_ptr_eq(vr_function_find(list[i].name), &list[i]);
        ck_assert_msg(strncmp(list[i].doc, list[i].name, strlen(list[i].name)) == 0, "%s",
                      list[i].name);
        bool tested = false;
        for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
            tested |= strcmp(cases[c][0], list[i].name) == 0;
        ck_assert_msg(tested, "%s has no case", list[i].name);
    }
    ck_assert_ptr_null(vr_function_find("none"));
}
END_TEST

Suite *function_suite(void);
Suite *function_suite(void)
{
    Suite *suite = suite_create("function");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, gives, 0, (int)(sizeof(cases) / sizeof(cases[0])));
    tcase_add_test(tcase, list_is_sorted_and_each_has_a_line);
    suite_add_tcase(suite, tcase);
    return suite;
}
