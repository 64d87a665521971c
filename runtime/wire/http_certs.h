/* The certificates that one TLS listener shows, by server name. They live as long as the table: a
 * handshake may be using one that has been replaced meanwhile. */
#ifndef VR_WIRE_HTTP_CERTS_H
#define VR_WIRE_HTTP_CERTS_H

#include <gnutls/abstract.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct vr_certs;
struct vr_cert {
    gnutls_pcert_st *chain; /* the server's first */
    unsigned length;
    gnutls_privkey_t key;
};

struct vr_certs *vr_certs_new(void);
void vr_certs_free(struct vr_certs *certs); /* NULL is fine */

/* Reads PEM texts; the same pair again gives the same certificate. NULL with an error ("tls") when
 * they are not PEM or do not belong together. The result is the table's. */
const struct vr_cert *vr_certs_add(struct vr_certs *certs, const char *cert, const char *key,
                                   struct vr_error *err);

/* Remembers what to show for a name until the time `expires`. */
void vr_certs_set_name(struct vr_certs *certs, const char *name, const struct vr_cert *cert,
                       uint64_t expires);
const struct vr_cert *vr_certs_find(struct vr_certs *certs, const char *name,
                                    uint64_t now); /* NULL: unknown */

#endif
