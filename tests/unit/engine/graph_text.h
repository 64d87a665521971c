/* Declarations written as text, for tests:
 *
 *     a:                      kind t.x, address t.x.a, declared at r.lua:1
 *     b: a x=a.id y="text"    field `a` is the whole of a, `x` its id; numbers, true and false too
 *     w[]: count=3            kind t.set, address t.set.w: a collection of `count` `items`
 *     j@w: m=item.id b        a template: once for each member of w
 *     all: *j.id              a list: of each j's id (`*w.id`: of each member's id)
 *     one: x=*j[1].id         of the first member only
 *     z: !a !*j               after
 *     g@w: ~j/2               a join: turns of two members, each ends with its j
 *     m: ~1 !*j               a join: one of what it waits for may fail
 *     o = b.id                an output
 *
 * Empty lines and lines that begin with # are skipped. A mistake in the text fails the test. */
#ifndef GRAPH_TEXT_H
#define GRAPH_TEXT_H

#include "engine/decl.h"

struct graph_text {
    struct vr_decls *decls;
    struct vr_kind *plain,
        *set; /* t.x, t.set: outputs id, secret (t.x), items (t.set); set their verbs as needed */
};

struct graph_text *graph_text_new(const char *text);
void graph_text_free(struct graph_text *graph);
/* "a"; NULL if there is none */
struct vr_decl *graph_text_find(const struct graph_text *graph, const char *name);

#endif
