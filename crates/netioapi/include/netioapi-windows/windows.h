/*
 * Stands in for <windows.h> where a source for Windows needs no more of it than the types that go
 * with netioapi.h. Put this directory into the include path to compile such a source.
 */
#ifndef NETIOAPI_WINDOWS_H
#define NETIOAPI_WINDOWS_H

#include <netioapi.h>
#include <time.h>

typedef int BOOL, INT;
typedef unsigned int UINT;
typedef int32_t HRESULT;
typedef int64_t LONGLONG;
typedef uint64_t ULONGLONG, DWORD64, UINT64;
typedef void *LPVOID;
typedef uintptr_t ULONG_PTR, DWORD_PTR, SOCKET;
typedef char *LPSTR;
typedef const char *LPCSTR;
typedef unsigned char *PUCHAR;
typedef struct in_addr IN_ADDR, *PIN_ADDR;
typedef struct in6_addr IN6_ADDR, *PIN6_ADDR;
typedef struct sockaddr SOCKADDR, *PSOCKADDR, *LPSOCKADDR;
typedef struct sockaddr_in SOCKADDR_IN, *PSOCKADDR_IN;
typedef struct sockaddr_in6 SOCKADDR_IN6, *PSOCKADDR_IN6;

#ifndef EXTERN_C
#ifdef __cplusplus
#define EXTERN_C extern "C"
#define EXTERN_C_START extern "C" {
#define EXTERN_C_END }
#else
#define EXTERN_C extern
#define EXTERN_C_START
#define EXTERN_C_END
#endif
#endif
#ifndef CALLBACK
#define CALLBACK
#endif
#ifndef APIENTRY
#define APIENTRY
#endif
#ifndef __stdcall
#define __stdcall
#endif
#ifndef __cdecl
#define __cdecl
#endif
#ifndef IN
#define IN
#define OUT
#define OPTIONAL
#endif
#ifndef _In_
#define _In_
#define _In_opt_
#define _Inout_
#define _Inout_opt_
#define _Out_
#define _Out_opt_
#define _Outptr_
#endif
#ifndef UNREFERENCED_PARAMETER
#define UNREFERENCED_PARAMETER(parameter) ((void)(parameter))
#endif

static inline void Sleep(DWORD milliseconds)
{
    struct timespec time = {(time_t)(milliseconds / 1000),
                            (long)(milliseconds % 1000) * 1000000L};
    nanosleep(&time, NULL);
}

#endif
