/* Stands in for <winerror.h>: see windows.h beside it. */
#ifndef NETIOAPI_WINDOWS_WINERROR_H
#define NETIOAPI_WINDOWS_WINERROR_H
#include "windows.h"
#endif
