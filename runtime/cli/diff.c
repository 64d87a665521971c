#include "cli/diff.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { MOST_CELLS = 4 << 20 };

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

static void put(struct vr_buf *out, int indent, char sign, struct line line)
{
    vr_buf_printf(out, "%*s%c %.*s\n", indent, "", sign, (int)line.length, line.text);
}

/* The middle, where the texts differ: the longest common subsequence, else all of both. */
static void put_middle(struct vr_buf *out, struct line *a, size_t n, struct line *b, size_t m,
                       int indent)
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
            put(out, indent, ' ', a[i]);
            i++;
            j++;
        } else if (i < n && (j >= m || !table ||
                             table[(i + 1) * (m + 1) + j] >= table[i * (m + 1) + j + 1])) {
            put(out, indent, '-', a[i++]);
        } else {
            put(out, indent, '+', b[j++]);
        }
    }
    free(table);
}

void vr_diff_lines(struct vr_buf *out, const char *before, const char *after, int indent)
{
    struct lines a = split(before), b = split(after);
    size_t head = 0, tail = 0;
    while (head < a.count && head < b.count && same(a.items[head], b.items[head]))
        head++;
    while (tail < a.count - head && tail < b.count - head &&
           same(a.items[a.count - 1 - tail], b.items[b.count - 1 - tail]))
        tail++;
    if (head > 0)
        put(out, indent, ' ', a.items[head - 1]);
    put_middle(out, a.items + head, a.count - head - tail, b.items + head, b.count - head - tail,
               indent);
    if (tail > 0)
        put(out, indent, ' ', a.items[a.count - tail]);
    if (head == a.count && head == b.count)
        vr_buf_printf(out, "%*s(only the last line end differs)\n", indent, "");
    free(a.items);
    free(b.items);
}
