/* Between function.c, which has the table, and the files with what is in it; nobody else includes
 * this. */
#ifndef VR_ENGINE_FUNCTION_INTERNAL_H
#define VR_ENGINE_FUNCTION_INTERNAL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "engine/function.h"

/* An argument, or NULL (false) with an error that names its place and what it wants. */
const char *vr_text_arg(const json_t *args, size_t i, struct vr_error *err);
bool vr_integer_arg(const json_t *args, size_t i, json_int_t *out, struct vr_error *err);
json_t *vr_list_arg(const json_t *args, size_t i, struct vr_error *err);
json_t *vr_object_arg(const json_t *args, size_t i, struct vr_error *err);
/* Always false. */
bool vr_refuse(const json_t *args, size_t i, const char *want, struct vr_error *err);

/* For functions that can give much more than they are given: true with an error. */
bool vr_too_long(const struct vr_buf *buf, struct vr_error *err);
json_t *vr_give_buf(struct vr_buf *buf);
json_t *vr_give_or_free(struct vr_buf *buf, bool give);
json_t *vr_give_text(char *text);
/* The nearest key of an object, or NULL. */
const char *vr_nearest_key(const json_t *object, const char *name);

json_t *vr_f_base64(const json_t *args, struct vr_error *err);
json_t *vr_f_base64_decode(const json_t *args, struct vr_error *err);
json_t *vr_f_json(const json_t *args, struct vr_error *err);
json_t *vr_f_json_decode(const json_t *args, struct vr_error *err);
json_t *vr_f_yaml(const json_t *args, struct vr_error *err);
json_t *vr_f_yaml_decode(const json_t *args, struct vr_error *err);
json_t *vr_f_sha256(const json_t *args, struct vr_error *err);
json_t *vr_f_lower(const json_t *args, struct vr_error *err);
json_t *vr_f_upper(const json_t *args, struct vr_error *err);
json_t *vr_f_replace(const json_t *args, struct vr_error *err);
json_t *vr_f_split(const json_t *args, struct vr_error *err);
json_t *vr_f_trim(const json_t *args, struct vr_error *err);
json_t *vr_f_indent(const json_t *args, struct vr_error *err);
json_t *vr_f_join(const json_t *args, struct vr_error *err);
json_t *vr_f_tostring(const json_t *args, struct vr_error *err);
json_t *vr_f_tonumber(const json_t *args, struct vr_error *err);
json_t *vr_f_format(const json_t *args, struct vr_error *err);
json_t *vr_f_template(const json_t *args, struct vr_error *err);
json_t *vr_f_cidr_host(const json_t *args, struct vr_error *err);
json_t *vr_f_cidr_subnet(const json_t *args, struct vr_error *err);
json_t *vr_f_concat(const json_t *args, struct vr_error *err);
json_t *vr_f_merge(const json_t *args, struct vr_error *err);
json_t *vr_f_keys(const json_t *args, struct vr_error *err);
json_t *vr_f_values(const json_t *args, struct vr_error *err);
json_t *vr_f_length(const json_t *args, struct vr_error *err);
json_t *vr_f_lookup(const json_t *args, struct vr_error *err);
json_t *vr_f_contains(const json_t *args, struct vr_error *err);
json_t *vr_f_first(const json_t *args, struct vr_error *err);
json_t *vr_f_last(const json_t *args, struct vr_error *err);
json_t *vr_f_element(const json_t *args, struct vr_error *err);
json_t *vr_f_range(const json_t *args, struct vr_error *err);
json_t *vr_f_flatten(const json_t *args, struct vr_error *err);
json_t *vr_f_distinct(const json_t *args, struct vr_error *err);
json_t *vr_f_sort(const json_t *args, struct vr_error *err);

#endif
