/* Functions that make texts: encodings, letters, format, template. */
#include "engine/function_internal.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/yaml.h"
#include "engine/expr.h"

enum { MOST_INDENT = 100 };

/* Encodings */

json_t *vr_f_base64(const json_t *args, struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
    return text ? vr_give_text(vr_base64(text, json_string_length(json_array_get(args, 0)))) : NULL;
}

json_t *vr_f_base64_decode(const json_t *args, struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
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

json_t *vr_f_json(const json_t *args, struct vr_error *err)
{
    json_int_t indent = 0;
    if (json_array_size(args) > 1 && !vr_integer_arg(args, 1, &indent, err))
        return NULL;
    if (indent < 0 || indent > 31) {
        vr_error_set(err, "function", "argument 2 wants 0 to 31 spaces");
        return NULL;
    }
    size_t layout = indent ? JSON_INDENT((size_t)indent) : JSON_COMPACT;
    return vr_give_text(
        json_dumps(json_array_get(args, 0), layout | JSON_ENCODE_ANY | JSON_SORT_KEYS));
}

json_t *vr_f_json_decode(const json_t *args, struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
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

json_t *vr_f_yaml(const json_t *args, struct vr_error *err)
{
    (void)err;
    return vr_give_text(vr_yaml_encode(json_array_get(args, 0)));
}

json_t *vr_f_yaml_decode(const json_t *args, struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
    struct vr_error inner = {0};
    json_t *value =
        text ? vr_yaml_decode(text, json_string_length(json_array_get(args, 0)), &inner) : NULL;
    if (text && !value)
        vr_error_set(err, "function", "not YAML: %s", inner.message);
    vr_error_clear(&inner);
    return value;
}

json_t *vr_f_sha256(const json_t *args, struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
    if (!text)
        return NULL;
    char hex[2 * VR_SHA256_SIZE + 1];
    vr_sha256_hex(text, json_string_length(json_array_get(args, 0)), hex);
    return json_string(hex);
}
/* Texts */

static json_t *map_text(const json_t *args, int (*change)(int letter), struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
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

json_t *vr_f_lower(const json_t *args, struct vr_error *err)
{
    return map_text(args, tolower, err);
}

json_t *vr_f_upper(const json_t *args, struct vr_error *err)
{
    return map_text(args, toupper, err);
}

json_t *vr_f_replace(const json_t *args, struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
    const char *from = text ? vr_text_arg(args, 1, err) : NULL;
    const char *to = from ? vr_text_arg(args, 2, err) : NULL;
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
        ok = !vr_too_long(&buf, err);
    }
    vr_buf_puts(&buf, text);
    return vr_give_or_free(&buf, ok);
}

json_t *vr_f_split(const json_t *args, struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
    const char *separator = text ? vr_text_arg(args, 1, err) : NULL;
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

json_t *vr_f_trim(const json_t *args, struct vr_error *err)
{
    const char *letters = " \t\r\n\v\f", *text = vr_text_arg(args, 0, err);
    if (!text || (json_array_size(args) > 1 && !(letters = vr_text_arg(args, 1, err))))
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

json_t *vr_f_indent(const json_t *args, struct vr_error *err)
{
    json_int_t spaces;
    const char *text = vr_text_arg(args, 0, err);
    if (!text || !vr_integer_arg(args, 1, &spaces, err))
        return NULL;
    if (spaces < 0 || spaces > MOST_INDENT) {
        vr_error_set(err, "function", "argument 2 wants 0 to %d spaces", MOST_INDENT);
        return NULL;
    }
    struct vr_buf buf = {0};
    bool ok = true;
    while (ok && *text) {
        ok = !vr_too_long(&buf, err);
        size_t line = strcspn(text, "\n");
        if (line)
            vr_buf_printf(&buf, "%*s", (int)spaces, "");
        line += text[line] == '\n';
        vr_buf_add(&buf, text, line);
        text += line;
    }
    return vr_give_or_free(&buf, ok);
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

json_t *vr_f_join(const json_t *args, struct vr_error *err)
{
    json_t *list = vr_list_arg(args, 0, err);
    const char *separator = "";
    if (!list || (json_array_size(args) > 1 && !(separator = vr_text_arg(args, 1, err))))
        return NULL;
    struct vr_buf buf = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        char what[40];
        snprintf(what, sizeof(what), "element %zu", i + 1);
        if (i)
            vr_buf_puts(&buf, separator);
        if (vr_too_long(&buf, err) || !add_text(&buf, json_array_get(list, i), what, err)) {
            vr_buf_free(&buf);
            return NULL;
        }
    }
    return vr_give_buf(&buf);
}

json_t *vr_f_tostring(const json_t *args, struct vr_error *err)
{
    struct vr_buf buf = {0};
    return vr_give_or_free(&buf, add_text(&buf, json_array_get(args, 0), "argument 1", err));
}

json_t *vr_f_tonumber(const json_t *args, struct vr_error *err)
{
    json_t *value = json_array_get(args, 0);
    if (json_is_number(value))
        return json_incref(value);
    const char *text = vr_text_arg(args, 0, err);
    if (!text)
        return NULL;
    json_int_t base = 10;
    if (json_array_size(args) > 1 && !vr_integer_arg(args, 1, &base, err))
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

json_t *vr_f_format(const json_t *args, struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
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
    return vr_give_or_free(&buf, ok);
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
            const char *near = json_is_object(owner) ? vr_nearest_key(owner, part) : NULL;
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

json_t *vr_f_template(const json_t *args, struct vr_error *err)
{
    const char *text = vr_text_arg(args, 0, err);
    const json_t *values = text ? vr_object_arg(args, 1, err) : NULL;
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
            text = vr_too_long(&buf, err) ? NULL : fill(&buf, text, values, line, err);
        } else if (*text) {
            line += *text == '\n';
            vr_buf_add(&buf, text++, 1);
        }
    }
    return vr_give_or_free(&buf, text != NULL);
}
