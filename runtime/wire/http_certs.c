#include "wire/http_certs.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

enum { MAX_NAMES = 1024, MAX_CHAIN = 8 };

struct entry {
    struct vr_cert cert; /* first: callers hold its address */
    char *cert_pem, *key_pem;
    struct entry *next;
};

struct name {
    char *name;
    const struct vr_cert *cert;
    uint64_t expires;
    struct name *next;
};

struct vr_certs {
    struct entry *entries;
    struct name *names; /* the newest first */
};

struct vr_certs *vr_certs_new(void)
{
    return vr_alloc(sizeof(struct vr_certs));
}

static void entry_free(struct entry *entry)
{
    for (unsigned i = 0; i < entry->cert.length; i++)
        gnutls_pcert_deinit(&entry->cert.chain[i]);
    if (entry->cert.key)
        gnutls_privkey_deinit(entry->cert.key);
    free(entry->cert.chain);
    free(entry->cert_pem);
    if (entry->key_pem)
        explicit_bzero(entry->key_pem, strlen(entry->key_pem));
    free(entry->key_pem);
    free(entry);
}

static void name_free(struct name *name)
{
    free(name->name);
    free(name);
}

void vr_certs_free(struct vr_certs *certs)
{
    if (!certs)
        return;
    while (certs->names) {
        struct name *name = certs->names;
        certs->names = name->next;
        name_free(name);
    }
    while (certs->entries) {
        struct entry *entry = certs->entries;
        certs->entries = entry->next;
        entry_free(entry);
    }
    free(certs);
}

static gnutls_datum_t datum(const char *text)
{
    return (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)strlen(text)};
}

/* GnuTLS compares a key with its certificate only where it keeps both itself. */
static bool belong_together(const char *cert, const char *key, struct vr_error *err)
{
    gnutls_certificate_credentials_t scratch;
    gnutls_certificate_allocate_credentials(&scratch);
    gnutls_datum_t cert_data = datum(cert), key_data = datum(key);
    int status =
        gnutls_certificate_set_x509_key_mem(scratch, &cert_data, &key_data, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(scratch);
    if (status == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
        return vr_error_set(err, "tls", "the certificate and the key do not belong together");
    if (status < 0)
        return vr_error_set(err, "tls", "the certificate or its key is not PEM: %s",
                            gnutls_strerror(status));
    return true;
}

static bool load(struct entry *entry, struct vr_error *err)
{
    if (!belong_together(entry->cert_pem, entry->key_pem, err))
        return false;
    gnutls_datum_t cert = datum(entry->cert_pem), key = datum(entry->key_pem);
    entry->cert.chain = vr_alloc(MAX_CHAIN * sizeof *entry->cert.chain);
    unsigned length = MAX_CHAIN;
    int status = gnutls_pcert_list_import_x509_raw(entry->cert.chain, &length, &cert,
                                                   GNUTLS_X509_FMT_PEM, 0);
    if (status < 0)
        return vr_error_set(err, "tls", "the certificate cannot be read: %s",
                            gnutls_strerror(status));
    entry->cert.length = length;
    gnutls_privkey_init(&entry->cert.key);
    status = gnutls_privkey_import_x509_raw(entry->cert.key, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (status < 0)
        return vr_error_set(err, "tls", "the key cannot be read: %s", gnutls_strerror(status));
    return true;
}

const struct vr_cert *vr_certs_add(struct vr_certs *certs, const char *cert, const char *key,
                                   struct vr_error *err)
{
    for (struct entry *at = certs->entries; at; at = at->next) {
        if (strcmp(at->cert_pem, cert) == 0 && strcmp(at->key_pem, key) == 0)
            return &at->cert;
    }
    struct entry *entry = vr_alloc(sizeof *entry);
    entry->cert_pem = vr_strdup(cert);
    entry->key_pem = vr_strdup(key);
    if (!load(entry, err)) {
        entry_free(entry);
        return NULL;
    }
    entry->next = certs->entries;
    certs->entries = entry;
    return &entry->cert;
}

static struct name *find_name(struct vr_certs *certs, const char *name)
{
    for (struct name *at = certs->names; at; at = at->next) {
        if (strcasecmp(at->name, name) == 0)
            return at;
    }
    return NULL;
}

/* Peers choose the names: no more than MAX_NAMES are remembered. */
static void trim(struct vr_certs *certs)
{
    struct name **at = &certs->names;
    for (size_t i = 0; *at; i++) {
        if (i + 1 < MAX_NAMES) {
            at = &(*at)->next;
            continue;
        }
        struct name *old = *at;
        *at = old->next;
        name_free(old);
    }
}

void vr_certs_set_name(struct vr_certs *certs, const char *name, const struct vr_cert *cert,
                       uint64_t expires)
{
    struct name *found = find_name(certs, name);
    if (!found) {
        trim(certs);
        found = vr_alloc(sizeof *found);
        found->name = vr_strdup(name);
        found->next = certs->names;
        certs->names = found;
    }
    found->cert = cert;
    found->expires = expires;
}

const struct vr_cert *vr_certs_find(struct vr_certs *certs, const char *name, uint64_t now)
{
    struct name *found = find_name(certs, name);
    return found && found->expires > now ? found->cert : NULL;
}
