/* What the program around Lua must know of `require "terminal"`. */
#ifndef VR_SCRIPT_TERMINAL_H
#define VR_SCRIPT_TERMINAL_H

#include <stdbool.h>

/* Whether somebody has the terminal for their own (it is raw): nobody else may draw on it. */
bool vr_terminal_taken(void);

#endif
