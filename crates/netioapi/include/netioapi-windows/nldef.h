/* Stands in for <nldef.h>: see windows.h beside it. */
#ifndef NETIOAPI_WINDOWS_NLDEF_H
#define NETIOAPI_WINDOWS_NLDEF_H
#include "windows.h"
#endif
