#include "cli/session.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/drive.h"
#include "cli/folder.h"
#include "cli/hold.h"
#include "cli/params.h"
#include "cli/saved.h"
#include "cli/target.h"
#include "cli/tell.h"
#include "cli/ui.h"
#include "net/loop.h"
#include "script/program.h"
#include "script/provider.h"

static const double WIND_UP = 5;

/* --- begin --- */

static char *stack_of(const char *path)
{
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, ".lua") == 0)
        length -= 4;
    return vr_strndup(name, length);
}

static bool name_is_fine(const char *name)
{
    if (!isalnum((unsigned char)*name))
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
            return false;
    return true;
}

/* --parallel N of all, NAME=N of a provider or a kind. */
static bool read_parallel(struct vr_session *session, struct vr_error *err)
{
    const struct vr_texts *given = &session->args->parallel;
    size_t *limits = session->own_limits = vr_alloc((given->count + 1) * sizeof(*limits));
    char **names = session->limit_names = vr_alloc((given->count + 1) * sizeof(*names));
    session->limits.names = (const char **)names;
    session->limits.limits = limits;
    for (size_t i = 0; i < given->count; i++) {
        const char *text = given->items[i], *equals = strchr(text, '='),
                   *number = equals ? equals + 1 : text;
        char *end;
        long n = strtol(number, &end, 10);
        if (!*number || *end || n < 1 || n > 100000 || equals == text)
            return vr_error_set(err, "usage",
                                "--parallel wants a number from 1, or NAME=N, got '%s'", text);
        if (!equals) {
            session->limits.total = (size_t)n;
            continue;
        }
        names[session->limits.count] = vr_strndup(text, (size_t)(equals - text));
        limits[session->limits.count++] = (size_t)n;
    }
    return true;
}

static bool read_lock_timeout(struct vr_session *session, struct vr_error *err)
{
    const char *text = session->args->lock_timeout;
    session->lock_timeout = text ? vr_text_seconds(text) : 0;
    return session->lock_timeout >= 0 ||
           vr_error_set(err, "usage", "--lock-timeout wants a time such as 90s or 5m, got '%s'",
                        text);
}

/* The texts stay the list's. */
static void take_texts(struct vr_texts *texts, const json_t *list)
{
    texts->count = 0;
    texts->items = vr_realloc(texts->items, (json_array_size(list) + 1) * sizeof(*texts->items));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text)
            texts->items[texts->count++] = text;
    }
}

/* A saved plan stands for its recipe, stack, state folder and choice. */
static bool take_saved(struct vr_session *session, struct vr_error *err)
{
    struct vr_args *args = session->args;
    session->saved = vr_saved_read(args->recipe, err);
    if (!session->saved)
        return false;
    args->recipe = json_string_value(json_object_get(session->saved, "recipe"));
    args->stack = json_string_value(json_object_get(session->saved, "stack"));
    args->state_dir = json_string_value(json_object_get(session->saved, "state_dir"));
    args->destroy = json_is_true(json_object_get(session->saved, "destroy"));
    args->refresh_only = json_is_true(json_object_get(session->saved, "refresh_only"));
    if (args->targets.count || args->excludes.count || args->replace.count)
        return vr_error_set(err, "usage",
                            "a saved plan has its own --target, --exclude and --replace");
    take_texts(&args->targets, json_object_get(session->saved, "targets"));
    take_texts(&args->excludes, json_object_get(session->saved, "excludes"));
    take_texts(&args->replace, json_object_get(session->saved, "replace"));
    return (args->recipe && args->stack && args->state_dir) ||
           vr_error_set(err, "plan", "the saved plan is damaged");
}

bool vr_session_begin(struct vr_session *session, struct vr_args *args, struct vr_error *err)
{
    session->args = args;
    if (args->recipe && vr_saved_is(args->recipe) && !take_saved(session, err))
        return false;
    if (args->log_level && !vr_log_set_level(args->log_level))
        return vr_error_set(err, "usage",
                            "there is no log level '%s'; it is debug, info, warn, error or none",
                            args->log_level);
    session->path = vr_strdup(args->recipe);
    session->stack =
        args->stack ? vr_strdup(args->stack) : stack_of(args->recipe ? args->recipe : "none");
    if (!name_is_fine(session->stack))
        return vr_error_set(
            err, "usage",
            "'%s' cannot name a stack: letters, digits, '.', '_' and '-', no sign first",
            session->stack);
    if (!read_parallel(session, err) || !read_lock_timeout(session, err))
        return false;
    session->folder = vr_strdup(args->state_dir ? args->state_dir : ".vmrun");
    session->stack_folder = vr_format("%s/stacks/%s", session->folder, session->stack);
    session->loop = vr_loop_new();
    session->script = vr_script_new(session->loop);
    session->provider = vr_provider_new(session->script);
    session->ui = vr_ui_new(session->loop, args->json, args->no_color);
    session->drive = vr_drive_new(session->loop, err);
    if (!session->drive)
        return false;
    session->runner = vr_provider_runner(session->provider);
    session->host = vr_drive_host(session->drive);
    session->status = vr_ui_status(session->ui);
    return true;
}

/* --- state --- */

bool vr_session_open(struct vr_session *session, enum vr_mode mode, struct vr_error *err)
{
    session->mode = mode;
    if (mode != VR_MODE_LOOK && !vr_folder_make(session->folder, err))
        return false;
    if (mode == VR_MODE_WRITE &&
        !vr_folder_log(session->stack_folder, session->args->log_level, err))
        return false;
    char *key = vr_format("%s/digest.key", session->folder);
    struct vr_state_options options = {
        .folder = session->stack_folder,
        .key_file = key,
        .stack = session->stack,
        .read_only = mode != VR_MODE_WRITE,
        .make_key = mode == VR_MODE_KEEP,
    };
    session->state = vr_state_open(&options, err);
    if (!session->state && session->lock_timeout > 0 && strcmp(err->code, "locked") == 0) {
        fprintf(stderr, "vmrun: %s; waiting up to %g s\n", err->message, session->lock_timeout);
        vr_error_clear(err);
        options.lock_timeout = session->lock_timeout;
        session->state = vr_state_open(&options, err);
    }
    free(key);
    return session->state != NULL;
}

/* --- recipe --- */

static bool tell_errors(struct vr_session *session, struct vr_error *err)
{
    struct vr_decls *decls = vr_recipe_decls(session->recipe);
    size_t count = vr_decls_error_count(decls);
    for (size_t i = 0; i < count; i++)
        vr_cli_error(vr_decls_error_at(decls, i));
    return count == 0 || vr_error_set(err, "told", "the recipe has errors");
}

static void evaluate(struct vr_session *session, const json_t *given, bool lint)
{
    struct vr_recipe_options options = {
        .path = session->path, .library_paths = getenv("VMRUN_PATH"), .given = given, .lint = lint};
    vr_recipe_free(session->recipe);
    session->recipe = vr_recipe_load(session->provider, &options);
}

/* What a person was asked, for the sessions of a program that follow. */
static json_t *answers;

/* Asks for secrets that were not given; true when some were, so that the recipe is to be read
 * again. */
static bool ask_secrets(struct vr_session *session, json_t *given)
{
    if (!answers)
        answers = json_object();
    const json_t *params = vr_recipe_params(session->recipe);
    bool asked = false;
    for (size_t i = 0; i < json_array_size(params); i++) {
        const json_t *param = json_array_get(params, i);
        if (!json_is_true(json_object_get(param, "missing")) ||
            !json_is_true(json_object_get(param, "secret")))
            continue;
        const char *name = json_string_value(json_object_get(param, "name"));
        char *text = vr_folder_ask_secret(name, json_string_value(json_object_get(param, "help")));
        if (!text)
            return false;
        json_object_set_new(
            answers, name,
            json_pack("{s:s, s:b, s:s}", "value", text, "text", 1, "from", "the prompt"));
        json_object_set(given, name, json_object_get(answers, name));
        explicit_bzero(text, strlen(text));
        free(text);
        asked = true;
    }
    return asked;
}

bool vr_session_load(struct vr_session *session, bool lint, bool remembered, struct vr_error *err)
{
    json_t *given =
        vr_params_given(session->provider, session->args, session->path, session->stack, err);
    if (!given)
        return false;
    json_object_update_missing(given, answers);
    json_t *kept = session->state ? vr_state_meta(session->state, "parameters") : NULL;
    vr_params_recall(given, session->recalled, session->args);
    if (remembered)
        vr_params_recall(given, kept, session->args);
    vr_graph_free(session->graph);
    session->graph = NULL;
    evaluate(session, given, lint);
    if (isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && ask_secrets(session, given))
        evaluate(session, given, lint);
    bool ok = tell_errors(session, err) &&
              vr_params_compare(vr_recipe_params(session->recipe), kept, session->args, err) &&
              (session->graph = vr_graph_new(vr_recipe_decls(session->recipe), err)) != NULL;
    json_decref(given);
    json_decref(kept);
    return ok;
}

const json_t *vr_session_params(struct vr_session *session)
{
    evaluate(session, NULL, false);
    return vr_recipe_params(session->recipe);
}

/* --- target --- */

static const char NOBODY[] = "00000000-0000-0000-0000-000000000000";

/* A recipe without a cloud's resources has no target: it is about this machine, or about hosts and
 * clusters that it names. */
static bool kind_needs_target(const char *kind)
{
    return strncmp(kind, "azure.", 6) == 0;
}

static bool needs_target(struct vr_session *session)
{
    struct vr_decls *decls = session->recipe ? vr_recipe_decls(session->recipe) : NULL;
    for (size_t i = 0; decls && i < vr_decls_count(decls); i++)
        if (kind_needs_target(vr_decls_at(decls, i)->kind->name))
            return true;
    for (size_t i = 0; session->state && i < vr_state_slots(session->state); i++) {
        const struct vr_row *row = vr_state_at(session->state, i);
        if (row && kind_needs_target(row->kind))
            return true;
    }
    return false;
}

static json_t *emulator_endpoint(struct vr_session *session)
{
    char *path = vr_format("%s/emulator/endpoint.json", session->folder);
    json_t *endpoint = json_load_file(path, 0, NULL);
    free(path);
    return endpoint;
}

/* *chosen: nobody said it. Without an open state the stack is a new one. */
static json_t *choose_target(struct vr_session *session, bool *chosen, struct vr_error *err)
{
    *chosen = false;
    const char *mock = getenv("VMRUN_MOCK");
    if (mock && *mock) /* ids that kinds predict begin with a subscription */
        return json_pack("{s:s, s:s, s:s}", "kind", "mock", "subscription", NOBODY, "tenant",
                         NOBODY);
    json_t *bound = session->state ? vr_state_meta(session->state, "target") : NULL;
    if (!bound && session->saved)
        bound = json_incref(json_object_get(session->saved, "target"));
    if (!bound && !session->args->emulator && !session->args->subscription &&
        !needs_target(session))
        return json_pack("{s:s}", "kind", "none");
    json_t *endpoint = emulator_endpoint(session);
    json_t *target =
        vr_target_choose(session->args, bound, endpoint, vr_ui_terminal(session->ui), chosen, err);
    json_decref(bound);
    json_decref(endpoint);
    return target;
}

/* The emulator of the state folder runs, or is started. */
static bool ensure_emulator(struct vr_session *session, struct vr_error *err)
{
    if (!vr_folder_make(session->folder, err))
        return false;
    char *relative = vr_format("%s/emulator", session->folder),
         *folder = vr_folder_absolute(relative);
    free(relative);
    json_object_set_new(session->target, "emulator_dir", json_string(folder));
    json_t *endpoint =
        vr_session_call(session, "emulator.launch", "ensure", json_string(folder), err);
    free(folder);
    bool ok = endpoint != NULL;
    const char *const copied[] = {"subscription", "tenant"};
    for (size_t i = 0; i < 2 && ok; i++) {
        json_t *value = json_object_get(endpoint, copied[i]);
        if (value)
            json_object_set(session->target, copied[i], value);
    }
    json_decref(endpoint);
    return ok;
}

static bool find_target(struct vr_session *session, struct vr_error *err)
{
    bool chosen;
    json_t *target = choose_target(session, &chosen, err);
    if (!target)
        return false;
    if (chosen)
        vr_ui_say(session->ui, "target: the built-in emulator (for Azure: --subscription ID)");
    /* The state's own is not touched: what is added here depends on where we are. */
    session->target = json_deep_copy(target);
    json_decref(target);
    return true;
}

bool vr_session_target(struct vr_session *session, struct vr_error *err)
{
    if (!session->target && !find_target(session, err))
        return false;
    if (vr_target_is(session->target, "emulator") && !ensure_emulator(session, err))
        return false;
    vr_provider_bind(session->provider, session->target, session->stack);
    return true;
}

/* A new stack's recipe and target are looked at before anything is written. */
static bool new_is_fine(struct vr_session *session, bool remembered, struct vr_error *err)
{
    bool chosen;
    if (!vr_session_load(session, false, remembered, err))
        return false;
    json_t *target = choose_target(session, &chosen, err);
    json_decref(target);
    return target != NULL;
}

bool vr_session_prepare(struct vr_session *session, bool remembered, struct vr_error *err)
{
    char *path = vr_format("%s/state.db", session->stack_folder);
    bool new = access(path, F_OK) != 0;
    free(path);
    if ((new && !new_is_fine(session, remembered, err)) ||
        !vr_session_open(session, VR_MODE_WRITE, err))
        return false;
    json_t *kept = vr_state_meta(session->state, "parameters");
    json_decref(kept);
    bool read = new && !kept; /* else another run made it meanwhile */
    return (read || vr_session_load(session, false, remembered, err)) &&
           vr_session_target(session, err);
}

/* --- signals: once to stop starting, twice to stop --- */

struct vr_interrupt {
    struct vr_session *session;
    struct vr_signal *signals[3];
    int count;
};

static void interrupted(void *payload, int number)
{
    struct vr_interrupt *interrupt = payload;
    struct vr_session *session = interrupt->session;
    interrupt->count++;
    session->interrupted = number == SIGINT    ? "interrupted"
                           : number == SIGTERM ? "told to end"
                                               : "the terminal is gone";
    if (session->run) {
        vr_run_cancel(session->run, interrupt->count > 1 ? VR_CANCEL_NOW : VR_CANCEL_GRACEFUL,
                      session->interrupted);
        vr_ui_say(session->ui,
                  interrupt->count > 1
                      ? "stopping what runs; the state says what may exist"
                      : "starting nothing more; what runs is waited for (once more: stop it)");
    } else if (session->plan) {
        vr_plan_cancel(session->plan, session->interrupted);
    }
    session->host.notify(session->host.payload);
}

static void watch_signals(struct vr_session *session)
{
    if (session->interrupt)
        return;
    struct vr_interrupt *interrupt = vr_alloc(sizeof(*interrupt));
    interrupt->session = session;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < 3; i++)
        interrupt->signals[i] = vr_signal_start(session->loop, numbers[i], interrupted, interrupt);
    session->interrupt = interrupt;
}

static void unwatch_signals(struct vr_session *session)
{
    for (size_t i = 0; session->interrupt && i < 3; i++)
        vr_signal_stop(session->interrupt->signals[i]);
    free(session->interrupt);
    session->interrupt = NULL;
}

/* --- plan --- */

static const struct vr_kind *find_kind(void *payload, const char *name)
{
    struct vr_session *session = payload;
    return vr_provider_kind(session->provider, name, NULL);
}

static void engine_done(void *payload)
{
    struct vr_session *session = payload;
    vr_drive_stop(session->drive);
}

static void turn_plan(void *payload)
{
    struct vr_session *session = payload;
    vr_plan_turn(session->plan);
}

static bool plan_is_fine(struct vr_session *session, struct vr_error *err)
{
    if (session->interrupted)
        return vr_error_set(err, "interrupted", "%s while reading; nothing was changed",
                            session->interrupted);
    size_t count = vr_plan_error_count(session->plan);
    for (size_t i = 0; i < count; i++)
        vr_tell_plan_error(session->plan, i);
    return count == 0 || vr_error_set(err, "told", "no plan could be made");
}

void vr_session_choice(struct vr_session *session, struct vr_plan_options *options)
{
    const struct vr_args *args = session->args;
    options->targets = args->targets.items;
    options->target_count = args->targets.count;
    options->excludes = args->excludes.items;
    options->exclude_count = args->excludes.count;
    options->replace = args->replace.items;
    options->replace_count = args->replace.count;
}

void vr_session_recall(struct vr_session *session, const json_t *parameters)
{
    session->recalled = json_deep_copy(parameters);
}

/* The addresses that are held now, and which the session remembers. */
static struct vr_texts held(struct vr_session *session)
{
    json_decref(session->holds);
    session->holds = vr_hold_active(session->state);
    struct vr_texts texts = {vr_alloc((json_object_size(session->holds) + 1) * sizeof(char *)), 0};
    const char *address;
    json_t *hold;
    json_object_foreach(session->holds, address, hold) texts.items[texts.count++] = address;
    return texts;
}

/* VMRUN_AS_VERSION is for tests: what an other vmrun would say. */
static const char *our_version(void)
{
    const char *other = getenv("VMRUN_AS_VERSION");
    return other && *other ? other : VMRUN_VERSION;
}

/* A newer vmrun may have written what this one would undo. */
static bool is_old(struct vr_session *session, struct vr_error *err)
{
    json_t *written = vr_state_meta(session->state, "version");
    const char *version = json_string_value(written);
    bool old = version && vr_text_compare_versions(version, our_version()) > 0;
    if (old) {
        vr_error_set(err, "newer", "stack '%s' was last applied by vmrun %s, and this is %s",
                     session->stack, version, our_version());
        vr_error_hint(err, "use vmrun %s or a newer one", version);
    }
    json_decref(written);
    return old;
}

bool vr_session_plan(struct vr_session *session, const struct vr_plan_options *given,
                     struct vr_error *err)
{
    if (is_old(session, err))
        return false;
    struct vr_plan_options options = *given;
    struct vr_texts holds = held(session);
    options.holds = holds.items;
    options.hold_count = holds.count;
    options.graph = session->graph;
    options.state = session->state;
    options.runner = &session->runner;
    options.host = &session->host;
    options.status = &session->status;
    options.limits = session->limits;
    options.find_kind = find_kind;
    options.payload = session;
    vr_plan_free(session->plan);
    session->plan = vr_plan_new(&options);
    free(holds.items);
    watch_signals(session);
    vr_ui_begin(session->ui, "reading", true);
    vr_plan_start(session->plan, engine_done, session);
    vr_drive_run(session->drive, turn_plan, session);
    vr_ui_end(session->ui);
    return plan_is_fine(session, err);
}

bool vr_session_plan_rolling(struct vr_session *session, const struct vr_plan_options *options,
                             struct vr_error *err)
{
    if (!vr_session_plan(session, options, err))
        return false;
    const struct vr_node *next = vr_plan_next_roll(session->plan);
    if (!next || options->destroy || options->refresh_only || !vr_plan_empty(session->plan) ||
        vr_plan_summary(session->plan).unknown > 0)
        return true;
    session->roll = vr_strdup(next->address);
    struct vr_plan_options rolling = *options;
    rolling.roll = session->roll;
    return vr_session_plan(session, &rolling, err);
}

/* --- apply --- */

static void turn_run(void *payload)
{
    struct vr_session *session = payload;
    vr_run_turn(session->run);
}

bool vr_session_apply(struct vr_session *session, struct vr_error *err)
{
    struct vr_run_options options = {
        .plan = session->plan,
        .runner = &session->runner,
        .host = &session->host,
        .status = &session->status,
        .limits = session->limits,
    };
    session->run = vr_run_new(&options, err);
    if (!session->run)
        return false;
    vr_session_remember(session); /* whose stack it is, before anything exists */
    watch_signals(session);
    vr_ui_begin(session->ui, "applying", false);
    vr_run_start(session->run, engine_done, session);
    vr_drive_run(session->drive, turn_run, session);
    vr_ui_end(session->ui);
    const struct vr_error *failed = vr_run_state_error(session->run);
    if (failed) {
        vr_error_copy(err, failed);
        return false;
    }
    return true;
}

json_t *vr_session_lasting_target(const struct vr_session *session)
{
    const json_t *target = session->target;
    if (vr_target_is(target, "none") || vr_target_is(target, "mock"))
        return NULL;
    json_t *copy = json_deep_copy(target);
    if (vr_target_is(target, "emulator")) {
        json_object_del(copy, "emulator_dir");
        json_object_del(copy, "subscription");
        json_object_del(copy, "tenant");
    }
    return copy;
}

void vr_session_remember(struct vr_session *session)
{
    if (session->mode != VR_MODE_WRITE || !session->target)
        return;
    vr_state_set_meta(session->state, "target", vr_session_lasting_target(session));
    vr_state_set_meta(session->state, "version", json_string(our_version()));
    vr_state_set_meta(session->state, "stdlib", json_string(vr_tell_stdlib()));
    vr_state_set_meta(session->state, "recipe", json_string(session->path));
    if (session->recipe)
        vr_state_set_meta(session->state, "parameters",
                          vr_params_keep(vr_recipe_params(session->recipe)));
    if (session->run && session->recipe) {
        json_t *outputs = vr_session_outputs(session);
        vr_state_set_meta(session->state, "outputs", vr_state_redact(session->state, outputs));
        json_decref(outputs);
    }
    vr_state_commit(session->state);
}

void vr_session_forget(struct vr_session *session)
{
    static const char *const names[] = {"target", "parameters", "outputs", "holds"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        vr_state_set_meta(session->state, names[i], NULL);
    vr_state_sync(session->state, NULL);
}

json_t *vr_session_outputs(struct vr_session *session)
{
    json_t *outputs = json_object();
    struct vr_decls *decls = vr_recipe_decls(session->recipe);
    for (size_t i = 0; i < vr_decls_output_count(decls); i++) {
        const struct vr_output *output = vr_decls_output_at(decls, i);
        struct vr_error problem = {0};
        json_t *value = vr_plan_output(session->plan, output, &problem);
        if (!value)
            value = vr_unknown("%s", problem.message ? problem.message : "unknown");
        json_object_set_new(outputs, output->name, value);
        vr_error_clear(&problem);
    }
    return outputs;
}

/* --- what Lua sees --- */

static json_t *parse(const char *text)
{
    json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    return value ? value : json_object();
}

/* The target: the one in use, else the one that the state names. */
static json_t *told_target(struct vr_session *session)
{
    if (session->target)
        return json_incref(session->target);
    json_t *bound = session->state ? vr_state_meta(session->state, "target") : NULL;
    if (!vr_target_is(bound, "emulator"))
        return bound;
    json_t *copy = json_deep_copy(bound);
    json_decref(bound);
    char *relative = vr_format("%s/emulator", session->folder),
         *folder = vr_folder_absolute(relative);
    json_object_set_new(copy, "emulator_dir", json_string(folder));
    free(relative);
    free(folder);
    return copy;
}

json_t *vr_session_describe(struct vr_session *session)
{
    json_t *rows = json_array();
    for (size_t i = 0; session->state && i < vr_state_slots(session->state); i++) {
        const struct vr_row *row = vr_state_at(session->state, i);
        if (!row)
            continue;
        json_array_append_new(rows, json_pack("{s:s, s:s, s:s*, s:s*, s:o, s:o, s:s*, s:i}",
                                              "address", row->address, "kind", row->kind, "member",
                                              row->member, "identity", row->identity, "fields",
                                              parse(row->inputs), "outputs", parse(row->outputs),
                                              "file", row->file, "line", row->line));
    }
    json_t *outputs = session->state ? vr_state_meta(session->state, "outputs") : NULL;
    char *folder = vr_folder_absolute(session->folder);
    json_t *told =
        json_pack("{s:s, s:s*, s:s, s:s, s:o?, s:o, s:o}", "stack", session->stack, "recipe",
                  session->path, "state_dir", folder, "folder", session->stack_folder, "target",
                  told_target(session), "rows", rows, "outputs", outputs ? outputs : json_object());
    free(folder);
    return told;
}

/* --- end --- */

static void forget_memory(struct vr_session *session)
{
    for (size_t i = 0; i < session->limits.count; i++)
        free(session->limit_names[i]);
    char *const texts[] = {session->path, session->stack, session->folder, session->stack_folder,
                           session->roll};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
    free(session->limit_names);
    free(session->own_limits);
    json_decref(session->target);
    json_decref(session->holds);
}

/* Where the program ends with its session, what holds nothing but memory, such as the recipe and
 * the plan, is not taken apart, which would cost a tenth of a short run. */
void vr_session_end(struct vr_session *session)
{
    unwatch_signals(session);
    if (session->script)
        vr_script_wind_up(session->script, WIND_UP);
    vr_run_free(session->run);
    if (session->goes_on) {
        vr_plan_free(session->plan);
        vr_graph_free(session->graph);
        vr_recipe_free(session->recipe);
    }
    vr_state_close(session->state);
    vr_provider_free(session->provider);
    vr_ui_free(session->ui);
    vr_drive_free(session->drive);
    vr_script_free(session->script);
    if (session->loop)
        vr_loop_free(session->loop);
    if (session->goes_on)
        forget_memory(session);
}

int vr_session_failed(struct vr_session *session, struct vr_error *err)
{
    (void)session;
    if (err->message && (!err->code || strcmp(err->code, "told") != 0))
        vr_cli_error(err);
    vr_error_clear(err);
    return VR_EXIT_ERROR;
}

int vr_session_main_with(enum vr_recipe_use use, int argc, char **argv,
                         const struct vr_opt *options, vr_session_body body)
{
    struct vr_args args = {0};
    static struct vr_session session; /* what it holds at the end is still in reach */
    struct vr_error err = {0};
    int code = VR_EXIT_OK;
    session = (struct vr_session){0};
    if (!vr_opt_parse(&args, options, use != VR_RECIPE_NONE, argc, argv, &err)) {
        code = vr_cli_usage(argv[0], &err);
    } else if (args.help) {
        code = vr_cmd_help(2, (char *[]){"help", argv[0]});
    } else if (use == VR_RECIPE_REQUIRED && !args.recipe) {
        vr_error_set(&err, "usage", "which recipe?");
        code = vr_cli_usage(argv[0], &err);
    } else if (!vr_session_begin(&session, &args, &err)) {
        code = vr_session_failed(&session, &err);
    } else {
        code = body(&session, &err);
        if (err.message)
            code = vr_session_failed(&session, &err);
    }
    vr_session_end(&session);
    vr_opt_free(&args);
    return code;
}

int vr_session_main_bare(int argc, char **argv, const struct vr_opt *options, const char *wants,
                         vr_session_bare body)
{
    struct vr_args args = {0};
    static struct vr_session session; /* what it holds at the end is still in reach */
    struct vr_error err = {0};
    int code;
    if (!vr_opt_parse(&args, options, false, argc, argv, &err)) {
        code = vr_cli_usage(argv[0], &err);
    } else if (args.help) {
        code = vr_cmd_help(2, (char *[]){"help", argv[0]});
    } else if (wants && !args.recipe) {
        vr_error_set(&err, "usage", "%s", wants);
        code = vr_cli_usage(argv[0], &err);
    } else {
        code = body(&session, &args, &err);
        if (err.message)
            code = vr_session_failed(&session, &err);
    }
    vr_session_end(&session);
    vr_opt_free(&args);
    return code;
}

int vr_session_main(int argc, char **argv, const struct vr_opt *options, vr_session_body body)
{
    return vr_session_main_with(VR_RECIPE_REQUIRED, argc, argv, options, body);
}
