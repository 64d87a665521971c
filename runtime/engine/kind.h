/* A kind of resource: what the engine must know about its fields and verbs. Filled by the script
 * layer from the kind's page; the verbs themselves run behind struct vr_runner. */
#ifndef VR_ENGINE_KIND_H
#define VR_ENGINE_KIND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum vr_verb {
    VR_VERB_READ,
    VR_VERB_CREATE,
    VR_VERB_UPDATE,
    VR_VERB_DELETE,
    VR_VERB_ADD,    /* a collection: n more members */
    VR_VERB_REMOVE, /* a collection: this member */
    VR_VERBS,
};
const char *vr_verb_name(enum vr_verb verb); /* "read", "create", ... */

enum {
    VR_FIELD_REPLACE = 1,    /* a change forces replacement */
    VR_FIELD_SECRET = 2,     /* never shown, whatever its value */
    VR_FIELD_COMPUTED = 4,   /* the world fills it in: taking it out of the recipe is no change */
    VR_FIELD_OWNED = 8,      /* owned_elements: a list whose foreign elements are left alone */
    VR_FIELD_IGNORE = 16,    /* never compared: it only says how the provider works */
    VR_FIELD_UNORDERED = 32, /* a list whose order has no meaning */
    VR_FIELD_ROLLS = 64      /* of a collection: a change makes the members that there are stale */
};

/* A field, or a part of one: "rules" or "properties.rules.tags" (lists add nothing to the path). */
struct vr_field {
    const char *path;
    unsigned flags;
    const char
        *key; /* of a list of objects: the key that identifies an element; NULL: by position */
};

enum {
    VR_OUTPUT_SECRET = 1,
    VR_OUTPUT_VOLATILE = 2, /* an update may change it: unknown while an update is planned */
};

struct vr_kind {
    const char *name;     /* "azure.subnet" */
    const char *provider; /* "azure": whose limit its steps count against */
    unsigned verbs; /* 1 << VR_VERB_x for each verb that the kind has. Without create and delete it
                       is only read */
    double timeouts[VR_VERBS]; /* seconds; 0: the runner's default */
    size_t at_once;            /* steps of this kind at once; 0: as many as of its provider */
    bool remembered;           /* the state is all there is of it: a read would give what it says */
    bool refuse_existing;      /* a thing that exists without a row is an error, not adopted */
    bool fold_identity;        /* identities differ in case only: the same */
    const char *leaves; /* what stays behind when it is no longer declared, for the plan; or NULL */
    struct vr_field *fields;
    size_t field_count;
    struct vr_field *outputs; /* path is the name; flags are VR_OUTPUT_x */
    size_t output_count;
    const char
        *collection; /* the output that lists the members ("instances"); NULL: no collection */
    const char *count_field; /* the field that says how many ("capacity"): a number, or {min, max},
                                between which somebody else decides; NULL or not declared: as many
                                as there are */
    /* The identity before creation: a text that the caller frees, or NULL when it is not known yet
     * (fields may hold unknowns and whole references). NULL pointer: the kind knows its identity
     * only after creation. */
    char *(*identity)(const struct vr_kind *kind, const json_t *fields);
    /* Outputs that are known before creation: a new reference to an object, or NULL. May be a NULL
     * pointer. */
    json_t *(*predict)(const struct vr_kind *kind, const json_t *fields);
    void *payload; /* the script layer's */
};

/* The texts are copied; the kind and all that was added die with vr_kind_free. Provider: the part
 * before the first dot. */
struct vr_kind *vr_kind_new(const char *name);
void vr_kind_free(struct vr_kind *kind);
void vr_kind_add_field(struct vr_kind *kind, const char *path, unsigned flags, const char *key);
void vr_kind_add_output(struct vr_kind *kind, const char *name, unsigned flags);
void vr_kind_set_collection(struct vr_kind *kind, const char *output, const char *count_field);
/* The text is copied; NULL is fine. */
void vr_kind_set_leaves(struct vr_kind *kind, const char *text);
/* NULL if not added */
const struct vr_field *vr_kind_field(const struct vr_kind *kind, const char *path);
/* NULL if not added */
const struct vr_field *vr_kind_output(const struct vr_kind *kind, const char *name);
static inline bool vr_kind_has(const struct vr_kind *kind, enum vr_verb verb)
{
    return kind->verbs >> verb & 1;
}

#endif
