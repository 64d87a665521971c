#include "cli/diff.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { MOST_CELLS = 4 << 20, CONTEXT = 3 };

struct line {
    const char *text;
    size_t length;
};

struct lines {
    struct line *items;
    size_t count;
};

static struct lines split(const char *text)
{
    struct lines lines = {0};
    while (*text) {
        size_t length = strcspn(text, "\n");
        lines.items = vr_realloc(lines.items, (lines.count + 1) * sizeof(*lines.items));
        lines.items[lines.count++] = (struct line){text, length};
        text += length + (text[length] == '\n');
    }
    return lines;
}

static bool same(struct line a, struct line b)
{
    return a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
}

/* An edit of the first text: keep (' '), drop ('-') or add ('+') a line. */
struct edit {
    char sign;
    struct line line;
};

struct edits {
    struct edit *items;
    size_t count;
};

static void add(struct edits *edits, char sign, struct line line)
{
    edits->items[edits->count++] = (struct edit){sign, line};
}

/* The middle, where the texts differ: the longest common subsequence, else all of both. */
static void add_middle(struct edits *edits, struct line *a, size_t n, struct line *b, size_t m)
{
    unsigned *table =
        n && m && n * m <= MOST_CELLS ? vr_alloc((n + 1) * (m + 1) * sizeof(*table)) : NULL;
    if (table) {
        for (size_t i = n; i-- > 0;)
            for (size_t j = m; j-- > 0;) {
                unsigned down = table[(i + 1) * (m + 1) + j], right = table[i * (m + 1) + j + 1];
                table[i * (m + 1) + j] = same(a[i], b[j]) ? table[(i + 1) * (m + 1) + j + 1] + 1
                                         : down > right   ? down
                                                          : right;
            }
    }
    size_t i = 0, j = 0;
    while (i < n || j < m) {
        if (table && i < n && j < m && same(a[i], b[j])) {
            add(edits, ' ', a[i]);
            i++;
            j++;
        } else if (i < n && (j >= m || !table ||
                             table[(i + 1) * (m + 1) + j] >= table[i * (m + 1) + j + 1])) {
            add(edits, '-', a[i++]);
        } else {
            add(edits, '+', b[j++]);
        }
    }
    free(table);
}

/* Where the hunk that begins at `from` ends: behind its last change and the lines after that. */
static size_t hunk_end(const struct edits *edits, size_t from)
{
    size_t end = from;
    for (size_t i = from; i < edits->count && i <= end + 2 * CONTEXT + 1; i++)
        if (edits->items[i].sign != ' ')
            end = i;
    return end + CONTEXT < edits->count ? end + CONTEXT + 1 : edits->count;
}

static void put_range(struct vr_buf *out, char sign, size_t before, size_t count)
{
    vr_buf_printf(out, " %c%zu", sign, count > 0 ? before + 1 : before);
    if (count != 1)
        vr_buf_printf(out, ",%zu", count);
}

/* As `diff -u` writes hunks. */
static void put_hunks(struct vr_buf *out, const struct edits *edits, int indent)
{
    size_t olds = 0, news = 0, at = 0;
    while (at < edits->count) {
        size_t change = at;
        while (change < edits->count && edits->items[change].sign == ' ')
            change++;
        if (change == edits->count)
            return;
        size_t from = change > at + CONTEXT ? change - CONTEXT : at, end = hunk_end(edits, change);
        olds += from - at;
        news += from - at;
        size_t dropped = 0, added = 0;
        for (size_t i = from; i < end; i++) {
            dropped += edits->items[i].sign != '+';
            added += edits->items[i].sign != '-';
        }
        vr_buf_printf(out, "%*s@@", indent, "");
        put_range(out, '-', olds, dropped);
        put_range(out, '+', news, added);
        vr_buf_puts(out, " @@\n");
        for (size_t i = from; i < end; i++) {
            const struct edit *edit = &edits->items[i];
            vr_buf_printf(out, "%*s%c%.*s\n", indent, "", edit->sign, (int)edit->line.length,
                          edit->line.text);
        }
        olds += dropped;
        news += added;
        at = end;
    }
}

void vr_diff_lines(struct vr_buf *out, const char *before, const char *after, int indent)
{
    struct lines a = split(before), b = split(after);
    struct edits edits = {.items = vr_alloc((a.count + b.count + 1) * sizeof(*edits.items))};
    size_t head = 0, tail = 0;
    while (head < a.count && head < b.count && same(a.items[head], b.items[head]))
        head++;
    while (tail < a.count - head && tail < b.count - head &&
           same(a.items[a.count - 1 - tail], b.items[b.count - 1 - tail]))
        tail++;
    for (size_t i = 0; i < head; i++)
        add(&edits, ' ', a.items[i]);
    add_middle(&edits, a.items + head, a.count - head - tail, b.items + head,
               b.count - head - tail);
    for (size_t i = a.count - tail; i < a.count; i++)
        add(&edits, ' ', a.items[i]);
    put_hunks(out, &edits, indent);
    if (head == a.count && head == b.count)
        vr_buf_printf(out, "%*s(only the last line end differs)\n", indent, "");
    free(edits.items);
    free(a.items);
    free(b.items);
}
