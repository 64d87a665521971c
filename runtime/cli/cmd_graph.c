/* vmrun graph: what needs what. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/session.h"

const struct vr_opt vr_graph_options[] = {
    VR_OPT("format", 'f', VR_OPT_TEXT, format, "FORMAT",
           "dot (the default), json or svg (needs Graphviz)"),
    VR_OPT_COMMON,
    VR_OPT_END,
};

static int put_json(struct vr_session *session)
{
    json_t *graph = vr_graph_json(session->graph);
    char *text = json_dumps(graph, JSON_INDENT(2));
    puts(text);
    free(text);
    json_decref(graph);
    return VR_EXIT_OK;
}

static int put_svg(const char *dot, struct vr_error *err)
{
    fflush(stdout);
    FILE *pipe = popen("dot -Tsvg", "w");
    if (pipe)
        fputs(dot, pipe);
    if (pipe && pclose(pipe) == 0)
        return VR_EXIT_OK;
    vr_error_set(err, "graphviz", "the program 'dot' did not draw the graph");
    vr_error_hint(err, "install graphviz, or use --format dot");
    return VR_EXIT_ERROR;
}

static int graph(struct vr_session *session, struct vr_error *err)
{
    const char *format = session->args->json     ? "json"
                         : session->args->format ? session->args->format
                                                 : "dot";
    if (strcmp(format, "dot") != 0 && strcmp(format, "json") != 0 && strcmp(format, "svg") != 0) {
        vr_error_set(err, "usage", "--format is dot, json or svg, not '%s'", format);
        return VR_EXIT_ERROR;
    }
    if (!vr_session_load(session, false, false, err))
        return VR_EXIT_ERROR;
    if (strcmp(format, "json") == 0)
        return put_json(session);
    char *dot = vr_graph_dot(session->graph);
    int code = VR_EXIT_OK;
    if (strcmp(format, "svg") == 0)
        code = put_svg(dot, err);
    else
        fputs(dot, stdout);
    free(dot);
    return code;
}

int vr_cmd_graph(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_graph_options, graph);
}
