#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "engine/graph.h"
#include "graph_text.h"

/* The graph as text: each declaration in topological order with its edges. */
static char *describe(const struct vr_graph *graph)
{
    struct vr_buf buf = {0};
    struct vr_decls *decls = vr_graph_decls(graph);
    for (size_t i = 0; i < vr_decls_count(decls); i++) {
        const struct vr_decl *decl = vr_graph_at(graph, i);
        vr_buf_printf(&buf, "%s%s", i ? "; " : "", decl->name);
        for (size_t e = 0; e < vr_graph_edge_count(graph, decl); e++) {
            const struct vr_edge *edge = vr_graph_edge(graph, decl, e);
            vr_buf_printf(&buf, " %s%s%s", edge->gather ? "*" : "", edge->to->name,
                          edge->item ? "@" : "");
            if (edge->gather && edge->member != SIZE_MAX)
                vr_buf_printf(&buf, "[%zu]", edge->member + 1);
            vr_buf_printf(&buf, "(%s)", edge->field ? edge->field : "");
        }
    }
    return vr_buf_steal(&buf);
}

static void gives(const char *text, const char *wanted)
{
    struct graph_text *given = graph_text_new(text);
    struct vr_error err = {0};
    struct vr_graph *graph = vr_graph_new(given->decls, &err);
    ck_assert_msg(graph != NULL, "%s", err.message);
    char *got = describe(graph);
    ck_assert_str_eq(got, wanted);
    free(got);
    vr_graph_free(graph);
    graph_text_free(given);
}

static void refuses(const char *text, const char *code, const char *message)
{
    struct graph_text *given = graph_text_new(text);
    struct vr_error err = {0};
    ck_assert_ptr_null(vr_graph_new(given->decls, &err));
    ck_assert_str_eq(err.code, code);
    ck_assert_str_eq(err.message, message);
    ck_assert_str_eq(err.file, "r.lua");
    ck_assert_ptr_nonnull(err.hint);
    vr_error_clear(&err);
    graph_text_free(given);
}

START_TEST(edges_come_from_references)
{
    gives("", "");
    gives("a:\nb: a x=a.id y=\"text\"", "a; b a(a)");
    gives("a:\nb:\nc: x=b.id y=a.id !b", "a; b; c b(x) a(y)");
    gives("a:\nb: !a", "a; b a()");
}
END_TEST

START_TEST(order_is_that_of_declaration)
{
    gives("c:\na:\nb: c", "c; a; b c(c)");
    gives("d: b\nb: a\nx:\na:", "a; b a(a); d b(b); x");
}
END_TEST

START_TEST(templates_and_gathers)
{
    gives("w[]: count=3\nj@w: m=item.id\nk@w: j", "w; j w@(); k w@() j(j)");
    gives("w[]:\nj@w:\nall: *j.id", "w; j w@(); all *j(j)");
    gives("w[]:\nj@w:\none: *j[1].id two=*j[2]", "w; j w@(); one *j[1](j) *j[2](two)");
    gives("w[]:\nall: ids=*w.id", "w; all *w(ids)");
    gives("w[]:\nj@w:\nk@w: peers=*j.id own=j.id", "w; j w@(); k w@() *j(peers) j(own)");
    gives("w[]:\nj@w:\nk: !*j\no = *j.id", "w; j w@(); k *j()");
}
END_TEST

START_TEST(a_template_outside_of_its_each)
{
    refuses("w[]:\nj@w:\nk: x=j.id", "scope",
            "t.x.k uses t.x.j.id, which is one thing for each member of t.set.w and means nothing "
            "outside of that each");
    refuses("w[]:\nv[]:\nj@w:\nk@v: !j", "scope",
            "t.x.k uses t.x.j, which is one thing for each member of t.set.w and means nothing "
            "outside of that each");
    refuses("w[]:\nj@w:\no = j.id", "scope",
            "output 'o' uses t.x.j.id, which is one thing for each member of t.set.w and means "
            "nothing outside of that each");
}
END_TEST

START_TEST(cycles_name_each_member)
{
    refuses("x:\na: p=b.id\nb: q=c.id\nc: !a", "cycle",
            "these need each other, so none can be the first:\n"
            "r.lua:2: t.x.a needs t.x.b (field 'p')\n"
            "r.lua:3: t.x.b needs t.x.c (field 'q')\n"
            "r.lua:4: t.x.c needs t.x.a (after)");
    refuses("a: a.id", "cycle", "it needs itself:\nr.lua:1: t.x.a needs t.x.a (field 'a')");
    refuses("w[]: x=j.id\nj@w:", "scope",
            "t.set.w uses t.x.j.id, which is one thing for each member of t.set.w and means "
            "nothing outside of that each");
    refuses("w[]: x=*j\nj@w:", "cycle",
            "these need each other, so none can be the first:\n"
            "r.lua:1: t.set.w needs t.x.j (field 'x')\n"
            "r.lua:2: t.x.j needs t.set.w (each)");
}
END_TEST

START_TEST(the_shortest_cycle_is_told)
{
    refuses("a: b\nb: c\nc: d\nd: a x=e\ne: f\nf: x=e", "cycle",
            "these need each other, so none can be the first:\n"
            "r.lua:5: t.x.e needs t.x.f (field 'f')\n"
            "r.lua:6: t.x.f needs t.x.e (field 'x')");
    refuses("a: b\nb: c\nc: a x=b", "cycle",
            "these need each other, so none can be the first:\n"
            "r.lua:2: t.x.b needs t.x.c (field 'c')\n"
            "r.lua:3: t.x.c needs t.x.b (field 'x')");
}
END_TEST

START_TEST(users_are_the_other_way_round)
{
    struct graph_text *given = graph_text_new("a:\nb: a x=a.id\nc: a\nd: c");
    struct vr_graph *graph = vr_graph_new(given->decls, NULL);
    const struct vr_decl *a = graph_text_find(given, "a");
    ck_assert_uint_eq(vr_graph_user_count(graph, a), 2);
    ck_assert_str_eq(vr_graph_user(graph, a, 0)->name, "b");
    ck_assert_str_eq(vr_graph_user(graph, a, 1)->name, "c");
    ck_assert_uint_eq(vr_graph_user_count(graph, graph_text_find(given, "d")), 0);
    ck_assert_uint_eq(vr_graph_depth(graph), 3);
    vr_graph_free(graph);
    graph_text_free(given);
}
END_TEST

START_TEST(dot_and_json)
{
    struct graph_text *given = graph_text_new("w[]:\nj@w:\nb: !*j x=w.id");
    struct vr_graph *graph = vr_graph_new(given->decls, NULL);
    char *dot = vr_graph_dot(graph);
    ck_assert_str_eq(dot, "digraph recipe {\n    rankdir = LR;\n    node [shape = box];\n"
                          "    \"t.set.w\";\n    \"t.x.j\" [style = dashed];\n    \"t.x.b\";\n"
                          "    \"t.set.w\" -> \"t.x.j\" [label = \"each\", style = dotted];\n"
                          "    \"t.set.w\" -> \"t.x.b\" [label = \"x\"];\n"
                          "    \"t.x.j\" -> \"t.x.b\" [label = \"after\", style = dotted];\n}\n");
    free(dot);
    json_t *json = vr_graph_json(graph);
    char *text = json_dumps(json, JSON_COMPACT);
    ck_assert_str_eq(
        text, "{\"nodes\":[{\"address\":\"t.set.w\",\"kind\":\"t.set\",\"place\":\"r.lua:1\"},"
              "{\"address\":\"t.x.j\",\"kind\":\"t.x\",\"place\":\"r.lua:2\",\"each\":\"t.set.w\"},"
              "{\"address\":\"t.x.b\",\"kind\":\"t.x\",\"place\":\"r.lua:3\"}],"
              "\"edges\":[{\"from\":\"t.x.j\",\"to\":\"t.set.w\",\"field\":\"each\"},"
              "{\"from\":\"t.x.b\",\"to\":\"t.set.w\",\"field\":\"x\"},"
              "{\"from\":\"t.x.b\",\"to\":\"t.x.j\",\"field\":\"after\"}]}");
    free(text);
    json_decref(json);
    vr_graph_free(graph);
    graph_text_free(given);
}
END_TEST

enum { MANY = 100000 };

/* n declarations; each needs the one at index + step, where there is one, and the last the first
 * when it is a ring. */
static struct vr_decls *chain(struct vr_kind *kind, size_t n, int step, bool ring)
{
    struct vr_decls *decls = vr_decls_new();
    struct vr_exprs *exprs = vr_decls_exprs(decls);
    for (size_t i = 0; i < n; i++) {
        char address[32];
        snprintf(address, sizeof(address), "t.x.n%zu", i);
        vr_decls_add(decls, kind, address + 4, address, NULL, "r.lua", (int)i + 1, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        size_t to = i + (size_t)step;
        if (ring)
            to %= n;
        if (to < n)
            vr_decl_set(decls, vr_decls_at(decls, i), "x",
                        vr_expr_ref(exprs, vr_decls_at(decls, to), NULL), "r.lua", (int)i + 1);
    }
    return decls;
}

START_TEST(long_chains)
{
    struct vr_kind *kind = vr_kind_new("t.x");
    for (int step = -1; step <= 1; step += 2) {
        struct vr_decls *decls = chain(kind, MANY, step, false);
        struct vr_graph *graph = vr_graph_new(decls, NULL);
        ck_assert_uint_eq(vr_graph_depth(graph), MANY);
        ck_assert_ptr_eq(vr_graph_at(graph, 0), vr_decls_at(decls, step < 0 ? 0 : MANY - 1));
        vr_graph_free(graph);
        vr_decls_free(decls);
    }
    struct vr_error err = {0};
    struct vr_decls *decls = chain(kind, 20000, 1, true);
    ck_assert_ptr_null(vr_graph_new(decls, &err));
    ck_assert_str_eq(err.code, "cycle");
    vr_error_clear(&err);
    vr_decls_free(decls);
    vr_kind_free(kind);
}
END_TEST

START_TEST(many_edges_to_and_from_one)
{
    struct vr_kind *kind = vr_kind_new("t.x");
    struct vr_decls *decls = chain(kind, MANY, MANY, false);
    struct vr_decl *last = vr_decls_at(decls, MANY - 1), *first = vr_decls_at(decls, 0);
    for (size_t i = 1; i < MANY - 1; i++) {
        vr_decl_after(decls, vr_decls_at(decls, i),
                      vr_expr_ref(vr_decls_exprs(decls), first, NULL));
        vr_decl_after(decls, last, vr_expr_ref(vr_decls_exprs(decls), vr_decls_at(decls, i), NULL));
        vr_decl_after(decls, last,
                      vr_expr_ref(vr_decls_exprs(decls), vr_decls_at(decls, i / 2 + 1),
                                  json_pack("[s]", "id")));
    }
    struct vr_graph *graph = vr_graph_new(decls, NULL);
    ck_assert_uint_eq(vr_graph_edge_count(graph, last), MANY - 2);
    ck_assert_uint_eq(vr_graph_user_count(graph, first), MANY - 2);
    ck_assert_uint_eq(vr_graph_depth(graph), 3);
    vr_graph_free(graph);
    vr_decls_free(decls);
    vr_kind_free(kind);
}
END_TEST

START_TEST(too_deep_an_expression)
{
    struct vr_kind *kind = vr_kind_new("t.x");
    struct vr_decls *decls = chain(kind, 2, 1, false);
    struct vr_exprs *exprs = vr_decls_exprs(decls);
    struct vr_expr *expr = vr_expr_ref(exprs, vr_decls_at(decls, 1), NULL);
    for (int i = 0; i < 200000; i++)
        expr = vr_expr_array(exprs, &expr, 1);
    vr_decl_set(decls, vr_decls_at(decls, 0), "x", expr, "r.lua", 1);
    struct vr_error err = {0};
    ck_assert_ptr_null(vr_graph_new(decls, &err));
    ck_assert_str_eq(err.code, "size");
    vr_error_clear(&err);
    vr_decls_free(decls);
    vr_kind_free(kind);
}
END_TEST

Suite *graph_suite(void);
Suite *graph_suite(void)
{
    Suite *suite = suite_create("graph");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, edges_come_from_references);
    tcase_add_test(tcase, order_is_that_of_declaration);
    tcase_add_test(tcase, templates_and_gathers);
    tcase_add_test(tcase, a_template_outside_of_its_each);
    tcase_add_test(tcase, cycles_name_each_member);
    tcase_add_test(tcase, the_shortest_cycle_is_told);
    tcase_add_test(tcase, users_are_the_other_way_round);
    tcase_add_test(tcase, dot_and_json);
    tcase_add_test(tcase, long_chains);
    tcase_add_test(tcase, many_edges_to_and_from_one);
    tcase_add_test(tcase, too_deep_an_expression);
    suite_add_tcase(suite, tcase);
    return suite;
}
