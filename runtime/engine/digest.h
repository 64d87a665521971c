/* Digests that stand for secrets: they show that one changed and nothing else. The key is a file
 * beside the state. */
#ifndef VR_ENGINE_DIGEST_H
#define VR_ENGINE_DIGEST_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct vr_digest_key {
    bool there;
    unsigned char bytes[32];
};

/* Reads the key; makes the file (0600) when it is missing and `make`. A missing file otherwise is
 * no error, but no key either. False with an error "io", "disk" or "corrupt". */
bool vr_digest_key_load(struct vr_digest_key *key, const char *path, bool make,
                        struct vr_error *err);
void vr_digest_key_clear(struct vr_digest_key *key);

/* A copy with {"$digest": "ID:HMAC"} in place of each secret: a new reference. Without a key:
 * {"$digest": null}. */
json_t *vr_digest_redact(const struct vr_digest_key *key, const json_t *value);
bool vr_is_digest(const json_t *value);
/* Whether two digests stand for the same text: 1 yes, 0 no, -1 cannot be told (other keys, or
 * none). */
int vr_digest_same(const json_t *a, const json_t *b);

#endif
