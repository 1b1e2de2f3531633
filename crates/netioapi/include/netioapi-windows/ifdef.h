/* Stands in for <ifdef.h>: see windows.h beside it. */
#ifndef NETIOAPI_WINDOWS_IFDEF_H
#define NETIOAPI_WINDOWS_IFDEF_H
#include "windows.h"
#endif
