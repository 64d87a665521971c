#include <check.h>
#include <stdio.h>
#include <string.h>

#include "engine/decl.h"

static struct vr_kind *kind, *set;
static struct vr_decls *decls;

static void set_up(void)
{
    kind = vr_kind_new("azure.subnet");
    set = vr_kind_new("azure.set");
    vr_kind_set_collection(set, "instances", "capacity");
    decls = vr_decls_new();
}

static void tear_down(void)
{
    vr_decls_free(decls);
    vr_kind_free(kind);
    vr_kind_free(set);
}

static struct vr_decl *add(const char *address, int line)
{
    return vr_decls_add(decls, kind, strrchr(address, '.') + 1, address, NULL, "r.lua", line, NULL);
}

START_TEST(kinds_know_their_fields)
{
    ck_assert_str_eq(kind->provider, "azure");
    ck_assert_str_eq(kind->name, "azure.subnet");
    for (int i = 0; i < 20; i++) {
        char path[16];
        snprintf(path, sizeof(path), "rules.f%d", i);
        vr_kind_add_field(kind, path, (unsigned)i, i == 3 ? "name" : NULL);
    }
    vr_kind_add_field(kind, "rules.f4", VR_FIELD_REPLACE, NULL); /* again: new flags */
    vr_kind_add_output(kind, "id", VR_OUTPUT_VOLATILE);
    ck_assert_uint_eq(kind->field_count, 20);
    ck_assert_uint_eq(vr_kind_field(kind, "rules.f7")->flags, 7);
    ck_assert_uint_eq(vr_kind_field(kind, "rules.f4")->flags, VR_FIELD_REPLACE);
    ck_assert_str_eq(vr_kind_field(kind, "rules.f3")->key, "name");
    ck_assert_ptr_null(vr_kind_field(kind, "rules"));
    ck_assert_uint_eq(vr_kind_output(kind, "id")->flags, VR_OUTPUT_VOLATILE);
    ck_assert_ptr_null(vr_kind_output(kind, "ids"));
    ck_assert_str_eq(set->count_field, "capacity");
    kind->verbs = 1 << VR_VERB_READ;
    ck_assert(vr_kind_has(kind, VR_VERB_READ) && !vr_kind_has(kind, VR_VERB_DELETE));
    ck_assert_str_eq(vr_verb_name(VR_VERB_REMOVE), "remove");
}
END_TEST

START_TEST(declarations_keep_what_they_were_given)
{
    struct vr_exprs *exprs = vr_decls_exprs(decls);
    char name[] = "name", file[] = "r.lua";
    struct vr_decl *a = add("azure.subnet.a", 3), *b = add("azure.subnet.b", 4);
    vr_decl_set(decls, a, name, vr_expr_literal(exprs, json_integer(1)), file, 5);
    vr_decl_set(decls, a, "cidr", vr_expr_literal(exprs, json_integer(2)), file, 6);
    vr_decl_set(decls, a, name, vr_expr_literal(exprs, json_integer(3)), file, 7);
    name[0] = file[0] = 'X';
    ck_assert_uint_eq(a->field_count, 2);
    ck_assert_int_eq(json_integer_value(vr_decl_field(a, "name")->expr->value), 3);
    ck_assert_int_eq(vr_decl_field(a, "name")->line, 7);
    ck_assert_str_eq(vr_decl_field(a, "name")->file, "r.lua");
    ck_assert_ptr_null(vr_decl_field(a, "none"));
    for (int i = 0; i < 9; i++) {
        vr_decl_after(decls, b, vr_expr_ref(exprs, a, NULL));
        vr_decl_ignore(decls, b, "tags");
        vr_decl_trigger(decls, b, vr_expr_ref(exprs, a, NULL));
    }
    ck_assert_uint_eq(b->after_count + b->ignore_count + b->trigger_count, 27);
    ck_assert_str_eq(b->ignore_changes[8], "tags");
    ck_assert_ptr_eq(vr_decls_at(decls, 1), b);
    ck_assert_uint_eq(b->index, 1);
    ck_assert_ptr_eq(vr_decls_find(decls, "azure.subnet.a"), a);
    ck_assert_ptr_null(vr_decls_find(decls, "azure.subnet.c"));
}
END_TEST

START_TEST(a_name_is_taken_once)
{
    struct vr_error err = {0};
    add("azure.subnet.a", 3);
    ck_assert_ptr_null(vr_decls_add(decls, kind, "a", "azure.subnet.a", NULL, "r.lua", 9, &err));
    ck_assert_str_eq(err.code, "duplicate");
    ck_assert_str_eq(err.message, "azure.subnet.a is declared twice: at r.lua:3 and at r.lua:9");
    ck_assert_int_eq(err.line, 9);
    vr_error_clear(&err);
    struct vr_expr *one = vr_expr_literal(vr_decls_exprs(decls), json_integer(1));
    ck_assert(vr_decls_output(decls, "o", one, NULL, "r.lua", 1, &err));
    ck_assert(!vr_decls_output(decls, "o", one, NULL, "r.lua", 2, &err));
    ck_assert_str_eq(err.message, "output 'o' is declared twice: at r.lua:1 and at r.lua:2");
    vr_error_clear(&err);
    ck_assert_uint_eq(vr_decls_output_count(decls), 1);
}
END_TEST

START_TEST(scopes_need_a_collection_outside_of_scopes)
{
    struct vr_error err = {0};
    struct vr_decl *plain = add("azure.subnet.a", 3);
    ck_assert_ptr_null(vr_decls_scope(decls, plain, &err));
    ck_assert_str_eq(err.code, "collection");
    vr_error_clear(&err);
    struct vr_decl *w = vr_decls_add(decls, set, "w", "azure.set.w", NULL, "r.lua", 4, NULL);
    struct vr_scope *scope = vr_decls_scope(decls, w, &err);
    ck_assert_ptr_eq(scope->collection, w);
    ck_assert_uint_eq(vr_decls_scope(decls, w, &err)->index, 1);
    struct vr_decl *inner = vr_decls_add(decls, set, "v", "azure.set.v", scope, "r.lua", 5, NULL);
    ck_assert_ptr_null(vr_decls_scope(decls, inner, &err));
    ck_assert_str_eq(err.code, "nested");
    vr_error_clear(&err);
    ck_assert_uint_eq(vr_decls_scope_count(decls), 2);
}
END_TEST

START_TEST(moves_and_removals)
{
    vr_decls_moved(decls, "t.a", "t.b");
    vr_decls_moved(decls, "t.b", "t.c");
    vr_decls_moved(decls, "x/", "y/");
    vr_decls_moved(decls, "t.s[", "t.r[");
    vr_decls_moved(decls, "p", "q");
    vr_decls_moved(decls, "q", "p");
    ck_assert_str_eq(vr_decls_moved_to(decls, "t.a"), "t.c");
    ck_assert_str_eq(vr_decls_moved_to(decls, "x/t.z/u"), "y/t.z/u");
    ck_assert_str_eq(vr_decls_moved_to(decls, "t.s[3]"), "t.r[3]");
    ck_assert_str_eq(vr_decls_moved_to(decls, "p"), "q");
    ck_assert_str_eq(vr_decls_moved_to(decls, "q"), "p");
    ck_assert_ptr_null(vr_decls_moved_to(decls, "t.c"));
    ck_assert_ptr_null(vr_decls_moved_to(decls, "xx/t"));
    vr_decls_removed(decls, "t.a");
    vr_decls_removed(decls, "n.o/");
    ck_assert(vr_decls_is_removed(decls, "t.a"));
    ck_assert(vr_decls_is_removed(decls, "n.o/t.a"));
    ck_assert(!vr_decls_is_removed(decls, "t.ab"));
    ck_assert(!vr_decls_is_removed(decls, "n.o"));
}
END_TEST

START_TEST(errors_are_sorted_by_place)
{
    static const struct {
        const char *file;
        int line;
    } places[] = {{"b.lua", 4}, {NULL, 0}, {"a.lua", 9}, {"a.lua", 2}, {"b.lua", 1}, {"a.lua", 9}};
    for (size_t i = 0; i < 6; i++) {
        struct vr_error err = {0};
        vr_error_set(&err, "x", "%zu", i);
        vr_error_place(&err, places[i].file, places[i].line);
        vr_decls_error(decls, &err);
        ck_assert_ptr_null(err.message);
    }
    char order[8] = "";
    for (size_t i = 0; i < vr_decls_error_count(decls); i++)
        strcat(order, vr_decls_error_at(decls, i)->message);
    ck_assert_str_eq(order, "325401");
}
END_TEST

Suite *decl_suite(void);
Suite *decl_suite(void)
{
    Suite *suite = suite_create("decl");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, kinds_know_their_fields);
    tcase_add_test(tcase, declarations_keep_what_they_were_given);
    tcase_add_test(tcase, a_name_is_taken_once);
    tcase_add_test(tcase, scopes_need_a_collection_outside_of_scopes);
    tcase_add_test(tcase, moves_and_removals);
    tcase_add_test(tcase, errors_are_sorted_by_place);
    suite_add_tcase(suite, tcase);
    return suite;
}
