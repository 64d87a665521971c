/* What one evaluation of a recipe declared, and where it was written. */
#ifndef VR_ENGINE_DECL_H
#define VR_ENGINE_DECL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "engine/expr.h"
#include "engine/kind.h"

struct vr_decls;

/* One each() over a collection: its body's declarations are templates, one instance a member. An
 * each() over the result of an each() is the same scope. */
struct vr_scope {
    struct vr_decl *collection;
    size_t index; /* 0, 1, ... in the set */
};

struct vr_decl_field {
    const char *name;
    struct vr_expr *expr;
    const char *file;
    int line;
};

/* How many of a rolling change may fail, counted over all its joins; where its joins are templates,
 * for each member apart, unless the members take turns. */
struct vr_tally {
    size_t max_fail;
    size_t failed; /* by the run */
};

struct vr_decl {
    const char *address; /* "azure.subnet.nodes", "node.cp/ssh.host.host"; a template's instances
                            add the member in front */
    const struct vr_kind *kind;
    const char *name;
    const char *file;
    int line;
    struct vr_scope *scope; /* NULL: not a template */
    size_t index;           /* position in the order of declaration */
    struct vr_decl_field *fields;
    size_t field_count;
    struct vr_expr **after; /* what must be there before, though no value says so */
    size_t after_count;
    struct vr_tally *tally; /* not NULL: a join, which goes on though some of `after` have failed */
    bool any;               /* a join: as soon as one of them is there */
    /* a join of a template: it waits for this template's instance of the member that stands at_once
     * places (share: that many percent of all) before its own */
    struct vr_decl *turn;
    size_t at_once;
    bool share;
    /* lifecycle, set by the script layer */
    bool protect;               /* refuses destruction and replacement */
    bool create_before_destroy; /* a replacement is made before the old one goes, where its identity
                                   is another */
    const char **ignore_changes; /* field paths as in kind.h; "*": all */
    size_t ignore_count;
    double timeouts[VR_VERBS]; /* seconds; 0: the kind's */
    struct vr_expr **triggers; /* replace_triggered_by: a change of any value replaces */
    size_t trigger_count;
    void *payload; /* the script layer's */
};

struct vr_output {
    const char *name;
    struct vr_expr *expr;
    const char *doc; /* may be NULL */
    const char *file;
    int line;
};

struct vr_decls *vr_decls_new(void);
void vr_decls_free(struct vr_decls *decls);
struct vr_exprs *vr_decls_exprs(struct vr_decls *decls); /* for all expressions of this set */

/* NULL with an error (code "duplicate", both places in the text) when the address is taken. The
 * kind must outlive the set. A template may not have a kind with a collection that is itself looped
 * over (code "nested"). */
struct vr_decl *vr_decls_add(struct vr_decls *decls, const struct vr_kind *kind, const char *name,
                             const char *address, struct vr_scope *scope, const char *file,
                             int line, struct vr_error *err);
void vr_decl_set(struct vr_decls *decls, struct vr_decl *decl, const char *field,
                 struct vr_expr *expr, const char *file, int line);
void vr_decl_after(struct vr_decls *decls, struct vr_decl *decl, struct vr_expr *expr);
/* Lives as long as the set. SIZE_MAX: any number may fail. */
struct vr_tally *vr_decls_tally(struct vr_decls *decls, size_t max_fail);
void vr_decl_ignore(struct vr_decls *decls, struct vr_decl *decl, const char *path);
void vr_decl_trigger(struct vr_decls *decls, struct vr_decl *decl, struct vr_expr *expr);
/* NULL if not set */
const struct vr_decl_field *vr_decl_field(const struct vr_decl *decl, const char *name);

/* The scope of each() over decl's collection: one a call. NULL with an error when its kind has
 * none. */
struct vr_scope *vr_decls_scope(struct vr_decls *decls, struct vr_decl *collection,
                                struct vr_error *err);

/* False with an error when the name is taken. */
bool vr_decls_output(struct vr_decls *decls, const char *name, struct vr_expr *expr,
                     const char *doc, const char *file, int line, struct vr_error *err);

/* `moved` and `removed` declarations: an address, or a prefix that ends with `/` or `[`. */
void vr_decls_moved(struct vr_decls *decls, const char *from, const char *to);
void vr_decls_removed(struct vr_decls *decls, const char *address);
/* NULL if not moved */
const char *vr_decls_moved_to(const struct vr_decls *decls, const char *from);
bool vr_decls_is_removed(const struct vr_decls *decls, const char *address);

size_t vr_decls_count(const struct vr_decls *decls);
/* in order of declaration */
struct vr_decl *vr_decls_at(const struct vr_decls *decls, size_t index);
/* NULL if there is none */
struct vr_decl *vr_decls_find(const struct vr_decls *decls, const char *address);
size_t vr_decls_scope_count(const struct vr_decls *decls);
struct vr_scope *vr_decls_scope_at(const struct vr_decls *decls, size_t index);
size_t vr_decls_output_count(const struct vr_decls *decls);
const struct vr_output *vr_decls_output_at(const struct vr_decls *decls, size_t index);

/* Errors of an evaluation are collected, so that all are shown at once, sorted by place. err is
 * moved. */
void vr_decls_error(struct vr_decls *decls, struct vr_error *err);
size_t vr_decls_error_count(const struct vr_decls *decls);
const struct vr_error *vr_decls_error_at(const struct vr_decls *decls, size_t index);

#endif
