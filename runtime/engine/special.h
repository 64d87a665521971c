/* Values. A value is JSON. Two objects are special: {"$unknown": "address.path"} stands for what is
 * not known yet, and {"$secret": "text"} for a text that must not be shown. */
#ifndef VR_ENGINE_SPECIAL_H
#define VR_ENGINE_SPECIAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* A new reference; the text is what is not known. */
json_t *vr_unknown(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool vr_is_unknown(const json_t *value);
bool vr_is_secret(const json_t *value);
const char *vr_secret_text(const json_t *value); /* NULL if it is none */
bool vr_has_unknown(const json_t *value);        /* itself or anywhere inside */
bool vr_has_secret(const json_t *value);
/* Adds the text of a text, number, truth value or secret, as a join writes it; false for all
 * others. */
bool vr_value_join(struct vr_buf *buf, const json_t *value);
/* "a text", "a list", "a table", "null", ... for messages */
const char *vr_value_noun(const json_t *value);
/* Text keys and positions of what is unknown inside: array of arrays. */
json_t *vr_unknown_paths(const json_t *value);

/* A secret of this text, which is UTF-8: a new reference. */
json_t *vr_secret(const char *text, size_t length);
/* A copy of value in which all texts and numbers are secrets, and masked as such. Steals value. */
json_t *vr_secret_wrap(json_t *value);
/* A copy of value in which all secrets are plain texts. Steals value. */
json_t *vr_secret_unwrap(json_t *value);

#endif
