#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/cli.h"

static void put_masked(const char *text)
{
    char *masked = vr_log_masked(text, strlen(text));
    fputs(masked, stderr);
    free(masked);
}

/* A line of a file, without its end; the caller frees. NULL when it cannot be read. */
static char *source_line(const char *path, int number)
{
    FILE *file = fopen(path, "r");
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

/* Columns are bytes; carets stand under letters. */
static size_t letters(const char *text, size_t bytes)
{
    size_t count = 0;
    for (size_t i = 0; i < bytes && text[i]; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static void put_source(const struct vr_error *err)
{
    if (!err->file || err->line <= 0)
        return;
    char *line = source_line(err->file, err->line);
    if (!line)
        return;
    fprintf(stderr, "    %s\n", line);
    size_t length = strlen(line), before = err->column > 0 ? (size_t)err->column - 1 : 0;
    if (err->column > 0 && before < length) {
        fputs("    ", stderr);
        for (size_t i = 0; i < before; i++) {
            if (line[i] == '\t')
                fputc('\t', stderr);
            else if (((unsigned char)line[i] & 0xc0) != 0x80)
                fputc(' ', stderr);
        }
        size_t width = letters(line + before, err->width > 0 ? (size_t)err->width : 1);
        for (size_t i = 0; i < width; i++)
            fputc('^', stderr);
        fputc('\n', stderr);
    }
    free(line);
}

void vr_cli_error(const struct vr_error *err)
{
    if (err->file && err->line > 0)
        fprintf(stderr, "%s:%d: ", err->file, err->line);
    else if (err->file)
        fprintf(stderr, "%s: ", err->file);
    else
        fputs("vmrun: ", stderr);
    put_masked(err->message ? err->message : "failed");
    fputc('\n', stderr);
    put_source(err);
    if (err->hint) {
        fputs("    ", stderr);
        put_masked(err->hint);
        fputc('\n', stderr);
    }
}
