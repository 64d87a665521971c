# Writes OUT: each file below ROOT as bytes, found by vr_stdlib_find(path).
file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/*)
list(SORT files)
set(bodies "")
set(rows "")
set(n 0)
foreach(path ${files})
    file(READ ${ROOT}/${path} hex HEX)
    string(LENGTH "${hex}" digits)
    math(EXPR length "${digits} / 2")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    string(APPEND bodies "static const unsigned char f${n}[] = {${bytes}0};\n")
    string(APPEND rows "    {\"${path}\", f${n}, ${length}},\n")
    math(EXPR n "${n} + 1")
endforeach()
string(SHA256 digest "${bodies}${rows}")
file(WRITE ${OUT} "/* Made by embed.cmake. */
#include <stddef.h>
#include <string.h>
struct vr_stdlib_file {
    const char *path;
    const unsigned char *data;
    size_t length;
};
${bodies}
const char vr_stdlib_digest[] = \"${digest}\";
const struct vr_stdlib_file vr_stdlib_files[] = {
${rows}    {NULL, NULL, 0},
};
")
