#include <check.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"

START_TEST(grows_and_ends_in_nul)
{
    struct vr_buf buf = {0};
    for (int i = 0; i < 1000; i++)
        vr_buf_printf(&buf, "%03d,", i);
    ck_assert_uint_eq(buf.length, 4000);
    ck_assert_int_eq(buf.data[buf.length], '\0');
    vr_buf_consume(&buf, 3996);
    ck_assert_str_eq(buf.data, "999,");
    vr_buf_free(&buf);
    ck_assert_ptr_null(buf.data);
}
END_TEST

START_TEST(stealing_an_empty_one_gives_a_text)
{
    struct vr_buf buf = {0};
    char *text = vr_buf_steal(&buf);
    ck_assert_str_eq(text, "");
    free(text);
}
END_TEST

START_TEST(arena_gives_zeroed_memory_of_any_size)
{
    struct vr_arena *arena = vr_arena_new();
    for (size_t size = 1; size < 3000000; size *= 3) {
        char *memory = vr_arena_alloc(arena, size);
        ck_assert_int_eq(memory[0], 0);
        ck_assert_int_eq(memory[size - 1], 0);
        memory[0] = memory[size - 1] = 'x';
    }
    ck_assert_str_eq(vr_arena_strdup(arena, "kept"), "kept");
    vr_arena_free(arena);
}
END_TEST

Suite *buf_suite(void);
Suite *buf_suite(void)
{
    Suite *suite = suite_create("buf");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, grows_and_ends_in_nul);
    tcase_add_test(tcase, stealing_an_empty_one_gives_a_text);
    tcase_add_test(tcase, arena_gives_zeroed_memory_of_any_size);
    suite_add_tcase(suite, tcase);
    return suite;
}
