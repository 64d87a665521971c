#include "base/mask.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static void check_masked(const char *text, const char *want)
{
    char *masked = vr_masked(text, strlen(text));
    ck_assert_str_eq(masked, want);
    free(masked);
}

static void add(const char *secret)
{
    vr_mask_secret(secret, strlen(secret));
}

START_TEST(the_longest_counts_and_short_ones_do_not)
{
    add("hunter22");
    add("hunter22-and-more");
    add("abc");
    check_masked("abc hunter22-and-more, hunter22hunter22, hunter2",
                 "abc (secret), (secret)(secret), hunter2");
    check_masked("", "");
}
END_TEST

START_TEST(the_line_end_of_a_file_is_no_part_of_it)
{
    add("of-a-file\n");
    check_masked("it was of-a-file!", "it was (secret)!");
}
END_TEST

START_TEST(lines_count_and_labels_do_not)
{
    add("-----BEGIN KEY-----\nMIIEvQIBADANBgkq\r\nshort\n-----END KEY-----\n");
    check_masked("-----BEGIN KEY----- / MIIEvQIBADANBgkq / short",
                 "-----BEGIN KEY----- / (secret) / short");
}
END_TEST

START_TEST(of_a_document_only_what_looks_like_a_secret_counts)
{
    add("clusters:\n- server: https://10.0.0.4:6443\n  key-data: c2VjcmV0LWtleS1kYXRh\n");
    check_masked("clusters: server: https://10.0.0.4:6443",
                 "clusters: server: https://10.0.0.4:6443");
    check_masked("data c2VjcmV0LWtleS1kYXRh.", "data (secret).");
}
END_TEST

START_TEST(base64_counts_at_every_alignment)
{
    add("correct-horse-battery");
    check_masked("Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", "(secret)");                 /* alone */
    check_masked("eGNvcnJlY3QtaG9yc2UtYmF0dGVyeXg=", "eGNv(secret)eXg=");     /* after x */
    check_masked("eHhjb3JyZWN0LWhvcnNlLWJhdHRlcnl4", "eHhj(secret)cnl4");     /* after xx */
    check_masked("eHh4Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5eA==", "eHh4(secret)eA=="); /* after xxx */
}
END_TEST

START_TEST(json_escapes_count)
{
    add("pass\"word\\one");
    check_masked("{\"x\":\"pass\\\"word\\\\one\"}", "{\"x\":\"(secret)\"}");
}
END_TEST

START_TEST(what_is_derived_counts_as_a_whole)
{
    vr_mask_derived("sha256-of\nseveral-lines", 23);
    vr_mask_derived("1234567", 7);
    check_masked("sha256-of\nseveral-lines", "(secret)");
    check_masked("several-lines 1234567", "several-lines 1234567");
}
END_TEST

START_TEST(the_parts_of_a_text_are_found)
{
    add("one-secret");
    add("pin7");
    json_t *found = json_array();
    vr_mask_find("echo one-secret pin7", 20, 6, found);
    ck_assert_uint_eq(json_array_size(found), 1);
    ck_assert_str_eq(json_string_value(json_array_get(found, 0)), "one-secret");
    json_decref(found);
}
END_TEST

Suite *mask_suite(void);
Suite *mask_suite(void)
{
    Suite *suite = suite_create("mask");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, the_longest_counts_and_short_ones_do_not);
    tcase_add_test(tcase, the_line_end_of_a_file_is_no_part_of_it);
    tcase_add_test(tcase, lines_count_and_labels_do_not);
    tcase_add_test(tcase, of_a_document_only_what_looks_like_a_secret_counts);
    tcase_add_test(tcase, base64_counts_at_every_alignment);
    tcase_add_test(tcase, json_escapes_count);
    tcase_add_test(tcase, what_is_derived_counts_as_a_whole);
    tcase_add_test(tcase, the_parts_of_a_text_are_found);
    suite_add_tcase(suite, tcase);
    return suite;
}
