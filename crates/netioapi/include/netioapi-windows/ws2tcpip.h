/* Stands in for <ws2tcpip.h>: see windows.h beside it. */
#ifndef NETIOAPI_WINDOWS_WS2TCPIP_H
#define NETIOAPI_WINDOWS_WS2TCPIP_H
#include "windows.h"
#include <arpa/inet.h>
#include <netdb.h>
#endif
