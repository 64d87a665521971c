#include "script/host.h"
