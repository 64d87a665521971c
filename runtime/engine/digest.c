#include "engine/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/file.h"
#include "engine/expr.h"

static bool fail(const char *path, const char *what, struct vr_error *err)
{
    bool full = errno == ENOSPC || errno == EDQUOT;
    return vr_error_set(err, full ? "disk" : "io", "cannot %s the digest key %s: %s", what, path,
                        strerror(errno));
}

/* 1: read; 0: there is none; -1: an error. */
static int read_key(struct vr_digest_key *key, const char *path, struct vr_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT)
            return 0;
        fail(path, "read", err);
        return -1;
    }
    char digits[2 * sizeof(key->bytes) + 2];
    ssize_t length = read(fd, digits, sizeof(digits) - 1);
    if (length >= 0 && fchmod(fd, 0600) != 0)
        errno = 0; /* another's file */
    close(fd);
    if (length < 0) {
        fail(path, "read", err);
        return -1;
    }
    digits[length] = '\0';
    digits[strcspn(digits, "\n")] = '\0';
    size_t size = 0;
    unsigned char *bytes = vr_unhex(digits, &size);
    bool good = bytes && size == sizeof(key->bytes);
    if (good)
        memcpy(key->bytes, bytes, size);
    free(bytes);
    explicit_bzero(digits, sizeof(digits));
    if (good)
        return 1;
    vr_error_set(err, "corrupt", "%s is not a digest key (64 hexadecimal digits)", path);
    vr_error_hint(err, "restore it, or remove it: secrets are then compared again after they were "
                       "written once more");
    return -1;
}

/* Written aside and linked, so that of two at once both end up with the same key. */
static bool make_key(const char *path, struct vr_error *err)
{
    unsigned char bytes[32];
    char digits[2 * sizeof(bytes) + 2];
    char *aside = vr_format("%s.XXXXXX", path);
    int fd = mkostemp(aside, O_CLOEXEC);
    if (fd < 0) {
        fail(path, "make", err);
        free(aside);
        return false;
    }
    vr_random(bytes, sizeof(bytes));
    vr_hex(bytes, sizeof(bytes), digits);
    strcat(digits, "\n");
    bool ok =
        fchmod(fd, 0600) == 0 && vr_file_write_all(fd, digits, strlen(digits)) && fsync(fd) == 0;
    ok = ok && (link(aside, path) == 0 || errno == EEXIST);
    if (!ok)
        fail(path, "make", err);
    close(fd);
    unlink(aside);
    free(aside);
    if (ok)
        vr_file_sync_folder(path);
    explicit_bzero(bytes, sizeof(bytes));
    explicit_bzero(digits, sizeof(digits));
    return ok;
}

bool vr_digest_key_load(struct vr_digest_key *key, const char *path, bool make,
                        struct vr_error *err)
{
    *key = (struct vr_digest_key){0};
    int got = read_key(key, path, err);
    if (got == 0 && make)
        got = make_key(path, err) ? read_key(key, path, err) : -1;
    key->there = got == 1;
    return got >= 0;
}

void vr_digest_key_clear(struct vr_digest_key *key)
{
    explicit_bzero(key, sizeof(*key));
}

/* Which key made a digest. Not before one is made: what OpenSSL sets up for it takes milliseconds.
 */
static void name_of(const struct vr_digest_key *key, char name[9])
{
    static const char text[] = "vmrun digest key";
    unsigned char id[VR_SHA256_SIZE];
    vr_hmac_sha256(key->bytes, sizeof(key->bytes), text, sizeof(text), id);
    vr_hex(id, 4, name);
}

static json_t *digest(const struct vr_digest_key *key, const json_t *secret)
{
    if (!key->there)
        return json_pack("{sn}", "$digest");
    unsigned char mac[VR_SHA256_SIZE];
    char hex[2 * VR_SHA256_SIZE + 1];
    const json_t *text = json_object_get(secret, "$secret");
    vr_hmac_sha256(key->bytes, sizeof(key->bytes), json_string_value(text),
                   json_string_length(text), mac);
    vr_hex(mac, sizeof(mac), hex);
    char name[9];
    name_of(key, name);
    char *whole = vr_format("%s:%s", name, hex);
    json_t *value = json_pack("{ss}", "$digest", whole);
    free(whole);
    return value;
}

json_t *vr_digest_redact(const struct vr_digest_key *key, const json_t *value)
{
    if (vr_is_secret(value))
        return digest(key, value);
    if (json_is_object(value)) {
        json_t *copy = json_object();
        const char *name;
        json_t *part;
        json_object_foreach((json_t *)value, name, part)
            json_object_set_new(copy, name, vr_digest_redact(key, part));
        return copy;
    }
    if (json_is_array(value)) {
        json_t *copy = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(copy, vr_digest_redact(key, json_array_get(value, i)));
        return copy;
    }
    return json_incref((json_t *)value);
}

bool vr_is_digest(const json_t *value)
{
    size_t parts = json_object_get(value, "$from")
                       ? 2
                       : 1; /* a row's input may say which output it came from */
    return json_object_size(value) == parts && json_object_get(value, "$digest");
}

int vr_digest_same(const json_t *a, const json_t *b)
{
    const char *x = json_string_value(json_object_get(a, "$digest"));
    const char *y = json_string_value(json_object_get(b, "$digest"));
    if (!x || !y)
        return -1;
    size_t id = strcspn(x, ":");
    if (strncmp(x, y, id + 1) != 0)
        return -1;
    return strcmp(x, y) == 0;
}
