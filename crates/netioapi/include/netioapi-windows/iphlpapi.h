/* Stands in for <iphlpapi.h>: see windows.h beside it. */
#ifndef NETIOAPI_WINDOWS_IPHLPAPI_H
#define NETIOAPI_WINDOWS_IPHLPAPI_H
#include "windows.h"
#endif
