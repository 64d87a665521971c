/* A plan as text: what goes first, then what is made and changed, each with its reason and its
 * values. Nodes that are the same but for the member that they belong to are told once. */
#include "cli/show.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/map.h"
#include "cli/diff.h"
#include "engine/expr.h"

enum { WIDEST = 100, LONGEST_TEXT = 400, INDENT = 6 };

struct style {
    const char *sign, *color, *verb;
};

static const struct style styles[] = {
    [VR_ACTION_NOOP] = {" ", "", "is as it should be"},
    [VR_ACTION_READ] = {">", "\033[36m", "read during apply"},
    [VR_ACTION_ADOPT] = {">", "\033[36m", "adopt"},
    [VR_ACTION_CREATE] = {"+", "\033[32m", "create"},
    [VR_ACTION_UPDATE] = {"~", "\033[33m", "change"},
    [VR_ACTION_REPLACE] = {"±", "\033[35m", "replace"},
    [VR_ACTION_DELETE] = {"-", "\033[31m", "destroy"},
    [VR_ACTION_FORGET] = {".", "\033[36m", "forget"},
    [VR_ACTION_ADD] = {"+", "\033[32m", "add"},
    [VR_ACTION_REMOVE] = {"-", "\033[31m", "remove"},
    [VR_ACTION_UNKNOWN] = {"?", "\033[33m", "unknown"},
};

/* --- values --- */

static void put_text(struct vr_buf *out, const char *text)
{
    json_t *string = json_string(text);
    char *quoted = json_dumps(string, JSON_ENCODE_ANY);
    json_decref(string);
    const char *newline = strchr(text, '\n');
    if (!newline && strlen(quoted) <= LONGEST_TEXT) {
        vr_buf_puts(out, quoted);
    } else {
        size_t lines = 0;
        for (const char *at = text; (at = strchr(at, '\n')); at++)
            lines++;
        lines += *text && text[strlen(text) - 1] != '\n';
        size_t first = strcspn(text, "\n");
        if (first > 40)
            first = 40;
        while (first > 0 && ((unsigned char)text[first] & 0xc0) == 0x80)
            first--;
        vr_buf_printf(out, "\"%.*s...\" (%zu %s, %zu bytes)", (int)first, text, lines,
                      lines == 1 ? "line" : "lines", strlen(text));
    }
    free(quoted);
}

static void put_value(struct vr_buf *out, const json_t *value, int indent);

static void put_parts(struct vr_buf *out, const json_t *value, int indent, bool wide)
{
    bool array = json_is_array(value);
    size_t n = 0;
    const char *gap = wide ? "\n" : "";
    vr_buf_puts(out, array ? "[" : "{");
    const char *key = NULL;
    json_t *item;
    size_t size = array ? json_array_size(value) : json_object_size(value);
    void *iter = array ? NULL : json_object_iter((json_t *)value);
    for (size_t i = 0; i < size; i++) {
        if (array) {
            item = json_array_get(value, i);
        } else {
            key = json_object_iter_key(iter);
            item = json_object_iter_value(iter);
            iter = json_object_iter_next((json_t *)value, iter);
        }
        vr_buf_puts(out, n++ ? "," : "");
        vr_buf_puts(out, gap);
        if (wide)
            vr_buf_printf(out, "%*s", indent + 2, "");
        else
            vr_buf_puts(out, n > 1 || !array ? " " : "");
        if (key)
            vr_buf_printf(out, "%s = ", key);
        put_value(out, item, indent + 2);
    }
    if (wide && n)
        vr_buf_printf(out, "\n%*s", indent, "");
    else if (!array && n)
        vr_buf_puts(out, " ");
    vr_buf_puts(out, array ? "]" : "}");
}

static void put_value(struct vr_buf *out, const json_t *value, int indent)
{
    if (!value || json_is_null(value)) {
        vr_buf_puts(out, "null");
    } else if (vr_is_unknown(value)) {
        vr_buf_puts(out, "(known after apply)");
    } else if (vr_is_secret(value) || json_object_get(value, "$digest")) {
        vr_buf_puts(out, "(secret)");
    } else if (json_is_object(value) && json_is_string(json_object_get(value, "$ref"))) {
        vr_buf_puts(out, json_string_value(json_object_get(value, "$ref")));
    } else if (json_is_string(value)) {
        put_text(out, json_string_value(value));
    } else if (json_is_array(value) || json_is_object(value)) {
        struct vr_buf line = {0};
        put_parts(&line, value, indent, false);
        if (line.length <= WIDEST)
            vr_buf_add(out, line.data, line.length);
        else
            put_parts(out, value, indent, true);
        vr_buf_free(&line);
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        vr_buf_puts(out, text);
        free(text);
    }
}

char *vr_show_value(const json_t *value, int indent)
{
    struct vr_buf out = {0};
    put_value(&out, value, indent);
    return vr_buf_steal(&out);
}

/* --- one node --- */

static const char *mark_of(const struct vr_change *change)
{
    if (change->why == VR_WHY_OUTSIDE)
        return " (changed outside)";
    return change->why == VR_WHY_BOTH ? " (changed in the recipe and outside)" : "";
}

static void put_change(struct vr_buf *out, const struct vr_change *change)
{
    vr_buf_printf(out, "%*s%s%s%s: ", INDENT, "", change->path, mark_of(change),
                  change->replace ? " (forces replacement)" : "");
    const json_t *before = change->before, *after = change->after;
    bool texts = json_is_string(before) && json_is_string(after) && !change->secret;
    if (texts &&
        (strchr(json_string_value(before), '\n') || strchr(json_string_value(after), '\n'))) {
        out->data[--out->length] = '\0'; /* the blank */
        vr_buf_puts(out, "\n");
        vr_diff_lines(out, json_string_value(before), json_string_value(after), INDENT + 2);
        return;
    } else if (change->secret && !vr_is_unknown(after)) {
        vr_buf_puts(out, before && after ? "(secret) changed"
                         : before        ? "(secret) goes"
                                         : "(secret)");
    } else if (!before) {
        put_value(out, after, INDENT);
    } else {
        put_value(out, before, INDENT);
        vr_buf_puts(out, " -> ");
        if (after)
            put_value(out, after, INDENT);
        else
            vr_buf_puts(out, "(goes)");
    }
    vr_buf_puts(out, "\n");
}

/* A new thing has no changes: its fields are shown as they were declared. */
static void put_fields(struct vr_buf *out, const struct vr_plan *plan, const struct vr_node *node)
{
    json_t *value = vr_plan_value(plan, node);
    for (size_t i = 0; i < node->decl->field_count; i++) {
        const struct vr_decl_field *field = &node->decl->fields[i];
        const struct vr_field *known = vr_kind_field(node->kind, field->name);
        vr_buf_printf(out, "%*s%s = ", INDENT, "", field->name);
        if (field->expr->type == VR_EXPR_REF && json_array_size(field->expr->path) == 0) {
            vr_buf_puts(out, field->expr->decl->address);
        } else if ((known && known->flags & VR_FIELD_SECRET) || vr_expr_tainted(field->expr)) {
            vr_buf_puts(out, "(secret)");
        } else {
            put_value(out, json_object_get(value, field->name), INDENT);
        }
        vr_buf_puts(out, "\n");
    }
    json_decref(value);
}

static bool is_outside(const struct vr_change *change)
{
    return change->why == VR_WHY_OUTSIDE || change->why == VR_WHY_BOTH;
}

static bool only_drifted(const struct vr_node *node)
{
    return node->action == VR_ACTION_NOOP && vr_node_drifted(node);
}

/* What stands on the same member is told by its template alone, so that members fold. */
static char *without_member(char *text, const struct vr_node *node)
{
    if (!node->parent || !node->template_address)
        return text;
    char *prefix = vr_format("%s/", node->parent->address);
    size_t length = strlen(prefix);
    for (char *at = text; (at = strstr(at, prefix));)
        memmove(at, at + length, strlen(at + length) + 1);
    free(prefix);
    return text;
}

static char *body_of(const struct vr_plan *plan, const struct vr_node *node)
{
    struct vr_buf out = {0};
    for (size_t i = 0; i < node->change_count; i++)
        if (!only_drifted(node) || is_outside(&node->changes[i]))
            put_change(&out, &node->changes[i]);
    if (node->change_count == 0 && node->action == VR_ACTION_CREATE && node->decl)
        put_fields(&out, plan, node);
    if (node->action == VR_ACTION_UNKNOWN && node->error.message)
        vr_buf_printf(&out, "%*s%s\n", INDENT, "", node->error.message);
    return without_member(vr_buf_steal(&out), node);
}

char *vr_show_node(const struct vr_plan *plan, const struct vr_node *node)
{
    return body_of(plan, node);
}

/* Two addresses that differ in one pair of brackets, as a range: `a.instances[1..9]/b`. */
static char *range(const char *first, const char *last)
{
    size_t at = 0, open;
    while (first[at] && first[at] == last[at])
        at++;
    for (open = at; open > 0 && first[open] != '['; open--) {
    }
    const char *a = strchr(first + at, ']'), *b = strchr(last + at, ']');
    if (first[open] != '[' || !a || !b)
        return vr_format("%s .. %s", first, last);
    return vr_format("%.*s..%.*s%s", (int)(a - first), first, (int)(b - last - (ptrdiff_t)open - 1),
                     last + open + 1, a);
}

static void put_head(FILE *out, const struct vr_node *node, size_t same, const char *last,
                     bool color)
{
    static const struct style drifted = {"!", "\033[33m", "drifted"};
    const struct style *style = only_drifted(node) ? &drifted : &styles[node->action];
    const char *on = color ? style->color : "", *off = color && *on ? "\033[0m" : "";
    char *address = same > 1 ? range(node->address, last) : vr_strdup(node->address);
    fprintf(out, "  %s%s %s%s", on, style->sign, address, off);
    free(address);
    if (node->action == VR_ACTION_ADD && node->add > 0)
        fprintf(out, ": %s %zu", style->verb, node->add);
    else
        fprintf(out, ": %s", style->verb);
    if (same > 1)
        fprintf(out, " %zu alike", same);
    if (node->reason)
        fprintf(out, " (%s)", node->reason);
    if (node->status)
        fprintf(out, " [%s]", node->status);
    if (node->moved_from)
        fprintf(out, " [was %s]", node->moved_from);
    if (node->certainty != VR_EXACT)
        fprintf(out, " -- %s", vr_certainty_name(node->certainty));
    fputc('\n', out);
}

/* --- folding --- */

static bool is_shown(const struct vr_node *node)
{
    return node->action != VR_ACTION_NOOP || node->moved_from || vr_node_drifted(node);
}

static bool text_equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Nodes of one template, or members of one collection, that do the same for the same reason. */
static bool folds(const struct vr_node *a, const char *a_body, const struct vr_node *b,
                  const char *b_body)
{
    bool kin = a->template_address ? text_equal(a->template_address, b->template_address)
                                   : !b->template_address && a->parent && a->parent == b->parent &&
                                         !a->decl && !b->decl;
    return kin && a->action == b->action && a->certainty == b->certainty &&
           text_equal(a->reason, b->reason) && text_equal(a->status, b->status) &&
           text_equal(a_body, b_body);
}

/* For each node the next one that it could fold with, or SIZE_MAX: others need not be compared. */
static size_t *chain_kin(const struct vr_plan *plan, size_t count)
{
    size_t *next = vr_alloc((count + 1) * sizeof(*next));
    struct vr_map firsts = {0}; /* by template or parent: its place in `next` */
    for (size_t i = count; i-- > 0;) {
        const struct vr_node *node = vr_plan_at(plan, i);
        const char *key = node->template_address        ? node->template_address
                          : node->parent && !node->decl ? node->parent->address
                                                        : NULL;
        next[i] = SIZE_MAX;
        if (!key || !is_shown(node))
            continue;
        size_t *before = vr_map_set(&firsts, key, &next[i]);
        if (before)
            next[i] = (size_t)(before - next);
    }
    vr_map_free(&firsts);
    return next;
}

static void show_nodes(FILE *out, const struct vr_plan *plan, bool color)
{
    size_t count = vr_plan_count(plan), *next = chain_kin(plan, count);
    char **bodies = vr_alloc((count + 1) * sizeof(*bodies));
    bool *told = vr_alloc((count + 1) * sizeof(*told));
    for (size_t i = 0; i < count; i++)
        bodies[i] = is_shown(vr_plan_at(plan, i)) ? body_of(plan, vr_plan_at(plan, i)) : NULL;
    for (size_t i = 0; i < count; i++) {
        const struct vr_node *node = vr_plan_at(plan, i);
        if (told[i] || !is_shown(node))
            continue;
        size_t same = 1;
        const char *last = NULL;
        for (size_t k = next[i]; k != SIZE_MAX; k = next[k]) {
            const struct vr_node *other = vr_plan_at(plan, k);
            if (told[k] || !folds(node, bodies[i], other, bodies[k]))
                continue;
            told[k] = true;
            same++;
            last = other->address;
        }
        put_head(out, node, same, last, color);
        fputs(bodies[i], out);
    }
    for (size_t i = 0; i < count; i++)
        free(bodies[i]);
    free(bodies);
    free(told);
    free(next);
}

/* Who is stale and stays, or waits: told, though there is nothing to do. */
static void show_stale(FILE *out, const struct vr_plan *plan)
{
    bool acts = !vr_plan_summary(plan).refresh_only;
    for (size_t i = 0; i < vr_plan_count(plan); i++) {
        const struct vr_node *node = vr_plan_at(plan, i);
        bool goes = node->action == VR_ACTION_REMOVE || node->action == VR_ACTION_REPLACE ||
                    node->action == VR_ACTION_DELETE;
        if (node->stale && !goes)
            fprintf(out, "stale, and %s: %s (%s)\n",
                    acts && vr_node_waits(node) ? "replaced when this is done" : "stays",
                    node->address, node->stale);
    }
}

static void show_sums(FILE *out, const struct vr_plan *plan)
{
    struct vr_plan_summary sum = vr_plan_summary(plan);
    if (sum.left_out)
        fprintf(out, "%zu left out by --target or --exclude.\n", sum.left_out);
    if (sum.unknown)
        fprintf(out, "%zu unknown: nothing is planned for them.\n", sum.unknown);
    if (sum.refresh_only && sum.drifted)
        fprintf(out, "%zu changed outside, of which %zu deleted.\n", sum.drifted, sum.forget);
    if (vr_plan_empty(plan)) {
        if (!sum.refresh_only || !sum.drifted)
            fputs("No changes.\n", out);
        return;
    }
    if (sum.adopt || sum.forget)
        fprintf(out, "%zu to adopt, %zu to forget.\n", sum.adopt, sum.forget);
    fprintf(out, "%zu exact, %zu predicted, %zu known after apply.\n", sum.exact, sum.predicted,
            sum.later);
    fprintf(out, "Plan: %zu to add, %zu to change, %zu to destroy.\n", sum.add, sum.change,
            sum.destroy);
}

void vr_show_plan(FILE *out, const struct vr_plan *plan, bool color)
{
    show_nodes(out, plan, color);
    show_stale(out, plan);
    show_sums(out, plan);
}
