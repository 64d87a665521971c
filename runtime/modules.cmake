# Writes OUT: the table of bindings, one a file script/mod_NAME.c with luaopen_vr_NAME in it.
string(REPLACE "," ";" NAMES "${NAMES}")
set(declarations "")
set(rows "")
foreach(name ${NAMES})
    string(APPEND declarations "int luaopen_vr_${name}(lua_State *L);\n")
    string(APPEND rows "    {\"${name}\", luaopen_vr_${name}},\n")
endforeach()
set(text "/* Made by modules.cmake. */
#include <lua.h>

#include \"script/value.h\"

${declarations}
const struct vr_module vr_modules[] = {
${rows}    {NULL, NULL},
};
")
if(EXISTS ${OUT})
    file(READ ${OUT} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
    file(WRITE ${OUT} "${text}")
endif()
