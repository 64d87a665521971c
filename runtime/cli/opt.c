#include "cli/opt.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"

static void add_text(struct vr_texts *texts, const char *text)
{
    texts->items = vr_realloc(texts->items, (texts->count + 1) * sizeof(*texts->items));
    texts->items[texts->count++] = text;
}

static bool is_param(const char *word)
{
    if (!isalpha((unsigned char)*word) && *word != '_')
        return false;
    while (isalnum((unsigned char)*word) || *word == '_')
        word++;
    return *word == '=';
}

static const struct vr_opt *find_long(const struct vr_opt *options, const char *name, size_t length)
{
    for (; options->name; options++)
        if (strlen(options->name) == length && strncmp(options->name, name, length) == 0)
            return options;
    return NULL;
}

static const struct vr_opt *find_short(const struct vr_opt *options, char letter)
{
    for (; options->name; options++)
        if (options->letter && options->letter == letter)
            return options;
    return NULL;
}

static bool unknown(const struct vr_opt *options, const char *word, size_t length,
                    struct vr_error *err)
{
    const char *names[64];
    size_t count = 0;
    for (const struct vr_opt *opt = options; opt->name && count < 64; opt++)
        names[count++] = opt->name;
    char *name = vr_strndup(word, length);
    const char *near = vr_text_nearest(name, names, count);
    vr_error_set(err, "usage", "there is no option --%s", name);
    if (near)
        vr_error_hint(err, "did you mean --%s?", near);
    free(name);
    return false;
}

static void store(struct vr_args *args, const struct vr_opt *opt, const char *value)
{
    void *member = (char *)args + opt->offset;
    switch (opt->type) {
    case VR_OPT_FLAG:
        *(bool *)member = true;
        break;
    case VR_OPT_TEXT:
        *(const char **)member = value;
        break;
    case VR_OPT_TEXTS:
        add_text(member, value);
        break;
    case VR_OPT_YES:
        args->yes = true;
        args->yes_stack = value;
        break;
    }
}

static bool wants_value(const struct vr_opt *opt)
{
    return opt->type == VR_OPT_TEXT || opt->type == VR_OPT_TEXTS;
}

/* One word that begins with a dash; *i moves over an argument of its own. */
static bool parse_option(struct vr_args *args, const struct vr_opt *options, int argc, char **argv,
                         int *i, struct vr_error *err)
{
    const char *word = argv[*i], *value = NULL;
    const struct vr_opt *opt;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        opt = find_long(options, word + 2, length);
        if (!opt)
            return unknown(options, word + 2, length, err);
        if (word[2 + length] == '=')
            value = word + 3 + length;
    } else {
        opt = find_short(options, word[1]);
        if (!opt)
            return vr_error_set(err, "usage", "there is no option %s", word);
        if (word[2] && !wants_value(opt))
            return vr_error_set(err, "usage", "there is no option %s; give options one by one",
                                word);
        if (word[2])
            value = word + 2;
    }
    if (wants_value(opt) && !value) {
        if (*i + 1 >= argc)
            return vr_error_set(err, "usage", "--%s wants %s", opt->name, opt->value);
        value = argv[++*i];
    }
    if (opt->type == VR_OPT_FLAG && value)
        return vr_error_set(err, "usage", "--%s takes no argument", opt->name);
    store(args, opt, value);
    return true;
}

bool vr_opt_parse(struct vr_args *args, const struct vr_opt *options, bool params, int argc,
                  char **argv, struct vr_error *err)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--") == 0) {
            for (i++; i < argc; i++)
                add_text(&args->rest, argv[i]);
        } else if (word[0] == '-' && word[1]) {
            if (!parse_option(args, options, argc, argv, &i, err))
                return false;
        } else if (params && args->recipe && is_param(word)) {
            add_text(&args->params, word);
        } else if (!args->recipe) {
            args->recipe = word;
        } else {
            add_text(&args->words, word);
        }
    }
    return true;
}

void vr_opt_free(struct vr_args *args)
{
    struct vr_texts *lists[] = {&args->params,       &args->words,   &args->rest,
                                &args->params_files, &args->unset,   &args->targets,
                                &args->excludes,     &args->replace, &args->groups,
                                &args->policies,     &args->parallel};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        free(lists[i]->items);
    *args = (struct vr_args){0};
}

void vr_opt_help(const struct vr_opt *options)
{
    for (; options->name; options++) {
        char head[64], letter[8] = "    ";
        if (options->letter)
            snprintf(letter, sizeof(letter), "-%c, ", options->letter);
        const char *value = options->type == VR_OPT_YES ? "[=STACK]"
                            : options->value            ? options->value
                                                        : "";
        snprintf(head, sizeof(head), "%s--%s%s%s", letter, options->name,
                 *value && *value != '[' ? " " : "", value);
        printf("  %-28s %s\n", head, options->help);
    }
}
