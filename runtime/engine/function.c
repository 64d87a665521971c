/* One C function a name, in the table at the end. eval_call in expr.c puts the function's name in
 * front of errors. */
#include "engine/function.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "base/map.h"
#include "base/text.h"
#include "base/yaml.h"
#include "engine/expr.h"

enum { MOST_ELEMENTS = 100000, MOST_INDENT = 100, LONGEST_TEXT = 64 << 20 };

/* Arguments */

static bool refuse(const json_t *args, size_t i, const char *want, struct vr_error *err)
{
    const json_t *value = json_array_get(args, i);
    return vr_error_set(err, "function", "argument %zu wants %s, got %s", i + 1, want,
                        value ? vr_value_noun(value) : "nothing");
}

static const char *text_arg(const json_t *args, size_t i, struct vr_error *err)
{
    const json_t *value = json_array_get(args, i);
    if (!json_is_string(value))
        refuse(args, i, "a text", err);
    return json_string_value(value);
}

static bool integer_arg(const json_t *args, size_t i, json_int_t *out, struct vr_error *err)
{
    const json_t *value = json_array_get(args, i);
    if (!json_is_integer(value))
        return refuse(args, i, "an integer", err);
    *out = json_integer_value(value);
    return true;
}

static json_t *list_arg(const json_t *args, size_t i, struct vr_error *err)
{
    json_t *value = json_array_get(args, i);
    if (json_is_array(value))
        return value;
    refuse(args, i, "a list", err);
    return NULL;
}

static json_t *object_arg(const json_t *args, size_t i, struct vr_error *err)
{
    json_t *value = json_array_get(args, i);
    if (json_is_object(value) && !vr_is_secret(value) && !vr_is_unknown(value))
        return value;
    refuse(args, i, "a table", err);
    return NULL;
}

/* For functions that can give much more than they are given. */
static bool too_long(const struct vr_buf *buf, struct vr_error *err)
{
    return buf->length > LONGEST_TEXT &&
           !vr_error_set(err, "function", "a text of more than %d MiB", LONGEST_TEXT >> 20);
}

static json_t *give_buf(struct vr_buf *buf)
{
    json_t *text = json_stringn_nocheck(buf->data ? buf->data : "", buf->length);
    vr_buf_free(buf);
    return text;
}

static json_t *give_or_free(struct vr_buf *buf, bool give)
{
    if (give)
        return give_buf(buf);
    vr_buf_free(buf);
    return NULL;
}

static json_t *give_text(char *text)
{
    json_t *value = json_string(text);
    free(text);
    return value;
}

/* The nearest key of an object, or NULL. */
static const char *nearest_key(const json_t *object, const char *name)
{
    size_t count = 0;
    const char **keys = vr_alloc(json_object_size(object) * sizeof(*keys));
    for (void *at = json_object_iter((json_t *)object); at;
         at = json_object_iter_next((json_t *)object, at))
        keys[count++] = json_object_iter_key(at);
    const char *near = vr_text_nearest(name, keys, count);
    free(keys);
    return near;
}

/* Encodings */

static json_t *f_base64(const json_t *args, struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    return text ? give_text(vr_base64(text, json_string_length(json_array_get(args, 0)))) : NULL;
}

static json_t *f_base64_decode(const json_t *args, struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    if (!text)
        return NULL;
    size_t length;
    unsigned char *bytes = vr_unbase64(text, &length);
    if (!bytes) {
        vr_error_set(err, "function", "argument 1 is not base64");
        return NULL;
    }
    json_t *value = json_stringn((char *)bytes, length);
    free(bytes);
    if (!value)
        vr_error_set(err, "function", "argument 1 stands for bytes that are not UTF-8 text");
    return value;
}

static json_t *f_json(const json_t *args, struct vr_error *err)
{
    json_int_t indent = 0;
    if (json_array_size(args) > 1 && !integer_arg(args, 1, &indent, err))
        return NULL;
    if (indent < 0 || indent > 31) {
        vr_error_set(err, "function", "argument 2 wants 0 to 31 spaces");
        return NULL;
    }
    size_t layout = indent ? JSON_INDENT((size_t)indent) : JSON_COMPACT;
    return give_text(
        json_dumps(json_array_get(args, 0), layout | JSON_ENCODE_ANY | JSON_SORT_KEYS));
}

static json_t *f_json_decode(const json_t *args, struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    if (!text)
        return NULL;
    json_error_t where;
    json_t *value = json_loadb(text, json_string_length(json_array_get(args, 0)),
                               JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &where);
    if (!value)
        vr_error_set(err, "function", "not JSON: line %d, column %d: %s", where.line, where.column,
                     where.text);
    return value;
}

static json_t *f_yaml(const json_t *args, struct vr_error *err)
{
    (void)err;
    return give_text(vr_yaml_encode(json_array_get(args, 0)));
}

static json_t *f_yaml_decode(const json_t *args, struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    struct vr_error inner = {0};
    json_t *value =
        text ? vr_yaml_decode(text, json_string_length(json_array_get(args, 0)), &inner) : NULL;
    if (text && !value)
        vr_error_set(err, "function", "not YAML: %s", inner.message);
    vr_error_clear(&inner);
    return value;
}

static json_t *f_sha256(const json_t *args, struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    if (!text)
        return NULL;
    char hex[2 * VR_SHA256_SIZE + 1];
    vr_sha256_hex(text, json_string_length(json_array_get(args, 0)), hex);
    return json_string(hex);
}

/* Texts */

static json_t *map_text(const json_t *args, int (*change)(int letter), struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    if (!text)
        return NULL;
    size_t length = json_string_length(json_array_get(args, 0));
    char *copy = vr_alloc(length + 1);
    for (size_t i = 0; i <= length; i++)
        copy[i] = (unsigned char)text[i] < 128 ? (char)change((unsigned char)text[i]) : text[i];
    json_t *value = json_stringn_nocheck(copy, length);
    free(copy);
    return value;
}

static json_t *f_lower(const json_t *args, struct vr_error *err)
{
    return map_text(args, tolower, err);
}

static json_t *f_upper(const json_t *args, struct vr_error *err)
{
    return map_text(args, toupper, err);
}

static json_t *f_replace(const json_t *args, struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    const char *from = text ? text_arg(args, 1, err) : NULL;
    const char *to = from ? text_arg(args, 2, err) : NULL;
    if (!to)
        return NULL;
    if (!*from) {
        vr_error_set(err, "function", "argument 2 is empty: what is to be replaced?");
        return NULL;
    }
    struct vr_buf buf = {0};
    bool ok = true;
    for (const char *next; ok && (next = strstr(text, from)); text = next + strlen(from)) {
        vr_buf_add(&buf, text, (size_t)(next - text));
        vr_buf_puts(&buf, to);
        ok = !too_long(&buf, err);
    }
    vr_buf_puts(&buf, text);
    return give_or_free(&buf, ok);
}

static json_t *f_split(const json_t *args, struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    const char *separator = text ? text_arg(args, 1, err) : NULL;
    if (!separator)
        return NULL;
    if (!*separator) {
        vr_error_set(err, "function", "argument 2 is empty: where is the text to be split?");
        return NULL;
    }
    json_t *list = json_array();
    for (const char *next; (next = strstr(text, separator)); text = next + strlen(separator))
        json_array_append_new(list, json_stringn_nocheck(text, (size_t)(next - text)));
    json_array_append_new(list, json_string(text));
    return list;
}

static json_t *f_trim(const json_t *args, struct vr_error *err)
{
    const char *letters = " \t\r\n\v\f", *text = text_arg(args, 0, err);
    if (!text || (json_array_size(args) > 1 && !(letters = text_arg(args, 1, err))))
        return NULL;
    text += strspn(text, letters);
    size_t length = strlen(text);
    while (length > 0 && strchr(letters, text[length - 1]))
        length--;
    json_t *value = json_stringn(text, length);
    if (!value)
        vr_error_set(err, "function", "argument 2 may only have ASCII letters");
    return value;
}

static json_t *f_indent(const json_t *args, struct vr_error *err)
{
    json_int_t spaces;
    const char *text = text_arg(args, 0, err);
    if (!text || !integer_arg(args, 1, &spaces, err))
        return NULL;
    if (spaces < 0 || spaces > MOST_INDENT) {
        vr_error_set(err, "function", "argument 2 wants 0 to %d spaces", MOST_INDENT);
        return NULL;
    }
    struct vr_buf buf = {0};
    bool ok = true;
    while (ok && *text) {
        ok = !too_long(&buf, err);
        size_t line = strcspn(text, "\n");
        if (line)
            vr_buf_printf(&buf, "%*s", (int)spaces, "");
        line += text[line] == '\n';
        vr_buf_add(&buf, text, line);
        text += line;
    }
    return give_or_free(&buf, ok);
}

static bool add_text(struct vr_buf *buf, const json_t *value, const char *what,
                     struct vr_error *err)
{
    if (vr_value_join(buf, value))
        return true;
    vr_error_set(err, "function", "%s is %s, which has no text", what, vr_value_noun(value));
    if (json_is_object(value) || json_is_array(value))
        vr_error_hint(err, "use json(value) or yaml(value) for it");
    return false;
}

static json_t *f_join(const json_t *args, struct vr_error *err)
{
    json_t *list = list_arg(args, 0, err);
    const char *separator = "";
    if (!list || (json_array_size(args) > 1 && !(separator = text_arg(args, 1, err))))
        return NULL;
    struct vr_buf buf = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        char what[40];
        snprintf(what, sizeof(what), "element %zu", i + 1);
        if (i)
            vr_buf_puts(&buf, separator);
        if (too_long(&buf, err) || !add_text(&buf, json_array_get(list, i), what, err)) {
            vr_buf_free(&buf);
            return NULL;
        }
    }
    return give_buf(&buf);
}

static json_t *f_tostring(const json_t *args, struct vr_error *err)
{
    struct vr_buf buf = {0};
    return give_or_free(&buf, add_text(&buf, json_array_get(args, 0), "argument 1", err));
}

static json_t *f_tonumber(const json_t *args, struct vr_error *err)
{
    json_t *value = json_array_get(args, 0);
    if (json_is_number(value))
        return json_incref(value);
    const char *text = text_arg(args, 0, err);
    if (!text)
        return NULL;
    json_int_t base = 10;
    if (json_array_size(args) > 1 && !integer_arg(args, 1, &base, err))
        return NULL;
    if (base < 2 || base > 36) {
        vr_error_set(err, "function", "argument 2 wants a base of 2 to 36");
        return NULL;
    }
    char *end;
    errno = 0;
    long long integer = strtoll(text, &end, (int)base);
    if (*text && !isspace((unsigned char)*text) && !*end && !errno)
        return json_integer(integer);
    double real = strtod(text, &end);
    if (base == 10 && *text && !isspace((unsigned char)*text) && !*end && isfinite(real) &&
        !strpbrk(text, "xXnN"))
        return json_real(real);
    vr_error_set(err, "function", "%s is not a number", *text ? "argument 1" : "an empty text");
    return NULL;
}

/* format: the letters of printf that make sense for values. */

static bool format_one(struct vr_buf *buf, char *spec, char letter, const json_t *value, size_t i,
                       struct vr_error *err)
{
    char what[40];
    snprintf(what, sizeof(what), "argument %zu", i + 1);
    size_t length = strlen(spec);
    if (letter == 's') {
        struct vr_buf text = {0};
        bool ok = add_text(&text, value, what, err);
        strcpy(spec + length, "s");
        if (ok && length == 1)
            vr_buf_add(buf, text.data ? text.data : "", text.length);
        else if (ok)
            vr_buf_printf(buf, spec, text.data ? text.data : "");
        vr_buf_free(&text);
        return ok;
    }
    if (letter == 'q') {
        struct vr_buf text = {0};
        bool ok = add_text(&text, value, what, err);
        json_t *string = ok ? json_stringn(text.data ? text.data : "", text.length) : NULL;
        char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
        vr_buf_puts(buf, quoted ? quoted : "");
        free(quoted);
        json_decref(string);
        vr_buf_free(&text);
        return ok;
    }
    double real = json_number_value(value);
    if (!json_is_number(value))
        return vr_error_set(err, "function", "%s wants a number for %%%c, got %s", what, letter,
                            vr_value_noun(value));
    if (strchr("dioxX", letter)) {
        if (!json_is_integer(value) && (real != floor(real) || fabs(real) > 9e15))
            return vr_error_set(err, "function", "%s wants an integer for %%%c", what, letter);
        sprintf(spec + length, "ll%c", letter);
        vr_buf_printf(buf, spec,
                      json_is_integer(value) ? (long long)json_integer_value(value)
                                             : (long long)real);
    } else {
        sprintf(spec + length, "%c", letter);
        vr_buf_printf(buf, spec, real);
    }
    return true;
}

/* Copies "%-08.3" into spec; the letter's place, or NULL. */
static const char *read_spec(const char *at, char *spec, size_t size)
{
    size_t flags = 1 + strspn(at + 1, "-+ #0");
    size_t width = strspn(at + flags, "0123456789"), length = flags + width, precision = 0;
    if (at[length] == '.') {
        precision = strspn(at + length + 1, "0123456789");
        length += 1 + precision;
    }
    if (length + 4 > size || width > 3 || precision > 2)
        return NULL;
    memcpy(spec, at, length);
    spec[length] = '\0';
    return at + length;
}

static json_t *f_format(const json_t *args, struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    if (!text)
        return NULL;
    struct vr_buf buf = {0};
    size_t used = 1, count = json_array_size(args);
    bool ok = true;
    while (ok && *text) {
        size_t plain = strcspn(text, "%");
        vr_buf_add(&buf, text, plain);
        text += plain;
        if (!*text)
            break;
        char spec[32];
        const char *letter = read_spec(text, spec, sizeof(spec));
        if (letter && letter == text + 1 && *letter == '%') {
            vr_buf_puts(&buf, "%");
        } else if (!letter || !*letter || !strchr("sqdioxXeEfFgG", *letter)) {
            ok = vr_error_set(
                err, "function",
                "'%.*s' is not a format; use %%s %%d %%x %%f %%q, or %%%% for a percent sign",
                (int)(letter ? letter + (*letter != 0) - text : 1), text);
        } else if (used >= count) {
            ok = vr_error_set(err, "function", "the format wants more than the %zu values given",
                              count - 1);
        } else {
            ok = format_one(&buf, spec, *letter, json_array_get(args, used), used, err);
            used++;
        }
        text = ok ? letter + 1 : text;
    }
    if (ok && used < count)
        ok = vr_error_set(err, "function", "the format wants %zu values, got %zu", used - 1,
                          count - 1);
    return give_or_free(&buf, ok);
}

/* template */

static const json_t *find_name(const json_t *values, const char *name, int line,
                               struct vr_error *err)
{
    const json_t *at = values;
    char *path = vr_strdup(name), *rest = path;
    for (char *part; at && (part = strsep(&rest, "."));) {
        const json_t *owner = at;
        at = json_object_get(owner, part);
        if (!at) {
            const char *near = json_is_object(owner) ? nearest_key(owner, part) : NULL;
            vr_error_set(err, "function",
                         near ? "line %d: no value '%s'; did you mean '%s'?"
                              : "line %d: no value '%s'",
                         line, name, near);
        }
    }
    free(path);
    return at;
}

static bool is_name(const char *name)
{
    bool fresh = true; /* at the start of a part */
    for (; *name; name++) {
        bool letter = isalpha((unsigned char)*name) || *name == '_';
        bool inner = letter || isdigit((unsigned char)*name) || *name == '-';
        if (*name == '.' ? fresh : fresh ? !letter : !inner)
            return false;
        fresh = *name == '.';
    }
    return !fresh;
}

/* One placeholder that begins at `at`; the text after it, or NULL. */
static const char *fill(struct vr_buf *buf, const char *at, const json_t *values, int line,
                        struct vr_error *err)
{
    const char *close = *at == '$' ? "}" : "}}", *end = strstr(at + 2, close);
    const char *plain = *at == '$' ? "$${" : "{{{{";
    const char *begin = at + 2;
    const char *stop = end ? end : begin;
    while (begin < stop && *begin == ' ')
        begin++;
    while (stop > begin && stop[-1] == ' ')
        stop--;
    char *name = vr_strndup(begin, (size_t)(stop - begin));
    const json_t *value = NULL;
    if (!end || !is_name(name)) {
        int shown = end ? (int)(end + strlen(close) - at) : (int)strcspn(at, "\n");
        vr_error_set(err, "function", "line %d: '%.*s' is not a name in braces", line,
                     shown > 60 ? 60 : shown, at);
        vr_error_hint(err, "write %s for a plain %.2s", plain, at);
    } else {
        value = find_name(values, name, line, err);
    }
    char *what = vr_format("line %d: '%s'", line, name);
    bool ok = value && add_text(buf, value, what, err);
    free(what);
    free(name);
    return ok ? end + strlen(close) : NULL;
}

static json_t *f_template(const json_t *args, struct vr_error *err)
{
    const char *text = text_arg(args, 0, err);
    const json_t *values = text ? object_arg(args, 1, err) : NULL;
    if (!values)
        return NULL;
    struct vr_buf buf = {0};
    int line = 1;
    while (text && *text) {
        size_t plain = strcspn(text, "\n${");
        vr_buf_add(&buf, text, plain);
        text += plain;
        if (strncmp(text, "$${", 3) == 0 || strncmp(text, "{{{{", 4) == 0) {
            vr_buf_add(&buf, text, 2);
            buf.data[buf.length - 1] = '{';
            text += *text == '$' ? 3 : 4;
        } else if (strncmp(text, "${", 2) == 0 || strncmp(text, "{{", 2) == 0) {
            text = too_long(&buf, err) ? NULL : fill(&buf, text, values, line, err);
        } else if (*text) {
            line += *text == '\n';
            vr_buf_add(&buf, text++, 1);
        }
    }
    return give_or_free(&buf, text != NULL);
}

/* Addresses, as 128-bit numbers */

struct range {
    unsigned __int128 first;
    unsigned bits, prefix; /* 32 or 128; length of the prefix */
};

static bool range_arg(const json_t *args, size_t i, struct range *range, struct vr_error *err)
{
    const char *text = text_arg(args, i, err);
    if (!text)
        return false;
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    unsigned char bytes[16];
    char *end = NULL;
    size_t length = slash ? (size_t)(slash - text) : 0;
    bool ok = slash && length < sizeof(address) && isdigit((unsigned char)slash[1]);
    if (ok) {
        memcpy(address, text, length);
        address[length] = '\0';
        range->bits = strchr(address, ':') ? 128 : 32;
        unsigned long prefix = strtoul(slash + 1, &end, 10);
        ok = !*end && prefix <= range->bits &&
             inet_pton(range->bits == 32 ? AF_INET : AF_INET6, address, bytes) == 1;
        range->prefix = (unsigned)prefix;
    }
    if (!ok)
        return vr_error_set(err, "function", "'%s' is not an address range such as 10.0.0.0/16",
                            text);
    range->first = 0;
    for (unsigned b = 0; b < range->bits / 8; b++)
        range->first = range->first << 8 | bytes[b];
    unsigned host = range->bits - range->prefix;
    range->first = host >= 128 ? 0 : range->first >> host << host;
    return true;
}

static const char *print_address(unsigned __int128 address, unsigned bits, char *text)
{
    unsigned char bytes[16];
    for (unsigned b = bits / 8; b-- > 0; address >>= 8)
        bytes[b] = (unsigned char)address;
    return inet_ntop(bits == 32 ? AF_INET : AF_INET6, bytes, text, INET6_ADDRSTRLEN);
}

/* 2^bits, or the largest number when that does not fit. */
static unsigned __int128 power(unsigned bits)
{
    return bits < 128 ? (unsigned __int128)1 << bits : ~(unsigned __int128)0;
}

static json_t *f_cidr_host(const json_t *args, struct vr_error *err)
{
    struct range range;
    json_int_t n;
    if (!range_arg(args, 0, &range, err) || !integer_arg(args, 1, &n, err))
        return NULL;
    unsigned __int128 size = power(range.bits - range.prefix);
    unsigned __int128 distance = n < 0 ? (unsigned __int128)(-(n + 1)) + 1 : (unsigned __int128)n;
    if (n < 0 ? distance > size : distance >= size) {
        vr_error_set(err, "function", "%s has no host %" JSON_INTEGER_FORMAT,
                     json_string_value(json_array_get(args, 0)), n);
        return NULL;
    }
    char text[INET6_ADDRSTRLEN];
    unsigned __int128 end = range.first + (range.bits - range.prefix < 128 ? size : 0);
    return json_string(
        print_address(n < 0 ? end - distance : range.first + distance, range.bits, text));
}

static json_t *f_cidr_subnet(const json_t *args, struct vr_error *err)
{
    struct range range;
    json_int_t bits, n;
    if (!range_arg(args, 0, &range, err) || !integer_arg(args, 1, &bits, err) ||
        !integer_arg(args, 2, &n, err))
        return NULL;
    const char *given = json_string_value(json_array_get(args, 0));
    if (bits < 0 || bits > (json_int_t)(range.bits - range.prefix)) {
        vr_error_set(err, "function",
                     "%s has no room for %" JSON_INTEGER_FORMAT " more bits of prefix", given,
                     bits);
        return NULL;
    }
    if (n < 0 || (unsigned __int128)n >= power((unsigned)bits)) {
        vr_error_set(err, "function",
                     "%s has no subnet %" JSON_INTEGER_FORMAT " with %" JSON_INTEGER_FORMAT
                     " more bits",
                     given, n, bits);
        return NULL;
    }
    unsigned prefix = range.prefix + (unsigned)bits, host = range.bits - prefix;
    char text[INET6_ADDRSTRLEN];
    print_address(range.first | (host < 128 ? (unsigned __int128)n << host : 0), range.bits, text);
    return give_text(vr_format("%s/%u", text, prefix));
}

/* Lists and tables */

static json_t *f_concat(const json_t *args, struct vr_error *err)
{
    json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(args); i++) {
        if (json_is_null(json_array_get(args, i)))
            continue;
        json_t *list = list_arg(args, i, err);
        if (!list) {
            json_decref(all);
            return NULL;
        }
        json_array_extend(all, list);
    }
    return all;
}

static json_t *f_merge(const json_t *args, struct vr_error *err)
{
    json_t *all = json_object();
    for (size_t i = 0; i < json_array_size(args); i++) {
        if (json_is_null(json_array_get(args, i)))
            continue;
        json_t *object = object_arg(args, i, err);
        if (!object) {
            json_decref(all);
            return NULL;
        }
        json_object_update(all, object);
    }
    return all;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of an object in order; the caller frees the array. */
static const char **sorted_keys(json_t *object, size_t *count)
{
    const char **keys = vr_alloc(json_object_size(object) * sizeof(*keys));
    *count = 0;
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at))
        keys[(*count)++] = json_object_iter_key(at);
    qsort(keys, *count, sizeof(*keys), compare_keys);
    return keys;
}

static json_t *f_keys(const json_t *args, struct vr_error *err)
{
    json_t *object = object_arg(args, 0, err), *list = object ? json_array() : NULL;
    size_t count = 0;
    const char **keys = object ? sorted_keys(object, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(keys[i]));
    free(keys);
    return list;
}

static json_t *f_values(const json_t *args, struct vr_error *err)
{
    json_t *object = object_arg(args, 0, err), *list = object ? json_array() : NULL;
    size_t count = 0;
    const char **keys = object ? sorted_keys(object, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        json_array_append(list, json_object_get(object, keys[i]));
    free(keys);
    return list;
}

static json_t *f_length(const json_t *args, struct vr_error *err)
{
    json_t *value = json_array_get(args, 0);
    if (json_is_array(value))
        return json_integer((json_int_t)json_array_size(value));
    if (json_is_object(value))
        return json_integer((json_int_t)json_object_size(value));
    if (!json_is_string(value)) {
        refuse(args, 0, "a list, table or text", err);
        return NULL;
    }
    json_int_t letters = 0;
    for (const char *at = json_string_value(value); *at; at++)
        letters += ((unsigned char)*at & 0xc0) != 0x80;
    return json_integer(letters);
}

static json_t *f_lookup(const json_t *args, struct vr_error *err)
{
    json_t *object = object_arg(args, 0, err);
    const char *key = object ? text_arg(args, 1, err) : NULL;
    if (!key)
        return NULL;
    json_t *value = json_object_get(object, key);
    if (!value)
        value = json_array_get(args, 2);
    if (value)
        return json_incref(value);
    const char *near = nearest_key(object, key);
    vr_error_set(err, "function", near ? "no key '%s'; did you mean '%s'?" : "no key '%s'", key,
                 near);
    vr_error_hint(err, "a third argument is given back for keys that are not there");
    return NULL;
}

static json_t *f_contains(const json_t *args, struct vr_error *err)
{
    json_t *in = json_array_get(args, 0), *what = json_array_get(args, 1);
    if (json_is_array(in)) {
        for (size_t i = 0; i < json_array_size(in); i++) {
            if (json_equal(json_array_get(in, i), what))
                return json_true();
        }
        return json_false();
    }
    if (!json_is_string(in) && !json_is_object(in)) {
        refuse(args, 0, "a list, table or text", err);
        return NULL;
    }
    const char *text = text_arg(args, 1, err);
    if (!text)
        return NULL;
    return json_boolean(json_is_string(in) ? strstr(json_string_value(in), text) != NULL
                                           : json_object_get(in, text) != NULL);
}

static json_t *element(const json_t *args, bool last, struct vr_error *err)
{
    json_t *list = list_arg(args, 0, err);
    if (!list)
        return NULL;
    size_t count = json_array_size(list);
    if (count)
        return json_incref(json_array_get(list, last ? count - 1 : 0));
    vr_error_set(err, "function", "the list is empty");
    return NULL;
}

static json_t *f_first(const json_t *args, struct vr_error *err)
{
    return element(args, false, err);
}

static json_t *f_last(const json_t *args, struct vr_error *err)
{
    return element(args, true, err);
}

static json_t *f_element(const json_t *args, struct vr_error *err)
{
    json_int_t n;
    json_t *list = list_arg(args, 0, err);
    if (!list || !integer_arg(args, 1, &n, err))
        return NULL;
    size_t count = json_array_size(list);
    if (n >= 1 && count)
        return json_incref(json_array_get(list, (size_t)(n - 1) % count));
    vr_error_set(err, "function", count ? "positions begin with 1" : "the list is empty");
    return NULL;
}

static json_t *f_range(const json_t *args, struct vr_error *err)
{
    json_int_t from = 1, to, step = 1;
    size_t count = json_array_size(args);
    if (count > 1 && !integer_arg(args, 0, &from, err))
        return NULL;
    if (!integer_arg(args, count > 1, &to, err) || (count > 2 && !integer_arg(args, 2, &step, err)))
        return NULL;
    if (step == 0) {
        vr_error_set(err, "function", "a step of 0 never ends");
        return NULL;
    }
    json_t *list = json_array();
    while (step > 0 ? from <= to : from >= to) {
        if (json_array_size(list) == MOST_ELEMENTS) {
            json_decref(list);
            vr_error_set(err, "function", "more than %d elements", MOST_ELEMENTS);
            return NULL;
        }
        json_array_append_new(list, json_integer(from));
        if (__builtin_add_overflow(from, step, &from))
            break;
    }
    return list;
}

static void flatten_into(json_t *all, json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *part = json_array_get(list, i);
        if (json_is_array(part))
            flatten_into(all, part);
        else
            json_array_append(all, part);
    }
}

static json_t *f_flatten(const json_t *args, struct vr_error *err)
{
    json_t *list = list_arg(args, 0, err), *all = list ? json_array() : NULL;
    if (list)
        flatten_into(all, list);
    return all;
}

static json_t *f_distinct(const json_t *args, struct vr_error *err)
{
    json_t *list = list_arg(args, 0, err), *all = list ? json_array() : NULL;
    struct vr_map seen = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        char *text =
            json_dumps(json_array_get(list, i), JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_COMPACT);
        if (vr_map_get(&seen, text)) {
            free(text);
            continue;
        }
        vr_map_set(&seen, text, text);
        json_array_append(all, json_array_get(list, i));
    }
    size_t cursor = 0;
    for (void *text; (text = vr_map_next(&seen, &cursor, NULL));)
        free(text);
    vr_map_free(&seen);
    return all;
}

static int compare_values(const void *x, const void *y)
{
    const json_t *a = *(json_t *const *)x, *b = *(json_t *const *)y;
    if (json_is_string(a))
        return strcmp(json_string_value(a), json_string_value(b));
    if (json_is_integer(a) && json_is_integer(b))
        return (json_integer_value(a) > json_integer_value(b)) -
               (json_integer_value(a) < json_integer_value(b));
    return (json_number_value(a) > json_number_value(b)) -
           (json_number_value(a) < json_number_value(b));
}

static json_t *f_sort(const json_t *args, struct vr_error *err)
{
    json_t *list = list_arg(args, 0, err);
    if (!list)
        return NULL;
    size_t count = json_array_size(list), texts = 0, numbers = 0;
    json_t **items = vr_alloc(count * sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        items[i] = json_array_get(list, i);
        texts += json_is_string(items[i]);
        numbers += json_is_number(items[i]);
    }
    json_t *sorted = NULL;
    if (texts != count && numbers != count) {
        vr_error_set(err, "function", "only a list of texts or a list of numbers has an order");
    } else {
        qsort(items, count, sizeof(*items), compare_values);
        sorted = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append(sorted, items[i]);
    }
    free(items);
    return sorted;
}

/* Sorted by name: vr_function_find searches by halves. */
static const struct vr_function functions[] = {
    {"base64", 1, 1, f_base64, "base64(text): RFC 4648 with padding", false},
    {"base64_decode", 1, 1, f_base64_decode, "base64_decode(text): the text that it stands for",
     false},
    {"cidr_host", 2, 2, f_cidr_host,
     "cidr_host(range, n): its n-th address, from 0; from the end when n is negative", false},
    {"cidr_subnet", 3, 3, f_cidr_subnet,
     "cidr_subnet(range, bits, n): the n-th range with a prefix longer by bits", false},
    {"concat", 0, -1, f_concat, "concat(lists...): one list of their elements; null is skipped",
     true},
    {"contains", 2, 2, f_contains,
     "contains(list, value), contains(text, part), contains(table, key): true or false", false},
    {"distinct", 1, 1, f_distinct, "distinct(list): without what came before", false},
    {"element", 2, 2, f_element,
     "element(list, n): from 1, and from the start again behind the end", true},
    {"first", 1, 1, f_first, "first(list)", true},
    {"flatten", 1, 1, f_flatten, "flatten(list): the elements of lists inside, at any depth", true},
    {"format", 1, -1, f_format, "format(text, values...): %s %d %x %f %g %q as in string.format",
     false},
    {"indent", 2, 2, f_indent, "indent(text, n): n spaces before each line that is not empty",
     false},
    {"join", 1, 2, f_join, "join(list [, separator]): one text", false},
    {"json", 1, 2, f_json, "json(value [, indent]): as JSON, keys in order", false},
    {"json_decode", 1, 1, f_json_decode, "json_decode(text)", false},
    {"keys", 1, 1, f_keys, "keys(table): its keys in order", true},
    {"last", 1, 1, f_last, "last(list)", true},
    {"length", 1, 1, f_length,
     "length(list), length(table), length(text): elements, keys or letters", true},
    {"lookup", 2, 3, f_lookup, "lookup(table, key [, default])", true},
    {"lower", 1, 1, f_lower, "lower(text): A-Z as a-z", false},
    {"merge", 0, -1, f_merge, "merge(tables...): later ones win; null is skipped", true},
    {"range", 1, 3, f_range, "range(to), range(from, to [, step]): numbers up to and with `to`",
     false},
    {"replace", 3, 3, f_replace, "replace(text, from, to): each `from`, plain text", false},
    {"sha256", 1, 1, f_sha256, "sha256(text): in hexadecimal digits", false},
    {"sort", 1, 1, f_sort, "sort(list): texts by bytes, or numbers", false},
    {"split", 2, 2, f_split, "split(text, separator): a list", false},
    {"template", 2, 2, f_template,
     "template(text, values): fills ${name} and {{name}}; $${ and {{{{ stand for themselves",
     false},
    {"tonumber", 1, 2, f_tonumber, "tonumber(text [, base])", false},
    {"tostring", 1, 1, f_tostring, "tostring(value)", false},
    {"trim", 1, 2, f_trim,
     "trim(text [, letters]): without white space (or these letters) at both ends", false},
    {"upper", 1, 1, f_upper, "upper(text): a-z as A-Z", false},
    {"values", 1, 1, f_values, "values(table): in the order of its keys", true},
    {"yaml", 1, 1, f_yaml, "yaml(value): as YAML", false},
    {"yaml_decode", 1, 1, f_yaml_decode, "yaml_decode(text): of one document", false},
};

const struct vr_function *vr_function_list(size_t *count)
{
    *count = sizeof(functions) / sizeof(functions[0]);
    return functions;
}

const struct vr_function *vr_function_find(const char *name)
{
    size_t low = 0, high = sizeof(functions) / sizeof(functions[0]);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, functions[middle].name);
        if (order == 0)
            return &functions[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
