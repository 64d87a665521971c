#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/text.h"

START_TEST(holds_removes_and_steps)
{
    enum { MANY = 50000 };
    struct vr_map map = {0};
    char(*keys)[16] = vr_alloc(MANY * sizeof(*keys));
    ck_assert_ptr_null(vr_map_get(&map, "n1"));
    ck_assert_ptr_null(vr_map_remove(&map, "n1"));
    for (size_t i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof(keys[i]), "n%zu", i);
        ck_assert_ptr_null(vr_map_set(&map, keys[i], keys[i]));
    }
    ck_assert_uint_eq(map.count, MANY);
    ck_assert_ptr_eq(vr_map_set(&map, keys[7], keys[8]), keys[7]);
    ck_assert_ptr_eq(vr_map_set(&map, keys[7], keys[7]), keys[8]);
    for (size_t i = 0; i < MANY; i += 3)
        ck_assert_ptr_eq(vr_map_remove(&map, keys[i]), keys[i]);
    for (size_t i = 0; i < MANY; i++)
        ck_assert_ptr_eq(vr_map_get(&map, keys[i]), i % 3 ? keys[i] : NULL);
    size_t cursor = 0, seen = 0;
    const char *key;
    for (void *value; (value = vr_map_next(&map, &cursor, &key)); seen++)
        ck_assert_str_eq(key, value);
    ck_assert_uint_eq(seen, map.count);
    for (size_t i = 0; i < MANY; i++)
        vr_map_remove(&map, keys[i]);
    ck_assert_uint_eq(map.count, 0);
    vr_map_free(&map);
    free(keys);
}
END_TEST

START_TEST(finds_the_nearest_name)
{
    const char *const names[] = {"cidr", "address_prefixes", "name", "group", "id"};
    ck_assert_str_eq(vr_text_nearest("cdir", names, 5), "cidr");
    ck_assert_str_eq(vr_text_nearest("addres_prefix", names, 5), "address_prefixes");
    ck_assert_str_eq(vr_text_nearest("Name", names, 5), "name");
    ck_assert_ptr_null(vr_text_nearest("location", names, 5));
    ck_assert_ptr_null(vr_text_nearest("x", names, 5));
    ck_assert_ptr_null(vr_text_nearest("", names, 5));
    ck_assert_ptr_null(vr_text_nearest("name", names, 0));
}
END_TEST

Suite *map_suite(void);
Suite *map_suite(void)
{
    Suite *suite = suite_create("map");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, holds_removes_and_steps);
    tcase_add_test(tcase, finds_the_nearest_name);
    suite_add_tcase(suite, tcase);
    return suite;
}
