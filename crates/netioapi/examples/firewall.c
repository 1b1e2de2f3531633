/*
 * A firewall that lets UDP in only on the port of the Teredo client, whatever that is.
 *     cc firewall.c $(pkg-config --cflags --libs netioapi) -o firewall && sudo ./firewall
 */
#include <netioapi.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static int nft(const char *format, unsigned port)
{
    FILE *script = popen("nft -f -", "w");
    if (script == NULL)
        return -1;
    fprintf(script, format, port);
    return pclose(script);
}

/* Asks rather than believes what it was told: that is never out of date. */
static void follow(void)
{
    USHORT port;
    pthread_mutex_lock(&one_at_a_time);
    DWORD code = GetTeredoPort(&port);
    const char *script = code == NO_ERROR
        ? "flush set inet teredo_firewall ports; add element inet teredo_firewall ports { %u }\n"
        : "flush set inet teredo_firewall ports\n";
    if (nft(script, port) != 0)
        fputs("nft has failed\n", stderr);
    printf(code == NO_ERROR ? "open: %u\n" : "closed\n", port);
    fflush(stdout);
    pthread_mutex_unlock(&one_at_a_time);
}

static void on_change(PVOID context, USHORT port, MIB_NOTIFICATION_TYPE type)
{
    (void)context, (void)port, (void)type;
    follow();
}

int main(void)
{
    HANDLE registration;
    sigset_t ends;
    int signal;
    sigemptyset(&ends), sigaddset(&ends, SIGINT), sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    if (nft("table inet teredo_firewall { set ports { type inet_service; }\n"
            "chain input { type filter hook input priority 0; iif lo accept\n"
            "ct state established,related accept; udp dport @ports accept\n"
            "meta l4proto udp drop; }; }\n", 0) != 0)
        return 1;
    if (NotifyTeredoPortChange(on_change, NULL, FALSE, &registration) != NO_ERROR)
        return 1;
    follow(); /* after registering: now no change can be missed */
    sigwait(&ends, &signal);
    CancelMibChangeNotify2(registration);
    return nft("delete table inet teredo_firewall\n", 0);
}
