/* Stands in for <fwpmu.h>: see windows.h beside it. */
#ifndef NETIOAPI_WINDOWS_FWPMU_H
#define NETIOAPI_WINDOWS_FWPMU_H
#include "windows.h"
#endif
