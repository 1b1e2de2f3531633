/* Stands in for <ws2def.h>: see windows.h beside it. */
#ifndef NETIOAPI_WINDOWS_WS2DEF_H
#define NETIOAPI_WINDOWS_WS2DEF_H
#include "windows.h"
#endif
