#include "base/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/alloc.h"
#include "base/buf.h"

/* A document is read as a tree of json_t with a table of anchors. Aliases share values; how much
 * they may blow up is bounded by counting the nodes that a copy would have. */
enum { DEEPEST = 200, MOST_NODES = 2000000 };

struct anchor {
    struct anchor *next;
    char *name;
    json_t *value;
    size_t size; /* nodes inside */
};

struct reader {
    yaml_parser_t parser;
    struct anchor *anchors;
    size_t nodes;
    struct vr_error *err;
};

static json_t *fail(struct reader *r, yaml_mark_t mark, const char *text)
{
    vr_error_set(r->err, "syntax", "%zu:%zu: %s", mark.line + 1, mark.column + 1, text);
    return NULL;
}

static bool next(struct reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event))
        return true;
    const char *problem = r->parser.problem ? r->parser.problem : "cannot be read";
    yaml_mark_t mark = r->parser.problem_mark;
    if (r->parser.error == YAML_READER_ERROR)
        vr_error_set(r->err, "syntax", "byte %zu: %s", r->parser.problem_offset, problem);
    else
        vr_error_set(r->err, "syntax", "%zu:%zu: %s%s%s", mark.line + 1, mark.column + 1, problem,
                     r->parser.context ? " " : "", r->parser.context ? r->parser.context : "");
    return false;
}

static bool is_word(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

static json_t *integer_of(const char *text)
{
    const char *digits = text + (*text == '-' || *text == '+');
    int base = 10;
    if (digits[0] == '0' && digits[1] == 'x')
        base = 16;
    else if (digits[0] == '0' && digits[1] == 'o')
        base = 8;
    else if (digits[0] == '0' && digits[1])
        base = 8;
    const char *start = digits + (base == 16 || digits[1] == 'o' ? 2 : 0);
    if (!*start || strspn(start, base == 16  ? "0123456789abcdefABCDEF"
                                 : base == 8 ? "01234567"
                                             : "0123456789") != strlen(start))
        return NULL;
    errno = 0;
    long long value = strtoll(start, NULL, base);
    if (errno == ERANGE)
        return NULL;
    return json_integer(*text == '-' ? -value : value);
}

static json_t *real_of(const char *text)
{
    const char *at = text + (*text == '-' || *text == '+');
    size_t before = strspn(at, "0123456789"), after = 0;
    at += before;
    bool point = *at == '.';
    if (point) {
        after = strspn(++at, "0123456789");
        at += after;
    }
    if (before + after == 0)
        return NULL;
    bool exponent = *at == 'e' || *at == 'E';
    if (exponent) {
        at++;
        at += *at == '-' || *at == '+';
        size_t digits = strspn(at, "0123456789");
        if (digits == 0)
            return NULL;
        at += digits;
    }
    if (*at || !(point || exponent || before > 18))
        return NULL;
    double value = strtod(text, NULL);
    return isfinite(value) ? json_real(value) : NULL;
}

static json_t *plain_scalar(const char *text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    if (is_word(text, nulls))
        return json_null();
    if (is_word(text, trues))
        return json_true();
    if (is_word(text, falses))
        return json_false();
    json_t *value = integer_of(text);
    return value ? value : real_of(text);
}

static json_t *scalar(struct reader *r, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    const char *tag = (const char *)event->data.scalar.tag;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    bool as_text =
        tag && (strcmp(tag, YAML_STR_TAG) == 0 || strcmp(tag, "tag:yaml.org,2002:binary") == 0);
    json_t *value = NULL;
    if (!as_text && (plain || tag) && strlen(text) == length)
        value = plain_scalar(text);
    if (!value)
        value = json_stringn(text, length);
    return value ? value : fail(r, event->start_mark, "is not UTF-8 text");
}

static void remember(struct reader *r, const yaml_char_t *name, json_t *value, size_t size)
{
    if (!name)
        return;
    struct anchor *anchor = vr_alloc(sizeof(*anchor));
    anchor->name = vr_strdup((const char *)name);
    anchor->value = json_incref(value);
    anchor->size = size;
    anchor->next = r->anchors;
    r->anchors = anchor;
}

static json_t *alias(struct reader *r, const yaml_event_t *event)
{
    for (struct anchor *anchor = r->anchors; anchor; anchor = anchor->next) {
        if (strcmp(anchor->name, (const char *)event->data.alias.anchor) != 0)
            continue;
        r->nodes += anchor->size;
        if (r->nodes > MOST_NODES)
            return fail(r, event->start_mark, "aliases make the document too large");
        return json_incref(anchor->value);
    }
    return fail(r, event->start_mark, "alias without an anchor");
}

static json_t *node(struct reader *r, yaml_event_t *event, int depth);

static json_t *sequence(struct reader *r, int depth)
{
    json_t *list = json_array();
    for (;;) {
        yaml_event_t event;
        if (!next(r, &event))
            break;
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return list;
        }
        json_t *item = node(r, &event, depth);
        yaml_event_delete(&event);
        if (!item)
            break;
        json_array_append_new(list, item);
    }
    json_decref(list);
    return NULL;
}

static bool merge(struct reader *r, yaml_mark_t mark, json_t *into, json_t *value)
{
    if (json_is_object(value)) {
        json_object_update_missing(into, value);
        return true;
    }
    size_t index;
    json_t *item;
    if (!json_is_array(value))
        return fail(r, mark, "a merge key wants a mapping or a list of mappings") != NULL;
    json_array_foreach(value, index, item)
    {
        if (!json_is_object(item))
            return fail(r, mark, "a merge key wants mappings") != NULL;
        json_object_update_missing(into, item);
    }
    return true;
}

static char *key_text(struct reader *r, const yaml_event_t *event)
{
    if (event->type != YAML_SCALAR_EVENT) {
        fail(r, event->start_mark, "a key must be a text");
        return NULL;
    }
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length) {
        fail(r, event->start_mark, "a key has a NUL inside");
        return NULL;
    }
    return vr_strdup(text);
}

static bool put(struct reader *r, json_t *map, json_t *merged, const yaml_event_t *key_event,
                const char *key, json_t *value)
{
    bool plain = key_event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (plain && strcmp(key, "<<") == 0)
        return merge(r, key_event->start_mark, merged, value);
    if (json_object_get(map, key)) {
        char *text = vr_format("key '%s' is given twice", key);
        fail(r, key_event->start_mark, text);
        free(text);
        return false;
    }
    if (json_object_set(map, key, value) != 0) {
        fail(r, key_event->start_mark, "a key is not UTF-8 text");
        return false;
    }
    return true;
}

static json_t *mapping(struct reader *r, int depth)
{
    json_t *map = json_object(), *merged = json_object();
    for (;;) {
        yaml_event_t key_event, event;
        if (!next(r, &key_event))
            break;
        if (key_event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&key_event);
            json_object_update_missing(map, merged);
            json_decref(merged);
            return map;
        }
        char *key = key_text(r, &key_event);
        json_t *value = NULL;
        if (key && next(r, &event)) {
            value = node(r, &event, depth);
            yaml_event_delete(&event);
        }
        bool ok = value && put(r, map, merged, &key_event, key, value);
        json_decref(value);
        free(key);
        yaml_event_delete(&key_event);
        if (!ok)
            break;
    }
    json_decref(map);
    json_decref(merged);
    return NULL;
}

static json_t *node(struct reader *r, yaml_event_t *event, int depth)
{
    if (depth > DEEPEST)
        return fail(r, event->start_mark, "nested too deeply");
    if (++r->nodes > MOST_NODES)
        return fail(r, event->start_mark, "too large");
    size_t before = r->nodes;
    json_t *value = NULL;
    const yaml_char_t *name = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return alias(r, event);
    case YAML_SCALAR_EVENT:
        value = scalar(r, event);
        name = event->data.scalar.anchor;
        break;
    case YAML_SEQUENCE_START_EVENT:
        value = sequence(r, depth + 1);
        name = event->data.sequence_start.anchor;
        break;
    case YAML_MAPPING_START_EVENT:
        value = mapping(r, depth + 1);
        name = event->data.mapping_start.anchor;
        break;
    default:
        return fail(r, event->start_mark, "expected a value");
    }
    if (value)
        remember(r, name, value, r->nodes - before + 1);
    return value;
}

static void forget_anchors(struct reader *r)
{
    for (struct anchor *anchor = r->anchors, *following; anchor; anchor = following) {
        following = anchor->next;
        free(anchor->name);
        json_decref(anchor->value);
        free(anchor);
    }
    r->anchors = NULL;
}

static bool documents(struct reader *r, json_t *list)
{
    for (;;) {
        yaml_event_t event;
        if (!next(r, &event))
            return false;
        yaml_event_type_t type = event.type;
        json_t *value = NULL;
        bool ok = true;
        if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
            type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT)
            ok = (value = node(r, &event, 0)) != NULL;
        yaml_event_delete(&event);
        if (!ok)
            return false;
        if (value)
            json_array_append_new(list, value);
        if (type == YAML_DOCUMENT_END_EVENT)
            forget_anchors(r);
        if (type == YAML_STREAM_END_EVENT)
            return true;
    }
}

json_t *vr_yaml_decode_all(const char *text, size_t length, struct vr_error *err)
{
    struct reader r = {.err = err};
    if (!yaml_parser_initialize(&r.parser))
        abort();
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
    json_t *list = json_array();
    bool ok = documents(&r, list);
    forget_anchors(&r);
    yaml_parser_delete(&r.parser);
    if (ok)
        return list;
    json_decref(list);
    return NULL;
}

json_t *vr_yaml_decode(const char *text, size_t length, struct vr_error *err)
{
    json_t *list = vr_yaml_decode_all(text, length, err);
    if (!list)
        return NULL;
    json_t *value = NULL;
    if (json_array_size(list) > 1)
        vr_error_set(err, "syntax", "1:1: there are %zu documents where one was expected",
                     json_array_size(list));
    else
        value = json_array_size(list) ? json_incref(json_array_get(list, 0)) : json_null();
    json_decref(list);
    return value;
}

/* Encoding goes through libyaml's emitter; the only choice made here is how a text is quoted. */

static int write_to_buf(void *payload, unsigned char *data, size_t length)
{
    vr_buf_add(payload, data, length);
    return 1;
}

static void emit(yaml_emitter_t *emitter, yaml_event_t *event)
{
    if (!yaml_emitter_emit(emitter, event))
        abort();
}

static yaml_scalar_style_t style_of(const char *text, size_t length)
{
    static const char *const old_words[] = {"yes", "Yes", "YES", "no",  "No",  "NO", "on",
                                            "On",  "ON",  "off", "Off", "OFF", "y",  "Y",
                                            "n",   "N",   "<<",  "=",   NULL};
    if (strlen(text) != length)
        return YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    json_t *other = plain_scalar(text);
    bool quoted = other || is_word(text, old_words) || strspn(text, "0123456789+-.:TZ ") == length;
    json_decref(other);
    if (quoted)
        return YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    bool literal = strchr(text, '\n') && !strchr(text, '\r') && text[0] != ' ' && text[0] != '\n';
    for (const char *end = text; literal && (end = strchr(end, '\n')); end++)
        literal = end == text || (end[-1] != ' ' && end[-1] != '\t');
    return literal ? YAML_LITERAL_SCALAR_STYLE : YAML_ANY_SCALAR_STYLE;
}

static void emit_scalar(yaml_emitter_t *emitter, const char *text, size_t length,
                        yaml_scalar_style_t style)
{
    yaml_event_t event;
    yaml_scalar_event_initialize(&event, NULL, NULL, (const unsigned char *)text, (int)length, 1, 1,
                                 style);
    emit(emitter, &event);
}

static void emit_text(yaml_emitter_t *emitter, const char *text, size_t length)
{
    emit_scalar(emitter, text, length, style_of(text, length));
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void emit_value(yaml_emitter_t *emitter, const json_t *value);

static void emit_object(yaml_emitter_t *emitter, const json_t *value)
{
    yaml_event_t event;
    size_t count = json_object_size(value), n = 0;
    const char **keys = vr_alloc(count * sizeof(*keys));
    for (void *it = json_object_iter((json_t *)value); it;
         it = json_object_iter_next((json_t *)value, it))
        keys[n++] = json_object_iter_key(it);
    qsort(keys, count, sizeof(*keys), compare_keys);
    yaml_mapping_start_event_initialize(&event, NULL, NULL, 1,
                                        count ? YAML_BLOCK_MAPPING_STYLE : YAML_FLOW_MAPPING_STYLE);
    emit(emitter, &event);
    for (size_t i = 0; i < count; i++) {
        emit_text(emitter, keys[i], strlen(keys[i]));
        emit_value(emitter, json_object_get(value, keys[i]));
    }
    yaml_mapping_end_event_initialize(&event);
    emit(emitter, &event);
    free(keys);
}

static void emit_array(yaml_emitter_t *emitter, const json_t *value)
{
    yaml_event_t event;
    size_t count = json_array_size(value);
    yaml_sequence_start_event_initialize(
        &event, NULL, NULL, 1, count ? YAML_BLOCK_SEQUENCE_STYLE : YAML_FLOW_SEQUENCE_STYLE);
    emit(emitter, &event);
    for (size_t i = 0; i < count; i++)
        emit_value(emitter, json_array_get(value, i));
    yaml_sequence_end_event_initialize(&event);
    emit(emitter, &event);
}

static void emit_value(yaml_emitter_t *emitter, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        emit_object(emitter, value);
        return;
    case JSON_ARRAY:
        emit_array(emitter, value);
        return;
    case JSON_STRING:
        emit_text(emitter, json_string_value(value), json_string_length(value));
        return;
    default:
        break;
    }
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    emit_scalar(emitter, text, strlen(text), YAML_PLAIN_SCALAR_STYLE);
    free(text);
}

char *vr_yaml_encode_all(const json_t *list)
{
    struct vr_buf buf = {0};
    yaml_emitter_t emitter;
    yaml_event_t event;
    if (!yaml_emitter_initialize(&emitter))
        abort();
    yaml_emitter_set_output(&emitter, write_to_buf, &buf);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);
    emit(&emitter, &event);
    for (size_t i = 0; i < json_array_size(list); i++) {
        yaml_document_start_event_initialize(&event, NULL, NULL, NULL, json_array_size(list) == 1);
        emit(&emitter, &event);
        emit_value(&emitter, json_array_get(list, i));
        yaml_document_end_event_initialize(&event, 1);
        emit(&emitter, &event);
    }
    yaml_stream_end_event_initialize(&event);
    emit(&emitter, &event);
    yaml_emitter_delete(&emitter);
    return vr_buf_steal(&buf);
}

char *vr_yaml_encode(const json_t *value)
{
    json_t *list = json_array();
    json_array_append(list, (json_t *)value);
    char *text = vr_yaml_encode_all(list);
    json_decref(list);
    return text;
}
