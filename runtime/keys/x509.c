#include "keys/x509.h"

#include <arpa/inet.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "keys/keys.h"

enum { BACKDATE = 300 }; /* seconds: clocks differ */

void vr_pem_pair_free(struct vr_pem_pair *pair)
{
    free(pair->cert);
    vr_secret_free(pair->key);
    *pair = (struct vr_pem_pair){0};
}

static bool fail(struct vr_error *err, const char *what)
{
    unsigned long code = ERR_get_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return vr_error_set(err, "x509", "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
}

static X509 *read_cert(const char *pem, struct vr_error *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (!cert)
        fail(err, "this is not a certificate in PEM");
    return cert;
}

static X509_REQ *read_request(const char *pem, struct vr_error *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (!request)
        fail(err, "this is not a certificate signing request in PEM");
    return request;
}

static char *text_of(BIO *bio)
{
    char *data;
    long length = BIO_get_mem_data(bio, &data);
    char *text = vr_strndup(data, (size_t)length);
    BIO_free(bio);
    return text;
}

static char *cert_pem(X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, cert);
    return text_of(bio);
}

static bool fill_name(X509_NAME *name, const struct vr_x509_subject *subject)
{
    for (const char **o = subject->organizations; o && *o; o++)
        if (!X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)*o, -1, -1,
                                        0))
            return false;
    return !subject->cn ||
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)subject->cn,
                                      -1, -1, 0);
}

static bool add_name(GENERAL_NAMES *names, int type, const char *text)
{
    GENERAL_NAME *name = a2i_GENERAL_NAME(NULL, NULL, NULL, type, text, 0);
    if (!name)
        return false;
    sk_GENERAL_NAME_push(names, name);
    return true;
}

static bool alternative_names(const struct vr_x509_subject *subject, GENERAL_NAMES *names,
                              struct vr_error *err)
{
    for (const char **dns = subject->dns; dns && *dns; dns++)
        if (!add_name(names, GEN_DNS, *dns))
            return vr_error_set(err, "x509", "'%s' is not a DNS name", *dns);
    for (const char **ip = subject->ips; ip && *ip; ip++)
        if (!add_name(names, GEN_IPADD, *ip))
            return vr_error_set(err, "x509", "'%s' is not an IP address", *ip);
    return true;
}

static bool extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool ok = extension && X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    return ok;
}

static bool extend_usage(X509 *cert, X509 *issuer, const char **usage)
{
    struct vr_buf text = {0};
    for (; usage && *usage; usage++)
        vr_buf_printf(&text, "%s%s", text.length ? "," : "",
                      strcmp(*usage, "server") == 0 ? "serverAuth" : "clientAuth");
    bool ok = !text.length || extend(cert, issuer, NID_ext_key_usage, text.data);
    vr_buf_free(&text);
    return ok;
}

static bool set_serial(X509 *cert)
{
    unsigned char bytes[16];
    vr_random(bytes, sizeof(bytes));
    bytes[0] &= 0x7f;
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok = BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return ok;
}

static X509 *blank(double days)
{
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    time_t now = time(NULL);
    if (days <= 0)
        days = 365;
    ASN1_TIME_set(X509_getm_notBefore(cert), now - BACKDATE);
    ASN1_TIME_set(X509_getm_notAfter(cert), now + (time_t)(days * 86400));
    if (!set_serial(cert))
        abort();
    return cert;
}

static EVP_PKEY *new_key(const char *type)
{
    if (type && strcmp(type, "rsa") == 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

static char *key_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    return text_of(bio);
}

bool vr_x509_ca(const struct vr_x509_subject *subject, const char *key_type,
                struct vr_pem_pair *out, struct vr_error *err)
{
    X509 *cert = blank(subject->days > 0 ? subject->days : 3650);
    EVP_PKEY *key = new_key(key_type);
    bool ok = key && fill_name(X509_get_subject_name(cert), subject) &&
              X509_set_issuer_name(cert, X509_get_subject_name(cert)) &&
              X509_set_pubkey(cert, key) &&
              extend(cert, cert, NID_basic_constraints, "critical,CA:TRUE") &&
              extend(cert, cert, NID_key_usage,
                     "critical,digitalSignature,keyEncipherment,keyCertSign") &&
              extend(cert, cert, NID_subject_key_identifier, "hash") &&
              X509_sign(cert, key, EVP_sha256());
    if (ok)
        *out = (struct vr_pem_pair){cert_pem(cert), key_pem(key)};
    else
        fail(err, "cannot make a certificate authority");
    X509_free(cert);
    EVP_PKEY_free(key);
    return ok;
}

struct authority {
    X509 *cert;
    EVP_PKEY *key;
};

static void authority_free(struct authority *ca)
{
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
}

static bool authority_read(const struct vr_pem_pair *pair, struct authority *ca,
                           struct vr_error *err)
{
    *ca = (struct authority){0};
    if ((ca->cert = read_cert(pair->cert, err)) && (ca->key = vr_key_read(pair->key, err))) {
        if (X509_check_private_key(ca->cert, ca->key))
            return true;
        fail(err, "the authority's key does not belong to its certificate");
    }
    authority_free(ca);
    return false;
}

static bool finish(X509 *cert, const struct authority *ca, EVP_PKEY *key,
                   const GENERAL_NAMES *names, const char **usage)
{
    bool has_names = names && sk_GENERAL_NAME_num(names) > 0;
    return X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) &&
           X509_set_pubkey(cert, key) &&
           extend(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
           extend(cert, ca->cert, NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
           extend_usage(cert, ca->cert, usage) &&
           extend(cert, ca->cert, NID_authority_key_identifier, "keyid") &&
           (!has_names || X509_add1_ext_i2d(cert, NID_subject_alt_name, (void *)names, 0, 0)) &&
           X509_sign(cert, ca->key, EVP_sha256());
}

bool vr_x509_issue(const struct vr_pem_pair *pair, const struct vr_x509_subject *subject,
                   const char *key_text, struct vr_pem_pair *out, struct vr_error *err)
{
    struct authority ca;
    if (!authority_read(pair, &ca, err))
        return false;
    bool ok = false;
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    X509 *cert = blank(subject->days);
    EVP_PKEY *key = key_text ? vr_key_read(key_text, err) : new_key(NULL);
    if (key && alternative_names(subject, names, err)) {
        ok = fill_name(X509_get_subject_name(cert), subject) &&
             finish(cert, &ca, key, names, subject->usage);
        if (ok)
            *out = (struct vr_pem_pair){cert_pem(cert), key_pem(key)};
        else
            fail(err, "cannot make a certificate");
    }
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
    X509_free(cert);
    EVP_PKEY_free(key);
    authority_free(&ca);
    return ok;
}

char *vr_x509_csr(const struct vr_x509_subject *subject, const char *key_text, struct vr_error *err)
{
    EVP_PKEY *key = vr_key_read(key_text, err);
    if (!key)
        return NULL;
    char *pem = NULL;
    X509_REQ *request = X509_REQ_new();
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    if (alternative_names(subject, names, err)) {
        bool ok = X509_REQ_set_version(request, 0) &&
                  fill_name(X509_REQ_get_subject_name(request), subject) &&
                  X509_REQ_set_pubkey(request, key);
        if (ok && sk_GENERAL_NAME_num(names) > 0)
            ok = X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, 0) &&
                 X509_REQ_add_extensions(request, extensions);
        if (ok && X509_REQ_sign(request, key, EVP_sha256())) {
            BIO *bio = BIO_new(BIO_s_mem());
            PEM_write_bio_X509_REQ(bio, request);
            pem = text_of(bio);
        } else {
            fail(err, "cannot make a signing request");
        }
    }
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return pem;
}

char *vr_x509_sign_csr(const struct vr_pem_pair *pair, const char *csr,
                       const struct vr_x509_subject *terms, struct vr_error *err)
{
    struct authority ca;
    if (!authority_read(pair, &ca, err))
        return NULL;
    char *pem = NULL;
    X509_REQ *request = read_request(csr, err);
    if (request) {
        EVP_PKEY *key = X509_REQ_get0_pubkey(request);
        X509 *cert = blank(terms->days);
        STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
        GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
        if (key && X509_REQ_verify(request, key) == 1 &&
            X509_set_subject_name(cert, X509_REQ_get_subject_name(request)) &&
            finish(cert, &ca, key, names, terms->usage))
            pem = cert_pem(cert);
        else
            fail(err, "cannot sign the request");
        GENERAL_NAMES_free(names);
        sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
        X509_free(cert);
    }
    X509_REQ_free(request);
    authority_free(&ca);
    return pem;
}

static json_t *string_of(const ASN1_STRING *text)
{
    unsigned char *utf8 = NULL;
    int length = ASN1_STRING_to_UTF8(&utf8, text);
    json_t *value = length >= 0 ? json_stringn((char *)utf8, (size_t)length) : NULL;
    OPENSSL_free(utf8);
    return value ? value : json_string("");
}

static void read_name(const X509_NAME *name, json_t *into)
{
    json_t *organizations = json_array();
    for (int i = 0; i < X509_NAME_entry_count(name); i++) {
        X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
        if (nid == NID_commonName)
            json_object_set_new(into, "cn", string_of(X509_NAME_ENTRY_get_data(entry)));
        else if (nid == NID_organizationName)
            json_array_append_new(organizations, string_of(X509_NAME_ENTRY_get_data(entry)));
    }
    json_object_set_new(into, "o", organizations);
}

static void read_alternatives(GENERAL_NAMES *names, json_t *into)
{
    json_t *dns = json_array(), *ips = json_array();
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS) {
            json_array_append_new(dns, string_of(name->d.dNSName));
        } else if (name->type == GEN_IPADD) {
            char text[INET6_ADDRSTRLEN] = "";
            int family = name->d.iPAddress->length == 4 ? AF_INET : AF_INET6;
            inet_ntop(family, name->d.iPAddress->data, text, sizeof(text));
            json_array_append_new(ips, json_string(text));
        }
    }
    json_object_set_new(into, "dns", dns);
    json_object_set_new(into, "ip", ips);
}

static json_int_t seconds_of(const ASN1_TIME *when)
{
    struct tm tm = {0};
    return ASN1_TIME_to_tm(when, &tm) ? (json_int_t)timegm(&tm) : 0;
}

static void read_spki(X509_PUBKEY *key, json_t *into)
{
    unsigned char *der = NULL;
    int length = i2d_X509_PUBKEY(key, &der);
    char hex[2 * VR_SHA256_SIZE + 1];
    if (length > 0) {
        vr_sha256_hex(der, (size_t)length, hex);
        json_object_set_new(into, "spki_sha256", json_string(hex));
    }
    OPENSSL_free(der);
}

static json_t *read_request_told(const char *pem, struct vr_error *err)
{
    X509_REQ *request = read_request(pem, err);
    if (!request)
        return NULL;
    json_t *told = json_object();
    read_name(X509_REQ_get_subject_name(request), told);
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(request);
    GENERAL_NAMES *names = X509V3_get_d2i(extensions, NID_subject_alt_name, NULL, NULL);
    read_alternatives(names, told);
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    read_spki(X509_REQ_get_X509_PUBKEY(request), told);
    X509_REQ_free(request);
    return told;
}

static json_t *usage_of(X509 *cert)
{
    json_t *usage = json_array();
    uint32_t bits = X509_get_extended_key_usage(cert);
    if (bits != UINT32_MAX && bits & XKU_SSL_SERVER)
        json_array_append_new(usage, json_string("server"));
    if (bits != UINT32_MAX && bits & XKU_SSL_CLIENT)
        json_array_append_new(usage, json_string("client"));
    return usage;
}

json_t *vr_x509_read(const char *pem, struct vr_error *err)
{
    if (strstr(pem, "CERTIFICATE REQUEST-----"))
        return read_request_told(pem, err);
    X509 *cert = read_cert(pem, err);
    if (!cert)
        return NULL;
    json_t *told = json_object();
    read_name(X509_get_subject_name(cert), told);
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    read_alternatives(names, told);
    GENERAL_NAMES_free(names);
    read_spki(X509_get_X509_PUBKEY(cert), told);
    json_object_set_new(told, "not_before", json_integer(seconds_of(X509_get0_notBefore(cert))));
    json_object_set_new(told, "not_after", json_integer(seconds_of(X509_get0_notAfter(cert))));
    BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
    char *hex = BN_bn2hex(serial);
    json_object_set_new(told, "serial", json_string(hex));
    OPENSSL_free(hex);
    BN_free(serial);
    char issuer[256] = "";
    X509_NAME_get_text_by_NID(X509_get_issuer_name(cert), NID_commonName, issuer, sizeof(issuer));
    json_object_set_new(told, "issuer", json_string(issuer));
    json_object_set_new(told, "is_ca", json_boolean(X509_check_ca(cert) == 1));
    json_object_set_new(told, "usage", usage_of(cert));
    X509_free(cert);
    return told;
}

bool vr_x509_verify(const char *cert_text, const char *ca_text, struct vr_error *err)
{
    X509 *cert = read_cert(cert_text, err);
    X509 *ca = cert ? read_cert(ca_text, err) : NULL;
    bool ok = false;
    if (ca) {
        X509_STORE *store = X509_STORE_new();
        X509_STORE_CTX *context = X509_STORE_CTX_new();
        X509_STORE_add_cert(store, ca);
        X509_STORE_CTX_init(context, store, cert, NULL);
        ok = X509_verify_cert(context) == 1;
        if (!ok)
            vr_error_set(err, "x509", "%s",
                         X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
        X509_STORE_CTX_free(context);
        X509_STORE_free(store);
    }
    X509_free(ca);
    X509_free(cert);
    ERR_clear_error();
    return ok;
}

/* Tokens: RFC 7515 and 7519. ES256 signatures are r and s as 32 bytes each, not DER (RFC 7518
 * section 3.4). */

enum { ES256_HALF = 32 };

static bool is_ec(EVP_PKEY *key)
{
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC;
}

static void add_part(struct vr_buf *buf, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    char *encoded = vr_base64url(text, strlen(text));
    vr_buf_printf(buf, "%s%s", buf->length ? "." : "", encoded);
    free(encoded);
    free(text);
}

static unsigned char *raw_from_der(unsigned char *der, size_t *length)
{
    const unsigned char *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)*length);
    unsigned char *raw = vr_alloc(2 * ES256_HALF);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, ES256_HALF);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + ES256_HALF, ES256_HALF);
    ECDSA_SIG_free(sig);
    free(der);
    *length = 2 * ES256_HALF;
    return raw;
}

static unsigned char *der_from_raw(const unsigned char *raw, size_t *length)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    ECDSA_SIG_set0(sig, BN_bin2bn(raw, ES256_HALF, NULL),
                   BN_bin2bn(raw + ES256_HALF, ES256_HALF, NULL));
    unsigned char *der = NULL;
    int size = i2d_ECDSA_SIG(sig, &der);
    ECDSA_SIG_free(sig);
    unsigned char *copy = vr_alloc((size_t)size);
    memcpy(copy, der, (size_t)size);
    OPENSSL_free(der);
    *length = (size_t)size;
    return copy;
}

static bool add_thumbprint(json_t *header, const char *cert_text, struct vr_error *err)
{
    X509 *cert = read_cert(cert_text, err);
    if (!cert)
        return false;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    X509_digest(cert, EVP_sha1(), digest, &length);
    X509_free(cert);
    char *encoded = vr_base64url(digest, length);
    json_object_set_new(header, "x5t", json_string(encoded));
    free(encoded);
    return true;
}

char *vr_jwt_sign(const json_t *claims, const char *key_text, const char *kid,
                  const char *cert_text, struct vr_error *err)
{
    EVP_PKEY *key = vr_key_read(key_text, err);
    if (!key)
        return NULL;
    json_t *header = json_pack("{s:s, s:s}", "alg", is_ec(key) ? "ES256" : "RS256", "typ", "JWT");
    if (kid)
        json_object_set_new(header, "kid", json_string(kid));
    if (cert_text && !add_thumbprint(header, cert_text, err)) {
        json_decref(header);
        EVP_PKEY_free(key);
        return NULL;
    }
    struct vr_buf token = {0};
    add_part(&token, header);
    add_part(&token, claims);
    json_decref(header);
    size_t length = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char *signature = NULL;
    if (EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) &&
        EVP_DigestSign(context, NULL, &length, (unsigned char *)token.data, token.length)) {
        signature = vr_alloc(length);
        EVP_DigestSign(context, signature, &length, (unsigned char *)token.data, token.length);
        if (is_ec(key))
            signature = raw_from_der(signature, &length);
        char *encoded = vr_base64url(signature, length);
        vr_buf_printf(&token, ".%s", encoded);
        free(encoded);
    } else {
        fail(err, "cannot sign a token");
        vr_buf_free(&token);
    }
    free(signature);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return token.data ? vr_buf_steal(&token) : NULL;
}

static EVP_PKEY *verifying_key(const char *text, struct vr_error *err)
{
    if (strstr(text, "PRIVATE KEY-----"))
        return vr_key_read(text, err);
    if (strstr(text, "PUBLIC KEY-----")) {
        BIO *bio = BIO_new_mem_buf(text, -1);
        EVP_PKEY *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
        BIO_free(bio);
        if (!key)
            fail(err, "this is not a public key in PEM");
        return key;
    }
    X509 *cert = read_cert(text, err);
    EVP_PKEY *key = cert ? X509_get_pubkey(cert) : NULL;
    X509_free(cert);
    return key;
}

static bool is_of_key(const char *alg, EVP_PKEY *key)
{
    if (is_ec(key))
        return strcmp(alg, "ES256") == 0;
    return strcmp(alg, "RS256") == 0 || strcmp(alg, "PS256") == 0;
}

static bool signature_fits(EVP_PKEY *key, const char *alg, const char *token, size_t signed_length,
                           const char *encoded)
{
    size_t length;
    unsigned char *signature = vr_unbase64(encoded, &length);
    if (!signature || (is_ec(key) && length != 2 * ES256_HALF)) {
        free(signature);
        return false;
    }
    if (is_ec(key)) {
        unsigned char *der = der_from_raw(signature, &length);
        free(signature);
        signature = der;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *how = NULL;
    bool ok = EVP_DigestVerifyInit(context, &how, EVP_sha256(), NULL, key) &&
              (strcmp(alg, "PS256") != 0 ||
               EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) > 0) &&
              EVP_DigestVerify(context, signature, length, (const unsigned char *)token,
                               signed_length) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    free(signature);
    return ok;
}

static json_t *part(const char *start, size_t length)
{
    char *text = vr_strndup(start, length);
    size_t size;
    unsigned char *bytes = vr_unbase64(text, &size);
    free(text);
    json_t *value = bytes ? json_loadb((char *)bytes, size, 0, NULL) : NULL;
    free(bytes);
    return value;
}

static bool in_time(const json_t *claims, struct vr_error *err)
{
    double now = (double)time(NULL);
    json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf");
    if (exp && json_number_value(exp) <= now)
        return vr_error_set(err, "expired", "the token has expired");
    if (nbf && json_number_value(nbf) > now + BACKDATE)
        return vr_error_set(err, "token", "the token is not valid yet");
    return true;
}

json_t *vr_jwt_verify(const char *token, const char *key_text, struct vr_error *err)
{
    const char *first = strchr(token, '.');
    const char *second = first ? strchr(first + 1, '.') : NULL;
    if (!second) {
        vr_error_set(err, "token", "this is not a token");
        return NULL;
    }
    EVP_PKEY *key = verifying_key(key_text, err);
    if (!key)
        return NULL;
    json_t *header = part(token, (size_t)(first - token));
    json_t *claims = part(first + 1, (size_t)(second - first - 1));
    const char *alg = json_string_value(json_object_get(header, "alg"));
    bool ok = claims && alg && is_of_key(alg, key) &&
              signature_fits(key, alg, token, (size_t)(second - token), second + 1);
    if (!ok)
        vr_error_set(err, "token", "the token's signature does not fit");
    else
        ok = in_time(claims, err);
    EVP_PKEY_free(key);
    json_decref(header);
    if (!ok) {
        json_decref(claims);
        return NULL;
    }
    return claims;
}
