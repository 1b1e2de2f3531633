/*
 * A program that does what its standard input says and tells what happens, one line each:
 * "= ..." answers a command, "! ..." is a call of a callback. Driven by the tests in ../c_*.rs.
 */
#include <netioapi.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 300

struct slot {
    int id;
    HANDLE handle;
    char mode[16];
    long argument;
    pthread_t registrar;
    atomic_int calls;
    atomic_int inside;
    atomic_int overlapped;
};

static struct slot slots[SLOTS];
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

static void say(const char *format, ...)
{
    va_list arguments;
    pthread_mutex_lock(&output);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&output);
}

static void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static long now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void on_port(PVOID context, USHORT port, MIB_NOTIFICATION_TYPE type);

/* What a callback does besides telling of itself. */
static void act(struct slot *slot)
{
    if (strcmp(slot->mode, "slow") == 0) {
        pause_ms(slot->argument);
        say("! %d done", slot->id);
    } else if (strcmp(slot->mode, "selfcancel") == 0) {
        say("! %d cancelled %u", slot->id, CancelMibChangeNotify2(slot->handle));
    } else if (strcmp(slot->mode, "cancel") == 0) {
        say("! %d cancelled %u", slot->id, CancelMibChangeNotify2(slots[slot->argument].handle));
    } else if (strcmp(slot->mode, "query") == 0) {
        USHORT port;
        DWORD code = GetTeredoPort(&port);
        say("! %d query %u %u", slot->id, code, port);
    } else if (strcmp(slot->mode, "register") == 0) {
        struct slot *other = &slots[slot->argument];
        DWORD code = 0;
        if (other->handle == NULL) {
            other->id = (int)slot->argument;
            code = NotifyTeredoPortChange(on_port, other, FALSE, &other->handle);
        }
        say("! %d registered %u", slot->id, code);
    }
}

static void enter(struct slot *slot)
{
    slot->calls++;
    if (slot->inside++ != 0)
        slot->overlapped = 1;
}

static const char *thread_of(struct slot *slot)
{
    return pthread_equal(pthread_self(), slot->registrar) ? "same" : "other";
}

static void on_port(PVOID context, USHORT port, MIB_NOTIFICATION_TYPE type)
{
    if (context == NULL) {
        say("! null port %u type %d", port, (int)type);
        return;
    }
    struct slot *slot = context;
    enter(slot);
    say("! %d port %u type %d thread %s overlap %d", slot->id, port, (int)type, thread_of(slot),
        (int)slot->overlapped);
    act(slot);
    slot->inside--;
}

static void on_system_ports(void *context, const FWPM_SYSTEM_PORTS0 *ports)
{
    struct slot *slot = context;
    const FWPM_SYSTEM_PORTS_BY_TYPE0 *first = &ports->types[0];
    say("! %d types %u type %d ports %u first %u", slot->id, ports->numTypes, (int)first->type,
        first->numPorts, first->numPorts ? first->ports[0] : 0);
}

static const char *text_of(const MIB_UNICASTIPADDRESS_ROW *row, char *text)
{
    if (row->Address.si_family == AF_INET)
        inet_ntop(AF_INET, &row->Address.Ipv4.sin_addr, text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, &row->Address.Ipv6.sin6_addr, text, INET6_ADDRSTRLEN);
    return text;
}

static void on_address(PVOID context, PMIB_UNICASTIPADDRESS_ROW row, MIB_NOTIFICATION_TYPE type)
{
    struct slot *slot = context;
    char text[INET6_ADDRSTRLEN];
    enter(slot);
    if (row == NULL)
        say("! %d address null type %d thread %s", slot->id, (int)type, thread_of(slot));
    else
        say("! %d address %s type %d index %u luid %llx family %u", slot->id, text_of(row, text),
            (int)type, row->InterfaceIndex, (unsigned long long)row->InterfaceLuid.Value,
            row->Address.si_family);
    act(slot);
    slot->inside--;
}

/* All of a table in one line: address/family/dad/type for each row. */
static const char *show(const MIB_UNICASTIPADDRESS_TABLE *table, char *line, size_t len)
{
    size_t used = (size_t)snprintf(line, len, "%u", table->NumEntries);
    for (uint32_t i = 0; i < table->NumEntries && used < len; i++) {
        const MIB_UNICASTIPADDRESS_ROW *row = &table->Table[i];
        char text[INET6_ADDRSTRLEN];
        used += (size_t)snprintf(line + used, len - used, " %s/%u/%d/%u", text_of(row, text),
                                 row->Address.si_family, (int)row->DadState,
                                 (unsigned)row->InterfaceLuid.Info.IfType);
    }
    return line;
}

static char line_of_table[1 << 20];

static void on_stable(PVOID context, PMIB_UNICASTIPADDRESS_TABLE table)
{
    struct slot *slot = context;
    char line[4096];
    enter(slot);
    say("! %d stable %s thread %s", slot->id, show(table, line, sizeof line), thread_of(slot));
    FreeMibTable(table);
    act(slot);
    slot->inside--;
}

static struct slot *prepare(int id, const char *mode, long argument)
{
    struct slot *slot = &slots[id];
    memset(slot, 0, sizeof *slot);
    slot->id = id;
    slot->argument = argument;
    slot->registrar = pthread_self();
    snprintf(slot->mode, sizeof slot->mode, "%s", mode);
    return slot;
}

static void *cancel_thread(void *argument)
{
    struct slot *slot = argument;
    DWORD code = CancelMibChangeNotify2(slot->handle);
    return (void *)(uintptr_t)(code * 2 + (slot->inside != 0));
}

/* The pattern of .NET: the callback's owner is woken and cancels on another thread. */
static void *cancel_and_say(void *argument)
{
    struct slot *slot = argument;
    pause_ms(20);
    say("! %d later %u", slot->id, CancelMibChangeNotify2(slot->handle));
    return NULL;
}

static void on_stable_dotnet(PVOID context, PMIB_UNICASTIPADDRESS_TABLE table)
{
    pthread_t thread;
    FreeMibTable(table);
    if (((struct slot *)context)->calls++ == 0) {
        pthread_create(&thread, NULL, cancel_and_say, context);
        pthread_detach(thread);
    }
}

static atomic_uint other_results;

static void *read_ports(void *argument)
{
    unsigned long rounds = (unsigned long)(uintptr_t)argument;
    for (unsigned long i = 0; i < rounds; i++) {
        USHORT port = 7;
        DWORD code = GetTeredoPort(&port);
        if (!(code == 0 && port != 0) && !(code == 21 && port == 0))
            other_results++;
    }
    return NULL;
}

static void fork_and_try(struct slot *slot)
{
    USHORT port = 0;
    HANDLE own = NULL;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        DWORD cancelled = CancelMibChangeNotify2(slot->handle);
        DWORD asked = GetTeredoPort(&port);
        slot->registrar = pthread_self();
        DWORD registered = NotifyTeredoPortChange(on_port, slot, TRUE, &own);
        DWORD again = CancelMibChangeNotify2(slot->handle);
        DWORD ended = CancelMibChangeNotify2(own);
        say("= cancel %u port %u %u register %u cancel %u own %u", cancelled, asked, port,
            registered, again, ended);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

/* A child that goes on without another program, as a server does that forks for each client. */
static void fork_and_stay(void)
{
    pid_t child = fork();
    if (child == 0) {
        /* Nor does it outlive a test that fails. */
        alarm(20);
        pause();
        _exit(0);
    }
    say("= %d", (int)child);
}

static void stable(int id, unsigned family, const char *mode)
{
    struct slot *slot = prepare(id, mode, 0);
    PMIB_UNICASTIPADDRESS_TABLE table = (PMIB_UNICASTIPADDRESS_TABLE)slot;
    slot->handle = slot;
    int dotnet = strcmp(mode, "dotnet") == 0;
    DWORD code = NotifyStableUnicastIpAddressTable((ADDRESS_FAMILY)family, &table,
                                                   dotnet ? on_stable_dotnet : on_stable, slot,
                                                   &slot->handle);
    say("= %u handle %d table %s", code, slot->handle != NULL,
        table == NULL ? "none" : show(table, line_of_table, sizeof line_of_table));
    FreeMibTable(table);
}

static void watch(int id, int initial, const char *mode, long argument)
{
    struct slot *slot = prepare(id, mode, argument);
    PVOID context = strcmp(mode, "null") == 0 ? NULL : slot;
    DWORD code = NotifyTeredoPortChange(on_port, context, (BOOLEAN)initial, &slot->handle);
    say("= %u handle %d calls %d", code, slot->handle != NULL, (int)slot->calls);
}

static void cancel(struct slot *slot)
{
    long start = now_ms();
    DWORD code = CancelMibChangeNotify2(slot->handle);
    long took = now_ms() - start;
    say("= %u inside %d ms %ld", code, (int)slot->inside, took);
}

static void cancel_twice(struct slot *slot)
{
    pthread_t threads[2];
    uintptr_t results[2];
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, cancel_thread, slot);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], (void **)&results[i]);
    say("= %u %u inside %d %d", (unsigned)(results[0] / 2), (unsigned)(results[1] / 2),
        (int)(results[0] & 1), (int)(results[1] & 1));
}

static void read_in_threads(long count, long rounds)
{
    pthread_t threads[64];
    other_results = 0;
    for (long i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, read_ports, (void *)(uintptr_t)rounds);
    for (long i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    say("= other %u", (unsigned)other_results);
}

static void system_ports(void)
{
    FWPM_SYSTEM_PORTS0 *ports = NULL;
    DWORD code = FwpmSystemPortsGet0(NULL, &ports);
    say("= %u types %u type %d ports %u first %u", code, ports->numTypes,
        (int)ports->types[0].type, ports->types[0].numPorts,
        ports->types[0].numPorts ? ports->types[0].ports[0] : 0);
    FwpmFreeMemory0((void **)&ports);
    if (ports != NULL)
        abort();
}

int main(void)
{
    char line[256], mode[16];
    int id, number;
    unsigned family;
    long a, b;
    while (fgets(line, sizeof line, stdin) != NULL) {
        USHORT port = 7;
        HANDLE handle = &port;
        if (strcmp(line, "port\n") == 0) {
            DWORD code = GetTeredoPort(&port);
            say("= %u %u", code, port);
        } else if (strcmp(line, "port null\n") == 0) {
            say("= %u", GetTeredoPort(NULL));
        } else if (sscanf(line, "ports %ld %ld", &a, &b) == 2) {
            read_in_threads(a, b);
        } else if (sscanf(line, "watch %d %d %15s %ld", &id, &number, mode, &a) == 4) {
            watch(id, number, mode, a);
        } else if (strcmp(line, "watch null callback\n") == 0) {
            DWORD code = NotifyTeredoPortChange(NULL, NULL, TRUE, &handle);
            say("= %u handle %d", code, handle != NULL);
        } else if (strcmp(line, "watch null handle\n") == 0) {
            say("= %u", NotifyTeredoPortChange(on_port, NULL, TRUE, NULL));
        } else if (sscanf(line, "cancel %d", &id) == 1) {
            cancel(&slots[id]);
        } else if (strcmp(line, "cancel null\n") == 0) {
            say("= %u", CancelMibChangeNotify2(NULL));
        } else if (sscanf(line, "cancel twice %d", &id) == 1) {
            cancel_twice(&slots[id]);
        } else if (sscanf(line, "cancel bits %lx", (unsigned long *)&a) == 1) {
            say("= %u", CancelMibChangeNotify2((HANDLE)(uintptr_t)a));
        } else if (sscanf(line, "fork %d", &id) == 1) {
            fork_and_try(&slots[id]);
        } else if (strcmp(line, "fork\n") == 0) {
            fork_and_stay();
        } else if (sscanf(line, "stable %d %u %15s", &id, &family, mode) == 3) {
            stable(id, family, mode);
        } else if (sscanf(line, "addresses %d %u %d", &id, &family, &number) == 3) {
            struct slot *slot = prepare(id, "plain", 0);
            DWORD code = NotifyUnicastIpAddressChange((ADDRESS_FAMILY)family, on_address, slot,
                                                      (BOOLEAN)number, &slot->handle);
            say("= %u handle %d calls %d", code, slot->handle != NULL, (int)slot->calls);
        } else if (sscanf(line, "table %u", &family) == 1) {
            PMIB_UNICASTIPADDRESS_TABLE table = NULL;
            DWORD code = GetUnicastIpAddressTable((ADDRESS_FAMILY)family, &table);
            say("= %u %s", code,
                table ? show(table, line_of_table, sizeof line_of_table) : "none");
            FreeMibTable(table);
        } else if (strcmp(line, "system ports\n") == 0) {
            system_ports();
        } else if (sscanf(line, "subscribe %d", &id) == 1) {
            struct slot *slot = prepare(id, "plain", 0);
            DWORD code =
                FwpmSystemPortsSubscribe0(NULL, NULL, on_system_ports, slot, &slot->handle);
            say("= %u handle %d", code, slot->handle != NULL);
        } else if (sscanf(line, "unsubscribe %d", &id) == 1) {
            say("= %u", FwpmSystemPortsUnsubscribe0(NULL, slots[id].handle));
        } else if (sscanf(line, "handle %d", &id) == 1) {
            say("= %llx", (unsigned long long)(uintptr_t)slots[id].handle);
        } else {
            say("= what? %s", line);
        }
    }
    return 0;
}
