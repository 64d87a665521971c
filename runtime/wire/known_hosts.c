/* Lines are cut into words once; which of them speak of a host is asked at each check, since hashed
 * names cannot be looked up in any other way. */
#include "wire/known_hosts.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crypto.h"

struct line {
    char *hosts; /* NULL: any host */
    char *type;
    unsigned char *key;
    size_t length;
    bool revoked, authority; /* by their marks; an authority's key is no host's */
    const char *file;        /* NULL: it was given as it is */
    size_t number;           /* in that file */
};

struct vr_known_hosts {
    unsigned holders;
    struct line *lines;
    size_t count, room;
    char **files; /* their names, in the order in which they were added */
    size_t file_count;
};

/* --- key blobs --- */

/* The name that a blob begins with; NULL if it does not. The caller frees. */
static char *blob_type(const unsigned char *key, size_t length)
{
    if (length < 4)
        return NULL;
    uint32_t size =
        (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
    if (size == 0 || size > 64 || size > length - 4)
        return NULL;
    for (uint32_t i = 0; i < size; i++) {
        if (!isgraph(key[4 + i]))
            return NULL;
    }
    return vr_strndup((const char *)key + 4, size);
}

char *vr_host_key_line(const void *key, size_t length)
{
    char *type = blob_type(key, length);
    if (!type)
        return NULL;
    char *text = vr_base64(key, length);
    char *line = vr_format("%s %s", type, text);
    free(type);
    free(text);
    return line;
}

char *vr_host_key_fingerprint(const void *key, size_t length)
{
    unsigned char digest[VR_SHA256_SIZE];
    vr_sha256(key, length, digest);
    char *text = vr_base64(digest, sizeof(digest));
    text[strcspn(text, "=")] = '\0';
    char *fingerprint = vr_format("SHA256:%s", text);
    free(text);
    return fingerprint;
}

/* --- reading lines --- */

static char *next_word(const char **text)
{
    const char *start = *text + strspn(*text, " \t\r\n");
    size_t length = strcspn(start, " \t\r\n");
    *text = start + length;
    return length ? vr_strndup(start, length) : NULL;
}

/* Reads "type base64" into line; false if the words are something else. */
static bool read_key(struct line *line, const char *type, const char *text)
{
    if (!type || !text)
        return false;
    size_t length = 0;
    unsigned char *key = vr_unbase64(text, &length);
    char *inside = key ? blob_type(key, length) : NULL;
    bool ok = inside && strcmp(inside, type) == 0;
    free(inside);
    if (!ok) {
        free(key);
        return false;
    }
    line->type = vr_strdup(type);
    line->key = key;
    line->length = length;
    return true;
}

static bool read_line(struct line *line, const char *text)
{
    const char *rest = text + strspn(text, " \t");
    if (*rest == '#')
        return false;
    char *words[4] = {0};
    size_t first = 0;
    for (size_t i = 0; i < 4; i++)
        words[i] = next_word(&rest);
    bool ok = false;
    if (words[0] && words[0][0] == '@') {
        line->revoked = strcmp(words[0], "@revoked") == 0;
        line->authority = strcmp(words[0], "@cert-authority") == 0;
        first = 1;
        if (!line->revoked && !line->authority)
            goto out;
    }
    ok = read_key(line, words[first], words[first + 1]);
    if (!ok && first + 2 < 4 && read_key(line, words[first + 1], words[first + 2])) {
        line->hosts = words[first];
        words[first] = NULL;
        ok = true;
    }
out:
    for (size_t i = 0; i < 4; i++)
        free(words[i]);
    return ok;
}

static void add_line(struct vr_known_hosts *known, const char *text, const char *file,
                     size_t number)
{
    struct line line = {.file = file, .number = number};
    if (!read_line(&line, text))
        return;
    if (known->count == known->room) {
        known->room = known->room ? known->room * 2 : 8;
        known->lines = vr_realloc(known->lines, known->room * sizeof(*known->lines));
    }
    known->lines[known->count++] = line;
}

struct vr_known_hosts *vr_known_hosts_new(const char *const *lines, size_t count)
{
    struct vr_known_hosts *known = vr_alloc(sizeof(*known));
    known->holders = 1;
    for (size_t i = 0; i < count; i++)
        add_line(known, lines[i], NULL, 0);
    return known;
}

void vr_known_hosts_add_file(struct vr_known_hosts *known, const char *name, const char *text)
{
    known->files = vr_realloc(known->files, (known->file_count + 1) * sizeof(*known->files));
    char *file = known->files[known->file_count++] = vr_strdup(name);
    for (size_t number = 1; *text; number++) {
        size_t length = strcspn(text, "\n");
        char *line = vr_strndup(text, length);
        add_line(known, line, file, number);
        free(line);
        text += length + (text[length] == '\n');
    }
}

struct vr_known_hosts *vr_known_hosts_hold(struct vr_known_hosts *known)
{
    known->holders++;
    return known;
}

void vr_known_hosts_free(struct vr_known_hosts *known)
{
    if (!known || --known->holders > 0)
        return;
    for (size_t i = 0; i < known->count; i++) {
        free(known->lines[i].hosts);
        free(known->lines[i].type);
        free(known->lines[i].key);
    }
    for (size_t i = 0; i < known->file_count; i++)
        free(known->files[i]);
    free(known->files);
    free(known->lines);
    free(known);
}

size_t vr_known_hosts_count(const struct vr_known_hosts *known)
{
    return known->count;
}

/* --- which lines speak of a host --- */

/* "|1|salt|hash": hash is HMAC-SHA1(salt, name). */
static bool hashed_name_is(const char *pattern, const char *name)
{
    const char *salt_text = pattern + 3, *bar = strchr(salt_text, '|');
    if (!bar)
        return false;
    char *salt64 = vr_strndup(salt_text, (size_t)(bar - salt_text));
    size_t salt_length = 0, want_length = 0;
    unsigned char *salt = vr_unbase64(salt64, &salt_length),
                  *want = vr_unbase64(bar + 1, &want_length);
    unsigned char got[EVP_MAX_MD_SIZE];
    unsigned got_length = 0;
    bool same = salt && want &&
                HMAC(EVP_sha1(), salt, (int)salt_length, (const unsigned char *)name, strlen(name),
                     got, &got_length) &&
                got_length == want_length && memcmp(got, want, want_length) == 0;
    free(salt64);
    free(salt);
    free(want);
    return same;
}

/* * is any number of letters, ? any one; case does not matter. Not fnmatch: brackets around a name
 * are no set of letters here. */
static bool fits(const char *pattern, const char *name)
{
    const char *star = NULL, *again = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            again = name;
        } else if (*pattern == '?' ||
                   tolower((unsigned char)*pattern) == tolower((unsigned char)*name)) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

static bool pattern_is(const char *pattern, const char *name)
{
    return strncmp(pattern, "|1|", 3) == 0 ? hashed_name_is(pattern, name) : fits(pattern, name);
}

static bool line_speaks_of(const struct line *line, const char *name)
{
    if (!line->hosts)
        return true;
    bool found = false;
    char *copy = vr_strdup(line->hosts), *state = NULL;
    for (char *p = strtok_r(copy, ",", &state); p; p = strtok_r(NULL, ",", &state)) {
        if (p[0] == '!' && pattern_is(p + 1, name)) {
            found = false;
            break;
        }
        found = found || pattern_is(p, name);
    }
    free(copy);
    return found;
}

/* Whether a line has a key of the host itself. */
static bool has_key_of(const struct line *line, const char *name)
{
    return !line->revoked && !line->authority && line_speaks_of(line, name);
}

static char *small_letters(const char *host)
{
    char *text = vr_strdup(host);
    for (char *c = text; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return text;
}

/* The name that lines have for a host: the port is part of it unless it is 22; but where none knows
 * it with its port, its bare name will do, as for OpenSSH. The caller frees. */
static char *host_name(const struct vr_known_hosts *known, const char *host, int port)
{
    char *bare = small_letters(host);
    if (port == 22 || port == 0)
        return bare;
    char *full = vr_format("[%s]:%d", bare, port);
    bool with_port = false, without = false;
    for (size_t i = 0; i < known->count; i++) {
        const struct line *line = &known->lines[i];
        if (line->authority) /* it does not know the host's key */
            continue;
        with_port = with_port || line_speaks_of(line, full);
        without = without || line_speaks_of(line, bare);
    }
    free(with_port || !without ? bare : full);
    return with_port || !without ? full : bare;
}

static bool same_key(const struct line *line, const void *key, size_t length)
{
    return line->length == length && memcmp(line->key, key, length) == 0;
}

static void put_place(struct vr_buf *text, const struct line *line)
{
    if (line->file)
        vr_buf_printf(text, " (%s:%zu)", line->file, line->number);
}

/* What was known of the host. */
static void put_known(struct vr_buf *text, const struct vr_known_hosts *known, const char *name)
{
    for (size_t i = 0; i < known->count; i++) {
        const struct line *line = &known->lines[i];
        if (line->authority && line_speaks_of(line, name)) {
            vr_buf_puts(text, "\n  an authority vouches for it");
            put_place(text, line);
            vr_buf_puts(text, ", which only transport = \"openssh\" understands");
        }
        if (!has_key_of(line, name))
            continue;
        char *fingerprint = vr_host_key_fingerprint(line->key, line->length);
        vr_buf_printf(text, "\n  expected %s %s", line->type, fingerprint);
        put_place(text, line);
        free(fingerprint);
    }
}

/* The line that has a key of the host; NULL: none. */
static const struct line *line_of(const struct vr_known_hosts *known, const char *name)
{
    for (size_t i = 0; i < known->count; i++) {
        if (has_key_of(&known->lines[i], name))
            return &known->lines[i];
    }
    return NULL;
}

static void warn(const struct vr_known_hosts *known, const char *name, const void *key,
                 size_t length, const char *label, const struct line *revoked, struct vr_error *err)
{
    struct vr_buf text = {0};
    char *got = vr_host_key_fingerprint(key, length), *type = blob_type(key, length);
    const struct line *expected = line_of(known, name);
    if (revoked) {
        vr_buf_printf(&text, "WARNING: REVOKED HOST KEY: the key of %s was marked as revoked",
                      label);
        put_place(&text, revoked);
    } else if (expected) {
        vr_buf_printf(&text,
                      "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED: %s has another host key "
                      "than expected",
                      label);
    } else {
        vr_buf_printf(&text, "the host key of %s is not known", label);
        for (size_t i = 0; i < known->file_count; i++)
            vr_buf_printf(&text, "%s%s", i ? ", " : " in ", known->files[i]);
    }
    put_known(&text, known, name);
    vr_buf_printf(&text, "\n  got      %s %s", type ? type : "?", got);
    vr_error_set(err, "hostkey", "%s", text.data);
    if (!expected || revoked)
        vr_error_hint(err, "compare the fingerprint with the host's console, then add the key to "
                           "the known ones");
    else if (expected->file)
        vr_error_hint(err,
                      "somebody may be listening in, or the host was installed anew: compare the "
                      "fingerprint with the host's console; take the old key out with: ssh-keygen "
                      "-f '%s' -R '%s'",
                      expected->file, name);
    else
        vr_error_hint(err, "somebody may be listening in, or the host was installed anew: compare "
                           "the fingerprint with the host's console");
    vr_buf_free(&text);
    free(got);
    free(type);
}

bool vr_known_hosts_check(const struct vr_known_hosts *known, const char *host, int port,
                          const void *key, size_t length, const char *label, struct vr_error *err)
{
    char *name = host_name(known, host, port);
    bool found = false;
    const struct line *revoked = NULL;
    for (size_t i = 0; i < known->count; i++) {
        const struct line *line = &known->lines[i];
        if (line->authority || !same_key(line, key, length) || !line_speaks_of(line, name))
            continue;
        found = true;
        if (line->revoked)
            revoked = line;
    }
    if (!found || revoked)
        warn(known, name, key, length, label, revoked, err);
    free(name);
    return found && !revoked;
}

/* Whether word is one of the words between commas. */
static bool has_word(const char *list, const char *word, size_t length)
{
    for (const char *p = list; p && *p;) {
        size_t size = strcspn(p, ",");
        if (size == length && memcmp(p, word, length) == 0)
            return true;
        p += size;
        p += *p == ',';
    }
    return false;
}

static void add_word(struct vr_buf *out, const char *word, size_t length)
{
    if (has_word(out->data, word, length))
        return;
    if (out->length)
        vr_buf_puts(out, ",");
    vr_buf_add(out, word, length);
}

void vr_known_hosts_order(const struct vr_known_hosts *known, const char *host, int port,
                          const char *all, struct vr_buf *out)
{
    char *name = host_name(known, host, port);
    for (const char *p = all; *p; p += *p == ',') {
        size_t size = strcspn(p, ",");
        for (size_t i = 0; i < known->count; i++) {
            const struct line *line = &known->lines[i];
            if (strlen(line->type) == size && memcmp(line->type, p, size) == 0 &&
                has_key_of(line, name))
                add_word(out, p, size);
        }
        p += size;
    }
    for (const char *p = all; *p; p += *p == ',') {
        size_t size = strcspn(p, ",");
        add_word(out, p, size);
        p += size;
    }
    free(name);
}

void vr_known_hosts_write(const struct vr_known_hosts *known, const char *host, int port,
                          const char *name, struct vr_buf *out)
{
    char *own = host_name(known, host, port);
    for (size_t i = 0; i < known->count; i++) {
        const struct line *line = &known->lines[i];
        if (!has_key_of(line, own))
            continue;
        char *text = vr_base64(line->key, line->length);
        vr_buf_printf(out, "%s %s %s\n", name, line->type, text);
        free(text);
    }
    free(own);
}
