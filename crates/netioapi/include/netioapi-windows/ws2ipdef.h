/* Stands in for <ws2ipdef.h>: see windows.h beside it. */
#ifndef NETIOAPI_WINDOWS_WS2IPDEF_H
#define NETIOAPI_WINDOWS_WS2IPDEF_H
#include "windows.h"
#endif
