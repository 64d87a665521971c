#include "machine/answer.h"

#include <stdio.h>
#include <stdlib.h>

void vr_answer(json_t *message)
{
    char *text = json_dumps(message, JSON_COMPACT);
    json_decref(message);
    if (!text)
        return;
    printf("%s\n", text);
    fflush(stdout);
    free(text);
}

void vr_answer_ok(const json_t *id)
{
    vr_answer(json_pack("{s:O, s:b}", "id", id, "ok", 1));
}

static void tell(const json_t *id, const struct vr_error *err)
{
    json_t *text = json_string(err->message); /* a path may be of any bytes, and cut */
    json_t *message = json_pack("{s:O, s:o}", "id", id, "error",
                                text ? text : json_string("(a message that is not UTF-8)"));
    if (err->code)
        json_object_set_new(message, "code", json_string(err->code));
    if (err->hint)
        json_object_set_new(message, "hint", json_string(err->hint));
    vr_answer(message);
}

void vr_answer_error(const json_t *id, struct vr_error *err)
{
    tell(id, err);
    vr_error_clear(err);
}

const char *vr_message_text(const json_t *message, const char *key)
{
    const char *text = json_string_value(json_object_get(message, key));
    return text ? text : "";
}

int vr_message_number(const json_t *message, const char *key)
{
    return (int)json_integer_value(json_object_get(message, key));
}

void vr_answer_once(json_t **id, const struct vr_error *err)
{
    if (*id && err)
        tell(*id, err);
    else if (*id)
        vr_answer_ok(*id);
    json_decref(*id);
    *id = NULL;
}
