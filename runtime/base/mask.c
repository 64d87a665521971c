#include "base/mask.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "base/map.h"

enum { SHORTEST = 4, SHORTEST_DERIVED = 8, SHORTEST_LINE = 8, SHORTEST_WORD = 16 };
enum { CHAINS = 1024 }; /* by a secret's first SHORTEST bytes */

struct secret {
    struct secret *next;
    size_t length;
    char text[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool any;                      /* secret is known */
static struct secret *chains[CHAINS]; /* each the longest first: a part must not hide the whole */

static struct secret **chain_of(const char *text)
{
    return &chains[vr_hash(text, SHORTEST, 0) % CHAINS];
}

static void add(const char *text, size_t length)
{
    if (length < SHORTEST)
        return;
    struct secret **at = chain_of(text);
    while (*at && (*at)->length > length)
        at = &(*at)->next;
    for (struct secret *s = *at; s && s->length == length; s = s->next) {
        if (memcmp(s->text, text, length) == 0)
            return;
    }
    struct secret *s = vr_alloc(sizeof(*s) + length + 1);
    memcpy(s->text, text, length);
    s->length = length;
    s->next = *at;
    *at = s;
    any = true;
}

static void add_derived(const char *text, size_t length)
{
    if (length >= SHORTEST_DERIVED)
        add(text, length);
}

/* As base64 has it wherever it begins in what was encoded: without the digits that its neighbours
 * have a share in. */
static void add_base64(const char *text, size_t length)
{
    for (size_t skip = 0; skip < 3 && skip < length; skip++) {
        char *code = vr_base64(text + skip, (length - skip) / 3 * 3);
        add_derived(code, strlen(code));
        vr_secret_free(code);
    }
    char *whole = vr_base64(text, length);
    add_derived(whole, strlen(whole));
    vr_secret_free(whole);
}

static void add_json(const char *text, size_t length)
{
    json_t *value = json_stringn(text, length);
    char *quoted = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    if (quoted)
        add(quoted + 1, strlen(quoted) - 2);
    vr_secret_free(quoted);
    json_decref(value);
}

static void add_forms(const char *text, size_t length)
{
    if (length < SHORTEST)
        return;
    add(text, length);
    add_base64(text, length);
    add_json(text, length);
}

static size_t word_length(const char *text, const char *end)
{
    const char *at = text;
    while (at < end && !isspace((unsigned char)*at))
        at++;
    return (size_t)(at - text);
}

static bool starts(const char *text, const char *end, const char *with)
{
    size_t length = strlen(with);
    return (size_t)(end - text) >= length && memcmp(text, with, length) == 0;
}

static bool has_digit(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (isdigit((unsigned char)text[i]))
            return true;
    return false;
}

static void add_words(const char *line, const char *end)
{
    for (const char *word = line; word < end;) {
        size_t length = word_length(word, end);
        bool alone = length == (size_t)(end - line);
        bool plain = length > 0 && (word[length - 1] == ':' || memmem(word, length, "://", 3));
        if (!plain &&
            (alone ? length >= SHORTEST_LINE : length >= SHORTEST_WORD && has_digit(word, length)))
            add_forms(word, length);
        word += length + 1;
    }
}

void vr_mask_secret(const char *text, size_t length)
{
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    pthread_mutex_lock(&lock);
    add_forms(text, length);
    bool several = memchr(text, '\n', length);
    for (const char *line = text, *end = text + length; several && line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        if (!starts(line, stop, "-----")) /* PEM's labels are no secrets */
            add_words(line, stop > line && stop[-1] == '\r' ? stop - 1 : stop);
        line = stop + 1;
    }
    pthread_mutex_unlock(&lock);
}

void vr_mask_derived(const char *text, size_t length)
{
    pthread_mutex_lock(&lock);
    add_derived(text, length);
    pthread_mutex_unlock(&lock);
}

static const struct secret *secret_at(const char *text, size_t length)
{
    if (length < SHORTEST)
        return NULL;
    for (const struct secret *s = *chain_of(text); s; s = s->next) {
        if (s->length <= length && memcmp(s->text, text, s->length) == 0)
            return s;
    }
    return NULL;
}

char *vr_masked(const char *text, size_t length)
{
    struct vr_buf out = {0};
    size_t clear = 0; /* from here on to i there is no secret */
    pthread_mutex_lock(&lock);
    for (size_t i = 0; any && i < length;) {
        const struct secret *s = secret_at(text + i, length - i);
        if (!s) {
            i++;
            continue;
        }
        vr_buf_add(&out, text + clear, i - clear);
        vr_buf_puts(&out, "(secret)");
        clear = i += s->length;
    }
    pthread_mutex_unlock(&lock);
    vr_buf_add(&out, text + clear, length - clear);
    return vr_buf_steal(&out);
}

void vr_mask(char **text)
{
    if (!*text)
        return;
    char *masked = vr_masked(*text, strlen(*text));
    vr_secret_free(*text);
    *text = masked;
}

void vr_mask_find(const char *text, size_t length, size_t least, json_t *found)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < length;) {
        const struct secret *s = secret_at(text + i, length - i);
        if (s && s->length >= least)
            json_array_append_new(found, json_stringn(s->text, s->length));
        i += s ? s->length : 1;
    }
    pthread_mutex_unlock(&lock);
}
