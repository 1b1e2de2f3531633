/* Stands in for <winsock2.h>: see windows.h beside it. */
#ifndef NETIOAPI_WINDOWS_WINSOCK2_H
#define NETIOAPI_WINDOWS_WINSOCK2_H
#include "windows.h"
#endif
