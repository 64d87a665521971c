/* YAML text to and from JSON values, over libyaml. The core schema as Kubernetes' tools read it:
 * true, false, null, integers (0x, 0o, and a leading 0 as octal), floats; yes and no are texts. */
#ifndef VR_BASE_YAML_H
#define VR_BASE_YAML_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/* All documents of a stream: a new array, or NULL with an error (code "syntax", "LINE:COLUMN:
 * text"). An empty document is null. Aliases, merge keys and !!str are understood; a key given
 * twice is an error. */
json_t *vr_yaml_decode_all(const char *text, size_t length, struct vr_error *err);
/* The one document; more than one is an error, none is null. */
json_t *vr_yaml_decode(const char *text, size_t length, struct vr_error *err);

/* Block style, keys sorted, texts of several lines as literals; ends in a newline. The caller
 * frees. */
char *vr_yaml_encode(const json_t *value);
/* Documents with `---` between them. */
char *vr_yaml_encode_all(const json_t *documents);

#endif
