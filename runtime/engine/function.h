/* The pure functions that expressions may call: yaml, json, base64, template, cidr_host, ...
 * Deterministic, no I/O. */
#ifndef VR_ENGINE_FUNCTION_H
#define VR_ENGINE_FUNCTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct vr_function {
    const char *name;
    int min, max; /* arguments; max -1: any number */
    /* args: an array without secrets or unknowns (but `moves`) */
    json_t *(*call)(const json_t *args, struct vr_error *err);
    const char *doc;
    bool moves; /* only moves its arguments' parts around: secrets and unknowns inside of them are
                   passed and stay such */
};

const struct vr_function *vr_function_find(const char *name); /* NULL if there is none */
const struct vr_function *vr_function_list(size_t *count);    /* sorted by name */

#endif
