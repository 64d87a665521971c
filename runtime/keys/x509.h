/* Certificates, as a small authority needs them: kubeadm's PKI, the emulator's servers, client
 * certificates for people. All texts are PEM and the caller's; a failure is NULL or false with an
 * error (code "x509" or "key"). */
#ifndef VR_KEYS_X509_H
#define VR_KEYS_X509_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct vr_pem_pair {
    char *cert;
    char *key; /* PKCS#8 */
};
void vr_pem_pair_free(struct vr_pem_pair *pair);

/* Who a certificate is for. All lists end with NULL and may be NULL. */
struct vr_x509_subject {
    const char *cn;
    const char **organizations;
    const char **dns;
    const char **ips;
    const char **usage; /* "server", "client" */
    double days;        /* of validity, from five minutes ago; may be less than one */
};

/* A self-signed authority with a new key ("ec": P-256, or "rsa": 2048 bits). */
bool vr_x509_ca(const struct vr_x509_subject *subject, const char *key_type,
                struct vr_pem_pair *out, struct vr_error *err);
/* A certificate signed by ca. key: the subject's private key, or NULL for a new one (P-256).
 * out->key is always set. */
bool vr_x509_issue(const struct vr_pem_pair *ca, const struct vr_x509_subject *subject,
                   const char *key, struct vr_pem_pair *out, struct vr_error *err);
/* A signing request for key. */
char *vr_x509_csr(const struct vr_x509_subject *subject, const char *key, struct vr_error *err);
/* Signs a request as it is (subject and alternative names); usage and days are of `terms`. */
char *vr_x509_sign_csr(const struct vr_pem_pair *ca, const char *csr,
                       const struct vr_x509_subject *terms, struct vr_error *err);

/* What a certificate or a signing request says: {cn, o: [], dns: [], ip: [], not_before, not_after
 * (seconds since 1970), serial, issuer, is_ca, spki_sha256 (kubeadm's discovery hash), usage: []}.
 */
json_t *vr_x509_read(const char *pem, struct vr_error *err);
/* Whether cert was signed by ca and is valid now: false with the reason. */
bool vr_x509_verify(const char *cert, const char *ca, struct vr_error *err);

/* JSON Web Tokens, RS256 or ES256 by the key. kid and cert may be NULL; of a certificate the header
 * has the thumbprint, by which Microsoft Entra ID finds it (RFC 7515, x5t). */
char *vr_jwt_sign(const json_t *claims, const char *key, const char *kid, const char *cert,
                  struct vr_error *err);
/* The claims of a token of RS256, PS256 or ES256 when the signature fits the key (a certificate, or
 * a public or private key) and exp and nbf allow it. */
json_t *vr_jwt_verify(const char *token, const char *key, struct vr_error *err);

#endif
