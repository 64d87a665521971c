/* Expressions: what a field of a recipe says when part of it is only known later. A tree out of
 * literals, references and calls of pure functions, allocated in an arena and never changed.
 * Evaluating needs only the values of the nodes that it names, so no recipe code runs after the
 * recipe was read.
 *
 * A call or join with a secret inside gives a secret; with an unknown inside, an unknown. */
#ifndef VR_ENGINE_EXPR_H
#define VR_ENGINE_EXPR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"
#include "base/error.h"
#include "engine/special.h"

struct vr_decl;
struct vr_scope;

enum vr_expr_type {
    VR_EXPR_LITERAL, /* value */
    VR_EXPR_ARRAY,   /* items */
    VR_EXPR_OBJECT,  /* keys, items */
    VR_EXPR_REF, /* decl, path: a node's value (fields and outputs); an empty path is the whole node
                  */
    VR_EXPR_ITEM,  /* scope, path: the current member of an each(), inside its templates or a gather
                    */
    VR_EXPR_INDEX, /* items[0], path: part of any other expression */
    VR_EXPR_JOIN,  /* items, as one text */
    VR_EXPR_CALL,  /* function, items */
    VR_EXPR_GATHER, /* scope, items[0] evaluated for each member: a list */
};

struct vr_expr {
    enum vr_expr_type type;
    size_t count; /* of items */
    struct vr_expr **items;
    const char **keys;      /* VR_EXPR_OBJECT: one an item */
    json_t *value;          /* VR_EXPR_LITERAL: owned by the arena's list, see vr_expr_literal */
    struct vr_decl *decl;   /* VR_EXPR_REF */
    struct vr_scope *scope; /* VR_EXPR_ITEM, VR_EXPR_GATHER */
    json_t *path; /* array of keys (strings) and positions (integers from 0); NULL: empty */
    const struct vr_function *function; /* VR_EXPR_CALL */
    bool secret; /* marked: the result is wrapped as a secret even if the parts are none */
    bool tainted, constant; /* see vr_expr_tainted, vr_expr_constant */
    unsigned depth;         /* of the tree */
    size_t parts;           /* in the tree, shared ones each time; see vr_expr_too_large */
    const char *file;       /* where it was written; may be NULL */
    int line;
};

enum { VR_EXPR_DEEPEST = 4000, VR_EXPR_LARGEST = 4 << 20 };

/* What holds the expressions of one evaluation: an arena, and the JSON values that die with it. */
struct vr_exprs;
struct vr_exprs *vr_exprs_new(void);
void vr_exprs_free(struct vr_exprs *exprs);
struct vr_arena *vr_exprs_arena(struct vr_exprs *exprs);

/* Constructors. All texts are copied; JSON arguments are stolen; item arrays are copied, their
 * expressions shared. */
struct vr_expr *vr_expr_literal(struct vr_exprs *exprs, json_t *value);
struct vr_expr *vr_expr_array(struct vr_exprs *exprs, struct vr_expr **items, size_t count);
struct vr_expr *vr_expr_object(struct vr_exprs *exprs, const char **keys, struct vr_expr **items,
                               size_t count);
struct vr_expr *vr_expr_ref(struct vr_exprs *exprs, struct vr_decl *decl, json_t *path);
struct vr_expr *vr_expr_item(struct vr_exprs *exprs, struct vr_scope *scope, json_t *path);
/* Part of an expression: extends the path of a REF, ITEM or INDEX, picks from a literal, else makes
 * an INDEX. step is a string (key) or an integer (position from 0). */
struct vr_expr *vr_expr_index(struct vr_exprs *exprs, struct vr_expr *of, json_t *step);
struct vr_expr *vr_expr_join(struct vr_exprs *exprs, struct vr_expr **items, size_t count);
/* NULL with an error (code "function") when there is no such function or the number of arguments is
 * wrong. */
struct vr_expr *vr_expr_call(struct vr_exprs *exprs, const char *function, struct vr_expr **items,
                             size_t count, struct vr_error *err);
/* The list of `each` over all members of scope. Inside each, vr_expr_item(scope) and references to
 * declarations of the same scope mean the current member's. */
struct vr_expr *vr_expr_gather(struct vr_exprs *exprs, struct vr_scope *scope,
                               struct vr_expr *each);
/* A copy of the top that is tainted. */
struct vr_expr *vr_expr_secret(struct vr_exprs *exprs, struct vr_expr *of);

/* True when no node is needed: vr_expr_eval with a NULL lookup works. */
bool vr_expr_constant(const struct vr_expr *expr);
/* True when the value is, or has inside, a secret, as far as the expression shows it. */
bool vr_expr_tainted(const struct vr_expr *expr);
/* True with an error (code "size") when the tree is deeper or larger than any recipe needs: such a
 * one is not evaluated. */
bool vr_expr_too_large(const struct vr_expr *expr, struct vr_error *err);
/* As a person would write it: `azure.subnet.nodes.id .. "/x"`, shortened when very long. The caller
 * frees. */
char *vr_expr_text(const struct vr_expr *expr);

/* Where an evaluation finds the values of nodes. `whole`: the reference has no path, so the value
 * stands for the node. */
struct vr_lookup {
    /* New references, or NULL when nothing at all is known; *partial: keys that are missing are
     * unknown, not absent. */
    json_t *(*ref)(void *payload, const struct vr_decl *decl, bool whole, bool *partial);
    json_t *(*item)(void *payload, const struct vr_scope *scope, bool whole, bool *partial);
    /* GATHER: how many members there are (SIZE_MAX: unknown), and stepping into the one at index.
     * Each enter is followed by an enter with SIZE_MAX that steps out again, so that gathers and
     * their users nest. */
    size_t (*members)(void *payload, const struct vr_scope *scope);
    void (*enter)(void *payload, const struct vr_scope *scope, size_t index);
    void *payload;
};

/* A new reference, or NULL with an error that has the expression's place: a pure function refused
 * its arguments (code "function"), a part of something that has no parts, or of a list that is
 * shorter (code "path"), a join with what has no text (code "join"), a value beyond all measure
 * (code "size"). A key that is not there gives null, or an unknown when its owner is only partly
 * known. */
json_t *vr_expr_eval(const struct vr_expr *expr, const struct vr_lookup *lookup,
                     struct vr_error *err);

/* One thing that an expression needs. */
struct vr_need {
    struct vr_decl *decl;   /* REF: this declaration; else NULL */
    struct vr_scope *scope; /* ITEM, or a gather that names nothing of its own scope: a member of
                               this scope; else NULL */
    bool gathered; /* inside a gather over its scope: of all members, not of the current one */
    size_t member; /* gathered: only of the member at this position (`list[1]`); SIZE_MAX: of all */
    const struct vr_expr *expr; /* where it is named */
};
typedef void (*vr_expr_visit)(void *payload, const struct vr_need *need);
/* Calls visit for each declaration or member that the expression names, from left to right, as
 * often as it does. Nothing when it is too large. */
void vr_expr_refs(const struct vr_expr *expr, vr_expr_visit visit, void *payload);

#endif
