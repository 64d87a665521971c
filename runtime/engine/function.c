/* One C function a name (function_text.c, function_list.c, function_cidr.c). eval_call in expr.c
 * puts the function's name in front of errors. */
#include "engine/function.h"

#include <string.h>

#include "engine/function_internal.h"

/* Sorted by name: vr_function_find searches by halves. */
static const struct vr_function functions[] = {
    {"base64", 1, 1, vr_f_base64, "base64(text): RFC 4648 with padding", false},
    {"base64_decode", 1, 1, vr_f_base64_decode, "base64_decode(text): the text that it stands for",
     false},
    {"cidr_host", 2, 2, vr_f_cidr_host,
     "cidr_host(range, n): its n-th address, from 0; from the end when n is negative", false},
    {"cidr_subnet", 3, 3, vr_f_cidr_subnet,
     "cidr_subnet(range, bits, n): the n-th range with a prefix longer by bits", false},
    {"concat", 0, -1, vr_f_concat, "concat(lists...): one list of their elements; null is skipped",
     true},
    {"contains", 2, 2, vr_f_contains,
     "contains(list, value), contains(text, part), contains(table, key): true or false", false},
    {"distinct", 1, 1, vr_f_distinct, "distinct(list): without what came before", false},
    {"element", 2, 2, vr_f_element,
     "element(list, n): from 1, and from the start again behind the end", true},
    {"first", 1, 1, vr_f_first, "first(list)", true},
    {"flatten", 1, 1, vr_f_flatten, "flatten(list): the elements of lists inside, at any depth",
     true},
    {"format", 1, -1, vr_f_format, "format(text, values...): %s %d %x %f %g %q as in string.format",
     false},
    {"indent", 2, 2, vr_f_indent, "indent(text, n): n spaces before each line that is not empty",
     false},
    {"join", 1, 2, vr_f_join, "join(list [, separator]): one text", false},
    {"json", 1, 2, vr_f_json, "json(value [, indent]): as JSON, keys in order", false},
    {"json_decode", 1, 1, vr_f_json_decode, "json_decode(text)", false},
    {"keys", 1, 1, vr_f_keys, "keys(table): its keys in order", true},
    {"last", 1, 1, vr_f_last, "last(list)", true},
    {"length", 1, 1, vr_f_length,
     "length(list), length(table), length(text): elements, keys or letters", true},
    {"lookup", 2, 3, vr_f_lookup, "lookup(table, key [, default])", true},
    {"lower", 1, 1, vr_f_lower, "lower(text): A-Z as a-z", false},
    {"merge", 0, -1, vr_f_merge, "merge(tables...): later ones win; null is skipped", true},
    {"range", 1, 3, vr_f_range, "range(to), range(from, to [, step]): numbers up to and with `to`",
     false},
    {"replace", 3, 3, vr_f_replace, "replace(text, from, to): each `from`, plain text", false},
    {"sha256", 1, 1, vr_f_sha256, "sha256(text): in hexadecimal digits", false},
    {"sort", 1, 1, vr_f_sort, "sort(list): texts by bytes, or numbers", false},
    {"split", 2, 2, vr_f_split, "split(text, separator): a list", false},
    {"template", 2, 2, vr_f_template,
     "template(text, values): fills ${name} and {{name}}; $${ and {{{{ stand for themselves",
     false},
    {"tonumber", 1, 2, vr_f_tonumber, "tonumber(text [, base])", false},
    {"tostring", 1, 1, vr_f_tostring, "tostring(value)", false},
    {"trim", 1, 2, vr_f_trim,
     "trim(text [, letters]): without white space (or these letters) at both ends", false},
    {"upper", 1, 1, vr_f_upper, "upper(text): a-z as A-Z", false},
    {"values", 1, 1, vr_f_values, "values(table): in the order of its keys", true},
    {"yaml", 1, 1, vr_f_yaml, "yaml(value): as YAML", false},
    {"yaml_decode", 1, 1, vr_f_yaml_decode, "yaml_decode(text): of one document", false},
};

const struct vr_function *vr_function_list(size_t *count)
{
    *count = sizeof(functions) / sizeof(functions[0]);
    return functions;
}

const struct vr_function *vr_function_find(const char *name)
{
    size_t low = 0, high = sizeof(functions) / sizeof(functions[0]);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, functions[middle].name);
        if (order == 0)
            return &functions[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
