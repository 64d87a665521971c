/* The graph of declarations: an edge out of each reference and each `after`. Templates are nodes
 * here once; the plan makes their instances. */
#ifndef VR_ENGINE_GRAPH_H
#define VR_ENGINE_GRAPH_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/decl.h"

struct vr_edge {
    struct vr_decl *to;      /* what is needed; for a gather over items only: the collection */
    struct vr_scope *gather; /* not NULL: all members' instances of `to`, or all members */
    size_t
        member; /* of gather: only the member at this position is needed; SIZE_MAX: all of them */
    struct vr_scope *item; /* not NULL: the current member of this scope; `to` is its collection */
    const char *field;     /* the field that needs it, "replace_triggered_by"; NULL: `after`, or the
                              template's collection */
    const char *file;
    int line;
};

struct vr_graph;
/* NULL with an error (code "cycle": the shortest cycle, every member with its place and field; code
 * "scope": a template used outside its each; code "size": an expression beyond all measure). The
 * declarations must outlive the graph. */
struct vr_graph *vr_graph_new(struct vr_decls *decls, struct vr_error *err);
void vr_graph_free(struct vr_graph *graph);

struct vr_decls *vr_graph_decls(const struct vr_graph *graph);
/* Each edge once a (to, gather, member, item). */
size_t vr_graph_edge_count(const struct vr_graph *graph, const struct vr_decl *decl);
const struct vr_edge *vr_graph_edge(const struct vr_graph *graph, const struct vr_decl *decl,
                                    size_t index);
/* who needs it */
size_t vr_graph_user_count(const struct vr_graph *graph, const struct vr_decl *decl);
struct vr_decl *vr_graph_user(const struct vr_graph *graph, const struct vr_decl *decl,
                              size_t index);
/* topological order: needed ones first */
struct vr_decl *vr_graph_at(const struct vr_graph *graph, size_t index);
size_t vr_graph_depth(const struct vr_graph *graph); /* declarations on the longest chain */

/* Graphviz, each component a cluster; the caller frees. */
char *vr_graph_dot(const struct vr_graph *graph);
/* {nodes: [{address, kind, place, component, each}], edges: [{from, to, field}]}: nodes in
 * topological order; component: the address of what it is part of; each: the collection of a
 * template; from needs to; field: also "after", "each" */
json_t *vr_graph_json(const struct vr_graph *graph);

#endif
