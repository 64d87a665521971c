#include "base/text.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

enum { LONGEST = 64 }; /* longer names are not guessed at */

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Edits that make a into b: insert, delete, change a letter, swap two neighbours. Case does not
 * count. */
static size_t distance(const char *a, size_t m, const char *b, size_t n)
{
    size_t rows[3][LONGEST + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= n; j++)
        last[j] = j;
    for (size_t i = 1; i <= m; i++) {
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            row[j] = smallest(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]))
                row[j] = smallest(row[j], before[j - 2] + 1, row[j]);
        }
        size_t *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[n];
}

const char *vr_text_nearest(const char *name, const char *const *candidates, size_t count)
{
    size_t length = strlen(name);
    if (length > LONGEST)
        return NULL;
    const char *nearest = NULL;
    size_t best = length > 1 ? (length + 2) / 3 + 1 : 1; /* one more than may differ */
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(candidates[i]);
        if (n > LONGEST || (n > length ? n - length : length - n) >= best)
            continue;
        size_t edits = distance(name, length, candidates[i], n);
        if (edits < best) {
            best = edits;
            nearest = candidates[i];
        }
    }
    return nearest;
}

/* A line of a file, without its end; the caller frees. NULL when there is none. */
static char *source_line(const char *path, int number)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return NULL;
    char *line = NULL;
    size_t room = 0;
    ssize_t length = -1;
    for (int i = 0; i < number; i++)
        if ((length = getline(&line, &room, file)) < 0)
            break;
    fclose(file);
    if (length < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

static bool begins_letter(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80; /* of UTF-8 */
}

static void add_carets(struct vr_buf *out, const char *line, size_t before, size_t width)
{
    vr_buf_puts(out, "    ");
    for (size_t i = 0; i < before; i++) {
        if (begins_letter(line[i]))
            vr_buf_puts(out, line[i] == '\t' ? "\t" : " ");
    }
    for (size_t i = before; i < before + width && line[i]; i++) {
        if (begins_letter(line[i]))
            vr_buf_puts(out, "^");
    }
    vr_buf_puts(out, "\n");
}

char *vr_text_excerpt(const char *path, int line, int column, int width)
{
    char *text = path && line > 0 ? source_line(path, line) : NULL;
    if (!text)
        return NULL;
    struct vr_buf out = {0};
    vr_buf_printf(&out, "    %s\n", text);
    if (column > 0 && (size_t)column <= strlen(text))
        add_carets(&out, text, (size_t)column - 1, width > 0 ? (size_t)width : 1);
    free(text);
    return vr_buf_steal(&out);
}

double vr_text_seconds(const char *text)
{
    static const struct {
        char unit;
        double seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *end;
    if (!isdigit((unsigned char)*text))
        return -1;
    double number = strtod(text, &end);
    if (!*end)
        return number;
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
        if (end[0] == units[i].unit && !end[1])
            return number * units[i].seconds;
    return -1;
}

int vr_text_compare_versions(const char *a, const char *b)
{
    while (*a || *b) {
        char *end_a, *end_b;
        unsigned long x = strtoul(a, &end_a, 10), y = strtoul(b, &end_b, 10);
        if (x != y)
            return x < y ? -1 : 1;
        a = *end_a == '.' ? end_a + 1 : "";
        b = *end_b == '.' ? end_b + 1 : "";
    }
    return 0;
}
