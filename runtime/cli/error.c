#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mask.h"
#include "base/text.h"
#include "cli/cli.h"

static void put_masked(const char *text)
{
    char *masked = vr_masked(text, strlen(text));
    fputs(masked, stderr);
    free(masked);
}

static void put_source(const struct vr_error *err)
{
    char *excerpt = vr_text_excerpt(err->file, err->line, err->column, err->width);
    if (excerpt)
        put_masked(excerpt);
    free(excerpt);
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
