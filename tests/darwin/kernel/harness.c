/*
 * What the tests use, through ctypes, in a process that is not simulated: making a state, rules
 * and deviations, reading what happened, and acting as another program that creates and destroys
 * interfaces.
 */
#define _GNU_SOURCE
#include "kernel.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The caller holds Python's lock (PyDLL), so one variable for all simulations of a run is enough.
 */
static void enter(struct kernel *chosen)
{
    kernel = chosen;
    kernel_lock();
}

static void leave(void)
{
    kernel_unlock();
    kernel = NULL;
}

/* `index`: what Linux gives to no feth. */
static struct interface *always_there(struct kernel *created, const char *name, int32_t index)
{
    struct interface *interface = &created->interfaces[created->next_id - 1];

    *interface = (struct interface){.id = created->next_id++, .index = index};
    snprintf(interface->name, NAME_SIZE, "%s", name);
    return interface;
}

EXPORT struct kernel *simulation_create(const char *path, const char *release, const char *product,
                                        const char *machine, const char *host_uuid)
{
    struct kernel *created = state_create(path);

    if (created == NULL)
        return NULL;
    snprintf(created->release, sizeof created->release, "%s", release);
    snprintf(created->product, sizeof created->product, "%s", product);
    snprintf(created->machine, sizeof created->machine, "%s", machine);
    snprintf(created->host_uuid, sizeof created->host_uuid, "%s", host_uuid);
    sscanf(release, "%d.%d", &created->major, &created->minor);

    struct interface *loopback = always_there(created, "lo0", 1);
    loopback->kind = KIND_LOOPBACK;
    loopback->mtu = loopback->max_mtu = 16384;
    loopback->flags =
        DARWIN_IFF_UP | DARWIN_IFF_LOOPBACK | DARWIN_IFF_RUNNING | DARWIN_IFF_MULTICAST;
    loopback->inet[0] =
        (struct address4){.address = htobe32(0x7f000001), .mask = htobe32(0xff000000)};

    struct interface *ethernet = always_there(created, "en0", 60000);
    ethernet->kind = KIND_ETHERNET;
    ethernet->mtu = ethernet->max_mtu = 1500;
    ethernet->flags = DARWIN_IFF_UP | DARWIN_IFF_BROADCAST | DARWIN_IFF_NOTRAILERS |
                      DARWIN_IFF_RUNNING | DARWIN_IFF_SIMPLEX | DARWIN_IFF_MULTICAST;
    memcpy(ethernet->mac, "\xf0\x18\x98\x00\x00\x01", sizeof ethernet->mac);
    ethernet->inet[0] = (struct address4){.address = htobe32(0xc000020a), /* 192.0.2.10/24 */
                                          .mask = htobe32(0xffffff00),
                                          .broadcast = htobe32(0xc00002ff)};
    return created;
}

EXPORT void simulation_close(struct kernel *chosen)
{
    munmap(chosen, sizeof *chosen);
}

/* ---- rules and deviations ---- */

EXPORT int simulation_fail(struct kernel *chosen, const char *call, const char *object, int error,
                           int64_t skip, int64_t times)
{
    int found = -1;

    enter(chosen);
    for (int i = 0; found < 0 && i < MAX_RULES; i++) {
        struct rule *rule = &kernel->rules[i];
        if (rule->active)
            continue;
        *rule = (struct rule){.active = true, .error = error, .skip = skip, .times = times};
        snprintf(rule->call, sizeof rule->call, "%s", call);
        snprintf(rule->object, sizeof rule->object, "%s", object);
        found = i;
    }
    leave();
    return found;
}

EXPORT int simulation_misanswer(struct kernel *chosen, const char *call, const char *object,
                                int expected, int error)
{
    int made = simulation_fail(chosen, call, object, error, 0, -1);

    enter(chosen);
    if (made >= 0)
        kernel->rules[made].instead_of = expected;
    leave();
    return made;
}

EXPORT uint64_t simulation_rule_hits(struct kernel *chosen, int rule)
{
    return chosen->rules[rule].hits;
}

EXPORT void simulation_drop_rule(struct kernel *chosen, int rule)
{
    enter(chosen);
    kernel->rules[rule].active = false;
    leave();
}

#define AS_NAME(name) #name,

EXPORT bool simulation_deviate(struct kernel *chosen, const char *name, int64_t value)
{
    static const char *const known[] = {DEVIATIONS(AS_NAME)};

    for (int i = 0; i < DEVIATION_COUNT; i++) {
        if (strcmp(known[i], name) == 0) {
            chosen->deviations[i] = value;
            return true;
        }
    }
    return false;
}

EXPORT bool simulation_knows_call(const char *name)
{
    static const char *const others[] = {
        "open", "read",    "write",      "bpf_write",  "ndrv_write",  "socket",
        "bind", "connect", "setsockopt", "getsockopt", "gethostuuid", "getifaddrs",
    };
    static const struct {
        const char *name;
        uint32_t number;
    } requests[] = {DARWIN_REQUEST_TABLE};

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(others[i], name) == 0)
            return true;
    }
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        if (strcmp(requests[i].name, name) == 0)
            return true;
    }
    return strchr(name, '.') != NULL; /* a sysctl */
}

EXPORT void simulation_forget_violations(struct kernel *chosen)
{
    enter(chosen);
    kernel->violation_count = 0;
    leave();
}

EXPORT uint32_t simulation_max_mtu(struct kernel *chosen)
{
    return chosen->max_mtu;
}

EXPORT void simulation_set_max_mtu(struct kernel *chosen, uint32_t value)
{
    chosen->max_mtu = value;
}

EXPORT void simulation_alter_frames(struct kernel *chosen, uint32_t which)
{
    chosen->altered = which;
}

/* Another program opens or closes /dev/bpfN. */
EXPORT void simulation_occupy(struct kernel *chosen, int unit, bool occupied)
{
    enter(chosen);
    if (occupied && unit == (int)kernel->bpf_nodes - 1 && unit + 1 < MAX_BPF_NODES)
        kernel->bpf_nodes++;
    kernel->bpf[unit].inode = occupied ? FOREIGN_INODE : NO_INODE;
    leave();
}

/* ---- another program in the same network namespace ---- */

static uint64_t namespace_inode(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_ino : 0;
}

/* The namespace of the interfaces, or before there are any of any simulated process that still
 * runs. */
static int find_namespace(void)
{
    uint64_t own = current_namespace();

    for (int i = 0; i < MAX_PROCESSES; i++) {
        char path[64];
        if (kernel->processes[i] == 0)
            continue;
        snprintf(path, sizeof path, "/proc/%d/ns/net", kernel->processes[i]);
        uint64_t inode = namespace_inode(path);
        if (inode != 0 && (kernel->namespace != 0 ? inode == kernel->namespace : inode != own))
            return linux_open(path, O_RDONLY | O_CLOEXEC, 0);
    }
    errno = ESRCH;
    return -1;
}

static int act(bool create, char name[NAME_SIZE])
{
    if (create)
        return interface_create(name);
    struct interface *interface = interface_by_name(name);
    return interface == NULL ? ENXIO : interface_destroy(interface);
}

static int act_there(const char *namespace, bool create, const char *name)
{
    char buffer[NAME_SIZE];
    int there =
        namespace[0] != '\0' ? linux_open(namespace, O_RDONLY | O_CLOEXEC, 0) : find_namespace();

    if (there < 0 || setns(there, CLONE_NEWNET) != 0)
        return errno;
    snprintf(buffer, sizeof buffer, "%s", name);
    return act(create, buffer);
}

/*
 * In a child, for not everybody who may enter a namespace may return.  `namespace`: a path, or
 * empty for that of a running simulated process.  Returns an error number.
 */
EXPORT int simulation_act(struct kernel *chosen, const char *namespace, bool create,
                          const char *name)
{
    int status = 0;
    pid_t child = fork();

    if (child < 0)
        return errno;
    if (child == 0) {
        enter(chosen);
        int error = act_there(namespace, create, name);
        leave();
        _exit(error);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

/* ---- the report, as JSON ---- */

static void put_text(FILE *out, const char *key, const char *text)
{
    fprintf(out, "\"%s\": \"", key);
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte > 0x7e || byte == '"' || byte == '\\')
            fprintf(out, "\\u%04x", byte);
        else
            fputc(byte, out);
    }
    fputc('"', out);
}

static void put_addresses(FILE *out, const struct interface *interface)
{
    const char *comma = "";

    fprintf(out, ", \"addresses\": [");
    for (int i = 0; i < MAX_ADDRESSES; i++) {
        const struct address4 *address = &interface->inet[i];
        char text[INET6_ADDRSTRLEN];
        if (address->address == 0)
            continue;
        inet_ntop(AF_INET, &address->address, text, sizeof text);
        fprintf(out, "%s\"%s/%d\"", comma, text,
                prefix_length((const uint8_t *)&address->mask, sizeof address->mask));
        comma = ", ";
    }
    for (int i = 0; i < MAX_ADDRESSES; i++) {
        const struct address6 *address = &interface->inet6[i];
        char text[INET6_ADDRSTRLEN];
        if (address->prefix == 0)
            continue;
        inet_ntop(AF_INET6, address->address, text, sizeof text);
        fprintf(out, "%s\"%s/%d\"", comma, text, address->prefix);
        comma = ", ";
    }
    fprintf(out, "]");
}

static void put_interface(FILE *out, const struct interface *interface)
{
    const struct interface *peer = interface_by_id(interface->peer);
    const struct interface *bridge = interface_by_id(interface->bridge);
    const uint8_t *mac = interface->mac;

    put_text(out, "name", interface->name);
    fprintf(out, ", ");
    put_text(out, "bridge", bridge == NULL ? "" : bridge->name);
    fprintf(out, ", ");
    put_text(out, "peer", peer == NULL ? "" : peer->name);
    fprintf(out, ", \"mac\": \"%02x:%02x:%02x:%02x:%02x:%02x\"", mac[0], mac[1], mac[2], mac[3],
            mac[4], mac[5]);
    fprintf(out, ", \"flags\": %u, \"mtu\": %d, \"max_mtu\": %d, \"metric\": %d",
            interface_flags(interface), interface->mtu, interface->max_mtu, interface->metric);
    put_addresses(out, interface);
}

static void put_interfaces(FILE *out)
{
    const char *comma = "";

    fprintf(out, "\"interfaces\": [");
    for (int i = 0; i < MAX_INTERFACES; i++) {
        if (kernel->interfaces[i].id == 0)
            continue;
        fprintf(out, "%s{", comma);
        put_interface(out, &kernel->interfaces[i]);
        fprintf(out, "}");
        comma = ", ";
    }
    fprintf(out, "]");
}

static void put_counters(FILE *out)
{
    static const char *const names[] = {COUNTERS(AS_NAME)};

    fprintf(out, ", \"counters\": {");
    for (int i = 0; i < COUNTER_COUNT; i++)
        fprintf(out, "%s\"%s\": %llu", i == 0 ? "" : ", ", names[i],
                (unsigned long long)kernel->counters[i]);
    fprintf(out, "}");
}

static void put_calls(FILE *out)
{
    uint64_t count = kernel->call_count, first = count > MAX_CALLS ? count - MAX_CALLS : 0;

    fprintf(out, ", \"calls\": [");
    for (uint64_t i = first; i < count; i++) {
        const struct call_record *call = &kernel->calls[i % MAX_CALLS];
        fprintf(out, "%s{", i == first ? "" : ", ");
        put_text(out, "name", call->name);
        fprintf(out, ", ");
        put_text(out, "device", call->device);
        fprintf(out, ", ");
        put_text(out, "interface", call->interface);
        fprintf(out, ", \"value\": %lld, \"error\": %d, \"process\": %d, \"user\": %d}",
                (long long)call->value, call->error, call->process, call->user);
    }
    fprintf(out, "]");
}

static void put_violations(FILE *out)
{
    uint64_t count = kernel->violation_count;

    fprintf(out, ", \"violations\": [");
    for (uint64_t i = 0; i < count && i < MAX_VIOLATIONS; i++) {
        fprintf(out, "%s{", i == 0 ? "" : ", ");
        put_text(out, "text", kernel->violations[i]);
        fprintf(out, "}");
    }
    fprintf(out, "]");
}

/* For simulation_free_report(). */
EXPORT char *simulation_report(struct kernel *chosen)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL)
        return NULL;
    enter(chosen);
    fprintf(out, "{");
    put_interfaces(out);
    put_counters(out);
    put_calls(out);
    put_violations(out);
    fprintf(out, "}");
    leave();
    fclose(out);
    return text;
}

EXPORT void simulation_free_report(char *text)
{
    free(text);
}
