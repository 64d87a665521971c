#include "cli/hold.h"

#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/text.h"

json_t *vr_hold_active(const struct vr_state *state)
{
    json_t *all = vr_state_meta(state, "holds"), *active = json_object(), *hold;
    const char *address;
    json_object_foreach(all, address, hold)
    {
        if (json_integer_value(json_object_get(hold, "until")) > (json_int_t)time(NULL))
            json_object_set(active, address, hold);
    }
    json_decref(all);
    return active;
}

char *vr_hold_text(const char *address, const json_t *hold)
{
    time_t until = (time_t)json_integer_value(json_object_get(hold, "until"));
    struct tm utc;
    char text[32];
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", gmtime_r(&until, &utc));
    return vr_format("%s is held until %s by %s: %s", address, text,
                     json_string_value(json_object_get(hold, "by")),
                     json_string_value(json_object_get(hold, "reason")));
}

long long vr_hold_time(const char *text)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M",
                                        "%Y-%m-%d"};
    double seconds = vr_text_seconds(text);
    if (seconds >= 0)
        return (long long)time(NULL) + (long long)seconds;
    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
        struct tm utc = {0}, zone = {0};
        const char *rest = strptime(text, forms[i], &utc);
        if (!rest)
            continue;
        if (!*rest || strcmp(rest, "Z") == 0)
            return (long long)timegm(&utc);
        const char *end = strptime(rest, "%z", &zone);
        if (end && !*end)
            return (long long)timegm(&utc) - zone.tm_gmtoff;
    }
    return 0;
}
