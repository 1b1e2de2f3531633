#!/usr/bin/env python3
"""Prints the Teredo port and its changes until standard input is closed, by ctypes alone."""
import ctypes
import sys

netioapi = ctypes.CDLL("libnetioapi.so.0")
Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint16, ctypes.c_int)
netioapi.NotifyTeredoPortChange.argtypes = [
    Callback, ctypes.c_void_p, ctypes.c_uint8, ctypes.POINTER(ctypes.c_void_p)]
netioapi.CancelMibChangeNotify2.argtypes = [ctypes.c_void_p]


def message(code):
    text = ctypes.create_string_buffer(100)
    netioapi.netio_format_message(code, text, ctypes.c_size_t(len(text)))
    return text.value.decode()


def show(code, port):
    print(port if code == 0 else message(code), flush=True)


@Callback  # kept in this name: a callback that is collected crashes
def on_change(context, port, kind):
    show(0 if port else 21, port)


registration = ctypes.c_void_p()
code = netioapi.NotifyTeredoPortChange(on_change, None, False, ctypes.byref(registration))
if code != 0:
    sys.exit(message(code))
port = ctypes.c_uint16()
show(netioapi.GetTeredoPort(ctypes.byref(port)), port.value)
sys.stdin.read()
sys.exit(netioapi.CancelMibChangeNotify2(registration))
