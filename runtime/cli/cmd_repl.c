/* vmrun repl: Lua, line by line, with vmrun's modules and what a stack knows. The loop goes on
 * while a line is typed, so tasks in the background live; a statement runs as a task. Without a
 * terminal, lines are read from stdin. */
#include <editline/readline.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "cli/tool.h"
#include "net/loop.h"
#include "script/program.h"

const struct vr_opt vr_repl_options[] = {VR_OPT_COMMON, VR_OPT_END};

enum { KEPT_HISTORY = 1000 };

static struct {
    struct vr_session *session;
    char *line;  /* what was typed; NULL: the end */
    char *begun; /* what completion is asked for, see cli/repl.lua */
    bool ended, interrupted;
} repl; /* libedit's callbacks take no payload */

static json_t *call_now(const char *function, const char *text)
{
    return vr_script_call_now(repl.session->script, "cli.repl", function, text);
}

static char *generate(const char *word, int again)
{
    (void)word;
    static json_t *found;
    static size_t next;
    if (!again) {
        json_decref(found);
        found = call_now("complete", repl.begun);
        next = 0;
    }
    const char *text = json_string_value(json_array_get(found, next++));
    return text ? strdup(text) : NULL;
}

static char **complete(const char *word, int start, int end)
{
    repl.begun = vr_format("%d %.*s", start, end, rl_line_buffer);
    rl_attempted_completion_over = 1;
    rl_completion_append_character = 0;
    char **found = rl_completion_matches(word, generate);
    free(repl.begun);
    return found;
}

static void typed(char *line)
{
    repl.line = line;
    repl.ended = line == NULL;
    rl_callback_handler_remove();
    vr_loop_stop(repl.session->loop);
}

static void readable(void *payload, int events)
{
    (void)payload;
    (void)events;
    rl_callback_read_char();
}

static void interrupted(void *payload, int number)
{
    (void)payload;
    (void)number;
    repl.interrupted = true;
    rl_callback_handler_remove();
    vr_loop_stop(repl.session->loop);
}

/* A line from the terminal; the loop runs meanwhile. NULL at the end, or "" after an interrupt. */
static char *edit_line(const char *prompt)
{
    struct vr_loop *loop = repl.session->loop;
    repl.line = NULL;
    repl.interrupted = false;
    struct vr_poll *poll = vr_poll_new(loop, STDIN_FILENO, readable, NULL);
    struct vr_signal *signal = vr_signal_start(loop, SIGINT, interrupted, NULL);
    rl_callback_handler_install(prompt, typed);
    vr_poll_set(poll, VR_POLL_READ);
    vr_loop_run(loop);
    vr_poll_free(poll);
    vr_signal_stop(signal);
    if (repl.interrupted) {
        putchar('\n');
        json_decref(call_now("reset", ""));
        return vr_strdup("");
    }
    if (repl.line && *repl.line)
        add_history(repl.line);
    return repl.line;
}

static char *plain_line(void)
{
    char *line = NULL;
    size_t room = 0;
    if (getline(&line, &room, stdin) < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\n")] = '\0';
    return line;
}

/* Evaluates a line. Where it wants values of resources, {"values": addresses}, it gets them first.
 */
static json_t *feed(const char *line, struct vr_error *err)
{
    struct vr_session *session = repl.session;
    json_t *answer = vr_session_call(session, "cli.repl", "feed", json_string(line), err);
    json_t *chosen = json_object_get(answer, "values");
    if (!chosen)
        return answer;
    json_t *values = vr_tool_values(session, chosen, err);
    json_decref(answer);
    if (!values) {
        json_decref(call_now("reset", ""));
        return NULL;
    }
    json_t *given =
        json_pack("{s:o, s:o}", "session", vr_session_describe(session), "values", values);
    answer = vr_session_call(session, "cli.repl", "give", given, err);
    if (!answer)
        return NULL;
    json_decref(answer);
    return vr_session_call(session, "cli.repl", "feed", json_string(line), err);
}

static int loop_over(bool terminal, struct vr_error *err)
{
    int code = VR_EXIT_OK;
    const char *prompt = "vmrun> ";
    char *line;
    while ((line = terminal ? edit_line(prompt) : plain_line())) {
        json_t *answer = feed(line, err);
        free(line);
        if (!answer && err->code && strcmp(err->code, "cancelled") == 0) {
            fprintf(stderr, "cancelled\n");
            vr_error_clear(err);
        } else if (!answer) {
            vr_cli_error(err);
            vr_error_clear(err);
        }
        const char *word = answer ? json_string_value(answer) : "failed";
        prompt = word && strcmp(word, "more") == 0 ? "    -> " : "vmrun> ";
        if (word && strcmp(word, "failed") == 0 && !terminal)
            code = VR_EXIT_ERROR;
        json_decref(answer);
    }
    if (terminal)
        putchar('\n');
    return code;
}

static char *history_path(void)
{
    const char *home = getenv("XDG_STATE_HOME"), *user = getenv("HOME");
    if (home && *home)
        return vr_format("%s/vmrun_history", home);
    return user && *user ? vr_format("%s/.vmrun_history", user) : NULL;
}

static int interact(struct vr_error *err)
{
    char *path = history_path();
    rl_readline_name = "vmrun";
    rl_attempted_completion_function = complete;
    rl_completer_word_break_characters = " \t\n\"'`@$><=;|&{(,+-*/%^#~[";
    using_history();
    stifle_history(KEPT_HISTORY);
    if (path)
        read_history(path);
    printf("vmrun %s. 'help' says what there is; Ctrl-D ends.\n", VMRUN_VERSION);
    int code = loop_over(true, err);
    if (path) {
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
        write_history(path);
    }
    free(path);
    return code;
}

static int run(struct vr_session *session, struct vr_error *err)
{
    repl.session = session;
    json_t *told = NULL;
    if (session->path) {
        if (!vr_session_open(session, VR_MODE_LOOK, err))
            return VR_EXIT_ERROR;
        told = vr_session_describe(session);
    }
    json_t *opened = vr_session_call(session, "cli.repl", "open", told ? told : json_null(), err);
    if (!opened)
        return VR_EXIT_ERROR;
    json_decref(opened);
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? interact(err) : loop_over(false, err);
}

int vr_cmd_repl(int argc, char **argv)
{
    return vr_session_main_with(VR_RECIPE_OPTIONAL, argc, argv, vr_repl_options, run);
}
