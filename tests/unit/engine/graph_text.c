#include "graph_text.h"

#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"

/* Where the reading is. */
struct reader {
    struct graph_text *graph;
    struct vr_exprs *exprs;
    struct vr_decl *decl; /* of this line; NULL: an output */
    const char *at, *line;
    int number;
};

static void bad(const struct reader *reader, const char *why)
{
    ck_abort_msg("graph text, line %d: %s at '%s'", reader->number, why, reader->at);
}

static char *read_name(struct reader *reader)
{
    size_t length = 0;
    while (isalnum((unsigned char)reader->at[length]) || reader->at[length] == '_' ||
           reader->at[length] == '-')
        length++;
    if (!length)
        bad(reader, "a name is missing");
    char *name = vr_strndup(reader->at, length);
    reader->at += length;
    return name;
}

struct vr_decl *graph_text_find(const struct graph_text *graph, const char *name)
{
    char *address = vr_format("t.x.%s", name);
    struct vr_decl *decl = vr_decls_find(graph->decls, address);
    free(address);
    if (decl)
        return decl;
    address = vr_format("t.set.%s", name);
    decl = vr_decls_find(graph->decls, address);
    free(address);
    return decl;
}

static struct vr_decl *must_find(struct reader *reader, const char *name)
{
    struct vr_decl *decl = graph_text_find(reader->graph, name);
    if (!decl)
        bad(reader, "no such declaration");
    return decl;
}

/* One scope a collection. */
static struct vr_scope *scope_of(struct reader *reader, struct vr_decl *collection)
{
    struct vr_decls *decls = reader->graph->decls;
    for (size_t i = 0; i < vr_decls_scope_count(decls); i++) {
        if (vr_decls_scope_at(decls, i)->collection == collection)
            return vr_decls_scope_at(decls, i);
    }
    struct vr_error err = {0};
    struct vr_scope *scope = vr_decls_scope(decls, collection, &err);
    if (!scope)
        bad(reader, err.message);
    return scope;
}

static struct vr_expr *read_path(struct reader *reader, struct vr_expr *expr)
{
    while (*reader->at == '.') {
        reader->at++;
        char *key = read_name(reader);
        expr = vr_expr_index(reader->exprs, expr, json_string(key));
        free(key);
    }
    return expr;
}

static struct vr_expr *read_gather(struct reader *reader)
{
    char *name = read_name(reader);
    struct vr_decl *of = must_find(reader, name);
    free(name);
    bool members = of->kind == reader->graph->set;
    struct vr_scope *scope = members ? scope_of(reader, of) : of->scope;
    if (!scope)
        bad(reader, "neither a collection nor a template");
    struct vr_expr *each =
        members ? vr_expr_item(reader->exprs, scope, NULL) : vr_expr_ref(reader->exprs, of, NULL);
    if (*reader->at != '[')
        return vr_expr_gather(reader->exprs, scope, read_path(reader, each));
    char *end;
    long position = strtol(reader->at + 1, &end, 10);
    if (*end != ']')
        bad(reader, "] is missing");
    reader->at = end + 1;
    struct vr_expr *list = vr_expr_gather(reader->exprs, scope, each);
    return read_path(reader, vr_expr_index(reader->exprs, list, json_integer(position - 1)));
}

static struct vr_expr *read_value(struct reader *reader)
{
    if (*reader->at == '"' || isdigit((unsigned char)*reader->at)) {
        size_t length = *reader->at == '"' ? (size_t)(strchr(reader->at + 1, '"') - reader->at + 1)
                                           : strspn(reader->at, "0123456789.");
        json_t *value = json_loadb(reader->at, length, JSON_DECODE_ANY, NULL);
        if (!value)
            bad(reader, "not a value");
        reader->at += length;
        return vr_expr_literal(reader->exprs, value);
    }
    if (*reader->at == '{') { /* without blanks */
        size_t length = strcspn(reader->at, " ");
        json_t *value = json_loadb(reader->at, length, 0, NULL);
        if (!value)
            bad(reader, "not an object");
        reader->at += length;
        return vr_expr_literal(reader->exprs, value);
    }
    if (*reader->at == '*') {
        reader->at++;
        return read_gather(reader);
    }
    char *name = read_name(reader);
    struct vr_expr *expr;
    if (strcmp(name, "true") == 0 || strcmp(name, "false") == 0)
        expr = vr_expr_literal(reader->exprs, json_boolean(*name == 't'));
    else if (strcmp(name, "item") == 0 && reader->decl && reader->decl->scope)
        expr = vr_expr_item(reader->exprs, reader->decl->scope, NULL);
    else
        expr = vr_expr_ref(reader->exprs, must_find(reader, name), NULL);
    free(name);
    return read_path(reader, expr);
}

static void read_field(struct reader *reader)
{
    struct vr_decls *decls = reader->graph->decls;
    if (*reader->at == '!') {
        reader->at++;
        vr_decl_after(decls, reader->decl, read_value(reader));
        return;
    }
    if (*reader->at == '~') {
        char *end;
        reader->at++;
        if (isdigit((unsigned char)*reader->at)) {
            reader->decl->tally = vr_decls_tally(decls, strtoull(reader->at, &end, 10));
            reader->at = end;
            return;
        }
        char *name = read_name(reader);
        reader->decl->tally = vr_decls_tally(decls, 0);
        reader->decl->turn = must_find(reader, name);
        reader->decl->at_once = strtoull(reader->at + 1, &end, 10);
        reader->at = end;
        free(name);
        return;
    }
    const char *start = reader->at + (*reader->at == '*');
    size_t length = strcspn(start, "=.[ ");
    char *field = vr_strndup(start, length);
    if (start[length] == '=')
        reader->at = start + length + 1;
    struct vr_expr *expr = read_value(reader);
    vr_decl_set(decls, reader->decl, field, expr, "r.lua", reader->number);
    free(field);
}

/* `name`, `name[]`, `name@collection` in front of `:` */
static void declare(struct reader *reader)
{
    char *name = read_name(reader);
    struct vr_scope *scope = NULL;
    bool set = strncmp(reader->at, "[]", 2) == 0;
    if (set) {
        reader->at += 2;
    } else if (*reader->at == '@') {
        reader->at++;
        char *of = read_name(reader);
        scope = scope_of(reader, must_find(reader, of));
        free(of);
    }
    struct vr_error err = {0};
    struct vr_kind *kind = set ? reader->graph->set : reader->graph->plain;
    char *address = vr_format("%s.%s", kind->name, name);
    if (!vr_decls_add(reader->graph->decls, kind, name, address, scope, "r.lua", reader->number,
                      &err))
        bad(reader, err.message);
    free(address);
    free(name);
}

static void read_line(struct reader *reader, bool second)
{
    const char *colon = strchr(reader->at, ':'), *equals = strchr(reader->at, '=');
    bool output = equals && (!colon || equals < colon);
    if (!second) {
        if (!output)
            declare(reader);
        return;
    }
    char *name = read_name(reader);
    if (output) {
        reader->decl = NULL;
        reader->at = equals + 1 + strspn(equals + 1, " ");
        struct vr_error err = {0};
        if (!vr_decls_output(reader->graph->decls, name, read_value(reader), NULL, "r.lua",
                             reader->number, &err))
            bad(reader, err.message);
    } else {
        reader->decl = must_find(reader, name);
        reader->at = colon + 1;
        for (;;) {
            reader->at += strspn(reader->at, " ");
            if (!*reader->at)
                break;
            read_field(reader);
        }
    }
    free(name);
}

struct graph_text *graph_text_new(const char *text)
{
    struct graph_text *graph = vr_alloc(sizeof(*graph));
    graph->decls = vr_decls_new();
    graph->plain = vr_kind_new("t.x");
    vr_kind_add_output(graph->plain, "id", 0);
    vr_kind_add_output(graph->plain, "secret", VR_OUTPUT_SECRET);
    graph->set = vr_kind_new("t.set");
    vr_kind_add_output(graph->set, "id", 0);
    vr_kind_set_collection(graph->set, "items", "count");
    for (int pass = 0; pass < 2; pass++) {
        char *copy = vr_strdup(text), *rest = copy;
        struct reader reader = {.graph = graph, .exprs = vr_decls_exprs(graph->decls)};
        for (char *line; (line = strsep(&rest, "\n"));) {
            reader.number++;
            reader.line = reader.at = line + strspn(line, " ");
            if (*reader.at && *reader.at != '#')
                read_line(&reader, pass == 1);
        }
        free(copy);
    }
    return graph;
}

void graph_text_free(struct graph_text *graph)
{
    vr_decls_free(graph->decls);
    vr_kind_free(graph->plain);
    vr_kind_free(graph->set);
    free(graph);
}
