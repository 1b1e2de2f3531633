/* Stands in for <mstcpip.h>: the address in a socket address of either family. */
#ifndef NETIOAPI_WINDOWS_MSTCPIP_H
#define NETIOAPI_WINDOWS_MSTCPIP_H
#include "windows.h"
#include <string.h>

static inline PUCHAR INETADDR_ADDRESS(const SOCKADDR *address)
{
    return address->sa_family == AF_INET6 ? (PUCHAR)&((PSOCKADDR_IN6)address)->sin6_addr
                                          : (PUCHAR)&((PSOCKADDR_IN)address)->sin_addr;
}

static inline VOID INETADDR_SET_ADDRESS(PSOCKADDR address, const UCHAR *bytes)
{
    size_t length = address->sa_family == AF_INET6 ? sizeof(IN6_ADDR) : sizeof(IN_ADDR);
    memcpy(INETADDR_ADDRESS(address), bytes, length);
}
#endif
