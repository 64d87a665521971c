/* Edges lie in one list, those of a declaration next to each other; users are the same list turned
 * round. All walks are loops with a stack of their own, as chains may be as long as the recipe. */
#include "engine/graph.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

struct vr_graph {
    struct vr_decls *decls;
    size_t count; /* of declarations */
    struct vr_edge *edges;
    size_t edge_count, edge_room;
    size_t *first_edge; /* by index of the declaration; one more at the end */
    struct vr_decl **users;
    size_t *first_user;
    struct vr_decl **order;
    size_t depth;
};

/* Collecting edges */

enum { NONE = -1 };

/* One declaration (or output) whose expressions are visited. */
struct visit {
    struct vr_graph *graph;
    const struct vr_decl *from; /* NULL: an output */
    const char *name;           /* of the output */
    const char *field, *file;
    int line;
    ptrdiff_t
        *latest; /* by index of `to`: the latest edge to it, ours if not below first_edge[from] */
    ptrdiff_t *before; /* by edge: the edge of the same two before */
    size_t before_room;
    struct vr_error *err;
    bool ok;
};

static bool same_edge(const struct vr_edge *a, const struct vr_edge *b)
{
    return a->to == b->to && a->gather == b->gather && a->item == b->item && a->member == b->member;
}

static void add_edge(struct visit *visit, struct vr_edge edge)
{
    struct vr_graph *graph = visit->graph;
    ptrdiff_t first = (ptrdiff_t)graph->first_edge[visit->from->index],
              last = visit->latest[edge.to->index];
    if (last < first)
        last = NONE;
    for (ptrdiff_t at = last; at != NONE; at = visit->before[at]) {
        if (same_edge(&graph->edges[at], &edge))
            return;
    }
    if (graph->edge_count == graph->edge_room) {
        graph->edge_room = graph->edge_room ? graph->edge_room * 2 : 64;
        graph->edges = vr_realloc(graph->edges, graph->edge_room * sizeof(*graph->edges));
        visit->before = vr_realloc(visit->before, graph->edge_room * sizeof(*visit->before));
    }
    edge.field = visit->field;
    edge.file = visit->file;
    edge.line = visit->line;
    visit->before[graph->edge_count] = last;
    visit->latest[edge.to->index] = (ptrdiff_t)graph->edge_count;
    graph->edges[graph->edge_count++] = edge;
}

static void refuse_scope(struct visit *visit, const struct vr_need *need)
{
    if (!visit->ok)
        return;
    visit->ok = false;
    char *text = vr_expr_text(need->expr);
    const struct vr_scope *scope = need->decl ? need->decl->scope : need->scope;
    char *who =
        visit->from ? vr_format("%s", visit->from->address) : vr_format("output '%s'", visit->name);
    vr_error_set(visit->err, "scope",
                 "%s uses %s, which is one thing for each member of %s and means nothing outside "
                 "of that each",
                 who, text, scope->collection->address);
    vr_error_hint(visit->err, "let the each return it, and use the list that each gives back");
    vr_error_place(visit->err, visit->file, visit->line);
    free(text);
    free(who);
}

static void visit_need(void *payload, const struct vr_need *need)
{
    struct visit *visit = payload;
    struct vr_scope *scope = need->decl ? need->decl->scope : need->scope;
    struct vr_scope *here = visit->from ? visit->from->scope : NULL;
    if (scope && !need->gathered && scope != here) {
        refuse_scope(visit, need);
        return;
    }
    if (!visit->from)
        return;
    struct vr_edge edge = {.to = need->decl ? need->decl : scope->collection, .member = SIZE_MAX};
    if (need->gathered) {
        edge.gather = scope;
        edge.member = need->member;
    } else if (!need->decl) {
        edge.item = scope;
    }
    add_edge(visit, edge);
}

static void visit_expr(struct visit *visit, const struct vr_expr *expr, const char *field,
                       const char *file, int line)
{
    visit->field = field;
    visit->file = file;
    visit->line = line;
    if (visit->ok && vr_expr_too_large(expr, visit->err)) {
        visit->ok = false;
        vr_error_place(visit->err, file, line);
    }
    vr_expr_refs(expr, visit_need, visit);
}

static void visit_decl(struct visit *visit, const struct vr_decl *decl)
{
    visit->from = decl;
    visit->graph->first_edge[decl->index] = visit->graph->edge_count;
    if (decl->scope) {
        visit->field = NULL;
        visit->file = decl->file;
        visit->line = decl->line;
        add_edge(visit, (struct vr_edge){.to = decl->scope->collection,
                                         .item = decl->scope,
                                         .member = SIZE_MAX});
    }
    for (size_t i = 0; i < decl->field_count; i++) {
        const struct vr_decl_field *field = &decl->fields[i];
        visit_expr(visit, field->expr, field->name, field->file ? field->file : decl->file,
                   field->file ? field->line : decl->line);
    }
    for (size_t i = 0; i < decl->trigger_count; i++)
        visit_expr(visit, decl->triggers[i], "replace_triggered_by", decl->file, decl->line);
    for (size_t i = 0; i < decl->after_count; i++)
        visit_expr(visit, decl->after[i], NULL, decl->file, decl->line);
}

static bool collect_edges(struct vr_graph *graph, struct vr_error *err)
{
    struct visit visit = {.graph = graph, .err = err, .ok = true};
    visit.latest = vr_alloc(graph->count * sizeof(*visit.latest));
    for (size_t i = 0; i < graph->count; i++)
        visit.latest[i] = NONE;
    for (size_t i = 0; visit.ok && i < graph->count; i++)
        visit_decl(&visit, vr_decls_at(graph->decls, i));
    graph->first_edge[graph->count] = graph->edge_count;
    visit.from = NULL;
    for (size_t i = 0; visit.ok && i < vr_decls_output_count(graph->decls); i++) {
        const struct vr_output *output = vr_decls_output_at(graph->decls, i);
        visit.name = output->name;
        visit_expr(&visit, output->expr, NULL, output->file, output->line);
    }
    free(visit.latest);
    free(visit.before);
    return visit.ok;
}

/* Who needs it: each user once, in order of declaration. */
static void collect_users(struct vr_graph *graph)
{
    size_t *last = vr_alloc((graph->count + 1) *
                            sizeof(*last)); /* index + 1 of the latest user, to take it once */
    for (int pass = 0; pass < 2; pass++) {
        memset(last, 0, (graph->count + 1) * sizeof(*last));
        for (size_t from = 0; from < graph->count; from++) {
            for (size_t e = graph->first_edge[from]; e < graph->first_edge[from + 1]; e++) {
                size_t to = graph->edges[e].to->index;
                if (last[to] == from + 1)
                    continue;
                last[to] = from + 1;
                if (pass == 0)
                    graph->first_user[to + 1]++;
                else
                    graph->users[graph->first_user[to]++] = vr_decls_at(graph->decls, from);
            }
        }
        if (pass == 0) {
            for (size_t i = 0; i < graph->count; i++)
                graph->first_user[i + 1] += graph->first_user[i];
            graph->users = vr_alloc(graph->first_user[graph->count] * sizeof(*graph->users));
        }
    }
    /* the second pass moved each start to the next one's */
    for (size_t i = graph->count; i > 0; i--)
        graph->first_user[i] = graph->first_user[i - 1];
    graph->first_user[0] = 0;
    free(last);
}

/* Cycles */

/* Parts of the graph in which each reaches each other (Tarjan). Members of a part follow each other
 * in `members`. */
struct parts {
    size_t *members, *part; /* part: by index of the declaration */
    size_t *starts;         /* by part; one more at the end */
    size_t count;
};

static void find_parts(const struct vr_graph *graph, struct parts *parts)
{
    size_t n = graph->count;
    size_t *seen = vr_alloc(n * sizeof(*seen)), *low = vr_alloc(n * sizeof(*low)),
           *next = vr_alloc(n * sizeof(*next));
    size_t *stack = vr_alloc(n * sizeof(*stack)), *calls = vr_alloc(n * sizeof(*calls));
    size_t clock = 0, height = 0, filled = 0;
    *parts = (struct parts){.members = vr_alloc(n * sizeof(size_t)),
                            .part = vr_alloc(n * sizeof(size_t)),
                            .starts = vr_alloc((n + 1) * sizeof(size_t))};
    for (size_t i = 0; i < n; i++)
        parts->part[i] = SIZE_MAX;
    for (size_t root = 0; root < n; root++) {
        size_t depth = 0;
        if (seen[root])
            continue;
        calls[depth++] = root;
        while (depth) {
            size_t at = calls[depth - 1];
            if (!seen[at]) {
                seen[at] = low[at] = ++clock;
                next[at] = graph->first_edge[at];
                stack[height++] = at;
            }
            if (next[at] < graph->first_edge[at + 1]) {
                size_t to = graph->edges[next[at]++].to->index;
                if (!seen[to])
                    calls[depth++] = to;
                else if (parts->part[to] == SIZE_MAX && seen[to] < low[at])
                    low[at] = seen[to];
                continue;
            }
            depth--;
            if (depth && low[at] < low[calls[depth - 1]])
                low[calls[depth - 1]] = low[at];
            if (low[at] != seen[at])
                continue;
            parts->starts[parts->count] = filled;
            do {
                parts->members[filled] = stack[--height];
                parts->part[stack[height]] = parts->count;
            } while (stack[height] != at && ++filled);
            filled++;
            parts->count++;
        }
    }
    parts->starts[parts->count] = filled;
    free(seen);
    free(low);
    free(next);
    free(stack);
    free(calls);
}

/* The search of a shortest cycle: breadth first from each member of a part. Among many thousands
 * that would take forever, so the work is bounded; then it is the shortest of those that were
 * found. */
struct search {
    const struct vr_graph *graph;
    const struct parts *parts;
    size_t *queue, *distance, *via; /* via: the edge that led here */
    size_t *round, rounds;          /* whose values are of this round */
    size_t best;                    /* length; SIZE_MAX: none yet */
    size_t *cycle, cycle_room;      /* edges of the best, from the first member on */
    size_t work;
};

enum { MOST_WORK = 20000000 };

static size_t owner_of(const struct vr_graph *graph, size_t edge)
{
    size_t low = 0, high = graph->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (graph->first_edge[middle] <= edge)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void keep_cycle(struct search *search, size_t start, size_t closing)
{
    size_t length = search->distance[owner_of(search->graph, closing)] + 1;
    search->best = length;
    if (search->cycle_room < length) {
        search->cycle_room = length;
        search->cycle = vr_realloc(search->cycle, length * sizeof(*search->cycle));
    }
    size_t edge = closing;
    for (size_t i = length; i-- > 0;) {
        search->cycle[i] = edge;
        size_t from = owner_of(search->graph, edge);
        if (from == start)
            break;
        edge = search->via[from];
    }
}

static void search_from(struct search *search, size_t start)
{
    const struct vr_graph *graph = search->graph;
    size_t head = 0, tail = 0;
    search->rounds++;
    search->round[start] = search->rounds;
    search->distance[start] = 0;
    search->queue[tail++] = start;
    while (head < tail) {
        size_t at = search->queue[head++];
        if (search->distance[at] + 1 >= search->best)
            return;
        for (size_t e = graph->first_edge[at]; e < graph->first_edge[at + 1]; e++) {
            size_t to = graph->edges[e].to->index;
            search->work++;
            if (to == start) {
                keep_cycle(search, start, e);
                return;
            }
            if (search->parts->part[to] != search->parts->part[start] ||
                search->round[to] == search->rounds)
                continue;
            search->round[to] = search->rounds;
            search->distance[to] = search->distance[at] + 1;
            search->via[to] = e;
            search->queue[tail++] = to;
        }
    }
}

/* Starts with the member that is declared first. */
static void tell_cycle(struct search *search, struct vr_error *err)
{
    const struct vr_graph *graph = search->graph;
    size_t first = 0;
    for (size_t i = 1; i < search->best; i++) {
        if (owner_of(graph, search->cycle[i]) < owner_of(graph, search->cycle[first]))
            first = i;
    }
    struct vr_buf buf = {0};
    vr_buf_puts(&buf, search->best == 1 ? "it needs itself:"
                                        : "these need each other, so none can be the first:");
    for (size_t i = 0; i < search->best; i++) {
        size_t e = search->cycle[(first + i) % search->best];
        const struct vr_decl *from = vr_decls_at(graph->decls, owner_of(graph, e));
        const struct vr_edge *edge = &graph->edges[e];
        vr_buf_printf(&buf, "\n%s:%d: %s needs %s ", edge->file ? edge->file : "?", edge->line,
                      from->address, edge->to->address);
        if (edge->field)
            vr_buf_printf(&buf, "(field '%s')", edge->field);
        else
            vr_buf_puts(&buf, edge->item ? "(each)" : "(after)");
    }
    vr_error_set(err, "cycle", "%s", buf.data);
    vr_error_hint(err,
                  "take one of these references out, or split what is needed from what needs it");
    const struct vr_edge *edge = &graph->edges[search->cycle[first]];
    vr_error_place(err, edge->file, edge->line);
    vr_buf_free(&buf);
}

static void find_cycle(const struct vr_graph *graph, struct vr_error *err)
{
    struct parts parts;
    find_parts(graph, &parts);
    size_t n = graph->count;
    struct search search = {
        .graph = graph,
        .parts = &parts,
        .best = SIZE_MAX,
        .queue = vr_alloc(n * sizeof(size_t)),
        .distance = vr_alloc(n * sizeof(size_t)),
        .via = vr_alloc(n * sizeof(size_t)),
        .round = vr_alloc(n * sizeof(size_t)),
    };
    for (size_t start = 0; start < n && (search.work < MOST_WORK || search.best == SIZE_MAX);
         start++)
        search_from(&search, start);
    assert(search.best != SIZE_MAX);
    tell_cycle(&search, err);
    free(search.queue);
    free(search.distance);
    free(search.via);
    free(search.round);
    free(search.cycle);
    free(parts.members);
    free(parts.part);
    free(parts.starts);
}

/* Order */

/* Depth first in order of declaration, so that a recipe that names nothing before it is declared
 * keeps its order. False: there is a cycle. */
static bool sort(struct vr_graph *graph)
{
    enum { FRESH, OPEN, DONE };
    size_t n = graph->count, placed = 0;
    unsigned char *mark = vr_alloc(n);
    size_t *stack = vr_alloc(n * sizeof(*stack)), *next = vr_alloc(n * sizeof(*next)),
           *deep = vr_alloc(n * sizeof(*deep));
    bool ok = true;
    for (size_t root = 0; ok && root < n; root++) {
        size_t height = 0;
        if (mark[root] == FRESH)
            stack[height++] = root;
        while (ok && height) {
            size_t at = stack[height - 1];
            if (mark[at] == FRESH) {
                mark[at] = OPEN;
                next[at] = graph->first_edge[at];
                deep[at] = 1;
            }
            if (next[at] == graph->first_edge[at + 1]) {
                mark[at] = DONE;
                graph->order[placed++] = vr_decls_at(graph->decls, at);
                if (deep[at] > graph->depth)
                    graph->depth = deep[at];
                height--;
                continue;
            }
            size_t to = graph->edges[next[at]].to->index;
            if (mark[to] == FRESH) {
                stack[height++] = to; /* this edge is looked at again when it is done */
                continue;
            }
            ok = mark[to] == DONE;
            if (ok && deep[to] + 1 > deep[at])
                deep[at] = deep[to] + 1;
            next[at]++;
        }
    }
    free(mark);
    free(stack);
    free(next);
    free(deep);
    return ok;
}

struct vr_graph *vr_graph_new(struct vr_decls *decls, struct vr_error *err)
{
    struct vr_graph *graph = vr_alloc(sizeof(*graph));
    graph->decls = decls;
    graph->count = vr_decls_count(decls);
    graph->first_edge = vr_alloc((graph->count + 1) * sizeof(*graph->first_edge));
    graph->first_user = vr_alloc((graph->count + 1) * sizeof(*graph->first_user));
    graph->order = vr_alloc(graph->count * sizeof(*graph->order));
    bool ok = collect_edges(graph, err);
    if (ok && !sort(graph)) {
        find_cycle(graph, err);
        ok = false;
    }
    if (!ok) {
        vr_graph_free(graph);
        return NULL;
    }
    collect_users(graph);
    return graph;
}

void vr_graph_free(struct vr_graph *graph)
{
    if (!graph)
        return;
    free(graph->edges);
    free(graph->first_edge);
    free(graph->users);
    free(graph->first_user);
    free(graph->order);
    free(graph);
}

struct vr_decls *vr_graph_decls(const struct vr_graph *graph)
{
    return graph->decls;
}

size_t vr_graph_edge_count(const struct vr_graph *graph, const struct vr_decl *decl)
{
    return graph->first_edge[decl->index + 1] - graph->first_edge[decl->index];
}

const struct vr_edge *vr_graph_edge(const struct vr_graph *graph, const struct vr_decl *decl,
                                    size_t index)
{
    assert(index < vr_graph_edge_count(graph, decl));
    return &graph->edges[graph->first_edge[decl->index] + index];
}

size_t vr_graph_user_count(const struct vr_graph *graph, const struct vr_decl *decl)
{
    return graph->first_user[decl->index + 1] - graph->first_user[decl->index];
}

struct vr_decl *vr_graph_user(const struct vr_graph *graph, const struct vr_decl *decl,
                              size_t index)
{
    assert(index < vr_graph_user_count(graph, decl));
    return graph->users[graph->first_user[decl->index] + index];
}

struct vr_decl *vr_graph_at(const struct vr_graph *graph, size_t index)
{
    assert(index < graph->count);
    return graph->order[index];
}

size_t vr_graph_depth(const struct vr_graph *graph)
{
    return graph->depth;
}

/* As text */

static void quote(struct vr_buf *buf, const char *text)
{
    vr_buf_puts(buf, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            vr_buf_puts(buf, "\\");
        vr_buf_add(buf, text, 1);
    }
    vr_buf_puts(buf, "\"");
}

static const char *label(const struct vr_edge *edge)
{
    return edge->field ? edge->field : edge->item ? "each" : "after";
}

/* "node.cp-1/" of "node.cp-1/ssh.host.host": the component that a declaration is part of. */
static size_t component_length(const char *address)
{
    const char *slash = strrchr(address, '/');
    return slash ? (size_t)(slash - address) + 1 : 0;
}

static int by_component(const void *x, const void *y)
{
    const struct vr_decl *a = *(struct vr_decl *const *)x, *b = *(struct vr_decl *const *)y;
    size_t m = component_length(a->address), n = component_length(b->address);
    int order = memcmp(a->address, b->address, m < n ? m : n);
    if (order == 0 && m != n)
        order = m < n ? -1 : 1;
    return order != 0 ? order : (a->index > b->index) - (a->index < b->index);
}

static void indent(struct vr_buf *buf, size_t depth)
{
    vr_buf_printf(buf, "%*s", (int)(4 * (depth + 1)), "");
}

static size_t depth_of(const char *component, size_t length)
{
    size_t depth = 0;
    for (size_t i = 0; i < length; i++)
        depth += component[i] == '/';
    return depth;
}

/* Ends the subgraphs of one component that the next is not in, and begins those that it is in. */
static void change_component(struct vr_buf *buf, const char *from, size_t from_length,
                             const char *to, size_t to_length)
{
    size_t same = 0;
    for (size_t i = 0; i < from_length && i < to_length && from[i] == to[i]; i++)
        if (to[i] == '/')
            same = i + 1;
    for (size_t depth = depth_of(from, from_length); depth > depth_of(from, same); depth--) {
        indent(buf, depth - 1);
        vr_buf_puts(buf, "}\n");
    }
    for (size_t at = same; at < to_length;) {
        size_t length = strcspn(to + at, "/");
        char *path = vr_format("cluster_%.*s", (int)(at + length), to),
             *name = vr_strndup(to + at, length);
        indent(buf, depth_of(to, at));
        vr_buf_puts(buf, "subgraph ");
        quote(buf, path);
        vr_buf_puts(buf, " {\n");
        indent(buf, depth_of(to, at) + 1);
        vr_buf_puts(buf, "label = ");
        quote(buf, name);
        vr_buf_puts(buf, ";\n");
        free(path);
        free(name);
        at += length + 1;
    }
}

static void put_nodes(struct vr_buf *buf, const struct vr_graph *graph)
{
    struct vr_decl **sorted = vr_alloc((graph->count + 1) * sizeof(struct vr_decl *));
    const char *component = "";
    size_t length = 0;
    for (size_t i = 0; i < graph->count; i++)
        sorted[i] = vr_decls_at(graph->decls, i);
    qsort(sorted, graph->count, sizeof(*sorted), by_component);
    for (size_t i = 0; i < graph->count; i++) {
        const char *address = sorted[i]->address;
        size_t own = component_length(address);
        change_component(buf, component, length, address, own);
        component = address;
        length = own;
        indent(buf, depth_of(component, length));
        quote(buf, address);
        vr_buf_puts(buf, sorted[i]->scope ? " [style = dashed];\n" : ";\n");
    }
    change_component(buf, component, length, "", 0);
    free(sorted);
}

/* Edges go from what is needed to what needs it, as time does. */
char *vr_graph_dot(const struct vr_graph *graph)
{
    struct vr_buf buf = {0};
    vr_buf_puts(&buf, "digraph recipe {\n    rankdir = LR;\n    node [shape = box];\n");
    put_nodes(&buf, graph);
    for (size_t i = 0; i < graph->count; i++) {
        for (size_t e = graph->first_edge[i]; e < graph->first_edge[i + 1]; e++) {
            vr_buf_puts(&buf, "    ");
            quote(&buf, graph->edges[e].to->address);
            vr_buf_puts(&buf, " -> ");
            quote(&buf, vr_decls_at(graph->decls, i)->address);
            vr_buf_puts(&buf, " [label = ");
            quote(&buf, label(&graph->edges[e]));
            vr_buf_puts(&buf, graph->edges[e].field ? "];\n" : ", style = dotted];\n");
        }
    }
    vr_buf_puts(&buf, "}\n");
    return vr_buf_steal(&buf);
}

json_t *vr_graph_json(const struct vr_graph *graph)
{
    json_t *nodes = json_array(), *edges = json_array();
    for (size_t i = 0; i < graph->count; i++) {
        const struct vr_decl *decl = graph->order[i];
        char *place = decl->file ? vr_format("%s:%d", decl->file, decl->line) : NULL;
        json_t *node = json_pack("{ss, ss, ss?}", "address", decl->address, "kind",
                                 decl->kind->name, "place", place);
        size_t component = component_length(decl->address);
        if (component > 0)
            json_object_set_new(node, "component", json_stringn(decl->address, component - 1));
        if (decl->scope)
            json_object_set_new(node, "each", json_string(decl->scope->collection->address));
        json_array_append_new(nodes, node);
        free(place);
    }
    for (size_t i = 0; i < graph->count; i++) {
        const struct vr_decl *decl = graph->order[i];
        for (size_t e = 0; e < vr_graph_edge_count(graph, decl); e++) {
            const struct vr_edge *edge = vr_graph_edge(graph, decl, e);
            json_array_append_new(edges, json_pack("{ss, ss, ss}", "from", decl->address, "to",
                                                   edge->to->address, "field", label(edge)));
        }
    }
    return json_pack("{so, so}", "nodes", nodes, "edges", edges);
}
