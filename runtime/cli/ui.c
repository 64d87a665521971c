#include "cli/ui.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mask.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "engine/expr.h"
#include "net/loop.h"
#include "script/terminal.h"

enum { SHOWN_RUNNING = 8 };
static const double FRAME = 0.2;

struct running {
    const struct vr_node *node;
    enum vr_verb verb;
    uint64_t since;
    char *text; /* of its last progress, or NULL */
    struct running *next;
};

struct vr_ui {
    struct vr_loop *loop;
    bool json, color, live, terminal, quiet;
    const char *phase; /* NULL: nothing goes on */
    uint64_t began;
    size_t done, running, total;
    struct running *steps, **steps_end;
    struct vr_timer *timer;
    size_t drawn; /* lines of the live view on the screen */
};

struct vr_ui *vr_ui_new(struct vr_loop *loop, bool json, bool no_color)
{
    struct vr_ui *ui = vr_alloc(sizeof(*ui));
    const char *variable = getenv("NO_COLOR"), *term = getenv("TERM");
    bool out = isatty(STDOUT_FILENO) && !(term && strcmp(term, "dumb") == 0);
    ui->loop = loop;
    ui->json = json;
    ui->terminal = out && isatty(STDIN_FILENO);
    ui->live = out && !json;
    ui->color = ui->live && !no_color && !(variable && *variable);
    ui->steps_end = &ui->steps;
    return ui;
}

void vr_ui_free(struct vr_ui *ui)
{
    if (!ui)
        return;
    vr_ui_end(ui);
    free(ui);
}

bool vr_ui_terminal(const struct vr_ui *ui)
{
    return ui->terminal;
}

bool vr_ui_json(const struct vr_ui *ui)
{
    return ui->json;
}

/* While something runs what was said is written out before the loop waits: thousands of steps may
 * end in one turn. */
static void show_now(const struct vr_ui *ui)
{
    if (!ui->phase)
        fflush(stdout);
}

static void write_out(void *payload)
{
    (void)payload;
    fflush(stdout);
    vr_log_flush();
}

/* --- the live view --- */

/* While a person is asked something, what stands above is left alone. */
static void erase(struct vr_ui *ui)
{
    if (ui->drawn > 0 && !vr_terminal_taken())
        printf("\033[%zuA\033[J", ui->drawn);
    ui->drawn = 0;
}

static size_t width_of_screen(void)
{
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/* A line cut to the screen: a wrapped one could not be erased. */
static void put_cut(const char *text, size_t width)
{
    size_t letters = 0, bytes = 0;
    while (text[bytes] && letters < width - 1) {
        bytes++;
        while (((unsigned char)text[bytes] & 0xc0) == 0x80)
            bytes++;
        letters++;
    }
    printf("%.*s\n", (int)bytes, text);
}

static void draw(struct vr_ui *ui)
{
    size_t width = width_of_screen(), shown = 0, hidden = 0;
    uint64_t now = vr_loop_now(ui->loop);
    char *line = vr_format("%s: %zu of %zu done, %zu running, %llu s", ui->phase, ui->done,
                           ui->total, ui->running, (unsigned long long)(now - ui->began) / 1000);
    put_cut(line, width);
    free(line);
    ui->drawn = 1;
    for (struct running *step = ui->steps; step; step = step->next) {
        if (shown == SHOWN_RUNNING) {
            hidden++;
            continue;
        }
        line = vr_format("  %s: %s, %llu s%s%s", step->node->address, vr_verb_name(step->verb),
                         (unsigned long long)(now - step->since) / 1000, step->text ? ": " : "",
                         step->text ? step->text : "");
        put_cut(line, width);
        free(line);
        shown++;
    }
    ui->drawn += shown;
    if (hidden > 0) {
        printf("  and %zu more\n", hidden);
        ui->drawn++;
    }
    fflush(stdout);
}

static void frame(void *payload)
{
    struct vr_ui *ui = payload;
    erase(ui);
    if (!vr_terminal_taken())
        draw(ui);
    ui->timer = vr_timer_start(ui->loop, FRAME, frame, ui);
}

void vr_ui_begin(struct vr_ui *ui, const char *phase, bool quiet)
{
    ui->phase = phase;
    ui->quiet = quiet;
    ui->began = vr_loop_now(ui->loop);
    vr_loop_before_wait(ui->loop, write_out, NULL);
    ui->done = ui->running = ui->total = 0;
    if (ui->live)
        ui->timer = vr_timer_start(ui->loop, FRAME, frame, ui);
}

void vr_ui_end(struct vr_ui *ui)
{
    vr_timer_cancel(ui->timer);
    ui->timer = NULL;
    if (ui->live)
        erase(ui);
    vr_loop_before_wait(ui->loop, NULL, NULL);
    write_out(NULL);
    for (struct running *step = ui->steps, *next; step; step = next) {
        next = step->next;
        free(step->text);
        free(step);
    }
    ui->steps = NULL;
    ui->steps_end = &ui->steps;
    ui->phase = NULL;
}

/* --- lines and events --- */

void vr_ui_say(struct vr_ui *ui, const char *format, ...)
{
    if (ui->json)
        return;
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        text = vr_strdup(format);
    va_end(args);
    erase(ui);
    char *masked = vr_masked(text, strlen(text));
    puts(masked);
    free(masked);
    free(text);
    show_now(ui);
}

void vr_ui_event(struct vr_ui *ui, const char *name, json_t *event)
{
    if (ui->json) {
        json_t *line = json_pack("{s:s}", "event", name);
        json_object_update(line, event);
        char *text = json_dumps(line, JSON_COMPACT);
        if (text) {
            char *masked = vr_masked(text, strlen(text));
            puts(masked);
            free(masked);
        }
        free(text);
        json_decref(line);
        show_now(ui);
    }
    json_decref(event);
}

/* --- what the engine tells --- */

static struct running **find(struct vr_ui *ui, const struct vr_node *node)
{
    struct running **at = &ui->steps;
    while (*at && (*at)->node != node)
        at = &(*at)->next;
    return at;
}

static void drop(struct vr_ui *ui, const struct vr_node *node)
{
    struct running **at = find(ui, node), *step = *at;
    if (!step)
        return;
    *at = step->next;
    if (ui->steps_end == &step->next)
        ui->steps_end = at;
    free(step->text);
    free(step);
}

static void on_totals(void *payload, size_t done, size_t running, size_t total)
{
    struct vr_ui *ui = payload;
    ui->done = done;
    ui->running = running;
    ui->total = total;
}

static const char *address_of(const struct vr_node *node)
{
    return node->address ? node->address : "?";
}

static void on_started(void *payload, const struct vr_node *node, enum vr_verb verb)
{
    struct vr_ui *ui = payload;
    struct running *step = vr_alloc(sizeof(*step));
    step->node = node;
    step->verb = verb;
    step->since = vr_loop_now(ui->loop);
    *ui->steps_end = step;
    ui->steps_end = &step->next;
    vr_log(VR_LOG_INFO, "%s: %s begins", address_of(node), vr_verb_name(verb));
    if (ui->quiet)
        return;
    if (ui->json)
        vr_ui_event(
            ui, "started",
            json_pack("{s:s, s:s}", "address", address_of(node), "verb", vr_verb_name(verb)));
}

static void on_progress(void *payload, const struct vr_node *node, enum vr_verb verb,
                        const char *text, bool said)
{
    struct vr_ui *ui = payload;
    struct running *step = *find(ui, node);
    vr_log(VR_LOG_INFO, "%s: %s%s %s", address_of(node), vr_verb_name(verb), said ? " |" : ":",
           text);
    if (step) {
        free(step->text);
        step->text = vr_masked(text, strlen(text));
    }
    if (!ui->quiet && !ui->live && !said)
        vr_ui_say(ui, "  %s: %s", address_of(node), text);
    if (ui->json)
        vr_ui_event(ui, said ? "output" : "progress",
                    json_pack("{s:s, s:s, s:s}", "address", address_of(node), "verb",
                              vr_verb_name(verb), "text", text));
}

static const char *past(enum vr_verb verb)
{
    static const char *const words[] = {
        [VR_VERB_READ] = "read",         [VR_VERB_CREATE] = "created",
        [VR_VERB_UPDATE] = "changed",    [VR_VERB_DELETE] = "destroyed",
        [VR_VERB_ADD] = "members added", [VR_VERB_REMOVE] = "removed",
    };
    return words[verb];
}

static void on_done(void *payload, const struct vr_node *node, enum vr_verb verb, double seconds)
{
    struct vr_ui *ui = payload;
    drop(ui, node);
    vr_log(VR_LOG_INFO, "%s: %s ended after %.3f s", address_of(node), vr_verb_name(verb), seconds);
    if (ui->quiet)
        return;
    vr_ui_say(ui, "  %s: %s (%.1f s)", address_of(node), past(verb), seconds);
    if (ui->json)
        vr_ui_event(ui, "done",
                    json_pack("{s:s, s:s, s:f}", "address", address_of(node), "verb",
                              vr_verb_name(verb), "seconds", seconds));
}

static void on_failed(void *payload, const struct vr_node *node, enum vr_verb verb,
                      const struct vr_error *err)
{
    struct vr_ui *ui = payload;
    drop(ui, node);
    const char *message = err->message ? err->message : "failed";
    char *masked = vr_masked(message, strlen(message));
    vr_log(ui->quiet ? VR_LOG_INFO : VR_LOG_WARN, "%s: %s failed: %s", address_of(node),
           vr_verb_name(verb), masked);
    if (!ui->quiet) {
        erase(ui);
        fflush(stdout);
        struct vr_error told = {0};
        vr_error_copy(&told, err);
        vr_error_set(&told, err->code, "%s: %s failed: %s", address_of(node), vr_verb_name(verb),
                     masked);
        if (err->hint)
            vr_error_hint(&told, "%s", err->hint);
        if (node->file && node->line > 0)
            vr_error_place(&told, node->file, node->line);
        vr_cli_error(&told);
        vr_error_clear(&told);
        vr_ui_event(ui, "failed",
                    json_pack("{s:s, s:s, s:s, s:s*, s:s*}", "address", address_of(node), "verb",
                              vr_verb_name(verb), "message", masked, "code", err->code, "hint",
                              err->hint));
    }
    free(masked);
}

static void on_skipped(void *payload, const struct vr_node *node, const char *why)
{
    struct vr_ui *ui = payload;
    drop(ui, node);
    vr_log(VR_LOG_INFO, "%s: not done: %s", address_of(node), why);
    if (ui->quiet)
        return;
    vr_ui_say(ui, "  %s: not done: %s", address_of(node), why);
    if (ui->json)
        vr_ui_event(ui, "skipped",
                    json_pack("{s:s, s:s}", "address", address_of(node), "why", why));
}

struct vr_status vr_ui_status(struct vr_ui *ui)
{
    return (struct vr_status){
        .totals = on_totals,
        .started = on_started,
        .progress = on_progress,
        .done = on_done,
        .failed = on_failed,
        .skipped = on_skipped,
        .payload = ui,
    };
}

/* --- plans and results --- */

void vr_ui_plan(struct vr_ui *ui, const struct vr_plan *plan)
{
    if (ui->json)
        vr_ui_event(ui, "plan", vr_plan_json(plan));
    else
        vr_show_plan(stdout, plan, ui->color);
    fflush(stdout);
}

void vr_ui_summary(struct vr_ui *ui, const struct vr_run *run, double seconds)
{
    struct vr_run_summary sum = vr_run_summary(run);
    if (sum.failed || sum.skipped)
        vr_ui_say(ui, "%zu failed, %zu not done because of that.", sum.failed, sum.skipped);
    if (sum.adopted)
        vr_ui_say(ui, "%zu adopted.", sum.adopted);
    vr_ui_say(ui, "%s: %zu added, %zu changed, %zu destroyed in %.1f s.",
              sum.cancelled ? "Stopped"
              : sum.failed  ? "Failed"
                            : "Done",
              sum.added, sum.changed, sum.destroyed, seconds);
    vr_ui_event(ui, "summary",
                json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:f}", "added",
                          (json_int_t)sum.added, "changed", (json_int_t)sum.changed, "destroyed",
                          (json_int_t)sum.destroyed, "adopted", (json_int_t)sum.adopted, "failed",
                          (json_int_t)sum.failed, "skipped", (json_int_t)sum.skipped, "cancelled",
                          sum.cancelled, "seconds", seconds, "critical_path", sum.critical_path));
}

void vr_ui_outputs(struct vr_ui *ui, const json_t *outputs)
{
    if (json_object_size(outputs) == 0)
        return;
    vr_ui_say(ui, "\nOutputs:");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)outputs, name, value)
    {
        char *text = vr_show_value(value, 2);
        vr_ui_say(ui, "  %s = %s", name, text);
        free(text);
    }
}
